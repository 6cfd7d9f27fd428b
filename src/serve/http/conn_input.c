/*
 * conn_input.c - how a connection reads: which block the bytes go to, what of it is kept, when to stop.
 *
 * The block is the thread's as long as nothing has to stay in it. Its owner changes in conn_settle_input() only, at the
 * end of each run, so that between two events the shared block is always free.
 */
#include "serve/http/connection.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reads of one event, so that a fast sender does not starve the others. */
#define READS_PER_EVENT 4
#define BODY_READ_BYTES 65536
#define BODY_FIRST_BYTES (1 << 20)

/* The block goes back when nothing in it is needed: no exchange points into it and nothing is unread. */
void conn_block_release(struct conn *conn)
{
    if (conn->in == NULL) return;
    if (conn->in_capacity == BLOCK_BYTES) thread_block_give(conn->thread, conn->in);
    else mem_free(conn->thread->server->mem, MEM_CONNECTIONS, conn->in, conn->in_capacity);
    conn->in = NULL;
    conn->in_capacity = conn->in_start = conn->in_end = conn->in_floor = 0;
}

/* Room of its own for a connection; conn_block_release() knows by the size where it came from. */
static char *take_room(struct conn *conn, size_t capacity)
{
    if (capacity == BLOCK_BYTES) return thread_block_take(conn->thread);
    return mem_alloc(conn->thread->server->mem, MEM_CONNECTIONS, capacity);
}

/* A head that came in parts lies in a block of its own that fits it; its body gets the room of a full one, before
 * anything points into it. */
void conn_widen_block(struct conn *conn)
{
    if (conn->in_capacity >= BLOCK_BYTES) return;
    char *block = thread_block_take(conn->thread);
    if (block == NULL) return; /* the small one serves as well, only slower */
    size_t rest = conn->in_end - conn->in_start;
    memcpy(block, conn->in + conn->in_start, rest);
    conn_block_release(conn);
    conn->in = block;
    conn->in_capacity = BLOCK_BYTES;
    conn->in_end = rest;
}

/* Keeps what must stay of the block, gives back what is not needed. */
void conn_settle_input(struct conn *conn)
{
    bool unread = conn->in_end > conn->in_start && conn->phase != CONN_LINGER && conn->phase != CONN_CLOSED;
    if (conn->in == NULL) return;
    if (!unread && !conn->exchange.handed) {
        conn_block_release(conn);
        return;
    }
    if (conn->exchange.handed) return; /* the exchange points into it */
    size_t rest = conn->in_end - conn->in_start;
    size_t capacity = rest < 512 ? 1024 : rest * 2;
    if (capacity >= conn->in_capacity) return;
    char *own = take_room(conn, capacity);
    if (own == NULL) {
        THREAD_COUNT(conn->thread, memory_failures, 1);
        conn_block_release(conn);
        conn_close(conn);
        return;
    }
    memcpy(own, conn->in + conn->in_start, rest);
    conn_block_release(conn);
    conn->in = own;
    conn->in_capacity = capacity;
    conn->in_end = rest;
}

/* A head that fills its block moves to the front, or to a larger block; head_scan() refuses it before it grows beyond
 * the limit. */
static bool make_room(struct conn *conn)
{
    if (conn->exchange.handed) return false; /* reading ahead ends with the block */
    size_t rest = conn->in_end - conn->in_start;
    if (conn->in_start > 0) {
        memmove(conn->in, conn->in + conn->in_start, rest);
        conn->in_start = 0;
        conn->in_end = rest;
        return true;
    }
    char *grown = take_room(conn, conn->in_capacity * 2);
    if (grown == NULL) {
        THREAD_COUNT(conn->thread, memory_failures, 1);
        conn_close(conn);
        return false;
    }
    memcpy(grown, conn->in, rest);
    size_t capacity = conn->in_capacity * 2;
    conn_block_release(conn);
    conn->in = grown;
    conn->in_capacity = capacity;
    conn->in_end = rest;
    return true;
}

/* Where the next bytes go; false when there is no room for them now. */
static bool block_space(struct conn *conn, char **out, size_t *size)
{
    if (conn->in == NULL) {
        char *block = thread_block_take(conn->thread);
        if (block == NULL) {
            THREAD_COUNT(conn->thread, memory_failures, 1);
            conn_close(conn);
            return false;
        }
        conn->in = block;
        conn->in_capacity = BLOCK_BYTES;
    }
    if (conn->in_start == conn->in_end) conn->in_start = conn->in_end = conn->in_floor;
    if (conn->in_end == conn->in_capacity && !make_room(conn)) {
        conn->read_again = true;
        return false;
    }
    *out = conn->in + conn->in_end;
    *size = conn->in_capacity - conn->in_end;
    return true;
}

/* A buffered body with a length is read to where it stays. Who has sent a first megabyte gets room for all of it. */
static bool body_space(struct conn *conn, char **out, size_t *size)
{
    size_t room = conn->body_left < BODY_FIRST_BYTES || conn->body.size > 0 ? (size_t)conn->body_left
                                                                            : BODY_FIRST_BYTES;
    if (conn->body.capacity > conn->body.size) room = conn->body.capacity - conn->body.size;
    if (room > conn->body_left) room = (size_t)conn->body_left;
    if (!conn_body_hold(conn, conn->body.size + room)) return false; /* refused when the next piece is delivered */
    *out = buf_reserve(&conn->body, room);
    *size = room < BODY_READ_BYTES ? room : BODY_READ_BYTES;
    return *out != NULL;
}

static ssize_t receive(struct conn *conn, char *out, size_t size)
{
    ssize_t got;
    do {
        got = conn->tls != NULL ? tls_read(conn->tls, out, size, &conn->tls_read_wants_write)
                                : recv(conn->fd, out, size, 0);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* Plain HTTP on an address that speaks TLS: a reset would explain nothing, so the answer is plain, too, and the last.
 */
static void refuse_plain(struct conn *conn)
{
    struct head_refusal why;
    THREAD_COUNT(conn->thread, tls_failures, 1);
    tls_session_destroy(&conn->tls);
    head_refuse(&why, 400, "tls_required", "This address speaks TLS; ask it by https.");
    exchange_refuse(conn, &why);
}

/* One read. False when there is nothing more to read now. */
static bool read_some(struct conn *conn)
{
    char *room = NULL;
    size_t size = 0;
    bool direct = conn->phase == CONN_BODY && conn->body_copied && !conn->exchange.head.chunked &&
                  conn->in_start == conn->in_end;
    if (!(direct && body_space(conn, &room, &size)) && !block_space(conn, &room, &size)) return false;
    ssize_t got = receive(conn, room, size);
    if (got < 0) {
        if (conn->tls != NULL && errno == EPROTONOSUPPORT) refuse_plain(conn);
        else if (errno != EAGAIN) conn_close(conn);
        return false;
    }
    if (got == 0) {
        conn->eof = conn->hung_up = true;
        if (conn->exchange.gone_at_eof) thread_mark_ready(conn);
        return false;
    }
    THREAD_COUNT(conn->thread, bytes_in, got);
    if (conn->phase == CONN_BODY) {
        conn->deadline_ms = conn_now(conn) + LIMIT(conn->thread, body_ms);
        conn->body_seen += (size_t)got;
    }
    if (direct) {
        buf_commit(&conn->body, (size_t)got);
        conn->body_left -= (size_t)got;
    } else {
        conn->in_end += (size_t)got;
    }
    return (size_t)got == size || conn->tls != NULL;
}

/* What comes after the last answer is dropped. */
static void linger_read(struct conn *conn)
{
    char dropped[4096];
    for (unsigned i = 0; i < READS_PER_EVENT; i++) {
        ssize_t got = recv(conn->fd, dropped, sizeof dropped, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0) {
            conn_close(conn);
            return;
        }
    }
}

/* May more be read now? A connection in a handler's hands is read ahead as far as its block has room. */
bool conn_wants_input(const struct conn *conn)
{
    if (conn->eof) return false;
    switch (conn->phase) {
    case CONN_HEAD: return !conn->close_after && !conn->stalled;
    case CONN_BODY: return !conn->exchange.paused;
    case CONN_WAIT: return conn->in_end < conn->in_capacity;
    case CONN_DISCARD:
    case CONN_LINGER: return true;
    case CONN_CLOSED: break;
    }
    return false;
}

/*
 * `read_again` remembers that reading stopped before the socket was empty, for want of room or of turns: what TLS has
 * already decrypted is not reported by the loop.
 */
void conn_read(struct conn *conn)
{
    bool more = true;
    conn->read_again = false;
    for (unsigned reads = 0; more && reads < READS_PER_EVENT && conn_wants_input(conn); reads++) {
        if (conn->phase == CONN_LINGER) {
            linger_read(conn);
            return;
        }
        bool fresh = conn->phase == CONN_HEAD && conn->in_start == conn->in_end;
        more = read_some(conn);
        if (fresh && !more && conn->reported && conn->in_end > conn->in_start) {
            thread_arrive(conn);
            return;
        }
        /* What comes for a request that is not whole yet may be the rest of it. */
        if (conn->phase == CONN_HEAD || conn->phase == CONN_BODY)
            conn->exchange.received_ns = clock_mono_ns(conn->thread->server->clock);
        conn_run(conn);
    }
    if (!more || conn->tls == NULL || conn->phase == CONN_CLOSED) return;
    conn->read_again = true;
    if (conn_wants_input(conn)) thread_mark_ready(conn);
}
