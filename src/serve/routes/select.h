/*
 * select.h - which entries a request means: the members of a body, or the parameters of a query, to an aic_filter.
 *
 * Both spellings know the same names and refuse any other. One thread at a time.
 */
#ifndef SERVE_SELECT_H
#define SERVE_SELECT_H

#include "serve/routes/call.h"
#include "serve/routes/fields.h"

#define SELECT_MAX_TEXT 1024

struct selection {
    aic_filter filter;
    bool dry_run;
    bool named;      /* something was named that selects: more than rights, limits and notes */
    size_t limit;    /* of a page */
    aic_view cursor; /* absent: the first page */
};

/* What a route lets its caller say, as a set. */
enum {
    SELECT_LABELS = 1,  /* namespace, operation, model, tag, all_namespaces */
    SELECT_MORE = 2,    /* pattern, older_than_seconds, tier */
    SELECT_REMOVAL = 4, /* context, dry_run, all */
    SELECT_PAGE = 8,    /* limit, cursor */
};

/*
 * From a query; `json` and `scratch` are not needed. Views lead into the query. AIC_INVALID and AIC_FORBIDDEN with the
 * parameter named.
 */
AIC_MUST_CHECK aic_status select_from_query(struct http_exchange *exchange, unsigned what, struct selection *out,
                                            aic_error *error);
/* From a body; views lead into it or into `scratch`. */
AIC_MUST_CHECK aic_status select_from_body(struct json *json, struct buf *scratch, aic_view body,
                                           const struct call *call, unsigned what, struct selection *out,
                                           aic_error *error);

#endif
