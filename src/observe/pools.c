#include "observe/pools.h"

#include "cache/cache.h"
#include "observe/fields.h"

static void read_arenas(aic_cache *cache, struct object_pool_stats *out)
{
    struct store_arenas arenas;
    store_arenas(cache_store(cache), &arenas);
    *out = (struct object_pool_stats){.name = "memory_tier_arenas",
                                      .size = arenas.empty,
                                      .active = arenas.used,
                                      .object_bytes = arenas.arena_bytes,
                                      .bytes = arenas.bytes,
                                      .hits = arenas.takes > arenas.grows ? arenas.takes - arenas.grows : 0,
                                      .misses = arenas.grows,
                                      .created = arenas.grows,
                                      .released = arenas.gives,
                                      .high_water = arenas.most};
}

size_t pools_read(struct object_pools *pools, aic_cache *cache, struct object_pool_stats out[POOLS_MAX])
{
    size_t count = object_pools_stats(pools, out, POOLS_MAX - 1);
    read_arenas(cache, &out[count]);
    return count + 1;
}

static void put_counts(struct json_writer *out, const struct object_pool_stats *stats)
{
    put_count(out, "hits", stats->hits);
    put_count(out, "misses", stats->misses);
    put_count(out, "created", stats->created);
    put_count(out, "released", stats->released);
    put_count(out, "refused", stats->refused);
}

static void put_pool(struct json_writer *out, const struct object_pool_stats *stats)
{
    json_key(out, stats->name);
    json_open(out, '{');
    put_count(out, "size", stats->size);
    put_count(out, "active", stats->active);
    put_count(out, "object_bytes", stats->object_bytes);
    put_count(out, "bytes", stats->bytes);
    put_count(out, "high_water", stats->high_water);
    put_counts(out, stats);
    json_close(out, '}');
}

void pools_write(struct object_pools *pools, aic_cache *cache, struct json_writer *out)
{
    struct object_pool_stats lines[POOLS_MAX], sum = {0};
    size_t count = pools_read(pools, cache, lines);
    for (size_t i = 0; i < count; i++) {
        sum.hits += lines[i].hits;
        sum.misses += lines[i].misses;
        sum.created += lines[i].created;
        sum.released += lines[i].released;
        sum.refused += lines[i].refused;
    }
    json_open(out, '{');
    put_counts(out, &sum);
    json_key(out, "pools");
    json_open(out, '{');
    for (size_t i = 0; i < count; i++) put_pool(out, &lines[i]);
    json_close(out, '}');
    json_close(out, '}');
}
