/*
 * monitor.h - the inside of an aic_monitor: five streams, counters, invalidation rates, and who writes which report.
 *
 * Threads: everything that records uses atomics only, except memory snapshots (once a second), which take the history's
 * mutex; everything that reads copies a window first.
 */
#ifndef OBSERVE_MONITOR_H
#define OBSERVE_MONITOR_H

#include <aicache/monitor.h>

#include "base/buf.h"
#include "base/json.h"
#include "cache/observe.h"
#include "observe/history.h"
#include "observe/rate.h"
#include "observe/reuse.h"
#include "observe/stream.h"
#include "observe/verdict.h"

enum stream_kind {
    STREAM_KEY_GENERATION,
    STREAM_OPERATION,
    STREAM_COMPRESSION,
    STREAM_MEMORY,
    STREAM_INVALIDATION,
    STREAM_COUNT
};

/* What the numbers and texts of each stream's events mean. */
enum { KEYGEN_TEXT_LENGTH, KEYGEN_NUMBERS };                          /* texts: operation, -, -, data */
enum { OPERATION_TEXT_LENGTH, OPERATION_HIT, OPERATION_NUMBERS };     /* texts: kind, -, -, data */
enum { COMPRESSION_ORIGINAL, COMPRESSION_SIZE, COMPRESSION_NUMBERS }; /* texts: operation, -, -, - */
enum {                                                                /* texts: -, -, -, data */
       MEMORY_BYTES,
       MEMORY_ENTRIES,
       MEMORY_STORAGE_BYTES,
       MEMORY_STORAGE_ENTRIES,
       MEMORY_PROCESS_BYTES,
       MEMORY_LIMIT_ENTRIES,
       MEMORY_LIMIT_BYTES,
       MEMORY_EVICTED,
       MEMORY_NUMBERS
};
enum { INVALIDATION_KEYS, INVALIDATION_NUMBERS }; /* texts: pattern, type, context, data */
enum { TEXT_NAME = 0, TEXT_TYPE = 1, TEXT_CONTEXT = 2, TEXT_DATA = 3 };

/* What the counters of a stream count; the events themselves are counted by every stream. */
enum { OPERATION_HITS, OPERATION_MISSES };
enum { INVALIDATION_KEYS_REMOVED };

/* What a warning can be about of which every memory snapshot tells whether it holds. */
enum memory_condition {
    MEMORY_AT_WARNING, /* critical included */
    MEMORY_AT_CRITICAL,
    MEMORY_ENTRIES_NEARLY_FULL,
    MEMORY_BYTES_NEARLY_FULL,
    MEMORY_TIER_TOO_SMALL,
    MEMORY_CONDITION_COUNT
};

/* A log line at most once in a while, with a count of what was held back; at once when the state changes. */
struct throttle {
    /* When the last line was said, plus one; 0: never. Relaxed: only this word decides who speaks. */
    _Atomic uint64_t last_ns;
    _Atomic uint64_t held; /* lines held back since; relaxed: a count */
    _Atomic int state;     /* of the last call; relaxed: a change is told once more or once less at worst */
};

struct aic_monitor {
    const struct cache_meter *meter; /* first: the way in which a cache tells of its operations */
    struct mem mem;
    aic_clock own_clock;         /* the caller's, copied */
    const aic_clock *clock;      /* own_clock */
    uint64_t opened_ms;          /* wall time */
    _Atomic uint64_t since_ms;   /* wall time of the open or the last reset; relaxed: stands for itself */
    aic_monitor_options options; /* defaults filled in; allocator and clock pointers are not kept in it */
    struct stream streams[STREAM_COUNT];
    struct rate invalidation_rate;
    struct history history;
    struct reuse *reuse; /* owned */
    struct throttle slow_key_log, slow_operation_log, rate_log, memory_log;
    /* The tier's limit is not the configured one at the moment, or memory is scarce, so that the curve has nothing to
     * advise of its size. Relaxed: stands for itself. */
    _Atomic bool tier_cut;
    /* Monotonic time of the snapshot since which each condition holds, plus one; 0: the newest snapshot was without it.
     * It outlives the snapshots that are kept. Relaxed: each stands for itself; of two snapshots taken at once either
     * may have the last word. */
    _Atomic uint64_t condition_since_ns[MEMORY_CONDITION_COUNT];
};

/* For the miss-ratio curve: a lookup of a key whose entry takes so many bytes of the memory tier (0: a miss there), and
 * a store. */
void monitor_reference(aic_monitor *monitor, const aic_key *key, uint64_t bytes);
void monitor_stored(aic_monitor *monitor, const aic_key *key, uint64_t bytes);

struct aic_report {
    struct mem *mem;
    struct buf text; /* owned */
};

/* The thresholds can change while others read them; relaxed: each stands for itself, and a reader that sees one of a
 * pair early warns a moment early. */
static inline uint64_t monitor_warning_bytes(const struct aic_monitor *monitor)
{
    return __atomic_load_n(&monitor->options.memory_warning_bytes, __ATOMIC_RELAXED);
}
static inline uint64_t monitor_critical_bytes(const struct aic_monitor *monitor)
{
    return __atomic_load_n(&monitor->options.memory_critical_bytes, __ATOMIC_RELAXED);
}
/* Other thresholds from now on, warning below critical, both above 0. Any thread. */
void monitor_set_memory_thresholds(struct aic_monitor *monitor, uint64_t warning_bytes, uint64_t critical_bytes);

/* A stream's name in reports. */
const char *monitor_stream_name(enum stream_kind kind);

/* Since the start or the last reset; each is exact, together they are no snapshot. */
struct monitor_totals {
    uint64_t hits, misses, operations, invalidations, keys_invalidated;
    uint64_t since_ms; /* wall time */
};
struct monitor_totals monitor_totals(const struct aic_monitor *monitor);

/* Does a tier use so much of its limit (0: none) that it stands at it: 99 %? */
static inline bool memory_at_limit(uint64_t used, uint64_t limit)
{
    return limit > 0 && used >= limit - limit / 100;
}

/* A memory event's numbers. */
struct event memory_event(const aic_memory_sample *sample);
/* Bytes that a memory event counts as the cache's: memory tier and storage tier's memory. */
uint64_t memory_event_total(const struct event *event);
/* The entries that these bytes are of. */
uint64_t memory_event_entries(const struct event *event);
/* Bytes of a memory tier's entry on average, 0.0 without entries; percent of the warning threshold. */
double memory_event_average(const struct event *event);
double memory_event_utilization(const struct aic_monitor *monitor, const struct event *event);
/* compressed/original of a compression event; 1.0 when original is 0. */
double compression_ratio(const struct event *event);
/* How the last hour's invalidations lie to the limits that somebody set. */
enum invalidation_level { INVALIDATIONS_NORMAL, INVALIDATIONS_WARNING, INVALIDATIONS_CRITICAL };
enum invalidation_level invalidation_level(const struct aic_monitor *monitor, uint64_t last_hour);
const char *invalidation_level_name(enum invalidation_level level);

/* Each writes one report as a value (an object or an array). AIC_NO_MEMORY. Any thread. */
AIC_MUST_CHECK aic_status statistics_write(struct aic_monitor *monitor, struct json_writer *out);
AIC_MUST_CHECK aic_status summary_write(struct aic_monitor *monitor, struct json_writer *out);
AIC_MUST_CHECK aic_status memory_usage_write(struct aic_monitor *monitor, struct json_writer *out);
/* The same without brackets, for an object that says more. `now`: measured this moment, for `current` and `thresholds`;
 * NULL: the newest snapshot says these. */
AIC_MUST_CHECK aic_status memory_usage_write_members(struct aic_monitor *monitor, const aic_memory_sample *now,
                                                     struct json_writer *out);
AIC_MUST_CHECK aic_status warnings_write(struct aic_monitor *monitor, struct json_writer *out);
AIC_MUST_CHECK aic_status slow_write(struct aic_monitor *monitor, double multiplier, struct json_writer *out);
/* The newest slow operations of all streams, at most `most`: [{timestamp, what, duration, times_slower}], newest first.
 */
AIC_MUST_CHECK aic_status slow_recent_write(struct aic_monitor *monitor, double multiplier, size_t most,
                                            struct json_writer *out);
AIC_MUST_CHECK aic_status invalidations_write(struct aic_monitor *monitor, struct json_writer *out);
AIC_MUST_CHECK aic_status invalidation_advice_write(struct aic_monitor *monitor, struct json_writer *out);
AIC_MUST_CHECK aic_status export_write(struct aic_monitor *monitor, struct json_writer *out);

/* Where memory goes: over the last ten snapshots, or over the last minute where they are closer together. The one rule
 * from which every figure of growth comes. */
struct memory_trend {
    bool known;            /* there are two moments; else only at_limit is told */
    double seconds;        /* that it was measured over */
    double bytes_per_hour; /* of all that the cache holds */
    double evictions_per_minute;
    bool at_limit;
    bool projected; /* it grew for a minute and is to reach its limit */
    double seconds_to_limit;
};
AIC_MUST_CHECK aic_status memory_trend(struct aic_monitor *monitor, struct memory_trend *out);
/* The same of a window of memory snapshots that was read and is not empty. */
void memory_trend_of(struct aic_monitor *monitor, const struct window *window, struct memory_trend *out);

/* Adds what the newest memory snapshot has to say. */
AIC_MUST_CHECK aic_status memory_findings(struct aic_monitor *monitor, struct verdict *out);
/* Would twice the memory answer three points more of all lookups, by the miss-ratio curve? Then *now and *twice get the
 * parts (0..1) that a tier of this size answers and one of twice the size. */
bool memory_worth_growing(struct aic_monitor *monitor, uint64_t limit, double *now, double *twice);
/* Notes since when each condition holds, by a recorded memory event. */
void memory_conditions_note(struct aic_monitor *monitor, const struct event *event);
/* Says a memory warning when its state changes and then, of a tier without a limit, at most once a minute. */
void memory_warn(struct aic_monitor *monitor, const struct event *event);

#endif
