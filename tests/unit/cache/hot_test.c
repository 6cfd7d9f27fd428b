/* What is hit often is kept plain in memory: within its share, with the same answer, date and identity, and never
 * against a newer write. */
#include "fake_tier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

static int setup(void **state)
{
    (void)table_setup(state);
    struct bench_cache *table = *state;
    table->options.memory_max_bytes = 32 << 20;
    table->options.ttl_default_seconds = 1000;
    return 0;
}

static bool is_compressed(aic_cache *cache, const char *text)
{
    aic_request request = request_of("chat", text);
    aic_hit *hit;
    assert_int_equal(aic_cache_lookup(cache, &request, NULL, &hit, NULL), AIC_OK);
    bool compressed = aic_hit_metadata(hit)->compressed;
    aic_hit_release(&hit);
    return compressed;
}

static void becomes_plain_and_stays_the_same(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    char *response = make_response(6000, 1);
    assert_int_equal(put_text(table->cache, "chat", "x", response), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    size_t stored = fake->records[0].size;
    aic_request request = request_of("chat", "x");
    aic_hit *old;
    assert_int_equal(aic_cache_lookup(table->cache, &request, NULL, &old, NULL), AIC_OK);
    assert_true(aic_hit_metadata(old)->compressed);
    hand_turn(&table->hand, 100);
    assert_int_equal(look(table->cache, "chat", "x", response), 'm');
    assert_true(is_compressed(table->cache, "x"));
    assert_int_equal(look(table->cache, "chat", "x", response), 'm'); /* the second decode */
    assert_false(is_compressed(table->cache, "x"));
    assert_int_equal(look(table->cache, "chat", "x", response), 'm');
    aic_hit *hit;
    assert_int_equal(aic_cache_lookup(table->cache, &request, NULL, &hit, NULL), AIC_OK);
    assert_int_equal(aic_hit_metadata(hit)->expires_ms, aic_hit_metadata(old)->expires_ms);
    assert_int_equal(aic_hit_metadata(hit)->created_ms, aic_hit_metadata(old)->created_ms);
    assert_int_equal(aic_hit_metadata(hit)->size_bytes, 6000);
    aic_hit_release(&hit);
    aic_hit_release(&old);
    assert_int_equal(stats_of(table->cache).hot_entries, 1);
    assert_true(stats_of(table->cache).hot_bytes > 6000);
    assert_int_equal(fake->records[0].size, stored); /* storage keeps the compressed form */
    if (aic_cache_verify(table->cache, NULL) != AIC_OK) fail();
    hand_turn(&table->hand, 900);
    assert_int_equal(look(table->cache, "chat", "x", NULL), '-');
    cache_tick(table->cache);
    assert_int_equal(stats_of(table->cache).hot_entries, 0);
    assert_int_equal(stats_of(table->cache).hot_bytes, 0);
    free(response);
}

static void stays_within_its_share_and_moves_on(void **state)
{
    struct bench_cache *table = *state;
    table_open(table);
    enum { COUNT = 1500 }; /* 9 MB plain; the share is 4 MB */
    char *response = make_response(6000, 1);
    for (int n = 0; n < COUNT; n++) {
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        assert_int_equal(put_text(table->cache, "chat", text, response), AIC_OK);
    }
    for (int pass = 0; pass < 3; pass++) {
        for (int n = 0; n < COUNT; n++) {
            char text[16];
            snprintf(text, sizeof text, "%d", n);
            assert_int_equal(look(table->cache, "chat", text, response), 'm');
            assert_true(stats_of(table->cache).hot_bytes <= (32 << 20) / 8);
        }
    }
    assert_true(stats_of(table->cache).hot_bytes > (32 << 20) / 16);
    /* Other entries become hot; the first ones are hit no more and make room, a little per tick. */
    for (int tick = 0; tick < 40; tick++) {
        for (int n = COUNT - 100; n < COUNT; n++) {
            char text[16];
            snprintf(text, sizeof text, "%d", n);
            assert_int_equal(look(table->cache, "chat", text, response), 'm');
        }
        cache_tick(table->cache);
    }
    int plain = 0;
    for (int n = COUNT - 100; n < COUNT; n++) {
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        plain += !is_compressed(table->cache, text);
    }
    assert_true(plain >= 95); /* a few may share a set of the sketch with many others; keys differ from run to run */
    assert_true(stats_of(table->cache).hot_bytes <= (32 << 20) / 8);
    assert_int_equal(stats_of(table->cache).memory_entries, COUNT);
    if (aic_cache_verify(table->cache, NULL) != AIC_OK) fail();
    free(response);
}

static void look_at_all(aic_cache *cache, int count, const char *response)
{
    for (int n = 0; n < count; n++) {
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        assert_int_equal(look(cache, "chat", text, response), 'm');
    }
}

/* The share is that of the budget as it is, not as it was at the start. */
static void the_share_follows_a_new_budget(void **state)
{
    struct bench_cache *table = *state;
    enum { COUNT = 600, SMALL = 8 << 20, LARGE = 32 << 20 }; /* 3.6 MB plain; the shares are 1 and 4 MB */
    table->options.memory_max_bytes = SMALL;
    table_open(table);
    char *response = make_response(6000, 1);
    for (int n = 0; n < COUNT; n++) {
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        assert_int_equal(put_text(table->cache, "chat", text, response), AIC_OK);
    }
    for (int pass = 0; pass < 3; pass++) look_at_all(table->cache, COUNT, response);
    assert_true(stats_of(table->cache).hot_bytes > SMALL / 16 && stats_of(table->cache).hot_bytes <= SMALL / 8);
    assert_int_equal(store_resize(cache_store(table->cache), LARGE, 0), AIC_OK);
    cache_tick(table->cache);
    for (int pass = 0; pass < 6; pass++) look_at_all(table->cache, COUNT, response);
    assert_true(stats_of(table->cache).hot_bytes <= LARGE / 8);
    assert_true(stats_of(table->cache).hot_entries > SMALL / 8 / 2048); /* more than the first ledger had rows */
    look_at_all(table->cache, COUNT, response);
    assert_int_equal(store_resize(cache_store(table->cache), SMALL, 0), AIC_OK);
    for (int tick = 0; tick < 8; tick++) cache_tick(table->cache);
    assert_true(stats_of(table->cache).hot_bytes <= SMALL / 8);
    look_at_all(table->cache, COUNT, response);
    if (aic_cache_verify(table->cache, NULL) != AIC_OK) fail();
    free(response);
}

/* A hit that was taken before a newer put must not bring its own bytes back when it is decoded afterwards. */
static void an_old_hit_moves_nothing(void **state)
{
    struct bench_cache *table = *state;
    table_open(table);
    char *before = make_response(6000, 1), *after = make_response(6000, 2);
    for (int removal = 0; removal < 3; removal++) {
        assert_int_equal(put_text(table->cache, "chat", "x", before), AIC_OK);
        assert_int_equal(look(table->cache, "chat", "x", before), 'm');
        aic_request request = request_of("chat", "x");
        aic_hit *hit;
        aic_key key;
        assert_int_equal(aic_cache_lookup(table->cache, &request, &key, &hit, NULL), AIC_OK);
        aic_filter all = {.all = true};
        if (removal == 0) assert_int_equal(put_text(table->cache, "chat", "x", after), AIC_OK);
        if (removal == 1) assert_int_equal(aic_cache_delete(table->cache, AIC_LITERAL(""), &key), AIC_OK);
        if (removal == 2) assert_int_equal(aic_cache_invalidate(table->cache, &all, false, NULL, NULL), AIC_OK);
        aic_view response;
        assert_int_equal(aic_hit_response(hit, &response), AIC_OK); /* decodes for the second time */
        assert_memory_equal(response.data, before, 6000);
        aic_hit_release(&hit);
        assert_int_equal(look(table->cache, "chat", "x", after), removal == 0 ? 'm' : '-');
    }
    free(before);
    free(after);
}

static void *acquire_unless(void *context, size_t bytes)
{
    return atomic_load((_Atomic bool *)context) ? NULL : malloc(bytes);
}

static void release_any(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

static bool map_any(void *context, size_t bytes)
{
    (void)context;
    (void)bytes;
    return true;
}

/* What cannot be compressed again for want of memory lies there plain as before, and goes on counting. */
static void without_memory_nothing_is_forgotten(void **state)
{
    struct bench_cache *table = *state;
    enum { COUNT = 600, SMALL = 8 << 20 }; /* 3.6 MB plain; a share of 1 MB after the budget is lowered */
    static _Atomic bool out_of_memory;
    const aic_allocator allocator = {acquire_unless, release_any, map_any, (void *)&out_of_memory};
    table->options.allocator = &allocator;
    table_open(table);
    char *response = make_response(6000, 1);
    for (int n = 0; n < COUNT; n++) {
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        assert_int_equal(put_text(table->cache, "chat", text, response), AIC_OK);
    }
    look_at_all(table->cache, COUNT, response);
    look_at_all(table->cache, COUNT, response);
    uint64_t bytes = stats_of(table->cache).hot_bytes;
    assert_true(bytes > SMALL / 8);
    assert_int_equal(store_resize(cache_store(table->cache), SMALL, 0), AIC_OK);
    atomic_store(&out_of_memory, true);
    for (int tick = 0; tick < 8; tick++) cache_tick(table->cache);
    atomic_store(&out_of_memory, false);
    assert_int_equal(stats_of(table->cache).hot_bytes, bytes);
    for (int tick = 0; tick < 8; tick++) cache_tick(table->cache);
    assert_true(stats_of(table->cache).hot_bytes <= SMALL / 8);
    free(response);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(becomes_plain_and_stays_the_same, setup, table_teardown),
        cmocka_unit_test_setup_teardown(stays_within_its_share_and_moves_on, setup, table_teardown),
        cmocka_unit_test_setup_teardown(the_share_follows_a_new_budget, setup, table_teardown),
        cmocka_unit_test_setup_teardown(an_old_hit_moves_nothing, setup, table_teardown),
        cmocka_unit_test_setup_teardown(without_memory_nothing_is_forgotten, setup, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
