/*
 * stats.c - figures and the great recount. Nothing here is estimated: each number is read from the structure that keeps
 * it.
 */
#include "cache/inner.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#define FLUSH_DEADLINE_MS 10000

uint64_t count_sum(const struct aic_cache *cache, enum count which)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < LANES; i++)
        sum += atomic_load_explicit(&cache->counts[i].counts[which], memory_order_relaxed);
    /* What was forgotten is subtracted in one lane: a reader between two lanes may see less than nothing for a moment.
     */
    return (int64_t)sum < 0 ? 0 : sum;
}

void cache_forget_lookups(struct aic_cache *cache)
{
    static const enum count forgotten[] = {COUNT_HITS_MEMORY, COUNT_HITS_STORAGE, COUNT_MISSES};
    for (size_t i = 0; i < COUNT_OF(forgotten); i++) count_add(cache, forgotten[i], 0 - count_sum(cache, forgotten[i]));
}

void cache_lookup_counts(const struct aic_cache *cache, uint64_t *hits, uint64_t *misses)
{
    *hits = count_sum(cache, COUNT_HITS_MEMORY) + count_sum(cache, COUNT_HITS_STORAGE);
    *misses = count_sum(cache, COUNT_MISSES);
}

static void add_memory(struct aic_cache *cache, aic_stats *out)
{
    struct store_stats stats;
    store_stats(cache->store, &stats);
    out->memory_entries = stats.entries;
    out->memory_bytes = stats.bytes;
    out->memory_max_bytes = stats.max_bytes;
    out->memory_max_entries = stats.max_entries;
    out->memory_key_bytes = stats.key_bytes;
    out->memory_value_bytes = stats.value_bytes;
    out->memory_index_bytes = stats.index_bytes;
    out->memory_overhead_bytes = stats.overhead_bytes;
    out->evicted_capacity = stats.evicted_capacity;
    out->evicted_expired = stats.evicted_expired;
    out->not_admitted = stats.refused_size + stats.refused_full;
    out->pinned = stats.pinned;
    out->expiry_lag_ms = stats.expiry_lag_ms;
    if (cache->hot == NULL) return;
    struct hot_stats hot;
    hot_stats(cache->hot, &hot);
    out->hot_entries = hot.entries;
    out->hot_bytes = hot.bytes;
}

static void add_storage(struct aic_cache *cache, aic_stats *out)
{
    struct gate_stats gate;
    gate_stats(cache->gate, &gate);
    struct tier_stats tier = {0};
    struct tier *behind = gate_tier(cache->gate);
    behind->ops->stats(behind, &tier);
    out->storage_configured = true;
    out->storage_up = gate.up;
    out->storage_reads_up = gate.reads_up;
    out->storage_entries = tier.entries;
    out->storage_bytes = tier.bytes;
    out->storage_max_bytes = tier.max_bytes;
    out->storage_file_bytes = tier.file_bytes;
    out->storage_errors = gate.errors;
    out->storage_timeouts = count_sum(cache, COUNT_TIMEOUTS);
    out->storage_dropped_writes = gate.dropped_writes;
    out->storage_refused_writes = gate.refused_writes;
    out->storage_evicted = tier.evicted;
    out->storage_expired = tier.expired;
    out->queue_entries = gate.queue_entries;
    out->queue_bytes = gate.queue_bytes;
    out->queue_max_bytes = gate.queue_max_bytes;
}

void aic_cache_stats(aic_cache *cache, aic_stats *out)
{
    *out = (aic_stats){0};
    out->hits_memory = count_sum(cache, COUNT_HITS_MEMORY);
    out->hits_storage = count_sum(cache, COUNT_HITS_STORAGE);
    out->misses = count_sum(cache, COUNT_MISSES);
    out->lookups = out->hits_memory + out->hits_storage + out->misses;
    out->puts = count_sum(cache, COUNT_PUTS);
    out->deletes = count_sum(cache, COUNT_DELETES);
    out->invalidations = count_sum(cache, COUNT_INVALIDATIONS);
    out->invalidations_by_operation = count_sum(cache, COUNT_INVALIDATIONS_BY_OPERATION);
    out->invalidations_of_memory = count_sum(cache, COUNT_INVALIDATIONS_OF_MEMORY);
    out->invalidated_entries = count_sum(cache, COUNT_INVALIDATED);
    out->damaged = count_sum(cache, COUNT_DAMAGED);
    out->promoted = count_sum(cache, COUNT_PROMOTED);
    out->invalidations_pending = filter_list_owed_count(&cache->filters);
    add_memory(cache, out);
    if (cache->gate != NULL) add_storage(cache, out);
    struct codec_stats codec;
    codec_stats(cache->codec, &codec);
    out->compressed_entries = codec.encoded - codec.kept_plain;
    out->compression_bytes_in = codec.bytes_in;
    out->compression_bytes_out = codec.bytes_out;
    out->dictionaries = codec.dictionaries;
}

/* ---- verify ---- */

static aic_status differs(aic_error *error, const char *where, const aic_key *key, const char *what)
{
    char hex[AIC_KEY_HEX_SIZE];
    aic_key_format(key, hex);
    return error_set(error, AIC_DAMAGED, NULL, "%s, entry %s: %s", where, hex, what);
}

struct check {
    stop_flag *stop;
    aic_error *error;
    aic_status status;
};

static aic_status verify_bytes(struct aic_cache *cache, const struct pin *pin, aic_error *error)
{
    struct buf bytes;
    buf_init(&bytes, &cache->mem, MEM_CACHE);
    size_t size = pin_size(pin);
    char *room = buf_reserve(&bytes, size);
    aic_status status = room != NULL ? AIC_OK : AIC_NO_MEMORY;
    if (status == AIC_OK) {
        pin_copy(pin, 0, room, size);
        buf_commit(&bytes, size);
        struct record record;
        if (record_check(pin_key(pin), buf_view(&bytes)) != AIC_OK)
            status = differs(error, "memory", pin_key(pin), "its checksum does not match");
        else if (record_read(buf_view(&bytes), &record) != AIC_OK || record.payload.data == NULL)
            status = differs(error, "memory", pin_key(pin), "its head cannot be read");
        else if (store_date(record.expires_ms) != pin_expires_ms(pin))
            status = differs(error, "memory", pin_key(pin), "its date of expiry is not the record's");
    }
    buf_fini(&bytes);
    return status;
}

static bool verify_pinned(void *context, struct cache_hit *hit)
{
    struct check *check = context;
    check->status = stop_is_set(check->stop) ? AIC_CLOSED : verify_bytes(hit->cache, &hit->pin, check->error);
    return check->status == AIC_OK;
}

static bool verify_stored(void *context, const aic_key *key, aic_view bytes)
{
    struct check *check = context;
    if (stop_is_set(check->stop)) check->status = AIC_CLOSED;
    else if (record_check(key, bytes) != AIC_OK)
        check->status = differs(check->error, "storage", key, "its checksum does not match");
    return check->status == AIC_OK;
}

aic_status cache_verify(struct aic_cache *cache, stop_flag *stop, aic_error *error)
{
    if (error != NULL) *error = (aic_error){0};
    struct check check = {stop, error, AIC_OK};
    TRY(store_verify(cache->store, error));
    cache_walk_memory(cache, verify_pinned, &check);
    if (check.status != AIC_OK || cache->gate == NULL) return check.status;
    struct gate_stats gate;
    gate_stats(cache->gate, &gate);
    aic_status status = gate.reads_up ? gate_flush(cache->gate, false, FLUSH_DEADLINE_MS) : AIC_UNAVAILABLE;
    if (status != AIC_OK) return error_set(error, status, NULL, "storage: %s", aic_status_text(status));
    struct tier *tier = gate_tier(cache->gate);
    TRY(tier->ops->verify(tier, error));
    uint64_t place = 0;
    TRY(tier->ops->select(tier, &(struct tier_filter){.place = &place}, NULL, verify_stored, &check));
    return check.status;
}

aic_status aic_cache_verify(aic_cache *cache, aic_error *error)
{
    return cache_verify(cache, NULL, error);
}
