/*
 * explain.c - POST /cache/explain: why a request hits or misses. A worker's job, since it looks at what lies near.
 */
#include "base/check.h"
#include "cache/cache.h"
#include "serve/routes/fields.h"
#include "serve/routes/handlers.h"
#include "serve/routes/request.h"
#include "serve/routes/work.h"

static aic_status explain(struct work *work)
{
    static const struct field_rule rules[] = {REQUEST_RULES};
    uint32_t tokens[COUNT_OF(rules)];
    struct request request;
    TRY(fields_read(&work->json, work->text, rules, COUNT_OF(rules), tokens, &work->error));
    TRY(request_read(&work->json, &work->scratch, work->call, tokens, &request, &work->error));
    return cache_explain(work->front->routes->overview.options.cache, &request.key, &work->gone, &work->body,
                         &work->error);
}

static void run_explain(struct work *work)
{
    work->status = explain(work);
}

void handle_explain(struct http_exchange *exchange)
{
    work_answer(exchange, LANE_WALKS, run_explain, 0);
}
