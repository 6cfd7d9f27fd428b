/*
 * loop.h - an event loop that other threads can send messages to: a libuv loop, a lock-free mailbox, a wake-up.
 *
 * The idea: messages are part of the senders' own structs, so posting never allocates and never fails. The mailbox is a
 * stack that many push and one empties; the owner takes all of it at once and reverses it, so that messages of one
 * sender arrive in order. The wake-up is a uv_async_t, which coalesces by itself. Timers and sockets are libuv's, on
 * `uv`.
 *
 * Front threads drive a loop themselves; whatever else waits (backends, and all that is asked of them) shares one that
 * has a thread by loop_start().
 *
 * Lifetime: loop_fini() comes after every poster has ended, because a poster may still be waking the loop while its
 * message is already being handled.
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <aicache/aicache.h>

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

struct message {
    struct message *next; /* the mailbox's */
    void (*run)(struct message *message);
};

struct loop {
    uv_loop_t uv;
    _Atomic(struct message *) posted; /* newest first; posting releases, emptying acquires: a message is seen whole */
    uv_async_t wake;
    pthread_t thread;
    bool started;
    struct message stop;
};

/* AIC_NO_MEMORY, AIC_IO (no descriptor is to be had). Nothing is to be released after a failure. */
AIC_MUST_CHECK aic_status loop_init(struct loop *loop);
/* Closes every handle that is left on it. The thread has ended. */
void loop_fini(struct loop *loop);

/* Any thread. `run` is called once, on the loop's thread, and may free the message. */
void loop_post(struct loop *loop, struct message *message);

/* Runs the loop on a thread of its own, with all signals blocked, until loop_stop(). AIC_NO_MEMORY: no thread is to be
 * had. */
AIC_MUST_CHECK aic_status loop_start(struct loop *loop);
/* Ends and joins the thread; what was posted before is run first. Nothing where none was started. */
void loop_stop(struct loop *loop);
/* Runs a function on the loop's thread and waits for it; on the caller's where the loop has no thread. Not from the
 * loop's thread. */
void loop_call(struct loop *loop, void (*run)(void *context), void *context);

#endif
