/*
 * observe.h - tells one listener of every operation of a cache, with what it did to memory: the source of the operation
 * log.
 *
 * Without a listener an operation pays one relaxed load. The listener runs on the thread of the operation, under no
 * lock, and must not wait.
 */
#ifndef CACHE_OBSERVE_H
#define CACHE_OBSERVE_H

#include <aicache/aicache.h>

#include <stdatomic.h>

struct aic_cache;

struct cache_event {
    const char *kind;   /* "get", "set", "delete", "invalidate" */
    const aic_key *key; /* NULL: of no single key */
    aic_view operation; /* what the application was doing; empty when it is not known */
    unsigned tiers;     /* the tier that answered, or the tiers that took the entry */
    bool hit;           /* of a get */
    double seconds;
    uint64_t memory_before, memory_after; /* bytes of the memory tier */
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

/* Bytes of the memory tier now, when somebody listens; else 0. Called before an operation. */
uint64_t cache_observe_begin(struct aic_cache *cache);
/* Tells of the operation; memory_after is filled in here. Nothing when nobody listens. */
void cache_observe_end(struct aic_cache *cache, struct cache_event event);

#endif
