/* Lanes: every thread's share is found again, nothing is lost to a failed allocation, and nobody shares without need.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/lanes.h"

#include <pthread.h>
#include <stdlib.h>

#define WRITES 10000

struct share {
    _Atomic uint64_t count;
    uint64_t mark;
};

static void mark(void *object, const void *context)
{
    ((struct share *)object)->mark = *(const uint64_t *)context;
}

static const uint64_t MARK = 0x5A;

struct world {
    struct mem mem;
    struct lanes lanes;
    pthread_barrier_t together;
    void *met[4 * LANES]; /* each thread's object */
    _Atomic unsigned next;
};

static void *write_share(void *context)
{
    struct world *world = context;
    unsigned self = atomic_fetch_add(&world->next, 1);
    pthread_barrier_wait(&world->together);
    struct share *mine = lanes_mine(&world->lanes);
    assert_int_equal(mine->mark, MARK);
    for (unsigned i = 0; i < WRITES; i++) atomic_fetch_add(&((struct share *)lanes_mine(&world->lanes))->count, 1);
    assert_ptr_equal(lanes_mine(&world->lanes), mine);
    world->met[self] = mine;
    return NULL;
}

/* Sum over all shares; how many there are in *objects. */
static uint64_t sum(const struct world *world, unsigned *objects)
{
    uint64_t total = 0;
    *objects = 0;
    for (unsigned place = 0; place < LANES_MOST; place++) {
        struct share *share = lanes_at(&world->lanes, place);
        if (share == NULL) continue;
        total += atomic_load(&share->count);
        ++*objects;
    }
    return total;
}

static void write_from(struct world *world, unsigned threads)
{
    pthread_t ids[4 * LANES];
    pthread_barrier_init(&world->together, NULL, threads);
    world->next = 0;
    for (unsigned i = 0; i < threads; i++) assert_int_equal(pthread_create(&ids[i], NULL, write_share, world), 0);
    for (unsigned i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    pthread_barrier_destroy(&world->together);
}

static void setup_with(struct world *world, const aic_allocator *allocator)
{
    mem_init(&world->mem, allocator);
    assert_int_equal(lanes_setup(&world->lanes, &world->mem, MEM_OTHER, sizeof(struct share), mark, &MARK), AIC_OK);
}

static void teardown(struct world *world)
{
    lanes_teardown(&world->lanes);
    mem_fini(&world->mem);
}

static void gives_each_thread_its_own(void **state)
{
    (void)state;
    struct world world = {0};
    setup_with(&world, NULL);
    unsigned objects;
    assert_int_equal(sum(&world, &objects), 0);
    assert_int_equal(objects, 1);
    write_from(&world, LANES);
    for (unsigned i = 0; i < LANES; i++)
        for (unsigned k = 0; k < i; k++) assert_ptr_not_equal(world.met[i], world.met[k]);
    assert_int_equal(sum(&world, &objects), (uint64_t)LANES * WRITES);
    assert_int_equal(objects, LANES);
    teardown(&world);
}

static void counts_all_of_more_threads_than_lanes(void **state)
{
    (void)state;
    struct world world = {0};
    setup_with(&world, NULL);
    write_from(&world, 3 * LANES);
    unsigned objects;
    assert_int_equal(sum(&world, &objects), (uint64_t)3 * LANES * WRITES);
    assert_in_range(objects, LANES, LANES_MOST);
    teardown(&world);
}

/* An allocator that gives so many blocks and then none. */
static _Atomic int left;

static void *take(void *context, size_t bytes)
{
    (void)context;
    return atomic_fetch_sub(&left, 1) > 0 ? malloc(bytes) : NULL;
}

static void give(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

static void loses_nothing_without_memory(void **state)
{
    (void)state;
    for (int blocks = 0; blocks <= LANES; blocks++) {
        aic_allocator allocator = {.acquire = take, .release = give};
        struct world world = {0};
        atomic_store(&left, blocks);
        mem_init(&world.mem, &allocator);
        aic_status status = lanes_setup(&world.lanes, &world.mem, MEM_OTHER, sizeof(struct share), mark, &MARK);
        assert_int_equal(status, blocks == 0 ? AIC_NO_MEMORY : AIC_OK);
        if (status == AIC_OK) {
            write_from(&world, LANES);
            unsigned objects;
            assert_int_equal(sum(&world, &objects), (uint64_t)LANES * WRITES);
            assert_int_equal(objects, blocks);
        }
        teardown(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_each_thread_its_own),
        cmocka_unit_test(counts_all_of_more_threads_than_lanes),
        cmocka_unit_test(loses_nothing_without_memory),
    };
    return cmocka_run_group_tests_name("base lanes", tests, NULL, NULL);
}
