/*
 * conn_output.c - how a connection sends: as one piece or as many, at once or together with others, and what follows
 * from what the kernel took.
 *
 * Of several sockets that are ready, all are read before the first answer is sent: then the answers leave one after the
 * other, and a client that waits for many of them is woken once instead of each time. Nothing but the next send stands
 * between two of them; what they borrowed is given back afterwards, for all. Only what was answered at once is held
 * back, and HOLD_NS bound the wait.
 */
#include "serve/http/connection.h"

#include "base/check.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* A small answer is one piece for the kernel: the copy costs less than a writev does beyond a send. */
static ssize_t send_joined(int fd, const struct iovec *pieces, unsigned count)
{
    char joined[JOIN_BYTES];
    size_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        CHECK(pieces[i].iov_len <= sizeof joined - size);
        memcpy(joined + size, pieces[i].iov_base, pieces[i].iov_len);
        size += pieces[i].iov_len;
    }
    return send(fd, joined, size, 0);
}

/* Bytes that were sent, or an error's number below zero. SIGPIPE is blocked on front threads. */
static ssize_t send_some(struct conn *conn)
{
    struct iovec pieces[64];
    unsigned count = output_pieces(&conn->out, pieces, COUNT_OF(pieces));
    ssize_t sent;
    if (conn->tls != NULL)
        sent = tls_write(conn->tls, pieces, count, conn->thread->record, &conn->tls_write_wants_read);
    /* All of the queue is in `pieces`: none of its segments is empty, and not one of them is the whole. */
    else if (conn->out.pending <= JOIN_BYTES && count < COUNT_OF(pieces)) sent = send_joined(conn->fd, pieces, count);
    else sent = writev(conn->fd, pieces, (int)count);
    return sent >= 0 ? sent : -errno;
}

/* What the kernel holds that the client's has not taken yet. */
static size_t undelivered(const struct conn *conn)
{
    int bytes = 0;
    return ioctl(conn->fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

static void begin_deadline(struct conn *conn, uint64_t now, size_t queued)
{
    conn->write_deadline_ms = now + LIMIT(conn->thread, write_ms);
    conn->write_progress = 0;
    conn->write_least = conn->out.pending / WRITE_PART;
    if (conn->write_least < WRITE_PROGRESS) conn->write_least = WRITE_PROGRESS;
    conn->write_queued = queued;
}

bool conn_write_is_late(struct conn *conn, uint64_t now)
{
    if (conn->write_deadline_ms == 0 || now < conn->write_deadline_ms) return false;
    size_t queued = undelivered(conn);
    if (conn->write_queued + conn->write_progress < queued + conn->write_least) return true;
    begin_deadline(conn, now, queued);
    return false;
}

/* What send_some() came to. False: no more can be sent now. */
static bool note_sent(struct conn *conn, ssize_t sent)
{
    if (sent == -EINTR) return true;
    if (sent == -EAGAIN) {
        conn->stalled = true;
        if (conn->write_deadline_ms == 0) begin_deadline(conn, conn_now(conn), undelivered(conn));
        return false;
    }
    if (sent <= 0) {
        conn_close(conn);
        return false;
    }
    THREAD_COUNT(conn->thread, bytes_out, sent);
    output_consume(&conn->out, (size_t)sent);
    conn->write_progress += (size_t)sent;
    if (conn->write_progress >= conn->write_least) conn->write_deadline_ms = conn->write_progress = 0;
    return true;
}

static void note_all_sent(struct conn *conn)
{
    conn->stalled = false;
    conn->write_deadline_ms = conn->write_progress = 0;
    conn->gathered = 0;
}

void conn_flush(struct conn *conn)
{
    while (conn->out.pending > 0) {
        if (!note_sent(conn, send_some(conn))) return;
    }
    note_all_sent(conn);
}

char *conn_reserve(struct conn *conn, size_t bytes)
{
    char *room = output_reserve(&conn->out, bytes);
    if (room != NULL) return room;
    conn_flush(conn);
    if (conn->phase == CONN_CLOSED) return NULL;
    output_seal(&conn->out);
    return output_reserve(&conn->out, bytes);
}

void conn_cut(struct conn *conn)
{
    if (conn->phase != CONN_CLOSED) conn_flush(conn);
    conn_close(conn);
}

bool conn_hold(struct conn *conn)
{
    if (!conn->reported || conn->out.pending == 0 || conn->phase != CONN_HEAD || conn->stalled || conn->close_after ||
        conn->exchange.handed)
        return false;
    conn->held = true;
    if (conn->thread->held_since_ns == 0) conn->thread->held_since_ns = conn->exchange.received_ns;
    thread_mark_ready(conn);
    return true;
}

void conn_send_held(struct conn *conn)
{
    /* It may have gone on since: then it is served like any other. */
    conn->held = conn->held && conn->phase == CONN_HEAD && !conn->stalled && conn->out.pending > 0;
    if (conn->held) conn->sent = send_some(conn);
}

bool conn_note_held(struct conn *conn)
{
    if (!conn->held || conn->phase == CONN_CLOSED) return false;
    conn->held = false;
    if (!note_sent(conn, conn->sent) || conn->out.pending > 0) return false;
    note_all_sent(conn);
    return !conn->read_again;
}
