/* json_test.c - the scanner: what it accepts, what it refuses and how it says so, and what it yields. */
#include "base/check.h"
#include "base/json.h"
#include "base/utf8.h"

#include "../../support/test_mem.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct test_mem test;
static struct json json;

static int setup(void **state)
{
    (void)state;
    test_mem_init(&test, TEST_MEM_NEVER);
    json_init(&json, &test.mem, MEM_CACHE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_fini(&json);
    test_mem_fini(&test);
    return 0;
}

static void accept(const char *text)
{
    aic_error error = {0};
    if (json_scan(&json, aic_view_of(text), &error) != AIC_OK) fail_msg("%s: %s", text, error.message);
}

static void refuse(const char *text, const char *message)
{
    aic_error error = {0};
    if (json_scan(&json, aic_view_of(text), &error) != AIC_INVALID) fail_msg("accepted: %s", text);
    if (strstr(error.message, message) == NULL) fail_msg("%s: %s, not %s", text, error.message, message);
    assert_int_equal(json.count, 0);
    if (strstr(message, "repeats") == NULL) assert_string_equal(error.field, "");
}

/* A repeated name is named by its path as well, as the user would write it. */
static void test_path_of_a_duplicate(void **state)
{
    (void)state;
    static const struct {
        const char *text, *path;
    } rows[] = {
        {"{\"a\":1,\"a\":1}", "a"},
        {"{\"x\":{\"a\":1},\"options\":{\"temperature\":1,\"b\":[1,{}],\"temperature\":2}}", "options.temperature"},
        {"{\"tags\":[1,[2,3],{\"k\":1},{\"c\":0,\"k\":1,\"\\u006b\":1}]}", "tags[3].k"},
        {"[[],[{\"\":1,\"\":1}]]", "[1][0]."},
        {"{\"a\":{\"1\":1,\"2\":1,\"3\":1,\"4\":1,\"5\":1,\"6\":1,\"7\":1,\"8\":1,\"9\":1,\"\\u0037\":1}}", "a.7"},
        {"{\"\xf0\x9f\x98\x80\":1,\"\\ud83d\\ude00\":1}", "\xf0\x9f\x98\x80"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        aic_error error = {0};
        assert_int_equal(json_scan(&json, aic_view_of(rows[i].text), &error), AIC_INVALID);
        assert_string_equal(error.field, rows[i].path);
    }
}

/* A path that is too long ends in an ellipsis, and no character of it is cut. */
static void test_long_path_of_a_duplicate(void **state)
{
    (void)state;
    struct buf text;
    for (unsigned shift = 0; shift < 4; shift++) {
        aic_error error = {0};
        buf_init(&text, &test.mem, MEM_CACHE);
        for (int depth = 0; depth < 100; depth++)
            buf_printf(&text, "{\"%.*s\xc3\xa4\":", depth == 0 ? (int)shift : 0, "xxxx");
        buf_append_text(&text, "{\"y\":1,\"y\":1}");
        assert_int_equal(json_scan(&json, buf_view(&text), &error), AIC_INVALID);
        size_t size = strlen(error.field);
        assert_true(size < sizeof error.field && size > sizeof error.field - 8);
        assert_string_equal(error.field + size - 3, "\xe2\x80\xa6");
        assert_true(utf8_is_valid(aic_view_of(error.field)));
        buf_fini(&text);
    }
}

static void test_accepts(void **state)
{
    (void)state;
    static const char *const good[] = {
        "null",
        " true ",
        "\t\r\n false",
        "0",
        "-0",
        "-0.0e-0",
        "1e5",
        "1E+5",
        "123456789012345678901234567890",
        "0.1",
        "\"\"",
        "\"a\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[1,2,[3],{\"a\":{}}]",
        "{\"\":1}",
        "{\"a\":1,\"A\":2,\"a \":3}",
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\"",
        "\"\\ud83d\\ude00\"",
        "\"\\u0000\"",
        "\"\x7f\"",
        "\"\xf4\x8f\xbf\xbf\"",
        "[[[[[[[[]]]]]]]]",
        "[null,true,false]",
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) accept(good[i]);
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } bad[] = {
        {"", "the text ends at byte 0, expected a value"},
        {"  ", "ends at byte 2"},
        {"nul", "at byte 0 expected a value"},
        {"nulL", "a value"},
        {"True", "a value"},
        {"'a'", "a value"},
        {"NaN", "a value"},
        {"-Infinity", "a digit"},
        {"+1", "a value"},
        {".5", "a value"},
        {"1.", "a digit"},
        {"1.e5", "a digit"},
        {"1e", "a digit"},
        {"1e+", "a digit"},
        {"-", "a digit"},
        {"01", "at byte 1 expected nothing after the value"},
        {"-01", "nothing after the value"},
        {"0x1", "nothing after the value"},
        {"1 2", "at byte 2 expected nothing after the value"},
        {"{} {}", "nothing after the value"},
        {"[1,]", "at byte 3 expected a value"},
        {"[,1]", "a value"},
        {"[1 2]", "',' or ']'"},
        {"[1}", "',' or ']'"},
        {"[1", "the text ends at byte 2, expected ',' or ']'"},
        {"[", "a value"},
        {"]", "a value"},
        {"{", "the name of a member"},
        {"{1:2}", "the name of a member"},
        {"{\"a\"}", "':' after the name"},
        {"{\"a\":}", "a value"},
        {"{\"a\":1,}", "the name of a member"},
        {"{\"a\":1]", "',' or '}'"},
        {"{\"a\" 1}", "':' after the name"},
        {"{a:1}", "the name of a member"},
        {"/**/1", "a value"},
        {"\"", "the closing quote"},
        {"\"abc", "ends at byte 4, expected the closing quote"},
        {"\"\\", "the rest of an escape"},
        {"\"\\x\"", "an escape that JSON knows"},
        {"\"\\u12\"", "four hex digits"},
        {"\"\\u12g4\"", "four hex digits"},
        {"\"\\ud800\"", "a low surrogate after"},
        {"\"\\ud800\\n\"", "a low surrogate after"},
        {"\"\\ud800\\ud800\"", "a low surrogate after"},
        {"\"\\ud800\\u0041\"", "a low surrogate after"},
        {"\"\\udc00\"", "no low surrogate"},
        {"\"\\ud83d\\ude00\\ude00\"", "no low surrogate"},
        {"\"\x01\"", "no control character"},
        {"\"a\nb\"", "at byte 2 expected no control character"},
        {"\"\x80\"", "valid UTF-8"},
        {"\"\xed\xa0\x80\"", "valid UTF-8"},
        {"\"\xc3\"", "valid UTF-8"},
        {"\xef\xbb\xbf{}", "a value"},
        {"{\"a\":1,\"a\":1}", "the member named at byte 7 repeats"},
        {"{\"a\":1,\"b\":2,\"\\u0061\":1}", "the member named at byte 13 repeats"},
        {"{\"\\n\":1,\"\\u000a\":1}", "repeats"},
        {"{\"\\ud83d\\ude00\":1,\"\xf0\x9f\x98\x80\":1}", "repeats"},
        {"{\"\":1,\"\":1}", "repeats"},
        {"[{\"x\":[{\"a\":1,\"a\":2}]}]", "repeats"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) refuse(bad[i].text, bad[i].message);
    aic_error error;
    assert_int_equal(json_scan(&json, (aic_view){"\0", 1}, &error), AIC_INVALID);
    assert_int_equal(json_scan(&json, (aic_view){"1\0", 2}, &error), AIC_INVALID);
    assert_int_equal(json_scan(&json, (aic_view){NULL, 0}, NULL), AIC_INVALID);
    assert_int_equal(json_scan(&json, (aic_view){"", (size_t)1 << 31}, &error), AIC_TOO_LARGE);
}

/* Every prefix of a document is refused, and none is read beyond its end (the address sanitizer watches the copy). */
static void test_every_prefix(void **state)
{
    (void)state;
    static const char whole[] =
        "{\"name\":[1,-2.5e+3,true,false,null,\"text \\u00e4 \\ud83d\\ude00 \xe2\x82\xac \"],\"o\":{\"k\":\"\"}}";
    for (size_t size = 0; size < sizeof whole - 1; size++) {
        char *copy = malloc(size + 1);
        assert_non_null(copy);
        char *at = copy + 1; /* the end of the block is the end of the text */
        memcpy(at, whole, size);
        aic_error error;
        assert_int_equal(json_scan(&json, (aic_view){at, size}, &error), AIC_INVALID);
        assert_non_null(strstr(error.message, "not JSON"));
        free(copy);
    }
    accept(whole);
}

static void test_depth(void **state)
{
    (void)state;
    char text[2 * 129 + 1];
    for (size_t depth = 1; depth <= 129; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = '\0';
        if (depth <= JSON_MAX_DEPTH) accept(text);
        else refuse(text, "nested too deeply: at byte 128 begins level 129, at most 128");
    }
    /* A bracket bomb is refused at its 129th byte, without work for the rest. */
    size_t size = 16u << 20;
    char *bomb = malloc(size);
    assert_non_null(bomb);
    memset(bomb, '[', size);
    aic_error error;
    assert_int_equal(json_scan(&json, (aic_view){bomb, size}, &error), AIC_INVALID);
    free(bomb);
    assert_true(json.capacity < 1000);
}

static void test_tokens(void **state)
{
    (void)state;
    accept(" {\"a\" : [1, {\"b\\n\":null}], \"c\":\"x\"} ");
    static const struct json_token expected[] = {
        {JSON_OBJECT, false, 1, 34, 9, 2}, {JSON_STRING, false, 3, 1, 2, 0},   {JSON_ARRAY, false, 8, 17, 7, 2},
        {JSON_NUMBER, false, 9, 1, 4, 0},  {JSON_OBJECT, false, 12, 12, 7, 1}, {JSON_STRING, true, 14, 3, 6, 0},
        {JSON_NULL, false, 19, 4, 7, 0},   {JSON_STRING, false, 28, 1, 8, 0},  {JSON_STRING, false, 32, 1, 9, 0},
    };
    assert_int_equal(json.count, COUNT_OF(expected));
    for (uint32_t i = 0; i < json.count; i++) {
        const struct json_token *token = &json.tokens[i];
        if (token->type != expected[i].type || token->escaped != expected[i].escaped ||
            token->start != expected[i].start || token->size != expected[i].size || token->next != expected[i].next ||
            token->members != expected[i].members)
            fail_msg("token %u: type %u escaped %d start %u size %u next %u members %u", i, token->type, token->escaped,
                     token->start, token->size, token->next, token->members);
    }
    assert_int_equal(json_member(&json, 0, "a"), 2);
    assert_int_equal(json_member(&json, 0, "c"), 8);
    assert_int_equal(json_member(&json, 0, "b\n"), UINT32_MAX);
    assert_int_equal(json_member(&json, 4, "b\n"), 6);
    assert_int_equal(json_member(&json, 4, "b"), UINT32_MAX);
    aic_view text = json_text(&json, 8);
    assert_int_equal(text.size, 3);
    assert_memory_equal(text.data, "\"x\"", 3);
    text = json_text(&json, 4);
    assert_int_equal(text.size, 12);
    assert_memory_equal(text.data, "{\"b\\n\":null}", 12);
}

static void test_unescape(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, &test.mem, MEM_CACHE);
    accept("\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e4\\u20AC\\ud83d\\uDE00\\u0000z\"");
    json_unescape(&json, 0, &out);
    static const char expected[] = "a\"\\/\b\f\n\r\tA\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\0z";
    assert_int_equal(out.size, sizeof expected - 1);
    assert_memory_equal(out.data, expected, sizeof expected - 1);
    assert_true(json_equals(&json, 0, (aic_view){expected, sizeof expected - 1}));
    assert_false(json_equals(&json, 0, (aic_view){expected, sizeof expected - 2}));
    assert_false(json_equals(&json, 0, (aic_view){expected, sizeof expected}));
    uint8_t front[4];
    assert_int_equal(json_unescape_front(&json, 0, front, 4), 4);
    assert_memory_equal(front, "a\"\\/", 4);
    /* A code point whose lower half looks like a surrogate is none. */
    buf_clear(&out);
    accept("\"\\ud937\\ude0f\"");
    json_unescape(&json, 0, &out);
    assert_int_equal(out.size, 4);
    assert_memory_equal(out.data, "\xf1\x9d\xb8\x8f", 4);
    buf_fini(&out);
}

/* 100 000 members, all different, then one repeated: neither takes quadratic time. */
static void test_many_members(void **state)
{
    (void)state;
    struct buf text;
    for (int round = 0; round < 3; round++) {
        buf_init(&text, &test.mem, MEM_CACHE);
        buf_append_byte(&text, '{');
        for (int i = 0; i < 100000; i++)
            buf_printf(&text, round == 2 && i % 2 == 1 ? "\"\\u006bey%07d\":%d," : "\"key%07d\":%d,", i, i);
        buf_printf(&text, "\"key%s\":0}", round == 1 ? "0050000" : "!");
        aic_error error = {0};
        clock_t start = clock();
        assert_int_equal(json_scan(&json, buf_view(&text), &error), round == 1 ? AIC_INVALID : AIC_OK);
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        /* Comparing each with each would take minutes; a sanitizer's build needs half a second. */
        assert_true(seconds < 20);
        assert_true(round != 1 || strstr(error.message, "repeats") != NULL);
        buf_fini(&text);
    }
}

/* A scanner that has seen a document of a million tokens does not keep room for them. */
static void test_trims(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, &test.mem, MEM_CACHE);
    buf_append_text(&text, "[1");
    for (int i = 0; i < 1000000; i++) buf_append_text(&text, ",1");
    buf_append_byte(&text, ']');
    assert_int_equal(json_scan(&json, buf_view(&text), NULL), AIC_OK);
    assert_int_equal(json.count, 1000002);
    uint32_t capacity = json.capacity;
    assert_in_range(capacity, 1000002, 1000004); /* not half as much again */
    assert_int_equal(json_scan(&json, buf_view(&text), NULL), AIC_OK);
    assert_int_equal(json.capacity, capacity);
    accept("[1,2]");
    assert_true(json.capacity < 1000);
    buf_fini(&text);
}

static void test_order(void **state)
{
    (void)state;
    accept(
        "{\"b\":0,\"\":1,\"ab\":2,\"\\u0061\":3,\"a\\u0000\":4,\"\xc3\xa4\":5,\"\\ud83d\\ude00\":6,\"\\uffff\":7,\"aaaab\":8,\"aaaaa\":9,\"B\":10}");
    static const int expected[] = {1, 10, 3, 4, 9, 8, 2, 0, 5, 7, 6};
    uint64_t cells[2 * COUNT_OF(expected)];
    json_order_members(&json, 0, cells);
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        int64_t number;
        assert_int_equal(json_integer(&json, (uint32_t)cells[i] + 1, &number), AIC_OK);
        assert_int_equal(number, expected[i]);
    }
}

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t number;
    } good[] = {
        {"0", 0},
        {"-0", 0},
        {"0.000", 0},
        {"0e99999999999999999999", 0},
        {"1", 1},
        {"1.0", 1},
        {"1e2", 100},
        {"100e-2", 1},
        {"0.01e2", 1},
        {"12.50e1", 125},
        {"-7", -7},
        {"9223372036854775807", INT64_MAX},
        {"-9223372036854775808", INT64_MIN},
        {"922337203685477580.7e1", INT64_MAX},
        {"9007199254740993", 9007199254740993},
        {"1e18", 1000000000000000000},
        {"1e00000000000000000000000002", 100},
        {"1000000000000000000000e-3", 1000000000000000000},
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        int64_t number = 42;
        accept(good[i].text);
        if (json_integer(&json, 0, &number) != AIC_OK || number != good[i].number) fail_msg("%s", good[i].text);
    }
    static const char *const bad[] = {"0.5",  "1e-1",  "9223372036854775808",    "-9223372036854775809",
                                      "1e19", "1e300", "1e99999999999999999999", "123456789012345678901",
                                      "1.5e0"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        int64_t number = 42;
        accept(bad[i]);
        if (json_integer(&json, 0, &number) != AIC_INVALID) fail_msg("%s", bad[i]);
        assert_int_equal(number, 42);
    }
}

static void check_decimal(const char *text, bool negative, const char *digits, size_t count, int64_t exponent)
{
    struct json_decimal decimal;
    accept(text);
    assert_int_equal(json_decimal(&json, 0, &decimal), AIC_OK);
    if (decimal.negative != negative || decimal.digits.size != strlen(digits) || decimal.count != count ||
        memcmp(decimal.digits.data, digits, decimal.digits.size) != 0 || decimal.exponent != exponent)
        fail_msg("%s: %.*s count %zu exponent %lld", text, (int)decimal.digits.size, decimal.digits.data, decimal.count,
                 (long long)decimal.exponent);
}

static void test_decimals(void **state)
{
    (void)state;
    check_decimal("1", false, "1", 1, 0);
    check_decimal("1.0", false, "1", 1, 0);
    check_decimal("10e-1", false, "1", 1, 0);
    check_decimal("0.1e1", false, "1", 1, 0);
    check_decimal("-0.0", false, "", 0, 0);
    check_decimal("-0e-99999999999999999999999", false, "", 0, 0);
    check_decimal("-120", true, "12", 2, 1);
    check_decimal("1.25", false, "1.25", 3, -2);
    check_decimal("0.00125", false, "125", 3, -5);
    check_decimal("100.001000", false, "100.001", 6, -3);
    check_decimal("100.000", false, "1", 1, 2);
    check_decimal("10.0e2", false, "1", 1, 3);
    check_decimal("9007199254740993", false, "9007199254740993", 16, 0);
    check_decimal("1e9223372036854775807", false, "1", 1, INT64_MAX);
    check_decimal("0.1e9223372036854775808", false, "1", 1, INT64_MAX);
    check_decimal("1e-9223372036854775808", false, "1", 1, INT64_MIN);
    struct json_decimal decimal;
    static const char *const far[] = {"1e9223372036854775808", "10e9223372036854775807", "1e-9223372036854775809",
                                      "0.1e-9223372036854775808",
                                      "1e99999999999999999999999999999999999999999999999999"};
    for (size_t i = 0; i < COUNT_OF(far); i++) {
        accept(far[i]);
        assert_int_equal(json_decimal(&json, 0, &decimal), AIC_INVALID);
    }
}

static void test_doubles(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double number;
    } good[] = {
        {"0", 0},
        {"-0", 0},
        {"0.1", 0.1},
        {"-1.5e3", -1500},
        {"1e308", 1e308},
        {"5e-324", 5e-324},
        {"1e-400", 0},
        {"1e-99999999999", 0},
        {"9007199254740993", 9007199254740992.0},
        {"1.7976931348623157e308", 1.7976931348623157e308},
        {"123456789.125", 123456789.125},
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        double number = 42;
        accept(good[i].text);
        if (json_double(&json, 0, &number) != AIC_OK || memcmp(&number, &good[i].number, sizeof number) != 0)
            fail_msg("%s: %.17g", good[i].text, number);
    }
    double number;
    accept("1e309");
    assert_int_equal(json_double(&json, 0, &number), AIC_INVALID);
    accept("1e999999999999");
    assert_int_equal(json_double(&json, 0, &number), AIC_INVALID);
    /* A digit far behind the point decides which neighbour of a half is nearer. */
    char text[1200];
    int size = snprintf(text, sizeof text, "9007199254740993.");
    memset(text + size, '0', 1000);
    strcpy(text + size + 1000, "1");
    accept(text);
    assert_int_equal(json_double(&json, 0, &number), AIC_OK);
    assert_true(number == 9007199254740994.0);
}

static void test_no_memory(void **state)
{
    (void)state;
    char text[4000];
    size_t size = 0;
    size += (size_t)snprintf(text, sizeof text, "{");
    for (int i = 0; i < 200; i++)
        size += (size_t)snprintf(text + size, sizeof text - size, "%s\"m%d\":[%d]", i > 0 ? "," : "", i, i);
    size += (size_t)snprintf(text + size, sizeof text - size, "}");
    TEST_MEM_SWEEP(sweep, {
        struct json scanned;
        json_init(&scanned, &sweep.mem, MEM_CACHE);
        aic_error error = {0};
        aic_status status = json_scan(&scanned, (aic_view){text, size}, &error);
        assert_int_equal(status, test_mem_refused(&sweep) ? AIC_NO_MEMORY : AIC_OK);
        assert_true(status == AIC_OK || scanned.count == 0);
        json_fini(&scanned);
    });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_accepts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_path_of_a_duplicate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_path_of_a_duplicate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tokens, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unescape, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_trims, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_integers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_decimals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_doubles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
