/*
 * thread.c - a front thread: its loop, its accepts, the list of connections that have something to do, time-outs, the
 * end.
 *
 * Time-outs are not one timer per connection: each has a deadline in its struct, and a timer of the thread looks at all
 * of them in turn, a tenth of them (at least a thousand) every 100 ms. Moving a deadline is then a store, and a
 * connection is late by a second at most.
 */
#include "serve/http/connection.h"

#include "base/check.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SWEEP_MS 100
#define SWEEP_LEAST 1024
#define ACCEPTS_PER_EVENT 32
#define ACCEPT_PAUSE_MS 100

/* ----------------------------------------------------------------------------------------------------- blocks -- */

/* A block is as its last user left it: nobody reads what he has not written. */
static const struct object_pool_hooks block_hooks = {.clear = NULL};

char *thread_block_take(struct http_thread *thread)
{
    if (thread->block_count > 0) return thread->blocks[--thread->block_count];
    return object_pool_take(&thread->block_pool);
}

void thread_block_give(struct http_thread *thread, char *block)
{
    void *given = block;
    if (thread->block_count < COUNT_OF(thread->blocks)) thread->blocks[thread->block_count++] = block;
    else CHECK(object_pool_give(&thread->block_pool, &given));
}

static void init_pools(struct http_thread *thread)
{
    struct http_server *server = thread->server;
    object_pool_init(&thread->conn_pool, "connections", server->mem, MEM_POOLS, sizeof(struct conn), POOL_CONNECTIONS);
    object_pool_set_hooks(&thread->conn_pool, &conn_hooks);
    object_pool_init(&thread->block_pool, "read_blocks", server->mem, MEM_POOLS, BLOCK_BYTES, POOL_BLOCKS);
    object_pool_set_hooks(&thread->block_pool, &block_hooks);
    object_pools_add(server->pools, &thread->conn_pool);
    object_pools_add(server->pools, &thread->block_pool);
}

static void fini_pools(struct http_thread *thread)
{
    while (thread->block_count > 0) {
        void *block = thread->blocks[--thread->block_count];
        CHECK(object_pool_give(&thread->block_pool, &block));
    }
    object_pools_remove(thread->server->pools, &thread->conn_pool);
    object_pools_remove(thread->server->pools, &thread->block_pool);
    object_pool_fini(&thread->conn_pool);
    object_pool_fini(&thread->block_pool);
}

/* ------------------------------------------------------------------------------------------------ connections -- */

static void on_sweep(uv_timer_t *timer);

aic_status thread_conn_add(struct conn *conn)
{
    struct http_thread *thread = conn->thread;
    if (thread->conn_count == thread->conn_capacity) {
        uint32_t capacity = thread->conn_capacity == 0 ? 64 : thread->conn_capacity * 2;
        struct conn **grown = mem_realloc(thread->server->mem, MEM_CONNECTIONS, thread->conns,
                                          thread->conn_capacity * sizeof(struct conn *),
                                          capacity * sizeof(struct conn *));
        if (grown == NULL) return AIC_NO_MEMORY;
        thread->conns = grown;
        thread->conn_capacity = capacity;
    }
    if (thread->conn_count == 0) uv_timer_start(&thread->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    conn->index = thread->conn_count;
    thread->conns[thread->conn_count++] = conn;
    THREAD_COUNT(thread, open, 1);
    return AIC_OK;
}

void thread_conn_remove(struct conn *conn)
{
    struct http_thread *thread = conn->thread;
    CHECK(conn->index < thread->conn_count && thread->conns[conn->index] == conn);
    struct conn *last = thread->conns[--thread->conn_count];
    thread->conns[conn->index] = last;
    last->index = conn->index;
    for (unsigned i = 0; conn->idlest && i < thread->idlest_count; i++) {
        if (thread->idlest[i].conn == conn) thread->idlest[i].conn = NULL;
    }
    THREAD_COUNT(thread, open, -1);
    atomic_fetch_sub_explicit(&thread->server->open, 1, memory_order_relaxed);
    if (thread->conn_count == 0) uv_timer_stop(&thread->sweep);
}

static void end_if_done(struct http_thread *thread)
{
    if (thread->stopping && thread->live == 0) uv_stop(&thread->loop.uv);
}

void thread_conn_freed(struct http_thread *thread)
{
    CHECK(thread->live > thread->conn_count); /* its socket went before its memory */
    thread->live--;
    end_if_done(thread);
}

void thread_mark_ready(struct conn *conn)
{
    struct http_thread *thread = conn->thread;
    if (conn->ready) return;
    conn->ready = true;
    TAILQ_INSERT_TAIL(&thread->ready, conn, ready_link);
    thread->ready_count++;
}

void thread_unmark_ready(struct conn *conn)
{
    struct http_thread *thread = conn->thread;
    if (!conn->ready) return;
    conn->ready = false;
    CHECK(thread->ready_count > 0);
    TAILQ_REMOVE(&thread->ready, conn, ready_link);
    thread->ready_count--;
}

static void stay_awake(uv_idle_t *idle)
{
    (void)idle;
}

/* Before the loop sleeps: answers leave, then each connection that has something to do gets one turn; who has more to
 * do is served after a look at the sockets. */
void thread_serve_ready(struct http_thread *thread)
{
    struct conn *held = TAILQ_FIRST(&thread->ready);
    thread->held_since_ns = 0;
    for (; held != NULL; held = TAILQ_NEXT(held, ready_link)) conn_send_held(held);
    for (unsigned turns = thread->ready_count; turns > 0 && thread->ready_count > 0; turns--) {
        struct conn *conn = TAILQ_FIRST(&thread->ready);
        thread_unmark_ready(conn);
        conn_serve_ready(conn);
    }
    if (thread->ready_count > 0) uv_idle_start(&thread->awake, stay_awake);
    else uv_idle_stop(&thread->awake);
}

/*
 * Requests are looked at one after the other, without a system call between them: what the kernel does for one socket
 * pushes most of this program out of the nearest caches, and so all but the first find it there.
 */
static void serve_arrived(struct http_thread *thread)
{
    thread->passed_ns = 0;
    for (unsigned i = 0; i < thread->arrived_count; i++) {
        struct conn *conn = thread->arrived[i];
        if (conn == NULL) continue;
        if (thread->passed_ns == 0) thread->passed_ns = clock_mono_ns(thread->server->clock);
        conn->exchange.received_ns = thread->passed_ns;
        thread->passed_ns = 0;
        conn->arrived = false;
        conn->reported = true;
        conn_run(conn);
        conn->reported = false;
        if (thread->held_since_ns == 0 || conn->exchange.received_ns <= thread->held_since_ns + HOLD_NS) continue;
        thread_serve_ready(thread);
        thread->passed_ns = 0;
    }
    thread->arrived_count = 0;
}

void thread_arrive(struct conn *conn)
{
    struct http_thread *thread = conn->thread;
    if (conn->arrived) return;
    conn->arrived = true;
    thread->arrived[thread->arrived_count++] = conn;
    if (thread->arrived_count == ARRIVED_MOST) serve_arrived(thread);
}

void thread_unarrive(struct conn *conn)
{
    struct http_thread *thread = conn->thread;
    if (!conn->arrived) return;
    conn->arrived = false;
    for (unsigned i = 0; i < thread->arrived_count; i++) {
        if (thread->arrived[i] == conn) thread->arrived[i] = NULL;
    }
}

/* The sockets have been read. */
static void on_check(uv_check_t *check)
{
    serve_arrived(check->data);
}

static void on_prepare(uv_prepare_t *prepare)
{
    struct http_thread *thread = prepare->data;
    if (thread->ready_count > 0) thread_serve_ready(thread);
}

static void on_sweep(uv_timer_t *timer)
{
    struct http_thread *thread = timer->data;
    uint64_t now = uv_now(&thread->loop.uv);
    bool cut = thread->stopping && now >= thread->stop_deadline_ms;
    if (cut) THREAD_COUNT(thread, cut, thread->conn_count);
    while (cut && thread->conn_count > 0) conn_close(thread->conns[thread->conn_count - 1]);
    for (uint32_t i = thread->stopping ? thread->conn_count : 0; i > 0; i--) {
        if (i <= thread->conn_count) conn_begin_stop(thread->conns[i - 1]); /* it may have had its turn since */
    }
    uint32_t looks = thread->conn_count / 10 > SWEEP_LEAST ? thread->conn_count / 10 : SWEEP_LEAST;
    if (looks > thread->conn_count) looks = thread->conn_count;
    for (; looks > 0 && thread->conn_count > 0; looks--) {
        if (thread->sweep_at >= thread->conn_count) thread->sweep_at = 0;
        struct conn *conn = thread->conns[thread->sweep_at];
        conn_check_time(conn, now);
        /* Where it was closed, another took its place. */
        if (thread->sweep_at < thread->conn_count && thread->conns[thread->sweep_at] == conn) thread->sweep_at++;
    }
}

/* ----------------------------------------------------------------------------------------------------- accepting -- */

static void on_acceptable(uv_poll_t *poll, int status, int events);

static void accept_resume(uv_timer_t *timer)
{
    struct http_thread *thread = timer->data;
    for (unsigned i = 0; i < thread->acceptor_count; i++) {
        struct acceptor *acceptor = &thread->acceptors[i];
        if (acceptor->fd >= 0) uv_poll_start(&acceptor->poll, UV_READABLE, on_acceptable);
    }
}

/* Out of descriptors or memory: the waiting connection stays readable, so polling on would spin. */
static void accept_wait(struct http_thread *thread)
{
    THREAD_COUNT(thread, accept_failures, 1);
    for (unsigned i = 0; i < thread->acceptor_count; i++) {
        if (thread->acceptors[i].fd >= 0) uv_poll_stop(&thread->acceptors[i].poll);
    }
    if (!thread->stopping) uv_timer_start(&thread->accept_pause, accept_resume, ACCEPT_PAUSE_MS, 0);
}

/* Has it sent nothing of a request, also none that TLS has taken in already, nor anything left to be sent? */
static bool is_idle(const struct conn *conn)
{
    return conn->phase == CONN_HEAD && !conn->exchange.handed && !conn->arrived && !conn->close_after &&
           !conn->read_again && conn->in_start == conn->in_end && conn->out.pending == 0;
}

/*
 * Those that were served give way first (their clients connect again), then those that have sent nothing; of each kind
 * those that were idle longest, whose deadlines are the earliest. One look at every connection finds the next
 * IDLEST_MOST, so that a crowd does not pay for it with each that comes, and who is served pays nothing at all.
 */
static void look_for_idlest(struct http_thread *thread)
{
    unsigned count = 0;
    bool served = false;
    for (uint32_t i = 0; i < thread->conn_count; i++) {
        struct conn *conn = thread->conns[i];
        bool is_served = conn->exchange.status != 0;
        conn->idlest = false;
        if (!is_idle(conn) || is_served < served) continue;
        if (is_served > served) count = 0;
        served = is_served;
        if (count == IDLEST_MOST) {
            if (conn->deadline_ms >= thread->idlest[0].deadline_ms) continue;
            memmove(&thread->idlest[0], &thread->idlest[1], --count * sizeof thread->idlest[0]);
        }
        unsigned at = count++;
        for (; at > 0 && thread->idlest[at - 1].deadline_ms < conn->deadline_ms; at--)
            thread->idlest[at] = thread->idlest[at - 1];
        thread->idlest[at].conn = conn;
        thread->idlest[at].deadline_ms = conn->deadline_ms;
    }
    for (unsigned i = 0; i < count; i++) thread->idlest[i].conn->idlest = true;
    thread->idlest_count = count;
    thread->idlest_served = served;
    thread->idlest_at_ms = uv_now(&thread->loop.uv);
}

/* The next of those that were found, if it is as it was. */
static struct conn *next_idlest(struct http_thread *thread)
{
    if (uv_now(&thread->loop.uv) - thread->idlest_at_ms > IDLEST_MS) thread->idlest_count = 0;
    while (thread->idlest_count > 0) {
        struct conn *conn = thread->idlest[--thread->idlest_count].conn;
        if (conn == NULL) continue;
        conn->idlest = false;
        if (conn->deadline_ms == thread->idlest[thread->idlest_count].deadline_ms && is_idle(conn) &&
            (conn->exchange.status != 0) == thread->idlest_served)
            return conn;
    }
    return NULL;
}

bool thread_shed_idle(struct http_thread *thread)
{
    char byte;
    /* Relaxed: stands for itself. */
    atomic_store_explicit(&thread->server->crowded_ms, clock_wall_ms(thread->server->clock), memory_order_relaxed);
    struct conn *idlest = next_idlest(thread);
    if (idlest == NULL) {
        look_for_idlest(thread);
        idlest = next_idlest(thread);
    }
    /* It may have just sent something. */
    if (idlest == NULL || recv(idlest->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) return false;
    THREAD_COUNT(thread, shed, 1);
    conn_close(idlest);
    return true;
}

static void accepted(struct acceptor *acceptor, int fd)
{
    struct http_thread *thread = acceptor->thread;
    struct http_server *server = thread->server;
    THREAD_COUNT(thread, accepted, 1);
    uint64_t open = atomic_fetch_add_explicit(&server->open, 1, memory_order_relaxed) + 1;
    uint64_t limit = LIMIT(thread, connections);
    bool rejected = open > limit && !thread_shed_idle(thread);
    if (rejected) THREAD_COUNT(thread, rejected, 1);
    if (open <= limit + REJECT_ROOM) {
        if (conn_open(thread, fd, acceptor->local, rejected) == AIC_OK) return;
        THREAD_COUNT(thread, memory_failures, 1);
    }
    atomic_fetch_sub_explicit(&server->open, 1, memory_order_relaxed);
    close(fd);
}

/* Accepts until nobody waits; false when it must pause. */
static bool accept_some(struct acceptor *acceptor, unsigned most)
{
    for (unsigned i = 0; i < most; i++) {
        int fd = accept4(acceptor->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accepted(acceptor, fd);
            continue;
        }
        if (errno == EAGAIN) return true;
        bool full = errno == EMFILE || errno == ENFILE;
        if (full && thread_shed_idle(acceptor->thread)) continue;
        if (full || errno == ENOBUFS || errno == ENOMEM) return false;
        /* Whatever else it is belongs to the connection that failed, not to the listening socket. */
    }
    return true;
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
    struct acceptor *acceptor = poll->data;
    (void)events;
    if (status < 0 || !accept_some(acceptor, ACCEPTS_PER_EVENT)) accept_wait(acceptor->thread);
}

/* -------------------------------------------------------------------------------------------------------- end -- */

/* The handle first: to close it, libuv takes the descriptor out of its epoll set, by a number that may be somebody
 * else's once the descriptor is closed. */
static void acceptor_close(struct acceptor *acceptor)
{
    if (acceptor->fd < 0) return;
    if (acceptor->poll.data != NULL) uv_close((uv_handle_t *)&acceptor->poll, NULL);
    close(acceptor->fd);
    acceptor->fd = -1;
}

/* Connections that the kernel has completed for this socket are still served; after that nobody else can get them. */
static void on_stop(struct message *post)
{
    struct http_thread *thread = (struct http_thread *)(void *)((char *)post - offsetof(struct http_thread, stop_post));
    thread->stopping = true;
    thread->stop_deadline_ms = uv_now(&thread->loop.uv) +
                               atomic_load_explicit(&thread->server->stop_in_ms, memory_order_relaxed);
    uv_timer_stop(&thread->accept_pause);
    for (unsigned i = 0; i < thread->acceptor_count; i++) {
        struct acceptor *acceptor = &thread->acceptors[i];
        if (acceptor->fd >= 0 && !acceptor->local) (void)accept_some(acceptor, SOMAXCONN);
        acceptor_close(acceptor);
    }
    for (uint32_t i = thread->conn_count; i > 0; i--) {
        if (i <= thread->conn_count) conn_begin_stop(thread->conns[i - 1]);
    }
    end_if_done(thread);
}

/* ------------------------------------------------------------------------------------------------- the thread -- */

/* Handles that a handler's thread_stop() closed get their callbacks. */
static void run_dry(struct http_thread *thread)
{
    for (int i = 0; i < 8; i++) uv_run(&thread->loop.uv, UV_RUN_NOWAIT);
}

static void *thread_main(void *argument)
{
    struct http_thread *thread = argument;
    struct http_server *server = thread->server;
    if (server->thread_start != NULL)
        thread->start_status = server->thread_start(server->context, thread, &thread->data);
    bool fine = thread->start_status == AIC_OK;
    if (fine) accept_resume(&thread->accept_pause);
    uv_sem_post(&thread->ready_to_accept);
    if (!fine) return NULL;
    uv_run(&thread->loop.uv, UV_RUN_DEFAULT);
    CHECK(thread->live == 0);
    if (server->thread_stop != NULL) server->thread_stop(server->context, thread, thread->data);
    run_dry(thread);
    return NULL;
}

/* Signals belong to the thread that called setup(): a front thread blocks all of them (SIGPIPE too, so that a write to
 * a dead socket is EPIPE). */
aic_status thread_start(struct http_thread *thread)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    if (uv_sem_init(&thread->ready_to_accept, 0) != 0) return AIC_NO_MEMORY;
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int result = pthread_create(&thread->pthread, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result == 0) uv_sem_wait(&thread->ready_to_accept);
    uv_sem_destroy(&thread->ready_to_accept);
    if (result != 0) return AIC_NO_MEMORY;
    thread->running = thread->start_status == AIC_OK;
    if (!thread->running) pthread_join(thread->pthread, NULL);
    return thread->start_status;
}

void thread_join(struct http_thread *thread)
{
    if (!thread->running) return;
    CHECK(pthread_join(thread->pthread, NULL) == 0);
    thread->running = false;
}

static aic_status init_handles(struct http_thread *thread)
{
    bool fine = uv_timer_init(&thread->loop.uv, &thread->sweep) == 0 &&
                uv_timer_init(&thread->loop.uv, &thread->accept_pause) == 0 &&
                uv_prepare_init(&thread->loop.uv, &thread->prepare) == 0 &&
                uv_check_init(&thread->loop.uv, &thread->check) == 0 &&
                uv_idle_init(&thread->loop.uv, &thread->awake) == 0;
    thread->sweep.data = thread->accept_pause.data = thread->awake.data = thread;
    thread->prepare.data = thread->check.data = thread;
    if (!fine || uv_prepare_start(&thread->prepare, on_prepare) != 0 || uv_check_start(&thread->check, on_check) != 0)
        return AIC_IO;
    for (unsigned i = 0; i < thread->acceptor_count; i++) {
        struct acceptor *acceptor = &thread->acceptors[i];
        if (uv_poll_init(&thread->loop.uv, &acceptor->poll, acceptor->fd) != 0) return AIC_IO;
        acceptor->poll.data = acceptor;
    }
    return AIC_OK;
}

/* The acceptors' descriptors are set before; they are this function's to close, also when it fails. */
aic_status thread_init(struct http_thread *thread, struct http_server *server, unsigned index)
{
    thread->server = server;
    thread->index = index;
    thread->stop_post.run = on_stop;
    TAILQ_INIT(&thread->ready);
    for (unsigned i = 0; i < thread->acceptor_count; i++) thread->acceptors[i].thread = thread;
    if (server->tls != NULL) {
        thread->record = mem_alloc(server->mem, MEM_CONNECTIONS, TLS_RECORD_BYTES);
        if (thread->record == NULL) return AIC_NO_MEMORY;
    }
    aic_status status = loop_init(&thread->loop);
    if (status != AIC_OK) {
        mem_free(server->mem, MEM_CONNECTIONS, thread->record, TLS_RECORD_BYTES);
        return status;
    }
    init_pools(thread);
    status = init_handles(thread);
    if (status != AIC_OK) thread_fini(thread);
    return status;
}

void thread_fini(struct http_thread *thread)
{
    struct mem *mem = thread->server->mem;
    for (unsigned i = 0; i < thread->acceptor_count; i++) acceptor_close(&thread->acceptors[i]);
    loop_fini(&thread->loop);
    fini_pools(thread);
    mem_free(mem, MEM_CONNECTIONS, thread->conns, thread->conn_capacity * sizeof(struct conn *));
    mem_free(mem, MEM_CONNECTIONS, thread->record, TLS_RECORD_BYTES);
}

/* ----------------------------------------------------------------------------------------------------- verify -- */

static void conn_verify(const struct conn *conn)
{
    CHECK(conn->phase != CONN_CLOSED && conn->fd >= 0 && conn->handle_open && !conn->running);
    CHECK(conn->in_floor <= conn->in_start && conn->in_start <= conn->in_end && conn->in_end <= conn->in_capacity);
    CHECK((conn->in == NULL) == (conn->in_capacity == 0));
    CHECK(conn->in != NULL || !conn->exchange.called || !conn->exchange.handed);
    CHECK(!conn->stalled || conn->out.pending > 0);
    CHECK(conn->phase != CONN_BODY || conn->exchange.handed);
    output_verify(&conn->out);
}

void thread_verify(const struct http_thread *thread)
{
    const struct conn *conn;
    unsigned ready = 0;
    CHECK(thread->conn_count <= thread->live && thread->conn_count <= thread->conn_capacity);
    CHECK(atomic_load_explicit(&thread->counts.http_open, memory_order_relaxed) == thread->conn_count);
    for (uint32_t i = 0; i < thread->conn_count; i++) {
        CHECK(thread->conns[i]->index == i && thread->conns[i]->thread == thread);
        conn_verify(thread->conns[i]);
    }
    for (conn = TAILQ_FIRST(&thread->ready); conn != NULL; conn = TAILQ_NEXT(conn, ready_link)) {
        CHECK(conn->ready);
        ready++;
    }
    CHECK(ready == thread->ready_count);
}

/* ------------------------------------------------------------------------------------------------------- date -- */

/* IMF-fixdate in English, whatever the locale. */
static void format_date(uint64_t second, char out[48])
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t time = (time_t)second;
    struct tm parts;
    gmtime_r(&time, &parts);
    snprintf(out, 48, "Date: %s, %02u %s %04u %02u:%02u:%02u GMT\r\n", days[(unsigned)parts.tm_wday % 7],
             (unsigned)parts.tm_mday % 100, months[(unsigned)parts.tm_mon % 12],
             (unsigned)(parts.tm_year + 1900) % 10000, (unsigned)parts.tm_hour % 100, (unsigned)parts.tm_min % 100,
             (unsigned)parts.tm_sec % 100);
}

const char *thread_date(struct http_thread *thread)
{
    if (thread->date_seen_ms == uv_now(&thread->loop.uv) && thread->date[0] != '\0') return thread->date;
    thread->date_seen_ms = uv_now(&thread->loop.uv);
    uint64_t second = clock_wall_ms(thread->server->clock) / 1000;
    if (second != thread->date_second || thread->date[0] == '\0') {
        format_date(second, thread->date);
        thread->date_second = second;
    }
    return thread->date;
}

/* ------------------------------------------------------------------------------------------------- for others -- */

void *http_thread_data(const struct http_thread *thread)
{
    return thread->data;
}

struct uv_loop_s *http_thread_loop(struct http_thread *thread)
{
    return &thread->loop.uv;
}

/* Backwards: where a connection is closed, the last one takes its place. */
void http_judge_again(struct http_thread *thread, bool (*stays)(struct http_exchange *exchange))
{
    struct head_refusal why;
    head_refuse(&why, 401, "unauthorized", "What this request may do was taken back while it was under way.");
    for (uint32_t i = thread->conn_count; i > 0; i--) {
        if (i > thread->conn_count) continue;
        struct conn *conn = thread->conns[i - 1];
        struct http_exchange *exchange = &conn->exchange;
        if (!exchange->handed || exchange->expired || exchange->route == NULL || stays(exchange)) continue;
        exchange_refuse(conn, &why);
        conn_run(conn);
    }
}

void http_post(struct http_thread *thread, struct message *message)
{
    loop_post(&thread->loop, message);
}
