/*
 * lmdb_disk_test.c - the LMDB tier on a disk that is full or broken.
 *
 * This program defines the system's writing and syncing functions itself, so that the LMDB library (a shared object)
 * calls these: they fail on command and otherwise go to the kernel.
 */
#include "tier/gate.h"
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Seen by the dynamic linker, unlike everything else in this tree. */
#define INSTEAD __attribute__((visibility("default")))
/* The header renames pwrite() to pwrite64(); the library was built without that. */
INSTEAD ssize_t library_pwrite(int fd, const void *bytes, size_t size, off_t offset) __asm__("pwrite");
INSTEAD ssize_t writev(int fd, const struct iovec *parts, int count);
INSTEAD int fdatasync(int fd);
INSTEAD int fsync(int fd);
INSTEAD int fallocate(int fd, int mode, off_t offset, off_t size);
INSTEAD int fstatvfs(int fd, struct statvfs *out);

/* Writes that still succeed; then each fails with write_error. Negative: no fault. */
static _Atomic int writes_left = -1;
static _Atomic int write_error;
static _Atomic bool write_half; /* fail by writing half of what was asked */
static _Atomic int sync_error;
static _Atomic int directory_error; /* of fsync() of a directory */
static _Atomic unsigned faults;

static bool is_faulty(void)
{
    if (atomic_load(&writes_left) < 0) return false;
    if (atomic_fetch_sub(&writes_left, 1) > 0) return false;
    atomic_store(&writes_left, 0);
    atomic_fetch_add(&faults, 1);
    return true;
}

ssize_t library_pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    if (is_faulty()) {
        if (!atomic_load(&write_half)) {
            errno = atomic_load(&write_error);
            return -1;
        }
        size /= 2;
    }
    return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    if (is_faulty()) {
        if (!atomic_load(&write_half)) {
            errno = atomic_load(&write_error);
            return -1;
        }
        return syscall(SYS_writev, fd, parts, count / 2);
    }
    return syscall(SYS_writev, fd, parts, count);
}

int fdatasync(int fd)
{
    if (atomic_load(&sync_error) == 0) return (int)syscall(SYS_fdatasync, fd);
    errno = atomic_load(&sync_error);
    return -1;
}

int fsync(int fd)
{
    struct stat facts;
    if (atomic_load(&directory_error) != 0 && fstat(fd, &facts) == 0 && S_ISDIR(facts.st_mode)) {
        errno = atomic_load(&directory_error);
        return -1;
    }
    if (atomic_load(&sync_error) == 0) return (int)syscall(SYS_fsync, fd);
    errno = atomic_load(&sync_error);
    return -1;
}

/* The room on the disk: 0 is what the kernel says, otherwise what is asked for fails with this. */
static _Atomic int room_error;
/* And what the count of free blocks says then. */
static _Atomic uint64_t free_bytes;
static _Atomic int count_error;
static _Atomic unsigned room_asked, count_asked;

int fallocate(int fd, int mode, off_t offset, off_t size)
{
    atomic_fetch_add(&room_asked, 1);
    if (atomic_load(&room_error) == 0) return (int)syscall(SYS_fallocate, fd, mode, offset, size);
    errno = atomic_load(&room_error);
    return -1;
}

/* Nobody else in this program asks for it. */
int fstatvfs(int fd, struct statvfs *out)
{
    (void)fd;
    atomic_fetch_add(&count_asked, 1);
    if (atomic_load(&count_error) != 0) {
        errno = atomic_load(&count_error);
        return -1;
    }
    *out = (struct statvfs){
        .f_bsize = 4096, .f_frsize = 4096, .f_bavail = (fsblkcnt_t)(atomic_load(&free_bytes) / 4096)};
    return 0;
}

static void mend(void)
{
    atomic_store(&writes_left, -1);
    atomic_store(&sync_error, 0);
    atomic_store(&directory_error, 0);
    atomic_store(&write_half, false);
}

/* Each write of a commit fails in its turn, the meta page's too: nothing is applied, nothing is lost, and the next try
 * succeeds. */
static void sweep(struct world *world, int error, bool half)
{
    struct sample large = plain;
    large.payload_bytes = 150000;
    for (uint64_t i = 0; i < 40; i++) assert_int_equal(put(world, i, i % 4 == 0 ? &large : &plain), AIC_OK);
    struct sample other = plain;
    other.payload_seed = 99;
    aic_status status = AIC_IO;
    int allowed = 0;
    for (; status != AIC_OK; allowed++) {
        assert_true(allowed < 200);
        uint64_t number = (uint64_t)allowed % 40;
        atomic_store(&write_error, error);
        atomic_store(&write_half, half);
        atomic_store(&writes_left, allowed);
        unsigned before = atomic_load(&faults);
        status = put(world, number, &other);
        mend();
        if (status != AIC_OK) {
            assert_int_equal(status, AIC_IO);
            assert_true(atomic_load(&faults) > before);
            assert_there(world, number, number % 4 == 0 ? &large : &plain);
            assert_verified(world);
            assert_int_equal(stats_of(world).entries, 40);
        } else {
            assert_there(world, number, &other);
        }
        assert_int_equal(put(world, number, number % 4 == 0 ? &large : &plain), AIC_OK); /* space is back */
    }
    print_message("%d writes a commit\n", allowed - 1);
    assert_true(allowed >= 3);
    close_tier(world);
    open_tier(world);
    for (uint64_t i = 0; i < 40; i++) assert_there(world, i, i % 4 == 0 ? &large : &plain);
    assert_verified(world);
}

static void test_a_full_disk(void **state)
{
    sweep(*state, ENOSPC, false);
}

static void test_a_broken_disk(void **state)
{
    sweep(*state, EIO, false);
}

static void test_short_writes(void **state)
{
    sweep(*state, 0, true);
}

static void test_a_sync_that_failed_is_never_trusted_again(void **state)
{
    struct world *world = *state;
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    atomic_store(&sync_error, EIO);
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_IO);
    mend();
    for (int i = 0; i < 3; i++) assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK);
    assert_false(lmdb->home.clean);
    close_tier(world);
    open_tier(world);
    assert_there(world, 1, &plain); /* the kernel has it */
    close_tier(world);
    assert_int_equal(world->log_lines, 0);
}

/* Does cache.state say `word`? */
static bool is_marked(const struct world *world, const char *word)
{
    char path[512], text[160] = "";
    scratch_name(&world->scratch, "cache.state", path, sizeof path);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    return strstr(text, word) != NULL;
}

static void test_without_its_mark_nothing_is_written(void **state)
{
    struct world *world = *state;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK);
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK); /* settled */
    atomic_store(&sync_error, ENOSPC);
    /* Not at the second attempt either. */
    for (int i = 0; i < 3; i++) assert_int_equal(put(world, 2, &plain), AIC_IO);
    assert_missing(world, 2);
    mend();
    assert_int_equal(put(world, 2, &plain), AIC_OK);
    assert_true(is_marked(world, " open "));
    assert_there(world, 1, &plain);
    assert_verified(world);
}

static void test_a_mark_of_unknown_fate_is_written_again(void **state)
{
    struct world *world = *state;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK);
    atomic_store(&directory_error, EIO); /* the rename took place: what stands says "clean" */
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_IO);
    assert_true(is_marked(world, " clean"));
    mend();
    assert_int_equal(put(world, 2, &plain), AIC_OK);
    assert_true(is_marked(world, " open "));
}

static void test_what_could_not_be_marked_is_marked_later(void **state)
{
    struct world *world = *state;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK);
    atomic_store(&sync_error, ENOSPC);
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_IO);
    mend();
    assert_int_equal(world->tier->ops->sync(world->tier), AIC_OK);
    assert_true(is_marked(world, " clean"));
}

/* LMDB says EIO of a write that was cut short. What is told of it comes from asking the disk for room: by taking it,
 * and where that cannot be done (no files without names, no fallocate), by the count of free blocks; where nothing can
 * be learnt, the write's own error stays. */
static void test_a_full_disk_is_told_from_a_broken_one(void **state)
{
    struct world *world = *state;
    static const struct {
        int room_error, count_error;
        uint64_t free_bytes;
        int told;
        bool counts; /* the count of blocks is asked for */
    } cases[] = {
        {0, 0, 0, EIO, false}, /* there is room: the disk is broken, whatever the count says */
        {ENOSPC, 0, 1 << 30, ENOSPC, false},
        {EDQUOT, 0, 1 << 30, EDQUOT, false},
        {EOPNOTSUPP, 0, 0, ENOSPC, true},
        {EOPNOTSUPP, 0, 1 << 30, EIO, true},
        {EOPNOTSUPP, EIO, 1 << 30, EIO, true},
        {ENOSYS, ENOSYS, 0, EIO, true},
    };
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        atomic_store(&room_error, cases[i].room_error);
        atomic_store(&count_error, cases[i].count_error);
        atomic_store(&free_bytes, cases[i].free_bytes);
        unsigned rooms = atomic_load(&room_asked), counts = atomic_load(&count_asked);
        atomic_store(&write_error, EIO);
        atomic_store(&writes_left, 0);
        assert_int_equal(put(world, 2, &plain), AIC_IO);
        mend();
        assert_true(atomic_load(&room_asked) > rooms);
        assert_int_equal(atomic_load(&count_asked) - counts, cases[i].counts ? 1 : 0);
        assert_string_equal(world->tier->ops->trouble(world->tier).text, strerror(cases[i].told));
    }
    /* What says itself what is wrong is believed. */
    atomic_store(&room_error, EDQUOT);
    unsigned rooms = atomic_load(&room_asked);
    atomic_store(&write_error, ENOSPC);
    atomic_store(&writes_left, 0);
    assert_int_equal(put(world, 2, &plain), AIC_IO);
    mend();
    assert_int_equal(atomic_load(&room_asked), rooms);
    assert_string_equal(world->tier->ops->trouble(world->tier).text, strerror(ENOSPC));
    atomic_store(&room_error, 0);
    assert_int_equal(put(world, 2, &plain), AIC_OK);
    assert_there(world, 1, &plain);
    assert_there(world, 2, &plain);
    assert_verified(world);
}

static bool is_up(struct gate *gate)
{
    struct gate_stats stats;
    gate_stats(gate, &stats);
    return stats.up;
}

static void test_writes_wait_for_space_behind_the_gate(void **state)
{
    struct world *world = *state;
    struct gate *gate;
    struct gate_options options = {
        .mem = &world->mem, .clock = clock_system(), .tier = world->tier, .queue_bytes = 8 << 20};
    assert_int_equal(put(world, 1000, &plain), AIC_OK);
    assert_int_equal(gate_create(&options, &gate), AIC_OK);
    struct buf record;
    buf_init(&record, &world->mem, MEM_OTHER);
    sample_write(&plain, &record);
    struct iovec part = {.iov_base = record.data, .iov_len = record.size};
    atomic_store(&write_error, ENOSPC);
    atomic_store(&writes_left, 0);
    for (uint64_t i = 0; i < 500; i++) {
        aic_key key = sample_key(i);
        assert_int_equal(gate_put(gate, &key, &part, 1, NULL), AIC_OK);
    }
    while (is_up(gate)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    struct buf found;
    buf_init(&found, &world->mem, MEM_OTHER);
    aic_key key = sample_key(1000);
    assert_int_equal(gate_get(gate, &key, 60000, &found), AIC_OK); /* a full disk keeps nobody from reading */
    buf_fini(&found);
    mend();
    while (!is_up(gate)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(gate_flush(gate, true, 60000), AIC_OK);
    for (uint64_t i = 0; i < 500; i++) assert_there(world, i, &plain);
    assert_verified(world);
    buf_fini(&record);
    assert_int_equal(gate_destroy(&gate), AIC_OK);
    world->tier = NULL;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_full_disk),
        TEST(a_broken_disk),
        TEST(short_writes),
        TEST(a_sync_that_failed_is_never_trusted_again),
        TEST(without_its_mark_nothing_is_written),
        TEST(a_mark_of_unknown_fate_is_written_again),
        TEST(what_could_not_be_marked_is_marked_later),
        TEST(a_full_disk_is_told_from_a_broken_one),
        TEST(writes_wait_for_space_behind_the_gate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
