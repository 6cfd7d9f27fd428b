/* A store belongs to the secret under which it was written: another one is refused, told, and changes nothing. */
#include "fake_tier.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define TEXT_SECRET "0123456789abcdef0123456789abcdef\n"
#define TEXT_FINGERPRINT "9ea7372098bcb11e"
#define HEX_SECRET "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n"
#define HEX_FINGERPRINT "1b2d0747e2e90e2d"
#define BLOB AIC_LITERAL("secret/fingerprint")

static void path_in(const struct bench_cache *table, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", table->dir.path, name);
}

static void write_secret(const struct bench_cache *table, const char *name, const char *text)
{
    char path[128];
    path_in(table, name, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static bool secret_is_there(const struct bench_cache *table)
{
    char path[128];
    path_in(table, "secret", path);
    return access(path, F_OK) == 0;
}

static void remove_secret(const struct bench_cache *table)
{
    char path[128];
    path_in(table, "secret", path);
    assert_int_equal(unlink(path), 0);
}

/* The open is refused, and says what is wrong and what to do. */
static void refuses(struct bench_cache *table)
{
    aic_error error;
    assert_null(table->cache);
    assert_int_equal(aic_cache_open(&table->options, &table->cache, &error), AIC_INVALID);
    assert_int_equal(error.status, AIC_INVALID);
    assert_string_equal(error.field, "secret_file");
    assert_non_null(strstr(error.message, "was written under another secret"));
    assert_non_null(strstr(error.message, "none of its entries could be found"));
    assert_non_null(strstr(error.message, "put the old secret file back"));
    assert_non_null(strstr(error.message, "start with an empty data_dir"));
    assert_non_null(strstr(error.message, table->dir.path));
    assert_null(table->cache);
}

static void fingerprint_is(struct bench_cache *table, const char *wanted)
{
    struct buf got;
    buf_init(&got, cache_mem(table->cache), MEM_OTHER);
    assert_int_equal(gate_blob_get(cache_gate(table->cache), BLOB, &got), AIC_OK);
    assert_int_equal(got.size, strlen(wanted));
    assert_memory_equal(got.data, wanted, got.size);
    buf_fini(&got);
}

/* What a store of before looks like. */
static void forget_fingerprint(struct bench_cache *table)
{
    assert_int_equal(gate_blob_put(cache_gate(table->cache), BLOB, (aic_view){NULL, 0}), AIC_OK);
}

static void fill(struct bench_cache *table)
{
    table->options.data_dir = table->dir.path;
    table->options.ttl_default_seconds = AIC_ZERO;
    write_secret(table, "secret", TEXT_SECRET);
    table_open(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
}

static void still_answers(struct bench_cache *table)
{
    write_secret(table, "secret", TEXT_SECRET);
    table_open(table);
    assert_int_equal(look(table->cache, "qa", "x", "1"), 's');
    assert_int_equal(aic_cache_verify(table->cache, NULL), AIC_OK);
}

static void it_is_kept(void **state)
{
    struct bench_cache *table = *state;
    fill(table);
    fingerprint_is(table, TEXT_FINGERPRINT);
    aic_filter all = {.all = true, .all_namespaces = true};
    assert_int_equal(aic_cache_invalidate(table->cache, &all, false, NULL, NULL), AIC_OK);
    aic_cache_close(&table->cache);
    table_open(table);
    fingerprint_is(table, TEXT_FINGERPRINT);
}

static void another_secret_is_refused(void **state)
{
    struct bench_cache *table = *state;
    fill(table);
    aic_cache_close(&table->cache);
    write_secret(table, "secret", HEX_SECRET);
    refuses(table);
    write_secret(table, "secret", TEXT_SECRET);
    write_secret(table, "shared", HEX_SECRET);
    char shared[128];
    path_in(table, "shared", shared);
    table->options.secret_file = shared;
    refuses(table);
    table->options.secret_file = NULL;
    still_answers(table);
}

static void a_missing_secret_is_not_made_anew(void **state)
{
    struct bench_cache *table = *state;
    fill(table);
    aic_cache_close(&table->cache);
    remove_secret(table);
    refuses(table);
    assert_false(secret_is_there(table));
    still_answers(table);
    /* Nor under a store of before: what it holds was written under some secret, and none that is made now is it. */
    forget_fingerprint(table);
    aic_cache_close(&table->cache);
    remove_secret(table);
    refuses(table);
    assert_false(secret_is_there(table));
    still_answers(table);
}

static void a_store_of_before_goes_on(void **state)
{
    struct bench_cache *table = *state;
    fill(table);
    forget_fingerprint(table);
    aic_cache_close(&table->cache);
    still_answers(table);
    fingerprint_is(table, TEXT_FINGERPRINT);
    aic_cache_close(&table->cache);
    write_secret(table, "secret", HEX_SECRET);
    refuses(table);
    still_answers(table);
}

static void an_empty_store_takes_a_new_secret(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table_open(table);
    forget_fingerprint(table);
    aic_cache_close(&table->cache);
    remove_secret(table);
    table_open(table);
    assert_true(secret_is_there(table));
}

/* White space at the end of a secret does not count, a NUL byte does. */
static void every_byte_of_a_secret_counts(void **state)
{
    static const char secret[] = "fifteen-letters\0"; /* 16 bytes, and the one that ends every text */
    struct bench_cache *table = *state;
    char path[128];
    path_in(table, "bytes", path);
    for (size_t size = 15; size <= 16; size++) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(secret, 1, size, file), size);
        assert_int_equal(fputs(" \t\r\n", file) < 0, 0);
        assert_int_equal(fclose(file), 0);
        table->options.secret_file = path;
        aic_error error;
        assert_int_equal(aic_cache_open(&table->options, &table->cache, &error), size == 16 ? AIC_OK : AIC_INVALID);
        aic_cache_close(&table->cache);
    }
}

/* Nothing can be compared, nothing is refused; the next open compares. */
static void storage_that_is_down_refuses_nothing(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    write_secret(table, "secret", TEXT_SECRET);
    struct fake_tier *fake = table_open_fake(table);
    fingerprint_is(table, TEXT_FINGERPRINT);
    fake->keep = true;
    aic_cache_close(&table->cache);
    write_secret(table, "secret", HEX_SECRET);
    atomic_store(&fake->down, true);
    assert_int_equal(cache_open(&table->options, &fake->tier, &table->cache, NULL), AIC_OK);
    aic_cache_close(&table->cache);
    atomic_store(&fake->down, false);
    aic_error error;
    assert_int_equal(cache_open(&table->options, &fake->tier, &table->cache, &error), AIC_INVALID);
    assert_string_equal(error.field, "secret_file");
    write_secret(table, "secret", TEXT_SECRET);
    fake->keep = false;
    assert_int_equal(cache_open(&table->options, &fake->tier, &table->cache, NULL), AIC_OK);
}

/* ---- lines that were exported ---- */

static aic_status import_line(aic_cache *cache, const char *line, uint64_t *number, aic_error *error)
{
    aic_import *importer;
    aic_import_counts counts;
    assert_int_equal(aic_import_create(cache, NULL, &importer, NULL), AIC_OK);
    assert_int_equal(aic_import_add(importer, aic_view_of("\n")), AIC_OK);
    assert_int_equal(aic_import_add(importer, aic_view_of(line)), AIC_OK);
    assert_int_equal(aic_import_finish(importer), AIC_OK);
    aic_import_count(importer, &counts);
    assert_int_equal(counts.accepted + counts.rejected, 1);
    aic_status status = AIC_OK;
    if (counts.rejected > 0) {
        assert_int_equal(aic_import_rejection(importer, 0, number, error), AIC_OK);
        status = error->status;
    }
    aic_import_destroy(&importer);
    return status;
}

#define LINE_KEY "\"key\":\"0000000000000000000000000000000000000000000000000000000000000001\","
#define LINE_REST "\"operation\":\"qa\",\"response\":1}"

static void lines_of_another_secret_are_rejected(void **state)
{
    struct bench_cache *table = *state;
    fill(table);
    aic_export *exporter;
    aic_filter all = {0};
    aic_view lines;
    assert_int_equal(aic_export_create(table->cache, &all, &exporter, NULL), AIC_OK);
    assert_int_equal(aic_export_next(exporter, 0, &lines), AIC_OK);
    char line[1024];
    assert_true(lines.size < sizeof line);
    snprintf(line, sizeof line, "%.*s", (int)lines.size, lines.data);
    aic_export_destroy(&exporter);
    assert_non_null(strstr(line, "\",\"secret\":\"" TEXT_FINGERPRINT "\","));

    uint64_t number = 0;
    aic_error error;
    assert_int_equal(import_line(table->cache, line, &number, &error), AIC_OK);
    static const char *const others[] = {
        "{" LINE_KEY "\"secret\":\"" HEX_FINGERPRINT "\"," LINE_REST, "{" LINE_KEY "\"secret\":\"\"," LINE_REST,
        "{" LINE_KEY "\"secret\":\"" TEXT_FINGERPRINT "0\"," LINE_REST, "{" LINE_KEY "\"secret\":1," LINE_REST};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_int_equal(import_line(table->cache, others[i], &number, &error), AIC_INVALID);
        assert_int_equal(number, 2);
        assert_string_equal(error.field, "secret");
        if (i < 3) assert_non_null(strstr(error.message, "under another secret"));
    }
    static const char *const fine[] = {
        "{" LINE_KEY LINE_REST, "{" LINE_KEY "\"secret\":\"" TEXT_FINGERPRINT "\"," LINE_REST,
        "{\"text\":\"the key is computed here\",\"secret\":\"" HEX_FINGERPRINT "\"," LINE_REST};
    for (size_t i = 0; i < COUNT_OF(fine); i++)
        assert_int_equal(import_line(table->cache, fine[i], &number, &error), AIC_OK);
}

/* In memory alone there is a secret, too. */
static void lines_from_memory_carry_it(void **state)
{
    struct bench_cache *table = *state;
    write_secret(table, "shared", HEX_SECRET);
    char shared[128];
    path_in(table, "shared", shared);
    table->options.secret_file = shared;
    table_open(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    aic_export *exporter;
    aic_filter all = {0};
    aic_view lines;
    assert_int_equal(aic_export_create(table->cache, &all, &exporter, NULL), AIC_OK);
    assert_int_equal(aic_export_next(exporter, 0, &lines), AIC_OK);
    assert_non_null(memmem(lines.data, lines.size, "\"secret\":\"" HEX_FINGERPRINT "\"", 27));
    aic_export_destroy(&exporter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_kept, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(another_secret_is_refused, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_missing_secret_is_not_made_anew, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(every_byte_of_a_secret_counts, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_store_of_before_goes_on, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(an_empty_store_takes_a_new_secret, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(storage_that_is_down_refuses_nothing, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(lines_of_another_secret_are_rejected, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(lines_from_memory_carry_it, table_setup, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
