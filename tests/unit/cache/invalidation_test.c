/* The conformance cases of invalidation, by their ids, and the list of those that storage owes. */
#include "fake_tier.h"

#include "cache/filter.h"

#include <aicache/monitor.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void fill(aic_cache *cache)
{
    static const char *const operations[] = {"qa", "qa_v2", "summarize"};
    for (size_t i = 0; i < 3; i++) {
        for (int n = 0; n < 3; n++) {
            char text[8];
            snprintf(text, sizeof text, "%d", n);
            aic_view tags[] = {n == 0 ? AIC_LITERAL("test") : AIC_LITERAL("rest"), AIC_LITERAL("all:x")};
            aic_put put = put_of(operations[i], text, "1");
            put.tags = tags;
            put.tag_count = 2;
            put.request.model = n == 1 ? AIC_LITERAL("gpt-4") : AIC_LITERAL("gpt-4o");
            assert_int_equal(aic_cache_put(cache, &put, NULL, NULL), AIC_OK);
        }
    }
}

static uint64_t count_left(aic_cache *cache)
{
    aic_page *page;
    aic_filter all = {0};
    assert_int_equal(aic_cache_list(cache, &all, 1000, (aic_view){NULL, 0}, &page, NULL), AIC_OK);
    uint64_t count = aic_page_count(page);
    aic_page_release(&page);
    return count;
}

static void G01_to_G14_what_is_removed(void **state)
{
    struct bench_cache *table = *state;
    static const struct {
        aic_filter filter;
        uint64_t removed;
    } rows[] = {
        {{.pattern = {"test", 4}}, 3},
        {{.pattern = {"tes", 3}}, 0},
        {{.pattern = {"qa*", 3}}, 6},
        {{.pattern = {"all:?", 5}}, 9},
        {{.pattern = {"x:*:middle:*", 12}}, 0},
        {{.operation = {"qa", 2}}, 3},
        {{.operation = {"nothing", 7}}, 0},
        {{.model = {"gpt-4", 5}}, 3},
        {{.tag = {"rest", 4}}, 6},
        {{.tag = {"rest", 4}, .operation = {"qa", 2}, .model = {"gpt-4", 5}}, 1},
        {{.ns = {"default", 7}}, 9},
        {{.ns = {"other", 5}}, 0},
        {{.all = true}, 9},
        {{.age_given = true, .older_than_seconds = 1}, 0},
        {{.age_given = true, .older_than_seconds = 0}, 9},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (int warm = 0; warm < 2; warm++) {
            fill(table->cache);
            if (!warm) forget_memory(table->cache); /* entries that only storage has count the same */
            aic_invalidated dry, real;
            assert_int_equal(aic_cache_invalidate(table->cache, &rows[i].filter, true, &dry, NULL), AIC_OK);
            assert_int_equal(dry.matched, rows[i].removed);
            assert_int_equal(dry.removed, 0);
            assert_int_equal(count_left(table->cache), 9);
            assert_int_equal(aic_cache_invalidate(table->cache, &rows[i].filter, false, &real, NULL), AIC_OK);
            assert_int_equal(real.matched, rows[i].removed);
            assert_int_equal(real.removed, rows[i].removed);
            assert_true((real.bytes_freed > 0) == (rows[i].removed > 0));
            assert_int_equal(dry.bytes_freed, real.bytes_freed);
            assert_int_equal(count_left(table->cache), 9 - rows[i].removed);
            forget_memory(table->cache);
            assert_int_equal(count_left(table->cache), 9 - rows[i].removed);
        }
    }
    assert_int_equal(aic_cache_verify(table->cache, NULL), AIC_OK);
}

static char look_at(aic_cache *cache, const char *operation, const char *text)
{
    aic_request request = request_of(operation, text);
    request.model = AIC_LITERAL("gpt-4o");
    return look_for(cache, &request, "1");
}

static void G14_others_stay_readable(void **state)
{
    struct bench_cache *table = *state;
    fill(table->cache);
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL), AIC_OK);
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(look_at(table->cache, "qa", "0"), '-');
        assert_int_equal(look_at(table->cache, "qa_v2", "0"), pass == 0 ? 'm' : 's');
        assert_int_equal(look_at(table->cache, "summarize", "2"), pass == 0 ? 'm' : 's');
        forget_memory(table->cache);
    }
}

static void G_nothing_named_is_refused(void **state)
{
    struct bench_cache *table = *state;
    aic_filter filter = {0};
    aic_error error;
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, &error), AIC_INVALID);
    filter.all_namespaces = true;
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, &error), AIC_INVALID);
    filter.all = true;
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, &error), AIC_OK);
}

static void G16_odd_patterns(void **state)
{
    struct bench_cache *table = *state;
    static const char *const patterns[] = {"@#$%^&*()", "测试模式", "a:b:c:d", "x:*:middle:*", "[", "\\", "[!", "a\nb"};
    for (size_t i = 0; i < COUNT_OF(patterns); i++) {
        aic_filter filter = {.pattern = aic_view_of(patterns[i])};
        assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL), AIC_OK);
    }
    aic_filter filter = {.pattern = AIC_LITERAL("\xFF")};
    aic_error error;
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, &error), AIC_INVALID);
    assert_string_equal(error.field, "pattern");
}

static void expect_event(aic_monitor *monitor, const char *what)
{
    aic_report *report;
    assert_int_equal(aic_monitor_export(monitor, &report), AIC_OK);
    aic_view json = aic_report_json(report);
    if (memmem(json.data, json.size, what, strlen(what)) == NULL)
        fail_msg("no %s in %.*s", what, (int)json.size, json.data);
    aic_report_release(&report);
}

static void G01_G04_G05_G07_G08_events(void **state)
{
    struct bench_cache *table = *state;
    aic_cache_close(&table->cache);
    aic_monitor *monitor;
    assert_int_equal(aic_monitor_open(NULL, &monitor, NULL), AIC_OK);
    table->options.monitor = monitor;
    struct fake_tier *fake = table_open_fake(table);
    fill(table->cache);
    aic_filter filter = {.pattern = AIC_LITERAL("test"), .context = AIC_LITERAL("ctx-one")};
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL), AIC_OK);
    expect_event(monitor, "\"pattern\":\"test\"");
    expect_event(monitor, "\"keys_invalidated\":3");
    expect_event(monitor, "\"ctx-one\"");
    expect_event(monitor, "\"manual\"");
    filter = (aic_filter){.operation = AIC_LITERAL("summarize")};
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL), AIC_OK);
    expect_event(monitor, "\"op:summarize\"");
    expect_event(monitor, "\"operation_specific_summarize\"");
    filter = (aic_filter){.ns = AIC_LITERAL("default"), .context = AIC_LITERAL("ctx")};
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL), AIC_OK);
    expect_event(monitor, "\"pattern\":\"\"");
    expect_event(monitor, "\"ctx\"");
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.invalidations_manual, 2);
    assert_int_equal(stats.invalidations_by_operation, 1);
    assert_int_equal(stats.invalidations_of_memory, 0);
    assert_int_equal(stats.invalidated_entries, 9);
    atomic_store(&fake->down, true);
    aic_error error;
    aic_status status = aic_cache_invalidate(table->cache, &filter, false, NULL, &error);
    assert_true(status < 0);
    assert_true(strlen(error.message) > 0);
    expect_event(monitor, "fake_error");
    aic_cache_close(&table->cache);
    aic_monitor_close(&monitor);
}

/* The first fault of a disk, which nobody knows of yet, is storage that cannot be reached: ask again. */
static void a_fault_of_storage_is_no_fault_of_the_cache(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    aic_request request = request_of("qa", "x");
    aic_key key;
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    forget_memory(table->cache);
    atomic_store(&fake->down, true);
    assert_int_equal(aic_cache_key(table->cache, &request, &key, NULL), AIC_OK);
    assert_int_equal(aic_cache_delete(table->cache, AIC_LITERAL("default"), &key), AIC_UNAVAILABLE);
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, true, NULL, NULL), AIC_UNAVAILABLE);
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL), AIC_UNAVAILABLE);
    aic_cache_close(&table->cache);
}

static void owe_all(struct filter_list *list, struct filter_node **nodes, size_t count)
{
    for (size_t i = 0; i < count; i++) filter_list_owe(list, &nodes[i]);
}

/* Invalidations that are joined, with one that began earlier, and then once more with others that did: what the latest
 * of them hid stays hidden. */
static void what_is_joined_twice_hides_no_less(void **state)
{
    enum { EARLY = FILTERS_MAX + 1, ALL = EARLY + FILTERS_MAX };
    struct mem mem;
    struct filter_list list;
    struct filter_node *nodes[ALL];
    (void)state;
    mem_init(&mem, NULL);
    filter_list_init(&list, &mem);
    for (size_t i = 0; i < ALL; i++) {
        const _Atomic uint64_t last_seq = i < EARLY ? 10 : 20;
        assert_int_equal(filter_list_make(&list, &nodes[i]), AIC_OK);
        nodes[i]->filter.ns = AIC_LITERAL("nobody's");
        filter_list_add(&list, nodes[i], &last_seq);
    }
    struct record record = {.ns = AIC_LITERAL("default"), .seq = 20};
    owe_all(&list, nodes + EARLY, FILTERS_MAX);
    assert_false(filter_list_hides(&list, &record));
    for (int round = 0; round < 2; round++) {
        if (round == 0) owe_all(&list, nodes, 1);
        else owe_all(&list, nodes + 1, EARLY - 1);
        assert_int_equal(filter_list_owed_count(&list), 1);
        assert_true(filter_list_hides(&list, &record));
    }
    record.seq = 21;
    assert_false(filter_list_hides(&list, &record));
    filter_list_fini(&list);
    mem_fini(&mem);
}

#define IN_MEMORY(name) cmocka_unit_test_setup_teardown(name, table_setup_memory, table_teardown)
#define IN_BOTH(name) cmocka_unit_test_setup_teardown(name, table_setup_storage, table_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOTH(G01_to_G14_what_is_removed),
        IN_BOTH(G14_others_stay_readable),
        IN_MEMORY(G_nothing_named_is_refused),
        IN_BOTH(G16_odd_patterns),
        IN_MEMORY(G01_G04_G05_G07_G08_events),
        cmocka_unit_test(what_is_joined_twice_hides_no_less),
        cmocka_unit_test_setup_teardown(a_fault_of_storage_is_no_fault_of_the_cache, table_setup, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
