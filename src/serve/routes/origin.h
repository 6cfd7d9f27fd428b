/*
 * origin.h - does a foreign web page make this request?
 *
 * A browser lets any page send a POST with a text of its choice to any address that it can reach, also to 127.0.0.1,
 * and only keeps the answer from the page. Without this check a page that somebody looks at could fill, reload or empty
 * the cache of a daemon that asks for no key (POST /cache/import takes lines of any content type). A key does not leak
 * that way, but the rule is the same for everybody: who is no browser never notices.
 *
 * Browsers say where a request comes from: Sec-Fetch-Site, and, over plain HTTP or before 2023, Origin alone. Reading
 * needs no check: answers carry no CORS headers, so that the browser keeps them. Pure, any thread.
 */
#ifndef SERVE_ORIGIN_H
#define SERVE_ORIGIN_H

#include "serve/http/http.h"

/* True for anything but GET, HEAD and OPTIONS whose Sec-Fetch-Site names another site than ours, or, where it is
 * absent, whose Origin is not the Host that was asked. False without either field: no browser. */
bool origin_is_foreign(const struct http_exchange *exchange);

#endif
