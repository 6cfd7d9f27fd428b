/*
 * statistics.c - the performance statistics: hit rates, durations, compression, and the sections of memory and
 * invalidations.
 */
#include "base/check.h"
#include "observe/fields.h"
#include "observe/monitor.h"

#include <string.h>

#define MAX_KINDS 64 /* kinds of operation told apart; further ones are counted as "other" */

/* The operations that a section is of, which are those of the window, and how many were recorded since the reset. */
static void put_operations(const struct aic_monitor *monitor, enum stream_kind kind, const struct window *window,
                           struct json_writer *out)
{
    put_count(out, "total_operations", window->count);
    put_count(out, "recorded_operations", stream_total(&monitor->streams[kind]));
    json_key(out, "window");
    json_open(out, '{');
    put_count(out, "operations", window->count);
    put_count(out, "max_operations", (uint64_t)monitor->options.max_measurements);
    put_time(out, "since", window_at(window, 0)->wall_ms);
    json_close(out, '}');
}

static aic_status put_durations(const struct window *window, struct json_writer *out)
{
    struct spread durations;
    TRY(window_spread(window, NULL, &durations));
    put_number(out, "avg_duration", durations.mean);
    put_number(out, "median_duration", durations.median);
    put_number(out, "max_duration", durations.max);
    put_number(out, "min_duration", durations.min);
    return AIC_OK;
}

static uint64_t slower_than(const struct window *window, double limit)
{
    uint64_t count = 0;
    for (size_t i = 0; i < window->count; i++) count += window_at(window, i)->seconds > limit;
    return count;
}

static aic_status write_key_generation(struct aic_monitor *monitor, const struct window *window,
                                       struct json_writer *out)
{
    double sum = 0; /* of numbers whose sum 64 bits need not hold */
    uint64_t max = 0;
    for (size_t i = 0; i < window->count; i++) {
        uint64_t length = window_at(window, i)->number[KEYGEN_TEXT_LENGTH];
        sum += (double)length;
        if (length > max) max = length;
    }
    json_open(out, '{');
    put_operations(monitor, STREAM_KEY_GENERATION, window, out);
    TRY(put_durations(window, out));
    put_number(out, "avg_text_length", sum / (double)window->count);
    put_count(out, "max_text_length", max);
    put_count(out, "slow_operations", slower_than(window, monitor->options.slow_key_generation_seconds));
    stream_write_percentiles(&monitor->streams[STREAM_KEY_GENERATION], out);
    json_close(out, '}');
    return AIC_OK;
}

struct kind {
    aic_view name;
    uint64_t count;
    double sum, max;
};

static struct kind *find_kind(struct kind *kinds, size_t count, aic_view name)
{
    for (size_t i = 0; i < count; i++)
        if (kinds[i].name.size == name.size && memcmp(kinds[i].name.data, name.data, name.size) == 0) return &kinds[i];
    return NULL;
}

/* The kind of that name, a new one, or that of all further ones, which may be an application's own "other". */
static struct kind *kind_of(struct kind *kinds, size_t *count, aic_view name)
{
    struct kind *kind = find_kind(kinds, *count, name);
    if (kind == NULL && *count >= MAX_KINDS - 1) {
        name = AIC_LITERAL("other");
        kind = find_kind(kinds, *count, name);
    }
    if (kind != NULL) return kind;
    kinds[*count] = (struct kind){.name = name};
    return &kinds[(*count)++];
}

static void write_kinds(const struct window *window, struct json_writer *out)
{
    struct kind kinds[MAX_KINDS];
    size_t count = 0;
    for (size_t i = 0; i < window->count; i++) {
        const struct event *event = window_at(window, i);
        struct kind *kind = kind_of(kinds, &count, event->text[TEXT_NAME]);
        kind->count++;
        kind->sum += event->seconds;
        if (kind->count == 1 || event->seconds > kind->max) kind->max = event->seconds;
    }
    json_key(out, "by_operation_type");
    json_open(out, '{');
    for (size_t i = 0; i < count; i++) {
        json_key_view(out, kinds[i].name);
        json_open(out, '{');
        put_count(out, "count", kinds[i].count);
        put_number(out, "avg_duration", kinds[i].sum / (double)kinds[i].count);
        put_number(out, "max_duration", kinds[i].max);
        json_close(out, '}');
    }
    json_close(out, '}');
}

static aic_status write_operations(struct aic_monitor *monitor, const struct window *window, struct json_writer *out)
{
    json_open(out, '{');
    put_operations(monitor, STREAM_OPERATION, window, out);
    TRY(put_durations(window, out));
    put_count(out, "slow_operations", slower_than(window, monitor->options.slow_operation_seconds));
    stream_write_percentiles(&monitor->streams[STREAM_OPERATION], out);
    write_kinds(window, out);
    json_close(out, '}');
    return AIC_OK;
}

double compression_ratio(const struct event *event)
{
    double original = (double)event->number[COMPRESSION_ORIGINAL];
    return original > 0 ? (double)event->number[COMPRESSION_SIZE] / original : 1.0;
}

static aic_status write_compression(struct aic_monitor *monitor, const struct window *window, struct json_writer *out)
{
    struct spread ratios;
    TRY(window_spread(window, compression_ratio, &ratios));
    double seconds = 0, slowest = 0, original = 0, saved = 0;
    for (size_t i = 0; i < window->count; i++) {
        const struct event *event = window_at(window, i);
        seconds += event->seconds;
        if (event->seconds > slowest) slowest = event->seconds;
        original += (double)event->number[COMPRESSION_ORIGINAL];
        saved += (double)event->number[COMPRESSION_ORIGINAL] - (double)event->number[COMPRESSION_SIZE];
    }
    json_open(out, '{');
    put_operations(monitor, STREAM_COMPRESSION, window, out);
    put_number(out, "avg_compression_ratio", ratios.mean);
    put_number(out, "median_compression_ratio", ratios.median);
    put_number(out, "best_compression_ratio", ratios.min);
    put_number(out, "worst_compression_ratio", ratios.max);
    put_number(out, "avg_compression_time", seconds / (double)window->count);
    put_number(out, "max_compression_time", slowest);
    put_number(out, "total_bytes_processed", original);
    put_number(out, "total_bytes_saved", saved);
    put_number(out, "overall_savings_percent", original > 0 ? saved / original * 100 : 0);
    stream_write_percentiles(&monitor->streams[STREAM_COMPRESSION], out);
    json_close(out, '}');
    return AIC_OK;
}

/* One section from the window of its stream, or null while that is empty. */
static aic_status write_section(struct aic_monitor *monitor, enum stream_kind kind, const char *name,
                                aic_status (*write)(struct aic_monitor *, const struct window *, struct json_writer *),
                                struct json_writer *out)
{
    struct window window;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[kind]));
    json_key(out, name);
    aic_status status = AIC_OK;
    if (window.count == 0) json_put_null(out);
    else status = write(monitor, &window, out);
    window_fini(&window);
    return status;
}

/* A section that has a writer of its own, or null while nothing was measured. */
static aic_status write_report(struct aic_monitor *monitor, bool measured, const char *name,
                               aic_status (*write)(struct aic_monitor *, struct json_writer *), struct json_writer *out)
{
    json_key(out, name);
    if (measured) return write(monitor, out);
    json_put_null(out);
    return AIC_OK;
}

static double percent(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole * 100 : 0.0;
}

aic_status statistics_write(struct aic_monitor *monitor, struct json_writer *out)
{
    struct monitor_totals totals = monitor_totals(monitor);
    json_open(out, '{');
    put_time(out, "timestamp", clock_wall_ms(monitor->clock));
    put_time(out, "since", totals.since_ms);
    put_number(out, "retention_hours", monitor->options.retention_hours);
    put_number(out, "cache_hit_rate", percent(totals.hits, totals.operations));
    put_number(out, "lookup_hit_rate", percent(totals.hits, totals.hits + totals.misses));
    put_count(out, "total_cache_operations", totals.operations);
    put_count(out, "cache_hits", totals.hits);
    put_count(out, "cache_misses", totals.misses);
    TRY(write_section(monitor, STREAM_KEY_GENERATION, "key_generation", write_key_generation, out));
    TRY(write_section(monitor, STREAM_OPERATION, "cache_operations", write_operations, out));
    TRY(write_section(monitor, STREAM_COMPRESSION, "compression", write_compression, out));
    bool snapshots = !stream_is_empty(&monitor->streams[STREAM_MEMORY]);
    TRY(write_report(monitor, snapshots, "memory_usage", memory_usage_write, out));
    TRY(write_report(monitor, totals.invalidations > 0, "invalidation", invalidations_write, out));
    json_close(out, '}');
    return AIC_OK;
}

/* Mean duration of the last ten events of a stream; 0 without any. */
static aic_status recent_mean(struct aic_monitor *monitor, enum stream_kind kind, double *out)
{
    struct window window;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[kind]));
    size_t count = window.count < 10 ? window.count : 10;
    double sum = 0;
    for (size_t i = window.count - count; i < window.count; i++) sum += window_at(&window, i)->seconds;
    *out = count > 0 ? sum / (double)count : 0;
    window_fini(&window);
    return AIC_OK;
}

aic_status summary_write(struct aic_monitor *monitor, struct json_writer *out)
{
    struct monitor_totals totals = monitor_totals(monitor);
    double key_generation, operation;
    TRY(recent_mean(monitor, STREAM_KEY_GENERATION, &key_generation));
    TRY(recent_mean(monitor, STREAM_OPERATION, &operation));
    json_open(out, '{');
    put_time(out, "since", totals.since_ms);
    put_number(out, "hit_ratio", percent(totals.hits, totals.operations));
    put_count(out, "total_operations", totals.operations);
    put_count(out, "cache_hits", totals.hits);
    put_count(out, "cache_misses", totals.misses);
    put_number(out, "recent_avg_key_generation_time", key_generation);
    put_number(out, "recent_avg_cache_operation_time", operation);
    put_count(out, "total_invalidations", totals.invalidations);
    put_count(out, "total_keys_invalidated", totals.keys_invalidated);
    if (!stream_is_empty(&monitor->streams[STREAM_MEMORY])) {
        json_key(out, "memory_usage");
        TRY(memory_usage_write(monitor, out));
    }
    json_close(out, '}');
    return AIC_OK;
}
