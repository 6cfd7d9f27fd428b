/* json_write_test.c - what is written reads back the same, in any locale. */
#include "base/check.h"
#include "base/json.h"

#include "../../support/test_mem.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct test_mem test;
static struct buf out;

static int setup(void **state)
{
    (void)state;
    test_mem_init(&test, TEST_MEM_NEVER);
    buf_init(&out, &test.mem, MEM_CACHE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&out);
    test_mem_fini(&test);
    return 0;
}

static void expect_text(const char *expected)
{
    assert_int_equal(buf_status(&out), AIC_OK);
    if (out.size != strlen(expected) || memcmp(out.data, expected, out.size) != 0)
        fail_msg("%.*s, not %s", (int)out.size, out.data, expected);
    buf_clear(&out);
}

static void test_strings(void **state)
{
    (void)state;
    json_write_string(&out, AIC_LITERAL(""));
    expect_text("\"\"");
    json_write_string(&out, (aic_view){NULL, 0});
    expect_text("\"\"");
    json_write_string(&out, AIC_LITERAL("a\"\\/\b\f\n\r\t\x01\x1f\x7f\0z"));
    expect_text("\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\\u0000z\"");
    json_write_string(&out, AIC_LITERAL("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"));
    expect_text("\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    json_write_string(&out, AIC_LITERAL("a\xff\xc3(\xed\xa0\x80"));
    expect_text("\"a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* Any bytes become a JSON text; valid UTF-8 comes back byte for byte. */
static void test_strings_read_back(void **state)
{
    (void)state;
    struct json json;
    json_init(&json, &test.mem, MEM_CACHE);
    struct buf back;
    buf_init(&back, &test.mem, MEM_CACHE);
    uint32_t seed = 12345;
    for (int round = 0; round < 2000; round++) {
        char text[64];
        size_t size = 0;
        while (size < sizeof text - 4 && (seed = seed * 1664525 + 1013904223) >> 28 != 0)
            text[size++] = (char)(round % 2 == 0 ? seed >> 24 & 0x7f : seed >> 24);
        json_write_string(&out, (aic_view){text, size});
        assert_int_equal(json_scan(&json, buf_view(&out), NULL), AIC_OK);
        json_unescape(&json, 0, &back);
        if (round % 2 == 0) {
            assert_int_equal(back.size, size);
            if (size > 0) assert_memory_equal(back.data, text, size);
        }
        buf_clear(&back);
        buf_clear(&out);
    }
    buf_fini(&back);
    json_fini(&json);
}

static void test_doubles(void **state)
{
    (void)state;
    static const struct {
        double number;
        const char *text;
    } cases[] = {
        {0, "0"},
        {1, "1"},
        {-1.5, "-1.5"},
        {0.1, "0.1"},
        {100, "100"},
        {1e100, "1e+100"},
        {5e-324, "5e-324"},
        {1.0 / 3, "0.3333333333333333"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {123456789.125, "123456789.125"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {33.33333333333333, "33.33333333333333"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        json_write_double(&out, cases[i].number);
        expect_text(cases[i].text);
    }
}

static void test_doubles_read_back(void **state)
{
    (void)state;
    struct json json;
    json_init(&json, &test.mem, MEM_CACHE);
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        double number;
        double back;
        memcpy(&number, &seed, sizeof number);
        if (!isfinite(number)) continue;
        buf_clear(&out);
        json_write_double(&out, number);
        assert_int_equal(json_scan(&json, buf_view(&out), NULL), AIC_OK);
        assert_int_equal(json_double(&json, 0, &back), AIC_OK);
        assert_true(back == number);
    }
    json_fini(&json);
}

/* Numbers keep their point where the C library's locale has a comma. Locales that are not installed are skipped. */
static void test_locale(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "C"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (setlocale(LC_ALL, names[i]) == NULL) continue;
        json_write_double(&out, 1.5);
        expect_text("1.5");
        struct json json;
        double number;
        json_init(&json, &test.mem, MEM_CACHE);
        assert_int_equal(json_scan(&json, AIC_LITERAL("2.25"), NULL), AIC_OK);
        assert_int_equal(json_double(&json, 0, &number), AIC_OK);
        assert_true(number == 2.25);
        json_fini(&json);
    }
    setlocale(LC_ALL, "C");
}

static void test_writer(void **state)
{
    (void)state;
    struct json_writer writer;
    json_writer_init(&writer, &out);
    json_open(&writer, '{');
    json_key(&writer, "hit");
    json_put_bool(&writer, true);
    json_key(&writer, "list");
    json_open(&writer, '[');
    json_put_u64(&writer, UINT64_MAX);
    json_put_i64(&writer, INT64_MIN);
    json_put_i64(&writer, 7);
    json_put_null(&writer);
    json_put_double(&writer, 0.5);
    json_open(&writer, '{');
    json_close(&writer, '{');
    json_open(&writer, '[');
    json_close(&writer, ']');
    json_close(&writer, '[');
    json_key_view(&writer, AIC_LITERAL("a\nb"));
    json_put_text(&writer, "x\"y");
    json_key(&writer, "none");
    json_put_text(&writer, NULL);
    json_key(&writer, "raw");
    json_put_raw(&writer, AIC_LITERAL("[1, 2]"));
    json_key(&writer, "view");
    json_put_view(&writer, AIC_LITERAL("v"));
    json_close(&writer, '}');
    expect_text(
        "{\"hit\":true,\"list\":[18446744073709551615,-9223372036854775808,7,null,0.5,{},[]],\"a\\nb\":\"x\\\"y\",\"none\":null,"
        "\"raw\":[1, 2],\"view\":\"v\"}");
}

static void test_no_memory(void **state)
{
    (void)state;
    TEST_MEM_SWEEP(sweep, {
        struct buf text;
        struct json_writer writer;
        buf_init(&text, &sweep.mem, MEM_CACHE);
        json_writer_init(&writer, &text);
        json_open(&writer, '[');
        for (int i = 0; i < 100; i++) json_put_text(&writer, "some\ntext");
        json_close(&writer, ']');
        assert_int_equal(buf_status(&text), test_mem_refused(&sweep) ? AIC_NO_MEMORY : AIC_OK);
        buf_fini(&text);
    });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_strings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strings_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_doubles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_doubles_read_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_locale, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
