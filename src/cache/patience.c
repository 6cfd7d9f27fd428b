#include "cache/patience.h"

#include <signal.h>
#include <time.h>

#define SILENCE_LOOKS 100     /* without a step: storage hangs, whatever is said of it */
#define SILENCE_LOOKS_DOWN 10 /* the same where storage is known to be down */
#define LOOK_MS 100
#define STACK_BYTES ((size_t)512 << 10)

struct run {
    struct aic_cache *cache;
    struct patience what;
    pthread_mutex_t lock; /* protects what follows; a leaf. Who is last frees */
    pthread_cond_t ended;
    bool done, left;
};

static void run_free(struct run *run)
{
    pthread_cond_destroy(&run->ended);
    pthread_mutex_destroy(&run->lock);
    mem_free(&run->cache->mem, MEM_CACHE, run, sizeof *run);
}

static void *run_main(void *context)
{
    struct run *run = context;
    struct aic_cache *cache = run->cache;
    run->what.work(run->what.context);
    pthread_mutex_lock(&run->lock);
    run->done = true;
    bool left = run->left;
    pthread_cond_signal(&run->ended);
    pthread_mutex_unlock(&run->lock);
    if (!left) return NULL;
    run->what.discard(run->what.context);
    run_free(run);
    pthread_mutex_lock(&cache->invalidating);
    CHECK(cache->left_behind > 0);
    cache->left_behind--;
    pthread_cond_broadcast(&cache->came_back);
    pthread_mutex_unlock(&cache->invalidating);
    return NULL;
}

/* Threads inherit the mask of who starts them: the application's signals are its own threads' business. */
static bool start(struct run *run, pthread_t *thread)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0) return false;
    CHECK(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(thread, &attributes, run_main, run) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

static void wait_a_little(struct run *run)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&run->ended, &run->lock, &until);
}

/* False: the run goes on by itself, and it is no more the caller's. */
static bool await(struct run *run)
{
    struct aic_cache *cache = run->cache;
    const struct patience *what = &run->what;
    unsigned seen = 0, silent = 0;
    pthread_mutex_lock(&run->lock);
    while (!run->done) {
        wait_a_little(run);
        if (run->done) break;
        if (stop_is_set(what->stop)) atomic_store_explicit(what->give_up, true, memory_order_relaxed);
        unsigned steps = atomic_load_explicit(what->steps, memory_order_relaxed);
        silent = steps != seen ? 0 : silent + 1;
        seen = steps;
        if (silent < (cache_storage_up(cache) ? SILENCE_LOOKS : SILENCE_LOOKS_DOWN)) continue;
        atomic_store_explicit(what->give_up, true, memory_order_relaxed);
        pthread_mutex_lock(&cache->invalidating); /* before the thread can know that it was left */
        cache->left_behind++;
        pthread_mutex_unlock(&cache->invalidating);
        run->left = true;
        break;
    }
    bool done = run->done;
    pthread_mutex_unlock(&run->lock);
    return done;
}

aic_status patience_run(struct aic_cache *cache, const struct patience *what)
{
    struct run *run = mem_zalloc(&cache->mem, MEM_CACHE, sizeof *run);
    if (run == NULL) return AIC_NO_MEMORY;
    pthread_condattr_t attributes;
    pthread_t thread;
    run->cache = cache;
    run->what = *what;
    pthread_mutex_init(&run->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&run->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    if (!start(run, &thread)) {
        what->work(what->context);
    } else if (await(run)) {
        pthread_join(thread, NULL);
    } else {
        pthread_detach(thread);
        return AIC_TIMEOUT;
    }
    run_free(run);
    return AIC_OK;
}

void patience_end(struct aic_cache *cache)
{
    pthread_mutex_lock(&cache->invalidating);
    while (cache->left_behind > 0) pthread_cond_wait(&cache->came_back, &cache->invalidating);
    pthread_mutex_unlock(&cache->invalidating);
}
