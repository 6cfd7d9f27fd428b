/*
 * codec_fixture.h - a codec and three buffers for each test, made-up answers, and values sent there and back. Each test
 * program includes it once.
 */
#ifndef TESTS_CODEC_FIXTURE_H
#define TESTS_CODEC_FIXTURE_H

#include "base/check.h"
#include "store/codec.h"

#include "../../support/test_mem.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define GROUP AIC_LITERAL("default")
enum { MAX_PLAIN = 16 << 20 };

static struct test_mem test;
static struct codec *codec;
static struct buf plain;
static struct buf stored;
static struct buf back;

static inline struct codec *create(struct mem *mem, uint64_t threshold, int level, bool dictionary_off)
{
    struct codec *made = NULL;
    struct codec_options options = {.mem = mem,
                                    .threshold_bytes = threshold,
                                    .level = level,
                                    .dictionary_off = dictionary_off,
                                    .max_plain_bytes = MAX_PLAIN};
    aic_status status = codec_create(&options, &made);
    assert_true(status == AIC_OK || status == AIC_NO_MEMORY);
    return made;
}

static inline int setup(void **state)
{
    (void)state;
    test_mem_init(&test, TEST_MEM_NEVER);
    codec = create(&test.mem, 1000, 3, false);
    buf_init(&plain, &test.mem, MEM_OTHER);
    buf_init(&stored, &test.mem, MEM_OTHER);
    buf_init(&back, &test.mem, MEM_OTHER);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    codec_destroy(&codec);
    assert_null(codec);
    codec_destroy(&codec);
    buf_fini(&plain);
    buf_fini(&stored);
    buf_fini(&back);
    test_mem_fini(&test);
    return 0;
}

static inline uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* An answer as a provider sends it: the same frame around different sentences. */
static inline void write_answer(struct buf *out, uint32_t number, size_t size)
{
    static const char *const words[] = {
        "the",     "memory", "of",          "model",      "answers",  "request", "cache", "which", "is",       "stored",
        "because", "value",  "compression", "dictionary", "sentence", "follows", "and",   "where", "language", "token"};
    uint32_t seed = number * 2654435761u + 1;
    size_t start = out->size;
    buf_printf(
        out,
        "{\"id\":\"chatcmpl-%08x\",\"object\":\"chat.completion\",\"created\":17%08u,\"model\":\"model-4-turbo\",\"choices\":[{\"index\":0,"
        "\"message\":{\"role\":\"assistant\",\"content\":\"",
        next_random(&seed), next_random(&seed));
    while (out->size - start < size) buf_printf(out, "%s ", words[next_random(&seed) % COUNT_OF(words)]);
    buf_printf(
        out,
        "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u}}",
        next_random(&seed) % 1000, next_random(&seed) % 1000);
}

static inline struct codec_form encode(struct codec *with, aic_view value)
{
    struct codec_form form = {.dictionary_id = 99};
    buf_clear(&stored);
    assert_int_equal(codec_encode(with, GROUP, value, &stored, &form), AIC_OK);
    assert_true(form.compressed ? stored.size > 0 && stored.size < value.size
                                : stored.size == 0 && form.dictionary_id == 0);
    return form;
}

static inline void expect_back(struct codec *with, struct codec_form form, aic_view value)
{
    buf_clear(&back);
    buf_append_text(&back, "before");
    aic_view kept = form.compressed ? buf_view(&stored) : value;
    assert_int_equal(codec_decode(with, form, kept, value.size, &back), AIC_OK);
    assert_int_equal(back.size, 6 + value.size);
    if (value.size > 0) assert_memory_equal(back.data + 6, value.data, value.size);
}

static inline double round_trip(struct codec *with, aic_view value)
{
    struct codec_form form = encode(with, value);
    expect_back(with, form, value);
    return value.size == 0 || !form.compressed ? 1 : (double)stored.size / (double)value.size;
}

static inline void fill(char byte, size_t size)
{
    buf_clear(&plain);
    char *room = buf_reserve(&plain, size);
    assert_non_null(room);
    memset(room, byte, size);
    buf_commit(&plain, size);
}

static inline void expect_no_answer(aic_status wanted, struct codec_form form, aic_view bytes, size_t plain_size)
{
    buf_clear(&back);
    buf_append_text(&back, "before");
    assert_int_equal(codec_decode(codec, form, bytes, plain_size, &back), wanted);
    assert_int_equal(back.size, 6);
    assert_memory_equal(back.data, "before", 6);
}

static inline void expect_damaged(struct codec_form form, aic_view bytes, size_t plain_size)
{
    expect_no_answer(AIC_DAMAGED, form, bytes, plain_size);
}

/* Its dictionary is not known. */
static inline void expect_unknown(struct codec_form form, aic_view bytes, size_t plain_size)
{
    expect_no_answer(AIC_NOT_FOUND, form, bytes, plain_size);
}

static inline void feed(struct codec *with, aic_view group, uint32_t from, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        struct codec_form form;
        buf_clear(&plain);
        buf_clear(&stored);
        write_answer(&plain, from + (uint32_t)i, size);
        assert_int_equal(codec_encode(with, group, buf_view(&plain), &stored, &form), AIC_OK);
    }
}

#endif
