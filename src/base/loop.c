#include "base/loop.h"

#include "base/check.h"

#include <signal.h>
#include <stddef.h>

static void run_posted(uv_async_t *wake)
{
    struct loop *loop = wake->data;
    /* Acquire, paired with the release in loop_post(). */
    struct message *newest = atomic_exchange_explicit(&loop->posted, NULL, memory_order_acquire);
    struct message *oldest = NULL;
    while (newest != NULL) {
        struct message *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct message *next = oldest->next; /* read first: run() may free the message */
        oldest->run(oldest);
        oldest = next;
    }
}

aic_status loop_init(struct loop *loop)
{
    atomic_init(&loop->posted, NULL);
    loop->started = false;
    int result = uv_loop_init(&loop->uv);
    if (result == 0) {
        result = uv_async_init(&loop->uv, &loop->wake, run_posted);
        if (result != 0) CHECK(uv_loop_close(&loop->uv) == 0);
    }
    loop->wake.data = loop;
    if (result == UV_ENOMEM) return AIC_NO_MEMORY;
    return result == 0 ? AIC_OK : AIC_IO;
}

static void close_handle(uv_handle_t *handle, void *unused)
{
    (void)unused;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

void loop_fini(struct loop *loop)
{
    CHECK(!loop->started);
    uv_walk(&loop->uv, close_handle, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&loop->uv) == 0);
}

void loop_post(struct loop *loop, struct message *message)
{
    CHECK(message->run != NULL);
    struct message *head = atomic_load_explicit(&loop->posted, memory_order_relaxed);
    /* Release, paired with the acquire in run_posted(): the owner sees what the poster wrote into the message. */
    do message->next = head;
    while (!atomic_compare_exchange_weak_explicit(&loop->posted, &head, message, memory_order_release,
                                                  memory_order_relaxed));
    CHECK(uv_async_send(&loop->wake) == 0);
}

/* ------------------------------------------------------------------------------------------------- its thread -- */

static void *run_loop(void *context)
{
    struct loop *loop = context;
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

aic_status loop_start(struct loop *loop)
{
    sigset_t all, before;
    CHECK(!loop->started);
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    loop->started = pthread_create(&loop->thread, NULL, run_loop, loop) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return loop->started ? AIC_OK : AIC_NO_MEMORY;
}

static void on_stop(struct message *message)
{
    struct loop *loop = (struct loop *)(void *)((char *)message - offsetof(struct loop, stop));
    uv_stop(&loop->uv);
}

void loop_stop(struct loop *loop)
{
    if (!loop->started) return;
    CHECK(!pthread_equal(pthread_self(), loop->thread));
    loop->stop.run = on_stop;
    loop_post(loop, &loop->stop);
    CHECK(pthread_join(loop->thread, NULL) == 0);
    loop->started = false;
}

struct visit {
    struct message message;
    void (*run)(void *context);
    void *context;
    uv_sem_t done;
};

static_assert(offsetof(struct visit, message) == 0, "the message is found again as its visit");

static void on_visit(struct message *message)
{
    struct visit *visit = (struct visit *)message;
    visit->run(visit->context);
    uv_sem_post(&visit->done);
}

void loop_call(struct loop *loop, void (*run)(void *context), void *context)
{
    struct visit visit = {.message.run = on_visit, .run = run, .context = context};
    if (!loop->started) {
        run(context);
        return;
    }
    CHECK(!pthread_equal(pthread_self(), loop->thread));
    CHECK(uv_sem_init(&visit.done, 0) == 0);
    loop_post(loop, &visit.message);
    uv_sem_wait(&visit.done);
    uv_sem_destroy(&visit.done);
}
