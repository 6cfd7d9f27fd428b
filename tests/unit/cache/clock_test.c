/*
 * clock_test.c - the wall clock goes back: what was put while it was ahead does not outlive its time, in no tier, and
 * what was put by the right time stays.
 */
#include "support.h"

#include "cache/inner.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { HOUR = 3600, TTL = 7200 };

static void set_back(struct bench_cache *table, uint64_t seconds)
{
    atomic_fetch_sub(&table->hand.wall_ms, seconds * 1000);
}

static void put_with_ttl(struct bench_cache *table, const char *text)
{
    aic_put put = put_of("qa", text, "1");
    put.ttl_given = true;
    put.ttl_seconds = TTL;
    assert_int_equal(aic_cache_put(table->cache, &put, NULL, NULL), AIC_OK);
}

static void open_table(struct bench_cache *table)
{
    assert_int_equal(aic_cache_open(&table->options, &table->cache, NULL), AIC_OK);
}

/* One entry by the right time, two while the clock is an hour ahead. */
static void put_ahead(struct bench_cache *table)
{
    put_with_ttl(table, "right");
    hand_turn(&table->hand, 1);
    atomic_fetch_add(&table->hand.wall_ms, HOUR * 1000);
    cache_tick(table->cache);
    put_with_ttl(table, "met");
    put_with_ttl(table, "unmet");
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    set_back(table, HOUR);
}

static void memory_drops_what_is_dated_ahead(void **state)
{
    struct bench_cache *table = *state;
    table->options.storage = AIC_STORAGE_NONE;
    table->options.data_dir = NULL;
    open_table(table);
    put_ahead(table);
    cache_tick(table->cache);
    assert_int_equal(look(table->cache, "qa", "met", NULL), '-');
    assert_int_equal(look(table->cache, "qa", "right", "1"), 'm');
    put_with_ttl(table, "met"); /* what is put from now on is as any other */
    cache_tick(table->cache);
    assert_int_equal(look(table->cache, "qa", "met", "1"), 'm');
    set_back(table, 1); /* the clock's own business */
    cache_tick(table->cache);
    assert_int_equal(look(table->cache, "qa", "met", "1"), 'm');
    aic_cache_close(&table->cache);
}

static void storage_drops_it_too(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table->options.memory_max_bytes = AIC_ZERO;
    open_table(table);
    put_ahead(table);
    assert_int_equal(look(table->cache, "qa", "met", NULL), '-'); /* before anybody has looked at the clock */
    assert_int_equal(look(table->cache, "qa", "right", "1"), 's');
    cache_tick(table->cache);
    hand_turn(&table->hand, HOUR + 10); /* by its date it is no more ahead, and alive */
    assert_int_equal(look(table->cache, "qa", "met", NULL), '-');
    assert_int_equal(look(table->cache, "qa", "unmet", NULL), '-');
    assert_int_equal(look(table->cache, "qa", "right", "1"), 's');
    aic_cache_close(&table->cache);
}

static void the_next_process_serves_nothing_ahead(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    open_table(table);
    put_ahead(table);
    aic_cache_close(&table->cache);
    open_table(table);
    assert_int_equal(look(table->cache, "qa", "met", NULL), '-');
    assert_int_equal(look(table->cache, "qa", "right", "1"), 's');
    aic_cache_close(&table->cache);
}

/* What an export of a machine says whose clock is an hour ahead. */
static void an_import_moves_dates_back(void **state)
{
    struct bench_cache *table = *state;
    uint64_t now_ms = clock_wall_ms(&table->hand.clock);
    char line[256];
    aic_import *importer;
    open_table(table);
    snprintf(line, sizeof line,
             "{\"operation\":\"qa\",\"text\":\"x\",\"response\":1,\"created_ms\":%llu,\"expires_ms\":%llu}\n",
             (unsigned long long)(now_ms + HOUR * 1000), (unsigned long long)(now_ms + (HOUR + TTL) * 1000));
    assert_int_equal(aic_import_create(table->cache, NULL, &importer, NULL), AIC_OK);
    assert_int_equal(aic_import_add(importer, aic_view_of(line)), AIC_OK);
    assert_int_equal(aic_import_finish(importer), AIC_OK);
    aic_import_destroy(&importer);
    hand_turn(&table->hand, TTL - 1);
    assert_int_equal(look(table->cache, "qa", "x", "1"), 'm');
    hand_turn(&table->hand, 1);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    aic_cache_close(&table->cache);
}

/* A step that a time server makes takes no entry along, and gives none a longer life. */
static void a_small_step_is_held_against(void **state)
{
    static const uint64_t steps[] = {1, 3, 5};
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    open_table(table);
    uint64_t lived = 0;
    put_with_ttl(table, "before");
    for (size_t i = 0; i < COUNT_OF(steps); i++) {
        set_back(table, steps[i]);
        cache_tick(table->cache);
        assert_int_equal(look(table->cache, "qa", "before", "1"), 'm');
        hand_turn(&table->hand, 1);
        lived++;
    }
    put_with_ttl(table, "between");
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    hand_turn(&table->hand, TTL - lived - 1);
    cache_tick(table->cache);
    assert_int_equal(look(table->cache, "qa", "before", "1"), 'm');
    hand_turn(&table->hand, 1);
    assert_int_equal(look(table->cache, "qa", "before", NULL), '-');
    atomic_fetch_add(&table->hand.wall_ms, 9 * 1000); /* right again: by then nothing is held any more */
    cache_tick(table->cache);
    hand_turn(&table->hand, lived - 1);
    forget_memory(table->cache);
    assert_int_equal(look(table->cache, "qa", "between", "1"), 's');
    hand_turn(&table->hand, 1);
    assert_int_equal(look(table->cache, "qa", "between", NULL), '-');
    aic_cache_close(&table->cache);
}

/* Its date looks like any other when the clock is set right; it is told by when it was put. */
static void what_is_older_than_the_step_goes_too(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    open_table(table);
    put_with_ttl(table, "right");
    atomic_fetch_add(&table->hand.wall_ms, HOUR * 1000);
    cache_tick(table->cache);
    put_with_ttl(table, "ahead");
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    hand_turn(&table->hand, HOUR + HOUR / 2);
    assert_int_equal(look(table->cache, "qa", "ahead", "1"), 'm');
    set_back(table, HOUR);
    cache_tick(table->cache);
    assert_int_equal(look(table->cache, "qa", "ahead", NULL), '-');
    assert_int_equal(look(table->cache, "qa", "right", "1"), 'm');
    aic_cache_close(&table->cache);
}

/* The clock is ahead when the process begins. What an earlier one put by the right time stays. */
static void nobody_saw_it_go_ahead(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    open_table(table);
    put_with_ttl(table, "right");
    aic_cache_close(&table->cache);
    atomic_fetch_add(&table->hand.wall_ms, HOUR * 1000);
    open_table(table);
    put_with_ttl(table, "ahead");
    hand_turn(&table->hand, HOUR / 2);
    set_back(table, HOUR / 4);
    cache_tick(table->cache);
    assert_int_equal(look(table->cache, "qa", "ahead", NULL), '-');
    assert_int_equal(look(table->cache, "qa", "right", "1"), 's');
    aic_cache_close(&table->cache);
}

/* What never expires stays when it is dated ahead. Its age is not known, and it is old for whoever asks by age; what
 * was put since by the right time is not. */
static void whoever_asks_by_age_meets_what_is_dated_ahead(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table->options.ttl_default_seconds = AIC_ZERO;
    open_table(table);
    atomic_fetch_add(&table->hand.wall_ms, HOUR * 1000);
    assert_int_equal(put_text(table->cache, "other", "stored", "1"), AIC_OK);
    forget_memory(table->cache);
    assert_int_equal(put_text(table->cache, "other", "both", "1"), AIC_OK);
    set_back(table, HOUR);
    cache_tick(table->cache);
    assert_int_equal(put_text(table->cache, "other", "new", "1"), AIC_OK);
    assert_int_equal(look(table->cache, "other", "both", "1"), 'm');
    aic_filter filter = {.age_given = true, .older_than_seconds = 60};
    aic_invalidated sums;
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, &sums, NULL), AIC_OK);
    assert_int_equal(sums.removed, 2);
    assert_int_equal(look(table->cache, "other", "stored", NULL), '-');
    assert_int_equal(look(table->cache, "other", "both", NULL), '-');
    assert_int_equal(look(table->cache, "other", "new", "1"), 'm');
    aic_cache_close(&table->cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(memory_drops_what_is_dated_ahead, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(storage_drops_it_too, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(an_import_moves_dates_back, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(the_next_process_serves_nothing_ahead, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_small_step_is_held_against, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(what_is_older_than_the_step_goes_too, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(nobody_saw_it_go_ahead, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(whoever_asks_by_age_meets_what_is_dated_ahead, table_setup, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
