/*
 * breakdown.h - who holds the process's memory: every byte of RSS with one owner, as JSON.
 *
 * What lies where (footprint, allocator, the memory tier's figures) was read together and is handed in; what the owners
 * of base/mem.h hold is counted when it is written. Any thread; takes no lock.
 */
#ifndef SERVE_BREAKDOWN_H
#define SERVE_BREAKDOWN_H

#include "base/json.h"
#include "base/mem.h"
#include "monitor/footprint.h"
#include "serve/allocator.h"

#include <aicache/monitor.h>

/* Who counts memory apart from the others; borrowed. */
struct breakdown_sources {
    const struct mem *mem; /* the daemon's */
    aic_cache *cache;
    const aic_monitor *monitor; /* NULL: none */
};

/* What was read at one moment. */
struct breakdown {
    struct footprint footprint;
    struct allocator_figures allocator;
    aic_stats stats;
};

/* What one owner holds now: of the cache's, the daemon's and the monitor's. */
uint64_t breakdown_owner_bytes(const struct breakdown_sources *sources, enum mem_owner owner);
/* The members of the array: {"owner","bytes","help"},… */
void breakdown_write(const struct breakdown_sources *sources, const struct breakdown *what, struct json_writer *out);
/*
 * {"name","allocated","active","resident","retained"}: what the allocator says of itself now, in bytes: given out,
 * pages in use, pages in memory, addresses without memory.
 */
void breakdown_write_allocator(struct json_writer *out);

#endif
