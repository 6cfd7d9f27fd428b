/*
 * The memory tier through its public functions: what it keeps, for how long, what it refuses, and what goes when it is
 * full.
 */
#include "store_kit.h"

static void test_fresh_store_is_empty(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 1 << 20, .max_entries = 100});
    struct figures stats = kit_stats(&kit);
    assert_int_equal(stats.memory_entries, 0);
    assert_int_equal(stats.memory_bytes, 0);
    assert_int_equal(stats.memory_max_entries, 100);
    assert_int_equal(stats.memory_max_bytes, 1 << 20);
    assert_int_equal(
        stats.memory_gets + stats.memory_found + stats.memory_puts + stats.evicted_capacity + stats.evicted_expired, 0);
    struct pin pins[4];
    uint64_t cursor = 0;
    assert_int_equal(store_scan(kit.store, &cursor, pins, 4), 0);
    assert_int_equal(cursor, 0);
    kit_close(&kit);
}

static void test_value_comes_back(void **state)
{
    (void)state;
    struct kit kit;
    struct pin pin;
    kit_open(&kit, (struct store_options){.max_bytes = 64 << 20});
    const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 100000, 2097152 - 64, 2097152, 5000000};
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) assert_int_equal(kit_put(&kit, i, sizes[i]), AIC_OK);
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        assert_int_equal(kit_get(&kit, i, &pin), AIC_OK);
        kit_check(&pin, i, sizes[i]);
        struct iovec piece;
        size_t covered = 1;
        size_t count = pin_pieces(&pin, 0, SIZE_MAX, &piece, 1, &covered);
        if (sizes[i] == 0) assert_int_equal(count + covered, 0);
        else if (sizes[i] < 2000000) assert_int_equal(covered, sizes[i]); /* contiguous in a fresh store */
        pin_release(&pin);
    }
    struct figures stats = kit_stats(&kit);
    assert_int_equal(stats.memory_entries, COUNT_OF(sizes));
    assert_int_equal(stats.memory_key_bytes, 32 * COUNT_OF(sizes));
    assert_int_equal(stats.memory_found, COUNT_OF(sizes));
    assert_int_equal(stats.memory_bytes, stats.memory_key_bytes + stats.memory_value_bytes + stats.memory_index_bytes +
                                             stats.memory_overhead_bytes);
    kit_close(&kit);
}

static void test_parts_are_gathered(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 1 << 20});
    struct iovec parts[] = {{"ab", 2}, {NULL, 0}, {"cdef", 4}, {"g", 1}};
    struct store_put put = {.key = kit_key(1), .parts = parts, .part_count = COUNT_OF(parts)};
    assert_int_equal(store_put(kit.store, &put), AIC_OK);
    struct pin pin;
    assert_int_equal(kit_get(&kit, 1, &pin), AIC_OK);
    char text[4];
    pin_copy(&pin, 1, text, 4);
    assert_memory_equal(text, "bcde", 4);
    pin_release(&pin);
    kit_close(&kit);
}

static void test_time_to_live(void **state)
{
    (void)state;
    struct kit kit;
    struct pin pin;
    kit_open(&kit, (struct store_options){.max_bytes = 1 << 20});
    assert_int_equal(kit_put_ttl(&kit, 1, 10, 60000), AIC_OK);
    assert_int_equal(kit_put_ttl(&kit, 2, 10, 0), AIC_OK);
    assert_int_equal(kit_get(&kit, 1, &pin), AIC_OK);
    assert_int_equal(pin_expires_ms(&pin) - kit.now_ms, 60000);
    pin_release(&pin);
    kit.now_ms += 59999;
    assert_true(kit_has(&kit, 1));
    kit.now_ms += 1;
    assert_int_equal(kit_get(&kit, 1, &pin), AIC_MISS);  /* exactly at its expiry */
    assert_int_equal(kit_stats(&kit).memory_entries, 1); /* and it is gone, not only hidden */
    kit.now_ms += 400ull * 86400000;
    assert_int_equal(kit_get(&kit, 2, &pin), AIC_OK);
    assert_int_equal(pin_expires_ms(&pin), 0);
    pin_release(&pin);
    struct figures stats = kit_stats(&kit);
    assert_int_equal(stats.evicted_expired, 1);
    assert_int_equal(stats.evicted_capacity, 0);
    assert_int_equal(stats.expiry_lag_seconds, 0);
    kit_close(&kit);
}

/* The store looks at the time of the kernel's last tick first: what it serves is exact to the millisecond still. */
static void test_system_clock_expires_to_the_millisecond(void **state)
{
    (void)state;
    struct kit kit;
    const aic_clock *clock = clock_system();
    kit_open(&kit, (struct store_options){.max_bytes = 1 << 20, .clock = clock});
    for (unsigned round = 0; round < 20; round++) {
        uint64_t expires_ms = clock_wall_ms(clock) + 5, before, after;
        assert_int_equal(kit_put_full(&kit, round, 10, (struct store_put){.expires_ms = expires_ms}), AIC_OK);
        do {
            before = clock_wall_ms(clock);
            struct pin pin = {0};
            aic_status status = kit_get(&kit, round, &pin);
            pin_release(&pin);
            after = clock_wall_ms(clock);
            if (after < expires_ms) assert_int_equal(status, AIC_OK);
            if (before >= expires_ms) assert_int_equal(status, AIC_MISS);
            assert_true(clock_tick_ms(clock) <= clock_wall_ms(clock));
        } while (before < expires_ms);
    }
    assert_int_equal(kit_stats(&kit).evicted_expired, 20);
    kit_close(&kit);
}

static void test_wheel_expires_what_nobody_reads(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 16 << 20});
    for (unsigned i = 0; i < 2000; i++) assert_int_equal(kit_put_ttl(&kit, i, 100, 1000 + i * 100), AIC_OK);
    size_t removed = 0;
    for (unsigned second = 1; second <= 205; second++) {
        kit.now_ms += 1000;
        removed += store_expire(kit.store);
        kit_verify(&kit);
        assert_true(kit_stats(&kit).expiry_lag_seconds <= (1000 + WHEEL_TICK_MS) / 1000.0);
    }
    assert_int_equal(removed, 2000);
    assert_int_equal(kit_stats(&kit).memory_entries, 0);
    assert_int_equal(kit_stats(&kit).memory_bytes, 0);
    kit_close(&kit);
}

static void test_expiry_work_is_bounded(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 64 << 20, .shards = 1});
    for (unsigned i = 0; i < 10000; i++) assert_int_equal(kit_put_ttl(&kit, i, 10, 5000), AIC_OK);
    kit.now_ms += 6000;
    size_t first = store_expire(kit.store);
    assert_true(first > 0 && first < 10000);
    kit_verify(&kit);
    assert_false(kit_has(&kit, 9999)); /* never served, whether the wheel came to it or not */
    size_t rounds = 1;
    while (kit_stats(&kit).memory_entries > 0 && rounds < 10) {
        store_expire(kit.store);
        rounds++;
    }
    assert_int_equal(kit_stats(&kit).memory_entries, 0);
    kit_close(&kit);
}

static void test_capacity_zero_keeps_nothing(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 0});
    for (unsigned i = 0; i < 100; i++) assert_int_equal(kit_put(&kit, i, i), AIC_NOT_STORED);
    assert_int_equal(kit_stats(&kit).memory_entries, 0);
    assert_int_equal(kit_stats(&kit).memory_bytes, 0);
    kit_close(&kit);
}

static void test_limits_hold_after_every_put(void **state)
{
    (void)state;
    const uint64_t budgets[] = {200, 1000, 5000, 100000, 3000000};
    for (size_t i = 0; i < COUNT_OF(budgets); i++) {
        struct kit kit;
        kit_open(&kit, (struct store_options){.max_bytes = budgets[i]});
        for (unsigned n = 0; n < 3000; n++) {
            aic_status status = kit_put(&kit, n, n * 37 % 4000);
            assert_true(status == AIC_OK || status == AIC_NOT_STORED);
            assert_true(budget_bytes(&kit.store->budget) <= budgets[i]);
            assert_true(kit_stats(&kit).memory_bytes <= budgets[i]);
        }
        if (budgets[i] >= 5000) assert_true(kit_stats(&kit).memory_entries > 0);
        kit_close(&kit);
    }
}

static void test_max_entries(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 16 << 20, .max_entries = 2});
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(kit_put(&kit, i, 100), AIC_OK);
        assert_true(kit_has(&kit, i));
        assert_true(kit_stats(&kit).memory_entries <= 2);
    }
    assert_int_equal(kit_stats(&kit).memory_entries, 2);
    assert_int_equal(kit_stats(&kit).evicted_capacity, 48);
    assert_int_equal(kit_stats(&kit).evicted_unused, 48);
    /* An update of one of the two evicts nobody. */
    assert_int_equal(kit_put(&kit, 49, 5000), AIC_OK);
    assert_int_equal(kit_stats(&kit).memory_entries, 2);
    assert_int_equal(kit_stats(&kit).evicted_capacity, 48);
    kit_close(&kit);
}

/* With bytes left, one new entry costs one old one its place, however small that was. */
static void test_max_entries_evicts_one_for_one(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 64 << 20, .max_entries = 8});
    for (unsigned i = 0; i < 2000; i++) {
        assert_int_equal(kit_put(&kit, i, i * 997 % 20000), AIC_OK);
        assert_int_equal(kit_stats(&kit).memory_entries, i < 8 ? i + 1 : 8);
    }
    kit_close(&kit);
}

static void test_item_too_large(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 1 << 20, .max_item_bytes = 1000});
    assert_int_equal(kit_put(&kit, 1, 1000), AIC_OK);
    assert_int_equal(kit_put(&kit, 2, 10), AIC_OK);
    assert_int_equal(kit_put(&kit, 1, 1001), AIC_NOT_STORED);
    assert_false(kit_has(&kit, 1)); /* the older value would be a wrong answer now */
    assert_true(kit_has(&kit, 2));
    assert_int_equal(kit_stats(&kit).not_admitted, 1);
    kit_close(&kit);
}

static void test_item_larger_than_a_shard(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 1 << 20, .shards = 64});
    for (unsigned i = 0; i < 500; i++) assert_int_equal(kit_put(&kit, i, 3000), AIC_OK);
    for (unsigned i = 0; i < 5; i++) {
        struct pin pin;
        assert_int_equal(kit_put(&kit, 1000 + i, 900000), AIC_OK);
        assert_int_equal(kit_get(&kit, 1000 + i, &pin), AIC_OK);
        kit_check(&pin, 1000 + i, 900000);
        pin_release(&pin);
        kit_verify(&kit);
    }
    kit_close(&kit);
}

static void test_update_at_capacity_evicts_no_stranger(void **state)
{
    (void)state;
    for (unsigned policy = 0; policy < 4; policy++) {
        struct kit kit;
        kit_open(&kit, (struct store_options){.max_bytes = 100000, .shards = 4, .policy = (aic_policy)policy});
        unsigned n = 0;
        while (kit_stats(&kit).evicted_capacity == 0) assert_int_equal(kit_put(&kit, n++, 1000), AIC_OK);
        uint64_t entries = kit_stats(&kit).memory_entries, evicted = kit_stats(&kit).evicted_capacity;
        for (unsigned round = 0; round < 5; round++) {
            for (unsigned i = 0; i < n; i++) {
                if (!kit_has(&kit, i)) continue;
                assert_int_equal(kit_put(&kit, i, 1000 - round * 50), AIC_OK);
                assert_int_equal(kit_stats(&kit).memory_entries, entries);
                assert_int_equal(kit_stats(&kit).evicted_capacity, evicted);
            }
        }
        kit_close(&kit);
    }
}

static void test_pins_survive_everything(void **state)
{
    (void)state;
    for (unsigned policy = 0; policy < 4; policy++) {
        struct kit kit;
        kit_open(&kit, (struct store_options){.max_bytes = 200000, .policy = (aic_policy)policy});
        struct pin replaced, deleted, expired, crowded, moved;
        for (unsigned i = 0; i < 4; i++) assert_int_equal(kit_put_ttl(&kit, i, 2000 + i, i == 2 ? 50 : 0), AIC_OK);
        assert_int_equal(kit_get(&kit, 0, &replaced), AIC_OK);
        assert_int_equal(kit_get(&kit, 1, &deleted), AIC_OK);
        assert_int_equal(kit_get(&kit, 2, &expired), AIC_OK);
        assert_int_equal(kit_get(&kit, 3, &crowded), AIC_OK);
        moved = crowded; /* plain data: released through the copy */
        assert_int_equal(kit_stats(&kit).memory_pinned, 4);
        uint64_t before = kit_stats(&kit).memory_value_bytes;
        assert_int_equal(kit_put(&kit, 0, 10), AIC_OK);
        aic_key key = kit_key(1);
        assert_int_equal(store_delete(kit.store, &key), AIC_OK);
        assert_int_equal(store_delete(kit.store, &key), AIC_MISS);
        kit.now_ms += 1000;
        store_expire(kit.store);
        assert_int_equal(kit_stats(&kit).memory_value_bytes, before + 10); /* still in memory, still in the budget */
        kit_verify(&kit);
        for (unsigned i = 100; i < 1000; i++) assert_int_equal(kit_put(&kit, i, 1500), AIC_OK);
        assert_true(kit_stats(&kit).memory_bytes <= 200000);
        kit_verify(&kit);
        kit_check(&replaced, 0, 2000);
        kit_check(&deleted, 1, 2001);
        kit_check(&expired, 2, 2002);
        kit_check(&moved, 3, 2003);
        assert_int_equal(store_remove_pinned(kit.store, &replaced, NULL), AIC_STALE);
        pin_release(&replaced);
        pin_release(&deleted);
        pin_release(&expired);
        pin_release(&moved);
        pin_release(&moved); /* an empty pin is nothing */
        assert_int_equal(kit_stats(&kit).memory_pinned, 0);
        kit_close(&kit);
    }
}

static void test_everything_pinned(void **state)
{
    (void)state;
    for (unsigned policy = 0; policy < 4; policy++) {
        struct kit kit;
        struct pin pins[64];
        unsigned count = 0;
        kit_open(&kit, (struct store_options){.max_bytes = 20000, .shards = 4, .policy = (aic_policy)policy});
        while (kit_put(&kit, count, 1000) == AIC_OK) {
            assert_int_equal(kit_get(&kit, count, &pins[count]), AIC_OK);
            count++;
            assert_true(count < 64);
        }
        assert_true(count > 10);
        assert_int_equal(kit_stats(&kit).not_admitted, 1);
        assert_int_equal(kit_stats(&kit).memory_entries, count); /* nobody was thrown out in vain */
        kit_verify(&kit);
        for (unsigned i = 0; i < count; i++) pin_release(&pins[i]);
        assert_int_equal(kit_put(&kit, 1000, 1000), AIC_OK);
        kit_close(&kit);
    }
}

static void test_guards(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 1 << 20});
    _Atomic uint64_t generation = 7, other = 1;
    struct store_guard guards[] = {{&generation, 7}, {&other, 1}};
    struct store_put put = {.guards = guards, .guard_count = 2, .only_if_absent = true};
    assert_int_equal(kit_put_full(&kit, 1, 10, put), AIC_OK);
    assert_int_equal(kit_put_full(&kit, 1, 20, put), AIC_EXISTS);
    other = 2;
    assert_int_equal(kit_put_full(&kit, 2, 10, put), AIC_STALE);
    assert_int_equal(kit_put_full(&kit, 2, 100 << 20, put), AIC_STALE); /* before its size is looked at */
    assert_false(kit_has(&kit, 2));
    guards[1].expected = 2;
    put.only_if_absent = false;
    assert_int_equal(kit_put_full(&kit, 1, 30, put), AIC_OK);
    struct pin pin;
    assert_int_equal(kit_get(&kit, 1, &pin), AIC_OK);
    kit_check(&pin, 1, 30);
    pin_release(&pin);
    /* An expired one does not count as present. */
    assert_int_equal(kit_put_ttl(&kit, 3, 10, 100), AIC_OK);
    kit.now_ms += 100;
    put.only_if_absent = true;
    assert_int_equal(kit_put_full(&kit, 3, 12, put), AIC_OK);
    kit_close(&kit);
}

static void test_counts(void **state)
{
    (void)state;
    struct kit kit;
    struct pin pin;
    kit_open(&kit, (struct store_options){.max_bytes = 1 << 20});
    assert_int_equal(kit_get(&kit, 1, &pin), AIC_MISS);
    assert_int_equal(kit_put(&kit, 1, 5), AIC_OK);
    uint64_t small = kit_stats(&kit).memory_bytes;
    assert_int_equal(kit_get(&kit, 1, &pin), AIC_OK);
    pin_release(&pin);
    assert_int_equal(kit_put(&kit, 1, 1000), AIC_OK);
    assert_true(kit_stats(&kit).memory_bytes > small);
    assert_true(kit_has(&kit, 1));
    struct figures stats = kit_stats(&kit);
    assert_int_equal(stats.memory_gets, 2);
    assert_int_equal(stats.memory_found, 1);
    assert_int_equal(stats.memory_puts, 2);
    assert_int_equal(stats.memory_replaced, 1);
    assert_int_equal(stats.memory_entries, 1);
    kit_close(&kit);
}

static void test_ghost_hits_and_idle_time(void **state)
{
    (void)state;
    struct kit kit;
    struct pin pin;
    kit_open(&kit, (struct store_options){.max_bytes = 200000, .shards = 1, .policy = AIC_POLICY_LRU});
    for (unsigned i = 0; i < 250; i++) assert_int_equal(kit_put(&kit, i, 1000), AIC_OK);
    assert_int_equal(kit_get(&kit, 0, &pin), AIC_MISS); /* evicted not long ago: a larger cache would have it */
    assert_int_equal(kit_stats(&kit).memory_ghost_hits, 1);
    assert_int_equal(kit_get(&kit, 9999, &pin), AIC_MISS); /* never seen */
    assert_int_equal(kit_stats(&kit).memory_ghost_hits, 1);
    kit.now_ms += 100000;
    assert_int_equal(kit_put(&kit, 500, 1000), AIC_OK);
    assert_in_range(kit_stats(&kit).evicted_idle_seconds, 96, 104);
    kit_close(&kit);
}

static void test_resize(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 40 << 20});
    for (unsigned i = 0; i < 10000; i++) assert_int_equal(kit_put(&kit, i, 3000), AIC_OK);
    assert_int_equal(store_resize(kit.store, 4 << 20, 0), AIC_OK);
    struct figures stats = kit_stats(&kit);
    assert_true(stats.memory_bytes <= 4 << 20);
    assert_true(stats.memory_entries > 1000);
    /* The survivors were moved together, and the rest was given back. */
    assert_true(stats.memory_resident_bytes <= (4 << 20) * 5 / 4 + (18 << 20));
    kit_verify(&kit);
    assert_int_equal(store_resize(kit.store, 4 << 20, 10), AIC_OK);
    assert_int_equal(kit_stats(&kit).memory_entries, 10);
    assert_int_equal(store_resize(kit.store, 0, 0), AIC_OK);
    assert_int_equal(kit_stats(&kit).memory_bytes, 0);
    assert_int_equal(store_resize(kit.store, 1ull << 30, 0), AIC_OK);
    for (unsigned i = 0; i < 10000; i++) assert_int_equal(kit_put(&kit, i, 3000), AIC_OK);
    assert_int_equal(kit_stats(&kit).memory_entries, 10000);
    assert_int_equal(store_resize(kit.store, (1ull << 30) + 1, 0), AIC_INVALID);
    kit_close(&kit);
}

static void *acquire(void *context, size_t bytes)
{
    (void)context;
    return malloc(bytes);
}

static void release(void *context, void *block, size_t bytes)
{
    (void)context, (void)bytes;
    free(block);
}

static bool add_mapping(void *context, size_t bytes)
{
    *(uint64_t *)context += bytes;
    return true;
}

static void test_addresses_are_as_many_as_it_says(void **state)
{
    (void)state;
    static const uint64_t budgets[] = {0, 1 << 20, 256 << 20, 257 << 20, 11ull << 30, 61ull << 30, STORE_MAX_BYTES};
    for (size_t i = 0; i < COUNT_OF(budgets); i++) {
        struct kit kit;
        uint64_t sum = 0;
        aic_allocator allocator = {acquire, release, add_mapping, &sum};
        kit_open_with(&kit, (struct store_options){.max_bytes = budgets[i]}, &allocator);
        assert_int_equal(sum, store_address_bytes(budgets[i]));
        store_destroy(&kit.store);
        mem_fini(&kit.mem);
    }
}

static void test_compaction_keeps_every_value(void **state)
{
    (void)state;
    struct kit kit;
    struct pin held;
    kit_open(&kit, (struct store_options){.max_bytes = 200 << 20});
    for (unsigned i = 0; i < 30000; i++)
        assert_int_equal(kit_put_ttl(&kit, i, 3000 + i % 500, i % 10 == 0 ? 0 : 1000), AIC_OK);
    assert_int_equal(kit_get(&kit, 20, &held), AIC_OK);
    uint64_t resident = kit_stats(&kit).memory_resident_bytes;
    kit.now_ms += 2000;
    for (unsigned i = 0; i < 20; i++) store_expire(kit.store);
    struct figures stats = kit_stats(&kit);
    assert_int_equal(stats.memory_entries, 3000);
    assert_true(stats.memory_resident_bytes < resident / 2); /* nine of ten are gone, from every arena */
    kit_verify(&kit);
    for (unsigned i = 0; i < 30000; i += 10) {
        struct pin pin;
        assert_int_equal(kit_get(&kit, i, &pin), AIC_OK);
        kit_check(&pin, i, 3000 + i % 500);
        pin_release(&pin);
    }
    kit_check(&held, 20, 3020);
    pin_release(&held);
    kit_close(&kit);
}

/* Where the value of this number lies. */
static const void *place_of_value(struct kit *kit, unsigned number)
{
    struct pin pin;
    struct iovec piece;
    size_t covered;
    assert_int_equal(kit_get(kit, number, &pin), AIC_OK);
    assert_int_equal(pin_pieces(&pin, 0, 1, &piece, 1, &covered), 1);
    pin_release(&pin);
    return piece.iov_base;
}

static void test_empty_arenas_that_are_kept_move_nobody(void **state)
{
    (void)state;
    struct kit kit;
    kit_open(&kit, (struct store_options){.max_bytes = 2ull << 30});
    for (unsigned i = 0; i < 20000; i++) assert_int_equal(kit_put_ttl(&kit, i, 3000, i < 20 ? 0 : 1000), AIC_OK);
    const void *before = place_of_value(&kit, 7);
    kit.now_ms += 2000;
    for (unsigned i = 0; i < 5; i++) store_expire(kit.store);
    assert_int_equal(kit_stats(&kit).memory_entries, 20);
    assert_true(kit_stats(&kit).memory_resident_bytes > 40 << 20); /* within what is kept */
    assert_ptr_equal(place_of_value(&kit, 7), before);
    kit_close(&kit);
}

static void test_dump_tells_sizes_and_no_keys(void **state)
{
    (void)state;
    struct kit kit;
    struct buf text;
    kit_open(&kit, (struct store_options){.max_bytes = 1 << 20, .shards = 1, .policy = AIC_POLICY_SIEVE});
    for (unsigned i = 0; i < 7; i++) assert_int_equal(kit_put_ttl(&kit, i, 100, 1000), AIC_OK);
    buf_init(&text, &kit.mem, MEM_OTHER);
    store_dump(kit.store, &text);
    buf_append_byte(&text, '\0');
    assert_int_equal(buf_status(&text), AIC_OK);
    assert_non_null(strstr(text.data, "shard 0: 7 entries, 700 value bytes"));
    assert_non_null(strstr(text.data, "policy: sieve, small 0 entries 0 bytes, main 7 entries"));
    assert_non_null(strstr(text.data, "wheel: 7 entries"));
    buf_fini(&text);
    kit_close(&kit);
}

static void test_options_are_checked(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct store *store = NULL;
    struct store_options options = {.mem = &mem, .clock = clock_system(), .max_bytes = 1 << 20, .shards = 3};
    assert_int_equal(store_create(&options, &store), AIC_INVALID);
    options.shards = 0;
    options.max_bytes = 1ull << 60;
    assert_int_equal(store_create(&options, &store), AIC_INVALID);
    assert_null(store);
    store_destroy(&store);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fresh_store_is_empty),
        cmocka_unit_test(test_value_comes_back),
        cmocka_unit_test(test_parts_are_gathered),
        cmocka_unit_test(test_time_to_live),
        cmocka_unit_test(test_system_clock_expires_to_the_millisecond),
        cmocka_unit_test(test_wheel_expires_what_nobody_reads),
        cmocka_unit_test(test_expiry_work_is_bounded),
        cmocka_unit_test(test_capacity_zero_keeps_nothing),
        cmocka_unit_test(test_limits_hold_after_every_put),
        cmocka_unit_test(test_max_entries),
        cmocka_unit_test(test_max_entries_evicts_one_for_one),
        cmocka_unit_test(test_item_too_large),
        cmocka_unit_test(test_item_larger_than_a_shard),
        cmocka_unit_test(test_update_at_capacity_evicts_no_stranger),
        cmocka_unit_test(test_pins_survive_everything),
        cmocka_unit_test(test_everything_pinned),
        cmocka_unit_test(test_guards),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_ghost_hits_and_idle_time),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_addresses_are_as_many_as_it_says),
        cmocka_unit_test(test_compaction_keeps_every_value),
        cmocka_unit_test(test_empty_arenas_that_are_kept_move_nobody),
        cmocka_unit_test(test_dump_tells_sizes_and_no_keys),
        cmocka_unit_test(test_options_are_checked),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
