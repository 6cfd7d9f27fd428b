/*
 * mailbox.h - messages to a front thread: a lock-free stack that many push and one empties, and a wake-up.
 *
 * The idea: messages are part of the senders' own structs, so posting never allocates and never fails. The owner takes
 * the whole stack at once and reverses it, so that messages of one sender arrive in order. The wake-up is a uv_async_t,
 * which coalesces by itself.
 *
 * Lifetime: the async handle lives until the server is destroyed, after every poster has ended, because a poster may
 * still be waking the loop while the message is already being handled.
 */
#ifndef SERVE_MAILBOX_H
#define SERVE_MAILBOX_H

#include "serve/http/http.h"

#include <uv.h>

struct mailbox {
    _Atomic(struct http_post *) head; /* newest first; posting releases, emptying acquires: a message is seen whole */
    uv_async_t wake;                  /* data is free for the owner */
};

/* On the thread that sets the loop up. AIC_IO, AIC_NO_MEMORY. `wake` is called on the loop's thread. */
AIC_MUST_CHECK aic_status mailbox_init(struct mailbox *mailbox, uv_loop_t *loop, uv_async_cb wake);
/* Any thread. */
void mailbox_post(struct mailbox *mailbox, struct http_post *post);
/* The owner: runs everything that was posted before the call. */
void mailbox_run(struct mailbox *mailbox);

#endif
