/*
 * slow.c - the operations that took much longer than their stream usually takes.
 */
#include "base/check.h"
#include "monitor/fields.h"
#include "monitor/monitor.h"
#include "monitor/numbers.h"

/* Mean of the fastest four fifths, at least one. */
static aic_status baseline_of(struct aic_monitor *monitor, const struct window *window, double *out)
{
    struct numbers durations;
    TRY(numbers_init(&durations, &monitor->mem, window->count));
    for (size_t i = 0; i < window->count; i++) numbers_add(&durations, window_at(window, i)->seconds);
    numbers_sort(&durations);
    size_t fastest = window->count * 8 / 10;
    *out = numbers_mean_of_first(&durations, fastest > 0 ? fastest : 1);
    numbers_fini(&durations);
    return AIC_OK;
}

static void write_event(const struct event *event, bool has_text_length, double baseline, struct json_writer *out)
{
    json_open(out, '{');
    put_number(out, "duration", event->seconds);
    if (has_text_length) {
        put_count(out, "text_length", event->number[0]);
    } else {
        put_count(out, "original_size", event->number[COMPRESSION_ORIGINAL]);
    }
    put_view(out, "operation_type", event->text[TEXT_NAME]);
    put_time(out, "timestamp", event->wall_ms);
    json_key(out, "times_slower");
    if (baseline > 0) json_put_double(out, event->seconds / baseline);
    else json_put_null(out);
    json_close(out, '}');
}

static aic_status write_stream(struct aic_monitor *monitor, enum stream_kind kind, const char *name, double multiplier,
                               struct json_writer *out)
{
    struct window window;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[kind]));
    json_key(out, name);
    json_open(out, '[');
    double baseline = 0;
    aic_status status = window.count > 0 ? baseline_of(monitor, &window, &baseline) : AIC_OK;
    for (size_t i = 0; status == AIC_OK && i < window.count; i++) {
        const struct event *event = window_at(&window, i);
        if (event->seconds > 0 && event->seconds >= baseline * multiplier)
            write_event(event, kind != STREAM_COMPRESSION, baseline, out);
    }
    json_close(out, ']');
    window_fini(&window);
    return status;
}

aic_status slow_write(struct aic_monitor *monitor, double multiplier, struct json_writer *out)
{
    json_open(out, '{');
    TRY(write_stream(monitor, STREAM_KEY_GENERATION, "key_generation", multiplier, out));
    TRY(write_stream(monitor, STREAM_OPERATION, "cache_operations", multiplier, out));
    TRY(write_stream(monitor, STREAM_COMPRESSION, "compression", multiplier, out));
    json_close(out, '}');
    return AIC_OK;
}
