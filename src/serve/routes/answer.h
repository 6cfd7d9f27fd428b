/*
 * answer.h - a hit on its way out: the pinned entry and the bytes around it. From a pool of the front thread's.
 */
#ifndef SERVE_ANSWER_H
#define SERVE_ANSWER_H

#include "cache/cache.h"
#include "serve/routes/front.h"
#include "serve/routes/unpacked.h"

struct answer {
    struct front *front;
    struct cache_hit hit;
    struct tail *tail;         /* pinned: the end of the body; NULL: `text` has it */
    struct buf text;           /* head of the body, and what stands behind the response */
    struct buf plain;          /* a response that had to be decoded or gathered */
    uint64_t held;             /* bytes of `hit` that count against limits.answers_bytes */
    struct unpacked_wait wait; /* its `unpacked`, pinned, has the response of a large hit; or NULL */
    struct message post;       /* when it is told, and for which exchange */
    struct http_exchange *exchange;
};

void answers_init(struct front *front);
void answers_fini(struct front *front);
/* NULL when there is no memory. */
struct answer *answer_take(struct front *front);
/* Before `plain` takes so many bytes: what is large of it counts against limits.answers_bytes. */
void answer_expect(struct answer *answer, struct http_exchange *exchange, uint64_t bytes);
/* An http_release_fn: releases the hit and gives the answer back. */
void answer_give(void *answer);

#endif
