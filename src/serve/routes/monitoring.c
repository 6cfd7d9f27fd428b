/*
 * monitoring.c - what was measured and what is watched, by route: /metrics, /monitoring/... (but the stream), and the
 * two reports on invalidations. Workers' jobs: they count and sum.
 */
#include "base/check.h"
#include "base/prom.h"
#include "base/status.h"
#include "cache/cache.h"
#include "observe/breakdown.h"
#include "observe/fields.h"
#include "observe/metrics.h"
#include "observe/monitor.h"
#include "observe/pools.h"
#include "serve/http/negotiate.h"
#include "serve/routes/fields.h"
#include "serve/routes/handlers.h"
#include "serve/routes/work.h"

/* False when measurements are off; that is answered then. */
static bool has_monitor(struct http_exchange *exchange)
{
    if (front_of(exchange)->routes->overview.options.monitor != NULL) return true;
    http_reply_problem(exchange, 503, "monitor_disabled", NULL,
                       "measurements are switched off; set monitor.enabled to true to have them");
    return false;
}

/* ---------------------------------------------------------------------------------------- the monitor's reports -- */

typedef aic_status report_fn(aic_monitor *monitor, aic_report **out);

struct report_job {
    struct work work;
    report_fn *make; /* NULL: slow operations */
    double multiplier;
    aic_report *report;
};

static void run_report(struct work *work)
{
    struct report_job *job = (struct report_job *)work;
    aic_monitor *monitor = work->front->routes->overview.options.monitor;
    work->status = job->make != NULL ? job->make(monitor, &job->report)
                                     : aic_monitor_slow(monitor, job->multiplier, &job->report);
    if (work->status != AIC_OK) return;
    buf_append_view(&work->body, aic_report_json(job->report));
    aic_report_release(&job->report);
    work->status = buf_status(&work->body);
}

static void start_report(struct http_exchange *exchange, report_fn *make, double multiplier)
{
    if (!has_monitor(exchange)) return;
    struct report_job *job = work_create(exchange, LANE_QUICK, sizeof *job);
    if (job == NULL) return;
    job->make = make;
    job->multiplier = multiplier;
    job->work.run = run_report;
    job->work.finish = work_reply;
    work_start(&job->work);
}

void handle_invalidation_stats(struct http_exchange *exchange)
{
    start_report(exchange, aic_monitor_invalidations, 0);
}

void handle_invalidation_advice(struct http_exchange *exchange)
{
    start_report(exchange, aic_monitor_invalidation_advice, 0);
}

void handle_cache_metrics(struct http_exchange *exchange)
{
    start_report(exchange, aic_monitor_statistics, 0);
}

void handle_measurements(struct http_exchange *exchange)
{
    start_report(exchange, aic_monitor_export, 0);
}

void handle_slow(struct http_exchange *exchange)
{
    aic_error error = {0};
    aic_view text;
    double multiplier = 2;
    aic_status status = call_query(exchange, "multiplier", &text, &error);
    if (status == AIC_OK && text.data != NULL)
        status = fields_above_zero_text(&front_of(exchange)->json, text, "multiplier", 1000000, &multiplier, &error);
    if (status != AIC_OK) http_reply_error(exchange, status, &error);
    else start_report(exchange, NULL, multiplier);
}

void handle_reset(struct http_exchange *exchange)
{
    struct overview *overview = &front_of(exchange)->routes->overview;
    aic_error error = {0};
    aic_status status = call_check_no_body(exchange, &error);
    if (status == AIC_OK) status = overview_reset(overview);
    if (status != AIC_OK) {
        http_reply_error(exchange, status, &error);
        return;
    }
    if (overview->options.monitor != NULL) aic_monitor_reset(overview->options.monitor);
    http_reply_empty(exchange, 204);
}

/* ---------------------------------------------------------------------------------------------- what is watched -- */

/* The monitor's report, and whose the memory is. */
static void run_memory(struct work *work)
{
    struct routes *routes = work->front->routes;
    struct json_writer writer;
    aic_memory_sample now;
    struct breakdown what;
    bool measured = overview_measure(&routes->overview, &what, &now);
    json_writer_init(&writer, &work->body);
    json_open(&writer, '{');
    put_mb(&writer, "memory_tier_limit_mb", store_max_bytes(cache_store(routes->overview.options.cache)));
    work->status = memory_usage_write_members(routes->overview.options.monitor, measured ? &now : NULL, &writer);
    if (work->status != AIC_OK) return;
    json_key(&writer, "breakdown");
    json_open(&writer, '[');
    if (measured) breakdown_write(&what, &writer);
    json_close(&writer, ']');
    json_key(&writer, "breakdown_total");
    if (measured) breakdown_write_total(&what, &writer);
    else json_put_null(&writer);
    json_key(&writer, "allocator");
    breakdown_write_allocator(&writer);
    json_close(&writer, '}');
    work->status = buf_status(&work->body);
}

void handle_memory(struct http_exchange *exchange)
{
    if (has_monitor(exchange)) work_answer(exchange, LANE_QUICK, run_memory, 0);
}

static void run_history(struct work *work)
{
    struct json_writer writer;
    json_writer_init(&writer, &work->body);
    history_write(&work->front->routes->overview.options.monitor->history, &writer);
    work->status = buf_status(&work->body);
}

void handle_history(struct http_exchange *exchange)
{
    if (has_monitor(exchange)) work_answer(exchange, LANE_QUICK, run_history, 0);
}

static void run_pressure(struct work *work)
{
    struct json_writer writer;
    json_writer_init(&writer, &work->body);
    pressure_write(work->front->routes->overview.pressure, &writer);
    work->status = buf_status(&work->body);
}

void handle_pressure(struct http_exchange *exchange)
{
    work_answer(exchange, LANE_QUICK, run_pressure, 0);
}

static void run_pools(struct work *work)
{
    struct routes *routes = work->front->routes;
    struct json_writer writer;
    json_writer_init(&writer, &work->body);
    pools_write(&routes->overview.pools, routes->overview.options.cache, &writer);
    work->status = buf_status(&work->body);
}

void handle_pools(struct http_exchange *exchange)
{
    work_answer(exchange, LANE_QUICK, run_pools, 0);
}

static void run_alerts(struct work *work)
{
    struct json_writer writer;
    json_writer_init(&writer, &work->body);
    alerts_write(work->front->routes->overview.alerts, &writer);
    work->status = buf_status(&work->body);
}

void handle_alerts(struct http_exchange *exchange)
{
    work_answer(exchange, LANE_QUICK, run_alerts, 0);
}

static void run_warnings(struct work *work)
{
    struct json_writer writer;
    struct verdict verdict;
    json_writer_init(&writer, &work->body);
    work->status = overview_find(&work->front->routes->overview, &verdict);
    if (work->status != AIC_OK) return;
    verdict_write(&verdict, &writer);
    work->status = buf_status(&work->body);
}

void handle_warnings(struct http_exchange *exchange)
{
    work_answer(exchange, LANE_QUICK, run_warnings, 0);
}

/* ------------------------------------------------------------------------------------------------------ metrics -- */

struct metrics_job {
    struct work work;
    bool open_metrics;
};

static void run_metrics(struct work *work)
{
    struct metrics_job *job = (struct metrics_job *)work;
    aic_view ns = work->call->admin ? (aic_view){0} : call_ns(work->call);
    work->status = metrics_write(&work->front->routes->overview, ns, job->open_metrics, &work->body);
}

static void finish_metrics(struct work *work)
{
    struct metrics_job *job = (struct metrics_job *)work;
    if (work->status == AIC_OK) http_reply_buf(work->exchange, 200, prom_content_type(job->open_metrics), &work->body);
    else work_refuse(work);
    work_free(work);
}

void handle_metrics(struct http_exchange *exchange)
{
    struct metrics_job *job = work_create(exchange, LANE_QUICK, sizeof *job);
    if (job == NULL) return;
    buf_init(&job->work.body, http_figures_mem(exchange), MEM_ANSWERS); /* it says why there is no other room */
    job->open_metrics = negotiate(exchange, "Accept", "application/openmetrics-text", "text/plain");
    job->work.run = run_metrics;
    job->work.finish = finish_metrics;
    work_start(&job->work);
}
