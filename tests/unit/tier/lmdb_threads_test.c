/*
 * lmdb_threads_test.c - everything at once: writers, readers, selections, expiry, verify, clear, syncs, and a map that
 * grows under all of them. Made for the thread sanitizer; without it, it still finds torn records and wrong counters.
 */
#include "world.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { KEYS = 600, BATCHES = 300, BATCH = 16 };

struct crowd {
    struct world *world;
    _Atomic bool done; /* the writers are: everybody else ends. Sequentially consistent, like all that follows */
    _Atomic uint64_t reads, visits;
};

static void *write_batches(void *argument)
{
    struct crowd *crowd = argument;
    struct tier *tier = crowd->world->tier;
    uint64_t seed = (uint64_t)(uintptr_t)&seed;
    for (int batch = 0; batch < BATCHES; batch++) {
        struct buf records[BATCH];
        struct tier_write writes[BATCH];
        for (size_t i = 0; i < BATCH; i++) {
            struct sample sample = {START_MS,
                                    0,
                                    {"0default", i % 2 == 0 ? "1qa" : "1summarize"},
                                    random_below(&seed, 40000),
                                    random_next(&seed)};
            if (i % 3 == 0) sample.expires_ms = START_MS + random_below(&seed, 2 * BATCHES);
            buf_init(&records[i], &crowd->world->mem, MEM_OTHER);
            writes[i] = (struct tier_write){.key = sample_key(random_below(&seed, KEYS) + (uint64_t)batch * 4)};
            if (random_below(&seed, 6) == 0) continue;
            sample_write(&sample, &records[i]);
            writes[i].record = buf_view(&records[i]);
        }
        CHECK(tier->ops->apply(tier, writes, BATCH) == AIC_OK);
        for (size_t i = 0; i < BATCH; i++) buf_fini(&records[i]);
        atomic_fetch_add(&crowd->world->clock.wall_ms, 1);
    }
    return NULL;
}

static void *read_records(void *argument)
{
    struct crowd *crowd = argument;
    uint64_t seed = (uint64_t)(uintptr_t)&seed;
    struct buf out;
    buf_init(&out, &crowd->world->mem, MEM_OTHER);
    while (!atomic_load(&crowd->done)) {
        aic_key key = sample_key(random_below(&seed, KEYS + 4 * BATCHES));
        struct tier_description description;
        buf_clear(&out);
        aic_status status = crowd->world->tier->ops->get(crowd->world->tier, &key, &out);
        CHECK(status == AIC_OK || status == AIC_MISS);
        if (status == AIC_OK) CHECK(sample_describe(NULL, buf_view(&out), &description) == AIC_OK);
        atomic_fetch_add(&crowd->reads, 1);
    }
    buf_fini(&out);
    return NULL;
}

static bool count_visit(void *context, const aic_key *key, aic_view record)
{
    struct crowd *crowd = context;
    CHECK(key != NULL && record.size > 0);
    atomic_fetch_add(&crowd->visits, 1);
    return true;
}

/* Everything else, in turn. */
static void *look_after(void *argument)
{
    struct crowd *crowd = argument;
    struct tier *tier = crowd->world->tier;
    struct tier_label labels[2] = {sample_label("0default"), sample_label("1qa")};
    struct tier_filter filter = {.labels = labels, .label_count = 2};
    for (int turn = 0; !atomic_load(&crowd->done); turn++) {
        struct tier_stats stats;
        aic_error error = {0};
        size_t removed;
        CHECK(walk_tier(&crowd->world->mem, tier, &filter, NULL, count_visit, crowd) == AIC_OK);
        CHECK(tier->ops->expire(tier, 20, &removed) == AIC_OK);
        CHECK(tier->ops->sync(tier) == AIC_OK);
        tier->ops->stats(tier, &stats);
        aic_status status = check_tier(tier, &error);
        if (status != AIC_OK) {
            fprintf(stderr, "%s\n", error.message);
            CHECK(!"the store verifies");
        }
        if (turn % 8 == 7) CHECK(tier->ops->clear(tier) == AIC_OK);
    }
    return NULL;
}

static void test_everything_at_once(void **state)
{
    struct world *world = *state;
    static struct crowd crowd;
    crowd.world = world;
    close_tier(world);
    world->options.max_bytes = (uint64_t)256 << 20;
    open_tier(world);
    pthread_t writers[2], others[3];
    for (size_t i = 0; i < 2; i++) assert_int_equal(pthread_create(&writers[i], NULL, write_batches, &crowd), 0);
    for (size_t i = 0; i < 2; i++) assert_int_equal(pthread_create(&others[i], NULL, read_records, &crowd), 0);
    assert_int_equal(pthread_create(&others[2], NULL, look_after, &crowd), 0);
    for (size_t i = 0; i < 2; i++) assert_int_equal(pthread_join(writers[i], NULL), 0);
    atomic_store(&crowd.done, true);
    for (size_t i = 0; i < 3; i++) assert_int_equal(pthread_join(others[i], NULL), 0);
    assert_verified(world);
    assert_true(atomic_load(&crowd.reads) > 0 && atomic_load(&crowd.visits) > 0);
    assert_int_equal(stats_of(world).errors, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_everything_at_once, world_setup, world_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
