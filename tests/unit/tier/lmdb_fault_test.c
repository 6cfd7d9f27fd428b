/*
 * lmdb_fault_test.c - pages that the disk does not give: cut off under the map, which faults as a bad sector does, or
 * refused to pread(), which this program replaces. Nobody is ended, and such a store begins anew, told once.
 */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENTRIES = 200, PAGE = 4096 };

/* Reads of the file from here on fail; 0: none. */
static off_t bad_from, bad_until;

ssize_t pread(int fd, void *out, size_t size, off_t offset)
{
    if (offset < bad_until && offset + (off_t)size > bad_from) {
        errno = EIO;
        return -1;
    }
    return syscall(SYS_pread64, fd, out, size, offset);
}

static const struct sample large = {.payload_seed = 7, .payload_bytes = 20000};

static void fill(struct world *world)
{
    for (uint64_t i = 0; i < ENTRIES; i++) assert_int_equal(put(world, i, &large), AIC_OK);
}

/* cmocka has its own handler before each test, so each guarded one calls tier_guard_faults(). */
static void cut(struct world *world, off_t bytes)
{
    char path[512];
    scratch_name(&world->scratch, "cache.mdb", path, sizeof path);
    assert_int_equal(truncate(path, bytes), 0);
}

/* Begins anew and serves. */
static void assert_heals(struct world *world)
{
    assert_true(lmdb_damaged(world->tier));
    assert_int_equal(world->log_lines, 1);
    assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
    assert_missing(world, 1);
    assert_int_equal(put(world, 1, &large), AIC_OK);
    assert_there(world, 1, &large);
    assert_verified(world);
}

static aic_status read_one(struct world *world, uint64_t number)
{
    struct buf out;
    aic_status status = get(world, number, &out);
    buf_fini(&out);
    return status;
}

/* As the cache's threads are: with every signal blocked. */
static void *read_all(void *context)
{
    struct world *world = context;
    for (uint64_t i = 0; i < ENTRIES; i++) {
        aic_status status = read_one(world, i);
        if (status != AIC_OK) return (void *)(intptr_t)status;
    }
    return NULL;
}

static void test_a_read_of_a_page_that_is_gone_is_damage(void **state)
{
    struct world *world = *state;
    sigset_t all, before;
    pthread_t thread;
    void *status;
    tier_guard_faults();
    fill(world);
    cut(world, 64 * PAGE);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    assert_int_equal(pthread_create(&thread, NULL, read_all, world), 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(pthread_join(thread, &status), 0);
    assert_int_equal((aic_status)(intptr_t)status, AIC_DAMAGED);
    assert_heals(world);
}

static void test_a_write_that_meets_one_is_damage(void **state)
{
    struct world *world = *state;
    tier_guard_faults();
    fill(world);
    cut(world, 2 * PAGE);
    assert_int_equal(put(world, ENTRIES, &large), AIC_DAMAGED);
    assert_heals(world);
}

#if defined(__SANITIZE_ADDRESS__)
/* A transaction whose beginning faults is lost, once a damaged file: lmdb_guarded() says so. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:mdb_txn_begin\n";
}
#endif

static void test_even_the_first_pages_may_be_gone(void **state)
{
    struct world *world = *state;
    tier_guard_faults();
    fill(world);
    cut(world, 0);
    assert_int_equal(read_one(world, 1), AIC_DAMAGED);
    assert_heals(world);
}

static void test_a_fault_elsewhere_still_ends_the_process(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGBUS, SIG_DFL);
        tier_guard_faults();
        raise(SIGBUS); /* an access would be repeated by itself */
        raise(SIGBUS);
        _exit(0);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGBUS);
}

/* Ends without closing the store. */
static void end_unclean(struct world *world)
{
    close_tier(world);
    pid_t child = fork();
    if (child == 0) {
        open_tier(world);
        _exit(0);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
}

static off_t file_bytes(struct world *world)
{
    char path[512];
    struct stat file;
    scratch_name(&world->scratch, "cache.mdb", path, sizeof path);
    assert_int_equal(stat(path, &file), 0);
    return file.st_size;
}

static void assert_begins_anew(struct world *world)
{
    open_tier(world);
    bad_from = bad_until = 0;
    assert_int_equal(world->log_lines, 1);
    assert_missing(world, 1);
    assert_int_equal(put(world, 1, &large), AIC_OK);
    assert_verified(world);
    close_tier(world);
    open_tier(world);
    assert_int_equal(world->log_lines, 1);
    assert_there(world, 1, &large);
}

static void test_a_look_that_cannot_read_begins_anew(void **state)
{
    struct world *world = *state;
    fill(world);
    end_unclean(world);
    bad_from = 2 * PAGE;
    bad_until = file_bytes(world);
    assert_begins_anew(world);
}

/* The second page of the first run of a value cannot be read: such pages have no header. */
static void spoil_a_value(struct world *world)
{
    char page[PAGE];
    char path[512];
    scratch_name(&world->scratch, "cache.mdb", path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    for (off_t at = 2 * PAGE; bad_from == 0; at += PAGE) {
        uint64_t number = (uint64_t)(at / PAGE);
        assert_int_equal(pread(fd, page, sizeof page, at), PAGE);
        if (memcmp(page, &number, sizeof number) == 0 && page[10] == 4) bad_from = at + PAGE;
    }
    close(fd);
    bad_until = bad_from + 1;
}

/* Any page of a value may be what has ended the one before, where nobody guards its reads. */
static void test_the_look_reads_values_too(void **state)
{
    struct world *world = *state;
    fill(world);
    end_unclean(world);
    spoil_a_value(world);
    assert_begins_anew(world);
}

/* Making a file smaller copies it, values too, in LMDB's own threads, which no guard can leave. */
static void test_a_value_that_cannot_be_read_is_not_copied(void **state)
{
    struct world *world = *state;
    tier_guard_faults();
    for (uint64_t i = 0; i < 2 * ENTRIES; i++) assert_int_equal(put(world, i, &large), AIC_OK);
    close_tier(world);
    spoil_a_value(world);
    world->options.max_bytes = LMDB_MIN_BYTES;
    assert_begins_anew(world);
}

static void test_an_empty_store_is_told(void **state)
{
    struct world *world = *state;
    fill(world);
    close_tier(world);
    scratch_write(&world->scratch, "cache.mdb", "");
    assert_begins_anew(world);
}

static void test_a_store_that_is_gone_is_told(void **state)
{
    struct world *world = *state;
    char path[512];
    fill(world);
    close_tier(world);
    scratch_name(&world->scratch, "cache.mdb", path, sizeof path);
    assert_int_equal(unlink(path), 0);
    assert_begins_anew(world);
}

static void test_what_a_killed_copy_left_is_removed(void **state)
{
    struct world *world = *state;
    char path[512];
    struct stat file;
    assert_int_equal(put(world, 1, &large), AIC_OK);
    close_tier(world);
    scratch_write(&world->scratch, "cache.mdb.new", "half a copy");
    open_tier(world);
    scratch_name(&world->scratch, "cache.mdb.new", path, sizeof path);
    assert_int_equal(stat(path, &file), -1);
    assert_there(world, 1, &large);
    assert_int_equal(world->log_lines, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, world_setup, world_teardown)
    const struct CMUnitTest unguarded[] = {
        TEST(a_look_that_cannot_read_begins_anew),
        TEST(the_look_reads_values_too),
        TEST(a_value_that_cannot_be_read_is_not_copied),
        TEST(an_empty_store_is_told),
        TEST(a_store_that_is_gone_is_told),
        TEST(what_a_killed_copy_left_is_removed),
    };
    const struct CMUnitTest guarded[] = {
        TEST(a_read_of_a_page_that_is_gone_is_damage), TEST(a_write_that_meets_one_is_damage),
        TEST(even_the_first_pages_may_be_gone),        TEST(a_fault_elsewhere_still_ends_the_process),
        TEST(a_look_that_cannot_read_begins_anew),
    };
    int failed = cmocka_run_group_tests(unguarded, NULL, NULL);
    return failed + cmocka_run_group_tests(guarded, NULL, NULL);
}
