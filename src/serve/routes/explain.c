/*
 * explain.c - POST /cache/explain: why a request hits or misses. A worker's job, since it looks at what lies near.
 */
#include "base/check.h"
#include "cache/cache.h"
#include "serve/routes/fields.h"
#include "serve/routes/handlers.h"
#include "serve/routes/request.h"
#include "serve/routes/work.h"

struct explain_job {
    struct work work;
    aic_view text;
    struct json json;
    struct buf scratch;
};

static aic_status explain(struct explain_job *job)
{
    static const struct field_rule rules[] = {REQUEST_RULES};
    struct work *work = &job->work;
    uint32_t tokens[COUNT_OF(rules)];
    struct request request;
    TRY(fields_read(&job->json, job->text, rules, COUNT_OF(rules), tokens, &work->error));
    TRY(request_read(&job->json, &job->scratch, work->call, tokens, &request, &work->error));
    return cache_explain(work->front->routes->overview.options.cache, &request.key, &work->body, &work->error);
}

static void run_explain(struct work *work)
{
    work->status = explain((struct explain_job *)work);
}

static void finish_explain(struct work *work)
{
    struct explain_job *job = (struct explain_job *)work;
    json_fini(&job->json);
    buf_fini(&job->scratch);
    work_reply(work);
}

void handle_explain(struct http_exchange *exchange)
{
    struct explain_job *job = work_create(exchange, sizeof *job);
    if (job == NULL) return;
    json_init(&job->json, http_mem(exchange), MEM_CACHE);
    buf_init(&job->scratch, http_mem(exchange), MEM_CACHE);
    job->text = http_body(exchange);
    job->work.run = run_explain;
    job->work.finish = finish_explain;
    work_start(&job->work);
}
