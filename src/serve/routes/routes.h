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
 * Handlers run on front threads and never wait. What may take long runs on the threads of lanes.h, storage lookups on
 * the storage tier's readers; both come back to the front thread that owns the connection. Lock order: none of ours is
 * held while another module is called.
 */
#ifndef SERVE_ROUTES_H
#define SERVE_ROUTES_H

#include "observe/overview.h"
#include "serve/http/server.h"
#include "serve/routes/auth.h"

struct routes;

/* Of `auth` a reference is taken. keep_request_bytes: the largest body of a lookup whose key is remembered with it, at
 * most MEMO_MAX_BODY. AIC_NO_MEMORY, AIC_IO (no random bytes). */
AIC_MUST_CHECK aic_status routes_create(const struct overview_options *options, struct auth *auth,
                                        size_t keep_request_bytes, struct routes **out);
/* After http_server_stop(). Accepts a pointer to NULL; nulls. */
void routes_destroy(struct routes **routes);

/* Fills routes, route_count, guard, context, thread_start, thread_stop and finished. */
void routes_serve(struct routes *routes, struct http_options *options);
/* The server whose counters /metrics shows, from before its start until after its stop. */
void routes_attach(struct routes *routes, struct http_server *server);
/* Ends the threads of the lanes, which post to the server's: after its stop, before it is destroyed. */
void routes_detach(struct routes *routes);

/* One second's work: the figures that /health and its checks repeat, all that overview_tick() does (memory, pressure
 * and what is done about it, alerts, history), a snapshot for who looks. From one background thread; takes
 * milliseconds. */
void routes_tick(struct routes *routes);
/* What health has to do now; returns in how many milliseconds to come again. By the thread that ticks. */
uint64_t routes_turn(struct routes *routes);
/* The kernel told of a stall on memory. By the thread that ticks. */
void routes_stalled(struct routes *routes);
/* From now on /health/ready says no. Any thread. */
void routes_drain(struct routes *routes);
/* Another set of keys and hosts; a reference is taken. It holds for requests that begin from now on, and what is under
 * way is ended where its key is gone, is of another namespace now, or is no administrator's any more. By the thread
 * that ticks and stops the server. */
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
