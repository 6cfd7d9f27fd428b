/*
 * negotiate.h - what a client would rather have: weighted lists (RFC 9110, 12.4.2) and entity tags (13.1.2). Every
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

/* Does If-None-Match hold this tag (with its quotes), or `*`? Weak comparison: a W/ in front makes no difference. */
bool negotiate_has_tag(const struct http_exchange *exchange, aic_view tag);

#endif
