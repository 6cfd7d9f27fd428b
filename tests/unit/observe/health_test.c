/* Health: the worst part decides, retries back off, and a check that hangs holds up nobody. */
#include "fixture.h"

#include "observe/health.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

struct world {
    struct mem mem;
    _Atomic uint64_t now_ms;
    aic_clock clock;
    struct health *health;
    unsigned calls;
    unsigned failures; /* so often in a row a check fails */
};

static uint64_t wall(void *context)
{
    return atomic_load(&((struct world *)context)->now_ms);
}

static uint64_t mono(void *context)
{
    return wall(context) * 1000000;
}

static void world_open(struct world *w, unsigned retries, double backoff)
{
    memset(w, 0, sizeof *w);
    mem_init(&w->mem, NULL);
    atomic_store(&w->now_ms, 1700000000000);
    w->clock = (aic_clock){wall, mono, w};
    struct health_options options = {
        .mem = &w->mem, .clock = &w->clock, .context = w, .retries = retries, .backoff_seconds = backoff};
    assert_int_equal(health_create(&options, &w->health), AIC_OK);
}

static void world_close(struct world *w)
{
    health_destroy(&w->health);
    mem_fini(&w->mem);
}

/* Turns as often as there is something to do within these milliseconds, and turns the clock. Keeps the first pauses. */
static void run(struct world *w, uint64_t ms, double *pauses, unsigned most)
{
    uint64_t until = atomic_load(&w->now_ms) + ms;
    for (unsigned i = 0;; i++) {
        uint64_t next = health_turn(w->health);
        assert_true(next > 0);
        if (i < most) pauses[i] = (double)next / 1000;
        if (atomic_load(&w->now_ms) + next > until) return;
        atomic_fetch_add(&w->now_ms, next);
    }
}

static void read_part(struct world *w, const char *name, struct health_report *out)
{
    size_t part;
    assert_int_equal(health_find(w->health, aic_view_of(name), &part), AIC_OK);
    health_read(w->health, part, out);
}

static aic_status healthy(void *context, aic_status answer, struct health_result *result)
{
    (void)context;
    snprintf(result->details, sizeof result->details, "fine");
    return answer;
}

static aic_status degraded(void *context, aic_status answer, struct health_result *result)
{
    (void)context;
    result->status = HEALTH_DEGRADED;
    return answer;
}

static aic_status fails(void *context, aic_status answer, struct health_result *result)
{
    struct world *w = context;
    w->calls++;
    if (w->failures == 0) return answer;
    w->failures--;
    snprintf(result->details, sizeof result->details, "refused");
    return AIC_IO;
}

static enum health_status worst_of(struct world *w, unsigned expected_up, unsigned expected_counted)
{
    enum health_status worst = HEALTH_HEALTHY;
    unsigned up = 0, counted = 0;
    for (size_t i = 0; i < health_count(w->health); i++) {
        struct health_report report;
        health_read(w->health, i, &report);
        if (report.status == HEALTH_DISABLED) continue;
        counted++;
        up += report.status == HEALTH_HEALTHY;
        if (report.status > worst) worst = report.status;
    }
    assert_int_equal(up, expected_up);
    assert_int_equal(counted, expected_counted);
    return worst;
}

static void takes_the_worst_of_the_parts(void **state)
{
    (void)state;
    struct world w;
    struct health_report report;
    world_open(&w, UINT_MAX, 0);
    w.failures = UINT_MAX;
    assert_int_equal(worst_of(&w, 0, 0), HEALTH_HEALTHY);
    assert_int_equal(health_add(w.health, "a", NULL, healthy), AIC_OK);
    assert_int_equal(health_add(w.health, "off", NULL, NULL), AIC_OK);
    health_turn(w.health);
    assert_int_equal(worst_of(&w, 1, 1), HEALTH_HEALTHY);
    assert_int_equal(health_add(w.health, "b", NULL, degraded), AIC_OK);
    health_turn(w.health);
    assert_int_equal(worst_of(&w, 1, 2), HEALTH_DEGRADED);
    assert_int_equal(health_add(w.health, "c", NULL, fails), AIC_OK);
    health_turn(w.health);
    assert_int_equal(worst_of(&w, 1, 3), HEALTH_UNHEALTHY);
    read_part(&w, "off", &report);
    assert_int_equal(report.status, HEALTH_DISABLED);
    assert_string_equal(report.details, "not configured");
    world_close(&w);
}

static void ask_at_once(void *context, struct health_question *question)
{
    (void)context;
    health_answer(question, AIC_MISS);
}

static void refuses_bad_registrations(void **state)
{
    (void)state;
    struct world w;
    size_t part;
    world_open(&w, 0, 0);
    assert_int_equal(health_add(w.health, "", NULL, healthy), AIC_INVALID);
    assert_int_equal(health_add(w.health, NULL, NULL, healthy), AIC_INVALID);
    assert_int_equal(health_add(w.health, "a", ask_at_once, NULL), AIC_INVALID);
    assert_int_equal(health_add(w.health, "a name that is longer than 31 bytes", NULL, healthy), AIC_INVALID);
    assert_int_equal(health_find(w.health, AIC_LITERAL("unknown"), &part), AIC_NOT_FOUND);
    assert_int_equal(health_add(w.health, "a", NULL, degraded), AIC_OK);
    assert_int_equal(health_add(w.health, "a", NULL, healthy), AIC_OK);
    health_turn(w.health);
    assert_int_equal(worst_of(&w, 1, 1), HEALTH_HEALTHY);
    for (unsigned i = 1; i < HEALTH_PARTS; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%u", i);
        assert_int_equal(health_add(w.health, name, NULL, healthy), AIC_OK);
    }
    assert_int_equal(health_add(w.health, "one more", NULL, healthy), AIC_FULL);
    world_close(&w);
}

static void retries_with_growing_pauses(void **state)
{
    (void)state;
    static const double backoffs[] = {0.5, 0.1};
    for (unsigned k = 0; k < 2; k++) {
        struct world w;
        struct health_report report;
        double pauses[3];
        world_open(&w, 3, backoffs[k]);
        w.failures = UINT_MAX;
        assert_int_equal(health_add(w.health, "a", NULL, fails), AIC_OK);
        run(&w, (uint64_t)(backoffs[k] * 7000), pauses, 3);
        assert_int_equal(w.calls, 4);
        for (unsigned i = 0; i < 3; i++) assert_true(pauses[i] == backoffs[k] * (1 << i));
        read_part(&w, "a", &report);
        assert_int_equal(report.status, HEALTH_UNHEALTHY);
        assert_string_equal(report.details, "refused"); /* however long the pauses were: each try failed in time */
        assert_true(report.response_ms >= backoffs[k] * 7000); /* with its retries */
        world_close(&w);
    }
}

/* The first try takes more than a check may, those after it fail at once: a breaker opened. */
static aic_status waits_then_fails(void *context, aic_status answer, struct health_result *result)
{
    (void)answer;
    struct world *w = context;
    if (w->calls++ == 0) atomic_fetch_add(&w->now_ms, 2001);
    snprintf(result->details, sizeof result->details, "the disk does not answer");
    return AIC_IO;
}

static void tells_a_time_out_with_its_error(void **state)
{
    (void)state;
    struct world w;
    struct health_report report;
    world_open(&w, 2, .1);
    assert_int_equal(health_add(w.health, "a", NULL, waits_then_fails), AIC_OK);
    run(&w, 2301, NULL, 0);
    assert_int_equal(w.calls, 3);
    read_part(&w, "a", &report);
    assert_int_equal(report.status, HEALTH_DEGRADED);
    assert_string_equal(report.details, "timed out: took 2301 ms, allowed are 2000 ms; the disk does not answer");
    run(&w, 2300, NULL, 0); /* it fails in time now, which is an error */
    read_part(&w, "a", &report);
    assert_int_equal(w.calls, 6);
    assert_int_equal(report.status, HEALTH_UNHEALTHY);
    assert_string_equal(report.details, "the disk does not answer");
    world_close(&w);
}

static void recovers_after_one_failure_without_pause(void **state)
{
    (void)state;
    struct world w;
    struct health_report report;
    world_open(&w, 2, -1); /* a negative pause is none */
    w.failures = 1;
    assert_int_equal(health_add(w.health, "a", NULL, fails), AIC_OK);
    assert_int_equal(health_turn(w.health), 0);
    health_turn(w.health);
    assert_int_equal(w.calls, 2);
    read_part(&w, "a", &report);
    assert_int_equal(report.status, HEALTH_HEALTHY);
    assert_int_equal(report.checked_ms, 1700000000000);
    world_close(&w);
}

/* The question that a part was asked last, and does not answer by itself. */
static struct health_question *open_question;

static void ask_later(void *context, struct health_question *question)
{
    ((struct world *)context)->calls++;
    open_question = question;
}

static void tells_of_a_check_that_hangs_while_it_hangs(void **state)
{
    (void)state;
    struct world w;
    struct health_report report;
    world_open(&w, 1, .1);
    assert_int_equal(health_add(w.health, "slow", ask_later, healthy), AIC_OK);
    assert_int_equal(health_add(w.health, "quick", NULL, healthy), AIC_OK);
    run(&w, 1999, NULL, 0);
    read_part(&w, "quick", &report);
    assert_int_equal(report.status, HEALTH_HEALTHY);
    assert_string_equal(report.details, "fine");
    struct health_question *first = open_question;
    run(&w, 500, NULL, 0); /* the first try is given up, and a second begun */
    assert_int_equal(w.calls, 2);
    read_part(&w, "slow", &report);
    assert_int_equal(report.status, HEALTH_DEGRADED);
    assert_non_null(strstr(report.details, "timed out: no answer for "));
    assert_true(report.down_seconds >= 2.4);
    health_answer(first, AIC_OK); /* nobody waits for it any more */
    health_turn(w.health);
    read_part(&w, "slow", &report);
    assert_int_equal(report.status, HEALTH_DEGRADED);
    run(&w, 2000, NULL, 0); /* so was the second */
    read_part(&w, "slow", &report);
    assert_int_equal(report.status, HEALTH_DEGRADED);
    assert_non_null(strstr(report.details, "timed out: took "));
    health_answer(open_question, AIC_OK);
    run(&w, 2100, NULL, 0);
    assert_int_equal(w.calls, 3);
    struct health *health = w.health;
    health_answer(open_question, AIC_OK);
    health_turn(health);
    read_part(&w, "slow", &report);
    assert_int_equal(report.status, HEALTH_HEALTHY);
    world_close(&w);
}

static void *answer_late(void *question)
{
    health_answer(question, AIC_OK);
    return NULL;
}

/* Whoever comes second frees the question, whichever that is. */
static void goes_before_its_answer_comes(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        struct world w;
        pthread_t thread;
        world_open(&w, 0, 0);
        assert_int_equal(health_add(w.health, "slow", ask_later, healthy), AIC_OK);
        health_turn(w.health);
        assert_int_equal(pthread_create(&thread, NULL, answer_late, open_question), 0);
        health_destroy(&w.health);
        pthread_join(thread, NULL);
        assert_int_equal(mem_bytes(&w.mem, MEM_MONITOR), 0);
        mem_fini(&w.mem);
    }
}

static void keeps_the_last_results(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, UINT_MAX, 0);
    w.failures = 1;
    assert_int_equal(health_add(w.health, "a", ask_at_once, fails), AIC_OK);
    for (int i = 0; i < 70; i++) run(&w, 2000, NULL, 0);
    assert_true(w.calls >= 70);
    struct buf text;
    buf_init(&text, &w.mem, MEM_OTHER);
    struct json_writer writer;
    json_writer_init(&writer, &text);
    health_write_history(w.health, 0, &writer);
    struct json json;
    json_init(&json, &w.mem, MEM_OTHER);
    assert_int_equal(json_scan(&json, buf_view(&text), NULL), AIC_OK);
    assert_int_equal(json.tokens[json_member(&json, 0, "history")].members, 60);
    json_fini(&json);
    buf_fini(&text);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_worst_of_the_parts),    cmocka_unit_test(refuses_bad_registrations),
        cmocka_unit_test(retries_with_growing_pauses),     cmocka_unit_test(recovers_after_one_failure_without_pause),
        cmocka_unit_test(tells_a_time_out_with_its_error), cmocka_unit_test(tells_of_a_check_that_hangs_while_it_hangs),
        cmocka_unit_test(goes_before_its_answer_comes),    cmocka_unit_test(keeps_the_last_results),
    };
    return cmocka_run_group_tests_name("health", tests, NULL, NULL);
}
