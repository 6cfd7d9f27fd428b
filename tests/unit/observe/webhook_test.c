/* The webhook against a listener in this process: what is told arrives in order, what fails is counted, a dead end
 * delays nothing. */
#include "observe/webhook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <cmocka.h>

#include "../../support/listener.h"
#include "../../support/test_mem.h"

static const char *const fine[] = {LISTENER_ANSWER("204", "", ""), NULL}, *const nobody[] = {NULL};

static struct figures wait_for(struct webhook *webhook, uint64_t ended)
{
    struct figures stats = {0};
    for (int i = 0; i < 120000; i++) {
        stats = (struct figures){0};
        webhook_figures(webhook, &stats);
        if (stats.notices_sent + stats.notices_failed >= ended) return stats;
        usleep(1000);
    }
    fail_msg("%llu of %llu messages ended", (unsigned long long)(stats.notices_sent + stats.notices_failed),
             (unsigned long long)ended);
    return stats;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* A webhook and whom it tells. */
struct world {
    struct test_mem test;
    struct listener listener;
    struct loop loop;
    struct webhook *webhook;
};

static void loop_open(struct world *w)
{
    assert_int_equal(loop_init(&w->loop), AIC_OK);
    assert_int_equal(loop_start(&w->loop), AIC_OK);
}

static void world_open(struct world *w, const char *const *script)
{
    test_mem_init(&w->test, TEST_MEM_NEVER);
    listener_open(&w->listener, script);
    loop_open(w);
    assert_int_equal(webhook_create(&w->test.mem, w->listener.url, &w->loop, NULL, &w->webhook, NULL), AIC_OK);
}

static void world_close(struct world *w)
{
    webhook_destroy(&w->webhook);
    loop_stop(&w->loop);
    loop_fini(&w->loop);
    listener_close(&w->listener);
    test_mem_fini(&w->test);
}

/* The n-th of a row of messages. */
static aic_view message(char room[32], int n)
{
    snprintf(room, 32, "{\"number\":%d}", n);
    return aic_view_of(room);
}

static void tells_in_order(void **state)
{
    (void)state;
    struct world w;
    char text[32];
    world_open(&w, fine);
    for (int i = 0; i < 10; i++) webhook_send(w.webhook, message(text, i));
    struct figures stats = wait_for(w.webhook, 10);
    assert_int_equal(stats.notices_sent, 10);
    assert_int_equal(stats.notices_failed + stats.notices_dropped + stats.notices_waiting, 0);
    for (int i = 0; i < 10; i++) assert_string_equal(w.listener.bodies[i], message(text, i).data);
    webhook_destroy(&w.webhook); /* and once more below: NULL is fine */
    world_close(&w);
}

static void counts_refusals_and_follows_no_redirect(void **state)
{
    (void)state;
    static const char *const statuses[][2] = {
        {LISTENER_ANSWER("500", "Content-Length: 0\r\n", ""), NULL},
        {LISTENER_ANSWER("404", "Content-Length: 0\r\n", ""), NULL},
        {LISTENER_ANSWER("302", "Location: /other\r\nContent-Length: 0\r\n", ""), NULL}};
    for (unsigned i = 0; i < 3; i++) {
        struct world w;
        world_open(&w, statuses[i]);
        webhook_send(w.webhook, AIC_LITERAL("{}"));
        struct figures stats = wait_for(w.webhook, 1);
        assert_int_equal(stats.notices_failed, 1);
        assert_int_equal(stats.notices_sent, 0);
        assert_int_equal(listener_count(&w.listener), 1);
        world_close(&w);
    }
}

/* A notice outlives a restart of whom it is for: it is tried again, and those behind it keep their order. */
static void a_passing_fault_loses_nothing(void **state)
{
    (void)state;
    static const char *const script[] = {LISTENER_ANSWER("503", "Content-Length: 0\r\n", ""), LISTENER_CLOSE,
                                         LISTENER_ANSWER("204", "", ""), NULL};
    struct world w;
    char text[32];
    world_open(&w, script);
    for (int i = 0; i < 3; i++) webhook_send(w.webhook, message(text, i));
    assert_int_equal(wait_for(w.webhook, 3).notices_sent, 3);
    for (int i = 0; i < 3; i++) assert_string_equal(w.listener.bodies[i + 2], message(text, i).data);
    world_close(&w);
}

static void counts_who_is_not_there(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, nobody);
    close(w.listener.fd); /* nobody listens there any more */
    w.listener.fd = -1;
    webhook_send(w.webhook, AIC_LITERAL("{}"));
    assert_int_equal(wait_for(w.webhook, 1).notices_failed, 1);
    world_close(&w);
}

static void a_dead_end_delays_nothing(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, nobody);
    double began = now();
    for (int i = 0; i < 1000; i++) webhook_send(w.webhook, AIC_LITERAL("{\"a\":1}"));
    struct figures stats = {0};
    webhook_figures(w.webhook, &stats);
    /* One may be under way; the queue holds 32, and the oldest made room. */
    assert_int_equal(stats.notices_sent + stats.notices_failed, 0);
    assert_true(stats.notices_waiting <= 32);
    assert_true(stats.notices_dropped + stats.notices_waiting >= 999);
    webhook_destroy(&w.webhook);
    assert_true(now() - began < 8); /* far below the ten seconds that one message has */
    world_close(&w);
}

/* A proxy of the environment is for other machines. This one takes connections and answers none. */
static void asks_this_machine_without_a_proxy(void **state)
{
    (void)state;
    struct listener proxy;
    listener_open(&proxy, nobody);
    setenv("http_proxy", proxy.url, 1);
    setenv("all_proxy", proxy.url, 1);
    struct world w;
    world_open(&w, fine);
    webhook_send(w.webhook, AIC_LITERAL("{}"));
    assert_int_equal(wait_for(w.webhook, 1).notices_sent, 1);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    world_close(&w);
    listener_close(&proxy);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    struct world w = {.webhook = NULL};
    listener_open(&w.listener, fine);
    loop_open(&w);
    aic_status status = AIC_NO_MEMORY;
    for (int64_t n = 0; status != AIC_OK; n++) {
        assert_true(n < 40);
        test_mem_init(&w.test, n);
        status = webhook_create(&w.test.mem, w.listener.url, &w.loop, NULL, &w.webhook, NULL);
        if (status == AIC_OK) break;
        assert_int_equal(status, AIC_NO_MEMORY);
        assert_null(w.webhook);
        test_mem_fini(&w.test);
    }
    atomic_store(&w.test.until_refusal, 0);
    webhook_send(w.webhook, AIC_LITERAL("{\"lost\":true}"));
    atomic_store(&w.test.until_refusal, TEST_MEM_NEVER);
    webhook_send(w.webhook, AIC_LITERAL("{}"));
    struct figures stats = wait_for(w.webhook, 1);
    assert_int_equal(stats.notices_sent, 1);
    assert_int_equal(stats.notices_dropped, 1);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_in_order),
        cmocka_unit_test(counts_refusals_and_follows_no_redirect),
        cmocka_unit_test(a_passing_fault_loses_nothing),
        cmocka_unit_test(counts_who_is_not_there),
        cmocka_unit_test(a_dead_end_delays_nothing),
        cmocka_unit_test(asks_this_machine_without_a_proxy),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("webhook", tests, NULL, NULL);
}
