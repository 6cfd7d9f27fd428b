#include "serve/routes/lanes.h"

#include "base/check.h"

#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#define STACK_BYTES ((size_t)1 << 20)
#define MAX_THREADS 8

struct lane_thread {
    struct lane_state *lane;
    pthread_t thread;
    uint64_t began_ms; /* monotonic; of the job it has. 0: none */
};

struct lane_state {
    pthread_mutex_t lock; /* protects what follows; a leaf */
    pthread_cond_t wake;  /* by the monotonic clock */
    struct lane_job *first, **end;
    struct lane_thread threads[MAX_THREADS];
    unsigned thread_count;
    unsigned at_once;
    int nice;
    bool stopping;
};

struct lanes {
    struct mem *mem;
    struct lane_state lanes[LANE_COUNT];
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* With the lock held: when the next job may begin; a moment that has passed: now. */
static uint64_t next_turn_ms(const struct lane_state *lane, uint64_t now)
{
    unsigned running = 0;
    uint64_t turn = UINT64_MAX;
    for (unsigned i = 0; i < lane->thread_count; i++) {
        uint64_t began = lane->threads[i].began_ms;
        if (began == 0 || began + LANE_TURN_MS <= now) continue;
        running++;
        if (began + LANE_TURN_MS < turn) turn = began + LANE_TURN_MS;
    }
    return running < lane->at_once ? 0 : turn;
}

/* With the lock held, which is released while it waits. NULL: the lane ends. */
static struct lane_job *next_job(struct lane_state *lane)
{
    for (;;) {
        if (lane->first == NULL) {
            if (lane->stopping) return NULL;
            pthread_cond_wait(&lane->wake, &lane->lock);
            continue;
        }
        uint64_t turn = next_turn_ms(lane, now_ms());
        if (turn == 0) break;
        struct timespec until = {(time_t)(turn / 1000), (long)(turn % 1000) * 1000000};
        (void)pthread_cond_timedwait(&lane->wake, &lane->lock, &until);
    }
    struct lane_job *job = lane->first;
    lane->first = job->next;
    if (lane->first == NULL) lane->end = &lane->first;
    else pthread_cond_signal(&lane->wake);
    return job;
}

static void *lane_main(void *context)
{
    struct lane_thread *self = context;
    struct lane_state *lane = self->lane;
    /* Of this thread alone, as Linux does it. Where it is not allowed, the walks are as important as the fronts. */
    if (lane->nice > 0) (void)setpriority(PRIO_PROCESS, 0, lane->nice);
    pthread_mutex_lock(&lane->lock);
    for (struct lane_job *job; (job = next_job(lane)) != NULL;) {
        self->began_ms = now_ms();
        pthread_mutex_unlock(&lane->lock);
        job->run(job);
        pthread_mutex_lock(&lane->lock);
        self->began_ms = 0;
    }
    pthread_mutex_unlock(&lane->lock);
    return NULL;
}

static void lane_init(struct lane_state *lane)
{
    pthread_condattr_t clock;
    CHECK(pthread_mutex_init(&lane->lock, NULL) == 0);
    CHECK(pthread_condattr_init(&clock) == 0 && pthread_condattr_setclock(&clock, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&lane->wake, &clock) == 0);
    pthread_condattr_destroy(&clock);
    lane->end = &lane->first;
}

static aic_status lane_start(struct lane_state *lane, unsigned threads)
{
    pthread_attr_t attributes;
    aic_status status = AIC_OK;
    CHECK(threads <= MAX_THREADS);
    if (pthread_attr_init(&attributes) != 0) return AIC_NO_MEMORY;
    CHECK(pthread_attr_setstacksize(&attributes, STACK_BYTES) == 0);
    pthread_mutex_lock(&lane->lock);
    while (lane->thread_count < threads && status == AIC_OK) {
        struct lane_thread *thread = &lane->threads[lane->thread_count];
        thread->lane = lane;
        if (pthread_create(&thread->thread, &attributes, lane_main, thread) == 0) lane->thread_count++;
        else status = AIC_NO_MEMORY;
    }
    pthread_mutex_unlock(&lane->lock);
    pthread_attr_destroy(&attributes);
    return status;
}

static void lane_fini(struct lane_state *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->stopping = true;
    pthread_cond_broadcast(&lane->wake);
    pthread_mutex_unlock(&lane->lock);
    for (unsigned i = 0; i < lane->thread_count; i++) pthread_join(lane->threads[i].thread, NULL);
    CHECK(lane->first == NULL && lane->end == &lane->first);
    pthread_cond_destroy(&lane->wake);
    pthread_mutex_destroy(&lane->lock);
}

aic_status lanes_create(struct mem *mem, unsigned cores, struct lanes **out)
{
    static const struct {
        unsigned threads;
        int nice;
    } rows[] = {
#define LANE_ROW(name, threads, nice) {threads, nice},
        LANE_MAP(LANE_ROW)
#undef LANE_ROW
    };
    static_assert(COUNT_OF(rows) == LANE_COUNT, "each lane has its row");
    struct lanes *lanes = mem_zalloc(mem, MEM_OTHER, sizeof *lanes);
    if (lanes == NULL) return AIC_NO_MEMORY;
    lanes->mem = mem;
    for (unsigned i = 0; i < LANE_COUNT; i++) lane_init(&lanes->lanes[i]);
    aic_status status = AIC_OK;
    for (unsigned i = 0; i < LANE_COUNT && status == AIC_OK; i++) {
        struct lane_state *lane = &lanes->lanes[i];
        lane->nice = rows[i].nice;
        lane->at_once = i != LANE_WALKS ? rows[i].threads : cores > 3 ? cores / 2 : 1;
        status = lane_start(lane, rows[i].threads);
    }
    if (status != AIC_OK) lanes_destroy(&lanes);
    else *out = lanes;
    return status;
}

void lanes_destroy(struct lanes **lanes)
{
    struct lanes *old = *lanes;
    if (old == NULL) return;
    *lanes = NULL;
    for (unsigned i = 0; i < LANE_COUNT; i++) lane_fini(&old->lanes[i]);
    mem_free(old->mem, MEM_OTHER, old, sizeof *old);
}

void lanes_add(struct lanes *lanes, enum lane lane, struct lane_job *job)
{
    CHECK(lane < LANE_COUNT && job->run != NULL);
    struct lane_state *state = &lanes->lanes[lane];
    job->next = NULL;
    pthread_mutex_lock(&state->lock);
    *state->end = job;
    state->end = &job->next;
    pthread_cond_signal(&state->wake);
    pthread_mutex_unlock(&state->lock);
}
