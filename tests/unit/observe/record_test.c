/* Recording, retention and threads: what goes in is what comes out, in order, and nothing older. */
#include "fixture.h"

#include "observe/monitor.h"

#include "base/check.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void keeps_the_fields_of_a_key_generation(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){0});
    aic_monitor_key_generation(f.monitor, 0.05, 1000, AIC_LITERAL("summarize"), AIC_LITERAL("{\"model\":\"gpt-4\"}"));
    struct reading r;
    reading_open(&r, &f, aic_monitor_export);
    assert_int_equal(reading_length(&r, "key_generation_times"), 1);
    reading_expect(&r, "key_generation_times.0.duration", 0.05);
    reading_expect(&r, "key_generation_times.0.text_length", 1000);
    reading_expect_text(&r, "key_generation_times.0.operation_type", "summarize");
    reading_expect_text(&r, "key_generation_times.0.additional_data.model", "gpt-4");
    reading_close(&r);
    fixture_close(&f);
}

static void warns_of_slow_operations_and_counts_what_it_holds_back(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){0});
    aic_monitor_key_generation(f.monitor, 0.1, 5000, AIC_LITERAL("summarize"), NO_DATA);
    assert_int_equal(f.log_count, 0);
    aic_monitor_key_generation(f.monitor, 0.15, 5000, AIC_LITERAL("summarize"), NO_DATA);
    assert_int_equal(f.log_count, 1);
    assert_int_equal(f.levels[0], AIC_LOG_WARNING);
    assert_string_equal(f.log[0], "Slow key generation: 0.150s for 5000 chars in summarize operation");
    aic_monitor_operation(f.monitor, AIC_LITERAL("get"), 0.05, true, 500, NO_DATA);
    assert_int_equal(f.log_count, 1);
    /* A slow key says nothing of slow operations: these have lines and a count of their own. */
    for (int i = 0; i < 4; i++) aic_monitor_operation(f.monitor, AIC_LITERAL("get"), 0.08, true, 500, NO_DATA);
    assert_int_equal(f.log_count, 2);
    assert_string_equal(f.log[1], "Slow cache get: 0.080s (hit: true, text_length: 500)");
    fixture_advance(&f, 1.001);
    aic_monitor_operation(f.monitor, AIC_LITERAL("get"), 0.08, true, 500, NO_DATA);
    assert_int_equal(f.log_count, 3);
    assert_string_equal(f.log[2],
                        "Slow cache get: 0.080s (hit: true, text_length: 500) (and 3 more since the last line)");
    aic_monitor_key_generation(f.monitor, 0.15, 5000, AIC_LITERAL("summarize"), NO_DATA);
    assert_int_equal(f.log_count, 4);
    assert_string_equal(f.log[3], "Slow key generation: 0.150s for 5000 chars in summarize operation");
    fixture_close(&f);
}

static void counts_hits_of_gets_only(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){0});
    static const char *const kinds[] = {"get", "get", "set", "delete", "invalidate"};
    for (unsigned i = 0; i < 5; i++)
        aic_monitor_operation(f.monitor, aic_view_of(kinds[i]), 0.02, i == 0 || i == 2, 10, NO_DATA);
    struct reading r;
    reading_open(&r, &f, aic_monitor_statistics);
    reading_expect(&r, "total_cache_operations", 5);
    reading_expect(&r, "cache_hits", 1);
    reading_expect(&r, "cache_misses", 1);
    reading_close(&r);
    fixture_close(&f);
}

static void keeps_the_newest_within_the_limit_in_order(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){.max_measurements = 5});
    for (int i = 1; i <= 10; i++)
        aic_monitor_key_generation(f.monitor, 0.01 * i, (uint64_t)i, AIC_LITERAL("qa"), NO_DATA);
    struct reading r;
    reading_open(&r, &f, aic_monitor_export);
    assert_int_equal(reading_length(&r, "key_generation_times"), 5);
    for (unsigned i = 0; i < 5; i++) {
        char path[64];
        snprintf(path, sizeof path, "key_generation_times.%u.duration", i);
        reading_expect(&r, path, 0.06 + 0.01 * i);
    }
    reading_close(&r);
    fixture_close(&f);
}

static unsigned kept(struct fixture *f)
{
    struct reading r;
    reading_open(&r, f, aic_monitor_export);
    unsigned count = reading_length(&r, "cache_operation_times");
    reading_close(&r);
    return count;
}

static void drops_what_is_as_old_as_the_retention(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){0});
    for (int i = 0; i < 3; i++) { /* at the cutoff - 1 s, the cutoff, the cutoff + 1 s */
        aic_monitor_operation(f.monitor, AIC_LITERAL("get"), 0.001, true, 1, NO_DATA);
        fixture_advance(&f, 1);
    }
    fixture_advance(&f, 3600 - 2);
    assert_int_equal(kept(&f), 1);
    fixture_close(&f);
}

static void keeps_a_short_retention(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){.retention_hours = 0.001});
    aic_monitor_operation(f.monitor, AIC_LITERAL("get"), 0.001, true, 1, NO_DATA);
    fixture_advance(&f, 3600);
    aic_monitor_operation(f.monitor, AIC_LITERAL("get"), 0.001, true, 1, NO_DATA);
    assert_int_equal(kept(&f), 1);
    fixture_close(&f);
}

static void refuses_senseless_options(void **state)
{
    (void)state;
    static const aic_monitor_options bad[] = {{.retention_hours = -1},
                                              {.max_measurements = -1},
                                              {.memory_warning_bytes = 100, .memory_critical_bytes = 100},
                                              {.slow_operation_seconds = -0.1},
                                              {.invalidations_warning_per_hour = -5}};
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        aic_monitor *monitor = NULL;
        aic_error error = {0};
        assert_int_equal(aic_monitor_open(&bad[i], &monitor, &error), AIC_INVALID);
        assert_null(monitor);
        assert_true(error.field[0] != '\0' && error.message[0] != '\0');
    }
}

static void resets_streams_and_counters(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){.max_measurements = 7});
    aic_monitor_operation(f.monitor, AIC_LITERAL("get"), 0.001, true, 1, NO_DATA);
    aic_monitor_invalidation(f.monitor, AIC_LITERAL("x"), 3, 0.1, NO_DATA, NO_DATA, NO_DATA);
    aic_monitor_reset(f.monitor);
    assert_int_equal(kept(&f), 0);
    struct reading r;
    reading_open(&r, &f, aic_monitor_statistics);
    reading_expect(&r, "cache_hits", 0);
    reading_expect(&r, "total_cache_operations", 0);
    assert_true(reading_is_null(&r, "invalidation"));
    reading_close(&r);
    for (int i = 0; i < 9; i++) aic_monitor_operation(f.monitor, AIC_LITERAL("get"), 0.001, true, 1, NO_DATA);
    assert_int_equal(kept(&f), 7);
    /* The month of history is neither a stream nor a counter. */
    struct history_sample first, last;
    feed_memory(&f, 10, 1);
    fixture_advance(&f, 3600);
    feed_memory(&f, 20, 1);
    aic_monitor_reset(f.monitor);
    assert_true(history_span(&f.monitor->history, HISTORY_HOURS, 1, &first, &last));
    assert_int_equal(first.total_bytes, 10);
    assert_int_equal(last.total_bytes, 20);
    fixture_close(&f);
}

static void leaves_out_data_that_is_too_large(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){0});
    char data[400];
    memset(data, ' ', sizeof data);
    data[0] = '{';
    data[sizeof data - 1] = '}';
    char name[300];
    memset(name, 'n', sizeof name);
    aic_monitor_operation(f.monitor, (aic_view){name, sizeof name}, 0.001, true, 1, (aic_view){data, sizeof data});
    struct reading r;
    reading_open(&r, &f, aic_monitor_export);
    assert_int_equal(reading_length(&r, "cache_operation_times.0.additional_data"), 0);
    assert_int_equal(json_source(&r.json, reading_find(&r, "cache_operation_times.0.operation_type")).size, 128);
    reading_close(&r);
    fixture_close(&f);
}

static void cuts_names_between_characters(void **state)
{
    (void)state;
    static const struct {
        size_t before;   /* letters before a character of three bytes */
        size_t expected; /* bytes kept */
    } rows[] = {{125, 128}, {126, 126}, {127, 127}, {128, 128}};
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct fixture f;
        fixture_open(&f, (aic_monitor_options){0});
        char name[160];
        memset(name, 'n', sizeof name);
        memcpy(name + rows[i].before, "\xe2\x82\xac", 3);
        aic_monitor_operation(f.monitor, (aic_view){name, rows[i].before + 3}, 0.001, true, 1, NO_DATA);
        struct reading r;
        reading_open(&r, &f, aic_monitor_export);
        assert_int_equal(json_source(&r.json, reading_find(&r, "cache_operation_times.0.operation_type")).size,
                         rows[i].expected);
        reading_close(&r);
        fixture_close(&f);
    }
}

/* ----------------------------------------------------------------------------------------------------- threads -- */

#define WRITERS 3
#define WRITES 20000

static void *write_many(void *context)
{
    aic_monitor *monitor = context;
    char name[100];
    for (unsigned i = 0; i < WRITES; i++) {
        memset(name, 'a' + (int)(i % 26), sizeof name);
        aic_monitor_operation(monitor, (aic_view){name, i % 2 == 0 ? sizeof name : 10}, i % 26, false, i % 26, NO_DATA);
    }
    return NULL;
}

/* A reader must never see half of one event and half of another: the name, the duration and the length agree in each.
 */
static void never_tears_an_event(void **state)
{
    (void)state;
    aic_monitor *monitor = NULL;
    assert_int_equal(aic_monitor_open(&(aic_monitor_options){.max_measurements = 16}, &monitor, NULL), AIC_OK);
    pthread_t threads[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, write_many, monitor), 0);
    for (int round = 0; round < 200; round++) {
        aic_report *report = NULL;
        assert_int_equal(aic_monitor_export(monitor, &report), AIC_OK);
        struct reading r;
        reading_take(&r, report);
        for (unsigned i = 0; i < reading_length(&r, "cache_operation_times"); i++) {
            char path[64];
            snprintf(path, sizeof path, "cache_operation_times.%u.duration", i);
            double duration = reading_number(&r, path);
            snprintf(path, sizeof path, "cache_operation_times.%u.text_length", i);
            assert_true(reading_number(&r, path) == duration);
            snprintf(path, sizeof path, "cache_operation_times.%u.operation_type", i);
            aic_view name = json_source(&r.json, reading_find(&r, path));
            for (size_t k = 0; k < name.size; k++) assert_int_equal(name.data[k], 'a' + (int)duration);
        }
        reading_close(&r);
    }
    for (unsigned i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
    aic_report *report = NULL;
    assert_int_equal(aic_monitor_statistics(monitor, &report), AIC_OK);
    struct reading r;
    reading_take(&r, report);
    reading_expect(&r, "total_cache_operations", WRITERS * WRITES);
    reading_close(&r);
    aic_monitor_close(&monitor);
}

/* Two threads take turns, each with a ring of its own: the window is one, in order of time, as long as the limit. */
#define TURNS 40

struct turns {
    struct fixture f;
    pthread_barrier_t change;
    _Atomic unsigned threads;
};

static void *take_turns(void *context)
{
    struct turns *turns = context;
    unsigned self = atomic_fetch_add(&turns->threads, 1);
    for (unsigned i = 0; i < TURNS; i++) {
        /* Three in a row by one thread, then three by the other. */
        if (i / 3 % 2 == self)
            aic_monitor_operation(turns->f.monitor, AIC_LITERAL("get"), 0.001, i % 2 == 0, i, NO_DATA);
        pthread_barrier_wait(&turns->change);
        if (self == 0) fixture_advance(&turns->f, 0.001);
        pthread_barrier_wait(&turns->change);
    }
    return NULL;
}

static void expect_the_newest(struct fixture *f, unsigned limit)
{
    struct reading r;
    reading_open(&r, f, aic_monitor_export);
    unsigned length = reading_length(&r, "cache_operation_times");
    assert_int_equal(length, limit < TURNS ? limit : TURNS);
    for (unsigned i = 0; i < length; i++) {
        char path[64];
        snprintf(path, sizeof path, "cache_operation_times.%u.text_length", i);
        reading_expect(&r, path, TURNS - length + i);
    }
    reading_expect(&r, "total_operations", TURNS);
    reading_expect(&r, "cache_hits", TURNS / 2);
    reading_close(&r);
}

static void merges_by_time_what_threads_record(void **state)
{
    (void)state;
    for (unsigned limit = 1; limit <= TURNS + 5; limit += 11) {
        struct turns turns = {.threads = 0};
        fixture_open(&turns.f, (aic_monitor_options){.max_measurements = limit});
        pthread_barrier_init(&turns.change, NULL, 2);
        pthread_t threads[2];
        for (unsigned i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, take_turns, &turns), 0);
        for (unsigned i = 0; i < 2; i++) pthread_join(threads[i], NULL);
        pthread_barrier_destroy(&turns.change);
        expect_the_newest(&turns.f, limit);
        aic_monitor_reset(turns.f.monitor);
        assert_int_equal(kept(&turns.f), 0);
        fixture_close(&turns.f);
    }
}

/* What is no JSON object would break the whole export: it is left out, as what is too large. */
static void leaves_out_data_that_is_no_object(void **state)
{
    (void)state;
    static const char *const bad[] = {"not json",          "{",    "}",    "[]",       "1",    "\"a\"",
                                      "{\"a\":1,\"a\":2}", "{}{}", "{} x", "{\"a\":}", "null", "{\"\xff\":1}",
                                      "{\"a\":\"\n\"}"};
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){0});
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        aic_view data = aic_view_of(bad[i]);
        aic_monitor_operation(f.monitor, AIC_LITERAL("get"), .01, true, 1, data);
        aic_monitor_key_generation(f.monitor, .01, 1, AIC_LITERAL("qa"), data);
        aic_monitor_invalidation(f.monitor, AIC_LITERAL("p"), 1, .01, NO_DATA, NO_DATA, data);
        aic_monitor_memory(f.monitor, &(aic_memory_sample){.memory_bytes = 1}, data);
    }
    aic_monitor_operation(f.monitor, AIC_LITERAL("get"), .01, true, 1, (aic_view){NULL, 7});
    aic_monitor_operation(f.monitor, (aic_view){NULL, 3}, .01, true, 1, AIC_LITERAL(" {\"kept\":1} "));
    struct reading r;
    reading_open(&r, &f, aic_monitor_export); /* fails if it is not JSON */
    assert_int_equal(reading_length(&r, "cache_operation_times"), 15);
    assert_int_equal(reading_length(&r, "cache_operation_times.0.additional_data"), 0);
    assert_int_equal(reading_length(&r, "cache_operation_times.13.additional_data"), 0);
    reading_expect(&r, "cache_operation_times.14.additional_data.kept", 1);
    assert_int_equal(reading_length(&r, "invalidation_events.2.additional_data"), 0);
    reading_close(&r);
    fixture_close(&f);
}

/* A duration that is none is no measurement: neither an average nor a counter hears of it. */
static void takes_no_duration_that_is_none(void **state)
{
    (void)state;
    static const double bad[] = {NAN, -NAN, INFINITY, -INFINITY, -1, -1e-9, 1e300};
    struct fixture f;
    fixture_open(&f, (aic_monitor_options){0});
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        aic_monitor_operation(f.monitor, AIC_LITERAL("get"), bad[i], true, 1, NO_DATA);
        aic_monitor_key_generation(f.monitor, bad[i], 1, AIC_LITERAL("qa"), NO_DATA);
        aic_monitor_compression(f.monitor, 10, 5, bad[i], AIC_LITERAL("qa"));
        aic_monitor_invalidation(f.monitor, AIC_LITERAL("p"), 1, bad[i], NO_DATA, NO_DATA, NO_DATA);
    }
    assert_int_equal(f.log_count, 0);
    feed_operation(&f, "get", .5, true);
    feed_operation(&f, "get", 0, true);
    struct reading r;
    reading_open(&r, &f, aic_monitor_export);
    assert_int_equal(reading_length(&r, "cache_operation_times"), 2);
    assert_int_equal(reading_length(&r, "key_generation_times"), 0);
    assert_int_equal(reading_length(&r, "compression_ratios"), 0);
    assert_int_equal(reading_length(&r, "invalidation_events"), 0);
    reading_expect(&r, "cache_hits", 2);
    reading_expect(&r, "total_invalidations", 0);
    reading_close(&r);
    reading_open(&r, &f, aic_monitor_statistics);
    reading_expect(&r, "cache_operations.avg_duration", .25);
    reading_expect(&r, "cache_operations.min_duration", 0);
    reading_close(&r);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_fields_of_a_key_generation),
        cmocka_unit_test(warns_of_slow_operations_and_counts_what_it_holds_back),
        cmocka_unit_test(counts_hits_of_gets_only),
        cmocka_unit_test(keeps_the_newest_within_the_limit_in_order),
        cmocka_unit_test(drops_what_is_as_old_as_the_retention),
        cmocka_unit_test(keeps_a_short_retention),
        cmocka_unit_test(refuses_senseless_options),
        cmocka_unit_test(resets_streams_and_counters),
        cmocka_unit_test(leaves_out_data_that_is_too_large),
        cmocka_unit_test(leaves_out_data_that_is_no_object),
        cmocka_unit_test(takes_no_duration_that_is_none),
        cmocka_unit_test(cuts_names_between_characters),
        cmocka_unit_test(never_tears_an_event),
        cmocka_unit_test(merges_by_time_what_threads_record),
    };
    return cmocka_run_group_tests_name("monitor record", tests, NULL, NULL);
}
