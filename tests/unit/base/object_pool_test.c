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

/* An object that keeps a buffer from use to use. */
struct holder {
    struct mem *mem;
    char *buffer;
    unsigned uses;
};

static unsigned cleared, ended;

static void clear_holder(void *object)
{
    cleared++;
    ((struct holder *)object)->uses++;
}

static void end_holder(void *object)
{
    struct holder *holder = object;
    ended++;
    mem_free(holder->mem, MEM_OTHER, holder->buffer, 32);
}

static const struct object_pool_hooks holder_hooks = {.clear = clear_holder, .fini = end_holder};

static struct holder *take_holder(struct object_pool *pool, struct mem *mem)
{
    struct holder *holder = object_pool_take(pool);
    assert_non_null(holder);
    if (holder->mem == NULL) {
        holder->mem = mem;
        holder->buffer = mem_alloc(mem, MEM_OTHER, 32);
    }
    return holder;
}

static void keeps_what_an_object_owns(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct object_pool pool;
    cleared = ended = 0;
    object_pool_init(&pool, "test", &mem, MEM_POOLS, sizeof(struct holder), 1);
    object_pool_set_hooks(&pool, &holder_hooks);
    struct holder *first = take_holder(&pool, &mem), *second = take_holder(&pool, &mem);
    char *buffer = first->buffer;
    void *given = first, *more = second;
    assert_true(object_pool_give(&pool, &given));
    assert_true(object_pool_give(&pool, &more)); /* beyond the maximum: ended */
    assert_int_equal(cleared, 2);
    assert_int_equal(ended, 1);
    struct holder *again = take_holder(&pool, &mem);
    assert_ptr_equal(again, first);
    assert_ptr_equal(again->buffer, buffer);
    assert_int_equal(again->uses, 1);
    given = again;
    assert_true(object_pool_give(&pool, &given));
    assert_true(object_pool_shrink(&pool, true) > 0);
    assert_int_equal(ended, 2);
    object_pool_fini(&pool);
    mem_fini(&mem);
}

static void adds_up_pools_of_one_name(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct object_pools pools;
    struct object_pool first, second, other;
    object_pools_init(&pools);
    object_pools_add(NULL, NULL); /* no list: nothing happens */
    object_pool_init(&first, "same", &mem, MEM_POOLS, 64, 8);
    object_pool_init(&second, "same", &mem, MEM_POOLS, 64, 8);
    object_pool_init(&other, "other", &mem, MEM_POOLS, 32, 8);
    object_pools_add(&pools, &first);
    object_pools_add(&pools, &other);
    object_pools_add(&pools, &second);
    void *a = object_pool_take(&first), *b = object_pool_take(&second), *c = object_pool_take(&other);
    assert_true(object_pool_give(&second, &b));
    struct object_pool_stats stats[4];
    assert_int_equal(object_pools_stats(&pools, stats, 4), 2);
    assert_string_equal(stats[0].name, "other");
    assert_string_equal(stats[1].name, "same");
    assert_int_equal(stats[1].active, 1);
    assert_int_equal(stats[1].size, 1);
    assert_int_equal(stats[1].created, 2);
    assert_int_equal(stats[0].bytes + stats[1].bytes, mem_bytes(&mem, MEM_POOLS));
    assert_int_equal(object_pools_stats(&pools, stats, 1), 1);
    assert_true(object_pools_shrink(&pools, true) > 0);
    assert_true(object_pool_give(&first, &a));
    assert_true(object_pool_give(&other, &c));
    object_pools_remove(&pools, &other);
    object_pools_remove(&pools, &first);
    object_pools_remove(&pools, &second);
    assert_int_equal(object_pools_stats(&pools, stats, 4), 0);
    object_pool_fini(&first);
    object_pool_fini(&second);
    object_pool_fini(&other);
    object_pools_fini(&pools);
    assert_int_equal(mem_bytes(&mem, MEM_POOLS), 0);
    mem_fini(&mem);
}

static void *give_the_same(void *context)
{
    void **slot = context; /* [0]: the pool, [1]: the object */
    void *given = slot[1];
    return object_pool_give(slot[0], &given) ? slot : NULL;
}

static void lets_one_of_two_threads_give(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct object_pool pool;
    object_pool_init(&pool, "test", &mem, MEM_POOLS, 64, 4);
    for (int i = 0; i < 200; i++) {
        void *slot[2] = {&pool, object_pool_take(&pool)};
        pthread_t threads[2];
        unsigned given = 0;
        for (int t = 0; t < 2; t++) assert_int_equal(pthread_create(&threads[t], NULL, give_the_same, slot), 0);
        for (int t = 0; t < 2; t++) {
            void *result = NULL;
            pthread_join(threads[t], &result);
            given += result != NULL;
        }
        assert_int_equal(given, 1);
    }
    struct object_pool_stats stats;
    object_pool_stats(&pool, &stats);
    assert_int_equal(stats.refused, 200);
    assert_int_equal(stats.active, 0);
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
        cmocka_unit_test(counts_beyond_its_maximum),     cmocka_unit_test(clears_what_it_hands_out_again),
        cmocka_unit_test(refuses_an_object_given_twice), cmocka_unit_test(shrinks_by_half_of_its_low_water),
        cmocka_unit_test(keeps_what_an_object_owns),     cmocka_unit_test(adds_up_pools_of_one_name),
        cmocka_unit_test(lets_one_of_two_threads_give),  cmocka_unit_test(serves_many_threads),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
