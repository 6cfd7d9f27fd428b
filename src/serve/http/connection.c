/*
 * connection.c - a connection's life: open, read, run, write, linger, close; and its time-outs.
 *
 * conn_run() is the one place that makes progress: it reads requests from what has arrived until it needs more, then
 * settles (sends, lingers, keeps or gives back the block, says what to poll for). Whatever happens elsewhere (a late
 * reply, room in the socket, a time-out) ends in a call of it, so no order of events needs a path of its own. Callbacks
 * of handlers may call it again from inside; it then returns at once, and the outer call goes on.
 */
#include "serve/http/connection.h"

#include "base/check.h"

#include <sys/socket.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------ open, close -- */

static struct conn *conn_take(struct http_thread *thread)
{
    struct conn *conn = object_pool_take(&thread->conn_pool);
    if (conn == NULL || conn->thread != NULL) return conn;
    struct mem *mem = thread->server->mem;
    conn->thread = thread;
    conn->exchange.conn = conn;
    buf_init(&conn->body, mem, MEM_CONNECTIONS);
    buf_init(&conn->exchange.fields, mem, MEM_CONNECTIONS);
    buf_init(&conn->exchange.decoded, mem, MEM_CONNECTIONS);
    output_init(&conn->out, mem, &thread->server->answers.mem);
    return conn;
}

static void conn_fini(void *object)
{
    struct conn *conn = object;
    buf_fini(&conn->body);
    buf_fini(&conn->exchange.fields);
    buf_fini(&conn->exchange.decoded);
    output_fini(&conn->out);
}

const struct object_pool_hooks conn_hooks = {.fini = conn_fini};

static void conn_give(struct conn *conn)
{
    void *given = conn;
    conn_body_release(conn);
    CHECK(conn->out.pending == 0 && conn->in == NULL); /* the next client's connection lies here */
    CHECK(!conn->ready && !conn->handle_open);
    CHECK(object_pool_give(&conn->thread->conn_pool, &given));
}

/* Everything that belongs to one socket, and not to the memory that is kept from socket to socket. */
static void conn_reset(struct conn *conn, int fd)
{
    conn->fd = fd;
    conn->events = 0;
    conn->phase = CONN_HEAD;
    conn->eof = conn->hung_up = conn->close_after = conn->running = conn->ready = conn->read_again = false;
    conn->reported = conn->arrived = conn->held = conn->idlest = false;
    conn->head_timed = conn->continue_due = conn->stalled = conn->body_done = conn->body_copied = false;
    conn->tls_read_wants_write = conn->tls_write_wants_read = false;
    conn->in = NULL;
    conn->in_capacity = conn->in_start = conn->in_end = conn->in_floor = 0;
    conn->scan = (struct head_scan){0};
    conn->gathered = 0;
    conn->write_deadline_ms = 0;
    conn->write_progress = 0;
    conn->exchange.status = 0; /* nothing was answered: thread.c asks */
    conn->exchange.handed = false;
    conn->exchange.expired = false;
    conn->exchange.drain = NULL;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void conn_reject(struct conn *conn)
{
    struct head_refusal full;
    head_refuse(&full, 503, "too_many_connections",
                "All of the %llu connections that are accepted at one time are open (limits.connections).",
                (unsigned long long)LIMIT(conn->thread, connections));
    exchange_refuse(conn, &full);
    conn_run(conn);
}

aic_status conn_open(struct http_thread *thread, int fd, bool local, bool rejected)
{
    struct conn *conn = conn_take(thread);
    if (conn == NULL) return AIC_NO_MEMORY;
    conn_reset(conn, fd);
    conn->local = local;
    aic_status status = AIC_NO_MEMORY;
    bool with_tls = thread->server->tls != NULL && !local;
    conn->tls = with_tls ? tls_accept(thread->server->tls, fd) : NULL;
    if (with_tls && conn->tls == NULL) goto fail;
    TRY_OR_FAIL(thread_conn_add(conn));
    if (uv_poll_init(&thread->loop.uv, &conn->poll, fd) != 0) {
        thread_conn_remove(conn);
        status = AIC_IO;
        goto fail;
    }
    conn->handle_open = true;
    conn->poll.data = conn;
    conn->deadline_ms = conn_now(conn) + LIMIT(thread, header_ms);
    thread->live++;
    if (rejected) conn_reject(conn);
    else conn_run(conn);
    return AIC_OK;
fail:
    tls_session_destroy(&conn->tls);
    conn_give(conn);
    return status;
}

static void conn_try_free(struct conn *conn)
{
    if (conn->phase != CONN_CLOSED || conn->handle_open || conn->exchange.handed || conn->running) return;
    struct http_thread *thread = conn->thread;
    thread_unmark_ready(conn);
    conn_block_release(conn);
    conn_give(conn);
    thread_conn_freed(thread);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    conn->handle_open = false;
    conn_try_free(conn);
}

void conn_close(struct conn *conn)
{
    if (conn->phase == CONN_CLOSED) return;
    struct http_thread *thread = conn->thread;
    if ((conn->exchange.handed && !conn->exchange.expired) || conn->out.pending > 0) THREAD_COUNT(thread, resets, 1);
    if (conn->tls != NULL && !tls_is_ready(conn->tls)) THREAD_COUNT(thread, tls_failures, 1);
    conn->phase = CONN_CLOSED;
    conn->deadline_ms = conn->write_deadline_ms = 0;
    thread_unarrive(conn);
    thread_conn_remove(conn);
    output_drop(&conn->out);
    tls_session_destroy(&conn->tls);
    uv_close((uv_handle_t *)&conn->poll, on_handle_closed);
    close(conn->fd);
    conn->fd = -1;
    if (conn->exchange.handed && !conn->exchange.called) conn_completed(conn);
    if (conn->exchange.handed)
        thread_mark_ready(conn); /* the handler is told from the loop, never from inside its own call */
    else thread_unmark_ready(conn);
}

/* -------------------------------------------------------------------------------------------------------- end -- */

/* After the last answer: the client must see it even when it is still sending, so the socket closes only after its end,
 * or after a while. */
static void conn_linger(struct conn *conn)
{
    if (conn->tls != NULL) tls_close_notify(conn->tls);
    if (conn->eof || shutdown(conn->fd, SHUT_WR) != 0) {
        conn_close(conn);
        return;
    }
    conn->phase = CONN_LINGER;
    conn->deadline_ms = conn_now(conn) + LINGER_MS;
}

/* -------------------------------------------------------------------------------------------------------- run -- */

/* Gathered answers leave when there are many of them, and nothing more is read while a client does not take them. */
static bool may_answer_more(struct conn *conn)
{
    if (conn->gathered >= LIMIT(conn->thread, pipeline) || conn->out.pending >= FLUSH_BYTES) conn_flush(conn);
    return conn->phase == CONN_HEAD && !conn->stalled;
}

static bool step_head(struct conn *conn)
{
    if (conn->close_after || conn->exchange.handed || !may_answer_more(conn)) return false;
    if (conn->in_start == conn->in_end) {
        if (conn->eof) conn->close_after = true;
        return false;
    }
    struct http_thread *thread = conn->thread;
    struct head_limits limits = {LIMIT(thread, header_bytes), LIMIT(thread, target_bytes)};
    struct head_refusal why;
    size_t end = 0;
    const char *data = conn->in + conn->in_start;
    size_t size = conn->in_end - conn->in_start;
    struct head_match known = {.lines = NULL};
    enum head_outcome outcome = HEAD_COMPLETE;
    if (conn->scan.checked == 0 && head_memo_find(&thread->heads, data, size, &limits, &known)) end = known.end;
    else outcome = head_scan(&conn->scan, data, size, &limits, &end, &why);
    if (outcome == HEAD_MORE) {
        if (conn->eof) conn_close(conn); /* half a head: there is nobody to answer */
        else if (!conn->head_timed) conn->deadline_ms = conn_now(conn) + LIMIT(thread, header_ms);
        conn->head_timed = true;
        return false;
    }
    size_t begin = conn->scan.begin;
    conn->scan = (struct head_scan){0};
    conn->head_timed = false;
    if (outcome == HEAD_COMPLETE) {
        conn_widen_block(conn);
        exchange_begin(conn, begin, end, known.lines != NULL ? &known : NULL);
    } else {
        THREAD_COUNT(thread, parse_errors, 1);
        exchange_refuse(conn, &why);
    }
    return true;
}

/* What the loop is asked for. */
static int wanted_events(const struct conn *conn)
{
    bool readable = conn_wants_input(conn);
    int events = readable ? UV_READABLE : 0;
    if (conn->stalled) events |= conn->tls_write_wants_read ? UV_READABLE : UV_WRITABLE;
    if (readable && conn->tls_read_wants_write) events |= UV_WRITABLE;
    /* Nobody is told of it who was refused already; it would be reported again and again. */
    bool is_asked_for = conn->exchange.handed && !conn->exchange.expired && !conn->hung_up;
    if (!readable && is_asked_for) events |= UV_DISCONNECT;
    return events;
}

static void settle(struct conn *conn)
{
    bool in_hands = conn->exchange.handed && !conn->exchange.expired, was_stalled = conn->stalled;
    if (conn->phase != CONN_CLOSED && !conn_hold(conn)) conn_flush(conn);
    if (conn->phase != CONN_CLOSED && conn->phase != CONN_LINGER && conn->close_after && conn->out.pending == 0 &&
        !in_hands)
        conn_linger(conn);
    conn_settle_input(conn);
    if (conn->phase == CONN_CLOSED) return;
    if (conn->out.pending == 0 && conn->exchange.handed && conn->exchange.drain != NULL) thread_mark_ready(conn);
    if (conn->read_again && conn_wants_input(conn)) thread_mark_ready(conn);
    if (was_stalled && !conn->stalled) thread_mark_ready(conn); /* requests that were read before may wait for it */
    int events = wanted_events(conn);
    if (events == conn->events) return;
    conn->events = events;
    int result = events != 0 ? uv_poll_start(&conn->poll, events, on_poll) : uv_poll_stop(&conn->poll);
    if (result != 0) conn_close(conn);
}

void conn_run(struct conn *conn)
{
    if (conn->running) return;
    conn->running = true;
    for (bool again = true; again;) {
        switch (conn->phase) {
        case CONN_HEAD: again = step_head(conn); break;
        case CONN_BODY:
        case CONN_DISCARD: again = conn_step_body(conn); break;
        default: again = false;
        }
    }
    settle(conn);
    conn->running = false;
    conn_try_free(conn);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = poll->data;
    if (status < 0) { /* the socket failed */
        conn_close(conn);
        return;
    }
    if (events & UV_DISCONNECT) {
        conn->hung_up = true;
        thread_mark_ready(conn);
    }
    if (conn->stalled && (events & UV_WRITABLE || conn->tls_write_wants_read)) conn_run(conn);
    if (conn->phase == CONN_CLOSED) return;
    if (!(events & UV_READABLE) && !conn->tls_read_wants_write) return;
    conn->reported = true;
    conn_read(conn);
    conn->reported = false;
}

void conn_serve_ready(struct conn *conn)
{
    struct http_exchange *exchange = &conn->exchange;
    if (conn_note_held(conn)) return;
    if (reply_is_lost(exchange)) {
        conn->running = true; /* keeps the memory while the handler is told */
        exchange_tell_gone(exchange);
        conn->running = false;
        if (!exchange->handed) conn_settle_input(conn);
        conn_try_free(conn);
        return;
    }
    if (conn->hung_up && exchange->gone_at_eof) exchange_tell_hangup(exchange);
    /* Where nothing may be read now, what was read and what is queued still want their turn. */
    if (conn->read_again && conn_wants_input(conn)) conn_read(conn);
    else conn_run(conn);
    if (conn->phase == CONN_CLOSED || !exchange->handed || exchange->drain == NULL || conn->out.pending > 0) return;
    http_drain_fn *drain = exchange->drain;
    exchange->drain = NULL;
    drain(exchange, exchange->drain_context); /* may complete the exchange: conn is not touched after it */
}

/* ------------------------------------------------------------------------------------------------- completion -- */

bool conn_keeps_alive(struct conn *conn)
{
    const struct head *head = &conn->exchange.head;
    bool keep = head->keep_alive && !conn->thread->stopping && !conn->close_after;
    if (!conn->body_done && (head->chunked || conn->body_left > DISCARD_BYTES || conn->continue_due)) keep = false;
    if (!keep) conn->close_after = true;
    return keep;
}

static void buf_rest(struct buf *buf, size_t keep)
{
    if (buf->capacity > keep) buf_fini(buf);
    else buf_clear(buf);
}

static void count_status(struct http_thread *thread, int status)
{
    switch (status / 100) {
    case 2: THREAD_COUNT(thread, status_2xx, 1); break;
    case 3: THREAD_COUNT(thread, status_3xx, 1); break;
    case 4: THREAD_COUNT(thread, status_4xx, 1); break;
    case 5: THREAD_COUNT(thread, status_5xx, 1); break;
    default: break;
    }
}

void conn_report(struct conn *conn, int status)
{
    struct http_server *server = conn->thread->server;
    count_status(conn->thread, status);
    if (server->finished != NULL) server->finished(server->context, &conn->exchange, status, conn->exchange.sent_bytes);
}

void conn_completed(struct conn *conn)
{
    struct http_exchange *exchange = &conn->exchange;
    if (!exchange->handed) return; /* it ended with the connection, for want of memory */
    if (!exchange->expired)
        conn_report(conn, conn->phase == CONN_CLOSED && !exchange->streaming ? 0 : exchange->status);
    exchange->handed = false;
    exchange->drain = exchange->gone = NULL;
    exchange->gone_at_eof = false;
    exchange->sink = NULL;
    exchange->paused = false;
    conn_body_release(conn);
    buf_rest(&exchange->fields, 1024);
    buf_rest(&exchange->decoded, 1024);
    conn->in_floor = 0;
    if (exchange->expired || conn->phase == CONN_CLOSED) {
        if (conn->running) return;
        conn_settle_input(conn);
        conn_try_free(conn);
        return;
    }
    conn->gathered++;
    conn->phase = conn->body_done || conn->close_after ? CONN_HEAD : CONN_DISCARD;
    conn->deadline_ms = conn_now(conn) +
                        (conn->phase == CONN_DISCARD ? LIMIT(conn->thread, body_ms) : LIMIT(conn->thread, idle_ms));
    conn_run(conn);
}

/* --------------------------------------------------------------------------------------------------------- time-outs
 * -- */

static bool body_is_slow(const struct conn *conn, uint64_t now)
{
    if (conn->phase != CONN_BODY || conn->exchange.paused) return false;
    uint64_t elapsed = now - conn->body_since_ms;
    return elapsed > LIMIT(conn->thread, body_ms) && conn->body_seen * 1000 < LIMIT(conn->thread, body_rate) * elapsed;
}

static void refuse_late(struct conn *conn)
{
    struct head_refusal why;
    if (conn->phase == CONN_HEAD)
        head_refuse(&why, 408, "request_timeout",
                    "The head of the request did not arrive within %llu ms (timeouts.header).",
                    (unsigned long long)LIMIT(conn->thread, header_ms));
    else if (conn->phase == CONN_BODY)
        head_refuse(
            &why, 408, "request_timeout",
            "The body paused for more than %llu ms (timeouts.body), or came with less than %llu bytes a second.",
            (unsigned long long)LIMIT(conn->thread, body_ms), (unsigned long long)LIMIT(conn->thread, body_rate));
    else head_refuse(&why, 504, "timeout", "The answer did not come in time.");
    exchange_refuse(conn, &why);
}

static void deadline_passed(struct conn *conn)
{
    bool idle = conn->phase == CONN_HEAD && conn->in_start == conn->in_end;
    if (!idle && conn->phase != CONN_LINGER) THREAD_COUNT(conn->thread, timeouts, 1);
    if (conn->out.pending > 0 && idle) return; /* the write has a deadline of its own */
    if (idle || conn->phase == CONN_LINGER || conn->phase == CONN_DISCARD) conn_close(conn);
    else refuse_late(conn);
}

void conn_check_time(struct conn *conn, uint64_t now)
{
    if (conn_write_is_late(conn, now)) {
        THREAD_COUNT(conn->thread, timeouts, 1);
        conn_close(conn);
        return;
    }
    if (!body_is_slow(conn, now) && (conn->deadline_ms == 0 || now < conn->deadline_ms)) return;
    conn->deadline_ms = 0;
    deadline_passed(conn);
    conn_run(conn);
}

void conn_begin_stop(struct conn *conn)
{
    if (conn->phase == CONN_HEAD && !conn->exchange.handed)
        conn_read(conn); /* a request may be waiting in the socket */
    if (conn->phase == CONN_DISCARD) conn->close_after = true;
    if (conn->phase != CONN_HEAD || conn->exchange.handed) return;
    /* A whole request gets its turn; of a head that is only half there nobody knows whether the rest ever comes. */
    if (conn->in_end > conn->in_start && (conn->arrived || conn->ready)) return;
    if (conn->out.pending > 0) {
        conn->close_after = true;
        return;
    }
    if (conn->tls != NULL) tls_close_notify(conn->tls);
    conn_close(conn);
}
