/* Lists, export, import, explain: over memory, over storage, over both; with bad input. */
#include "fake_tier.h"

#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- list ---- */

static void put_many(aic_cache *cache, unsigned from, unsigned until)
{
    for (unsigned n = from; n < until; n++) {
        char text[16], response[16];
        snprintf(text, sizeof text, "%u", n);
        snprintf(response, sizeof response, "%u", n);
        assert_int_equal(put_text(cache, n % 3 == 0 ? "qa" : "summarize", text, response), AIC_OK);
    }
}

/* Walks all pages; checks the order; returns how many entries there were, and in how many tiers the last was. */
static size_t walk(aic_cache *cache, const aic_filter *filter, size_t limit, unsigned tiers)
{
    char cursor[AIC_KEY_HEX_SIZE] = "";
    aic_key last = {{0}};
    size_t count = 0;
    for (;;) {
        aic_page *page;
        assert_int_equal(aic_cache_list(cache, filter, limit, aic_view_of(cursor), &page, NULL), AIC_OK);
        assert_true(aic_page_count(page) <= limit);
        for (size_t i = 0; i < aic_page_count(page); i++) {
            const aic_metadata *entry = aic_page_entry(page, i);
            assert_true(memcmp(entry->key.bytes, last.bytes, sizeof last.bytes) > 0);
            last = entry->key;
            if (tiers != 0) assert_int_equal(entry->tiers, tiers);
            assert_true(entry->size_bytes > 0 && entry->created_ms > 0);
            count++;
        }
        assert_null(aic_page_entry(page, aic_page_count(page)));
        aic_view next = aic_page_cursor(page);
        snprintf(cursor, sizeof cursor, "%.*s", (int)next.size, next.data);
        aic_page_release(&page);
        if (cursor[0] == '\0') return count;
    }
}

static void lists(aic_cache *cache, bool storage)
{
    static const size_t limits[] = {1, 7, 100, 1000};
    aic_filter all = {0}, qa = {.operation = AIC_LITERAL("qa")}, none = {.tag = AIC_LITERAL("t")},
               other = {.ns = AIC_LITERAL("other")};
    assert_int_equal(walk(cache, &all, 10, 0), 0);
    put_many(cache, 0, 300);
    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        unsigned both = storage ? AIC_IN_MEMORY | AIC_IN_STORAGE : AIC_IN_MEMORY;
        assert_int_equal(walk(cache, &all, limits[i], both), 300);
        assert_int_equal(walk(cache, &qa, limits[i], both), 100);
        assert_int_equal(walk(cache, &none, limits[i], 0), 0);
        assert_int_equal(walk(cache, &other, limits[i], 0), 0);
    }
    if (!storage) return;
    forget_memory(cache);
    assert_int_equal(walk(cache, &all, 7, AIC_IN_STORAGE), 300);
    put_many(cache, 0, 10);
    assert_int_equal(walk(cache, &all, 7, 0), 300);
}

static void lists_in_memory(void **state)
{
    lists(((struct bench_cache *)*state)->cache, false);
}

static void lists_in_both(void **state)
{
    lists(((struct bench_cache *)*state)->cache, true);
}

static void lists_refuse(void **state)
{
    struct bench_cache *table = *state;
    aic_filter all = {0};
    aic_page *page = NULL;
    aic_error error;
    assert_int_equal(aic_cache_list(table->cache, &all, 0, aic_view_of(""), &page, &error), AIC_INVALID);
    assert_string_equal(error.field, "limit");
    assert_int_equal(aic_cache_list(table->cache, &all, 1001, aic_view_of(""), &page, &error), AIC_INVALID);
    assert_int_equal(aic_cache_list(table->cache, &all, 10, aic_view_of("xyz"), &page, &error), AIC_INVALID);
    assert_string_equal(error.field, "cursor");
    assert_null(page);
}

/* ---- export and import ---- */

static struct buf export_all(aic_cache *cache, const aic_filter *filter, size_t piece, struct mem *mem)
{
    struct buf text;
    buf_init(&text, mem, MEM_OTHER);
    aic_export *exporter;
    aic_error error;
    assert_int_equal(aic_cache_verify(cache, &error), AIC_OK);
    assert_int_equal(aic_export_create(cache, filter, &exporter, &error), AIC_OK);
    aic_view out;
    aic_status status;
    while ((status = aic_export_next(exporter, piece, &out)) == AIC_OK) {
        assert_true(out.size > 0 && out.data[out.size - 1] == '\n');
        buf_append_view(&text, out);
    }
    assert_int_equal(status, AIC_MISS);
    size_t lines = 0;
    for (size_t i = 0; i < text.size; i++) lines += text.data[i] == '\n';
    assert_int_equal(lines, aic_export_lines(exporter));
    aic_export_destroy(&exporter);
    assert_null(exporter);
    return text;
}

static aic_import_counts import_text(aic_cache *cache, aic_view text, size_t piece, const aic_import_options *options,
                                     aic_import **kept)
{
    aic_import *importer;
    assert_int_equal(aic_import_create(cache, options, &importer, NULL), AIC_OK);
    for (size_t at = 0; at < text.size; at += piece) {
        size_t size = text.size - at < piece ? text.size - at : piece;
        assert_int_equal(aic_import_add(importer, (aic_view){text.data + at, size}), AIC_OK);
    }
    assert_int_equal(aic_import_finish(importer), AIC_OK);
    aic_import_counts counts;
    aic_import_count(importer, &counts);
    if (kept != NULL) *kept = importer;
    else aic_import_destroy(&importer);
    return counts;
}

static void moves_house(void **state)
{
    struct bench_cache *table = *state;
    struct mem mem;
    mem_init(&mem, NULL);
    char *large = make_response(20000, 1);
    aic_view tags[] = {AIC_LITERAL("a \"quoted\" tag"), AIC_LITERAL("b")};
    aic_put put = put_of("summarize", "Grüße", "{ \"pretty\" :\n\t[1,\r\n 2.50] , \"text\":\"line\\nbreak\" }");
    put.tags = tags;
    put.tag_count = 2;
    put.request.model = AIC_LITERAL("gpt-4");
    put.cost_usd = 0.125;
    put.prompt_tokens = 7;
    put.ttl_given = true;
    put.ttl_seconds = 1000;
    aic_put_result result;
    assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "large", large), AIC_OK);
    put_many(table->cache, 0, 500);
    hand_turn(&table->hand, 100);
    static const size_t pieces[] = {1, 1000, 0};
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        aic_filter all = {0};
        struct buf text = export_all(table->cache, &all, pieces[i], &mem);
        /* Into a cache with the same secret: every key is the same. */
        aic_filter everything = {.all = true};
        assert_int_equal(aic_cache_invalidate(table->cache, &everything, false, NULL, NULL), AIC_OK);
        aic_import_counts counts = import_text(table->cache, buf_view(&text), pieces[i] == 0 ? text.size : 1 + 997 * i,
                                               NULL, NULL);
        assert_int_equal(counts.lines, 502);
        assert_int_equal(counts.accepted, 502);
        assert_int_equal(counts.rejected + counts.expired, 0);
        buf_fini(&text);
    }
    assert_int_equal(look(table->cache, "qa", "large", large), 'm');
    assert_int_equal(look(table->cache, "summarize", "499", "499"), 'm');
    aic_hit *hit;
    assert_int_equal(aic_cache_lookup(table->cache, &put.request, NULL, &hit, NULL), AIC_OK);
    const aic_metadata *metadata = aic_hit_metadata(hit);
    assert_int_equal(metadata->expires_ms, result.expires_ms);
    assert_int_equal(metadata->created_ms, result.expires_ms - 1000000);
    assert_int_equal(metadata->tag_count, 2);
    assert_memory_equal(metadata->tags[0].data, "a \"quoted\" tag", 14);
    assert_true(metadata->cost_usd == 0.125 && metadata->prompt_tokens == 7 && metadata->text_length == 5);
    aic_view response;
    assert_int_equal(aic_hit_response(hit, &response), AIC_OK);
    /* Line breaks between tokens became spaces; nothing else did. */
    assert_int_equal(response.size, put.response.size);
    assert_memory_equal(response.data, "{ \"pretty\" : \t[1,   2.50] , \"text\":\"line\\nbreak\" }", response.size);
    aic_hit_release(&hit);
    hand_turn(&table->hand, 901);
    aic_filter all = {0};
    struct buf text = export_all(table->cache, &all, 0, &mem);
    assert_null(memmem(text.data, text.size, "quoted", 6));
    buf_fini(&text);
    mem_fini(&mem);
    free(large);
}

static void imports_what_it_can(void **state)
{
    struct bench_cache *table = *state;
    static const struct {
        const char *line, *field; /* field NULL: accepted; "~": expired */
    } rows[] = {
        {"{\"operation\":\"qa\",\"text\":\"w\\u0061rm\",\"response\":[1]}", NULL},
        {"{\"operation\":\"q\\u0061\",\"text\":\"b\",\"options\":{\"t\":1.0},\"question\":\"?\",\"response\":null,\"ttl\":60}\r",
         NULL},
        {"   \r", "-"},
        {"", "-"},
        {"{\"operation\":\"qa\",\"text\":\"c\"}", "response"},
        {"{\"operation\":\"qa\",\"response\":1}", "text"},
        {"{\"text\":\"c\",\"response\":1}", "operation"},
        {"not json", ""},
        {"{\"operation\":\"qa\",\"text\":\"c\",\"response\":1", ""},
        {"[1]", ""},
        {"{\"operation\":\"qa\",\"text\":\"c\",\"response\":1,\"opts\":{}}", "opts"},
        {"{\"operation\":\"qa\",\"text\":1,\"response\":1}", "text"},
        {"{\"operation\":\"qa\",\"text\":\"c\",\"response\":1,\"ttl\":-1}", "ttl"},
        {"{\"operation\":\"qa\",\"text\":\"c\",\"response\":1,\"ttl\":1.5}", "ttl"},
        {"{\"operation\":\"qa\",\"text\":\"c\",\"response\":1,\"ttl\":1,\"expires_ms\":0}", "ttl"},
        {"{\"operation\":\"qa\",\"text\":\"c\",\"response\":1,\"expires_ms\":1000}", "~"},
        {"{\"operation\":\"qa\",\"text\":\"c\",\"response\":1,\"tags\":[\"a\",2]}", "tags"},
        {"{\"operation\":\"qa\",\"text\":\"c\",\"response\":1,\"tags\":[\"a\",\"\"]}", "tags[1]"},
        {"{\"operation\":\"qa\",\"key\":\"00\",\"response\":1}", "key"},
        {"{\"operation\":\"qa\",\"key\":\"0000000000000000000000000000000000000000000000000000000000000001\",\"response\":1}",
         NULL},
        {"{\"operation\":\"qa\",\"key\":\"0000000000000000000000000000000000000000000000000000000000000001\",\"text\":\"c\",\"response\":1}",
         "key"},
        {"{\"operation\":\"qa\",\"text\":\"c\",\"response\":1,\"namespace\":\"\\u0000\"}", "namespace"},
        {"{\"operation\":\"qa\",\"text\":\"t1\",\"response\":1,\"tokens\":7}", NULL},
        {"{\"operation\":\"qa\",\"text\":\"t2\",\"response\":1,\"tokens\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}",
         NULL},
        {"{\"operation\":\"qa\",\"text\":\"t3\",\"response\":1,\"tokens\":{\"prompt_tokens\":-3}}",
         "tokens.prompt_tokens"},
        {"{\"operation\":\"qa\",\"text\":\"t4\",\"response\":1,\"tokens\":\"7\"}", "tokens"},
        {"{\"operation\":\"qa\",\"text\":\"t5\",\"response\":1,\"model\":\"\"}", "model"},
        {"{\"operation\":\"qa\",\"text\":\"last, without a line's end\",\"response\":\"\\u00fc\"}", NULL},
    };
    char text[8192] = "";
    size_t accepted = 0, rejected = 0, lines = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        strcat(text, rows[i].line);
        if (i + 1 < COUNT_OF(rows)) strcat(text, "\n");
        bool blank = rows[i].field != NULL && rows[i].field[0] == '-';
        lines += !blank;
        accepted += rows[i].field == NULL;
        rejected += rows[i].field != NULL && !blank && rows[i].field[0] != '~';
    }
    static const size_t pieces[] = {1, 3, 64, 100000};
    for (size_t p = 0; p < COUNT_OF(pieces); p++) {
        aic_import *importer;
        aic_import_counts counts = import_text(table->cache, aic_view_of(text), pieces[p], NULL, &importer);
        assert_int_equal(counts.lines, lines);
        assert_int_equal(counts.accepted, accepted);
        assert_int_equal(counts.rejected, rejected);
        assert_int_equal(counts.expired, 1);
        size_t at = 0;
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            if (rows[i].field == NULL || rows[i].field[0] == '-' || rows[i].field[0] == '~') continue;
            uint64_t line;
            aic_error error;
            assert_int_equal(aic_import_rejection(importer, at++, &line, &error), AIC_OK);
            assert_int_equal(line, i + 1);
            if (strcmp(error.field, rows[i].field) != 0)
                fail_msg("line %zu: '%s', %s", i + 1, error.field, error.message);
            assert_true(strlen(error.message) > 5);
        }
        uint64_t line;
        aic_error error;
        assert_int_equal(aic_import_rejection(importer, at, &line, &error), AIC_MISS);
        aic_import_destroy(&importer);
    }
    assert_int_equal(look(table->cache, "qa", "warm", "[1]"), 'm');
    aic_request request = {.operation = AIC_LITERAL("qa"),
                           .text = AIC_LITERAL("b"),
                           .options = AIC_LITERAL("{\"t\":1}"),
                           .question = AIC_LITERAL("?")};
    assert_int_equal(look_for(table->cache, &request, "null"), 'm');
    assert_int_equal(look(table->cache, "qa", "last, without a line's end", "\"\\u00fc\""), 'm');
    aic_request counted = request_of("qa", "t2");
    aic_hit *hit;
    assert_int_equal(aic_cache_lookup(table->cache, &counted, NULL, &hit, NULL), AIC_OK);
    assert_int_equal(aic_hit_metadata(hit)->prompt_tokens, 3);
    assert_int_equal(aic_hit_metadata(hit)->completion_tokens, 4);
    aic_hit_release(&hit);
    hand_turn(&table->hand, 61);
    assert_int_equal(look_for(table->cache, &request, NULL), '-');
}

static void imports_within_limits(void **state)
{
    struct bench_cache *table = *state;
    const char *text =
        "{\"operation\":\"qa\",\"text\":\"1\",\"response\":1}\n"
        "{\"operation\":\"qa\",\"text\":\"2\",\"response\":2,\"namespace\":\"mine\"}\n"
        "{\"operation\":\"qa\",\"text\":\"3\",\"response\":3,\"namespace\":\"yours\"}\n"
        "{\"operation\":\"qa\",\"key\":\"0000000000000000000000000000000000000000000000000000000000000001\",\"response\":1}\n"
        "{\"operation\":\"qa\",\"text\":\"a line that is much longer than the others and longer than the limit that was given\",\"response\":4}\n"
        "{\"operation\":\"qa\",\"text\":\"6\",\"response\":6}\n";
    for (size_t piece = 1; piece < 600; piece += 131) {
        aic_import_options options = {
            .only_ns = AIC_LITERAL("mine"), .refuse_keys = true, .max_line_bytes = 110, .max_rejections = 2};
        aic_import *importer;
        aic_import_counts counts = import_text(table->cache, aic_view_of(text), piece, &options, &importer);
        assert_int_equal(counts.lines, 6);
        assert_int_equal(counts.accepted, 3);
        assert_int_equal(counts.rejected, 3);
        uint64_t line;
        aic_error error;
        assert_int_equal(aic_import_rejection(importer, 0, &line, &error), AIC_OK);
        assert_int_equal(line, 3);
        assert_string_equal(error.field, "namespace");
        assert_int_equal(error.status, AIC_FORBIDDEN);
        assert_int_equal(aic_import_rejection(importer, 1, &line, &error), AIC_OK);
        assert_string_equal(error.field, "key");
        assert_int_equal(aic_import_rejection(importer, 2, &line, &error), AIC_MISS);
        aic_import_destroy(&importer);
    }
    aic_request request = {.ns = AIC_LITERAL("mine"), .operation = AIC_LITERAL("qa"), .text = AIC_LITERAL("6")};
    assert_int_equal(look_for(table->cache, &request, "6"), 'm');
    assert_int_equal(look(table->cache, "qa", "6", NULL), '-');
}

/* A queue that is much smaller than what is imported: the import waits, nothing is thinned out. */
static void *import_more_than_the_queue_takes(void *context)
{
    struct bench_cache *table = context;
    aic_import *importer;
    assert_int_equal(aic_import_create(table->cache, NULL, &importer, NULL), AIC_OK);
    for (int n = 0; n < 2000; n++) {
        char line[1200];
        snprintf(line, sizeof line, "{\"operation\":\"qa\",\"text\":\"%d\",\"response\":\"%0900d\"}\n", n, n);
        assert_int_equal(aic_import_add(importer, aic_view_of(line)), AIC_OK);
    }
    aic_import_destroy(&importer);
    return NULL;
}

static struct fake_tier *open_with_a_short_queue(struct bench_cache *table, uint64_t bytes)
{
    aic_cache_close(&table->cache);
    table->options.data_dir = NULL;
    table->options.storage_queue_bytes = bytes;
    return table_open_fake(table);
}

static void imports_wait_for_storage(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_with_a_short_queue(table, 64 << 10);
    (void)import_more_than_the_queue_takes(table);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    assert_int_equal(fake_count(fake), 2000);
}

/* The queue has not emptied in the time that the import waits for it, but it has room again. */
static void imports_into_slow_storage_lose_no_line(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_with_a_short_queue(table, 256 << 10);
    pthread_t thread;
    atomic_store(&fake->hang_apply, true);
    CHECK(pthread_create(&thread, NULL, import_more_than_the_queue_takes, table) == 0);
    while (stats_of(table->cache).storage_dropped_writes == 0) usleep(1000);
    uint64_t applied = atomic_load(&fake->applied);
    atomic_store(&fake->let_go, 1); /* of several batches */
    while (atomic_load(&fake->applied) == applied) usleep(1000);
    usleep(100000); /* it waits by now; if not, it waits until all is let go */
    hand_turn(&table->hand, 11);
    usleep(100000); /* it has given up waiting by now */
    atomic_store(&fake->hang_apply, false);
    CHECK(pthread_join(thread, NULL) == 0);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    assert_int_equal(fake_count(fake), 2000);
}

/* ---- explain ---- */

static char *explain(aic_cache *cache, const aic_request *request)
{
    aic_explanation *explanation;
    assert_int_equal(aic_cache_explain(cache, request, &explanation, NULL), AIC_OK);
    aic_view json = aic_explanation_json(explanation);
    char *text = strndup(json.data, json.size);
    struct mem mem;
    mem_init(&mem, NULL);
    struct json scanned;
    json_init(&scanned, &mem, MEM_OTHER);
    assert_int_equal(json_scan(&scanned, json, NULL), AIC_OK);
    json_fini(&scanned);
    mem_fini(&mem);
    aic_explanation_release(&explanation);
    return text;
}

#define EXPECT(text, what)                                                                                             \
    do {                                                                                                               \
        if (strstr(text, what) == NULL) fail_msg("no %s in %s", what, text);                                           \
    } while (0)

static void explains(void **state)
{
    struct bench_cache *table = *state;
    aic_put put = put_of("qa", "the text", "1");
    put.request.options = AIC_LITERAL("{\"temperature\":0.7,\"max\":100}");
    aic_put_result result;
    assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
    put.request.text = AIC_LITERAL("another text");
    put.request.options = AIC_LITERAL("{}");
    assert_int_equal(aic_cache_put(table->cache, &put, NULL, NULL), AIC_OK);
    char hex[AIC_KEY_HEX_SIZE];
    aic_key_format(&result.key, hex);
    for (int pass = 0; pass < 2; pass++) {
        aic_request request = request_of("qa", "the text");
        request.options = AIC_LITERAL("{\"max\":1e2,\"temperature\":0.70}");
        char *text = explain(table->cache, &request);
        EXPECT(text, "\"hit\":true");
        EXPECT(text, hex);
        EXPECT(text, "s8:the text");
        EXPECT(text, "\"ttl_seconds\":1800");
        EXPECT(text, "\"partition\":\"default\"");
        free(text);
        request.options = AIC_LITERAL("{\"max\":100,\"temperature\":0.8}");
        text = explain(table->cache, &request);
        EXPECT(text, "\"hit\":false");
        EXPECT(text, hex);
        EXPECT(text, "\"first_difference\":\"options.temperature\"");
        EXPECT(text, "\"field\":\"question\"");
        free(text);
        request.ns = AIC_LITERAL("elsewhere");
        text = explain(table->cache, &request);
        EXPECT(text, "\"nearest\":null");
        free(text);
        forget_memory(table->cache);
    }
    char *large = make_response(100000, 1);
    aic_request request = request_of("qa", large);
    char *text = explain(table->cache, &request);
    EXPECT(text, "\"canonical_shortened\":true");
    EXPECT(text, "bytes more, sha256 ");
    assert_true(strlen(text) < 5000);
    free(text);
    free(large);
    aic_explanation *none = NULL;
    aic_error error;
    request.operation = AIC_LITERAL("");
    assert_int_equal(aic_cache_explain(table->cache, &request, &none, &error), AIC_INVALID);
    assert_string_equal(error.field, "operation");
    assert_null(none);
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.hits_memory + stats.hits_storage + stats.misses, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lists_in_memory, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(lists_in_both, table_setup_storage, table_teardown),
        cmocka_unit_test_setup_teardown(lists_refuse, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(moves_house, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(moves_house, table_setup_storage, table_teardown),
        cmocka_unit_test_setup_teardown(imports_what_it_can, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(imports_what_it_can, table_setup_storage, table_teardown),
        cmocka_unit_test_setup_teardown(imports_within_limits, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(imports_wait_for_storage, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(imports_into_slow_storage_lose_no_line, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(explains, table_setup_storage, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
