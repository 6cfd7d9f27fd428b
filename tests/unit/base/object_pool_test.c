/* A pool counts what it does, clears what it hands out, and refuses to take the same object twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/object_pool.h"

#include <pthread.h>
#include <string.h>

static void counts_beyond_its_maximum(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct object_pool pool;
    object_pool_init(&pool, "test", &mem, MEM_POOLS, 100, 2);
    void *objects[3];
    for (int i = 0; i < 3; i++) assert_non_null(objects[i] = object_pool_take(&pool));
    for (int i = 0; i < 3; i++) assert_true(object_pool_give(&pool, &objects[i]));
    struct object_pool_stats stats;
    object_pool_stats(&pool, &stats);
    assert_int_equal(stats.misses, 3);
    assert_int_equal(stats.created, 3);
    assert_int_equal(stats.released, 2);
    assert_int_equal(stats.size, 2);
    assert_int_equal(stats.active, 0);
    assert_int_equal(stats.high_water, 3);
    assert_int_equal(stats.bytes, mem_bytes(&mem, MEM_POOLS));
    object_pool_fini(&pool);
    mem_fini(&mem);
}

static void clears_what_it_hands_out_again(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct object_pool pool;
    object_pool_init(&pool, "test", &mem, MEM_POOLS, 64, 8);
    char *object = object_pool_take(&pool);
    memset(object, 'x', 64);
    void *given = object;
    assert_true(object_pool_give(&pool, &given));
    assert_null(given);
    char *again = object_pool_take(&pool);
    assert_ptr_equal(again, object);
    for (int i = 0; i < 64; i++) assert_int_equal(again[i], 0);
    struct object_pool_stats stats;
    object_pool_stats(&pool, &stats);
    assert_int_equal(stats.hits, 1);
    given = again;
    assert_true(object_pool_give(&pool, &given));
    object_pool_fini(&pool);
    mem_fini(&mem);
}

static void refuses_an_object_given_twice(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct object_pool pool, other;
    object_pool_init(&pool, "test", &mem, MEM_POOLS, 64, 8);
    object_pool_init(&other, "other", &mem, MEM_POOLS, 64, 8);
    void *object = object_pool_take(&pool);
    void *first = object, *second = object, *stranger = object;
    assert_false(object_pool_give(&other, &stranger));
    assert_true(object_pool_give(&pool, &first));
    assert_false(object_pool_give(&pool, &second));
    assert_non_null(second);
    void *a = object_pool_take(&pool), *b = object_pool_take(&pool);
    assert_ptr_not_equal(a, b);
    struct object_pool_stats stats;
    object_pool_stats(&pool, &stats);
    assert_int_equal(stats.refused, 1);
    assert_int_equal(stats.active, 2);
    assert_true(object_pool_give(&pool, &a));
    assert_true(object_pool_give(&pool, &b));
    object_pool_fini(&pool);
    object_pool_fini(&other);
    mem_fini(&mem);
}

static void shrinks_by_half_of_its_low_water(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct object_pool pool;
    object_pool_init(&pool, "test", &mem, MEM_POOLS, 64, 100);
    void *objects[10];
    for (int i = 0; i < 10; i++) objects[i] = object_pool_take(&pool);
    for (int i = 0; i < 10; i++) object_pool_give(&pool, &objects[i]);
    assert_int_equal(object_pool_shrink(&pool, false), 0); /* the low water since the start is 0 */
    struct object_pool_stats stats;
    assert_true(object_pool_shrink(&pool, false) > 0);
    object_pool_stats(&pool, &stats);
    assert_int_equal(stats.size, 5);
    object_pool_shrink(&pool, true);
    object_pool_stats(&pool, &stats);
    assert_int_equal(stats.size, 0);
    assert_int_equal(mem_bytes(&mem, MEM_POOLS), 0);
    object_pool_fini(&pool);
    mem_fini(&mem);
}

static void *take_and_give(void *context)
{
    struct object_pool *pool = context;
    for (int i = 0; i < 20000; i++) {
        uint64_t *object = object_pool_take(pool);
        if (object == NULL || object[0] != 0) return context;
        object[0] = (uint64_t)i + 1;
        void *given = object;
        if (!object_pool_give(pool, &given)) return context;
    }
    return NULL;
}

static void serves_many_threads(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct object_pool pool;
    object_pool_init(&pool, "test", &mem, MEM_POOLS, 64, 2);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &pool), 0);
    for (int i = 0; i < 4; i++) {
        void *failed = NULL;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    struct object_pool_stats stats;
    object_pool_stats(&pool, &stats);
    assert_int_equal(stats.hits + stats.misses, 80000);
    assert_int_equal(stats.active, 0);
    object_pool_fini(&pool);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_beyond_its_maximum),
        cmocka_unit_test(clears_what_it_hands_out_again),
        cmocka_unit_test(refuses_an_object_given_twice),
        cmocka_unit_test(shrinks_by_half_of_its_low_water),
        cmocka_unit_test(serves_many_threads),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
