/* The formulas of the reports, on numbers small enough to work out by hand. */
#include "fixture.h"

#include "observe/monitor.h"

#include <stdio.h>
#include <string.h>

static void says_nothing_of_nothing(struct fixture *f)
{
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "cache_hit_rate", 0.0);
    reading_expect(r, "lookup_hit_rate", 0.0);
    reading_expect(r, "total_cache_operations", 0);
    static const char *const sections[] = {"key_generation", "cache_operations", "compression", "memory_usage",
                                           "invalidation"};
    for (unsigned i = 0; i < 5; i++) assert_true(reading_is_null(r, sections[i]));
    r = fixture_read(f, aic_monitor_summary);
    assert_int_equal(reading_find(r, "memory_usage"), UINT32_MAX);
    reading_expect(r, "recent_avg_cache_operation_time", 0);
    r = fixture_read(f, aic_monitor_invalidations);
    assert_true(reading_true(r, "no_invalidations"));
    reading_expect(r, "warning_threshold_per_hour", 50);
    reading_expect(r, "critical_threshold_per_hour", 100);
}

static void tells_both_hit_rates(struct fixture *f)
{
    feed_operation(f, "get", 0.01, true);
    feed_operation(f, "get", 0.01, false);
    feed_operation(f, "set", 0.01, false);
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect_text(r, "cache_hit_rate", "33.33333333333333");
    reading_expect(r, "lookup_hit_rate", 50);
}

static void summarizes_key_generation(struct fixture *f)
{
    static const double seconds[] = {.001, .05, .2, .005, .15, .025, .002, .3};
    for (unsigned i = 0; i < 8; i++) feed_key(f, seconds[i]);
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "key_generation.total_operations", 8);
    reading_expect(r, "key_generation.slow_operations", 3);
    reading_expect(r, "key_generation.max_duration", .3);
    reading_expect(r, "key_generation.min_duration", .001);
    reading_expect(r, "key_generation.avg_duration", .091625);
    reading_expect(r, "key_generation.median_duration", (.025 + .05) / 2);
    reading_expect(r, "key_generation.avg_text_length", 100);
    double p50 = reading_number(r, "key_generation.p50"), p999 = reading_number(r, "key_generation.p999");
    assert_true(p50 >= .025 && p50 <= .027);
    assert_true(p999 >= .29 && p999 <= .3);
}

/* A window's count stops at its limit; what it is of stands beside it, and since when all is counted. */
static void says_what_its_counts_are_of(struct fixture *f)
{
    char moment[CLOCK_TEXT_SIZE];
    fixture_reopen(f, (aic_monitor_options){.max_measurements = 10});
    clock_format(f->now_ms, moment);
    for (unsigned i = 0; i < 25; i++) {
        fixture_advance(f, 1);
        feed_operation(f, "get", .01, true);
    }
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect_text(r, "since", moment);
    reading_expect(r, "total_cache_operations", 25);
    reading_expect(r, "cache_operations.total_operations", 10);
    reading_expect(r, "cache_operations.recorded_operations", 25);
    reading_expect(r, "cache_operations.window.max_operations", 10);
    clock_format(f->now_ms - 9000, moment);
    reading_expect_text(r, "cache_operations.window.since", moment);
    fixture_advance(f, 60);
    clock_format(f->now_ms, moment);
    aic_monitor_reset(f->monitor);
    static report_fn *const reports[] = {aic_monitor_statistics, aic_monitor_summary, aic_monitor_export};
    for (unsigned i = 0; i < 3; i++) reading_expect_text(fixture_read(f, reports[i]), "since", moment);
}

static void summarizes_operations_by_kind(struct fixture *f)
{
    static const double gets[] = {.005, .008, .003, .012, .002};
    for (unsigned i = 0; i < 5; i++) feed_operation(f, "get", gets[i], true);
    feed_operation(f, "set", .015, false);
    feed_operation(f, "set", .010, false);
    feed_operation(f, "delete", .004, false);
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "cache_operations.by_operation_type.get.count", 5);
    reading_expect(r, "cache_operations.by_operation_type.get.avg_duration", .006);
    reading_expect(r, "cache_operations.by_operation_type.get.max_duration", .012);
    reading_expect(r, "cache_operations.by_operation_type.set.avg_duration", .0125);
    reading_expect(r, "cache_operations.by_operation_type.delete.count", 1);
    reading_expect(r, "cache_operations.slow_operations", 0);
}

static void bounds_the_kinds_it_tells_apart(struct fixture *f)
{
    for (unsigned i = 0; i < 200; i++) {
        char kind[16];
        snprintf(kind, sizeof kind, "kind%u", i);
        feed_operation(f, kind, .001, false);
    }
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    assert_int_equal(reading_length(r, "cache_operations.by_operation_type"), 64);
    reading_expect(r, "cache_operations.by_operation_type.other.count", 137);
}

static void summarizes_compression(struct fixture *f)
{
    aic_monitor_compression(f->monitor, 1000, 600, 0.001, AIC_LITERAL("qa"));
    aic_monitor_compression(f->monitor, 2000, 1000, 0.003, AIC_LITERAL("qa"));
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "compression.total_operations", 2);
    reading_expect(r, "compression.avg_compression_ratio", .55);
    reading_expect(r, "compression.median_compression_ratio", .55);
    reading_expect(r, "compression.best_compression_ratio", .5);
    reading_expect(r, "compression.worst_compression_ratio", .6);
    reading_expect(r, "compression.total_bytes_processed", 3000);
    reading_expect(r, "compression.total_bytes_saved", 1400);
    reading_expect(r, "compression.overall_savings_percent", 1400.0 / 3000 * 100);
}

static void tells_ratios_of_odd_sizes(struct fixture *f)
{
    static const struct {
        uint64_t original, compressed;
        double ratio;
    } rows[] = {{1000, 500, .5}, {2000, 2000, 1}, {500, 600, 1.2}, {1, 1, 1}, {1000000, 100000, .1}, {0, 0, 1}};
    for (unsigned i = 0; i < 6; i++)
        aic_monitor_compression(f->monitor, rows[i].original, rows[i].compressed, .001, NO_DATA);
    const struct reading *r = fixture_read(f, aic_monitor_export);
    for (unsigned i = 0; i < 6; i++) {
        char path[64];
        snprintf(path, sizeof path, "compression_ratios.%u.compression_ratio", i);
        reading_expect(r, path, rows[i].ratio);
    }
}

/* -------------------------------------------------------------------------------------------------------- slow -- */

static void finds_the_slow_one(struct fixture *f)
{
    feed_key(f, .01);
    feed_key(f, .02);
    feed_key(f, .15);
    const struct reading *r = fixture_read_slow(f, 3);
    assert_int_equal(reading_length(r, "key_generation"), 1);
    reading_expect(r, "key_generation.0.duration", .15);
    reading_expect_text(r, "key_generation.0.operation_type", "summarize");
    assert_true(reading_number(r, "key_generation.0.times_slower") > 3);
}

static void finds_one_slow_in_each_stream(struct fixture *f)
{
    feed_key(f, .001);
    feed_key(f, .001);
    feed_key(f, 10);
    feed_operation(f, "get", .001, true);
    feed_operation(f, "get", .001, true);
    feed_operation(f, "set", 10, false);
    aic_monitor_compression(f->monitor, 10, 5, .001, NO_DATA);
    aic_monitor_compression(f->monitor, 10, 5, 15, NO_DATA);
    const struct reading *r = fixture_read_slow(f, 1.5);
    reading_expect(r, "key_generation.0.duration", 10);
    reading_expect(r, "cache_operations.0.duration", 10);
    reading_expect_text(r, "cache_operations.0.operation_type", "set");
    reading_expect(r, "compression.0.duration", 15);
    assert_int_equal(reading_length(r, "key_generation"), 1);
    aic_report *report = NULL;
    assert_int_equal(aic_monitor_slow(f->monitor, 0, &report), AIC_INVALID);
    assert_int_equal(aic_monitor_slow(f->monitor, -1, &report), AIC_INVALID);
}

static void finds_nothing_slow_in_even_or_zero_durations(struct fixture *f)
{
    for (unsigned i = 0; i < 5; i++) {
        feed_key(f, .008 + .001 * i);
        feed_operation(f, "get", 0, true);
    }
    const struct reading *r = fixture_read_slow(f, 2);
    assert_int_equal(reading_length(r, "key_generation"), 0);
    assert_int_equal(reading_length(r, "cache_operations"), 0);
}

/* However many times the usual: what is over in a moment is not slow. */
static void lists_nothing_below_a_millisecond(struct fixture *f)
{
    for (unsigned i = 0; i < 9; i++) feed_operation(f, "get", 1e-6, true);
    feed_operation(f, "get", 6e-6, true);
    feed_operation(f, "get", .000999, true);
    assert_int_equal(reading_length(fixture_read_slow(f, 2), "cache_operations"), 0);
    feed_operation(f, "get", .001, true);
    reading_expect(fixture_read_slow(f, 2), "cache_operations.0.duration", .001);
    fixture_reopen(f, (aic_monitor_options){.slow_min_seconds = 5e-6});
    for (unsigned i = 0; i < 9; i++) feed_operation(f, "get", 1e-6, true);
    feed_operation(f, "get", 6e-6, true);
    reading_expect(fixture_read_slow(f, 2), "cache_operations.0.duration", 6e-6);
}

/* ------------------------------------------------------------------------------------------------------ memory -- */

static void warns_once_when_critical(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.memory_warning_bytes = 1024, .memory_critical_bytes = 2048});
    feed_memory(f, 10000, 10);
    assert_int_equal(f->log_count, 1);
    assert_int_equal(f->levels[0], AIC_LOG_ERROR);
    fixture_advance(f, 1);
    feed_memory(f, 10000, 10);
    assert_int_equal(f->log_count, 1);
    const struct reading *r = fixture_read(f, aic_monitor_warnings);
    assert_int_equal(reading_length(r, ""), 1);
    reading_expect_text(r, "0.severity", "critical");
    /* With this bound it evicts before it warns; nothing is said of silencing the thresholds. */
    assert_int_equal(reading_length(r, "0.recommendations"), 1);
    reading_expect_text(r, "0.recommendations.0.setting", "memory.max_bytes");
    reading_expect(r, "0.recommendations.0.value", 1023);
}

#define LIMIT ((uint64_t)16 << 20)

/* A tier of sixteen mebibytes that uses so much of it. */
static const struct reading *fill(struct fixture *f, uint64_t warning, uint64_t bytes)
{
    fixture_reopen(f, (aic_monitor_options){.memory_warning_bytes = warning, .memory_critical_bytes = LIMIT + 100});
    aic_monitor_memory(f->monitor,
                       &(aic_memory_sample){.memory_bytes = bytes, .memory_entries = 1, .limit_bytes = LIMIT}, NO_DATA);
    return fixture_read(f, aic_monitor_warnings);
}

/* A full tier is what a cache is for. */
static void says_nothing_of_a_full_tier(struct fixture *f)
{
    assert_int_equal(reading_length(fill(f, LIMIT + 1, LIMIT), ""), 0);
    assert_int_equal(reading_length(fill(f, LIMIT + 1, LIMIT - LIMIT / 100), ""), 0);
    const struct reading *r = fill(f, LIMIT + 1, LIMIT / 100 * 96); /* on the way there */
    assert_int_equal(reading_length(r, ""), 1);
    reading_expect_text(r, "0.severity", "info");
    reading_expect_text(r, "0.code", "memory_bytes_nearly_full");
}

/* Who set a threshold is told of it, and how to stay below; a bound that is broken is told to everybody. */
static void warns_where_somebody_set_it(struct fixture *f)
{
    const struct reading *r = fill(f, LIMIT / 2, LIMIT);
    assert_int_equal(reading_length(r, ""), 1);
    reading_expect_text(r, "0.severity", "warning");
    assert_true(reading_contains(r, "0.message", "the warning threshold is 8.0 MiB"));
    reading_expect_text(r, "0.recommendations.0.setting", "memory.max_bytes");
    reading_expect(r, "0.recommendations.0.value", (7 << 20));
    r = fill(f, LIMIT + 1, LIMIT + 50);
    reading_expect_text(r, "0.severity", "warning");
    assert_true(reading_contains(r, "0.message", "more than its bound of 16.0 MiB"));
    reading_expect_text(fill(f, LIMIT + 1, LIMIT + 100), "0.severity", "critical");
}

/* A hundred entries a second leave, for as long as anybody looks. */
static void tells_evictions_a_minute(struct fixture *f)
{
    for (unsigned second = 0; second < 90; second++) {
        aic_memory_sample full = {
            .memory_bytes = 99, .memory_entries = 99, .limit_entries = 100, .evicted = second * 100};
        aic_monitor_memory(f->monitor, &full, NO_DATA);
        fixture_advance(f, 1);
    }
    reading_expect(fixture_read(f, aic_monitor_memory_usage), "trends.evictions_per_minute", 6000);
    assert_true(
        reading_contains(fixture_read(f, aic_monitor_warnings), "0.message", "It evicts 6000 entries a minute."));
}

static void warns_exactly_at_the_threshold(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.memory_warning_bytes = 1024, .memory_critical_bytes = 2048});
    feed_memory(f, 1023, 1);
    assert_int_equal(reading_length(fixture_read(f, aic_monitor_warnings), ""), 0);
    feed_memory(f, 1024, 1);
    reading_expect_text(fixture_read(f, aic_monitor_warnings), "0.severity", "warning");
    const struct reading *r = fixture_read(f, aic_monitor_memory_usage);
    assert_true(reading_true(r, "current.warning_threshold_reached"));
    reading_expect(r, "current.cache_utilization_percent", 100);
}

/* Figures of this moment take the place of the newest snapshot's; what was kept is none of their business. */
static void tells_of_this_moment_beside_what_was_kept(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.memory_warning_bytes = 4096, .memory_critical_bytes = 8192});
    feed_memory(f, 1024, 1);
    aic_memory_sample now = {.memory_bytes = 4096, .memory_entries = 2, .process_bytes = 3 << 20};
    struct mem mem;
    struct buf text;
    struct json_writer writer;
    struct json json;
    double number;
    mem_init(&mem, NULL);
    buf_init(&text, &mem, MEM_OTHER);
    json_writer_init(&writer, &text);
    json_open(&writer, '{');
    assert_int_equal(memory_usage_write_members(f->monitor, &now, &writer), AIC_OK);
    json_close(&writer, '}');
    json_init(&json, &mem, MEM_OTHER);
    assert_int_equal(json_scan(&json, buf_view(&text), NULL), AIC_OK);
    uint32_t current = json_member(&json, 0, "current"), trends = json_member(&json, 0, "trends");
    assert_int_equal(json_double(&json, json_member(&json, current, "process_memory_mb"), &number), AIC_OK);
    assert_true(number == 3);
    assert_int_equal(json_double(&json, json_member(&json, current, "memory_cache_entry_count"), &number), AIC_OK);
    assert_true(number == 2);
    assert_int_equal(json_double(&json, json_member(&json, current, "cache_utilization_percent"), &number), AIC_OK);
    assert_true(number == 100);
    assert_int_equal(json_double(&json, json_member(&json, trends, "total_measurements"), &number), AIC_OK);
    assert_true(number == 1);
    json_fini(&json);
    buf_fini(&text);
    mem_fini(&mem);
    reading_expect(fixture_read(f, aic_monitor_memory_usage), "current.memory_cache_entry_count", 1);
}

static void names_the_real_limit(struct fixture *f)
{
    aic_monitor_memory(f->monitor, &(aic_memory_sample){.memory_bytes = 95, .memory_entries = 95, .limit_entries = 100},
                       NO_DATA);
    const struct reading *r = fixture_read(f, aic_monitor_warnings);
    assert_int_equal(reading_length(r, ""), 1);
    reading_expect_text(r, "0.severity", "info");
    assert_true(reading_contains(r, "0.message", "95.0%") && reading_contains(r, "0.message", "95/100"));
    aic_monitor_memory(f->monitor,
                       &(aic_memory_sample){.memory_bytes = 95, .memory_entries = 480, .limit_entries = 500}, NO_DATA);
    r = fixture_read(f, aic_monitor_warnings);
    assert_true(reading_contains(r, "0.message", "480/500"));
    reading_expect(r, "0.recommendations.0.value", 1000);
}

static void tells_the_trend(struct fixture *f)
{
    static const uint64_t sizes[] = {1, 2, 3, 2, 4};
    for (unsigned i = 0; i < 5; i++) {
        feed_memory(f, sizes[i] << 20, sizes[i]);
        fixture_advance(f, 1);
    }
    const struct reading *r = fixture_read(f, aic_monitor_memory_usage);
    reading_expect(r, "current.memory_cache_entry_count", 4);
    reading_expect(r, "trends.max_entry_count", 4);
    reading_expect(r, "trends.total_measurements", 5);
    reading_expect(r, "trends.avg_entry_count", 12.0 / 5);
    reading_expect(r, "trends.growth_rate_mb_per_hour", 3.0 / 4 * 3600);
    reading_expect(r, "trends.growth_span_seconds", 4);
    reading_expect(r, "thresholds.warning_threshold_mb", 50);
}

static void tells_growth_between_samples_a_day_apart(struct fixture *f)
{
    feed_memory(f, 10 << 20, 1);
    fixture_advance(f, 86400);
    aic_monitor_memory(f->monitor,
                       &(aic_memory_sample){.memory_bytes = 34 << 20, .memory_entries = 1, .limit_bytes = 44 << 20},
                       NO_DATA);
    const struct reading *r = fixture_read(f, aic_monitor_memory_usage);
    reading_expect(r, "trends.total_measurements", 1);
    reading_expect(r, "trends.growth_rate_mb_per_hour", 1);
    reading_expect(r, "trends.growth_span_seconds", 86400);
    reading_expect(r, "trends.projected_seconds_to_limit", 36000);
}

static void feed_tier(struct fixture *f, uint64_t bytes)
{
    aic_monitor_memory(f->monitor,
                       &(aic_memory_sample){.memory_bytes = bytes, .memory_entries = 1, .limit_bytes = 100 << 20},
                       NO_DATA);
}

/* A moment's growth is no forecast; a minute of snapshots, more than the ten of the trend, is. */
static void projects_after_a_minute(struct fixture *f)
{
    static const char projection[] = "trends.projected_seconds_to_limit";
    const struct reading *r = NULL;
    for (unsigned second = 0; second <= 61; second++) {
        feed_tier(f, (10 + (uint64_t)second / 2) << 20);
        fixture_advance(f, 1);
        r = fixture_read(f, aic_monitor_memory_usage);
        if (second > 0) assert_true(reading_find(r, "trends.growth_rate_mb_per_hour") != UINT32_MAX);
        if (second == 59) assert_true(reading_is_null(r, projection));
    }
    reading_expect(r, projection, (double)(100 - 40) / (30.0 / 60));
    assert_false(reading_true(r, "trends.at_limit"));
}

static void projects_nothing_at_the_limit(struct fixture *f)
{
    for (unsigned minute = 0; minute < 3; minute++) {
        feed_tier(f, (uint64_t)(90 + minute * 9 / 2) << 20);
        fixture_advance(f, 60);
    }
    const struct reading *r = fixture_read(f, aic_monitor_memory_usage);
    assert_true(reading_true(r, "trends.at_limit"));
    assert_true(reading_is_null(r, "trends.projected_seconds_to_limit"));
}

/* Looks up so many entries of so many bytes in a loop, with a tier of 128 MB that holds so many; where that is less
 * than all, with a storage tier. */
static const struct reading *loop_over(struct fixture *f, unsigned entries, uint64_t bytes, uint64_t used_mb)
{
    fixture_reopen(f, (aic_monitor_options){.memory_warning_bytes = 1ULL << 40, .memory_critical_bytes = 1ULL << 41});
    for (unsigned i = 0; i < 40000; i++) {
        aic_key key = {{0}};
        uint64_t hash = (i % entries + 1) * 0x9E3779B97F4A7C15ULL;
        hash ^= hash >> 29;
        memcpy(key.bytes + 8, &(uint64_t){hash * 0xBF58476D1CE4E5B9ULL}, 8);
        monitor_reference(f->monitor, &key, bytes);
    }
    aic_monitor_memory(f->monitor,
                       &(aic_memory_sample){.memory_bytes = used_mb << 20,
                                            .memory_entries = 128,
                                            .storage_entries = used_mb < 128 ? 2000 : 0,
                                            .limit_bytes = 128 << 20},
                       NO_DATA);
    return fixture_read(f, aic_monitor_warnings);
}

static void advises_on_the_size_by_the_curve(struct fixture *f)
{
    assert_int_equal(reading_length(loop_over(f, 2000, 15 << 10, 128), ""), 0); /* 30 MB in a loop: enough */
    const struct reading *r = loop_over(f, 2000, 100 << 10, 128);               /* 200 MB in a loop */
    assert_int_equal(reading_length(r, ""), 1);
    reading_expect_text(r, "0.severity", "info");
    reading_expect_text(r, "0.code", "memory_tier_too_small");
    reading_expect_text(r, "0.recommendations.0.setting", "memory.max_bytes");
    reading_expect(r, "0.recommendations.0.value", 256 << 20);
    assert_true(reading_contains(r, "0.message", "answered from memory now"));
    assert_true(
        reading_contains(r, "0.recommendations.0.reason", "more of the lookups would be answered from memory."));
    reading_expect_text(loop_over(f, 2000, 100 << 10, 120), "0.code", "memory_bytes_nearly_full"); /* there is room */
    r = loop_over(f, 2000, 100 << 10, 127);
    assert_true(reading_contains(r, "0.recommendations.0.reason", "instead of from storage or not at all"));
}

static void advises_no_size_by_a_flat_curve(struct fixture *f)
{
    /* 2 GB in a loop: nothing hits with any size; and 2 MB: everything hits with any. */
    assert_int_equal(reading_length(loop_over(f, 2000, 1 << 20, 128), ""), 0);
    assert_int_equal(reading_length(loop_over(f, 2000, 1 << 10, 128), ""), 0);
}

/* ----------------------------------------------------------------------------------------------- invalidations -- */

static void invalidate(struct fixture *f, const char *pattern, uint64_t keys, double seconds, const char *type)
{
    aic_monitor_invalidation(f->monitor, aic_view_of(pattern), keys, seconds, aic_view_of(type), NO_DATA, NO_DATA);
}

static void analyses_invalidations(struct fixture *f)
{
    static const char *const patterns[] = {"a", "b", "a", "c", "a"};
    static const char *const types[] = {"manual", "automatic", NULL, "ttl_expired", "manual"};
    for (unsigned i = 0; i < 5; i++) invalidate(f, patterns[i], i + 1, .01 * (i + 1), types[i]);
    const struct reading *r = fixture_read(f, aic_monitor_invalidations);
    reading_expect(r, "total_invalidations", 5);
    reading_expect(r, "total_keys_invalidated", 15);
    reading_expect(r, "rates.last_hour", 5);
    reading_expect(r, "patterns.most_common_patterns.a", 3);
    reading_expect(r, "patterns.most_common_patterns.b", 1);
    reading_expect(r, "patterns.invalidation_types.manual", 3);
    reading_expect(r, "efficiency.avg_keys_per_invalidation", 3);
    reading_expect(r, "efficiency.max_duration", .05);
    reading_expect_text(r, "thresholds.current_alert_level", "normal");
}

static void counts_the_last_hour_and_the_last_day(struct fixture *f)
{
    invalidate(f, "old", 1, .01, NULL);
    fixture_advance(f, 3700);
    for (unsigned i = 0; i < 3; i++) invalidate(f, "new", 1, .01, NULL);
    const struct reading *r = fixture_read(f, aic_monitor_invalidations);
    reading_expect(r, "rates.last_hour", 3);
    reading_expect(r, "rates.last_24_hours", 4);
    reading_expect(r, "rates.average_per_hour", 3);
}

static void alarms_at_the_limits(struct fixture *f)
{
    fixture_reopen(f,
                   (aic_monitor_options){.invalidations_warning_per_hour = 10, .invalidations_critical_per_hour = 25});
    static const char *const levels[] = {"normal", "warning", "warning", "critical"};
    static const unsigned counts[] = {9, 10, 24, 25};
    unsigned done = 0;
    for (unsigned i = 0; i < 4; i++) {
        for (; done < counts[i]; done++) invalidate(f, "x", 1, .01, NULL);
        reading_expect_text(fixture_read(f, aic_monitor_invalidations), "thresholds.current_alert_level", levels[i]);
    }
    const struct reading *r = fixture_read(f, aic_monitor_invalidation_advice);
    reading_expect_text(r, "0.severity", "critical");
    reading_expect_text(r, "0.issue", "High invalidation frequency");
    assert_true(reading_contains(r, "0.message", "times per hour"));
    reading_expect_text(r, "1.issue", "Dominant invalidation pattern");
    assert_true(reading_contains(r, "1.message", "'x'"));
    assert_int_equal(f->log_count, 2);
    assert_non_null(strstr(f->log[0], "High invalidation rate"));
    assert_int_equal(f->levels[0], AIC_LOG_WARNING);
    assert_non_null(strstr(f->log[1], "Critical invalidation rate"));
    assert_int_equal(f->levels[1], AIC_LOG_ERROR);
}

static void alarms_whatever_number_of_events_is_kept(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.max_measurements = 40});
    for (unsigned i = 0; i < 300; i++) {
        invalidate(f, "x", 1, .001, NULL);
        fixture_advance(f, 0.2);
    }
    const struct reading *r = fixture_read(f, aic_monitor_invalidations);
    reading_expect_text(r, "thresholds.current_alert_level", "critical");
    reading_expect(r, "rates.last_hour", 300);
}

/* The counters outlive the events: a day of rates does not end with a retention of an hour, or of seconds. */
static void counts_on_when_no_event_is_kept(struct fixture *f)
{
    for (unsigned i = 0; i < 120; i++) invalidate(f, "x", 3, .001, NULL);
    fixture_advance(f, 61 * 60);
    const struct reading *r = fixture_read(f, aic_monitor_invalidations);
    assert_int_equal(reading_find(r, "no_invalidations"), UINT32_MAX);
    reading_expect(r, "total_invalidations", 120);
    reading_expect(r, "total_keys_invalidated", 360);
    reading_expect(r, "rates.last_hour", 0);
    reading_expect(r, "rates.last_24_hours", 120);
    reading_expect_text(r, "thresholds.current_alert_level", "normal");
    reading_expect(r, "patterns.measurements", 0);
    assert_int_equal(reading_length(r, "patterns.most_common_patterns"), 0);
    reading_expect(r, "efficiency.avg_keys_per_invalidation", 3);
    assert_true(reading_is_null(r, "efficiency.avg_duration"));
    assert_int_equal(reading_length(fixture_read(f, aic_monitor_invalidation_advice), ""), 0);
    reading_expect(fixture_read(f, aic_monitor_statistics), "invalidation.total_invalidations", 120);
    fixture_reopen(f, (aic_monitor_options){.retention_hours = .001});
    for (unsigned i = 0; i < 120; i++) invalidate(f, "x", 150, .001, NULL);
    fixture_advance(f, 5);
    r = fixture_read(f, aic_monitor_invalidations);
    reading_expect(r, "rates.last_hour", 120);
    reading_expect_text(r, "thresholds.current_alert_level", "critical");
    r = fixture_read(f, aic_monitor_invalidation_advice);
    assert_int_equal(reading_length(r, ""), 2);
    reading_expect_text(r, "0.issue", "High invalidation frequency");
    reading_expect_text(r, "0.severity", "critical");
    reading_expect_text(r, "1.issue", "High invalidation impact");
}

static void advises_on_impact_and_efficiency(struct fixture *f)
{
    for (unsigned i = 0; i < 2; i++) invalidate(f, i == 0 ? "a" : "b", 150, .01, NULL);
    const struct reading *r = fixture_read(f, aic_monitor_invalidation_advice);
    reading_expect_text(r, "0.issue", "High invalidation impact");
    reading_expect_text(r, "0.severity", "warning");
    assert_true(reading_contains(r, "0.message", "150 keys invalidated"));
    aic_monitor_reset(f->monitor);
    for (unsigned i = 0; i < 2; i++) invalidate(f, i == 0 ? "a" : "b", 0, .01, NULL);
    reading_expect_text(fixture_read(f, aic_monitor_invalidation_advice), "0.issue", "Low invalidation efficiency");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_in(says_nothing_of_nothing, a_monitor),
        cmocka_unit_test_in(tells_both_hit_rates, a_monitor),
        cmocka_unit_test_in(summarizes_key_generation, a_monitor),
        cmocka_unit_test_in(says_what_its_counts_are_of, a_monitor),
        cmocka_unit_test_in(summarizes_operations_by_kind, a_monitor),
        cmocka_unit_test_in(bounds_the_kinds_it_tells_apart, a_monitor),
        cmocka_unit_test_in(summarizes_compression, a_monitor),
        cmocka_unit_test_in(tells_ratios_of_odd_sizes, a_monitor),
        cmocka_unit_test_in(finds_the_slow_one, a_monitor),
        cmocka_unit_test_in(finds_one_slow_in_each_stream, a_monitor),
        cmocka_unit_test_in(finds_nothing_slow_in_even_or_zero_durations, a_monitor),
        cmocka_unit_test_in(lists_nothing_below_a_millisecond, a_monitor),
        cmocka_unit_test_in(warns_once_when_critical, a_monitor),
        cmocka_unit_test_in(warns_exactly_at_the_threshold, a_monitor),
        cmocka_unit_test_in(names_the_real_limit, a_monitor),
        cmocka_unit_test_in(tells_of_this_moment_beside_what_was_kept, a_monitor),
        cmocka_unit_test_in(tells_the_trend, a_monitor),
        cmocka_unit_test_in(tells_growth_between_samples_a_day_apart, a_monitor),
        cmocka_unit_test_in(advises_on_the_size_by_the_curve, a_monitor),
        cmocka_unit_test_in(projects_after_a_minute, a_monitor),
        cmocka_unit_test_in(projects_nothing_at_the_limit, a_monitor),
        cmocka_unit_test_in(advises_no_size_by_a_flat_curve, a_monitor),
        cmocka_unit_test_in(says_nothing_of_a_full_tier, a_monitor),
        cmocka_unit_test_in(warns_where_somebody_set_it, a_monitor),
        cmocka_unit_test_in(tells_evictions_a_minute, a_monitor),
        cmocka_unit_test_in(analyses_invalidations, a_monitor),
        cmocka_unit_test_in(counts_the_last_hour_and_the_last_day, a_monitor),
        cmocka_unit_test_in(alarms_at_the_limits, a_monitor),
        cmocka_unit_test_in(alarms_whatever_number_of_events_is_kept, a_monitor),
        cmocka_unit_test_in(counts_on_when_no_event_is_kept, a_monitor),
        cmocka_unit_test_in(advises_on_impact_and_efficiency, a_monitor),
    };
    return cmocka_run_group_tests_name("monitor statistics", tests, NULL, NULL);
}
