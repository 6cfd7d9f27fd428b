/*
 * work.h - what may take long: jobs for the threads of a lane, so that a front thread never waits.
 *
 * The idea: a job is a struct that begins with a struct work. `run` is called on a thread of its lane, then `finish` on
 * the exchange's front thread, which replies and frees the job, or starts it again. The request's views stay valid
 * until the reply. Where nobody waits for the reply any more (the client hung up, its deadline passed, or the daemon
 * cut it off at its stop) `gone` is set: long work looks at it and ends early, and what has not begun is not run at
 * all.
 */
#ifndef SERVE_WORK_H
#define SERVE_WORK_H

#include "serve/routes/call.h"
#include "serve/routes/front.h"
#include "serve/routes/lanes.h"

struct work {
    struct lane_job job;
    struct message post;
    enum lane lane;
    bool ends_at_hangup; /* a half-close of the client counts as gone */
    _Atomic bool gone;   /* relaxed: a flag that is only ever set */
    struct http_exchange *exchange;
    struct front *front;
    struct call *call;
    struct mem *mem; /* of the struct */
    size_t size;
    uint64_t deadline_ms; /* of the reply; 0: the server's */
    void (*run)(struct work *work);
    void (*finish)(struct work *work);
    aic_view text; /* the body of the request */
    /* For the job's use. */
    struct json json;   /* of the text */
    struct buf scratch; /* what is unescaped of it */
    aic_status status;
    const struct mem *full; /* what had no room, when that is why status is AIC_NO_MEMORY; else NULL */
    aic_error error;
    struct buf body; /* of the answer; counts against limits.answers_bytes, but that of /metrics */
};

/* A deadline for what walks the whole cache. */
#define WORK_LONG_MS 600000
/* Bodies larger than this are parsed, hashed and compressed on a lane's thread. */
#define WORK_LARGE_BODY 65536

/* A zeroed struct of `size` bytes that begins with a struct work; NULL when there is no memory (503 was answered then).
 */
void *work_create(struct http_exchange *exchange, enum lane lane, size_t size);
void work_free(struct work *work);
/* Defers the exchange and starts. */
void work_start(struct work *work);
/* Starts a job of a deferred exchange, for the second and later runs. */
void work_again(struct work *work);
/* Starts a job that only writes `body` and sets the status. */
void work_answer(struct http_exchange *exchange, enum lane lane, void (*run)(struct work *work), uint64_t deadline_ms);
/* Replies with the error of a status that is not AIC_OK; of no room with its limit. */
void work_refuse(struct work *work);
/* The usual `finish`: replies with `body` as JSON and 200 when status is AIC_OK, else with the error; frees. */
void work_reply(struct work *work);

#endif
