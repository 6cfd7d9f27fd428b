/*
 * dictionaries.c - the life of a compression dictionary in storage: written before the first record needs it, read at
 * open, or when a record names one that is not known, and removed when no entry of any tier names it.
 *
 * A dictionary is a blob "dictionary/<id, 8 hex digits>/<namespace>". The search for those that are needed no more
 * begins when the codec has superseded ones, waits a minute (so that what was being encoded has arrived), walks storage
 * in bounded pieces, one per tick, then memory, and retires what it did not meet. A record that still slips through is
 * read as damaged, that is as a miss.
 */
#include "cache/inner.h"

#include "base/plural.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "dictionary/"
#define NAME_SIZE (sizeof PREFIX + 8 + 1 + AIC_MAX_NAME_BYTES)
#define WAIT_NS (UINT64_C(60) * 1000000000)
#define SYNC_WAIT_MS 10000
#define REST_NS (UINT64_C(600) * 1000000000)

static aic_view name_of(char out[NAME_SIZE], uint32_t id, aic_view group)
{
    int size = snprintf(out, NAME_SIZE, PREFIX "%08x/%.*s", id, (int)group.size, group.data);
    return (aic_view){out, (size_t)size};
}

/* AIC_OK: it is known now. AIC_DAMAGED: it is told that it cannot be used. AIC_NO_MEMORY. */
static aic_status load_one(struct aic_cache *cache, aic_view name, aic_view value)
{
    size_t front = sizeof PREFIX - 1 + 8 + 1;
    char digits[9] = "";
    if (name.size <= front) return AIC_DAMAGED;
    memcpy(digits, name.data + sizeof PREFIX - 1, 8);
    uint32_t id = (uint32_t)strtoul(digits, NULL, 16);
    aic_view group = {name.data + front, name.size - front};
    aic_status status = codec_add_dictionary(cache->codec, group, id, value);
    if (status == AIC_DAMAGED)
        cache_log(cache, AIC_LOG_WARNING, "a stored dictionary (%08x) cannot be used: %s", id, aic_status_text(status));
    return status == AIC_EXISTS ? AIC_OK : status;
}

aic_status dictionaries_load(struct aic_cache *cache, aic_error *error)
{
    struct buf name, value;
    buf_init(&name, &cache->mem, MEM_CACHE);
    buf_init(&value, &cache->mem, MEM_CACHE);
    aic_status status;
    while ((status = gate_blob_next(cache->gate, AIC_LITERAL(PREFIX), &name, &value)) == AIC_OK &&
           (status = load_one(cache, buf_view(&name), buf_view(&value))) != AIC_NO_MEMORY) {
    }
    buf_fini(&value);
    buf_fini(&name);
    if (status == AIC_MISS) return AIC_OK;
    if (status != AIC_NO_MEMORY) { /* storage that is down now is no reason not to start */
        cache_log(cache, AIC_LOG_WARNING, "the stored dictionaries cannot be read: %s", aic_status_text(status));
        return AIC_OK;
    }
    return error_set(error, status, NULL, "%s", aic_status_text(status));
}

aic_status dictionaries_fetch(struct aic_cache *cache, uint32_t id)
{
    struct buf name, value;
    char prefix[NAME_SIZE];
    if (cache->gate == NULL) return AIC_MISS;
    buf_init(&name, &cache->mem, MEM_CACHE);
    buf_init(&value, &cache->mem, MEM_CACHE);
    aic_status status = gate_blob_next(cache->gate, name_of(prefix, id, AIC_LITERAL("")), &name, &value);
    if (status == AIC_OK) status = load_one(cache, buf_view(&name), buf_view(&value));
    buf_fini(&value);
    buf_fini(&name);
    return status == AIC_DAMAGED ? AIC_MISS : status;
}

bool dictionaries_want(struct aic_cache *cache, uint32_t id)
{
    struct dictionary_wants *wants = &cache->wants;
    if (cache->gate == NULL) return false;
    for (size_t i = 0; i < COUNT_OF(wants->missing); i++)
        if (atomic_load_explicit(&wants->missing[i], memory_order_relaxed) == id) return false;
    for (size_t i = 0; i < COUNT_OF(wants->wanted); i++) {
        uint32_t none = 0;
        if (atomic_compare_exchange_strong_explicit(&wants->wanted[i], &none, id, memory_order_relaxed,
                                                    memory_order_relaxed) ||
            none == id)
            break;
    }
    return true; /* without a place for it, it is wanted when the next one asks */
}

void dictionaries_fetch_wanted(struct aic_cache *cache)
{
    struct dictionary_wants *wants = &cache->wants;
    for (size_t i = 0; i < COUNT_OF(wants->wanted); i++) {
        uint32_t id = atomic_load_explicit(&wants->wanted[i], memory_order_relaxed);
        if (id == 0) continue;
        aic_status status = dictionaries_fetch(cache, id);
        if (status < 0) continue; /* the next time */
        if (status == AIC_MISS) {
            atomic_store_explicit(&wants->missing[wants->next_missing], id, memory_order_relaxed);
            wants->next_missing = (wants->next_missing + 1) % COUNT_OF(wants->missing);
        }
        atomic_store_explicit(&wants->wanted[i], 0, memory_order_relaxed);
    }
}

/* Before the first record needs it, on disk. */
static aic_status keep(void *context, aic_view group, uint32_t id, aic_view dictionary)
{
    struct aic_cache *cache = context;
    if (cache->gate == NULL) return AIC_OK;
    char name[NAME_SIZE];
    TRY(gate_blob_put(cache->gate, name_of(name, id, group), dictionary));
    return gate_flush(cache->gate, true, SYNC_WAIT_MS);
}

void dictionaries_train(struct aic_cache *cache)
{
    if (cache->gate != NULL && !cache_storage_up(cache)) return; /* what cannot be kept is not trained */
    unsigned trained = 0;
    aic_status status = codec_train(cache->codec, keep, cache, &trained);
    if (status != AIC_OK)
        cache_log(cache, AIC_LOG_WARNING, "a compression dictionary could not be made: %s",
                  cache->gate != NULL ? gate_why(cache->gate, status) : aic_status_text(status));
    if (trained > 0)
        cache_log(cache, AIC_LOG_INFO, "%u new compression %s", trained, plural(trained, "dictionary", "dictionaries"));
}

/* ---- the search ---- */

static void strike(struct dictionary_sweep *sweep, uint32_t id)
{
    for (size_t i = 0; i < sweep->count; i++) {
        if (sweep->ids[i] == id) sweep->needed[i] = true;
    }
}

struct walk {
    struct dictionary_sweep *sweep;
    size_t left;
};

static bool walk_one(void *context, const aic_key *key, aic_view bytes)
{
    struct walk *walk = context;
    struct record record;
    if (record_take(key, bytes, &record) == AIC_OK && record.form.compressed)
        strike(walk->sweep, record.form.dictionary_id);
    return --walk->left > 0;
}

/* Stops where there is no memory to read a record: what it needs is not known then. *context is true until then. */
static bool walk_pinned(void *context, struct cache_hit *hit)
{
    bool *all_read = context;
    aic_status status = hit_read_pin(hit);
    if (status == AIC_OK && hit->record.form.compressed) strike(&hit->cache->sweep, hit->record.form.dictionary_id);
    *all_read = status != AIC_NO_MEMORY;
    return *all_read;
}

static void remove_blob(struct aic_cache *cache, uint32_t id)
{
    struct buf name, value;
    char prefix[NAME_SIZE];
    buf_init(&name, &cache->mem, MEM_CACHE);
    buf_init(&value, &cache->mem, MEM_CACHE);
    aic_status status = gate_blob_next(cache->gate, name_of(prefix, id, AIC_LITERAL("")), &name, &value);
    if (status == AIC_OK) status = gate_blob_put(cache->gate, buf_view(&name), (aic_view){NULL, 0});
    if (status < 0) cache_log(cache, AIC_LOG_WARNING, "an old dictionary (%08x) could not be removed", id);
    buf_fini(&value);
    buf_fini(&name);
}

static void retire_rest(struct aic_cache *cache)
{
    for (size_t i = 0; i < cache->sweep.count; i++) {
        if (cache->sweep.needed[i] || codec_retire(cache->codec, cache->sweep.ids[i]) != AIC_OK) continue;
        if (cache->gate != NULL) remove_blob(cache, cache->sweep.ids[i]);
    }
}

/* True when storage was walked to its end. On an error the sweep is given up; the next one begins anew. */
static bool walk_storage(struct aic_cache *cache, size_t max_records)
{
    struct dictionary_sweep *sweep = &cache->sweep;
    struct walk walk = {sweep, max_records};
    aic_status status = gate_walk(cache->gate, &(struct tier_walk){.filter = &(struct tier_filter){0},
                                                                   .at = &sweep->at,
                                                                   .most = SIZE_MAX,
                                                                   .visit = walk_one,
                                                                   .context = &walk});
    if (status != AIC_OK) {
        sweep->state = SWEEP_IDLE;
        return false;
    }
    return sweep->at.ended;
}

void dictionaries_sweep(struct aic_cache *cache, size_t max_records)
{
    struct dictionary_sweep *sweep = &cache->sweep;
    uint64_t now = clock_mono_ns(&cache->clock);
    if (sweep->state != SWEEP_WALKING && now < sweep->due_ns) return;
    if (sweep->state == SWEEP_IDLE) {
        sweep->due_ns = now + WAIT_NS;
        sweep->count = codec_superseded(cache->codec, sweep->ids, SWEEP_IDS);
        memset(sweep->needed, 0, sizeof sweep->needed);
        sweep->at = (struct tier_place){0};
        if (sweep->count > 0) sweep->state = SWEEP_WAITING;
        return;
    }
    sweep->state = SWEEP_WALKING;
    sweep->due_ns = now + REST_NS;
    if (cache->gate != NULL && !walk_storage(cache, max_records)) return;
    sweep->state = SWEEP_IDLE;
    bool all_read = true;
    cache_walk_memory(cache, walk_pinned, &all_read);
    if (all_read) retire_rest(cache);
}
