/*
 * routes.h - the application behind the HTTP layer: every route, who may call it, and what the daemon must give for
 * that.
 *
 * The table of routes is routes.def. The daemon makes one `struct routes`, lets routes_serve() fill its part of the
 * server's options, calls routes_tick() once a second from a background thread, and says when it drains:
 *
 *   routes_create, routes_tick, routes_serve, http_server_create, routes_attach, http_server_start
 *   … routes_tick …
 *   routes_drain, http_server_stop, routes_detach, http_server_destroy, routes_destroy, aic_cache_close
 *
 * Handlers run on front threads and never wait. What may take long runs on libuv's worker threads, storage lookups on
 * the storage tier's readers; both come back to the front thread that owns the connection. Lock order: none of ours is
 * held while another module is called.
 */
#ifndef SERVE_ROUTES_H
#define SERVE_ROUTES_H

#include "base/clock.h"
#include "base/log.h"
#include "serve/auth.h"
#include "serve/http/server.h"
#include "serve/watch.h"

#include <aicache/monitor.h>

struct routes;

/* Everything is borrowed and outlives the routes, except `auth`, of which a reference is taken. */
struct routes_options {
    struct mem *mem;
    const aic_clock *clock;
    struct log *log; /* may be NULL */
    aic_cache *cache;
    struct auth *auth;
    aic_monitor *monitor; /* NULL: measurements are off */
    const char *version;
    struct watch_options watch;     /* root, history_file, webhook and percents; the rest is filled in */
    const char *storage_kind;       /* "none", "lmdb" */
    const char *data_dir;           /* where storage lies; NULL: not told */
    uint64_t storage_deadline_ms;   /* 0: 20 */
    uint64_t memory_warning_bytes;  /* of the memory tier; 0: 80 % of its limit */
    uint64_t memory_critical_bytes; /* 0: 95 % */
};

/* AIC_NO_MEMORY, AIC_IO (no random bytes). */
AIC_MUST_CHECK aic_status routes_create(const struct routes_options *options, struct routes **out);
/* After http_server_stop(). Accepts a pointer to NULL; nulls. */
void routes_destroy(struct routes **routes);

/* Fills routes, route_count, guard, context, thread_start, thread_stop and finished. */
void routes_serve(struct routes *routes, struct http_options *options);
/* The server whose counters /metrics shows, from before its start until after its stop. */
void routes_attach(struct routes *routes, const struct http_server *server);
void routes_detach(struct routes *routes);
/* The table by itself, for the reference page. Static. */
const struct http_route *routes_table(size_t *count);

/* One second's work: the figures that /health and its checks repeat, all that the watch does (watch.h: memory, pressure
 * and what is done about it, alerts, history), a snapshot for who looks. From one background thread; takes
 * milliseconds. */
void routes_tick(struct routes *routes);
/* The kernel told of a stall on memory. By the thread that ticks. */
void routes_stalled(struct routes *routes);
/* From now on /health/ready says no. Any thread. */
void routes_drain(struct routes *routes);
/* Another set of keys for requests that begin from now on; a reference is taken. Any thread. */
void routes_reload_auth(struct routes *routes, struct auth *auth);
void routes_reload_thresholds(struct routes *routes, uint64_t warning_bytes, uint64_t critical_bytes);
void routes_reload_memory(struct routes *routes, uint64_t max_bytes);

/* Who may call: http_route.access. */
enum routes_access {
    ROUTES_PUBLIC, /* everybody */
    ROUTES_KEY,    /* any configured key */
    ROUTES_ADMIN,  /* a key with the admin flag */
};

#endif
