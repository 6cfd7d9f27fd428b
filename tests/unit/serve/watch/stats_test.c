/* What is said of statistics: rates without lookups, the threshold of the memory tier. */
#include "serve/watch/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_rates(void **state)
{
    (void)state;
    char text[STATS_RATE_BYTES];
    aic_stats stats = {0};
    assert_true(stats_rate(&stats, text) == 0.0);
    assert_string_equal(text, "0.0%");
    stats.hits_memory = 1;
    stats.hits_storage = 1;
    stats.misses = 1;
    stats_rate(&stats, text);
    assert_string_equal(text, "66.7%");
    stats.misses = 0;
    stats_rate(&stats, text);
    assert_string_equal(text, "100.0%");
}

static void test_pressure(void **state)
{
    (void)state;
    aic_stats stats = {.memory_max_bytes = 1000, .memory_bytes = 799, .memory_entries = 3, .storage_entries = 5};
    assert_false(stats_pressure(&stats, 0));
    stats.memory_bytes = 800;
    assert_true(stats_pressure(&stats, 0));
    assert_false(stats_pressure(&stats, 801));
    stats = (aic_stats){.memory_entries = 3, .storage_entries = 5};
    assert_false(stats_pressure(&stats, 0));
    assert_int_equal(stats_entries(&stats), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_pressure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
