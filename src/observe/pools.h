/*
 * pools.h - every pool of the daemon on one page: the front threads' object pools and the memory tier's arenas.
 *
 * Of the arenas, an object is an arena: `size` are mapped and empty, `active` hold entries. A hit is an entry that
 * found room in what was mapped, a miss one for which an arena had to be mapped. Any thread.
 */
#ifndef OBSERVE_POOLS_H
#define OBSERVE_POOLS_H

#include "base/json.h"
#include "base/object_pool.h"

#define POOLS_MAX 16

/* One line per pool, in the order of names but for the arenas, which come last. Returns how many. */
size_t pools_read(struct object_pools *pools, aic_cache *cache, struct object_pool_stats out[POOLS_MAX]);
/* {hits, misses, created, released, refused, pools:{name:{size, active, object_bytes, bytes, high_water, hits, misses,
 * created, released, refused}}} */
void pools_write(struct object_pools *pools, aic_cache *cache, struct json_writer *out);

#endif
