/*
 * conn_body.c - the bodies of requests: left in the block, gathered, handed to a sink piece by piece, or dropped.
 */
#include "serve/http/connection.h"

static const struct head_refusal CUT_SHORT = {400, "body_cut_short",
                                              "The connection ended before the end of the body."};

bool conn_body_hold(struct conn *conn, uint64_t bytes)
{
    if (bytes <= conn->body_held) return true;
    if (!room_take(&conn->thread->server->bodies, bytes - conn->body_held)) return false;
    conn->body_held = bytes;
    return true;
}

void conn_body_release(struct conn *conn)
{
    buf_fini(&conn->body);
    room_give(&conn->thread->server->bodies, conn->body_held);
    conn->body_held = 0;
}

void conn_bodies_full(const struct conn *conn, struct head_refusal *why)
{
    THREAD_COUNT(conn->thread, bodies_refused, 1);
    room_refuse(&conn->thread->server->bodies, why);
}

/* Hands a piece of the body to whom it belongs. */
static void body_deliver(struct conn *conn, aic_view piece)
{
    struct http_exchange *exchange = &conn->exchange;
    if (conn->phase == CONN_DISCARD) return;
    if (exchange->sink != NULL) {
        exchange->sink(exchange, HTTP_BODY_DATA, piece, exchange->sink_context);
    } else if (exchange->route->body == HTTP_BODY_BUFFERED) {
        if (conn_body_hold(conn, conn->body.size + piece.size)) {
            buf_append(&conn->body, piece.data, piece.size);
            return;
        }
        struct head_refusal why;
        conn_bodies_full(conn, &why);
        exchange_refuse(conn, &why);
    }
}

static void body_finish(struct conn *conn)
{
    struct http_exchange *exchange = &conn->exchange;
    static const struct head_refusal no_memory = {503, "no_memory", "No memory for the body."};
    conn->body_done = true;
    if (conn->phase == CONN_DISCARD) {
        conn->phase = CONN_HEAD;
        conn->deadline_ms = conn_now(conn) + LIMIT(conn->thread, idle_ms);
        return;
    }
    if (buf_status(&conn->body) != AIC_OK) {
        THREAD_COUNT(conn->thread, memory_failures, 1);
        exchange_refuse(conn, &no_memory);
        return;
    }
    if (conn->body_copied || exchange->head.chunked) exchange->body = buf_view(&conn->body);
    if (exchange->sink == NULL) {
        exchange_run_handler(exchange);
        return;
    }
    conn->phase = CONN_WAIT;
    conn->deadline_ms = conn_now(conn) + LIMIT(conn->thread, reply_ms);
    http_body_fn *sink = exchange->sink;
    exchange->sink = NULL;
    sink(exchange, HTTP_BODY_END, AIC_LITERAL(""), exchange->sink_context);
}

/* A buffered body that is whole in the block, or fits into it, stays where it is. */
static bool body_in_place(struct conn *conn)
{
    struct http_exchange *exchange = &conn->exchange;
    size_t have = conn->in_end - conn->in_start;
    if (have >= conn->body_left) {
        exchange->body = (aic_view){conn->in + conn->in_start, (size_t)conn->body_left};
        conn->in_start += (size_t)conn->body_left;
        conn->in_floor = conn->in_start;
        conn->body_left = 0;
        return true;
    }
    if (conn->in_capacity - conn->in_start >= conn->body_left) return true;
    conn->body_copied = true;
    return false;
}

static bool body_by_length(struct conn *conn)
{
    bool buffered = conn->phase == CONN_BODY && conn->exchange.sink == NULL &&
                    conn->exchange.route->body == HTTP_BODY_BUFFERED;
    if (buffered && !conn->body_copied && conn->body_left > 0 && body_in_place(conn)) {
        if (conn->body_left > 0) return false;
    } else if (conn->body_left > 0) {
        size_t have = conn->in_end - conn->in_start;
        size_t take = have < conn->body_left ? have : (size_t)conn->body_left;
        if (take == 0) return false;
        aic_view piece = {conn->in + conn->in_start, take};
        conn->in_start += take;
        conn->body_left -= take;
        body_deliver(conn, piece);
        if (conn->phase != CONN_BODY && conn->phase != CONN_DISCARD) return true;
        if (conn->body_left > 0) return true;
    }
    if (conn->exchange.paused && conn->phase == CONN_BODY) return false; /* the end is delivered after the resume */
    body_finish(conn);
    return true;
}

static bool body_by_chunks(struct conn *conn)
{
    struct head_refusal why;
    size_t used = 0;
    aic_view piece = {NULL, 0};
    enum chunk_event event = chunk_read(&conn->chunk, conn->in + conn->in_start, conn->in_end - conn->in_start, &used,
                                        &piece, &why);
    switch (event) {
    case CHUNK_REFUSED:
        THREAD_COUNT(conn->thread, parse_errors, 1);
        exchange_refuse(conn, &why);
        return true;
    case CHUNK_MORE: conn->in_start = conn->in_end; return false;
    case CHUNK_END:
        conn->in_start += used;
        body_finish(conn);
        return true;
    case CHUNK_DATA:
        conn->in_start += used;
        if (piece.size > conn->body_limit - conn->body_taken) {
            exchange_body_too_large(conn, UINT64_MAX, &why);
            exchange_refuse(conn, &why);
            return true;
        }
        conn->body_taken += piece.size;
        body_deliver(conn, piece);
        return true;
    }
    return false;
}

bool conn_step_body(struct conn *conn)
{
    if (conn->exchange.paused && conn->phase == CONN_BODY) return false;
    if (conn->exchange.head.chunked ? body_by_chunks(conn) : body_by_length(conn)) return true;
    if (!conn->eof) return false;
    if (conn->phase == CONN_DISCARD) conn->close_after = true;
    else exchange_refuse(conn, &CUT_SHORT);
    return false;
}

void conn_send_continue(struct conn *conn)
{
    if (!conn->continue_due) return;
    conn->continue_due = false;
    if (conn->in_end > conn->in_start) return; /* the body is already coming */
    THREAD_COUNT(conn->thread, status_1xx, 1);
    aic_view line = AIC_LITERAL("HTTP/1.1 100 Continue\r\n\r\n");
    if (conn_reserve(conn, line.size) == NULL || output_copy(&conn->out, line) != AIC_OK) conn_close(conn);
}

void conn_want_body(struct conn *conn)
{
    conn->phase = CONN_BODY;
    conn->body_since_ms = conn_now(conn);
    conn->body_seen = 0;
    conn->deadline_ms = conn->body_since_ms + LIMIT(conn->thread, body_ms);
    conn_send_continue(conn);
}
