/*
 * close.c - the end of a cache, waited for or not.
 *
 * Any of its steps may call storage, and a call that storage does not give back cannot be taken back. So a bounded
 * close runs as a whole on a thread of its own: who waits for it may stop waiting, and the thread goes on. Should
 * storage let go later, it closes and frees to the end.
 */
#include "cache/inner.h"

#include <signal.h>
#include <time.h>

/* Shared by the two threads; the last of them frees it. */
struct closing {
    aic_allocator allocator; /* the caller's; used by both */
    struct aic_cache *cache; /* the closing thread's */
    pthread_mutex_t lock;    /* protects what follows; no other lock is taken under it */
    pthread_cond_t ended;
    bool done; /* by the closing thread */
    bool left; /* by the caller */
};

static void closing_free(struct closing *closing)
{
    struct mem own;
    mem_init(&own, &closing->allocator);
    pthread_cond_destroy(&closing->ended);
    pthread_mutex_destroy(&closing->lock);
    mem_free(&own, MEM_CACHE, closing, sizeof *closing);
}

static struct closing *closing_create(struct aic_cache *cache)
{
    struct mem own;
    mem_init(&own, &cache->mem.allocator);
    struct closing *closing = mem_zalloc(&own, MEM_CACHE, sizeof *closing);
    if (closing == NULL) return NULL;
    closing->allocator = cache->mem.allocator;
    closing->cache = cache;
    pthread_mutex_init(&closing->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&closing->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    return closing;
}

static void *close_main(void *context)
{
    struct closing *closing = context;
    cache_destroy(&closing->cache);
    pthread_mutex_lock(&closing->lock);
    closing->done = true;
    bool left = closing->left;
    pthread_cond_signal(&closing->ended);
    pthread_mutex_unlock(&closing->lock);
    if (left) closing_free(closing);
    return NULL;
}

/* False: it goes on by itself, and `closing` is no more the caller's. */
static bool await_end(struct closing *closing, unsigned ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&closing->lock);
    int late = 0;
    while (!closing->done && late == 0) late = pthread_cond_timedwait(&closing->ended, &closing->lock, &until);
    bool done = closing->done;
    closing->left = !done;
    pthread_mutex_unlock(&closing->lock);
    return done;
}

/* Threads inherit the mask of who starts them: the application's signals are its own threads' business. */
static bool start(struct closing *closing, pthread_t *thread)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(thread, NULL, close_main, closing) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

void aic_cache_close(aic_cache **cache)
{
    if (cache != NULL) cache_destroy(cache);
}

aic_status aic_cache_close_within(aic_cache **cache, unsigned ms)
{
    if (cache == NULL || *cache == NULL) return AIC_OK;
    struct closing *closing = (*cache)->gate != NULL ? closing_create(*cache) : NULL;
    pthread_t thread;
    if (closing == NULL || !start(closing, &thread)) { /* nothing can hang, or nobody can be asked to wait for it */
        if (closing != NULL) closing_free(closing);
        cache_destroy(cache);
        return AIC_OK;
    }
    *cache = NULL;
    if (!await_end(closing, ms)) {
        pthread_detach(thread);
        return AIC_TIMEOUT;
    }
    pthread_join(thread, NULL);
    closing_free(closing);
    return AIC_OK;
}
