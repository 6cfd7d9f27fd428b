/*
 * gate_hang_test.c - the gate before a tier that hangs, between many threads, and with allocations that fail.
 */
#include "gate_world.h"
#include "tier/gate_state.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------------------- a tier that hangs -- */

static void test_a_hung_read_costs_the_deadline_then_nothing(void **state)
{
    struct world *world = *state;
    world->options.clock = &world->clock.clock;
    start(world);
    FAULT_SET(world->fault, world->fault->hang_gets = true);
    struct async hung[2] = {0}, waiting = {0};
    /* Reads without a deadline take both readers: a job whose waiter has given up before a reader came to it never
     * hangs. */
    for (uint64_t i = 0; i < 2; i++) {
        aic_key busy = sample_key(i + 10);
        gate_read(world->gate, &busy, async_done, &hung[i]);
    }
    fault_tier_await_hanging(world->fault, 2);
    assert_int_equal(get(world, 1, 5, NULL), AIC_TIMEOUT);
    assert_int_equal(get(world, 2, 5, NULL), AIC_TIMEOUT);
    aic_key key = sample_key(3);
    gate_read(world->gate, &key, async_done, &waiting); /* behind the hung ones */
    assert_int_equal(atomic_load(&waiting.calls), 0);
    atomic_fetch_add(&world->clock.mono_ns, 1000000000);             /* hangs for a second now */
    assert_int_equal(get(world, 4, LONG_MS, NULL), AIC_UNAVAILABLE); /* at once */
    AWAIT(atomic_load(&waiting.calls) == 1);
    assert_int_equal(waiting.status, AIC_UNAVAILABLE);
    AWAIT(atomic_load(&world->lines) == 1);
    FAULT_SET(world->fault, world->fault->hang_gets = false);
    atomic_fetch_add(&world->clock.mono_ns, 1000000000);
    AWAIT(get(world, 5, LONG_MS, NULL) == AIC_MISS);
    AWAIT(atomic_load(&world->lines) == 2);
    AWAIT(atomic_load(&hung[0].calls) == 1 && atomic_load(&hung[1].calls) == 1);
}

static void test_a_write_that_hangs_alone_is_told(void **state)
{
    struct world *world = *state;
    world->options.write_hang_ms = 200;
    start(world);
    FAULT_SET(world->fault, world->fault->hang_applies = true);
    assert_int_equal(put(world, 1, "one"), AIC_OK);
    fault_tier_await_hanging(world->fault, 1);
    AWAIT(!stats_of(world).up);
    struct gate_stats down = stats_of(world);
    assert_true(down.reads_up);
    assert_true(down.writes_down_ms != 0);
    assert_int_equal(down.trouble.cause, TIER_CAUSE_HANGS);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_UNAVAILABLE); /* at once */
    assert_int_equal(get(world, 1, LONG_MS, "one"), AIC_OK);                    /* from the queue */
    assert_int_equal(get(world, 2, LONG_MS, NULL), AIC_MISS);
    AWAIT(atomic_load(&world->lines) == 1);
    FAULT_SET(world->fault, world->fault->hang_applies = false);
    AWAIT(stats_of(world).up);
    AWAIT(atomic_load(&world->lines) == 2);
    assert_int_equal(stats_of(world).writes_down_ms, 0);
    AWAIT(gate_flush(world->gate, true, LONG_MS) == AIC_OK);
}

/* Somebody who calls the tier past readers and queue. */
struct visitor {
    struct world *world;
    pthread_t thread;
    aic_status status;
    size_t removed;
    _Atomic bool back;
};

static void *turn_the_clock(void *argument)
{
    struct visitor *visitor = argument;
    while (!atomic_load(&visitor->back)) {
        atomic_fetch_add(&visitor->world->clock.mono_ns, 100000000);
        usleep(1000);
    }
    return NULL;
}

static void *visit(void *argument)
{
    struct visitor *visitor = argument;
    visitor->status = gate_expire(visitor->world->gate, 7, &visitor->removed);
    atomic_store(&visitor->back, true);
    return NULL;
}

static void send(struct visitor *visitor, struct world *world)
{
    *visitor = (struct visitor){.world = world};
    assert_int_equal(pthread_create(&visitor->thread, NULL, visit, visitor), 0);
}

/* The clock goes on until the visitor has given up. */
static aic_status await_visitor(struct visitor *visitor)
{
    (void)turn_the_clock(visitor);
    assert_int_equal(pthread_join(visitor->thread, NULL), 0);
    return visitor->status;
}

/* Two calls hold the threads for calls, and nobody else: reads and writes go on, who waits goes after a while, and what
 * was left comes back to nobody. */
static void test_a_call_that_hangs_is_left(void **state)
{
    struct world *world = *state;
    world->options.clock = &world->clock.clock;
    start(world);
    struct visitor hung[2], behind;
    size_t removed = 0;
    assert_int_equal(gate_expire(world->gate, 3, &removed), AIC_OK);
    assert_int_equal(removed, 3);
    FAULT_SET(world->fault, world->fault->hang_expires = true);
    for (size_t i = 0; i < 2; i++) send(&hung[i], world);
    fault_tier_await_hanging(world->fault, 2);
    send(&behind, world);
    assert_int_equal(put(world, 1, "one"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, true, LONG_MS), AIC_OK);
    assert_int_equal(get(world, 2, LONG_MS, NULL), AIC_MISS);
    assert_true(stats_of(world).reads_up);
    for (size_t i = 0; i < 2; i++) assert_int_equal(await_visitor(&hung[i]), AIC_TIMEOUT);
    assert_int_equal(await_visitor(&behind), AIC_TIMEOUT);
    assert_false(stats_of(world).reads_up); /* who would walk through it now is warned */
    assert_int_equal(get(world, 3, LONG_MS, NULL), AIC_MISS);
    send(&behind, world); /* known to be down: a second is enough */
    uint64_t before_ns = atomic_load(&world->clock.mono_ns);
    assert_int_equal(await_visitor(&behind), AIC_TIMEOUT);
    assert_in_range(atomic_load(&world->clock.mono_ns) - before_ns, 1, UINT64_C(5000000000));
    FAULT_SET(world->fault, world->fault->hang_expires = false);
    AWAIT(stats_of(world).reads_up);
    AWAIT(gate_expire(world->gate, 5, &removed) == AIC_OK && removed == 5);
    assert_int_equal(world->fault->expires, 1 + 2 + 1); /* who had gone before his turn is not asked for */
}

/* A call that is still in the tier when the gate ends is left with it, and cleans up after itself. */
static void test_a_destroy_with_a_hung_call_ends(void **state)
{
    struct world *world = *state;
    world->options.clock = &world->clock.clock;
    start(world);
    struct fault_tier *fault = world->fault;
    struct visitor visitor;
    FAULT_SET(fault, fault->hang_expires = true);
    send(&visitor, world);
    fault_tier_await_hanging(fault, 1);
    assert_int_equal(await_visitor(&visitor), AIC_TIMEOUT);
    struct visitor clock = {.world = world};
    assert_int_equal(pthread_create(&clock.thread, NULL, turn_the_clock, &clock), 0);
    assert_int_equal(gate_destroy(&world->gate), AIC_TIMEOUT);
    atomic_store(&clock.back, true);
    assert_int_equal(pthread_join(clock.thread, NULL), 0);
    assert_false(__atomic_load_n(&world->closed, __ATOMIC_ACQUIRE));
    FAULT_SET(fault, fault->hang_expires = false);
    AWAIT(__atomic_load_n(&world->closed, __ATOMIC_ACQUIRE));
    AWAIT(atomic_load(&world->allocator.live) == 0);
}

static void test_a_destroy_with_a_hung_tier_ends(void **state)
{
    struct world *world = *state;
    world->options.close_ms = 50;
    start(world);
    struct fault_tier *fault = world->fault;
    assert_int_equal(put(world, 1000, "stored"),
                     AIC_OK); /* a key that the hung reads compare theirs with when they come back */
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    FAULT_SET(fault, (fault->hang_gets = true, fault->hang_applies = true));
    struct async reads[10] = {0};
    for (uint64_t i = 0; i < 10; i++) {
        aic_key key = sample_key(i + 100);
        gate_read(world->gate, &key, async_done, &reads[i]);
    }
    assert_int_equal(put(world, 1, "one"), AIC_OK);
    fault_tier_await_hanging(fault, 3);
    assert_int_equal(gate_destroy(&world->gate), AIC_TIMEOUT);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(atomic_load(&reads[i].calls), 1);
        assert_true(reads[i].status == AIC_CLOSED || reads[i].status == AIC_TIMEOUT);
    }
    assert_false(__atomic_load_n(&world->closed, __ATOMIC_ACQUIRE));
    FAULT_SET(fault, (fault->hang_gets = false, fault->hang_applies = false));
    AWAIT(__atomic_load_n(&world->closed, __ATOMIC_ACQUIRE)); /* it cleans up by itself */
    AWAIT(atomic_load(&world->allocator.live) == 0);
}

/* -------------------------------------------------------------------------------------------------- many threads -- */

struct worker {
    struct world *world;
    uint64_t number;
    pthread_t thread;
    aic_status status;
};

static void start_workers(struct worker *workers, unsigned count, struct world *world, void *(*work)(void *worker))
{
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (struct worker){.world = world, .number = i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
}

static void join_workers(struct worker *workers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].status, AIC_OK);
    }
}

enum { THREADS = 4, ROUNDS = 3000, OWN_KEYS = 16 };

/* Each worker owns some keys and must always read what it wrote last. */
static void *work(void *argument)
{
    struct worker *worker = argument;
    int last[OWN_KEYS] = {0};
    uint64_t seed = worker->number;
    for (int round = 1; round <= ROUNDS; round++) {
        uint64_t own = random_below(&seed, OWN_KEYS);
        uint64_t key = worker->number * OWN_KEYS + own;
        char text[32];
        switch (random_below(&seed, 4)) {
        case 0:
            snprintf(text, sizeof text, "r%d", round);
            CHECK(put(worker->world, key, text) == AIC_OK);
            last[own] = round;
            break;
        case 1:
            CHECK(delete (worker->world, key) == AIC_OK);
            last[own] = 0;
            break;
        case 2:
            if (round % 64 == 0) CHECK(gate_flush(worker->world->gate, round % 128 == 0, LONG_MS) == AIC_OK);
            break;
        default: {
            snprintf(text, sizeof text, "r%d", last[own]);
            aic_key wanted = sample_key(key);
            struct buf out;
            buf_init(&out, &worker->world->mem, MEM_OTHER);
            aic_status status = gate_get(worker->world->gate, &wanted, LONG_MS, &out);
            CHECK(status == (last[own] > 0 ? AIC_OK : AIC_MISS));
            CHECK(status != AIC_OK || (out.size == strlen(text) && memcmp(out.data, text, out.size) == 0));
            buf_fini(&out);
        }
        }
    }
    return NULL;
}

static void test_threads_read_their_own_writes(void **state)
{
    struct world *world = *state;
    world->options.sync_ms = 5;
    start(world);
    FAULT_SET(world->fault, world->fault->bulk_status = AIC_OK);
    struct worker workers[THREADS];
    start_workers(workers, THREADS, world, work);
    join_workers(workers, THREADS);
    assert_int_equal(figures_of(world).storage_errors, 0);
}

/* -------------------------------------------------------------------------------------------------------- memory -- */

static void test_allocations_may_fail(void **state)
{
    struct world *world = *state;
    struct failing_allocator failing;
    failing_allocator_init(&failing);
    struct mem mem;
    mem_init(&mem, &failing.allocator);
    bool whole = false;
    for (int64_t allowed = 0; !whole; allowed++) {
        assert_true(allowed < 200);
        struct mem tier_mem;
        mem_init(&tier_mem, NULL);
        struct gate_options options = world->options;
        options.mem = &mem;
        options.tier = &fault_tier_create(&tier_mem)->tier;
        struct gate *gate = NULL;
        atomic_store(&failing.left, allowed);
        aic_status status = gate_create(&options, &gate);
        if (status == AIC_OK) {
            aic_key key = sample_key(1);
            struct iovec part = {.iov_base = (void *)(uintptr_t) "text", .iov_len = 4};
            struct buf out;
            buf_init(&out, &mem, MEM_OTHER);
            whole = gate_put(gate, &key, &part, 1, NULL) == AIC_OK;
            whole = gate_flush(gate, true, LONG_MS) == AIC_OK && whole;
            whole = gate_get(gate, &key, LONG_MS, &out) == AIC_OK && whole;
            whole = gate_delete(gate, &key) == AIC_OK && whole;
            whole = gate_get(gate, &key, LONG_MS, &out) == AIC_MISS && whole;
            buf_fini(&out);
            assert_int_equal(gate_destroy(&gate), AIC_OK);
        } else {
            assert_int_equal(status, AIC_NO_MEMORY);
        }
        atomic_store(&failing.left, -1);
        mem_fini(&tier_mem);
        for (int owner = 0; owner < MEM_OWNER_COUNT; owner++)
            assert_int_equal(mem_bytes(&mem, (enum mem_owner)owner), 0);
    }
}

/* ---- who waits together ---- */

enum { TOGETHER = 24 };

static void *put_and_wait(void *context)
{
    struct worker *writer = context;
    writer->status = put(writer->world, writer->number, "x");
    if (writer->status == AIC_OK) writer->status = gate_flush(writer->world->gate, false, LONG_MS);
    return NULL;
}

static void *wait_for_the_disk(void *context)
{
    struct worker *writer = context;
    writer->status = gate_flush(writer->world->gate, true, LONG_MS);
    return NULL;
}

static unsigned waiting_flushes(struct world *world)
{
    gate_lock(world->gate);
    unsigned flushing = world->gate->flushing;
    gate_unlock(world->gate);
    return flushing;
}

static void test_writers_that_wait_share_commits(void **state)
{
    struct world *world = *state;
    struct worker writers[TOGETHER];
    world->options.write_hang_ms = LONG_MS;
    start(world);
    FAULT_SET(world->fault, world->fault->hang_applies = true);
    assert_int_equal(put(world, 1000, "first"), AIC_OK);
    fault_tier_await_hanging(world->fault, 1);
    start_workers(writers, TOGETHER, world, put_and_wait);
    AWAIT(waiting_flushes(world) == TOGETHER);
    FAULT_SET(world->fault, world->fault->hang_applies = false);
    join_workers(writers, TOGETHER);
    pthread_mutex_lock(&world->fault->lock);
    assert_int_equal(world->fault->applies, 2);
    assert_int_equal(world->fault->largest_batch, TOGETHER);
    pthread_mutex_unlock(&world->fault->lock);
}

/* While one sync runs all others come: its end is not theirs, and one more is for all of them. */
static void test_writers_that_wait_share_syncs(void **state)
{
    struct world *world = *state;
    struct worker writers[TOGETHER];
    world->options.write_hang_ms = LONG_MS;
    start(world);
    FAULT_SET(world->fault, world->fault->hang_syncs = true);
    start_workers(writers, 1, world, wait_for_the_disk);
    fault_tier_await_hanging(world->fault, 1);
    start_workers(writers + 1, TOGETHER - 1, world, wait_for_the_disk);
    AWAIT(waiting_flushes(world) == TOGETHER);
    FAULT_SET(world->fault, world->fault->hang_syncs = false);
    join_workers(writers, TOGETHER);
    pthread_mutex_lock(&world->fault->lock);
    assert_int_equal(world->fault->syncs, 2);
    pthread_mutex_unlock(&world->fault->lock);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, gate_setup, gate_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_hung_read_costs_the_deadline_then_nothing),
        TEST(a_write_that_hangs_alone_is_told),
        TEST(a_call_that_hangs_is_left),
        TEST(a_destroy_with_a_hung_call_ends),
        TEST(a_destroy_with_a_hung_tier_ends),
        TEST(threads_read_their_own_writes),
        TEST(allocations_may_fail),
        TEST(writers_that_wait_share_commits),
        TEST(writers_that_wait_share_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
