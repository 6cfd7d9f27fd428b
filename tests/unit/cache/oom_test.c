/*
 * Every public call with the n-th allocation refused, n = 0, 1, 2 ... until none is: the call says AIC_NO_MEMORY or
 * does without, changes nothing by half, leaks nothing (closing checks the accounts) and leaves a cache that works.
 * Mappings of the memory tier are refused the same way.
 */
#include "support.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NEVER INT64_MAX

struct failing {
    _Atomic int64_t until; /* requests until one is refused */
    _Atomic int64_t refused;
    aic_allocator allocator;
};

static bool refuses(struct failing *failing)
{
    if (atomic_load(&failing->until) == NEVER) return false;
    if (atomic_fetch_sub(&failing->until, 1) != 0) return false;
    atomic_fetch_add(&failing->refused, 1);
    return true;
}

static void *failing_acquire(void *context, size_t bytes)
{
    return refuses(context) ? NULL : malloc(bytes);
}

static void failing_release(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

static bool failing_mapping(void *context, size_t bytes)
{
    (void)bytes;
    return !refuses(context);
}

static void failing_init(struct failing *failing)
{
    atomic_init(&failing->until, NEVER);
    atomic_init(&failing->refused, 0);
    failing->allocator = (aic_allocator){failing_acquire, failing_release, failing_mapping, failing};
}

static void arm(struct failing *failing, int64_t n)
{
    atomic_store(&failing->refused, 0);
    atomic_store(&failing->until, n);
}

static void disarm(struct failing *failing)
{
    atomic_store(&failing->until, NEVER);
}

/* ---- what is done with each refusal ---- */

typedef aic_status operation_fn(struct bench_cache *table);

static aic_status do_put(struct bench_cache *table)
{
    char *response = make_response(3000, 1);
    aic_view tags[] = {AIC_LITERAL("a"), AIC_LITERAL("b")};
    aic_put put = put_of("qa", "new", response);
    put.request.options = AIC_LITERAL("{\"t\":[1,2,{\"x\":0.5}]}");
    put.tags = tags;
    put.tag_count = 2;
    aic_status status = aic_cache_put(table->cache, &put, NULL, NULL);
    free(response);
    return status;
}

static aic_status do_key(struct bench_cache *table)
{
    aic_request request = request_of("qa", "x");
    request.options = AIC_LITERAL("{\"b\":1,\"a\":{\"d\":1,\"c\":2}}");
    aic_key key;
    return aic_cache_key(table->cache, &request, &key, NULL);
}

static aic_status get(struct bench_cache *table, const char *text)
{
    aic_request request = request_of("qa", text);
    aic_hit *hit;
    aic_status status = aic_cache_lookup(table->cache, &request, NULL, &hit, NULL);
    if (status != AIC_OK) return status;
    aic_view response;
    status = aic_hit_response(hit, &response);
    if (status == AIC_OK) assert_int_equal(response.size, 5000);
    aic_hit_release(&hit);
    return status;
}

static aic_status do_lookup(struct bench_cache *table)
{
    return get(table, "0");
}

static aic_status do_lookup_again(struct bench_cache *table) /* the third decode: the plain form is moved in */
{
    for (int i = 0; i < 3; i++) TRY(get(table, "1"));
    return AIC_OK;
}

static aic_status do_lookup_storage(struct bench_cache *table)
{
    if (table->options.data_dir == NULL) return AIC_OK;
    aic_filter filter = {.all = true, .tiers = AIC_IN_MEMORY};
    TRY(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL));
    return get(table, "2");
}

static aic_status do_delete(struct bench_cache *table)
{
    aic_key key;
    aic_request request = request_of("qa", "3");
    TRY(aic_cache_key(table->cache, &request, &key, NULL));
    return aic_cache_delete(table->cache, AIC_LITERAL("default"), &key);
}

static aic_status do_invalidate(struct bench_cache *table)
{
    aic_filter filter = {.pattern = AIC_LITERAL("q*")};
    return aic_cache_invalidate(table->cache, &filter, false, NULL, NULL);
}

static aic_status do_dry_run(struct bench_cache *table)
{
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    return aic_cache_invalidate(table->cache, &filter, true, NULL, NULL);
}

static aic_status do_list(struct bench_cache *table)
{
    aic_filter filter = {0};
    aic_page *page;
    TRY(aic_cache_list(table->cache, &filter, 5, (aic_view){NULL, 0}, &page, NULL));
    aic_page_release(&page);
    return AIC_OK;
}

static aic_status do_explain(struct bench_cache *table)
{
    aic_request request = request_of("qa", "not there");
    aic_explanation *explanation;
    TRY(aic_cache_explain(table->cache, &request, &explanation, NULL));
    aic_explanation_release(&explanation);
    return AIC_OK;
}

static aic_status do_export(struct bench_cache *table)
{
    aic_filter filter = {0};
    aic_export *exporter;
    TRY(aic_export_create(table->cache, &filter, &exporter, NULL));
    aic_view out;
    aic_status status;
    while ((status = aic_export_next(exporter, 2000, &out)) == AIC_OK) {
    }
    aic_export_destroy(&exporter);
    return status == AIC_MISS ? AIC_OK : status;
}

static aic_status do_import(struct bench_cache *table)
{
    aic_import *importer;
    TRY(aic_import_create(table->cache, NULL, &importer, NULL));
    aic_view line = AIC_LITERAL(
        "{\"operation\":\"q\\u0061\",\"text\":\"i\",\"response\":[1,2],\"tags\":[\"t\"]}\nnonsense\n{\"opera");
    aic_status status = aic_import_add(importer, line);
    if (status == AIC_OK)
        status = aic_import_add(importer, AIC_LITERAL("tion\":\"qa\",\"text\":\"j\",\"response\":1}"));
    if (status == AIC_OK) status = aic_import_finish(importer);
    aic_import_destroy(&importer);
    return status;
}

static aic_status do_verify(struct bench_cache *table)
{
    return aic_cache_verify(table->cache, NULL);
}

static aic_status do_sync(struct bench_cache *table)
{
    return aic_cache_sync(table->cache);
}

static aic_status do_tick(struct bench_cache *table)
{
    hand_turn(&table->hand, 61);
    cache_tick(table->cache);
    aic_stats stats;
    aic_cache_stats(table->cache, &stats);
    return AIC_OK;
}

static const struct {
    const char *name;
    operation_fn *run;
} operations[] = {
    {"key", do_key},
    {"put", do_put},
    {"lookup", do_lookup},
    {"lookup again", do_lookup_again},
    {"lookup in storage", do_lookup_storage},
    {"delete", do_delete},
    {"invalidate", do_invalidate},
    {"dry run", do_dry_run},
    {"list", do_list},
    {"explain", do_explain},
    {"export", do_export},
    {"import", do_import},
    {"verify", do_verify},
    {"sync", do_sync},
    {"tick", do_tick},
};

static void fill(aic_cache *cache)
{
    char *response = make_response(5000, 7);
    for (int n = 0; n < 8; n++) {
        char text[8];
        snprintf(text, sizeof text, "%d", n);
        CHECK(put_text(cache, "qa", text, response) == AIC_OK);
    }
    free(response);
    CHECK(aic_cache_sync(cache) == AIC_OK);
}

/* The cache does its work after the refusal. */
static void works(aic_cache *cache)
{
    assert_int_equal(put_text(cache, "other", "after", "[1]"), AIC_OK);
    assert_int_equal(look(cache, "other", "after", "[1]"), 'm');
    aic_error error = {0};
    if (aic_cache_verify(cache, &error) != AIC_OK) fail_msg("%s", error.message);
}

/* Returns how many refusals there were before one call went through unhindered. */
static int sweep(struct bench_cache *table, struct failing *failing, operation_fn *run, const char *name)
{
    for (int n = 0; n < 1000; n++) {
        own_dir_make(&table->dir);
        table_open(table);
        fill(table->cache);
        arm(failing, n);
        aic_status status = run(table);
        bool refused = atomic_load(&failing->refused) > 0;
        disarm(failing);
        if (!refused && status != AIC_OK) fail_msg("%s, undisturbed: %s", name, aic_status_name(status));
        /* Whatever is refused to a background thread of storage shows as storage that does not answer. */
        if (status != AIC_OK && status != AIC_NO_MEMORY && status != AIC_MISS && status != AIC_UNAVAILABLE &&
            status != AIC_NOT_STORED && status != AIC_TIMEOUT)
            fail_msg("%s, refusal %d: %s", name, n, aic_status_name(status));
        works(table->cache);
        aic_cache_close(&table->cache);
        own_dir_remove(&table->dir);
        if (!refused) return n;
    }
    fail_msg("%s: no end of refusals", name);
    return 0;
}

static void every_call_survives(void **state)
{
    (void)state;
    for (int storage = 0; storage < 2; storage++) {
        for (size_t i = 0; i < COUNT_OF(operations); i++) {
            struct bench_cache table;
            struct failing failing;
            failing_init(&failing);
            table_init(&table);
            own_dir_remove(&table.dir);
            table.options.allocator = &failing.allocator;
            table.options.memory_max_bytes = 8 << 20;
            table.options.storage_max_bytes = 64 << 20;
            table.options.data_dir = storage ? table.dir.path : NULL;
            /* Storage tries again after a while: only the tick's own time is moved by hand. */
            if (operations[i].run != do_tick) table.options.clock = NULL;
            int refusals = sweep(&table, &failing, operations[i].run, operations[i].name);
            print_message("%s%s: %d\n", operations[i].name, storage ? ", both tiers" : "", refusals);
        }
    }
}

static void opening_survives(void **state)
{
    (void)state;
    for (int storage = 0; storage < 2; storage++) {
        for (int n = 0;; n++) {
            assert_true(n < 5000);
            struct bench_cache table;
            struct failing failing;
            failing_init(&failing);
            table_init(&table);
            table.options.allocator = &failing.allocator;
            table.options.memory_max_bytes = 8 << 20;
            table.options.storage_max_bytes = 64 << 20;
            table.options.data_dir = storage ? table.dir.path : NULL;
            arm(&failing, n);
            aic_error error;
            aic_status status = aic_cache_open(&table.options, &table.cache, &error);
            bool refused = atomic_load(&failing.refused) > 0;
            disarm(&failing);
            if (status != AIC_OK) {
                assert_true(refused);
                assert_null(table.cache);
                if (status != AIC_NO_MEMORY) fail_msg("refusal %d: %s (%s)", n, aic_status_name(status), error.message);
                assert_int_equal(aic_cache_open(&table.options, &table.cache, &error), AIC_OK);
            }
            works(table.cache);
            table_fini(&table);
            if (!refused) {
                print_message("open%s: %d\n", storage ? ", both tiers" : "", n);
                break;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_survives),
        cmocka_unit_test(every_call_survives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
