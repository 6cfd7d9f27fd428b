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

static void add_shard(struct shard *shard, struct figures *out, uint64_t *footprint, struct shard_last *last)
{
    lock_take(&shard->lock);
    out->memory_entries += shard->entries;
    out->memory_value_bytes += shard->value_bytes;
    out->memory_index_bytes += shard->table.bytes + ghost_bytes(&shard->ghost);
    *footprint += load(&shard->footprint);
    out->memory_gets += shard->gets;
    out->memory_found += shard->hits;
    out->memory_puts += shard->puts;
    out->memory_replaced += shard->replaced;
    out->memory_deleted += shard->deleted;
    out->memory_ghost_hits += shard->ghost_hits;
    out->memory_pinned += shard->hits + shard->peeks - load(&shard->releases);
    if (shard->last.expired_at_ms >= last->expired_at_ms) {
        last->expired_at_ms = shard->last.expired_at_ms;
        last->expiry_lag_ms = shard->last.expiry_lag_ms;
    }
    if (shard->last.evicted_at_ms >= last->evicted_at_ms) {
        last->evicted_at_ms = shard->last.evicted_at_ms;
        last->evicted_idle_ms = shard->last.evicted_idle_ms;
    }
    lock_give(&shard->lock);
}

void store_figures(struct store *store, struct figures *out)
{
    uint64_t footprint = 0, held = 0;
    struct shard_last last = {0};
    figures_add_lanes(out, &store->counts);
    for (unsigned i = 0; i < store->shard_count; i++) add_shard(&store->shards[i], out, &footprint, &last);
    /* What was removed while pinned is gone from the entries and still in the bytes. */
    held = load(&store->limbo_entries);
    out->memory_value_bytes += load(&store->limbo_value_bytes);
    footprint += load(&store->limbo_footprint);
    out->memory_key_bytes = (out->memory_entries + held) * sizeof(aic_key);
    out->memory_overhead_bytes = footprint - out->memory_key_bytes - out->memory_value_bytes;
    out->memory_bytes = footprint + out->memory_index_bytes;
    out->memory_max_bytes = budget_max_bytes(&store->budget);
    out->memory_max_entries = budget_max_entries(&store->budget);
    out->memory_resident_bytes = pool_resident_bytes(&store->pool);
    out->expiry_lag_seconds = (double)last.expiry_lag_ms / 1000.0;
    out->evicted_idle_seconds = (double)last.evicted_idle_ms / 1000.0;
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
