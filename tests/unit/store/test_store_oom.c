/*
 * The memory tier when memory is refused: the n-th allocation or mapping fails, for n = 0, 1, 2 ..., once or from then
 * on. Every call must come back with a status, every structure must add up afterwards, nothing may leak, and what was
 * refused must not be served in an older version.
 */
#include "store_kit.h"

struct scarce {
    _Atomic uint64_t asked;
    uint64_t fails_at;
    bool forever;
};

static bool is_refused(struct scarce *scarce)
{
    uint64_t turn = atomic_fetch_add(&scarce->asked, 1);
    return turn == scarce->fails_at || (scarce->forever && turn > scarce->fails_at);
}

static void *scarce_acquire(void *context, size_t bytes)
{
    return is_refused(context) ? NULL : malloc(bytes);
}

static void scarce_release(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

static bool scarce_mapping(void *context, size_t bytes)
{
    (void)bytes;
    return !is_refused(context);
}

static void check_serves_last(struct kit *kit, unsigned number, size_t size, aic_status put)
{
    struct pin pin;
    aic_status status = kit_get(kit, number, &pin);
    assert_int_equal(status, put == AIC_OK ? AIC_OK : AIC_MISS);
    if (status != AIC_OK) return;
    kit_check(&pin, number, size);
    pin_release(&pin);
}

/* Every call of store.h. Returns false when nothing was refused. */
static bool run_scenario(struct scarce *scarce)
{
    struct kit kit = {.now_ms = 1700000000000};
    aic_allocator allocator = {scarce_acquire, scarce_release, scarce_mapping, scarce};
    mem_init(&kit.mem, &allocator);
    kit.clock = (aic_clock){.wall_ms = kit_wall, .mono_ns = kit_wall, .context = &kit};
    struct store_options options = {
        .mem = &kit.mem, .clock = &kit.clock, .max_bytes = 6 << 20, .max_item_bytes = 5 << 20, .shards = 2};
    aic_status status = store_create(&options, &kit.store);
    if (status != AIC_OK) {
        assert_int_equal(status, AIC_NO_MEMORY);
        assert_null(kit.store);
        mem_fini(&kit.mem);
        return true;
    }
    for (unsigned i = 0; i < 900; i++) {
        size_t size = i % 7 == 0 ? 20000 : 3000;
        status = kit_put_ttl(&kit, i % 600, size, i % 5 == 0 ? 1000 : 0);
        assert_true(status == AIC_OK || status == AIC_NO_MEMORY);
        check_serves_last(&kit, i % 600, size, status);
    }
    kit_verify(&kit);
    status = kit_put(&kit, 1000, 4 << 20);
    assert_true(status == AIC_OK || status == AIC_NO_MEMORY);
    check_serves_last(&kit, 1000, 4 << 20, status);
    kit.now_ms += 5000;
    store_expire(kit.store);
    kit_verify(&kit);
    struct pin pins[16];
    uint64_t cursor = 0;
    do {
        size_t count = store_scan(kit.store, &cursor, pins, 16);
        for (size_t i = 0; i < count; i++) pin_release(&pins[i]);
    } while (cursor != 0);
    assert_int_equal(store_resize(kit.store, 30 << 20, 0), AIC_OK);
    for (unsigned i = 0; i < 2000; i++) {
        status = kit_put(&kit, i, 9000);
        assert_true(status == AIC_OK || status == AIC_NO_MEMORY);
    }
    assert_int_equal(store_resize(kit.store, 1 << 20, 0), AIC_OK);
    assert_true(kit_stats(&kit).memory_bytes <= 1 << 20);
    kit_close(&kit);
    return atomic_load(&scarce->asked) > scarce->fails_at;
}

static void sweep(bool forever)
{
    for (uint64_t n = 0;; n++) {
        struct scarce scarce = {.fails_at = n, .forever = forever};
        if (!run_scenario(&scarce)) {
            assert_true(n > 10); /* the sweep met something */
            return;
        }
    }
}

static void test_one_refusal(void **state)
{
    (void)state;
    sweep(false);
}

static void test_refusals_from_then_on(void **state)
{
    (void)state;
    sweep(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_one_refusal),
                                       cmocka_unit_test(test_refusals_from_then_on)};
    return cmocka_run_group_tests_name("store out of memory", tests, NULL, NULL);
}
