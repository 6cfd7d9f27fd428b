/*
 * webhook.h - tells an address of the operator's about alerts, as one JSON POST each.
 *
 * Notices wait in a bounded queue (the oldest makes room) and go out one after the other, so that they arrive in order.
 * Each has ten seconds with its tries, so that a dead address delays nothing but its own notices; what was dropped or
 * failed is counted. A notice may arrive twice, where the answer to the first was lost. Redirects are not followed. Any
 * thread may send; a mutex guards the queue and is never held while the network is waited for.
 */
#ifndef OBSERVE_WEBHOOK_H
#define OBSERVE_WEBHOOK_H

#include "base/figures.h"
#include "base/log.h"
#include "base/loop.h"

struct webhook;

/* url: http:// or https://; copied. loop: has a thread, outlives the webhook. log may be NULL. AIC_INVALID,
 * AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status webhook_create(struct mem *mem, const char *url, struct loop *loop, struct log *log,
                                         struct webhook **out, aic_error *error);
/* Gives up what is under way. Accepts a pointer to NULL. */
void webhook_destroy(struct webhook **webhook);
/* Queues one JSON text (copied). Never blocks. */
void webhook_send(struct webhook *webhook, aic_view json);

/* Adds to `out`, zeroed before: sent is what was answered 2xx, failed what ended otherwise, dropped what found no room
 * or memory. */
void webhook_figures(struct webhook *webhook, struct figures *out);

#endif
