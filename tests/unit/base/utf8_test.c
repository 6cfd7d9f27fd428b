/* utf8_test.c - every code point, every two-byte pair, and the fast paths at every alignment. */
#include "base/check.h"
#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static aic_view view_of(const void *bytes, size_t size)
{
    return (aic_view){bytes, size};
}

static void test_every_code_point(void **state)
{
    (void)state;
    uint8_t bytes[4];
    for (uint32_t point = 0; point <= 0x10ffff; point++) {
        size_t size = utf8_encode(point, bytes);
        bool surrogate = point >= 0xd800 && point <= 0xdfff;
        assert_int_equal(utf8_valid_bytes(view_of(bytes, size)), surrogate ? 0 : size);
        if (surrogate) continue;
        assert_int_equal(utf8_count(bytes, size), 1);
        for (size_t cut = 0; cut < size; cut++) assert_int_equal(utf8_valid_bytes(view_of(bytes, cut)), 0);
    }
}

static void test_invalid(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2\x20",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xe1\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xfe",
        "\xf1\x80\x80",
        "\xe2\x28\xa1",
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_int_equal(utf8_valid_bytes(aic_view_of(wrong[i])), 0);
        /* Behind some ASCII and a good sequence, at each alignment of the fast path. */
        for (size_t lead = 0; lead < 40; lead++) {
            char text[64];
            memset(text, 'a', lead);
            memcpy(text + lead, "\xc3\xa4", 2);
            strcpy(text + lead + 2, wrong[i]);
            assert_int_equal(utf8_valid_bytes(aic_view_of(text)), lead + 2);
            assert_false(utf8_is_valid(aic_view_of(text)));
        }
    }
    assert_true(utf8_is_valid(view_of(NULL, 0)));
}

static void test_count(void **state)
{
    (void)state;
    static const char text[] =
        "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80z long enough for words \xf0\x9f\x98\x80\xf0\x9f\x98\x80 end";
    size_t size = sizeof text - 1;
    uint64_t slow = 0;
    for (size_t i = 0; i < size; i++) slow += ((uint8_t)text[i] & 0xc0) != 0x80;
    for (size_t cut = 0; cut <= size; cut++)
        assert_int_equal(utf8_count(text, cut) + utf8_count(text + cut, size - cut), slow);
    static char tails[4096];
    memset(tails, 0x80, sizeof tails);
    assert_int_equal(utf8_count(tails, sizeof tails), 0);
}

static void test_plain_end(void **state)
{
    (void)state;
    uint8_t text[80];
    for (int byte = 0; byte < 256; byte++) {
        bool plain = byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
        for (size_t at = 0; at < 40; at++) {
            memset(text, 'x', sizeof text);
            text[at] = (uint8_t)byte;
            for (size_t size = at; size < at + 36; size++) {
                const uint8_t *expected = plain || at >= size ? text + size : text + at;
                assert_ptr_equal(utf8_plain_end(text, text + size), expected);
            }
        }
    }
}

static void test_fit(void **state)
{
    (void)state;
    aic_view text = AIC_LITERAL("a\xe2\x82\xac\xf0\x9f\x98\x80");
    static const size_t expected[] = {0, 1, 1, 1, 4, 4, 4, 4, 8, 8};
    for (size_t max = 0; max < COUNT_OF(expected); max++) assert_int_equal(utf8_fit(text, max), expected[max]);
}

/* What is shown, and what stands for the rest, of every code point; and that bytes of a longer sequence never pass as
 * code points of their own. */
static void test_shown_and_escaped(void **state)
{
    (void)state;
    static const uint32_t hidden[] = {0,      0x1f,   0x7f,   0x85,   0x9b,    0x61c,   0x200b,
                                      0x200e, 0x200f, 0x2028, 0x2029, 0x202a,  0x202e,  0x2060,
                                      0x2066, 0x2069, 0xfeff, 0xfffb, 0xe0001, 0xe0041, 0xe007f};
    static const uint32_t shown[] = {' ', 'a', 0xa0, 0xe9, 0x200c, 0x200d, 0x2027, 0x202f, 0x4e2d, 0xfffd, 0x1f600};
    uint8_t bytes[4];
    char escape[UTF8_ESCAPE_BYTES];
    for (size_t i = 0; i < COUNT_OF(hidden); i++) {
        size_t size = utf8_encode(hidden[i], bytes);
        assert_int_equal(utf8_decode(bytes, size), hidden[i]);
        assert_int_equal(utf8_shown(bytes, bytes + size), 0);
    }
    for (size_t i = 0; i < COUNT_OF(shown); i++) {
        size_t size = utf8_encode(shown[i], bytes);
        assert_int_equal(utf8_shown(bytes, bytes + size), size);
    }
    size_t size = utf8_encode(0x202e, bytes);
    assert_int_equal(utf8_escape(bytes, bytes + size, escape), 3);
    assert_string_equal(escape, "\\u202e");
    size = utf8_encode(0xe0041, bytes);
    assert_int_equal(utf8_escape(bytes, bytes + size, escape), 4);
    assert_string_equal(escape, "\\udb40\\udc41");
    assert_int_equal(utf8_escape((const uint8_t *)"\xe2\x80", (const uint8_t *)"\xe2\x80" + 2, escape), 1);
    assert_string_equal(escape, "\\ufffd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_code_point),
        cmocka_unit_test(test_invalid),
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_plain_end),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_shown_and_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
