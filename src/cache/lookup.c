/*
 * lookup.c - finding entries: memory first, then storage within a deadline, and moving what storage had into memory.
 */
#include "cache/inner.h"

#include "base/view.h"

#include <string.h>

#define WALK_PINS 64 /* entries of memory looked at in one go */

/* An empty `wanted` lets any namespace do: a key already stands for exactly one. */
static bool is_in(aic_view ns, aic_view wanted)
{
    return wanted.size == 0 || view_equal(ns, wanted);
}

static void hit_init(struct cache_hit *hit, struct aic_cache *cache, const aic_key *key, struct moment moment,
                     unsigned tier)
{
    hit->cache = cache;
    hit->key = *key;
    hit->pin = (struct pin){NULL, NULL};
    buf_init(&hit->copy, &cache->mem, MEM_CACHE);
    buf_init(&hit->head, &cache->mem, MEM_CACHE);
    hit->head_bytes = 0;
    hit->tier = tier;
    hit->epoch = moment.epoch;
    hit->writes = moment.writes;
}

void cache_hit_release(struct cache_hit *hit)
{
    if (hit->cache == NULL) return;
    pin_release(&hit->pin);
    buf_fini(&hit->copy);
    buf_fini(&hit->head);
    hit->cache = NULL;
}

void cache_hit_move(struct cache_hit *to, struct cache_hit *from)
{
    *to = *from; /* every view leads into the pin or into heap bytes of the buffers, which stay where they are */
    from->pin = (struct pin){NULL, NULL};
    from->cache = NULL;
}

/* ---- memory ---- */

aic_status hit_read_pin(struct cache_hit *hit)
{
    struct iovec first;
    size_t covered = 0, whole = pin_size(&hit->pin);
    if (pin_pieces(&hit->pin, 0, whole, &first, 1, &covered) == 0) return AIC_DAMAGED;
    char front[RECORD_FIXED_BYTES];
    aic_view bytes = {first.iov_base, first.iov_len};
    if (bytes.size < RECORD_FIXED_BYTES && bytes.size < whole) {
        size_t size = whole < sizeof front ? whole : sizeof front;
        pin_copy(&hit->pin, 0, front, size);
        bytes = (aic_view){front, size};
    }
    size_t size = record_head_size(bytes);
    if (size == 0 || size > whole) return AIC_DAMAGED;
    hit->head_bytes = size;
    if (first.iov_len < size) { /* the head lies in more than one piece */
        char *room = buf_reserve(&hit->head, size);
        if (room == NULL) return AIC_NO_MEMORY;
        pin_copy(&hit->pin, 0, room, size);
        buf_commit(&hit->head, size);
        return record_read(buf_view(&hit->head), &hit->record);
    }
    return record_read((aic_view){first.iov_base, first.iov_len}, &hit->record);
}

void cache_drop_damaged(struct aic_cache *cache, const aic_key *key, struct moment moment)
{
    FIGURE_COUNT_LANE(&cache->counts, damaged, 1);
    if (cache_remove_both(cache, key, &moment) < 0)
        cache_log(cache, AIC_LOG_WARNING, "a damaged entry could not be removed: out of memory");
}

/* A pin to a hit: the namespace must be the caller's. The pin is the hit's from here on, also on
 * failure: the caller releases the hit. */
static aic_status hit_from_pin(struct cache_hit *hit, aic_view ns)
{
    aic_status status = hit_read_pin(hit);
    if (status == AIC_OK && !is_in(hit->record.ns, ns)) status = AIC_MISS;
    if (status == AIC_DAMAGED || status == AIC_NEWER) {
        cache_drop_damaged(hit->cache, &hit->key, hit_moment(hit));
        status = AIC_MISS;
    }
    return status;
}

/* The monitor draws its miss-ratio curve from this. */
static void tell_reference(struct aic_cache *cache, const aic_key *key, const struct cache_hit *hit)
{
    if (cache->monitor != NULL)
        cache->meter->referenced(cache->monitor, key, hit != NULL ? store_cost(pin_size(&hit->pin)) : 0);
}

aic_status cache_lookup_memory(struct aic_cache *cache, aic_view ns, const aic_key *key, struct cache_hit *hit)
{
    hit->cache = NULL;
    struct moment moment = moment_sample(cache, key);
    struct pin pin;
    aic_status found = store_get(cache->store, key, &pin);
    if (found != AIC_OK) {
        tell_reference(cache, key, NULL);
        return found;
    }
    hit_init(hit, cache, key, moment, AIC_IN_MEMORY);
    hit->pin = pin;
    tell_reference(cache, key, hit);
    aic_status status = hit_from_pin(hit, ns);
    if (status != AIC_OK) cache_hit_release(hit);
    return status;
}

bool cache_has_storage(const struct aic_cache *cache)
{
    return cache->gate != NULL;
}

/* ---- storage ---- */

aic_status cache_accept(struct aic_cache *cache, const aic_key *key, struct moment moment, aic_view bytes,
                        struct record *record)
{
    TRY(record_take(key, bytes, record));
    uint64_t now_ms = clock_wall_ms(&cache->clock);
    if (record->expires_ms != 0 && record->expires_ms <= now_ms) return AIC_MISS;
    if (is_from_ahead(record, now_ms)) return AIC_DAMAGED; /* and it goes, as what is damaged does */
    if (filter_list_hides(&cache->filters, record)) return AIC_MISS;
    if (atomic_load_explicit(&cache->settled, memory_order_acquire) != moment.settled) return AIC_MISS;
    return AIC_OK;
}

/*
 * Promotes an accepted record and pins it. AIC_OK: hit->pin holds it (or a newer one of the same key). Anything else:
 * it is not in memory, which is no failure.
 */
static aic_status promote(struct cache_hit *hit, const aic_key *key, aic_view ns, struct moment moment,
                          const struct record *record, aic_view bytes)
{
    struct aic_cache *cache = hit->cache;
    struct iovec part = {(void *)(uintptr_t)bytes.data, bytes.size};
    aic_status status = cache_move_in(cache, key, moment, record->expires_ms, &part, 1, true);
    if (status == AIC_OK) FIGURE_COUNT_LANE(&cache->counts, promoted, 1);
    if (status != AIC_OK && status != AIC_EXISTS) return status;
    TRY(store_get(cache->store, key, &hit->pin));
    status = hit_read_pin(hit);
    if (status == AIC_OK && !is_in(hit->record.ns, ns)) status = AIC_MISS;
    if (status != AIC_OK) {
        pin_release(&hit->pin);
        buf_clear(&hit->head);
    }
    return status;
}

/*
 * What a read of storage became, as a hit: pinned where it was promoted, otherwise a copy. `status` and `bytes` are the
 * read's.
 */
static aic_status hit_from_storage(struct cache_hit *hit, struct aic_cache *cache, aic_view ns, const aic_key *key,
                                   struct moment moment, aic_view bytes)
{
    hit_init(hit, cache, key, moment, AIC_IN_STORAGE);
    struct record record;
    aic_status status = cache_accept(cache, key, moment, bytes, &record);
    if (status == AIC_DAMAGED || status == AIC_NEWER) {
        cache_drop_damaged(cache, key, moment);
        status = AIC_MISS;
    }
    if (status == AIC_OK && !is_in(record.ns, ns)) status = AIC_MISS;
    if (status != AIC_OK) goto fail;
    if (promote(hit, key, ns, moment, &record, bytes) == AIC_OK) return AIC_OK;
    buf_append_view(&hit->copy, bytes);
    TRY_OR_FAIL(buf_status(&hit->copy));
    TRY_OR_FAIL(record_read(buf_view(&hit->copy), &hit->record));
    hit->head_bytes = bytes.size - hit->record.payload.size;
    return AIC_OK;
fail:
    cache_hit_release(hit);
    return status;
}

struct storage_job {
    struct aic_cache *cache;
    cache_done_fn *done;
    void *context;
    struct moment moment;
    aic_key key;
    size_t ns_size;
    char ns[AIC_MAX_NAME_BYTES];
};

static void storage_done(void *context, aic_status status, aic_view bytes)
{
    struct storage_job *job = context;
    struct cache_hit hit = {0};
    if (status == AIC_OK)
        status = hit_from_storage(&hit, job->cache, (aic_view){job->ns, job->ns_size}, &job->key, job->moment, bytes);
    job->done(job->context, status, &hit);
    cache_hit_release(&hit);
    mem_free(&job->cache->mem, MEM_CACHE, job, sizeof *job);
}

void cache_lookup_storage(struct aic_cache *cache, aic_view ns, const aic_key *key, cache_done_fn *done, void *context)
{
    struct cache_hit none = {0};
    if (cache->gate == NULL || ns.size > AIC_MAX_NAME_BYTES) {
        done(context, AIC_MISS, &none);
        return;
    }
    struct storage_job *job = mem_alloc(&cache->mem, MEM_CACHE, sizeof *job);
    if (job == NULL) {
        done(context, AIC_NO_MEMORY, &none);
        return;
    }
    *job = (struct storage_job){.cache = cache, .done = done, .context = context, .key = *key, .ns_size = ns.size};
    if (ns.size > 0) memcpy(job->ns, ns.data, ns.size);
    job->moment = moment_sample(cache, key);
    gate_read(cache->gate, key, storage_done, job);
}

void cache_count_lookup(struct aic_cache *cache, aic_status outcome, unsigned tier)
{
    struct figure_counts *counts = &cache->counts.lanes[lane_of_thread()].counts;
    if (outcome != AIC_OK) FIGURE_COUNT(counts, misses, 1);
    else if (tier == AIC_IN_MEMORY) FIGURE_COUNT(counts, hits_memory, 1);
    else FIGURE_COUNT(counts, hits_storage, 1);
    if (outcome == AIC_TIMEOUT) FIGURE_COUNT(counts, storage_timeouts, 1);
    if (outcome == AIC_UNAVAILABLE) FIGURE_COUNT(counts, storage_skipped, 1);
}

aic_status cache_read_storage(struct aic_cache *cache, const aic_key *key, unsigned deadline_ms, struct buf *out,
                              struct record *record)
{
    if (cache->gate == NULL) return AIC_MISS;
    struct moment moment = moment_sample(cache, key);
    TRY(gate_get(cache->gate, key, deadline_ms, out));
    return cache_accept(cache, key, moment, buf_view(out), record);
}

/* ---- looking without counting ---- */

aic_status hit_peek(struct aic_cache *cache, const aic_key *key, struct cache_hit *hit)
{
    hit_init(hit, cache, key, moment_sample(cache, key), AIC_IN_MEMORY);
    TRY(store_peek(cache->store, key, &hit->pin));
    return hit_read_pin(hit);
}

aic_status cache_look(struct aic_cache *cache, aic_view ns, const aic_key *key, struct cache_hit *hit)
{
    aic_status status = hit_peek(cache, key, hit);
    if (status != AIC_OK && status != AIC_NO_MEMORY) {
        pin_release(&hit->pin);
        hit->tier = AIC_IN_STORAGE;
        status = cache_read_storage(cache, key, cache->deadline_ms, &hit->copy, &hit->record);
        if (status == AIC_IO) status = AIC_UNAVAILABLE; /* whatever is the matter with storage, it will be back */
    }
    if (status == AIC_OK && !is_in(hit->record.ns, ns)) status = AIC_MISS;
    if (status != AIC_OK) cache_hit_release(hit);
    return status;
}

void cache_walk_memory(struct aic_cache *cache, hit_visit_fn *visit, void *context)
{
    uint64_t cursor = 0;
    bool more = true;
    do {
        struct pin pins[WALK_PINS];
        size_t count = store_scan(cache->store, &cursor, pins, COUNT_OF(pins));
        for (size_t i = 0; i < count; i++) {
            struct cache_hit hit;
            hit_init(&hit, cache, pin_key(&pins[i]), (struct moment){0}, AIC_IN_MEMORY);
            hit.pin = pins[i];
            if (more) more = visit(context, &hit);
            cache_hit_release(&hit);
        }
    } while (cursor != 0 && more);
}

/* ---- both ---- */

/* The library's way to storage: the calling thread waits, at most until the deadline. */
static aic_status find_in_storage(struct aic_cache *cache, aic_view ns, const aic_key *key, struct cache_hit *hit)
{
    struct moment moment = moment_sample(cache, key);
    struct buf bytes;
    buf_init(&bytes, &cache->mem, MEM_CACHE);
    aic_status status = gate_get(cache->gate, key, cache->deadline_ms, &bytes);
    if (status == AIC_OK) status = hit_from_storage(hit, cache, ns, key, moment, buf_view(&bytes));
    buf_fini(&bytes);
    return status;
}

aic_status cache_find(struct aic_cache *cache, aic_view ns, const aic_key *key, struct cache_hit *hit,
                      aic_status *outcome)
{
    aic_status status = cache_lookup_memory(cache, ns, key, hit);
    if (status == AIC_MISS && cache->gate != NULL) status = find_in_storage(cache, ns, key, hit);
    if (status == AIC_NO_MEMORY) return status;
    cache_count_lookup(cache, status, status == AIC_OK ? hit->tier : 0);
    *outcome = status;
    return status == AIC_OK ? AIC_OK : AIC_MISS;
}
