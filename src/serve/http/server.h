/*
 * server.h - front threads, listening sockets, limits and counters: what the daemon's setup() uses.
 *
 * The idea: one front thread per core, each with its own loop and, for TCP, its own listening socket on the same port
 * (SO_REUSEPORT), so that the kernel spreads connections and threads share nothing on the way of a request. A unix
 * socket has one listening description that every thread polls.
 */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "base/figures.h"
#include "serve/http/http.h"

/*
 * Every limit: field, type of its unit, default, what it bounds. Zero in the struct means the default; all can be
 * changed live.
 */
#define HTTP_LIMIT_MAP(X)                                                                                              \
    X(connections, 10240, "open connections; one more takes the place of an idle one, or is answered 503")             \
    X(body_bytes, 16777216, "of a request's body; larger is 413")                                                      \
    X(bodies_bytes, 268435456, "of all bodies that are held at one time; one more is 503")                             \
    X(answers_bytes, 67108864, "of all large answers that are made or not yet sent; one more is 503")                  \
    X(header_bytes, 32768, "of request line and fields together, at most 65000; larger is 431")                        \
    X(target_bytes, 16384, "of a request target; longer is 414")                                                       \
    X(header_ms, 10000, "from a request's first byte to the end of its head; then 408")                                \
    X(idle_ms, 75000, "of a kept-alive connection without a request")                                                  \
    X(body_ms, 10000, "before body_rate is enforced, and between two pieces of a body; then 408")                      \
    X(body_rate, 500, "bytes a second that a body must arrive with on average")                                        \
    X(write_ms, 30000, "in which a client must take 16 KiB and a sixteenth of an answer, or all there is of it")       \
    X(reply_ms, 60000, "until a deferred reply; then 504")                                                             \
    X(queue_bytes, 262144, "waiting in a streamed reply before its writer is told to pause")                           \
    X(pipeline, 64, "pipelined answers that are gathered before they are sent")

struct http_limits {
#define HTTP_LIMIT_FIELD(name, fallback, help) uint64_t name;
    HTTP_LIMIT_MAP(HTTP_LIMIT_FIELD)
#undef HTTP_LIMIT_FIELD
};

struct http_options {
    struct mem *mem;        /* required; outlives the server */
    const aic_clock *clock; /* NULL: the system's; outlives the server */
    const char *const
        *listen;         /* "127.0.0.1:8080", "[::1]:0", "localhost:80", "unix:/run/x.sock"; borrowed for the call */
    size_t listen_count; /* at most HTTP_MAX_LISTEN */
    unsigned threads;    /* front threads; 0: one per core; at most HTTP_MAX_THREADS */
    const struct http_route *routes; /* borrowed as long as the server lives */
    size_t route_count;
    struct http_limits limits;
    http_guard_fn *guard;        /* NULL: everyone may do everything */
    void *context;               /* of the three calls below */
    struct object_pools *pools;  /* told of the threads' pools; outlives the server; may be NULL */
    const char *tls_certificate; /* PEM files, both or neither; borrowed for the call */
    const char *tls_key;
    /* Run on each front thread before its first connection and after its last; both may be NULL. *data is
     * http_thread_data(). */
    aic_status (*thread_start)(void *context, struct http_thread *thread, void **data);
    void (*thread_stop)(void *context, struct http_thread *thread, void *data);
    /*
     * Called when an answer is complete (queued whole) or the exchange ended without one (status 0), for metrics and
     * access logs; may be NULL. The request's views are still valid.
     */
    void (*finished)(void *context, struct http_exchange *exchange, int status, uint64_t body_bytes);
};

#define HTTP_MAX_LISTEN 16
#define HTTP_MAX_THREADS 256

/*
 * Binds every address (for port 0 the kernel picks one), loads the certificate, makes the threads' loops; accepts
 * nothing yet. AIC_INVALID: an address, a certificate or a route that cannot be; AIC_LOCKED: another process has the
 * address; AIC_IO, AIC_NO_MEMORY. `error` says which and why.
 */
AIC_MUST_CHECK aic_status http_server_create(const struct http_options *options, struct http_server **out,
                                             aic_error *error);
/* After http_server_stop(), or of a server that was never started. Removes its unix sockets' files. Accepts NULL. */
void http_server_destroy(struct http_server **server);

/* Starts the front threads; when it returns, every thread accepts. */
AIC_MUST_CHECK aic_status http_server_start(struct http_server *server, aic_error *error);
/*
 * Graceful stop: no new connections, idle ones are closed, what is in flight is answered with `Connection: close`;
 * after `deadline_ms` what is left is cut. Returns when every thread has ended, which waits for every deferred exchange
 * to be completed. Any thread but a front thread.
 */
void http_server_stop(struct http_server *server, uint64_t deadline_ms);

/* The bound addresses in the order of `listen`, with the ports that were picked: "127.0.0.1:40123", "unix:/run/x.sock".
 */
size_t http_server_address_count(const struct http_server *server);
const char *http_server_address(const struct http_server *server, size_t index);

/* Changes limits while running; zero fields become the defaults. `connections` is lowered to what the process's limit
 * on descriptors (RLIMIT_NOFILE) leaves room for, when some are kept for everything else. Any thread. */
void http_server_set_limits(struct http_server *server, const struct http_limits *limits);
/* How many connections are accepted at one time: limits.connections, or what there are descriptors for. Any thread. */
uint64_t http_server_connections(const struct http_server *server);
/* When a connection last found no room (it was refused, or an idle one was closed for it, or there was no descriptor):
 * wall time, 0 for never. Any thread. */
uint64_t http_server_crowded_ms(const struct http_server *server);
/* Loads certificate and key again for new connections; on failure the old ones stay. AIC_INVALID also for a server
 * without TLS. */
AIC_MUST_CHECK aic_status http_server_reload_tls(struct http_server *server, const char *certificate, const char *key,
                                                 aic_error *error);

/* Adds to `out`, zeroed before, what all threads counted and what is held now. Any thread. */
void http_server_figures(const struct http_server *server, struct figures *out);
/* Bytes of bodies that are held now, against limits.bodies_bytes. Any thread. */
uint64_t http_server_body_bytes(const struct http_server *server);
/* Bytes of answers that are held now, against limits.answers_bytes, and of figures, which have room beside. Any
 * thread. */
uint64_t http_server_answer_bytes(const struct http_server *server);

#endif
