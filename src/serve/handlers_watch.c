/*
 * handlers_watch.c - what the watch knows, by route: memory, history, pressure, pools, alerts. All are workers' jobs.
 */
#include "monitor/fields.h"
#include "monitor/monitor.h"
#include "serve/breakdown.h"
#include "serve/handlers.h"
#include "serve/pools.h"

/* The monitor's report, and whose the memory is. */
static void run_memory(struct work *work)
{
    struct routes *routes = work->front->routes;
    struct json_writer writer;
    aic_memory_sample now;
    struct breakdown what;
    bool measured = watch_measure(routes->watch, &what, &now);
    json_writer_init(&writer, &work->body);
    json_open(&writer, '{');
    work->status = memory_usage_write_members(routes->options.monitor, measured ? &now : NULL, &writer);
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
    if (reply_has_monitor(exchange)) work_answer(exchange, run_memory);
}

static void run_history(struct work *work)
{
    struct json_writer writer;
    json_writer_init(&writer, &work->body);
    history_write(&work->front->routes->options.monitor->history, &writer);
    work->status = buf_status(&work->body);
}

void handle_history(struct http_exchange *exchange)
{
    if (reply_has_monitor(exchange)) work_answer(exchange, run_history);
}

static void run_pressure(struct work *work)
{
    struct json_writer writer;
    json_writer_init(&writer, &work->body);
    pressure_write(watch_pressure(work->front->routes->watch), &writer);
    work->status = buf_status(&work->body);
}

void handle_pressure(struct http_exchange *exchange)
{
    work_answer(exchange, run_pressure);
}

static void run_pools(struct work *work)
{
    struct routes *routes = work->front->routes;
    struct json_writer writer;
    json_writer_init(&writer, &work->body);
    pools_write(&routes->pools, routes->options.cache, &writer);
    work->status = buf_status(&work->body);
}

void handle_pools(struct http_exchange *exchange)
{
    work_answer(exchange, run_pools);
}

static void run_alerts(struct work *work)
{
    struct json_writer writer;
    json_writer_init(&writer, &work->body);
    alerts_write(watch_alerts(work->front->routes->watch), &writer);
    work->status = buf_status(&work->body);
}

void handle_alerts(struct http_exchange *exchange)
{
    work_answer(exchange, run_alerts);
}
