/* Reports of what nobody expects: lengths whose sum wraps, sizes beyond a double's digits, more kinds than are told
 * apart, names that are no UTF-8, events near the end of an hour. */
#include "fixture.h"

#include <stdio.h>

static void averages_lengths_whose_sum_wraps(struct fixture *f)
{
    for (unsigned i = 0; i < 4; i++)
        aic_monitor_key_generation(f->monitor, .01, UINT64_C(1) << 63, AIC_LITERAL("qa"), NO_DATA);
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "key_generation.avg_text_length", 9223372036854775808.0);
}

static void tells_small_savings_beside_huge_sizes(struct fixture *f)
{
    feed_compression(f, UINT64_C(1) << 62, UINT64_C(1) << 62, .01);
    feed_compression(f, 1000, 311, .01);
    reading_expect(fixture_read(f, aic_monitor_statistics), "compression.total_bytes_saved", 689);
}

static void feed_kinds(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char kind[16];
        snprintf(kind, sizeof kind, "kind%u", i);
        feed_operation(f, kind, .001, false);
    }
}

static void counts_other_kinds_with_a_kind_of_that_name(struct fixture *f)
{
    feed_operation(f, "other", .001, false);
    feed_kinds(f, 100);
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    assert_int_equal(reading_length(r, "cache_operations.by_operation_type"), 63);
    reading_expect(r, "cache_operations.by_operation_type.kind61.count", 1);
    reading_expect(r, "cache_operations.by_operation_type.other.count", 1 + 38);
}

/* The reports are read back by a parser that refuses a member that comes twice. */
static void makes_one_name_of_bytes_that_are_no_text(struct fixture *f)
{
    static const char *const names[] = {"\xff", "\xfe", "\xc3"};
    for (unsigned i = 0; i < 3; i++) {
        feed_operation(f, names[i], .001, false);
        feed_invalidation(f, names[i], 1);
    }
    const struct reading *r = fixture_read(f, aic_monitor_statistics);
    reading_expect(r, "cache_operations.by_operation_type.?.count", 3);
    reading_expect(r, "invalidation.patterns.most_common_patterns.?", 3);
}

static void keeps_an_event_to_the_end_of_its_hour(struct fixture *f)
{
    for (unsigned phase = 0; phase < 12; phase++) {
        aic_monitor_reset(f->monitor);
        feed_invalidation(f, "x", 1);
        fixture_advance(f, 3599);
        const struct reading *r = fixture_read(f, aic_monitor_invalidations);
        reading_expect(r, "rates.last_hour", 1);
        reading_expect(r, "rates.average_per_hour", 1);
        fixture_advance(f, 1);
        reading_expect(fixture_read(f, aic_monitor_invalidations), "rates.last_hour", 0);
        fixture_advance(f, 1);
    }
}

static void averages_over_a_short_retention(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.retention_hours = 0.001});
    for (unsigned phase = 0; phase < 12; phase++) {
        feed_invalidation(f, "x", 1);
        fixture_advance(f, 3);
        reading_expect(fixture_read(f, aic_monitor_invalidations), "rates.average_per_hour", 1000);
        fixture_advance(f, 2);
        reading_expect(fixture_read(f, aic_monitor_invalidations), "rates.average_per_hour", 0);
    }
}

static void levels_by_the_same_hour(struct fixture *f)
{
    fixture_reopen(f, (aic_monitor_options){.invalidations_warning_per_hour = 2, .max_measurements = 5});
    fixture_advance(f, 8);
    feed_invalidation(f, "x", 1);
    fixture_advance(f, 3599);
    feed_invalidation(f, "y", 1);
    reading_expect_text(fixture_read(f, aic_monitor_invalidations), "thresholds.current_alert_level", "warning");
    reading_expect_text(fixture_read(f, aic_monitor_invalidation_advice), "0.issue", "High invalidation frequency");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_in(averages_lengths_whose_sum_wraps, a_monitor),
        cmocka_unit_test_in(tells_small_savings_beside_huge_sizes, a_monitor),
        cmocka_unit_test_in(counts_other_kinds_with_a_kind_of_that_name, a_monitor),
        cmocka_unit_test_in(makes_one_name_of_bytes_that_are_no_text, a_monitor),
        cmocka_unit_test_in(keeps_an_event_to_the_end_of_its_hour, a_monitor),
        cmocka_unit_test_in(averages_over_a_short_retention, a_monitor),
        cmocka_unit_test_in(levels_by_the_same_hour, a_monitor),
    };
    return cmocka_run_group_tests_name("monitor extremes", tests, NULL, NULL);
}
