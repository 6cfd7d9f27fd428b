/*
 * connection.h - inside of the connection layer: a connection, its one exchange, and the front thread that owns both.
 *
 * The idea: a connection serves one request at a time, so the exchange is a part of it and costs no allocation. Bytes
 * are read into a block that all connections of the thread share; only when something must stay (a head that is
 * incomplete, a request that is deferred) does the connection take the block over or copy the rest. Sockets are read
 * and written directly and polled through libuv (uv_poll_t): an answer is sent when the sockets that are ready have
 * been read, before the loop sleeps, and the loop is asked for room only when the kernel has none.
 *
 * Phases of a connection:
 *
 *     HEAD ──► BODY ──► WAIT ──► HEAD      the handler runs between BODY and WAIT (streamed: before BODY)
 *                │        │
 *                └────────┴────► DISCARD   answered before the body was read: a short rest is dropped
 *     any ──► LINGER ──► CLOSED            answered for the last time: the client's end is awaited, then the socket
 * closes
 *
 * An exchange that is in a handler's hands (`handed`) keeps its connection's memory, whatever happens to the socket.
 * Everything here is touched by the owning front thread only, except the counters (relaxed atomics with one writer).
 */
#ifndef SERVE_CONNECTION_H
#define SERVE_CONNECTION_H

#include "base/object_pool.h"
#include "serve/http/chunk.h"
#include "serve/http/head_memo.h"
#include "serve/http/listen.h"
#include "serve/http/output.h"
#include "serve/http/router.h"
#include "serve/http/server.h"
#include "serve/http/tls.h"

#include <pthread.h>
#include <sys/queue.h>

#define BLOCK_BYTES 16384    /* a read; large enough for nearly every head and small body */
#define DISCARD_BYTES 65536  /* rests of bodies up to this are dropped, larger ones end the connection */
#define LINGER_MS 2000       /* in which a client must close after the last answer */
#define FLUSH_BYTES 131072   /* gathered pipelined answers of this size are sent at once */
#define JOIN_BYTES 4096      /* answers up to this are copied together before they are sent */
#define HOLD_NS 50000        /* answers wait for the other sockets that are ready to be read, but not longer */
#define WRITE_PROGRESS 16384 /* bytes a slow reader must take within limits.write_ms, at least */
#define WRITE_PART 16        /* such a part of what is queued for it must it take in that time */
#define REJECT_ROOM 64       /* connections above the limit that still get their 503 */
#define POOL_CONNECTIONS 128 /* kept for reuse by each thread */
#define POOL_BLOCKS 32
#define IDLEST_MOST 64  /* idle connections that one look at all of them finds, to be closed one after the other */
#define IDLEST_MS 1000  /* for so long */
#define ARRIVED_MOST 16 /* requests that are read before the first of them is looked at */

enum conn_phase { CONN_HEAD, CONN_BODY, CONN_WAIT, CONN_DISCARD, CONN_LINGER, CONN_CLOSED };

struct conn;

struct http_exchange {
    struct conn *conn;
    const struct http_route *route; /* NULL for requests that never reached one */
    const char *base;               /* the head's first byte; spans count from here */
    aic_view parameters[ROUTER_MAX_PARAMETERS];
    unsigned parameter_count;
    aic_view body;
    uint64_t received_ns;

    bool handed;    /* begun and not yet completed */
    bool called;    /* the handler has it: only the handler completes it */
    bool deferred;  /* the handler said so */
    bool expired;   /* the server has answered in its place, or given up: a reply goes nowhere */
    bool streaming; /* http_stream_open() was called */
    bool chunked;   /* the streamed reply is in chunks */
    bool bodiless;  /* HEAD, 204, 304: what is written as body is left out */
    bool paused;    /* delivery of a streamed body */
    int status;
    uint64_t sent_bytes; /* of the reply's body */

    http_body_fn *sink;
    void *sink_context;
    http_drain_fn *drain;
    void *drain_context;
    http_drain_fn *gone;
    void *gone_context;
    bool gone_at_eof; /* it is told of a half-close, too */

    struct buf fields;  /* lines added by http_reply_header() */
    struct buf decoded; /* percent-decoded parameters; reserved whole, so that views into it stay */
    const char *query_base;
    bool query_read;
    aic_status query_status; /* when it was read */
    unsigned query_count;
    struct head_field query[HTTP_MAX_QUERY];
    struct head head;
    _Alignas(16) unsigned char state[HTTP_STATE_BYTES];
};

struct conn {
    struct http_thread *thread;
    uv_poll_t poll;
    int fd;
    int events;     /* what the loop is asked for at present */
    uint32_t index; /* in thread->conns */
    enum conn_phase phase;
    struct tls_session *tls; /* NULL: plain */

    bool local;        /* over a unix socket */
    bool eof;          /* the client will send no more, and all it sent was read */
    bool hung_up;      /* it will send no more, perhaps behind what is not read yet */
    bool close_after;  /* no request after this one */
    bool running;      /* conn_run() is on the stack */
    bool reported;     /* the loop has just reported the socket, and may report others */
    bool arrived;      /* read, and in the thread's list of what is to be looked at */
    bool ready;        /* on the thread's ready list */
    bool idlest;       /* one of the thread's idlest */
    bool held;         /* its answers wait for those of others; on the ready list */
    bool read_again;   /* something may be readable that the loop does not report */
    bool head_timed;   /* the time-out of the head runs */
    bool handle_open;  /* the poll handle is not yet closed */
    bool continue_due; /* the client waits for 100 */
    bool stalled;      /* the kernel took no more of `out` */
    bool body_done;    /* all of the request's body was read */
    bool body_copied;  /* a buffered body is gathered in `body`, because it does not fit into the block */
    bool tls_read_wants_write, tls_write_wants_read;

    char *in; /* [in_start, in_end) is unread; [0, in_floor) belongs to the exchange; of BLOCK_BYTES: from the pool */
    size_t in_capacity, in_start, in_end, in_floor;
    struct head_scan scan;

    struct chunk chunk;
    uint64_t body_left;  /* of a body with a length: still to be read */
    uint64_t body_seen;  /* since body_since_ms */
    uint64_t body_limit; /* of the route */
    uint64_t body_taken; /* of a chunked body; never more than body_limit */
    uint64_t body_since_ms;
    struct buf body;    /* a buffered body that does not fit into the block */
    uint64_t body_held; /* bytes of it that are counted in server->body_bytes */

    struct output out;
    ssize_t sent;                            /* of what was held, or an error's number below zero */
    unsigned gathered;                       /* answers queued since the last flush */
    uint64_t deadline_ms, write_deadline_ms; /* by uv_now(); 0: none */
    size_t write_progress;                   /* bytes that the socket took since then */
    size_t write_least;                      /* bytes that it must take until the deadline */
    size_t write_queued;                     /* bytes that the kernel had not delivered when the deadline began */

    TAILQ_ENTRY(conn) ready_link;
    struct http_exchange exchange;
};

struct acceptor {
    uv_poll_t poll;
    struct http_thread *thread;
    int fd;     /* -1: closed */
    bool local; /* a unix socket */
};

/* Counts on the owning thread, which alone writes; others read single figures. */
#define THREAD_COUNT(thread, name, amount) FIGURE_COUNT_OWN(&(thread)->counts, http_##name, (uint64_t)(amount))

struct http_thread {
    struct http_server *server;
    unsigned index;
    void *data; /* of the options' thread_start */
    struct loop loop;
    uv_timer_t sweep;        /* time-outs; runs while there are connections */
    uv_timer_t accept_pause; /* after an accept for which there was no descriptor */
    uv_prepare_t prepare;    /* serves the ready list before the loop sleeps */
    uv_check_t check;        /* looks at what was read, before the loop does anything else */
    uv_idle_t awake;         /* keeps the loop from sleeping while the list is not empty */
    struct acceptor acceptors[HTTP_MAX_LISTEN];
    unsigned acceptor_count;

    struct conn **conns; /* those with an open socket */
    uint32_t conn_count, conn_capacity, sweep_at;
    uint32_t live; /* connections whose memory is in use, sockets or not */
    /* The idlest when they were looked for, the idlest of all last. Whoever has another deadline now, or is not idle,
     * is passed over; NULL: closed meanwhile. */
    struct {
        struct conn *conn;
        uint64_t deadline_ms;
    } idlest[IDLEST_MOST];
    unsigned idlest_count;
    bool idlest_served;    /* they were served before */
    uint64_t idlest_at_ms; /* by uv_now() */
    TAILQ_HEAD(conn_list, conn) ready;
    unsigned ready_count;
    uint64_t held_since_ns; /* when the first of the answers that are held back was asked for; 0: there are none */
    struct object_pool conn_pool, block_pool;

    uint64_t passed_ns;                 /* when a handler last looked at the clock; 0: not since the request began */
    struct conn *arrived[ARRIVED_MOST]; /* NULL: closed meanwhile */
    unsigned arrived_count;
    char *blocks[ARRIVED_MOST]; /* at hand; the pool has more */
    unsigned block_count;
    char *record; /* TLS_RECORD_BYTES, only with TLS */
    struct head_memo heads;

    uint64_t date_seen_ms; /* by uv_now(), when the clock was read for it */
    uint64_t date_second;
    char date[48]; /* "Date: ...\r\n" */

    struct message stop_post;
    bool stopping;
    uint64_t stop_deadline_ms; /* by uv_now() */
    pthread_t pthread;
    bool running; /* between thread_start() and thread_join() */
    uv_sem_t ready_to_accept;
    aic_status start_status;

    /* Written by this thread on each request: on cache lines of their own. */
    _Alignas(64) struct figure_counts counts;
};

struct http_live_limits {
#define LIVE_LIMIT_FIELD(name, fallback, help) _Atomic uint64_t name;
    HTTP_LIMIT_MAP(LIVE_LIMIT_FIELD)
#undef LIVE_LIMIT_FIELD
};

/* Relaxed: a limit that changes takes effect with the next look at it, and each stands alone. */
#define LIMIT(thread, name) atomic_load_explicit(&(thread)->server->limits.name, memory_order_relaxed)

/*
 * Memory of one purpose that all connections share up to a limit. Every byte is added in room_take() and taken off in
 * room_give(); what `mem` gives out goes through both, counts as the owner's and lies in the server's mem.
 */
struct room {
    struct http_server *server;
    enum mem_owner owner;
    const char *code, *what, *option; /* for who is refused: code of the error, what it holds, what sets the limit */
    const _Atomic uint64_t *limit;
    uint64_t small;           /* blocks up to this count, but are never refused */
    _Atomic uint64_t bytes;   /* held; relaxed, it orders nothing */
    _Atomic uint64_t refused; /* how often `mem`, or http_answer_hold(), found no room; relaxed */
    struct mem mem;
};

struct http_server {
    struct mem *mem;
    const aic_clock *clock;
    struct router *router;
    struct tls *tls;
    struct object_pools *pools; /* borrowed; may be NULL */
    http_guard_fn *guard;
    void *context;
    aic_status (*thread_start)(void *context, struct http_thread *thread, void **data);
    void (*thread_stop)(void *context, struct http_thread *thread, void *data);
    void (*finished)(void *context, struct http_exchange *exchange, int status, uint64_t body_bytes);
    struct http_live_limits limits;
    struct room bodies;  /* against limits.bodies_bytes */
    struct room answers; /* against limits.answers_bytes */
    struct room figures; /* against figures_limit, HTTP_FIGURES_BYTES */
    _Atomic uint64_t figures_limit;
    _Atomic uint64_t open; /* connections of all threads, against limits.connections; relaxed, it orders nothing */
    _Atomic uint64_t crowded_ms; /* see http_server_crowded_ms(); relaxed: stands for itself */
    _Atomic uint64_t stop_in_ms; /* written before the stop is posted, which orders it */
    struct listener listeners[HTTP_MAX_LISTEN];
    unsigned listener_count;
    unsigned thread_count;
    unsigned thread_ready; /* threads whose loop was set up */
    bool started;
    struct http_thread *threads; /* thread_count of them, on cache lines of their own */
    void *threads_block;         /* where they lie */
    size_t threads_bytes;
};

/* ---- thread.c ---- */
char *thread_block_take(struct http_thread *thread); /* NULL: no memory */
void thread_block_give(struct http_thread *thread, char *block);
AIC_MUST_CHECK aic_status thread_conn_add(struct conn *conn); /* to the open ones */
void thread_conn_remove(struct conn *conn);
void thread_conn_freed(struct http_thread *thread); /* ends a stopping thread with its last connection */
/* Closes the connection of this thread that was idle longest; false when there is none, or it has just sent something.
 */
bool thread_shed_idle(struct http_thread *thread);
void thread_mark_ready(struct conn *conn); /* conn_serve_ready() runs before the loop sleeps */
void thread_unmark_ready(struct conn *conn);
void thread_serve_ready(struct http_thread *thread); /* now; not from inside a connection's run */
/* The connection has read a request, which is looked at when the other sockets that are ready are read, too. */
void thread_arrive(struct conn *conn);
void thread_unarrive(struct conn *conn);
const char *thread_date(struct http_thread *thread); /* "Date: ...\r\n", 37 bytes */
#define THREAD_DATE_BYTES 37
AIC_MUST_CHECK aic_status thread_init(struct http_thread *thread, struct http_server *server, unsigned index);
void thread_fini(struct http_thread *thread); /* closes handles and descriptors; joined or never started */
AIC_MUST_CHECK aic_status thread_start(struct http_thread *thread);
void thread_join(struct http_thread *thread);
/* CHECKs the lists and every connection; between two turns of the loop, on its thread. */
void thread_verify(const struct http_thread *thread);

/* ---- conn_input.c ---- */
/* Reads what is there, as long as conn_wants_input(), and runs the connection. */
void conn_read(struct conn *conn);
bool conn_wants_input(const struct conn *conn);
/* Ends a run: keeps what must stay of the block, gives back what is not needed. */
void conn_settle_input(struct conn *conn);
void conn_block_release(struct conn *conn);
/* Before an exchange points into the block. */
void conn_widen_block(struct conn *conn);

/* ---- server.c ---- */
/* Counts so many bytes; false, and nothing is counted, when there is no room for them. Any thread. */
bool room_take(struct room *room, uint64_t bytes);
/* The sentence about a room that is full: 503. */
void room_refuse(const struct room *room, struct head_refusal *why);
void room_give(struct room *room, uint64_t bytes);

/* ---- conn_body.c ---- */
/* One step of reading or dropping a body; false when it needs more, or must wait. */
bool conn_step_body(struct conn *conn);
/* The body is wanted: sends 100 Continue if the client waits for it, and starts the body's clock. */
void conn_want_body(struct conn *conn);
/* Counts room for a body of so many bytes, all in all; false when limits.bodies_bytes has none left for it. */
bool conn_body_hold(struct conn *conn, uint64_t bytes);
/* Frees what was gathered of a body, and its room. */
void conn_body_release(struct conn *conn);
/* Counts a body as refused; the sentence about it. */
void conn_bodies_full(const struct conn *conn, struct head_refusal *why);
/* Sends 100 Continue if the client waits for it and no body has come yet. */
void conn_send_continue(struct conn *conn);

/* ---- conn_output.c ---- */
/* Sends what is queued, as far as the kernel takes it. */
void conn_flush(struct conn *conn);
/* Room in the queue for a copy of so many bytes; what was queued before it leaves, or stands in a block of its own,
 * where there is none beside it. NULL: the connection is closed, or nothing was changed and mem_refused_by() says why.
 */
char *conn_reserve(struct conn *conn, size_t bytes);
/* Has the client taken less in write_ms than it must: WRITE_PROGRESS, and one WRITE_PART of a large answer, so that no
 * memory is held for hours? What the kernel delivered to it counts, too. Where it has taken enough another such time
 * begins. */
bool conn_write_is_late(struct conn *conn, uint64_t now);
/* Sends what can be sent at once, then closes: what is missing shows the client that the answer was cut. */
void conn_cut(struct conn *conn);
/* Puts it on the ready list instead, if its answers may wait for those of others. */
bool conn_hold(struct conn *conn);
/* For each on the ready list: sends what was held, and no more. */
void conn_send_held(struct conn *conn);
/* Afterwards: what came of it. True when nothing else is to be done. */
bool conn_note_held(struct conn *conn);

/* ---- connection.c ---- */
static inline uint64_t conn_now(const struct conn *conn)
{
    return uv_now(&conn->thread->loop.uv);
}

/* Takes the descriptor over. AIC_NO_MEMORY or AIC_IO leave it with the caller. */
AIC_MUST_CHECK aic_status conn_open(struct http_thread *thread, int fd, bool local, bool rejected);
/* Closes the socket now; the memory goes when nobody holds the exchange. */
void conn_close(struct conn *conn);
/* Serves what has been read, sends what is queued. */
void conn_run(struct conn *conn);
void conn_serve_ready(struct conn *conn);
void conn_check_time(struct conn *conn, uint64_t now_ms);
void conn_begin_stop(struct conn *conn);
/* Will the connection go on after the current reply? Decides it for good, for the Connection field. */
bool conn_keeps_alive(struct conn *conn);
/* The exchange was completed by its handler or by a refusal. */
void conn_completed(struct conn *conn);
/* Counts an answer and calls the options' `finished`. */
void conn_report(struct conn *conn, int status);
/* What a connection keeps from socket to socket. */
extern const struct object_pool_hooks conn_hooks;

/* ---- dispatch.c ---- */
/* Begins the exchange for a head that was read; sets the phase; may run the handler. `known`: its lines, if they are.
 */
void exchange_begin(struct conn *conn, size_t head_begin, size_t head_end, const struct head_match *known);
/* The body of a buffered or dropped body is complete. */
void exchange_run_handler(struct http_exchange *exchange);
/* Answers in place of a request that cannot be read, or of a handler that has not answered, and ends the connection. */
void exchange_refuse(struct conn *conn, const struct head_refusal *why);
/* The sentence about a body above the limit; size UINT64_MAX: a chunked one, whose size is not known. */
void exchange_body_too_large(const struct conn *conn, uint64_t size, struct head_refusal *why);
/* Zeroes what belongs to one request. */
void exchange_reset(struct http_exchange *exchange);
/* Tells the handler that the client went away, once. */
void exchange_tell_gone(struct http_exchange *exchange);
/* The client has closed its side alone. */
void exchange_tell_hangup(struct http_exchange *exchange);

/* ---- reply.c ---- */
/* Writes a whole error reply, but completes nothing. */
void reply_problem(struct http_exchange *exchange, int status, const char *code, const char *field,
                   const char *message);
/* Does a reply go nowhere? */
static inline bool reply_is_lost(const struct http_exchange *exchange)
{
    return exchange->expired || exchange->conn->phase == CONN_CLOSED;
}

#endif
