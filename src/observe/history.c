#include "observe/history.h"

#include "base/check.h"

#include <string.h>
#include <xxhash.h>

#define FIGURES (sizeof(struct history_sample) / sizeof(uint64_t))
#define SAVED_MAGIC 0x3330747369486341ULL /* "AcHist03" */

static const struct {
    const char *name;
    uint64_t period_ms;
    size_t capacity;
} level_table[] = {
#define HISTORY_LEVEL_ROW(name, label, seconds, count) {label, (seconds)*1000ULL, count},
    HISTORY_LEVEL_MAP(HISTORY_LEVEL_ROW)
#undef HISTORY_LEVEL_ROW
};
static_assert(COUNT_OF(level_table) == HISTORY_LEVEL_COUNT, "each level has its row");
static_assert(sizeof(struct history_sample) % sizeof(uint64_t) == 0, "a sample is words and nothing else");

aic_status history_init(struct history *history, struct mem *mem)
{
    memset(history, 0, sizeof *history);
    history->mem = mem;
    CHECK(pthread_mutex_init(&history->mutex, NULL) == 0);
    for (unsigned i = 0; i < HISTORY_LEVEL_COUNT; i++) {
        struct history_ring *ring = &history->levels[i];
        ring->capacity = level_table[i].capacity;
        ring->period_ms = level_table[i].period_ms;
        ring->samples = mem_alloc(mem, MEM_MONITOR, ring->capacity * sizeof *ring->samples);
        if (ring->samples == NULL) {
            history_fini(history);
            return AIC_NO_MEMORY;
        }
    }
    return AIC_OK;
}

void history_fini(struct history *history)
{
    if (history->mem == NULL) return;
    for (unsigned i = 0; i < HISTORY_LEVEL_COUNT; i++) {
        struct history_ring *ring = &history->levels[i];
        mem_free(history->mem, MEM_MONITOR, ring->samples, ring->capacity * sizeof *ring->samples);
    }
    pthread_mutex_destroy(&history->mutex);
    history->mem = NULL;
}

static struct history_sample *at(const struct history_ring *ring, size_t index)
{
    CHECK(index < ring->count);
    return &ring->samples[(ring->first + index) % ring->capacity];
}

static void ring_add(struct history_ring *ring, const struct history_sample *sample)
{
    /* A clock that was set back starts the wait anew: a month without samples would be worse than one out of order. */
    if (ring->count > 0) {
        uint64_t last = at(ring, ring->count - 1)->time_ms;
        if (sample->time_ms >= last && sample->time_ms - last < ring->period_ms) return;
    }
    if (ring->count == ring->capacity) ring->first = (ring->first + 1) % ring->capacity;
    else ring->count++;
    CHECK(ring->count <= ring->capacity && ring->first < ring->capacity);
    *at(ring, ring->count - 1) = *sample;
}

void history_add(struct history *history, const struct history_sample *sample)
{
    pthread_mutex_lock(&history->mutex);
    for (unsigned i = 0; i < HISTORY_LEVEL_COUNT; i++) ring_add(&history->levels[i], sample);
    pthread_mutex_unlock(&history->mutex);
}

bool history_span(struct history *history, enum history_level level, size_t back, struct history_sample *first,
                  struct history_sample *last)
{
    pthread_mutex_lock(&history->mutex);
    const struct history_ring *ring = &history->levels[level];
    bool two = ring->count >= 2;
    if (two) {
        size_t newest = ring->count - 1;
        *last = *at(ring, newest);
        *first = *at(ring, back < newest ? newest - back : 0);
    }
    pthread_mutex_unlock(&history->mutex);
    return two;
}

static void write_level(const struct history_ring *ring, struct json_writer *out)
{
    static const char *const figures[] = {
#define HISTORY_FIGURE_NAME(name) #name,
        HISTORY_FIGURE_MAP(HISTORY_FIGURE_NAME)
#undef HISTORY_FIGURE_NAME
    };
    static_assert(COUNT_OF(figures) == FIGURES, "each word of a sample has its name");
    json_open(out, '{');
    json_key(out, "period_seconds");
    json_put_u64(out, ring->period_ms / 1000);
    json_key(out, "figures");
    json_open(out, '[');
    for (unsigned i = 0; i < FIGURES; i++) json_put_text(out, figures[i]);
    json_close(out, ']');
    json_key(out, "samples");
    json_open(out, '[');
    for (size_t i = 0; i < ring->count; i++) {
        uint64_t values[FIGURES];
        memcpy(values, at(ring, i), sizeof values);
        json_open(out, '[');
        for (unsigned k = 0; k < FIGURES; k++) json_put_u64(out, values[k]);
        json_close(out, ']');
    }
    json_close(out, ']');
    json_close(out, '}');
}

void history_write(struct history *history, struct json_writer *out)
{
    pthread_mutex_lock(&history->mutex);
    json_open(out, '{');
    for (unsigned i = 0; i < HISTORY_LEVEL_COUNT; i++) {
        json_key(out, level_table[i].name);
        write_level(&history->levels[i], out);
    }
    json_close(out, '}');
    pthread_mutex_unlock(&history->mutex);
}

/* ------------------------------------------------------------------------------------------------- save, load -- */

/*
 * Magic, figures in a sample, then per level a count and its samples; last the XXH3 of all before. Words of this
 * machine: the file never leaves it, and a foreign one fails the magic number.
 */
static void append_word(struct buf *out, uint64_t word)
{
    buf_append(out, &word, sizeof word);
}

void history_save(struct history *history, struct buf *out)
{
    size_t start = out->size;
    append_word(out, SAVED_MAGIC);
    append_word(out, FIGURES);
    pthread_mutex_lock(&history->mutex);
    for (unsigned i = 0; i < HISTORY_LEVEL_COUNT; i++) {
        const struct history_ring *ring = &history->levels[i];
        append_word(out, ring->count);
        for (size_t k = 0; k < ring->count; k++) buf_append(out, at(ring, k), sizeof(struct history_sample));
    }
    pthread_mutex_unlock(&history->mutex);
    if (!out->failed) append_word(out, XXH3_64bits(out->data + start, out->size - start));
}

struct reader {
    const char *at;
    size_t left;
};

static bool read_words(struct reader *reader, void *out, size_t words)
{
    if (reader->left / sizeof(uint64_t) < words) return false;
    memcpy(out, reader->at, words * sizeof(uint64_t));
    reader->at += words * sizeof(uint64_t);
    reader->left -= words * sizeof(uint64_t);
    return true;
}

/* Walks the levels; with `history` takes them over, without only checks that they fit. */
static bool read_levels(struct reader reader, struct history *history)
{
    for (unsigned i = 0; i < HISTORY_LEVEL_COUNT; i++) {
        uint64_t count;
        if (!read_words(&reader, &count, 1) || count > level_table[i].capacity) return false;
        for (uint64_t k = 0; k < count; k++) {
            struct history_sample sample;
            if (!read_words(&reader, &sample, FIGURES)) return false;
            if (history != NULL) history->levels[i].samples[k] = sample;
        }
        if (history == NULL) continue;
        history->levels[i].first = 0;
        history->levels[i].count = (size_t)count;
    }
    return reader.left == 0;
}

aic_status history_load(struct history *history, aic_view bytes)
{
    uint64_t magic, figures, sum;
    if (bytes.size < 3 * sizeof(uint64_t)) return AIC_DAMAGED;
    memcpy(&sum, bytes.data + bytes.size - sizeof sum, sizeof sum);
    if (sum != XXH3_64bits(bytes.data, bytes.size - sizeof sum)) return AIC_DAMAGED;
    struct reader reader = {bytes.data, bytes.size - sizeof sum};
    if (!read_words(&reader, &magic, 1) || magic != SAVED_MAGIC) return AIC_DAMAGED;
    if (!read_words(&reader, &figures, 1) || figures != FIGURES) return AIC_DAMAGED;
    if (!read_levels(reader, NULL)) return AIC_DAMAGED;
    pthread_mutex_lock(&history->mutex);
    read_levels(reader, history);
    pthread_mutex_unlock(&history->mutex);
    return AIC_OK;
}
