/*
 * observe.h - what a cache tells of its operations, and to whom: a monitor with its measurements, and one listener that
 * is the source of the operation log. The cache knows neither; both are given to it.
 *
 * Without a monitor an operation pays one comparison, without a listener one relaxed load. Both are told on the thread
 * of the operation, under no lock, and must not wait.
 */
#ifndef CACHE_OBSERVE_H
#define CACHE_OBSERVE_H

#include <aicache/aicache.h>
#include <aicache/monitor.h>

#include <stdatomic.h>

struct aic_cache;

/* Kinds of operation: enum name, the word for it. */
#define CACHE_OPERATION_MAP(X) X(GET, "get") X(SET, "set") X(DELETE, "delete") X(INVALIDATE, "invalidate")

enum cache_operation {
#define CACHE_OPERATION_ENUM(name, word) CACHE_##name,
    CACHE_OPERATION_MAP(CACHE_OPERATION_ENUM)
#undef CACHE_OPERATION_ENUM
};

/* One operation that ended. Times are of the cache's monotonic clock. */
struct cache_event {
    enum cache_operation kind;
    const aic_key *key; /* NULL: of no single key */
    aic_view operation; /* what the application was doing; empty when it is not known */
    unsigned tiers;     /* the tier that answered, or the tiers that took the entry */
    bool hit;           /* of a get */
    bool unlogged;      /* a delete that found nothing is an operation, but nothing that was done */
    uint64_t started_ns, ended_ns;
    uint64_t text_length;                 /* code points; 0: not known */
    aic_view data;                        /* for the monitor: a JSON object; empty: nothing */
    uint64_t memory_before, memory_after; /* bytes of the memory tier, where somebody listens */
};

/*
 * What a monitor is to the cache. Every `struct aic_monitor` begins with a pointer to one of these, which outlives it;
 * the functions are those of <aicache/monitor.h> where they have their names.
 */
struct cache_meter {
    void (*key_generation)(aic_monitor *monitor, double seconds, uint64_t text_length, aic_view operation,
                           aic_view data);
    void (*operation)(aic_monitor *monitor, const struct cache_event *event);
    void (*compression)(aic_monitor *monitor, uint64_t original_bytes, uint64_t compressed_bytes, double seconds,
                        aic_view operation);
    void (*invalidation)(aic_monitor *monitor, aic_view pattern, uint64_t keys, double seconds, aic_view type,
                         aic_view context, aic_view data);
    /* A lookup of a key, and an entry that the memory tier took; `bytes` is what the entry takes there, 0 for a miss.
     */
    void (*referenced)(aic_monitor *monitor, const aic_key *key, uint64_t bytes);
    void (*stored)(aic_monitor *monitor, const aic_key *key, uint64_t bytes);
};

typedef void cache_observe_fn(void *context, const struct cache_event *event);

struct observer {
    _Atomic bool on; /* relaxed: an operation under way may be told or not */
    cache_observe_fn *fn;
    void *context;
};

/* Names the listener; before other threads use the cache. It is off until cache_observe_switch(). */
void cache_observe(struct aic_cache *cache, cache_observe_fn *fn, void *context);
/* Any thread, any time. */
void cache_observe_switch(struct aic_cache *cache, bool on);
bool cache_is_observed(const struct aic_cache *cache);

/* Is anybody to be told of an operation? Otherwise nothing of it need be made up. */
bool cache_is_told(const struct aic_cache *cache);
/* Bytes of the memory tier now, when somebody listens; else 0. Called before an operation. */
uint64_t cache_observe_begin(struct aic_cache *cache);
/* Tells the monitor and the listener of the operation; memory_after is filled in here. Nothing when there is neither.
 */
void cache_observe_end(struct aic_cache *cache, struct cache_event event);

#endif
