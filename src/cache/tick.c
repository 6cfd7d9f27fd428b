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
#define ROUNDING_MS 2 /* between two clocks that are read one after the other */

static void expire_storage(struct aic_cache *cache)
{
    struct gate_stats stats;
    gate_stats(cache->gate, &stats);
    if (!stats.up) return;
    for (size_t done = 0; done < EXPIRE_PER_TICK;) {
        size_t removed = 0;
        if (gate_expire(cache->gate, EXPIRE_STEP, &removed) != AIC_OK || removed == 0) return;
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

/* False: this thread was held up in between, or the machine slept, and the two times do not belong together. */
static bool read_clock_ahead(struct aic_cache *cache, uint64_t *out_ms)
{
    const aic_clock *clock = &cache->held.base;
    for (int attempt = 0; attempt < 3; attempt++) {
        uint64_t before_ms = clock_mono_ns(clock) / 1000000, wall_ms = clock_wall_ms(clock);
        *out_ms = wall_ms - before_ms;
        if (clock_mono_ns(clock) / 1000000 - before_ms <= ROUNDING_MS) return true;
    }
    return false;
}

/*
 * Wall time dates entries. When it goes back, those from before would live on by as much. A small step (by a time
 * server, say) is held against: time stands where it was for entries, and goes on from there. After a large one the
 * time is the new one, and what was put by the wrong one goes: since the clock went forward by as much, or, where
 * nobody saw it do so, since the last time it was set right.
 */
static void look_at_clock(struct aic_cache *cache)
{
    struct clock_steps *steps = &cache->steps;
    uint64_t ahead_ms, last_seq = atomic_load_explicit(&cache->last_seq, memory_order_relaxed);
    if (!read_clock_ahead(cache, &ahead_ms)) return;
    int64_t step_ms = (int64_t)(ahead_ms - steps->ahead_ms);
    if (step_ms >= -ROUNDING_MS && step_ms <= ROUNDING_MS) return;
    if (step_ms >= -CLOCK_SLACK_MS) {
        steps->ahead_ms = ahead_ms;
        clock_hold(&cache->held, step_ms, CLOCK_SLACK_MS);
        if (step_ms <= CLOCK_SLACK_MS) return;
        if (steps->forward_ms == 0) steps->forward_seq = last_seq;
        steps->forward_ms += (uint64_t)step_ms;
        return;
    }
    bool seen = (uint64_t)-step_ms <= steps->forward_ms + CLOCK_SLACK_MS && steps->forward_ms != 0;
    clock_hold(&cache->held, CLOCK_SLACK_MS, CLOCK_SLACK_MS); /* no more */
    /* Without memory the next tick sees the same step. */
    if (cache_clock_went_back(cache, seen ? steps->forward_seq : steps->checked_seq) != AIC_OK) return;
    *steps = (struct clock_steps){.ahead_ms = ahead_ms, .checked_seq = last_seq};
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
    dictionaries_fetch_wanted(cache);
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
    cache->steps.ahead_ms = clock_wall_ms(&cache->held.base) - clock_mono_ns(&cache->held.base) / 1000000;
    cache->steps.checked_seq = atomic_load_explicit(&cache->last_seq, memory_order_relaxed);
    CHECK(!cache->thread_started && !cache->stopping);
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
