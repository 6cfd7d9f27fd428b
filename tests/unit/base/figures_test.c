/*
 * figures_test.c - the table of figures holds what its readers rely on, and reading adds, subtracts and writes all of
 * it.
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/figures.h"
#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void rows_have_a_place_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIGURE_TOTAL; i++) {
        const struct figure_row *row = &figure_rows[i];
        assert_non_null(strchr(row->path, '.'));
        for (size_t j = 0; j < i; j++) {
            const struct figure_row *other = &figure_rows[j];
            assert_string_not_equal(row->path, other->path);
            bool same = row->metric[0] != '\0' && strcmp(row->metric, other->metric) == 0;
            if (same) assert_string_not_equal(row->labels, other->labels);
            if (same) assert_string_equal(row->metric, figure_rows[i - 1].metric); /* they stand together */
        }
    }
}

static void counters_are_told_by_their_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < FIGURE_TOTAL; i++) {
        const struct figure_row *row = &figure_rows[i];
        size_t size = strlen(row->metric);
        bool total = size > 6 && strcmp(row->metric + size - 6, "_total") == 0;
        bool counter = row->kind == FIGURE_COUNTER || row->kind == FIGURE_REAL_COUNTER;
        if (size > 0) assert_int_equal(total, counter);
    }
}

static void counts_are_added(void **state)
{
    (void)state;
    static struct figure_lanes lanes;
    struct figure_counts own = {0};
    struct figures sum = {0};
    FIGURE_COUNT_OWN(&own, puts, 2);
    FIGURE_COUNT_OWN(&own, cost_saved_usd, 0.25);
    FIGURE_COUNT_OWN(&own, cost_saved_usd, 0.5);
    FIGURE_COUNT_OWN(&own, http_open, 3);
    FIGURE_COUNT_OWN(&own, http_open, -UINT64_C(1));
    FIGURE_COUNT_LANE(&lanes, puts, 5);
    for (unsigned i = 0; i < LANES; i++) FIGURE_COUNT(&lanes.lanes[i].counts, deletes, 1);
    figures_add(&sum, &own);
    figures_add_lanes(&sum, &lanes);
    assert_int_equal(sum.puts, 7);
    assert_int_equal(sum.deletes, LANES);
    assert_int_equal(sum.http_open, 2);
    assert_true(sum.cost_saved_usd == 0.75);
    assert_int_equal(sum.misses, 0);
}

static void a_mark_is_taken_off_counters_alone(void **state)
{
    (void)state;
    struct figures now = {.puts = 7, .deletes = 1, .memory_entries = 4, .cost_saved_usd = 0.75};
    struct figures mark = {.puts = 5, .deletes = 2, .memory_entries = 3, .cost_saved_usd = 0.5};
    figures_since(&now, &mark);
    assert_int_equal(now.puts, 2);
    assert_int_equal(now.deletes, 0);
    assert_int_equal(now.memory_entries, 4);
    assert_true(now.cost_saved_usd == 0.25);
}

static void say(const void *word, const struct figures *figures, aic_view section, struct json_writer *out)
{
    assert_int_equal(figures->puts, 7);
    if (section.size != 7 || memcmp(section.data, "changes", 7) != 0) return;
    json_key(out, "word");
    json_put_text(out, word);
}

static void every_section_is_written_once(void **state)
{
    (void)state;
    struct figures figures = {.puts = 7, .compression_ratio = 0.5};
    struct mem mem;
    struct buf text;
    struct json_writer writer;
    mem_init(&mem, NULL);
    buf_init(&text, &mem, MEM_OTHER);
    json_writer_init(&writer, &text);
    json_open(&writer, '{');
    figures_write(&figures, say, "said", &writer);
    json_close(&writer, '}');
    buf_append_byte(&text, '\0');
    assert_int_equal(buf_status(&text), AIC_OK);
    assert_non_null(strstr(text.data, "\"changes\":{\"word\":\"said\",\"puts\":7,\"deletes\":0"));
    assert_non_null(strstr(text.data, "\"compression\":{\"ratio\":0.5,"));
    const char *first = strstr(text.data, "\"memory\":{");
    assert_non_null(first);
    assert_null(strstr(first + 1, "\"memory\":{"));
    buf_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_have_a_place_each),
        cmocka_unit_test(counters_are_told_by_their_name),
        cmocka_unit_test(counts_are_added),
        cmocka_unit_test(a_mark_is_taken_off_counters_alone),
        cmocka_unit_test(every_section_is_written_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
