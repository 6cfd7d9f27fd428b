/*
 * slow.c - the operations that took much longer than their stream usually takes.
 */
#include "base/check.h"
#include "observe/fields.h"
#include "observe/monitor.h"

#include <stdio.h>
#include <stdlib.h>

/* baseline: the mean duration of the fastest four fifths. */
static bool is_slow(const struct aic_monitor *monitor, const struct event *event, double baseline, double multiplier)
{
    return event->seconds >= monitor->options.slow_min_seconds && event->seconds >= baseline * multiplier;
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
    struct spread durations = {0};
    aic_status status = window.count > 0 ? window_spread(&window, NULL, &durations) : AIC_OK;
    for (size_t i = 0; status == AIC_OK && i < window.count; i++) {
        const struct event *event = window_at(&window, i);
        if (is_slow(monitor, event, durations.usual, multiplier))
            write_event(event, kind != STREAM_COMPRESSION, durations.usual, out);
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

/* ------------------------------------------------------------------------------------------------------ newest -- */

#define RECENT_MOST 32

struct recent {
    uint64_t wall_ms;
    double seconds, baseline;
    char what[AIC_MAX_NAME_BYTES + 32];
};

static int newest_first(const void *a, const void *b)
{
    const struct recent *x = a, *y = b;
    return (x->wall_ms < y->wall_ms) - (x->wall_ms > y->wall_ms);
}

/* Adds the newest slow events of one stream, at most `most`. */
static aic_status add_recent(struct aic_monitor *monitor, enum stream_kind kind, const char *label, double multiplier,
                             size_t most, struct recent *recent, size_t *count)
{
    struct window window;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[kind]));
    struct spread durations = {0};
    aic_status status = window.count > 0 ? window_spread(&window, NULL, &durations) : AIC_OK;
    size_t left = most;
    for (size_t i = window.count; status == AIC_OK && i > 0 && left > 0; i--) {
        const struct event *event = window_at(&window, i - 1);
        if (!is_slow(monitor, event, durations.usual, multiplier)) continue;
        struct recent *one = &recent[(*count)++];
        *one = (struct recent){.wall_ms = event->wall_ms, .seconds = event->seconds, .baseline = durations.usual};
        snprintf(one->what, sizeof one->what, "%s %.*s", label, (int)event->text[TEXT_NAME].size,
                 event->text[TEXT_NAME].data);
        left--;
    }
    window_fini(&window);
    return status;
}

aic_status slow_recent_write(struct aic_monitor *monitor, double multiplier, size_t most, struct json_writer *out)
{
    struct recent recent[3 * RECENT_MOST];
    size_t count = 0;
    if (most > RECENT_MOST) most = RECENT_MOST;
    TRY(add_recent(monitor, STREAM_KEY_GENERATION, "key of", multiplier, most, recent, &count));
    TRY(add_recent(monitor, STREAM_OPERATION, "cache", multiplier, most, recent, &count));
    TRY(add_recent(monitor, STREAM_COMPRESSION, "compression of", multiplier, most, recent, &count));
    qsort(recent, count, sizeof recent[0], newest_first);
    json_open(out, '[');
    for (size_t i = 0; i < count && i < most; i++) {
        json_open(out, '{');
        put_time(out, "timestamp", recent[i].wall_ms);
        put_text(out, "what", recent[i].what);
        put_number(out, "duration", recent[i].seconds);
        put_number(out, "times_slower", recent[i].baseline > 0 ? recent[i].seconds / recent[i].baseline : 0);
        json_close(out, '}');
    }
    json_close(out, ']');
    return AIC_OK;
}
