/*
 * gate_test.c - the gate before a tier that works, one that fails, and with a queue that is full.
 */
#include "gate_world.h"

#include <string.h>

/* --------------------------------------------------------------------------------------------- a tier that works -- */

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
    assert_int_equal(figures_of(world).queue_entries, 0);
    assert_int_equal(figures_of(world).queue_bytes, 0);
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

/* --------------------------------------------------------------------------------------------- a tier that fails -- */

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
    assert_int_equal(figures_of(world).storage_breaks, 1);
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
    assert_int_equal(figures_of(world).storage_errors, 6);
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
    assert_int_equal(figures_of(world).storage_dropped_writes, 0);
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
    assert_int_equal(figures_of(world).storage_dropped_writes, 1);
    assert_true(stats_of(world).up);
}

/* -------------------------------------------------------------------------------------------------- a full queue -- */

static void test_what_the_tier_cannot_hold_is_refused_at_once(void **state)
{
    struct world *world = *state;
    struct gate_health health = {0};
    aic_key key = sample_key(1);
    struct iovec parts[] = {{(void *)(uintptr_t) "1234", 4}, {(void *)(uintptr_t) "5678", 4}};
    start(world);
    world->fault->tier.max_record_bytes = 8;
    assert_int_equal(gate_put(world->gate, &key, parts, 2, NULL), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    assert_int_equal(get(world, 1, LONG_MS, "12345678"), AIC_OK);
    parts[1] = (struct iovec){(void *)(uintptr_t) "56789", 5};
    assert_int_equal(gate_put(world->gate, &key, parts, 2, &health), AIC_TOO_LARGE);
    assert_true(health.reads_up && health.writes_up);
    assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_MISS); /* nor the older value */
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    assert_int_equal(get(world, 1, LONG_MS, NULL), AIC_MISS);
    assert_int_equal(figures_of(world).storage_dropped_writes, 0);
    assert_int_equal(atomic_load(&world->lines), 0);
    assert_int_equal(put(world, 2, "two"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    atomic_store(&world->allocator.left, 0); /* no memory for the delete: nothing changes */
    assert_int_equal(put(world, 2, "too large"), AIC_NO_MEMORY);
    atomic_store(&world->allocator.left, -1);
    assert_int_equal(get(world, 2, LONG_MS, "two"), AIC_OK);
}

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
    assert_int_equal(figures_of(world).storage_dropped_writes, 100 - stored);
    assert_true(figures_of(world).queue_bytes <= 64 << 10);
    AWAIT(atomic_load(&world->lines) == 1);
    FAULT_SET(world->fault, world->fault->hang_applies = false);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    uint64_t there = 0;
    for (uint64_t i = 0; i < 100; i++) there += get(world, i, LONG_MS, text) == AIC_OK;
    assert_int_equal(there, stored);
    assert_int_equal(put(world, 1, "again"), AIC_OK);
}

/* Fills the queue while the tier hangs, until a put is refused, and lets it drain. */
static void overfill(struct world *world)
{
    static char text[1001];
    memset(text, 'n', 1000);
    FAULT_SET(world->fault, world->fault->hang_applies = true);
    for (uint64_t i = 0; put(world, i, text) == AIC_OK; i++) assert_true(i < 100);
    FAULT_SET(world->fault, world->fault->hang_applies = false);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    assert_int_equal(put(world, 1000, "fits"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
}

static void test_a_queue_that_is_full_again_and_again_is_one_line(void **state)
{
    struct world *world = *state;
    world->options.queue_bytes = 16 << 10;
    world->options.clock = &world->clock.clock;
    start(world);
    for (int i = 0; i < 50; i++) overfill(world);
    assert_int_equal(atomic_load(&world->lines), 1);
    assert_non_null(strstr(world->last_line, "queue is full"));
    atomic_fetch_add(&world->clock.mono_ns, UINT64_C(11) * 1000000000);
    AWAIT(atomic_load(&world->lines) == 2);
    assert_non_null(strstr(world->last_line, "takes entries again: 50 were not stored"));
    overfill(world);
    assert_int_equal(atomic_load(&world->lines), 3);
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
    AWAIT(atomic_load(&world->emptied_lines) == 1);
    for (uint64_t i = 0; i < 400; i++) assert_int_equal(get(world, i, LONG_MS, NULL), AIC_MISS);
    assert_int_equal(put(world, 1, "new"), AIC_OK);
    assert_int_equal(gate_flush(world->gate, false, LONG_MS), AIC_OK);
    assert_int_equal(get(world, 1, LONG_MS, "new"), AIC_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, gate_setup, gate_teardown)
    const struct CMUnitTest tests[] = {
        TEST(reads_see_what_was_written),
        TEST(writes_are_batched_and_flushed_to_disk),
        TEST(a_destroy_drains),
        TEST(every_read_is_answered_once),
        TEST(failing_reads_open_the_breaker_with_one_line),
        TEST(failing_writes_wait_and_are_not_lost),
        TEST(a_refused_record_does_not_stop_the_others),
        TEST(what_the_tier_cannot_hold_is_refused_at_once),
        TEST(a_full_queue_never_serves_an_older_value),
        TEST(a_queue_that_is_full_again_and_again_is_one_line),
        TEST(an_overflow_distrusts_the_tier_until_it_is_emptied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
