/*
 * journal_test.c - records that were synced are there after every end, whatever follows them in the file; damage to
 * what was synced is told, and never gives a wrong record.
 */
#include "base/check.h"
#include "support.h"
#include "tier/journal.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define HEADER_BYTES 32

struct seen {
    size_t count;
    char last[256];
};

static struct scratch scratch;
static struct mem mem;
static char path[256];

static int setup(void **state)
{
    (void)state;
    scratch_make(&scratch);
    mem_init(&mem, NULL);
    scratch_name(&scratch, "journal", path, sizeof path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(mem_bytes(&mem, MEM_STORAGE), 0);
    mem_fini(&mem);
    scratch_remove(&scratch);
    return 0;
}

/* Records are "record 0", "record 1", ... with a tail of as many dots. */
static size_t text_of(size_t number, char out[256])
{
    int size = snprintf(out, 256, "record %zu", number);
    memset(out + size, '.', number % 40);
    out[(size_t)size + number % 40] = '\0';
    return (size_t)size + number % 40;
}

static aic_status see(void *context, aic_view record)
{
    struct seen *seen = context;
    char text[256];
    size_t size = text_of(seen->count++, text);
    assert_int_equal(record.size, size);
    assert_memory_equal(record.data, text, size);
    return AIC_OK;
}

static aic_status see_any(void *context, aic_view record)
{
    struct seen *seen = context;
    seen->count++;
    snprintf(seen->last, sizeof seen->last, "%.*s", (int)record.size, record.data);
    return AIC_OK;
}

static struct journal *open_and_see(size_t *count)
{
    struct journal *journal;
    struct seen seen = {0};
    bool intact;
    assert_int_equal(journal_open(&mem, path, see, &seen, &intact, &journal), AIC_OK);
    assert_true(intact);
    *count = seen.count;
    return journal;
}

static void add(struct journal *journal, size_t number)
{
    char text[256];
    size_t size = text_of(number, text);
    assert_int_equal(journal_add(journal, (aic_view){text, size}, false), AIC_OK);
    assert_int_equal(journal_sync(journal), AIC_OK);
}

static void test_records_stay(void **state)
{
    (void)state;
    size_t count;
    for (size_t number = 0; number < 100; number++) {
        struct journal *journal = open_and_see(&count);
        assert_int_equal(count, number);
        assert_true((journal_size(journal) == 0) == (number == 0));
        add(journal, number);
        journal_close(&journal);
    }
    struct stat entry;
    assert_int_equal(stat(path, &entry), 0);
    assert_int_equal(entry.st_size, JOURNAL_BYTES); /* all of its room was there from the first moment */
    assert_true(entry.st_blocks * 512 >= JOURNAL_BYTES);
}

/* Older and longer records lie behind the new ones. */
static void test_cleared_records_never_come_back(void **state)
{
    (void)state;
    size_t count;
    struct journal *journal = open_and_see(&count);
    for (size_t round = 0; round < 20; round++) {
        for (size_t number = 0; number < 30 - round; number++) add(journal, number);
        assert_int_equal(journal_clear(journal), AIC_OK);
        assert_int_equal(journal_size(journal), 0);
        for (size_t number = 0; number < round; number++) add(journal, number);
        journal_close(&journal);
        journal = open_and_see(&count);
        assert_int_equal(count, round);
        assert_int_equal(journal_clear(journal), AIC_OK);
        journal_close(&journal);
        journal = open_and_see(&count);
        assert_int_equal(count, 0);
    }
    journal_close(&journal);
}

static void test_full(void **state)
{
    (void)state;
    size_t count;
    size_t written = 0;
    char text[256];
    struct journal *journal = open_and_see(&count);
    aic_status status = AIC_OK;
    while (status == AIC_OK) {
        size_t size = text_of(written, text);
        status = journal_add(journal, (aic_view){text, size}, false);
        if (status == AIC_OK) written++;
    }
    assert_int_equal(status, AIC_FULL);
    assert_int_equal(journal_sync(journal), AIC_OK);
    assert_true(written > JOURNAL_BYTES / 80);
    assert_int_equal(journal_add(journal, AIC_LITERAL("e"), true), AIC_OK);
    journal_close(&journal); /* not synced, but only the process ended: the kernel has it */
    struct seen seen = {0};
    bool intact;
    assert_int_equal(journal_open(&mem, path, see_any, &seen, &intact, &journal), AIC_OK);
    assert_int_equal(seen.count, written + 1);
    assert_string_equal(seen.last, "e");
    journal_close(&journal);
}

/* What is asked when one byte of the file was changed: damage is told, or every record is there. */
static void expect_told(size_t at, size_t written)
{
    struct journal *journal;
    struct seen seen = {0};
    bool intact;
    assert_int_equal(journal_open(&mem, path, see, &seen, &intact, &journal), AIC_OK);
    if (intact && seen.count != written) fail_msg("byte %zu: %zu records, and nothing is told", at, seen.count);
    if (!intact) assert_int_equal(journal_size(journal), 0);
    journal_close(&journal);
}

/* Every bit changed in turn, the file cut at every eighth byte, and a page of it lost. */
static void test_damage(void **state)
{
    (void)state;
    static char whole[JOURNAL_BYTES], nothing[4096];
    size_t count;
    struct journal *journal = open_and_see(&count);
    for (size_t number = 0; number < 6; number++) add(journal, number);
    size_t used = (size_t)journal_size(journal) + HEADER_BYTES;
    journal_close(&journal);
    int file = open(path, O_RDWR);
    assert_int_equal(pread(file, whole, sizeof whole, 0), sizeof whole);
    for (size_t bit = 0; bit < used * 8; bit++) {
        char byte = (char)(whole[bit / 8] ^ 1 << bit % 8);
        assert_int_equal(pwrite(file, &byte, 1, (off_t)(bit / 8)), 1);
        expect_told(bit / 8, 6);
        assert_int_equal(pwrite(file, &whole[bit / 8], 1, (off_t)(bit / 8)), 1);
    }
    for (size_t at = 8; at < used; at += 8) {
        assert_int_equal(ftruncate(file, (off_t)at), 0);
        expect_told(at, 6);
        assert_int_equal(pwrite(file, whole, sizeof whole, 0), sizeof whole);
    }
    assert_int_equal(pwrite(file, nothing, 256, 128), 256);
    expect_told(128, 6);
    assert_int_equal(pwrite(file, whole, sizeof whole, 0), sizeof whole);
    close(file);
    journal = open_and_see(&count);
    assert_int_equal(count, 6);
    journal_close(&journal);
}

/* What comes after damage stands by itself: nothing of what was there before is read again. */
static void test_begins_anew_after_damage(void **state)
{
    (void)state;
    size_t count;
    struct journal *journal = open_and_see(&count);
    for (size_t number = 0; number < 3; number++) add(journal, number);
    journal_close(&journal);
    int file = open(path, O_RDWR);
    assert_int_equal(pwrite(file, "?", 1, HEADER_BYTES + 16), 1);
    close(file);
    struct seen seen = {0};
    bool intact;
    assert_int_equal(journal_open(&mem, path, see, &seen, &intact, &journal), AIC_OK);
    assert_false(intact);
    assert_int_equal(seen.count, 0);
    add(journal, 0);
    journal_close(&journal);
    journal = open_and_see(&count);
    assert_int_equal(count, 1);
    journal_close(&journal);
}

static void test_no_file(void **state)
{
    (void)state;
    struct journal *journal;
    bool intact;
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(journal_open(&mem, path, see, NULL, &intact, &journal), AIC_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_records_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cleared_records_never_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_begins_anew_after_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
