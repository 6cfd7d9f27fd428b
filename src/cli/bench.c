/*
 * bench.c - `aicache bench`: fills the cache with entries of its own, then measures.
 *
 * Driven by libcurl, a request would take more CPU than the daemon that is measured: three times as long for a get, as
 * tried. So libcurl makes the connections (addresses, unix sockets, TLS) and moves bytes; requests are made beforehand,
 * and answers are read as far as status and length tell. Each thread has an epoll and some connections, each connection
 * one request under way.
 */
#include "cli/commands.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/plural.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define BENCH_OPERATION "aicache-bench"
#define BENCH_GRACE_NS UINT64_C(5000000000) /* after the time: the daemon has stopped answering */
#define HEAD_BYTES 16384
#define READ_BYTES 65536

enum mode { MODE_LOOKUP, MODE_GET, MODE_PUT, MODE_MIXED };
static const char *const mode_names[] = {"lookup", "get", "put", "mixed"};
static_assert(COUNT_OF(mode_names) == MODE_MIXED + 1, "each mode has its name");

/* The requests of one entry, head and body. */
struct entry {
    struct buf lookup, get, put;
};

struct bench {
    struct cli *cli;
    enum mode mode;
    uint64_t duration_ms, connections, threads, keys, bytes;
    struct entry *entries; /* owned, `keys` of them */
    uint64_t filled;       /* entries that hold something */
    uint64_t end_ns;
    /* The sum of what the threads did. */
    uint64_t requests, failed /* status 400 and more */, broken /* connections that ended early */;
    uint64_t bytes_in, bytes_out;
    double seconds;
    struct hist_total latency_ns;
};

struct connection {
    CURL *curl; /* owned; NULL: it was not made */
    int descriptor;
    bool open;
    aic_view request;
    size_t sent, received; /* of the request and its answer */
    size_t answer_size;    /* 0: its head is not complete yet */
    uint64_t started_ns;
    int status;
    char head[HEAD_BYTES + 1];
};

struct loader {
    struct bench *bench;
    pthread_t thread;
    int epoll;
    struct connection *connections; /* owned */
    unsigned count, open;
    size_t next;       /* request */
    bool is_no_answer; /* something came that is no HTTP with a length */
    uint64_t requests, failed, broken, bytes_in, bytes_out;
    struct hist latency_ns;
    char bytes[READ_BYTES];
};

static int read_options(struct bench *bench)
{
    struct cli *cli = bench->cli;
    const char *mode = cli_value(cli, "mode");
    unsigned found = MODE_LOOKUP;
    if (mode != NULL && !option_choice("lookup|get|put|mixed", mode, &found))
        return cli_fail("--mode: accepted: lookup, get, put, mixed");
    bench->mode = (enum mode)found;
    bench->duration_ms = 5000;
    bench->connections = 16;
    bench->threads = 1;
    bench->keys = 1000;
    bench->bytes = 2048;
    if (cli_number(cli, "duration", OPTION_MS, &bench->duration_ms) != CLI_OK ||
        cli_number(cli, "connections", OPTION_U64, &bench->connections) != CLI_OK ||
        cli_number(cli, "threads", OPTION_U64, &bench->threads) != CLI_OK ||
        cli_number(cli, "keys", OPTION_U64, &bench->keys) != CLI_OK ||
        cli_number(cli, "bytes", OPTION_SIZE, &bench->bytes) != CLI_OK)
        return CLI_ERROR;
    if (bench->connections < 1 || bench->connections > 10000) return cli_fail("--connections: accepted: 1 to 10000");
    if (bench->threads < 1 || bench->threads > 64 || bench->threads > bench->connections)
        return cli_fail("--threads: accepted: 1 to 64, at most one per connection");
    if (bench->keys < 1 || bench->keys > 1000000) return cli_fail("--keys: accepted: 1 to 1000000");
    if (bench->bytes > (8u << 20) || bench->bytes * bench->keys > (1u << 30))
        return cli_fail("--bytes: accepted: up to 8M, and up to 1G times --keys");
    return bench->duration_ms > 0 ? CLI_OK : cli_fail("--duration: accepted: more than 0");
}

/* --------------------------------------------------------------------------------------------------------- fill -- */

static void write_body(struct bench *bench, uint64_t key, bool put, struct buf *out)
{
    struct json_writer writer;
    char text[64];
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    json_key(&writer, "operation");
    json_put_text(&writer, BENCH_OPERATION);
    json_key(&writer, "text");
    snprintf(text, sizeof text, "entry %" PRIu64 " of %" PRIu64 " bytes", key, bench->bytes);
    json_put_text(&writer, text);
    if (cli_has(bench->cli, "namespace")) {
        json_key(&writer, "namespace");
        json_put_text(&writer, cli_value(bench->cli, "namespace"));
    }
    if (put) {
        json_key(&writer, "ttl");
        json_put_u64(&writer, 3600);
        json_key(&writer, "response");
        struct buf response;
        buf_init(&response, &bench->cli->mem, MEM_OTHER);
        for (uint64_t word = key; response.size + 2 < bench->bytes && !response.failed;
             word = word * 6364136223846793005u + 1442695040888963407u) {
            buf_printf(&response, "%06" PRIx64 " token ", word >> 40);
        }
        if (response.size + 2 > bench->bytes && bench->bytes > 2) response.size = bench->bytes - 2;
        json_put_view(&writer, buf_view(&response));
        out->failed = out->failed || response.failed;
        buf_fini(&response);
    }
    json_close(&writer, '}');
}

static void write_request(struct bench *bench, const char *verb, const char *path, const struct buf *body,
                          struct buf *out)
{
    buf_printf(out, "%s %s HTTP/1.1\r\n", verb, path);
    session_write_head(bench->cli, out);
    if (body != NULL) buf_printf(out, "Content-Length: %zu\r\n", body->size);
    buf_append_text(out, "\r\n");
    if (body != NULL) buf_append_view(out, buf_view(body));
}

/* Stores one entry, which tells its key, and makes its requests. */
static int fill_one(struct bench *bench, uint64_t key, struct buf *body)
{
    struct entry *entry = &bench->entries[key];
    struct reply reply;
    char path[128];
    buf_init(&entry->lookup, &bench->cli->mem, MEM_OTHER);
    buf_init(&entry->get, &bench->cli->mem, MEM_OTHER);
    buf_init(&entry->put, &bench->cli->mem, MEM_OTHER);
    bench->filled = key + 1;
    write_body(bench, key, true, body);
    if (buf_status(body) != AIC_OK) return cli_fail("no memory");
    int result = session_ask(bench->cli, "PUT", "/cache/entries", buf_view(body), &reply);
    if (result == CLI_NO) result = session_complain(bench->cli, &reply);
    if (result == CLI_OK) {
        snprintf(path, sizeof path, "/cache/entries/%.64s", json_text_at(reply.json, "key", ""));
        write_request(bench, "PUT", "/cache/entries", body, &entry->put);
        write_request(bench, "GET", path, NULL, &entry->get);
        buf_clear(body);
        write_body(bench, key, false, body);
        write_request(bench, "POST", "/cache/lookup", body, &entry->lookup);
        if (body->failed || entry->lookup.failed || entry->get.failed || entry->put.failed)
            result = cli_fail("no memory");
    }
    buf_clear(body);
    reply_fini(&reply);
    return result;
}

static int fill(struct bench *bench)
{
    struct progress progress;
    struct buf body;
    int result = CLI_OK;
    bench->entries = mem_alloc(&bench->cli->mem, MEM_OTHER, bench->keys * sizeof *bench->entries);
    if (bench->entries == NULL) return cli_fail("no memory");
    buf_init(&body, &bench->cli->mem, MEM_OTHER);
    progress_begin(&progress, "fill", bench->keys);
    for (uint64_t key = 0; key < bench->keys && result == CLI_OK; key++) {
        result = fill_one(bench, key, &body);
        progress_show(&progress, key, "");
    }
    progress_end(&progress);
    buf_fini(&body);
    return result;
}

static void empty(struct bench *bench)
{
    for (uint64_t key = 0; key < bench->filled; key++) {
        buf_fini(&bench->entries[key].lookup);
        buf_fini(&bench->entries[key].get);
        buf_fini(&bench->entries[key].put);
    }
    mem_free(&bench->cli->mem, MEM_OTHER, bench->entries, bench->keys * sizeof *bench->entries);
}

/* ------------------------------------------------------------------------------------------------------ measure -- */

static void end(struct loader *loader, struct connection *connection, bool broken)
{
    CHECK(connection->open && loader->open > 0);
    connection->open = false;
    loader->open--;
    loader->broken += broken;
}

/* Sends what the socket takes; what is left waits for EPOLLOUT. */
static void send_rest(struct loader *loader, struct connection *connection)
{
    while (connection->sent < connection->request.size) {
        size_t put = 0;
        CURLcode code = curl_easy_send(connection->curl, connection->request.data + connection->sent,
                                       connection->request.size - connection->sent, &put);
        if (code == CURLE_AGAIN) return;
        if (code != CURLE_OK) {
            end(loader, connection, true);
            return;
        }
        connection->sent += put;
        loader->bytes_out += put;
    }
}

/* In mixed mode each tenth request is a put. */
static void begin(struct loader *loader, struct connection *connection)
{
    const struct bench *bench = loader->bench;
    CHECK(connection->open && connection->sent == connection->request.size);
    size_t index = loader->next++;
    const struct entry *entry = &bench->entries[index * 2654435761u % bench->keys];
    bool put = bench->mode == MODE_PUT || (bench->mode == MODE_MIXED && index % 10 == 9);
    connection->request = buf_view(put ? &entry->put : bench->mode == MODE_GET ? &entry->get : &entry->lookup);
    connection->sent = connection->received = connection->answer_size = 0;
    connection->started_ns = clock_mono_ns(clock_system());
    send_rest(loader, connection);
}

/* Looks for the end of the head; what is known then is status and size. False for what this client does not
 * understand. */
static bool read_head(struct connection *connection, const char *bytes, size_t size)
{
    size_t room = HEAD_BYTES - connection->received, taken = size < room ? size : room;
    memcpy(connection->head + connection->received, bytes, taken);
    connection->head[connection->received + taken] = '\0';
    char *blank = strstr(connection->head, "\r\n\r\n");
    if (blank == NULL) return taken == size;
    blank[2] = '\0';
    if (strncmp(connection->head, "HTTP/1.1 ", 9) != 0) return false;
    connection->status = (int)strtol(connection->head + 9, NULL, 10);
    connection->answer_size = (size_t)(blank - connection->head) + 4;
    if (connection->status == 204) return true;
    const char *field = strcasestr(connection->head, "\r\ncontent-length:");
    if (field != NULL) connection->answer_size += strtoull(field + 17, NULL, 10);
    return field != NULL;
}

static void take(struct loader *loader, struct connection *connection, size_t size)
{
    loader->bytes_in += size;
    bool good = connection->answer_size > 0 || read_head(connection, loader->bytes, size);
    connection->received += size;
    if (!good || (connection->answer_size > 0 && connection->received > connection->answer_size)) {
        loader->is_no_answer = true;
        end(loader, connection, false);
    } else if (connection->received == connection->answer_size) {
        uint64_t now = clock_mono_ns(clock_system());
        hist_record(&loader->latency_ns, now - connection->started_ns);
        loader->requests++;
        loader->failed += connection->status >= 400;
        if (now < loader->bench->end_ns) begin(loader, connection);
        else end(loader, connection, false);
    }
}

static void on_ready(struct loader *loader, struct connection *connection)
{
    send_rest(loader, connection);
    while (connection->open) {
        size_t got = 0;
        CURLcode code = curl_easy_recv(connection->curl, loader->bytes, sizeof loader->bytes, &got);
        if (code == CURLE_AGAIN) return;
        if (code == CURLE_OK && got > 0) take(loader, connection, got);
        else end(loader, connection, true);
    }
}

static void *run(void *context)
{
    struct loader *loader = context;
    struct epoll_event events[64];
    loader->open = loader->count;
    for (unsigned i = 0; i < loader->count; i++) begin(loader, &loader->connections[i]);
    while (loader->open > 0 && !loader->is_no_answer &&
           clock_mono_ns(clock_system()) < loader->bench->end_ns + BENCH_GRACE_NS) {
        int ready = epoll_wait(loader->epoll, events, COUNT_OF(events), 1000);
        for (int i = 0; i < ready; i++) {
            struct connection *connection = events[i].data.ptr;
            if (connection->open) on_ready(loader, connection);
        }
    }
    loader->broken += loader->open;
    return NULL;
}

static int setup(struct loader *loader, struct bench *bench, unsigned index)
{
    uint64_t threads = bench->threads;
    loader->bench = bench;
    loader->next = bench->keys * 10 / threads * index;
    loader->count = (unsigned)(bench->connections / threads + (index < bench->connections % threads));
    loader->epoll = epoll_create1(EPOLL_CLOEXEC);
    loader->connections = mem_zalloc(&bench->cli->mem, MEM_OTHER, loader->count * sizeof *loader->connections);
    if (loader->epoll < 0 || loader->connections == NULL) return cli_fail("no memory");
    for (unsigned i = 0; i < loader->count; i++) {
        struct connection *connection = &loader->connections[i];
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
        void *curl = NULL;
        int result = session_connect(bench->cli, &curl, &connection->descriptor);
        connection->curl = curl;
        if (result != CLI_OK) return result;
        connection->open = true;
        if (epoll_ctl(loader->epoll, EPOLL_CTL_ADD, connection->descriptor, &event) != 0) return cli_fail("no memory");
    }
    return CLI_OK;
}

static void teardown(struct loader *loader, struct mem *mem)
{
    for (unsigned i = 0; loader->connections != NULL && i < loader->count; i++)
        curl_easy_cleanup(loader->connections[i].curl);
    if (loader->epoll >= 0) close(loader->epoll);
    mem_free(mem, MEM_OTHER, loader->connections, loader->count * sizeof *loader->connections);
}

static void gather(struct bench *bench, const struct loader *loader)
{
    bench->requests += loader->requests;
    bench->failed += loader->failed;
    bench->broken += loader->broken;
    bench->bytes_in += loader->bytes_in;
    bench->bytes_out += loader->bytes_out;
    hist_add(&bench->latency_ns, &loader->latency_ns);
}

static int measure(struct bench *bench)
{
    int result = CLI_OK;
    unsigned made = 0, running = 0;
    size_t bytes = bench->threads * sizeof(struct loader);
    struct loader *loaders = mem_zalloc(&bench->cli->mem, MEM_OTHER, bytes);
    if (loaders == NULL) return cli_fail("no memory");
    while (made < bench->threads && result == CLI_OK) {
        result = setup(&loaders[made], bench, made);
        made++;
    }
    uint64_t started = clock_mono_ns(clock_system());
    bench->end_ns = started + bench->duration_ms * 1000000;
    while (running < made && result == CLI_OK) {
        if (pthread_create(&loaders[running].thread, NULL, run, &loaders[running]) == 0) running++;
        else result = cli_fail("no more threads can be made");
    }
    for (unsigned i = 0; i < made; i++) {
        if (i < running) pthread_join(loaders[i].thread, NULL);
        if (loaders[i].is_no_answer) result = cli_fail("an answer is no HTTP with a length");
        gather(bench, &loaders[i]);
        teardown(&loaders[i], &bench->cli->mem);
    }
    bench->seconds = (double)(clock_mono_ns(clock_system()) - started) * 1e-9;
    mem_free(&bench->cli->mem, MEM_OTHER, loaders, bytes);
    return result;
}

/* ------------------------------------------------------------------------------------------------------- result -- */

static double microseconds(const struct bench *bench, double fraction)
{
    return (double)hist_percentile(&bench->latency_ns, fraction) / 1000;
}

static int print_result(const struct bench *bench)
{
    double rate = (double)bench->requests / bench->seconds;
    if (bench->cli->json) {
        printf("{\"mode\":\"%s\",\"requests\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"broken\":%" PRIu64
               ",\"seconds\":%.3f,\"requests_per_second\":%.1f,"
               "\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64
               ",\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f}\n",
               mode_names[bench->mode], bench->requests, bench->failed, bench->broken, bench->seconds, rate,
               bench->bytes_in, bench->bytes_out, microseconds(bench, 0.5), microseconds(bench, 0.9),
               microseconds(bench, 0.99), microseconds(bench, 0.999), (double)bench->latency_ns.max / 1000);
    } else {
        printf("%s: %" PRIu64 " %s in %.2f s over %" PRIu64 " %s: %.0f a second, %.1f MB/s of answers\n",
               mode_names[bench->mode], bench->requests, plural(bench->requests, "request", "requests"), bench->seconds,
               bench->connections, plural(bench->connections, "connection", "connections"), rate,
               (double)bench->bytes_in / bench->seconds / 1e6);
        print_times_head();
        print_times_of("all", &bench->latency_ns);
        if (bench->failed + bench->broken > 0)
            printf("%" PRIu64 " %s, %" PRIu64 " %s broke\n", bench->failed,
                   plural(bench->failed, "answer was an error", "answers were errors"), bench->broken,
                   plural(bench->broken, "connection", "connections"));
    }
    return bench->failed + bench->broken > 0 ? CLI_NO : CLI_OK;
}

int command_bench(struct cli *cli)
{
    struct bench *bench = mem_zalloc(&cli->mem, MEM_OTHER, sizeof *bench);
    if (bench == NULL) return cli_fail("no memory");
    bench->cli = cli;
    int result = read_options(bench);
    if (result == CLI_OK) result = fill(bench);
    if (result == CLI_OK) result = measure(bench);
    if (result == CLI_OK) result = print_result(bench);
    empty(bench);
    mem_free(&cli->mem, MEM_OTHER, bench, sizeof *bench);
    return result;
}
