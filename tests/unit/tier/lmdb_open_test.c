/*
 * lmdb_open_test.c - the LMDB tier in bad company: openings that are refused, power failures, damaged bytes, failing
 * allocations.
 */
#include "world.h"

#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---------------------------------------------------------------------------------------------- opening, refused -- */

static aic_status try_open(struct world *world, aic_error *error)
{
    memset(error, 0, sizeof *error);
    struct tier *tier = NULL;
    aic_status status = lmdb_tier_open(&world->options, &tier, error);
    if (status == AIC_OK) tier->ops->close(tier);
    else assert_true(strlen(error->message) > 20);
    return status;
}

static void test_a_second_opening_names_the_holder(void **state)
{
    struct world *world = *state;
    aic_error error;
    assert_int_equal(try_open(world, &error), AIC_LOCKED);
    char pid[32];
    snprintf(pid, sizeof pid, "process %ld (", (long)getpid());
    assert_null(strstr(error.message, pid)); /* not "stop it": that is us */
    assert_non_null(strstr(error.message, "this process"));
    pid_t child = fork();
    if (child == 0)
        _exit(try_open(world, &error) == AIC_LOCKED && strstr(error.message, pid) != NULL &&
                      strstr(error.message, "this process") == NULL
                  ? 0
                  : 1);
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    close_tier(world);
    assert_int_equal(try_open(world, &error), AIC_OK);
}

static void test_modes_of_files_and_descriptors(void **state)
{
    struct world *world = *state;
    static const char *const names[] = {"cache.mdb", "cache.mdb-lock", "cache.lock", "cache.state"};
    struct stat file;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        char path[512];
        scratch_name(&world->scratch, names[i], path, sizeof path);
        assert_int_equal(stat(path, &file), 0);
        assert_int_equal(file.st_mode & 0777, 0600);
    }
    for (int fd = 3; fd < 64; fd++) {
        char link[64], target[512];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(link, target, sizeof target - 1);
        if (size < 0) continue;
        target[size] = '\0';
        if (strncmp(target, world->scratch.path, strlen(world->scratch.path)) == 0)
            assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    }
    close_tier(world);
    char inner[512];
    scratch_name(&world->scratch, "made", inner, sizeof inner);
    world->options.directory = inner;
    open_tier(world);
    assert_int_equal(stat(inner, &file), 0);
    assert_int_equal(file.st_mode & 0777, 0700);
    close_tier(world);
}

static void test_a_newer_store_is_refused_and_kept(void **state)
{
    struct world *world = *state;
    aic_error error;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    close_tier(world);
    scratch_write(&world->scratch, "cache.state", "aicache-store 2 open some-boot and more\n");
    assert_int_equal(try_open(world, &error), AIC_NEWER);
    scratch_write(&world->scratch, "cache.state", "aicache-store 1 clean\n");
    open_tier(world);
    assert_there(world, 1, &plain);
    /* The number inside the file says the same. */
    MDB_txn *txn;
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    uint8_t format[4];
    lmdb_put_u32(format, LMDB_FORMAT + 1);
    MDB_val key = lmdb_val("format", 6), value = lmdb_val(format, 4);
    assert_int_equal(mdb_txn_begin(lmdb->env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_put(txn, lmdb->databases[LMDB_META], &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    close_tier(world);
    assert_int_equal(try_open(world, &error), AIC_NEWER);
    assert_non_null(strstr(error.message, "newer"));
    assert_int_equal(try_open(world, &error), AIC_NEWER);
}

static void test_foreign_and_unmarked_files_are_left_alone(void **state)
{
    struct world *world = *state;
    aic_error error;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    close_tier(world);
    char state_path[512], data_path[512];
    scratch_name(&world->scratch, "cache.state", state_path, sizeof state_path);
    scratch_name(&world->scratch, "cache.mdb", data_path, sizeof data_path);
    assert_int_equal(unlink(state_path), 0);
    assert_int_equal(try_open(world, &error), AIC_DAMAGED);
    struct stat file;
    assert_int_equal(stat(data_path, &file), 0);
    scratch_write(&world->scratch, "cache.mdb", "my diary");
    assert_int_equal(try_open(world, &error), AIC_DAMAGED);
    assert_int_equal(stat(data_path, &file), 0);
    assert_int_equal(file.st_size, 8);
}

static void test_a_damaged_file_of_ours_is_dropped(void **state)
{
    struct world *world = *state;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    close_tier(world);
    scratch_write(&world->scratch, "cache.mdb", "these were two meta pages");
    open_tier(world);
    assert_int_equal(world->log_lines, 1);
    assert_missing(world, 1);
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_verified(world);
}

static void test_a_directory_without_rights(void **state)
{
    struct world *world = *state;
    close_tier(world);
    pid_t child = fork();
    if (child == 0) {
        aic_error error;
        if (geteuid() == 0) {
            if (chmod(world->scratch.path, 0555) != 0 || setgroups(0, NULL) != 0) _exit(2);
            if (setgid(65534) != 0 || setuid(65534) != 0) _exit(2);
        } else if (chmod(world->scratch.path, 0555) != 0) {
            _exit(2);
        }
        struct tier *tier = NULL;
        if (lmdb_tier_open(&world->options, &tier, &error) != AIC_IO) _exit(3);
        if (strstr(error.message, "Permission denied") == NULL || strstr(error.message, world->scratch.path) == NULL)
            _exit(4);
        _exit(0);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    assert_int_equal(chmod(world->scratch.path, 0700), 0);
    aic_error error;
    world->options.directory = "/proc/self/status/nowhere";
    assert_int_equal(try_open(world, &error), AIC_IO);
    world->options.directory = world->scratch.path;
}

/* ---------------------------------------------------------------------------------------------------- power loss -- */

/* Ends as a killed process does: nothing is synced or marked. */
static void die(struct world *world)
{
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    atomic_store(&lmdb->sync_failed, true);
    close_tier(world);
}

static void test_a_crash_of_the_process_loses_nothing(void **state)
{
    struct world *world = *state;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    die(world);
    open_tier(world);
    assert_there(world, 1, &plain);
    assert_int_equal(world->log_lines, 0);
    /* What the dead process wrote may be in the kernel only: one sync for the data, one for the mark. */
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK);
    assert_false(lmdb->home.clean);
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK);
    assert_true(lmdb->home.clean);
}

static void test_a_power_failure_drops_a_store_that_was_being_written(void **state)
{
    struct world *world = *state;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    die(world);
    scratch_write(&world->scratch, "boot", "second-boot\n");
    open_tier(world);
    assert_missing(world, 1);
    assert_int_equal(world->log_lines, 1);
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_verified(world);
}

/* Each commit is synced then, in this process and in those after it. */
static void test_a_power_failure_keeps_what_was_hardened(void **state)
{
    struct world *world = *state;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_int_equal(world->tier->ops->harden(world->tier), AIC_OK);
    for (uint64_t process = 2; process < 5; process++) {
        close_tier(world);
        pid_t child = fork();
        if (child == 0) { /* ends in the middle of its work */
            open_tier(world);
            _exit(put(world, process, &plain) == AIC_OK ? 0 : 1);
        }
        int result;
        assert_int_equal(waitpid(child, &result, 0), child);
        assert_int_equal(result, 0);
        scratch_write(&world->scratch, "boot", process % 2 == 0 ? "second-boot\n" : "third-boot\n");
        open_tier(world);
        for (uint64_t i = 1; i <= process; i++) assert_there(world, i, &plain);
        assert_int_equal(put(world, 99, &plain), AIC_OK);
    }
    assert_int_equal(world->log_lines, 0);
    assert_verified(world);
}

static void test_a_power_failure_keeps_a_settled_store(void **state)
{
    struct world *world = *state;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK); /* on disk */
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK); /* idle: marked */
    die(world);
    scratch_write(&world->scratch, "boot", "second-boot\n");
    open_tier(world);
    assert_there(world, 1, &plain);
    assert_int_equal(put(world, 2, &plain), AIC_OK); /* takes the mark away again */
    die(world);
    scratch_write(&world->scratch, "boot", "third-boot\n");
    open_tier(world);
    assert_missing(world, 1);
}

static void test_an_unknown_boot_trusts_only_clean_stores(void **state)
{
    struct world *world = *state;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    close_tier(world);
    world->options.boot_id_path = "/proc/no-such-file";
    open_tier(world);
    assert_there(world, 1, &plain);
    assert_int_equal(put(world, 2, &plain), AIC_OK);
    die(world);
    open_tier(world);
    assert_missing(world, 1);
}

/* -------------------------------------------------------------------------------------------------------- damage -- */

static void overwrite_entry(struct world *world, uint64_t number, size_t offset)
{
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    aic_key key = sample_key(number);
    MDB_txn *txn;
    struct lmdb_entry entry;
    uint8_t copy[2000];
    assert_int_equal(mdb_txn_begin(lmdb->env, NULL, 0, &txn), 0);
    assert_int_equal(lmdb_find(lmdb, txn, &key, &entry), 0);
    assert_true(entry.value.mv_size < sizeof copy);
    memcpy(copy, entry.value.mv_data, entry.value.mv_size);
    copy[offset] ^= 1;
    struct lmdb_number_row row = lmdb_number_row(entry.row);
    MDB_val row_val = lmdb_val(row.bytes, sizeof row.bytes), value = lmdb_val(copy, entry.value.mv_size);
    assert_int_equal(mdb_put(txn, lmdb->databases[LMDB_ENTRIES], &row_val, &value, 0), 0);
    commit_behind(lmdb, txn);
}

static void test_flipped_bits_are_found(void **state)
{
    struct world *world = *state;
    for (size_t offset = 0; offset < 120; offset += 3) {
        aic_error error = {0};
        assert_int_equal(put(world, 1, &plain), AIC_OK);
        overwrite_entry(world, 1, offset);
        assert_int_equal(check_tier(world->tier, &error), AIC_DAMAGED);
        assert_true(strlen(error.message) > 10);
        struct buf out;
        aic_status status = get(world, 1, &out);
        /* A flip in the record is the caller's to find (he has its checksum); one in the envelope is ours. */
        assert_int_equal(status, offset < LMDB_ENVELOPE_BYTES + 16 ? AIC_DAMAGED : AIC_OK);
        buf_fini(&out);
        assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
    }
    assert_verified(world);
}

static void test_a_missing_row_is_found(void **state)
{
    struct world *world = *state;
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    static const enum lmdb_database databases[] = {LMDB_KEYS, LMDB_LABELS, LMDB_EXPIRY, LMDB_CHUNKS, LMDB_ENTRIES};
    struct sample sample = plain;
    sample.payload_bytes = 200000;
    for (size_t i = 0; i < COUNT_OF(databases); i++) {
        assert_int_equal(put(world, 1, &sample), AIC_OK);
        assert_verified(world);
        MDB_txn *txn;
        MDB_cursor *cursor;
        MDB_val key, value;
        assert_int_equal(mdb_txn_begin(lmdb->env, NULL, 0, &txn), 0);
        assert_int_equal(mdb_cursor_open(txn, lmdb->databases[databases[i]], &cursor), 0);
        assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_FIRST), 0);
        assert_int_equal(mdb_cursor_del(cursor, 0), 0);
        mdb_cursor_close(cursor);
        commit_behind(lmdb, txn);
        aic_error error = {0};
        assert_int_equal(check_tier(world->tier, &error), AIC_DAMAGED);
        assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
    }
}

/* -------------------------------------------------------------------------------------------------------- memory -- */

static aic_status whole_life(struct world *world)
{
    struct tier *tier;
    aic_error error;
    static char bytes[100000];
    struct buf record = {.data = bytes, .size = 0, .capacity = sizeof bytes};
    sample_write(&(struct sample){START_MS, START_MS + 5, {"0default", "3a"}, 70000, 1}, &record);
    struct tier_write writes[2] = {{.key = sample_key(1), .record = buf_view(&record)},
                                   {.key = sample_key(2), .record = buf_view(&record)}};
    TRY(lmdb_tier_open(&world->options, &tier, &error));
    struct buf out;
    buf_init(&out, &world->mem, MEM_OTHER);
    struct tier_label label = sample_label("0default");
    struct tier_filter filter = {.labels = &label, .label_count = 1};
    static struct found found;
    found.count = 0;
    size_t removed;
    aic_status status;
    atomic_store(&world->clock.wall_ms, START_MS);
    TRY_OR_FAIL(tier->ops->apply(tier, writes, 2));
    TRY_OR_FAIL(tier->ops->get(tier, &writes[0].key, &out));
    TRY_OR_FAIL(walk_tier(&world->mem, tier, &filter, NULL, collect, &found));
    TRY_OR_FAIL(tier->ops->blob_put(tier, AIC_LITERAL("b"), AIC_LITERAL("v")));
    TRY_OR_FAIL(tier->ops->blob_get(tier, AIC_LITERAL("b"), &out));
    TRY_OR_FAIL(walk_blobs(&world->mem, tier, "", join_names, &out));
    TRY_OR_FAIL(buf_status(&out));
    TRY_OR_FAIL(check_tier(tier, &error));
    atomic_store(&world->clock.wall_ms, START_MS + 10);
    TRY_OR_FAIL(tier->ops->expire(tier, 10, &removed));
    TRY_OR_FAIL(tier->ops->clear(tier));
    TRY_OR_FAIL(tier->ops->sync(tier));
fail:
    buf_fini(&out);
    tier->ops->close(tier);
    return status;
}

static void test_every_allocation_may_fail(void **state)
{
    struct world *world = *state;
    close_tier(world);
    mem_fini(&world->mem);
    struct failing_allocator *failing = &world->allocator;
    failing_allocator_init(failing);
    mem_init(&world->mem, &failing->allocator);
    aic_status status = AIC_NO_MEMORY;
    int64_t allowed = 0;
    for (; status != AIC_OK; allowed++) {
        atomic_store(&failing->left, allowed);
        status = whole_life(world);
        atomic_store(&failing->left, -1);
        assert_true(status == AIC_OK || status == AIC_NO_MEMORY);
        for (int owner = 0; owner < MEM_OWNER_COUNT; owner++)
            assert_int_equal(mem_bytes(&world->mem, (enum mem_owner)owner), 0);
        assert_true(allowed < 1000);
    }
    assert_true(allowed > 10);
    open_tier(world);
    assert_verified(world);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_second_opening_names_the_holder),
        TEST(modes_of_files_and_descriptors),
        TEST(a_newer_store_is_refused_and_kept),
        TEST(foreign_and_unmarked_files_are_left_alone),
        TEST(a_damaged_file_of_ours_is_dropped),
        TEST(a_directory_without_rights),
        TEST(a_crash_of_the_process_loses_nothing),
        TEST(a_power_failure_drops_a_store_that_was_being_written),
        TEST(a_power_failure_keeps_a_settled_store),
        TEST(a_power_failure_keeps_what_was_hardened),
        TEST(an_unknown_boot_trusts_only_clean_stores),
        TEST(flipped_bits_are_found),
        TEST(a_missing_row_is_found),
        TEST(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
