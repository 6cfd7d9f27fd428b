#include "observe/monitor.h"

#include "base/check.h"
#include "base/status.h"
#include "base/utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_SECONDS 1e9                      /* some thirty years; sums of so many are still numbers */
#define SLOW_LOG_INTERVAL_NS 1000000000ULL   /* one slow line a second, of keys and of operations each */
#define STATE_LOG_INTERVAL_NS 60000000000ULL /* a state that lasts is repeated once a minute */

static const struct cache_meter meter;

/* ---------------------------------------------------------------------------------------------------- options -- */

/* Not a number is neither. */
static aic_status check_seconds(const char *field, double seconds, aic_error *error)
{
    if (seconds >= 0 && seconds <= MAX_SECONDS) return AIC_OK;
    return error_set(error, AIC_INVALID, field, "%s must be a number of seconds from 0 to %g", field, MAX_SECONDS);
}

static aic_status check_rate(const char *field, int64_t number, aic_error *error)
{
    if (number >= 0) return AIC_OK;
    return error_set(error, AIC_INVALID, field, "%s is %lld; 0 or more is accepted", field, (long long)number);
}

static aic_status check_options(const aic_monitor_options *o, aic_error *error)
{
    if (!(o->retention_hours >= 0) || o->retention_hours > 24 * 366)
        return error_set(error, AIC_INVALID, "retention_hours", "retention_hours must be above 0 and at most 8784");
    if (o->max_measurements < 0 || o->max_measurements > 100000)
        return error_set(error, AIC_INVALID, "max_measurements", "max_measurements must be from 1 to 100000");
    TRY(check_seconds("slow_key_generation_seconds", o->slow_key_generation_seconds, error));
    TRY(check_seconds("slow_operation_seconds", o->slow_operation_seconds, error));
    TRY(check_seconds("slow_min_seconds", o->slow_min_seconds, error));
    TRY(check_rate("invalidations_warning_per_hour", o->invalidations_warning_per_hour, error));
    TRY(check_rate("invalidations_critical_per_hour", o->invalidations_critical_per_hour, error));
    TRY(mem_check_allocator(o->allocator, error));
    return clock_check(o->clock, error);
}

static aic_status fill_options(const aic_monitor_options *given, aic_monitor_options *o, aic_error *error)
{
    *o = given != NULL ? *given : (aic_monitor_options){0};
    TRY(check_options(o, error));
    if (o->retention_hours == 0) o->retention_hours = 1;
    if (o->max_measurements == 0) o->max_measurements = 1000;
    if (o->memory_warning_bytes == 0) o->memory_warning_bytes = 50ULL << 20;
    if (o->memory_critical_bytes == 0) o->memory_critical_bytes = 100ULL << 20;
    if (o->slow_key_generation_seconds == 0) o->slow_key_generation_seconds = 0.1;
    if (o->slow_operation_seconds == 0) o->slow_operation_seconds = 0.05;
    if (o->slow_min_seconds == 0) o->slow_min_seconds = 0.001;
    if (o->invalidations_warning_per_hour == 0) o->invalidations_warning_per_hour = 50;
    if (o->invalidations_critical_per_hour == 0) o->invalidations_critical_per_hour = 100;
    if (o->memory_warning_bytes >= o->memory_critical_bytes)
        return error_set(error, AIC_INVALID, "memory_warning_bytes",
                         "memory_warning_bytes (%llu) must be below memory_critical_bytes (%llu)",
                         (unsigned long long)o->memory_warning_bytes, (unsigned long long)o->memory_critical_bytes);
    return AIC_OK;
}

/* ------------------------------------------------------------------------------------------------ open, close -- */

#define WORDS(bytes) (((bytes) + 7) / 8)
#define NAME_AND_DATA WORDS(AIC_MAX_NAME_BYTES + AIC_MONITOR_MAX_DATA_BYTES)

static const struct stream_shape shapes[STREAM_COUNT] = {
    [STREAM_KEY_GENERATION] = {KEYGEN_NUMBERS, NAME_AND_DATA},
    [STREAM_OPERATION] = {OPERATION_NUMBERS, NAME_AND_DATA},
    [STREAM_COMPRESSION] = {COMPRESSION_NUMBERS, WORDS(AIC_MAX_NAME_BYTES)},
    [STREAM_MEMORY] = {MEMORY_NUMBERS, WORDS(AIC_MONITOR_MAX_DATA_BYTES)},
    [STREAM_INVALIDATION] = {INVALIDATION_NUMBERS, WORDS(3 * AIC_MAX_NAME_BYTES + AIC_MONITOR_MAX_DATA_BYTES)},
};
_Static_assert(WORDS(3 * AIC_MAX_NAME_BYTES + AIC_MONITOR_MAX_DATA_BYTES) == EVENT_TEXT_WORDS,
               "the largest event fits a copy");

aic_status aic_monitor_open(const aic_monitor_options *options, aic_monitor **out, aic_error *error)
{
    aic_monitor_options filled;
    TRY(fill_options(options, &filled, error));
    struct mem mem;
    mem_init(&mem, filled.allocator);
    aic_monitor *monitor = mem_zalloc(&mem, MEM_OTHER, sizeof *monitor);
    if (monitor == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "no memory for the monitor");
    monitor->meter = &meter;
    mem_init(&monitor->mem, filled.allocator);
    monitor->own_clock = filled.clock != NULL ? *filled.clock : *clock_system();
    monitor->clock = &monitor->own_clock;
    monitor->opened_ms = clock_wall_ms(monitor->clock);
    atomic_init(&monitor->since_ms, monitor->opened_ms);
    monitor->options = filled;
    monitor->options.clock = NULL;
    monitor->options.allocator = NULL;
    uint64_t retention_ns = (uint64_t)(filled.retention_hours * 3600e9);
    if (history_init(&monitor->history, &monitor->mem) != AIC_OK ||
        reuse_create(&monitor->mem, &monitor->reuse) != AIC_OK) {
        aic_monitor_close(&monitor);
        return error_set(error, AIC_NO_MEMORY, NULL, "no memory for the monitor's history");
    }
    for (unsigned i = 0; i < STREAM_COUNT; i++) {
        aic_status status = stream_init(&monitor->streams[i], &monitor->mem, monitor->clock,
                                        (uint64_t)filled.max_measurements, retention_ns, shapes[i]);
        if (status != AIC_OK) {
            aic_monitor_close(&monitor);
            return error_set(error, status, NULL, "no memory for the monitor's streams");
        }
    }
    *out = monitor;
    return AIC_OK;
}

void aic_monitor_close(aic_monitor **monitor)
{
    if (*monitor == NULL) return;
    for (unsigned i = 0; i < STREAM_COUNT; i++) stream_fini(&(*monitor)->streams[i]);
    history_fini(&(*monitor)->history);
    reuse_destroy(&(*monitor)->reuse);
    mem_fini(&(*monitor)->mem);
    aic_allocator allocator = (*monitor)->mem.allocator;
    allocator.release(allocator.context, *monitor, sizeof **monitor);
    *monitor = NULL;
}

void aic_monitor_reset(aic_monitor *monitor)
{
    for (unsigned i = 0; i < STREAM_COUNT; i++) stream_clear(&monitor->streams[i]);
    rate_clear(&monitor->invalidation_rate);
    reuse_clear(monitor->reuse);
    atomic_store_explicit(&monitor->since_ms, clock_wall_ms(monitor->clock), memory_order_relaxed);
}

/* ------------------------------------------------------------------------------------------------------ record -- */

static const uint64_t NO_COUNTERS[STREAM_COUNTERS];

static void say(const aic_monitor *monitor, aic_log_level level, const char *line, uint64_t held)
{
    char whole[320];
    if (held > 0)
        snprintf(whole, sizeof whole, "%s (and %llu more since the last line)", line, (unsigned long long)held);
    monitor->options.log(monitor->options.log_context, level, held > 0 ? whole : line);
}

/* May a line be said now? true at most once per interval; *held gets what was held back since. Any thread. */
static bool throttle_pass(struct throttle *throttle, uint64_t now_ns, uint64_t interval_ns, uint64_t *held)
{
    uint64_t last = atomic_load_explicit(&throttle->last_ns, memory_order_relaxed);
    bool due = last == 0 || now_ns + 1 - last >= interval_ns;
    if (due && atomic_compare_exchange_strong_explicit(&throttle->last_ns, &last, now_ns + 1, memory_order_relaxed,
                                                       memory_order_relaxed)) {
        *held = atomic_exchange_explicit(&throttle->held, 0, memory_order_relaxed);
        return true;
    }
    atomic_fetch_add_explicit(&throttle->held, 1, memory_order_relaxed);
    return false;
}

/* The same, and also true when `state` differs from the state of the last call. */
static bool throttle_pass_state(struct throttle *throttle, int state, uint64_t now_ns, uint64_t interval_ns,
                                uint64_t *held)
{
    if (atomic_exchange_explicit(&throttle->state, state, memory_order_relaxed) != state)
        atomic_store_explicit(&throttle->last_ns, 0, memory_order_relaxed);
    return throttle_pass(throttle, now_ns, interval_ns, held);
}

/* Names are cut at 128 bytes so that the texts of one event always fit beside each other. */
static aic_view name_of(aic_view text)
{
    return text.data != NULL ? (aic_view){text.data, utf8_fit(text, AIC_MAX_NAME_BYTES)} : (aic_view){0};
}

/* Whether it is an object is looked at where it is read: an export may take its time. */
static aic_view data_of(aic_view data)
{
    return data.data != NULL && data.size <= AIC_MONITOR_MAX_DATA_BYTES ? data : (aic_view){0};
}

/* Not a number is none either: one would make every average null. */
static bool is_duration(double seconds)
{
    return seconds >= 0 && seconds <= MAX_SECONDS;
}

void aic_monitor_key_generation(aic_monitor *monitor, double seconds, uint64_t text_length, aic_view operation,
                                aic_view data)
{
    if (!is_duration(seconds)) return;
    struct event event = {.seconds = seconds,
                          .number = {[KEYGEN_TEXT_LENGTH] = text_length},
                          .text = {[TEXT_NAME] = name_of(operation), [TEXT_DATA] = data_of(data)}};
    stream_append(&monitor->streams[STREAM_KEY_GENERATION], &event, NO_COUNTERS);
    uint64_t held;
    if (seconds <= monitor->options.slow_key_generation_seconds || monitor->options.log == NULL) return;
    if (!throttle_pass(&monitor->slow_key_log, event.mono_ns, SLOW_LOG_INTERVAL_NS, &held)) return;
    char line[256];
    snprintf(line, sizeof line, "Slow key generation: %.3fs for %llu chars in %.*s operation", seconds,
             (unsigned long long)text_length, (int)event.text[TEXT_NAME].size, event.text[TEXT_NAME].data);
    say(monitor, AIC_LOG_WARNING, line, held);
}

static void record_operation(aic_monitor *monitor, aic_view kind, uint64_t now_ns, double seconds, bool hit,
                             uint64_t text_length, aic_view data)
{
    if (!is_duration(seconds)) return;
    kind = name_of(kind);
    bool get = kind.size == 3 && memcmp(kind.data, "get", 3) == 0;
    const uint64_t counters[STREAM_COUNTERS] = {[OPERATION_HITS] = get && hit, [OPERATION_MISSES] = get && !hit};
    struct event event = {.mono_ns = now_ns,
                          .seconds = seconds,
                          .number = {[OPERATION_TEXT_LENGTH] = text_length, [OPERATION_HIT] = hit},
                          .text = {[TEXT_NAME] = kind, [TEXT_DATA] = data_of(data)}};
    stream_append(&monitor->streams[STREAM_OPERATION], &event, counters);
    uint64_t held;
    if (seconds <= monitor->options.slow_operation_seconds || monitor->options.log == NULL) return;
    if (!throttle_pass(&monitor->slow_operation_log, event.mono_ns, SLOW_LOG_INTERVAL_NS, &held)) return;
    char line[256];
    snprintf(line, sizeof line, "Slow cache %.*s: %.3fs (hit: %s, text_length: %llu)", (int)event.text[TEXT_NAME].size,
             event.text[TEXT_NAME].data, seconds, hit ? "true" : "false", (unsigned long long)text_length);
    say(monitor, AIC_LOG_WARNING, line, held);
}

void aic_monitor_operation(aic_monitor *monitor, aic_view kind, double seconds, bool hit, uint64_t text_length,
                           aic_view data)
{
    record_operation(monitor, kind, clock_mono_ns(monitor->clock), seconds, hit, text_length, data);
}

static void record_event(aic_monitor *monitor, const struct cache_event *event)
{
    static const aic_view kinds[] = {
#define KIND(name, word) AIC_LITERAL(word),
        CACHE_OPERATION_MAP(KIND)
#undef KIND
    };
    CHECK((size_t)event->kind < COUNT_OF(kinds));
    record_operation(monitor, kinds[event->kind], event->ended_ns, (double)(event->ended_ns - event->started_ns) / 1e9,
                     event->hit, event->text_length, event->data);
}

/* Keys are uniformly distributed, so that eight of their bytes are the hash. */
static uint64_t hash_of(const aic_key *key)
{
    uint64_t hash;
    memcpy(&hash, key->bytes + 8, sizeof hash);
    return hash;
}

void monitor_reference(aic_monitor *monitor, const aic_key *key, uint64_t bytes)
{
    reuse_reference(monitor->reuse, hash_of(key), bytes);
}

void monitor_stored(aic_monitor *monitor, const aic_key *key, uint64_t bytes)
{
    reuse_store(monitor->reuse, hash_of(key), bytes);
}

void aic_monitor_compression(aic_monitor *monitor, uint64_t original_bytes, uint64_t compressed_bytes, double seconds,
                             aic_view operation)
{
    if (!is_duration(seconds)) return;
    struct event event = {.seconds = seconds,
                          .number = {[COMPRESSION_ORIGINAL] = original_bytes, [COMPRESSION_SIZE] = compressed_bytes},
                          .text = {[TEXT_NAME] = name_of(operation)}};
    stream_append(&monitor->streams[STREAM_COMPRESSION], &event, NO_COUNTERS);
}

enum invalidation_level invalidation_level(const struct aic_monitor *monitor, uint64_t last_hour)
{
    if (last_hour >= (uint64_t)monitor->options.invalidations_critical_per_hour) return INVALIDATIONS_CRITICAL;
    bool warning = last_hour >= (uint64_t)monitor->options.invalidations_warning_per_hour;
    return warning ? INVALIDATIONS_WARNING : INVALIDATIONS_NORMAL;
}

const char *invalidation_level_name(enum invalidation_level level)
{
    static const char *const names[] = {"normal", "warning", "critical"};
    static_assert(COUNT_OF(names) == INVALIDATIONS_CRITICAL + 1, "each level has its name");
    CHECK((size_t)level < COUNT_OF(names));
    return names[level];
}

static void warn_of_rate(aic_monitor *monitor, uint64_t now_ns)
{
    uint64_t last_hour = rate_sum(&monitor->invalidation_rate, now_ns, 3600);
    enum invalidation_level level = invalidation_level(monitor, last_hour);
    if (level == INVALIDATIONS_NORMAL) return;
    bool critical = level == INVALIDATIONS_CRITICAL;
    uint64_t held;
    if (!throttle_pass_state(&monitor->rate_log, (int)level, now_ns, STATE_LOG_INTERVAL_NS, &held)) return;
    char line[192];
    snprintf(line, sizeof line, "%s invalidation rate: %llu in the last hour (limit %lld)",
             critical ? "Critical" : "High", (unsigned long long)last_hour,
             (long long)(critical ? monitor->options.invalidations_critical_per_hour
                                  : monitor->options.invalidations_warning_per_hour));
    say(monitor, critical ? AIC_LOG_ERROR : AIC_LOG_WARNING, line, held);
}

void aic_monitor_invalidation(aic_monitor *monitor, aic_view pattern, uint64_t keys, double seconds, aic_view type,
                              aic_view context, aic_view data)
{
    if (!is_duration(seconds)) return;
    const uint64_t counters[STREAM_COUNTERS] = {[INVALIDATION_KEYS_REMOVED] = keys};
    struct event event = {.seconds = seconds,
                          .number = {[INVALIDATION_KEYS] = keys},
                          .text = {[TEXT_NAME] = name_of(pattern),
                                   [TEXT_TYPE] = type.size > 0 ? name_of(type) : AIC_LITERAL("manual"),
                                   [TEXT_CONTEXT] = name_of(context),
                                   [TEXT_DATA] = data_of(data)}};
    stream_append(&monitor->streams[STREAM_INVALIDATION], &event, counters);
    rate_add(&monitor->invalidation_rate, event.mono_ns);
    if (monitor->options.log != NULL) warn_of_rate(monitor, event.mono_ns);
}

void aic_monitor_memory(aic_monitor *monitor, const aic_memory_sample *sample, aic_view data)
{
    struct event event = memory_event(sample);
    event.text[TEXT_DATA] = data_of(data);
    stream_append(&monitor->streams[STREAM_MEMORY], &event, NO_COUNTERS);
    struct monitor_totals totals = monitor_totals(monitor);
    struct history_sample kept = {.time_ms = clock_wall_ms(monitor->clock),
                                  .total_bytes = memory_event_total(&event),
                                  .memory_bytes = sample->memory_bytes,
                                  .memory_entries = sample->memory_entries,
                                  .process_bytes = sample->process_bytes,
                                  .evicted = sample->evicted,
                                  .resident_tier_bytes = sample->resident_tier_bytes,
                                  .resident_storage_bytes = sample->resident_storage_bytes,
                                  .resident_heap_bytes = sample->resident_heap_bytes,
                                  .resident_program_bytes = sample->resident_program_bytes,
                                  .hits = totals.hits,
                                  .misses = totals.misses,
                                  .operations = totals.operations};
    history_add(&monitor->history, &kept);
    memory_conditions_note(monitor, &event);
    if (monitor->options.log != NULL) memory_warn(monitor, &event);
}

static const struct cache_meter meter = {.key_generation = aic_monitor_key_generation,
                                         .operation = record_event,
                                         .compression = aic_monitor_compression,
                                         .invalidation = aic_monitor_invalidation,
                                         .referenced = monitor_reference,
                                         .stored = monitor_stored};
_Static_assert(offsetof(struct aic_monitor, meter) == 0, "the cache reads it without knowing the rest");

void memory_warn(struct aic_monitor *monitor, const struct event *event)
{
    uint64_t total = memory_event_total(event);
    int state = total >= monitor_critical_bytes(monitor) ? 2 : total >= monitor_warning_bytes(monitor) ? 1 : 0;
    uint64_t held;
    /* A tier with a limit goes no further than that: what stays as it is was said. */
    bool bounded = event->number[MEMORY_LIMIT_BYTES] > 0;
    uint64_t interval = bounded ? UINT64_MAX : STATE_LOG_INTERVAL_NS;
    bool pass = throttle_pass_state(&monitor->memory_log, state, event->mono_ns, interval, &held);
    if (bounded) held = 0;
    if (!pass || state == 0) return;
    char line[192];
    snprintf(line, sizeof line, "%s cache memory: %.1f MiB used, %s threshold %.1f MiB",
             state == 2 ? "Critical" : "High", (double)total / 1048576.0, state == 2 ? "critical" : "warning",
             (double)(state == 2 ? monitor_critical_bytes(monitor) : monitor_warning_bytes(monitor)) / 1048576.0);
    say(monitor, state == 2 ? AIC_LOG_ERROR : AIC_LOG_WARNING, line, held);
}

/* ----------------------------------------------------------------------------------------------------- reports -- */

aic_view aic_report_json(const aic_report *report)
{
    return buf_view(&report->text);
}

void aic_report_release(aic_report **report)
{
    if (*report == NULL) return;
    struct mem *mem = (*report)->mem;
    buf_fini(&(*report)->text);
    mem_free(mem, MEM_MONITOR, *report, sizeof **report);
    *report = NULL;
}

/* Opens a report that `writer` fills; follow with report_finish(). */
static aic_status report_begin(aic_monitor *monitor, aic_report **out, struct json_writer *writer)
{
    aic_report *made = mem_zalloc(&monitor->mem, MEM_MONITOR, sizeof *made);
    if (made == NULL) return AIC_NO_MEMORY;
    made->mem = &monitor->mem;
    buf_init(&made->text, &monitor->mem, MEM_MONITOR);
    json_writer_init(writer, &made->text);
    *out = made;
    return AIC_OK;
}

/* Hands the report over when everything went well, frees it otherwise. */
static aic_status report_finish(aic_report *made, aic_status status, aic_report **out)
{
    if (status == AIC_OK) status = buf_status(&made->text);
    if (status == AIC_OK) *out = made;
    else aic_report_release(&made);
    return status;
}

/* The public reports without a parameter: name of the function, its writer. */
#define REPORT_MAP(X)                                                                                                  \
    X(aic_monitor_statistics, statistics_write)                                                                        \
    X(aic_monitor_summary, summary_write)                                                                              \
    X(aic_monitor_memory_usage, memory_usage_write)                                                                    \
    X(aic_monitor_warnings, warnings_write)                                                                            \
    X(aic_monitor_invalidations, invalidations_write)                                                                  \
    X(aic_monitor_invalidation_advice, invalidation_advice_write)                                                      \
    X(aic_monitor_export, export_write)

#define REPORT_FUNCTION(name, write)                                                                                   \
    aic_status name(aic_monitor *monitor, aic_report **out)                                                            \
    {                                                                                                                  \
        aic_report *made;                                                                                              \
        struct json_writer writer;                                                                                     \
        TRY(report_begin(monitor, &made, &writer));                                                                    \
        return report_finish(made, write(monitor, &writer), out);                                                      \
    }
REPORT_MAP(REPORT_FUNCTION)

aic_status aic_monitor_slow(aic_monitor *monitor, double multiplier, aic_report **out)
{
    if (!(multiplier > 0) || !isfinite(multiplier)) return AIC_INVALID;
    aic_report *made;
    struct json_writer writer;
    TRY(report_begin(monitor, &made, &writer));
    return report_finish(made, slow_write(monitor, multiplier, &writer), out);
}

void monitor_set_memory_thresholds(struct aic_monitor *monitor, uint64_t warning_bytes, uint64_t critical_bytes)
{
    __atomic_store_n(&monitor->options.memory_warning_bytes, warning_bytes, __ATOMIC_RELAXED);
    __atomic_store_n(&monitor->options.memory_critical_bytes, critical_bytes, __ATOMIC_RELAXED);
}

const char *monitor_stream_name(enum stream_kind kind)
{
    CHECK(kind < STREAM_COUNT);
    static const char *const names[] = {"key_generation", "cache_operations", "compression", "memory_usage",
                                        "invalidation"};
    _Static_assert(COUNT_OF(names) == STREAM_COUNT, "every stream has its name");
    return names[kind];
}

struct monitor_totals monitor_totals(const struct aic_monitor *monitor)
{
    const struct stream *operations = &monitor->streams[STREAM_OPERATION];
    const struct stream *invalidations = &monitor->streams[STREAM_INVALIDATION];
    return (struct monitor_totals){.hits = stream_counter(operations, OPERATION_HITS),
                                   .misses = stream_counter(operations, OPERATION_MISSES),
                                   .operations = stream_total(operations),
                                   .invalidations = stream_total(invalidations),
                                   .keys_invalidated = stream_counter(invalidations, INVALIDATION_KEYS_REMOVED),
                                   .since_ms = atomic_load_explicit(&monitor->since_ms, memory_order_relaxed)};
}
