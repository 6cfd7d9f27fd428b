/*
 * invalidations.c - how often entries are thrown away, by which patterns, and what that says about the application.
 *
 * How often is the counters' to say: they run for a day and more, whatever the stream still holds. Patterns, types and
 * durations are of the events that it holds; when these are all past the retention there are none to tell.
 */
#include "base/check.h"
#include "observe/fields.h"
#include "observe/monitor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATTERNS_SHOWN 10
#define HIGH_IMPACT_KEYS 100.0
#define DAY_SECONDS 86400

/* One distinct text (a pattern or a type) and how often it came. */
struct tally_row {
    aic_view text; /* into the window */
    uint64_t count;
};

struct tally {
    struct mem *mem;
    struct tally_row *rows; /* owned, most frequent first */
    size_t count;
    size_t capacity;
};

static int by_text(const void *a, const void *b)
{
    const struct tally_row *x = a, *y = b;
    size_t shorter = x->text.size < y->text.size ? x->text.size : y->text.size;
    int order = memcmp(x->text.data, y->text.data, shorter);
    return order != 0 ? order : (x->text.size > y->text.size) - (x->text.size < y->text.size);
}

static int by_count(const void *a, const void *b)
{
    const struct tally_row *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count) - (x->count > y->count) : by_text(a, b);
}

/* Sorted, runs merged, sorted again: n log n whatever number of distinct texts there is. */
static aic_status tally_init(struct tally *tally, struct mem *mem, const struct window *window, unsigned text)
{
    *tally = (struct tally){.mem = mem, .capacity = window->count};
    if (window->count == 0) return AIC_OK;
    tally->rows = mem_alloc(mem, MEM_MONITOR, window->count * sizeof *tally->rows);
    if (tally->rows == NULL) return AIC_NO_MEMORY;
    for (size_t i = 0; i < window->count; i++) tally->rows[i] = (struct tally_row){window_at(window, i)->text[text], 1};
    qsort(tally->rows, window->count, sizeof *tally->rows, by_text);
    for (size_t i = 0; i < window->count; i++) {
        bool again = tally->count > 0 && by_text(&tally->rows[tally->count - 1], &tally->rows[i]) == 0;
        if (again) tally->rows[tally->count - 1].count++;
        else tally->rows[tally->count++] = tally->rows[i];
    }
    qsort(tally->rows, tally->count, sizeof *tally->rows, by_count);
    return AIC_OK;
}

static void tally_fini(struct tally *tally)
{
    mem_free(tally->mem, MEM_MONITOR, tally->rows, tally->capacity * sizeof *tally->rows);
}

static aic_status write_tally(struct aic_monitor *monitor, const struct window *window, unsigned text, size_t most,
                              const char *name, struct json_writer *out)
{
    struct tally tally;
    TRY(tally_init(&tally, &monitor->mem, window, text));
    json_key(out, name);
    json_open(out, '{');
    for (size_t i = 0; i < tally.count && i < most; i++) {
        json_key_view(out, tally.rows[i].text);
        json_put_u64(out, tally.rows[i].count);
    }
    json_close(out, '}');
    tally_fini(&tally);
    return AIC_OK;
}

static void put_limits(const struct aic_monitor *monitor, struct json_writer *out)
{
    json_key(out, "warning_threshold_per_hour");
    json_put_i64(out, monitor->options.invalidations_warning_per_hour);
    json_key(out, "critical_threshold_per_hour");
    json_put_i64(out, monitor->options.invalidations_critical_per_hour);
}

static void write_none(const struct aic_monitor *monitor, struct json_writer *out)
{
    json_open(out, '{');
    put_flag(out, "no_invalidations", true);
    put_count(out, "total_invalidations", 0);
    put_count(out, "total_keys_invalidated", 0);
    put_limits(monitor, out);
    json_close(out, '}');
}

/*
 * Events of the last `seconds`. The rate counts them whatever number is kept, but in whole buckets, so it may lack
 * those of the oldest; the window knows each moment, but may have dropped some. Neither counts one too many.
 */
static uint64_t events_within(const struct aic_monitor *monitor, const struct window *window, uint64_t now_ns,
                              double seconds)
{
    uint64_t buckets = (uint64_t)(seconds / RATE_BUCKET_SECONDS), kept = 0;
    uint64_t counted = rate_sum(&monitor->invalidation_rate, now_ns, buckets * RATE_BUCKET_SECONDS);
    for (size_t i = 0; i < window->count; i++) {
        uint64_t then = window_at(window, i)->mono_ns;
        kept += now_ns < then || (double)(now_ns - then) < seconds * 1e9;
    }
    return counted > kept ? counted : kept;
}

static uint64_t events_of_last_hour(const struct aic_monitor *monitor, const struct window *window)
{
    return events_within(monitor, window, clock_mono_ns(monitor->clock), 3600);
}

/* Events an hour over the retention; beyond a day the rate keeps no count, so the day's stands for it. */
static double per_hour(const struct aic_monitor *monitor, const struct window *window, uint64_t now_ns)
{
    double hours = monitor->options.retention_hours < 24 ? monitor->options.retention_hours : 24;
    return (double)events_within(monitor, window, now_ns, hours * 3600) / hours;
}

static void write_rates(const struct aic_monitor *monitor, const struct window *window, struct json_writer *out)
{
    uint64_t now = clock_mono_ns(monitor->clock);
    uint64_t last_hour = events_of_last_hour(monitor, window);
    json_key(out, "rates");
    json_open(out, '{');
    put_count(out, "last_hour", last_hour);
    put_count(out, "last_24_hours", events_within(monitor, window, now, DAY_SECONDS));
    put_number(out, "average_per_hour", per_hour(monitor, window, now));
    json_close(out, '}');
    json_key(out, "thresholds");
    json_open(out, '{');
    json_key(out, "warning_per_hour");
    json_put_i64(out, monitor->options.invalidations_warning_per_hour);
    json_key(out, "critical_per_hour");
    json_put_i64(out, monitor->options.invalidations_critical_per_hour);
    put_text(out, "current_alert_level", invalidation_level_name(invalidation_level(monitor, last_hour)));
    json_close(out, '}');
}

/* Of the events that are kept; when none is, of all that were counted. */
static double mean_keys(const struct window *window, const struct monitor_totals *totals)
{
    if (window->count == 0)
        return totals->invalidations > 0 ? (double)totals->keys_invalidated / (double)totals->invalidations : 0;
    double keys = 0;
    for (size_t i = 0; i < window->count; i++) keys += (double)window_at(window, i)->number[INVALIDATION_KEYS];
    return keys / (double)window->count;
}

static void put_duration(struct json_writer *out, const char *name, const struct window *window, double seconds)
{
    json_key(out, name);
    if (window->count > 0) json_put_double(out, seconds);
    else json_put_null(out);
}

static void write_efficiency(const struct window *window, const struct monitor_totals *totals, struct json_writer *out)
{
    double seconds = 0, slowest = 0;
    for (size_t i = 0; i < window->count; i++) {
        double duration = window_at(window, i)->seconds;
        seconds += duration;
        if (duration > slowest) slowest = duration;
    }
    json_key(out, "efficiency");
    json_open(out, '{');
    put_number(out, "avg_keys_per_invalidation", mean_keys(window, totals));
    put_duration(out, "avg_duration", window, seconds / (double)window->count);
    put_duration(out, "max_duration", window, slowest);
    json_close(out, '}');
}

static aic_status write_analysis(struct aic_monitor *monitor, const struct window *window,
                                 const struct monitor_totals *totals, struct json_writer *out)
{
    json_open(out, '{');
    put_time(out, "since", totals->since_ms);
    put_count(out, "total_invalidations", totals->invalidations);
    put_count(out, "total_keys_invalidated", totals->keys_invalidated);
    write_rates(monitor, window, out);
    json_key(out, "patterns");
    json_open(out, '{');
    put_count(out, "measurements", window->count);
    TRY(write_tally(monitor, window, TEXT_NAME, PATTERNS_SHOWN, "most_common_patterns", out));
    TRY(write_tally(monitor, window, TEXT_TYPE, window->count, "invalidation_types", out));
    json_close(out, '}');
    write_efficiency(window, totals, out);
    json_close(out, '}');
    return AIC_OK;
}

aic_status invalidations_write(struct aic_monitor *monitor, struct json_writer *out)
{
    struct monitor_totals totals = monitor_totals(monitor);
    struct window window;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[STREAM_INVALIDATION]));
    aic_status status = AIC_OK;
    if (totals.invalidations == 0) write_none(monitor, out);
    else status = write_analysis(monitor, &window, &totals, out);
    window_fini(&window);
    return status;
}

/* ------------------------------------------------------------------------------------------------------ advice -- */

static void put_recommendation(struct json_writer *out, const char *severity, const char *issue, const char *message,
                               const char *const *suggestions, size_t count)
{
    json_open(out, '{');
    put_text(out, "severity", severity);
    put_text(out, "issue", issue);
    put_text(out, "message", message);
    json_key(out, "suggestions");
    json_open(out, '[');
    for (size_t i = 0; i < count; i++) json_put_text(out, suggestions[i]);
    json_close(out, ']');
    json_close(out, '}');
}

static void advise_on_frequency(const struct aic_monitor *monitor, uint64_t last_hour, struct json_writer *out)
{
    enum invalidation_level level = invalidation_level(monitor, last_hour);
    if (level == INVALIDATIONS_NORMAL) return;
    char message[160];
    snprintf(message, sizeof message,
             "Entries are invalidated %" PRIu64 " times per hour; from %" PRIi64 " on that is too often.", last_hour,
             monitor->options.invalidations_warning_per_hour);
    static const char *const suggestions[] = {
        "Give entries a shorter ttl (ttl.operations) instead of invalidating them by hand.",
        "Tag entries by what they depend on and invalidate by tag, so that less is thrown away."};
    put_recommendation(out, invalidation_level_name(level), "High invalidation frequency", message, suggestions, 2);
}

static aic_status advise_on_pattern(struct aic_monitor *monitor, const struct window *window, struct json_writer *out)
{
    if (window->count == 0) return AIC_OK;
    struct tally tally;
    TRY(tally_init(&tally, &monitor->mem, window, TEXT_NAME));
    const struct tally_row *top = &tally.rows[0];
    if (top->count * 2 > window->count) {
        char message[256];
        snprintf(message, sizeof message, "The pattern '%.*s' made %.0f%% of the invalidations.", (int)top->text.size,
                 top->text.data, (double)top->count / (double)window->count * 100);
        static const char *const suggestions[] = {
            "Look for one caller that invalidates more often than its data changes.",
            "Give this operation a ttl of its own (ttl.operations)."};
        put_recommendation(out, "info", "Dominant invalidation pattern", message, suggestions, 2);
    }
    tally_fini(&tally);
    return AIC_OK;
}

static void advise_on_impact(double keys, struct json_writer *out)
{
    char message[160];
    if (keys < 1) {
        snprintf(message, sizeof message, "An invalidation removes %.1f keys on average.", keys);
        static const char *const few[] = {"Check that operations, tags and patterns are spelled as they were stored.",
                                          "Use dry_run to see what a pattern matches."};
        put_recommendation(out, "info", "Low invalidation efficiency", message, few, 2);
    } else if (keys > HIGH_IMPACT_KEYS) {
        snprintf(message, sizeof message,
                 "On average %.0f keys invalidated at a time; more than 100 empties much of the cache.", keys);
        static const char *const many[] = {"Narrow the invalidation: by tag, model or age.",
                                           "Warm what is needed again (POST /cache/warm)."};
        put_recommendation(out, "warning", "High invalidation impact", message, many, 2);
    }
}

aic_status invalidation_advice_write(struct aic_monitor *monitor, struct json_writer *out)
{
    struct monitor_totals totals = monitor_totals(monitor);
    struct window window;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[STREAM_INVALIDATION]));
    uint64_t last_hour = events_of_last_hour(monitor, &window);
    json_open(out, '[');
    aic_status status = AIC_OK;
    if (totals.invalidations > 0 && (last_hour > 0 || window.count > 0)) {
        advise_on_frequency(monitor, last_hour, out);
        status = advise_on_pattern(monitor, &window, out);
        advise_on_impact(mean_keys(&window, &totals), out);
    }
    json_close(out, ']');
    window_fini(&window);
    return status;
}
