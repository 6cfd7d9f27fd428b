/*
 * breakdown.h - who holds the process's memory: every byte of RSS with one owner, as JSON.
 *
 * What lies where (footprint, allocator, the memory tier's figures, what the owners of base/mem.h hold) is read
 * together by breakdown_read() and written later as often as it is asked for, so that the parts are always of one
 * moment and add up to the RSS of that moment. Any thread; takes no lock.
 */
#ifndef OBSERVE_BREAKDOWN_H
#define OBSERVE_BREAKDOWN_H

#include "base/clock.h"
#include "base/figures.h"
#include "base/json.h"
#include "base/mem.h"
#include "observe/allocator.h"
#include "observe/footprint.h"

#include <aicache/monitor.h>

#include <pthread.h>

/* Who counts memory apart from the others; borrowed. */
struct breakdown_sources {
    const struct mem *mem; /* the daemon's */
    aic_cache *cache;
    const aic_monitor *monitor; /* NULL: none */
};

/* What was read at one moment. */
struct breakdown {
    uint64_t measured_ms; /* wall time */
    struct figures stats;
    uint64_t shards; /* of the memory tier, on the heap */
    uint64_t owners[MEM_OWNER_COUNT];
    struct footprint footprint;
    struct allocator_figures allocator;
};

/*
 * Looks at the mappings no more often than there is need: every few ticks, in any tick that finds RSS changed by a
 * fiftieth, and when somebody asks, but never for more than a twentieth of the time. Locks: `looking` (one walk at a
 * time), then `mutex` (a leaf, held only to copy).
 */
struct memory_look {
    struct breakdown_sources sources;
    const char *root; /* where /proc is; borrowed */
    const aic_clock *clock;
    unsigned ticks;
    pthread_mutex_t looking;     /* held while the mappings are walked; guards the two times */
    uint64_t walked_ns, walk_ns; /* when a walk ended, on the monotonic clock, and how long it took */
    pthread_mutex_t mutex;       /* guards what follows */
    bool measured;
    struct breakdown last;
};

void memory_look_init(struct memory_look *look, const struct breakdown_sources *sources, const char *root,
                      const aic_clock *clock);
void memory_look_fini(struct memory_look *look);
/* Once a second, by one thread, with the figures that were just taken. */
void memory_look_tick(struct memory_look *look, const struct figures *stats, uint64_t rss_bytes);
/* The last look; false: there was none. Any thread; waits for nothing. */
bool memory_look_last(struct memory_look *look, struct breakdown *out);
/* [{"owner","bytes","help"},…]: every byte of RSS has one owner, as of the last look; empty before the first. */
void memory_look_write(struct memory_look *look, struct json_writer *out);
/* The same after a walk, unless there just was one. Blocks for milliseconds per GiB of RSS: not for a front thread. */
bool memory_look_now(struct memory_look *look, struct breakdown *out);

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
