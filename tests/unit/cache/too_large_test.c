/*
 * An answer that storage cannot hold: the put says so at once, and no older answer of the same request comes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support.h"

#define STORAGE_BYTES (4 << 20) /* the smallest, of which a record may be a quarter */

/* A JSON string that hardly compresses. The caller frees it. */
static char *make_noise(size_t size)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-";
    char *text = malloc(size + 1);
    unsigned seed = 7;
    CHECK(text != NULL);
    for (size_t i = 0; i < size; i++) text[i] = letters[rand_r(&seed) % 64];
    text[0] = text[size - 1] = '"';
    text[size] = '\0';
    return text;
}

static void open_small(struct bench_cache *table)
{
    table->options.data_dir = table->dir.path;
    table->options.storage_max_bytes = STORAGE_BYTES;
    table_open(table);
}

static unsigned tiers_of_put(struct bench_cache *table, const char *response, aic_status expected)
{
    aic_put put = put_of("qa", "t", response);
    aic_put_result result = {.tiers = 99};
    assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), expected);
    return result.tiers;
}

static void what_storage_cannot_hold_is_in_memory_alone(void **state)
{
    struct bench_cache *table = *state;
    char *large = make_noise(2 << 20);
    open_small(table);
    assert_int_equal(tiers_of_put(table, "\"old\"", AIC_OK), AIC_IN_MEMORY | AIC_IN_STORAGE);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    assert_int_equal(tiers_of_put(table, large, AIC_OK), AIC_IN_MEMORY);
    assert_int_equal(look(table->cache, "qa", "t", large), 'm');
    forget_memory(table->cache);
    assert_int_equal(look(table->cache, "qa", "t", NULL), '-'); /* not the old one */
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "t", NULL), '-');
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.storage_entries, 0);
    assert_int_equal(stats.storage_dropped_writes, 0); /* it never was in the queue */
    assert_int_equal(stats.storage_refused_writes, 1);
    assert_int_equal(stats.storage_errors, 0);
    assert_int_equal(stats.puts, 2);
    aic_cache_close(&table->cache);
    table_open(table);
    assert_int_equal(look(table->cache, "qa", "t", NULL), '-');
    free(large);
}

static void what_no_tier_holds_is_not_stored(void **state)
{
    struct bench_cache *table = *state;
    char *large = make_noise(2 << 20);
    table->options.memory_max_bytes = AIC_ZERO;
    open_small(table);
    assert_int_equal(tiers_of_put(table, "\"old\"", AIC_OK), AIC_IN_STORAGE);
    assert_int_equal(tiers_of_put(table, large, AIC_NOT_STORED), 0);
    assert_int_equal(look(table->cache, "qa", "t", NULL), '-');
    free(large);
}

static void what_just_fits_is_in_both(void **state)
{
    struct bench_cache *table = *state;
    char *large = make_noise(1 << 20); /* three quarters of that when compressed */
    open_small(table);
    for (int i = 0; i < 20; i++) { /* again and again: room is made for it */
        char text[8];
        hand_turn(&table->hand, 1); /* what expires first goes first; among equals it could be the newest */
        snprintf(text, sizeof text, "%d", i);
        aic_put put = put_of("qa", text, large);
        aic_put_result result;
        assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
        assert_int_equal(result.tiers, AIC_IN_MEMORY | AIC_IN_STORAGE);
        assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    }
    assert_int_equal(stats_of(table->cache).storage_dropped_writes, 0);
    forget_memory(table->cache);
    assert_int_equal(look(table->cache, "qa", "19", large), 's');
    free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_storage_cannot_hold_is_in_memory_alone, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(what_no_tier_holds_is_not_stored, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(what_just_fits_is_in_both, table_setup, table_teardown),
    };
    return cmocka_run_group_tests_name("cache too large", tests, NULL, NULL);
}
