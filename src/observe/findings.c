/*
 * findings.c - what a snapshot of memory is worth a word about, and since when.
 *
 * A full memory tier is what a cache is for: of its bound something is said only where more memory would pay (by the
 * miss-ratio curve), or where it is broken. Thresholds warn where somebody set them.
 */
#include "base/check.h"
#include "observe/alerts.h"
#include "observe/monitor.h"

#include <inttypes.h>
#include <stdio.h>

#define MB 1048576.0
#define NEARLY_FULL 0.9    /* of a real limit: worth a word, no warning yet */
#define WORTH_GROWING 0.03 /* so much more of all lookups must be answered with twice the memory */

bool memory_worth_growing(struct aic_monitor *monitor, uint64_t limit, double *now, double *twice)
{
    bool cut = atomic_load_explicit(&monitor->tier_cut, memory_order_relaxed);
    if (cut || limit == 0 || !reuse_is_known(monitor->reuse)) return false;
    *now = reuse_hit_ratio(monitor->reuse, limit);
    *twice = reuse_hit_ratio(monitor->reuse, limit * 2);
    return *twice - *now >= WORTH_GROWING;
}

static bool is_nearly_full(uint64_t used, uint64_t limit)
{
    return limit > 0 && (double)used > NEARLY_FULL * (double)limit;
}

/* Does the condition hold by this snapshot? Only a tier that has no room left asks for more. */
static bool holds(struct aic_monitor *monitor, enum memory_condition condition, const struct event *event)
{
    uint64_t total = memory_event_total(event), used = event->number[MEMORY_BYTES];
    uint64_t limit = event->number[MEMORY_LIMIT_BYTES];
    double now, twice;
    switch (condition) {
    case MEMORY_AT_WARNING: return total >= monitor_warning_bytes(monitor);
    case MEMORY_AT_CRITICAL: return total >= monitor_critical_bytes(monitor);
    case MEMORY_ENTRIES_NEARLY_FULL:
        return is_nearly_full(event->number[MEMORY_ENTRIES], event->number[MEMORY_LIMIT_ENTRIES]);
    case MEMORY_BYTES_NEARLY_FULL: return is_nearly_full(used, limit) && !memory_at_limit(used, limit);
    case MEMORY_TIER_TOO_SMALL:
        return memory_at_limit(used, limit) && memory_worth_growing(monitor, limit, &now, &twice);
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

/* The size with which `bytes` are not reached: a whole number of mebibytes where there is one. */
static uint64_t below(uint64_t bytes)
{
    return bytes > 1 << 20 ? (bytes - 1) >> 20 << 20 : bytes - 1;
}

static void find_threshold(struct aic_monitor *monitor, const struct event *last, struct verdict *out)
{
    uint64_t used = last->number[MEMORY_BYTES], limit = last->number[MEMORY_LIMIT_BYTES];
    bool critical = holds(monitor, MEMORY_AT_CRITICAL, last);
    if (!critical && !holds(monitor, MEMORY_AT_WARNING, last)) return;
    uint64_t since = since_of(monitor, critical ? MEMORY_AT_CRITICAL : MEMORY_AT_WARNING, last);
    const char *code = critical ? "memory_critical" : "memory_warning";
    struct finding *found;
    if (limit > 0 && used > limit) {
        found = verdict_add(out, critical ? SEVERITY_CRITICAL : SEVERITY_WARNING, code, since,
                            "The memory tier holds %.1f MiB, more than its bound of %.1f MiB (memory.max_bytes). That "
                            "is a fault of the program; please report it.",
                            (double)used / MB, (double)limit / MB);
        uint64_t value = limit > used - limit ? below(limit - (used - limit)) : limit / 2;
        finding_advise(found, "memory.max_bytes", value, NULL,
                       "Until that is mended: what it holds beyond its bound stays within the present one.");
    } else {
        uint64_t threshold = critical ? monitor_critical_bytes(monitor) : monitor_warning_bytes(monitor);
        found = verdict_add(out, critical ? SEVERITY_CRITICAL : SEVERITY_WARNING, code, since,
                            "The cache uses %.1f MiB, the %s threshold is %.1f MiB (memory.%s_bytes).",
                            (double)memory_event_total(last) / MB, critical ? "critical" : "warning",
                            (double)threshold / MB, critical ? "critical" : "warning");
        finding_advise(found, "memory.max_bytes", below(monitor_warning_bytes(monitor)), NULL,
                       "With this bound the memory tier evicts before it reaches memory.warning_bytes.");
    }
    found->alert.cause = ALERT_OF_THRESHOLD;
}

/* " It evicts 12 entries a minute.", or nothing. */
static const char *evictions_words(char out[64], const struct memory_trend *trend)
{
    out[0] = '\0';
    if (trend->evictions_per_minute > 0)
        snprintf(out, 64, " It evicts %.0f entries a minute.", trend->evictions_per_minute);
    return out;
}

static void find_nearly_full(struct aic_monitor *monitor, enum memory_condition condition, const struct event *last,
                             const struct memory_trend *trend, struct verdict *out)
{
    char words[64];
    if (!holds(monitor, condition, last)) return;
    bool entries = condition == MEMORY_ENTRIES_NEARLY_FULL;
    uint64_t used = last->number[entries ? MEMORY_ENTRIES : MEMORY_BYTES];
    uint64_t limit = last->number[entries ? MEMORY_LIMIT_ENTRIES : MEMORY_LIMIT_BYTES];
    struct finding *found = verdict_add(
        out, SEVERITY_INFO, entries ? "memory_entries_nearly_full" : "memory_bytes_nearly_full",
        since_of(monitor, condition, last), "The memory tier is at %.1f%% of its limit: %" PRIu64 "/%" PRIu64 " %s.%s",
        (double)used / (double)limit * 100, used, limit, entries ? "entries" : "bytes", evictions_words(words, trend));
    if (entries)
        finding_advise(found, "memory.max_entries", limit * 2, NULL,
                       "Raise it if entries are evicted before they are used again.");
}

static void find_size(struct aic_monitor *monitor, const struct event *last, const struct memory_trend *trend,
                      struct verdict *out)
{
    char words[64];
    double now, twice;
    uint64_t used = last->number[MEMORY_BYTES], limit = last->number[MEMORY_LIMIT_BYTES];
    if (!memory_at_limit(used, limit) || !memory_worth_growing(monitor, limit, &now, &twice)) return;
    bool storage = last->number[MEMORY_STORAGE_ENTRIES] > 0 || last->number[MEMORY_STORAGE_BYTES] > 0;
    struct finding *found = verdict_add(
        out, SEVERITY_INFO, "memory_tier_too_small", since_of(monitor, MEMORY_TIER_TOO_SMALL, last),
        "More memory would pay: by reuse distance %.1f%% of the lookups are answered from memory now, %.1f%% with "
        "twice the memory.%s",
        now * 100, twice * 100, evictions_words(words, trend));
    finding_advise(found, "memory.max_bytes", limit * 2, NULL,
                   "%.1f%% more of the lookups would be answered from memory%s.", (twice - now) * 100,
                   storage ? ", instead of from storage or not at all" : "");
}

aic_status memory_findings(struct aic_monitor *monitor, struct verdict *out)
{
    struct memory_trend trend;
    struct window window;
    TRY(window_read(&window, &monitor->mem, &monitor->streams[STREAM_MEMORY]));
    if (window.count > 0) {
        const struct event *last = window_at(&window, window.count - 1);
        memory_trend_of(monitor, &window, &trend);
        find_threshold(monitor, last, out);
        find_nearly_full(monitor, MEMORY_ENTRIES_NEARLY_FULL, last, &trend, out);
        find_nearly_full(monitor, MEMORY_BYTES_NEARLY_FULL, last, &trend, out);
        find_size(monitor, last, &trend, out);
    }
    window_fini(&window);
    return AIC_OK;
}

aic_status warnings_write(struct aic_monitor *monitor, struct json_writer *out)
{
    struct verdict verdict;
    verdict.count = 0;
    TRY(memory_findings(monitor, &verdict));
    verdict_write(&verdict, out);
    return AIC_OK;
}
