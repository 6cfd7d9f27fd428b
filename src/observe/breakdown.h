/*
 * breakdown.h - who holds the process's memory: every byte of RSS with one owner, as JSON.
 *
 * What lies where (footprint, allocator, the memory tier's figures, what the owners of base/mem.h hold) is read
 * together by breakdown_read() and written later as often as it is asked for, so that the parts are always of one
 * moment and add up to the RSS of that moment. Any thread; takes no lock.
 */
#ifndef OBSERVE_BREAKDOWN_H
#define OBSERVE_BREAKDOWN_H

#include "base/json.h"
#include "base/mem.h"
#include "observe/allocator.h"
#include "observe/footprint.h"

#include <aicache/monitor.h>

/* Who counts memory apart from the others; borrowed. */
struct breakdown_sources {
    const struct mem *mem; /* the daemon's */
    aic_cache *cache;
    const aic_monitor *monitor; /* NULL: none */
};

/* What was read at one moment. */
struct breakdown {
    uint64_t measured_ms; /* wall time */
    aic_stats stats;
    uint64_t shards; /* of the memory tier, on the heap */
    uint64_t owners[MEM_OWNER_COUNT];
    struct footprint footprint;
    struct allocator_figures allocator;
};

/* What one owner holds now: of the cache's, the daemon's and the monitor's. */
uint64_t breakdown_owner_bytes(const struct breakdown_sources *sources, enum mem_owner owner);
/* Reads everything but the statistics, which the caller has just taken, and the time. `root`: where
 * /proc is. Some milliseconds per GiB of RSS. AIC_IO when the mappings cannot be read. */
AIC_MUST_CHECK aic_status breakdown_read(const struct breakdown_sources *sources, const char *root,
                                         struct breakdown *out);
/* The members of the array: {"owner","bytes","help"},… */
void breakdown_write(const struct breakdown *what, struct json_writer *out);
/* {"rss_bytes","timestamp"}: what the parts add up to, and when. */
void breakdown_write_total(const struct breakdown *what, struct json_writer *out);
/*
 * {"name","allocated","active","resident","retained"}: what the allocator says of itself now, in bytes: given out,
 * pages in use, pages in memory, addresses without memory.
 */
void breakdown_write_allocator(struct json_writer *out);

#endif
