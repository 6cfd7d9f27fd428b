/*
 * call.h - who calls, and what a request says outside of its body: the key of the path, the query.
 *
 * On the front thread.
 */
#ifndef SERVE_CALL_H
#define SERVE_CALL_H

#include "observe/labels.h"
#include "serve/http/http.h"

/* What a request needs to be known of: lies in http_state(). The guard fills the caller in, zeroed when there is none.
 */
struct call {
    char ns[AIC_MAX_NAME_BYTES]; /* the caller's own namespace */
    uint8_t ns_size;
    bool admin;
    bool by_key; /* a GET by key rather than a lookup */
    bool metadata_only;
    uint32_t wait_ms;    /* a miss waits so long for another's answer; 0: not at all */
    uint64_t resumed_ns; /* when it had waited, which is no time of the cache's; 0: it has not */
    aic_key key;
    uint64_t text_length;
    uint64_t memory_before;    /* bytes of the memory tier, when operations are logged */
    struct labels_place place; /* where the lookup is counted */
};
_Static_assert(sizeof(struct call) <= HTTP_STATE_BYTES, "a call fits into the exchange");

static inline struct call *call_of(struct http_exchange *exchange)
{
    return http_state(exchange);
}
static inline aic_view call_ns(const struct call *call)
{
    return (aic_view){call->ns, call->ns_size};
}

/* The namespace of a request of this caller, checked: `wanted` or the caller's own. AIC_FORBIDDEN, AIC_INVALID. */
AIC_MUST_CHECK aic_status call_namespace(const struct call *call, aic_view wanted, aic_view *out, aic_error *error);
/* The `{key}` of the path and the namespace in which to look: that of `?namespace=`, else the caller's own, else (for
 * who may see all) any: empty. */
AIC_MUST_CHECK aic_status call_key(struct http_exchange *exchange, aic_key *key, aic_view *ns, aic_error *error);
/* A query parameter by name, absent when it was not given; AIC_INVALID for a query that cannot be read, and for one
 * that names it twice. */
AIC_MUST_CHECK aic_status call_query(struct http_exchange *exchange, const char *name, aic_view *out, aic_error *error);
/* Refuses query parameters that the route does not know. */
AIC_MUST_CHECK aic_status call_check_query(struct http_exchange *exchange, const struct http_route *route,
                                           aic_error *error);
/* Refuses a body that says anything: empty and `{}` are the same. */
AIC_MUST_CHECK aic_status call_check_no_body(struct http_exchange *exchange, aic_error *error);

#endif
