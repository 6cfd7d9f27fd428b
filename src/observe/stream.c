#include "observe/stream.h"

#include "base/check.h"
#include "base/hist.h"
#include "base/utf8.h"
#include "observe/ring.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A slot: mono, seconds, the lengths of the texts (16 bits each), the numbers, the texts. */
#define FIXED_WORDS 3
#define MOST_WORDS (FIXED_WORDS + EVENT_NUMBERS + EVENT_TEXT_WORDS)

static_assert(EVENT_TEXTS * 16 <= 64, "the lengths of all texts share one word");
static_assert(EVENT_TEXT_WORDS * sizeof(uint64_t) <= UINT16_MAX, "a length has 16 bits");

/*
 * Percentiles of durations over the retention window, from two log-linear histograms that take turns. A ring keeps at
 * most max_measurements samples, which under load cover seconds; the histograms count every duration. One is filled
 * during a retention period, the one of the period before is kept, so a percentile covers between one and two periods.
 * It is never off by more than 1/16 of its value. 9.4 KB.
 */
struct percentiles {
    uint64_t period_ns;
    _Atomic uint64_t period; /* the period that `halves[period % 2]` counts; acquire/release: orders its clearing */
    struct hist halves[2];
};

/* One thread's share of a stream; atomics, because threads may share a lane. */
struct stream_lane {
    struct ring ring;
    _Atomic uint64_t counters[STREAM_COUNTERS]; /* relaxed: figures */
    struct percentiles percentiles;
    _Atomic uint64_t slots[]; /* the ring's */
};

/* ------------------------------------------------------------------------------------------------- percentiles -- */

static void hist_clear(struct hist *hist)
{
    for (unsigned i = 0; i < HIST_BUCKETS; i++) atomic_store_explicit(&hist->counts[i], 0, memory_order_relaxed);
    atomic_store_explicit(&hist->sum, 0, memory_order_relaxed);
    atomic_store_explicit(&hist->max, 0, memory_order_relaxed);
}

/*
 * Moves on to the period of `now_ns`. The thread that wins the exchange clears the half that the new period fills; a
 * duration that another thread records in between may be cleared with it, which costs one count at most per thread and
 * period.
 */
static uint64_t turn(struct percentiles *percentiles, uint64_t now_ns)
{
    uint64_t period = now_ns / percentiles->period_ns + 1;
    uint64_t seen = atomic_load_explicit(&percentiles->period, memory_order_acquire);
    while (period > seen) {
        if (!atomic_compare_exchange_weak_explicit(&percentiles->period, &seen, period, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        hist_clear(&percentiles->halves[period % 2]);
        if (period - seen > 1) hist_clear(&percentiles->halves[(period + 1) % 2]);
        return period;
    }
    return seen;
}

static void percentiles_add(struct percentiles *percentiles, uint64_t now_ns, double seconds)
{
    struct hist *hist = &percentiles->halves[turn(percentiles, now_ns) % 2];
    uint64_t ns = seconds > 0 ? (uint64_t)(seconds * 1e9) : 0;
    atomic_fetch_add_explicit(&hist->counts[hist_bucket(ns)], 1, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&hist->max, memory_order_relaxed);
    while (ns > max &&
           !atomic_compare_exchange_weak_explicit(&hist->max, &max, ns, memory_order_relaxed, memory_order_relaxed)) {
    }
}

static void percentiles_sum(struct percentiles *percentiles, uint64_t now_ns, struct hist_total *total)
{
    turn(percentiles, now_ns);
    hist_add(total, &percentiles->halves[0]);
    hist_add(total, &percentiles->halves[1]);
}

/* ------------------------------------------------------------------------------------------------ init, fini -- */

static uint64_t slot_words(const struct stream *stream)
{
    return FIXED_WORDS + stream->shape.numbers + stream->shape.text_words;
}

static void lane_init(void *object, const void *context)
{
    struct stream_lane *lane = object;
    const struct stream *stream = context;
    ring_init(&lane->ring, lane->slots, stream->capacity, slot_words(stream));
    lane->percentiles.period_ns = stream->retention_ns > 0 ? stream->retention_ns : 1;
}

aic_status stream_init(struct stream *stream, struct mem *mem, const aic_clock *clock, uint64_t capacity,
                       uint64_t retention_ns, struct stream_shape shape)
{
    CHECK(shape.numbers > 0 && shape.numbers <= EVENT_NUMBERS);
    CHECK(shape.text_words > 0 && shape.text_words <= EVENT_TEXT_WORDS);
    *stream = (struct stream){.clock = clock, .capacity = capacity, .retention_ns = retention_ns, .shape = shape};
    size_t bytes = sizeof(struct stream_lane) + ring_bytes(capacity, slot_words(stream));
    return lanes_setup(&stream->lanes, mem, MEM_MONITOR, bytes, lane_init, stream);
}

void stream_fini(struct stream *stream)
{
    lanes_teardown(&stream->lanes);
}

/* ------------------------------------------------------------------------------------------------------ append -- */

/* The texts of an event as words behind each other; how many words, and their lengths. */
static size_t pack_texts(const struct stream *stream, const struct event *event, uint64_t *words, uint64_t *lengths)
{
    char *bytes = (char *)words;
    size_t used = 0;
    *lengths = 0;
    for (unsigned i = 0; i < EVENT_TEXTS; i++) {
        size_t room = sizeof(uint64_t) * stream->shape.text_words - used;
        size_t size = utf8_fit(event->text[i], room);
        if (i == EVENT_TEXTS - 1 && size < event->text[i].size) size = 0;
        if (size > 0) memcpy(bytes + used, event->text[i].data, size);
        *lengths |= (uint64_t)size << (16 * i);
        used += size;
    }
    size_t text_words = (used + 7) / 8;
    memset(bytes + used, 0, text_words * 8 - used);
    return text_words;
}

void stream_append(struct stream *stream, struct event *event, const uint64_t counters[STREAM_COUNTERS])
{
    uint64_t words[MOST_WORDS], numbers = stream->shape.numbers;
    if (event->mono_ns == 0) event->mono_ns = clock_mono_ns(stream->clock);
    words[0] = event->mono_ns;
    memcpy(&words[1], &event->seconds, sizeof words[1]);
    memcpy(&words[FIXED_WORDS], event->number, numbers * sizeof words[0]);
    size_t text_words = pack_texts(stream, event, words + FIXED_WORDS + numbers, &words[2]);
    struct stream_lane *lane = lanes_mine(&stream->lanes);
    ring_append(&lane->ring, words, FIXED_WORDS + numbers + text_words);
    percentiles_add(&lane->percentiles, event->mono_ns, event->seconds);
    for (unsigned i = 0; i < STREAM_COUNTERS; i++)
        if (counters[i] > 0) atomic_fetch_add_explicit(&lane->counters[i], counters[i], memory_order_relaxed);
}

void stream_clear(struct stream *stream)
{
    for (unsigned place = 0; place < LANES_MOST; place++) {
        struct stream_lane *lane = lanes_at(&stream->lanes, place);
        if (lane == NULL) continue;
        ring_clear(&lane->ring);
        hist_clear(&lane->percentiles.halves[0]);
        hist_clear(&lane->percentiles.halves[1]);
        for (unsigned i = 0; i < STREAM_COUNTERS; i++)
            atomic_store_explicit(&lane->counters[i], 0, memory_order_relaxed);
    }
}

/* ----------------------------------------------------------------------------------------------------- figures -- */

uint64_t stream_total(const struct stream *stream)
{
    uint64_t sum = 0;
    for (unsigned place = 0; place < LANES_MOST; place++) {
        const struct stream_lane *lane = lanes_at(&stream->lanes, place);
        if (lane != NULL) sum += ring_total(&lane->ring);
    }
    return sum;
}

uint64_t stream_counter(const struct stream *stream, unsigned counter)
{
    uint64_t sum = 0;
    for (unsigned place = 0; place < LANES_MOST; place++) {
        const struct stream_lane *lane = lanes_at(&stream->lanes, place);
        if (lane != NULL) sum += atomic_load_explicit(&lane->counters[counter], memory_order_relaxed);
    }
    return sum;
}

uint64_t stream_lost(const struct stream *stream)
{
    uint64_t sum = 0;
    for (unsigned place = 0; place < LANES_MOST; place++) {
        const struct stream_lane *lane = lanes_at(&stream->lanes, place);
        if (lane != NULL) sum += atomic_load_explicit(&lane->ring.lost, memory_order_relaxed);
    }
    return sum;
}

void stream_write_percentiles(struct stream *stream, struct json_writer *out)
{
    static const struct {
        const char *name;
        double fraction;
    } wanted[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    struct hist_total total = {0};
    uint64_t now = clock_mono_ns(stream->clock);
    for (unsigned place = 0; place < LANES_MOST; place++) {
        struct stream_lane *lane = lanes_at(&stream->lanes, place);
        if (lane != NULL) percentiles_sum(&lane->percentiles, now, &total);
    }
    for (unsigned i = 0; i < COUNT_OF(wanted) && total.count > 0; i++) {
        json_key(out, wanted[i].name);
        json_put_double(out, (double)hist_percentile(&total, wanted[i].fraction) / 1e9);
    }
}

/* ------------------------------------------------------------------------------------------------------ window -- */

/* Reads a lane's events from the newest to the oldest. */
struct cursor {
    const struct ring *ring;
    uint64_t from, until; /* tickets not read yet */
    uint64_t count;       /* of `words`; 0: nothing is left */
    uint64_t words[MOST_WORDS];
};

static void step(struct cursor *cursor)
{
    cursor->count = 0;
    while (cursor->until > cursor->from && cursor->count == 0)
        cursor->count = ring_read(cursor->ring, --cursor->until, cursor->words);
}

/* Every lane's cursor at its newest event; how many have one. */
static unsigned open_cursors(const struct stream *stream, struct cursor cursors[LANES_MOST])
{
    unsigned count = 0;
    for (unsigned place = 0; place < LANES_MOST; place++) {
        const struct stream_lane *lane = lanes_at(&stream->lanes, place);
        if (lane == NULL) continue;
        struct cursor *cursor = &cursors[count];
        cursor->ring = &lane->ring;
        ring_span(cursor->ring, &cursor->from, &cursor->until);
        step(cursor);
        if (cursor->count > 0) count++;
    }
    return count;
}

static struct cursor *newest(struct cursor *cursors, unsigned count)
{
    struct cursor *best = NULL;
    for (unsigned i = 0; i < count; i++)
        if (cursors[i].count > 0 && (best == NULL || cursors[i].words[0] > best->words[0])) best = &cursors[i];
    return best;
}

/*
 * Bytes that are no UTF-8 become question marks, so that names that a report tells apart are different as JSON, too.
 * When it is read, because recording shall cost nothing for it. Data is looked at as JSON where it is shown.
 */
static void mend_name(char *name, size_t size)
{
    size_t at = 0;
    while ((at += utf8_valid_bytes((aic_view){name + at, size - at})) < size) name[at] = '?';
}

/* texts: room for the stream's text_words. */
static void unpack(const struct stream *stream, const struct cursor *cursor, struct event *event, uint64_t *texts)
{
    const uint64_t *words = cursor->words;
    uint64_t numbers = stream->shape.numbers, fixed = FIXED_WORDS + numbers;
    CHECK(cursor->count >= fixed && cursor->count - fixed <= stream->shape.text_words);
    event->mono_ns = words[0];
    memcpy(&event->seconds, &words[1], sizeof event->seconds);
    memset(event->number, 0, sizeof event->number);
    memcpy(event->number, &words[FIXED_WORDS], numbers * sizeof words[0]);
    memcpy(texts, words + fixed, (cursor->count - fixed) * sizeof words[0]);
    size_t at = 0;
    for (unsigned i = 0; i < EVENT_TEXTS; i++) {
        size_t size = words[2] >> (16 * i) & 0xFFFF;
        if (i < EVENT_TEXTS - 1) mend_name((char *)texts + at, size);
        event->text[i] = (aic_view){(const char *)texts + at, size};
        at += size;
    }
}

static bool is_old(const struct stream *stream, uint64_t now_ns, uint64_t event_ns)
{
    return now_ns >= event_ns && now_ns - event_ns >= stream->retention_ns;
}

/* The most events that a window could hold now. */
static size_t events_at_most(const struct stream *stream, const struct cursor *cursors, unsigned count)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < count; i++) sum += cursors[i].until - cursors[i].from + 1;
    return (size_t)(sum < stream->capacity ? sum : stream->capacity);
}

aic_status window_read(struct window *window, struct mem *mem, const struct stream *stream)
{
    struct cursor cursors[LANES_MOST];
    unsigned lanes = open_cursors(stream, cursors);
    *window = (struct window){.mem = mem, .capacity = events_at_most(stream, cursors, lanes)};
    if (window->capacity == 0) return AIC_OK;
    size_t text_words = stream->shape.text_words;
    window->bytes = window->capacity * (sizeof *window->events + text_words * sizeof(uint64_t));
    window->events = mem_alloc(mem, MEM_MONITOR, window->bytes);
    if (window->events == NULL) return AIC_NO_MEMORY;
    uint64_t *texts = (uint64_t *)(window->events + window->capacity);
    uint64_t now = clock_mono_ns(stream->clock), wall_ms = clock_wall_ms(stream->clock);
    struct cursor *cursor;
    while (window->count < window->capacity && (cursor = newest(cursors, lanes)) != NULL) {
        uint64_t mono_ns = cursor->words[0];
        if (!is_old(stream, now, mono_ns)) {
            size_t place = window->capacity - ++window->count;
            unpack(stream, cursor, &window->events[place], texts + place * text_words);
            window->events[place].wall_ms = wall_ms - (now > mono_ns ? (now - mono_ns) / 1000000 : 0);
        }
        step(cursor);
    }
    return AIC_OK;
}

bool stream_is_empty(const struct stream *stream)
{
    struct cursor cursors[LANES_MOST];
    unsigned lanes = open_cursors(stream, cursors);
    const struct cursor *cursor = newest(cursors, lanes);
    return cursor == NULL || is_old(stream, clock_mono_ns(stream->clock), cursor->words[0]);
}

void window_fini(struct window *window)
{
    mem_free(window->mem, MEM_MONITOR, window->events, window->bytes);
    window->events = NULL;
    window->count = 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

aic_status window_spread(const struct window *window, double (*value)(const struct event *event), struct spread *out)
{
    size_t count = window->count, half = count / 2, least = count * 8 / 10 > 0 ? count * 8 / 10 : 1;
    CHECK(count > 0);
    double *values = mem_alloc(window->mem, MEM_MONITOR, count * sizeof *values), sum = 0, sum_of_least = 0;
    if (values == NULL) return AIC_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct event *event = window_at(window, i);
        sum += values[i] = value != NULL ? value(event) : event->seconds;
    }
    qsort(values, count, sizeof *values, by_value);
    for (size_t i = 0; i < least; i++) sum_of_least += values[i];
    *out = (struct spread){.mean = sum / (double)count,
                           .median = count % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2,
                           .min = values[0],
                           .max = values[count - 1],
                           .usual = sum_of_least / (double)least};
    mem_free(window->mem, MEM_MONITOR, values, count * sizeof *values);
    return AIC_OK;
}
