/*
 * dump.c - the state of every structure as text, for whoever looks for a fault. Sizes and counts only: no key, no
 * value.
 */
#include "store/shard.h"

static void dump_table(const struct table *table, struct buf *out)
{
    uint64_t spills = table->bytes / BUCKET_BYTES - table_count(table);
    buf_printf(out, "  table: %llu keys, %u buckets, %llu spill buckets, %llu bytes, %zu committed\n",
               (unsigned long long)table->keys, table_count(table), (unsigned long long)spills,
               (unsigned long long)table->bytes, table->buckets.committed + table->spills.committed);
}

static void dump_policy(const struct policy *policy, struct buf *out)
{
    const struct queue *small = &policy->queues[QUEUE_SMALL], *main = &policy->queues[QUEUE_MAIN];
    buf_printf(out, "  policy: %s, small %llu entries %llu bytes, main %llu entries %llu bytes, hand %u\n",
               policy->ops->name, (unsigned long long)small->count, (unsigned long long)small->bytes,
               (unsigned long long)main->count, (unsigned long long)main->bytes, policy->hand);
}

static void dump_wheel(const struct wheel *wheel, struct buf *out)
{
    buf_printf(out, "  wheel: %llu entries, tick %llu, slots filled", (unsigned long long)wheel->count,
               (unsigned long long)wheel->tick);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++)
        buf_printf(out, " %d", __builtin_popcountll(wheel->filled[level]));
    buf_printf(out, "\n");
}

static void dump_shard(struct shard *shard, unsigned number, struct buf *out)
{
    lock_take(&shard->lock);
    buf_printf(out, "shard %u: %llu entries, %llu value bytes, %llu bytes of memory\n", number,
               (unsigned long long)shard->entries, (unsigned long long)shard->value_bytes,
               (unsigned long long)atomic_load_explicit(&shard->footprint, memory_order_relaxed));
    dump_table(&shard->table, out);
    dump_policy(&shard->policy, out);
    dump_wheel(&shard->wheel, out);
    buf_printf(out, "  ghost: %u lines, epoch %u, %llu bytes into it\n", ghost_count(&shard->ghost), shard->ghost.epoch,
               (unsigned long long)shard->ghost.epoch_fill);
    lock_give(&shard->lock);
}

static void dump_pool(struct pool *pool, struct buf *out)
{
    lock_take(&pool->lock);
    const struct holes *holes = &pool->holes;
    buf_printf(out, "pool: %u arenas mapped of %u allowed, %llu bytes taken, %u holes of %llu bytes, %u arenas empty\n",
               pool->mapped, pool->limit, (unsigned long long)pool->taken * GRANULE_BYTES, holes->count,
               (unsigned long long)holes->granules * GRANULE_BYTES, holes->whole);
    lock_give(&pool->lock);
}

void store_dump(struct store *store, struct buf *out)
{
    buf_printf(out, "budget: %llu of %llu bytes, %llu entries, limit %llu\n",
               (unsigned long long)budget_bytes(&store->budget), (unsigned long long)budget_max_bytes(&store->budget),
               (unsigned long long)budget_entries(&store->budget),
               (unsigned long long)budget_max_entries(&store->budget));
    dump_pool(&store->pool, out);
    for (unsigned i = 0; i < store->shard_count; i++) dump_shard(&store->shards[i], i, out);
}
