/*
 * lookup.h - the way of a lookup through its files: lookup.c finds the key and asks memory, pending.c asks storage,
 * held.c lets a miss wait for another's answer, lookup_answer.c replies; lookup_many.c takes many at once along the
 * same way. On the front thread, where nothing else is said.
 */
#ifndef SERVE_LOOKUP_H
#define SERVE_LOOKUP_H

#include "serve/routes/answer.h"
#include "serve/routes/request.h"

/* ---- lookup.c ---- */

/* What a body, or one of its requests, asks for. */
struct lookup_request {
    struct request request; /* views into the document and the scratch buffer */
    aic_key key;
    uint64_t text_length, key_ns; /* what it took to find the key */
    uint32_t wait_ms;             /* 0: not at all */
};
/* Reads the request that an object of a scanned document is, and computes its key. Any thread. AIC_INVALID,
 * AIC_FORBIDDEN, AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status lookup_key(struct front *front, const struct call *call, struct json *json, uint32_t object,
                                     struct buf *scratch, struct lookup_request *out, aic_error *error);
/* Makes it the call's own, and counts the time of its key. */
void lookup_place(struct front *front, struct call *call, const struct lookup_request *request);

/* Answers what storage was asked for: `hit` is moved from when status is AIC_OK. */
void lookup_finish(struct http_exchange *exchange, aic_status status, struct cache_hit *hit);
/* Looks call->key up once more, for a deferred exchange. */
void lookup_again(struct http_exchange *exchange);
/* Counts a lookup that is answered now, everywhere: `hit` (of status AIC_OK) and its age, or NULL and 0. Before the
 * reply, which ends both. */
void lookup_count(struct http_exchange *exchange, aic_status status, const struct cache_hit *hit, uint64_t age_ms);

/* ---- pending.c ---- */

AIC_MUST_CHECK aic_status pending_init(struct front *front);
void pending_fini(struct front *front);
/* Asks storage, with the deadline, and calls `done` on the front thread, once and after this has returned: `hit` is
 * moved from when status is AIC_OK, and lasts as long as the call. AIC_NO_MEMORY: it is not called. */
typedef void pending_fn(void *context, aic_status status, struct cache_hit *hit);
AIC_MUST_CHECK aic_status pending_start(struct front *front, aic_view ns, const aic_key *key, pending_fn *done,
                                        void *context);

/* A timer of a front thread, which keeps its loop from nothing. AIC_NO_MEMORY. Closing it twice does no harm. */
AIC_MUST_CHECK aic_status front_timer_open(struct front *front, struct uv_timer_s **timer);
void front_timer_close(struct front *front, struct uv_timer_s **timer);

/* ---- held.c ---- */

AIC_MUST_CHECK aic_status held_init(struct front *front);
void held_fini(struct front *front);
/* A miss of a lookup that may wait (call->wait_ms): answers it with a lease, or defers it until there is news. False:
 * it is a plain miss, and the caller's to answer. */
bool held_start(struct http_exchange *exchange);

/* ---- lookup_answer.c ---- */

/* Answers with the answer's hit, and takes the answer over (a hit whose bytes turn out to be damaged is a miss), or
 * with a miss for the reason `status` (AIC_MISS, AIC_TIMEOUT, ...), and counts it. */
void lookup_answer_hit(struct http_exchange *exchange, struct answer *answer);
void lookup_answer_miss(struct http_exchange *exchange, aic_status status);
/* Appends the object that a hit, or a miss, is answered with. `scratch`: for what is decompressed. *age_ms gets the
 * hit's age. AIC_DAMAGED (a miss, then), AIC_NO_MEMORY. Any thread. */
AIC_MUST_CHECK aic_status lookup_write_hit(const struct front *front, struct cache_hit *hit, struct buf *scratch,
                                           struct buf *out, uint64_t *age_ms);
#define LOOKUP_MISS_BYTES 96 /* with room for the end of a line */
size_t lookup_write_miss(const aic_key *key, char out[LOOKUP_MISS_BYTES]);

#endif
