/* What is said of statistics: rates without lookups. */
#include "observe/stats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_rates(void **state)
{
    (void)state;
    char text[STATS_RATE_BYTES];
    struct figures stats = {0};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
