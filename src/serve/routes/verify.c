/*
 * verify.c - does the cache keep what it promises? POST /cache/verify looks at all of it, GET /cache/ping tries one
 * entry. Both are workers' jobs.
 */
#include "base/check.h"
#include "cache/cache.h"
#include "serve/routes/handlers.h"
#include "serve/routes/work.h"

#include <stdio.h>

/* ------------------------------------------------------------------------------------------------------- verify -- */

static void run_verify(struct work *work)
{
    const struct overview_options *options = &work->front->routes->overview.options;
    uint64_t started = clock_mono_ns(options->clock);
    work->status = cache_verify(options->cache, &work->gone, &work->error);
    if (work->status != AIC_OK) return;
    struct figures stats = {0};
    cache_figures(options->cache, &stats);
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
    if (status != AIC_OK) http_reply_error(exchange, status, &error);
    else work_answer(exchange, LANE_WALKS, run_verify, WORK_LONG_MS);
}

/* --------------------------------------------------------------------------------------------------------- ping -- */

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
                        (unsigned long long)clock_mono_ns(work->front->routes->overview.options.clock));
    aic_put put = {
        .request = {.ns = AIC_LITERAL("aicache.ping"), .operation = AIC_LITERAL("ping"), .text = {text, (size_t)size}},
        .response = AIC_LITERAL("true"),
        .ttl_given = true,
        .ttl_seconds = 10};
    aic_status status = aic_cache_put(cache, &put, &result, &work->error);
    if (status != AIC_OK) return status;
    status = find_quietly(cache, work->front->routes->overview.options.mem, &result.key);
    aic_status removed = cache_hide(cache, put.request.ns, &result.key); /* need not last: it expires */
    return status != AIC_OK ? status : removed;
}

static void run_ping(struct work *work)
{
    const struct overview_options *options = &work->front->routes->overview.options;
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
    struct work *work = work_create(exchange, LANE_REMOVALS, sizeof *work);
    if (work == NULL) return;
    work->run = run_ping;
    work->finish = finish_ping;
    work_start(work);
}
