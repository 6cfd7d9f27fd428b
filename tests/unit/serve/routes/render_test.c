/* Spelling: dates against the C library's, times to live rounded as promised. */
#include "base/check.h"
#include "serve/routes/render.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void check_time(uint64_t wall_ms)
{
    char got[RENDER_TIME_BYTES], expected[64];
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    assert_non_null(gmtime_r(&seconds, &parts));
    size_t size = strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(expected + size, sizeof expected - size, ".%03uZ", (unsigned)(wall_ms % 1000));
    render_time(wall_ms, got);
    assert_string_equal(got, expected);
}

static void test_dates(void **state)
{
    (void)state;
    const uint64_t special[] = {
        1, 951782400000, 951868799999, 1709164800000, 4107542399999, 4107542400000, 253402300799999};
    for (size_t i = 0; i < COUNT_OF(special); i++) check_time(special[i]);
    for (uint64_t day = 0; day < 80000; day += 7) check_time(day * 86400000 + day % 86400 * 1000 + day % 1000);
    uint64_t seed = 1;
    for (unsigned i = 0; i < 100000; i++) {
        seed = seed * 6364136223846793005U + 1442695040888963407U;
        check_time((seed >> 16) % 253402300800000U);
    }
}

static void expect(struct buf *out, const char *text)
{
    assert_int_equal(buf_status(out), AIC_OK);
    assert_int_equal(out->size, strlen(text));
    assert_memory_equal(out->data, text, out->size);
    buf_clear(out);
}

static void test_small_things(void **state)
{
    (void)state;
    struct mem mem;
    struct buf out;
    struct json_writer writer;
    mem_init(&mem, NULL);
    buf_init(&out, &mem, MEM_OTHER);
    json_writer_init(&writer, &out);
    json_open(&writer, '[');
    render_ttl(&writer, 0, 5);
    render_ttl(&writer, 61000, 1000);
    render_ttl(&writer, 61000, 1001);
    render_ttl(&writer, 1000, 1000);
    render_ttl(&writer, 1000, 2000);
    render_tiers(&writer, 0);
    render_tiers(&writer, AIC_IN_MEMORY | AIC_IN_STORAGE);
    render_time_or_null(&writer, 0);
    render_time_or_null(&writer, 1500);
    json_close(&writer, ']');
    expect(&out, "[null,60,60,0,0,[],[\"memory\",\"storage\"],null,\"1970-01-01T00:00:01.500Z\"]");
    buf_fini(&out);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dates),
        cmocka_unit_test(test_small_things),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
