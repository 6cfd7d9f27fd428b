/* key_test.c - the canonical form, the key over it, what it refuses, and the shape. Random requests in random spellings
 * are in key_test.py. */
#include "base/check.h"
#include "cache/key.h"

#include "../../support/test_mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct test_mem test;
static struct digest *digest;
static struct json options;
static struct buf form;

static int setup(void **state)
{
    (void)state;
    test_mem_init(&test, TEST_MEM_NEVER);
    json_init(&options, &test.mem, MEM_CACHE);
    buf_init(&form, &test.mem, MEM_CACHE);
    return digest_create(&test.mem, "0123456789abcdef", 16, &digest);
}

static int teardown(void **state)
{
    (void)state;
    digest_destroy(&digest);
    buf_fini(&form);
    json_fini(&options);
    test_mem_fini(&test);
    return 0;
}

static struct key_text plain(const char *text)
{
    return (struct key_text){.plain = aic_view_of(text)};
}

/* A request with these options (NULL: absent); the scanned options stay until the next call. */
static struct key_request request_of(const char *operation, const char *text, const char *options_text,
                                     const char *question)
{
    struct key_request request = {.ns = AIC_LITERAL("default"),
                                  .operation = aic_view_of(operation),
                                  .text = plain(text),
                                  .question = plain(question)};
    if (options_text != NULL) {
        assert_int_equal(json_scan(&options, aic_view_of(options_text), NULL), AIC_OK);
        request.options = &options;
    }
    return request;
}

static const char *form_of(const struct key_request *request)
{
    buf_clear(&form);
    assert_int_equal(key_canonical(&test.mem, request, &form, NULL), AIC_OK);
    buf_append_byte(&form, '\0');
    return form.data;
}

static aic_key key_of(const struct key_request *request)
{
    aic_key key;
    assert_int_equal(key_compute(digest, &test.mem, request, &key, NULL, NULL), AIC_OK);
    return key;
}

static void expect_form(const char *options_text, const char *expected)
{
    struct key_request request = request_of("qa", "t", options_text, NULL);
    char whole[512];
    snprintf(whole, sizeof whole, "aicache-key-1;s7:defaults2:qas1:t%sn", expected);
    assert_string_equal(form_of(&request), whole);
}

static void test_form(void **state)
{
    (void)state;
    expect_form(NULL, "o0:");
    expect_form("null", "o0:");
    expect_form(" { } ", "o0:");
    expect_form("{\"b\":1,\"a\":null}", "o2:s1:ans1:bd1e0;");
    expect_form("{\"a\":[true,false,[],{}]}", "o1:s1:aa4:tfa0:o0:");
    expect_form("{\"a\":\"\\u0061\\n\"}", "o1:s1:as2:a\n");
    expect_form("{\"a\":-120.50}", "o1:s1:ad-1205e-1;");
    struct key_request request = request_of("qa", "", NULL, "");
    assert_string_equal(form_of(&request), "aicache-key-1;s7:defaults2:qas0:o0:s0:");
}

/* Model beside options is the same as in them, wherever it stands among the members; either alone is what it was. */
static void test_model(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {NULL, "{\"model\":\"gpt\"}", "o1:s5:models3:gpt"},
        {"null", "{\"model\":\"gpt\"}", "o1:s5:models3:gpt"},
        {"{}", "{\"model\":\"gpt\"}", "o1:s5:models3:gpt"},
        {"{\"m\":1,\"n\":2}", "{\"n\":2,\"model\":\"gpt\",\"m\":1}", "o3:s1:md1e0;s5:models3:gpts1:nd2e0;"},
        {"{\"mode\":1}", "{\"model\":\"gpt\",\"mode\":1}", "o2:s4:moded1e0;s5:models3:gpt"},
        {"{\"models\":{\"model\":1}}", "{\"model\":\"gpt\",\"models\":{\"model\":1}}",
         "o2:s5:models3:gpts6:modelso1:s5:modeld1e0;"},
        {"{\"\\u006dp\":1}", "{\"model\":\"gpt\",\"mp\":1}", "o2:s5:models3:gpts2:mpd1e0;"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct key_request request = request_of("qa", "t", rows[i][0], NULL);
        request.model = AIC_LITERAL("gpt");
        char *beside = strdup(form_of(&request));
        struct buf shapes[2];
        buf_init(&shapes[0], &test.mem, MEM_CACHE);
        buf_init(&shapes[1], &test.mem, MEM_CACHE);
        assert_int_equal(key_shape(digest, &test.mem, &request, &shapes[0]), AIC_OK);
        expect_form(rows[i][1], rows[i][2]);
        assert_string_equal(beside, form.data);
        request = request_of("qa", "t", rows[i][1], NULL);
        assert_int_equal(key_shape(digest, &test.mem, &request, &shapes[1]), AIC_OK);
        size_t same;
        aic_view difference;
        key_shape_compare(buf_view(&shapes[0]), buf_view(&shapes[1]), &same, &difference);
        assert_int_equal(difference.size, 0);
        buf_fini(&shapes[0]);
        buf_fini(&shapes[1]);
        free(beside);
    }
}

static void expect_same(const char *a, const char *b, bool same)
{
    struct key_request request = request_of("qa", "t", a, NULL);
    aic_key left = key_of(&request);
    request = request_of("qa", "t", b, NULL);
    aic_key right = key_of(&request);
    if ((memcmp(&left, &right, sizeof left) == 0) != same) fail_msg("%s and %s", a, b);
}

static void test_options(void **state)
{
    (void)state;
    expect_same("{\"a\":\"1&b=2\"}", "{\"a\":\"1\",\"b\":\"2\"}", false);
    expect_same("{\"a\":1}", "{\"a\":\"1\"}", false);
    expect_same("{\"a\":true}", "{\"a\":\"True\"}", false);
    expect_same("{\"a\":true}", "{\"a\":\"true\"}", false);
    expect_same("{\"a\":null}", "{}", false);
    expect_same("{\"a\":null}", "{\"a\":\"\"}", false);
    expect_same("{\"a\":[]}", "{\"a\":{}}", false);
    expect_same("{\"a\":[1,[2]]}", "{\"a\":[[1],2]}", false);
    expect_same("{\"a\":[1,2]}", "{\"a\":[2,1]}", false);
    expect_same("{\"a\":{\"b\":1}}", "{\"a.b\":1}", false);
    expect_same("{\"a\":9007199254740993}", "{\"a\":9007199254740992}", false);
    expect_same("{\"a\":0.1}", "{\"a\":0.10000000000000000000000000000000001}", false);
    expect_same("{\"a\":\"\xc3\xa4\"}", "{\"a\":\"a\xcc\x88\"}", false);
    expect_same("{\"a\":\" x\"}", "{\"a\":\"x\"}", false);
    expect_same("{\"a\":1,\"b\":2}", "{ \"b\" : 2.0 , \"\\u0061\" : 10e-1 }", true);
    expect_same("{\"a\":-0}", "{\"a\":0.0e7}", true);
    expect_same("{\"a\":9007199254740993}", "{\"a\":900719925474099.3e1}", true);
    expect_same("{\"a\":\"\\u00e4\"}", "{\"a\":\"\xc3\xa4\"}", true);
    expect_same("{}", "null", true);
    expect_same("{}", NULL, true);
}

/* Every pair of these is a pair of different requests. */
static void test_fields(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"qa", "a|b", NULL},   {"qa", "a:b", NULL},  {"qa", "a_b", NULL},  {"qa", "a", "b"},   {"qa", "a", ""},
        {"qa", "a", NULL},     {"qa", "", "a"},      {"qaa", "", NULL},    {"q", "aa", NULL},  {"x|txt:y", "", NULL},
        {"x", "|txt:y", NULL}, {"x", "txt:y", NULL}, {"qa", "as0:", NULL}, {"qa", "a ", NULL}, {"qa", " a", NULL},
        {"QA", "a", NULL},     {"qa", "A", NULL},
    };
    aic_key keys[COUNT_OF(rows)];
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct key_request request = request_of(rows[i][0], rows[i][1], NULL, rows[i][2]);
        keys[i] = key_of(&request);
        for (size_t j = 0; j < i; j++) assert_memory_not_equal(&keys[i], &keys[j], sizeof keys[i]);
    }
    struct key_request request = request_of("qa", "a|b", NULL, NULL);
    request.ns = AIC_LITERAL("other");
    aic_key other = key_of(&request);
    assert_memory_not_equal(&other, &keys[0], sizeof other);
}

/* A text in a document, escaped, is the same request as the plain text. */
static void test_text_in_document(void **state)
{
    (void)state;
    struct key_request request = request_of("qa", "line\n\xc3\xa4\xf0\x9f\x98\x80", NULL, "why?");
    aic_key expected;
    uint64_t points = 0;
    assert_int_equal(key_compute(digest, &test.mem, &request, &expected, &points, NULL), AIC_OK);
    assert_int_equal(points, 7);
    assert_int_equal(json_scan(&options, AIC_LITERAL("[\"line\\n\\u00e4\\ud83d\\ude00\",\"why?\"]"), NULL), AIC_OK);
    request.text = (struct key_text){.json = &options, .token = 1};
    request.question = (struct key_text){.json = &options, .token = 2};
    points = 0;
    aic_key key;
    assert_int_equal(key_compute(digest, &test.mem, &request, &key, &points, NULL), AIC_OK);
    assert_memory_equal(&key, &expected, sizeof key);
    assert_int_equal(points, 7);
}

/* The key is the digest of the form: nothing is hashed that explain does not show. */
static void test_key_is_digest_of_form(void **state)
{
    (void)state;
    struct key_request request = request_of("qa", "some text", "{\"b\":[1.5,\"x\"],\"a\":{}}", "q");
    aic_key expected;
    struct digest_message *message;
    form_of(&request);
    assert_int_equal(digest_begin(digest, &message), AIC_OK);
    digest_add(message, form.data, form.size - 1);
    digest_end(&message, &expected);
    aic_key key = key_of(&request);
    assert_memory_equal(&key, &expected, sizeof key);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *options;
        const char *path;
    } rows[] = {
        {"{\"a\":1e9223372036854775808}", "options.a"},
        {"{\"x\":[0,{\"y z\":-1e-99999999999999999999}]}", "options.x[1].y z"},
        {"{\"a\":[[1,2,[3,1e9999999999999999999]]]}", "options.a[0][2][1]"},
    };
    aic_error error;
    aic_key key = {{42}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct key_request request = request_of("qa", "t", rows[i].options, NULL);
        assert_int_equal(key_compute(digest, &test.mem, &request, &key, NULL, &error), AIC_INVALID);
        assert_string_equal(error.field, rows[i].path);
        assert_non_null(strstr(error.message, "64 bits"));
        assert_int_equal(key_compute(digest, &test.mem, &request, &key, NULL, NULL), AIC_INVALID);
        buf_clear(&form);
        buf_append_text(&form, "before");
        assert_int_equal(key_canonical(&test.mem, &request, &form, &error), AIC_INVALID);
        assert_int_equal(form.size, 6);
    }
    assert_int_equal(key.bytes[0], 42);
    struct key_request request = request_of("qa", "abc\xff", NULL, NULL);
    assert_int_equal(key_compute(digest, &test.mem, &request, &key, NULL, &error), AIC_INVALID);
    assert_string_equal(error.field, "text");
    request = request_of("qa", "abc", NULL, "\xed\xa0\x80");
    assert_int_equal(key_compute(digest, &test.mem, &request, &key, NULL, &error), AIC_INVALID);
    assert_string_equal(error.field, "question");
}

/* A path longer than the field ends in an ellipsis and is still UTF-8. */
static void test_long_path(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, &test.mem, MEM_CACHE);
    for (int i = 0; i < 100; i++) buf_append_text(&text, "{\"\xc3\xa4\xe2\x82\xac\":");
    buf_append_text(&text, "1e99999999999999999999");
    for (int i = 0; i < 100; i++) buf_append_byte(&text, '}');
    buf_append_byte(&text, '\0');
    struct key_request request = request_of("qa", "t", text.data, NULL);
    aic_error error;
    aic_key key;
    assert_int_equal(key_compute(digest, &test.mem, &request, &key, NULL, &error), AIC_INVALID);
    size_t size = strlen(error.field);
    assert_true(size > 110 && size < sizeof error.field);
    assert_memory_equal(error.field, "options.\xc3\xa4\xe2\x82\xac.", 14);
    assert_string_equal(error.field + size - 3, "\xe2\x80\xa6");
    buf_fini(&text);
}

/* 10 MB of text pass through the digest where they lie, plain or escaped: what is allocated meanwhile stays small. */
static void test_large_text(void **state)
{
    (void)state;
    size_t size = 10u << 20;
    char *text = malloc(size + 2);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++) text[i + 1] = i % 80 == 78 ? '\\' : i % 80 == 79 ? 'n' : 'x';
    text[0] = text[size + 1] = '"';
    assert_int_equal(json_scan(&options, (aic_view){text, size + 2}, NULL), AIC_OK);
    struct key_request escaped = {
        .ns = AIC_LITERAL("default"), .operation = AIC_LITERAL("qa"), .text = {.json = &options}};
    struct key_request raw = escaped;
    raw.text = (struct key_text){.plain = {text + 1, size}};
    int64_t before = test.bytes;
    test.most_bytes = before;
    aic_key key;
    uint64_t points;
    assert_int_equal(key_compute(digest, &test.mem, &raw, &key, &points, NULL), AIC_OK);
    assert_int_equal(points, size);
    assert_int_equal(key_compute(digest, &test.mem, &escaped, &key, &points, NULL), AIC_OK);
    assert_int_equal(points, size - size / 80);
    assert_true(test.most_bytes - before < 4096);
    buf_clear(&form);
    assert_int_equal(key_shape(digest, &test.mem, &escaped, &form), AIC_OK);
    assert_true(test.most_bytes - before < 4096);
    free(text);
}

/* ---- the shape ---- */

static void expect_difference(const char *a_options, const char *a_text, const char *b_options, const char *b_text,
                              const char *path, size_t expected_same)
{
    struct buf a;
    struct buf b;
    size_t same;
    aic_view difference;
    buf_init(&a, &test.mem, MEM_CACHE);
    buf_init(&b, &test.mem, MEM_CACHE);
    struct key_request request = request_of("qa", a_text, a_options, "q");
    assert_int_equal(key_shape(digest, &test.mem, &request, &a), AIC_OK);
    request = request_of("qa", b_text, b_options, "q");
    assert_int_equal(key_shape(digest, &test.mem, &request, &b), AIC_OK);
    assert_true(a.size <= 512 && b.size <= 512);
    key_shape_compare(buf_view(&a), buf_view(&b), &same, &difference);
    if (difference.size != strlen(path) || memcmp(difference.data, path, difference.size) != 0 || same != expected_same)
        fail_msg("%zu same, first difference %.*s", same, (int)difference.size, difference.data);
    buf_fini(&a);
    buf_fini(&b);
}

static void test_shape(void **state)
{
    (void)state;
    expect_difference(NULL, "t", NULL, "t", "", 3);
    expect_difference(NULL, "t", NULL, "u", "text", 2);
    expect_difference("{\"temperature\":0.7,\"max\":1}", "t", "{\"max\":1.0,\"temperature\":0.70}", "t", "", 5);
    expect_difference("{\"temperature\":0.7,\"max\":1}", "t", "{\"max\":1,\"temperature\":0.8}", "t",
                      "options.temperature", 4);
    expect_difference("{\"temperature\":0.7}", "t", "{}", "t", "options.temperature", 3);
    expect_difference("{}", "t", "{\"temperature\":0.7}", "t", "options.temperature", 3);
    expect_difference("{\"stop\":[\"a\",\"b\"]}", "t", "{\"stop\":[\"a\",\"c\"]}", "t", "options.stop[1]", 4);
    expect_difference("{\"a\":{\"b\":{\"c\":1}}}", "t", "{\"a\":{\"b\":{\"c\":\"1\"}}}", "t", "options.a.b.c", 3);
    expect_difference("{\"a\":[]}", "t", "{\"a\":{}}", "t", "options.a", 3);
    expect_difference("{\"a\":null}", "t", "{}", "t", "options.a", 3);
    size_t same = 42;
    aic_view difference;
    key_shape_compare((aic_view){NULL, 0}, (aic_view){NULL, 0}, &same, &difference);
    assert_int_equal(same, 0);
    assert_int_equal(difference.size, 0);
}

/* Leaves that find no room still count: a difference among them is found, under the path of the rest. */
static void test_shape_overflow(void **state)
{
    (void)state;
    char one[4096];
    char other[4096];
    size_t size = 0;
    for (int i = 0; i < 100; i++)
        size += (size_t)snprintf(one + size, sizeof one - size, "%c\"member%03d\":%d", i == 0 ? '{' : ',', i, i);
    strcpy(one + size, "}");
    strcpy(other, one);
    expect_difference(one, "t", other, "t", "", 3 + 21 + 1);
    other[size - 1] = '8'; /* the last member */
    expect_difference(one, "t", other, "t", "\xe2\x80\xa6", 3 + 21);
}

/* Another secret gives other hashes: shapes say nothing to those who do not have it. */
static void test_shape_is_keyed(void **state)
{
    (void)state;
    struct digest *other;
    struct buf second;
    size_t same;
    aic_view difference;
    assert_int_equal(digest_create(&test.mem, "another secret..", 16, &other), AIC_OK);
    buf_init(&second, &test.mem, MEM_CACHE);
    buf_clear(&form);
    struct key_request request = request_of("qa", "t", NULL, NULL);
    assert_int_equal(key_shape(digest, &test.mem, &request, &form), AIC_OK);
    assert_int_equal(key_shape(other, &test.mem, &request, &second), AIC_OK);
    key_shape_compare(buf_view(&form), buf_view(&second), &same, &difference);
    assert_int_equal(same, 0);
    buf_fini(&second);
    digest_destroy(&other);
}

static void sweep_once(struct test_mem *sweep)
{
    struct json scanned;
    struct buf out;
    struct digest *own = NULL;
    struct buf text;
    aic_key key;
    aic_error error;
    json_init(&scanned, &sweep->mem, MEM_CACHE);
    buf_init(&out, &sweep->mem, MEM_CACHE);
    buf_init(&text, &sweep->mem, MEM_CACHE);
    buf_append_text(&text, "{\"x\":\"\\n\"");
    for (int i = 0; i < 40; i++) buf_printf(&text, ",\"m%d\":%d.5", i, i);
    buf_append_byte(&text, '}');
    struct key_request request = {.ns = AIC_LITERAL("default"), .operation = AIC_LITERAL("qa"), .text = plain("t")};
    aic_status status = buf_status(&text);
    if (status == AIC_OK) status = json_scan(&scanned, buf_view(&text), &error);
    request.options = &scanned;
    if (status == AIC_OK) status = digest_create(&sweep->mem, "0123456789abcdef", 16, &own);
    if (status == AIC_OK) status = key_compute(own, &sweep->mem, &request, &key, NULL, &error);
    if (status == AIC_OK) status = key_canonical(&sweep->mem, &request, &out, &error);
    if (status == AIC_OK) status = key_shape(own, &sweep->mem, &request, &out);
    assert_int_equal(status, test_mem_refused(sweep) ? AIC_NO_MEMORY : AIC_OK);
    digest_destroy(&own);
    buf_fini(&text);
    buf_fini(&out);
    json_fini(&scanned);
}

static void test_no_memory(void **state)
{
    (void)state;
    TEST_MEM_SWEEP(sweep, sweep_once(&sweep));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_form, setup, teardown),
        cmocka_unit_test_setup_teardown(test_model, setup, teardown),
        cmocka_unit_test_setup_teardown(test_options, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_text_in_document, setup, teardown),
        cmocka_unit_test_setup_teardown(test_key_is_digest_of_form, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_path, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_text, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shape, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shape_overflow, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shape_is_keyed, setup, teardown),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
