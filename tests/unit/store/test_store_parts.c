/*
 * The structures of the memory tier one by one: holes and arenas, the table, the wheel, the queues of the policies, the
 * ghost, the budget. Each is driven by its own functions and recounted by its own verify(), which must also notice what
 * is wrong.
 */
#include "store/hash.h"
#include "store_kit.h"

#include <sys/mman.h>

/* ---------------------------------------------------------------------------------------------------------- pool -- */

struct pool_kit {
    struct mem mem;
    struct pool pool;
};

static void pool_open(struct pool_kit *kit, uint64_t max_bytes)
{
    mem_init(&kit->mem, NULL);
    assert_int_equal(pool_init(&kit->pool, &kit->mem, 64 << 20), AIC_OK);
    pool_set_limit(&kit->pool, max_bytes);
}

static void pool_close(struct pool_kit *kit)
{
    assert_null(pool_verify(&kit->pool));
    pool_fini(&kit->pool);
    mem_fini(&kit->mem);
}

static enum pool_result take(struct pool_kit *kit, uint32_t size, handle *at)
{
    uint64_t granules;
    enum pool_result result;
    while ((result = pool_take(&kit->pool, size, UINT64_MAX, at, &granules)) == POOL_GROW)
        assert_int_equal(pool_grow(&kit->pool), AIC_OK);
    if (result == POOL_TAKEN) assert_int_equal(granules, pool_granules(&kit->pool, pool_entry(&kit->pool, *at), *at));
    return result;
}

static void test_pool_merges_what_comes_back(void **state)
{
    (void)state;
    struct pool_kit kit;
    handle at[100];
    pool_open(&kit, 8 << 20);
    for (unsigned i = 0; i < 100; i++) assert_int_equal(take(&kit, 1000 + i * 10, &at[i]), POOL_TAKEN);
    assert_int_equal(kit.pool.mapped, 1);
    for (unsigned i = 0; i < 100; i += 2) pool_give(&kit.pool, at[i]);
    assert_null(pool_verify(&kit.pool));
    assert_true(kit.pool.holes.count > 40);
    for (unsigned i = 1; i < 100; i += 2) pool_give(&kit.pool, at[i]);
    assert_int_equal(kit.pool.holes.count, 1);
    assert_int_equal(kit.pool.holes.whole, 1);
    kit.pool.taken++; /* verify() must notice */
    assert_non_null(pool_verify(&kit.pool));
    kit.pool.taken--;
    pool_close(&kit);
}

/* What is given back in an exchange is there for what is taken in it, and comes back even when nothing can be taken. */
static void test_pool_exchanges(void **state)
{
    (void)state;
    struct pool_kit kit;
    static handle at[5000];
    unsigned count = 0;
    uint64_t granules;
    handle other;
    pool_open(&kit, 0); /* two arenas */
    while (take(&kit, 960, &at[count]) == POOL_TAKEN) count++;
    assert_int_equal(kit.pool.holes.granules, 0);
    uint64_t taken = kit.pool.taken, gives = kit.pool.gives;
    assert_int_equal(pool_exchange(&kit.pool, at, 3, 3 * 1024 - 64, UINT64_MAX, &other, &granules), POOL_TAKEN);
    assert_int_equal(other, at[0]);
    assert_int_equal(kit.pool.taken, taken);
    assert_int_equal(kit.pool.gives, gives + 3);
    assert_int_equal(pool_exchange(&kit.pool, at + 3, 2, 1 << 20, UINT64_MAX, &other, &granules), POOL_FULL);
    assert_int_equal(kit.pool.taken, taken - 32);
    assert_null(pool_verify(&kit.pool));
    pool_give_all(&kit.pool, at, 1);
    pool_give_all(&kit.pool, at + 5, count - 5);
    assert_int_equal(kit.pool.holes.whole, 2);
    pool_close(&kit);
}

static void test_pool_uses_scattered_memory(void **state)
{
    (void)state;
    struct pool_kit kit;
    static handle at[20000];
    unsigned count = 0;
    handle large;
    pool_open(&kit, 0); /* two arenas */
    while (take(&kit, 1000, &at[count]) == POOL_TAKEN) count++;
    assert_int_equal(kit.pool.mapped, 2);
    for (unsigned i = 0; i < count; i += 2) pool_give(&kit.pool, at[i]);
    assert_int_equal(take(&kit, 5000, &large), POOL_TAKEN); /* no hole of that size is left */
    assert_true(entry_in_pieces(pool_entry(&kit.pool, large)));
    uint64_t granules;
    handle other;
    assert_int_equal(pool_take(&kit.pool, 5000, 10, &other, &granules), POOL_TIGHT);
    assert_int_equal(pool_take(&kit.pool, 2 << 20, UINT64_MAX, &other, &granules), POOL_FULL);
    assert_null(pool_verify(&kit.pool));
    pool_give(&kit.pool, large);
    for (unsigned i = 1; i < count; i += 2) pool_give(&kit.pool, at[i]);
    pool_close(&kit);
}

/* A number of a row that is always the same. */
static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(*state >> 33);
}

/* Values of 0.5 to 50 KB, most of some 4 KB. */
static uint32_t random_size(uint64_t *state)
{
    uint32_t doublings = (uint32_t)__builtin_popcount(next_random(state) & 0x3f);
    uint32_t size = (512u << doublings) + next_random(state) % (512u << doublings);
    return size < 50000 ? size : 50000;
}

/* Twenty turnovers in random order, at the limit: there is a hole for every value. */
static void test_pool_does_not_crumble(void **state)
{
    (void)state;
    enum { BYTES = 40 << 20, MOST = 20000, TURNS = 20 };
    struct pool_kit kit;
    static handle at[MOST];
    uint64_t random = 1;
    unsigned count = 0, in_pieces = 0;
    pool_open(&kit, BYTES);
    uint64_t most = BYTES / GRANULE_BYTES;
    for (unsigned puts = 0, first_turn = 0; first_turn == 0 || puts < TURNS * first_turn; puts++) {
        uint32_t size = random_size(&random);
        while (kit.pool.taken + entry_granules_for(size) > most) {
            if (first_turn == 0) first_turn = puts;
            unsigned gone = next_random(&random) % count;
            pool_give(&kit.pool, at[gone]);
            at[gone] = at[--count];
        }
        assert_true(count < MOST);
        assert_int_equal(take(&kit, size, &at[count]), POOL_TAKEN);
        in_pieces += entry_in_pieces(pool_entry(&kit.pool, at[count++]));
    }
    assert_null(pool_verify(&kit.pool));
    assert_int_equal(in_pieces, 0);
    while (count > 0) pool_give(&kit.pool, at[--count]);
    assert_int_equal(kit.pool.holes.whole, kit.pool.mapped);
    pool_close(&kit);
}

static void test_pool_returns_empty_arenas(void **state)
{
    (void)state;
    struct pool_kit kit;
    handle at[20];
    pool_open(&kit, 60 << 20);
    for (unsigned i = 0; i < 20; i++) assert_int_equal(take(&kit, ARENA_BYTES - 64, &at[i]), POOL_TAKEN);
    assert_int_equal(pool_resident_bytes(&kit.pool) >> 21, 20);
    memset(pool_entry(&kit.pool, at[3]) + 1, 0xee, 1000);
    for (unsigned i = 0; i < 20; i++) pool_give(&kit.pool, at[i]);
    assert_true(pool_wants_trim(&kit.pool));
    pool_trim(&kit.pool);
    assert_false(pool_wants_trim(&kit.pool));
    assert_true(pool_resident_bytes(&kit.pool) >> 21 < 5);
    assert_int_equal(mem_bytes(&kit.mem, MEM_STORE_VALUES), pool_resident_bytes(&kit.pool));
    pool_close(&kit);
}

static void test_pool_drains(void **state)
{
    (void)state;
    struct pool_kit kit;
    static handle at[8000];
    unsigned count = 0, draining = 0;
    pool_open(&kit, 12 << 20);
    while (count < 3000) assert_int_equal(take(&kit, 3000, &at[count++]), POOL_TAKEN);
    for (unsigned i = 0; i < count; i++)
        if (i % 8 != 0) pool_give(&kit.pool, at[i]);
    assert_true(pool_drain(&kit.pool) >= 3);
    assert_null(pool_verify(&kit.pool));
    for (unsigned i = 0; i < count; i += 8) draining += pool_is_draining(&kit.pool, at[i]);
    assert_true(draining > 100);
    for (unsigned i = 0; i < count; i += 8) {
        if (!pool_is_draining(&kit.pool, at[i])) continue;
        handle copy;
        assert_int_equal(take(&kit, 3000, &copy), POOL_TAKEN);
        assert_false(pool_is_draining(&kit.pool, copy));
        pool_give(&kit.pool, at[i]);
        at[i] = copy;
    }
    assert_true(kit.pool.holes.whole >= 3);
    pool_undrain(&kit.pool);
    assert_null(pool_verify(&kit.pool));
    for (unsigned i = 0; i < count; i += 8) pool_give(&kit.pool, at[i]);
    pool_close(&kit);
}

/* --------------------------------------------------------------------------------------- entries without a store -- */

struct room {
    struct mem mem;
    char *base;    /* of the entries */
    char *regions; /* of table and ghost */
    struct table table;
    struct ghost ghost;
};

enum { ROOM_ENTRIES = 40000, ROOM_REGION = 8 << 20 };

static void *map(size_t bytes)
{
    void *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(mapping != MAP_FAILED);
    return mapping;
}

static void room_open(struct room *room)
{
    mem_init(&room->mem, NULL);
    room->base = map(ROOM_ENTRIES * sizeof(struct entry) + 4096);
    room->regions = map(3 * ROOM_REGION);
    table_init(&room->table, &room->mem, room->base, room->regions, ROOM_REGION, room->regions + ROOM_REGION,
               ROOM_REGION);
    ghost_init(&room->ghost, &room->mem, room->regions + 2 * ROOM_REGION, ROOM_REGION);
    room->table.buckets.committed = room->table.spills.committed = room->ghost.lines.committed = ROOM_REGION;
    for (unsigned i = 1; i < ROOM_ENTRIES; i++) {
        struct entry *entry = entry_at(room->base, i);
        memset(entry, 0, sizeof *entry);
        entry->key = kit_key(i);
        atomic_init(&entry->refs, 1);
    }
}

static void room_close(struct room *room)
{
    munmap(room->base, ROOM_ENTRIES * sizeof(struct entry) + 4096);
    munmap(room->regions, 3 * ROOM_REGION);
    mem_fini(&room->mem);
}

static uint64_t hash_of(struct room *room, handle at)
{
    return hash_key(&entry_at(room->base, at)->key);
}

static void test_table_grows_and_shrinks_by_its_bytes(void **state)
{
    (void)state;
    struct room room;
    room_open(&room);
    uint64_t credit = 0;
    assert_int_equal(table_add(&room.table, hash_of(&room, 1), 1, &credit),
                     AIC_FULL); /* nothing paid, nothing changed */
    assert_null(table_verify(&room.table));
    credit = 1 << 20;
    for (handle at = 1; at < ROOM_ENTRIES; at++) {
        assert_int_equal(table_add(&room.table, hash_of(&room, at), at, &credit), AIC_OK);
        assert_int_equal(credit + room.table.bytes, 1 << 20);
        if (at % 997 == 0) assert_null(table_verify(&room.table));
    }
    assert_true(room.table.bytes < ROOM_ENTRIES * 11ull);
    for (handle at = 1; at < ROOM_ENTRIES; at++)
        assert_int_equal(table_find(&room.table, hash_of(&room, at), &entry_at(room.base, at)->key), at);
    aic_key stranger = kit_key(ROOM_ENTRIES + 1);
    assert_int_equal(table_find(&room.table, hash_key(&stranger), &stranger), 0);
    for (handle at = 1; at < ROOM_ENTRIES; at++) {
        /* One that leaves to come back needs nothing but what it left. */
        uint64_t freed = 0;
        table_remove(&room.table, hash_of(&room, at), at, &freed);
        assert_int_equal(table_add(&room.table, hash_of(&room, at), at, &freed), AIC_OK);
        table_remove(&room.table, hash_of(&room, at), at, &freed);
        credit += freed;
        assert_int_equal(credit + room.table.bytes, 1 << 20);
        if (at % 997 == 0) assert_null(table_verify(&room.table));
        assert_true(room.table.bytes <= (room.table.keys + 200) * 11);
    }
    assert_int_equal(room.table.bytes, 0);
    assert_int_equal(credit, 1 << 20);
    room_close(&room);
}

static void test_table_verify_notices(void **state)
{
    (void)state;
    struct room room;
    uint64_t credit = 1 << 20;
    room_open(&room);
    for (handle at = 1; at < 500; at++)
        assert_int_equal(table_add(&room.table, hash_of(&room, at), at, &credit), AIC_OK);
    entry_at(room.base, 77)->key.bytes[9] ^= 1;
    assert_non_null(table_verify(&room.table));
    entry_at(room.base, 77)->key.bytes[9] ^= 1;
    assert_null(table_verify(&room.table));
    room.table.bytes += BUCKET_BYTES;
    assert_non_null(table_verify(&room.table));
    room_close(&room);
}

/* --------------------------------------------------------------------------------------------------------- wheel -- */

static void test_wheel_finds_each_in_time(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    struct room room;
    struct wheel wheel;
    uint64_t start = 1700000000000, now = start;
    room_open(&room);
    wheel_init(&wheel, room.base, start);
    for (handle at = ARENA_GRANULES; at < ARENA_GRANULES + COUNT; at++) {
        /* From 1 ms to some years, spread over all levels. */
        struct entry *entry = entry_at(room.base, at);
        uint64_t ttl = 1 + ((at * 2654435761u) >> (at % 24));
        ttl <<= at % 5;
        entry_set_life(entry, (start + ttl) & ENTRY_MAX_EXPIRES);
        wheel_add(&wheel, entry, at);
    }
    assert_null(wheel_verify(&wheel));
    for (handle at = ARENA_GRANULES; at < ARENA_GRANULES + COUNT; at += 10)
        wheel_remove(&wheel, entry_at(room.base, at));
    assert_null(wheel_verify(&wheel));
    unsigned found = 0;
    for (unsigned step = 0; wheel.count > 0 && step < 60000; step++) {
        now += step < 2000 ? 300 : (uint64_t)step * step;
        unsigned work = 100000;
        handle at;
        while ((at = wheel_next(&wheel, now, &work)) != 0) {
            assert_true(entry_is_expired(entry_at(room.base, at), now));
            wheel_remove(&wheel, entry_at(room.base, at));
            found++;
        }
        assert_true(work > 0);
        if (step % 500 != 0) continue;
        assert_null(wheel_verify(&wheel));
        for (at = ARENA_GRANULES; at < ARENA_GRANULES + COUNT; at++) {
            /* What is still in it has not been expired for longer than a tick. */
            const struct entry *entry = entry_at(room.base, at);
            if (entry->wheel_prev != 0) assert_true(entry_expires_ms(entry) + WHEEL_TICK_MS > now);
        }
    }
    assert_int_equal(found, COUNT - COUNT / 10);
    room_close(&room);
}

static void test_wheel_work_is_bounded_and_resumes(void **state)
{
    (void)state;
    struct room room;
    struct wheel wheel;
    room_open(&room);
    wheel_init(&wheel, room.base, 1000);
    for (handle at = ARENA_GRANULES; at < ARENA_GRANULES + 100; at++) {
        entry_set_life(entry_at(room.base, at), 5000);
        wheel_add(&wheel, entry_at(room.base, at), at);
    }
    unsigned found = 0;
    for (unsigned round = 0; round < 10; round++) {
        unsigned work = 10;
        handle at;
        while ((at = wheel_next(&wheel, 1ull << 41, &work)) != 0) { /* the clock leaps */
            wheel_remove(&wheel, entry_at(room.base, at));
            found++;
        }
        assert_int_equal(found, (round + 1) * 10);
        assert_null(wheel_verify(&wheel));
    }
    assert_int_equal(wheel.count, 0);
    room_close(&room);
}

/* ----------------------------------------------------------------------------------------------- policies, ghost -- */

static handle victim_of(struct policy *policy)
{
    return policy->ops->victim(policy);
}

static void add(struct policy *policy, handle at, bool returns)
{
    struct policy_hint hint = {.returns = returns};
    entry_at(policy->base, at)->size_bits = 1000;
    policy->ops->add(policy, entry_at(policy->base, at), at, &hint);
}

static void use(struct policy *policy, handle at)
{
    policy->ops->use(policy, entry_at(policy->base, at), at);
}

static void drop(struct policy *policy, handle at)
{
    policy->ops->remove(policy, entry_at(policy->base, at), at);
}

static void test_policies_choose(void **state)
{
    (void)state;
    /* 1 2 3 4 5 arrive in this order, 1 and 2 are used, 3 is pinned. */
    static const handle expected[][5] = {
        [AIC_POLICY_S3FIFO] = {4, 5, 2, 1, 0}, /* below: 1 and 2 were used twice */
        [AIC_POLICY_LRU] = {4, 5, 1, 2, 0},
        [AIC_POLICY_FIFO] = {1, 2, 4, 5, 0},
        [AIC_POLICY_SIEVE] = {4, 5, 1, 2, 0},
    };
    for (unsigned kind = 0; kind < 4; kind++) {
        struct room room;
        struct policy policy;
        room_open(&room);
        policy_init(&policy, (aic_policy)kind, room.base);
        for (handle at = 1; at <= 5; at++) add(&policy, at, false);
        use(&policy, 1);
        use(&policy, 2);
        if (kind == AIC_POLICY_S3FIFO) {
            use(&policy, 1);
            use(&policy, 2);
        }
        atomic_store(&entry_at(room.base, 3)->refs, 2);
        handle order[5] = {0};
        for (unsigned i = 0; i < 4; i++) {
            order[i] = victim_of(&policy);
            assert_true(order[i] != 0 && order[i] != 3);
            drop(&policy, order[i]);
            assert_null(policy_verify(&policy));
        }
        if (kind != AIC_POLICY_S3FIFO) assert_memory_equal(order, expected[kind], sizeof order);
        else assert_true((order[0] == 4 && order[1] == 5) && order[2] + order[3] == 3);
        assert_int_equal(victim_of(&policy), 0); /* only the pinned one is left */
        drop(&policy, 3);
        assert_int_equal(policy_bytes(&policy), 0);
        assert_int_equal(victim_of(&policy), 0);
        room_close(&room);
    }
}

static void test_s3fifo_returning_goes_to_main(void **state)
{
    (void)state;
    struct room room;
    struct policy policy;
    room_open(&room);
    policy_init(&policy, AIC_POLICY_S3FIFO, room.base);
    for (handle at = 1; at <= 20; at++) add(&policy, at, at <= 10);
    assert_int_equal(policy.queues[QUEUE_MAIN].count, 10);
    for (handle at = 11; at <= 18; at++) {
        assert_int_equal(victim_of(&policy), at); /* the small queue holds more than a tenth */
        drop(&policy, at);
    }
    use(&policy, 1);
    drop(&policy, 19);
    drop(&policy, 20);
    assert_int_equal(victim_of(&policy), 2); /* 1 was used and gets another round */
    policy.queues[QUEUE_MAIN].bytes++;
    assert_non_null(policy_verify(&policy));
    room_close(&room);
}

static void test_ghost_remembers_as_long_as_it_should(void **state)
{
    (void)state;
    struct room room;
    uint64_t credit = 1 << 20;
    enum { HELD = 10000, WEIGHT = 1024 };
    room_open(&room);
    for (unsigned keys = 0; keys < HELD; keys++) ghost_fit(&room.ghost, keys, &credit);
    assert_int_equal(credit + ghost_bytes(&room.ghost), 1 << 20);
    aic_key key;
    for (unsigned i = 0; i < 40000; i++) {
        key = kit_key(i);
        ghost_add(&room.ghost, hash_key(&key), i % 10 == 0, WEIGHT, (uint64_t)HELD * WEIGHT);
    }
    assert_null(ghost_verify(&room.ghost));
    unsigned recent = 0, old = 0, strangers = 0;
    for (unsigned i = 0; i < 1000; i++) {
        key = kit_key(39999 - i * 3);
        recent += ghost_find(&room.ghost, hash_key(&key)) != GHOST_NONE;
        key = kit_key(i * 20);
        old += ghost_find(&room.ghost, hash_key(&key)) != GHOST_NONE;
        key = kit_key(1000000 + i);
        strangers += ghost_find(&room.ghost, hash_key(&key)) != GHOST_NONE;
    }
    assert_true(recent > 900); /* evicted within the last third of the cache's size */
    assert_true(old < 30);     /* evicted two cache sizes ago */
    assert_true(strangers < 30);
    key = kit_key(39990);
    assert_int_equal(ghost_find(&room.ghost, hash_key(&key)), GHOST_EVICTED_MAIN);
    ghost_remove(&room.ghost, hash_key(&key));
    assert_int_equal(ghost_find(&room.ghost, hash_key(&key)), GHOST_NONE);
    ghost_fit(&room.ghost, 0, &credit);
    assert_int_equal(credit, 1 << 20);
    room_close(&room);
}

static void test_budget_is_never_exceeded(void **state)
{
    (void)state;
    struct budget budget;
    uint64_t bytes, entries;
    budget_init(&budget, 100, 2);
    assert_true(budget_take(&budget, 60, 1));
    assert_false(budget_take(&budget, 41, 1));
    assert_true(budget_take(&budget, 40, 1));
    assert_false(budget_take(&budget, 0, 1));
    assert_false(budget_take(&budget, UINT64_MAX, 0));
    budget_give(&budget, 50, 0);
    assert_false(budget_take(&budget, 50, 1)); /* no place: the bytes are not taken either */
    assert_int_equal(budget_bytes(&budget), 50);
    budget_set(&budget, 30, 1);
    budget_excess(&budget, &bytes, &entries);
    assert_int_equal(bytes, 20);
    assert_int_equal(entries, 1);
    assert_false(budget_take(&budget, 0, 0));
    budget_set(&budget, 1000, 0);
    assert_true(budget_take(&budget, 10, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pool_merges_what_comes_back),
        cmocka_unit_test(test_pool_exchanges),
        cmocka_unit_test(test_pool_uses_scattered_memory),
        cmocka_unit_test(test_pool_does_not_crumble),
        cmocka_unit_test(test_pool_returns_empty_arenas),
        cmocka_unit_test(test_pool_drains),
        cmocka_unit_test(test_table_grows_and_shrinks_by_its_bytes),
        cmocka_unit_test(test_table_verify_notices),
        cmocka_unit_test(test_wheel_finds_each_in_time),
        cmocka_unit_test(test_wheel_work_is_bounded_and_resumes),
        cmocka_unit_test(test_policies_choose),
        cmocka_unit_test(test_s3fifo_returning_goes_to_main),
        cmocka_unit_test(test_ghost_remembers_as_long_as_it_should),
        cmocka_unit_test(test_budget_is_never_exceeded),
    };
    return cmocka_run_group_tests_name("store parts", tests, NULL, NULL);
}
