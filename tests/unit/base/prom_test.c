/* The Prometheus text: escapes, names of OpenMetrics, histograms that add up. */
#include "base/prom.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct prom_family counter = {"x_things_total", PROM_COUNTER, "Things, \"quoted\", with \\ and\nnewline."};
static const struct prom_family gauge = {"x_level", PROM_GAUGE, "A level."};
static const struct prom_family histogram = {"x_wait_seconds", PROM_HISTOGRAM, "Waits."};

static void expect(struct buf *out, const char *text)
{
    assert_int_equal(buf_status(out), AIC_OK);
    assert_int_equal(out->size, strlen(text));
    assert_memory_equal(out->data, text, out->size);
    buf_clear(out);
}

static void test_page(void **state)
{
    (void)state;
    struct mem mem;
    struct buf out;
    struct prom prom;
    mem_init(&mem, NULL);
    buf_init(&out, &mem, MEM_OTHER);
    prom_init(&prom, &out, false);
    prom_begin(&prom, &counter);
    struct prom_label labels[] = {{"a", AIC_LITERAL("plain")}, {"b", AIC_LITERAL("q\"u\\o\nte")}};
    prom_sample_u64(&prom, labels, 2, 18446744073709551615U);
    prom_sample(&prom, NULL, 0, 0.5);
    prom_begin(&prom, &gauge);
    prom_sample(&prom, NULL, 0, 1.0 / 0.0);
    prom_sample(&prom, labels, 1, -3);
    prom_end(&prom);
    expect(&out, "# HELP x_things_total Things, \"quoted\", with \\\\ and\\nnewline.\n"
                 "# TYPE x_things_total counter\n"
                 "x_things_total{a=\"plain\",b=\"q\\\"u\\\\o\\nte\"} 18446744073709551615\n"
                 "x_things_total 0.5\n"
                 "# HELP x_level A level.\n"
                 "# TYPE x_level gauge\n"
                 "x_level +Inf\n"
                 "x_level{a=\"plain\"} -3\n");
    buf_fini(&out);
    mem_fini(&mem);
}

static void test_open_metrics(void **state)
{
    (void)state;
    struct mem mem;
    struct buf out;
    struct prom prom;
    mem_init(&mem, NULL);
    buf_init(&out, &mem, MEM_OTHER);
    prom_init(&prom, &out, true);
    prom_begin(&prom, &counter);
    prom_sample_u64(&prom, NULL, 0, 1);
    prom_end(&prom);
    expect(&out, "# HELP x_things Things, \\\"quoted\\\", with \\\\ and\\nnewline.\n"
                 "# TYPE x_things counter\n"
                 "x_things_total 1\n"
                 "# EOF\n");
    buf_fini(&out);
    mem_fini(&mem);
}

static void test_histogram(void **state)
{
    (void)state;
    struct mem mem;
    struct buf out;
    struct prom prom;
    static struct hist hist;
    static struct hist_total total;
    mem_init(&mem, NULL);
    buf_init(&out, &mem, MEM_OTHER);
    prom_init(&prom, &out, false);
    hist_record(&hist, 1000);
    hist_record(&hist, 4096);
    hist_record(&hist, 100000);
    hist_add(&total, &hist);
    prom_begin(&prom, &histogram);
    struct prom_label label = {"tier", AIC_LITERAL("memory")};
    prom_histogram(&prom, &label, 1, &total, &(struct prom_buckets){1e-3, 10, 2, 14});
    prom_end(&prom);
    expect(&out, "# HELP x_wait_seconds Waits.\n"
                 "# TYPE x_wait_seconds histogram\n"
                 "x_wait_seconds_bucket{tier=\"memory\",le=\"1.024\"} 1\n"
                 "x_wait_seconds_bucket{tier=\"memory\",le=\"4.096\"} 2\n"
                 "x_wait_seconds_bucket{tier=\"memory\",le=\"16.384\"} 2\n"
                 "x_wait_seconds_bucket{tier=\"memory\",le=\"+Inf\"} 3\n"
                 "x_wait_seconds_sum{tier=\"memory\"} 105.096\n"
                 "x_wait_seconds_count{tier=\"memory\"} 3\n");
    buf_fini(&out);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_open_metrics),
        cmocka_unit_test(test_histogram),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
