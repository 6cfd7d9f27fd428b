/*
 * usage.c - memory usage of the window: where it stands, where it goes, and what to do about it.
 */
#include "base/check.h"
#include "monitor/fields.h"
#include "monitor/monitor.h"
#include "monitor/warning.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define MB 1048576.0
#define TREND_SNAPSHOTS 10
#define NEARLY_FULL 0.9       /* of a real limit: worth a word, no warning yet */
#define WORTH_GROWING 0.03    /* so much more of all lookups must be answered with twice the memory */
#define WORTH_SHRINKING 0.005 /* so little may be lost with half of it */

struct event memory_event(const aic_memory_sample *sample)
{
    return (struct event){.number = {[MEMORY_BYTES] = sample->memory_bytes,
                                     [MEMORY_ENTRIES] = sample->memory_entries,
                                     [MEMORY_STORAGE_BYTES] = sample->storage_bytes,
                                     [MEMORY_STORAGE_ENTRIES] = sample->storage_entries,
                                     [MEMORY_PROCESS_BYTES] = sample->process_bytes,
                                     [MEMORY_LIMIT_ENTRIES] = sample->limit_entries,
                                     [MEMORY_LIMIT_BYTES] = sample->limit_bytes}};
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

struct growth {
    double rate;    /* bytes an hour */
    double seconds; /* that it was measured over */
};

/* Growth between two moments; false when they are the same moment. */
static bool growth_between(uint64_t first_bytes, uint64_t first_ms, uint64_t last_bytes, uint64_t last_ms,
                           struct growth *out)
{
    if (last_ms <= first_ms) return false;
    out->seconds = (double)(last_ms - first_ms) / 1000;
    out->rate = ((double)last_bytes - (double)first_bytes) / out->seconds * 3600;
    return true;
}

/* Growth over the last ten snapshots; where these are one moment, over what the history still holds. */
static bool growth(struct aic_monitor *monitor, const struct event *first, const struct event *last, struct growth *out)
{
    if (growth_between(memory_event_total(first), first->wall_ms, memory_event_total(last), last->wall_ms, out))
        return true;
    struct history_sample a, b;
    return history_span(&monitor->history, HISTORY_SECONDS, TREND_SNAPSHOTS - 1, &a, &b) &&
           growth_between(a.total_bytes, a.time_ms, b.total_bytes, b.time_ms, out);
}

/* A projection from less than a minute says more of the moment than of the growth. */
static bool steady_growth(struct aic_monitor *monitor, const struct event *first, const struct event *last,
                          struct growth *out)
{
    if (last->wall_ms >= first->wall_ms + GROWTH_SPAN_MS) return growth(monitor, first, last, out);
    struct history_sample a, b;
    return history_span(&monitor->history, HISTORY_SECONDS, GROWTH_SAMPLES, &a, &b) &&
           b.time_ms >= a.time_ms + GROWTH_SPAN_MS &&
           growth_between(a.total_bytes, a.time_ms, b.total_bytes, b.time_ms, out);
}

static void write_growth(struct aic_monitor *monitor, const struct event *first, const struct event *last,
                         struct json_writer *out)
{
    struct growth seen;
    uint64_t limit = last->number[MEMORY_LIMIT_BYTES], used = last->number[MEMORY_BYTES];
    bool at_limit = memory_at_limit(used, limit);
    put_flag(out, "at_limit", at_limit);
    if (!growth(monitor, first, last, &seen)) return;
    put_number(out, "growth_rate_mb_per_hour", seen.rate / MB);
    put_number(out, "growth_span_seconds", seen.seconds);
    json_key(out, "projected_seconds_to_limit");
    if (!at_limit && limit > used && steady_growth(monitor, first, last, &seen) && seen.rate > 0)
        json_put_double(out, (double)(limit - used) / seen.rate * 3600);
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
    write_growth(monitor, window_at(window, from), window_at(window, window->count - 1), out);
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
        reuse_write(monitor->reuse, last.number[MEMORY_LIMIT_BYTES], out);
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

/* --------------------------------------------------------------------------------------------------- warnings -- */

/* What the miss-ratio curve says of a tier: the part of all lookups that it answers, by size. */
struct size_advice {
    bool grow, shrink; /* never both; neither when the curve is unknown or flat */
    double now, other; /* with the present size, with the advised one */
};

static struct size_advice size_advice(struct aic_monitor *monitor, uint64_t limit)
{
    struct size_advice advice = {0};
    bool cut = atomic_load_explicit(&monitor->tier_cut, memory_order_relaxed);
    if (cut || !reuse_is_known(monitor->reuse)) return advice;
    double least = reuse_hit_ratio(monitor->reuse, limit / 8), half = reuse_hit_ratio(monitor->reuse, limit / 2);
    double twice = reuse_hit_ratio(monitor->reuse, limit * 2);
    advice.now = reuse_hit_ratio(monitor->reuse, limit);
    advice.grow = twice - advice.now >= WORTH_GROWING;
    bool flat = twice - least < WORTH_GROWING; /* no size from an eighth to twice makes a difference */
    advice.shrink = !advice.grow && !flat && advice.now - half <= WORTH_SHRINKING;
    advice.other = advice.grow ? twice : half;
    return advice;
}

static bool is_nearly_full(uint64_t used, uint64_t limit)
{
    return limit > 0 && (double)used > NEARLY_FULL * (double)limit;
}

/* Does the condition hold by this snapshot? Of a tier's size only where it has no room left: one that has asks nothing.
 */
static bool holds(struct aic_monitor *monitor, enum memory_condition condition, const struct event *event)
{
    uint64_t total = memory_event_total(event), limit = event->number[MEMORY_LIMIT_BYTES];
    bool full = memory_at_limit(event->number[MEMORY_BYTES], limit);
    switch (condition) {
    case MEMORY_AT_WARNING: return total >= monitor_warning_bytes(monitor);
    case MEMORY_AT_CRITICAL: return total >= monitor_critical_bytes(monitor);
    case MEMORY_ENTRIES_NEARLY_FULL:
        return is_nearly_full(event->number[MEMORY_ENTRIES], event->number[MEMORY_LIMIT_ENTRIES]);
    case MEMORY_BYTES_NEARLY_FULL: return is_nearly_full(event->number[MEMORY_BYTES], limit);
    case MEMORY_TIER_TOO_SMALL: return full && size_advice(monitor, limit).grow;
    case MEMORY_TIER_TOO_LARGE: return full && size_advice(monitor, limit).shrink;
    default: return false;
    }
}

void memory_conditions_note(struct aic_monitor *monitor, const struct event *event)
{
    for (enum memory_condition i = 0; i < MEMORY_CONDITION_COUNT; i++) {
        uint64_t never = 0;
        if (!holds(monitor, i, event)) atomic_store_explicit(&monitor->condition_since_ns[i], 0, memory_order_relaxed);
        else
            atomic_compare_exchange_strong_explicit(&monitor->condition_since_ns[i], &never, event->mono_ns + 1,
                                                    memory_order_relaxed, memory_order_relaxed);
    }
}

/* Wall time since which it holds. What came up after the newest snapshot (another threshold) is as old as that. */
static uint64_t since_of(const struct aic_monitor *monitor, enum memory_condition condition, const struct event *last)
{
    uint64_t since = atomic_load_explicit(&monitor->condition_since_ns[condition], memory_order_relaxed);
    if (since == 0 || since > last->mono_ns) return last->wall_ms;
    return last->wall_ms - (last->mono_ns - (since - 1)) / 1000000;
}

/* The next power of two of mebibytes that leaves a quarter free above `bytes`. */
static uint64_t roomy(uint64_t bytes)
{
    uint64_t value = 1ULL << 20;
    while (value < bytes + bytes / 4 && value < 1ULL << 62) value *= 2;
    return value;
}

/*
 * The way to be told no more: thresholds above what the tier can ever use, also when it grows as advised. Nothing is
 * said of memory.max_bytes where a tier has it: a threshold may be a share of it, and would follow it down; only the
 * miss-ratio curve speaks of that.
 */
static void advise_thresholds(struct aic_monitor *monitor, uint64_t total, uint64_t limit, struct json_writer *out)
{
    static const char *const reasons[] = {"Raise it when this much memory is meant for the cache.",
                                          "Above memory.max_bytes it is never reached: a full tier is normal, and "
                                          "nothing is said of it any more."};
    /* Together with the advice on the tier's size they shall still be true. */
    uint64_t advised = limit > 0 && size_advice(monitor, limit).grow ? limit * 2 : limit;
    uint64_t most = total > advised ? total : advised;
    uint64_t critical = monitor_critical_bytes(monitor);
    bool raise_critical = critical <= most + 1; /* a warning must find room between */
    if (raise_critical) critical = roomy(most);
    if (limit == 0)
        warning_advise(out, "memory.max_bytes", monitor_warning_bytes(monitor),
                       "A limit there lets the cache evict before it passes the threshold.");
    if (raise_critical) warning_advise(out, "memory.critical_bytes", critical, reasons[limit > 0]);
    if (monitor_warning_bytes(monitor) <= most)
        warning_advise(out, "memory.warning_bytes", critical - (critical - most) / 2, reasons[limit > 0]);
}

static void write_threshold_warning(struct aic_monitor *monitor, const struct event *last, struct json_writer *out)
{
    uint64_t total = memory_event_total(last), most = last->number[MEMORY_LIMIT_BYTES];
    bool critical = holds(monitor, MEMORY_AT_CRITICAL, last);
    if (!critical && !holds(monitor, MEMORY_AT_WARNING, last)) return;
    uint64_t limit = critical ? monitor_critical_bytes(monitor) : monitor_warning_bytes(monitor);
    const char *name = critical ? "critical" : "warning";
    char message[256];
    if (memory_at_limit(last->number[MEMORY_BYTES], most))
        snprintf(
            message, sizeof message,
            "The memory tier is full: it evicts the least useful, which is normal. It uses %.1f MiB of %.1f MiB; the "
            "%s threshold is %.1f MiB.",
            (double)last->number[MEMORY_BYTES] / MB, (double)most / MB, name, (double)limit / MB);
    else
        snprintf(message, sizeof message, "The cache uses %.1f MiB, the %s threshold is %.1f MiB.", (double)total / MB,
                 name, (double)limit / MB);
    warning_open(out, name, critical ? "memory_critical" : "memory_warning", message,
                 since_of(monitor, critical ? MEMORY_AT_CRITICAL : MEMORY_AT_WARNING, last));
    advise_thresholds(monitor, total, most, out);
    warning_close(out);
}

/* Of bytes nothing is advised here: the miss-ratio curve knows whether more would pay. */
static void write_full_warning(struct aic_monitor *monitor, enum memory_condition condition, const struct event *last,
                               struct json_writer *out)
{
    if (!holds(monitor, condition, last)) return;
    bool entries = condition == MEMORY_ENTRIES_NEARLY_FULL;
    const char *unit = entries ? "entries" : "bytes";
    uint64_t used = last->number[entries ? MEMORY_ENTRIES : MEMORY_BYTES];
    uint64_t limit = last->number[entries ? MEMORY_LIMIT_ENTRIES : MEMORY_LIMIT_BYTES];
    char message[256];
    snprintf(message, sizeof message, "The memory tier is at %.1f%% of its limit: %" PRIu64 "/%" PRIu64 " %s.%s",
             (double)used / (double)limit * 100, used, limit, unit,
             !entries && memory_at_limit(used, limit) ? " It is full: it evicts the least useful, which is normal."
                                                      : "");
    warning_open(out, "info", entries ? "memory_entries_nearly_full" : "memory_bytes_nearly_full", message,
                 since_of(monitor, condition, last));
    if (entries)
        warning_advise(out, "memory.max_entries", limit * 2,
                       "Raise it if entries are evicted before they are used again; see evictions and ghost hits.");
    warning_close(out);
}

/*
 * More would pay, or less would do. A tier with room left has no question to answer.
 */
static void write_size_advice(struct aic_monitor *monitor, const struct event *last, struct json_writer *out)
{
    uint64_t used = last->number[MEMORY_BYTES], limit = last->number[MEMORY_LIMIT_BYTES];
    if (!memory_at_limit(used, limit)) return;
    struct size_advice advice = size_advice(monitor, limit);
    if (!advice.grow && !advice.shrink) return;
    char message[256], reason[192];
    snprintf(
        message, sizeof message,
        "The memory tier is full and %s: by reuse distance %.1f%% of the lookups are answered from memory now, %.1f%% "
        "with %s.",
        advice.grow ? "too small" : "larger than it needs to be", advice.now * 100, advice.other * 100,
        advice.grow ? "twice the memory" : "half the memory");
    bool storage = last->number[MEMORY_STORAGE_ENTRIES] > 0 || last->number[MEMORY_STORAGE_BYTES] > 0;
    if (advice.grow)
        snprintf(reason, sizeof reason, "%.1f%% more of the lookups would be answered from memory%s.",
                 (advice.other - advice.now) * 100, storage ? ", instead of from storage or not at all" : "");
    else snprintf(reason, sizeof reason, "As many lookups are answered from memory, within half a point.");
    warning_open(out, "info", advice.grow ? "memory_tier_too_small" : "memory_tier_too_large", message,
                 since_of(monitor, advice.grow ? MEMORY_TIER_TOO_SMALL : MEMORY_TIER_TOO_LARGE, last));
    warning_advise(out, "memory.max_bytes", advice.grow ? limit * 2 : limit / 2, reason);
    warning_close(out);
}

aic_status warnings_write(struct aic_monitor *monitor, struct json_writer *out)
{
    struct window window;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[STREAM_MEMORY]));
    json_open(out, '[');
    if (window.count > 0) {
        const struct event *last = window_at(&window, window.count - 1);
        write_threshold_warning(monitor, last, out);
        write_full_warning(monitor, MEMORY_ENTRIES_NEARLY_FULL, last, out);
        write_full_warning(monitor, MEMORY_BYTES_NEARLY_FULL, last, out);
        write_size_advice(monitor, last, out);
    }
    json_close(out, ']');
    window_fini(&window);
    return AIC_OK;
}
