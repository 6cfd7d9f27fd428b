/*
 * monitored_test.c - a cache and the monitor that it records in: what an entry takes is counted (K05, K23), and a
 * monitor that cannot do its work, or that does odd things, harms no operation (K26).
 */
#include "cache/observe.h"
#include "support.h"

#include <aicache/monitor.h>
#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

static uint64_t entry_bytes(const struct figures *stats)
{
    return stats->memory_key_bytes + stats->memory_value_bytes + stats->memory_overhead_bytes;
}

/* Bytes of the memory tier that an entry with this response takes. Without the index: the first entry of a shard brings
 * the shard's first bucket, and which shard it is changes with the cache's secret. */
static uint64_t bytes_of(struct bench_cache *table, const char *response)
{
    struct figures before = stats_of(table->cache);
    assert_int_equal(put_text(table->cache, "qa", response, response), AIC_OK);
    struct figures after = stats_of(table->cache);
    return entry_bytes(&after) - entry_bytes(&before);
}

static void K05_nested_takes_more_than_flat(void **state)
{
    struct bench_cache *table = *state;
    uint64_t empty = bytes_of(table, "{}");
    uint64_t flat = bytes_of(table, "{\"a\":1,\"b\":2}");
    uint64_t nested = bytes_of(table,
                               "{\"a\":{\"b\":{\"c\":[1,2,3,4,5,6,7,8,9,10],\"d\":[{\"e\":\"a text of some length, "
                               "so that one more granule is needed than for what is flat\"}]}},\"f\":2}");
    assert_true(empty > 0); /* a header at least */
    assert_true(flat >= empty);
    assert_true(nested > flat);
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.memory_bytes, entry_bytes(&stats) + stats.memory_index_bytes);
}

static void open_monitored(struct bench_cache *table, const aic_monitor_options *options, aic_monitor **monitor)
{
    aic_cache_close(&table->cache);
    assert_int_equal(aic_monitor_open(options, monitor, NULL), AIC_OK);
    table->options.monitor = *monitor;
    table_open(table);
}

static void close_monitored(struct bench_cache *table, aic_monitor **monitor)
{
    aic_cache_close(&table->cache);
    aic_monitor_close(monitor);
}

static double cpu_seconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* It takes microseconds: sizes are kept, not gathered. A second of work would be a walk over something. */
static void K23_measuring_a_thousand_entries(void **state)
{
    struct bench_cache *table = *state;
    aic_monitor *monitor;
    open_monitored(table, &(aic_monitor_options){.clock = &table->hand.clock}, &monitor);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(put_text(table->cache, "qa", text, text), AIC_OK);
    }
    double began = cpu_seconds();
    struct figures stats = stats_of(table->cache);
    aic_monitor_memory(monitor,
                       &(aic_memory_sample){.memory_bytes = stats.memory_bytes, .memory_entries = stats.memory_entries},
                       (aic_view){0});
    aic_report *report;
    assert_int_equal(aic_monitor_memory_usage(monitor, &report), AIC_OK);
    assert_true(cpu_seconds() - began < 1);
    aic_view said = aic_report_json(report);
    assert_non_null(memmem(said.data, said.size, "\"memory_cache_entry_count\":1000", 31));
    aic_report_release(&report);
    close_monitored(table, &monitor);
}

/* What stands beside a measurement: the tier that answered, and the size class of the text. */
static void records_say_tier_and_text_tier(void **state)
{
    struct bench_cache *table = *state;
    static const struct {
        size_t length;
        const char *tier;
    } texts[] = {{499, "small"}, {500, "medium"}, {5000, "large"}, {50000, "xlarge"}};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        char expected[4][128], *text = malloc(texts[i].length + 1);
        const char *tier = texts[i].tier;
        memset(text, 'x', texts[i].length);
        text[texts[i].length] = '\0';
        aic_monitor *monitor;
        open_monitored(table, &(aic_monitor_options){.clock = &table->hand.clock}, &monitor);
        assert_int_equal(look(table->cache, "qa", text, NULL), '-');
        assert_int_equal(put_text(table->cache, "qa", text, "1"), AIC_OK);
        assert_int_equal(look(table->cache, "qa", text, "1"), 'm');
        aic_report *report;
        assert_int_equal(aic_monitor_export(monitor, &report), AIC_OK);
        aic_view said = aic_report_json(report);
        snprintf(expected[0], 128, "\"operation_type\":\"qa\",\"additional_data\":{\"text_tier\":\"%s\"}", tier);
        snprintf(expected[1], 128, "\"operation_type\":\"get\",\"additional_data\":{\"text_tier\":\"%s\"}", tier);
        snprintf(expected[2], 128, "\"operation_type\":\"set\",\"additional_data\":{\"text_tier\":\"%s\"}", tier);
        snprintf(expected[3], 128, "\"additional_data\":{\"tier\":\"memory\",\"text_tier\":\"%s\"}", tier);
        for (size_t k = 0; k < 4; k++) assert_non_null(memmem(said.data, said.size, expected[k], strlen(expected[k])));
        aic_report_release(&report);
        close_monitored(table, &monitor);
        free(text);
    }
}

struct heard {
    unsigned gets;
    bool hit;
    char operation[AIC_MAX_NAME_BYTES + 1];
};

static void hear(void *context, const struct cache_event *event)
{
    struct heard *heard = context;
    if (event->kind != CACHE_GET) return;
    heard->gets++;
    heard->hit = event->hit;
    memcpy(heard->operation, event->operation.data != NULL ? event->operation.data : "", event->operation.size);
    heard->operation[event->operation.size] = '\0';
}

/* Who listens hears what a lookup was for, found or not; of a key alone only what is found tells it. */
static void a_miss_names_its_operation(void **state)
{
    struct bench_cache *table = *state;
    struct heard heard = {0};
    cache_observe(table->cache, hear, &heard);
    cache_observe_switch(table->cache, true);
    assert_int_equal(look(table->cache, "summarize", "a text", NULL), '-');
    assert_string_equal(heard.operation, "summarize");
    assert_int_equal(put_text(table->cache, "summarize", "a text", "1"), AIC_OK);
    assert_int_equal(look(table->cache, "summarize", "a text", "1"), 'm');
    assert_string_equal(heard.operation, "summarize");
    assert_true(heard.hit);
    aic_hit *hit = NULL;
    assert_int_equal(aic_cache_get(table->cache, (aic_view){0}, &(aic_key){0}, &hit), AIC_MISS);
    assert_string_equal(heard.operation, "");
    assert_int_equal(heard.gets, 3);
}

/* A delete that finds nothing is an operation like a get that finds nothing, but no entry was deleted. */
static void a_delete_of_nothing_is_an_operation(void **state)
{
    struct bench_cache *table = *state;
    aic_monitor *monitor;
    open_monitored(table, &(aic_monitor_options){.clock = &table->hand.clock}, &monitor);
    aic_key key;
    aic_request request = request_of("qa", "one");
    assert_int_equal(aic_cache_key(table->cache, &request, &key, NULL), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "one", "1"), AIC_OK);
    assert_int_equal(aic_cache_delete(table->cache, (aic_view){0}, &key), AIC_OK);
    assert_int_equal(aic_cache_delete(table->cache, (aic_view){0}, &key), AIC_MISS);
    aic_report *report;
    assert_int_equal(aic_monitor_statistics(monitor, &report), AIC_OK);
    aic_view said = aic_report_json(report);
    assert_non_null(memmem(said.data, said.size, "\"total_cache_operations\":3,", 27));
    assert_non_null(memmem(said.data, said.size, "\"delete\":{\"count\":2,", 20));
    aic_report_release(&report);
    assert_int_equal(stats_of(table->cache).deletes, 1);
    close_monitored(table, &monitor);
}

/* A wall clock that somebody sets back by an hour all the time, beside a steady one of a millisecond a look. */
struct odd_clock {
    _Atomic uint64_t wall_ms, mono_ns;
};

static uint64_t odd_wall(void *context)
{
    return atomic_fetch_sub(&((struct odd_clock *)context)->wall_ms, 3600000);
}

static uint64_t odd_mono(void *context)
{
    return atomic_fetch_add(&((struct odd_clock *)context)->mono_ns, 1000000);
}

static void measures_by_the_steady_clock(void **state)
{
    struct bench_cache *table = *state;
    struct odd_clock odd = {1700000000000, 1000000000};
    aic_clock clock = {odd_wall, odd_mono, &odd};
    aic_monitor *monitor;
    table->options.clock = &clock;
    open_monitored(table, &(aic_monitor_options){.clock = &clock}, &monitor);
    aic_request request = request_of("qa", "one");
    for (int i = 0; i < 50; i++) {
        aic_key key;
        assert_int_equal(aic_cache_key(table->cache, &request, &key, NULL), AIC_OK);
        assert_int_equal(look(table->cache, "qa", "nothing", NULL), '-');
    }
    aic_report *report;
    assert_int_equal(aic_monitor_export(monitor, &report), AIC_OK);
    aic_view said = aic_report_json(report);
    unsigned durations = 0;
    for (const char *at = said.data;
         (at = memmem(at, (size_t)(said.data + said.size - at), "\"duration\":", 11)) != NULL; durations++) {
        at += 11;
        double seconds = strtod(at, NULL);
        assert_true(seconds >= 0.001 && seconds < 1); /* an hour less or more would show */
    }
    assert_int_equal(durations, 150); /* and none was dropped as older than an hour */
    aic_report_release(&report);
    close_monitored(table, &monitor);
}

/* ---- a monitor that fails ---- */

static void *refuse(void *context, size_t bytes)
{
    return atomic_load((_Atomic bool *)context) ? NULL : malloc(bytes);
}

static void take_back(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

/* Everything that a cache does, each with its right outcome. */
static void use(aic_cache *cache)
{
    aic_request request = request_of("qa", "one");
    aic_key key;
    assert_int_equal(look(cache, "qa", "one", NULL), '-');
    assert_int_equal(put_text(cache, "qa", "one", "1"), AIC_OK);
    assert_int_equal(look(cache, "qa", "one", "1"), 'm');
    char *large = make_response(5000, 7);
    assert_int_equal(put_text(cache, "qa", "large", large), AIC_OK);
    assert_int_equal(look(cache, "qa", "large", large), 'm');
    free(large);
    assert_int_equal(aic_cache_key(cache, &request, &key, NULL), AIC_OK);
    assert_int_equal(aic_cache_delete(cache, AIC_LITERAL("default"), &key), AIC_OK);
    assert_int_equal(look(cache, "qa", "one", NULL), '-');
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    aic_invalidated removed = {0};
    assert_int_equal(aic_cache_invalidate(cache, &filter, false, &removed, NULL), AIC_OK);
    assert_int_equal(removed.removed, 1);
    assert_int_equal(aic_cache_verify(cache, NULL), AIC_OK);
}

static void K26_a_monitor_without_memory(void **state)
{
    struct bench_cache *table = *state;
    _Atomic bool refusing = false;
    aic_allocator allocator = {.acquire = refuse, .release = take_back, .context = &refusing};
    aic_monitor *monitor;
    open_monitored(table, &(aic_monitor_options){.clock = &table->hand.clock, .allocator = &allocator}, &monitor);
    atomic_store(&refusing, true);
    for (int i = 0; i < 3; i++) use(table->cache);
    aic_monitor_memory(monitor, &(aic_memory_sample){.memory_bytes = 1, .memory_entries = 1}, (aic_view){0});
    aic_report *report = NULL;
    assert_int_equal(aic_monitor_statistics(monitor, &report), AIC_NO_MEMORY);
    assert_null(report);
    atomic_store(&refusing, false);
    assert_int_equal(aic_monitor_statistics(monitor, &report), AIC_OK); /* and it has missed nothing of it */
    aic_view said = aic_report_json(report);
    assert_non_null(memmem(said.data, said.size, "\"cache_hits\":6,\"cache_misses\":6", 31));
    assert_non_null(memmem(said.data, said.size, "\"total_measurements\":1", 22));
    aic_report_release(&report);
    close_monitored(table, &monitor);
}

/* A listener that calls back into the monitor and the cache that it is told of: nothing holds a lock meanwhile. */
struct meddler {
    struct bench_cache *table;
    aic_monitor *monitor;
    unsigned told;
    bool inside;
};

static void meddle(void *context, aic_log_level level, const char *line)
{
    struct meddler *meddler = context;
    (void)level;
    (void)line;
    meddler->told++;
    if (meddler->inside) return;
    meddler->inside = true;
    aic_report *report = NULL;
    assert_int_equal(aic_monitor_statistics(meddler->monitor, &report), AIC_OK);
    aic_report_release(&report);
    aic_monitor_reset(meddler->monitor);
    assert_int_equal(put_text(meddler->table->cache, "other", "meddled", "1"), AIC_OK);
    assert_int_equal(look(meddler->table->cache, "other", "meddled", "1"), 'm');
    meddler->inside = false;
}

static void K26_a_listener_that_calls_back(void **state)
{
    struct bench_cache *table = *state;
    struct meddler meddler = {.table = table};
    open_monitored(table,
                   &(aic_monitor_options){.clock = &table->hand.clock,
                                          .memory_warning_bytes = 1,
                                          .memory_critical_bytes = 2,
                                          .invalidations_warning_per_hour = 1,
                                          .invalidations_critical_per_hour = 2,
                                          .log = meddle,
                                          .log_context = &meddler},
                   &meddler.monitor);
    for (int i = 0; i < 3; i++) {
        use(table->cache);
        aic_monitor_key_generation(meddler.monitor, 1, 1, AIC_LITERAL("qa"), (aic_view){0});
        aic_monitor_operation(meddler.monitor, AIC_LITERAL("get"), 1, true, 1, (aic_view){0});
        aic_monitor_memory(meddler.monitor, &(aic_memory_sample){.memory_bytes = 10}, (aic_view){0});
        hand_turn(&table->hand, 61);
    }
    assert_true(meddler.told >= 4);
    close_monitored(table, &meddler.monitor);
}

static void every_figure_has_a_name(void **state)
{
    struct bench_cache *table = *state;
    double value = -1;
    size_t count = 0;
    for (const char *name; (name = aic_figure_name(count)) != NULL; count++) {
        assert_int_equal(aic_cache_figure(table->cache, name, &value), AIC_OK);
        assert_true(value >= 0);
    }
    assert_true(count > 40);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_figure(table->cache, "changes.puts", &value), AIC_OK);
    assert_true(value == 1);
    assert_int_equal(aic_cache_figure(table->cache, "http.requests", &value), AIC_NOT_FOUND); /* the daemon's */
    assert_int_equal(aic_cache_figure(table->cache, "puts", &value), AIC_NOT_FOUND);
    assert_true(value == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(K05_nested_takes_more_than_flat, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(K23_measuring_a_thousand_entries, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(records_say_tier_and_text_tier, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(a_miss_names_its_operation, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(a_delete_of_nothing_is_an_operation, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(measures_by_the_steady_clock, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(every_figure_has_a_name, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(K26_a_monitor_without_memory, table_setup_memory, table_teardown),
        cmocka_unit_test_setup_teardown(K26_a_listener_that_calls_back, table_setup_memory, table_teardown),
    };
    return cmocka_run_group_tests_name("cache monitored", tests, NULL, NULL);
}
