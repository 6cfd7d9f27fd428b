/*
 * health.c - /health and its relatives: the last results of the checks, rendered on the front thread in
 * microseconds.
 */
#include "base/check.h"
#include "base/plural.h"
#include "cache/cache.h"
#include "observe/fields.h"
#include "observe/stats.h"
#include "serve/http/negotiate.h"
#include "serve/routes/front.h"
#include "serve/routes/handlers.h"
#include "serve/routes/render.h"
#include "serve/routes/reply.h"

#include <stdio.h>
#include <string.h>

#define DRAFT_TYPE "application/health+json"

/* What every rendering needs. */
struct view {
    struct routes *routes;
    struct probe_report reports[PART_COUNT];
    struct parts_facts facts;
    struct pressure_figures pressure;
    enum probe_status overall;
    unsigned up, counted, criticals;
    bool draining;
    uint64_t now_ms;
};

/* Hits and misses are free to read, so the rate is that of now and not of the last check. */
static void freshen(struct view *view)
{
    aic_stats *stats = &view->facts.stats;
    struct probe_report *report = &view->reports[PART_CACHE];
    char rate[STATS_RATE_BYTES];
    cache_lookup_counts(view->routes->overview.options.cache, &stats->hits_memory, &stats->misses);
    stats->hits_storage = 0; /* hits of both tiers are in hits_memory now; only their sum is shown */
    stats_rate(stats, rate);
    if (report->status == PROBE_HEALTHY)
        snprintf(report->details, sizeof report->details, "Cache operational - %s hit rate", rate);
}

static void look(struct routes *routes, struct view *view)
{
    view->routes = routes;
    for (enum part part = 0; part < PART_COUNT; part++) parts_read(routes->overview.parts, part, &view->reports[part]);
    parts_facts(routes->overview.parts, &view->facts);
    pressure_read(watch_pressure(routes->overview.watch), &view->pressure);
    freshen(view);
    view->overall = overview_health(&routes->overview, view->reports, &view->up, &view->counted);
    view->criticals = atomic_load_explicit(&routes->overview.criticals, memory_order_relaxed);
    view->draining = atomic_load_explicit(&routes->draining, memory_order_relaxed);
    if (view->draining) view->overall = PROBE_UNHEALTHY;
    view->now_ms = clock_wall_ms(routes->overview.options.clock);
}

static int http_status(const struct view *view)
{
    return view->overall == PROBE_UNHEALTHY ? 503 : 200;
}

/* ------------------------------------------------------------------------------------------------ our own shape -- */

static void write_stats(struct json_writer *writer, const struct view *view)
{
    const aic_stats *stats = &view->facts.stats;
    char rate[STATS_RATE_BYTES];
    stats_rate(stats, rate);
    json_key(writer, "stats");
    json_open(writer, '{');
    put_count(writer, "total_hits", stats_hits(stats));
    put_count(writer, "total_misses", stats->misses);
    put_text(writer, "hit_rate", rate);
    put_count(writer, "cache_size", stats_entries(stats));
    put_mb(writer, "memory_usage_mb", stats->memory_bytes);
    put_flag(writer, "memory_pressure", overview_memory_short(&view->routes->overview, stats));
    json_close(writer, '}');
}

static void write_memory(struct json_writer *writer, const struct view *view)
{
    const struct parts_facts *facts = &view->facts;
    put_count(writer, "bytes", facts->stats.memory_bytes);
    put_count(writer, "max_bytes", facts->stats.memory_max_bytes);
    put_count(writer, "rss_bytes", facts->host.rss_bytes);
    put_count(writer, "limit_bytes", host_limit(&facts->host));
    put_number(writer, "pressure_percent", host_pressure(&facts->host));
    put_text(writer, "pressure", pressure_state_name(view->pressure.state));
}

static void write_part(struct json_writer *writer, const struct view *view, enum part part)
{
    const struct probe_report *report = &view->reports[part];
    json_open(writer, '{');
    put_text(writer, "status", probe_status_name(report->status));
    put_text(writer, "details", report->details);
    if (report->status != PROBE_DISABLED) {
        put_number(writer, "response_time_ms", report->response_ms);
        if (report->checked_ms > 0 && view->now_ms >= report->checked_ms)
            put_number(writer, "age_seconds", (double)(view->now_ms - report->checked_ms) / 1000.0);
        if (report->down_seconds > 0) put_number(writer, "down_seconds", report->down_seconds);
    }
    if (part == PART_MEMORY) write_memory(writer, view);
    if (part == PART_CACHE) {
        put_time(writer, "since", overview_since_ms(&view->routes->overview));
        write_stats(writer, view);
    }
    json_close(writer, '}');
}

static double uptime(const struct view *view)
{
    return (double)(clock_mono_ns(view->routes->overview.options.clock) - view->routes->overview.started_ns) * 1e-9;
}

static void write_health(struct buf *out, const struct view *view)
{
    char summary[96], critical[32] = "";
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    put_text(&writer, "status", probe_status_name(view->overall));
    json_key(&writer, "timestamp");
    render_time_or_null(&writer, view->now_ms);
    put_text(&writer, "version", view->routes->overview.options.version);
    put_number(&writer, "uptime_seconds", uptime(view));
    for (enum part part = 0; part < PART_COUNT; part++) {
        json_key(&writer, part_name(part));
        write_part(&writer, view, part);
    }
    uint64_t open = alerts_open_count(watch_alerts(view->routes->overview.watch));
    json_key(&writer, "alerts");
    json_open(&writer, '{');
    put_text(&writer, "status", open > 0 ? "active" : "none");
    put_count(&writer, "active", open);
    json_close(&writer, '}');
    if (view->criticals > 0)
        snprintf(critical, sizeof critical, "; %u critical %s", view->criticals,
                 plural(view->criticals, "warning", "warnings"));
    snprintf(summary, sizeof summary, "%s%u/%u services healthy%s", view->draining ? "stopping; " : "", view->up,
             view->counted, critical);
    put_text(&writer, "summary", summary);
    json_close(&writer, '}');
}

/* -------------------------------------------------------------------------------------------- the draft's shape -- */

static const char *draft_status(enum probe_status status)
{
    return status == PROBE_HEALTHY ? "pass" : status == PROBE_DEGRADED ? "warn" : "fail";
}

static void write_observed(struct json_writer *writer, const struct view *view, enum part part)
{
    const aic_stats *stats = &view->facts.stats;
    char rate[STATS_RATE_BYTES];
    double value = view->reports[part].response_ms;
    const char *unit = "ms";
    if (part == PART_MEMORY || part == PART_CACHE) unit = "percent";
    if (part == PART_MEMORY)
        value = stats->memory_max_bytes > 0 ? 100.0 * (double)stats->memory_bytes / (double)stats->memory_max_bytes
                                            : 0.0;
    if (part == PART_CACHE) value = stats_rate(stats, rate);
    put_number(writer, "observedValue", value);
    put_text(writer, "observedUnit", unit);
}

/* Parts that are not configured have no check. */
static void write_draft_check(struct json_writer *writer, const struct view *view, enum part part)
{
    const struct probe_report *report = &view->reports[part];
    char name[64];
    if (report->status == PROBE_DISABLED) return;
    snprintf(name, sizeof name, "%s:%s", part_name(part), part_measurement(part));
    json_key(writer, name);
    json_open(writer, '[');
    json_open(writer, '{');
    put_text(writer, "componentId", part_name(part));
    put_text(writer, "componentType", part_type(part));
    write_observed(writer, view, part);
    put_text(writer, "status", draft_status(report->status));
    json_key(writer, "time");
    render_time_or_null(writer, report->checked_ms);
    if (report->status != PROBE_HEALTHY) put_text(writer, "output", report->details);
    json_close(writer, '}');
    json_close(writer, ']');
}

static void write_draft(struct buf *out, const struct view *view)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    put_text(&writer, "status", draft_status(view->overall));
    put_text(&writer, "version", "1");
    put_text(&writer, "releaseId", view->routes->overview.options.version);
    put_text(&writer, "description", "health of the aicache daemon");
    json_key(&writer, "checks");
    json_open(&writer, '{');
    json_key(&writer, "uptime");
    json_open(&writer, '[');
    json_open(&writer, '{');
    put_text(&writer, "componentType", "system");
    put_number(&writer, "observedValue", uptime(view));
    put_text(&writer, "observedUnit", "s");
    put_text(&writer, "status", "pass");
    json_close(&writer, '}');
    json_close(&writer, ']');
    for (enum part part = 0; part < PART_COUNT; part++) write_draft_check(&writer, view, part);
    json_close(&writer, '}');
    json_close(&writer, '}');
}

/* ----------------------------------------------------------------------------------------------------- handlers -- */

void handle_health(struct http_exchange *exchange)
{
    struct view view;
    struct buf body;
    look(front_of(exchange)->routes, &view);
    buf_init(&body, http_mem(exchange), MEM_CONNECTIONS);
    bool draft = negotiate(exchange, "Accept", DRAFT_TYPE, "application/json");
    if (draft) write_draft(&body, &view);
    else write_health(&body, &view);
    buf_append_byte(&body, '\n');
    http_reply_header(exchange, "Vary", AIC_LITERAL("Accept"));
    http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-store"));
    http_reply_buf(exchange, http_status(&view), draft ? DRAFT_TYPE : HTTP_JSON, &body);
    buf_fini(&body);
}

static void reply_word(struct http_exchange *exchange, int status, const char *word)
{
    char body[64];
    int size = snprintf(body, sizeof body, "{\"status\":\"%s\"}\n", word);
    http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-store"));
    http_reply_bytes(exchange, status, HTTP_JSON, (aic_view){body, (size_t)size});
}

/* That this runs at all says that the loop turns; backends do not belong here, or an orchestrator would restart a good
 * process. */
void handle_live(struct http_exchange *exchange)
{
    reply_word(exchange, 200, "alive");
}

void handle_ready(struct http_exchange *exchange)
{
    struct view view;
    look(front_of(exchange)->routes, &view);
    if (view.draining) reply_word(exchange, 503, "draining");
    else if (view.overall == PROBE_UNHEALTHY) reply_word(exchange, 503, "unhealthy");
    else reply_word(exchange, 200, "ready");
}

static bool find_part(struct http_exchange *exchange, enum part *out)
{
    aic_view name = http_parameter(exchange, 0);
    for (enum part part = 0; part < PART_COUNT; part++) {
        if (strlen(part_name(part)) != name.size || memcmp(part_name(part), name.data, name.size) != 0) continue;
        *out = part;
        return true;
    }
    http_reply_problem(
        exchange, 404, "not_found", "part",
        "no part has this name; redis, chromadb, embeddings, storage, memory, upstream and cache are known");
    return false;
}

void handle_health_part(struct http_exchange *exchange)
{
    struct view view;
    struct buf body;
    struct json_writer writer;
    enum part part;
    if (!find_part(exchange, &part)) return;
    look(front_of(exchange)->routes, &view);
    buf_init(&body, http_mem(exchange), MEM_CONNECTIONS);
    json_writer_init(&writer, &body);
    write_part(&writer, &view, part);
    reply_json(exchange, view.reports[part].status == PROBE_UNHEALTHY ? 503 : 200, &body);
    buf_fini(&body);
}

void handle_health_history(struct http_exchange *exchange)
{
    struct buf body;
    struct json_writer writer;
    enum part part;
    if (!find_part(exchange, &part)) return;
    buf_init(&body, http_mem(exchange), MEM_CONNECTIONS);
    json_writer_init(&writer, &body);
    aic_status status = probes_write_history(parts_probes(front_of(exchange)->routes->overview.parts), part_name(part),
                                             &writer);
    if (status == AIC_OK) reply_json(exchange, 200, &body);
    else http_reply_error(exchange, status, NULL);
    buf_fini(&body);
}
