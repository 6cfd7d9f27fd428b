/*
 * usage.c - memory usage of the window: where it stands and where it goes. What to do about it: findings.c.
 */
#include "base/check.h"
#include "observe/fields.h"
#include "observe/monitor.h"

#define MB 1048576.0
#define TREND_SNAPSHOTS 10
#define TREND_SPAN_NS 60000000000ULL

struct event memory_event(const aic_memory_sample *sample)
{
    return (struct event){.number = {[MEMORY_BYTES] = sample->memory_bytes,
                                     [MEMORY_ENTRIES] = sample->memory_entries,
                                     [MEMORY_STORAGE_BYTES] = sample->storage_bytes,
                                     [MEMORY_STORAGE_ENTRIES] = sample->storage_entries,
                                     [MEMORY_PROCESS_BYTES] = sample->process_bytes,
                                     [MEMORY_LIMIT_ENTRIES] = sample->limit_entries,
                                     [MEMORY_LIMIT_BYTES] = sample->limit_bytes,
                                     [MEMORY_EVICTED] = sample->evicted}};
}

/* What a trend needs of an event, as the history has it. */
static struct history_sample sample_of(const struct event *event)
{
    return (struct history_sample){
        .time_ms = event->wall_ms, .total_bytes = memory_event_total(event), .evicted = event->number[MEMORY_EVICTED]};
}

uint64_t memory_event_total(const struct event *event)
{
    return event->number[MEMORY_BYTES] + event->number[MEMORY_STORAGE_BYTES];
}

/* Entries of a storage tier that takes no memory (a file) are not counted: they may be the memory tier's once more. */
uint64_t memory_event_entries(const struct event *event)
{
    bool in_memory = event->number[MEMORY_STORAGE_BYTES] > 0;
    return event->number[MEMORY_ENTRIES] + (in_memory ? event->number[MEMORY_STORAGE_ENTRIES] : 0);
}

double memory_event_average(const struct event *event)
{
    uint64_t entries = event->number[MEMORY_ENTRIES];
    return entries > 0 ? (double)event->number[MEMORY_BYTES] / (double)entries : 0.0;
}

double memory_event_utilization(const struct aic_monitor *monitor, const struct event *event)
{
    return (double)memory_event_total(event) / (double)monitor_warning_bytes(monitor) * 100;
}

static void write_current(const struct aic_monitor *monitor, const struct event *event, struct json_writer *out)
{
    json_key(out, "current");
    json_open(out, '{');
    put_mb(out, "total_cache_size_mb", memory_event_total(event));
    put_mb(out, "memory_cache_size_mb", event->number[MEMORY_BYTES]);
    put_count(out, "cache_entry_count", memory_event_entries(event));
    put_count(out, "memory_cache_entry_count", event->number[MEMORY_ENTRIES]);
    put_number(out, "avg_entry_size_bytes", memory_event_average(event));
    put_mb(out, "process_memory_mb", event->number[MEMORY_PROCESS_BYTES]);
    put_number(out, "cache_utilization_percent", memory_event_utilization(monitor, event));
    put_text(out, "cache_utilization_of", "warning_threshold");
    put_flag(out, "warning_threshold_reached", memory_event_total(event) >= monitor_warning_bytes(monitor));
    json_close(out, '}');
}

static void write_thresholds(const struct aic_monitor *monitor, const struct event *event, struct json_writer *out)
{
    uint64_t total = memory_event_total(event);
    json_key(out, "thresholds");
    json_open(out, '{');
    put_mb(out, "warning_threshold_mb", monitor_warning_bytes(monitor));
    put_mb(out, "critical_threshold_mb", monitor_critical_bytes(monitor));
    put_flag(out, "warning_threshold_reached", total >= monitor_warning_bytes(monitor));
    put_flag(out, "critical_threshold_reached", total >= monitor_critical_bytes(monitor));
    json_close(out, '}');
}

/* The newest snapshots that the trend is told from: ten, or as many as make a minute; where these are of one moment, as
 * with a short retention, the two newest of the history. false: there is but one moment. */
static bool trend_span(struct aic_monitor *monitor, const struct window *window, struct history_sample *first,
                       struct history_sample *last)
{
    size_t from = window->count > TREND_SNAPSHOTS ? window->count - TREND_SNAPSHOTS : 0;
    const struct event *newest = window_at(window, window->count - 1);
    while (from > 0 && newest->mono_ns - window_at(window, from)->mono_ns < TREND_SPAN_NS) from--;
    const struct event *oldest = window_at(window, from);
    if (newest->wall_ms > oldest->wall_ms) {
        *first = sample_of(oldest);
        *last = sample_of(newest);
        return true;
    }
    return history_span(&monitor->history, HISTORY_SECONDS, 1, first, last) && first->time_ms >= monitor->opened_ms &&
           last->time_ms > first->time_ms;
}

void memory_trend_of(struct aic_monitor *monitor, const struct window *window, struct memory_trend *out)
{
    CHECK(window->count > 0);
    const struct event *newest = window_at(window, window->count - 1);
    uint64_t limit = newest->number[MEMORY_LIMIT_BYTES], used = newest->number[MEMORY_BYTES];
    struct history_sample first, last;
    *out = (struct memory_trend){.at_limit = memory_at_limit(used, limit)};
    out->known = trend_span(monitor, window, &first, &last);
    if (!out->known) return;
    out->seconds = (double)(last.time_ms - first.time_ms) / 1000;
    out->bytes_per_hour = ((double)last.total_bytes - (double)first.total_bytes) / out->seconds * 3600;
    out->evictions_per_minute = last.evicted > first.evicted
                                    ? (double)(last.evicted - first.evicted) / out->seconds * 60
                                    : 0;
    /* Less than a minute says more of the moment than of the growth. */
    out->projected = !out->at_limit && limit > used && out->seconds * 1e9 >= (double)TREND_SPAN_NS &&
                     out->bytes_per_hour > 0;
    if (out->projected) out->seconds_to_limit = (double)(limit - used) / out->bytes_per_hour * 3600;
}

aic_status memory_trend(struct aic_monitor *monitor, struct memory_trend *out)
{
    struct window window;
    *out = (struct memory_trend){0};
    TRY(window_read(&window, &monitor->mem, &monitor->streams[STREAM_MEMORY]));
    if (window.count > 0) memory_trend_of(monitor, &window, out);
    window_fini(&window);
    return AIC_OK;
}

static void write_growth(const struct memory_trend *trend, struct json_writer *out)
{
    put_flag(out, "at_limit", trend->at_limit);
    if (!trend->known) return;
    put_number(out, "growth_rate_mb_per_hour", trend->bytes_per_hour / MB);
    put_number(out, "evictions_per_minute", trend->evictions_per_minute);
    put_number(out, "growth_span_seconds", trend->seconds);
    json_key(out, "projected_seconds_to_limit");
    if (trend->projected) json_put_double(out, trend->seconds_to_limit);
    else json_put_null(out);
}

static void write_trends(struct aic_monitor *monitor, const struct window *window, struct json_writer *out)
{
    size_t from = window->count > TREND_SNAPSHOTS ? window->count - TREND_SNAPSHOTS : 0;
    double total = 0, memory = 0, entries = 0;
    uint64_t max_total = 0, max_entries = 0;
    for (size_t i = from; i < window->count; i++) {
        const struct event *event = window_at(window, i);
        total += (double)memory_event_total(event);
        memory += (double)event->number[MEMORY_BYTES];
        entries += (double)memory_event_entries(event);
        if (memory_event_total(event) > max_total) max_total = memory_event_total(event);
        if (memory_event_entries(event) > max_entries) max_entries = memory_event_entries(event);
    }
    double count = (double)(window->count - from);
    json_key(out, "trends");
    json_open(out, '{');
    put_count(out, "total_measurements", window->count);
    put_number(out, "avg_total_cache_size_mb", total / count / MB);
    put_mb(out, "max_total_cache_size_mb", max_total);
    put_number(out, "avg_memory_cache_size_mb", memory / count / MB);
    put_number(out, "avg_entry_count", entries / count);
    put_count(out, "max_entry_count", max_entries);
    struct memory_trend trend;
    memory_trend_of(monitor, window, &trend);
    write_growth(&trend, out);
    json_close(out, '}');
}

aic_status memory_usage_write_members(struct aic_monitor *monitor, const aic_memory_sample *now,
                                      struct json_writer *out)
{
    struct window window;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[STREAM_MEMORY]));
    if (window.count == 0) {
        put_flag(out, "no_measurements", true);
        put_mb(out, "warning_threshold_mb", monitor_warning_bytes(monitor));
        put_mb(out, "critical_threshold_mb", monitor_critical_bytes(monitor));
    } else {
        struct event last = now != NULL ? memory_event(now) : *window_at(&window, window.count - 1);
        write_current(monitor, &last, out);
        write_thresholds(monitor, &last, out);
        write_trends(monitor, &window, out);
        json_key(out, "miss_ratio_curve");
        if (last.number[MEMORY_LIMIT_BYTES] > 0) reuse_write(monitor->reuse, last.number[MEMORY_LIMIT_BYTES], out);
        else json_put_null(out); /* it is told around a limit */
    }
    window_fini(&window);
    return AIC_OK;
}

aic_status memory_usage_write(struct aic_monitor *monitor, struct json_writer *out)
{
    json_open(out, '{');
    TRY(memory_usage_write_members(monitor, NULL, out));
    json_close(out, '}');
    return AIC_OK;
}
