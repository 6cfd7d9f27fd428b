/*
 * gate_test.c - the gate before a tier that works, fails, hangs, and is full. Waits are for events, never for a time to
 * pass.
 */
#include "base/check.h"
#include "fault_tier.h"
#include "support.h"
#include "tier/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LONG_MS = 60000 };

struct world {
    struct mem mem;
    struct failing_allocator allocator; /* counts what an abandoned gate still holds */
    struct hand_clock clock;
    struct fault_tier *fault;
    struct gate *gate;
    struct gate_options options;
    bool closed;
    _Atomic unsigned lines;
    char last_line[256];
};

static void keep_line(void *context, aic_log_level level, const char *line)
{
    struct world *world = context;
    assert_true(level >= AIC_LOG_INFO);
    snprintf(world->last_line, sizeof world->last_line, "%s", line);
    atomic_fetch_add(&world->lines, 1);
}

static void start(struct world *world)
{
    world->fault = fault_tier_create(&world->mem);
    world->fault->closed = &world->closed;
    world->options.tier = &world->fault->tier;
    assert_int_equal(gate_create(&world->options, &world->gate), AIC_OK);
}

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    failing_allocator_init(&world->allocator);
    mem_init(&world->mem, &world->allocator.allocator);
    hand_clock_init(&world->clock, 1700000000000u);
    world->options = (struct gate_options){.mem = &world->mem,
                                           .clock = clock_system(),
                                           .queue_bytes = 1 << 20,
                                           .sync_ms = LONG_MS,
                                           .log = keep_line,
                                           .log_context = world};
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;
    assert_int_equal(gate_destroy(&world->gate), AIC_OK);
    assert_null(world->gate);
    mem_fini(&world->mem);
    free(world);
    return 0;
}

static aic_status put(struct world *world, uint64_t number, const char *text)
{
    aic_key key = sample_key(number);
    struct iovec part = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    return gate_put(world->gate, &key, &part, 1);
}

static aic_status delete (struct world *world, uint64_t number)
{
    aic_key key = sample_key(number);
    return gate_delete(world->gate, &key);
}

/* The status of a read; the record must be `text` when it is AIC_OK. */
static aic_status get(struct world *world, uint64_t number, unsigned deadline_ms, const char *text)
{
    aic_key key = sample_key(number);
    struct buf out;
    buf_init(&out, &world->mem, MEM_OTHER);
    aic_status status = gate_get(world->gate, &key, deadline_ms, &out);
    if (status == AIC_OK) {
        assert_int_equal(out.size, strlen(text));
        assert_memory_equal(out.data, text, out.size);
    }
    buf_fini(&out);
    return status;
}

static struct gate_stats stats_of(struct world *world)
{
    struct gate_stats stats;
    gate_stats(world->gate, &stats);
    return stats;
}

/* Waits for something that another thread does sooner or later. */
#define AWAIT(condition)                                                                                               \
    while (!(condition)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL)

/* ------------------------------------------------------------------------------------------------- a tier that works
 * -- */

static void test_reads_see_what_was_written(void **state)
{
    struct world *world = *state;
    start(world);
    assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_MISS);
    FAULT_SET(world->fault, world->fault->hang_applies = true); /* nothing reaches the tier */
    assert_int_equal(put(world, 1, "one"), AIC_OK);
    assert_int_equal(get(world, 1, LONG_MS, "one"), AIC_OK);
    fault_tier_await_hanging(world->fault, 1);
    assert_int_equal(get(world, 1, LONG_MS, "one"), AIC_OK); /* in flight */
    assert_int_equal(put(world, 1, "uno"), AIC_OK);
    assert_int_equal(get(world, 1, LONG_MS, "uno"), AIC_OK);
    assert_int_equal(delete (world, 1), AIC_OK);
    assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_MISS);
    assert_int_equal(put(world, 1, "eins"), AIC_OK);
    FAULT_SET(world->fault, world->fault->hang_applies = false);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    assert_int_equal(stats_of(world).queue_entries, 0);
    assert_int_equal(stats_of(world).queue_bytes, 0);
    assert_int_equal(get(world, 1, LONG_MS, "eins"), AIC_OK);
    assert_true(stats_of(world).up);
}

static void test_writes_are_batched_and_flushed_to_disk(void **state)
{
    struct world *world = *state;
    start(world);
    FAULT_SET(world->fault, world->fault->hang_applies = true);
    assert_int_equal(put(world, 1000, "first"), AIC_OK);
    fault_tier_await_hanging(world->fault, 1);
    for (uint64_t i = 0; i < 300; i++) assert_int_equal(put(world, i, "x"), AIC_OK);
    FAULT_SET(world->fault, world->fault->hang_applies = false);
    assert_int_equal(gate_flush(world->gate, true, LONG_MS), AIC_OK);
    pthread_mutex_lock(&world->fault->lock);
    assert_int_equal(world->fault->largest_batch, 64);
    assert_true(world->fault->syncs >= 1);
    unsigned syncs = world->fault->syncs;
    pthread_mutex_unlock(&world->fault->lock);
    assert_int_equal(gate_flush(world->gate, true, LONG_MS),
                     AIC_OK); /* a sync of its own: others write beside the gate */
    pthread_mutex_lock(&world->fault->lock);
    assert_true(world->fault->syncs > syncs);
    pthread_mutex_unlock(&world->fault->lock);
}

static void test_a_destroy_drains(void **state)
{
    struct world *world = *state;
    start(world);
    _Atomic size_t at_close = 0;
    FAULT_SET(world->fault, world->fault->slots_at_close = &at_close);
    for (uint64_t i = 0; i < 1000; i++) assert_int_equal(put(world, i, "kept"), AIC_OK);
    assert_int_equal(gate_destroy(&world->gate), AIC_OK);
    assert_int_equal(atomic_load(&at_close), 1000);
    assert_true(world->closed);
}

struct async {
    _Atomic int calls;
    aic_status status;
};

static void async_done(void *context, aic_status status, aic_view record)
{
    struct async *async = context;
    (void)record;
    async->status = status;
    atomic_fetch_add(&async->calls, 1);
}

static void test_every_read_is_answered_once(void **state)
{
    struct world *world = *state;
    start(world);
    FAULT_SET(world->fault, world->fault->hang_gets = true);
    static struct async reads[3000];
    memset(reads, 0, sizeof reads);
    for (uint64_t i = 0; i < 3000; i++) {
        aic_key key = sample_key(i);
        gate_read(world->gate, &key, async_done, &reads[i]);
    }
    unsigned busy = 0;
    for (size_t i = 0; i < 3000; i++) busy += atomic_load(&reads[i].calls) == 1 && reads[i].status == AIC_BUSY;
    assert_true(busy >= 3000 - 1024 - 2); /* beyond the queue and the readers: at once */
    FAULT_SET(world->fault, world->fault->hang_gets = false);
    assert_int_equal(gate_destroy(&world->gate), AIC_OK);
    for (size_t i = 0; i < 3000; i++) assert_int_equal(atomic_load(&reads[i].calls), 1);
    assert_true(world->closed);
}

/* -------------------------------------------------------------------------------------------------- a tier that fails
 * -- */

static void test_failing_reads_open_the_breaker_with_one_line(void **state)
{
    struct world *world = *state;
    world->options.clock = &world->clock.clock;
    start(world);
    FAULT_SET(world->fault, world->fault->get_status = AIC_IO);
    for (int i = 0; i < 5; i++) assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_IO);
    for (int i = 0; i < 100; i++) assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_UNAVAILABLE);
    assert_int_equal(fault_tier_gets(world->fault), 5);
    AWAIT(atomic_load(&world->lines) == 1);
    assert_false(stats_of(world).up);
    assert_int_equal(stats_of(world).opened, 1);
    assert_int_equal(put(world, 1, "one"), AIC_OK); /* writes are another matter */
    assert_int_equal(get(world, 1, LONG_MS, "one"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);

    atomic_fetch_add(&world->clock.mono_ns, 1000000000);
    assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_IO); /* one probe */
    assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_UNAVAILABLE);
    FAULT_SET(world->fault, world->fault->get_status = AIC_OK);
    atomic_fetch_add(&world->clock.mono_ns, 2000000000);
    assert_int_equal(get(world, 1, LONG_MS, "one"), AIC_OK);
    assert_int_equal(get(world, 1, LONG_MS, "one"), AIC_OK);
    AWAIT(atomic_load(&world->lines) == 2);
    assert_true(stats_of(world).up);
    assert_int_equal(stats_of(world).errors, 6);
}

static void test_failing_writes_wait_and_are_not_lost(void **state)
{
    struct world *world = *state;
    world->options.clock = &world->clock.clock;
    start(world);
    assert_int_equal(put(world, 1, "old"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    FAULT_SET(world->fault, world->fault->apply_status = AIC_IO);
    unsigned before = fault_tier_applies(world->fault);
    for (uint64_t i = 0; i < 200; i++) assert_int_equal(put(world, i, "new"), AIC_OK);
    while (stats_of(world).up) {
        atomic_fetch_add(&world->clock.mono_ns, 25000000); /* the pauses between tries */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_true(fault_tier_applies(world->fault) - before >= 5);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_UNAVAILABLE);
    AWAIT(atomic_load(&world->lines) == 1);
    assert_int_equal(get(world, 1, LONG_MS, "new"), AIC_OK);     /* from the queue, not "old" from the tier */
    assert_int_equal(get(world, 5000, LONG_MS, NULL), AIC_MISS); /* reads go on */
    FAULT_SET(world->fault, world->fault->apply_status = AIC_OK);
    while (!stats_of(world).up) {
        atomic_fetch_add(&world->clock.mono_ns, 100000000);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    assert_int_equal(gate_flush(world->gate, true, LONG_MS), AIC_OK);
    AWAIT(atomic_load(&world->lines) == 2);
    for (uint64_t i = 0; i < 200; i++) assert_int_equal(get(world, i, LONG_MS, "new"), AIC_OK);
    assert_int_equal(stats_of(world).dropped_writes, 0);
}

static void test_a_refused_record_does_not_stop_the_others(void **state)
{
    struct world *world = *state;
    start(world);
    assert_int_equal(put(world, 2, "old"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    assert_int_equal(put(world, 1, "one"), AIC_OK);
    assert_int_equal(put(world, 2, "!never"), AIC_OK);
    assert_int_equal(put(world, 3, "three"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    assert_int_equal(get(world, 1, LONG_MS, "one"), AIC_OK);
    assert_int_equal(get(world, 2, LONG_MS, NULL), AIC_MISS); /* not "old" */
    assert_int_equal(get(world, 3, LONG_MS, "three"), AIC_OK);
    assert_int_equal(stats_of(world).dropped_writes, 1);
    assert_true(stats_of(world).up);
}

/* --------------------------------------------------------------------------------------------------- a full queue --
 */

static void test_a_full_queue_never_serves_an_older_value(void **state)
{
    struct world *world = *state;
    world->options.queue_bytes = 64 << 10;
    start(world);
    static char text[1001];
    memset(text, 'n', 1000);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(put(world, i, "old"), AIC_OK);
        assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    }
    FAULT_SET(world->fault, world->fault->hang_applies = true);
    uint64_t stored = 0;
    for (uint64_t i = 0; i < 100; i++) {
        aic_status status = put(world, i, text);
        assert_true(status == AIC_OK || status == AIC_NOT_STORED);
        stored += status == AIC_OK;
        assert_int_equal(get(world, i, LONG_MS, text), status == AIC_OK ? AIC_OK : AIC_MISS);
    }
    assert_true(stored > 40 && stored < 60);
    assert_int_equal(stats_of(world).dropped_writes, 100 - stored);
    assert_true(stats_of(world).queue_bytes <= 64 << 10);
    AWAIT(atomic_load(&world->lines) == 1);
    FAULT_SET(world->fault, world->fault->hang_applies = false);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    uint64_t there = 0;
    for (uint64_t i = 0; i < 100; i++) there += get(world, i, LONG_MS, text) == AIC_OK;
    assert_int_equal(there, stored);
    assert_int_equal(put(world, 1, "again"), AIC_OK);
    AWAIT(atomic_load(&world->lines) == 2);
}

static void test_an_overflow_distrusts_the_tier_until_it_is_emptied(void **state)
{
    struct world *world = *state;
    world->options.queue_bytes = 16 << 10;
    start(world);
    for (uint64_t i = 0; i < 400; i++) {
        assert_int_equal(put(world, i, "old"), AIC_OK);
        if (i % 50 == 0) assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    }
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    FAULT_SET(world->fault, (world->fault->hang_applies = true, world->fault->clear_status = AIC_IO));
    for (uint64_t i = 0; i < 400; i++) assert_int_equal(delete (world, i), AIC_OK); /* more than fit */
    for (uint64_t i = 0; i < 400; i++) assert_int_equal(get(world, i, LONG_MS, NULL), AIC_MISS);
    assert_int_equal(put(world, 1, "new"), AIC_NOT_STORED);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_UNAVAILABLE);
    assert_false(stats_of(world).up);
    FAULT_SET(world->fault, (world->fault->hang_applies = false, world->fault->clear_status = AIC_OK));
    AWAIT(stats_of(world).up);
    for (uint64_t i = 0; i < 400; i++) assert_int_equal(get(world, i, LONG_MS, NULL), AIC_MISS);
    assert_int_equal(put(world, 1, "new"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    assert_int_equal(get(world, 1, LONG_MS, "new"), AIC_OK);
}

static void test_distrust_on_demand(void **state)
{
    struct world *world = *state;
    start(world);
    assert_int_equal(put(world, 1, "one"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    FAULT_SET(world->fault, world->fault->clear_status = AIC_IO);
    gate_distrust(world->gate);
    assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_MISS);
    FAULT_SET(world->fault, world->fault->clear_status = AIC_OK);
    AWAIT(stats_of(world).up);
    assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_MISS);
    AWAIT(strstr(world->last_line, "in use again") != NULL || atomic_load(&world->lines) >= 2);
}

/* -------------------------------------------------------------------------------------------------- a tier that hangs
 * -- */

static void test_a_hung_read_costs_the_deadline_then_nothing(void **state)
{
    struct world *world = *state;
    world->options.clock = &world->clock.clock;
    start(world);
    FAULT_SET(world->fault, world->fault->hang_gets = true);
    struct async waiting = {0};
    assert_int_equal(get(world, 1, 5, NULL), AIC_TIMEOUT);
    assert_int_equal(get(world, 2, 5, NULL), AIC_TIMEOUT);
    fault_tier_await_hanging(world->fault, 2);
    aic_key key = sample_key(3);
    gate_read(world->gate, &key, async_done, &waiting); /* behind the hung ones */
    assert_int_equal(atomic_load(&waiting.calls), 0);
    assert_int_equal(stats_of(world).timeouts, 2);
    atomic_fetch_add(&world->clock.mono_ns, 1000000000);             /* hangs for a second now */
    assert_int_equal(get(world, 4, LONG_MS, NULL), AIC_UNAVAILABLE); /* at once */
    AWAIT(atomic_load(&waiting.calls) == 1);
    assert_int_equal(waiting.status, AIC_UNAVAILABLE);
    AWAIT(atomic_load(&world->lines) == 1);
    FAULT_SET(world->fault, world->fault->hang_gets = false);
    atomic_fetch_add(&world->clock.mono_ns, 1000000000);
    AWAIT(get(world, 5, LONG_MS, NULL) == AIC_MISS);
    AWAIT(atomic_load(&world->lines) == 2);
}

static void test_a_destroy_with_a_hung_tier_ends(void **state)
{
    struct world *world = *state;
    world->options.close_ms = 50;
    start(world);
    struct fault_tier *fault = world->fault;
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

/* ------------------------------------------------------------------------------------------------------ many threads
 * -- */

enum { THREADS = 4, ROUNDS = 3000, OWN_KEYS = 16 };

struct worker {
    struct world *world;
    uint64_t number;
    pthread_t thread;
};

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
    for (uint64_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.world = world, .number = i + 1};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (uint64_t i = 0; i < THREADS; i++) assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    assert_int_equal(stats_of(world).errors, 0);
}

/* ---------------------------------------------------------------------------------------------------------- memory --
 */

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
            whole = gate_put(gate, &key, &part, 1) == AIC_OK;
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

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(reads_see_what_was_written),
        TEST(writes_are_batched_and_flushed_to_disk),
        TEST(a_destroy_drains),
        TEST(every_read_is_answered_once),
        TEST(failing_reads_open_the_breaker_with_one_line),
        TEST(failing_writes_wait_and_are_not_lost),
        TEST(a_refused_record_does_not_stop_the_others),
        TEST(a_full_queue_never_serves_an_older_value),
        TEST(an_overflow_distrusts_the_tier_until_it_is_emptied),
        TEST(distrust_on_demand),
        TEST(a_hung_read_costs_the_deadline_then_nothing),
        TEST(a_destroy_with_a_hung_tier_ends),
        TEST(threads_read_their_own_writes),
        TEST(allocations_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
