/*
 * lmdb_damage_test.c - pages of the file are overwritten: the check finds it without LMDB, and whoever uses such a
 * store has one that works after one restart, or two where a look takes long. Kills alone lose nothing.
 */
#include "tier/gate.h"
#include "tier/lmdb/check.h"
#include "world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENTRIES = 1500, PAGE = 4096, SEEDS = 8 };

static struct sample sample_of(uint64_t number)
{
    struct sample sample = plain;
    sample.payload_seed = number;
    sample.payload_bytes = number % 97 == 0 ? 150000 : number % 7 == 0 ? 6000 : number % 400;
    return sample;
}

static void fill(struct world *world)
{
    for (uint64_t i = 0; i < ENTRIES; i++) {
        struct sample sample = sample_of(i);
        assert_int_equal(put(world, i, &sample), AIC_OK);
    }
    for (uint64_t i = 0; i < ENTRIES; i += 5) assert_int_equal(drop(world, i), AIC_OK);
}

static int open_data(struct world *world)
{
    char path[512];
    scratch_name(&world->scratch, "cache.mdb", path, sizeof path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static aic_status check(struct world *world, const char *named, struct lmdb_finding *finding)
{
    int fd = open_data(world);
    aic_status status = lmdb_check(&world->mem, fd, named, NULL, true, finding);
    close(fd);
    return status;
}

static void assert_whole(struct world *world)
{
    struct lmdb_finding finding;
    aic_status status = check(world, "blobs", &finding);
    if (status != AIC_OK) fail_msg("page %llu: %s", (unsigned long long)finding.page, finding.what);
    assert_true(finding.named_whole);
}

static size_t overwrite(int fd, off_t at, const void *bytes, size_t size)
{
    assert_int_equal(pwrite(fd, bytes, size, at), (ssize_t)size);
    return size;
}

/* Overwrites so many random places in random pages, mostly of their headers. The two meta pages stay. */
static void damage(struct world *world, uint64_t seed, unsigned places)
{
    static const off_t offsets[] = {0, 8, 12, 16, 64, 2000};
    static const size_t sizes[] = {2, 8, 64};
    struct stat file;
    int fd = open_data(world);
    assert_int_equal(fstat(fd, &file), 0);
    uint64_t pages = (uint64_t)file.st_size / PAGE, state = seed + 1;
    for (unsigned i = 0; i < places; i++) {
        uint8_t bytes[64];
        off_t page = (off_t)(2 + random_below(&state, pages - 2));
        for (size_t byte = 0; byte < sizeof bytes; byte++) bytes[byte] = (uint8_t)random_below(&state, 256);
        overwrite(fd, page * PAGE + offsets[random_below(&state, COUNT_OF(offsets))], bytes,
                  sizes[random_below(&state, COUNT_OF(sizes))]);
    }
    close(fd);
}

/* The bounds of the n-th page of this kind that carries its own number. */
static bool damage_kind(struct world *world, uint16_t kind, unsigned number)
{
    uint8_t header[16];
    int fd = open_data(world);
    bool done = false;
    for (uint64_t page = 2; !done && pread(fd, header, sizeof header, (off_t)page * PAGE) == sizeof header; page++) {
        if (memcmp(header, &page, sizeof page) != 0 || memcmp(header + 10, &kind, sizeof kind) != 0) continue;
        if (number-- > 0) continue;
        done = overwrite(fd, (off_t)page * PAGE + 12, "\xff\xff\0\0", 4) == 4;
    }
    close(fd);
    return done;
}

/* ----------------------------------------------------------------------------------------------------- the check -- */

static void test_a_file_in_use_is_found_whole(void **state)
{
    struct world *world = *state;
    uint64_t random = 7;
    assert_whole(world);
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 150; i++) {
            uint64_t number = random_below(&random, 1500);
            struct sample sample = sample_of(number + (uint64_t)round);
            if (random_below(&random, 3) == 0) sample.expires_ms = START_MS + 1 + random_below(&random, 100);
            if (random_below(&random, 4) == 0) assert_int_equal(drop(world, number), AIC_OK);
            else assert_int_equal(put(world, number, &sample), AIC_OK);
        }
        assert_int_equal(world->tier->ops->blob_put(world->tier, AIC_LITERAL("b"), AIC_LITERAL("v")), AIC_OK);
        size_t removed;
        atomic_fetch_add(&world->clock.wall_ms, 3);
        assert_int_equal(world->tier->ops->expire(world->tier, 50, &removed), AIC_OK);
        assert_whole(world);
        if (round == 20) assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
        if (round % 7 == 0) close_tier(world), open_tier(world);
    }
    assert_verified(world);
}

static void test_a_store_at_its_limit_is_found_whole(void **state)
{
    struct world *world = *state;
    close_tier(world);
    world->options.max_bytes = LMDB_MIN_BYTES;
    open_tier(world);
    for (uint64_t i = 0; i < 2000; i++) {
        struct sample sample = sample_of(i);
        assert_int_equal(put(world, i, &sample), AIC_OK);
        if (i % 100 == 0) assert_whole(world);
    }
    assert_whole(world);
}

static void test_damage_is_found(void **state)
{
    struct world *world = *state;
    fill(world);
    close_tier(world);
    struct lmdb_finding finding;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        damage(world, seed, 4);
        if (seed > 4) assert_int_equal(check(world, NULL, &finding), AIC_DAMAGED);
    }
    assert_true(finding.what[0] != '\0');
    /* A file that ends anywhere. */
    char path[512];
    struct stat file;
    scratch_name(&world->scratch, "cache.mdb", path, sizeof path);
    assert_int_equal(stat(path, &file), 0);
    for (off_t size = file.st_size; size > 0; size = size * 2 / 3) {
        assert_int_equal(truncate(path, size), 0);
        assert_int_equal(check(world, "blobs", &finding), AIC_DAMAGED);
    }
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(check(world, NULL, &finding), AIC_DAMAGED);
}

static void test_each_kind_of_page_is_looked_at(void **state)
{
    struct world *world = *state;
    static const uint16_t kinds[] = {1, 2, 4, 0x22};
    fill(world);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct lmdb_finding finding;
        unsigned hits = 0;
        for (unsigned number = 0; number < 200; number++) {
            if (!damage_kind(world, kinds[i], number)) break;
            if (check(world, NULL, &finding) == AIC_DAMAGED) hits++; /* a page that is free by now may lie there too */
        }
        assert_true(hits > 0);
        close_tier(world);
        scratch_write(&world->scratch, "cache.mdb", "");
        open_tier(world);
        fill(world);
        assert_whole(world);
    }
}

/* ------------------------------------------------------------------------------------------------------ restarts -- */

static bool touch(void *context, const aic_key *key, aic_view record)
{
    (void)context, (void)key, (void)record;
    return true;
}

/* The test's own handlers would go on with the test. */
static void default_signals(void)
{
    static const int fatal[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    for (size_t i = 0; i < COUNT_OF(fatal); i++) signal(fatal[i], SIG_DFL);
    alarm(120);
}

/* What LMDB and sanitizers say of a damaged page. */
static void mute(void)
{
    if (freopen("/dev/null", "w", stderr) == NULL) _exit(9);
}

/* A process that uses all of the store. */
static void live(struct world *world)
{
    aic_error error;
    struct tier *tier = NULL;
    struct tier_label label = sample_label("0default");
    struct tier_filter filter = {.labels = &label, .label_count = 1};
    default_signals();
    mute();
    if (lmdb_tier_open(&world->options, &tier, &error) != AIC_OK) _exit(2);
    world->tier = tier;
    for (uint64_t i = 0; i < ENTRIES; i++) {
        struct buf out;
        if (get(world, i, &out) == AIC_IO) _exit(3);
        buf_fini(&out);
    }
    bool failed = walk_tier(&world->mem, tier, &filter, NULL, touch, NULL) != AIC_OK;
    for (uint64_t i = 0; i < ENTRIES; i++) {
        struct sample sample = sample_of(i + 1);
        failed |= put(world, i, &sample) != AIC_OK;
    }
    failed |= check_tier(tier, &error) != AIC_OK;
    if (failed) _exit(4);
    tier->ops->close(tier);
    _exit(0);
}

static int run(struct world *world, void (*process)(struct world *world))
{
    pid_t child = fork();
    if (child == 0) process(world);
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    return result;
}

static void test_what_ends_its_users_is_dropped(void **state)
{
    struct world *world = *state;
    for (unsigned number = 0; number < 48; number += 6) {
        fill(world);
        close_tier(world);
        assert_true(damage_kind(world, number % 12 == 0 ? 2 : 1, number % 12 == 0 ? number : 0));
        if (run(world, live) != 0) assert_int_equal(run(world, live), 0); /* the look is done in time: few pages */
        open_tier(world);
        assert_verified(world);
        assert_whole(world);
        assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
    }
}

/* A millisecond passes at each look at it. */
static uint64_t hurried_ns(void *context)
{
    uint64_t *now_ns = context;
    return *now_ns += 1000000;
}

static void test_a_look_may_be_given_up(void **state)
{
    struct world *world = *state;
    struct lmdb_finding finding;
    uint64_t now_ns = 0;
    const aic_clock clock = {.mono_ns = hurried_ns, .context = &now_ns};
    fill(world);
    close_tier(world);
    int fd = open_data(world);
    struct lmdb_patience patience = {&clock, 3};
    assert_int_equal(lmdb_check(&world->mem, fd, NULL, &patience, false, &finding), AIC_TIMEOUT);
    assert_int_equal(now_ns, 5000000); /* the end, 1, 2, 3, and beyond it */
    patience.max_ms = 1000;
    assert_int_equal(lmdb_check(&world->mem, fd, NULL, &patience, false, &finding), AIC_OK);
    close(fd);
    open_tier(world);
}

/* A lowered limit copies the file by LMDB's own walk, which trusts every page. */
static void test_a_damaged_file_over_its_limit_is_dropped(void **state)
{
    struct world *world = *state;
    uint64_t usual = world->options.max_bytes;
    unsigned dropped = 0;
    for (unsigned number = 0; number < 8; number++) {
        struct tier_stats stats;
        struct lmdb_finding finding;
        fill(world);
        struct sample large = {.payload_seed = 1, .payload_bytes = LMDB_MIN_BYTES};
        assert_int_equal(put(world, ENTRIES, &large), AIC_OK);
        close_tier(world);
        assert_true(damage_kind(world, number % 2 == 0 ? 2 : 1, number % 2 == 0 ? number * 5 : 0));
        bool whole = check(world, NULL, &finding) == AIC_OK; /* the page may be a free one */
        world->options.max_bytes = LMDB_MIN_BYTES;
        open_tier(world); /* in this process: nothing ends it */
        world->tier->ops->stats(world->tier, &stats);
        assert_true(whole == (stats.entries > 0));
        if (!whole) dropped++;
        assert_whole(world);
        close_tier(world);
        world->options.max_bytes = usual;
        open_tier(world);
    }
    assert_in_range(dropped, 3, 8);
}

/* ------------------------------------------------------------------------------------------------------ at run time --
 */

static void put_through(struct gate *gate, uint64_t number, struct buf *record)
{
    struct sample sample = sample_of(number);
    aic_key key = sample_key(number);
    buf_clear(record);
    sample_write(&sample, record);
    struct iovec part = {.iov_base = record->data, .iov_len = record->size};
    aic_status status = gate_put(gate, &key, &part, 1, NULL);
    if (status != AIC_OK && status != AIC_NOT_STORED) _exit(5);
}

/* Reads and writes until the gate has emptied what is damaged and everything that is written can be read. */
static void serve(struct world *world)
{
    enum { WAIT_MS = 60000 };
    struct tier *tier = NULL;
    struct gate *gate;
    struct buf record;
    aic_error error;
    default_signals();
    mute();
    if (lmdb_tier_open(&world->options, &tier, &error) != AIC_OK) _exit(2);
    struct gate_options options = {.mem = &world->mem, .clock = clock_system(), .tier = tier, .queue_bytes = 64 << 20};
    if (gate_create(&options, &gate) != AIC_OK) _exit(3);
    buf_init(&record, &world->mem, MEM_OTHER);
    for (unsigned stored = 0; stored < ENTRIES;) {
        aic_key key = sample_key(stored);
        put_through(gate, stored, &record);
        if (gate_flush(gate, false, WAIT_MS) != AIC_OK) {
            stored = 0; /* emptied: from the start */
            continue;
        }
        buf_clear(&record);
        stored = gate_get(gate, &key, WAIT_MS, &record) == AIC_OK ? stored + 1 : 0;
    }
    if (check_tier(tier, &error) != AIC_OK) _exit(4);
    buf_fini(&record);
    _exit(gate_destroy(&gate) == AIC_OK ? 0 : 6);
}

static void test_a_damaged_store_serves_again(void **state)
{
    struct world *world = *state;
    world->options.clock = clock_system();
    unsigned deaths = 0, restarts = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        fill(world);
        close_tier(world);
        damage(world, seed, seed % 2 == 0 ? 400 : 3);
        for (restarts = 0; run(world, serve) != 0; restarts++) assert_true(restarts < 2);
        deaths += restarts;
        open_tier(world);
        assert_verified(world);
        assert_whole(world);
        assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
    }
    print_message("%u deaths of %u stores\n", deaths, (unsigned)SEEDS);
}

/* The bounds of one page of a tree: LMDB's own answer to that is a failed assertion. */
static void test_an_assertion_of_the_library_ends_nobody(void **state)
{
    struct world *world = *state;
    world->options.clock = clock_system();
    for (unsigned number = 1; number < 40; number += 13) {
        fill(world);
        close_tier(world);
        assert_true(damage_kind(world, 2, number));
        int result = run(world, serve);
        assert_false(WIFSIGNALED(result) && WTERMSIG(result) == SIGABRT);
        while (result != 0) result = run(world, serve);
        open_tier(world);
        assert_verified(world);
        assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
    }
}

static void test_blobs_outlive_damaged_entries(void **state)
{
    struct world *world = *state;
    struct buf out;
    fill(world);
    assert_int_equal(world->tier->ops->blob_put(world->tier, AIC_LITERAL("b"), AIC_LITERAL("v")), AIC_OK);
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK);
    lmdb_found_damage((struct lmdb_tier *)world->tier, "said by a test");
    lmdb_found_damage((struct lmdb_tier *)world->tier, "said again");
    assert_int_equal(world->log_lines, 1);
    assert_true(world->tier->ops->damaged(world->tier));
    assert_int_equal(get(world, 1, &out), AIC_DAMAGED);
    assert_int_equal(put(world, 1, &plain), AIC_DAMAGED);
    assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
    assert_false(world->tier->ops->damaged(world->tier));
    assert_missing(world, 1);
    buf_init(&out, &world->mem, MEM_OTHER);
    assert_int_equal(world->tier->ops->blob_get(world->tier, AIC_LITERAL("b"), &out), AIC_OK);
    assert_int_equal(out.size, 1);
    buf_fini(&out);
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    /* A store that is closed damaged is a new one at the next opening. */
    lmdb_found_damage((struct lmdb_tier *)world->tier, "said by a test");
    close_tier(world);
    open_tier(world);
    assert_missing(world, 1);
    assert_verified(world);
}

static void test_kills_alone_keep_everything(void **state)
{
    struct world *world = *state;
    fill(world);
    close_tier(world);
    for (int i = 0; i < 9; i++) {
        int pipes[2];
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        if (child == 0) {
            struct tier *tier = NULL;
            aic_error error;
            struct lmdb_options options = world->options;
            bool fine = lmdb_tier_open(&options, &tier, &error) == AIC_OK;
            if (!fine || write(pipes[1], "x", 1) != 1) _exit(1);
            for (;;) pause();
        }
        char byte;
        assert_int_equal(read(pipes[0], &byte, 1), 1);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        close(pipes[0]);
        close(pipes[1]);
    }
    open_tier(world);
    assert_int_equal(world->log_lines, 0);
    for (uint64_t i = 1; i < ENTRIES; i += 5) {
        struct sample sample = sample_of(i);
        assert_there(world, i, &sample);
    }
    assert_verified(world);
}

/* One bit of the envelope of the entry in the file's first row. */
static void flip_first_envelope(struct world *world)
{
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    MDB_txn *txn;
    MDB_cursor *cursor;
    MDB_val key, value;
    assert_int_equal(mdb_txn_begin(lmdb->env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_cursor_open(txn, lmdb->databases[LMDB_ENTRIES], &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_FIRST), 0);
    size_t size = value.mv_size;
    uint8_t *copy = malloc(size);
    memcpy(copy, value.mv_data, size);
    copy[20] ^= 1;
    value = (MDB_val){size, copy};
    assert_int_equal(mdb_cursor_put(cursor, &key, &value, MDB_CURRENT), 0);
    mdb_cursor_close(cursor);
    commit_behind(lmdb, txn);
    free(copy);
}

/* One entry is damaged and healed, by a removal of its key or as the first to leave: the others stay, after a restart,
 * too. */
static void test_one_damaged_entry_costs_one_entry(void **state)
{
    struct world *world = *state;
    for (uint64_t first = 1; first <= 2;
         first++) { /* whose row is the first of the file, and leads to the damaged entry */
        for (uint64_t i = first; i <= 50; i++) {
            struct sample sample = sample_of(i);
            if (i == 2) sample.expires_ms = START_MS + 5000;
            if (i == first) sample.payload_bytes = 150000; /* in chunks */
            assert_int_equal(put(world, i, &sample), AIC_OK);
        }
        flip_first_envelope(world);
        struct buf out;
        assert_int_equal(get(world, first, &out), AIC_DAMAGED);
        buf_fini(&out);
        if (first == 1) {
            assert_int_equal(drop(world, first), AIC_OK);
        } else {
            size_t removed = 0;
            world->clock.wall_ms = START_MS + 6000;
            assert_int_equal(world->tier->ops->expire(world->tier, 10, &removed), AIC_OK);
        }
        assert_verified(world);
        close_tier(world);
        open_tier(world);
        assert_int_equal(stats_of(world).entries, 50 - first);
        for (uint64_t i = 3; i <= 50; i++) {
            struct sample sample = sample_of(i);
            assert_there(world, i, &sample);
        }
        assert_missing(world, first);
    }
}

/* A list of labels whose name has no label's size leads nowhere: whoever walks over all lists takes it for damage. */
static void test_a_list_of_another_size_is_damage(void **state)
{
    struct world *world = *state;
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    struct sample sample = sample_of(1);
    MDB_txn *txn;
    MDB_val name = {3, "abc"}, front = {LMDB_FRONT_BYTES, "12345678"};
    assert_int_equal(put(world, 1, &sample), AIC_OK);
    assert_int_equal(mdb_txn_begin(lmdb->env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_put(txn, lmdb->databases[LMDB_LABELS], &name, &front, 0), 0);
    commit_behind(lmdb, txn);
    flip_first_envelope(world);
    assert_int_equal(drop(world, 1), AIC_DAMAGED);
    assert_true(world->tier->ops->damaged(world->tier));
    assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_in_use_is_found_whole),
        TEST(a_store_at_its_limit_is_found_whole),
        TEST(damage_is_found),
        TEST(each_kind_of_page_is_looked_at),
        TEST(what_ends_its_users_is_dropped),
        TEST(a_look_may_be_given_up),
        TEST(a_damaged_file_over_its_limit_is_dropped),
        TEST(a_damaged_store_serves_again),
        TEST(an_assertion_of_the_library_ends_nobody),
        TEST(blobs_outlive_damaged_entries),
        TEST(kills_alone_keep_everything),
        TEST(one_damaged_entry_costs_one_entry),
        TEST(a_list_of_another_size_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
