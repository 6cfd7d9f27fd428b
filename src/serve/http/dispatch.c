/*
 * dispatch.c - from a head that was read to the handler that answers: route, guard, limits, body; and what handlers ask
 * about a request.
 */
#include "serve/http/connection.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

const char *http_verb_name(enum http_verb verb)
{
    static const char *const names[] = {
#define VERB_NAME(name) #name,
        HTTP_VERB_MAP(VERB_NAME)
#undef VERB_NAME
    };
    static_assert(COUNT_OF(names) == HTTP_VERB_COUNT, "each verb has its name");
    CHECK((unsigned)verb < COUNT_OF(names));
    return names[verb];
}

/* -------------------------------------------------------------------------------------------- begin, run, refuse -- */

void exchange_reset(struct http_exchange *exchange)
{
    exchange->route = NULL;
    exchange->base = "";
    exchange->parameter_count = 0;
    exchange->body = AIC_LITERAL("");
    exchange->handed = exchange->called = exchange->deferred = exchange->expired = false;
    exchange->streaming = exchange->chunked = exchange->bodiless = exchange->paused = false;
    exchange->status = 0;
    exchange->sent_bytes = 0;
    exchange->sink = NULL;
    exchange->drain = exchange->gone = NULL;
    exchange->gone_at_eof = false;
    exchange->query_read = false;
    memset(exchange->state, 0, sizeof exchange->state);
}

/* Every `{name}` of the route, decoded where it has escapes. The room is reserved whole, so that views into it stay. */
static aic_status decode_parameters(struct http_exchange *exchange)
{
    for (unsigned i = 0; i < exchange->parameter_count; i++) {
        aic_view *parameter = &exchange->parameters[i];
        if (parameter->size == 0 || memchr(parameter->data, '%', parameter->size) == NULL) continue;
        struct buf *decoded = &exchange->decoded;
        if (decoded->size == 0 && buf_reserve(decoded, exchange->head.target.size) == NULL) return AIC_NO_MEMORY;
        char *room = decoded->data + decoded->size;
        size_t size = head_decode(*parameter, false, room);
        if (size == SIZE_MAX) return AIC_INVALID;
        buf_commit(decoded, size);
        *parameter = (aic_view){room, size};
    }
    return AIC_OK;
}

static void reply_allow(struct http_exchange *exchange, const struct http_route *const *by_verb)
{
    char allow[ROUTER_ALLOW_BYTES];
    router_allow(by_verb, allow);
    http_reply_header(exchange, "Allow", aic_view_of(allow));
    if (exchange->head.verb == HTTP_VERB_OPTIONS) http_reply_empty(exchange, 204);
    else
        http_reply_problem(exchange, 405, "method_not_allowed", NULL,
                           "This path does not take this method; Allow says which it takes.");
}

/* `OPTIONS *` asks about the server as a whole; CONNECT asks for a tunnel, which there is none of. */
static void reply_without_path(struct http_exchange *exchange)
{
    static const struct http_route any;
    static const struct http_route *const verbs[HTTP_VERB_COUNT] = {
        [HTTP_VERB_GET] = &any,  [HTTP_VERB_HEAD] = &any,   [HTTP_VERB_PUT] = &any,
        [HTTP_VERB_POST] = &any, [HTTP_VERB_DELETE] = &any,
    };
    reply_allow(exchange, verbs);
}

/* Finds the route and its parameters, or replies. */
static bool find_route(struct http_exchange *exchange)
{
    struct http_server *server = exchange->conn->thread->server;
    const struct head *head = &exchange->head;
    if (head->asterisk || head->authority) {
        reply_without_path(exchange);
        return false;
    }
    struct router_match match;
    if (router_match(server->router, http_path(exchange), &match) != AIC_OK) {
        http_reply_problem(exchange, 404, "not_found", NULL, "There is nothing at this path.");
        return false;
    }
    exchange->route = match.by_verb[head->verb];
    if (exchange->route == NULL) {
        reply_allow(exchange, match.by_verb);
        return false;
    }
    exchange->parameter_count = match.parameter_count;
    memcpy(exchange->parameters, match.parameters, match.parameter_count * sizeof *match.parameters);
    aic_status status = decode_parameters(exchange);
    if (status != AIC_OK) http_reply_error(exchange, status, NULL);
    return status == AIC_OK;
}

void exchange_body_too_large(const struct conn *conn, uint64_t size, struct head_refusal *why)
{
    const char *option = conn->exchange.route->body_bytes == 0 ? " (limits.body_bytes)" : "";
    unsigned long long limit = conn->body_limit;
    if (size == UINT64_MAX)
        head_refuse(why, 413, "body_too_large", "The body has more than the %llu bytes that are accepted%s.", limit,
                    option);
    else
        head_refuse(why, 413, "body_too_large", "The body has %llu bytes; at most %llu are accepted%s.",
                    (unsigned long long)size, limit, option);
}

/* Only looks: room is taken as the bytes come, so that a client that promises much and sends nothing takes none. */
static bool bodies_have_room(const struct conn *conn)
{
    return http_server_body_bytes(conn->thread->server) + conn->body_left <= LIMIT(conn->thread, bodies_bytes);
}

/* Refuses a body that cannot be taken before any of it is read. */
static bool accept_body(struct http_exchange *exchange)
{
    struct conn *conn = exchange->conn;
    if (conn->body_done) return true;
    if (exchange->head.encoded) {
        http_reply_problem(exchange, 415, "unsupported_encoding", NULL,
                           "Bodies are taken without a Content-Encoding only.");
        return false;
    }
    uint64_t limit = exchange->route->body_bytes;
    conn->body_limit = limit != 0 ? limit : LIMIT(conn->thread, body_bytes);
    struct head_refusal why;
    if (conn->body_left > conn->body_limit) {
        exchange_body_too_large(conn, conn->body_left, &why);
    } else if (exchange->route->body == HTTP_BODY_BUFFERED && conn->body_left > BLOCK_BYTES &&
               !bodies_have_room(conn)) {
        conn_bodies_full(conn, &why);
        http_reply_header(exchange, "Retry-After", AIC_LITERAL("1"));
    } else {
        return true;
    }
    http_reply_problem(exchange, why.status, why.code, NULL, why.message);
    return false;
}

void exchange_run_handler(struct http_exchange *exchange)
{
    struct conn *conn = exchange->conn;
    conn->phase = CONN_WAIT;
    conn->deadline_ms = 0;
    exchange->called = true;
    exchange->route->handler(exchange);
    if (!exchange->handed || exchange->deferred || exchange->streaming) return;
    http_reply_problem(exchange, 500, "internal", NULL, "The request was not answered.");
}

void exchange_begin(struct conn *conn, size_t head_begin, size_t head_end, const struct head_match *known)
{
    struct http_exchange *exchange = &conn->exchange;
    struct http_thread *thread = conn->thread;
    struct head_limits limits = {LIMIT(thread, header_bytes), LIMIT(thread, target_bytes)};
    struct head_refusal why;
    const char *base = conn->in + conn->in_start;
    exchange_reset(exchange);
    enum head_outcome outcome = known != NULL ? head_memo_parse(known, &exchange->head, base, &limits, &why)
                                              : head_parse(&exchange->head, base, head_begin, head_end, &limits, &why);
    conn->in_start += head_end;
    if (outcome == HEAD_REFUSED) {
        THREAD_COUNT(thread, parse_errors, 1);
        exchange_refuse(conn, &why);
        return;
    }
    if (known == NULL) head_memo_add(&thread->heads, &exchange->head, base, head_begin, head_end);
    THREAD_COUNT(thread, requests, 1);
    exchange->base = base;
    exchange->handed = true;
    exchange->bodiless = exchange->head.verb == HTTP_VERB_HEAD;
    conn->in_floor = conn->in_start;
    conn->chunk = (struct chunk){0};
    conn->body_left = exchange->head.content_length;
    conn->body_done = !exchange->head.chunked && conn->body_left == 0;
    conn->body_copied = false;
    conn->body_taken = 0;
    conn->continue_due = exchange->head.expect_continue && !conn->body_done;
    conn->phase = CONN_WAIT;
    if (!find_route(exchange)) return;
    if (thread->server->guard != NULL && !thread->server->guard(exchange, exchange->route)) return;
    if (!accept_body(exchange)) return;
    if (conn->body_done || exchange->route->body == HTTP_BODY_STREAMED) exchange_run_handler(exchange);
    else conn_want_body(conn);
}

/* A handler that has the exchange keeps it, but its reply goes nowhere from now on. */
void exchange_refuse(struct conn *conn, const struct head_refusal *why)
{
    struct http_exchange *exchange = &conn->exchange;
    if (exchange->handed && exchange->streaming) { /* half an answer is on its way: only a cut can tell the client */
        conn_close(conn);
        return;
    }
    conn->close_after = true;
    if (!exchange->handed) {
        exchange_reset(exchange);
        memset(&exchange->head, 0, offsetof(struct head, fields));
        exchange->handed = true;
        conn->body_done = true;
    }
    buf_clear(&exchange->fields);
    if (why->status == 503) http_reply_header(exchange, "Retry-After", AIC_LITERAL("1"));
    conn->phase = CONN_HEAD; /* with close_after: nothing more is read */
    reply_problem(exchange, why->status, why->code, NULL, why->message);
    if (exchange->called) {
        conn_report(conn, exchange->status);
        exchange->expired = true;
        thread_mark_ready(conn); /* the handler is told from the loop */
        return;
    }
    bool running = conn->running;
    conn->running = true; /* the callers run the connection */
    conn_completed(conn);
    conn->running = running;
}

void exchange_tell_hangup(struct http_exchange *exchange)
{
    http_drain_fn *gone = exchange->gone;
    exchange->gone = NULL;
    exchange->gone_at_eof = false;
    if (exchange->handed && gone != NULL) gone(exchange, exchange->gone_context);
}

void exchange_tell_gone(struct http_exchange *exchange)
{
    http_body_fn *sink = exchange->sink;
    exchange->sink = NULL;
    if (exchange->handed && sink != NULL) sink(exchange, HTTP_BODY_FAILED, AIC_LITERAL(""), exchange->sink_context);
    http_drain_fn *gone = exchange->gone;
    exchange->gone = NULL;
    if (exchange->handed && gone != NULL) gone(exchange, exchange->gone_context);
    http_drain_fn *drain = exchange->drain;
    exchange->drain = NULL;
    if (exchange->handed && drain != NULL) drain(exchange, exchange->drain_context);
}

/* -------------------------------------------------------------------------------------------- about a request -- */

enum http_verb http_verb(const struct http_exchange *exchange)
{
    return exchange->head.verb;
}

const struct http_route *http_route(const struct http_exchange *exchange)
{
    return exchange->route;
}

aic_view http_path(const struct http_exchange *exchange)
{
    if (exchange->head.path.size == 0 && !exchange->head.asterisk && !exchange->head.authority) return AIC_LITERAL("/");
    return head_view(exchange->base, exchange->head.path);
}

aic_view http_host(const struct http_exchange *exchange)
{
    const struct head *head = &exchange->head;
    if (!head->absolute) return http_header(exchange, "Host");
    aic_view target = head_view(exchange->base, head->target);
    const char *host = (const char *)memchr(target.data, ':', target.size) + strlen("://");
    size_t size = (size_t)(target.data + target.size - host), end = 0;
    while (end < size && host[end] != '/' && host[end] != '?') end++;
    return (aic_view){host, end};
}

bool http_host_is_named(const struct http_exchange *exchange)
{
    const struct head *head = &exchange->head;
    if (!(head->absolute ? head->target_named : head->host_named)) return false;
    return exchange->conn->tls == NULL && !exchange->conn->local;
}

static aic_view query_raw(const struct http_exchange *exchange)
{
    if (!exchange->head.has_query) return (aic_view){NULL, 0};
    return head_view(exchange->base, exchange->head.query);
}

aic_view http_parameter(const struct http_exchange *exchange, size_t index)
{
    return index < exchange->parameter_count ? exchange->parameters[index] : (aic_view){NULL, 0};
}

/* Decodes one name or value behind what is already there; the room was reserved whole. */
static bool decode_span(struct http_exchange *exchange, const char *data, size_t size, struct head_span *out)
{
    struct buf *decoded = &exchange->decoded;
    size_t plain = head_decode((aic_view){data, size}, true, decoded->data + decoded->size);
    if (plain == SIZE_MAX) return false;
    *out = (struct head_span){(uint16_t)(decoded->data + decoded->size - exchange->query_base), (uint16_t)plain};
    buf_commit(decoded, plain);
    return true;
}

static bool read_pair(struct http_exchange *exchange, const char *at, size_t size)
{
    if (exchange->query_count == HTTP_MAX_QUERY) return false;
    struct head_field *field = &exchange->query[exchange->query_count++];
    const char *equals = memchr(at, '=', size);
    size_t name = equals != NULL ? (size_t)(equals - at) : size;
    size_t value = equals != NULL ? size - name - 1 : 0;
    return decode_span(exchange, at, name, &field->name) &&
           decode_span(exchange, at + size - value, value, &field->value);
}

/* Reads the whole query once. Parameters of the path may already be in `decoded`; query and path together are never
 * longer than the target. */
static aic_status read_query(struct http_exchange *exchange)
{
    aic_view query = query_raw(exchange);
    exchange->query_count = 0;
    exchange->query_status = AIC_INVALID;
    struct buf *decoded = &exchange->decoded;
    if (query.size > 0 && decoded->size == 0 && buf_reserve(decoded, exchange->head.target.size) == NULL) {
        buf_clear(decoded);
        return AIC_NO_MEMORY;
    }
    exchange->query_base = decoded->data;
    exchange->query_read = true; /* once, or `decoded` would grow beyond its room */
    for (size_t at = 0; at < query.size;) {
        const char *mark = memchr(query.data + at, '&', query.size - at);
        size_t stop = mark != NULL ? (size_t)(mark - query.data) : query.size;
        if (stop > at && !read_pair(exchange, query.data + at, stop - at)) return AIC_INVALID;
        at = stop + 1;
    }
    exchange->query_status = AIC_OK;
    return AIC_OK;
}

aic_status http_query_count(struct http_exchange *exchange, size_t *out)
{
    TRY(exchange->query_read ? exchange->query_status : read_query(exchange));
    *out = exchange->query_count;
    return AIC_OK;
}

void http_query_at(struct http_exchange *exchange, size_t index, aic_view *name, aic_view *value)
{
    CHECK(exchange->query_read && index < exchange->query_count);
    *name = head_view(exchange->query_base, exchange->query[index].name);
    *value = head_view(exchange->query_base, exchange->query[index].value);
}

aic_status http_query(struct http_exchange *exchange, const char *name, aic_view *out)
{
    size_t count = 0;
    TRY(http_query_count(exchange, &count));
    aic_view wanted = aic_view_of(name);
    for (size_t i = 0; i < count; i++) {
        aic_view found;
        aic_view value;
        http_query_at(exchange, i, &found, &value);
        if (found.size != wanted.size || memcmp(found.data, wanted.data, wanted.size) != 0) continue;
        *out = value;
        return AIC_OK;
    }
    return AIC_MISS;
}

aic_view http_header(const struct http_exchange *exchange, const char *name)
{
    const struct head_field *field = head_find(&exchange->head, exchange->base, name, strlen(name));
    return field != NULL ? head_view(exchange->base, field->value) : (aic_view){NULL, 0};
}

bool http_header_next(const struct http_exchange *exchange, const char *name, size_t *at, aic_view *out)
{
    const struct head *head = &exchange->head;
    size_t size = strlen(name);
    while (*at < head->field_count) {
        const struct head_field *field = &head->fields[(*at)++];
        if (field->name.size != size || strncasecmp(exchange->base + field->name.at, name, size) != 0) continue;
        *out = head_view(exchange->base, field->value);
        return true;
    }
    return false;
}

aic_view http_body(const struct http_exchange *exchange)
{
    return exchange->body;
}

/* ----------------------------------------------------------------------------------------------- surroundings -- */

struct mem *http_body_mem(const struct http_exchange *exchange)
{
    return &exchange->conn->thread->server->bodies.mem;
}

struct mem *http_answer_mem(const struct http_exchange *exchange)
{
    return &exchange->conn->thread->server->answers.mem;
}

struct mem *http_figures_mem(const struct http_exchange *exchange)
{
    return &exchange->conn->thread->server->figures.mem;
}

bool http_answer_hold(const struct http_exchange *exchange, uint64_t bytes)
{
    struct room *room = &exchange->conn->thread->server->answers;
    if (room_take(room, bytes)) return true;
    atomic_fetch_add_explicit(&room->refused, 1, memory_order_relaxed);
    return false;
}

void http_answer_let_go(struct http_thread *thread, uint64_t bytes)
{
    room_give(&thread->server->answers, bytes);
}

struct mem *http_mem(const struct http_exchange *exchange)
{
    return exchange->conn->thread->server->mem;
}

void *http_state(struct http_exchange *exchange)
{
    return exchange->state;
}

uint64_t http_received_ns(const struct http_exchange *exchange)
{
    return exchange->received_ns;
}

uint64_t http_now_ns(struct http_exchange *exchange)
{
    struct http_thread *thread = exchange->conn->thread;
    return thread->passed_ns = clock_mono_ns(thread->server->clock);
}

uint64_t http_most_connections(const struct http_exchange *exchange)
{
    return LIMIT(exchange->conn->thread, connections);
}

struct http_thread *http_thread(const struct http_exchange *exchange)
{
    return exchange->conn->thread;
}

void http_defer(struct http_exchange *exchange, uint64_t deadline_ms)
{
    struct http_thread *thread = exchange->conn->thread;
    exchange->deferred = true;
    exchange->conn->deadline_ms = uv_now(&thread->loop.uv) + (deadline_ms != 0 ? deadline_ms : LIMIT(thread, reply_ms));
}

bool http_is_gone(const struct http_exchange *exchange)
{
    return reply_is_lost(exchange);
}

void http_on_gone(struct http_exchange *exchange, http_drain_fn *fn, void *context)
{
    exchange->gone = fn;
    exchange->gone_context = context;
    exchange->gone_at_eof = false;
    if (fn != NULL && reply_is_lost(exchange)) thread_mark_ready(exchange->conn);
}

void http_on_hangup(struct http_exchange *exchange, http_drain_fn *fn, void *context)
{
    http_on_gone(exchange, fn, context);
    exchange->gone_at_eof = true;
    if (exchange->conn->hung_up) thread_mark_ready(exchange->conn);
}

void http_body_start(struct http_exchange *exchange, http_body_fn *fn, void *context)
{
    struct conn *conn = exchange->conn;
    CHECK(exchange->route != NULL && exchange->route->body == HTTP_BODY_STREAMED && exchange->handed);
    exchange->deferred = true;
    exchange->sink = fn;
    exchange->sink_context = context;
    if (!reply_is_lost(exchange)) conn_want_body(conn);
    thread_mark_ready(conn);
}

void http_body_pause(struct http_exchange *exchange)
{
    exchange->paused = true;
    exchange->conn->deadline_ms = 0;
}

void http_body_resume(struct http_exchange *exchange)
{
    struct conn *conn = exchange->conn;
    if (!exchange->paused) return;
    exchange->paused = false;
    if (conn->phase == CONN_BODY) conn_want_body(conn);
    conn->read_again = true;
    thread_mark_ready(conn);
}
