/* Behaviours that earlier systems promised and that the other tests of the monitor do not show; one test per promise.
 */
#include "fixture.h"

#include <stdio.h>
#include <string.h>

#define MIB ((uint64_t)1 << 20)

static void takes_its_thresholds(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.retention_hours = 2,
                                            .max_measurements = 500,
                                            .memory_warning_bytes = 25 * MIB,
                                            .memory_critical_bytes = 50 * MIB});
    feed_memory(f, 100, 1);
    feed_memory(f, 200, 2);
    const struct reading *r = fixture_read(f, aic_monitor_memory_usage);
    reading_expect(r, "thresholds.warning_threshold_mb", 25);
    reading_expect(r, "thresholds.critical_threshold_mb", 50);
    reading_expect(r, "current.memory_cache_entry_count", 2);
    reading_expect(r, "trends.total_measurements", 2);
    reading_expect(r, "trends.avg_entry_count", 1.5);
    reading_expect(fixture_read(f, aic_monitor_statistics), "retention_hours", 2);
}

static void counts_a_set_as_neither_hit_nor_miss(struct fixture *f)
{
    static const struct {
        unsigned hits, misses;
        double rate;
    } rows[] = {{9, 1, 90}, {2, 8, 20}};
    for (unsigned i = 0; i < 2; i++) {
        fixture_reopen(f, (aic_monitor_options){0});
        for (unsigned k = 0; k < rows[i].hits + rows[i].misses; k++) feed_operation(f, "get", .001, k < rows[i].hits);
        reading_expect(fixture_read(f, aic_monitor_statistics), "cache_hit_rate", rows[i].rate);
        feed_operation(f, "set", .001, true);
        const struct reading *r = fixture_read(f, aic_monitor_statistics);
        reading_expect(r, "cache_hits", rows[i].hits);
        reading_expect(r, "cache_misses", rows[i].misses);
        reading_expect(r, "total_cache_operations", 11);
    }
}

static void gives_a_bare_invalidation_its_defaults(struct fixture *f)
{
    feed_invalidation(f, "test", 3);
    const struct reading *r = fixture_read(f, aic_monitor_export);
    reading_expect_text(r, "invalidation_events.0.pattern", "test");
    reading_expect_text(r, "invalidation_events.0.invalidation_type", "manual");
    reading_expect_text(r, "invalidation_events.0.operation_context", "");
    reading_expect(r, "invalidation_events.0.keys_invalidated", 3);
    assert_int_equal(reading_length(r, "invalidation_events.0.additional_data"), 0);
}

static void agrees_on_one_sample(struct fixture *f)
{
    static const char *const figures[] = {"avg_duration", "median_duration", "min_duration", "max_duration"};
    feed_key(f, .025);
    feed_operation(f, "get", .025, true);
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    for (unsigned i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof path, "key_generation.%s", figures[i]);
        reading_expect(r, path, .025);
        snprintf(path, sizeof path, "cache_operations.%s", figures[i]);
        reading_expect(r, path, .025);
    }
}

static void sums_large_and_small(struct fixture *f)
{
    for (unsigned i = 1; i <= 5; i++) {
        feed_key(f, .0001 * i);
        aic_monitor_compression(f->monitor, 1000000 * i, 500000 * i, .001, NO_DATA);
    }
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "key_generation.avg_duration", .0003);
    reading_expect(r, "key_generation.median_duration", .0003);
    reading_expect(r, "compression.total_bytes_processed", 15e6);
    reading_expect(r, "compression.total_bytes_saved", 7.5e6);
}

static void one_of_each(struct fixture *f)
{
    aic_monitor_key_generation(f->monitor, .05, 1000, AIC_LITERAL("summarize"), AIC_LITERAL("{\"model\":\"gpt-4\"}"));
    feed_operation(f, "get", .01, true);
    feed_compression(f, 1000, 600, .01);
    feed_memory(f, 1000, 10);
    feed_invalidation(f, "x", 2);
}

static void exports_and_resets(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.max_measurements = 7});
    one_of_each(f);
    const struct reading *r = fixture_read(f, aic_monitor_export);
    for (unsigned i = 0; i < 5; i++) assert_int_equal(reading_length(r, exported_arrays[i]), 1);
    reading_expect(r, "cache_hits", 1);
    reading_expect(r, "total_invalidations", 1);
    reading_expect(r, "total_keys_invalidated", 2);
    reading_expect_text(r, "key_generation_times.0.additional_data.model", "gpt-4");
    reading_expect(r, "memory_usage_measurements.0.avg_entry_size_bytes", 100);
    assert_true(reading_find(r, "export_timestamp") != UINT32_MAX);
    aic_monitor_reset(f->monitor);
    r = fixture_read(f, aic_monitor_export);
    for (unsigned i = 0; i < 5; i++) assert_int_equal(reading_length(r, exported_arrays[i]), 0);
    reading_expect(r, "cache_hits", 0);
    reading_expect(r, "total_invalidations", 0);
}

static void summarizes(struct fixture *f)
{
    for (unsigned i = 1; i <= 12; i++) feed_operation(f, "get", .001 * i, i % 4 != 0);
    feed_key(f, .02);
    feed_invalidation(f, "x", 5);
    const struct reading *r = fixture_read(f, aic_monitor_summary);
    reading_expect(r, "hit_ratio", 75);
    reading_expect(r, "total_operations", 12);
    reading_expect(r, "recent_avg_cache_operation_time", .0075); /* of the last ten */
    reading_expect(r, "recent_avg_key_generation_time", .02);
    reading_expect(r, "total_invalidations", 1);
    reading_expect(r, "total_keys_invalidated", 5);
    assert_int_equal(reading_find(r, "memory_usage"), UINT32_MAX);
    feed_memory(f, 100, 1);
    reading_expect(fixture_read(f, aic_monitor_summary), "memory_usage.current.memory_cache_entry_count", 1);
}

static void keeps_half_an_hour(struct fixture *f)
{
    static const unsigned minutes[] = {60, 45, 30, 15, 5};
    fixture_reopen(f, (aic_monitor_options){.retention_hours = 0.5});
    for (unsigned i = 0; i < 5; i++) {
        aic_monitor_key_generation(f->monitor, .01, minutes[i], AIC_LITERAL("qa"), NO_DATA);
        fixture_advance(f, 60.0 * (minutes[i] - (i < 4 ? minutes[i + 1] : 0)));
    }
    const struct reading *r = fixture_read(f, aic_monitor_export);
    assert_int_equal(reading_length(r, "key_generation_times"), 2);
    reading_expect(r, "key_generation_times.0.text_length", 15);
    reading_expect(r, "key_generation_times.1.text_length", 5);
    r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "key_generation.total_operations", 2);
}

static void adds_what_both_tiers_hold(struct fixture *f)
{
    aic_memory_sample sample = {.memory_bytes = 2000,
                                .memory_entries = 2,
                                .storage_bytes = MIB,
                                .storage_entries = 10,
                                .process_bytes = 64 * MIB};
    aic_monitor_memory(f->monitor, &sample, AIC_LITERAL("{\"source\":\"test\"}"));
    const struct reading *r = fixture_read(f, aic_monitor_export);
    reading_expect(r, "memory_usage_measurements.0.cache_entry_count", 12);
    reading_expect(r, "memory_usage_measurements.0.memory_cache_entry_count", 2);
    reading_expect(r, "memory_usage_measurements.0.total_cache_size_bytes", 2000 + (double)MIB);
    reading_expect(r, "memory_usage_measurements.0.process_memory_mb", 64);
    reading_expect_text(r, "memory_usage_measurements.0.additional_data.source", "test");
    assert_false(reading_true(r, "memory_usage_measurements.0.warning_threshold_reached"));
    feed_memory(f, 2000, 2); /* nothing in storage: the total is the memory tier */
    r = fixture_read(f, aic_monitor_export);
    reading_expect(r, "memory_usage_measurements.1.total_cache_size_bytes", 2000);
    reading_expect(r, "memory_usage_measurements.1.cache_entry_count", 2);
}

static void tells_the_sign_of_growth(struct fixture *f)
{
    static const int steps[] = {1, -1, 0};
    for (unsigned i = 0; i < 3; i++) {
        fixture_reopen(f, (aic_monitor_options){0});
        for (int k = 0; k < 4; k++) {
            feed_memory(f, (uint64_t)(10 + steps[i] * k) * MIB, 1);
            fixture_advance(f, 600);
        }
        const struct reading *r = fixture_read(f, aic_monitor_memory_usage);
        reading_expect(r, "trends.growth_rate_mb_per_hour", 6 * steps[i]);
        double max = reading_number(r, "trends.max_total_cache_size_mb");
        double mean = reading_number(r, "trends.avg_total_cache_size_mb");
        assert_true(max >= mean && mean > 0);
    }
}

static void lists_fewer_slow_ones_for_a_larger_multiplier(struct fixture *f)
{
    static const double multipliers[] = {1.5, 2, 3, 5};
    for (int i = 0; i < 20; i++) feed_key(f, i < 16 ? .01 : .01 * (i - 14));
    unsigned last = 1000;
    for (unsigned i = 0; i < 4; i++) {
        unsigned count = reading_length(fixture_read_slow(f, multipliers[i]), "key_generation");
        assert_true(count <= last);
        last = count;
    }
    assert_int_equal(last, 1);
}

static void averages_one_event_over_an_hour(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.retention_hours = 1});
    feed_invalidation(f, "x", 1);
    reading_expect(fixture_read(f, aic_monitor_invalidations), "rates.average_per_hour", 1.0);
}

static void names_the_dominant_pattern(struct fixture *f)
{
    static const unsigned counts[] = {10, 200};
    for (unsigned i = 0; i < 2; i++) {
        fixture_reopen(
            f, (aic_monitor_options){.invalidations_warning_per_hour = 1000, .invalidations_critical_per_hour = 2000});
        for (unsigned k = 0; k < counts[i]; k++) feed_invalidation(f, "user_profile", 5);
        feed_invalidation(f, "other", 5);
        const struct reading *r = fixture_read(f, aic_monitor_invalidation_advice);
        assert_int_equal(reading_length(r, ""), 1);
        reading_expect_text(r, "0.issue", "Dominant invalidation pattern");
        reading_expect_text(r, "0.severity", "info");
        assert_true(reading_contains(r, "0.message", "user_profile"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_in(takes_its_thresholds, a_monitor),
        cmocka_unit_test_in(counts_a_set_as_neither_hit_nor_miss, a_monitor),
        cmocka_unit_test_in(gives_a_bare_invalidation_its_defaults, a_monitor),
        cmocka_unit_test_in(agrees_on_one_sample, a_monitor),
        cmocka_unit_test_in(sums_large_and_small, a_monitor),
        cmocka_unit_test_in(exports_and_resets, a_monitor),
        cmocka_unit_test_in(summarizes, a_monitor),
        cmocka_unit_test_in(keeps_half_an_hour, a_monitor),
        cmocka_unit_test_in(adds_what_both_tiers_hold, a_monitor),
        cmocka_unit_test_in(tells_the_sign_of_growth, a_monitor),
        cmocka_unit_test_in(lists_fewer_slow_ones_for_a_larger_multiplier, a_monitor),
        cmocka_unit_test_in(averages_one_event_over_an_hour, a_monitor),
        cmocka_unit_test_in(names_the_dominant_pattern, a_monitor),
    };
    return cmocka_run_group_tests_name("monitor cases", tests, NULL, NULL);
}
