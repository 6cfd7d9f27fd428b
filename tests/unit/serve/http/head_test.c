/* head_test.c - heads and chunks: what is read, what is refused, and that the cut does not matter. */
#include "base/check.h"
#include "serve/http/chunk.h"
#include "serve/http/head_memo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct head_limits LIMITS = {32768, 16384};

/* The status of a head that comes in two parts, cut at `cut`: 0 for a complete one, -1 when more is needed. */
static int outcome_of(const char *text, size_t size, size_t cut, struct head *head)
{
    struct head_scan scan = {0};
    struct head_refusal why = {0};
    size_t end = 0;
    enum head_outcome outcome = HEAD_MORE;
    if (cut > 0) outcome = head_scan(&scan, text, cut, &LIMITS, &end, &why);
    if (outcome == HEAD_MORE) outcome = head_scan(&scan, text, size, &LIMITS, &end, &why);
    if (outcome == HEAD_COMPLETE) outcome = head_parse(head, text, scan.begin, end, &LIMITS, &why);
    if (outcome == HEAD_REFUSED) return why.status;
    return outcome == HEAD_COMPLETE ? 0 : -1;
}

static void test_cuts_do_not_matter(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 0},
        {"\r\nGET / HTTP/1.1\r\nHost: x\r\nA:\t b \r\n\r\n", 0},
        {"GET / HTTP/1.1\r\nHost: x\r\n", -1},
        {"GET / HTTP/1.1\nHost: x\r\n\r\n", 400},
        {"BREW / HTTP/1.1\r\nHost: x\r\n\r\n", 501},
        {"BREW / HTTP/1.1\r\nHost: x\n\r\n", 400},
        {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\n\r\n", 0},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"POST / HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n", 417},
        {"\r\n\r\n", 400},
        {"\rx", 400},
        {" GET", 400},
    };
    struct head head;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t size = strlen(rows[i].text);
        for (size_t cut = 0; cut < size; cut++) {
            if (outcome_of(rows[i].text, size, cut, &head) != rows[i].status) fail_msg("row %zu cut at %zu", i, cut);
        }
    }
}

static void test_what_is_read(void **state)
{
    (void)state;
    static const char text[] =
        "PUT /a/b?c=d&e HTTP/1.1\r\nHost: x:80\r\nX-Empty:\r\nContent-Length: 0042\r\nConnection: foo , Close\r\n"
        "Expect: 100-continue\r\n\r\n";
    struct head head;
    assert_int_equal(outcome_of(text, sizeof text - 1, 0, &head), 0);
    assert_int_equal(head.verb, HTTP_VERB_PUT);
    assert_int_equal(head.content_length, 42);
    assert_false(head.keep_alive);
    assert_true(head.expect_continue);
    assert_false(head.chunked);
    assert_int_equal(head.field_count, 5);
    assert_memory_equal(head_view(text, head.path).data, "/a/b", 4);
    assert_int_equal(head.path.size, 4);
    assert_true(head.has_query);
    assert_memory_equal(head_view(text, head.query).data, "c=d&e", 5);
    assert_int_equal(head.query.size, 5);
    assert_int_equal(head.target.size, 10);
    const struct head_field *empty = head_find(&head, text, "x-empty", 7);
    assert_non_null(empty);
    assert_int_equal(empty->value.size, 0);
    assert_null(head_find(&head, text, "x-other", 7));
}

static void test_absolute_target(void **state)
{
    (void)state;
    static const char text[] = "GET http://h:1?q HTTP/1.1\r\nHost: h:1\r\n\r\n";
    struct head head;
    assert_int_equal(outcome_of(text, sizeof text - 1, 0, &head), 0);
    assert_int_equal(head.path.size, 0);
    assert_true(head.has_query);
    assert_int_equal(head.query.size, 1);
}

/* Every byte value at every place of a name, a value and a target: accepted exactly when the grammar has it. */
static void test_every_byte(void **state)
{
    (void)state;
    char text[] = "GET /a? HTTP/1.1\r\nHost: x\r\nA-b: c d\r\n\r\n";
    size_t name = (size_t)(strstr(text, "-b") - text);
    size_t value = (size_t)(strstr(text, " d") - text);
    size_t target = (size_t)(strstr(text, "? H") - text);
    struct head head;
    for (int byte = 0; byte < 256; byte++) {
        char old = text[name];
        text[name] = (char)byte;
        bool token = byte != 0 &&
                     strchr("!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", byte) !=
                         NULL;
        /* A colon there ends the name earlier, and the rest is a value. */
        assert_int_equal(outcome_of(text, sizeof text - 1, 0, &head) == 0, token || byte == ':');
        text[name] = old;
        old = text[value];
        text[value] = (char)byte;
        assert_int_equal(outcome_of(text, sizeof text - 1, 0, &head) == 0, byte == '\t' || (byte >= 32 && byte != 127));
        text[value] = old;
        old = text[target];
        text[target] = (char)byte;
        bool uri = byte > 32 && byte < 127 && strchr("\"#<>\\^`{|}%", byte) == NULL;
        assert_int_equal(outcome_of(text, sizeof text - 1, 0, &head) == 0, uri);
        text[target] = old;
    }
}

/* The word-wise test of values against the rule, each byte at each place of each length. */
static void test_values_by_words(void **state)
{
    (void)state;
    char text[26];
    for (size_t size = 1; size < sizeof text; size++) {
        for (size_t at = 0; at < size; at++) {
            for (int byte = 0; byte < 256; byte++) {
                memset(text, at % 2 == 0 ? ' ' : 0xff, sizeof text);
                text[at] = (char)byte;
                assert_int_equal(head_is_value((aic_view){text, size}), byte == '\t' || (byte >= 32 && byte != 127));
            }
        }
    }
    assert_true(head_is_value((aic_view){"", 0}));
}

/* Everything that a head says. */
static void assert_same_head(const struct head *a, const struct head *b)
{
    assert_int_equal(a->verb, b->verb);
    assert_int_equal(a->keep_alive, b->keep_alive);
    assert_int_equal(a->http10, b->http10);
    assert_int_equal(a->chunked, b->chunked);
    assert_int_equal(a->expect_continue, b->expect_continue);
    assert_int_equal(a->encoded, b->encoded);
    assert_int_equal(a->has_query, b->has_query);
    assert_int_equal(a->absolute, b->absolute);
    assert_int_equal(a->target_named, b->target_named);
    assert_int_equal(a->host_named, b->host_named);
    assert_int_equal(a->content_length, b->content_length);
    assert_memory_equal(&a->target, &b->target, sizeof a->target);
    assert_memory_equal(&a->path, &b->path, sizeof a->path);
    assert_memory_equal(&a->query, &b->query, sizeof a->query);
    assert_int_equal(a->field_count, b->field_count);
    assert_memory_equal(a->fields, b->fields, a->field_count * sizeof a->fields[0]);
}

/* What the memo finds is what the scan and the parser say, and what they refuse it does not find, or refuses alike. */
static bool expect_alike(struct head_memo *memo, const char *text, size_t size)
{
    struct head plain, known;
    struct head_match match;
    struct head_scan scan = {0};
    struct head_refusal why = {0}, why_known = {0};
    size_t end = 0;
    if (!head_memo_find(memo, text, size, &LIMITS, &match)) return false;
    assert_int_equal(head_scan(&scan, text, size, &LIMITS, &end, &why), HEAD_COMPLETE);
    assert_int_equal(match.end, end);
    assert_int_equal(scan.begin, 0);
    enum head_outcome outcome = head_parse(&plain, text, 0, end, &LIMITS, &why);
    assert_int_equal(head_memo_parse(&match, &known, text, &LIMITS, &why_known), outcome);
    if (outcome == HEAD_REFUSED) assert_string_equal(why.message, why_known.message);
    else assert_same_head(&plain, &known);
    return true;
}

static void learn(struct head_memo *memo, const char *text)
{
    struct head head;
    size_t size = strlen(text);
    assert_int_equal(outcome_of(text, size, 0, &head), 0);
    head_memo_add(memo, &head, text, 0, size);
    assert_true(expect_alike(memo, text, size));
}

#define GET_HEAD "GET /a HTTP/1.1\r\nHost: x:80\r\nX-Empty:\r\nAccept: */*\r\n\r\n"
#define POST_HEAD                                                                                                      \
    "POST /a?b=c HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 005 \r\nX-Empty:\r\nConnection: close\r\n\r\n"

static void test_known_lines(void **state)
{
    (void)state;
    static struct head_memo memo;
    learn(&memo, GET_HEAD);
    learn(&memo, POST_HEAD);
    static const struct {
        const char *text;
        bool found;
    } rows[] = {
        {"PUT /b?c=%41 HTTP/1.1\r\nHost: x:80\r\nX-Empty:\r\nAccept: */*\r\n\r\nGET", true},
        {"PUT /b?c=%4 HTTP/1.1\r\nHost: x:80\r\nX-Empty:\r\nAccept: */*\r\n\r\n", true}, /* refused by both */
        {"BREW /b HTTP/1.1\r\nHost: x:80\r\nX-Empty:\r\nAccept: */*\r\n\r\n", true},
        {"GET /a HTTP/1.0\r\nHost: x:80\r\nX-Empty:\r\nAccept: */*\r\n\r\n", false},
        {"\r\nGET /a HTTP/1.1\r\nHost: x:80\r\nX-Empty:\r\nAccept: */*\r\n\r\n", false},
        {"GET /a HTTP/1.1\r\nHost: x:80\r\nX-Empty:\r\nAccept: */*\r\n", false},
        {"GET /a HTTP/1.1\r\nHost: x:80\r\nX-Empty:\r\nAccept: */*\r\nA: b\r\n\r\n", false},
        {"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 999999999999999999 \r\nX-Empty:\r\n"
         "Connection: close\r\n\r\n",
         true},
        {"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999999999999999999 \r\nX-Empty:\r\n"
         "Connection: close\r\n\r\n",
         false},
        {"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length:  \r\nX-Empty:\r\nConnection: close\r\n\r\n",
         false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(expect_alike(&memo, rows[i].text, strlen(rows[i].text)), rows[i].found);
}

/* Every byte replaced by every other, left out, or put in: never taken for what it is not. */
static void test_nearly_known_lines(void **state)
{
    (void)state;
    static const char *const texts[] = {GET_HEAD, POST_HEAD};
    static struct head_memo memo;
    char text[256];
    for (size_t row = 0; row < COUNT_OF(texts); row++) learn(&memo, texts[row]);
    for (size_t row = 0; row < COUNT_OF(texts); row++) {
        size_t size = strlen(texts[row]);
        for (size_t at = 0; at < size; at++) {
            for (int byte = 0; byte < 256; byte++) {
                memcpy(text, texts[row], size);
                text[at] = (char)byte;
                expect_alike(&memo, text, size);
                memcpy(text + at + 1, texts[row] + at, size - at);
                expect_alike(&memo, text, size + 1);
            }
            memcpy(text, texts[row], at);
            memcpy(text + at, texts[row] + at + 1, size - at - 1);
            expect_alike(&memo, text, size - 1);
            assert_false(head_memo_find(&memo, texts[row], at, &LIMITS, &(struct head_match){0}));
        }
    }
}

/* Lines that are of use stay when others come and go; what is too long, or of HTTP/1.0, is not kept. */
static void test_which_lines_are_kept(void **state)
{
    (void)state;
    static struct head_memo memo;
    struct head head;
    struct head_match match;
    learn(&memo, GET_HEAD);
    for (unsigned i = 0; i < 100; i++) {
        char text[128];
        int size = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: x\r\nX-Number: %u\r\n\r\n", i);
        assert_int_equal(outcome_of(text, (size_t)size, 0, &head), 0);
        head_memo_add(&memo, &head, text, 0, (size_t)size);
        assert_true(head_memo_find(&memo, GET_HEAD, strlen(GET_HEAD), &LIMITS, &match));
    }
    char large[HEAD_MEMO_BYTES + 100];
    int size = snprintf(large, sizeof large, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: %0*d\r\n\r\n", HEAD_MEMO_BYTES, 1);
    assert_int_equal(outcome_of(large, (size_t)size, 0, &head), 0);
    head_memo_add(&memo, &head, large, 0, (size_t)size);
    assert_false(head_memo_find(&memo, large, (size_t)size, &LIMITS, &match));
    static const char old[] = "GET / HTTP/1.0\r\nHost: old\r\n\r\n", same[] = "GET / HTTP/1.1\r\nHost: old\r\n\r\n";
    assert_int_equal(outcome_of(old, sizeof old - 1, 0, &head), 0);
    head_memo_add(&memo, &head, old, 0, sizeof old - 1);
    assert_false(head_memo_find(&memo, same, sizeof same - 1, &LIMITS, &match));
    struct head_limits narrow = {strlen(GET_HEAD) - 1, 1000};
    assert_false(head_memo_find(&memo, GET_HEAD, strlen(GET_HEAD), &narrow, &match));
    narrow = (struct head_limits){1000, 16};
    assert_false(head_memo_find(&memo, GET_HEAD, strlen(GET_HEAD), &narrow, &match));
}

static void test_decoding(void **state)
{
    (void)state;
    char out[16];
    assert_int_equal(head_decode(AIC_LITERAL("a%2fb+c"), false, out), 5);
    assert_memory_equal(out, "a/b+c", 5);
    assert_int_equal(head_decode(AIC_LITERAL("a%2Fb+c"), true, out), 5);
    assert_memory_equal(out, "a/b c", 5);
    assert_int_equal(head_decode(AIC_LITERAL("%00"), true, out), 1);
    assert_int_equal(out[0], 0);
    assert_int_equal(head_decode(AIC_LITERAL("%4"), true, out), SIZE_MAX);
    assert_int_equal(head_decode(AIC_LITERAL("%4x"), true, out), SIZE_MAX);
    assert_int_equal(head_decode(AIC_LITERAL(""), true, out), 0);
}

/* Decodes a body that comes in pieces of `step` bytes. -1: refused, -2: more is needed, else the bytes that follow the
 * body. */
static int decode_chunks(const char *text, size_t size, size_t step, char *out, size_t *out_size)
{
    struct chunk chunk = {0};
    struct head_refusal why;
    *out_size = 0;
    for (size_t at = 0; at < size;) {
        size_t have = size - at < step ? size - at : step;
        size_t used = 0;
        aic_view piece = {NULL, 0};
        switch (chunk_read(&chunk, text + at, have, &used, &piece, &why)) {
        case CHUNK_REFUSED: return -1;
        case CHUNK_END: return (int)(size - at - used);
        case CHUNK_DATA:
            memcpy(out + *out_size, piece.data, piece.size);
            *out_size += piece.size;
            break;
        case CHUNK_MORE: assert_int_equal(used, have); break;
        }
        at += used;
    }
    return -2;
}

static void test_chunks(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int result;
        const char *body;
    } rows[] = {
        {"5\r\nhello\r\n0\r\n\r\n", 0, "hello"},
        {"5\r\nhello\r\n0\r\n\r\nGET", 3, "hello"},
        {"2;a ; b=\"\\\"\"\r\nhe\r\n00003\r\nllo\r\n0\r\nA: b\r\nC:\r\n\r\n", 0, "hello"},
        {"A\r\n0123456789\r\n0\r\n\r\n", 0, "0123456789"},
        {"a\r\n0123456789\r\n0\r\n\r\n", 0, "0123456789"},
        {"0\r\n\r\n", 0, ""},
        {"5\r\nhel", -2, "hel"},
        {"5\r\nhelloX", -1, "hello"},
        {"g\r\n", -1, ""},
        {"\r\n", -1, ""},
        {"1000000000000000\r\n", -1, ""},
        {"5 \r\n", -1, ""},
        {"5;\r\n", -1, ""},
        {"5;a=\r\n", -1, ""},
        {"5;a=\"b\r\n", -1, ""},
        {"0\r\n A: b\r\n\r\n", -1, ""},
        {"0\r\n:b\r\n\r\n", -1, ""},
        {"0\r\nA: b\n\r\n", -1, ""},
    };
    char out[64];
    size_t size;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        size_t length = strlen(rows[i].text);
        for (size_t step = 1; step <= length; step++) {
            if (decode_chunks(rows[i].text, length, step, out, &size) != rows[i].result)
                fail_msg("row %zu step %zu", i, step);
            if (rows[i].result >= 0) assert_int_equal(size, strlen(rows[i].body));
            assert_memory_equal(out, rows[i].body, size);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts_do_not_matter), cmocka_unit_test(test_what_is_read),
        cmocka_unit_test(test_absolute_target),    cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_decoding),           cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_values_by_words),    cmocka_unit_test(test_known_lines),
        cmocka_unit_test(test_nearly_known_lines), cmocka_unit_test(test_which_lines_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
