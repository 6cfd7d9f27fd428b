/*
 * bench.c - `aicache bench`: fills the cache with entries of its own, then measures.
 */
#include "cli/commands.h"

#include "base/check.h"
#include "base/plural.h"
#include "cli/load.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <limits.h>
#include <netdb.h>
#include <string.h>
#include <sys/un.h>

#define BENCH_OPERATION "aicache-bench"

enum mode { MODE_LOOKUP, MODE_GET, MODE_PUT, MODE_MIXED };
static const char *const mode_names[] = {"lookup", "get", "put", "mixed"};

struct bench {
    struct cli *cli;
    enum mode mode;
    uint64_t duration_ms, connections, threads, keys, bytes;
    struct buf lookups, gets, puts;              /* requests, one after the other */
    uint32_t *lookup_ends, *get_ends, *put_ends; /* owned, `keys` each: where each request ends */
    aic_view *requests;                          /* owned, what is sent */
    size_t request_count;
    char host[300];
};

static int read_options(struct bench *bench)
{
    struct cli *cli = bench->cli;
    const char *mode = cli_value(cli, "mode");
    size_t found = mode == NULL ? 0 : COUNT_OF(mode_names);
    for (size_t i = 0; mode != NULL && i < COUNT_OF(mode_names); i++) {
        if (strcmp(mode, mode_names[i]) == 0) found = i;
    }
    if (found == COUNT_OF(mode_names)) return cli_fail("--mode: accepted: lookup, get, put, mixed");
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

/* --------------------------------------------------------------------------------------------------- addresses -- */

static int resolve(struct bench *bench, const char *host, const char *port, struct load_options *options)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char plain[256];
    snprintf(plain, sizeof plain, "%s", host[0] == '[' ? host + 1 : host);
    plain[strcspn(plain, "]")] = '\0';
    int failed = getaddrinfo(plain, port, &hints, &found);
    if (failed != 0) return cli_fail("%s: %s", host, gai_strerror(failed));
    memcpy(&options->address, found->ai_addr, found->ai_addrlen);
    options->address_size = found->ai_addrlen;
    freeaddrinfo(found);
    snprintf(bench->host, sizeof bench->host, "%s:%s", host, port);
    return CLI_OK;
}

static int find_unix(struct bench *bench, const char *path, struct load_options *options)
{
    struct sockaddr_un *address = (struct sockaddr_un *)&options->address;
    address->sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address->sun_path) return cli_fail("the path of the unix socket is too long");
    strcpy(address->sun_path, path);
    options->address_size = sizeof *address;
    snprintf(bench->host, sizeof bench->host, "aicache");
    return CLI_OK;
}

static int find_address(struct bench *bench, struct load_options *options)
{
    struct cli *cli = bench->cli;
    if (session_unix(cli) != NULL) return find_unix(bench, session_unix(cli), options);
    CURLU *url = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;
    int result = CLI_ERROR;
    if (url == NULL || curl_url_set(url, CURLUPART_URL, session_target(cli), CURLU_DEFAULT_SCHEME) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK)
        cli_fail("%s is no address", session_place(cli));
    else if (strcmp(scheme, "http") != 0)
        cli_fail("bench speaks plain HTTP, and no TCP address does where TLS is configured: let the daemon listen on a "
                 "unix socket too, and give --unix PATH");
    else result = resolve(bench, host, port, options);
    curl_free(port);
    curl_free(host);
    curl_free(scheme);
    curl_url_cleanup(url);
    return result;
}

/* ---------------------------------------------------------------------------------------------------- requests -- */

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

static int write_head(struct bench *bench, const char *verb, const char *path, size_t body, struct buf *out)
{
    buf_printf(out, "%s %s HTTP/1.1\r\nHost: %s\r\n", verb, path, bench->host);
    if (body > 0) buf_printf(out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body);
    if (session_authorization(bench->cli, out) != CLI_OK) return CLI_ERROR;
    buf_append_text(out, session_api_key(bench->cli) != NULL ? "\r\n\r\n" : "\r\n");
    return CLI_OK;
}

static int add_request(struct bench *bench, const char *verb, const char *path, const struct buf *body, struct buf *out,
                       uint32_t *end)
{
    if (write_head(bench, verb, path, body != NULL ? body->size : 0, out) != CLI_OK) return CLI_ERROR;
    if (body != NULL) buf_append_view(out, buf_view(body));
    *end = (uint32_t)out->size;
    return buf_status(out) == AIC_OK && out->size < UINT32_MAX ? CLI_OK : cli_fail("no memory");
}

/* Stores one entry, which tells its key, and makes its requests. */
static int prepare_key(struct bench *bench, uint64_t key, struct buf *body)
{
    struct reply reply;
    char path[128];
    buf_clear(body);
    write_body(bench, key, true, body);
    if (buf_status(body) != AIC_OK) return cli_fail("no memory");
    int result = session_ask(bench->cli, "PUT", "/cache/entries", buf_view(body), &reply);
    if (result == CLI_NO) result = session_complain(bench->cli, &reply);
    if (result == CLI_OK) snprintf(path, sizeof path, "/cache/entries/%.64s", json_text_at(reply.json, "key", ""));
    if (result == CLI_OK)
        result = add_request(bench, "PUT", "/cache/entries", body, &bench->puts, &bench->put_ends[key]);
    if (result == CLI_OK) result = add_request(bench, "GET", path, NULL, &bench->gets, &bench->get_ends[key]);
    buf_clear(body);
    write_body(bench, key, false, body);
    if (result == CLI_OK)
        result = add_request(bench, "POST", "/cache/lookup", body, &bench->lookups, &bench->lookup_ends[key]);
    reply_fini(&reply);
    return result;
}

static aic_view request_of(const struct buf *all, const uint32_t *ends, size_t index)
{
    size_t start = index > 0 ? ends[index - 1] : 0;
    return (aic_view){all->data + start, ends[index] - start};
}

/* In mixed mode each tenth request is a put. */
static void arrange(struct bench *bench)
{
    for (size_t i = 0; i < bench->request_count; i++) {
        size_t key = (size_t)((i * 2654435761u) % bench->keys);
        bool put = bench->mode == MODE_PUT || (bench->mode == MODE_MIXED && i % 10 == 9);
        if (put) bench->requests[i] = request_of(&bench->puts, bench->put_ends, key);
        else if (bench->mode == MODE_GET) bench->requests[i] = request_of(&bench->gets, bench->get_ends, key);
        else bench->requests[i] = request_of(&bench->lookups, bench->lookup_ends, key);
    }
}

static int prepare(struct bench *bench)
{
    struct mem *mem = &bench->cli->mem;
    struct progress progress;
    struct buf body;
    size_t ends = (size_t)bench->keys * sizeof(uint32_t);
    bench->request_count = (size_t)bench->keys * 10;
    bench->lookup_ends = mem_alloc(mem, MEM_OTHER, ends);
    bench->get_ends = mem_alloc(mem, MEM_OTHER, ends);
    bench->put_ends = mem_alloc(mem, MEM_OTHER, ends);
    bench->requests = mem_alloc(mem, MEM_OTHER, bench->request_count * sizeof *bench->requests);
    if (bench->lookup_ends == NULL || bench->get_ends == NULL || bench->put_ends == NULL || bench->requests == NULL)
        return cli_fail("no memory");
    int result = CLI_OK;
    buf_init(&body, mem, MEM_OTHER);
    progress_begin(&progress, "fill", bench->keys);
    for (uint64_t key = 0; key < bench->keys && result == CLI_OK; key++) {
        result = prepare_key(bench, key, &body);
        progress_show(&progress, key, "");
    }
    progress_end(&progress);
    buf_fini(&body);
    if (result == CLI_OK) arrange(bench);
    return result;
}

static void fini(struct bench *bench)
{
    struct mem *mem = &bench->cli->mem;
    size_t ends = (size_t)bench->keys * sizeof(uint32_t);
    mem_free(mem, MEM_OTHER, bench->lookup_ends, ends);
    mem_free(mem, MEM_OTHER, bench->get_ends, ends);
    mem_free(mem, MEM_OTHER, bench->put_ends, ends);
    mem_free(mem, MEM_OTHER, bench->requests, bench->request_count * sizeof *bench->requests);
    buf_fini(&bench->lookups);
    buf_fini(&bench->gets);
    buf_fini(&bench->puts);
}

/* ------------------------------------------------------------------------------------------------------ result -- */

static double microseconds(const struct load_result *result, double fraction)
{
    return (double)hist_percentile(&result->latency_ns, fraction) / 1000;
}

static void print_result(const struct bench *bench, const struct load_result *result)
{
    double rate = (double)result->requests / result->seconds;
    double traffic = (double)result->bytes_in / result->seconds / 1e6;
    if (bench->cli->json) {
        printf("{\"mode\":\"%s\",\"requests\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"broken\":%" PRIu64
               ",\"seconds\":%.3f,\"requests_per_second\":%.1f,"
               "\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64
               ",\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f}\n",
               mode_names[bench->mode], result->requests, result->failed, result->broken, result->seconds, rate,
               result->bytes_in, result->bytes_out, microseconds(result, 0.5), microseconds(result, 0.9),
               microseconds(result, 0.99), microseconds(result, 0.999), (double)result->latency_ns.max / 1000);
        return;
    }
    printf("%s: %" PRIu64 " %s in %.2f s over %" PRIu64 " %s: %.0f a second, %.1f MB/s of answers\n",
           mode_names[bench->mode], result->requests, plural(result->requests, "request", "requests"), result->seconds,
           bench->connections, plural(bench->connections, "connection", "connections"), rate, traffic);
    print_times_head();
    print_times_of("all", &result->latency_ns);
    if (result->failed + result->broken > 0)
        printf("%" PRIu64 " %s, %" PRIu64 " %s broke\n", result->failed,
               plural(result->failed, "answer was an error", "answers were errors"), result->broken,
               plural(result->broken, "connection", "connections"));
}

static int measure(struct bench *bench)
{
    struct load_options options = {.mem = &bench->cli->mem,
                                   .threads = (unsigned)bench->threads,
                                   .connections = (unsigned)bench->connections,
                                   .duration_ns = bench->duration_ms * 1000000};
    struct load_result *result = mem_alloc(&bench->cli->mem, MEM_OTHER, sizeof *result);
    int outcome = result != NULL ? find_address(bench, &options) : cli_fail("no memory");
    if (outcome == CLI_OK) outcome = prepare(bench);
    if (outcome == CLI_OK) {
        options.requests = bench->requests;
        options.request_count = bench->request_count;
        aic_status status = load_run(&options, result);
        if (status == AIC_OK) print_result(bench, result);
        else outcome = cli_fail("the daemon's answers could not be measured: %s", aic_status_text(status));
        if (status == AIC_OK && result->failed + result->broken > 0) outcome = CLI_NO;
    }
    mem_free(&bench->cli->mem, MEM_OTHER, result, sizeof *result);
    return outcome;
}

int command_bench(struct cli *cli)
{
    struct bench bench = {.cli = cli};
    if (read_options(&bench) != CLI_OK) return CLI_ERROR;
    buf_init(&bench.lookups, &cli->mem, MEM_OTHER);
    buf_init(&bench.gets, &cli->mem, MEM_OTHER);
    buf_init(&bench.puts, &cli->mem, MEM_OTHER);
    int result = measure(&bench);
    fini(&bench);
    return result;
}
