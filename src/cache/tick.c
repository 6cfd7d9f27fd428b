/*
 * tick.c - what a cache does by itself, once a second of real time, on a thread of its own: expiry, owed invalidations,
 * dictionaries, the turnover of what is kept plain. Every part does a bounded amount of work per tick.
 */
#include "cache/inner.h"

#include <errno.h>
#include <time.h>

#define EXPIRE_PER_TICK 10000
#define EXPIRE_STEP 1000 /* per transaction */
#define SWEEP_PER_TICK 20000

static void expire_storage(struct aic_cache *cache)
{
    struct gate_stats stats;
    gate_stats(cache->gate, &stats);
    if (!stats.up) return;
    struct tier *tier = gate_tier(cache->gate);
    for (size_t done = 0; done < EXPIRE_PER_TICK;) {
        size_t removed = 0;
        if (tier->ops->expire(tier, EXPIRE_STEP, &removed) != AIC_OK || removed == 0) return;
        done += removed;
    }
}

/* While storage takes no writes, a kill must not bring back what they replace. */
static void remember_replaced(struct aic_cache *cache)
{
    struct gate_stats stats;
    gate_stats(cache->gate, &stats);
    if (stats.writes_down_ms != 0) owed_replaced(cache);
}

static uint64_t clock_ahead_ms(struct aic_cache *cache)
{
    return clock_wall_ms(&cache->clock) - clock_mono_ns(&cache->clock) / 1000000;
}

/* Wall time dates entries. When it goes back, those from before would live on by as much. */
static void look_at_clock(struct aic_cache *cache)
{
    uint64_t ahead_ms = clock_ahead_ms(cache);
    int64_t back_ms = (int64_t)(cache->clock_ahead_ms - ahead_ms);
    cache->clock_ahead_ms = ahead_ms;
    if (back_ms > CLOCK_SLACK_MS) cache_clock_went_back(cache, clock_wall_ms(&cache->clock));
}

void cache_tick(struct aic_cache *cache)
{
    pthread_mutex_lock(&cache->ticking);
    look_at_clock(cache);
    (void)store_expire(cache->store);
    hot_tick(cache);
    if (cache->gate != NULL) {
        remember_replaced(cache);
        if (filter_list_owed_count(&cache->filters) > 0) (void)cache_settle(cache);
        owed_settle(cache);
        expire_storage(cache);
    }
    dictionaries_train(cache);
    dictionaries_sweep(cache, SWEEP_PER_TICK);
    pthread_mutex_unlock(&cache->ticking);
}

static void *thread_main(void *context)
{
    struct aic_cache *cache = context;
    struct timespec next;
    clock_gettime(CLOCK_MONOTONIC, &next);
    pthread_mutex_lock(&cache->thread_lock);
    while (!cache->stopping) {
        next.tv_sec++;
        while (!cache->stopping &&
               pthread_cond_timedwait(&cache->thread_wake, &cache->thread_lock, &next) != ETIMEDOUT) {
        }
        if (cache->stopping) break;
        pthread_mutex_unlock(&cache->thread_lock);
        cache_tick(cache);
        clock_gettime(CLOCK_MONOTONIC, &next);
        pthread_mutex_lock(&cache->thread_lock);
    }
    pthread_mutex_unlock(&cache->thread_lock);
    return NULL;
}

aic_status tick_start(struct aic_cache *cache)
{
    cache->clock_ahead_ms = clock_ahead_ms(cache);
    cache->thread_started = pthread_create(&cache->thread, NULL, thread_main, cache) == 0;
    return cache->thread_started ? AIC_OK : AIC_NO_MEMORY;
}

void tick_stop(struct aic_cache *cache)
{
    if (!cache->thread_started) return;
    pthread_mutex_lock(&cache->thread_lock);
    cache->stopping = true;
    pthread_cond_signal(&cache->thread_wake);
    pthread_mutex_unlock(&cache->thread_lock);
    pthread_join(cache->thread, NULL);
    cache->thread_started = false;
}
