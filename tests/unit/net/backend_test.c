/* A backend against a scripted server in this process: every call comes to one end, whatever the other side does. */
#include "net/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../support/listener.h"
#include "../../support/test_mem.h"

#define PATIENT_MS 120000 /* deadlines that are not what a test is about: any machine keeps them */

struct world {
    struct test_mem test;
    struct listener listener;
    struct loop loop;
    struct backend *backend;
};

/* What backend_create() says, with the allocation `refused` failing (TEST_MEM_NEVER: none). */
static aic_status world_try(struct world *w, int64_t refused, const char *const *script, struct backend_options options)
{
    test_mem_init(&w->test, refused);
    listener_open(&w->listener, script);
    assert_int_equal(loop_init(&w->loop), AIC_OK);
    assert_int_equal(loop_start(&w->loop), AIC_OK);
    options.mem = &w->test.mem;
    options.loop = &w->loop;
    options.name = "test";
    options.url = w->listener.url;
    options.answer_bytes = 64;
    return backend_create(&options, &w->backend, NULL);
}

static void world_open(struct world *w, const char *const *script, unsigned slots)
{
    assert_int_equal(world_try(w, TEST_MEM_NEVER, script, (struct backend_options){.slots = slots}), AIC_OK);
}

static void world_close(struct world *w)
{
    backend_destroy(&w->backend);
    loop_stop(&w->loop);
    loop_fini(&w->loop);
    listener_close(&w->listener);
    test_mem_fini(&w->test);
}

/* A call, and what came of it. */
struct asked {
    struct backend_call call;
    char answer[128];
    unsigned done;
    uv_sem_t ended;
};

static void on_done(struct backend_call *call)
{
    struct asked *asked = (struct asked *)call;
    asked->done++;
    snprintf(asked->answer, sizeof asked->answer, "%.*s", (int)call->answer.size,
             call->answer.size > 0 ? call->answer.data : "");
    uv_sem_post(&asked->ended);
}

static void begin(struct world *w, struct asked *asked, uint64_t deadline_ms, bool repeatable)
{
    *asked = (struct asked){.call = {.verb = "POST",
                                     .path = "/x",
                                     .body = AIC_LITERAL("{}"),
                                     .deadline_ms = deadline_ms,
                                     .repeatable = repeatable,
                                     .done = on_done}};
    assert_int_equal(uv_sem_init(&asked->ended, 0), 0);
    backend_call(w->backend, &asked->call);
}

static void end(struct asked *asked)
{
    uv_sem_wait(&asked->ended);
    uv_sem_destroy(&asked->ended);
    assert_int_equal(asked->done, 1);
}

/* With a deadline that is not what the test is about. */
static void ask(struct world *w, struct asked *asked, bool repeatable)
{
    begin(w, asked, PATIENT_MS, repeatable);
    end(asked);
}

static struct backend_figures figures_of(const struct world *w)
{
    struct backend_figures figures;
    backend_figures(w->backend, &figures);
    return figures;
}

static void an_answer_comes_back(void **state)
{
    (void)state;
    static const char *const script[] = {LISTENER_ANSWER("200", "Content-Length: 5\r\n", "hello"),
                                         LISTENER_ANSWER("404", "Content-Length: 2\r\n", "no"), NULL};
    struct world w;
    struct asked asked;
    world_open(&w, script, 1);
    ask(&w, &asked, true);
    assert_int_equal(asked.call.status, AIC_OK);
    assert_int_equal(asked.call.code, 200);
    assert_string_equal(asked.answer, "hello");
    assert_non_null(strstr(w.listener.heads[0], "POST /hook/x HTTP/1.1"));
    assert_non_null(strstr(w.listener.heads[0], "Content-Type: application/json"));
    assert_string_equal(w.listener.bodies[0], "{}");
    ask(&w, &asked, true); /* what it does not like is an answer, too, and asked once */
    assert_int_equal(asked.call.code, 404);
    assert_int_equal(figures_of(&w).answered, 2);
    assert_int_equal(figures_of(&w).waiting, 0);
    assert_true(figures_of(&w).up);
    world_close(&w);
}

/* What is passing is tried again, if asking twice does no harm. */
static void passing_faults_are_tried_again(void **state)
{
    (void)state;
    static const char *const script[] = {LISTENER_ANSWER("503", "Content-Length: 0\r\n", ""), LISTENER_CLOSE,
                                         LISTENER_ANSWER("200", "Content-Length: 0\r\n", ""), NULL};
    struct world w;
    struct asked asked;
    world_open(&w, script, 1);
    ask(&w, &asked, true);
    assert_int_equal(asked.call.status, AIC_OK);
    assert_int_equal(asked.call.code, 200);
    assert_int_equal(listener_count(&w.listener), 3);
    assert_int_equal(figures_of(&w).retried, 2);
    world_close(&w);
    world_open(&w, script, 1);
    ask(&w, &asked, false);
    assert_int_equal(asked.call.code, 503);
    ask(&w, &asked, false);
    assert_int_equal(asked.call.status, AIC_UNAVAILABLE);
    assert_int_equal(listener_count(&w.listener), 2);
    world_close(&w);
}

/* A pause that would end after the deadline is not begun: what was answered is the answer. */
static void retry_after_beyond_the_deadline_ends_the_call(void **state)
{
    (void)state;
    static const char *const script[] = {LISTENER_ANSWER("429", "Retry-After: 3600\r\nContent-Length: 0\r\n", ""),
                                         NULL};
    struct world w;
    struct asked asked;
    world_open(&w, script, 1);
    ask(&w, &asked, true);
    assert_int_equal(asked.call.code, 429);
    assert_int_equal(listener_count(&w.listener), 1);
    world_close(&w);
}

/* Who hangs holds nobody up for longer than the deadline, whether a call has a slot or waits for one. */
static void a_deadline_ends_every_call(void **state)
{
    (void)state;
    static const char *const script[] = {LISTENER_HANG, NULL};
    struct world w;
    struct asked asked[3];
    world_open(&w, script, 1);
    for (int i = 0; i < 3; i++) begin(&w, &asked[i], i == 0 ? 600 : 300, true);
    for (int i = 2; i >= 0; i--) {
        end(&asked[i]);
        assert_int_equal(asked[i].call.status, AIC_TIMEOUT);
        assert_non_null(strstr(asked[i].call.why, "http://127.0.0.1:"));
        assert_null(strstr(asked[i].call.why, "hook"));
    }
    assert_int_equal(figures_of(&w).failed, 3);
    world_close(&w);
}

/* After five failures in a row nobody is asked any more; a call with time waits for the pause to end. */
static void the_breaker_opens_and_closes(void **state)
{
    (void)state;
    static const char *const script[] = {LISTENER_CLOSE,
                                         LISTENER_CLOSE,
                                         LISTENER_CLOSE,
                                         LISTENER_CLOSE,
                                         LISTENER_CLOSE,
                                         LISTENER_ANSWER("200", "Content-Length: 0\r\n", ""),
                                         NULL};
    struct world w;
    struct asked asked;
    world_open(&w, script, 2);
    for (int i = 0; i < 5; i++) {
        ask(&w, &asked, false);
        assert_int_equal(asked.call.status, AIC_UNAVAILABLE);
    }
    assert_false(figures_of(&w).up);
    assert_int_equal(figures_of(&w).opened, 1);
    begin(&w, &asked, 1, false);
    end(&asked);
    assert_true(asked.call.status == AIC_UNAVAILABLE || asked.call.status == AIC_TIMEOUT);
    assert_int_equal(listener_count(&w.listener), 5);
    ask(&w, &asked, false);
    assert_int_equal(asked.call.status, AIC_OK);
    assert_true(figures_of(&w).up);
    world_close(&w);
}

static void too_large_an_answer_is_refused(void **state)
{
    (void)state;
    static const char *const script[] = {
        LISTENER_ANSWER("200", "Content-Length: 70\r\n",
                        "0123456789012345678901234567890123456789012345678901234567890123456789"),
        NULL};
    struct world w;
    struct asked asked;
    world_open(&w, script, 1);
    ask(&w, &asked, true);
    assert_int_equal(asked.call.status, AIC_FULL);
    assert_int_equal(listener_count(&w.listener), 1);
    world_close(&w);
}

/* Many at once, from several threads, more than there are slots. */
static void *ask_many(void *context)
{
    struct world *w = context;
    for (int i = 0; i < 10; i++) {
        struct asked asked;
        ask(w, &asked, true);
        assert_int_equal(asked.call.code, 200);
    }
    return NULL;
}

static void threads_ask_at_once(void **state)
{
    (void)state;
    static const char *const script[] = {LISTENER_ANSWER("200", "Content-Length: 0\r\n", ""), NULL};
    struct world w;
    pthread_t threads[4];
    world_open(&w, script, 2);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask_many, &w), 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    assert_int_equal(listener_count(&w.listener), 40);
    assert_int_equal(figures_of(&w).answered, 40);
    world_close(&w);
}

/* Destroyed amid calls: under way, in a pause, waiting for a slot. */
static void destroying_ends_every_call(void **state)
{
    (void)state;
    static const char *const script[] = {LISTENER_HANG, NULL};
    struct world w;
    struct asked asked[6];
    world_open(&w, script, 2);
    for (int i = 0; i < 6; i++) begin(&w, &asked[i], PATIENT_MS, true);
    while (listener_count(&w.listener) < 2) usleep(1000); /* both slots are in use */
    backend_destroy(&w.backend);
    for (int i = 0; i < 6; i++) {
        end(&asked[i]);
        assert_int_equal(asked[i].call.status, AIC_CLOSED);
    }
    world_close(&w);
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    static const char *const script[] = {LISTENER_ANSWER("200", "Content-Length: 2\r\n", "ok"), NULL};
    struct world w = {.backend = NULL};
    struct asked asked;
    bool refused = true;
    for (int64_t n = 0; refused; n++) {
        assert_true(n < 40);
        aic_status status = world_try(&w, n, script, (struct backend_options){.tries = 1});
        if (status == AIC_OK) {
            ask(&w, &asked, true);
            refused = test_mem_refused(&w.test);
            assert_true(refused ? asked.call.status != AIC_OK : asked.call.status == AIC_OK);
        } else {
            assert_int_equal(status, AIC_NO_MEMORY);
        }
        world_close(&w);
    }
}

static void only_web_addresses(void **state)
{
    (void)state;
    static const char *const wrong[] = {"", "host", "ftp://a/", "file:///etc/passwd", "HTTP//a"};
    static const char *const none[] = {NULL};
    struct world w;
    world_open(&w, none, 1);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct backend *backend = NULL;
        aic_error error = {0};
        struct backend_options options = {.mem = &w.test.mem, .loop = &w.loop, .name = "some.url", .url = wrong[i]};
        assert_int_equal(backend_create(&options, &backend, &error), AIC_INVALID);
        assert_string_equal(error.field, "some.url");
        assert_null(backend);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_back),
        cmocka_unit_test(passing_faults_are_tried_again),
        cmocka_unit_test(retry_after_beyond_the_deadline_ends_the_call),
        cmocka_unit_test(a_deadline_ends_every_call),
        cmocka_unit_test(the_breaker_opens_and_closes),
        cmocka_unit_test(too_large_an_answer_is_refused),
        cmocka_unit_test(threads_ask_at_once),
        cmocka_unit_test(destroying_ends_every_call),
        cmocka_unit_test(survives_every_failed_allocation),
        cmocka_unit_test(only_web_addresses),
    };
    return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
