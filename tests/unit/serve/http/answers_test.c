/* answers_test.c - the room for answers: every byte of it against a model, who is refused, and when slow readers end.
 */
#include "../../../support/http_drive.h"
#include "../../../support/test_mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ANSWER_BYTES ((size_t)3000000)
#define HELD_MOST 64

static void reply_large(struct http_exchange *exchange, struct mem *mem)
{
    struct buf body;
    buf_init(&body, mem, MEM_ANSWERS);
    char *room = buf_reserve(&body, ANSWER_BYTES);
    if (room != NULL) memset(room, 'x', ANSWER_BYTES);
    if (room != NULL) buf_commit(&body, ANSWER_BYTES);
    http_reply_buf(exchange, 200, "text/plain", &body);
}

static void on_large(struct http_exchange *exchange)
{
    reply_large(exchange, http_answer_mem(exchange));
}

static void on_figures(struct http_exchange *exchange)
{
    reply_large(exchange, http_figures_mem(exchange));
}

static void on_small(struct http_exchange *exchange)
{
    struct buf body;
    buf_init(&body, http_answer_mem(exchange), MEM_ANSWERS);
    buf_append_text(&body, "small");
    http_reply_buf(exchange, 200, "text/plain", &body);
}

/* Three fields that do not fit into what a connection keeps. */
static void on_fields(struct http_exchange *exchange)
{
    static char value[7000];
    memset(value, 'f', sizeof value);
    for (int i = 0; i < 3; i++) http_reply_header(exchange, "X-Field", (aic_view){value, sizeof value});
    http_reply_bytes(exchange, 200, "text/plain", AIC_LITERAL("fields"));
}

static size_t copied_bytes;

/* A short answer whose body is copied behind its head. */
static void on_copied(struct http_exchange *exchange)
{
    static char body[HTTP_SMALL_ANSWER];
    memset(body, 'c', copied_bytes);
    http_reply_bytes(exchange, 200, "text/plain", (aic_view){body, copied_bytes});
}

/* What is sent as it lies takes no room. */
static void on_borrowed(struct http_exchange *exchange)
{
    static char body[100000];
    aic_view piece = {body, sizeof body};
    http_reply_pieces(exchange, 200, "text/plain", &piece, 1, NULL, NULL);
}

static bool has_begun;

/* A body without a length, which is written before anybody looks. */
static void on_stream(struct http_exchange *exchange)
{
    static char value[7000];
    memset(value, 'f', sizeof value);
    for (int i = 0; i < 3; i++) http_reply_header(exchange, "X-Field", (aic_view){value, sizeof value});
    has_begun = http_stream_open(exchange, 200, "text/plain");
    assert_true(http_stream_write(exchange, AIC_LITERAL("streamed")));
    http_stream_close(exchange);
}

static const struct http_route ROUTES[] = {
    {HTTP_VERB_GET, "/large", on_large},   {HTTP_VERB_GET, "/small", on_small},
    {HTTP_VERB_GET, "/fields", on_fields}, {HTTP_VERB_GET, "/figures", on_figures},
    {HTTP_VERB_GET, "/copied", on_copied}, {HTTP_VERB_GET, "/borrowed", on_borrowed},
    {HTTP_VERB_GET, "/stream", on_stream}};

static const char LARGE[] = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
static const char FIGURES[] = "GET /figures HTTP/1.1\r\nHost: x\r\n\r\n";
static const char COPIED[] = "GET /copied HTTP/1.1\r\nHost: x\r\n\r\n";
static const char SMALL[] = "GET /small HTTP/1.1\r\nHost: x\r\n\r\n";
static const char BORROWED[] = "GET /borrowed HTTP/1.1\r\nHost: x\r\n\r\n";
static const char STREAM[] = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
static const char FIELDS[] = "GET /fields HTTP/1.1\r\nHost: x\r\n\r\n";

struct place {
    struct test_mem test;
    struct drive drive;
};

static void open_place(struct place *place, uint64_t answers_bytes)
{
    struct http_limits limits = {.answers_bytes = answers_bytes};
    test_mem_init(&place->test, TEST_MEM_NEVER);
    assert_int_equal(drive_init(&place->drive, &place->test.mem, ROUTES, COUNT_OF(ROUTES), &limits), AIC_OK);
}

static void close_place(struct place *place)
{
    drive_fini(&place->drive);
    test_mem_fini(&place->test);
}

static uint64_t held_by(const struct place *place)
{
    return http_server_answer_bytes(place->drive.server);
}

/* Reads what there is, up to `most`; how much. */
static size_t take(struct place *place, int client, size_t most)
{
    static char got[ANSWER_BYTES + 4096];
    bool eof;
    return drive_receive(&place->drive, client, got, most, &eof);
}

static void expect_answer(struct place *place, int client, const char *request, const char *beginning,
                          const char *contained)
{
    char got[32768];
    bool eof;
    drive_text(&place->drive, client, request);
    size_t size = drive_receive(&place->drive, client, got, sizeof got - 1, &eof);
    got[size] = '\0';
    assert_memory_equal(got, beginning, strlen(beginning));
    assert_non_null(strstr(got, contained));
}

/* ---- the model ---- */

struct held {
    void *block; /* NULL: counted alone */
    uint64_t bytes;
};

static void step(struct room *room, struct held *held, unsigned *count, uint64_t *sum, unsigned *seed)
{
    uint64_t limit = atomic_load(room->limit);
    if (rand_r(seed) % 2 == 0 && *count < HELD_MOST) {
        uint64_t bytes = (uint64_t)rand_r(seed) % (rand_r(seed) % 4 == 0 ? 400000 : 2 * HTTP_SMALL_ANSWER) + 1;
        bool fits = bytes <= HTTP_SMALL_ANSWER || *sum + bytes <= limit, own = rand_r(seed) % 2 == 0;
        void *block = own ? mem_alloc(&room->mem, MEM_CACHE, bytes) : NULL;
        assert_int_equal(own ? block != NULL : room_take(room, bytes), fits);
        if (!fits) return;
        held[(*count)++] = (struct held){block, bytes};
        *sum += bytes;
    } else if (*count > 0) {
        struct held *gone = &held[(unsigned)rand_r(seed) % *count];
        if (gone->block != NULL) mem_free(&room->mem, MEM_CACHE, gone->block, gone->bytes);
        else room_give(room, gone->bytes);
        *sum -= gone->bytes;
        *gone = held[--*count];
    }
}

static void test_every_byte_is_counted(void **state)
{
    (void)state;
    struct place place;
    struct held held[HELD_MOST];
    unsigned count = 0, seed = 42;
    uint64_t sum = 0;
    open_place(&place, 1000000);
    struct room *room = &place.drive.server->answers;
    for (int i = 0; i < 20000; i++) {
        step(room, held, &count, &sum, &seed);
        assert_int_equal(held_by(&place), sum);
        uint64_t blocks = 0;
        for (unsigned k = 0; k < count; k++) blocks += held[k].block != NULL ? held[k].bytes : 0;
        assert_int_equal(mem_bytes(&place.test.mem, MEM_ANSWERS), blocks);
    }
    while (count > 0) {
        struct held *last = &held[--count];
        if (last->block != NULL) mem_free(&room->mem, MEM_CACHE, last->block, last->bytes);
        else room_give(room, last->bytes);
    }
    close_place(&place);
}

/* ---- who is refused ---- */

static void test_beyond_the_limit_is_503(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, 2 * ANSWER_BYTES);
    int first = drive_connect(&place.drive), second = drive_connect(&place.drive), third = drive_connect(&place.drive);
    drive_text(&place.drive, first, LARGE);
    drive_text(&place.drive, second, LARGE);
    assert_int_equal(held_by(&place), 2 * ANSWER_BYTES);
    expect_answer(&place, third, LARGE, "HTTP/1.1 503 ", "\r\nRetry-After: 1\r\n");
    expect_answer(&place, third, LARGE, "HTTP/1.1 503 ", "\"answers_full\"");
    expect_answer(&place, third, SMALL, "HTTP/1.1 200 ", "small"); /* nobody is kept from a short answer */
    struct figures counters = {0};
    http_server_figures(place.drive.server, &counters);
    assert_int_equal(counters.http_answers_refused, 2);
    assert_int_equal(counters.http_answer_bytes, 2 * ANSWER_BYTES);
    assert_int_equal(counters.http_answer_limit, 2 * ANSWER_BYTES);
    /* Who has read all gives its room back, and so does who went away. */
    assert_true(take(&place, first, ANSWER_BYTES + 4096) > ANSWER_BYTES);
    assert_int_equal(held_by(&place), ANSWER_BYTES);
    close(second);
    drive_turn(&place.drive);
    assert_int_equal(held_by(&place), 0);
    expect_answer(&place, third, LARGE, "HTTP/1.1 200 ", "xxxx");
    close(first);
    close(third);
    close_place(&place);
}

/* Figures have room where other answers have none, up to a limit of their own, and take none from them. */
static void test_figures_have_room_of_their_own(void **state)
{
    (void)state;
    struct place place;
    int clients[4];
    open_place(&place, ANSWER_BYTES);
    for (size_t i = 0; i < COUNT_OF(clients); i++) clients[i] = drive_connect(&place.drive);
    drive_text(&place.drive, clients[0], FIGURES);
    drive_text(&place.drive, clients[1], FIGURES);
    assert_int_equal(held_by(&place), 2 * ANSWER_BYTES);
    expect_answer(&place, clients[2], FIGURES, "HTTP/1.1 503 ", "8388608 bytes (beside limits.answers_bytes)");
    drive_text(&place.drive, clients[2], LARGE);
    assert_int_equal(held_by(&place), 3 * ANSWER_BYTES);
    expect_answer(&place, clients[3], LARGE, "HTTP/1.1 503 ", "3000000 bytes (limits.answers_bytes)");
    close(clients[0]);
    drive_turn(&place.drive);
    expect_answer(&place, clients[3], FIGURES, "HTTP/1.1 200 ", "xxxx");
    for (size_t i = 1; i < COUNT_OF(clients); i++) close(clients[i]);
    close_place(&place);
}

static void test_a_limit_that_is_raised_lets_in(void **state)
{
    (void)state;
    struct place place;
    open_place(&place, ANSWER_BYTES - 1);
    int client = drive_connect(&place.drive);
    expect_answer(&place, client, LARGE, "HTTP/1.1 503 ", "limits.answers_bytes");
    struct http_limits limits = {.answers_bytes = ANSWER_BYTES};
    http_server_set_limits(place.drive.server, &limits);
    expect_answer(&place, client, LARGE, "HTTP/1.1 200 ", "xxxx");
    close(client);
    close_place(&place);
}

/* What stands copied in a connection's queue counts beyond what it keeps; where there is no room for more of it, what
 * is there leaves first. */
static void test_copied_bytes_count(void **state)
{
    (void)state;
    struct place place;
    char requests[8 * sizeof FIELDS] = "";
    open_place(&place, 1);
    for (int i = 0; i < 8; i++) strcat(requests, FIELDS);
    int client = drive_connect(&place.drive);
    drive_text(&place.drive, client, requests);
    size_t got = take(&place, client, ANSWER_BYTES);
    assert_true(got > 0 && got < 8 * 1000); /* 21 KB in one piece find no room, whoever asks */
    close(client);
    close_place(&place);
    open_place(&place, 60000);
    client = drive_connect(&place.drive);
    drive_text(&place.drive, client, requests);
    got = take(&place, client, ANSWER_BYTES);
    assert_true(got > 8 * 21000);
    assert_int_equal(held_by(&place), 0);
    close(client);
    close_place(&place);
}

/* Pipelined short answers that are gathered need more than a short block: they leave in between, head and body. */
static void test_pipelined_short_answers_are_never_refused(void **state)
{
    (void)state;
    enum { ANSWERS = 60 };
    static char got[ANSWERS * 2500];
    struct place place;
    char requests[ANSWERS * sizeof COPIED] = "";
    bool eof;
    for (int i = 0; i < ANSWERS; i++) strcat(requests, COPIED);
    open_place(&place, ANSWER_BYTES);
    int holder = drive_connect(&place.drive);
    drive_text(&place.drive, holder, LARGE);
    assert_int_equal(held_by(&place), ANSWER_BYTES);
    for (copied_bytes = 100; copied_bytes < 2000; copied_bytes += 50) {
        int client = drive_connect(&place.drive);
        drive_text(&place.drive, client, requests);
        assert_true(drive_receive(&place.drive, client, got, sizeof got, &eof) > ANSWERS * copied_bytes);
        assert_false(eof);
        close(client);
        drive_turn(&place.drive);
    }
    close(holder);
    close_place(&place);
}

/* The whole answer: its status; what follows it is moved to the front. */
static int next_answer(char *text, size_t *size)
{
    char *body = strstr(text, "\r\n\r\n");
    char *length = strstr(text, "Content-Length: ");
    int status = 0;
    assert_true(body != NULL && length != NULL && length < body);
    assert_int_equal(sscanf(text, "HTTP/1.1 %d ", &status), 1);
    size_t whole = (size_t)(body + 4 - text) + (size_t)strtoul(length + 16, NULL, 10);
    assert_true(whole <= *size);
    memmove(text, text + whole, *size - whole + 1);
    *size -= whole;
    return status;
}

/* Where there is no room, an answer is given whole or refused; its connection goes on. */
static void test_no_answer_is_cut_for_want_of_room(void **state)
{
    (void)state;
    static char got[65536];
    struct place place;
    bool eof;
    open_place(&place, ANSWER_BYTES);
    int holder = drive_connect(&place.drive), client = drive_connect(&place.drive);
    drive_text(&place.drive, holder, LARGE);
    assert_int_equal(held_by(&place), ANSWER_BYTES);
    for (copied_bytes = 15900; copied_bytes <= HTTP_SMALL_ANSWER; copied_bytes += 22) {
        drive_text(&place.drive, client, COPIED);
        size_t size = drive_receive(&place.drive, client, got, sizeof got - 1, &eof);
        got[size] = '\0';
        assert_false(eof);
        int status = next_answer(got, &size);
        assert_int_equal(status, copied_bytes < 16100 ? 200 : copied_bytes > 16300 ? 503 : status);
        assert_int_equal(size, 0);
    }
    static const char *const others[] = {FIELDS, STREAM};
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        has_begun = true;
        expect_answer(&place, client, others[i], "HTTP/1.1 503 ", "\"answers_full\"");
        assert_int_equal(has_begun, others[i] != STREAM);
        expect_answer(&place, client, SMALL, "HTTP/1.1 200 ", "small");
    }
    close(holder);
    close(client);
    close_place(&place);
}

/* Nor does it cut those before it, whose reader takes nothing now. */
static void test_what_was_answered_before_is_not_cut(void **state)
{
    (void)state;
    static char got[1000000];
    struct place place;
    bool eof;
    char requests[256];
    snprintf(requests, sizeof requests, "%s%s%s", BORROWED, FIELDS, SMALL);
    open_place(&place, ANSWER_BYTES);
    int holder = drive_connect(&place.drive), client = drive_connect(&place.drive), before = 0;
    drive_text(&place.drive, holder, LARGE);
    for (; before < 20; before++) { /* until the socket takes no more of an answer */
        drive_text(&place.drive, client, requests);
        if (place.drive.thread->conns[1]->stalled) break;
    }
    assert_true(place.drive.thread->conns[1]->stalled);
    size_t size = drive_receive(&place.drive, client, got, sizeof got - 1, &eof);
    got[size] = '\0';
    assert_false(eof);
    for (int i = 0; i <= before; i++) {
        assert_int_equal(next_answer(got, &size), 200);
        assert_int_equal(next_answer(got, &size), 503);
        assert_int_equal(next_answer(got, &size), 200);
    }
    assert_int_equal(size, 0);
    close(holder);
    close(client);
    close_place(&place);
}

/* Memory that is out is no full room, and is not called one. */
static void test_the_cause_of_a_refusal_is_told(void **state)
{
    (void)state;
    struct place place;
    struct figures counters = {0};
    open_place(&place, 10 * ANSWER_BYTES);
    int client = drive_connect(&place.drive);
    expect_answer(&place, client, SMALL, "HTTP/1.1 200 ", "small");
    atomic_store(&place.test.until_refusal, 0);
    expect_answer(&place, client, LARGE, "HTTP/1.1 503 ", "\"no_memory\"");
    assert_true(test_mem_refused(&place.test));
    expect_answer(&place, client, FIGURES, "HTTP/1.1 200 ", "xxxx");
    http_server_figures(place.drive.server, &counters);
    assert_int_equal(counters.http_answers_refused, 0);
    close(client);
    close_place(&place);
}

/* The client is found gone when what is there is to leave first: the next answer is written for nobody, and no later
 * client, whose connection takes the same memory, is sent it. */
static void test_nothing_is_left_for_the_next_client(void **state)
{
    (void)state;
    struct place place;
    char requests[8 * sizeof FIELDS] = "";
    char got[4096];
    bool eof;
    open_place(&place, 60000);
    for (int i = 0; i < 8; i++) strcat(requests, FIELDS);
    int client = drive_connect(&place.drive);
    assert_int_equal(send(client, requests, strlen(requests), 0), strlen(requests));
    close(client);
    drive_turn(&place.drive);
    assert_int_equal(place.drive.thread->live, 0);
    assert_int_equal(held_by(&place), 0);
    client = drive_connect(&place.drive);
    assert_int_equal(drive_receive(&place.drive, client, got, sizeof got, &eof), 0);
    close(client);
    close_place(&place);
}

/* ---- slow readers ---- */

/* After write_ms: did the client, which took so many bytes since it began, take too little? */
static bool is_late_after(size_t taken)
{
    struct place place;
    open_place(&place, 2 * ANSWER_BYTES);
    int client = drive_connect(&place.drive);
    drive_text(&place.drive, client, LARGE);
    struct conn *conn = place.drive.thread->conns[0];
    assert_true(conn->stalled && conn->write_deadline_ms > 0);
    uint64_t deadline = --conn->write_deadline_ms; /* another that begins in the same millisecond ends later */
    char *got = malloc(taken);
    for (size_t read = 0; read < taken;) { /* nothing is sent meanwhile: what the kernel delivered counts */
        ssize_t piece = recv(client, got, taken - read, 0);
        if (piece <= 0) drive_turn(&place.drive);
        else read += (size_t)piece;
    }
    free(got);
    /* Where enough left, the time-out has begun anew: by the loop's clock, which this does not turn. */
    bool late = conn_write_is_late(conn, conn->write_deadline_ms > deadline ? deadline : conn->write_deadline_ms);
    close(client);
    close_place(&place);
    return late;
}

static void test_a_large_answer_is_taken_in_time(void **state)
{
    (void)state;
    assert_true(is_late_after(1));
    assert_true(is_late_after(20000)); /* enough of a small answer */
    assert_false(is_late_after(ANSWER_BYTES / 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte_is_counted),
        cmocka_unit_test(test_beyond_the_limit_is_503),
        cmocka_unit_test(test_figures_have_room_of_their_own),
        cmocka_unit_test(test_pipelined_short_answers_are_never_refused),
        cmocka_unit_test(test_nothing_is_left_for_the_next_client),
        cmocka_unit_test(test_no_answer_is_cut_for_want_of_room),
        cmocka_unit_test(test_what_was_answered_before_is_not_cut),
        cmocka_unit_test(test_the_cause_of_a_refusal_is_told),
        cmocka_unit_test(test_a_limit_that_is_raised_lets_in),
        cmocka_unit_test(test_copied_bytes_count),
        cmocka_unit_test(test_a_large_answer_is_taken_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
