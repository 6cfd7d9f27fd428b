/* hex_test.c - digits of every length against snprintf(), and every byte in every place where a digit is expected. */
#include "base/check.h"
#include "base/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST = 70, GUARD = '#' };

static void test_there_and_back(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (size_t size = 0; size <= MOST; size++) {
        for (int round = 0; round < 300; round++) {
            uint8_t bytes[MOST], back[MOST + 1];
            char digits[2 * MOST + 1], expected[2 * MOST + 1] = "";
            for (size_t i = 0; i < size; i++) {
                bytes[i] = (uint8_t)(round < 256 && size == 1 ? round : rand_r(&seed));
                snprintf(expected + 2 * i, 3, "%02x", bytes[i]);
            }
            memset(digits, GUARD, sizeof digits);
            memset(back, GUARD, sizeof back);
            hex_write(bytes, size, digits);
            assert_memory_equal(digits, expected, 2 * size);
            assert_int_equal(digits[2 * size], GUARD);
            assert_true(hex_read(digits, size, back));
            assert_memory_equal(back, bytes, size);
            assert_int_equal(back[size], GUARD);
        }
    }
}

static bool is_digit(int byte)
{
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f');
}

static void test_only_digits_are_read(void **state)
{
    (void)state;
    for (size_t size = 1; size <= 9; size++) {
        for (size_t place = 0; place < 2 * size; place++) {
            for (int byte = 0; byte < 256; byte++) {
                char digits[18];
                uint8_t out[9];
                memset(digits, 'a', sizeof digits);
                digits[place] = (char)byte;
                assert_int_equal(hex_read(digits, size, out), is_digit(byte));
            }
        }
    }
}

static void test_keys(void **state)
{
    (void)state;
    aic_key key, other;
    char text[AIC_KEY_HEX_SIZE];
    for (size_t i = 0; i < sizeof key.bytes; i++) key.bytes[i] = (uint8_t)(i * 37);
    other = key;
    aic_key_format(&key, text);
    assert_int_equal(strlen(text), 64);
    memset(&other, 0, sizeof other);
    assert_int_equal(aic_key_parse(aic_view_of(text), &other), AIC_OK);
    assert_memory_equal(&key, &other, sizeof key);
    assert_int_equal(aic_key_parse((aic_view){text, 63}, &other), AIC_INVALID);
    assert_int_equal(aic_key_parse((aic_view){text, 65}, &other), AIC_INVALID);
    assert_int_equal(aic_key_parse((aic_view){NULL, 64}, &other), AIC_INVALID);
    text[63] = 'G';
    assert_int_equal(aic_key_parse(aic_view_of(text), &other), AIC_INVALID);
    assert_memory_equal(&key, &other, sizeof key); /* untouched */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_only_digits_are_read),
        cmocka_unit_test(test_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
