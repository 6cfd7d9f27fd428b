/*
 * golden_test.c - what version 2 of the store's format is, byte by byte.
 *
 * golden/store-2.txt is the dump of a small store; a store that is made now must give the same. golden/store-2.mdb is
 * such a store as a file; it must open, verify, and answer for as long as the format is read. `golden_test DIR --write`
 * makes both, for a new version of the format. golden/store-1.mdb is of version 1, which is read no more.
 */
#include "world.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *golden_directory;

static const struct sample samples[] = {
    {.created_ms = START_MS,
     .expires_ms = START_MS + 60000,
     .labels = {"0default", "1qa", "2gpt-4", "3blue", "3red"},
     .payload_bytes = 40,
     .payload_seed = 1,
     .seq = 7},
    {.created_ms = START_MS + 1, .labels = {"0default", "1summarize"}, .payload_bytes = 0, .seq = 8},
    {.created_ms = START_MS + 2,
     .expires_ms = START_MS + 90000,
     .labels = {"0tenant", "1qa"},
     .payload_bytes = 66000,
     .payload_seed = 3,
     .seq = 9},
    {.created_ms = START_MS + 3, .labels = {NULL}, .payload_bytes = 5, .payload_seed = 4, .seq = 10},
};

static void fill(struct world *world)
{
    for (size_t i = 0; i < COUNT_OF(samples); i++) assert_int_equal(put(world, i, &samples[i]), AIC_OK);
    assert_int_equal(put(world, 9, &samples[0]), AIC_OK);
    assert_int_equal(drop(world, 9), AIC_OK);
    assert_int_equal(
        world->tier->ops->blob_put(world->tier, AIC_LITERAL("dictionary/default/7"), AIC_LITERAL("a dictionary")),
        AIC_OK);
}

static void read_file(const char *path, struct buf *out)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("cannot open %s", path);
    size_t size;
    do {
        char *room = buf_reserve(out, 65536);
        assert_non_null(room);
        size = fread(room, 1, 65536, file);
        buf_commit(out, size);
    } while (size > 0);
    fclose(file);
}

static void write_file(const char *path, const struct buf *bytes)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) fail_msg("cannot write %s", path);
    assert_int_equal(fwrite(bytes->data, 1, bytes->size, file), bytes->size);
    assert_int_equal(fclose(file), 0);
}

static void golden_path(const char *name, char *out, size_t size)
{
    CHECK((size_t)snprintf(out, size, "%s/%s", golden_directory, name) < size);
}

/* Does the store say, row by row, what the golden text says? */
static void assert_golden_text(struct world *world)
{
    struct buf dump, golden;
    char path[1024];
    buf_init(&dump, &world->mem, MEM_OTHER);
    buf_init(&golden, &world->mem, MEM_OTHER);
    assert_int_equal(lmdb_dump(world->tier, &dump), AIC_OK);
    golden_path("store-2.txt", path, sizeof path);
    read_file(path, &golden);
    assert_int_equal(dump.size, golden.size);
    assert_memory_equal(dump.data, golden.data, golden.size);
    buf_fini(&dump);
    buf_fini(&golden);
}

static void test_a_new_store_has_the_golden_bytes(void **state)
{
    struct world *world = *state;
    fill(world);
    assert_golden_text(world);
}

static void open_golden(struct world *world, const char *name)
{
    struct buf bytes;
    char path[1024];
    close_tier(world);
    buf_init(&bytes, &world->mem, MEM_OTHER);
    golden_path(name, path, sizeof path);
    read_file(path, &bytes);
    scratch_name(&world->scratch, "cache.mdb", path, sizeof path);
    write_file(path, &bytes);
    buf_fini(&bytes);
    open_tier(world);
}

static void test_an_earlier_store_is_begun_anew(void **state)
{
    struct world *world = *state;
    open_golden(world, "store-1.mdb");
    assert_int_equal(world->log_lines, 1);
    assert_int_equal(stats_of(world).entries, 0);
    assert_missing(world, 0);
    assert_int_equal(put(world, 0, &samples[2]), AIC_OK);
    assert_verified(world);
}

static void test_the_golden_store_opens(void **state)
{
    struct world *world = *state;
    open_golden(world, "store-2.mdb");
    assert_int_equal(stats_of(world).last_seq, 10);
    assert_int_equal(world->log_lines, 0);
    assert_golden_text(world);
    assert_verified(world);
    for (size_t i = 0; i < COUNT_OF(samples); i++) assert_there(world, i, &samples[i]);
    assert_int_equal(put(world, 0, &samples[2]), AIC_OK);
    assert_int_equal(drop(world, 2), AIC_OK);
    assert_verified(world);
}

static void test_write_the_golden_files(void **state)
{
    struct world *world = *state;
    struct buf bytes;
    char path[1024];
    fill(world);
    buf_init(&bytes, &world->mem, MEM_OTHER);
    assert_int_equal(lmdb_dump(world->tier, &bytes), AIC_OK);
    golden_path("store-2.txt", path, sizeof path);
    write_file(path, &bytes);
    golden_path("store-2.mdb", path, sizeof path);
    unlink(path);
    assert_int_equal(mdb_env_copy2(((struct lmdb_tier *)world->tier)->env, path, MDB_CP_COMPACT), 0);
    buf_fini(&bytes);
}

int main(int count, char **arguments)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {TEST(a_new_store_has_the_golden_bytes), TEST(the_golden_store_opens),
                                       TEST(an_earlier_store_is_begun_anew)};
    const struct CMUnitTest write[] = {TEST(write_the_golden_files)};
    CHECK(count > 1);
    golden_directory = arguments[1];
    if (count > 2 && strcmp(arguments[2], "--write") == 0) return cmocka_run_group_tests(write, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
