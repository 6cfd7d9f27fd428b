/*
 * stats.c - counting and recounting.
 */
#include "store/shard.h"

#include "base/status.h"

#include <string.h>

static uint64_t load(const _Atomic uint64_t *count)
{
    return atomic_load_explicit(count, memory_order_relaxed);
}

static void add_shard(struct shard *shard, struct store_stats *out, uint64_t *footprint, uint64_t *expired_at,
                      uint64_t *evicted_at)
{
    lock_take(&shard->lock);
    const struct shard_counts *counts = &shard->counts;
    out->entries += shard->entries;
    out->value_bytes += shard->value_bytes;
    out->index_bytes += shard->table.bytes + ghost_bytes(&shard->ghost);
    *footprint += load(&shard->footprint);
    out->gets += shard->gets;
    out->hits += shard->hits;
    out->puts += counts->puts;
    out->replaced += counts->replaced;
    out->deleted += counts->deleted;
    out->evicted_capacity += counts->evicted_capacity;
    out->evicted_unused += counts->evicted_unused;
    out->evicted_expired += counts->evicted_expired;
    out->ghost_hits += counts->ghost_hits;
    out->pinned += shard->hits + shard->peeks - load(&shard->releases);
    if (counts->expired_at_ms >= *expired_at) {
        *expired_at = counts->expired_at_ms;
        if (counts->evicted_expired > 0) out->expiry_lag_ms = counts->expiry_lag_ms;
    }
    if (counts->evicted_at_ms >= *evicted_at) {
        *evicted_at = counts->evicted_at_ms;
        if (counts->evicted_capacity > 0) out->oldest_evicted_ms = counts->oldest_evicted_ms;
    }
    lock_give(&shard->lock);
}

void store_stats(struct store *store, struct store_stats *out)
{
    uint64_t footprint = 0, expired_at = 0, evicted_at = 0, held = 0;
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < store->shard_count; i++)
        add_shard(&store->shards[i], out, &footprint, &expired_at, &evicted_at);
    /* What was removed while pinned is gone from the entries and still in the bytes. */
    held = load(&store->limbo_entries);
    out->value_bytes += load(&store->limbo_value_bytes);
    footprint += load(&store->limbo_footprint);
    out->key_bytes = (out->entries + held) * sizeof(aic_key);
    out->overhead_bytes = footprint - out->key_bytes - out->value_bytes;
    out->bytes = footprint + out->index_bytes;
    out->max_bytes = budget_max_bytes(&store->budget);
    out->max_entries = budget_max_entries(&store->budget);
    out->resident_bytes = pool_resident_bytes(&store->pool);
    out->refused_size = load(&store->refused_size);
    out->refused_full = load(&store->refused_full);
}

/* Sums of the activity of all shards; equal before and after, with nothing active: nothing moved in between. */
static uint64_t sum_activity(struct store *store)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < store->shard_count; i++) sum += atomic_load(&store->shards[i].activity);
    return sum;
}

/* All shards' locks are held. */
static const char *verify_sums(struct store *store)
{
    uint64_t before = sum_activity(store), entries = 0, bytes = 0, memory = 0;
    for (unsigned i = 0; i < store->shard_count; i++) {
        struct shard *shard = &store->shards[i];
        entries += shard->entries;
        memory += load(&shard->footprint);
        bytes += shard->table.bytes + ghost_bytes(&shard->ghost);
    }
    memory += load(&store->limbo_footprint);
    bytes += memory;
    uint64_t taken_bytes = budget_bytes(&store->budget), taken_entries = budget_entries(&store->budget);
    lock_take(&store->pool.lock);
    uint64_t taken_memory = store->pool.taken * GRANULE_BYTES;
    lock_give(&store->pool.lock);
    /* Puts and last releases take and give outside the locks: while one is under way only the direction is certain. */
    if (taken_entries < entries) return "fewer entries are taken from the budget than are there";
    if ((before & UINT32_MAX) != 0 || before != sum_activity(store)) return NULL;
    if (taken_entries != entries) return "the budget's entries do not add up";
    if (taken_bytes != bytes) return "the budget's bytes do not add up";
    if (taken_memory != memory) return "the pool's memory does not add up";
    return NULL;
}

aic_status store_verify(struct store *store, aic_error *error)
{
    const char *wrong = NULL;
    for (unsigned i = 0; i < store->shard_count; i++) lock_take(&store->shards[i].lock);
    for (unsigned i = 0; wrong == NULL && i < store->shard_count; i++)
        wrong = shard_verify_locked(&store->shards[i], store);
    if (wrong == NULL) wrong = pool_verify(&store->pool);
    if (wrong == NULL) wrong = verify_sums(store);
    for (unsigned i = store->shard_count; i-- > 0;) lock_give(&store->shards[i].lock);
    return wrong == NULL ? AIC_OK : error_set(error, AIC_DAMAGED, NULL, "memory tier: %s", wrong);
}

void store_places(const struct store *store, struct store_places *out)
{
    out->values_begin = (uintptr_t)store->pool.mapping;
    out->values_end = out->values_begin + store->pool.mapping_bytes;
    out->index_begin = (uintptr_t)store->index;
    out->index_end = out->index_begin + store->index_bytes;
    out->heap_bytes = sizeof *store + store->shard_block_bytes + store->pool.arena_count * sizeof *store->pool.arenas;
}

void store_arenas(struct store *store, struct store_arenas *out)
{
    struct pool *pool = &store->pool;
    uint64_t bytes = pool_resident_bytes(pool);
    lock_take(&pool->lock);
    uint64_t mapped = pool->mapped, empty = pool->holes.whole;
    *out = (struct store_arenas){.empty = empty,
                                 .used = mapped > empty ? mapped - empty : 0,
                                 .most = pool->most_mapped,
                                 .takes = pool->takes,
                                 .gives = pool->gives,
                                 .grows = pool->grows,
                                 .arena_bytes = ARENA_BYTES,
                                 .bytes = bytes};
    lock_give(&pool->lock);
}

uint64_t store_bytes(const struct store *store)
{
    return budget_bytes(&store->budget);
}

uint64_t store_max_bytes(const struct store *store)
{
    return budget_max_bytes(&store->budget);
}
