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

struct session {
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
    if (session->curl == NULL) return cli_fail("no memory");
    if (add_header(session, "Content-Type: application/json") != CLI_OK || add_header(session, "Expect:") != CLI_OK)
        return CLI_ERROR;
    return add_api_key(cli, session);
}

void session_close(struct session **session)
{
    if (*session == NULL) return;
    curl_slist_free_all((*session)->headers);
    if ((*session)->curl != NULL) curl_easy_cleanup((*session)->curl);
    struct mem *mem = (*session)->url.mem;
    buf_fini(&(*session)->url);
    mem_free(mem, MEM_OTHER, *session, sizeof **session);
    *session = NULL;
}

static size_t take_body(char *bytes, size_t unit, size_t count, void *context)
{
    struct reply *reply = context;
    buf_append(&reply->body, bytes, unit * count);
    return buf_status(&reply->body) == AIC_OK ? unit * count : 0;
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
    uint64_t timeout = 30000;
    if (cli_number(cli, "timeout", OPTION_MS, &timeout) != CLI_OK) return CLI_ERROR;
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
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)timeout);
    /* A proxy of the environment is for other machines: it could not reach this one, and would see the key. */
    if (session_unix(cli) != NULL || url_is_local(base)) curl_easy_setopt(curl, CURLOPT_PROXY, "");
    const char *authority = cli_value(cli, "ca");
    if (authority != NULL) curl_easy_setopt(curl, CURLOPT_CAINFO, authority);
    return CLI_OK;
}

/* `why` gets curl's own words, or stays empty. */
static CURLcode transfer(struct cli *cli, struct reply *reply, char why[CURL_ERROR_SIZE])
{
    CURL *curl = cli->session->curl;
    why[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    if (code == CURLE_OK) curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &reply->status);
    return code;
}

const char *session_place(struct cli *cli)
{
    return session_unix(cli) != NULL ? session_unix(cli) : url_place(session_target(cli), cli->place);
}

static int blame_daemon(struct cli *cli, CURLcode code, const char *why)
{
    return cli_fail("%s cannot be asked: %s%s", session_place(cli), why[0] != '\0' ? why : curl_easy_strerror(code),
                    code == CURLE_COULDNT_CONNECT ? " (is aicached running there? --url, --unix, AICACHE_URL and "
                                                    "AICACHE_UNIX name another place)"
                                                  : "");
}

static int perform(struct cli *cli, struct reply *reply)
{
    char why[CURL_ERROR_SIZE];
    CURLcode code = transfer(cli, reply, why);
    return code == CURLE_OK ? CLI_OK : blame_daemon(cli, code, why);
}

int session_send(struct cli *cli, const char *verb, const char *path, aic_view body, struct reply *reply)
{
    *reply = (struct reply){0};
    buf_init(&reply->body, &cli->mem, MEM_OTHER);
    int failed = prepare(cli, verb, path);
    if (failed != CLI_OK) return failed;
    CURL *curl = cli->session->curl;
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    if (body.data != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.size);
    } else if (strcmp(verb, "POST") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    }
    return perform(cli, reply);
}

int session_connect(struct cli *cli, void **out, int *descriptor)
{
    char why[CURL_ERROR_SIZE] = "";
    curl_socket_t socket;
    CHECK(cli->session != NULL); /* something was asked before */
    CURL *curl = curl_easy_duphandle(cli->session->curl);
    if (curl == NULL) return cli_fail("no memory");
    curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L);
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, NULL);
    if (code == CURLE_OK) code = curl_easy_getinfo(curl, CURLINFO_ACTIVESOCKET, &socket);
    *out = curl;
    *descriptor = code == CURLE_OK ? socket : -1;
    return code == CURLE_OK ? CLI_OK : blame_daemon(cli, code, why);
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

static void parse(struct reply *reply)
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

static int judge(struct cli *cli, struct reply *reply)
{
    parse(reply);
    if (reply->status == 404 && json_at(reply->json, "error") != NULL) return CLI_NO;
    return reply->status >= 400 || reply->status < 200 ? session_complain(cli, reply) : CLI_OK;
}

int session_ask(struct cli *cli, const char *verb, const char *path, aic_view body, struct reply *reply)
{
    int failed = session_send(cli, verb, path, body, reply);
    return failed != CLI_OK ? failed : judge(cli, reply);
}

/* --------------------------------------------------------------------------------------------------- streaming -- */

struct streaming {
    struct session_stream *stream;
    struct reply *reply;
    struct progress progress;
    CURL *curl;
    uint64_t done;
    uint64_t limit_ns; /* without progress; 0: none */
    uint64_t moved_ns; /* when there was progress the last time */
    curl_off_t moved;  /* bytes on the wire up to then, in both directions */
    bool late;
    int error; /* errno of the source or the sink, which is then at fault */
};

static void show(struct streaming *streaming)
{
    char size[PRINT_BYTES];
    progress_show(&streaming->progress, streaming->done, print_size(size, streaming->done));
}

/* What the source or the sink takes is no time of the daemon's. */
static void note_progress(struct streaming *streaming)
{
    streaming->moved_ns = clock_mono_ns(clock_system());
}

/* Called by curl at least once a second. */
static int watch_progress(void *context, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    struct streaming *streaming = context;
    (void)down_total, (void)up_total;
    if (streaming->moved != down + up) {
        streaming->moved = down + up;
        note_progress(streaming);
    }
    streaming->late = clock_mono_ns(clock_system()) - streaming->moved_ns > streaming->limit_ns;
    return streaming->late;
}

/* --timeout bounds the time without progress, and not the whole, which is as long as there are entries. */
static int limit_waiting(struct cli *cli, struct streaming *streaming)
{
    uint64_t timeout_ms = streaming->stream->patient ? 0 : 30000;
    CURL *curl = streaming->curl;
    if (cli_number(cli, "timeout", OPTION_MS, &timeout_ms) != CLI_OK) return CLI_ERROR;
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 0L);
    if (timeout_ms == 0) return CLI_OK;
    streaming->limit_ns = timeout_ms < UINT64_MAX / 1000000 ? timeout_ms * 1000000 : UINT64_MAX;
    note_progress(streaming);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watch_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, streaming);
    return CLI_OK;
}

static int blame_waiting(struct cli *cli, const struct streaming *streaming)
{
    char limit[PRINT_BYTES];
    return cli_fail("%s: nothing moved for %s (--timeout allows more)", session_place(cli),
                    print_duration(limit, (double)streaming->limit_ns * 1e-9));
}

static size_t give_piece(char *room, size_t unit, size_t count, void *context)
{
    struct streaming *streaming = context;
    size_t got = fread(room, 1, unit * count, streaming->stream->source);
    if (got == 0 && ferror(streaming->stream->source)) {
        streaming->error = errno;
        return CURL_READFUNC_ABORT;
    }
    streaming->done += got;
    note_progress(streaming);
    show(streaming);
    return got;
}

/* Good answers go to the sink, others into the reply. */
static size_t take_piece(char *bytes, size_t unit, size_t count, void *context)
{
    struct streaming *streaming = context;
    long status = 0;
    curl_easy_getinfo(streaming->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 300 || streaming->stream->sink == NULL) return take_body(bytes, unit, count, streaming->reply);
    size_t put = fwrite(bytes, 1, unit * count, streaming->stream->sink);
    if (put < unit * count) streaming->error = errno;
    streaming->stream->bytes += put;
    for (const char *at = bytes, *end = bytes + put; at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL;
         at++)
        streaming->stream->lines++;
    note_progress(streaming);
    if (streaming->stream->source == NULL) {
        streaming->done += put;
        show(streaming);
    }
    return put;
}

int session_stream(struct cli *cli, const char *verb, const char *path, struct session_stream *stream,
                   struct reply *reply)
{
    struct streaming streaming = {.stream = stream, .reply = reply};
    *reply = (struct reply){0};
    buf_init(&reply->body, &cli->mem, MEM_OTHER);
    int failed = prepare(cli, verb, path);
    if (failed != CLI_OK) return failed;
    CURL *curl = cli->session->curl;
    streaming.curl = curl;
    if (limit_waiting(cli, &streaming) != CLI_OK) return CLI_ERROR;
    progress_begin(&streaming.progress, stream->what, stream->total);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_piece);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &streaming);
    if (stream->source != NULL) {
        curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, verb);
        curl_easy_setopt(curl, CURLOPT_READFUNCTION, give_piece);
        curl_easy_setopt(curl, CURLOPT_READDATA, &streaming);
        if (stream->total > 0) curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)stream->total);
    }
    char why[CURL_ERROR_SIZE];
    CURLcode code = transfer(cli, reply, why);
    progress_end(&streaming.progress);
    if (streaming.error != 0 && stream->sink == stdout) return output_lost(streaming.error);
    if (streaming.error != 0) return cli_fail("%s: %s", stream->name, strerror(streaming.error));
    if (streaming.late) return blame_waiting(cli, &streaming);
    if (code != CURLE_OK) return blame_daemon(cli, code, why);
    if (!stream->any_status) return judge(cli, reply);
    parse(reply);
    return CLI_OK;
}

/* ------------------------------------------------------------------------------------------------------ events -- */

struct events {
    CURL *curl;
    struct buf line;
    struct reply *refusal; /* the body of an answer that is no stream */
    session_take_fn *take;
    session_idle_fn *idle;
    void *context;
    bool ended; /* by take or idle */
};

static void take_line(struct events *events)
{
    aic_view line = buf_view(&events->line);
    while (line.size > 0 && (line.data[line.size - 1] == '\n' || line.data[line.size - 1] == '\r')) line.size--;
    if (line.size > 6 && memcmp(line.data, "data: ", 6) == 0 && !events->ended) {
        events->ended = !events->take(events->context, (aic_view){line.data + 6, line.size - 6});
    }
    buf_clear(&events->line);
}

static size_t take_events(char *bytes, size_t unit, size_t count, void *context)
{
    struct events *events = context;
    size_t size = unit * count;
    long status = 0;
    curl_easy_getinfo(events->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) return take_body(bytes, unit, count, events->refusal);
    for (size_t at = 0; at < size && !events->ended;) {
        const char *end = memchr(bytes + at, '\n', size - at);
        size_t piece = end != NULL ? (size_t)(end - bytes) + 1 - at : size - at;
        buf_append(&events->line, bytes + at, piece);
        at += piece;
        if (end != NULL) take_line(events);
        if (buf_status(&events->line) != AIC_OK || events->line.size > (16u << 20)) return 0;
    }
    return events->ended ? 0 : size;
}

/* Drives the transfer, so that nothing is waited for longer than a tenth of a second. */
static CURLcode pump(CURLM *multi, struct events *events)
{
    int running = 1, left;
    while (true) {
        if (curl_multi_perform(multi, &running) != CURLM_OK) return CURLE_RECV_ERROR;
        if (running == 0 || events->ended) break;
        events->ended = !events->idle(events->context);
        if (!events->ended) curl_multi_poll(multi, NULL, 0, 100, NULL);
    }
    const CURLMsg *message = curl_multi_info_read(multi, &left);
    return message != NULL ? message->data.result : CURLE_OK;
}

static CURLcode follow(struct events *events)
{
    CURL *curl = events->curl;
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 0L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_events);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, events);
    CURLM *multi = curl_multi_init();
    if (multi == NULL) return CURLE_OUT_OF_MEMORY;
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (curl_multi_add_handle(multi, curl) == CURLM_OK) {
        code = pump(multi, events);
        curl_multi_remove_handle(multi, curl);
    }
    curl_multi_cleanup(multi);
    return code;
}

int session_events(struct cli *cli, const char *path, session_take_fn *take, session_idle_fn *idle, void *context,
                   struct session_end *end)
{
    char why[CURL_ERROR_SIZE] = "";
    *end = (struct session_end){0};
    struct events events = {.refusal = &end->refusal, .take = take, .idle = idle, .context = context};
    buf_init(&end->refusal.body, &cli->mem, MEM_OTHER);
    int failed = prepare(cli, "GET", path);
    if (failed != CLI_OK) return failed;
    events.curl = cli->session->curl;
    buf_init(&events.line, &cli->mem, MEM_OTHER);
    curl_easy_setopt(events.curl, CURLOPT_ERRORBUFFER, why);
    CURLcode code = follow(&events);
    curl_easy_setopt(events.curl, CURLOPT_ERRORBUFFER, NULL);
    buf_fini(&events.line);
    if (events.ended) return CLI_OK;
    if (code == CURLE_OK) curl_easy_getinfo(events.curl, CURLINFO_RESPONSE_CODE, &end->refusal.status);
    if (end->refusal.status == 200) end->refusal.status = 0; /* a stream that ended */
    const char *text = why[0] != '\0' ? why : code != CURLE_OK ? curl_easy_strerror(code) : "the stream ended";
    snprintf(end->why, sizeof end->why, "%s", text);
    return CLI_ERROR;
}

int session_events_complain(struct cli *cli, struct session_end *end)
{
    struct reply *reply = &end->refusal;
    if (reply->status != 0) {
        parse(reply);
        return session_complain(cli, reply);
    }
    if (end->why[0] == '\0') return CLI_ERROR; /* it was told before anything was asked */
    return cli_fail(
        "%s cannot be asked: %s (is aicached running there? --url, --unix, AICACHE_URL and AICACHE_UNIX name "
        "another place)",
        session_place(cli), end->why);
}

void query_add(struct buf *path, const char *name, const char *value)
{
    static const char hex[] = "0123456789ABCDEF";
    if (value == NULL) return;
    buf_append_byte(path, path->size > 0 && memchr(path->data, '?', path->size) != NULL ? '&' : '?');
    buf_append_text(path, name);
    buf_append_byte(path, '=');
    for (const unsigned char *at = (const unsigned char *)value; *at != '\0'; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9') ||
                     strchr("-._~", *at) != NULL;
        if (plain) {
            buf_append_byte(path, (char)*at);
        } else {
            buf_append_byte(path, '%');
            buf_append_byte(path, hex[*at >> 4]);
            buf_append_byte(path, hex[*at & 15]);
        }
    }
}
