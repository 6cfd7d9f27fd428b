/*
 * session.c - one kept-alive connection to the daemon, by libcurl.
 */
#include "cli/cli.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/url.h"
#include "base/view.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define EVENT_MAX_BYTES (16u << 20)

struct session {
    CURLM *multi; /* keeps the connection */
    CURL *curl;
    struct curl_slist *headers; /* sent with every request */
    struct buf url;
};

static const char *session_target(struct cli *cli)
{
    const char *given = cli_value(cli, "url");
    const char *variable = getenv("AICACHE_URL");
    if (given != NULL) return given;
    return variable != NULL && variable[0] != '\0' ? variable : "http://127.0.0.1:8080";
}

static const char *session_unix(struct cli *cli)
{
    const char *given = cli_value(cli, "unix");
    const char *variable = getenv("AICACHE_UNIX");
    if (given != NULL) return given;
    if (cli_has(cli, "url") || variable == NULL || variable[0] == '\0') return NULL;
    return variable;
}

static const char *session_api_key(struct cli *cli)
{
    const char *given = cli_value(cli, "api-key");
    const char *variable = getenv("AICACHE_API_KEY");
    if (given != NULL) return given;
    return variable != NULL && variable[0] != '\0' ? variable : NULL;
}

static int add_header(struct session *session, const char *line)
{
    struct curl_slist *grown = curl_slist_append(session->headers, line);
    if (grown == NULL) return cli_fail("no memory");
    session->headers = grown;
    return CLI_OK;
}

/* The key may stand in a file, so that it does not show in the list of processes. */
static int add_api_key(struct cli *cli, struct session *session)
{
    static const char name[] = "Authorization: Bearer ";
    const char *given = session_api_key(cli);
    struct buf line;
    if (given == NULL) return CLI_OK;
    buf_init(&line, &cli->mem, MEM_OTHER);
    buf_append_text(&line, name);
    int result = cli_read_value(cli, given, &line);
    line.size = view_trim_end(buf_view(&line), "\r\n").size;
    for (size_t at = strlen(name); at < line.size && result == CLI_OK; at++) {
        unsigned char byte = (unsigned char)line.data[at];
        if (byte < ' ' || byte == 0x7f)
            result = cli_fail("the API key cannot be sent: it holds a control character, byte %zu of it",
                              at - strlen(name) + 1);
    }
    buf_append_byte(&line, '\0');
    if (result == CLI_OK) result = buf_status(&line) == AIC_OK ? add_header(session, line.data) : cli_fail("no memory");
    buf_fini(&line);
    return result;
}

static int open_session(struct cli *cli)
{
    struct session *session = mem_zalloc(&cli->mem, MEM_OTHER, sizeof *session);
    if (session == NULL) return cli_fail("no memory");
    cli->session = session;
    buf_init(&session->url, &cli->mem, MEM_OTHER);
    session->curl = curl_easy_init();
    session->multi = curl_multi_init();
    if (session->curl == NULL || session->multi == NULL) return cli_fail("no memory");
    if (add_header(session, "Content-Type: application/json") != CLI_OK || add_header(session, "Expect:") != CLI_OK)
        return CLI_ERROR;
    return add_api_key(cli, session);
}

void session_close(struct session **session)
{
    if (*session == NULL) return;
    curl_slist_free_all((*session)->headers);
    curl_easy_cleanup((*session)->curl);
    curl_multi_cleanup((*session)->multi);
    struct mem *mem = (*session)->url.mem;
    buf_fini(&(*session)->url);
    mem_free(mem, MEM_OTHER, *session, sizeof **session);
    *session = NULL;
}

/* Everything but the body's way. */
static int prepare(struct cli *cli, const char *verb, const char *path)
{
    if (cli->session == NULL) {
        int failed = open_session(cli);
        if (failed != CLI_OK) return failed;
    }
    struct session *session = cli->session;
    const char *base = session_unix(cli) != NULL ? "http://aicache" : session_target(cli);
    size_t size = strlen(base);
    while (size > 0 && base[size - 1] == '/') size--;
    buf_clear(&session->url);
    buf_append(&session->url, base, size);
    buf_append_text(&session->url, path);
    buf_append_byte(&session->url, '\0');
    if (buf_status(&session->url) != AIC_OK) return cli_fail("no memory");
    CURL *curl = session->curl;
    curl_easy_reset(curl); /* the connection stays */
    curl_easy_setopt(curl, CURLOPT_URL, session->url.data);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, verb);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, session->headers);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, session_unix(cli));
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, 5000L);
    /* A proxy of the environment is for other machines: it could not reach this one, and would see the key. */
    if (session_unix(cli) != NULL || url_is_local(base)) curl_easy_setopt(curl, CURLOPT_PROXY, "");
    const char *authority = cli_value(cli, "ca");
    if (authority != NULL) curl_easy_setopt(curl, CURLOPT_CAINFO, authority);
    return CLI_OK;
}

const char *session_place(struct cli *cli)
{
    return session_unix(cli) != NULL ? session_unix(cli) : url_place(session_target(cli), cli->place);
}

/* Notes why nobody answered. */
static void note_failure(struct reply *reply, CURLcode code, const char *why)
{
    reply->status = 0;
    reply->absent = code == CURLE_COULDNT_CONNECT;
    snprintf(reply->why, sizeof reply->why, "%s", why[0] != '\0' ? why : curl_easy_strerror(code));
}

int session_connect(struct cli *cli, void **out, int *descriptor)
{
    char why[CURL_ERROR_SIZE] = "";
    struct reply reply = {0};
    curl_socket_t socket;
    CHECK(cli->session != NULL); /* something was asked before */
    CURL *curl = curl_easy_duphandle(cli->session->curl);
    if (curl == NULL) return cli_fail("no memory");
    curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 1L); /* what was asked last watched its own */
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    if (code == CURLE_OK) code = curl_easy_getinfo(curl, CURLINFO_ACTIVESOCKET, &socket);
    *out = curl;
    *descriptor = code == CURLE_OK ? socket : -1;
    if (code == CURLE_OK) return CLI_OK;
    note_failure(&reply, code, why);
    return session_complain(cli, &reply);
}

void session_write_head(struct cli *cli, struct buf *out)
{
    char *host = NULL, *port = NULL;
    CURLU *url = curl_url();
    CHECK(cli->session != NULL);
    if (url != NULL && curl_url_set(url, CURLUPART_URL, cli->session->url.data, CURLU_GUESS_SCHEME) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
        buf_printf(out, "Host: %s:%s\r\n", host, port);
    else out->failed = true;
    for (const struct curl_slist *line = cli->session->headers; line != NULL; line = line->next) {
        if (line->data[strlen(line->data) - 1] != ':') buf_printf(out, "%s\r\n", line->data); /* others are left out */
    }
    curl_free(port);
    curl_free(host);
    curl_url_cleanup(url);
}

void reply_parse(struct reply *reply)
{
    if (reply->json != NULL || reply->body.size == 0 || reply->body.size > INT32_MAX) return;
    json_tokener *tokener = json_tokener_new();
    if (tokener == NULL) return;
    reply->json = json_tokener_parse_ex(tokener, reply->body.data, (int)reply->body.size);
    json_tokener_free(tokener);
}

void reply_fini(struct reply *reply)
{
    json_object_put(reply->json);
    reply->json = NULL;
    if (reply->body.mem != NULL) buf_fini(&reply->body);
}

int session_complain(struct cli *cli, const struct reply *reply)
{
    if (reply->status == 0 && reply->why[0] == '\0') return CLI_ERROR; /* it was told before anything was asked */
    if (reply->status == 0)
        return cli_fail("%s cannot be asked: %s%s", session_place(cli), reply->why,
                        reply->absent ? " (is aicached running there? --url, --unix, AICACHE_URL and AICACHE_UNIX "
                                        "name another place)"
                                      : "");
    if (cli->json && reply->json != NULL) {
        print_json(reply);
        return CLI_ERROR;
    }
    const char *parameter = json_text_at(reply->json, "error.param", NULL);
    const char *message = json_text_at(reply->json, "error.message",
                                       "the answer explains nothing; is this an aicached?");
    fprintf(stderr, "aicache: %ld: ", reply->status);
    print_param(stderr, parameter);
    print_cell(stderr, message, 2000, false);
    fputs(reply->status == 401 ? " (--api-key or AICACHE_API_KEY gives one)\n" : "\n", stderr);
    return CLI_ERROR;
}

/* ---------------------------------------------------------------------------------------------------- exchange -- */

/* One request and its answer under way. */
struct exchange {
    struct session_stream *stream;
    struct reply *reply;
    CURL *curl;
    struct progress progress;
    uint64_t done;     /* bytes, for it */
    struct buf line;   /* of events: what came of the one under way */
    uint64_t limit_ns; /* without progress; 0: none */
    uint64_t moved_ns; /* when there was progress the last time */
    curl_off_t moved;  /* bytes on the wire up to then, in both directions */
    bool late;
    bool ended; /* by who takes the events */
    int error;  /* errno of the source or the sink, which is then at fault */
};

/* What the source or the sink takes is no time of the daemon's. */
static void note_progress(struct exchange *exchange)
{
    exchange->moved_ns = clock_mono_ns(clock_system());
}

static void show(struct exchange *exchange, size_t bytes)
{
    char size[PRINT_BYTES];
    exchange->done += bytes;
    note_progress(exchange);
    progress_show(&exchange->progress, exchange->done, print_size(size, exchange->done));
}

/* Called by curl all the time. */
static int watch_progress(void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct exchange *exchange = context;
    (void)down_total, (void)up_total;
    if (exchange->moved != down + up) {
        exchange->moved = down + up;
        note_progress(exchange);
    }
    exchange->late = clock_mono_ns(clock_system()) - exchange->moved_ns > exchange->limit_ns;
    return exchange->late;
}

/* --timeout bounds the time without progress, and not the whole, which is as long as there are entries. */
static int limit_waiting(struct cli *cli, struct exchange *exchange)
{
    uint64_t timeout_ms = exchange->stream->patient ? 0 : 30000;
    if (cli_number(cli, "timeout", OPTION_MS, &timeout_ms) != CLI_OK) return CLI_ERROR;
    if (timeout_ms == 0) return CLI_OK;
    exchange->limit_ns = timeout_ms < UINT64_MAX / 1000000 ? timeout_ms * 1000000 : UINT64_MAX;
    note_progress(exchange);
    curl_easy_setopt(exchange->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(exchange->curl, CURLOPT_XFERINFOFUNCTION, watch_progress);
    curl_easy_setopt(exchange->curl, CURLOPT_XFERINFODATA, exchange);
    return CLI_OK;
}

static size_t give_piece(char *room, size_t unit, size_t count, void *context)
{
    struct exchange *exchange = context;
    size_t got = fread(room, 1, unit * count, exchange->stream->source);
    if (got == 0 && ferror(exchange->stream->source)) {
        exchange->error = errno;
        return CURL_READFUNC_ABORT;
    }
    show(exchange, got);
    return got;
}

static size_t take_for_sink(struct exchange *exchange, const char *bytes, size_t size)
{
    struct session_stream *stream = exchange->stream;
    size_t put = fwrite(bytes, 1, size, stream->sink);
    if (put < size) exchange->error = errno;
    stream->bytes += put;
    for (size_t at = 0; at < put; at++) stream->lines += bytes[at] == '\n';
    show(exchange, put);
    return put;
}

/* Lines that begin with "data: " are events; the stream of one daemon has no others. */
static size_t take_events(struct exchange *exchange, const char *bytes, size_t size)
{
    const struct session_stream *stream = exchange->stream;
    for (size_t at = 0; at < size && !exchange->ended;) {
        const char *end = memchr(bytes + at, '\n', size - at);
        size_t piece = end != NULL ? (size_t)(end - bytes) + 1 - at : size - at;
        buf_append(&exchange->line, bytes + at, piece);
        at += piece;
        if (buf_status(&exchange->line) != AIC_OK || exchange->line.size > EVENT_MAX_BYTES) return 0;
        if (end == NULL) continue;
        aic_view line = view_trim_end(buf_view(&exchange->line), "\r\n");
        if (line.size > 6 && memcmp(line.data, "data: ", 6) == 0)
            exchange->ended = !stream->take(stream->context, (aic_view){line.data + 6, line.size - 6});
        buf_clear(&exchange->line);
    }
    return exchange->ended ? 0 : size;
}

/* Good answers go where the caller wants them, others into the reply. */
static size_t take_piece(char *bytes, size_t unit, size_t count, void *context)
{
    struct exchange *exchange = context;
    struct buf *body = &exchange->reply->body;
    long status = 0;
    curl_easy_getinfo(exchange->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status < 300 && exchange->stream->sink != NULL) return take_for_sink(exchange, bytes, unit * count);
    if (status < 300 && exchange->stream->take != NULL) return take_events(exchange, bytes, unit * count);
    buf_append(body, bytes, unit * count);
    return buf_status(body) == AIC_OK ? unit * count : 0;
}

/* Drives the transfer, so that nothing is waited for longer than a tenth of a second. */
static CURLcode drive(struct session *session, struct exchange *exchange)
{
    const struct session_stream *stream = exchange->stream;
    int running = 1, left;
    if (curl_multi_add_handle(session->multi, session->curl) != CURLM_OK) return CURLE_OUT_OF_MEMORY;
    while (curl_multi_perform(session->multi, &running) == CURLM_OK && running > 0 && !exchange->ended) {
        exchange->ended = stream->idle != NULL && !stream->idle(stream->context);
        if (!exchange->ended) curl_multi_poll(session->multi, NULL, 0, 100, NULL);
    }
    const CURLMsg *message = curl_multi_info_read(session->multi, &left);
    CURLcode code = message != NULL ? message->data.result : CURLE_RECV_ERROR;
    curl_multi_remove_handle(session->multi, session->curl);
    return code;
}

static void set_bodies(struct exchange *exchange, const char *verb)
{
    CURL *curl = exchange->curl;
    const struct session_stream *stream = exchange->stream;
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_piece);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
    if (stream->source != NULL) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, verb);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, give_piece);
        curl_easy_setopt(curl, CURLOPT_READDATA, exchange);
        if (stream->total > 0) curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)stream->total);
    } else if (stream->body.data != NULL || strcmp(verb, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, stream->body.data != NULL ? stream->body.data : "");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)stream->body.size);
    }
}

/* What came of it. */
static int judge(struct cli *cli, const struct exchange *exchange, CURLcode code, const char *why)
{
    char limit[PRINT_BYTES];
    const struct session_stream *stream = exchange->stream;
    struct reply *reply = exchange->reply;
    if (exchange->ended) return CLI_OK;
    if (exchange->error != 0 && stream->sink == stdout) return output_lost(exchange->error);
    if (exchange->error != 0) return cli_fail("%s: %s", stream->name, strerror(exchange->error));
    if (exchange->late)
        return cli_fail("%s: nothing moved for %s (--timeout allows more)", session_place(cli),
                        print_duration(limit, (double)exchange->limit_ns * 1e-9));
    if (code != CURLE_OK) note_failure(reply, code, why);
    else curl_easy_getinfo(exchange->curl, CURLINFO_RESPONSE_CODE, &reply->status);
    if (code == CURLE_OK && stream->any_status) return CLI_OK;
    reply_parse(reply);
    if (stream->take != NULL) {
        if (code == CURLE_OK && reply->status < 300) note_failure(reply, code, "the stream ended");
        reply->absent = true;
        return CLI_ERROR;
    }
    if (reply->status == 404 && json_at(reply->json, "error") != NULL) return CLI_NO;
    return reply->status >= 400 || reply->status < 200 ? session_complain(cli, reply) : CLI_OK;
}

int session_stream(struct cli *cli, const char *verb, const char *path, struct session_stream *stream,
                   struct reply *reply)
{
    char why[CURL_ERROR_SIZE] = "";
    CHECK(stream->body.data == NULL || stream->source == NULL);
    CHECK(stream->sink == NULL || stream->take == NULL);
    *reply = (struct reply){0};
    buf_init(&reply->body, &cli->mem, MEM_OTHER);
    int failed = prepare(cli, verb, path);
    if (failed != CLI_OK) return failed;
    struct exchange exchange = {.stream = stream, .reply = reply, .curl = cli->session->curl};
    if (stream->take == NULL && limit_waiting(cli, &exchange) != CLI_OK) return CLI_ERROR;
    buf_init(&exchange.line, &cli->mem, MEM_OTHER);
    set_bodies(&exchange, verb);
    if (stream->what != NULL) progress_begin(&exchange.progress, stream->what, stream->total);
    curl_easy_setopt(exchange.curl, CURLOPT_ERRORBUFFER, why);
    CURLcode code = drive(cli->session, &exchange);
    curl_easy_setopt(exchange.curl, CURLOPT_ERRORBUFFER, NULL);
    progress_end(&exchange.progress);
    buf_fini(&exchange.line);
    return judge(cli, &exchange, code, why);
}

int session_send(struct cli *cli, const char *verb, const char *path, aic_view body, struct reply *reply)
{
    struct session_stream stream = {.body = body, .any_status = true};
    return session_stream(cli, verb, path, &stream, reply);
}

int session_ask(struct cli *cli, const char *verb, const char *path, aic_view body, struct reply *reply)
{
    struct session_stream stream = {.body = body};
    return session_stream(cli, verb, path, &stream, reply);
}

void query_add(struct buf *path, const char *name, const char *value)
{
    char *escaped = value != NULL ? curl_easy_escape(NULL, value, (int)strlen(value)) : NULL;
    bool more = path->size > 0 && memchr(path->data, '?', path->size) != NULL;
    if (escaped != NULL) buf_printf(path, "%c%s=%s", more ? '&' : '?', name, escaped);
    path->failed = path->failed || (value != NULL && escaped == NULL);
    curl_free(escaped);
}
