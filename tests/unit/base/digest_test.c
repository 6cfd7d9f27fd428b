/* digest_test.c - RFC 4231's vectors, pieces of every size, reuse, and keys as text. */
#include "base/check.h"
#include "base/digest.h"

#include "../../support/test_mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void digest_of(struct mem *mem, const void *secret, size_t secret_size, const void *text, size_t size,
                      char hex[AIC_KEY_HEX_SIZE])
{
    struct digest *digest;
    struct digest_message *message;
    aic_key key;
    assert_int_equal(digest_create(mem, secret, secret_size, &digest), AIC_OK);
    assert_int_equal(digest_begin(digest, &message), AIC_OK);
    digest_add(message, text, size);
    digest_end(&message, &key);
    assert_null(message);
    aic_key_format(&key, hex);
    digest_destroy(&digest);
    assert_null(digest);
}

static void test_rfc_4231(void **state)
{
    (void)state;
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    char hex[AIC_KEY_HEX_SIZE];
    uint8_t secret[131];
    uint8_t text[50];

    memset(secret, 0x0b, 20);
    digest_of(&test.mem, secret, 20, "Hi There", 8, hex);
    assert_string_equal(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");

    memset(secret, 0xaa, 131);
    memset(text, 0xdd, 50);
    digest_of(&test.mem, secret, 20, text, 50, hex);
    assert_string_equal(hex, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");

    static const char larger[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    digest_of(&test.mem, secret, 131, larger, sizeof larger - 1, hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    test_mem_fini(&test);
}

static void test_short_secret(void **state)
{
    (void)state;
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    struct digest *digest = NULL;
    assert_int_equal(digest_create(&test.mem, "123456789012345", 15, &digest), AIC_INVALID);
    assert_null(digest);
    test_mem_fini(&test);
}

/* However a message is cut, its digest is the same. */
static void test_pieces(void **state)
{
    (void)state;
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    struct digest *digest;
    assert_int_equal(digest_create(&test.mem, "0123456789abcdef", 16, &digest), AIC_OK);
    static uint8_t text[5000];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(i * 7 + i / 251);
    aic_key whole;
    static const size_t steps[] = {5000, 1, 2, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1000};
    for (size_t s = 0; s < COUNT_OF(steps); s++) {
        struct digest_message *message;
        aic_key key;
        assert_int_equal(digest_begin(digest, &message), AIC_OK);
        for (size_t at = 0; at < sizeof text; at += steps[s]) {
            size_t left = sizeof text - at;
            digest_add(message, text + at, left < steps[s] ? left : steps[s]);
            digest_add(message, NULL, 0);
        }
        digest_end(&message, &key);
        if (s == 0) whole = key;
        assert_memory_equal(&key, &whole, sizeof key);
    }
    digest_destroy(&digest);
    test_mem_fini(&test);
}

static void test_cancel(void **state)
{
    (void)state;
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    struct digest *digest;
    struct digest_message *message = NULL;
    aic_key first;
    aic_key second;
    assert_int_equal(digest_create(&test.mem, "0123456789abcdef", 16, &digest), AIC_OK);
    digest_cancel(&message);
    assert_int_equal(digest_begin(digest, &message), AIC_OK);
    digest_end(&message, &first);
    assert_int_equal(digest_begin(digest, &message), AIC_OK);
    digest_add(message, "left over", 9);
    digest_cancel(&message);
    assert_null(message);
    assert_int_equal(digest_begin(digest, &message), AIC_OK);
    digest_end(&message, &second);
    assert_memory_equal(&first, &second, sizeof first);
    digest_destroy(&digest);
    digest_destroy(&digest);
    test_mem_fini(&test);
}

static void *hash_often(void *context)
{
    struct digest *digest = context;
    for (int i = 0; i < 500; i++) {
        struct digest_message *message;
        aic_key key;
        if (digest_begin(digest, &message) != AIC_OK) return "begin";
        digest_add(message, "Hi There", 8);
        digest_end(&message, &key);
        char hex[AIC_KEY_HEX_SIZE];
        aic_key_format(&key, hex);
        if (strcmp(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7") != 0) return "digest";
    }
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct test_mem test;
    test_mem_init(&test, TEST_MEM_NEVER);
    uint8_t secret[20];
    memset(secret, 0x0b, sizeof secret);
    struct digest *digest;
    assert_int_equal(digest_create(&test.mem, secret, sizeof secret, &digest), AIC_OK);
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hash_often, digest), 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        void *failure;
        assert_int_equal(pthread_join(threads[i], &failure), 0);
        assert_null(failure);
    }
    digest_destroy(&digest);
    test_mem_fini(&test);
}

static void test_no_memory(void **state)
{
    (void)state;
    TEST_MEM_SWEEP(test, {
        struct digest *digest = NULL;
        struct digest_message *message = NULL;
        aic_status status = digest_create(&test.mem, "0123456789abcdef", 16, &digest);
        if (status == AIC_OK) {
            status = digest_begin(digest, &message);
            digest_cancel(&message);
        }
        assert_int_equal(status, test_mem_refused(&test) ? AIC_NO_MEMORY : AIC_OK);
        digest_destroy(&digest);
    });
}

static void test_sha256(void **state)
{
    (void)state;
    aic_key key;
    char hex[AIC_KEY_HEX_SIZE];
    assert_int_equal(digest_sha256("abc", 3, key.bytes), AIC_OK);
    aic_key_format(&key, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(digest_sha256(NULL, 0, key.bytes), AIC_OK);
    aic_key_format(&key, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void test_equal_and_random(void **state)
{
    (void)state;
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    assert_true(digest_equal(a, b, sizeof a));
    b[31] = 1;
    assert_false(digest_equal(a, b, sizeof a));
    assert_int_equal(digest_random(a, sizeof a), AIC_OK);
    assert_int_equal(digest_random(b, sizeof b), AIC_OK);
    assert_false(digest_equal(a, b, sizeof a));
}

static void test_key_text(void **state)
{
    (void)state;
    aic_key key;
    aic_key read;
    char hex[AIC_KEY_HEX_SIZE];
    for (size_t i = 0; i < sizeof key.bytes; i++) key.bytes[i] = (uint8_t)(i * 37);
    aic_key_format(&key, hex);
    assert_int_equal(strlen(hex), 64);
    assert_int_equal(aic_key_parse(aic_view_of(hex), &read), AIC_OK);
    assert_memory_equal(&key, &read, sizeof key);
    assert_int_equal(aic_key_parse((aic_view){hex, 63}, &read), AIC_INVALID);
    assert_int_equal(aic_key_parse((aic_view){NULL, 64}, &read), AIC_INVALID);
    hex[10] = 'A';
    assert_int_equal(aic_key_parse(aic_view_of(hex), &read), AIC_INVALID);
    hex[10] = 'g';
    assert_int_equal(aic_key_parse(aic_view_of(hex), &read), AIC_INVALID);
    assert_memory_equal(&key, &read, sizeof key);
}

/* Every byte at every place: 16 of them are digits. */
static void test_key_digits(void **state)
{
    (void)state;
    aic_key key, read;
    char hex[AIC_KEY_HEX_SIZE];
    for (size_t i = 0; i < sizeof key.bytes; i++) key.bytes[i] = (uint8_t)(i * 37 + 11);
    aic_key_format(&key, hex);
    for (size_t at = 0; at < 64; at++) {
        char kept = hex[at];
        for (int byte = 0; byte < 256; byte++) {
            hex[at] = (char)byte;
            bool digit = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'f');
            assert_int_equal(aic_key_parse((aic_view){hex, 64}, &read), digit ? AIC_OK : AIC_INVALID);
            if (!digit) continue;
            char again[AIC_KEY_HEX_SIZE];
            aic_key_format(&read, again);
            assert_memory_equal(again, hex, 64);
        }
        hex[at] = kept;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_4231),   cmocka_unit_test(test_short_secret),     cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_cancel),     cmocka_unit_test(test_threads),          cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_sha256),     cmocka_unit_test(test_equal_and_random), cmocka_unit_test(test_key_text),
        cmocka_unit_test(test_key_digits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
