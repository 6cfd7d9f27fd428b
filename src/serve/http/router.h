/*
 * router.h - from a path to the routes of the table.
 *
 * The table is compiled once into a tree of segments and never changes, so any thread may match at the same time.
 * Literal segments are tried before `{name}`, that before `{name*}`; where a branch fails, the next is tried. Matching
 * allocates nothing.
 */
#ifndef SERVE_ROUTER_H
#define SERVE_ROUTER_H

#include "serve/http/head.h"

#define ROUTER_MAX_PARAMETERS 6
#define ROUTER_MAX_SEGMENTS 16

struct router;

/* Compiles a table, borrowed as long as the router lives. AIC_INVALID (a path that is malformed or there twice),
 * AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status router_create(struct mem *mem, const struct http_route *routes, size_t count,
                                        struct router **out, aic_error *error);
void router_destroy(struct router **router);

/* What a path leads to. */
struct router_match {
    const struct http_route *const
        *by_verb; /* HTTP_VERB_COUNT rows, NULL where there is none; GET stands for HEAD too */
    unsigned parameter_count;
    aic_view parameters[ROUTER_MAX_PARAMETERS]; /* raw spans of the path, still percent-encoded */
};

/* AIC_OK or AIC_NOT_FOUND. Escapes in literal segments are understood (`/%63ache` is `/cache`). */
AIC_MUST_CHECK aic_status router_match(const struct router *router, aic_view path, struct router_match *out);

/* Appends the value of Allow for a path's rows: "GET, HEAD, OPTIONS". out has room for ROUTER_ALLOW_BYTES;
 * NUL-terminated. */
#define ROUTER_ALLOW_BYTES 80
void router_allow(const struct http_route *const *by_verb, char out[ROUTER_ALLOW_BYTES]);

#endif
