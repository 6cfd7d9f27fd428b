/*
 * What the library refuses: every field of every public struct that can hold a value that makes no sense, one row each.
 * A refusal is AIC_INVALID, names the field, and says what is accepted; nothing ends the process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support.h"

#include <aicache/monitor.h>
#include <math.h>

/* What is refused must name the field and say what is accepted. */
static void expect_refusal(const char *what, aic_status status, const aic_error *error, const char *field,
                           const char *accepted)
{
    if (status != AIC_INVALID || error->status != AIC_INVALID || strcmp(error->field, field) != 0 ||
        strstr(error->message, accepted) == NULL)
        fail_msg("%s: %s, field '%s', '%s'", what, aic_status_name(status), error->field, error->message);
}

static const aic_view hollow = {NULL, 5}; /* bytes that are nowhere */

/* ---- aic_options ---- */

static uint64_t some_time(void *context)
{
    (void)context;
    return 1;
}

static void *some_block(void *context, size_t bytes)
{
    (void)context;
    return malloc(bytes);
}

static void no_block(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

static const aic_clock no_wall = {.mono_ns = some_time}, no_mono = {.wall_ms = some_time};
static const aic_allocator no_acquire = {.release = no_block}, no_release = {.acquire = some_block};
static const aic_operation_ttl nameless = {NULL, 1}, endless = {"qa", AIC_MAX_TTL_SECONDS + 1};

#define OPTION_ROWS(X)                                                                                                 \
    X("memory.policy", "lru", .memory_policy = (aic_policy)9)                                                          \
    X("memory.policy", "9", .memory_policy = (aic_policy)9)                                                            \
    X("memory.policy", "-1", .memory_policy = (aic_policy)-1)                                                          \
    X("storage.kind", "none", .storage = (aic_storage)3)                                                               \
    X("storage.kind", "lmdb", .storage = (aic_storage)-1)                                                              \
    X("data_dir", "directory", .storage = AIC_STORAGE_LMDB)                                                            \
    X("data_dir", "empty", .data_dir = "")                                                                             \
    X("secret_file", "empty", .secret_file = "")                                                                       \
    X("memory.max_bytes", "240 GiB", .memory_max_bytes = UINT64_C(1) << 40)                                            \
    X("memory.max_bytes", "18446744073709551614", .memory_max_bytes = UINT64_MAX - 1)                                  \
    X("ttl.default", "3155760000", .ttl_default_seconds = AIC_MAX_TTL_SECONDS + 1)                                     \
    X("ttl.operations", "NULL", .ttl_operation_count = 1)                                                              \
    X("ttl.operations", "1 to 128", .ttl_operations = &nameless, .ttl_operation_count = 1)                             \
    X("ttl.operations", "3155760000", .ttl_operations = &endless, .ttl_operation_count = 1)                            \
    X("ttl.operations", "10000", .ttl_operations = &endless, .ttl_operation_count = 10001)                             \
    X("compression.level", "1 to 19", .compression_level = 20)                                                         \
    X("compression.level", "1 to 19", .compression_level = -1)                                                         \
    X("allocator", "acquire", .allocator = &no_acquire)                                                                \
    X("allocator", "release", .allocator = &no_release)                                                                \
    X("clock", "wall_ms", .clock = &no_wall)                                                                           \
    X("clock", "mono_ns", .clock = &no_mono)

static void options_are_checked(void **state)
{
    (void)state;
#define OPTION_ROW(field_, accepted_, ...) {field_, accepted_, {__VA_ARGS__}},
    static const struct {
        const char *field, *accepted;
        aic_options options;
    } rows[] = {OPTION_ROWS(OPTION_ROW)};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        aic_cache *cache = NULL;
        aic_error error = {0};
        aic_status status = aic_cache_open(&rows[i].options, &cache, &error);
        expect_refusal("open", status, &error, rows[i].field, rows[i].accepted);
        assert_null(cache);
        assert_int_equal(aic_cache_open(&rows[i].options, &cache, NULL), AIC_INVALID); /* nobody asks why */
    }
}

static void a_store_too_small_names_its_option_and_size(void **state)
{
    struct bench_cache *table = *state;
    static const uint64_t sizes[] = {1, 1 << 20, (4 << 20) - 1, AIC_ZERO};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char came[32];
        aic_error error = {0};
        table->options.data_dir = table->dir.path;
        table->options.storage_max_bytes = sizes[i];
        aic_status status = aic_cache_open(&table->options, &table->cache, &error);
        snprintf(came, sizeof came, "%llu bytes came", sizes[i] == AIC_ZERO ? 0 : (unsigned long long)sizes[i]);
        expect_refusal("open", status, &error, "storage.max_bytes", came);
        expect_refusal("open", status, &error, "storage.max_bytes", "4194304");
    }
    table->options.storage_max_bytes = 4 << 20;
    table_open(table);
}

static void extreme_options_that_make_sense_are_taken(void **state)
{
    (void)state;
    static const aic_options rows[] = {
        {.memory_max_bytes = AIC_ZERO},
        {.memory_max_entries = UINT64_MAX - 1, .memory_max_item_bytes = UINT64_MAX - 1},
        {.compression_threshold_bytes = UINT64_MAX - 1, .compression_level = 19},
        {.compression_threshold_bytes = AIC_ZERO, .ttl_default_seconds = AIC_ZERO},
        {.storage_deadline_ms = UINT32_MAX, .storage_sync_ms = UINT32_MAX, .storage_queue_bytes = UINT64_MAX - 1},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        aic_cache *cache = NULL;
        assert_int_equal(aic_cache_open(&rows[i], &cache, NULL), AIC_OK);
        (void)put_text(cache, "qa", "t", "1");
        aic_cache_close(&cache);
    }
}

/* ---- aic_request, aic_put ---- */

static const aic_view same_tags[] = {{"a", 1}, {"a", 1}}, hollow_tags[] = {{NULL, 3}}, empty_tags[] = {{"", 0}};

#define PUT_ROWS(X)                                                                                                    \
    X("namespace", .request.ns = hollow)                                                                               \
    X("namespace", .request.ns = {"a\0b", 3})                                                                          \
    X("operation", .request.operation = hollow)                                                                        \
    X("operation", .request.operation = {NULL, 0})                                                                     \
    X("text", .request.text = hollow)                                                                                  \
    X("text", .request.text = {"\xff", 1})                                                                             \
    X("options", .request.options = hollow)                                                                            \
    X("options", .request.options = {"[]", 2})                                                                         \
    X("question", .request.question = hollow)                                                                          \
    X("response", .response = hollow)                                                                                  \
    X("response", .response = {"", 0})                                                                                 \
    X("ttl", .ttl_given = true, .ttl_seconds = UINT64_MAX)                                                             \
    X("tags", .tags = NULL, .tag_count = 2)                                                                            \
    X("tags", .tags = same_tags, .tag_count = SIZE_MAX)                                                                \
    X("tags[0]", .tags = hollow_tags, .tag_count = 1)                                                                  \
    X("tags[0]", .tags = empty_tags, .tag_count = 1)                                                                   \
    X("tags[1]", .tags = same_tags, .tag_count = 2)                                                                    \
    X("model", .request.model = hollow)                                                                                \
    X("model", .request.model = {"m", 1}, .request.options = {"{\"model\":\"n\"}", 13})                                \
    X("model", .request.model = {"m", 1}, .request.options = {"{\"model\":null}", 14})                                 \
    X("prompt_tokens", .prompt_tokens = UINT64_MAX)                                                                    \
    X("completion_tokens", .completion_tokens = UINT64_MAX)                                                            \
    X("cost_usd", .cost_usd = -1)                                                                                      \
    X("cost_usd", .cost_usd = 1e10)                                                                                    \
    X("cost_usd", .cost_usd = NAN)                                                                                     \
    X("cost_usd", .cost_usd = INFINITY)

static void puts_are_checked(void **state)
{
    struct bench_cache *table = *state;
    /* A good one, in which one member is overwritten. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Woverride-init"
#define PUT_ROW(field_, ...)                                                                                           \
    {field_, {.request.operation = {"qa", 2}, .request.text = {"t", 1}, .response = {"1", 1}, __VA_ARGS__}},
#define hollow                                                                                                         \
    {                                                                                                                  \
        NULL, 5                                                                                                        \
    }
    static const struct {
        const char *field;
        aic_put put;
    } rows[] = {PUT_ROWS(PUT_ROW)};
#undef hollow
#pragma GCC diagnostic pop
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        aic_error error = {0};
        aic_status status = aic_cache_put(table->cache, &rows[i].put, NULL, &error);
        expect_refusal("put", status, &error, rows[i].field, "");
        assert_int_equal(aic_cache_put(table->cache, &rows[i].put, NULL, NULL), AIC_INVALID);
    }
    assert_int_equal(stats_of(table->cache).puts, 0);
}

static void keys_and_namespaces_are_checked(void **state)
{
    struct bench_cache *table = *state;
    aic_key key = {{0}};
    aic_hit *hit = NULL;
    assert_int_equal(aic_key_parse((aic_view){NULL, 64}, &key), AIC_INVALID);
    assert_int_equal(aic_cache_get(table->cache, hollow, &key, &hit), AIC_INVALID);
    assert_int_equal(aic_cache_delete(table->cache, hollow, &key), AIC_INVALID);
    assert_null(hit);
}

static const aic_metadata *labels_of(aic_cache *cache, const aic_filter *filter, aic_page **page)
{
    assert_int_equal(aic_cache_list(cache, filter, 10, (aic_view){NULL, 0}, page, NULL), AIC_OK);
    return aic_page_entry(*page, 0);
}

/* A model beside the options and one in them are one thing: of the key, and of what lists and invalidations go by. */
static void model_wherever_it_is_given(void **state)
{
    struct bench_cache *table = *state;
    aic_put beside = put_of("qa", "t", "1"), within = put_of("qa", "t", "2"), none = put_of("qa", "t", "3");
    beside.request.model = AIC_LITERAL("gpt-4o");
    within.request.options = AIC_LITERAL("{\"model\":\"cl\\u0061ude\"}");
    assert_int_equal(aic_cache_put(table->cache, &beside, NULL, NULL), AIC_OK);
    assert_int_equal(aic_cache_put(table->cache, &within, NULL, NULL), AIC_OK);
    assert_int_equal(aic_cache_put(table->cache, &none, NULL, NULL), AIC_OK);
    aic_request gpt = request_of("qa", "t"), claude = request_of("qa", "t"), both = request_of("qa", "t");
    gpt.options = AIC_LITERAL("{\"model\":\"gpt-4o\"}");
    claude.model = AIC_LITERAL("claude");
    both.model = AIC_LITERAL("gpt-4o");
    both.options = gpt.options;
    assert_int_equal(look_for(table->cache, &beside.request, "1"), 'm');
    assert_int_equal(look_for(table->cache, &gpt, "1"), 'm');
    assert_int_equal(look_for(table->cache, &both, "1"), 'm');
    assert_int_equal(look_for(table->cache, &claude, "2"), 'm');
    assert_int_equal(look(table->cache, "qa", "t", "3"), 'm');
    static const char *const models[] = {"gpt-4o", "claude"};
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        aic_filter filter = {.model = aic_view_of(models[i])};
        aic_page *page;
        const aic_metadata *entry = labels_of(table->cache, &filter, &page);
        assert_non_null(entry);
        assert_int_equal(aic_page_count(page), 1);
        assert_int_equal(entry->model.size, strlen(models[i]));
        assert_memory_equal(entry->model.data, models[i], entry->model.size);
        aic_page_release(&page);
        aic_invalidated sums;
        assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, &sums, NULL), AIC_OK);
        assert_int_equal(sums.removed, 1);
    }
    assert_int_equal(look(table->cache, "qa", "t", "3"), 'm');
    /* What is no name labels nothing and is part of the key as ever. */
    within.request.options = AIC_LITERAL("{\"model\":{\"id\":1}}");
    assert_int_equal(aic_cache_put(table->cache, &within, NULL, NULL), AIC_OK);
    assert_int_equal(look_for(table->cache, &within.request, "2"), 'm');
}

/* ---- aic_filter ---- */

#define FILTER_ROWS(X)                                                                                                 \
    X("namespace", .ns = hollow)                                                                                       \
    X("namespace", .ns = {"a", 1}, .all_namespaces = true)                                                             \
    X("operation", .operation = hollow)                                                                                \
    X("model", .model = hollow)                                                                                        \
    X("tag", .tag = hollow)                                                                                            \
    X("pattern", .pattern = hollow)                                                                                    \
    X("tier", .tiers = 4)                                                                                              \
    X("tier", .tiers = (unsigned)-1)                                                                                   \
    X("context", .context = hollow)

static void filters_are_checked_alike_by_all_who_take_one(void **state)
{
    struct bench_cache *table = *state;
    assert_int_equal(put_text(table->cache, "qa", "t", "1"), AIC_OK);
#define FILTER_ROW(field_, ...) {field_, {.all = true, __VA_ARGS__}},
#define hollow                                                                                                         \
    {                                                                                                                  \
        NULL, 5                                                                                                        \
    }
    static const struct {
        const char *field;
        aic_filter filter;
    } rows[] = {FILTER_ROWS(FILTER_ROW)};
#undef hollow
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        const aic_filter *filter = &rows[i].filter;
        aic_error error = {0};
        aic_page *page = NULL;
        aic_export *exporter = NULL;
        for (unsigned dry = 0; dry < 2; dry++)
            expect_refusal("invalidate", aic_cache_invalidate(table->cache, filter, dry == 1, NULL, &error), &error,
                           rows[i].field, "");
        expect_refusal("list", aic_cache_list(table->cache, filter, 10, (aic_view){0}, &page, &error), &error,
                       rows[i].field, "");
        expect_refusal("export", aic_export_create(table->cache, filter, &exporter, &error), &error, rows[i].field, "");
    }
    assert_int_equal(look(table->cache, "qa", "t", "1"), 'm'); /* nothing was removed */
}

static void pages_and_imports_are_checked(void **state)
{
    struct bench_cache *table = *state;
    aic_error error = {0};
    aic_page *page = NULL;
    aic_import *importer = NULL;
    const aic_filter any = {0};
    const size_t limits[] = {0, 1001, SIZE_MAX};
    for (size_t i = 0; i < COUNT_OF(limits); i++)
        expect_refusal("limit", aic_cache_list(table->cache, &any, limits[i], (aic_view){0}, &page, &error), &error,
                       "limit", "1 to 1000");
    expect_refusal("cursor", aic_cache_list(table->cache, &any, 1, (aic_view){NULL, 64}, &page, &error), &error,
                   "cursor", "");
    const aic_import_options odd = {.only_ns = hollow};
    expect_refusal("import", aic_import_create(table->cache, &odd, &importer, &error), &error, "namespace", "");
    const aic_import_options odd_too = {.default_ns = hollow};
    expect_refusal("import", aic_import_create(table->cache, &odd_too, &importer, &error), &error, "namespace", "");
    const aic_import_options large = {.max_line_bytes = SIZE_MAX, .max_rejections = SIZE_MAX};
    assert_int_equal(aic_import_create(table->cache, &large, &importer, &error), AIC_OK);
    assert_int_equal(aic_import_add(importer, hollow), AIC_INVALID);
    assert_int_equal(aic_import_add(importer, AIC_LITERAL("nonsense\n")), AIC_OK);
    assert_int_equal(aic_import_finish(importer), AIC_OK);
    aic_import_counts counts;
    aic_import_count(importer, &counts);
    assert_int_equal(counts.rejected, 1);
    aic_import_destroy(&importer);
}

/* Editors put a byte order mark in front of a file; the first line is none the worse for it, the others have no such
 * excuse. In pieces of one byte, too. */
static void a_byte_order_mark_is_no_part_of_the_first_line(void **state)
{
    static const char lines[] = "\xEF\xBB\xBF{\"operation\":\"qa\",\"text\":\"bom\",\"response\":1}\n"
                                "\xEF\xBB\xBF{\"operation\":\"qa\",\"text\":\"second\",\"response\":1}\n";
    struct bench_cache *table = *state;
    for (size_t piece = 1; piece < sizeof lines; piece += sizeof lines - 2) {
        aic_import *importer;
        aic_import_counts counts;
        uint64_t line = 0;
        assert_int_equal(aic_import_create(table->cache, NULL, &importer, NULL), AIC_OK);
        for (size_t at = 0; at < sizeof lines - 1; at += piece)
            assert_int_equal(aic_import_add(importer, (aic_view){lines + at, piece}), AIC_OK);
        assert_int_equal(aic_import_finish(importer), AIC_OK);
        aic_import_count(importer, &counts);
        assert_int_equal(counts.accepted, 1);
        assert_int_equal(counts.rejected, 1);
        assert_int_equal(aic_import_rejection(importer, 0, &line, NULL), AIC_OK);
        assert_int_equal(line, 2);
        aic_import_destroy(&importer);
        assert_int_equal(look(table->cache, "qa", "bom", "1"), 'm');
    }
}

/* ---- aic_monitor_options ---- */

#define MONITOR_ROWS(X)                                                                                                \
    X("retention_hours", "8784", .retention_hours = NAN)                                                               \
    X("retention_hours", "8784", .retention_hours = INFINITY)                                                          \
    X("retention_hours", "8784", .retention_hours = -1)                                                                \
    X("max_measurements", "100000", .max_measurements = -1)                                                            \
    X("max_measurements", "100000", .max_measurements = INT64_MAX)                                                     \
    X("memory_warning_bytes", "memory_critical_bytes", .memory_warning_bytes = UINT64_MAX)                             \
    X("slow_key_generation_seconds", "seconds", .slow_key_generation_seconds = NAN)                                    \
    X("slow_key_generation_seconds", "seconds", .slow_key_generation_seconds = -1)                                     \
    X("slow_operation_seconds", "seconds", .slow_operation_seconds = INFINITY)                                         \
    X("slow_operation_seconds", "seconds", .slow_operation_seconds = -INFINITY)                                        \
    X("slow_min_seconds", "seconds", .slow_min_seconds = -1)                                                           \
    X("invalidations_warning_per_hour", "0", .invalidations_warning_per_hour = -1)                                     \
    X("invalidations_critical_per_hour", "0", .invalidations_critical_per_hour = INT64_MIN)                            \
    X("allocator", "acquire", .allocator = &no_acquire)                                                                \
    X("allocator", "release", .allocator = &no_release)                                                                \
    X("clock", "wall_ms", .clock = &no_wall)                                                                           \
    X("clock", "mono_ns", .clock = &no_mono)

static void options_of_a_monitor_are_checked(void **state)
{
    (void)state;
#define MONITOR_ROW(field_, accepted_, ...) {field_, accepted_, {__VA_ARGS__}},
    static const struct {
        const char *field, *accepted;
        aic_monitor_options options;
    } rows[] = {MONITOR_ROWS(MONITOR_ROW)};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        aic_monitor *monitor = NULL;
        aic_error error = {0};
        aic_status status = aic_monitor_open(&rows[i].options, &monitor, &error);
        expect_refusal("monitor", status, &error, rows[i].field, rows[i].accepted);
        assert_null(monitor);
    }
    aic_monitor *monitor = NULL;
    aic_report *report = NULL;
    assert_int_equal(aic_monitor_open(NULL, &monitor, NULL), AIC_OK);
    const double odd[] = {NAN, INFINITY, -INFINITY, 0, -1};
    for (size_t i = 0; i < COUNT_OF(odd); i++)
        assert_int_equal(aic_monitor_slow(monitor, odd[i], &report), AIC_INVALID);
    aic_monitor_close(&monitor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test_setup_teardown(a_store_too_small_names_its_option_and_size, table_setup, table_teardown),
        cmocka_unit_test(extreme_options_that_make_sense_are_taken),
        cmocka_unit_test_setup_teardown(puts_are_checked, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(keys_and_namespaces_are_checked, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(filters_are_checked_alike_by_all_who_take_one, table_setup_memory,
                                        table_teardown),
        cmocka_unit_test_setup_teardown(model_wherever_it_is_given, table_setup_storage, table_teardown),
        cmocka_unit_test_setup_teardown(pages_and_imports_are_checked, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(a_byte_order_mark_is_no_part_of_the_first_line, table_setup_memory,
                                        table_teardown),
        cmocka_unit_test(options_of_a_monitor_are_checked),
    };
    return cmocka_run_group_tests_name("cache input", tests, NULL, NULL);
}
