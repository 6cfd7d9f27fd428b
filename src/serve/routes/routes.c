/*
 * routes.c - the table of routes, the guard in front of them, and what lives as long as the daemon or one of its front
 * threads.
 */
#include "serve/routes/routes.h"

#include "base/check.h"
#include "base/digest.h"
#include "base/status.h"
#include "base/view.h"
#include "observe/host.h"
#include "serve/http/head.h"
#include "serve/routes/call.h"
#include "serve/routes/handlers.h"
#include "serve/routes/lookup.h"
#include "serve/routes/origin.h"
#include "serve/routes/stream.h"

#include <string.h>
#include <uv.h>

static const struct http_route table[] = {
#define ROUTE(verb, path, handler, body, access, query, help)                                                          \
    {HTTP_VERB_##verb,                                                                                                 \
     path,                                                                                                             \
     handler,                                                                                                          \
     HTTP_BODY_##body,                                                                                                 \
     ROUTES_##access,                                                                                                  \
     HTTP_BODY_##body == HTTP_BODY_STREAMED ? UINT64_MAX : 0,                                                          \
     query,                                                                                                            \
     help},
#include "serve/routes/routes.def"
#undef ROUTE
};
_Static_assert(COUNT_OF(table) <= TALLY_MAX_ROUTES, "every route has its counters");

/* ------------------------------------------------------------------------------------------------- the daemon's -- */

static struct overview_route route_names(size_t index)
{
    CHECK(index < COUNT_OF(table));
    return (struct overview_route){http_verb_name(table[index].verb), table[index].path};
}

aic_status routes_create(const struct overview_options *options, struct auth *auth, size_t keep_request_bytes,
                         struct routes **out)
{
    uint64_t seed;
    TRY(digest_random(&seed, sizeof seed));
    struct routes *routes = mem_zalloc(options->mem, MEM_OTHER, sizeof *routes);
    if (routes == NULL) return AIC_NO_MEMORY;
    aic_status status = overview_init(&routes->overview, options, route_names, COUNT_OF(table), seed);
    if (status == AIC_OK) {
        status = lanes_create(options->mem, host_cores("", uv_available_parallelism()), &routes->lanes);
        if (status != AIC_OK) overview_fini(&routes->overview);
    }
    if (status != AIC_OK) {
        mem_free(options->mem, MEM_OTHER, routes, sizeof *routes);
        return status;
    }
    routes->seed = seed;
    routes->keep_request_bytes = keep_request_bytes;
    unpacked_init(&routes->unpacked, routes->lanes);
    CHECK(pthread_mutex_init(&routes->mutex, NULL) == 0);
    routes->auth = auth_pin(auth);
    atomic_init(&routes->auth_generation, 1);
    *out = routes;
    return AIC_OK;
}

void routes_destroy(struct routes **routes)
{
    struct routes *self = *routes;
    if (self == NULL) return;
    *routes = NULL;
    CHECK(self->fronts == NULL);
    struct mem *mem = self->overview.options.mem;
    lanes_destroy(&self->lanes);
    unpacked_fini(&self->unpacked);
    overview_fini(&self->overview);
    auth_release(&self->auth);
    pthread_mutex_destroy(&self->mutex);
    mem_free(mem, MEM_OTHER, self, sizeof *self);
}

void routes_tick(struct routes *routes)
{
    overview_tick(&routes->overview);
    stream_tick(routes);
}

uint64_t routes_turn(struct routes *routes)
{
    return overview_turn(&routes->overview);
}

void routes_stalled(struct routes *routes)
{
    overview_stalled(&routes->overview);
}

void routes_drain(struct routes *routes)
{
    atomic_store_explicit(&routes->draining, true, memory_order_relaxed);
    leases_end(cache_leases(routes->overview.options.cache));
    stream_end(routes);
}

void routes_reload_auth(struct routes *routes, struct auth *auth)
{
    pthread_mutex_lock(&routes->mutex);
    auth_release(&routes->auth);
    routes->auth = auth_pin(auth);
    /* Release, under the mutex: a front that sees the number takes the mutex and finds the new set. */
    atomic_fetch_add_explicit(&routes->auth_generation, 1, memory_order_release);
    for (struct front *front = routes->fronts; front != NULL; front = front->next) {
        if (!front->changed_posted) http_post(front->thread, &front->changed);
        front->changed_posted = true;
    }
    pthread_mutex_unlock(&routes->mutex);
}

void routes_reload_thresholds(struct routes *routes, uint64_t warning_bytes, uint64_t critical_bytes)
{
    atomic_store_explicit(&routes->overview.warning_bytes, warning_bytes, memory_order_relaxed);
    atomic_store_explicit(&routes->overview.critical_bytes, critical_bytes, memory_order_relaxed);
}

void routes_reload_memory(struct routes *routes, uint64_t max_bytes)
{
    pressure_set_cache_limit(routes->overview.pressure, max_bytes);
}

static void tell_room(void *server, uint64_t *connections, uint64_t *crowded_ms)
{
    *connections = http_server_connections(server);
    *crowded_ms = http_server_crowded_ms(server);
}

static void tell_figures(void *server, struct figures *out)
{
    http_server_figures(server, out);
}

void routes_attach(struct routes *routes, struct http_server *server)
{
    struct overview_front front = {.context = server, .room = tell_room, .figures = tell_figures};
    overview_attach(&routes->overview, &front);
}

void routes_detach(struct routes *routes)
{
    lanes_destroy(&routes->lanes); /* a thread may still be waking a front thread that has its message already */
    overview_attach(&routes->overview, NULL);
}

/* --------------------------------------------------------------------------------------------------- a thread's -- */

static void refresh_auth(struct front *front)
{
    struct routes *routes = front->routes;
    /* Acquire pairs with the release in routes_reload_auth. */
    unsigned generation = atomic_load_explicit(&routes->auth_generation, memory_order_acquire);
    if (generation == front->auth_generation) return;
    pthread_mutex_lock(&routes->mutex);
    auth_release(&front->auth);
    front->auth = auth_pin(routes->auth);
    front->auth_generation = atomic_load_explicit(&routes->auth_generation, memory_order_relaxed);
    pthread_mutex_unlock(&routes->mutex);
}

static void judge_again(struct message *post);

static aic_status thread_start(void *context, struct http_thread *thread, void **data)
{
    struct routes *routes = context;
    struct mem *mem = routes->overview.options.mem;
    struct front *front = mem_zalloc(mem, MEM_OTHER, sizeof *front);
    if (front == NULL) return AIC_NO_MEMORY;
    front->routes = routes;
    front->thread = thread;
    front->changed.run = judge_again;
    memo_init(&front->memo, mem, routes->seed, routes->keep_request_bytes);
    tails_init(&front->tails, mem);
    json_init(&front->json, mem, MEM_CACHE);
    buf_init(&front->scratch, mem, MEM_CACHE);
    aic_status status = pending_init(front);
    if (status == AIC_OK) status = held_init(front);
    if (status != AIC_OK) {
        pending_fini(front);
        mem_free(mem, MEM_OTHER, front, sizeof *front);
        return status;
    }
    answers_init(front);
    refresh_auth(front);
    pthread_mutex_lock(&routes->mutex);
    front->next = routes->fronts;
    routes->fronts = front;
    pthread_mutex_unlock(&routes->mutex);
    overview_join(&routes->overview, &front->tally);
    *data = front;
    return AIC_OK;
}

static void thread_stop(void *context, struct http_thread *thread, void *data)
{
    struct routes *routes = context;
    struct front *front = data;
    (void)thread;
    if (front == NULL) return;
    pthread_mutex_lock(&routes->mutex);
    struct front **link = &routes->fronts;
    while (*link != front) link = &(*link)->next;
    *link = front->next;
    pthread_mutex_unlock(&routes->mutex);
    overview_leave(&routes->overview, &front->tally);
    pending_fini(front);
    held_fini(front);
    answers_fini(front);
    memo_fini(&front->memo);
    tails_fini(&front->tails);
    json_fini(&front->json);
    buf_fini(&front->scratch);
    auth_release(&front->auth);
    mem_free(routes->overview.options.mem, MEM_OTHER, front, sizeof *front);
}

/* ---------------------------------------------------------------------------------------------------- the guard -- */

static void refuse_key(struct http_exchange *exchange, const aic_error *error, bool sent)
{
    http_reply_header(exchange, "WWW-Authenticate",
                      sent ? AIC_LITERAL("Bearer realm=\"aicache\", error=\"invalid_token\"")
                           : AIC_LITERAL("Bearer realm=\"aicache\""));
    http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-store"));
    http_reply_error(exchange, AIC_UNAUTHORIZED, error);
}

static void take_caller(struct call *call, const struct auth_caller *caller)
{
    memcpy(call->ns, caller->ns.data, caller->ns.size);
    call->ns_size = (uint8_t)caller->ns.size;
    call->admin = caller->admin;
}

/* Every header that names a key must name the same: a proxy in front and the server here may otherwise take different
 * ones for the caller. `sent`: there was one at all. */
static aic_status check_caller(const struct http_exchange *exchange, const struct auth *auth, struct auth_caller *out,
                               bool *sent, aic_error *error)
{
    static const char bearer[] = "Authorization", plain[] = "X-API-Key";
    const aic_view absent = {NULL, 0};
    aic_view authorization = absent, api_key = absent, further;
    size_t at = 0, at_plain = 0;
    *sent = false;
    if (auth_is_open(auth)) return auth_check(auth, absent, absent, out, error);
    *sent |= http_header_next(exchange, bearer, &at, &authorization);
    *sent |= http_header_next(exchange, plain, &at_plain, &api_key);
    TRY(auth_check(auth, authorization, api_key, out, error));
    while (http_header_next(exchange, bearer, &at, &further))
        TRY(auth_check_further(auth, further, absent, out, error));
    while (http_header_next(exchange, plain, &at_plain, &further))
        TRY(auth_check_further(auth, absent, further, out, error));
    return AIC_OK;
}

/* Where no key is asked for, the name under which a page came is all that tells a foreign one from ours. */
static bool is_rebound(struct http_exchange *exchange)
{
    struct front *front = front_of(exchange);
    if (!http_host_is_named(exchange)) return false;
    refresh_auth(front);
    return auth_is_open(front->auth) && !auth_knows_host(front->auth, head_host(http_host(exchange)));
}

static bool guard(struct http_exchange *exchange, const struct http_route *route)
{
    if (is_rebound(exchange)) {
        http_reply_problem(exchange, 403, "host_not_allowed", "Host",
                           "Host names a host that is not listed in `hosts`; where no api_keys are configured, only "
                           "addresses, localhost and the names in `hosts` are answered, because a web page could have "
                           "made any other name point here");
        return false;
    }
    if (route->access == ROUTES_PUBLIC) return true;
    if (origin_is_foreign(exchange)) {
        http_reply_problem(exchange, 403, "cross_origin", NULL,
                           "a web page of another origin sent this; only pages of this address may change something");
        return false;
    }
    struct front *front = front_of(exchange);
    refresh_auth(front);
    struct auth_caller caller;
    aic_error error;
    bool sent;
    error_clear(&error);
    aic_status status = check_caller(exchange, front->auth, &caller, &sent, &error);
    if (status == AIC_UNAUTHORIZED) refuse_key(exchange, &error, sent);
    else if (status != AIC_OK) http_reply_error(exchange, status, NULL);
    else if (route->access == ROUTES_ADMIN && !caller.admin)
        http_reply_problem(exchange, 403, "admin_required", NULL, "this route needs an API key with the admin flag");
    else {
        take_caller(call_of(exchange), &caller);
        status = call_check_query(exchange, route, &error);
        if (status == AIC_OK) return true;
        http_reply_error(exchange, status, &error);
    }
    return false;
}

/* Would the guard let it pass again, as the same caller? */
static bool stays(struct http_exchange *exchange)
{
    const struct http_route *route = http_route(exchange);
    const struct call *call = call_of(exchange);
    const struct auth *auth = front_of(exchange)->auth;
    struct auth_caller caller;
    aic_error error;
    bool sent;
    if (is_rebound(exchange)) return false;
    if (route->access == ROUTES_PUBLIC || auth_is_open(auth)) return true;
    if (check_caller(exchange, auth, &caller, &sent, &error) != AIC_OK) return false;
    return caller.admin >= call->admin && view_equal(caller.ns, call_ns(call));
}

/* On a front thread, after a change of keys: who streams, exports or waits was let in by keys that may be gone. */
static void judge_again(struct message *post)
{
    struct front *front = (struct front *)(void *)((char *)post - offsetof(struct front, changed));
    pthread_mutex_lock(&front->routes->mutex);
    front->changed_posted = false;
    pthread_mutex_unlock(&front->routes->mutex);
    refresh_auth(front);
    http_judge_again(front->thread, stays);
}

/* Every answer, of ours or of the server's own, is counted by route; what met no route is not. */
static void finished(void *context, struct http_exchange *exchange, int status, uint64_t body_bytes)
{
    (void)context;
    (void)body_bytes;
    const struct http_route *route = http_route(exchange);
    struct front *front = front_of(exchange);
    if (route < table || route >= table + COUNT_OF(table)) return;
    size_t class = status >= 100 && status < 600 ? (size_t)status / 100 : 0;
    tally_bump(&front->tally.answers[route - table][class], 1);
}

void routes_serve(struct routes *routes, struct http_options *options)
{
    options->routes = table;
    options->route_count = COUNT_OF(table);
    options->guard = guard;
    options->context = routes;
    options->pools = &routes->overview.pools;
    options->thread_start = thread_start;
    options->thread_stop = thread_stop;
    options->finished = finished;
}
