/* connection_test.c - connections without threads: failed allocations, what is kept, what is given back, counters. */
#include "../../../support/http_drive.h"
#include "../../../support/test_in.h"
#include "../../../support/test_mem.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct http_exchange *kept;
static int released, told_gone, failed_bodies;
static int finished, finished_status;
static char large[3000000];

static void on_hello(struct http_exchange *exchange)
{
    http_reply_bytes(exchange, 200, "text/plain", AIC_LITERAL("hello"));
}

static uint64_t echo_received_ns;

static void on_echo(struct http_exchange *exchange)
{
    echo_received_ns = http_received_ns(exchange);
    http_reply_headerf(exchange, "X-Size", "%zu", http_body(exchange).size);
    http_reply_bytes(exchange, 200, "text/plain", http_body(exchange));
}

static void on_buf(struct http_exchange *exchange)
{
    struct buf body;
    buf_init(&body, http_mem(exchange), MEM_OTHER);
    buf_append_view(&body, http_parameter(exchange, 0));
    http_reply_buf(exchange, 200, "text/plain", &body);
}

static void on_release(void *context)
{
    (void)context;
    released--;
}

static void on_pieces(struct http_exchange *exchange)
{
    aic_view piece = {large, sizeof large};
    released++;
    http_reply_pieces(exchange, 200, "text/plain", &piece, 1, on_release, NULL);
}

/* A small answer in pieces, as a hit is. */
static void on_small(struct http_exchange *exchange)
{
    aic_view pieces[] = {AIC_LITERAL("one,"), AIC_LITERAL(""), AIC_LITERAL("two,"), AIC_LITERAL("three")};
    released++;
    http_reply_pieces(exchange, 200, "text/plain", pieces, COUNT_OF(pieces), on_release, NULL);
}

static void on_gone(struct http_exchange *exchange, void *context)
{
    (void)context;
    assert_true(http_is_gone(exchange));
    told_gone++;
}

static void on_keep(struct http_exchange *exchange)
{
    http_defer(exchange, 0);
    http_on_gone(exchange, on_gone, NULL);
    kept = exchange;
}

static void on_hung_up(struct http_exchange *exchange, void *context)
{
    (void)exchange, (void)context;
    told_gone++;
}

static void on_costly(struct http_exchange *exchange)
{
    http_defer(exchange, 0);
    http_on_hangup(exchange, on_hung_up, NULL);
    kept = exchange;
}

static void stream_body(struct http_exchange *exchange, enum http_body_event event, aic_view bytes, void *context)
{
    (void)context;
    if (event == HTTP_BODY_DATA) {
        (void)http_stream_write(exchange, bytes);
        return;
    }
    failed_bodies += event == HTTP_BODY_FAILED;
    http_stream_close(exchange);
}

static void on_mirror(struct http_exchange *exchange)
{
    http_stream_open(exchange, 200, "text/plain");
    http_body_start(exchange, stream_body, NULL);
}

/* Takes a body piece by piece: the test says when it wants the next. */
static void take_piece(struct http_exchange *exchange, enum http_body_event event, aic_view bytes, void *context)
{
    (void)bytes, (void)context;
    if (event == HTTP_BODY_DATA) http_body_pause(exchange);
    else http_reply_bytes(exchange, 200, "text/plain", AIC_LITERAL("all of it"));
}

static void on_piecewise(struct http_exchange *exchange)
{
    kept = exchange;
    http_body_start(exchange, take_piece, NULL);
}

static void on_query(struct http_exchange *exchange)
{
    aic_view value = {NULL, 0};
    aic_status status = http_query(exchange, "a", &value);
    if (status != AIC_OK) http_reply_error(exchange, status, NULL);
    else http_reply_bytes(exchange, 200, "text/plain", value);
}

static const struct http_route ROUTES[] = {
    {HTTP_VERB_GET, "/hello", on_hello},
    {HTTP_VERB_POST, "/echo", on_echo, HTTP_BODY_BUFFERED},
    {HTTP_VERB_GET, "/buf/{x}", on_buf},
    {HTTP_VERB_GET, "/pieces", on_pieces},
    {HTTP_VERB_GET, "/keep", on_keep},
    {HTTP_VERB_POST, "/mirror", on_mirror, HTTP_BODY_STREAMED},
    {HTTP_VERB_GET, "/query", on_query},
    {HTTP_VERB_GET, "/small", on_small},
    {HTTP_VERB_POST, "/piecewise", on_piecewise, HTTP_BODY_STREAMED},
    {HTTP_VERB_POST, "/costly", on_costly, HTTP_BODY_BUFFERED},
};

static const char *const REQUESTS[] = {
    "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "GET /buf/a%2Fb HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /query?b=%41&a=c+d HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /mirror HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    "GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /hello HTTP/1.1\r\n\r\n",
};

static char out[4000000]; /* what came last, and whether the connection ended with it */
static bool eof;

static size_t receive(struct drive *drive, int client)
{
    size_t size = drive_receive(drive, client, out, sizeof out - 1, &eof);
    out[size] = '\0';
    return size;
}

static void expect_answer(struct drive *drive, int client, const char *start)
{
    assert_true(receive(drive, client) > 12);
    assert_memory_equal(out, start, 12);
}

/* Sends one request in two parts, reads what comes. */
static size_t ask(struct drive *drive, const char *request)
{
    int client = drive_connect(drive);
    eof = true;
    if (client < 0) return 0;
    size_t half = strlen(request) / 2;
    drive_send(drive, client, request, half);
    drive_send(drive, client, request + half, strlen(request) - half);
    size_t size = receive(drive, client);
    close(client);
    drive_turn(drive);
    return size;
}

/* With one allocation refused, each request is answered, or refused with 503, or its connection ends; the next one is
 * served as ever. */
static void ask_everything(struct test_mem *test)
{
    struct drive drive;
    if (drive_init(&drive, &test->mem, ROUTES, COUNT_OF(ROUTES), NULL) != AIC_OK) return;
    for (size_t i = 0; i < COUNT_OF(REQUESTS); i++) {
        bool before = test_mem_refused(test);
        size_t size = ask(&drive, REQUESTS[i]);
        if (size >= 12) assert_memory_equal(out, "HTTP/1.1 ", 9);
        else assert_true(size == 0 && eof && !before);
    }
    ask(&drive, REQUESTS[0]);
    if (test_mem_refused(test)) {
        ask(&drive, REQUESTS[0]);
        assert_memory_equal(out, "HTTP/1.1 200", 12);
    }
    drive_fini(&drive);
    assert_int_equal(released, 0);
}

static void test_without_memory(void **state)
{
    (void)state;
    TEST_MEM_SWEEP(test, ask_everything(&test));
}

/* ---- the other tests: on a server of their own, whose memory must all come back ---- */

static struct test_mem memory;

static void a_server(void **state)
{
    void (*run)(struct drive *) = *state;
    struct drive drive;
    test_mem_init(&memory, TEST_MEM_NEVER);
    assert_int_equal(drive_init(&drive, &memory.mem, ROUTES, COUNT_OF(ROUTES), NULL), AIC_OK);
    run(&drive);
    drive_fini(&drive);
    test_mem_fini(&memory);
}

/* A third and a hundredth request on a connection allocate nothing. */
static void test_steady_state_allocates_nothing(struct drive *drive)
{
    int client = drive_connect(drive);
    for (int i = 0; i < 100; i++) {
        if (i == 2) atomic_store(&memory.until_refusal, 0);
        drive_send(drive, client, REQUESTS[i % 2], strlen(REQUESTS[i % 2]));
        expect_answer(drive, client, "HTTP/1.1 200");
    }
    assert_false(test_mem_refused(&memory));
    atomic_store(&memory.until_refusal, TEST_MEM_NEVER);
    close(client);
}

/* The client goes while its request is deferred: the handler is told, the exchange and its views stay until the reply.
 */
static void test_gone_while_deferred(struct drive *drive)
{
    int client = drive_connect(drive);
    told_gone = 0;
    kept = NULL;
    drive_text(drive, client, "GET /keep?a=b HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_non_null(kept);
    assert_false(http_is_gone(kept));
    conn_close(kept->conn); /* as a reset of the socket does */
    drive_turn(drive);
    assert_int_equal(told_gone, 1);
    assert_int_equal(drive->thread->live, 1);
    assert_int_equal(drive->thread->conn_count, 0);
    assert_memory_equal(http_path(kept).data, "/keep?a=b", 9);
    http_reply_header(kept, "A", AIC_LITERAL("b"));
    http_reply_bytes(kept, 200, "text/plain", AIC_LITERAL("nobody reads this"));
    drive_turn(drive);
    assert_int_equal(drive->thread->live, 0);
    assert_int_equal(told_gone, 1);
    close(client);
}

/* A client that closes its side is noticed, however full the block is that its request lies in; what it sent behind is
 * served. */
static void test_hangup_behind_a_full_block(struct drive *drive)
{
    static char request[BLOCK_BYTES + 200];
    for (int more = -1; more <= 1; more++) { /* the block has room, is full, and more is in the socket */
        int head = snprintf(request, sizeof request, "POST /costly HTTP/1.1\r\nHost: x\r\nContent-Length: 16000\r\n");
        int filler = BLOCK_BYTES - 16000 - head - (int)strlen("X: \r\n\r\n") + (more < 0 ? -1 : 0);
        head += snprintf(request + head, sizeof request - (size_t)head, "X: %0*d\r\n\r\n", filler, 0);
        memset(request + head, 'b', 16000);
        size_t size = (size_t)head + 16000;
        if (more > 0) size += (size_t)snprintf(request + size, sizeof request - size, "%s", REQUESTS[0]);
        int client = drive_connect(drive);
        told_gone = 0;
        kept = NULL;
        drive_send(drive, client, request, size);
        assert_non_null(kept);
        assert_int_equal(told_gone, 0);
        assert_int_equal(shutdown(client, SHUT_WR), 0);
        drive_turn(drive);
        assert_int_equal(told_gone, 1);
        assert_false(http_is_gone(kept)); /* who closes one side may still read */
        http_reply_bytes(kept, 200, "text/plain", AIC_LITERAL("late"));
        drive_turn(drive);
        expect_answer(drive, client, "HTTP/1.1 200");
        assert_true(eof);
        assert_int_equal(strstr(out, "hello") != NULL, more > 0);
        close(client);
        drive_turn(drive);
    }
}

/* The deadline answers in place of the handler, whose own answer goes nowhere. */
static void test_deadline_passed(struct drive *drive)
{
    int client = drive_connect(drive);
    kept = NULL;
    told_gone = 0;
    drive_text(drive, client, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n");
    conn_check_time(kept->conn, UINT64_MAX);
    drive_turn(drive);
    expect_answer(drive, client, "HTTP/1.1 504");
    assert_true(eof);
    assert_true(http_is_gone(kept));
    assert_int_equal(told_gone, 1);
    assert_memory_equal(http_path(kept).data, "/keep", 5);
    released = 1;
    aic_view piece = {large, 10};
    http_reply_pieces(kept, 200, "text/plain", &piece, 1, on_release, NULL);
    assert_int_equal(released, 0);
    close(client);
}

static bool stays(struct http_exchange *exchange)
{
    (void)exchange;
    return false;
}

/* The answer was refused already and does not leave, since the client does not read: that it closes its side is told
 * nobody, and the loop sleeps. */
static void test_hangup_behind_a_refusal_lets_the_loop_sleep(struct drive *drive)
{
    struct pollfd loop = {.fd = uv_backend_fd(&drive->thread->loop.uv), .events = POLLIN};
    int client = drive_connect(drive), least = 1;
    assert_int_equal(setsockopt(drive->thread->conns[0]->fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least), 0);
    kept = NULL;
    char request[9000];
    int size = snprintf(request, sizeof request,
                        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8000\r\n\r\n%08000d"
                        "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n",
                        0);
    drive_send(drive, client, request, (size_t)size);
    assert_non_null(kept);
    assert_true(kept->conn->stalled);
    http_judge_again(drive->thread, stays);
    drive_turn(drive);
    assert_true(http_is_gone(kept) && kept->conn->stalled);
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    drive_turn(drive);
    assert_int_equal(poll(&loop, 1, 0), 0);
    http_reply_bytes(kept, 200, "text/plain", AIC_LITERAL("nobody reads this"));
    close(client);
    drive_turn(drive);
}

static void test_pieces_are_given_back_once(struct drive *drive)
{
    int client = drive_connect(drive);
    released = 0;
    drive_text(drive, client, "GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(released, 1); /* the socket's buffer is smaller than the answer */
    size_t size = receive(drive, client);
    assert_true(size > sizeof large);
    assert_int_equal(released, 0);
    drive_text(drive, client, "GET /pieces HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(released, 1);
    close(client); /* unsent */
    drive_turn(drive);
    assert_int_equal(released, 0);
}

#define SMALL "GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
#define CLIENTS 3

static uint64_t mono_ns, step_ns;

static uint64_t step_mono_ns(void *context)
{
    (void)context;
    return mono_ns += step_ns;
}

/* From here on a clock that takes a step with each look at it. */
static void step_clock(struct drive *drive, uint64_t step)
{
    static aic_clock clock;
    clock = *drive->server->clock;
    clock.mono_ns = step_mono_ns;
    drive->server->clock = &clock;
    step_ns = step;
}

/* Everybody asks before the loop turns. */
static void ask_at_once(struct drive *drive, int clients[CLIENTS], uint64_t step)
{
    step_clock(drive, step);
    released = 0;
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = drive_connect(drive);
        assert_true(clients[i] >= 0);
    }
    drive_turn(drive);
    for (size_t i = 0; i < CLIENTS; i++)
        assert_int_equal(send(clients[i], SMALL, strlen(SMALL), MSG_NOSIGNAL), strlen(SMALL));
}

static uint64_t bytes_out(struct drive *drive)
{
    struct figures counters = {0};
    http_server_figures(drive->server, &counters);
    return counters.http_bytes_out;
}

/* Sockets that are ready together are all read before the first answer is sent; then each gets its own, whole. */
static void test_answers_leave_after_the_reads(struct drive *drive)
{
    int clients[CLIENTS];
    ask_at_once(drive, clients, 1);
    uv_run(&drive->thread->loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(released, CLIENTS);
    assert_int_equal(bytes_out(drive), 0);
    uv_run(&drive->thread->loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(released, 0);
    for (size_t i = 0; i < CLIENTS; i++) {
        expect_answer(drive, clients[i], "HTTP/1.1 200");
        assert_false(eof);
        assert_non_null(strstr(out, "Content-Length: 13\r\n"));
        assert_string_equal(strstr(out, "\r\n\r\n"), "\r\n\r\none,two,three");
        close(clients[i]);
    }
}

/* A slow sender's time is his own: what is measured begins with the last bytes of a request. */
static void test_a_request_is_received_when_it_is_whole(struct drive *drive)
{
    static const char *const pieces[][3] = {
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", "a", "b"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "2\r\nab\r\n", "0\r\n\r\n"},
        {"POST /echo HTTP/1.1\r\nHost: x\r\n", "Content-Length: 2\r\n", "\r\nab"},
    };
    step_clock(drive, 0);
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        int client = drive_connect(drive);
        for (size_t piece = 0; piece < COUNT_OF(pieces[i]); piece++) {
            mono_ns += 1000000000;
            echo_received_ns = 0;
            drive_text(drive, client, pieces[i][piece]);
        }
        assert_int_equal(echo_received_ns, mono_ns);
        expect_answer(drive, client, "HTTP/1.1 200");
        close(client);
        drive_turn(drive);
    }
}

/* Answers that have waited too long for the reads of others are sent before all sockets were read. */
static void test_no_answer_waits_long(struct drive *drive)
{
    int clients[CLIENTS];
    ask_at_once(drive, clients, HOLD_NS * 2 / 3);
    uv_run(&drive->thread->loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(released, 0);
    assert_true(bytes_out(drive) > 0);
    for (size_t i = 0; i < CLIENTS; i++) close(clients[i]);
    drive_turn(drive);
}

/* What an answer borrows is given back when its connection ends before it could leave. */
static void test_held_answer_is_given_back(struct drive *drive)
{
    int clients[CLIENTS];
    ask_at_once(drive, clients, 1);
    uv_run(&drive->thread->loop.uv, UV_RUN_NOWAIT);
    assert_int_equal(released, CLIENTS);
    while (drive->thread->conn_count > 0) conn_close(drive->thread->conns[0]);
    assert_int_equal(released, 0);
    drive_turn(drive);
    assert_int_equal(drive->thread->live, 0);
    assert_int_equal(bytes_out(drive), 0);
    for (size_t i = 0; i < CLIENTS; i++) close(clients[i]);
}

static void test_body_cut_while_streamed(struct drive *drive)
{
    int client = drive_connect(drive);
    failed_bodies = 0;
    drive_text(drive, client, "POST /mirror HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
    close(client);
    drive_turn(drive);
    assert_int_equal(failed_bodies, 1);
}

/* The client has ended its side, and its body is taken slowly: what was read of it before is still delivered. */
static void test_body_is_taken_after_the_end(struct drive *drive)
{
    int client = drive_connect(drive);
    drive_text(drive, client,
               "POST /piecewise HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
               "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n");
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    for (int piece = 0; piece < 3; piece++) {
        assert_true(kept->paused);
        http_body_resume(kept);
        drive_turn(drive);
    }
    expect_answer(drive, client, "HTTP/1.1 200");
    close(client);
}

/* Whom `thread_shed_idle()` is to close, by a look at every connection. */
static const struct conn *idlest_of(const struct http_thread *thread)
{
    const struct conn *found = NULL;
    for (uint32_t i = 0; i < thread->conn_count; i++) {
        const struct conn *conn = thread->conns[i];
        if (conn->in_start < conn->in_end || conn->phase != CONN_HEAD) continue;
        bool served = conn->exchange.status != 0, other = found != NULL && found->exchange.status != 0;
        if (found == NULL || (served != other ? served : conn->deadline_ms < found->deadline_ms)) found = conn;
    }
    return found;
}

/* In a crowd the connection that was idle longest gives way, of those that were served before, then of the others. */
static void test_the_idlest_gives_way(struct drive *drive)
{
    enum { CROWD = 300 };
    static int clients[CROWD];
    struct http_thread *thread = drive->thread;
    unsigned seed = 7;
    for (size_t i = 0; i < CROWD; i++) {
        clients[i] = drive_connect(drive);
        if (i % 3 == 0) drive_text(drive, clients[i], REQUESTS[0]);
        if (i % 50 == 1) drive_text(drive, clients[i], "GET /hel"); /* busy */
    }
    for (uint32_t i = 0; i < CROWD; i++)
        thread->conns[i]->deadline_ms = conn_now(thread->conns[i]) + 100000 + i * 7919 % CROWD;
    for (uint32_t left = CROWD; left > CROWD / 50; left--) {
        if (rand_r(&seed) % 4 == 0) { /* somebody is served meanwhile */
            struct conn *conn = thread->conns[(uint32_t)rand_r(&seed) % left];
            if (conn->exchange.status != 0) conn->deadline_ms += 1000;
        }
        const struct conn *idlest = idlest_of(thread);
        assert_true(thread_shed_idle(thread));
        assert_int_equal(idlest->phase, CONN_CLOSED);
        assert_int_equal(thread->conn_count, left - 1);
        if (left % 40 == 0) drive_turn(drive);
    }
    assert_false(thread_shed_idle(thread));
    for (size_t i = 0; i < CROWD; i++) close(clients[i]);
    drive_turn(drive);
}

static void on_finished(void *context, struct http_exchange *exchange, int status, uint64_t bytes)
{
    (void)context;
    (void)bytes;
    (void)http_path(exchange);
    finished++;
    finished_status = status;
}

static void test_counters(struct drive *drive)
{
    struct figures counters = {0};
    drive->server->finished = on_finished;
    finished = 0;
    size_t sent = 0;
    size_t received = 0;
    for (size_t i = 0; i < COUNT_OF(REQUESTS); i++) {
        sent += strlen(REQUESTS[i]);
        received += ask(drive, REQUESTS[i]);
    }
    http_server_figures(drive->server, &counters);
    assert_int_equal(finished, COUNT_OF(REQUESTS));
    assert_int_equal(finished_status, 400);
    assert_int_equal(counters.http_requests, 8);
    assert_int_equal(counters.http_parse_errors, 1);
    assert_int_equal(counters.http_status_2xx, 7);
    assert_int_equal(counters.http_status_4xx, 2);
    assert_int_equal(counters.http_bytes_in, sent);
    assert_int_equal(counters.http_bytes_out, received);
    assert_int_equal(counters.http_resets, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_memory),
        cmocka_unit_test_in(test_steady_state_allocates_nothing, a_server),
        cmocka_unit_test_in(test_gone_while_deferred, a_server),
        cmocka_unit_test_in(test_hangup_behind_a_full_block, a_server),
        cmocka_unit_test_in(test_deadline_passed, a_server),
        cmocka_unit_test_in(test_hangup_behind_a_refusal_lets_the_loop_sleep, a_server),
        cmocka_unit_test_in(test_pieces_are_given_back_once, a_server),
        cmocka_unit_test_in(test_answers_leave_after_the_reads, a_server),
        cmocka_unit_test_in(test_a_request_is_received_when_it_is_whole, a_server),
        cmocka_unit_test_in(test_no_answer_waits_long, a_server),
        cmocka_unit_test_in(test_held_answer_is_given_back, a_server),
        cmocka_unit_test_in(test_body_cut_while_streamed, a_server),
        cmocka_unit_test_in(test_body_is_taken_after_the_end, a_server),
        cmocka_unit_test_in(test_the_idlest_gives_way, a_server),
        cmocka_unit_test_in(test_counters, a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
