/*
 * Damaged records, and the life of dictionaries: what cannot be trusted is a miss, is counted and is removed; what
 * entries need is there after a restart; what they need no more is removed.
 */
#include "fake_tier.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void a_damaged_record_is_a_miss(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    char *response = make_response(3000, 1);
    assert_int_equal(put_text(table->cache, "qa", "x", response), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "y", "[1,2,3]"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    forget_memory(table->cache);
    atomic_store(&fake->spoil, true);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    assert_int_equal(stats_of(table->cache).damaged, 1);
    atomic_store(&fake->spoil, false);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-'); /* it was removed */
    assert_int_equal(fake_count(fake), 1);
    assert_int_equal(look(table->cache, "qa", "y", "[1,2,3]"), 's');
    free(response);
}

/* A clock that puts an entry when it is asked the next time after storage was read, once. */
struct putting_clock {
    struct bench_cache *table;
    struct fake_tier *fake; /* NULL: it only tells the time */
};

static uint64_t put_and_tell(void *context)
{
    struct putting_clock *clock = context;
    bool puts = clock->fake != NULL && atomic_load(&clock->fake->reads) > 0;
    if (puts) clock->fake = NULL;
    if (puts) assert_int_equal(put_text(clock->table->cache, "qa", "x", "[4,5,6]"), AIC_OK);
    return hand_wall(&clock->table->hand);
}

static uint64_t tell_mono(void *context)
{
    return hand_mono(&((struct putting_clock *)context)->table->hand);
}

static bool is_unwanted(void *context, const struct record *record)
{
    (void)context, (void)record;
    return false;
}

/* A conditional delete meets a record that cannot be trusted (it is dated ahead of the clock), and before that one is
 * removed somebody puts another: it is not what was met. */
static void what_replaces_a_damaged_record_stays(void **state)
{
    struct bench_cache *table = *state;
    struct putting_clock putting = {.table = table};
    const aic_clock clock = {put_and_tell, tell_mono, &putting};
    table->options.clock = &clock;
    table->options.ttl_default_seconds = 1000000;
    struct fake_tier *fake = table_open_fake(table);
    atomic_fetch_add(&table->hand.wall_ms, 100000000);
    assert_int_equal(put_text(table->cache, "qa", "x", "[1,2,3]"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_fetch_sub(&table->hand.wall_ms, 100000000);
    aic_key key = fake->records[0].key;
    forget_memory(table->cache);
    assert_int_equal(atomic_load(&fake->reads), 0);
    putting.fake = fake;
    assert_int_equal(cache_hide_if(table->cache, AIC_LITERAL("default"), &key, is_unwanted, NULL), AIC_STALE);
    assert_null(putting.fake);
    assert_int_equal(look(table->cache, "qa", "x", "[4,5,6]"), 'm');
    assert_int_equal(stats_of(table->cache).damaged, 0);
    aic_cache_close(&table->cache); /* before its clock goes */
}

/* Every byte of a stored record, changed in turn: never another answer, never a crash. */
static void no_changed_byte_gets_through(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    aic_view tags[] = {AIC_LITERAL("tag")};
    aic_put put = put_of("qa", "x", "{\"the\":\"answer\"}");
    put.tags = tags;
    put.tag_count = 1;
    put.request.model = AIC_LITERAL("m");
    assert_int_equal(aic_cache_put(table->cache, &put, NULL, NULL), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    size_t size = fake->records[0].size;
    char *good = malloc(size);
    memcpy(good, fake->records[0].bytes, size);
    aic_key key = fake->records[0].key;
    for (size_t i = 0; i < size; i++) {
        forget_memory(table->cache);
        pthread_mutex_lock(&fake->lock);
        char bad = good[i];
        good[i] = (char)(good[i] ^ (1 << (i % 8)));
        fake_put(fake, &key, (aic_view){good, size});
        good[i] = bad;
        pthread_mutex_unlock(&fake->lock);
        char seen = look_for(table->cache, &put.request, "{\"the\":\"answer\"}");
        if (seen != '-') fail_msg("byte %zu changed: %c", i, seen);
        assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    }
    for (size_t cut = 0; cut < size; cut++) {
        pthread_mutex_lock(&fake->lock);
        fake_put(fake, &key, (aic_view){good, cut});
        pthread_mutex_unlock(&fake->lock);
        if (cut == 0) continue; /* an empty record is no record for the tier either */
        assert_int_equal(look_for(table->cache, &put.request, NULL), '-');
        assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    }
    assert_int_equal(stats_of(table->cache).damaged, size + size - 1);
    free(good);
}

static void verify_finds_it(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "[1,2,3]"), AIC_OK);
    assert_int_equal(aic_cache_verify(table->cache, NULL), AIC_OK);
    pthread_mutex_lock(&fake->lock);
    fake->records[0].bytes[fake->records[0].size - 1] ^= 1;
    pthread_mutex_unlock(&fake->lock);
    aic_error error;
    assert_int_equal(aic_cache_verify(table->cache, &error), AIC_DAMAGED);
    assert_non_null(strstr(error.message, "storage, entry "));
}

/* ---- dictionaries ---- */

static char *record_like_answer(unsigned n)
{
    char *text = malloc(2048);
    int size = snprintf(
        text, 2048,
        "{\"id\":\"resp-%08x\",\"object\":\"response\",\"model\":\"medium-%u\",\"choices\":[{\"index\":0,\"message\":"
        "{\"role\":\"assistant\",\"content\":\"",
        n * 2654435761U, n % 3);
    static const char *const words[] = {
        "The capital ", "of the region ",  "is known for ",       "its long history ", "and for its ",
        "museums. ",    "Visitors often ", "remember the river ", "that crosses it ",  "from north to south. "};
    unsigned seed = n;
    for (int i = 0; i < 80; i++) size += snprintf(text + size, 2048 - (size_t)size, "%s", words[rand_r(&seed) % 10]);
    snprintf(text + size, 2048 - (size_t)size, "\"},\"finish_reason\":\"stop\"}],\"usage\":{\"total_tokens\":%u}}",
             n % 977);
    return text;
}

static void put_answers(aic_cache *cache, unsigned from, unsigned until)
{
    for (unsigned n = from; n < until; n++) {
        char text[16], *response = record_like_answer(n);
        snprintf(text, sizeof text, "%u", n);
        assert_int_equal(put_text(cache, "chat", text, response), AIC_OK);
        free(response);
    }
}

static void answers_are_there(aic_cache *cache, unsigned from, unsigned until)
{
    for (unsigned n = from; n < until; n++) {
        char text[16], *response = record_like_answer(n);
        snprintf(text, sizeof text, "%u", n);
        char seen = look(cache, "chat", text, response);
        if (seen != 's' && seen != 'm') fail_msg("answer %u: %c", n, seen);
        free(response);
    }
}

static void dictionaries_survive_a_restart(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table->options.ttl_default_seconds = AIC_ZERO;
    table_open(table);
    put_answers(table->cache, 0, 600);
    for (int i = 0; i < 5 && stats_of(table->cache).dictionaries == 0; i++) cache_tick(table->cache);
    assert_true(stats_of(table->cache).dictionaries >= 1);
    struct figures before = stats_of(table->cache);
    put_answers(table->cache, 600, 900);
    struct figures after = stats_of(table->cache);
    /* It pays: the ratio with the dictionary is better than without. */
    double with = (double)(after.compression_bytes_in - before.compression_bytes_in) /
                  (double)(after.compression_bytes_out - before.compression_bytes_out);
    double without = (double)before.compression_bytes_in / (double)before.compression_bytes_out;
    print_message("compression x%.2f without, x%.2f with a dictionary\n", without, with);
    assert_true(with > without);
    aic_cache_close(&table->cache);
    table_open(table);
    assert_true(stats_of(table->cache).dictionaries >= 1);
    answers_are_there(table->cache, 0, 900);
    assert_int_equal(stats_of(table->cache).damaged, 0);
    assert_int_equal(aic_cache_verify(table->cache, NULL), AIC_OK);
}

static void a_dictionary_that_is_gone_is_a_miss(void **state)
{
    struct bench_cache *table = *state;
    table->options.ttl_default_seconds = AIC_ZERO;
    table->options.data_dir = table->dir.path; /* for the secret: the keys are the same after the restart */
    struct fake_tier *fake = table_open_fake(table);
    fake->keep = true;
    put_answers(table->cache, 0, 600);
    for (int i = 0; i < 5 && stats_of(table->cache).dictionaries == 0; i++) cache_tick(table->cache);
    assert_true(fake->blob_count >= 1);
    put_answers(table->cache, 600, 610);
    aic_cache_close(&table->cache);
    while (fake->blob_count > 0) free(fake->blobs[--fake->blob_count].bytes);
    fake->keep = false;
    assert_int_equal(cache_open(&table->options, &fake->tier, &table->cache, NULL), AIC_OK);
    assert_int_equal(stats_of(table->cache).dictionaries, 0);
    char *response = record_like_answer(605);
    aic_request request = request_of("chat", "605");
    aic_hit *hit;
    aic_view got;
    assert_int_equal(aic_cache_lookup(table->cache, &request, NULL, &hit, NULL), AIC_OK);
    assert_int_equal(aic_hit_response(hit, &got), AIC_DAMAGED);
    assert_int_equal(stats_of(table->cache).damaged, 0); /* storage may have it */
    cache_tick(table->cache);
    assert_int_equal(aic_hit_response(hit, &got), AIC_DAMAGED);
    aic_hit_release(&hit);
    assert_int_equal(look(table->cache, "chat", "605", NULL), '-');
    assert_int_equal(stats_of(table->cache).damaged, 1);
    free(response);
}

/* ---- a dictionary that grew old ---- */

/* Answers with members that those before did not have. */
static char *grown_answer(unsigned n)
{
    static const char *const fingerprints[] = {"fp_9b1d7e52c0a84f36ee17", "fp_0c64f2a9d35b81e7446a",
                                               "fp_e8873b1f05dc6924ab90"};
    char *inner = record_like_answer(n), *text = malloc(4096);
    snprintf(text, 4096,
             "{\"service_tier\":\"flexible-batch\",\"system_fingerprint\":\"%s\",\"content_filter_results\":{\"hate\":"
             "{\"filtered\":false,\"severity\":\"safe\"},\"jailbreak\":{\"detected\":false}},\"answer\":%s}",
             fingerprints[n % 3], inner);
    free(inner);
    return text;
}

static void put_grown(aic_cache *cache, const char *operation, unsigned from, unsigned until)
{
    for (unsigned n = from; n < until; n++) {
        char text[16], *response = grown_answer(n);
        snprintf(text, sizeof text, "%u", n);
        assert_int_equal(put_text(cache, operation, text, response), AIC_OK);
        free(response);
    }
}

static void grown_are_there(aic_cache *cache, const char *operation, unsigned from, unsigned until)
{
    for (unsigned n = from; n < until; n++) {
        char text[16], *response = grown_answer(n);
        snprintf(text, sizeof text, "%u", n);
        char seen = look(cache, operation, text, response);
        if (seen != 's' && seen != 'm') fail_msg("%s %u: %c", operation, n, seen);
        free(response);
    }
}

/*
 * Storage cannot tell its dictionaries at the start: what needs one is a miss and stays, no other dictionary passes for
 * it, and when storage tells it again the answer is there.
 */
static void a_dictionary_that_cannot_be_read_is_fetched(void **state)
{
    struct bench_cache *table = *state;
    table->options.ttl_default_seconds = AIC_ZERO;
    table->options.data_dir = table->dir.path;
    struct fake_tier *fake = table_open_fake(table);
    fake->keep = true;
    put_answers(table->cache, 0, 600);
    for (int i = 0; i < 5 && stats_of(table->cache).dictionaries == 0; i++) cache_tick(table->cache);
    put_answers(table->cache, 600, 610);
    aic_cache_close(&table->cache);
    fake->keep = false;
    atomic_store(&fake->blobs_fail, true);
    assert_int_equal(cache_open(&table->options, &fake->tier, &table->cache, NULL), AIC_OK);
    assert_int_equal(stats_of(table->cache).dictionaries, 0);
    put_grown(table->cache, "grown", 0, 600); /* another dictionary comes of them */
    for (int i = 0; i < 5 && stats_of(table->cache).dictionaries == 0; i++) cache_tick(table->cache);
    assert_int_equal(stats_of(table->cache).dictionaries, 1);
    for (unsigned n = 600; n < 610; n++) {
        char text[16];
        snprintf(text, sizeof text, "%u", n);
        aic_request request = request_of("chat", text);
        aic_hit *hit;
        aic_view got;
        assert_int_equal(aic_cache_lookup(table->cache, &request, NULL, &hit, NULL), AIC_OK);
        assert_int_equal(aic_hit_response(hit, &got), AIC_DAMAGED);
        aic_hit_release(&hit);
    }
    cache_tick(table->cache);
    assert_int_equal(stats_of(table->cache).damaged, 0);
    atomic_store(&fake->blobs_fail, false);
    cache_tick(table->cache);
    assert_int_equal(stats_of(table->cache).dictionaries, 2);
    answers_are_there(table->cache, 0, 610);
    assert_int_equal(stats_of(table->cache).damaged, 0);
}

static void let_sweeps_pass(struct bench_cache *table)
{
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    for (int i = 0; i < 40; i++) {
        hand_turn(&table->hand, 61);
        cache_tick(table->cache);
    }
}

static void reopen(struct bench_cache *table)
{
    aic_cache_close(&table->cache);
    table_open(table);
}

/* Eight times as much has come: another version takes over, in a store on disk and over restarts. */
static void a_second_dictionary_takes_over(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table->options.ttl_default_seconds = AIC_ZERO;
    table_open(table);
    put_answers(table->cache, 0, 300);
    for (int i = 0; i < 5 && stats_of(table->cache).dictionaries == 0; i++) cache_tick(table->cache);
    assert_int_equal(stats_of(table->cache).dictionaries, 1);
    unsigned grown = 0;
    for (; grown < 300 * 12 && stats_of(table->cache).dictionaries == 1; grown += 100) {
        put_grown(table->cache, "chat", 1000 + grown, 1000 + grown + 100);
        cache_tick(table->cache);
    }
    assert_int_equal(stats_of(table->cache).dictionaries, 2);
    print_message("the second dictionary after %u answers, the first after 300\n", 300 + grown);
    assert_in_range(grown, 300 * 4, 300 * 9);

    /* Both are kept while entries need them, and both are there after a restart. */
    put_grown(table->cache, "new", 0, 20);
    let_sweeps_pass(table);
    assert_int_equal(stats_of(table->cache).dictionaries, 2);
    reopen(table);
    assert_int_equal(stats_of(table->cache).dictionaries, 2);
    put_grown(table->cache, "new", 20, 40); /* by the newer one */
    answers_are_there(table->cache, 0, 300);
    grown_are_there(table->cache, "chat", 1000, 1000 + grown);
    grown_are_there(table->cache, "new", 0, 40);

    /* What came before the second one goes, and the first one with it; what came after needs it not. */
    aic_filter filter = {.operation = AIC_LITERAL("chat")};
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL), AIC_OK);
    let_sweeps_pass(table);
    assert_int_equal(stats_of(table->cache).dictionaries, 1);
    grown_are_there(table->cache, "new", 0, 40);
    reopen(table);
    assert_int_equal(stats_of(table->cache).dictionaries, 1);
    grown_are_there(table->cache, "new", 0, 40);
    assert_int_equal(stats_of(table->cache).damaged, 0);
    assert_int_equal(aic_cache_verify(table->cache, NULL), AIC_OK);
}

/* ---- the secret ---- */

static void write_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static _Atomic unsigned warnings;

static void count_warnings(void *context, aic_log_level level, const char *line)
{
    (void)context;
    if (level == AIC_LOG_WARNING && strstr(line, "secret") != NULL) atomic_fetch_add(&warnings, 1);
}

static void the_secret(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table->options.log = count_warnings;
    table_open(table);
    char path[128];
    snprintf(path, sizeof path, "%s/secret", table->dir.path);
    struct stat entry;
    assert_int_equal(stat(path, &entry), 0);
    assert_int_equal(entry.st_mode & 0777, 0600);
    assert_int_equal(entry.st_size, 65);
    aic_key first, again, other;
    aic_request request = request_of("qa", "x");
    assert_int_equal(aic_cache_key(table->cache, &request, &first, NULL), AIC_OK);
    aic_cache_close(&table->cache);
    table_open(table);
    assert_int_equal(aic_cache_key(table->cache, &request, &again, NULL), AIC_OK);
    assert_memory_equal(&first, &again, sizeof first);
    aic_cache_close(&table->cache);

    char shared[128];
    snprintf(shared, sizeof shared, "%s/shared", table->dir.path);
    table->options.secret_file = shared;
    table->options.storage = AIC_STORAGE_NONE; /* the store belongs to the first one */
    aic_error error;
    assert_int_equal(aic_cache_open(&table->options, &table->cache, &error), AIC_IO);
    assert_string_equal(error.field, "secret_file");
    write_file(shared, "too short\n", 0600);
    assert_int_equal(aic_cache_open(&table->options, &table->cache, &error), AIC_INVALID);
    write_file(shared, "a secret of more than sixteen bytes\n", 0600);
    assert_int_equal(atomic_load(&warnings), 0);
    table_open(table);
    assert_int_equal(aic_cache_key(table->cache, &request, &other, NULL), AIC_OK);
    assert_memory_not_equal(&first, &other, sizeof first);
    aic_cache_close(&table->cache);
    write_file(shared, "a secret of more than sixteen bytes", 0644); /* the same without the line's end, and readable */
    table_open(table);
    assert_int_equal(atomic_load(&warnings), 1);
    assert_int_equal(aic_cache_key(table->cache, &request, &again, NULL), AIC_OK);
    assert_memory_equal(&again, &other, sizeof first);
}

static void directories_that_do_not_do(void **state)
{
    struct bench_cache *table = *state;
    aic_error error;
    char path[128];
    snprintf(path, sizeof path, "%s/file", table->dir.path);
    write_file(path, "x", 0600);
    table->options.data_dir = path;
    assert_int_equal(aic_cache_open(&table->options, &table->cache, &error), AIC_IO);
    assert_string_equal(error.field, "data_dir");
    assert_non_null(strstr(error.message, "irectory"));
    snprintf(path, sizeof path, "%s/no/such", table->dir.path);
    assert_int_equal(aic_cache_open(&table->options, &table->cache, &error), AIC_IO);
    table->options = (aic_options){.storage = AIC_STORAGE_LMDB};
    assert_int_equal(aic_cache_open(&table->options, &table->cache, &error), AIC_INVALID);
    assert_string_equal(error.field, "data_dir");
    table->options = (aic_options){.compression_level = 20};
    assert_int_equal(aic_cache_open(&table->options, &table->cache, &error), AIC_INVALID);
    assert_string_equal(error.field, "compression.level");
    assert_null(table->cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_damaged_record_is_a_miss, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(what_replaces_a_damaged_record_stays, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(no_changed_byte_gets_through, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(verify_finds_it, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(dictionaries_survive_a_restart, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_dictionary_that_is_gone_is_a_miss, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_dictionary_that_cannot_be_read_is_fetched, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_second_dictionary_takes_over, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(the_secret, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(directories_that_do_not_do, table_setup, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
