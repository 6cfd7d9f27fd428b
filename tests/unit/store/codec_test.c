/* codec_test.c - values come back as they were; what is kept compressed, with which dictionary, and what a damaged one does. */
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

static struct codec *create(struct mem *mem, uint64_t threshold, int level, bool dictionary_off)
{
    struct codec *made = NULL;
    struct codec_options options = {.mem = mem, .threshold_bytes = threshold, .level = level,
                                    .dictionary_off = dictionary_off, .max_plain_bytes = MAX_PLAIN};
    aic_status status = codec_create(&options, &made);
    assert_true(status == AIC_OK || status == AIC_NO_MEMORY);
    return made;
}

static int setup(void **state)
{
    (void)state;
    test_mem_init(&test, TEST_MEM_NEVER);
    codec = create(&test.mem, 1000, 3, false);
    buf_init(&plain, &test.mem, MEM_OTHER);
    buf_init(&stored, &test.mem, MEM_OTHER);
    buf_init(&back, &test.mem, MEM_OTHER);
    return 0;
}

static int teardown(void **state)
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

static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* An answer as a provider sends it: the same frame around different sentences. */
static void write_answer(struct buf *out, uint32_t number, size_t size)
{
    static const char *const words[] = {"the", "memory", "of", "model", "answers", "request", "cache", "which", "is", "stored", "because", "value",
                                        "compression", "dictionary", "sentence", "follows", "and", "where", "language", "token"};
    uint32_t seed = number * 2654435761u + 1;
    size_t start = out->size;
    buf_printf(out, "{\"id\":\"chatcmpl-%08x\",\"object\":\"chat.completion\",\"created\":17%08u,\"model\":\"model-4-turbo\",\"choices\":[{\"index\":0,"
                    "\"message\":{\"role\":\"assistant\",\"content\":\"", next_random(&seed), next_random(&seed));
    while (out->size - start < size) buf_printf(out, "%s ", words[next_random(&seed) % COUNT_OF(words)]);
    buf_printf(out, "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u}}",
               next_random(&seed) % 1000, next_random(&seed) % 1000);
}

static struct codec_form encode(struct codec *with, aic_view value)
{
    struct codec_form form = {.dictionary_id = 99};
    buf_clear(&stored);
    assert_int_equal(codec_encode(with, GROUP, value, &stored, &form), AIC_OK);
    assert_true(form.compressed ? stored.size > 0 && stored.size < value.size : stored.size == 0 && form.dictionary_id == 0);
    return form;
}

static void expect_back(struct codec *with, struct codec_form form, aic_view value)
{
    buf_clear(&back);
    buf_append_text(&back, "before");
    aic_view kept = form.compressed ? buf_view(&stored) : value;
    assert_int_equal(codec_decode(with, form, kept, value.size, &back), AIC_OK);
    assert_int_equal(back.size, 6 + value.size);
    if (value.size > 0) assert_memory_equal(back.data + 6, value.data, value.size);
}

static double round_trip(struct codec *with, aic_view value)
{
    struct codec_form form = encode(with, value);
    expect_back(with, form, value);
    return value.size == 0 || !form.compressed ? 1 : (double)stored.size / (double)value.size;
}

static void fill(char byte, size_t size)
{
    buf_clear(&plain);
    char *room = buf_reserve(&plain, size);
    assert_non_null(room);
    memset(room, byte, size);
    buf_commit(&plain, size);
}

static void test_threshold(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 999, 1000, 1001, 5000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        fill('a', sizes[i]);
        assert_int_equal(encode(codec, buf_view(&plain)).compressed, sizes[i] > 1000);
        round_trip(codec, buf_view(&plain));
    }
    struct codec *high = create(&test.mem, UINT64_MAX, 3, false);
    assert_false(encode(high, buf_view(&plain)).compressed);
    codec_destroy(&high);
    struct codec *all = create(&test.mem, 0, 3, false);
    for (size_t size = 0; size < 200; size++) {
        fill('a', size);
        round_trip(all, buf_view(&plain));
    }
    codec_destroy(&all);
}

/* Bytes without any pattern do not get smaller, so they stay as they are. */
static void test_kept_plain_unless_smaller(void **state)
{
    (void)state;
    uint32_t seed = 1;
    buf_clear(&plain);
    for (int i = 0; i < 5000; i++) buf_append_byte(&plain, (char)(next_random(&seed) >> 16));
    assert_false(encode(codec, buf_view(&plain)).compressed);
    struct codec_stats stats;
    codec_stats(codec, &stats);
    assert_int_equal(stats.encoded, 1);
    assert_int_equal(stats.kept_plain, 1);
    assert_int_equal(stats.bytes_in, 0);
}

static void test_ratios(void **state)
{
    (void)state;
    fill('A', 4000);
    assert_true(round_trip(codec, buf_view(&plain)) <= 0.1);
    buf_clear(&plain);
    for (int i = 0; i < 100; i++) buf_append_text(&plain, "0123456789abcdef");
    assert_true(round_trip(codec, buf_view(&plain)) <= 0.8);
    buf_clear(&plain);
    for (int i = 0; i < 100; i++) buf_printf(&plain, "{\"id\":%d,\"name\":\"item %d\",\"active\":true},", i, i);
    assert_true(round_trip(codec, buf_view(&plain)) <= 0.6);
    buf_clear(&plain);
    write_answer(&plain, 1, 3000);
    assert_true(round_trip(codec, buf_view(&plain)) <= 0.7);
    buf_clear(&plain);
    fill('x', 1000000);
    for (int i = 0; i < 10000; i++) buf_printf(&plain, ",%d", i);
    for (int i = 0; i < 1000; i++) buf_append_byte(&plain, '[');
    assert_true(round_trip(codec, buf_view(&plain)) < 0.1);
}

static void test_levels(void **state)
{
    (void)state;
    size_t sizes[20];
    for (int level = 1; level <= 19; level++) {
        struct codec *own = create(&test.mem, 500, level, false);
        buf_clear(&plain);
        write_answer(&plain, 7, 20000);
        round_trip(own, buf_view(&plain));
        sizes[level] = stored.size;
        codec_destroy(&own);
    }
    assert_true(sizes[9] <= sizes[1]);
    struct codec *none = NULL;
    struct codec_options options = {.mem = &test.mem, .max_plain_bytes = MAX_PLAIN};
    static const int wrong[] = {0, -1, 20};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        options.level = wrong[i];
        assert_int_equal(codec_create(&options, &none), AIC_INVALID);
        assert_null(none);
    }
}

static void test_deterministic(void **state)
{
    (void)state;
    write_answer(&plain, 3, 5000);
    struct buf first;
    buf_init(&first, &test.mem, MEM_OTHER);
    for (int i = 0; i < 3; i++) {
        encode(codec, buf_view(&plain));
        if (i == 0) buf_append_view(&first, buf_view(&stored));
        assert_int_equal(stored.size, first.size);
        assert_memory_equal(stored.data, first.data, first.size);
    }
    buf_fini(&first);
}

/* ---- damage ---- */

static void expect_damaged(struct codec_form form, aic_view bytes, size_t plain_size)
{
    buf_clear(&back);
    buf_append_text(&back, "before");
    assert_int_equal(codec_decode(codec, form, bytes, plain_size, &back), AIC_DAMAGED);
    assert_int_equal(back.size, 6);
    assert_memory_equal(back.data, "before", 6);
}

static void test_damaged(void **state)
{
    (void)state;
    write_answer(&plain, 5, 3000);
    struct codec_form form = encode(codec, buf_view(&plain));
    assert_true(form.compressed);
    aic_view frame = buf_view(&stored);
    expect_damaged(form, frame, plain.size - 1);
    expect_damaged(form, frame, plain.size + 1);
    expect_damaged(form, frame, (size_t)MAX_PLAIN + 1);
    expect_damaged(form, frame, SIZE_MAX);
    expect_damaged((struct codec_form){true, 12345}, frame, plain.size);
    expect_damaged((struct codec_form){false, 0}, frame, plain.size);
    expect_damaged(form, (aic_view){NULL, 0}, plain.size);
    for (size_t size = 0; size < frame.size; size++) expect_damaged(form, (aic_view){frame.data, size}, plain.size);
    struct codec_stats stats;
    codec_stats(codec, &stats);
    assert_int_equal(stats.damaged, 7 + frame.size);
    assert_int_equal(stats.decoded, 0);
    /* A flipped bit may still be a frame of the same size: that is what the record's checksum is for. */
    for (size_t bit = 0; bit < frame.size * 8; bit++) {
        stored.data[bit / 8] = (char)(stored.data[bit / 8] ^ (1 << bit % 8));
        buf_clear(&back);
        aic_status status = codec_decode(codec, form, frame, plain.size, &back);
        assert_true(status == AIC_DAMAGED ? back.size == 0 : back.size == plain.size);
        stored.data[bit / 8] = (char)(stored.data[bit / 8] ^ (1 << bit % 8));
    }
    expect_back(codec, form, buf_view(&plain));
}

/* A frame of 40 bytes that claims 1 TB: refused without asking for memory. */
static void test_bomb(void **state)
{
    (void)state;
    static const char bomb[] = "\x28\xb5\x2f\xfd\xe0\x00\x00\x00\x00\x00\x01\x00\x00\x03\x00\x00";
    struct codec_form form = {.compressed = true};
    int64_t before = test.most_bytes;
    expect_damaged(form, (aic_view){bomb, sizeof bomb - 1}, (size_t)1 << 40);
    expect_damaged(form, (aic_view){bomb, sizeof bomb - 1}, 1000);
    assert_true(test.most_bytes - before < 65536);
}

/* ---- dictionaries ---- */

static void feed(struct codec *with, aic_view group, uint32_t from, int count, size_t size)
{
    for (int i = 0; i < count; i++) {
        struct codec_form form;
        buf_clear(&plain);
        buf_clear(&stored);
        write_answer(&plain, from + (uint32_t)i, size);
        assert_int_equal(codec_encode(with, group, buf_view(&plain), &stored, &form), AIC_OK);
    }
}

struct kept {
    aic_status answer;
    unsigned calls;
    uint32_t id;
    struct buf bytes;
    char group[16];
};

static aic_status keep(void *context, aic_view group, uint32_t id, aic_view dictionary)
{
    struct kept *kept = context;
    kept->calls++;
    kept->id = id;
    snprintf(kept->group, sizeof kept->group, "%.*s", (int)group.size, group.data);
    buf_clear(&kept->bytes);
    buf_append_view(&kept->bytes, dictionary);
    /* No lock is held: the codec can be asked from here. */
    struct codec_stats stats;
    codec_stats(codec, &stats);
    return kept->answer;
}

static unsigned train(struct codec *with, struct kept *kept)
{
    unsigned trained = 42;
    assert_int_equal(codec_train(with, keep, kept, &trained), AIC_OK);
    return trained;
}

static void test_dictionary(void **state)
{
    (void)state;
    struct kept kept = {.answer = AIC_OK};
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    feed(codec, GROUP, 0, 255, 1500);
    assert_int_equal(train(codec, &kept), 0); /* one sample short */
    feed(codec, GROUP, 255, 1, 1500);
    assert_int_equal(train(codec, &kept), 1);
    assert_int_equal(kept.calls, 1);
    assert_int_equal(kept.id, 1);
    assert_string_equal(kept.group, "default");
    assert_true(kept.bytes.size > 1000 && kept.bytes.size <= 110 * 1024);
    assert_int_equal(train(codec, &kept), 0);

    struct codec_stats stats;
    codec_stats(codec, &stats);
    assert_int_equal(stats.dictionaries, 1);
    assert_true(stats.dictionary_bytes > kept.bytes.size);
    assert_int_equal(stats.sample_bytes, 0);

    buf_clear(&plain);
    write_answer(&plain, 100000, 2000);
    struct codec *bare = create(&test.mem, 1000, 3, true);
    assert_int_equal(encode(bare, buf_view(&plain)).dictionary_id, 0);
    size_t without = stored.size;
    struct codec_form form = encode(codec, buf_view(&plain));
    assert_int_equal(form.dictionary_id, 1);
    assert_true(stored.size < without);
    expect_back(codec, form, buf_view(&plain));
    /* Another group has none yet, values beyond 128 KB do without. */
    struct codec_form other;
    buf_clear(&stored);
    assert_int_equal(codec_encode(codec, AIC_LITERAL("other"), buf_view(&plain), &stored, &other), AIC_OK);
    assert_true(other.compressed && other.dictionary_id == 0);
    fill('l', 200000);
    assert_int_equal(encode(codec, buf_view(&plain)).dictionary_id, 0);

    /* Another codec, opened later, reads and goes on with what was kept; dictionary_off still reads. */
    buf_clear(&plain);
    write_answer(&plain, 100001, 2000);
    form = encode(codec, buf_view(&plain));
    assert_int_equal(codec_add_dictionary(bare, GROUP, 1, buf_view(&kept.bytes)), AIC_OK);
    expect_back(bare, form, buf_view(&plain));
    struct codec *later = create(&test.mem, 1000, 3, false);
    expect_damaged(form, buf_view(&stored), plain.size + 1);
    assert_int_equal(codec_add_dictionary(later, GROUP, 1, buf_view(&kept.bytes)), AIC_OK);
    expect_back(later, form, buf_view(&plain));
    assert_int_equal(encode(bare, buf_view(&plain)).dictionary_id, 0);
    assert_int_equal(encode(later, buf_view(&plain)).dictionary_id, 1);
    assert_int_equal(codec_add_dictionary(later, GROUP, 1, buf_view(&kept.bytes)), AIC_EXISTS);
    assert_int_equal(codec_add_dictionary(later, GROUP, 2, buf_view(&kept.bytes)), AIC_DAMAGED);
    assert_int_equal(codec_add_dictionary(later, GROUP, 0, buf_view(&kept.bytes)), AIC_DAMAGED);
    assert_int_equal(codec_add_dictionary(later, GROUP, 7, AIC_LITERAL("no dictionary")), AIC_DAMAGED);
    assert_int_equal(codec_add_dictionary(later, GROUP, 7, (aic_view){NULL, 0}), AIC_DAMAGED);
    codec_destroy(&later);
    codec_destroy(&bare);
    buf_fini(&kept.bytes);
}

/* Ids go on where storage left off, and a failed keep() costs its id. */
static void test_ids(void **state)
{
    (void)state;
    struct kept kept = {.answer = AIC_IO};
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    feed(codec, GROUP, 0, 300, 1500);
    unsigned trained = 42;
    assert_int_equal(codec_train(codec, keep, &kept, &trained), AIC_IO);
    assert_int_equal(trained, 42);
    assert_int_equal(kept.id, 1);
    struct codec_stats stats;
    codec_stats(codec, &stats);
    assert_int_equal(stats.dictionaries, 0);
    kept.answer = AIC_OK;
    feed(codec, GROUP, 300, 400, 1500);
    assert_int_equal(train(codec, &kept), 1);
    assert_int_equal(kept.id, 2);

    /* The same bytes under a far id. */
    memcpy(kept.bytes.data + 4, &(uint32_t){0xfffffffe}, 4);
    struct codec *later = create(&test.mem, 1000, 3, false);
    assert_int_equal(codec_add_dictionary(later, GROUP, 0xfffffffe, buf_view(&kept.bytes)), AIC_OK);
    feed(later, AIC_LITERAL("b"), 0, 300, 1500);
    assert_int_equal(train(later, &kept), 1);
    assert_true(kept.id == 0xffffffff);
    assert_string_equal(kept.group, "b");
    feed(later, AIC_LITERAL("c"), 0, 300, 1500);
    assert_int_equal(train(later, &kept), 0); /* no id is left */
    codec_destroy(&later);
    buf_fini(&kept.bytes);
}

static void test_superseded(void **state)
{
    (void)state;
    struct kept first = {.answer = AIC_OK};
    struct kept second = {.answer = AIC_OK};
    buf_init(&first.bytes, &test.mem, MEM_OTHER);
    buf_init(&second.bytes, &test.mem, MEM_OTHER);
    uint32_t ids[4];
    feed(codec, GROUP, 0, 300, 1500);
    assert_int_equal(train(codec, &first), 1);
    assert_int_equal(codec_superseded(codec, ids, COUNT_OF(ids)), 0);
    assert_int_equal(codec_retire(codec, 1), AIC_BUSY);
    assert_int_equal(codec_retire(codec, 2), AIC_NOT_FOUND);
    buf_clear(&plain);
    write_answer(&plain, 5000, 2000);
    struct buf value;
    struct buf frame;
    buf_init(&value, &test.mem, MEM_OTHER);
    buf_init(&frame, &test.mem, MEM_OTHER);
    struct codec_form old = encode(codec, buf_view(&plain));
    buf_append_view(&value, buf_view(&plain));
    buf_append_view(&frame, buf_view(&stored));
    assert_int_equal(old.dictionary_id, 1);

    /* A dictionary of another codec's group, of a higher id, takes over. */
    struct codec *other = create(&test.mem, 1000, 3, false);
    feed(other, GROUP, 7000, 300, 1500);
    assert_int_equal(train(other, &second), 1);
    codec_destroy(&other);
    memcpy(second.bytes.data + 4, &(uint32_t){9}, 4);
    assert_int_equal(codec_add_dictionary(codec, GROUP, 9, buf_view(&second.bytes)), AIC_OK);
    assert_int_equal(encode(codec, buf_view(&plain)).dictionary_id, 9);
    assert_int_equal(codec_superseded(codec, ids, COUNT_OF(ids)), 1);
    assert_int_equal(ids[0], 1);
    assert_int_equal(codec_superseded(codec, ids, 0), 0);
    /* The old one still decodes until it is retired. */
    buf_clear(&back);
    assert_int_equal(codec_decode(codec, old, buf_view(&frame), value.size, &back), AIC_OK);
    assert_memory_equal(back.data, value.data, value.size);
    assert_int_equal(codec_retire(codec, 1), AIC_OK);
    assert_int_equal(codec_retire(codec, 1), AIC_NOT_FOUND);
    expect_damaged(old, buf_view(&frame), value.size);
    assert_int_equal(codec_superseded(codec, ids, COUNT_OF(ids)), 0);
    buf_fini(&value);
    buf_fini(&frame);
    buf_fini(&first.bytes);
    buf_fini(&second.bytes);
}

/* Another kind of value under the same name: the ratio gets worse, and a new dictionary takes over. */
static void test_retrained_when_worse(void **state)
{
    (void)state;
    struct kept kept = {.answer = AIC_OK};
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    feed(codec, GROUP, 0, 300, 1500);
    assert_int_equal(train(codec, &kept), 1);
    feed(codec, GROUP, 1000, 256, 1500); /* the first window: how well it does */
    static const char *const rows = "0123456789abcdefghijklmnopqrstuvwxyz";
    uint32_t seed = 1;
    unsigned trained = 0;
    for (int i = 0; i < 3000 && trained == 0; i++) {
        struct codec_form form;
        buf_clear(&plain);
        buf_clear(&stored);
        for (int line = 0; line < 20; line++) {
            buf_printf(&plain, "<row line='%d'><first>", line);
            for (int c = 0; c < 16; c++) buf_append_byte(&plain, rows[next_random(&seed) % 36]);
            buf_append_text(&plain, "</first><second kind='measurement'>");
            for (int c = 0; c < 16; c++) buf_append_byte(&plain, rows[next_random(&seed) % 36]);
            buf_append_text(&plain, "</second></row>\n");
        }
        assert_int_equal(codec_encode(codec, GROUP, buf_view(&plain), &stored, &form), AIC_OK);
        if (i % 64 == 63) trained = train(codec, &kept);
    }
    assert_int_equal(trained, 1);
    assert_true(kept.id > 1);
    assert_int_equal(encode(codec, buf_view(&plain)).dictionary_id, kept.id);
    buf_fini(&kept.bytes);
}

/* Samples are bounded however much comes, and values without anything in common give no dictionary. */
static void test_bounds(void **state)
{
    (void)state;
    struct kept kept = {.answer = AIC_OK};
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    uint32_t seed = 99;
    for (int i = 0; i < 3000; i++) {
        struct codec_form form;
        fill(0, 8000);
        for (size_t at = 0; at < plain.size; at++) plain.data[at] = (char)(next_random(&seed) >> 16);
        buf_clear(&stored);
        assert_int_equal(codec_encode(codec, GROUP, buf_view(&plain), &stored, &form), AIC_OK);
    }
    struct codec_stats stats;
    codec_stats(codec, &stats);
    assert_true(stats.sample_bytes > 1 << 20 && stats.sample_bytes <= 4 << 20);
    assert_int_equal(train(codec, &kept), 0);
    assert_int_equal(kept.calls, 0);
    codec_stats(codec, &stats);
    assert_int_equal(stats.dictionaries, 0);
    for (int i = 0; i < 2000; i++) {
        char name[16];
        snprintf(name, sizeof name, "group-%d", i);
        feed(codec, aic_view_of(name), (uint32_t)i, 2, 9000);
    }
    codec_stats(codec, &stats);
    assert_true(stats.sample_bytes <= 16 << 20);
    buf_fini(&kept.bytes);
}

/* ---- threads, memory ---- */

struct worker {
    struct codec *codec;
    struct mem *mem;
    uint32_t seed;
    bool wrong;
};

static void *work(void *context)
{
    struct worker *worker = context;
    struct buf value;
    struct buf frame;
    struct buf again;
    buf_init(&value, worker->mem, MEM_OTHER);
    buf_init(&frame, worker->mem, MEM_OTHER);
    buf_init(&again, worker->mem, MEM_OTHER);
    for (uint32_t i = 0; i < 1500 && !worker->wrong; i++) {
        struct codec_form form;
        buf_clear(&value);
        buf_clear(&frame);
        buf_clear(&again);
        write_answer(&value, worker->seed + i, 1500);
        if (codec_encode(worker->codec, GROUP, buf_view(&value), &frame, &form) != AIC_OK ||
            codec_decode(worker->codec, form, buf_view(&frame), value.size, &again) != AIC_OK ||
            memcmp(again.data, value.data, value.size) != 0)
            worker->wrong = true;
        if (i % 300 == 299 && codec_train(worker->codec, NULL, NULL, NULL) != AIC_OK) worker->wrong = true;
    }
    buf_fini(&value);
    buf_fini(&frame);
    buf_fini(&again);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    struct worker workers[3];
    pthread_t threads[COUNT_OF(workers)];
    for (uint32_t i = 0; i < COUNT_OF(workers); i++) {
        workers[i] = (struct worker){codec, &test.mem, i * 100000, false};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(workers[i].wrong);
    }
    struct codec_stats stats;
    codec_stats(codec, &stats);
    assert_int_equal(stats.encoded, 4500);
    assert_int_equal(stats.damaged, 0);
}

static void sweep_coding(struct test_mem *sweep, aic_view value)
{
    struct buf out;
    struct buf again;
    struct codec_form form = {0};
    buf_init(&out, &sweep->mem, MEM_OTHER);
    buf_init(&again, &sweep->mem, MEM_OTHER);
    struct codec *own = create(&sweep->mem, 100, 3, false);
    aic_status status = own != NULL ? codec_encode(own, GROUP, value, &out, &form) : AIC_NO_MEMORY;
    assert_true(status == AIC_OK || out.size == 0);
    if (status == AIC_OK) {
        aic_status decoded = codec_decode(own, form, form.compressed ? buf_view(&out) : value, value.size, &again);
        assert_int_equal(again.size, decoded == AIC_OK ? value.size : 0);
        status = decoded;
    }
    assert_true(status == AIC_OK || (status == AIC_NO_MEMORY && test_mem_refused(sweep)));
    codec_destroy(&own);
    buf_fini(&out);
    buf_fini(&again);
}

static aic_status keep_nothing(void *context, aic_view group, uint32_t id, aic_view dictionary)
{
    (void)context;
    (void)group;
    (void)id;
    (void)dictionary;
    return AIC_OK;
}

/* The n-th request of the training itself fails; a group, its samples and a current dictionary are there already. */
static void sweep_training(void)
{
    for (int64_t refuse = 0, again = 1; again; refuse++) {
        struct test_mem sweep;
        test_mem_init(&sweep, TEST_MEM_NEVER);
        struct codec *own = create(&sweep.mem, 100, 1, false);
        feed(own, GROUP, 0, 256, 1100);
        sweep.until_refusal = refuse;
        unsigned trained = 42;
        aic_status status = codec_train(own, keep_nothing, NULL, &trained);
        again = test_mem_refused(&sweep);
        assert_int_equal(status, again ? AIC_NO_MEMORY : AIC_OK);
        assert_int_equal(trained, again ? 42 : 1);
        codec_destroy(&own);
        test_mem_fini(&sweep);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    struct buf value;
    buf_init(&value, &test.mem, MEM_OTHER);
    write_answer(&value, 1, 3000);
    TEST_MEM_SWEEP(sweep, sweep_coding(&sweep, buf_view(&value)));
    buf_fini(&value);
    sweep_training();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_threshold, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kept_plain_unless_smaller, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ratios, setup, teardown),
        cmocka_unit_test_setup_teardown(test_levels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deterministic, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bomb, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dictionary, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_superseded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retrained_when_worse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
