/*
 * lookup.h - the way of a lookup through its three files: lookup.c finds the key and asks memory, pending.c asks
 * storage, lookup_answer.c replies. On the front thread.
 */
#ifndef SERVE_LOOKUP_H
#define SERVE_LOOKUP_H

#include "serve/routes/answer.h"

/* ---- lookup.c ---- */

/* Answers what storage was asked for: `hit` is moved from when status is AIC_OK. */
void lookup_finish(struct http_exchange *exchange, aic_status status, struct cache_hit *hit);
/* Counts a lookup that is answered now, everywhere: `hit` (of status AIC_OK) and its age, or NULL and 0. Before the
 * reply, which ends both. */
void lookup_count(struct http_exchange *exchange, aic_status status, const struct cache_hit *hit, uint64_t age_ms);

/* ---- pending.c ---- */

AIC_MUST_CHECK aic_status pending_init(struct front *front);
void pending_fini(struct front *front);
/* Asks storage, with the deadline, and then calls lookup_finish(). Defers the exchange. */
void pending_start(struct http_exchange *exchange, aic_view ns, const aic_key *key);

/* ---- lookup_answer.c ---- */

/* Answers with the answer's hit, and takes the answer over (a hit whose bytes turn out to be damaged is a miss), or
 * with a miss for the reason `status` (AIC_MISS, AIC_TIMEOUT, ...), and counts it. */
void lookup_answer_hit(struct http_exchange *exchange, struct answer *answer);
void lookup_answer_miss(struct http_exchange *exchange, aic_status status);

#endif
