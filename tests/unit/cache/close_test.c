/* The end of a cache: with storage that answers, with storage that hangs, and with memory that is refused. */
#include "fake_tier.h"

#include "../../support/test_mem.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct world {
    struct bench_cache table;
    struct test_mem test;
    aic_allocator allocator;
    struct fake_tier *fake;
};

static void world_open(struct world *world, bool storage)
{
    memset(world, 0, sizeof *world);
    table_init(&world->table);
    test_mem_init(&world->test, TEST_MEM_NEVER);
    world->allocator = world->test.mem.allocator;
    world->table.options.allocator = &world->allocator;
    if (storage) world->fake = table_open_fake(&world->table);
    else table_open(&world->table);
    assert_int_equal(put_text(world->table.cache, "qa", "x", "[1]"), AIC_OK);
}

static int64_t held(struct world *world)
{
    return atomic_load(&world->test.bytes);
}

static void world_close(struct world *world)
{
    assert_null(world->table.cache);
    assert_int_equal(held(world), 0);
    test_mem_fini(&world->test);
    own_dir_remove(&world->table.dir);
}

static void closes_at_once(void **state)
{
    (void)state;
    aic_cache *none = NULL;
    assert_int_equal(aic_cache_close_within(NULL, 0), AIC_OK);
    assert_int_equal(aic_cache_close_within(&none, 0), AIC_OK);
    for (int storage = 0; storage < 2; storage++) {
        struct world world;
        world_open(&world, storage > 0);
        assert_int_equal(aic_cache_close_within(&world.table.cache, 600000), AIC_OK);
        world_close(&world);
    }
    struct world world; /* nothing hangs where there is no storage: no time is needed */
    world_open(&world, false);
    assert_int_equal(aic_cache_close_within(&world.table.cache, 0), AIC_OK);
    world_close(&world);
}

/* What was queued is in the store that is opened next. */
static void writes_what_was_queued(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table_open(table);
    for (int i = 0; i < 500; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(put_text(table->cache, "qa", text, "\"kept\""), AIC_OK);
    }
    assert_int_equal(aic_cache_close_within(&table->cache, 600000), AIC_OK);
    table_open(table);
    for (int i = 0; i < 500; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(look(table->cache, "qa", text, "\"kept\""), 's');
    }
}

/* The upkeep hangs in storage: the caller goes on, and when storage lets go everything is closed and given back. */
static void leaves_what_hangs(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, true);
    struct fake_tier *fake = world.fake;
    fake->keep = true;
    atomic_store(&fake->hang_upkeep, true);
    unsigned begun = atomic_load(&fake->upkeep);
    while (atomic_load(&fake->upkeep) == begun) usleep(1000); /* once a second */
    assert_int_equal(aic_cache_close_within(&world.table.cache, 20), AIC_TIMEOUT);
    assert_null(world.table.cache);
    assert_true(held(&world) > 0);
    atomic_store(&fake->hang_upkeep, false);
    while (!atomic_load(&fake->closed) || held(&world) > 0) usleep(1000);
    assert_int_equal(fake_count(fake), 1); /* and what was queued was written */
    fake_destroy(fake);
    world_close(&world);
}

/* Without memory for the thread's part it closes all the same. */
static void closes_without_memory(void **state)
{
    (void)state;
    struct world world;
    world_open(&world, true);
    assert_int_equal(aic_cache_sync(world.table.cache), AIC_OK);
    atomic_store(&world.test.until_refusal, 0);
    assert_int_equal(aic_cache_close_within(&world.table.cache, 600000), AIC_OK);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(closes_at_once),
        cmocka_unit_test_setup_teardown(writes_what_was_queued, table_setup, table_teardown),
        cmocka_unit_test(leaves_what_hangs),
        cmocka_unit_test(closes_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
