/*
 * stats.c - figures and the great recount. Nothing here is estimated: each number is read from the structure that keeps
 * it.
 */
#include "cache/inner.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

#define FLUSH_DEADLINE_MS 10000

static uint64_t since(uint64_t counted, const _Atomic uint64_t *forgotten)
{
    uint64_t before = atomic_load_explicit(forgotten, memory_order_relaxed);
    return counted > before ? counted - before : 0;
}

static void add_counts(const struct aic_cache *cache, struct figures *out)
{
    figures_add_lanes(out, &cache->counts);
    out->hits_memory = since(out->hits_memory, &cache->forgotten.hits_memory);
    out->hits_storage = since(out->hits_storage, &cache->forgotten.hits_storage);
    out->misses = since(out->misses, &cache->forgotten.misses);
}

void cache_forget_lookups(struct aic_cache *cache)
{
    struct figures now = {0};
    figures_add_lanes(&now, &cache->counts);
    atomic_store_explicit(&cache->forgotten.hits_memory, now.hits_memory, memory_order_relaxed);
    atomic_store_explicit(&cache->forgotten.hits_storage, now.hits_storage, memory_order_relaxed);
    atomic_store_explicit(&cache->forgotten.misses, now.misses, memory_order_relaxed);
}

void cache_lookup_counts(const struct aic_cache *cache, uint64_t *hits, uint64_t *misses)
{
    struct figures now = {0};
    add_counts(cache, &now);
    *hits = now.hits_memory + now.hits_storage;
    *misses = now.misses;
}

static void add_storage(struct aic_cache *cache, struct figures *out)
{
    struct tier_stats tier = {0};
    gate_tier_stats(cache->gate, &tier);
    gate_figures(cache->gate, out);
    out->owners |= 1U << FIGURES_STORAGE;
    out->storage_configured = 1;
    out->storage_entries = tier.entries;
    out->storage_bytes = tier.bytes;
    out->storage_max_bytes = tier.max_bytes;
    out->storage_file_bytes = tier.file_bytes;
    out->storage_overhead_bytes = tier.file_bytes > tier.bytes ? tier.file_bytes - tier.bytes : 0;
    out->storage_evicted = tier.evicted;
    out->storage_expired = tier.expired;
}

void cache_figures(struct aic_cache *cache, struct figures *out)
{
    CHECK(!figures_are_read(out, FIGURES_CACHE)); /* a second time would count everything twice */
    out->owners |= 1U << FIGURES_CACHE;
    add_counts(cache, out);
    store_figures(cache->store, out);
    codec_figures(cache->codec, out);
    leases_figures(cache->leases, out);
    if (cache->hot != NULL) hot_figures(cache->hot, out);
    if (cache->gate != NULL) add_storage(cache, out);
    out->invalidations_pending = filter_list_owed_count(&cache->filters);
}

/* ---- for users of the library ---- */

void aic_cache_stats(aic_cache *cache, aic_stats *out)
{
    struct figures figures = {0};
    cache_figures(cache, &figures);
    *out = (aic_stats){.lookups = figures.hits_memory + figures.hits_storage + figures.misses,
                       .hits_memory = figures.hits_memory,
                       .hits_storage = figures.hits_storage,
                       .misses = figures.misses,
                       .puts = figures.puts,
                       .deletes = figures.deletes,
                       .invalidated_entries = figures.invalidated_entries,
                       .memory_entries = figures.memory_entries,
                       .memory_bytes = figures.memory_bytes,
                       .memory_max_bytes = figures.memory_max_bytes,
                       .evicted_capacity = figures.evicted_capacity,
                       .evicted_expired = figures.evicted_expired,
                       .storage_configured = figures.storage_configured != 0,
                       .storage_up = figures.storage_up != 0,
                       .storage_entries = figures.storage_entries,
                       .storage_bytes = figures.storage_bytes,
                       .storage_max_bytes = figures.storage_max_bytes};
}

static bool is_of_cache(const struct figure_row *row)
{
    return row->owner == FIGURES_CACHE || row->owner == FIGURES_STORAGE;
}

const char *aic_figure_name(size_t index)
{
    size_t place = 0;
    for (; place < FIGURE_TOTAL; place++)
        if (is_of_cache(&figure_rows[place]) && index-- == 0) return figure_rows[place].path;
    return NULL;
}

aic_status aic_cache_figure(aic_cache *cache, const char *name, double *out)
{
    struct figures figures = {0};
    size_t place = 0;
    while (place < FIGURE_TOTAL && !(is_of_cache(&figure_rows[place]) && strcmp(figure_rows[place].path, name) == 0))
        place++;
    if (place == FIGURE_TOTAL) return AIC_NOT_FOUND;
    cache_figures(cache, &figures);
    *out = figure_is_real(&figure_rows[place]) ? figures.of[place].real : (double)figures.of[place].whole;
    return AIC_OK;
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

static bool check_goes_on(void *context)
{
    const struct check *check = context;
    return !stop_is_set(check->stop);
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
    TRY(gate_verify(cache->gate, check_goes_on, &check, error));
    struct tier_place at = {0};
    status = gate_walk(cache->gate, &(struct tier_walk){.filter = &(struct tier_filter){.any_order = true},
                                                        .at = &at,
                                                        .most = SIZE_MAX,
                                                        .visit = verify_stored,
                                                        .goes_on = check_goes_on,
                                                        .context = &check});
    if (status != AIC_OK) return error_set(error, status, NULL, "storage: %s", aic_status_text(status));
    return stop_is_set(stop) ? AIC_CLOSED : check.status;
}

aic_status aic_cache_verify(aic_cache *cache, aic_error *error)
{
    return cache_verify(cache, NULL, error);
}
