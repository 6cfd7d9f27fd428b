/* The histogram: every value lands in the bucket that holds it, powers of two are exact, percentiles are within a
 * sixteenth. */
#include "base/clock.h"
#include "base/hist.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_buckets_hold_their_values(void **state)
{
    (void)state;
    uint64_t low = 0;
    for (unsigned bucket = 0; bucket + 1 < HIST_BUCKETS; bucket++) {
        uint64_t high = hist_bucket_high(bucket);
        assert_int_equal(hist_bucket(high), bucket);
        if (bucket > 0) assert_int_equal(hist_bucket(low + 1), bucket);
        assert_true(high > low);
        if (low > 16) assert_true((double)(high - low) <= (double)low / 16.0);
        low = high;
    }
    assert_int_equal(low, UINT64_C(1) << HIST_MAX_BITS);
    assert_int_equal(hist_bucket(low + 1), HIST_BUCKETS - 1);
    assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
    assert_int_equal(hist_bucket(0), 0);
    assert_int_equal(hist_bucket_high(HIST_BUCKETS - 1), UINT64_MAX);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void test_against_sorted_values(void **state)
{
    (void)state;
    enum { N = 20000 };
    static uint64_t values[N];
    static struct hist hist;
    static struct hist_total total;
    uint64_t seed = 42, sum = 0;
    for (size_t i = 0; i < N; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        values[i] = (seed >> 32) >> (seed >> 8 & 31);
        sum += values[i];
        hist_record(&hist, values[i]);
    }
    hist_add(&total, &hist);
    qsort(values, N, sizeof *values, compare);
    assert_int_equal(total.count, N);
    assert_int_equal(total.sum, sum);
    assert_int_equal(total.max, values[N - 1]);
    const double fractions[] = {0, 0.01, 0.5, 0.9, 0.99, 0.999, 1};
    for (size_t i = 0; i < sizeof fractions / sizeof *fractions; i++) {
        size_t rank = (size_t)(fractions[i] * N + 0.999999);
        uint64_t exact = values[rank > 0 ? rank - 1 : 0];
        uint64_t got = hist_percentile(&total, fractions[i]);
        assert_true(got >= exact);
        assert_true((double)got <= (double)exact * (1 + 1.0 / 16) + 1);
    }
    for (unsigned bits = 4; bits <= HIST_MAX_BITS; bits++) {
        uint64_t until = 0;
        while (until < N && values[until] <= UINT64_C(1) << bits) until++;
        assert_int_equal(hist_count_until(&total, bits), until);
    }
}

static void test_sums_of_instances(void **state)
{
    (void)state;
    static struct hist one, two;
    static struct hist_total total;
    hist_record(&one, 5);
    hist_record(&two, 7);
    hist_record(&two, UINT64_C(1) << 50);
    hist_add(&total, &one);
    hist_add(&total, &two);
    assert_int_equal(total.count, 3);
    assert_int_equal(total.max, UINT64_C(1) << 50);
    assert_int_equal(hist_percentile(&total, 1), UINT64_C(1) << 50);
    assert_int_equal(hist_count_until(&total, HIST_MAX_BITS), 2);
    memset(&total, 0, sizeof total);
    assert_int_equal(hist_percentile(&total, 0.5), 0);
}

static void test_exact_bounds(void **state)
{
    (void)state;
    static struct hist hist;
    static struct hist_total total;
    const uint64_t values[] = {1023, 1024, 1025, 4096, 4097};
    for (size_t i = 0; i < 5; i++) hist_record(&hist, values[i]);
    hist_add(&total, &hist);
    assert_int_equal(hist_count_until(&total, 10), 2);
    assert_int_equal(hist_count_until(&total, 12), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buckets_hold_their_values),
        cmocka_unit_test(test_against_sorted_values),
        cmocka_unit_test(test_sums_of_instances),
        cmocka_unit_test(test_exact_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
