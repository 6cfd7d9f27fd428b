/*
 * breaker_test.c - the breaker, moment by moment.
 */
#include "base/check.h"
#include "net/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MS ((uint64_t)1000000)

static void fail_times(struct breaker *breaker, int times, uint64_t now)
{
    for (int i = 0; i < times; i++) {
        assert_int_equal(breaker_admit(breaker, now), BREAKER_ADMITTED);
        assert_false(breaker_failure(breaker, false, now));
    }
}

static void test_five_failures_in_a_row_open_it(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker, 1);
    fail_times(&breaker, 4, 0);
    assert_false(breaker_success(&breaker, false)); /* the row begins anew */
    fail_times(&breaker, 4, 0);
    assert_true(breaker_failure(&breaker, false, 0));
    assert_int_equal(breaker.opened, 1);
    assert_int_equal(breaker_admit(&breaker, 0), BREAKER_REFUSED);
    assert_false(breaker_failure(&breaker, false, 0)); /* a straggler changes nothing */
    assert_int_equal(breaker.opened, 1);
}

static void test_one_probe_at_a_time(void **state)
{
    (void)state;
    struct breaker breaker;
    breaker_init(&breaker, 2);
    assert_true(breaker_trip(&breaker, 0));
    assert_false(breaker_trip(&breaker, 0));
    uint64_t wait = breaker_wait_ns(&breaker, 0);
    assert_true(wait > 375 * MS - 1 && wait <= 500 * MS);
    assert_int_equal(breaker_admit(&breaker, wait - 1), BREAKER_REFUSED);
    assert_int_equal(breaker_admit(&breaker, wait), BREAKER_PROBE);
    assert_int_equal(breaker_admit(&breaker, wait + 1), BREAKER_REFUSED);
    assert_true(breaker_wait_ns(&breaker, wait + 1) == UINT64_MAX);
    assert_false(breaker_success(&breaker, false)); /* not the probe: says nothing of now */
    assert_int_equal(breaker.state, BREAKER_PROBING);
    breaker_cancel(&breaker, wait + 2);
    assert_int_equal(breaker_admit(&breaker, wait + 2), BREAKER_PROBE);
    assert_true(breaker_success(&breaker, true));
    assert_int_equal(breaker_admit(&breaker, wait + 2), BREAKER_ADMITTED);
}

static void test_pauses_grow_to_a_bound_and_differ(void **state)
{
    (void)state;
    struct breaker a, b;
    breaker_init(&a, 3);
    breaker_init(&b, 5);
    breaker_trip(&a, 0);
    breaker_trip(&b, 0);
    uint64_t now = 0, nominal = 500 * MS;
    bool differed = false;
    for (int i = 0; i < 12; i++) {
        uint64_t wait = breaker_wait_ns(&a, now);
        assert_true(wait <= nominal && wait > nominal - nominal / 4 - 1);
        if (wait != breaker_wait_ns(&b, now)) differed = true;
        now += nominal;
        assert_int_equal(breaker_admit(&a, now), BREAKER_PROBE);
        assert_int_equal(breaker_admit(&b, now), BREAKER_PROBE);
        assert_false(breaker_failure(&a, true, now)); /* it was open before: no line in the log */
        assert_false(breaker_failure(&b, true, now));
        nominal = nominal * 2 < 30000 * MS ? nominal * 2 : 30000 * MS;
    }
    assert_true(differed);
    now += nominal;
    assert_int_equal(breaker_admit(&a, now), BREAKER_PROBE);
    assert_true(breaker_success(&a, true));
    assert_true(breaker_trip(&a, now));
    assert_true(breaker_wait_ns(&a, now) <= 500 * MS); /* forgiven */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_five_failures_in_a_row_open_it),
        cmocka_unit_test(test_one_probe_at_a_time),
        cmocka_unit_test(test_pauses_grow_to_a_bound_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
