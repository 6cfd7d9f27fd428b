/*
 * reply.c - answers: their head, their body in its forms (copied, moved, borrowed, streamed), and the error shape of
 * the contract.
 *
 * A reply is queued, not sent: conn_run() sends what was queued, so that the answers to pipelined requests leave
 * together.
 */
#include "serve/http/connection.h"

#include "base/check.h"
#include "base/decimal.h"
#include "base/json.h"
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------- head -- */

#define STATUS_MAP(X)                                                                                                  \
    X(200, "OK")                                                                                                       \
    X(201, "Created")                                                                                                  \
    X(202, "Accepted")                                                                                                 \
    X(204, "No Content")                                                                                               \
    X(206, "Partial Content")                                                                                          \
    X(301, "Moved Permanently")                                                                                        \
    X(302, "Found")                                                                                                    \
    X(303, "See Other")                                                                                                \
    X(304, "Not Modified")                                                                                             \
    X(307, "Temporary Redirect")                                                                                       \
    X(308, "Permanent Redirect")                                                                                       \
    X(400, "Bad Request")                                                                                              \
    X(401, "Unauthorized")                                                                                             \
    X(402, "Payment Required")                                                                                         \
    X(403, "Forbidden")                                                                                                \
    X(404, "Not Found")                                                                                                \
    X(405, "Method Not Allowed")                                                                                       \
    X(406, "Not Acceptable")                                                                                           \
    X(408, "Request Timeout")                                                                                          \
    X(409, "Conflict")                                                                                                 \
    X(410, "Gone")                                                                                                     \
    X(411, "Length Required")                                                                                          \
    X(412, "Precondition Failed")                                                                                      \
    X(413, "Content Too Large")                                                                                        \
    X(414, "URI Too Long")                                                                                             \
    X(415, "Unsupported Media Type")                                                                                   \
    X(416, "Range Not Satisfiable")                                                                                    \
    X(417, "Expectation Failed")                                                                                       \
    X(422, "Unprocessable Content")                                                                                    \
    X(429, "Too Many Requests")                                                                                        \
    X(431, "Request Header Fields Too Large")                                                                          \
    X(500, "Internal Server Error")                                                                                    \
    X(501, "Not Implemented")                                                                                          \
    X(502, "Bad Gateway")                                                                                              \
    X(503, "Service Unavailable")                                                                                      \
    X(504, "Gateway Timeout")                                                                                          \
    X(505, "HTTP Version Not Supported")                                                                               \
    X(507, "Insufficient Storage")

/* The status line; statuses that are not in the table get an empty reason. */
static aic_view status_line(int status, char room[32])
{
    switch (status) {
#define STATUS_LINE(code, reason)                                                                                      \
    case code: return AIC_LITERAL("HTTP/1.1 " #code " " reason "\r\n");
        STATUS_MAP(STATUS_LINE)
#undef STATUS_LINE
    default: return (aic_view){room, (size_t)snprintf(room, 32, "HTTP/1.1 %03d \r\n", status)};
    }
}

static char *put(char *at, const char *data, size_t size)
{
    memcpy(at, data, size);
    return at + size;
}
#define PUT(at, literal) put(at, "" literal, sizeof(literal) - 1)

static char *put_number(char *at, uint64_t number)
{
    char room[DECIMAL_BYTES];
    aic_view digits = decimal(number, room);
    return put(at, digits.data, digits.size);
}

static bool has_no_body(int status)
{
    return status == 204 || status == 304 || status < 200;
}

static void give_up(struct conn *conn)
{
    THREAD_COUNT(conn->thread, memory_failures, 1);
    conn_close(conn);
}

/* Everything but Connection and the handler's own fields is shorter than this, the type aside. */
#define HEAD_ROOM 256

/* Writes the head of a reply, and keeps room behind it for `copied` bytes of its body. length UINT64_MAX: streamed.
 * False: nothing was written; the client has gone, or there was no room or no memory, as mem_refused_by() says. */
static bool write_head(struct http_exchange *exchange, int status, const char *type, uint64_t length, size_t copied)
{
    struct conn *conn = exchange->conn;
    bool keep = conn_keeps_alive(conn);
    bool streamed = length == UINT64_MAX;
    size_t type_size = type != NULL ? strlen(type) : 0;
    exchange->chunked = streamed && !exchange->head.http10 && !has_no_body(status);
    if (streamed && !exchange->chunked && !has_no_body(status)) {
        conn->close_after = true; /* to HTTP/1.0 the end of the connection is the end of the body */
        keep = false;
    }
    exchange->status = status;
    exchange->bodiless = exchange->head.verb == HTTP_VERB_HEAD || has_no_body(status);
    char *room = NULL;
    if (buf_status(&exchange->fields) == AIC_OK)
        room = conn_reserve(conn, HEAD_ROOM + type_size + exchange->fields.size + copied);
    if (room == NULL) return false;
    char line_room[32];
    aic_view line = status_line(status, line_room);
    char *at = put(room, line.data, line.size);
    at = put(at, thread_date(conn->thread), THREAD_DATE_BYTES);
    if (type_size > 0) {
        at = PUT(at, "Content-Type: ");
        at = put(at, type, type_size);
        at = PUT(at, "\r\n");
    }
    if (exchange->chunked) {
        at = PUT(at, "Transfer-Encoding: chunked\r\n");
    } else if (!streamed && !has_no_body(status)) {
        at = PUT(at, "Content-Length: ");
        at = put_number(at, length);
        at = PUT(at, "\r\n");
    }
    if (!keep) at = PUT(at, "Connection: close\r\n");
    else if (exchange->head.http10) at = PUT(at, "Connection: keep-alive\r\n");
    if (exchange->fields.size > 0) at = put(at, exchange->fields.data, exchange->fields.size);
    at = PUT(at, "\r\n");
    return output_commit(&conn->out, (size_t)(at - room)) == AIC_OK;
}

static void reply_refused(struct http_exchange *exchange, const struct mem *full);

/* The same; what cannot be written is answered 503, whole, in its place. */
static bool reply_head(struct http_exchange *exchange, int status, const char *type, uint64_t length, size_t copied)
{
    if (write_head(exchange, status, type, length, copied)) return true;
    reply_refused(exchange, mem_refused_by());
    return false;
}

void http_reply_header(struct http_exchange *exchange, const char *name, aic_view value)
{
    if (reply_is_lost(exchange)) return;
    if (!head_is_value(value)) return;
    /* One reservation for the whole field: a hit has five of them. */
    size_t name_size = strlen(name), size = name_size + 2 + value.size + 2;
    char *room = buf_reserve(&exchange->fields, size);
    if (room == NULL) return;
    memcpy(room, name, name_size);
    memcpy(room + name_size, ": ", 2);
    if (value.size > 0) memcpy(room + name_size + 2, value.data, value.size);
    memcpy(room + size - 2, "\r\n", 2);
    buf_commit(&exchange->fields, size);
}

void http_reply_lines(struct http_exchange *exchange, aic_view lines)
{
    if (!reply_is_lost(exchange)) buf_append_view(&exchange->fields, lines);
}

void http_reply_headerf(struct http_exchange *exchange, const char *name, const char *format, ...)
{
    char value[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(value, sizeof value, format, arguments);
    va_end(arguments);
    if (size >= 0 && (size_t)size < sizeof value) http_reply_header(exchange, name, (aic_view){value, (size_t)size});
}

/* ------------------------------------------------------------------------------------------------- whole replies -- */

/* CHECKs the rule of one completion, and says whether anything is to be written. */
static bool may_reply(const struct http_exchange *exchange)
{
    CHECK(exchange->handed && !exchange->streaming);
    return !reply_is_lost(exchange);
}

void http_reply_empty(struct http_exchange *exchange, int status)
{
    if (may_reply(exchange)) reply_head(exchange, status, NULL, 0, 0);
    conn_completed(exchange->conn);
}

/* False: see write_head(). */
static bool write_copied(struct http_exchange *exchange, int status, const char *type, aic_view body)
{
    if (!write_head(exchange, status, type, body.size, body.size)) return false;
    if (exchange->bodiless) return true;
    exchange->sent_bytes = body.size;
    return output_copy(&exchange->conn->out, body) == AIC_OK;
}

void http_reply_bytes(struct http_exchange *exchange, int status, const char *type, aic_view body)
{
    if (may_reply(exchange) && !write_copied(exchange, status, type, body)) reply_refused(exchange, mem_refused_by());
    conn_completed(exchange->conn);
}

/* Where `full` had no more, or NULL: memory had not. */
static void reply_refused(struct http_exchange *exchange, const struct mem *full)
{
    struct http_server *server = exchange->conn->thread->server;
    struct head_refusal why = {503, "no_memory", "No memory for the answer."};
    if (reply_is_lost(exchange)) return;
    buf_fini(&exchange->fields);
    if (full != NULL) {
        room_refuse(full == &server->bodies.mem    ? &server->bodies
                    : full == &server->figures.mem ? &server->figures
                                                   : &server->answers,
                    &why);
        http_reply_header(exchange, "Retry-After", AIC_LITERAL("1"));
    }
    reply_problem(exchange, 503, why.code, NULL, why.message);
}

void http_reply_refused(struct http_exchange *exchange, const struct mem *full)
{
    if (may_reply(exchange)) reply_refused(exchange, full);
    conn_completed(exchange->conn);
}

void http_reply_buf(struct http_exchange *exchange, int status, const char *type, struct buf *body)
{
    bool fine = buf_status(body) == AIC_OK;
    if (may_reply(exchange) && !fine) {
        reply_refused(exchange, mem_refused_by());
    } else if (may_reply(exchange) && reply_head(exchange, status, type, body->size, 0) && !exchange->bodiless) {
        exchange->sent_bytes = body->size;
        if (output_own(&exchange->conn->out, body) != AIC_OK) give_up(exchange->conn);
    }
    buf_fini(body);
    conn_completed(exchange->conn);
}

void http_reply_pieces(struct http_exchange *exchange, int status, const char *type, const aic_view *pieces,
                       size_t count, http_release_fn *release, void *context)
{
    CHECK(count <= HTTP_MAX_PIECES);
    size_t size = 0;
    for (size_t i = 0; i < count; i++) size += pieces[i].size;
    struct output *out = &exchange->conn->out;
    bool wanted = may_reply(exchange) && reply_head(exchange, status, type, size, 0) && !exchange->bodiless;
    if (wanted) exchange->sent_bytes = size;
    /* A short beginning goes with the head. */
    if (wanted && count > 0 && pieces[0].size <= HEAD_ROOM && output_copy(out, pieces[0]) == AIC_OK) pieces++, count--;
    if (!wanted && release != NULL) release(context);
    if (wanted && output_borrow(out, pieces, count, release, context) != AIC_OK) give_up(exchange->conn);
    conn_completed(exchange->conn);
}

/* -------------------------------------------------------------------------------------------------------- errors -- */

static const char *problem_type(int status)
{
    switch (status) {
    case 401: return "authentication_error";
    case 403: return "permission_error";
    case 404: return "not_found_error";
    case 429: return "rate_limit_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
    }
}

static void write_problem(struct buf *out, int status, const char *code, const char *field, const char *message)
{
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    json_key(&writer, "error");
    json_open(&writer, '{');
    json_key(&writer, "message");
    json_put_text(&writer, message);
    json_key(&writer, "type");
    json_put_text(&writer, problem_type(status));
    json_key(&writer, "param");
    if (field != NULL && *field != '\0') json_put_text(&writer, field);
    else json_put_null(&writer);
    json_key(&writer, "code");
    if (code != NULL) json_put_text(&writer, code);
    else json_put_null(&writer);
    json_close(&writer, '}');
    json_close(&writer, '}');
}

/* Without memory for the sentence the status still arrives, and failing that the connection ends. */
void reply_problem(struct http_exchange *exchange, int status, const char *code, const char *field, const char *message)
{
    struct buf body;
    buf_init(&body, exchange->conn->thread->server->mem, MEM_CONNECTIONS);
    write_problem(&body, status, code, field, message);
    buf_append_byte(&body, '\n');
    if (status == 401 && exchange->fields.size == 0)
        http_reply_header(exchange, "WWW-Authenticate", AIC_LITERAL("Bearer"));
    if ((buf_status(&body) != AIC_OK || !write_copied(exchange, status, HTTP_JSON, buf_view(&body))) &&
        !reply_is_lost(exchange)) {
        buf_fini(&exchange->fields);
        if (!write_head(exchange, status, NULL, 0, 0)) give_up(exchange->conn);
    }
    buf_fini(&body);
}

void http_reply_problem(struct http_exchange *exchange, int status, const char *code, const char *field,
                        const char *message)
{
    if (may_reply(exchange)) reply_problem(exchange, status, code, field, message);
    conn_completed(exchange->conn);
}

#define CODE_BYTES 32
/* "invalid" of AIC_INVALID. */
static void write_code(aic_status status, char out[CODE_BYTES])
{
    size_t size = 0;
    const char *name = aic_status_name(status);
    if (strncmp(name, "AIC_", 4) == 0) name += 4;
    for (; name[size] != '\0' && size + 1 < CODE_BYTES; size++)
        out[size] = (char)(name[size] >= 'A' && name[size] <= 'Z' ? name[size] + ('a' - 'A') : name[size]);
    out[size] = '\0';
}

void http_reply_error(struct http_exchange *exchange, aic_status status, const aic_error *error)
{
    char code[CODE_BYTES];
    write_code(status, code);
    bool explained = error != NULL && error->message[0] != '\0';
    http_reply_problem(exchange, status_http(status), code, explained ? error->field : NULL,
                       explained ? error->message : aic_status_text(status));
}

void http_write_error(struct buf *out, const aic_error *error)
{
    char code[CODE_BYTES];
    write_code(error->status, code);
    write_problem(out, status_http(error->status), code, error->field, error->message);
}

/* ------------------------------------------------------------------------------------------------------- streams -- */

bool http_stream_open(struct http_exchange *exchange, int status, const char *type)
{
    struct conn *conn = exchange->conn;
    /* An answer that begins before the body was asked for does not replace it: a waiting client is told to go on first.
     */
    if (may_reply(exchange) && exchange->route->body == HTTP_BODY_STREAMED) conn_send_continue(conn);
    bool wanted = may_reply(exchange) && reply_head(exchange, status, type, UINT64_MAX, 0);
    exchange->streaming = true;
    if (!wanted) {
        exchange->bodiless = true;
        return false;
    }
    if (conn->phase == CONN_WAIT) conn->deadline_ms = 0;
    thread_mark_ready(conn);
    return true;
}

bool http_stream_reserve(struct http_exchange *exchange, size_t bytes)
{
    struct output *out = &exchange->conn->out;
    CHECK(exchange->handed && !exchange->streaming);
    if (reply_is_lost(exchange)) return true;
    if (output_reserve(out, bytes) == NULL) return false;
    output_keep(out, true);
    return true;
}

static void stream_end(struct http_exchange *exchange)
{
    if (exchange->conn->out.keeps) output_keep(&exchange->conn->out, false);
    conn_completed(exchange->conn);
}

/* Frames and queues; then says whether more may come. */
static bool stream_queue(struct http_exchange *exchange, aic_view bytes, bool borrowed, http_release_fn *release,
                         void *context)
{
    struct output *out = &exchange->conn->out;
    char size_line[24];
    int size = snprintf(size_line, sizeof size_line, "%zx\r\n", bytes.size);
    aic_status status = exchange->chunked ? output_copy(out, (aic_view){size_line, (size_t)size}) : AIC_OK;
    if (status != AIC_OK && release != NULL) release(context);
    if (status == AIC_OK) status = borrowed ? output_borrow(out, &bytes, 1, release, context) : output_copy(out, bytes);
    if (status == AIC_OK && exchange->chunked) status = output_copy(out, AIC_LITERAL("\r\n"));
    if (status != AIC_OK) {
        give_up(exchange->conn);
        return false;
    }
    exchange->sent_bytes += bytes.size;
    uint64_t limit = LIMIT(exchange->conn->thread, queue_bytes);
    if (out->pending > limit * 4) conn_close(exchange->conn);
    else thread_mark_ready(exchange->conn);
    return out->pending > 0 && out->pending <= limit;
}

static bool stream_write(struct http_exchange *exchange, aic_view bytes, bool borrowed, http_release_fn *release,
                         void *context)
{
    CHECK(exchange->handed && exchange->streaming);
    if (!reply_is_lost(exchange) && !exchange->bodiless && bytes.size > 0)
        return stream_queue(exchange, bytes, borrowed, release, context);
    if (release != NULL) release(context);
    return !reply_is_lost(exchange);
}

bool http_stream_write(struct http_exchange *exchange, aic_view bytes)
{
    return stream_write(exchange, bytes, false, NULL, NULL);
}

bool http_stream_write_borrowed(struct http_exchange *exchange, aic_view bytes, http_release_fn *release, void *context)
{
    return stream_write(exchange, bytes, true, release, context);
}

void http_stream_drain(struct http_exchange *exchange, http_drain_fn *fn, void *context)
{
    CHECK(exchange->handed && exchange->streaming);
    exchange->drain = fn;
    exchange->drain_context = context;
    if (exchange->conn->out.pending == 0 || reply_is_lost(exchange)) thread_mark_ready(exchange->conn);
}

void http_stream_close(struct http_exchange *exchange)
{
    CHECK(exchange->handed && exchange->streaming);
    struct conn *conn = exchange->conn;
    if (!reply_is_lost(exchange) && exchange->chunked && !exchange->bodiless &&
        output_copy(&conn->out, AIC_LITERAL("0\r\n\r\n")) != AIC_OK)
        give_up(conn);
    stream_end(exchange);
}

void http_stream_abort(struct http_exchange *exchange)
{
    CHECK(exchange->handed && exchange->streaming);
    if (!reply_is_lost(exchange)) conn_cut(exchange->conn);
    stream_end(exchange);
}
