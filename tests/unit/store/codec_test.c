/* codec_test.c - values come back as they were; what is kept compressed, and what a damaged one does. */
#include "codec_fixture.h"

#include <pthread.h>

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
    struct figures stats = {0};
    codec_figures(codec, &stats);
    assert_int_equal(stats.compressed_entries + stats.kept_plain, 1);
    assert_int_equal(stats.kept_plain, 1);
    assert_int_equal(stats.compression_bytes_in, 0);
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
    expect_unknown((struct codec_form){true, 12345}, frame, plain.size);
    expect_damaged((struct codec_form){false, 0}, frame, plain.size);
    expect_damaged(form, (aic_view){NULL, 0}, plain.size);
    for (size_t size = 0; size < frame.size; size++) expect_damaged(form, (aic_view){frame.data, size}, plain.size);
    struct figures stats = {0};
    codec_figures(codec, &stats);
    assert_int_equal(stats.undecodable, 6 + frame.size);
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
    struct figures stats = {0};
    codec_figures(codec, &stats);
    assert_int_equal(stats.compressed_entries + stats.kept_plain, 4500);
    assert_int_equal(stats.undecodable, 0);
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

static void test_no_memory(void **state)
{
    (void)state;
    struct buf value;
    buf_init(&value, &test.mem, MEM_OTHER);
    write_answer(&value, 1, 3000);
    TEST_MEM_SWEEP(sweep, sweep_coding(&sweep, buf_view(&value)));
    buf_fini(&value);
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
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
