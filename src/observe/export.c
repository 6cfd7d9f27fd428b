/*
 * export.c - every retained measurement as JSON, with the field names that users know.
 */
#include "base/check.h"
#include "observe/fields.h"
#include "observe/monitor.h"

static void put_data(struct json_writer *out, const struct event *event)
{
    json_key(out, "additional_data");
    json_put_raw(out, event->text[TEXT_DATA].size > 0 ? event->text[TEXT_DATA] : AIC_LITERAL("{}"));
}

static void write_timed(const struct aic_monitor *monitor, const struct event *event, struct json_writer *out)
{
    (void)monitor;
    put_number(out, "duration", event->seconds);
    put_count(out, "text_length", event->number[KEYGEN_TEXT_LENGTH]);
    put_view(out, "operation_type", event->text[TEXT_NAME]);
    put_data(out, event);
}

static void write_compression(const struct aic_monitor *monitor, const struct event *event, struct json_writer *out)
{
    (void)monitor;
    put_count(out, "original_size", event->number[COMPRESSION_ORIGINAL]);
    put_count(out, "compressed_size", event->number[COMPRESSION_SIZE]);
    put_number(out, "compression_ratio", compression_ratio(event));
    put_number(out, "compression_time", event->seconds);
    put_view(out, "operation_type", event->text[TEXT_NAME]);
}

static void write_memory(const struct aic_monitor *monitor, const struct event *event, struct json_writer *out)
{
    put_count(out, "total_cache_size_bytes", memory_event_total(event));
    put_count(out, "cache_entry_count", memory_event_entries(event));
    put_number(out, "avg_entry_size_bytes", memory_event_average(event));
    put_count(out, "memory_cache_size_bytes", event->number[MEMORY_BYTES]);
    put_count(out, "memory_cache_entry_count", event->number[MEMORY_ENTRIES]);
    put_number(out, "process_memory_mb", (double)event->number[MEMORY_PROCESS_BYTES] / 1048576.0);
    put_number(out, "cache_utilization_percent", memory_event_utilization(monitor, event));
    put_flag(out, "warning_threshold_reached", memory_event_total(event) >= monitor_warning_bytes(monitor));
    put_data(out, event);
}

static void write_invalidation(const struct aic_monitor *monitor, const struct event *event, struct json_writer *out)
{
    (void)monitor;
    put_view(out, "pattern", event->text[TEXT_NAME]);
    put_count(out, "keys_invalidated", event->number[INVALIDATION_KEYS]);
    put_number(out, "duration", event->seconds);
    put_view(out, "invalidation_type", event->text[TEXT_TYPE]);
    put_view(out, "operation_context", event->text[TEXT_CONTEXT]);
    put_data(out, event);
}

typedef void write_event_fn(const struct aic_monitor *, const struct event *, struct json_writer *);

static const struct {
    const char *name;
    write_event_fn *write;
} streams[STREAM_COUNT] = {
    [STREAM_KEY_GENERATION] = {"key_generation_times", write_timed},
    [STREAM_OPERATION] = {"cache_operation_times", write_timed},
    [STREAM_COMPRESSION] = {"compression_ratios", write_compression},
    [STREAM_MEMORY] = {"memory_usage_measurements", write_memory},
    [STREAM_INVALIDATION] = {"invalidation_events", write_invalidation},
};

/* Data that is no JSON object would break the whole text: it is left out, as what is too large is when it is recorded.
 * Looked at here, because a recording has no time for it. */
static aic_status check_data(struct json *json, struct event *event)
{
    aic_view *data = &event->text[TEXT_DATA];
    if (data->size == 0) return AIC_OK;
    aic_status status = json_scan(json, *data, NULL);
    if (status == AIC_NO_MEMORY) return status;
    if (status != AIC_OK || json->tokens[0].type != JSON_OBJECT) *data = (aic_view){0};
    return AIC_OK;
}

static aic_status write_events(const struct aic_monitor *monitor, unsigned kind, const struct window *window,
                               struct json *json, struct json_writer *out)
{
    for (size_t i = 0; i < window->count; i++) {
        struct event event = *window_at(window, i);
        TRY(check_data(json, &event));
        json_open(out, '{');
        streams[kind].write(monitor, &event, out);
        put_time(out, "timestamp", event.wall_ms);
        json_close(out, '}');
    }
    return AIC_OK;
}

static aic_status write_stream(struct aic_monitor *monitor, unsigned kind, struct json_writer *out)
{
    struct window window;
    struct json json;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[kind]));
    json_init(&json, &monitor->mem, MEM_MONITOR);
    json_key(out, streams[kind].name);
    json_open(out, '[');
    aic_status status = write_events(monitor, kind, &window, &json, out);
    json_close(out, ']');
    json_fini(&json);
    window_fini(&window);
    return status;
}

aic_status export_write(struct aic_monitor *monitor, struct json_writer *out)
{
    json_open(out, '{');
    for (unsigned kind = 0; kind < STREAM_COUNT; kind++) TRY(write_stream(monitor, kind, out));
    struct monitor_totals totals = monitor_totals(monitor);
    put_time(out, "since", totals.since_ms);
    put_count(out, "cache_hits", totals.hits);
    put_count(out, "cache_misses", totals.misses);
    put_count(out, "total_operations", totals.operations);
    put_count(out, "total_invalidations", totals.invalidations);
    put_count(out, "total_keys_invalidated", totals.keys_invalidated);
    put_time(out, "export_timestamp", clock_wall_ms(monitor->clock));
    json_close(out, '}');
    return AIC_OK;
}
