/*
 * handlers_misc.c - explain, verify, ping: single questions to the cache that may take a while. All are workers' jobs.
 */
#include "base/check.h"
#include "base/status.h"
#include "serve/fields.h"
#include "serve/handlers.h"

#include <stdio.h>

/* -------------------------------------------------------------------------------------------------- explain -- */

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
    return cache_explain(work->front->routes->options.cache, &request.key, &work->body, &work->error);
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

/* --------------------------------------------------------------------------------------------------- verify -- */

static void run_verify(struct work *work)
{
    const struct routes_options *options = &work->front->routes->options;
    uint64_t started = clock_mono_ns(options->clock);
    work->status = aic_cache_verify(options->cache, &work->error);
    if (work->status != AIC_OK) return;
    aic_stats stats;
    aic_cache_stats(options->cache, &stats);
    buf_printf(&work->body, "{\"status\":\"ok\",\"memory_entries\":%llu,\"storage_entries\":%llu,\"duration_seconds\":",
               (unsigned long long)stats.memory_entries, (unsigned long long)stats.storage_entries);
    json_write_double(&work->body, (double)(clock_mono_ns(options->clock) - started) * 1e-9);
    buf_append_byte(&work->body, '}');
    work->status = buf_status(&work->body);
}

void handle_verify(struct http_exchange *exchange)
{
    aic_error error = {0};
    aic_status status = call_check_no_body(exchange, &error);
    if (status != AIC_OK) {
        http_reply_error(exchange, status, &error);
        return;
    }
    struct work *work = work_create(exchange, sizeof *work);
    if (work == NULL) return;
    work->run = run_verify;
    work->finish = work_reply;
    work->deadline_ms = HANDLERS_LONG_MS;
    work_start(work);
}

/* ----------------------------------------------------------------------------------------------------- ping -- */

#define PING_DEADLINE_MS 2000

/* Is the entry there? Asked without counting a lookup: a monitor that pings should not raise the hit rate. */
static aic_status find_quietly(aic_cache *cache, struct mem *mem, const aic_key *key)
{
    struct pin pin;
    if (store_peek(cache_store(cache), key, &pin) == AIC_OK) {
        pin_release(&pin);
        return AIC_OK;
    }
    if (!cache_has_storage(cache)) return AIC_MISS;
    struct buf record;
    buf_init(&record, mem, MEM_CACHE);
    aic_status status = gate_get(cache_gate(cache), key, PING_DEADLINE_MS, &record);
    buf_fini(&record);
    return status;
}

/* A round trip through the cache in a namespace of its own: what was put must be there and go away again. */
static aic_status round_trip(struct work *work, aic_cache *cache)
{
    char text[64];
    aic_put_result result;
    int size = snprintf(text, sizeof text, "%p %llu", (void *)work,
                        (unsigned long long)clock_mono_ns(work->front->routes->options.clock));
    aic_put put = {
        .request = {.ns = AIC_LITERAL("aicache.ping"), .operation = AIC_LITERAL("ping"), .text = {text, (size_t)size}},
        .response = AIC_LITERAL("true"),
        .ttl_given = true,
        .ttl_seconds = 10};
    aic_status status = aic_cache_put(cache, &put, &result, &work->error);
    if (status != AIC_OK) return status;
    status = find_quietly(cache, work->front->routes->options.mem, &result.key);
    aic_status removed = cache_hide(cache, put.request.ns, &result.key); /* need not last: it expires */
    return status != AIC_OK ? status : removed;
}

static void run_ping(struct work *work)
{
    const struct routes_options *options = &work->front->routes->options;
    work->status = round_trip(work, options->cache);
    if (work->status != AIC_OK) return;
    buf_printf(
        &work->body,
        "{\"status\":\"healthy\",\"cache_type\":\"%s\",\"ping_response\":true,\"set_cache_response\":\"success\"}",
        options->storage_kind);
    work->status = buf_status(&work->body);
}

static void finish_ping(struct work *work)
{
    if (work->status == AIC_OK) {
        work_reply(work);
        return;
    }
    /* A miss of what was just put is no 404: the cache does not work. */
    const char *why = work->status == AIC_NOT_STORED ? "neither tier takes an entry" : aic_status_text(work->status);
    http_reply_problem(work->exchange, 503, "ping_failed", NULL, why);
    work_free(work);
}

void handle_ping(struct http_exchange *exchange)
{
    struct work *work = work_create(exchange, sizeof *work);
    if (work == NULL) return;
    work->run = run_ping;
    work->finish = finish_ping;
    work_start(work);
}
