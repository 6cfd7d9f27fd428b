/* Behaviours that earlier systems promised and that the other tests of the monitor do not show; one test per promise.
 */
#include "fixture.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define NO_DATA ((aic_view){NULL, 0})
#define MIB ((uint64_t)1 << 20)

static void keygen(struct fixture *f, double seconds)
{
    aic_monitor_key_generation(f->monitor, seconds, 100, AIC_LITERAL("summarize"), NO_DATA);
}

static void operation(struct fixture *f, const char *kind, double seconds, bool hit)
{
    aic_monitor_operation(f->monitor, aic_view_of(kind), seconds, hit, 100, NO_DATA);
}

static void invalidate(struct fixture *f, const char *pattern, uint64_t keys)
{
    aic_monitor_invalidation(f->monitor, aic_view_of(pattern), keys, 0.01, NO_DATA, NO_DATA, NO_DATA);
}

static void snapshot(struct fixture *f, uint64_t bytes, uint64_t entries)
{
    aic_monitor_memory(f->monitor, &(aic_memory_sample){.memory_bytes = bytes, .memory_entries = entries}, NO_DATA);
}

static void takes_its_thresholds(void **state)
{
    (void)state;
    struct fixture f;
    struct reading r;
    fixture_open(&f, (aic_monitor_options){.retention_hours = 2,
                                           .max_measurements = 500,
                                           .memory_warning_bytes = 25 * MIB,
                                           .memory_critical_bytes = 50 * MIB});
    snapshot(&f, 100, 1);
    snapshot(&f, 200, 2);
    reading_open(&r, &f, aic_monitor_memory_usage);
    reading_expect(&r, "thresholds.warning_threshold_mb", 25);
    reading_expect(&r, "thresholds.critical_threshold_mb", 50);
    reading_expect(&r, "current.memory_cache_entry_count", 2);
    reading_expect(&r, "trends.total_measurements", 2);
    reading_expect(&r, "trends.avg_entry_count", 1.5);
    reading_close(&r);
    reading_open(&r, &f, aic_monitor_statistics);
    reading_expect(&r, "retention_hours", 2);
    reading_close(&r);
    fixture_close(&f);
}

static void counts_a_set_as_neither_hit_nor_miss(void **state)
{
    (void)state;
    static const struct {
        unsigned hits, misses;
        double rate;
    } rows[] = {{9, 1, 90}, {2, 8, 20}};
    for (unsigned i = 0; i < 2; i++) {
        struct fixture f;
        struct reading r;
        fixture_open(&f, (aic_monitor_options){0});
        for (unsigned k = 0; k < rows[i].hits + rows[i].misses; k++) operation(&f, "get", .001, k < rows[i].hits);
        reading_open(&r, &f, aic_monitor_statistics);
        reading_expect(&r, "cache_hit_rate", rows[i].rate);
        reading_close(&r);
        operation(&f, "set", .001, true);
        reading_open(&r, &f, aic_monitor_statistics);
        reading_expect(&r, "cache_hits", rows[i].hits);
        reading_expect(&r, "cache_misses", rows[i].misses);
        reading_expect(&r, "total_cache_operations", 11);
        reading_close(&r);
        fixture_close(&f);
    }
}

static void gives_a_bare_invalidation_its_defaults(void **state)
{
    (void)state;
    struct fixture f;
    struct reading r;
    fixture_open(&f, (aic_monitor_options){0});
    invalidate(&f, "test", 3);
    reading_open(&r, &f, aic_monitor_export);
    reading_expect_text(&r, "invalidation_events.0.pattern", "test");
    reading_expect_text(&r, "invalidation_events.0.invalidation_type", "manual");
    reading_expect_text(&r, "invalidation_events.0.operation_context", "");
    reading_expect(&r, "invalidation_events.0.keys_invalidated", 3);
    assert_int_equal(reading_length(&r, "invalidation_events.0.additional_data"), 0);
    reading_close(&r);
    fixture_close(&f);
}

static void *record_ten(void *context)
{
    struct fixture *f = context;
    for (int i = 0; i < 10; i++) keygen(f, .001);
    return NULL;
}

static void records_from_three_threads(void **state)
{
    (void)state;
    struct fixture f;
    struct reading r;
    pthread_t threads[3];
    fixture_open(&f, (aic_monitor_options){0});
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&threads[i], NULL, record_ten, &f), 0);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    reading_open(&r, &f, aic_monitor_export);
    assert_int_equal(reading_length(&r, "key_generation_times"), 30);
    reading_close(&r);
    fixture_close(&f);
}

static void agrees_on_one_sample(void **state)
{
    (void)state;
    static const char *const figures[] = {"avg_duration", "median_duration", "min_duration", "max_duration"};
    struct fixture f;
    struct reading r;
    fixture_open(&f, (aic_monitor_options){0});
    keygen(&f, .025);
    operation(&f, "get", .025, true);
    reading_open(&r, &f, aic_monitor_statistics);
    for (unsigned i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof path, "key_generation.%s", figures[i]);
        reading_expect(&r, path, .025);
        snprintf(path, sizeof path, "cache_operations.%s", figures[i]);
        reading_expect(&r, path, .025);
    }
    reading_close(&r);
    fixture_close(&f);
}

static void sums_large_and_small(void **state)
{
    (void)state;
    struct fixture f;
    struct reading r;
    fixture_open(&f, (aic_monitor_options){0});
    for (unsigned i = 1; i <= 5; i++) {
        keygen(&f, .0001 * i);
        aic_monitor_compression(f.monitor, 1000000 * i, 500000 * i, .001, NO_DATA);
    }
    reading_open(&r, &f, aic_monitor_statistics);
    reading_expect(&r, "key_generation.avg_duration", .0003);
    reading_expect(&r, "key_generation.median_duration", .0003);
    reading_expect(&r, "compression.total_bytes_processed", 15e6);
    reading_expect(&r, "compression.total_bytes_saved", 7.5e6);
    reading_close(&r);
    fixture_close(&f);
}

static void one_of_each(struct fixture *f)
{
    aic_monitor_key_generation(f->monitor, .05, 1000, AIC_LITERAL("summarize"), AIC_LITERAL("{\"model\":\"gpt-4\"}"));
    operation(f, "get", .01, true);
    aic_monitor_compression(f->monitor, 1000, 600, .01, AIC_LITERAL("qa"));
    snapshot(f, 1000, 10);
    invalidate(f, "x", 2);
}

static const char *const arrays[] = {"key_generation_times", "cache_operation_times", "compression_ratios",
                                     "memory_usage_measurements", "invalidation_events"};

static void exports_and_resets(void **state)
{
    (void)state;
    struct fixture f;
    struct reading r;
    fixture_open(&f, (aic_monitor_options){.max_measurements = 7});
    one_of_each(&f);
    reading_open(&r, &f, aic_monitor_export);
    for (unsigned i = 0; i < 5; i++) assert_int_equal(reading_length(&r, arrays[i]), 1);
    reading_expect(&r, "cache_hits", 1);
    reading_expect(&r, "total_invalidations", 1);
    reading_expect(&r, "total_keys_invalidated", 2);
    reading_expect_text(&r, "key_generation_times.0.additional_data.model", "gpt-4");
    reading_expect(&r, "memory_usage_measurements.0.avg_entry_size_bytes", 100);
    assert_true(reading_find(&r, "export_timestamp") != UINT32_MAX);
    reading_close(&r);
    aic_monitor_reset(f.monitor);
    reading_open(&r, &f, aic_monitor_export);
    for (unsigned i = 0; i < 5; i++) assert_int_equal(reading_length(&r, arrays[i]), 0);
    reading_expect(&r, "cache_hits", 0);
    reading_expect(&r, "total_invalidations", 0);
    reading_close(&r);
    fixture_close(&f);
}

static void summarizes(void **state)
{
    (void)state;
    struct fixture f;
    struct reading r;
    fixture_open(&f, (aic_monitor_options){0});
    for (unsigned i = 1; i <= 12; i++) operation(&f, "get", .001 * i, i % 4 != 0);
    keygen(&f, .02);
    invalidate(&f, "x", 5);
    reading_open(&r, &f, aic_monitor_summary);
    reading_expect(&r, "hit_ratio", 75);
    reading_expect(&r, "total_operations", 12);
    reading_expect(&r, "recent_avg_cache_operation_time", .0075); /* of the last ten */
    reading_expect(&r, "recent_avg_key_generation_time", .02);
    reading_expect(&r, "total_invalidations", 1);
    reading_expect(&r, "total_keys_invalidated", 5);
    assert_int_equal(reading_find(&r, "memory_usage"), UINT32_MAX);
    reading_close(&r);
    snapshot(&f, 100, 1);
    reading_open(&r, &f, aic_monitor_summary);
    reading_expect(&r, "memory_usage.current.memory_cache_entry_count", 1);
    reading_close(&r);
    fixture_close(&f);
}

static void keeps_half_an_hour(void **state)
{
    (void)state;
    static const unsigned minutes[] = {60, 45, 30, 15, 5};
    struct fixture f;
    struct reading r;
    fixture_open(&f, (aic_monitor_options){.retention_hours = 0.5});
    for (unsigned i = 0; i < 5; i++) {
        aic_monitor_key_generation(f.monitor, .01, minutes[i], AIC_LITERAL("qa"), NO_DATA);
        fixture_advance(&f, 60.0 * (minutes[i] - (i < 4 ? minutes[i + 1] : 0)));
    }
    reading_open(&r, &f, aic_monitor_export);
    assert_int_equal(reading_length(&r, "key_generation_times"), 2);
    reading_expect(&r, "key_generation_times.0.text_length", 15);
    reading_expect(&r, "key_generation_times.1.text_length", 5);
    reading_close(&r);
    reading_open(&r, &f, aic_monitor_statistics);
    reading_expect(&r, "key_generation.total_operations", 2);
    reading_close(&r);
    fixture_close(&f);
}

static void adds_what_both_tiers_hold(void **state)
{
    (void)state;
    struct fixture f;
    struct reading r;
    fixture_open(&f, (aic_monitor_options){0});
    aic_memory_sample sample = {.memory_bytes = 2000,
                                .memory_entries = 2,
                                .storage_bytes = MIB,
                                .storage_entries = 10,
                                .process_bytes = 64 * MIB};
    aic_monitor_memory(f.monitor, &sample, AIC_LITERAL("{\"source\":\"test\"}"));
    reading_open(&r, &f, aic_monitor_export);
    reading_expect(&r, "memory_usage_measurements.0.cache_entry_count", 12);
    reading_expect(&r, "memory_usage_measurements.0.memory_cache_entry_count", 2);
    reading_expect(&r, "memory_usage_measurements.0.total_cache_size_bytes", 2000 + (double)MIB);
    reading_expect(&r, "memory_usage_measurements.0.process_memory_mb", 64);
    reading_expect_text(&r, "memory_usage_measurements.0.additional_data.source", "test");
    assert_false(reading_true(&r, "memory_usage_measurements.0.warning_threshold_reached"));
    reading_close(&r);
    snapshot(&f, 2000, 2); /* nothing in storage: the total is the memory tier */
    reading_open(&r, &f, aic_monitor_export);
    reading_expect(&r, "memory_usage_measurements.1.total_cache_size_bytes", 2000);
    reading_expect(&r, "memory_usage_measurements.1.cache_entry_count", 2);
    reading_close(&r);
    fixture_close(&f);
}

static void tells_the_sign_of_growth(void **state)
{
    (void)state;
    static const int steps[] = {1, -1, 0};
    for (unsigned i = 0; i < 3; i++) {
        struct fixture f;
        struct reading r;
        fixture_open(&f, (aic_monitor_options){0});
        for (int k = 0; k < 4; k++) {
            snapshot(&f, (uint64_t)(10 + steps[i] * k) * MIB, 1);
            fixture_advance(&f, 600);
        }
        reading_open(&r, &f, aic_monitor_memory_usage);
        reading_expect(&r, "trends.growth_rate_mb_per_hour", 6 * steps[i]);
        double max = reading_number(&r, "trends.max_total_cache_size_mb");
        double mean = reading_number(&r, "trends.avg_total_cache_size_mb");
        assert_true(max >= mean && mean > 0);
        reading_close(&r);
        fixture_close(&f);
    }
}

static void lists_fewer_slow_ones_for_a_larger_multiplier(void **state)
{
    (void)state;
    static const double multipliers[] = {1.5, 2, 3, 5};
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){0});
    for (int i = 0; i < 20; i++) keygen(&f, i < 16 ? .01 : .01 * (i - 14));
    unsigned last = 1000;
    for (unsigned i = 0; i < 4; i++) {
        struct reading r;
        aic_report *report = NULL;
        assert_int_equal(aic_monitor_slow(f.monitor, multipliers[i], &report), AIC_OK);
        reading_take(&r, report);
        unsigned count = reading_length(&r, "key_generation");
        assert_true(count <= last);
        last = count;
        reading_close(&r);
    }
    assert_int_equal(last, 1);
    fixture_close(&f);
}

static void averages_one_event_over_an_hour(void **state)
{
    (void)state;
    struct fixture f;
    struct reading r;
    fixture_open(&f, (aic_monitor_options){.retention_hours = 1});
    invalidate(&f, "x", 1);
    reading_open(&r, &f, aic_monitor_invalidations);
    reading_expect(&r, "rates.average_per_hour", 1.0);
    reading_close(&r);
    fixture_close(&f);
}

static void names_the_dominant_pattern(void **state)
{
    (void)state;
    static const unsigned counts[] = {10, 200};
    for (unsigned i = 0; i < 2; i++) {
        struct fixture f;
        struct reading r;
        fixture_open(
            &f, (aic_monitor_options){.invalidations_warning_per_hour = 1000, .invalidations_critical_per_hour = 2000});
        for (unsigned k = 0; k < counts[i]; k++) invalidate(&f, "user_profile", 5);
        invalidate(&f, "other", 5);
        reading_open(&r, &f, aic_monitor_invalidation_advice);
        assert_int_equal(reading_length(&r, ""), 1);
        reading_expect_text(&r, "0.issue", "Dominant invalidation pattern");
        reading_expect_text(&r, "0.severity", "info");
        assert_true(reading_contains(&r, "0.message", "user_profile"));
        reading_close(&r);
        fixture_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_its_thresholds),
        cmocka_unit_test(counts_a_set_as_neither_hit_nor_miss),
        cmocka_unit_test(gives_a_bare_invalidation_its_defaults),
        cmocka_unit_test(records_from_three_threads),
        cmocka_unit_test(agrees_on_one_sample),
        cmocka_unit_test(sums_large_and_small),
        cmocka_unit_test(exports_and_resets),
        cmocka_unit_test(summarizes),
        cmocka_unit_test(keeps_half_an_hour),
        cmocka_unit_test(adds_what_both_tiers_hold),
        cmocka_unit_test(tells_the_sign_of_growth),
        cmocka_unit_test(lists_fewer_slow_ones_for_a_larger_multiplier),
        cmocka_unit_test(averages_one_event_over_an_hour),
        cmocka_unit_test(names_the_dominant_pattern),
    };
    return cmocka_run_group_tests_name("monitor cases", tests, NULL, NULL);
}
