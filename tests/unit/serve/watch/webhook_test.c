/* The webhook against a listener in this process: what is told arrives in order, what fails is counted, a dead end
 * delays nothing. */
#include "serve/watch/webhook.h"

#include "../../../support/test_mem.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* Answers each POST with `status`, on connections that it closes, until it is closed. */
struct listener {
    int fd;
    int status;
    char url[64];
    pthread_t thread;
    pthread_mutex_t mutex; /* bodies */
    char bodies[64][256];
    unsigned count;
};

static bool serve_one(struct listener *listener)
{
    char text[4096] = "", answer[128];
    int fd = accept(listener->fd, NULL, NULL);
    if (fd < 0) return false;
    size_t got = 0;
    const char *body = NULL;
    for (ssize_t more; (more = recv(fd, text + got, sizeof text - 1 - got, 0)) > 0;) {
        got += (size_t)more;
        text[got] = '\0';
        body = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "content-length: ");
        if (body != NULL && length != NULL && got >= (size_t)(body + 4 - text) + strtoul(length + 16, NULL, 10)) break;
    }
    if (body != NULL) {
        pthread_mutex_lock(&listener->mutex);
        snprintf(listener->bodies[listener->count++ % 64], 256, "%.255s", body + 4);
        pthread_mutex_unlock(&listener->mutex);
        int size = snprintf(answer, sizeof answer, "HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                            listener->status);
        (void)!send(fd, answer, (size_t)size, MSG_NOSIGNAL);
    }
    close(fd);
    return true;
}

static void *serve(void *context)
{
    while (serve_one(context)) continue;
    return NULL;
}

/* status 0: takes connections into its backlog and never looks at them. */
static void listener_open(struct listener *listener, int status)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(listener, 0, sizeof *listener);
    pthread_mutex_init(&listener->mutex, NULL);
    listener->status = status;
    listener->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener->fd, 16), 0);
    assert_int_equal(getsockname(listener->fd, (struct sockaddr *)&address, &size), 0);
    snprintf(listener->url, sizeof listener->url, "http://127.0.0.1:%u/hook", ntohs(address.sin_port));
    if (status != 0) assert_int_equal(pthread_create(&listener->thread, NULL, serve, listener), 0);
}

static void listener_close(struct listener *listener)
{
    shutdown(listener->fd, SHUT_RDWR);
    if (listener->status != 0) pthread_join(listener->thread, NULL);
    close(listener->fd);
    pthread_mutex_destroy(&listener->mutex);
}

static struct webhook_stats wait_for(struct webhook *webhook, uint64_t ended)
{
    struct webhook_stats stats;
    for (int i = 0; i < 30000; i++) {
        webhook_stats(webhook, &stats);
        if (stats.sent + stats.failed >= ended) return stats;
        usleep(1000);
    }
    fail_msg("%llu of %llu messages ended", (unsigned long long)(stats.sent + stats.failed), (unsigned long long)ended);
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
    struct webhook *webhook;
};

static void world_open(struct world *w, int status)
{
    test_mem_init(&w->test, TEST_MEM_NEVER);
    listener_open(&w->listener, status);
    assert_int_equal(webhook_create(&w->test.mem, w->listener.url, NULL, &w->webhook, NULL), AIC_OK);
}

static void world_close(struct world *w)
{
    webhook_destroy(&w->webhook);
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
    world_open(&w, 204);
    for (int i = 0; i < 10; i++) webhook_send(w.webhook, message(text, i));
    struct webhook_stats stats = wait_for(w.webhook, 10);
    assert_int_equal(stats.sent, 10);
    assert_int_equal(stats.failed + stats.dropped + stats.waiting, 0);
    for (int i = 0; i < 10; i++) assert_string_equal(w.listener.bodies[i], message(text, i).data);
    webhook_destroy(&w.webhook); /* and once more below: NULL is fine */
    world_close(&w);
}

static void counts_refusals_and_follows_no_redirect(void **state)
{
    (void)state;
    static const int statuses[] = {500, 404, 302};
    for (unsigned i = 0; i < 3; i++) {
        struct world w;
        world_open(&w, statuses[i]);
        webhook_send(w.webhook, AIC_LITERAL("{}"));
        struct webhook_stats stats = wait_for(w.webhook, 1);
        assert_int_equal(stats.failed, 1);
        assert_int_equal(stats.sent, 0);
        assert_int_equal(w.listener.count, 1);
        world_close(&w);
    }
}

static void counts_who_is_not_there(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0);
    close(w.listener.fd); /* nobody listens there any more */
    w.listener.fd = -1;
    webhook_send(w.webhook, AIC_LITERAL("{}"));
    assert_int_equal(wait_for(w.webhook, 1).failed, 1);
    world_close(&w);
}

static void a_dead_end_delays_nothing(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0);
    double began = now();
    for (int i = 0; i < 1000; i++) webhook_send(w.webhook, AIC_LITERAL("{\"a\":1}"));
    struct webhook_stats stats;
    webhook_stats(w.webhook, &stats);
    /* One may be under way; the queue holds 32, and the oldest made room. */
    assert_int_equal(stats.sent + stats.failed, 0);
    assert_true(stats.waiting <= 32);
    assert_true(stats.dropped + stats.waiting >= 999);
    webhook_destroy(&w.webhook);
    assert_true(now() - began < 8); /* far below the ten seconds that one message has */
    world_close(&w);
}

static void takes_web_addresses_only(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "hook", "ftp://a/", "file:///etc/passwd", "HTTP//a"};
    struct test_mem test;
    struct webhook *webhook = NULL;
    test_mem_init(&test, TEST_MEM_NEVER);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        aic_error error = {0};
        assert_int_equal(webhook_create(&test.mem, wrong[i], NULL, &webhook, &error), AIC_INVALID);
        assert_string_equal(error.field, "alerts.webhook");
        assert_null(webhook);
    }
    test_mem_fini(&test);
}

/* A proxy of the environment is for other machines. This one takes connections and answers none. */
static void asks_this_machine_without_a_proxy(void **state)
{
    (void)state;
    struct listener proxy;
    listener_open(&proxy, 0);
    setenv("http_proxy", proxy.url, 1);
    setenv("all_proxy", proxy.url, 1);
    struct world w;
    world_open(&w, 204);
    webhook_send(w.webhook, AIC_LITERAL("{}"));
    assert_int_equal(wait_for(w.webhook, 1).sent, 1);
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    world_close(&w);
    listener_close(&proxy);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    struct world w = {.webhook = NULL};
    listener_open(&w.listener, 204);
    aic_status status = AIC_NO_MEMORY;
    for (int64_t n = 0; status != AIC_OK; n++) {
        assert_true(n < 20);
        test_mem_init(&w.test, n);
        status = webhook_create(&w.test.mem, w.listener.url, NULL, &w.webhook, NULL);
        if (status == AIC_OK) break;
        assert_int_equal(status, AIC_NO_MEMORY);
        assert_null(w.webhook);
        test_mem_fini(&w.test);
    }
    atomic_store(&w.test.until_refusal, 0);
    webhook_send(w.webhook, AIC_LITERAL("{\"lost\":true}"));
    atomic_store(&w.test.until_refusal, TEST_MEM_NEVER);
    webhook_send(w.webhook, AIC_LITERAL("{}"));
    struct webhook_stats stats = wait_for(w.webhook, 1);
    assert_int_equal(stats.sent, 1);
    assert_int_equal(stats.dropped, 1);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tells_in_order),
        cmocka_unit_test(counts_refusals_and_follows_no_redirect),
        cmocka_unit_test(counts_who_is_not_there),
        cmocka_unit_test(a_dead_end_delays_nothing),
        cmocka_unit_test(takes_web_addresses_only),
        cmocka_unit_test(asks_this_machine_without_a_proxy),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("webhook", tests, NULL, NULL);
}
