/*
 * echo_server.c - a server with a few routes that show every way to answer, for wire tests of the connection layer
 * alone.
 *
 *   echo_server --listen ADDRESS [--threads N] [--limit NAME=VALUE]... [--tls CERTIFICATE KEY] [--stop-ms N]
 *
 * It says where it listens like the daemon does, ends on SIGTERM, and prints its counters then. One worker thread
 * finishes deferred exchanges.
 */
#include "base/check.h"
#include "base/json.h"
#include "serve/http/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ------------------------------------------------------------------------------------------------- the worker -- */

struct job {
    struct message post; /* first: a post is its job */
    struct job *next;
    struct http_exchange *exchange;
    struct http_thread *thread;
    uint64_t delay_ms;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct job *head; /* newest first; the order does not matter here */
    bool ending;
} worker = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, false};

static _Atomic int releases;

static void job_done(struct message *post)
{
    struct job *job = (struct job *)(void *)post;
    struct mem *mem = http_mem(job->exchange);
    http_reply_bytes(job->exchange, 200, "text/plain", AIC_LITERAL("late"));
    mem_free(mem, MEM_OTHER, job, sizeof *job);
}

static void *worker_main(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&worker.lock);
    for (;;) {
        while (worker.head == NULL && !worker.ending) pthread_cond_wait(&worker.more, &worker.lock);
        struct job *job = worker.head;
        if (job == NULL) break;
        worker.head = job->next;
        pthread_mutex_unlock(&worker.lock);
        struct timespec delay = {(time_t)(job->delay_ms / 1000), (long)(job->delay_ms % 1000) * 1000000};
        nanosleep(&delay, NULL);
        http_post(job->thread, &job->post);
        pthread_mutex_lock(&worker.lock);
    }
    pthread_mutex_unlock(&worker.lock);
    return NULL;
}

/* --------------------------------------------------------------------------------------------------- handlers -- */

static uint64_t query_number(struct http_exchange *exchange, const char *name, uint64_t fallback)
{
    aic_view text;
    if (http_query(exchange, name, &text) != AIC_OK) return fallback;
    uint64_t number = 0;
    for (size_t i = 0; i < text.size && text.data[i] >= '0' && text.data[i] <= '9'; i++)
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    return number;
}

static void on_hello(struct http_exchange *exchange)
{
    http_reply_bytes(exchange, 200, "text/plain", AIC_LITERAL("hello"));
}

static void on_empty(struct http_exchange *exchange)
{
    http_reply_empty(exchange, 204);
}

static void on_echo(struct http_exchange *exchange)
{
    http_reply_bytes(exchange, 200, "text/plain", http_body(exchange));
}

static void on_buffer(struct http_exchange *exchange)
{
    struct buf body;
    buf_init(&body, http_mem(exchange), MEM_OTHER);
    buf_append_view(&body, http_body(exchange));
    http_reply_buf(exchange, 200, "text/plain", &body);
}

static void count_release(void *context)
{
    (void)context;
    atomic_fetch_sub(&releases, 1);
}

static char large[1 << 20];

static void on_pieces(struct http_exchange *exchange)
{
    uint64_t bytes = query_number(exchange, "bytes", 2048);
    aic_view pieces[HTTP_MAX_PIECES] = {{NULL, 0}};
    size_t count = 0;
    for (; count < COUNT_OF(pieces) && bytes > 0; count++) {
        size_t size = bytes < sizeof large ? (size_t)bytes : sizeof large;
        pieces[count] = (aic_view){large, size};
        bytes -= size;
    }
    atomic_fetch_add(&releases, 1);
    http_reply_pieces(exchange, 200, "text/plain", pieces, count, count_release, NULL);
}

static void on_defer(struct http_exchange *exchange)
{
    struct job *job = mem_zalloc(http_mem(exchange), MEM_OTHER, sizeof *job);
    if (job == NULL) {
        http_reply_error(exchange, AIC_NO_MEMORY, NULL);
        return;
    }
    job->post.run = job_done;
    job->exchange = exchange;
    job->thread = http_thread(exchange);
    job->delay_ms = query_number(exchange, "ms", 0);
    http_defer(exchange, query_number(exchange, "deadline", 0));
    pthread_mutex_lock(&worker.lock);
    job->next = worker.head;
    worker.head = job;
    pthread_cond_signal(&worker.more);
    pthread_mutex_unlock(&worker.lock);
}

static void count_body(struct http_exchange *exchange, enum http_body_event event, aic_view bytes, void *context)
{
    uint64_t *seen = http_state(exchange);
    (void)context;
    if (event == HTTP_BODY_DATA) {
        *seen += bytes.size;
        return;
    }
    char text[32];
    int size = snprintf(text, sizeof text, "%llu", (unsigned long long)*seen);
    http_reply_bytes(exchange, 200, "text/plain", (aic_view){text, (size_t)size});
}

static void on_count(struct http_exchange *exchange)
{
    http_body_start(exchange, count_body, NULL);
}

static void mirror_drained(struct http_exchange *exchange, void *context)
{
    (void)context;
    http_body_resume(exchange);
}

static void mirror_body(struct http_exchange *exchange, enum http_body_event event, aic_view bytes, void *context)
{
    (void)context;
    if (event == HTTP_BODY_DATA && !http_stream_write(exchange, bytes)) {
        http_body_pause(exchange);
        http_stream_drain(exchange, mirror_drained, NULL);
    } else if (event != HTTP_BODY_DATA) {
        http_stream_close(exchange);
    }
}

static void on_mirror(struct http_exchange *exchange)
{
    http_stream_open(exchange, 200, "application/octet-stream");
    http_body_start(exchange, mirror_body, NULL);
}

static void stream_more(struct http_exchange *exchange, void *context)
{
    uint64_t *left = http_state(exchange);
    (void)context;
    bool room = true;
    while (*left > 0 && room && !http_is_gone(exchange)) {
        size_t size = *left < 1000 ? (size_t)*left : 1000;
        room = http_stream_write(exchange, (aic_view){large, size});
        *left -= size;
    }
    if (*left == 0 || http_is_gone(exchange)) http_stream_close(exchange);
    else http_stream_drain(exchange, stream_more, NULL);
}

static void on_stream(struct http_exchange *exchange)
{
    uint64_t *left = http_state(exchange);
    *left = query_number(exchange, "bytes", 3000);
    http_stream_open(exchange, 200, "text/plain");
    stream_more(exchange, NULL);
}

static void on_abort(struct http_exchange *exchange)
{
    http_stream_open(exchange, 200, "text/plain");
    (void)http_stream_write(exchange, AIC_LITERAL("half"));
    http_stream_abort(exchange);
}

static void on_parameters(struct http_exchange *exchange)
{
    struct buf body;
    buf_init(&body, http_mem(exchange), MEM_OTHER);
    for (size_t i = 0; http_parameter(exchange, i).data != NULL; i++) {
        buf_append_byte(&body, '[');
        buf_append_view(&body, http_parameter(exchange, i));
        buf_append_byte(&body, ']');
    }
    http_reply_buf(exchange, 200, "text/plain", &body);
}

static void on_query(struct http_exchange *exchange)
{
    size_t count = 0;
    aic_status status = http_query_count(exchange, &count);
    if (status != AIC_OK) {
        http_reply_error(exchange, status, NULL);
        return;
    }
    struct buf body;
    buf_init(&body, http_mem(exchange), MEM_OTHER);
    for (size_t i = 0; i < count; i++) {
        aic_view name;
        aic_view value;
        http_query_at(exchange, i, &name, &value);
        buf_append_byte(&body, '[');
        buf_append_view(&body, name);
        buf_append_byte(&body, '=');
        buf_append_view(&body, value);
        buf_append_byte(&body, ']');
    }
    http_reply_buf(exchange, 200, "text/plain", &body);
}

static void on_header(struct http_exchange *exchange)
{
    aic_view value = http_header(exchange, "x-test");
    http_reply_header(exchange, "X-Test", value);
    http_reply_bytes(exchange, 200, "text/plain", value.data != NULL ? value : AIC_LITERAL("absent"));
}

static struct http_server *server;

static void on_counters(struct http_exchange *exchange)
{
    struct figures figures = {0};
    http_server_figures(server, &figures);
    struct buf body;
    buf_init(&body, http_mem(exchange), MEM_OTHER);
    for (size_t i = 0; i < FIGURE_TOTAL; i++)
        if (figure_rows[i].owner == FIGURES_HTTP)
            buf_printf(&body, "%s %llu\n", strchr(figure_rows[i].path, '.') + 1,
                       (unsigned long long)figures.of[i].whole);
    buf_printf(&body, "pinned %d\n", atomic_load(&releases));
    http_reply_buf(exchange, 200, "text/plain", &body);
}

static void on_forgotten(struct http_exchange *exchange)
{
    (void)exchange;
}

static const struct http_route routes[] = {
    {HTTP_VERB_GET, "/", on_hello},
    {HTTP_VERB_GET, "/hello", on_hello},
    {HTTP_VERB_GET, "/empty", on_empty},
    {HTTP_VERB_POST, "/echo", on_echo, HTTP_BODY_BUFFERED},
    {HTTP_VERB_PUT, "/echo", on_echo, HTTP_BODY_BUFFERED},
    {HTTP_VERB_POST, "/buffer", on_buffer, HTTP_BODY_BUFFERED},
    {HTTP_VERB_POST, "/small", on_echo, HTTP_BODY_BUFFERED, .body_bytes = 10},
    {HTTP_VERB_POST, "/count", on_count, HTTP_BODY_STREAMED, .body_bytes = UINT64_MAX},
    {HTTP_VERB_POST, "/mirror", on_mirror, HTTP_BODY_STREAMED, .body_bytes = UINT64_MAX},
    {HTTP_VERB_POST, "/early", on_hello, HTTP_BODY_STREAMED},
    {HTTP_VERB_GET, "/pieces", on_pieces},
    {HTTP_VERB_GET, "/defer", on_defer},
    {HTTP_VERB_POST, "/defer", on_defer, HTTP_BODY_BUFFERED},
    {HTTP_VERB_GET, "/stream", on_stream},
    {HTTP_VERB_GET, "/abort", on_abort},
    {HTTP_VERB_GET, "/items/{id}", on_parameters},
    {HTTP_VERB_GET, "/items/fixed", on_hello},
    {HTTP_VERB_GET, "/items/{id}/parts/{part}", on_parameters},
    {HTTP_VERB_GET, "/rest/{path*}", on_parameters},
    {HTTP_VERB_GET, "/query", on_query},
    {HTTP_VERB_GET, "/header", on_header},
    {HTTP_VERB_GET, "/secret", on_hello, .access = 1},
    {HTTP_VERB_POST, "/secret", on_echo, HTTP_BODY_BUFFERED, .access = 1},
    {HTTP_VERB_GET, "/counters", on_counters},
    {HTTP_VERB_GET, "/forgotten", on_forgotten},
};

static bool guard(struct http_exchange *exchange, const struct http_route *route)
{
    aic_view key = http_header(exchange, "X-API-Key");
    if (route->access == 0 || (key.size == 4 && memcmp(key.data, "open", 4) == 0)) return true;
    http_reply_problem(exchange, 401, "no_key", NULL, "This needs a key.");
    return false;
}

/* ------------------------------------------------------------------------------------------------------- main -- */

static void usage(void)
{
    fprintf(
        stderr,
        "echo_server --listen ADDRESS [--threads N] [--limit NAME=VALUE]... [--tls CERTIFICATE KEY] [--stop-ms N]\n");
    exit(2);
}

static void set_limit(struct http_limits *limits, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL) usage();
    size_t size = (size_t)(equals - text);
#define SET_LIMIT(name, fallback, help)                                                                                \
    if (size == strlen(#name) && memcmp(text, #name, size) == 0) limits->name = strtoull(equals + 1, NULL, 10);
    HTTP_LIMIT_MAP(SET_LIMIT)
#undef SET_LIMIT
}

int main(int argc, char **argv)
{
    const char *listen[HTTP_MAX_LISTEN];
    struct http_options options = {.listen = listen, .routes = routes, .route_count = COUNT_OF(routes), .guard = guard};
    uint64_t stop_ms = 5000;
    for (int i = 1; i < argc; i++) {
        if (i + 1 >= argc) usage();
        if (strcmp(argv[i], "--listen") == 0 && options.listen_count < HTTP_MAX_LISTEN)
            listen[options.listen_count++] = argv[++i];
        else if (strcmp(argv[i], "--threads") == 0) options.threads = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--limit") == 0) set_limit(&options.limits, argv[++i]);
        else if (strcmp(argv[i], "--stop-ms") == 0) stop_ms = strtoull(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--tls") == 0 && i + 2 < argc) {
            options.tls_certificate = argv[++i];
            options.tls_key = argv[++i];
        } else usage();
    }
    memset(large, 'x', sizeof large);
    struct mem mem;
    mem_init(&mem, NULL);
    options.mem = &mem;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    pthread_t thread;
    aic_error error = {0};
    if (pthread_create(&thread, NULL, worker_main, NULL) != 0) return 1;
    if (http_server_create(&options, &server, &error) != AIC_OK || http_server_start(server, &error) != AIC_OK) {
        fprintf(stderr, "echo_server: %s: %s\n", error.field, error.message);
        return 1;
    }
    for (size_t i = 0; i < http_server_address_count(server); i++)
        fprintf(stderr, "echo_server %s listening on %s\n", AIC_VERSION, http_server_address(server, i));
    int signal = 0;
    sigwait(&signals, &signal);
    http_server_stop(server, stop_ms);
    pthread_mutex_lock(&worker.lock);
    worker.ending = true;
    pthread_cond_signal(&worker.more);
    pthread_mutex_unlock(&worker.lock);
    pthread_join(thread, NULL);
    http_server_destroy(&server);
    CHECK(atomic_load(&releases) == 0);
    mem_fini(&mem);
    return 0;
}
