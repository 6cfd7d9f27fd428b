/*
 * monitor.h - counted measurements of a cache: five streams, their statistics, warnings and advice.
 *
 * The daemon records everything by itself. An application that embeds the library, or one with a cache of its own, can
 * record its operations here and gets the same statistics. Conventions are those of aicache.h.
 *
 * Streams keep the newest `max_measurements` within `retention_hours`; counters run until aic_monitor_reset().
 * Recording is O(1), takes no lock and may be done by any thread (a thread's first record of a stream allocates its
 * ring; memory snapshots take a mutex); reading never stops a writer. Durations are seconds, measured with a monotonic
 * clock by the caller.
 */
#ifndef AICACHE_MONITOR_H
#define AICACHE_MONITOR_H

#include <aicache/aicache.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct aic_monitor aic_monitor;

/* Zero everywhere means the defaults that are named here. Negative numbers, NaN and more than 1e9 seconds are refused.
 */
typedef struct aic_monitor_options {
    double retention_hours;                  /* 1 */
    int64_t max_measurements;                /* 1000 per stream; at most 100 000 */
    uint64_t memory_warning_bytes;           /* 50 MiB */
    uint64_t memory_critical_bytes;          /* 100 MiB; above the warning */
    double slow_key_generation_seconds;      /* 0.1 */
    double slow_operation_seconds;           /* 0.05 */
    double slow_min_seconds;                 /* 0.001: aic_monitor_slow() lists nothing that took less */
    int64_t invalidations_warning_per_hour;  /* 50 */
    int64_t invalidations_critical_per_hour; /* 100 */
    const aic_allocator *allocator;          /* copied, as the clock; what they point to lives as long as the monitor */
    const aic_clock *clock;
    void (*log)(void *context, aic_log_level level,
                const char *line); /* may be NULL; called by the thread that records */
    void *log_context;             /* borrowed until the close */
} aic_monitor_options;

/* AIC_INVALID with the field in `error`, AIC_NO_MEMORY. *out is owned by the caller. */
AIC_API AIC_MUST_CHECK aic_status aic_monitor_open(const aic_monitor_options *options, aic_monitor **out,
                                                   aic_error *error);
/* Frees and nulls; every report must have been released and no other call be running. Accepts a pointer to NULL. */
AIC_API void aic_monitor_close(aic_monitor **monitor);

#define AIC_MONITOR_MAX_DATA_BYTES 256 /* of additional data, the text of a JSON object */

/*
 * Records. Texts are copied; names beyond 128 bytes are cut, `data` (absent: {}) is the text of a JSON object of at
 * most 256 bytes and is left out when it is larger or no such text. `text_length` counts code points. Durations are 0
 * to 1e9 seconds: with a negative one, or NaN, nothing is recorded. Never fails, never blocks.
 */
AIC_API void aic_monitor_key_generation(aic_monitor *monitor, double seconds, uint64_t text_length, aic_view operation,
                                        aic_view data);
/* `kind` is "get", "set", "delete", "invalidate" or a word of the caller's. `hit` counts only for "get". */
AIC_API void aic_monitor_operation(aic_monitor *monitor, aic_view kind, double seconds, bool hit, uint64_t text_length,
                                   aic_view data);
/* Sizes without framing. The ratio is compressed/original, 1.0 when original is 0. */
AIC_API void aic_monitor_compression(aic_monitor *monitor, uint64_t original_bytes, uint64_t compressed_bytes,
                                     double seconds, aic_view operation);
/* `type`: "manual" (when absent), "operation_specific", "memory", "ttl_expired", ... */
AIC_API void aic_monitor_invalidation(aic_monitor *monitor, aic_view pattern, uint64_t keys, double seconds,
                                      aic_view type, aic_view context, aic_view data);

/* One snapshot of memory. */
typedef struct aic_memory_sample {
    uint64_t memory_bytes; /* of the memory tier: counted */
    uint64_t memory_entries;
    uint64_t storage_bytes;   /* what this cache holds in the storage tier's memory */
    uint64_t storage_entries; /* counted as the cache's only beside storage_bytes */
    uint64_t process_bytes;   /* RSS; 0 when unreadable */
    /* Where process_bytes lies, as of a few seconds ago; 0: not known. Kept in the history. */
    uint64_t resident_tier_bytes;    /* arenas and index of the memory tier */
    uint64_t resident_storage_bytes; /* pages of the storage tier's file */
    uint64_t resident_heap_bytes;    /* the allocator's */
    uint64_t resident_program_bytes; /* the program, its libraries, stacks */
    uint64_t limit_entries;          /* the memory tier's real limits; 0: none */
    uint64_t limit_bytes;
    uint64_t evicted; /* entries that left the memory tier for want of room, since the start */
} aic_memory_sample;
AIC_API void aic_monitor_memory(aic_monitor *monitor, const aic_memory_sample *sample, aic_view data);

/* Text owned by the caller: JSON (see docs/monitoring.md for every field), valid until the release, which nulls and
 * accepts a pointer to NULL. */
typedef struct aic_report aic_report;
AIC_API aic_view aic_report_json(const aic_report *report);
AIC_API void aic_report_release(aic_report **report);

/* Performance statistics of the window. AIC_NO_MEMORY. */
AIC_API AIC_MUST_CHECK aic_status aic_monitor_statistics(aic_monitor *monitor, aic_report **out);
/* The short summary. */
AIC_API AIC_MUST_CHECK aic_status aic_monitor_summary(aic_monitor *monitor, aic_report **out);
/* Memory usage: current, thresholds, trends. */
AIC_API AIC_MUST_CHECK aic_status aic_monitor_memory_usage(aic_monitor *monitor, aic_report **out);
/* Warnings with recommendations. */
AIC_API AIC_MUST_CHECK aic_status aic_monitor_warnings(aic_monitor *monitor, aic_report **out);
/* Slow operations per stream: at least `multiplier` (> 0) times the mean of the fastest 80 %, and at least
 * slow_min_seconds. AIC_INVALID, AIC_NO_MEMORY. */
AIC_API AIC_MUST_CHECK aic_status aic_monitor_slow(aic_monitor *monitor, double multiplier, aic_report **out);
/* Invalidation rates, patterns, efficiency; and advice on them. */
AIC_API AIC_MUST_CHECK aic_status aic_monitor_invalidations(aic_monitor *monitor, aic_report **out);
AIC_API AIC_MUST_CHECK aic_status aic_monitor_invalidation_advice(aic_monitor *monitor, aic_report **out);
/* Every retained measurement. */
AIC_API AIC_MUST_CHECK aic_status aic_monitor_export(aic_monitor *monitor, aic_report **out);
/* Clears streams and counters; keeps the configuration. */
AIC_API void aic_monitor_reset(aic_monitor *monitor);

#ifdef __cplusplus
}
#endif

#endif
