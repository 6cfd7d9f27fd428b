#include "observe/labels.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define NUMBER_MASK UINT64_C(0x7ff)
_Static_assert(LABELS_PAIRS <= NUMBER_MASK, "a number fits beside the hash");

_Static_assert((LABELS_SLOTS & (LABELS_SLOTS - 1)) == 0, "a mask keeps a slot's number within the table");
_Static_assert(LABELS_SLOTS > LABELS_PAIRS && LABELS_WINDOW <= LABELS_SLOTS, "each pair finds a slot");
#define MARGIN 8 /* lookups of late by which twice the idlest's must be passed, so that few lookups decide nothing */
#define REUSE_NS UINT64_C(1000000000) /* between the end of a pair and the next one of its number */

void labels_init(struct labels *labels, struct mem *mem, uint64_t seed)
{
    memset(labels, 0, sizeof *labels);
    labels->mem = mem;
    labels->seed = seed;
    atomic_init(&labels->generation, 1);
    atomic_init(&labels->free_count, LABELS_PAIRS);
    pthread_mutex_init(&labels->mutex, NULL);
}

void labels_fini(struct labels *labels)
{
    for (size_t kind = 0; kind < LABELS_KINDS; kind++) {
        for (size_t i = 0; i < labels->name_count[kind]; i++)
            mem_free(labels->mem, MEM_OTHER, labels->names[kind][i], sizeof(struct labels_name));
    }
    for (size_t i = 0; i < LABELS_SHOWN; i++)
        mem_free(labels->mem, MEM_OTHER, labels->rows[i], sizeof labels->rest_row);
    pthread_mutex_destroy(&labels->mutex);
}

/* ------------------------------------------------------------------------------------------------------ finding -- */

static XXH128_hash_t hash_of(const struct labels *labels, aic_view ns, aic_view operation)
{
    uint64_t seed = XXH3_64bits_withSeed(ns.data, ns.size, labels->seed);
    return XXH3_128bits_withSeed(operation.data, operation.size, seed);
}

static unsigned find_number(struct labels *labels, XXH128_hash_t hash)
{
    for (unsigned step = 0; step < LABELS_WINDOW; step++) {
        struct labels_slot *slot = &labels->slots[(hash.low64 + step) & (LABELS_SLOTS - 1)];
        uint64_t high = atomic_load_explicit(&slot->high_number, memory_order_acquire);
        if (((high ^ hash.high64) & ~NUMBER_MASK) != 0 || (high & NUMBER_MASK) == 0) continue;
        if (atomic_load_explicit(&slot->low, memory_order_relaxed) == hash.low64) return (unsigned)(high & NUMBER_MASK);
    }
    return 0;
}

static bool is_name(const struct labels_name *name, uint64_t hash, aic_view text)
{
    return name->hash == hash && name->size == text.size && memcmp(name->text, text.data, text.size) == 0;
}

static void give_label(struct labels *labels, enum labels_kind kind, struct labels_name *name)
{
    CHECK(name->label == LABELS_SHOWN && labels->shown_count[kind] < LABELS_SHOWN);
    for (unsigned label = 0; label < LABELS_SHOWN; label++) {
        if (labels->shown[kind][label] != NULL) continue;
        labels->shown[kind][label] = name;
        labels->shown_count[kind]++;
        name->label = label;
        return;
    }
}

/* The series of a label end. */
static void take_label(struct labels *labels, enum labels_kind kind, struct labels_name *name)
{
    unsigned label = name->label;
    if (label == LABELS_SHOWN) return;
    CHECK(labels->shown[kind][label] == name && labels->shown_count[kind] > 0);
    labels->shown[kind][label] = NULL;
    labels->shown_count[kind]--;
    name->label = LABELS_SHOWN;
    if (kind == LABELS_NAMESPACE) {
        if (labels->rows[label] != NULL) memset(labels->rows[label], 0, sizeof labels->rest_row);
        return;
    }
    for (size_t i = 0; i < LABELS_SHOWN; i++) {
        if (labels->rows[i] != NULL) memset(labels->rows[i][label], 0, sizeof(labels_counts));
    }
    memset(labels->rest_row[label], 0, sizeof(labels_counts));
}

static struct labels_name *name_of(struct labels *labels, enum labels_kind kind, aic_view text)
{
    uint64_t hash = XXH3_64bits_withSeed(text.data, text.size, labels->seed);
    for (size_t i = 0; i < labels->name_count[kind]; i++) {
        if (is_name(labels->names[kind][i], hash, text)) return labels->names[kind][i];
    }
    struct labels_name *name = mem_zalloc(labels->mem, MEM_OTHER, sizeof *name);
    if (name == NULL) return NULL;
    if (text.size > 0) memcpy(name->text, text.data, text.size);
    name->size = text.size;
    name->hash = hash;
    name->label = LABELS_SHOWN;
    name->rest = text.size == 5 && memcmp(text.data, "other", 5) == 0;
    labels->names[kind][labels->name_count[kind]++] = name;
    CHECK(labels->name_count[kind] <= LABELS_PAIRS); /* each is of a pair that has a number */
    if (!name->rest && labels->shown_count[kind] < LABELS_SHOWN) give_label(labels, kind, name);
    return name;
}

static void forget_name(struct labels *labels, enum labels_kind kind, struct labels_name *name)
{
    if (name == NULL || name->pairs > 0) return;
    take_label(labels, kind, name);
    size_t at = 0;
    while (labels->names[kind][at] != name) at++;
    labels->names[kind][at] = labels->names[kind][--labels->name_count[kind]];
    mem_free(labels->mem, MEM_OTHER, name, sizeof *name);
}

static unsigned free_number(const struct labels *labels)
{
    for (unsigned number = 1; number <= LABELS_PAIRS; number++) {
        const struct labels_pair *pair = &labels->pairs[number];
        if (pair->names[0] == NULL && pair->retired_ns == 0) return number;
    }
    return 0;
}

static bool free_slot(const struct labels *labels, XXH128_hash_t hash, unsigned *out)
{
    for (unsigned step = 0; step < LABELS_WINDOW; step++) {
        unsigned slot = (unsigned)(hash.low64 + step) & (LABELS_SLOTS - 1);
        if (atomic_load_explicit(&labels->slots[slot].high_number, memory_order_relaxed) != 0) continue;
        *out = slot;
        return true;
    }
    return false;
}

/* Under the mutex. */
static unsigned add_pair(struct labels *labels, XXH128_hash_t hash, aic_view ns, aic_view operation)
{
    unsigned slot = 0, number = find_number(labels, hash);
    if (number != 0) return number;
    number = free_number(labels);
    if (number == 0 || !free_slot(labels, hash, &slot)) {
        atomic_store_explicit(&labels->refused, true, memory_order_relaxed);
        return 0;
    }
    struct labels_name *names[LABELS_KINDS] = {name_of(labels, LABELS_NAMESPACE, ns), NULL};
    if (names[0] != NULL) names[1] = name_of(labels, LABELS_OPERATION, operation);
    if (names[1] == NULL) {
        forget_name(labels, LABELS_NAMESPACE, names[0]);
        return 0;
    }
    struct labels_pair *pair = &labels->pairs[number];
    for (size_t kind = 0; kind < LABELS_KINDS; kind++) (pair->names[kind] = names[kind])->pairs++;
    pair->slot = slot;
    pair->recent = 0;
    atomic_store_explicit(&labels->slots[slot].low, hash.low64, memory_order_relaxed);
    atomic_store_explicit(&labels->slots[slot].high_number, (hash.high64 & ~NUMBER_MASK) | number,
                          memory_order_release);
    atomic_fetch_sub_explicit(&labels->free_count, 1, memory_order_relaxed);
    return number;
}

struct labels_place labels_find(struct labels *labels, aic_view ns, aic_view operation)
{
    /* Before the search: a pair that ends in between makes the place an old one. */
    struct labels_place place = {.generation = atomic_load_explicit(&labels->generation, memory_order_acquire)};
    if (ns.size > AIC_MAX_NAME_BYTES || operation.size > AIC_MAX_NAME_BYTES) return place;
    XXH128_hash_t hash = hash_of(labels, ns, operation);
    place.number = find_number(labels, hash);
    if (place.number != 0) return place;
    if (atomic_load_explicit(&labels->free_count, memory_order_relaxed) == 0) {
        atomic_store_explicit(&labels->refused, true, memory_order_relaxed);
        return place;
    }
    pthread_mutex_lock(&labels->mutex);
    place.generation = atomic_load_explicit(&labels->generation, memory_order_relaxed);
    place.number = add_pair(labels, hash, ns, operation);
    pthread_mutex_unlock(&labels->mutex);
    return place;
}

size_t labels_operation(struct labels *labels, struct labels_place place, char out[AIC_MAX_NAME_BYTES])
{
    size_t size = 0;
    CHECK(place.number <= LABELS_PAIRS);
    pthread_mutex_lock(&labels->mutex);
    const struct labels_name *name = labels->pairs[place.number].names[LABELS_OPERATION];
    /* In its own generation a pair with a number keeps it: whoever takes one away changes the generation under the same
     * mutex. */
    if (labels_hold(labels, place) && name != NULL) memcpy(out, name->text, size = name->size);
    pthread_mutex_unlock(&labels->mutex);
    return size;
}

/* ----------------------------------------------------------------------------------------------------- settling -- */

static uint64_t fresh_lookups(const struct labels_pair *pair, const uint64_t *counts)
{
    uint64_t sum = 0;
    for (unsigned outcome = 0; outcome < LABELS_OUTCOMES; outcome++) sum += counts[outcome] - pair->seen[outcome];
    return sum;
}

static void age(struct labels *labels, const labels_counts *counts, uint64_t now_ns)
{
    double seconds = (double)(now_ns - labels->settled_ns) * 1e-9;
    double left = labels->settled_ns > 0 ? LABELS_FADE_S / (LABELS_FADE_S + seconds) : 1;
    labels->settled_ns = now_ns;
    for (size_t kind = 0; kind < LABELS_KINDS; kind++) {
        for (size_t i = 0; i < labels->name_count[kind]; i++) labels->names[kind][i]->recent = 0;
    }
    for (unsigned number = 1; number <= LABELS_PAIRS; number++) {
        struct labels_pair *pair = &labels->pairs[number];
        if (pair->names[0] == NULL) continue;
        pair->recent = pair->recent * left + (double)fresh_lookups(pair, counts[number]);
        for (size_t kind = 0; kind < LABELS_KINDS; kind++) pair->names[kind]->recent += pair->recent;
    }
}

/* The busiest name without a label, or NULL. */
static struct labels_name *busiest_hidden(const struct labels *labels, enum labels_kind kind)
{
    struct labels_name *best = NULL;
    if (labels->name_count[kind] == labels->shown_count[kind]) return NULL;
    for (size_t i = 0; i < labels->name_count[kind]; i++) {
        struct labels_name *name = labels->names[kind][i];
        if (name->label != LABELS_SHOWN || name->rest) continue;
        if (best == NULL || name->recent > best->recent) best = name;
    }
    return best;
}

static struct labels_name *idlest_shown(const struct labels *labels, enum labels_kind kind)
{
    struct labels_name *least = NULL;
    for (size_t i = 0; i < LABELS_SHOWN; i++) {
        struct labels_name *name = labels->shown[kind][i];
        if (least == NULL || name->recent < least->recent) least = name;
    }
    return least;
}

/* Free labels go to the busiest; then these take the place of the idlest, one by one: at most all of them at once. */
static void hand_over(struct labels *labels, enum labels_kind kind)
{
    for (size_t turn = 0; turn < LABELS_SHOWN; turn++) {
        struct labels_name *best = busiest_hidden(labels, kind);
        if (best == NULL) return;
        if (labels->shown_count[kind] == LABELS_SHOWN) {
            struct labels_name *least = idlest_shown(labels, kind);
            if (best->recent <= 2 * least->recent + MARGIN) return;
            take_label(labels, kind, least);
        }
        give_label(labels, kind, best);
    }
}

/* The row of a namespace; without memory for it, that of the rest. */
static labels_counts *row_of(struct labels *labels, unsigned label)
{
    if (label == LABELS_SHOWN) return labels->rest_row;
    if (labels->rows[label] == NULL) labels->rows[label] = mem_zalloc(labels->mem, MEM_OTHER, sizeof labels->rest_row);
    return labels->rows[label] != NULL ? labels->rows[label] : labels->rest_row;
}

static void credit(struct labels *labels, const labels_counts *counts)
{
    for (unsigned number = 0; number <= LABELS_PAIRS; number++) {
        struct labels_pair *pair = &labels->pairs[number];
        if (fresh_lookups(pair, counts[number]) == 0) continue;
        /* What comes after the end of a pair, and the number 0, belong to nobody. */
        bool known = pair->names[0] != NULL;
        unsigned ns = known ? pair->names[LABELS_NAMESPACE]->label : LABELS_SHOWN;
        uint64_t *total = row_of(labels, ns)[known ? pair->names[LABELS_OPERATION]->label : LABELS_SHOWN];
        for (unsigned outcome = 0; outcome < LABELS_OUTCOMES; outcome++) {
            total[outcome] += counts[number][outcome] - pair->seen[outcome];
            pair->seen[outcome] = counts[number][outcome];
        }
    }
}

static void retire(struct labels *labels, struct labels_pair *pair, uint64_t now_ns)
{
    atomic_store_explicit(&labels->slots[pair->slot].high_number, 0, memory_order_release);
    for (enum labels_kind kind = 0; kind < LABELS_KINDS; kind++) {
        struct labels_name *name = pair->names[kind];
        pair->names[kind] = NULL;
        CHECK(name != NULL && name->pairs > 0);
        name->pairs--;
        forget_name(labels, kind, name);
    }
    pair->retired_ns = now_ns > 0 ? now_ns : 1;
}

/* Those whose namespace has a label are kept by the same measure by which it keeps the label. */
static double weight(const struct labels_pair *pair)
{
    bool shown = pair->names[LABELS_NAMESPACE]->label < LABELS_SHOWN;
    return shown ? 2 * pair->recent + MARGIN : pair->recent;
}

struct ranked {
    struct labels_pair *pair;
    double weight;
};

static int by_weight(const void *a, const void *b)
{
    double x = ((const struct ranked *)a)->weight, y = ((const struct ranked *)b)->weight;
    return (x > y) - (x < y);
}

static void retire_idlest(struct labels *labels, uint64_t now_ns)
{
    struct ranked list[LABELS_PAIRS];
    size_t count = 0;
    for (unsigned number = 1; number <= LABELS_PAIRS; number++) {
        struct labels_pair *pair = &labels->pairs[number];
        if (pair->names[0] != NULL) list[count++] = (struct ranked){pair, weight(pair)};
    }
    if (count == 0) return;
    qsort(list, count, sizeof *list, by_weight);
    for (size_t i = 0; i < count && i < LABELS_BATCH; i++) retire(labels, list[i].pair, now_ns);
}

/* Numbers go round: taken from the idlest where they lack, given out again a moment later. */
static void recycle(struct labels *labels, uint64_t now_ns)
{
    unsigned freed = 0, resting = 0;
    for (unsigned number = 1; number <= LABELS_PAIRS; number++) {
        struct labels_pair *pair = &labels->pairs[number];
        if (pair->retired_ns == 0) continue;
        if (now_ns - pair->retired_ns >= REUSE_NS) {
            pair->retired_ns = 0;
            freed++;
        } else {
            resting++;
        }
    }
    unsigned left = atomic_fetch_add_explicit(&labels->free_count, freed, memory_order_relaxed) + freed;
    CHECK(left <= LABELS_PAIRS);
    bool needed = left == 0 && resting == 0 && atomic_load_explicit(&labels->refused, memory_order_relaxed);
    if (needed) {
        atomic_store_explicit(&labels->refused, false, memory_order_relaxed);
        retire_idlest(labels, now_ns);
    }
    if (!needed && freed == 0) return;
    /* Places are looked up anew: those of pairs that ended, and those that found no room. 0 is no generation. */
    uint32_t next = atomic_load_explicit(&labels->generation, memory_order_relaxed) + 1;
    atomic_store_explicit(&labels->generation, next != 0 ? next : 1, memory_order_release);
}

void labels_settle(struct labels *labels, const labels_counts *counts, uint64_t now_ns)
{
    pthread_mutex_lock(&labels->mutex);
    age(labels, counts, now_ns);
    for (enum labels_kind kind = 0; kind < LABELS_KINDS; kind++) hand_over(labels, kind);
    credit(labels, counts);
    recycle(labels, now_ns);
    pthread_mutex_unlock(&labels->mutex);
}

/* ------------------------------------------------------------------------------------------------------ reading -- */

static void read_row(const labels_counts *row, unsigned ns, struct labels_page *out)
{
    for (unsigned operation = 0; operation <= LABELS_SHOWN; operation++) {
        const uint64_t *counts = row[operation];
        if ((counts[0] | counts[1] | counts[2]) == 0) continue;
        CHECK(out->count < COUNT_OF(out->series));
        struct labels_series *series = &out->series[out->count++];
        series->ns = ns;
        series->operation = operation;
        memcpy(series->counts, counts, sizeof series->counts);
    }
}

void labels_read(struct labels *labels, struct labels_page *out)
{
    pthread_mutex_lock(&labels->mutex);
    out->count = 0;
    for (unsigned label = 0; label <= LABELS_SHOWN; label++) {
        for (size_t kind = 0; kind < LABELS_KINDS; kind++) {
            const struct labels_name *name = label < LABELS_SHOWN ? labels->shown[kind][label] : NULL;
            struct labels_text *text = &out->texts[kind][label];
            CHECK(name == NULL || name->label == label);
            text->size = name != NULL ? name->size : 5;
            memcpy(text->text, name != NULL ? name->text : "other", text->size);
        }
        const labels_counts *row = label < LABELS_SHOWN ? labels->rows[label] : labels->rest_row;
        if (row != NULL) read_row(row, label, out);
    }
    pthread_mutex_unlock(&labels->mutex);
}
