/*
 * lmdb_test.c - the LMDB tier by example: records, dates, labels, blobs, and the limit of the file.
 */
#include "world.h"

#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------------------------ records -- */

static void test_put_get_delete(void **state)
{
    struct world *world = *state;
    assert_missing(world, 1);
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_there(world, 1, &plain);
    assert_int_equal(stats_of(world).entries, 1);
    assert_int_equal(drop(world, 1), AIC_OK);
    assert_int_equal(drop(world, 1), AIC_OK);
    assert_missing(world, 1);
    assert_int_equal(stats_of(world).entries, 0);
    assert_int_equal(stats_of(world).bytes, 0);
    assert_verified(world);
}

static void test_sizes_around_the_pieces(void **state)
{
    struct world *world = *state;
    static const size_t sizes[] = {0,     1,     2000,  4000,   65000,  65400,   65415,
                                   65416, 65417, 65520, 131000, 200000, 1048576, 5000000};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct sample sample = plain;
        sample.payload_bytes = sizes[i];
        assert_int_equal(put(world, i, &sample), AIC_OK);
        assert_there(world, i, &sample);
        assert_verified(world);
    }
    /* Each size in the place of each other: old chunks must not stay. */
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        struct sample sample = plain;
        sample.payload_bytes = sizes[COUNT_OF(sizes) - 1 - i];
        assert_int_equal(put(world, i, &sample), AIC_OK);
        assert_there(world, i, &sample);
    }
    assert_verified(world);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) assert_int_equal(drop(world, i), AIC_OK);
    assert_int_equal(stats_of(world).bytes, 0);
    assert_verified(world);
}

static void test_a_batch_is_all_or_nothing(void **state)
{
    struct world *world = *state;
    struct buf record;
    buf_init(&record, &world->mem, MEM_OTHER);
    sample_write(&plain, &record);
    struct tier_write writes[3] = {{.key = sample_key(1), .record = buf_view(&record)},
                                   {.key = sample_key(2), .record = AIC_LITERAL("not a record of ours, too short?")},
                                   {.key = sample_key(3), .record = buf_view(&record)}};
    assert_int_equal(world->tier->ops->apply(world->tier, writes, 3), AIC_DAMAGED);
    assert_missing(world, 1);
    writes[1] = (struct tier_write){.key = sample_key(1)};
    writes[2].key = sample_key(1);
    assert_int_equal(world->tier->ops->apply(world->tier, writes, 3),
                     AIC_OK); /* put, delete, put of one key, in order */
    assert_there(world, 1, &plain);
    assert_int_equal(stats_of(world).entries, 1);
    assert_int_equal(world->tier->ops->apply(world->tier, writes, 0), AIC_OK);
    assert_verified(world);
    buf_fini(&record);
}

/* A delete that is meant for one record spares what took its place. */
static void test_a_delete_spares_another_record(void **state)
{
    struct world *world = *state;
    struct sample sample = plain;
    struct tier_write delete = {.key = sample_key(1), .seq = 1};
    sample.seq = 2;
    assert_int_equal(put(world, 1, &sample), AIC_OK);
    assert_int_equal(world->tier->ops->apply(world->tier, &delete, 1), AIC_OK);
    assert_there(world, 1, &sample);
    delete.seq = sample.seq;
    assert_int_equal(world->tier->ops->apply(world->tier, &delete, 1), AIC_OK);
    assert_missing(world, 1);
    assert_int_equal(world->tier->ops->apply(world->tier, &delete, 1), AIC_OK);
    assert_verified(world);
}

/* Reads go on in one state until a commit; none of them begins in an older one, whenever it ended before. */
static void test_a_commit_ends_the_state_that_is_read(void **state)
{
    struct world *world = *state;
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    MDB_txn *early, *late;
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_int_equal(lmdb_read_begin(lmdb, &early), AIC_OK);
    assert_int_equal(lmdb_read_begin(lmdb, &late), AIC_OK);
    lmdb_read_end(lmdb, &early);
    assert_there(world, 1, &plain);
    assert_int_equal(lmdb->idle_count, 1);
    assert_true(lmdb->idle[0].live);
    for (uint64_t number = 2; number < 5; number++) {
        assert_int_equal(put(world, number, &plain), AIC_OK);
        assert_false(lmdb->idle[0].live);
        assert_there(world, number, &plain);
        assert_true(lmdb->idle[0].live);
    }
    lmdb_read_end(lmdb, &late);
    assert_int_equal(lmdb->idle_count, 2);
    assert_false(lmdb->idle[1].live);
    assert_int_equal(drop(world, 4), AIC_OK);
    assert_missing(world, 4);
}

static void test_everything_survives_a_restart(void **state)
{
    struct world *world = *state;
    for (uint64_t i = 0; i < 500; i++) assert_int_equal(put(world, i, &plain), AIC_OK);
    close_tier(world);
    open_tier(world);
    assert_int_equal(stats_of(world).entries, 500);
    for (uint64_t i = 0; i < 500; i++) assert_there(world, i, &plain);
    assert_verified(world);
}

/* -------------------------------------------------------------------------------------------------------- dates -- */

static void test_expired_records_are_misses_and_leave(void **state)
{
    struct world *world = *state;
    struct sample sample = plain;
    for (uint64_t i = 0; i < 100; i++) {
        sample.expires_ms = i % 2 == 0 ? START_MS + 1000 + i : 0;
        assert_int_equal(put(world, i, &sample), AIC_OK);
    }
    size_t removed = 99;
    assert_int_equal(world->tier->ops->expire(world->tier, 1000, &removed), AIC_OK);
    assert_int_equal(removed, 0);
    atomic_store(&world->clock.wall_ms, START_MS + 1000);
    assert_missing(world, 0); /* expires_ms is the first moment at which it is dead */
    assert_there(world, 2, &(struct sample){START_MS, START_MS + 1002, {"0default", "1qa"}, 300, 1});
    atomic_store(&world->clock.wall_ms, START_MS + 5000);
    assert_int_equal(world->tier->ops->expire(world->tier, 20, &removed), AIC_OK);
    assert_int_equal(removed, 20);
    assert_int_equal(stats_of(world).expired, 20);
    assert_int_equal(world->tier->ops->expire(world->tier, 1000, &removed), AIC_OK);
    assert_int_equal(removed, 30);
    assert_int_equal(stats_of(world).entries, 50);
    assert_int_equal(stats_of(world).expired, 50);
    assert_verified(world);
}

static void test_a_replaced_record_keeps_no_old_rows(void **state)
{
    struct world *world = *state;
    struct sample sample = plain;
    sample.expires_ms = START_MS + 1000;
    assert_int_equal(put(world, 1, &sample), AIC_OK);
    sample = (struct sample){START_MS + 1, START_MS + 9000, {"0other", "1summarize", "3t1", "3t2", "3t1"}, 10, 2};
    assert_int_equal(put(world, 1, &sample), AIC_OK);
    assert_verified(world);
    atomic_store(&world->clock.wall_ms, START_MS + 5000);
    size_t removed;
    assert_int_equal(world->tier->ops->expire(world->tier, 10, &removed), AIC_OK);
    assert_int_equal(removed, 0); /* the date of the old record counts no more */
    assert_there(world, 1, &sample);
}

/* ------------------------------------------------------------------------------------------------------- select -- */

static size_t select_count(struct world *world, const char *const *labels, size_t label_count, uint64_t until_ms)
{
    struct tier_label filter_labels[8];
    static struct found found;
    found.count = 0;
    found.stop_at = 0;
    for (size_t i = 0; i < label_count; i++) filter_labels[i] = sample_label(labels[i]);
    struct tier_filter filter = {.labels = filter_labels, .label_count = label_count, .created_until_ms = until_ms};
    assert_int_equal(walk_tier(&world->mem, world->tier, &filter, NULL, collect, &found), AIC_OK);
    return found.count;
}

#define SELECT(world, until, ...)                                                                                      \
    select_count(world, (const char *const[]){__VA_ARGS__},                                                            \
                 sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *), until)

static void fill_for_select(struct world *world)
{
    for (uint64_t i = 0; i < 1200; i++) {
        struct sample sample = {.created_ms = START_MS + i, .payload_bytes = 50, .payload_seed = i};
        size_t labels = 0;
        sample.labels[labels++] = i % 2 == 0 ? "0default" : "0other";
        sample.labels[labels++] = i % 3 == 0 ? "1qa" : "1qa_v2";
        if (i % 100 == 0) sample.labels[labels++] = "3rare";
        if (i % 7 == 0) sample.labels[labels++] = "2gpt";
        assert_int_equal(put(world, i, &sample), AIC_OK);
    }
}

static void test_select_by_labels(void **state)
{
    struct world *world = *state;
    fill_for_select(world);
    assert_int_equal(SELECT(world, 0, "0default"), 600);
    assert_int_equal(SELECT(world, 0, "0default", "1qa"), 200);
    assert_int_equal(SELECT(world, 0, "1qa", "0default"), 200);
    assert_int_equal(SELECT(world, 0, "0default", "1q"), 0);
    assert_int_equal(SELECT(world, 0, "0default", "3rare"), 12);
    assert_int_equal(SELECT(world, 0, "0default", "1qa", "3rare"), 4);
    assert_int_equal(SELECT(world, 0, "0other", "3rare"), 0);
    assert_int_equal(SELECT(world, 0, "0default", "1qa", "2gpt"), 29);
    assert_int_equal(SELECT(world, 0, "1qa"), 400);           /* every partition */
    assert_int_equal(SELECT(world, 0, "0default", "2qa"), 0); /* another kind */
    assert_int_equal(SELECT(world, START_MS + 99, "0default"), 50);
    assert_int_equal(select_count(world, NULL, 0, 0), 1200);
    assert_int_equal(SELECT(world, 0, "0nobody"), 0);
    assert_int_equal(SELECT(world, 0, "0default", "0other"), 0);
}

static void test_select_goes_on_after_a_key(void **state)
{
    struct world *world = *state;
    fill_for_select(world);
    static struct found found;
    struct tier_label label = sample_label("0default");
    struct tier_filter filter = {.labels = &label, .label_count = 1};
    size_t total = 0;
    struct tier_place at = {0};
    aic_key last;
    found.stop_at = 7;
    do {
        found.count = 0;
        assert_int_equal(walk_tier(&world->mem, world->tier, &filter, &at, collect, &found), AIC_OK);
        total += found.count;
    } while (found.count == 7);
    assert_int_equal(total, 600);
    memset(last.bytes, 0xff, sizeof last.bytes);
    tier_place_after(&at, &last);
    found.count = 0;
    assert_int_equal(walk_tier(&world->mem, world->tier, &filter, &at, collect, &found), AIC_OK);
    assert_int_equal(found.count, 0);
}

static bool remove_visited(void *context, const aic_key *key, aic_view record)
{
    struct world *world = context;
    (void)record;
    struct tier_write write = {.key = *key};
    assert_int_equal(world->tier->ops->apply(world->tier, &write, 1), AIC_OK);
    return true;
}

/* A page comes back soon, also where nothing matches. */
static void test_a_walk_without_matches_comes_in_pages(void **state)
{
    struct world *world = *state;
    fill_for_select(world);
    for (int any = 0; any < 2; any++) {
        struct tier_filter filter = {.created_until_ms = 1, .any_order = any != 0};
        struct tier_page page = {0};
        unsigned pages = 0;
        buf_init(&page.bytes, &world->mem, MEM_OTHER);
        for (; !page.next.ended; pages++) {
            assert_int_equal(world->tier->ops->select(world->tier, &filter, &page), AIC_OK);
            assert_int_equal(page.count, 0);
        }
        assert_in_range(pages, 2, 100); /* 1200 records */
        buf_fini(&page.bytes);
    }
}

static void test_removing_while_selecting(void **state)
{
    struct world *world = *state;
    fill_for_select(world);
    struct tier_label label = sample_label("0other");
    struct tier_filter filter = {.labels = &label, .label_count = 1};
    assert_int_equal(walk_tier(&world->mem, world->tier, &filter, NULL, remove_visited, world), AIC_OK);
    assert_int_equal(SELECT(world, 0, "0other"), 0);
    assert_int_equal(SELECT(world, 0, "0default"), 600);
    assert_verified(world);
}

static void test_expired_records_are_not_selected(void **state)
{
    struct world *world = *state;
    struct sample sample = plain;
    sample.expires_ms = START_MS + 10;
    assert_int_equal(put(world, 1, &sample), AIC_OK);
    assert_int_equal(put(world, 2, &plain), AIC_OK);
    assert_int_equal(SELECT(world, 0, "0default"), 2);
    atomic_store(&world->clock.wall_ms, START_MS + 10);
    assert_int_equal(SELECT(world, 0, "0default"), 1);
    assert_int_equal(select_count(world, NULL, 0, 0), 1);
}

/* -------------------------------------------------------------------------------------------------------- blobs -- */

static void test_blobs(void **state)
{
    struct world *world = *state;
    const struct tier_ops *ops = world->tier->ops;
    struct buf out;
    buf_init(&out, &world->mem, MEM_OTHER);
    assert_int_equal(ops->blob_get(world->tier, AIC_LITERAL("d/1"), &out), AIC_MISS);
    assert_int_equal(ops->blob_put(world->tier, AIC_LITERAL("d/2"), AIC_LITERAL("two")), AIC_OK);
    assert_int_equal(ops->blob_put(world->tier, AIC_LITERAL("d/1"), AIC_LITERAL("one")), AIC_OK);
    assert_int_equal(ops->blob_put(world->tier, AIC_LITERAL("e"), AIC_LITERAL("")), AIC_OK);
    assert_int_equal(ops->blob_put(world->tier, AIC_LITERAL("a"), AIC_LITERAL("first")), AIC_OK);
    assert_int_equal(ops->blob_put(world->tier, AIC_LITERAL(""), AIC_LITERAL("x")), AIC_INVALID);
    assert_int_equal(ops->blob_get(world->tier, AIC_LITERAL("d/1"), &out), AIC_OK);
    assert_memory_equal(out.data, "one", 3);
    buf_clear(&out);
    assert_int_equal(walk_blobs(&world->mem, world->tier, "d/", join_names, &out), AIC_OK);
    assert_int_equal(out.size, 16);
    assert_memory_equal(out.data, "d/1=one d/2=two ", 16);
    buf_clear(&out);
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_int_equal(ops->clear(world->tier), AIC_OK);
    assert_missing(world, 1);
    assert_int_equal(stats_of(world).entries, 0);
    assert_int_equal(ops->blob_put(world->tier, AIC_LITERAL("d/2"), (aic_view){NULL, 0}), AIC_OK);
    assert_int_equal(walk_blobs(&world->mem, world->tier, "", join_names, &out), AIC_OK);
    assert_memory_equal(out.data, "a=first d/1=one e= ", 19);
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_verified(world);
    buf_fini(&out);
}

/* -------------------------------------------------------------------------------------------------------- limit -- */

static void test_the_file_stays_within_its_limit(void **state)
{
    struct world *world = *state;
    close_tier(world);
    world->options.max_bytes = (uint64_t)8 << 20;
    open_tier(world);
    uint64_t seed = 7;
    for (uint64_t i = 0; i < 6000; i++) {
        struct sample sample = {START_MS, 0, {"0default", "1qa"}, random_below(&seed, 20000), i};
        if (i % 3 != 0) sample.expires_ms = START_MS + 1000000 + i; /* the others never expire: they go last */
        if (i % 500 == 0) sample.payload_bytes = 600000;
        aic_status status = put(world, i, &sample);
        if (status != AIC_OK) fail_msg("put %d: %s", (int)i, aic_status_name(status));
        assert_true(stats_of(world).file_bytes <= world->options.max_bytes);
    }
    struct tier_stats stats = stats_of(world);
    assert_true(stats.evicted > 4000);
    assert_int_equal(stats.entries, 6000 - stats.evicted);
    assert_int_equal(SELECT(world, 0, "0default"), stats.entries);
    assert_true(stats.bytes > world->options.max_bytes / 2);
    assert_verified(world);
    struct stat file;
    char path[512];
    scratch_name(&world->scratch, "cache.mdb", path, sizeof path);
    assert_int_equal(stat(path, &file), 0);
    assert_true((uint64_t)file.st_size <= world->options.max_bytes);
}

static void test_the_oldest_expiry_leaves_first(void **state)
{
    struct world *world = *state;
    close_tier(world);
    world->options.max_bytes = LMDB_MIN_BYTES;
    open_tier(world);
    struct sample sample = {.created_ms = START_MS, .labels = {"0default"}, .payload_bytes = 4000};
    for (uint64_t i = 0; i < 200; i++) assert_int_equal(put(world, i, &sample), AIC_OK); /* never expire */
    for (uint64_t i = 200; i < 2000; i++) {
        sample.expires_ms = START_MS + 100000 - i; /* whoever comes later leaves earlier */
        assert_int_equal(put(world, i, &sample), AIC_OK);
    }
    sample.expires_ms = 0;
    for (uint64_t i = 0; i < 200; i++) assert_there(world, i, &sample);
    sample.expires_ms = START_MS + 100000 - 200;
    assert_there(world, 200, &sample);
    assert_missing(world, 1990);
    assert_verified(world);
}

static void test_what_can_never_fit_is_refused(void **state)
{
    struct world *world = *state;
    close_tier(world);
    world->options.max_bytes = LMDB_MIN_BYTES;
    open_tier(world);
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    struct sample sample = plain;
    sample.payload_bytes = 2 << 20;
    assert_int_equal(put(world, 2, &sample), AIC_FULL);
    assert_int_equal(world->tier->max_record_bytes, LMDB_MIN_BYTES / 4);
    struct buf record; /* the largest that it says it takes, and one byte more */
    buf_init(&record, &world->mem, MEM_OTHER);
    sample_write(&sample, &record);
    sample.payload_bytes = world->tier->max_record_bytes - (record.size - sample.payload_bytes);
    buf_fini(&record);
    for (uint64_t i = 3; i < 20; i++) assert_int_equal(put(world, i, &sample), AIC_OK);
    assert_there(world, 19, &sample);
    sample.payload_bytes++;
    assert_int_equal(put(world, 2, &sample), AIC_FULL);
    assert_int_equal(put(world, 1, &plain), AIC_OK);
    assert_there(world, 1, &plain);
    close_tier(world);
    world->options.max_bytes = LMDB_MIN_BYTES - 1;
    aic_error error;
    assert_int_equal(lmdb_tier_open(&world->options, &world->tier, &error), AIC_INVALID);
    assert_string_equal(error.field, "storage.max_bytes");
}

static void test_a_lower_limit_evicts(void **state)
{
    struct world *world = *state;
    struct sample sample = plain;
    sample.payload_bytes = 10000;
    for (uint64_t i = 0; i < 2000; i++) assert_int_equal(put(world, i, &sample), AIC_OK);
    close_tier(world);
    world->options.max_bytes = (uint64_t)8 << 20;
    open_tier(world);
    assert_int_equal(put(world, 5000, &sample), AIC_OK);
    assert_true(stats_of(world).bytes < world->options.max_bytes);
    assert_true(stats_of(world).file_bytes <= world->options.max_bytes);
    assert_verified(world);
}

/* Describes, and in its first call puts one entry more: its commit is seen before the tier's own figures know of it. */
static aic_status describe_and_put(void *context, aic_view record, struct tier_description *out)
{
    struct world *world = context;
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    static bool has_put;
    if (lmdb != NULL && atomic_load(&lmdb->entries) == 2000 && !has_put) {
        has_put = true;
        uint64_t before = atomic_load(&lmdb->committed);
        assert_int_equal(put(world, 5000, &plain), AIC_OK);
        atomic_store(&lmdb->committed, before);
    }
    return sample_describe(NULL, record, out);
}

static void test_what_is_put_during_a_check_is_no_damage(void **state)
{
    struct world *world = *state;
    close_tier(world);
    world->options.describe = describe_and_put;
    world->options.describe_context = world;
    open_tier(world);
    for (uint64_t i = 0; i < 2000; i++) assert_int_equal(put(world, i, &plain), AIC_OK);
    assert_verified(world);
    assert_int_equal(stats_of(world).entries, 2001);
    assert_verified(world);
}

/* A new file counts its commits from the beginning: the same number is not the same state. */
static void test_a_check_across_a_new_file(void **state)
{
    struct world *world = *state;
    struct lmdb_tier *lmdb = (struct lmdb_tier *)world->tier;
    struct tier_check check = {0};
    aic_error error = {0};
    MDB_envinfo info;
    for (uint64_t i = 0; i < 20; i++) assert_int_equal(put(world, i, &plain), AIC_OK);
    assert_int_equal(mdb_env_info(lmdb->env, &info), 0);
    size_t commit = info.me_last_txnid;
    assert_int_equal(world->tier->ops->verify(world->tier, &check, &error), AIC_OK); /* the counters of 20 entries */
    assert_int_equal(world->tier->ops->clear(world->tier), AIC_OK);
    do {
        assert_int_equal(put(world, 1, &plain), AIC_OK);
        assert_int_equal(mdb_env_info(lmdb->env, &info), 0);
    } while (info.me_last_txnid < commit);
    assert_int_equal(info.me_last_txnid, commit);
    aic_status status = AIC_OK;
    while (status == AIC_OK && !check.ended) status = world->tier->ops->verify(world->tier, &check, &error);
    if (status != AIC_OK) fail_msg("%s", error.message);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        TEST(put_get_delete),
        TEST(sizes_around_the_pieces),
        TEST(a_batch_is_all_or_nothing),
        TEST(a_delete_spares_another_record),
        TEST(a_commit_ends_the_state_that_is_read),
        TEST(everything_survives_a_restart),
        TEST(expired_records_are_misses_and_leave),
        TEST(a_replaced_record_keeps_no_old_rows),
        TEST(select_by_labels),
        TEST(select_goes_on_after_a_key),
        TEST(a_walk_without_matches_comes_in_pages),
        TEST(removing_while_selecting),
        TEST(expired_records_are_not_selected),
        TEST(blobs),
        TEST(the_file_stays_within_its_limit),
        TEST(the_oldest_expiry_leaves_first),
        TEST(what_can_never_fit_is_refused),
        TEST(a_lower_limit_evicts),
        TEST(what_is_put_during_a_check_is_no_damage),
        TEST(a_check_across_a_new_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
