/* Health: the worst part decides, retries back off, and a check that hangs holds up nobody. */
#include "fixture.h"

#include "observe/probes.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct world {
    struct mem mem;
    _Atomic uint64_t now_ms;
    aic_clock clock;
    struct probes *probes;
    double pauses[8];
    unsigned pause_count;
};

static uint64_t wall(void *context)
{
    return atomic_load(&((struct world *)context)->now_ms);
}

static uint64_t mono(void *context)
{
    return wall(context) * 1000000;
}

static void keep_pause(void *context, double seconds)
{
    struct world *w = context;
    w->pauses[w->pause_count++] = seconds;
    atomic_fetch_add(&w->now_ms, (uint64_t)(seconds * 1000));
}

static void world_open(struct world *w, unsigned retries, double backoff)
{
    memset(w, 0, sizeof *w);
    mem_init(&w->mem, NULL);
    atomic_store(&w->now_ms, 1700000000000);
    w->clock = (aic_clock){wall, mono, w};
    struct probe_options options = {.mem = &w->mem,
                                    .clock = &w->clock,
                                    .retries = retries,
                                    .backoff_seconds = backoff,
                                    .pause = keep_pause,
                                    .pause_context = w};
    assert_int_equal(probes_create(&options, &w->probes), AIC_OK);
}

static void world_close(struct world *w)
{
    probes_destroy(&w->probes);
    mem_fini(&w->mem);
}

static aic_status healthy(void *context, struct probe_result *result)
{
    (void)context;
    snprintf(result->details, sizeof result->details, "fine");
    return AIC_OK;
}

static aic_status degraded(void *context, struct probe_result *result)
{
    (void)context;
    result->status = PROBE_DEGRADED;
    return AIC_OK;
}

/* Fails as often as the counter says. */
static aic_status fails(void *context, struct probe_result *result)
{
    unsigned *left = context;
    if ((*left)-- == 0) {
        *left = 0;
        return AIC_OK;
    }
    snprintf(result->details, sizeof result->details, "refused");
    return AIC_IO;
}

struct tally {
    enum probe_status worst;
    unsigned up, counted;
};

static void count_part(void *context, const char *name, const struct probe_report *report)
{
    (void)name;
    struct tally *tally = context;
    if (report->status == PROBE_DISABLED) return;
    tally->counted++;
    tally->up += report->status == PROBE_HEALTHY;
    if (report->status > tally->worst) tally->worst = report->status;
}

static enum probe_status overall(struct world *w, unsigned expected_up, unsigned expected_counted)
{
    struct tally tally = {.worst = PROBE_HEALTHY};
    probes_each(w->probes, count_part, &tally);
    assert_int_equal(tally.up, expected_up);
    assert_int_equal(tally.counted, expected_counted);
    return tally.worst;
}

static void takes_the_worst_of_the_parts(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0, 0);
    unsigned never = UINT_MAX;
    assert_int_equal(overall(&w, 0, 0), PROBE_HEALTHY);
    assert_int_equal(probes_register(w.probes, "a", healthy, NULL), AIC_OK);
    assert_int_equal(probes_register_disabled(w.probes, "off"), AIC_OK);
    assert_int_equal(probes_run(w.probes, "a"), AIC_OK);
    assert_int_equal(overall(&w, 1, 1), PROBE_HEALTHY);
    assert_int_equal(probes_register(w.probes, "b", degraded, NULL), AIC_OK);
    assert_int_equal(probes_run(w.probes, "b"), AIC_OK);
    assert_int_equal(overall(&w, 1, 2), PROBE_DEGRADED);
    assert_int_equal(probes_register(w.probes, "c", fails, &never), AIC_OK);
    assert_int_equal(probes_run(w.probes, "c"), AIC_OK);
    assert_int_equal(overall(&w, 1, 3), PROBE_UNHEALTHY);
    struct probe_report report;
    assert_int_equal(probes_get(w.probes, "off", &report), AIC_OK);
    assert_int_equal(report.status, PROBE_DISABLED);
    world_close(&w);
}

static void refuses_bad_registrations(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0, 0);
    struct probe_report report;
    assert_int_equal(probes_register(w.probes, "", healthy, NULL), AIC_INVALID);
    assert_int_equal(probes_register(w.probes, NULL, healthy, NULL), AIC_INVALID);
    assert_int_equal(probes_register(w.probes, "a", NULL, NULL), AIC_INVALID);
    assert_int_equal(probes_run(w.probes, "unknown"), AIC_NOT_FOUND);
    assert_int_equal(probes_get(w.probes, "unknown", &report), AIC_NOT_FOUND);
    assert_int_equal(probes_register(w.probes, "a", degraded, NULL), AIC_OK);
    assert_int_equal(probes_register(w.probes, "a", healthy, NULL), AIC_OK);
    assert_int_equal(probes_run(w.probes, "a"), AIC_OK);
    assert_int_equal(overall(&w, 1, 1), PROBE_HEALTHY);
    world_close(&w);
}

static void retries_with_growing_pauses(void **state)
{
    (void)state;
    static const double backoffs[] = {0.5, 0.1};
    for (unsigned k = 0; k < 2; k++) {
        struct world w;
        world_open(&w, 3, backoffs[k]);
        unsigned failures = 100;
        struct probe_report report;
        assert_int_equal(probes_register(w.probes, "a", fails, &failures), AIC_OK);
        assert_int_equal(probes_run(w.probes, "a"), AIC_OK);
        assert_int_equal(failures, 96);
        assert_int_equal(w.pause_count, 3);
        for (unsigned i = 0; i < 3; i++) assert_true(w.pauses[i] == backoffs[k] * (1 << i));
        assert_int_equal(probes_get(w.probes, "a", &report), AIC_OK);
        assert_int_equal(report.status, PROBE_UNHEALTHY);
        assert_string_equal(report.details, "refused"); /* however long the pauses were: each try failed in time */
        assert_true(report.response_ms >= backoffs[k] * 7000 - 3); /* with its retries */
        world_close(&w);
    }
}

/* The first try takes more than a check may, those after it fail at once: a breaker opened. */
static aic_status waits_then_fails(void *context, struct probe_result *result)
{
    struct world *w = context;
    if (w->pause_count == 0) atomic_fetch_add(&w->now_ms, 2001);
    snprintf(result->details, sizeof result->details, "the disk does not answer");
    return AIC_IO;
}

static void tells_a_time_out_with_its_error(void **state)
{
    (void)state;
    struct world w;
    struct probe_report report;
    world_open(&w, 2, .1);
    assert_int_equal(probes_register(w.probes, "a", waits_then_fails, &w), AIC_OK);
    assert_int_equal(probes_run(w.probes, "a"), AIC_OK);
    assert_int_equal(w.pause_count, 2);
    assert_int_equal(probes_get(w.probes, "a", &report), AIC_OK);
    assert_int_equal(report.status, PROBE_DEGRADED);
    assert_string_equal(report.details, "timed out: took 2301 ms, allowed are 2000 ms; the disk does not answer");
    assert_int_equal(probes_run(w.probes, "a"), AIC_OK); /* it fails in time now, which is an error */
    assert_int_equal(probes_get(w.probes, "a", &report), AIC_OK);
    assert_int_equal(report.status, PROBE_UNHEALTHY);
    assert_string_equal(report.details, "the disk does not answer");
    world_close(&w);
}

static void recovers_after_one_failure_without_pause(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 2, -1); /* a negative pause is none */
    unsigned failures = 1;
    struct probe_report report;
    assert_int_equal(probes_register(w.probes, "a", fails, &failures), AIC_OK);
    assert_int_equal(probes_run(w.probes, "a"), AIC_OK);
    assert_int_equal(w.pause_count, 1);
    assert_true(w.pauses[0] == 0);
    assert_int_equal(probes_get(w.probes, "a", &report), AIC_OK);
    assert_int_equal(report.status, PROBE_HEALTHY);
    assert_int_equal(report.checked_ms, 1700000000000);
    world_close(&w);
}

struct hang {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool inside, let_go;
};

static aic_status hangs(void *context, struct probe_result *result)
{
    (void)result;
    struct hang *hang = context;
    pthread_mutex_lock(&hang->mutex);
    hang->inside = true;
    pthread_cond_broadcast(&hang->changed);
    while (!hang->let_go) pthread_cond_wait(&hang->changed, &hang->mutex);
    pthread_mutex_unlock(&hang->mutex);
    return AIC_OK;
}

static void tells_of_a_check_that_hangs_while_it_hangs(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0, 0);
    struct hang hang = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    assert_int_equal(probes_register(w.probes, "slow", hangs, &hang), AIC_OK);
    assert_int_equal(probes_register(w.probes, "quick", healthy, NULL), AIC_OK);
    assert_int_equal(probes_start(w.probes), AIC_OK);
    pthread_mutex_lock(&hang.mutex);
    while (!hang.inside) pthread_cond_wait(&hang.changed, &hang.mutex);
    pthread_mutex_unlock(&hang.mutex);
    struct probe_report report = {0};
    for (int i = 0; i < 60000 && report.checked_ms == 0; i++) {
        assert_int_equal(probes_get(w.probes, "quick", &report), AIC_OK);
        usleep(1000);
    }
    assert_int_equal(report.status, PROBE_HEALTHY);
    assert_string_equal(report.details, "fine");
    atomic_fetch_add(&w.now_ms, 2500);
    assert_int_equal(probes_get(w.probes, "slow", &report), AIC_OK);
    assert_int_equal(report.status, PROBE_DEGRADED);
    assert_non_null(strstr(report.details, "timed out"));
    assert_true(report.down_seconds >= 2.5);
    pthread_mutex_lock(&hang.mutex);
    hang.let_go = true;
    pthread_cond_broadcast(&hang.changed);
    pthread_mutex_unlock(&hang.mutex);
    world_close(&w);
}

static void keeps_the_last_results(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, UINT_MAX, 0);
    unsigned failures = 1;
    assert_int_equal(probes_register(w.probes, "a", fails, &failures), AIC_OK);
    for (int i = 0; i < 70; i++) assert_int_equal(probes_run(w.probes, "a"), AIC_OK);
    struct buf text;
    buf_init(&text, &w.mem, MEM_OTHER);
    struct json_writer writer;
    json_writer_init(&writer, &text);
    assert_int_equal(probes_write_history(w.probes, "b", &writer), AIC_NOT_FOUND);
    assert_int_equal(probes_write_history(w.probes, "a", &writer), AIC_OK);
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
        cmocka_unit_test(keeps_the_last_results),
    };
    return cmocka_run_group_tests_name("monitor probes", tests, NULL, NULL);
}
