/*
 * Many threads on one small store: puts, gets, pins held for a while, deletes, scans, expiry, resizes and verifies at
 * once. Every value says whose it is and is checked while it is pinned, so a value that changes under a pin is seen
 * even without a sanitizer. Run under the thread sanitizer as well.
 */
#include "store_kit.h"

#include <pthread.h>
#include <unistd.h>

enum { KEYS = 300, WORKERS = 4, HELD = 8 };

struct crowd {
    struct kit kit;
    unsigned steps;
    _Atomic unsigned running;
};

struct worker {
    struct crowd *crowd;
    uint64_t random;
};

static uint64_t below(struct worker *worker, uint64_t bound)
{
    worker->random = worker->random * 6364136223846793005ull + 1442695040888963407ull;
    return (worker->random >> 33) % bound;
}

/* A value: its key's number and a version, repeated. */
static void put_random(struct worker *worker)
{
    uint32_t words[1024];
    uint32_t number = (uint32_t)below(worker, KEYS), version = (uint32_t)below(worker, 1u << 30);
    size_t count = 2 + below(worker, 1022);
    for (size_t i = 0; i < count; i++) words[i] = i % 2 == 0 ? number : version;
    struct iovec part = {words, count * sizeof *words};
    struct store_put put = {
        .key = kit_key(number), .parts = &part, .part_count = 1, .only_if_absent = below(worker, 8) == 0};
    if (below(worker, 3) == 0) put.expires_ms = worker->crowd->kit.now_ms + below(worker, 5);
    aic_status status = store_put(worker->crowd->kit.store, &put);
    CHECK(status == AIC_OK || status == AIC_NOT_STORED || status == AIC_EXISTS);
}

static void check_pinned(const struct pin *pin)
{
    uint32_t number, words[1024];
    memcpy(&number, pin_key(pin)->bytes, sizeof number);
    size_t size = pin_size(pin);
    CHECK(size <= sizeof words && size >= 8);
    pin_copy(pin, 0, words, size);
    for (size_t i = 0; i < size / sizeof *words; i++) CHECK(words[i] == (i % 2 == 0 ? number : words[1]));
}

static void *work(void *context)
{
    struct worker *worker = context;
    struct store *store = worker->crowd->kit.store;
    struct pin held[HELD] = {{0}};
    for (unsigned step = 0; step < worker->crowd->steps; step++) {
        aic_key key = kit_key((unsigned)below(worker, KEYS));
        struct pin *slot = &held[below(worker, HELD)];
        switch (below(worker, 16)) {
        case 0: {
            aic_status ignored = store_delete(store, &key);
            (void)ignored;
            break;
        }
        case 1:
        case 2:
        case 3:
        case 4:
        case 5: put_random(worker); break;
        case 6:
            if (slot->entry == NULL) break;
            aic_status ignored = store_remove_pinned(store, slot, NULL);
            (void)ignored;
            break;
        default:
            if (slot->entry != NULL) {
                check_pinned(slot);
                pin_release(slot);
            }
            if (store_get(store, &key, slot) == AIC_OK) check_pinned(slot);
            break;
        }
    }
    for (size_t i = 0; i < HELD; i++) pin_release(&held[i]);
    atomic_fetch_sub(&worker->crowd->running, 1);
    return NULL;
}

/* What the watch thread of a daemon does. */
static void *watch(void *context)
{
    struct crowd *crowd = context;
    struct pin pins[16];
    for (unsigned round = 0; atomic_load(&crowd->running) > 0; round++) {
        uint64_t cursor = 0;
        aic_error error = {0};
        struct figures stats = {0};
        do {
            size_t count = store_scan(crowd->kit.store, &cursor, pins, 16);
            for (size_t i = 0; i < count; i++) {
                check_pinned(&pins[i]);
                pin_release(&pins[i]);
            }
        } while (cursor != 0);
        store_expire(crowd->kit.store);
        store_figures(crowd->kit.store, &stats);
        aic_status verified = store_verify(crowd->kit.store, &error);
        if (verified != AIC_OK) fprintf(stderr, "%s\n", error.message);
        CHECK(verified == AIC_OK);
        CHECK(store_resize(crowd->kit.store, (100 + round % 5 * 150) << 10, round % 3 == 0 ? 100 : 0) == AIC_OK);
    }
    return NULL;
}

static void test_crowd(void **state)
{
    (void)state;
    const char *text = getenv("STORE_STEPS");
    for (unsigned policy = 0; policy < 4; policy++) {
        struct crowd crowd = {.steps = text == NULL ? 15000 : (unsigned)strtoul(text, NULL, 10), .running = WORKERS};
        kit_open(&crowd.kit, (struct store_options){
                                 .max_bytes = 300 << 10, .policy = (aic_policy)policy, .shards = policy == 3 ? 1 : 8});
        crowd.kit.clock = *clock_system();
        crowd.kit.now_ms = clock_wall_ms(clock_system());
        pthread_t threads[WORKERS + 1];
        struct worker workers[WORKERS];
        for (unsigned i = 0; i < WORKERS; i++) {
            workers[i] = (struct worker){&crowd, 77 + i};
            assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
        }
        assert_int_equal(pthread_create(&threads[WORKERS], NULL, watch, &crowd), 0);
        for (unsigned i = 0; i <= WORKERS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
        struct figures stats = kit_stats(&crowd.kit);
        assert_int_equal(stats.memory_pinned, 0);
        assert_int_equal(budget_bytes(&crowd.kit.store->budget), stats.memory_bytes);
        kit_close(&crowd.kit);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_crowd)};
    return cmocka_run_group_tests_name("store threads", tests, NULL, NULL);
}
