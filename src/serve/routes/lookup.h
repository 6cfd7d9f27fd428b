/*
 * lookup.h - the way of a lookup through its four files: lookup.c finds the key and asks memory, pending.c asks
 * storage, held.c lets a miss wait for another's answer, lookup_answer.c replies. On the front thread.
 */
#ifndef SERVE_LOOKUP_H
#define SERVE_LOOKUP_H

#include "serve/routes/answer.h"

/* ---- lookup.c ---- */

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
/* Asks storage, with the deadline, and then calls lookup_finish(). Defers the exchange. */
void pending_start(struct http_exchange *exchange, aic_view ns, const aic_key *key);

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

#endif
