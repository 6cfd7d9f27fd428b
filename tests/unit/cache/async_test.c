/* The daemon's face: lookups that do not wait, hits that move between threads, deadlines. */
#include "fake_tier.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct arrival {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned calls;
    aic_status status;
    struct cache_hit hit;
};

static void on_arrival(void *context, aic_status status, struct cache_hit *hit)
{
    struct arrival *arrival = context;
    pthread_mutex_lock(&arrival->lock);
    arrival->calls++;
    arrival->status = status;
    if (status == AIC_OK) cache_hit_move(&arrival->hit, hit);
    pthread_cond_signal(&arrival->wake);
    pthread_mutex_unlock(&arrival->lock);
}

static aic_status ask(struct arrival *arrival, aic_cache *cache, const char *ns, const aic_key *key)
{
    *arrival = (struct arrival){.calls = 0};
    pthread_mutex_init(&arrival->lock, NULL);
    pthread_cond_init(&arrival->wake, NULL);
    cache_lookup_storage(cache, aic_view_of(ns), key, on_arrival, arrival);
    pthread_mutex_lock(&arrival->lock);
    while (arrival->calls == 0) pthread_cond_wait(&arrival->wake, &arrival->lock);
    pthread_mutex_unlock(&arrival->lock);
    cache_count_lookup(cache, arrival->status, arrival->hit.tier);
    return arrival->status;
}

static void expect_pieces(struct cache_hit *hit, const char *wanted, size_t max)
{
    struct buf plain;
    struct iovec pieces[32];
    size_t count = 0, at = 0;
    buf_init(&plain, cache_mem(hit->cache), MEM_CACHE);
    assert_int_equal(cache_hit_pieces(hit, &plain, pieces, max, &count), AIC_OK);
    assert_true(count >= 1 && count <= max);
    for (size_t i = 0; i < count; i++) {
        assert_true(at + pieces[i].iov_len <= strlen(wanted));
        assert_memory_equal(pieces[i].iov_base, wanted + at, pieces[i].iov_len);
        at += pieces[i].iov_len;
    }
    assert_int_equal(at, strlen(wanted));
    buf_fini(&plain);
}

static void asks_storage_without_waiting(void **state)
{
    struct bench_cache *table = *state;
    table->options.compression_threshold_bytes = 100000;
    struct fake_tier *fake = table_open_fake(table);
    char *large = make_response(50000, 1), *packed = make_response(150000, 2);
    const char *const values[] = {"1", large, packed};
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        aic_put put = put_of("qa", "x", values[i]);
        aic_put_result result;
        assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
        assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
        forget_memory(table->cache);
        struct cache_hit hit = {0};
        assert_int_equal(cache_lookup_memory(table->cache, AIC_LITERAL("default"), &result.key, &hit), AIC_MISS);
        assert_true(cache_has_storage(table->cache));
        struct arrival arrival;
        assert_int_equal(ask(&arrival, table->cache, "default", &result.key), AIC_OK);
        assert_int_equal(arrival.hit.tier, AIC_IN_STORAGE);
        aic_metadata metadata;
        cache_hit_metadata(&arrival.hit, &metadata);
        assert_int_equal(metadata.size_bytes, strlen(values[i]));
        assert_memory_equal(&metadata.key, &result.key, sizeof result.key);
        expect_pieces(&arrival.hit, values[i], 32);
        expect_pieces(&arrival.hit, values[i], 1);
        /* What was found stays as it is, whatever happens to the cache. */
        aic_filter all = {.all = true};
        assert_int_equal(aic_cache_invalidate(table->cache, &all, false, NULL, NULL), AIC_OK);
        expect_pieces(&arrival.hit, values[i], 32);
        cache_hit_release(&arrival.hit);
        cache_hit_release(&arrival.hit);
        assert_int_equal(ask(&arrival, table->cache, "default", &result.key), AIC_MISS);
    }
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.hits_storage, 3);
    assert_int_equal(stats.misses, 3);
    assert_int_equal(fake_count(fake), 0);
    free(large);
    free(packed);
}

static void other_namespaces_and_no_storage(void **state)
{
    struct bench_cache *table = *state;
    (void)table_open_fake(table);
    aic_put put = put_of("qa", "x", "1");
    aic_put_result result;
    assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
    forget_memory(table->cache);
    struct arrival arrival;
    assert_int_equal(ask(&arrival, table->cache, "other", &result.key), AIC_MISS);
    assert_int_equal(ask(&arrival, table->cache, "default", &result.key), AIC_OK);
    cache_hit_release(&arrival.hit);
    struct cache_hit hit = {0};
    assert_int_equal(cache_lookup_memory(table->cache, AIC_LITERAL("other"), &result.key, &hit), AIC_MISS);
    assert_int_equal(cache_lookup_memory(table->cache, AIC_LITERAL("default"), &result.key, &hit), AIC_OK);
    cache_hit_release(&hit);
    aic_cache_close(&table->cache);
    table_open(table);
    assert_false(cache_has_storage(table->cache));
    assert_int_equal(ask(&arrival, table->cache, "default", &result.key), AIC_MISS);
}

/* Memory that takes nothing: what storage finds is served from a copy. */
static void without_memory(void **state)
{
    struct bench_cache *table = *state;
    table->options.memory_max_bytes = AIC_ZERO;
    (void)table_open_fake(table);
    char *response = make_response(5000, 1);
    aic_put put = put_of("qa", "x", response);
    aic_put_result result;
    assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
    assert_int_equal(result.tiers, AIC_IN_STORAGE);
    struct arrival arrival;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&arrival, table->cache, "default", &result.key), AIC_OK);
        expect_pieces(&arrival.hit, response, 1);
        cache_hit_release(&arrival.hit);
        assert_int_equal(look(table->cache, "qa", "x", response), 's');
    }
    free(response);
}

/* Storage that does not answer at all: the lookup comes back without it, or this test never ends. */
static void a_hanging_storage_is_a_miss(void **state)
{
    struct bench_cache *table = *state;
    table->options.clock = NULL;
    table->options.storage_deadline_ms = 20;
    struct fake_tier *fake = table_open_fake(table);
    fake->clock = NULL;
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    forget_memory(table->cache);
    atomic_store(&fake->hang, true);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.storage_timeouts, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(put_text(table->cache, "qa", "x", "2"), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "x", "2"), 'm');
    atomic_store(&fake->hang, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(asks_storage_without_waiting, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(other_namespaces_and_no_storage, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(without_memory, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_hanging_storage_is_a_miss, table_setup, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
