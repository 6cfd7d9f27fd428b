#include "observe/reuse.h"

#include "base/check.h"
#include "base/hist.h"
#include "base/lanes.h"
#include "observe/fields.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_KEYS 8192
#define TABLE_SLOTS (2 * MAX_KEYS)
#define ORDER_SLOTS (4 * MAX_KEYS)
#define START_SHIFT 3 /* one key in eight from the start: below that the mutex would show in the cost of a hit */
#define FADE_AFTER 131072
#define UNIT 64 /* distances are counted in units of so many bytes */
#define KNOWN_KEYS 64
#define KNOWN_REFERENCES 1000

static_assert(TABLE_SLOTS > MAX_KEYS, "a search ends at an empty slot");
static_assert(ORDER_SLOTS > 2 * MAX_KEYS, "a rebuilding leaves room for as many references again");

struct followed {
    uint64_t hash;
    uint32_t order; /* place of its last reference in the Fenwick tree, from 1; 0: the slot is empty */
    uint32_t units; /* its size; at least 1 */
};

struct reuse {
    struct mem *mem;
    _Atomic uint64_t threshold; /* hashes below are followed. Relaxed: an old value only samples one reference more */
    _Atomic uint64_t skipped;   /* relaxed counter */
    struct {
        char apart[64]; /* so that no two threads count in one cache line */
        _Atomic uint64_t count;
    } references[LANES];                /* not added to `seen` yet; relaxed counters */
    pthread_mutex_t mutex;              /* guards all below; nothing else is taken under it */
    struct followed table[TABLE_SLOTS]; /* open addressing, linear probing */
    struct followed scratch[MAX_KEYS];  /* for the rebuilding */
    size_t keys;
    uint64_t tree[ORDER_SLOTS + 1]; /* Fenwick tree of units by order of reference */
    uint32_t next_order;
    double distances[HIST_BUCKETS]; /* weight of references by reuse distance */
    double cold;                    /* weight of first references */
    double weight;                  /* of all sampled references */
    double seen;                    /* references in the same time, sampled or not */
    uint64_t counted, since_fade;
};

aic_status reuse_create(struct mem *mem, struct reuse **out)
{
    struct reuse *made = mem_zalloc(mem, MEM_MONITOR, sizeof *made);
    if (made == NULL) return AIC_NO_MEMORY;
    made->mem = mem;
    made->next_order = 1;
    atomic_init(&made->threshold, UINT64_MAX >> START_SHIFT);
    CHECK(pthread_mutex_init(&made->mutex, NULL) == 0);
    *out = made;
    return AIC_OK;
}

void reuse_destroy(struct reuse **reuse)
{
    if (*reuse == NULL) return;
    pthread_mutex_destroy(&(*reuse)->mutex);
    mem_free((*reuse)->mem, MEM_MONITOR, *reuse, sizeof **reuse);
    *reuse = NULL;
}

/* ------------------------------------------------------------------------------------------------------- table -- */

/* Low bits place a key, because the high ones are small in every followed hash. */
static size_t home(uint64_t hash)
{
    return (size_t)(hash * 0x9E3779B97F4A7C15ULL >> 32) % TABLE_SLOTS;
}

/* The key's slot, or the empty one where it belongs. */
static struct followed *find(struct reuse *reuse, uint64_t hash)
{
    size_t at = home(hash);
    while (reuse->table[at].order != 0 && reuse->table[at].hash != hash) at = (at + 1) % TABLE_SLOTS;
    return &reuse->table[at];
}

/* -------------------------------------------------------------------------------------------------------- tree -- */

static void tree_add(struct reuse *reuse, uint32_t order, uint64_t units)
{
    CHECK(order > 0 && order <= ORDER_SLOTS); /* 0 would be added to for ever */
    for (uint32_t at = order; at <= ORDER_SLOTS; at += at & -at) reuse->tree[at] += units;
}

static uint64_t tree_sum(const struct reuse *reuse, uint32_t order)
{
    uint64_t sum = 0;
    for (uint32_t at = order; at > 0; at -= at & -at) sum += reuse->tree[at];
    return sum;
}

static int by_order(const void *a, const void *b)
{
    const struct followed *x = a, *y = b;
    return (x->order > y->order) - (x->order < y->order);
}

/* Builds table and tree anew from the keys that are still followed, in their order. */
static void rebuild(struct reuse *reuse, uint64_t threshold)
{
    struct followed *kept = reuse->scratch;
    size_t count = 0;
    for (size_t i = 0; i < TABLE_SLOTS; i++) {
        struct followed *key = &reuse->table[i];
        if (key->order != 0 && key->hash < threshold) kept[count++] = *key;
        CHECK(count < MAX_KEYS);
    }
    qsort(kept, count, sizeof *kept, by_order);
    memset(reuse->table, 0, sizeof reuse->table);
    memset(reuse->tree, 0, sizeof reuse->tree);
    for (size_t i = 0; i < count; i++) {
        kept[i].order = (uint32_t)i + 1;
        *find(reuse, kept[i].hash) = kept[i];
        tree_add(reuse, kept[i].order, kept[i].units);
    }
    reuse->keys = count;
    reuse->next_order = (uint32_t)count + 1;
}

/* ------------------------------------------------------------------------------------------------------ record -- */

static double rate_of(uint64_t threshold)
{
    return (double)threshold / (double)UINT64_MAX;
}

static void fade(struct reuse *reuse)
{
    reuse->since_fade = 0;
    for (unsigned i = 0; i < HIST_BUCKETS; i++) reuse->distances[i] /= 2;
    reuse->cold /= 2;
    reuse->weight /= 2;
    reuse->seen /= 2;
}

static uint32_t units_of(uint64_t bytes)
{
    uint64_t units = (bytes + UNIT - 1) / UNIT;
    return units == 0 ? 1 : units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
}

static void set_units(struct reuse *reuse, struct followed *key, uint32_t units)
{
    tree_add(reuse, key->order, (uint64_t)units - key->units); /* wraps when it became smaller, and back */
    key->units = units;
}

/* The key takes the newest place in the order. */
static void touch(struct reuse *reuse, struct followed *key)
{
    if (key->order != 0) tree_add(reuse, key->order, -(uint64_t)key->units);
    key->order = reuse->next_order++;
    tree_add(reuse, key->order, key->units);
}

static void make_room(struct reuse *reuse)
{
    uint64_t threshold = atomic_load_explicit(&reuse->threshold, memory_order_relaxed);
    bool full = reuse->keys >= MAX_KEYS - 1;
    if (full) {
        threshold /= 2;
        atomic_store_explicit(&reuse->threshold, threshold, memory_order_relaxed);
    }
    if (full || reuse->next_order > ORDER_SLOTS) rebuild(reuse, threshold);
}

static void count_reference(struct reuse *reuse, uint64_t hash, uint64_t bytes)
{
    make_room(reuse);
    uint64_t threshold = atomic_load_explicit(&reuse->threshold, memory_order_relaxed);
    if (hash >= threshold) return;
    double rate = rate_of(threshold), weight = 1 / rate;
    struct followed *key = find(reuse, hash);
    if (key->order == 0) {
        *key = (struct followed){.hash = hash, .units = units_of(bytes)};
        reuse->keys++;
        reuse->cold += weight;
    } else if (key->order + 1 == reuse->next_order) {
        /* Asked for twice in a row: nothing came between, and it is the newest already. */
        reuse->distances[hist_bucket(key->units)] += weight;
    } else {
        if (bytes > 0 && units_of(bytes) != key->units) set_units(reuse, key, units_of(bytes));
        uint64_t newer = tree_sum(reuse, ORDER_SLOTS) - tree_sum(reuse, key->order);
        double distance = (double)newer / rate + key->units;
        reuse->distances[hist_bucket((uint64_t)distance)] += weight;
    }
    if (key->order == 0 || key->order + 1 != reuse->next_order) touch(reuse, key);
    reuse->weight += weight;
    reuse->counted++;
    if (++reuse->since_fade >= FADE_AFTER) fade(reuse);
}

/* What all threads have counted since the last call. */
static uint64_t take_references(struct reuse *reuse)
{
    uint64_t sum = 0;
    for (unsigned lane = 0; lane < LANES; lane++) {
        _Atomic uint64_t *count = &reuse->references[lane].count;
        /* Most lanes are empty: a look does not take their cache line from anybody. */
        if (atomic_load_explicit(count, memory_order_relaxed) > 0)
            sum += atomic_exchange_explicit(count, 0, memory_order_relaxed);
    }
    return sum;
}

void reuse_reference(struct reuse *reuse, uint64_t hash, uint64_t bytes)
{
    atomic_fetch_add_explicit(&reuse->references[lane_of_thread()].count, 1, memory_order_relaxed);
    if (hash >= atomic_load_explicit(&reuse->threshold, memory_order_relaxed)) return;
    if (pthread_mutex_trylock(&reuse->mutex) != 0) {
        atomic_fetch_add_explicit(&reuse->skipped, 1, memory_order_relaxed);
        return;
    }
    reuse->seen += (double)take_references(reuse);
    count_reference(reuse, hash, bytes);
    pthread_mutex_unlock(&reuse->mutex);
}

void reuse_store(struct reuse *reuse, uint64_t hash, uint64_t bytes)
{
    if (hash >= atomic_load_explicit(&reuse->threshold, memory_order_relaxed)) return;
    if (pthread_mutex_trylock(&reuse->mutex) != 0) return;
    struct followed *key = find(reuse, hash);
    if (key->order != 0) set_units(reuse, key, units_of(bytes));
    pthread_mutex_unlock(&reuse->mutex);
}

void reuse_clear(struct reuse *reuse)
{
    pthread_mutex_lock(&reuse->mutex);
    memset(reuse->table, 0, sizeof reuse->table);
    memset(reuse->tree, 0, sizeof reuse->tree);
    memset(reuse->distances, 0, sizeof reuse->distances);
    reuse->keys = 0;
    reuse->next_order = 1;
    reuse->cold = reuse->weight = reuse->seen = 0;
    reuse->counted = reuse->since_fade = 0;
    pthread_mutex_unlock(&reuse->mutex);
}

/* ------------------------------------------------------------------------------------------------------ report -- */

/* Of the bucket that the capacity lies in the part below it, as if its distances were spread evenly. */
static double weight_within(const struct reuse *reuse, double units)
{
    double sum = 0, low = 0;
    for (unsigned i = 0; i + 1 < HIST_BUCKETS; i++) {
        double high = (double)hist_bucket_high(i);
        if (high > units) return sum + reuse->distances[i] * (units - low) / (high - low);
        sum += reuse->distances[i];
        low = high;
    }
    return sum;
}

static double ratio_at(const struct reuse *reuse, uint64_t capacity)
{
    if (reuse->weight <= 0) return 0;
    double hits = weight_within(reuse, (double)capacity / UNIT);
    /* The sample holds more or fewer of the hot keys than their share: what is missing or too much are references at
     * the shortest distance. */
    double total = reuse->seen > 0 ? reuse->seen : reuse->weight;
    hits += total - reuse->weight;
    return hits < 0 ? 0 : hits > total ? 1 : hits / total;
}

double reuse_hit_ratio(struct reuse *reuse, uint64_t capacity)
{
    pthread_mutex_lock(&reuse->mutex);
    double ratio = ratio_at(reuse, capacity);
    pthread_mutex_unlock(&reuse->mutex);
    return ratio;
}

static bool known(const struct reuse *reuse)
{
    return reuse->keys >= KNOWN_KEYS && reuse->counted >= KNOWN_REFERENCES;
}

bool reuse_is_known(struct reuse *reuse)
{
    pthread_mutex_lock(&reuse->mutex);
    bool enough = known(reuse);
    pthread_mutex_unlock(&reuse->mutex);
    return enough;
}

void reuse_write(struct reuse *reuse, uint64_t capacity, struct json_writer *out)
{
    static const double factors[] = {0.125, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 8};
    pthread_mutex_lock(&reuse->mutex);
    json_open(out, '{');
    put_flag(out, "known", known(reuse));
    put_text(out, "policy", "lru");
    put_number(out, "sampling_rate", rate_of(atomic_load_explicit(&reuse->threshold, memory_order_relaxed)));
    put_count(out, "sampled_keys", reuse->keys);
    put_count(out, "sampled_references", reuse->counted);
    put_count(out, "skipped_references", atomic_load_explicit(&reuse->skipped, memory_order_relaxed));
    json_key(out, "points");
    json_open(out, '[');
    for (unsigned i = 0; i < COUNT_OF(factors); i++) {
        uint64_t bytes = (uint64_t)((double)capacity * factors[i]);
        json_open(out, '{');
        put_number(out, "factor", factors[i]);
        put_count(out, "bytes", bytes);
        put_number(out, "hit_rate", ratio_at(reuse, bytes) * 100);
        json_close(out, '}');
    }
    json_close(out, ']');
    json_close(out, '}');
    pthread_mutex_unlock(&reuse->mutex);
}
