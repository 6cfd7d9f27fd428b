/*
 * cache.h - the two-tier response cache behind aicache.h, and what only the daemon needs of it: lookups that do not wait.
 */
#ifndef CACHE_CACHE_H
#define CACHE_CACHE_H

#include "cache/key.h"
#include "cache/record.h"
#include "store/store.h"
#include "tier/gate.h"

/* A found entry. Either pinned in the memory tier (zero-copy) or a copy from storage. Plain data; one thread at a time. */
struct cache_hit {
    struct aic_cache *cache;
    struct pin pin;          /* memory tier */
    struct buf copy;         /* storage tier, when it was not promoted */
    struct buf head;         /* the record's head, contiguous */
    struct record record;    /* read from it; views into it */
    unsigned tier;           /* AIC_IN_MEMORY, AIC_IN_STORAGE */
};

/* Memory tier only; never blocks. AIC_OK with a hit to release, AIC_MISS (not counted as a miss yet when storage is configured), AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status cache_lookup_memory(struct aic_cache *cache, aic_view ns, const aic_key *key,
                                              struct cache_hit *hit);
/* Is there a storage tier to ask after a miss in memory? */
bool cache_has_storage(const struct aic_cache *cache);
/*
 * Asks storage after a miss in memory. `done` is called exactly once, on a worker thread (or before this returns): AIC_OK with *hit for the receiver to
 * release, or AIC_MISS (also for a dead, damaged or expired one). Promotes. The deadline is the caller's: on giving up it calls cache_count_timeout() and
 * releases whatever comes later.
 */
typedef void cache_done_fn(void *context, aic_status status, struct cache_hit *hit);
void cache_lookup_storage(struct aic_cache *cache, aic_view ns, const aic_key *key, cache_done_fn *done, void *context);
void cache_count_timeout(struct aic_cache *cache);
void cache_hit_release(struct cache_hit *hit);

/* The response as pieces without a copy when it is stored plain; otherwise decoded into `plain` (owned by the caller), one piece. AIC_DAMAGED removes the entry
 * and counts it. Returns the pieces through *count. */
AIC_MUST_CHECK aic_status cache_hit_pieces(struct cache_hit *hit, struct buf *plain, struct iovec *out, size_t max,
                                           size_t *count);
void cache_hit_metadata(const struct cache_hit *hit, aic_metadata *out);

/* The key of a request whose parts lie in a scanned document. */
AIC_MUST_CHECK aic_status cache_key(struct aic_cache *cache, const struct key_request *request, aic_key *out,
                                    uint64_t *text_length, aic_error *error);

/* Once a second, from a background thread: expiry in both tiers, dictionary training. */
void cache_tick(struct aic_cache *cache);

#endif
