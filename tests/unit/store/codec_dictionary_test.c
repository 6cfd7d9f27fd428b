/* codec_dictionary_test.c - when dictionaries are trained, used, superseded and retired, and what they may cost. */
#include "codec_fixture.h"

#define GENERATION(id) ((id) >> 24)

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
    struct figures stats = {0};
    codec_figures(codec, &stats);
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
    assert_int_equal(GENERATION(kept.id), 1);
    assert_string_equal(kept.group, "default");
    assert_true(kept.bytes.size > 1000 && kept.bytes.size <= 110 * 1024);
    assert_int_equal(train(codec, &kept), 0);

    struct figures stats = {0};
    codec_figures(codec, &stats);
    assert_int_equal(stats.dictionaries, 1);
    assert_true(stats.dictionary_bytes > kept.bytes.size);
    assert_int_equal(stats.sample_bytes, 0);

    buf_clear(&plain);
    write_answer(&plain, 100000, 2000);
    struct codec *bare = create(&test.mem, 1000, 3, true);
    assert_int_equal(encode(bare, buf_view(&plain)).dictionary_id, 0);
    size_t without = stored.size;
    struct codec_form form = encode(codec, buf_view(&plain));
    assert_int_equal(form.dictionary_id, kept.id);
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
    assert_int_equal(codec_add_dictionary(bare, GROUP, kept.id, buf_view(&kept.bytes)), AIC_OK);
    expect_back(bare, form, buf_view(&plain));
    struct codec *later = create(&test.mem, 1000, 3, false);
    buf_clear(&back);
    assert_int_equal(codec_decode(later, form, buf_view(&stored), plain.size, &back), AIC_NOT_FOUND);
    assert_int_equal(codec_add_dictionary(later, GROUP, kept.id, buf_view(&kept.bytes)), AIC_OK);
    expect_back(later, form, buf_view(&plain));
    assert_int_equal(encode(bare, buf_view(&plain)).dictionary_id, 0);
    assert_int_equal(encode(later, buf_view(&plain)).dictionary_id, kept.id);
    assert_int_equal(codec_add_dictionary(later, GROUP, kept.id, buf_view(&kept.bytes)), AIC_EXISTS);
    assert_int_equal(codec_add_dictionary(later, GROUP, 2, buf_view(&kept.bytes)), AIC_DAMAGED);
    assert_int_equal(codec_add_dictionary(later, GROUP, 0, buf_view(&kept.bytes)), AIC_DAMAGED);
    assert_int_equal(codec_add_dictionary(later, GROUP, 7, AIC_LITERAL("no dictionary")), AIC_DAMAGED);
    assert_int_equal(codec_add_dictionary(later, GROUP, 7, (aic_view){NULL, 0}), AIC_DAMAGED);
    codec_destroy(&later);
    codec_destroy(&bare);
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
    assert_int_equal(codec_retire(codec, first.id), AIC_BUSY);
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
    assert_int_equal(old.dictionary_id, first.id);

    /* A dictionary of another codec's group, of a higher id, takes over. */
    struct codec *other = create(&test.mem, 1000, 3, false);
    feed(other, GROUP, 7000, 300, 1500);
    assert_int_equal(train(other, &second), 1);
    codec_destroy(&other);
    uint32_t higher = first.id + (1U << 24);
    memcpy(second.bytes.data + 4, &higher, 4);
    assert_int_equal(codec_add_dictionary(codec, GROUP, higher, buf_view(&second.bytes)), AIC_OK);
    assert_int_equal(encode(codec, buf_view(&plain)).dictionary_id, higher);
    assert_int_equal(codec_superseded(codec, ids, COUNT_OF(ids)), 1);
    assert_int_equal(ids[0], first.id);
    assert_int_equal(codec_superseded(codec, ids, 0), 0);
    /* The old one still decodes until it is retired. */
    buf_clear(&back);
    assert_int_equal(codec_decode(codec, old, buf_view(&frame), value.size, &back), AIC_OK);
    assert_memory_equal(back.data, value.data, value.size);
    assert_int_equal(codec_retire(codec, first.id), AIC_OK);
    assert_int_equal(codec_retire(codec, first.id), AIC_NOT_FOUND);
    expect_unknown(old, buf_view(&frame), value.size);
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
    assert_int_equal(GENERATION(kept.id), 2);
    assert_int_equal(encode(codec, buf_view(&plain)).dictionary_id, kept.id);
    buf_fini(&kept.bytes);
}

/* ---- growth: a new dictionary once eight times as much has come ---- */

/* The answers of a provider that began to send one more member: what the dictionary before does not know. */
static void write_grown(struct buf *out, uint32_t number)
{
    static const char *const fingerprints[] = {"fp_9b1d7e52c0a84f36ee17", "fp_0c64f2a9d35b81e7446a",
                                               "fp_e8873b1f05dc6924ab90"};
    buf_printf(out,
               "{\"service_tier\":\"flexible-batch\",\"system_fingerprint\":\"%s\",\"content_filter_results\":"
               "{\"hate\":{\"filtered\":false,\"severity\":\"safe\"},\"jailbreak\":{\"detected\":false}},\"answer\":",
               fingerprints[number % COUNT_OF(fingerprints)]);
    write_answer(out, number, 1500);
    buf_append_byte(out, '}');
}

static struct codec_form encode_grown(struct codec *with, uint32_t number)
{
    buf_clear(&plain);
    write_grown(&plain, number);
    return encode(with, buf_view(&plain));
}

/* An id is of what the dictionary is: of another codec the same, of other samples or in another group another. */
static void test_ids(void **state)
{
    (void)state;
    struct kept kept = {.answer = AIC_IO};
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    feed(codec, GROUP, 0, 300, 1500);
    unsigned trained = 42;
    assert_int_equal(codec_train(codec, keep, &kept, &trained), AIC_IO);
    assert_int_equal(trained, 42);
    uint32_t first = kept.id;
    struct figures stats = {0};
    codec_figures(codec, &stats);
    assert_int_equal(stats.dictionaries, 0);
    kept.answer = AIC_OK;
    feed(codec, GROUP, 300, 700, 1500);
    assert_int_equal(train(codec, &kept), 1);
    assert_int_equal(GENERATION(kept.id), 1);
    assert_int_not_equal(kept.id, first);

    struct codec *later = create(&test.mem, 1000, 3, false);
    feed(later, GROUP, 0, 300, 1500);
    assert_int_equal(train(later, &kept), 1);
    assert_int_equal(kept.id, first);
    feed(later, AIC_LITERAL("b"), 0, 300, 1500);
    assert_int_equal(train(later, &kept), 1);
    assert_string_equal(kept.group, "b");
    assert_int_not_equal(kept.id, first);
    codec_destroy(&later);

    /* Behind the last generation there is no other. */
    uint32_t far = 127U << 24 | 5;
    memcpy(kept.bytes.data + 4, &far, 4);
    later = create(&test.mem, 1000, 3, false);
    assert_int_equal(codec_add_dictionary(later, GROUP, far, buf_view(&kept.bytes)), AIC_OK);
    for (uint32_t number = 0; number < 40000 && encode_grown(later, number).dictionary_id == far; number++)
        if (number % 4096 == 4095) (void)train(later, &kept);
    assert_int_equal(GENERATION(kept.id), 127);
    assert_int_not_equal(kept.id, far);
    codec_destroy(&later);
    buf_fini(&kept.bytes);
}

/* Encodes such answers until as many bytes as can come without reaching `limit` have come; the next one reaches it. */
static uint64_t feed_below(struct codec *with, uint64_t seen, uint64_t limit, uint32_t *number)
{
    for (;; ++*number) {
        buf_clear(&plain);
        write_grown(&plain, *number);
        if (seen + plain.size >= limit) return seen;
        seen += plain.size;
        (void)encode(with, buf_view(&plain));
    }
}

static uint64_t train_first(struct kept *kept)
{
    uint64_t seen = 0;
    for (uint32_t i = 0; i < 300; i++) {
        buf_clear(&plain);
        write_answer(&plain, i, 1500);
        seen += plain.size;
        (void)encode(codec, buf_view(&plain));
    }
    assert_int_equal(train(codec, kept), 1);
    assert_int_equal(GENERATION(kept->id), 1);
    return seen;
}

/* The ratio is steady from the first window on, so that it is growth alone that asks for another dictionary. */
static void test_retrained_when_grown(void **state)
{
    (void)state;
    struct kept kept = {.answer = AIC_OK};
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    uint64_t first = train_first(&kept);
    uint32_t first_id = kept.id;
    uint32_t number = 1000;
    feed_below(codec, first, first * 8, &number);
    assert_int_equal(train(codec, &kept), 0);
    struct figures stats = {0};
    codec_figures(codec, &stats);
    assert_true(stats.sample_bytes >= 256 * 1024); /* it is not samples that are missing */

    buf_clear(&plain);
    write_grown(&plain, number); /* this one makes it eight times as much */
    struct codec_form old = encode(codec, buf_view(&plain));
    assert_int_equal(old.dictionary_id, first_id);
    struct buf frame;
    buf_init(&frame, &test.mem, MEM_OTHER);
    buf_append_view(&frame, buf_view(&stored));
    assert_int_equal(train(codec, &kept), 1);
    assert_int_equal(GENERATION(kept.id), 2);
    assert_int_equal(kept.calls, 2);

    /* The new one encodes, and better; the old one decodes until it is retired. */
    struct codec_form form = encode(codec, buf_view(&plain));
    assert_int_equal(form.dictionary_id, kept.id);
    assert_true(stored.size < frame.size - frame.size * 3 / 100);
    expect_back(codec, form, buf_view(&plain));
    buf_clear(&back);
    assert_int_equal(codec_decode(codec, old, buf_view(&frame), plain.size, &back), AIC_OK);
    assert_memory_equal(back.data, plain.data, plain.size);
    uint32_t ids[4];
    assert_int_equal(codec_superseded(codec, ids, COUNT_OF(ids)), 1);
    assert_int_equal(ids[0], first_id);
    assert_int_equal(codec_retire(codec, kept.id), AIC_BUSY);
    assert_int_equal(codec_retire(codec, first_id), AIC_OK);
    expect_unknown(old, buf_view(&frame), plain.size);
    form = encode(codec, buf_view(&plain));
    expect_back(codec, form, buf_view(&plain));
    buf_fini(&frame);
    buf_fini(&kept.bytes);
}

/* Eight times as much of what no dictionary helps: the one that is there stays. */
static void test_growth_without_gain(void **state)
{
    (void)state;
    struct kept kept = {.answer = AIC_OK};
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    uint64_t seen = train_first(&kept);
    uint32_t seed = 7;
    for (uint64_t limit = seen * 10; seen < limit; seen += plain.size) {
        fill(0, 8000);
        for (size_t at = 0; at < plain.size; at++) plain.data[at] = (char)(next_random(&seed) >> 16);
        (void)encode(codec, buf_view(&plain));
    }
    assert_int_equal(train(codec, &kept), 0);
    assert_int_equal(kept.calls, 1);
    uint32_t ids[4];
    assert_int_equal(codec_superseded(codec, ids, COUNT_OF(ids)), 0);
    buf_clear(&plain);
    write_answer(&plain, 5000, 1500);
    struct codec_form form = encode(codec, buf_view(&plain));
    assert_int_equal(form.dictionary_id, kept.id);
    expect_back(codec, form, buf_view(&plain));
    buf_fini(&kept.bytes);
}

/* One that came from storage counts as trained from a full set of samples: 2 MB, so that 16 MB ask for another. */
static void test_growth_after_a_restart(void **state)
{
    (void)state;
    struct kept kept = {.answer = AIC_OK};
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    (void)train_first(&kept);
    struct codec *later = create(&test.mem, 1000, 1, false);
    assert_int_equal(codec_add_dictionary(later, GROUP, kept.id, buf_view(&kept.bytes)), AIC_OK);
    uint32_t number = 1000;
    feed_below(later, 0, 16 << 20, &number);
    assert_int_equal(train(later, &kept), 0);
    buf_clear(&plain);
    write_grown(&plain, number);
    assert_int_equal(encode(later, buf_view(&plain)).dictionary_id, kept.id);
    assert_int_equal(train(later, &kept), 1);
    assert_int_equal(GENERATION(kept.id), 2);
    assert_int_equal(encode(later, buf_view(&plain)).dictionary_id, kept.id);
    codec_destroy(&later);
    buf_fini(&kept.bytes);
}

/* Samples are bounded however much comes, and values without anything in common give no dictionary. */
static void test_bounds(void **state)
{
    (void)state;
    struct kept kept = {.answer = AIC_OK};
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    uint32_t seed = 99;
    for (int i = 0; i < 1200; i++) {
        struct codec_form form;
        fill(0, 8000);
        for (size_t at = 0; at < plain.size; at++) plain.data[at] = (char)(next_random(&seed) >> 16);
        buf_clear(&stored);
        assert_int_equal(codec_encode(codec, GROUP, buf_view(&plain), &stored, &form), AIC_OK);
    }
    struct figures stats = {0};
    codec_figures(codec, &stats);
    assert_true(stats.sample_bytes >= 1 << 20 && stats.sample_bytes <= 2 << 20);
    assert_int_equal(train(codec, &kept), 0);
    assert_int_equal(kept.calls, 0);
    stats = (struct figures){0};
    codec_figures(codec, &stats);
    assert_int_equal(stats.dictionaries, 0);
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "group-%d", i);
        feed(codec, aic_view_of(name), (uint32_t)i, 2, 9000);
    }
    stats = (struct figures){0};
    codec_figures(codec, &stats);
    assert_true(stats.sample_bytes <= 16 << 20);
    buf_fini(&kept.bytes);
}

/* Twelve namespaces at once are all trained in their turn; those that came and went do not keep them from it. */
static void test_many_groups(void **state)
{
    (void)state;
    enum { DEAD = 50, LIVING = 12 };
    struct kept kept = {.answer = AIC_OK};
    char name[16];
    buf_init(&kept.bytes, &test.mem, MEM_OTHER);
    for (int i = 0; i < DEAD; i++) {
        snprintf(name, sizeof name, "dead-%d", i);
        feed(codec, aic_view_of(name), (uint32_t)i, 3, 1100);
    }
    unsigned trained = 0;
    for (int round = 0; round < 1500 && trained < LIVING; round++) {
        for (int i = 0; i < LIVING; i++) {
            snprintf(name, sizeof name, "living-%d", i);
            feed(codec, aic_view_of(name), (uint32_t)(round * LIVING + i), 1, 1100);
        }
        if (round % 64 == 63) trained += train(codec, &kept);
    }
    assert_int_equal(trained, LIVING);
    struct figures stats = {0};
    codec_figures(codec, &stats);
    assert_int_equal(stats.dictionaries, LIVING);
    buf_fini(&kept.bytes);
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
static void test_no_memory(void **state)
{
    (void)state;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_dictionary, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_superseded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retrained_when_worse, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retrained_when_grown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_growth_without_gain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_growth_after_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bounds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_groups, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
