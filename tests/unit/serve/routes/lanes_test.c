/* Lanes: what is stuck in one keeps nobody in another, a walk that is stuck keeps the next for a turn only, and every
 * job runs once, in order. */
#include "serve/routes/lanes.h"

#include "base/check.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { STUCK = 7, JOBS = 1000 };

static struct world {
    struct mem mem;
    struct lanes *lanes;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    unsigned started, ended, order[JOBS];
} world = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

struct numbered {
    struct lane_job job;
    unsigned number;
};

static int setup(void **state)
{
    (void)state;
    mem_init(&world.mem, NULL);
    world.open = false;
    world.started = world.ended = 0;
    return lanes_create(&world.mem, 2, &world.lanes);
}

static int teardown(void **state)
{
    (void)state;
    lanes_destroy(&world.lanes);
    mem_fini(&world.mem);
    return 0;
}

static void wait_at_the_gate(struct lane_job *job)
{
    (void)job;
    pthread_mutex_lock(&world.lock);
    world.started++;
    pthread_cond_broadcast(&world.changed);
    while (!world.open) pthread_cond_wait(&world.changed, &world.lock);
    pthread_mutex_unlock(&world.lock);
}

static void pass(struct lane_job *job)
{
    pthread_mutex_lock(&world.lock);
    world.order[world.ended++] = ((struct numbered *)job)->number;
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.lock);
}

static void await(const unsigned *figure, unsigned wanted)
{
    pthread_mutex_lock(&world.lock);
    while (*figure < wanted) pthread_cond_wait(&world.changed, &world.lock);
    pthread_mutex_unlock(&world.lock);
}

static void open_gate(void)
{
    pthread_mutex_lock(&world.lock);
    world.open = true;
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.lock);
}

static void stuck_ones_keep_nobody(void **state)
{
    (void)state;
    struct lane_job stuck[2][STUCK];
    struct numbered jobs[LANE_COUNT];
    for (unsigned i = 0; i < STUCK; i++) {
        stuck[0][i].run = stuck[1][i].run = wait_at_the_gate;
        lanes_add(world.lanes, LANE_REMOVALS, &stuck[0][i]);
        lanes_add(world.lanes, LANE_WALKS, &stuck[1][i]); /* one after the other: each has its turn */
    }
    await(&world.started, 2 * STUCK);
    for (unsigned lane = 0; lane < LANE_COUNT; lane++) {
        jobs[lane] = (struct numbered){.job.run = pass, .number = lane};
        lanes_add(world.lanes, (enum lane)lane, &jobs[lane].job);
    }
    await(&world.ended, LANE_COUNT);
    open_gate();
}

static void all_run_in_order(void **state)
{
    (void)state;
    static struct numbered jobs[JOBS];
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct numbered){.job.run = pass, .number = i};
        lanes_add(world.lanes, LANE_WALKS, &jobs[i].job);
    }
    lanes_destroy(&world.lanes); /* not before they have run */
    assert_int_equal(world.ended, JOBS);
    for (unsigned i = 0; i < JOBS; i++) assert_int_equal(world.order[i], i);
}

static void gate_is_passed_by_many(void **state)
{
    (void)state;
    static struct numbered jobs[JOBS];
    for (unsigned i = 0; i < JOBS; i++) {
        jobs[i] = (struct numbered){.job.run = pass, .number = i};
        lanes_add(world.lanes, i % 2 == 0 ? LANE_QUICK : LANE_REMOVALS, &jobs[i].job);
    }
    await(&world.ended, JOBS);
    uint64_t sum = 0;
    for (unsigned i = 0; i < JOBS; i++) sum += world.order[i];
    assert_int_equal(sum, JOBS * (JOBS - 1) / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stuck_ones_keep_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(all_run_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(gate_is_passed_by_many, setup, teardown),
    };
    return cmocka_run_group_tests_name("lanes", tests, NULL, NULL);
}
