/* Long work whose flag is set ends with AIC_CLOSED, whatever it walks through; without one it goes to its end. */
#include "support.h"

#include "cache/inner.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COUNT = 700 }; /* more than a batch of any of them */

static void fill(aic_cache *cache)
{
    for (int n = 0; n < COUNT; n++) {
        char text[16];
        snprintf(text, sizeof text, "%d", n);
        assert_int_equal(put_text(cache, "qa", text, "1"), AIC_OK);
    }
    assert_int_equal(aic_cache_sync(cache), AIC_OK);
}

static aic_status export_all(aic_cache *cache, stop_flag *stop, uint64_t *lines)
{
    aic_filter all = {0};
    aic_export *exporter;
    aic_view piece;
    assert_int_equal(export_create(cache, cache_mem(cache), &all, stop, &exporter, NULL), AIC_OK);
    aic_status status;
    while ((status = aic_export_next(exporter, 4096, &piece)) == AIC_OK) {
    }
    *lines = aic_export_lines(exporter);
    aic_export_destroy(&exporter);
    return status;
}

static uint64_t entries_of(aic_cache *cache)
{
    aic_invalidated sums;
    aic_filter all = {.all = true};
    assert_int_equal(aic_cache_invalidate(cache, &all, true, &sums, NULL), AIC_OK);
    return sums.matched;
}

static void walks_are_given_up(void **state)
{
    struct bench_cache *table = *state;
    aic_cache *cache = table->cache;
    const unsigned tiers[] = {AIC_IN_MEMORY, AIC_IN_STORAGE, AIC_IN_MEMORY | AIC_IN_STORAGE};
    _Atomic bool stop = false;
    fill(cache);
    for (int pass = 0; pass < 2; pass++) {
        aic_status expected = pass == 0 ? AIC_OK : AIC_CLOSED;
        uint64_t lines;
        for (size_t i = 0; i < COUNT_OF(tiers); i++) {
            if (cache->gate == NULL && tiers[i] == AIC_IN_STORAGE) continue;
            aic_filter filter = {.all = true, .tiers = tiers[i]};
            aic_page *page = NULL;
            aic_invalidated sums;
            assert_int_equal(cache_list(cache, &filter, 10, (aic_view){NULL, 0}, &stop, &page, NULL), expected);
            aic_page_release(&page);
            assert_int_equal(cache_invalidate(cache, &filter, true, &stop, &sums, NULL), expected);
        }
        assert_int_equal(cache_verify(cache, &stop, NULL), expected);
        assert_int_equal(export_all(cache, &stop, &lines), pass == 0 ? AIC_MISS : AIC_CLOSED);
        assert_int_equal(lines, pass == 0 ? COUNT : 0);
        atomic_store(&stop, true);
    }
    aic_filter all = {.all = true};
    aic_invalidated sums;
    assert_int_equal(cache_invalidate(cache, &all, false, &stop, &sums, NULL), AIC_CLOSED);
    assert_int_equal(entries_of(cache), COUNT);
    assert_int_equal(stats_of(cache).invalidations_pending, 0); /* nothing of it is owed */
    assert_int_equal(aic_cache_invalidate(cache, &all, false, &sums, NULL), AIC_OK);
    assert_int_equal(entries_of(cache), 0);
}

static void an_import_is_given_up(void **state)
{
    struct bench_cache *table = *state;
    _Atomic bool stop = false;
    const char *line = "{\"operation\":\"qa\",\"text\":\"1\",\"response\":1}\n";
    aic_import *importer;
    aic_import_counts counts;
    assert_int_equal(import_create(table->cache, &table->cache->mem, NULL, &stop, &importer, NULL), AIC_OK);
    assert_int_equal(aic_import_add(importer, aic_view_of(line)), AIC_OK);
    atomic_store(&stop, true);
    assert_int_equal(aic_import_add(importer, aic_view_of(line)), AIC_CLOSED);
    aic_import_count(importer, &counts);
    assert_int_equal(counts.lines, 1);
    aic_import_destroy(&importer);
}

static void an_explanation_looks_no_further(void **state)
{
    struct bench_cache *table = *state;
    _Atomic bool stop = true;
    struct key_request request = {
        .ns = AIC_LITERAL("default"), .operation = AIC_LITERAL("qa"), .text = {.plain = AIC_LITERAL("not there")}};
    struct buf json;
    fill(table->cache);
    buf_init(&json, &table->cache->mem, MEM_CACHE);
    assert_int_equal(cache_explain(table->cache, &request, &stop, &json, NULL), AIC_OK);
    buf_append_byte(&json, '\0');
    assert_non_null(strstr(json.data, "\"searched\":{\"memory\":1,\"storage\":0}"));
    buf_fini(&json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(walks_are_given_up, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(walks_are_given_up, table_setup_storage, table_teardown),
        cmocka_unit_test_setup_teardown(an_import_is_given_up, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(an_explanation_looks_no_further, table_setup_storage, table_teardown),
    };
    return cmocka_run_group_tests_name("cache stop", tests, NULL, NULL);
}
