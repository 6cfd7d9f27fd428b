/* Alerts open once, escalate, resolve, and their rules fire where they say. */
#include "fixture.h"

#include "observe/alerts.h"

#include <stdio.h>
#include <string.h>

struct world {
    struct mem mem;
    uint64_t now_ms;
    aic_clock clock;
    struct alerts *alerts;
    unsigned told;
    struct alert last;
};

static uint64_t wall(void *context)
{
    return ((struct world *)context)->now_ms;
}

static uint64_t mono(void *context)
{
    return ((struct world *)context)->now_ms * 1000000;
}

static void notify(void *context, const struct alert *alert)
{
    struct world *w = context;
    w->told++;
    w->last = *alert;
}

static void world_open(struct world *w)
{
    memset(w, 0, sizeof *w);
    mem_init(&w->mem, NULL);
    w->now_ms = 1700000000000;
    w->clock = (aic_clock){wall, mono, w};
    assert_int_equal(alerts_create(&w->mem, &w->clock, notify, w, &w->alerts), AIC_OK);
}

static void world_close(struct world *w)
{
    alerts_destroy(&w->alerts);
    mem_fini(&w->mem);
}

static struct alert_key of(const char *part)
{
    return (struct alert_key){ALERT_OF_DOWN, part};
}

static void expect_counts(struct world *w, unsigned active, unsigned past, unsigned total)
{
    struct buf text;
    buf_init(&text, &w->mem, MEM_OTHER);
    struct json_writer writer;
    json_writer_init(&writer, &text);
    alerts_write(w->alerts, &writer);
    struct json json;
    json_init(&json, &w->mem, MEM_OTHER);
    assert_int_equal(json_scan(&json, buf_view(&text), NULL), AIC_OK);
    int64_t found = -1;
    assert_int_equal(json_integer(&json, json_member(&json, 0, "total_alerts"), &found), AIC_OK);
    assert_int_equal(found, total);
    assert_int_equal(json.tokens[json_member(&json, 0, "active")].members, active);
    assert_int_equal(json.tokens[json_member(&json, 0, "past")].members, past);
    json_fini(&json);
    buf_fini(&text);
}

static void opens_one_alert_per_id(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    assert_true(alerts_trigger(w.alerts, of("a"), ALERT_MEDIUM, 0, "first"));
    assert_true(alerts_trigger(w.alerts, of("a"), ALERT_MEDIUM, 0, "again"));
    assert_int_equal(w.told, 1);
    expect_counts(&w, 1, 0, 1);
    assert_true(alerts_trigger(w.alerts, of("a"), ALERT_CRITICAL, 0, "worse"));
    assert_int_equal(w.told, 2);
    assert_int_equal(w.last.severity, ALERT_CRITICAL);
    assert_int_equal(w.last.escalations, 1);
    expect_counts(&w, 1, 0, 1);
    assert_true(alerts_resolve(w.alerts, of("a"), "well"));
    assert_false(alerts_resolve(w.alerts, of("unknown"), "well"));
    assert_true(alerts_resolve(w.alerts, of("a"), "well"));
    assert_int_equal(w.told, 3);
    assert_string_equal(w.last.message, "well");
    expect_counts(&w, 0, 1, 1);
    world_close(&w);
}

/* One that swings between two severities keeps the higher one: it says nothing new by coming back to it. */
static void keeps_its_highest_severity_while_open(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    uint64_t open[ALERT_SEVERITIES];
    for (int i = 0; i < 6; i++) {
        assert_true(alerts_trigger(w.alerts, of("a"), ALERT_CRITICAL, 0, "bad"));
        assert_true(alerts_trigger(w.alerts, of("a"), ALERT_MEDIUM, 0, "not so bad"));
        alerts_count_open(w.alerts, open);
        assert_int_equal(open[ALERT_CRITICAL], 1);
        assert_int_equal(open[ALERT_MEDIUM], 0);
    }
    assert_int_equal(w.told, 1);
    assert_int_equal(w.last.escalations, 0);
    alerts_resolve(w.alerts, of("a"), "well");
    assert_int_equal(w.last.severity, ALERT_CRITICAL);
    alerts_trigger(w.alerts, of("a"), ALERT_MEDIUM, 0, "another"); /* a new one begins where it is */
    assert_int_equal(w.last.severity, ALERT_MEDIUM);
    world_close(&w);
}

/* A notice of a rise waits until the last one is `quiet_ms` old; the alert itself rises at once. */
static void holds_back_notices_that_come_too_soon(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    uint64_t open[ALERT_SEVERITIES];
    alerts_trigger(w.alerts, of("a"), ALERT_MEDIUM, 300000, "first");
    w.now_ms += 1000;
    alerts_trigger(w.alerts, of("a"), ALERT_HIGH, 300000, "worse");
    alerts_count_open(w.alerts, open);
    assert_int_equal(open[ALERT_HIGH], 1);
    assert_int_equal(w.told, 1);
    w.now_ms += 299000;
    alerts_trigger(w.alerts, of("a"), ALERT_MEDIUM, 300000, "a little better");
    assert_int_equal(w.told, 2);
    assert_int_equal(w.last.severity, ALERT_HIGH);
    assert_int_equal(w.last.escalations, 1);
    assert_string_equal(w.last.message, "worse");
    w.now_ms += 300000;
    alerts_trigger(w.alerts, of("a"), ALERT_HIGH, 300000, "as bad");
    assert_int_equal(w.told, 2);
    world_close(&w);
}

static void bounds_its_history(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    static char ids[250][8];
    alerts_trigger(w.alerts, of("stays"), ALERT_MEDIUM, 0, "open all the time");
    for (int i = 0; i < 250; i++) {
        snprintf(ids[i], sizeof ids[i], "a%d", i);
        alerts_trigger(w.alerts, of(ids[i]), ALERT_MEDIUM, 0, "x");
        alerts_resolve(w.alerts, of(ids[i]), "well");
    }
    expect_counts(&w, 1, 99, 251);
    world_close(&w);
}

static void grades_downtime_and_hit_rates(void **state)
{
    (void)state;
    assert_int_equal(alert_of_downtime(30), ALERT_MEDIUM);
    assert_int_equal(alert_of_downtime(180), ALERT_MEDIUM);
    assert_int_equal(alert_of_downtime(600), ALERT_HIGH);
    assert_int_equal(alert_of_downtime(1800), ALERT_CRITICAL);
    assert_int_equal(alert_of_hit_rate(10.0), ALERT_HIGH);
    assert_int_equal(alert_of_hit_rate(9.9), ALERT_CRITICAL);
    assert_int_equal(alert_of_hit_rate(30), ALERT_MEDIUM);
}

static void watches_the_hit_rate(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    alerts_watch_hit_rate(w.alerts, 0, 500, false);
    alerts_watch_hit_rate(w.alerts, 0, 549, false);
    assert_int_equal(alerts_open_count(w.alerts), 0);
    alerts_watch_hit_rate(w.alerts, 0, 600, false);
    assert_int_equal(w.told, 1);
    assert_int_equal(w.last.severity, ALERT_CRITICAL);
    assert_string_equal(w.last.message, "Only 0.0% of the last 100 lookups were hits.");
    alerts_watch_hit_rate(w.alerts, 300, 600, false);
    assert_int_equal(alerts_open_count(w.alerts), 0);
    assert_string_equal(w.last.message, "75.0% of the last 400 lookups were hits.");
    alerts_watch_hit_rate(w.alerts, 300, 1100, false); /* again at once: quiet for 300 s */
    assert_int_equal(alerts_open_count(w.alerts), 0);
    w.now_ms += 300000;
    alerts_watch_hit_rate(w.alerts, 300, 1100, false);
    assert_int_equal(alerts_open_count(w.alerts), 1);
    alerts_watch_hit_rate(w.alerts, 600, 1100, false); /* half of them are hits: not yet well */
    assert_int_equal(alerts_open_count(w.alerts), 1);
    alerts_watch_hit_rate(w.alerts, 10, 0, false); /* the counters were reset */
    alerts_watch_hit_rate(w.alerts, 60, 0, false);
    assert_int_equal(alerts_open_count(w.alerts), 0);
    world_close(&w);
}

/* What was missed six minutes ago is over, whatever it was. */
static void counts_the_last_five_minutes(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    uint64_t hits = 0, misses = 0;
    for (unsigned second = 0; second < 3600; second++) {
        bool bad = second >= 1800;
        hits += bad ? 1 : 10;
        misses += bad ? 9 : 0;
        alerts_watch_hit_rate(w.alerts, hits, misses, false);
        w.now_ms += 1000;
        if (second == 1800 + 150) assert_int_equal(alerts_open_count(w.alerts), 0); /* half of the minutes are good */
        if (second == 1800 + 190) assert_int_equal(w.last.severity, ALERT_MEDIUM);
        if (second == 1800 + 320) assert_int_equal(w.last.severity, ALERT_MEDIUM); /* told at most once in 300 s */
    }
    assert_non_null(strstr(w.last.message, "Only 1"));
    assert_int_equal(w.last.severity, ALERT_HIGH);
    world_close(&w);
}

/* A cache that begins has nothing to hit; what it missed then is held against it neither then nor later. */
static void says_nothing_of_a_cold_start(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    for (uint64_t second = 0; second < 600; second++, w.now_ms += 1000)
        alerts_watch_hit_rate(w.alerts, second, 100 * second, true);
    alerts_watch_hit_rate(w.alerts, 600, 60000, false); /* from here on it counts */
    alerts_watch_hit_rate(w.alerts, 700, 60010, false);
    assert_int_equal(w.told, 0);
    alerts_watch_hit_rate(w.alerts, 700, 61000, false);
    assert_string_equal(w.last.message, "Only 9.1% of the last 1100 lookups were hits.");
    world_close(&w);
}

/* Batches of 41.7 % and 8.3 % hits, two seconds each. */
static void says_little_of_a_hit_rate_that_swings(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    uint64_t hits = 0, misses = 0;
    for (int i = 0; i < 100; i++) {
        hits += i % 2 == 0 ? 25 : 5;
        misses += i % 2 == 0 ? 35 : 55;
        alerts_watch_hit_rate(w.alerts, hits, misses, false);
        w.now_ms += 2000;
    }
    assert_int_equal(w.told, 1);
    expect_counts(&w, 1, 0, 1);
    world_close(&w);
}

static void watch_pressure(struct world *w, double percent)
{
    alerts_watch_pressure(
        w->alerts, &(struct pressure_figures){.percent = percent, .warning_percent = 75, .critical_percent = 90});
}

/* As the state of pressure: entered at 75 %, left at 70 %. */
static void resolves_pressure_five_points_below(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    for (int i = 0; i < 16; i++) {
        watch_pressure(&w, i % 2 == 0 ? 76.8 : 74.1);
        assert_int_equal(alerts_open_count(w.alerts), 1);
    }
    watch_pressure(&w, 70.1);
    assert_int_equal(w.told, 1);
    watch_pressure(&w, 70);
    assert_int_equal(alerts_open_count(w.alerts), 0);
    watch_pressure(&w, 74.9);
    assert_int_equal(alerts_open_count(w.alerts), 0);
    assert_int_equal(w.told, 2);
    world_close(&w);
}

static void watches_pressure_and_parts(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    static const double percent[] = {74.9, 75, 85, 95};
    for (unsigned i = 0; i < 4; i++) {
        watch_pressure(&w, percent[i]);
        assert_int_equal(w.told, i);
        if (i > 0) assert_int_equal(w.last.severity, ALERT_MEDIUM + (int)i - 1);
    }
    watch_pressure(&w, 50);
    assert_int_equal(alerts_open_count(w.alerts), 0);
    assert_string_equal(w.last.message, "Memory is at 50.0% of its limit.");
    alerts_watch_part(w.alerts, "storage", "down", 59);
    assert_int_equal(alerts_open_count(w.alerts), 0);
    alerts_watch_part(w.alerts, "storage", "down", 60);
    char id[ALERT_ID_BYTES];
    alert_id(w.last.key, id);
    assert_string_equal(id, "down:storage");
    alerts_watch_part(w.alerts, "storage", "down", 900);
    assert_int_equal(w.last.severity, ALERT_CRITICAL);
    alerts_watch_part(w.alerts, "storage", "down", 0);
    assert_true(w.last.resolved_ms > 0);
    assert_string_equal(w.last.message, "storage is up again.");
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_one_alert_per_id),
        cmocka_unit_test(bounds_its_history),
        cmocka_unit_test(grades_downtime_and_hit_rates),
        cmocka_unit_test(watches_the_hit_rate),
        cmocka_unit_test(counts_the_last_five_minutes),
        cmocka_unit_test(says_nothing_of_a_cold_start),
        cmocka_unit_test(watches_pressure_and_parts),
        cmocka_unit_test(keeps_its_highest_severity_while_open),
        cmocka_unit_test(holds_back_notices_that_come_too_soon),
        cmocka_unit_test(says_little_of_a_hit_rate_that_swings),
        cmocka_unit_test(resolves_pressure_five_points_below),
    };
    return cmocka_run_group_tests_name("monitor alerts", tests, NULL, NULL);
}
