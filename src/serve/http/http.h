/*
 * http.h - the HTTP face that handlers see: an exchange is one request and its one reply.
 *
 * The idea: a handler runs on the front thread that owns the connection and must not wait. It either replies before it
 * returns, or it defers: some other thread does the waiting and posts a message back to the front thread, which then
 * replies. One request of a connection is served at a time, in order; pipelined ones wait in the connection's buffer
 * and their answers leave together.
 *
 * Rules for handlers
 *   - Every function here that takes an exchange is called on the exchange's own front thread. From elsewhere only
 * http_post() is allowed.
 *   - Each exchange is completed exactly once: by one http_reply_*() call, or by http_stream_close() or
 * http_stream_abort() after http_stream_open(). After that call the exchange must not be touched.
 *   - A deferred exchange stays valid until it is completed, even when the client has gone or its deadline has passed:
 * the reply then goes nowhere, and every release callback still runs exactly once. A handler need not care;
 * http_is_gone() tells those who want to save work.
 *   - Views of the request (path, parameters, headers, query, body) stay as they are until the exchange is completed.
 *   - Replies return nothing: an answer for which there is no room or no memory becomes a 503, or, where memory is out
 * for that too, closes this one connection; what was handed over is released.
 */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/loop.h"

struct http_server;
struct http_thread;
struct http_exchange;
struct uv_loop_s;

/* Methods that exist for this server; any other is answered 501. */
#define HTTP_VERB_MAP(X) X(GET) X(HEAD) X(PUT) X(POST) X(DELETE) X(OPTIONS) X(PATCH) X(CONNECT) X(TRACE)
enum http_verb {
#define HTTP_VERB_ENUM(name) HTTP_VERB_##name,
    HTTP_VERB_MAP(HTTP_VERB_ENUM)
#undef HTTP_VERB_ENUM
        HTTP_VERB_COUNT
};
/* "GET". Static. */
const char *http_verb_name(enum http_verb verb);

/* ----------------------------------------------------------------------------------------------------- routes -- */

enum http_body_mode {
    HTTP_BODY_NONE,     /* a body that comes nevertheless is read and dropped, within the limit */
    HTTP_BODY_BUFFERED, /* the handler runs when the whole body is there: http_body() */
    HTTP_BODY_STREAMED, /* the handler runs after the head and calls http_body_start() */
};

typedef void http_handler_fn(struct http_exchange *exchange);

/*
 * One row of the route table. A path segment `{name}` takes one non-empty segment, a last segment `{name*}` the whole
 * rest (slashes and all, perhaps empty); literal segments win over parameters. A GET row answers HEAD too (the body is
 * left out), OPTIONS is answered with `Allow` where no row says otherwise. An unknown path is 404, a known path with
 * another method 405 with `Allow`.
 */
struct http_route {
    enum http_verb verb;
    const char *path;
    http_handler_fn *handler;
    enum http_body_mode body;
    unsigned access;     /* meaning given by the guard, for example public, key, admin */
    uint64_t body_bytes; /* limit of this route's body; 0: the server's limit; UINT64_MAX: none */
    const char *query;   /* for the guard: the parameters that are known, with blanks between; NULL: any */
    const char *help;    /* for the reference page; may be NULL */
};

/*
 * Called when the head is complete and its route is found, before `100 Continue` and before any of the body is read.
 * True goes on; false means that the guard has replied itself (401, 403). Runs on the front thread.
 */
typedef bool http_guard_fn(struct http_exchange *exchange, const struct http_route *route);

/* ---------------------------------------------------------------------------------------------------- request -- */

enum http_verb http_verb(const struct http_exchange *exchange); /* HEAD stays HEAD */
const struct http_route *http_route(const struct http_exchange *exchange);
/* The path of the request target as received. */
aic_view http_path(const struct http_exchange *exchange);
/* The index-th `{name}` of the route, percent-decoded (a `%2F` in it is a slash); absent view beyond the last. */
aic_view http_parameter(const struct http_exchange *exchange, size_t index);

/* Query parameters, decoded (`%XX`, `+`), in order of appearance. At most HTTP_MAX_QUERY. AIC_INVALID: bad escapes or
 * too many. */
#define HTTP_MAX_QUERY 32
AIC_MUST_CHECK aic_status http_query_count(struct http_exchange *exchange, size_t *out);
void http_query_at(struct http_exchange *exchange, size_t index, aic_view *name,
                   aic_view *value); /* after http_query_count() */
/* The first parameter of this name: AIC_OK, AIC_MISS, or AIC_INVALID. */
AIC_MUST_CHECK aic_status http_query(struct http_exchange *exchange, const char *name, aic_view *out);

/* The `host:port` that was asked: of an absolute request target, else of Host; absent when HTTP/1.0 names none. */
aic_view http_host(const struct http_exchange *exchange);
/*
 * May this be a web page's request under a name of the page's own, which was made to point here? True for a host that
 * is neither an address nor localhost nor a name below it, in plain TCP: over TLS the certificate would not fit the
 * name, and no page reaches a unix socket. Two flags that were set when the head was read.
 */
bool http_host_is_named(const struct http_exchange *exchange);

/* The first field of this name (any case), without surrounding blanks; the absent view when there is none. */
aic_view http_header(const struct http_exchange *exchange, const char *name);
/* The next field of this name from *at on (0 to begin), which is moved behind it; false when there is no more. */
bool http_header_next(const struct http_exchange *exchange, const char *name, size_t *at, aic_view *out);

/* The whole body of a HTTP_BODY_BUFFERED route; an empty, not absent, view when there is none. */
aic_view http_body(const struct http_exchange *exchange);

/*
 * Judges anew what is under way on the calling front thread: `stays` is asked of every request that the guard let pass
 * and that is not yet completed. One that may not stay is answered 401 and its connection ends; where its answer has
 * begun, it is cut, so that the client sees that some is missing. The handler learns it as if the client had gone.
 */
void http_judge_again(struct http_thread *thread, bool (*stays)(struct http_exchange *exchange));

/* ----------------------------------------------------------------------------------------------- surroundings -- */

/* The options' mem: for what a handler allocates (owner MEM_CONNECTIONS or its own). */
struct mem *http_mem(const struct http_exchange *exchange);
/* For what is made of bodies, as far as it may become large: what it gives counts against limits.bodies_bytes with the
 * bodies themselves, and there is none (NULL) when those are full. Any thread, also after the reply. */
struct mem *http_body_mem(const struct http_exchange *exchange);
/*
 * For what answers are made of, as far as it may become large: what it gives counts against limits.answers_bytes until
 * it is released, that is sent, and there is none (NULL) when those are full; http_reply_refused() says so. Blocks up
 * to HTTP_SMALL_ANSWER count too, but are never refused, so that whoever takes all the room keeps nobody from a short
 * answer. Any thread, also after the reply, until the server is stopped.
 */
#define HTTP_SMALL_ANSWER 16384
struct mem *http_answer_mem(const struct http_exchange *exchange);
/* The same for the figures that an operator needs when that room is full: a room of their own beside it, which no other
 * answer takes from them, of HTTP_FIGURES_BYTES. */
#define HTTP_FIGURES_BYTES ((uint64_t)8 << 20)
struct mem *http_figures_mem(const struct http_exchange *exchange);
/* The same for bytes of an answer that were allocated elsewhere: counts them, or returns false and counts nothing. Who
 * counted them lets them go when they are sent. Any thread. */
bool http_answer_hold(const struct http_exchange *exchange, uint64_t bytes);
void http_answer_let_go(struct http_thread *thread, uint64_t bytes);
/*
 * A few bytes that belong to the exchange, zeroed when the request begins: for the guard's verdict and the handler's
 * state, so that neither allocates. Aligned to 16. The guard and the handler agree on a struct.
 */
#define HTTP_STATE_BYTES 256
void *http_state(struct http_exchange *exchange);
/* When the request's turn came, by the monotonic clock, in nanoseconds: its last bytes had been read (of a streamed
 * body those that are there), and those that were read before it had been served. A slow sender's time is not in it. */
uint64_t http_received_ns(const struct http_exchange *exchange);
/* The time by the same clock. From then on the thread's next request counts, which saves it a look. */
uint64_t http_now_ns(struct http_exchange *exchange);

/* How many connections are accepted at one time: limits.connections, or what there are descriptors for. */
uint64_t http_most_connections(const struct http_exchange *exchange);
struct http_thread *http_thread(const struct http_exchange *exchange);
/* What thread_start of the options returned for this thread. */
void *http_thread_data(const struct http_thread *thread);
/* The thread's loop, for timers and sockets of later parts; only on the thread itself. */
struct uv_loop_s *http_thread_loop(struct http_thread *thread);

/* -------------------------------------------------------------------------------------------------- deferring -- */

/*
 * Says that the reply comes later. When `deadline_ms` (0: the server's limits.reply_ms) passes first, the client is
 * answered 504 and the connection closed; the exchange still has to be completed. Call it before the handler returns.
 */
void http_defer(struct http_exchange *exchange, uint64_t deadline_ms);
/* Has the client gone, or has the deadline passed? A reply goes nowhere then. */
bool http_is_gone(const struct http_exchange *exchange);

/*
 * A message (base/loop.h) to a front thread; its `run` is called once there. Any thread may post until
 * http_server_stop() has returned, as long as a deferred exchange of that thread is not yet completed.
 */
void http_post(struct http_thread *thread, struct message *message);

/* -------------------------------------------------------------------------------------------- streamed bodies -- */

enum http_body_event {
    HTTP_BODY_DATA,   /* some bytes, borrowed for the call */
    HTTP_BODY_END,    /* all of it was delivered */
    HTTP_BODY_FAILED, /* cut short, malformed, too slow or too large: the exchange must still be completed; the reply
                         goes nowhere */
};
typedef void http_body_fn(struct http_exchange *exchange, enum http_body_event event, aic_view bytes, void *context);

/*
 * In a HTTP_BODY_STREAMED handler: the exchange is deferred and the body is delivered to `fn`, the first pieces after
 * the handler has returned. Replying before HTTP_BODY_END is allowed: the rest is not read and the connection closes
 * after the reply. No deadline runs while the body is arriving.
 */
void http_body_start(struct http_exchange *exchange, http_body_fn *fn, void *context);
/* Stops and restarts the delivery; while it is stopped the connection is not read. Not nested: one resume undoes any
 * number of pauses. */
void http_body_pause(struct http_exchange *exchange);
void http_body_resume(struct http_exchange *exchange);

/* --------------------------------------------------------------------------------------------------- replying -- */

/*
 * Adds a field to the reply's head, before the reply or http_stream_open(). Name and value are copied; a value with a
 * control character is left out as a whole. Date, Connection, Content-Length, Transfer-Encoding and Content-Type are
 * the server's own.
 */
void http_reply_header(struct http_exchange *exchange, const char *name, aic_view value);
/* The same with a printf format; at most 512 bytes. */
__attribute__((format(printf, 3, 4))) void http_reply_headerf(struct http_exchange *exchange, const char *name,
                                                              const char *format, ...);
/* Adds whole lines ("Name: value\r\n") that the caller has put together from parts without control characters. */
void http_reply_lines(struct http_exchange *exchange, aic_view lines);

#define HTTP_JSON "application/json"

/* A reply without a body (204, 304; for others `Content-Length: 0`). */
void http_reply_empty(struct http_exchange *exchange, int status);
/* A reply whose body is copied. `type` is a static string, the Content-Type. */
void http_reply_bytes(struct http_exchange *exchange, int status, const char *type, aic_view body);
/* A reply that takes the buffer's bytes over; *body is empty afterwards. A buffer that failed, on this thread and as
 * its last allocation, is answered as http_reply_refused() does. */
void http_reply_buf(struct http_exchange *exchange, int status, const char *type, struct buf *body);

/*
 * A reply made of borrowed pieces, sent without a copy. `release(context)` is called exactly once, on the front thread,
 * when the bytes are no longer needed: after they were sent, or when the connection failed; perhaps before this call
 * returns. At most HTTP_MAX_PIECES.
 */
#define HTTP_MAX_PIECES 16
typedef void http_release_fn(void *context);
void http_reply_pieces(struct http_exchange *exchange, int status, const char *type, const aic_view *pieces,
                       size_t count, http_release_fn *release, void *context);

/* 503 for want of memory, and what it was: `full` is the mem of this server whose limit refused it (mem_refused_by() on
 * the thread that asked; with Retry-After), or NULL, when memory itself was out. */
void http_reply_refused(struct http_exchange *exchange, const struct mem *full);
/* The error shape of the contract, from a status and the aic_error that explains it (NULL: the status's sentence). */
void http_reply_error(struct http_exchange *exchange, aic_status status, const aic_error *error);
/* The same from an HTTP status. `code` and `field` may be NULL; `message` is a sentence without user text. */
void http_reply_problem(struct http_exchange *exchange, int status, const char *code, const char *field,
                        const char *message);
/* Appends {"error":{...}} as in the two above, without the end of the line, for a reply within a list. */
void http_write_error(struct buf *out, const aic_error *error);

/* ------------------------------------------------------------------------------------------- streamed replies -- */

/* Before http_stream_open(): room for so many queued bytes, which the stream keeps to its end. False: there is none,
 * see http_answer_mem(). A stream without it may be cut where it needs room and there is none. */
bool http_stream_reserve(struct http_exchange *exchange, size_t bytes);
/*
 * Sends the head; the body follows in chunks (to HTTP/1.0: until the connection closes). The exchange stays valid until
 * http_stream_close() or http_stream_abort(). No deadline runs; a client that does not read is cut by limits.write_ms.
 * False: the client has gone, or was answered 503 for want of memory; what is written goes nowhere, and who would wait
 * for more to write must close.
 */
bool http_stream_open(struct http_exchange *exchange, int status, const char *type);
/*
 * Queues bytes (copied). False: more than limits.queue_bytes is waiting; write no more until the drain callback. Bytes
 * written nevertheless are queued up to four times the limit, then the connection is closed.
 */
bool http_stream_write(struct http_exchange *exchange, aic_view bytes);
/* The same without a copy; `release` as above. */
bool http_stream_write_borrowed(struct http_exchange *exchange, aic_view bytes, http_release_fn *release,
                                void *context);
/*
 * Calls `fn` once, from the loop, when everything queued so far has left (or when the client has gone: http_is_gone()).
 * One registration at a time. `fn` may write, register again, close or abort.
 */
typedef void http_drain_fn(struct http_exchange *exchange, void *context);
void http_stream_drain(struct http_exchange *exchange, http_drain_fn *fn, void *context);
/* Ends the body properly. */
void http_stream_close(struct http_exchange *exchange);
/* Ends it so that the client sees that it was cut short. */
void http_stream_abort(struct http_exchange *exchange);

/*
 * Calls `fn` once, on the front thread, when the client goes away (or the deadline passes) before the exchange is
 * completed: to give work up early. One registration, NULL takes it back; it must not complete the exchange.
 */
void http_on_gone(struct http_exchange *exchange, http_drain_fn *fn, void *context);
/* The same, and also when the client has closed its side of the connection, which whoever only ends a half of it and
 * waits for the answer does too: for work that costs so much that nobody should do it for somebody who is gone. */
void http_on_hangup(struct http_exchange *exchange, http_drain_fn *fn, void *context);

#endif
