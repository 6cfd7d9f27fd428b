/*
 * negotiate.h - what a client would rather have: weighted lists (RFC 9110, 12.4.2), and only where the
 * entity is the one that it knows (13.1). Every
 * field line of a name counts. Front threads.
 */
#ifndef SERVE_NEGOTIATE_H
#define SERVE_NEGOTIATE_H

#include "serve/http/http.h"

/*
 * Is `wanted` (a media type or a content coding, any case) listed in this field with a weight above 0 that is no less
 * than the weight of `usual`, where that is listed too? Wildcards ask for nothing special.
 */
bool negotiate(const struct http_exchange *exchange, const char *field, const char *wanted, const char *usual);

enum condition {
    CONDITION_HOLDS,
    CONDITION_KNOWN, /* a reader has it already: 304 */
    CONDITION_FAILED /* what is there is not what the client means: 412 */
};
/* What If-Match and If-None-Match say, in this order (RFC 9110, 13.2.2), where a representation with this tag (in its
 * quotes) is there. If-Match compares strongly, If-None-Match weakly: a W/ in front makes no difference to it. An
 * empty tag: what is there has none, so that nothing but `*` matches. */
enum condition negotiate_condition(const struct http_exchange *exchange, aic_view tag);

#endif
