/*
 * lmdb_flip_test.c - one bit of a page number in the file is another: whatever is asked for then is missing or damaged,
 * and never another key's record, an older one, or another name's blob.
 *
 * usage: tier_lmdb_flip_test [FLIPS [SEED]] - so many of the bits (0: all of them), chosen by the seed
 */
#include "world.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ENTRIES = 500, PAGE = 4096, BITS = 10, MAX_NUMBERS = 20000, CHILD_WRONG = 77 };

static uint64_t flips = 150, seed = 1;

/* The last state of an entry; every third had another one before. */
static struct sample sample_of(uint64_t number)
{
    struct sample sample = plain;
    static const char *const tags[] = {"3a", "3b", "3c"};
    sample.labels[2] = tags[number % 3];
    sample.payload_seed = number;
    sample.payload_bytes = number % 97 == 0 ? 150000 : number % 7 == 0 ? 6000 : 100 + number % 400;
    sample.seq = ENTRIES + number;
    return sample;
}

static void fill(struct world *world)
{
    for (uint64_t i = 0; i < ENTRIES; i++) {
        struct sample sample = sample_of(i);
        sample.seq = i + 1;
        sample.created_ms -= 1000; /* as large as the next, and otherwise the same */
        if (i % 3 == 0) assert_int_equal(put(world, i, &sample), AIC_OK);
    }
    for (uint64_t i = 0; i < ENTRIES; i++) {
        char name[16];
        struct sample sample = sample_of(i);
        assert_int_equal(put(world, i, &sample), AIC_OK);
        snprintf(name, sizeof name, "blob-%d", (int)i);
        if (i < 60)
            assert_int_equal(world->tier->ops->blob_put(world->tier, aic_view_of(name), aic_view_of(name)), AIC_OK);
    }
}

/* ---- in a process of its own: a page that makes no sense may end it, which gives nobody a wrong answer ---- */

static void wrong(const char *what, uint64_t number)
{
    fprintf(stderr, "%s of %d is another's\n", what, (int)number);
    _exit(CHILD_WRONG);
}

/* Bytes that fail their own checksum are found by whoever reads them. */
static void compare(struct world *world, uint64_t number, aic_view record)
{
    struct tier_description description;
    struct buf expected;
    struct sample sample = sample_of(number);
    if (sample_describe(NULL, record, &description) != AIC_OK) return;
    buf_init(&expected, &world->mem, MEM_OTHER);
    sample_write(&sample, &expected);
    if (record.size != expected.size || memcmp(record.data, expected.data, record.size) != 0) wrong("record", number);
    buf_fini(&expected);
}

static bool compare_visited(void *context, const aic_key *key, aic_view record)
{
    for (uint64_t i = 0; i < ENTRIES; i++) {
        aic_key own = sample_key(i);
        if (memcmp(own.bytes, key->bytes, AIC_KEY_BYTES) != 0) continue;
        compare(context, i, record);
        return true;
    }
    wrong("key", 0);
    return false;
}

static bool compare_blob(void *context, aic_view name, aic_view value)
{
    (void)context;
    if (name.size != value.size || memcmp(name.data, value.data, name.size) != 0) wrong("blob", 0);
    return true;
}

static void read_everything(struct world *world)
{
    static const char *const lists[] = {"0default", "3a", "3b", "3c"};
    struct tier *tier = NULL;
    aic_error error;
    int quiet = open("/dev/null", O_WRONLY);
    int loud = dup(2);
    alarm(60); /* a walk that goes round for ever is no answer */
    if (quiet >= 0) dup2(quiet, 2);
    if (lmdb_tier_open(&world->options, &tier, &error) != AIC_OK) _exit(0);
    if (loud >= 0) dup2(loud, 2);
    world->tier = tier;
    for (uint64_t i = 0; i < ENTRIES; i++) {
        struct buf out;
        if (get(world, i, &out) == AIC_OK) compare(world, i, buf_view(&out));
        buf_fini(&out);
    }
    for (size_t i = 0; i < COUNT_OF(lists); i++) {
        struct tier_label labels[] = {sample_label("0default"), sample_label(lists[i])};
        struct tier_filter filter = {.labels = labels, .label_count = i == 0 ? 0 : 2};
        if (walk_tier(&world->mem, tier, &filter, NULL, compare_visited, world) != AIC_OK) _exit(0);
    }
    struct tier_filter all = {.any_order = true};
    if (walk_tier(&world->mem, tier, &all, NULL, compare_visited, world) != AIC_OK) _exit(0);
    for (int i = 0; i < 60; i++) {
        char name[16];
        struct buf out;
        snprintf(name, sizeof name, "blob-%d", i);
        buf_init(&out, &world->mem, MEM_OTHER);
        if (tier->ops->blob_get(tier, aic_view_of(name), &out) == AIC_OK)
            compare_blob(NULL, aic_view_of(name), buf_view(&out));
        buf_fini(&out);
    }
    (void)walk_blobs(&world->mem, tier, "", compare_blob, NULL);
    _exit(0);
}

/* ---- where page numbers are ---- */

struct numbers {
    uint64_t at[MAX_NUMBERS]; /* offsets in the file */
    size_t count;
};

static void add_number(struct numbers *numbers, uint64_t at)
{
    assert_true(numbers->count < MAX_NUMBERS);
    numbers->at[numbers->count++] = at;
}

static uint16_t u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

/* The children of a branch, runs of large values, roots of trees. */
static void find_in_page(struct numbers *numbers, uint64_t page, const uint8_t *bytes)
{
    uint16_t kind = u16(bytes + 10);
    if (memcmp(bytes, &page, sizeof page) != 0 || (kind != 1 && kind != 2)) return;
    for (unsigned i = 16; i < u16(bytes + 12); i += 2) {
        unsigned node = u16(bytes + i);
        unsigned flags = u16(bytes + node + 4), data = node + 8 + u16(bytes + node + 6);
        if (kind == 1) add_number(numbers, page * PAGE + node);
        else if ((flags & 1) != 0) add_number(numbers, page * PAGE + data);
        else if ((flags & 2) != 0) add_number(numbers, page * PAGE + data + 40);
    }
}

static void find_numbers(int fd, struct numbers *numbers)
{
    uint8_t bytes[PAGE];
    numbers->count = 0;
    for (uint64_t page = 0; page < 2; page++) add_number(numbers, page * PAGE + 16 + 72 + 40);
    for (uint64_t page = 2; pread(fd, bytes, PAGE, (off_t)(page * PAGE)) == PAGE; page++)
        find_in_page(numbers, page, bytes);
}

static void flip(int fd, uint64_t at, uint64_t bit)
{
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)(at + bit / 8)), 1);
    byte = (uint8_t)(byte ^ 1u << bit % 8);
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)(at + bit / 8)), 1);
}

/* The child has marked nothing and written nothing; that it did not close is not to be known to the next. */
static int look(struct world *world)
{
    char path[512];
    pid_t child = fork();
    if (child == 0) read_everything(world);
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    scratch_name(&world->scratch, "cache.lock", path, sizeof path);
    unlink(path);
    if (WIFSIGNALED(result) && WTERMSIG(result) == SIGALRM) return SIGALRM;
    return WIFEXITED(result) ? WEXITSTATUS(result) : 0;
}

static void test_no_page_number_gives_a_wrong_answer(void **state)
{
    static struct numbers numbers;
    struct world *world = *state;
    char path[512];
    fill(world);
    close_tier(world);
    scratch_name(&world->scratch, "cache.lock", path, sizeof path);
    unlink(path);
    scratch_name(&world->scratch, "cache.mdb", path, sizeof path);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    struct buf whole;
    struct stat file;
    assert_int_equal(fstat(fd, &file), 0);
    buf_init(&whole, &world->mem, MEM_OTHER);
    char *room = buf_reserve(&whole, (size_t)file.st_size);
    assert_int_equal(pread(fd, room, (size_t)file.st_size, 0), file.st_size);
    find_numbers(fd, &numbers);
    assert_int_equal(look(world), 0);
    uint64_t all = numbers.count * BITS, random = seed;
    for (uint64_t i = 0; i < (flips == 0 ? all : flips); i++) {
        uint64_t which = flips == 0 ? i : random_below(&random, all);
        flip(fd, numbers.at[which / BITS], which % BITS);
        int result = look(world);
        if (result != 0)
            fail_msg("byte %llu, bit %llu: %d", (unsigned long long)numbers.at[which / BITS],
                     (unsigned long long)(which % BITS), result);
        /* Dropped as damaged, perhaps: put back what was there. */
        close(fd);
        fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_int_equal(pwrite(fd, room, (size_t)file.st_size, 0), file.st_size);
        scratch_write(&world->scratch, "cache.state", "aicache-store 1 clean\n");
    }
    close(fd);
    buf_fini(&whole);
    open_tier(world);
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_page_number_gives_a_wrong_answer, world_setup, world_teardown),
    };
    if (count > 1) flips = strtoull(arguments[1], NULL, 10);
    if (count > 2) seed = strtoull(arguments[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
