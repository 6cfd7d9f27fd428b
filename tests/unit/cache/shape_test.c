/* Shapes on their way out and in again: what explain says of entries that were exported and imported. */
#include "support.h"

#include "cache/inner.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *explain(aic_cache *cache, const aic_request *request)
{
    aic_explanation *explanation;
    assert_int_equal(aic_cache_explain(cache, request, &explanation, NULL), AIC_OK);
    aic_view json = aic_explanation_json(explanation);
    char *text = strndup(json.data, json.size);
    aic_explanation_release(&explanation);
    return text;
}

static char *export_all(aic_cache *cache)
{
    aic_export *exporter;
    aic_filter all = {0};
    aic_view lines;
    assert_int_equal(aic_export_create(cache, &all, &exporter, NULL), AIC_OK);
    assert_int_equal(aic_export_next(exporter, 1 << 20, &lines), AIC_OK);
    char *text = strndup(lines.data, lines.size);
    assert_int_equal(aic_export_next(exporter, 1 << 20, &lines), AIC_MISS);
    aic_export_destroy(&exporter);
    return text;
}

/* How many lines were taken; what was wrong with the first that was not. */
static uint64_t import_all(aic_cache *cache, const char *text, aic_error *error)
{
    aic_import *importer;
    aic_import_counts counts;
    uint64_t line;
    *error = (aic_error){0};
    assert_int_equal(aic_import_create(cache, NULL, &importer, NULL), AIC_OK);
    assert_int_equal(aic_import_add(importer, aic_view_of(text)), AIC_OK);
    assert_int_equal(aic_import_finish(importer), AIC_OK);
    aic_import_count(importer, &counts);
    if (counts.rejected > 0) assert_int_equal(aic_import_rejection(importer, 0, &line, error), AIC_OK);
    aic_import_destroy(&importer);
    return counts.accepted;
}

/* A second after the one before: of two that are equally near the newer one is told. */
static void put_one(struct bench_cache *table, const char *text, const char *options, const char *question)
{
    aic_put put = put_of("qa", text, "\"the answer\"");
    put.request.options = aic_view_of(options);
    if (question != NULL) put.request.question = aic_view_of(question);
    assert_int_equal(aic_cache_put(table->cache, &put, NULL, NULL), AIC_OK);
    hand_turn(&table->hand, 1);
}

/* Everything explain says of a near request is the same after the entries went out and in again, from either tier. */
static void near_misses_survive_the_move(void **state)
{
    struct bench_cache *table = *state;
    char many[2000] = "{";
    for (int i = 0; i < 60; i++) snprintf(many + strlen(many), 32, "%s\"member%d\":%d", i > 0 ? "," : "", i, i);
    strcat(many, "}");
    put_one(table, "a text of the user", "{\"temperature\":0.7,\"größe\":{\"a\\\"b\":[1,\"secret word\"]}}", "why?");
    put_one(table, "another text of the user", "{}", NULL);
    put_one(table, "with more than fits", many, NULL);
    aic_request near[3] = {request_of("qa", "a text of the user"), request_of("qa", "anything else"),
                           request_of("qa", "with more than fits")};
    near[0].options = AIC_LITERAL("{\"temperature\":0.7,\"größe\":{\"a\\\"b\":[1,\"another word\"]}}");
    near[0].question = AIC_LITERAL("why?");
    near[2].options = AIC_LITERAL("{\"member1\":1,\"member2\":2}");
    char *before[COUNT_OF(near)];
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    for (size_t i = 0; i < COUNT_OF(near); i++) {
        before[i] = explain(table->cache, &near[i]);
        assert_non_null(strstr(before[i], "\"nearest\":{\"key\""));
    }
    assert_non_null(strstr(before[0], "\"first_difference\":\"options.größe.a"));

    char *lines = export_all(table->cache);
    static const char *const unsaid[] = {"text of", "secret word", "why?", "0.7"};
    for (size_t i = 0; i < COUNT_OF(unsaid); i++) assert_null(strstr(lines, unsaid[i]));
    aic_filter everything = {.all = true};
    aic_error error;
    assert_int_equal(aic_cache_invalidate(table->cache, &everything, false, NULL, NULL), AIC_OK);
    assert_int_equal(import_all(table->cache, lines, &error), 3);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    char *again = export_all(table->cache);
    assert_string_equal(again, lines);
    for (size_t i = 0; i < COUNT_OF(near); i++) {
        char *after = explain(table->cache, &near[i]);
        assert_string_equal(after, before[i]);
        free(after);
    }
    if (table->options.data_dir != NULL) {
        forget_memory(table->cache);
        for (size_t i = 0; i < COUNT_OF(near); i++) {
            char *after = explain(table->cache, &near[i]);
            char *from = strstr(before[i], "\"nearest\""), *to = strstr(from, "\"searched\"");
            *to = '\0';
            assert_non_null(strstr(after, from));
            free(after);
        }
    }
    for (size_t i = 0; i < COUNT_OF(near); i++) free(before[i]);
    free(again);
    free(lines);
}

#define LINE_KEY "\"key\":\"0000000000000000000000000000000000000000000000000000000000000001\","
#define LINE_REST "\"operation\":\"qa\",\"response\":1}"

static void only_shapes_are_taken(void **state)
{
    struct bench_cache *table = *state;
    static const char *const bad[] = {
        "{\"text\":\"t\",\"shape\":\"0174\"," LINE_REST, /* the key is computed: so is the shape */
        "{\"text\":\"t\",\"shape\":\"\"," LINE_REST,
        "{" LINE_KEY "\"shape\":1," LINE_REST,
        "{" LINE_KEY "\"shape\":\"0\"," LINE_REST, /* half a byte */
        "{" LINE_KEY "\"shape\":\"017400000\"," LINE_REST,
        "{" LINE_KEY "\"shape\":\"0174000000\"," LINE_REST, /* a leaf that is cut */
        "{" LINE_KEY "\"shape\":\"01740000000001\"," LINE_REST,
        "{" LINE_KEY "\"shape\":\"01740000000g\"," LINE_REST,
        "{" LINE_KEY "\"shape\":\"0174000000AB\"," LINE_REST, /* as nobody writes it */
        "{" LINE_KEY "\"shape\":\"01ff00000000\"," LINE_REST, /* a path that is no UTF-8 */
        "{" LINE_KEY "\"shape\":\"\\u0000174000000ab\"," LINE_REST,
    };
    aic_error error;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        if (import_all(table->cache, bad[i], &error) != 0) fail_msg("taken: %s", bad[i]);
        assert_string_equal(error.field, "shape");
    }
    static const char *const good[] = {"{" LINE_KEY LINE_REST, "{" LINE_KEY "\"shape\":\"\"," LINE_REST,
                                       "{" LINE_KEY "\"shape\":\"0174000000ab\"," LINE_REST,
                                       "{" LINE_KEY "\"shape\":\"\\u00300000000ab\"," LINE_REST};
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (import_all(table->cache, good[i], &error) != 1) fail_msg("%s: %s", good[i], error.message);

    /* The longest there is, and one leaf more. */
    char line[4096];
    for (int leaves = 85; leaves <= 87; leaves++) {
        strcpy(line, "{" LINE_KEY "\"shape\":\"");
        for (int i = 0; i < leaves; i++) strcat(line, "016100000000");
        strcat(line, "\"," LINE_REST);
        assert_int_equal(import_all(table->cache, line, &error), leaves * 6 <= KEY_SHAPE_BYTES);
    }
}

/* Any bytes: what is taken as a shape is written as it came; what is not leaves the buffer alone. */
static void reads_back_what_it_wrote(void **state)
{
    (void)state;
    struct mem mem;
    struct buf bytes;
    mem_init(&mem, NULL);
    buf_init(&bytes, &mem, MEM_OTHER);
    unsigned seed = 4711, taken = 0;
    for (int round = 0; round < 200000; round++) {
        char digits[2 * KEY_SHAPE_BYTES], again[2 * KEY_SHAPE_BYTES];
        size_t size = (size_t)rand_r(&seed) % 40;
        for (size_t i = 0; i < size; i++) digits[i] = "0000000123456789abcdefg"[rand_r(&seed) % 23];
        buf_clear(&bytes);
        buf_append_text(&bytes, "front");
        aic_status status = key_shape_parse((aic_view){digits, size}, &bytes);
        assert_true(status == AIC_OK || status == AIC_INVALID);
        if (status == AIC_INVALID) {
            assert_int_equal(bytes.size, 5);
            continue;
        }
        taken++;
        assert_int_equal(bytes.size, 5 + size / 2);
        aic_view written = key_shape_format((aic_view){bytes.data + 5, bytes.size - 5}, again);
        assert_int_equal(written.size, size);
        assert_memory_equal(again, digits, size);
    }
    print_message("%u of 200000 were shapes\n", taken);
    assert_true(taken > 100);
    buf_fini(&bytes);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(near_misses_survive_the_move, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(near_misses_survive_the_move, table_setup_storage, table_teardown),
        cmocka_unit_test_setup_teardown(only_shapes_are_taken, table_setup_memory, table_teardown),
        cmocka_unit_test(reads_back_what_it_wrote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
