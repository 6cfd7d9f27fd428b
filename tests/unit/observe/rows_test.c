/*
 * rows_test.c - promises of earlier systems, with their own numbers, named by their ids. tests/conformance.txt says
 * where each of the others is shown.
 */
#include "fixture.h"

#include "observe/health.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)

static void expect_totals(struct fixture *f, unsigned total, unsigned hits, unsigned misses)
{
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "total_cache_operations", total);
    reading_expect(r, "cache_hits", hits);
    reading_expect(r, "cache_misses", misses);
}

/* ---- H: recording ---- */

static void H02_limits_of_its_own(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.retention_hours = 2,
                                            .max_measurements = 500,
                                            .memory_warning_bytes = 25 * MIB,
                                            .memory_critical_bytes = 50 * MIB});
    for (unsigned i = 0; i < 600; i++) feed_key(f, .001);
    assert_int_equal(reading_length(fixture_read(f, aic_monitor_export), "key_generation_times"), 500);
    fixture_advance(f, 2 * 3600 - 1);
    assert_int_equal(reading_length(fixture_read(f, aic_monitor_export), "key_generation_times"), 500);
    fixture_advance(f, 1);
    assert_int_equal(reading_length(fixture_read(f, aic_monitor_export), "key_generation_times"), 0);
    /* Without a snapshot: the thresholds, and that there is none. */
    const struct reading *r = fixture_read(f, aic_monitor_memory_usage);
    assert_true(reading_true(r, "no_measurements"));
    reading_expect(r, "warning_threshold_mb", 25);
    reading_expect(r, "critical_threshold_mb", 50);
    assert_int_equal(reading_length(r, ""), 3);
}

static void H08_H10_one_operation(struct fixture *f)
{
    feed_operation(f, "get", .02, true);
    expect_totals(f, 1, 1, 0);
    fixture_reopen(f, (aic_monitor_options){0});
    feed_operation(f, "set", .02, false);
    expect_totals(f, 1, 0, 0);
}

static void H13_H16_ratios(struct fixture *f)
{
    feed_compression(f, 2000, 1200, .01);
    feed_compression(f, 1000, 600, .01); /* nobody says the ratio: it is counted */
    feed_compression(f, 0, 0, .01);      /* nothing became no smaller */
    const struct reading *r = fixture_read(f, aic_monitor_export);
    reading_expect(r, "compression_ratios.0.compression_ratio", .6);
    reading_expect(r, "compression_ratios.0.original_size", 2000);
    reading_expect(r, "compression_ratios.0.compressed_size", 1200);
    reading_expect(r, "compression_ratios.1.compression_ratio", .6);
    reading_expect(r, "compression_ratios.2.compression_ratio", 1);
}

static void H19_alarms_of_the_rate(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.invalidations_warning_per_hour = 2, .invalidations_critical_per_hour = 4});
    for (unsigned i = 0; i < 3; i++) feed_invalidation(f, "x", 1);
    assert_int_equal(f->log_count, 1);
    assert_int_equal(f->levels[0], AIC_LOG_WARNING);
    assert_non_null(strstr(f->log[0], "High invalidation rate"));
    for (unsigned i = 0; i < 2; i++) feed_invalidation(f, "x", 1);
    assert_int_equal(f->log_count, 2);
    assert_int_equal(f->levels[1], AIC_LOG_ERROR);
    assert_non_null(strstr(f->log[1], "Critical invalidation rate"));
}

struct recorder {
    struct fixture *fixture;
    unsigned number;
};

static void *record_ten(void *context)
{
    const struct recorder *recorder = context;
    for (unsigned i = 0; i < 10; i++)
        aic_monitor_key_generation(recorder->fixture->monitor, .001, recorder->number, AIC_LITERAL("qa"), NO_DATA);
    return NULL;
}

static void H22_three_threads(struct fixture *f)
{
    pthread_t threads[3];
    struct recorder recorders[3];
    unsigned of[3] = {0};
    for (unsigned i = 0; i < 3; i++) {
        recorders[i] = (struct recorder){f, i};
        assert_int_equal(pthread_create(&threads[i], NULL, record_ten, &recorders[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    const struct reading *r = fixture_read(f, aic_monitor_export);
    assert_int_equal(reading_length(r, "key_generation_times"), 30);
    for (unsigned i = 0; i < 30; i++) {
        char path[64];
        snprintf(path, sizeof path, "key_generation_times.%u.text_length", i);
        of[(unsigned)reading_number(r, path)]++;
    }
    for (unsigned i = 0; i < 3; i++) assert_int_equal(of[i], 10);
}

/* ---- I: statistics ---- */

static void I04_durations(struct fixture *f)
{
    feed_operation(f, "get", .02, true);
    feed_operation(f, "get", .03, false);
    feed_operation(f, "set", .04, false);
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "cache_operations.total_operations", 3);
    reading_expect(r, "cache_operations.avg_duration", .03);
    reading_expect(r, "cache_operations.max_duration", .04);
    reading_expect(r, "cache_operations.min_duration", .02);
    reading_expect(r, "cache_operations.slow_operations", 0);
    reading_expect(r, "cache_operations.by_operation_type.get.count", 2);
    reading_expect(r, "cache_operations.by_operation_type.set.count", 1);
}

static void I13_mean_and_median(struct fixture *f)
{
    for (unsigned i = 1; i <= 5; i++) feed_key(f, .01 * i);
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "key_generation.avg_duration", .03);
    reading_expect(r, "key_generation.median_duration", .03);
}

static void I17_a_reset_keeps_the_configuration(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.retention_hours = 3,
                                            .max_measurements = 4,
                                            .memory_warning_bytes = 3 * MIB,
                                            .memory_critical_bytes = 5 * MIB,
                                            .invalidations_warning_per_hour = 7,
                                            .invalidations_critical_per_hour = 9});
    for (unsigned i = 0; i < 6; i++) {
        feed_key(f, .01);
        feed_operation(f, "get", .01, true);
        feed_compression(f, 10, 5, .01);
        feed_memory(f, 10, 1);
        feed_invalidation(f, "x", 1);
    }
    aic_monitor_reset(f->monitor);
    expect_totals(f, 0, 0, 0);
    const struct reading *r = fixture_read(f, aic_monitor_export);
    for (unsigned i = 0; i < 5; i++) assert_int_equal(reading_length(r, exported_arrays[i]), 0);
    r = fixture_read(f, aic_monitor_invalidations);
    assert_true(reading_true(r, "no_invalidations"));
    reading_expect(r, "warning_threshold_per_hour", 7);
    reading_expect(r, "critical_threshold_per_hour", 9);
    for (unsigned i = 0; i < 6; i++) feed_memory(f, 10, 1);
    assert_int_equal(reading_length(fixture_read(f, aic_monitor_export), "memory_usage_measurements"), 4);
    r = fixture_read(f, aic_monitor_memory_usage);
    reading_expect(r, "thresholds.warning_threshold_mb", 3);
    reading_expect(r, "thresholds.critical_threshold_mb", 5);
    reading_expect(fixture_read(f, aic_monitor_statistics), "retention_hours", 3);
}

/* ---- J: retention ---- */

static void J01_two_hours_and_half_an_hour(struct fixture *f)
{
    feed_key(f, .1);
    fixture_advance(f, 5400);
    feed_key(f, .05);
    fixture_advance(f, 1800);
    const struct reading *r = fixture_read(f, aic_monitor_export);
    assert_int_equal(reading_length(r, "key_generation_times"), 1);
    reading_expect(r, "key_generation_times.0.duration", .05);
}

static void J05_J11_age_and_number(struct fixture *f)
{
    static const char *const names[] = {"old_1",    "old_2",    "recent_1",   "recent_2",
                                        "recent_3", "recent_4", "very_recent"};
    fixture_reopen(f, (aic_monitor_options){.max_measurements = 3});
    for (unsigned i = 0; i < 7; i++) {
        aic_monitor_key_generation(f->monitor, .01, 1, aic_view_of(names[i]), NO_DATA);
        fixture_advance(f, i == 1 ? 7200 : 60);
    }
    const struct reading *r = fixture_read(f, aic_monitor_export);
    assert_int_equal(reading_length(r, "key_generation_times"), 3);
    for (unsigned i = 0; i < 3; i++) {
        char path[64];
        snprintf(path, sizeof path, "key_generation_times.%u.operation_type", i);
        reading_expect_text(r, path, names[4 + i]);
    }
}

/* ---- K: memory ---- */

static void K01_every_field(struct fixture *f)
{
    aic_monitor_memory(f->monitor,
                       &(aic_memory_sample){.memory_bytes = 512 * KIB,
                                            .memory_entries = 50,
                                            .storage_bytes = 512 * KIB,
                                            .storage_entries = 50,
                                            .process_bytes = 256 * MIB + 512 * KIB},
                       NO_DATA);
    const struct reading *r = fixture_read(f, aic_monitor_export);
#define FIELD(name) "memory_usage_measurements.0." name
    reading_expect(r, FIELD("total_cache_size_bytes"), (double)MIB);
    reading_expect(r, FIELD("cache_entry_count"), 100);
    reading_expect(r, FIELD("avg_entry_size_bytes"), 512 * 1024 / 50.0);
    reading_expect(r, FIELD("memory_cache_size_bytes"), 512 * 1024);
    reading_expect(r, FIELD("memory_cache_entry_count"), 50);
    reading_expect(r, FIELD("process_memory_mb"), 256.5);
    reading_expect(r, FIELD("cache_utilization_percent"), 2);
    assert_false(reading_true(r, FIELD("warning_threshold_reached")));
    assert_int_equal(reading_length(r, FIELD("additional_data")), 0);
    assert_true(reading_find(r, FIELD("timestamp")) != UINT32_MAX);
#undef FIELD
}

static void K10_two_snapshots(struct fixture *f)
{
    feed_memory(f, 100, 1);
    feed_memory(f, 200, 2);
    const struct reading *r = fixture_read(f, aic_monitor_memory_usage);
    reading_expect(r, "current.cache_entry_count", 2);
    reading_expect(r, "thresholds.warning_threshold_mb", 50);
    reading_expect(r, "thresholds.critical_threshold_mb", 100);
    reading_expect(r, "trends.total_measurements", 2);
    reading_expect(r, "trends.avg_entry_count", 1.5);
}

static void K11_an_hour_apart(struct fixture *f)
{
    feed_memory(f, 10 * MIB, 1);
    fixture_advance(f, 3600);
    feed_memory(f, 12 * MIB, 1);
    reading_expect(fixture_read(f, aic_monitor_memory_usage), "trends.growth_rate_mb_per_hour", 2);
}

static void K19_K20_what_storage_says(struct fixture *f)
{
    feed_memory(f, 2000, 2); /* nothing at all */
    /* Entries without bytes: they lie elsewhere than in memory, and may be the memory tier's own once more. */
    aic_monitor_memory(f->monitor,
                       &(aic_memory_sample){.memory_bytes = 2000, .memory_entries = 2, .storage_entries = 10}, NO_DATA);
    aic_monitor_memory(f->monitor,
                       &(aic_memory_sample){.memory_bytes = 2000, .memory_entries = 2, .storage_bytes = MIB}, NO_DATA);
    const struct reading *r = fixture_read(f, aic_monitor_export);
    reading_expect(r, "memory_usage_measurements.0.total_cache_size_bytes", 2000);
    reading_expect(r, "memory_usage_measurements.0.cache_entry_count", 2);
    reading_expect(r, "memory_usage_measurements.1.total_cache_size_bytes", 2000);
    reading_expect(r, "memory_usage_measurements.1.cache_entry_count", 2);
    reading_expect(r, "memory_usage_measurements.2.total_cache_size_bytes", 2000 + (double)MIB);
    reading_expect(r, "memory_usage_measurements.2.cache_entry_count", 2);
}

/* Critical or else warning, never both; a line for each change, and for what lasts one in a minute. */
static void tells_the_log_of_changes_and_once_a_minute(struct fixture *f)
{
    static const struct {
        uint64_t bytes;
        double seconds; /* before it */
        char logged;    /* 'w', 'e', or '-' for nothing */
        unsigned warnings;
    } rows[] = {{500, 0, '-', 0},  {1024, 1, 'w', 1}, {1024, 1, '-', 1},  {1500, 30, '-', 1}, {1500, 30, 'w', 1},
                {2048, 1, 'e', 1}, {9999, 1, '-', 1}, {9999, 60, 'e', 1}, {500, 1, '-', 0},   {2048, 1, 'e', 1}};
    fixture_reopen(f, (aic_monitor_options){.memory_warning_bytes = 1024, .memory_critical_bytes = 2048});
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned before = f->log_count;
        fixture_advance(f, rows[i].seconds);
        feed_memory(f, rows[i].bytes, 1);
        char logged = f->log_count == before ? '-' : f->levels[f->log_count - 1] == AIC_LOG_ERROR ? 'e' : 'w';
        if (logged != rows[i].logged || f->log_count > before + 1)
            fail_msg("row %u: %c, %u lines", i, logged, f->log_count - before);
        assert_int_equal(reading_length(fixture_read(f, aic_monitor_warnings), ""), rows[i].warnings);
    }
}

/* A tier that stays at its limit is no news. */
static void tells_the_log_once_of_a_full_tier(struct fixture *f)
{
    static const unsigned lines[] = {1, 1, 1, 1, 2};
    fixture_reopen(f, (aic_monitor_options){.memory_warning_bytes = 800, .memory_critical_bytes = 950});
    for (unsigned i = 0; i < 5; i++) {
        aic_memory_sample sample = {.memory_bytes = i < 4 ? 1000 : 900, .memory_entries = 1, .limit_bytes = 1000};
        aic_monitor_memory(f->monitor, &sample, NO_DATA);
        assert_int_equal(f->log_count, lines[i]);
        fixture_advance(f, 61);
    }
    assert_null(strstr(f->log[1], "more since"));
}

/* ---- L: slow operations ---- */

static void L05_L07_nothing_is_slow(struct fixture *f)
{
    for (unsigned round = 0; round < 2; round++) {
        double scale = round == 0 ? 1 : 0;
        fixture_reopen(f, (aic_monitor_options){0});
        for (unsigned i = 0; i < 5; i++) {
            feed_key(f, scale * (.008 + .001 * i));
            feed_operation(f, "get", scale * (.003 + .00075 * i), true);
            feed_compression(f, 10, 5, scale * (.012 + .001 * i));
        }
        const struct reading *r = fixture_read_slow(f, 2);
        assert_int_equal(reading_length(r, "key_generation"), 0);
        assert_int_equal(reading_length(r, "cache_operations"), 0);
        assert_int_equal(reading_length(r, "compression"), 0);
    }
}

/* ---- M: invalidations ---- */

static void M01_none_yet(struct fixture *f)
{
    const struct reading *r = fixture_read(f, aic_monitor_invalidations);
    assert_true(reading_true(r, "no_invalidations"));
    reading_expect(r, "total_invalidations", 0);
    reading_expect(r, "total_keys_invalidated", 0);
    reading_expect(r, "warning_threshold_per_hour", 50);
    reading_expect(r, "critical_threshold_per_hour", 100);
    assert_int_equal(reading_length(r, ""), 5);
    assert_int_equal(reading_length(fixture_read(f, aic_monitor_invalidation_advice), ""), 0);
}

static void M04_levels(struct fixture *f)
{
    static const struct {
        int64_t warning, critical;
        unsigned events;
        const char *level;
    } rows[] = {{10, 25, 5, "normal"},
                {10, 25, 10, "warning"},
                {10, 25, 24, "warning"},
                {10, 25, 25, "critical"},
                {10, 15, 15, "critical"}};
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        fixture_reopen(f, (aic_monitor_options){.invalidations_warning_per_hour = rows[i].warning,
                                                .invalidations_critical_per_hour = rows[i].critical});
        for (unsigned k = 0; k < rows[i].events; k++) feed_invalidation(f, "x", 1);
        const struct reading *r = fixture_read(f, aic_monitor_invalidations);
        reading_expect_text(r, "thresholds.current_alert_level", rows[i].level);
        reading_expect(r, "thresholds.warning_per_hour", (double)rows[i].warning);
        reading_expect(r, "thresholds.critical_per_hour", (double)rows[i].critical);
    }
}

static void M07_M11_frequency(struct fixture *f)
{
    static const struct {
        unsigned events;
        const char *severity;
    } rows[] = {{3, "warning"}, {6, "critical"}};
    for (unsigned i = 0; i < 2; i++) {
        fixture_reopen(
            f, (aic_monitor_options){.invalidations_warning_per_hour = 2, .invalidations_critical_per_hour = 5});
        for (unsigned k = 0; k < rows[i].events; k++) feed_invalidation(f, k % 2 == 0 ? "a" : "b", 1);
        const struct reading *r = fixture_read(f, aic_monitor_invalidation_advice);
        reading_expect_text(r, "0.issue", "High invalidation frequency");
        reading_expect_text(r, "0.severity", rows[i].severity);
        assert_true(reading_contains(r, "0.message", "times per hour"));
        assert_true(reading_length(r, "0.suggestions") > 0);
    }
}

static void M10_impact(struct fixture *f)
{
    for (unsigned i = 0; i < 3; i++) feed_invalidation(f, i == 0 ? "a" : i == 1 ? "b" : "c", 150);
    const struct reading *r = fixture_read(f, aic_monitor_invalidation_advice);
    assert_int_equal(reading_length(r, ""), 1);
    reading_expect_text(r, "0.issue", "High invalidation impact");
    reading_expect_text(r, "0.severity", "warning");
    assert_true(reading_contains(r, "0.message", "150 keys invalidated"));
}

static void lists_ten_patterns_the_commonest_first(struct fixture *f)
{
    fixture_reopen(
        f, (aic_monitor_options){.invalidations_warning_per_hour = 1000, .invalidations_critical_per_hour = 2000});
    for (unsigned i = 1; i <= 15; i++) {
        char pattern[16];
        snprintf(pattern, sizeof pattern, "p%u", i);
        for (unsigned k = 0; k < i; k++) feed_invalidation(f, pattern, 1);
    }
    const struct reading *r = fixture_read(f, aic_monitor_invalidations);
    assert_int_equal(reading_length(r, "patterns.most_common_patterns"), 10);
    reading_expect(r, "patterns.most_common_patterns.p15", 15);
    reading_expect(r, "patterns.most_common_patterns.p6", 6);
    assert_int_equal(reading_find(r, "patterns.most_common_patterns.p5"), UINT32_MAX);
    reading_expect(r, "total_invalidations", 120);
}

/* ---- O: health ---- */

static aic_status takes_three_seconds(void *context, aic_status answer, struct health_result *result)
{
    (void)answer;
    fixture_advance(context, 3);
    snprintf(result->details, sizeof result->details, "fine");
    return AIC_OK;
}

static void O02_O13_an_answer_too_late(struct fixture *f)
{
    struct mem mem;
    struct health *health;
    struct health_report report;
    mem_init(&mem, NULL);
    struct health_options options = {.mem = &mem, .clock = &f->clock, .context = f};
    assert_int_equal(health_create(&options, &health), AIC_OK);
    assert_int_equal(health_add(health, "slow", NULL, takes_three_seconds), AIC_OK);
    health_turn(health);
    health_read(health, 0, &report);
    assert_int_equal(report.status, HEALTH_DEGRADED);
    assert_non_null(strstr(report.details, "timed out"));
    assert_true(report.response_ms == 3000);
    health_destroy(&health);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_in(H02_limits_of_its_own, a_monitor),
        cmocka_unit_test_in(H08_H10_one_operation, a_monitor),
        cmocka_unit_test_in(H13_H16_ratios, a_monitor),
        cmocka_unit_test_in(H19_alarms_of_the_rate, a_monitor),
        cmocka_unit_test_in(H22_three_threads, a_monitor),
        cmocka_unit_test_in(I04_durations, a_monitor),
        cmocka_unit_test_in(I13_mean_and_median, a_monitor),
        cmocka_unit_test_in(I17_a_reset_keeps_the_configuration, a_monitor),
        cmocka_unit_test_in(J01_two_hours_and_half_an_hour, a_monitor),
        cmocka_unit_test_in(J05_J11_age_and_number, a_monitor),
        cmocka_unit_test_in(K01_every_field, a_monitor),
        cmocka_unit_test_in(K10_two_snapshots, a_monitor),
        cmocka_unit_test_in(K11_an_hour_apart, a_monitor),
        cmocka_unit_test_in(K19_K20_what_storage_says, a_monitor),
        cmocka_unit_test_in(tells_the_log_of_changes_and_once_a_minute, a_monitor),
        cmocka_unit_test_in(tells_the_log_once_of_a_full_tier, a_monitor),
        cmocka_unit_test_in(L05_L07_nothing_is_slow, a_monitor),
        cmocka_unit_test_in(M01_none_yet, a_monitor),
        cmocka_unit_test_in(M04_levels, a_monitor),
        cmocka_unit_test_in(M07_M11_frequency, a_monitor),
        cmocka_unit_test_in(M10_impact, a_monitor),
        cmocka_unit_test_in(lists_ten_patterns_the_commonest_first, a_monitor),
        cmocka_unit_test_in(O02_O13_an_answer_too_late, a_monitor),
    };
    return cmocka_run_group_tests_name("monitor rows", tests, NULL, NULL);
}
