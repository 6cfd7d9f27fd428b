/*
 * routes.c - the table of routes, the guard in front of them, and what lives as long as the daemon or one of its front
 * threads.
 */
#include "base/check.h"
#include "base/digest.h"
#include "base/status.h"
#include "serve/fields.h"
#include "serve/handlers.h"

#include <string.h>

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
#include "serve/routes.def"
#undef ROUTE
};
_Static_assert(COUNT_OF(table) <= TALLY_MAX_ROUTES, "every route has its counters");

const struct http_route *routes_table(size_t *count)
{
    *count = COUNT_OF(table);
    return table;
}

/* --------------------------------------------------------------------------------------------- the daemon's -- */

static void set_defaults(struct routes_options *options)
{
    if (options->storage_deadline_ms == 0) options->storage_deadline_ms = 20;
    if (options->clock == NULL) options->clock = clock_system();
    if (options->storage_kind == NULL) options->storage_kind = "none";
}

static aic_status create_parts(struct routes *routes)
{
    const struct routes_options *options = &routes->options;
    TRY(digest_random(&routes->seed, sizeof routes->seed));
    routes->past = mem_zalloc(options->mem, MEM_OTHER, sizeof *routes->past);
    if (routes->past == NULL) return AIC_NO_MEMORY;
    struct watch_options watch = options->watch;
    watch.mem = options->mem;
    watch.clock = options->clock;
    watch.log = options->log;
    watch.cache = options->cache;
    watch.monitor = options->monitor;
    watch.pools = &routes->pools;
    TRY(watch_create(&watch, &routes->watch, NULL));
    struct parts_options parts = {.mem = options->mem,
                                  .clock = options->clock,
                                  .cache = options->cache,
                                  .storage_kind = options->storage_kind,
                                  .root = options->watch.root,
                                  .pressure = watch_pressure(routes->watch)};
    return parts_create(&parts, &routes->parts);
}

aic_status routes_create(const struct routes_options *options, struct routes **out)
{
    struct routes *routes = mem_zalloc(options->mem, MEM_OTHER, sizeof *routes);
    if (routes == NULL) return AIC_NO_MEMORY;
    routes->options = *options;
    set_defaults(&routes->options);
    pthread_mutex_init(&routes->mutex, NULL);
    object_pools_init(&routes->pools);
    labels_init(&routes->labels, options->mem, 0);
    routes->auth = auth_pin(options->auth);
    atomic_init(&routes->auth_generation, 1);
    atomic_init(&routes->warning_bytes, options->memory_warning_bytes);
    atomic_init(&routes->critical_bytes, options->memory_critical_bytes);
    routes->started_ns = clock_mono_ns(routes->options.clock);
    routes->started_ms = clock_wall_ms(routes->options.clock);
    aic_status status = create_parts(routes);
    if (status != AIC_OK) {
        routes_destroy(&routes);
        return status;
    }
    routes->labels.seed = routes->seed;
    *out = routes;
    return AIC_OK;
}

void routes_destroy(struct routes **routes)
{
    struct routes *self = *routes;
    if (self == NULL) return;
    *routes = NULL;
    CHECK(self->fronts == NULL);
    struct mem *mem = self->options.mem;
    parts_destroy(&self->parts);
    watch_destroy(&self->watch);
    mem_free(mem, MEM_OTHER, self->past, sizeof *self->past);
    auth_release(&self->auth);
    labels_fini(&self->labels);
    object_pools_fini(&self->pools);
    pthread_mutex_destroy(&self->mutex);
    mem_free(mem, MEM_OTHER, self, sizeof *self);
}

/* Labels change hands whether somebody reads them or not. */
static void settle_labels(struct routes *routes)
{
    struct tally_sum *sum = mem_alloc(routes->options.mem, MEM_OTHER, sizeof *sum);
    if (sum == NULL) return; /* the next second will do */
    routes_sum(routes, sum);
    mem_free(routes->options.mem, MEM_OTHER, sum, sizeof *sum);
}

void routes_tick(struct routes *routes)
{
    struct parts_facts facts;
    parts_refresh(routes->parts);
    parts_facts(routes->parts, &facts);
    watch_tick(routes->watch, &facts, routes->parts);
    settle_labels(routes);
    stream_tick(routes);
}

void routes_stalled(struct routes *routes)
{
    watch_stalled(routes->watch);
}

void routes_drain(struct routes *routes)
{
    atomic_store_explicit(&routes->draining, true, memory_order_relaxed);
    stream_end(routes);
}

void routes_sum(struct routes *routes, struct tally_sum *out)
{
    pthread_mutex_lock(&routes->mutex);
    *out = *routes->past;
    for (const struct front *front = routes->fronts; front != NULL; front = front->next) tally_add(out, &front->tally);
    /* Under the mutex, so that no older sum is settled after a newer one. */
    labels_settle(&routes->labels, out->lookups, clock_mono_ns(routes->options.clock));
    pthread_mutex_unlock(&routes->mutex);
}

void routes_reload_auth(struct routes *routes, struct auth *auth)
{
    pthread_mutex_lock(&routes->mutex);
    auth_release(&routes->auth);
    routes->auth = auth_pin(auth);
    /* Release, under the mutex: a front that sees the number takes the mutex and finds the new set. */
    atomic_fetch_add_explicit(&routes->auth_generation, 1, memory_order_release);
    pthread_mutex_unlock(&routes->mutex);
}

void routes_reload_thresholds(struct routes *routes, uint64_t warning_bytes, uint64_t critical_bytes)
{
    atomic_store_explicit(&routes->warning_bytes, warning_bytes, memory_order_relaxed);
    atomic_store_explicit(&routes->critical_bytes, critical_bytes, memory_order_relaxed);
}

void routes_reload_memory(struct routes *routes, uint64_t max_bytes)
{
    watch_set_memory_limit(routes->watch, max_bytes);
}

void routes_attach(struct routes *routes, const struct http_server *server)
{
    pthread_mutex_lock(&routes->mutex);
    routes->server = server;
    pthread_mutex_unlock(&routes->mutex);
}

void routes_detach(struct routes *routes)
{
    routes_attach(routes, NULL);
}

/* --------------------------------------------------------------------------------------------- a thread's -- */

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

static aic_status thread_start(void *context, struct http_thread *thread, void **data)
{
    struct routes *routes = context;
    struct mem *mem = routes->options.mem;
    struct front *front = mem_zalloc(mem, MEM_OTHER, sizeof *front);
    if (front == NULL) return AIC_NO_MEMORY;
    front->routes = routes;
    front->thread = thread;
    memo_init(&front->memo, mem, routes->seed);
    tails_init(&front->tails, mem);
    json_init(&front->json, mem, MEM_CACHE);
    buf_init(&front->scratch, mem, MEM_CACHE);
    aic_status status = pending_init(front);
    if (status != AIC_OK) {
        mem_free(mem, MEM_OTHER, front, sizeof *front);
        return status;
    }
    answers_init(front);
    refresh_auth(front);
    pthread_mutex_lock(&routes->mutex);
    front->next = routes->fronts;
    routes->fronts = front;
    pthread_mutex_unlock(&routes->mutex);
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
    tally_add(routes->past, &front->tally);
    pthread_mutex_unlock(&routes->mutex);
    pending_fini(front);
    answers_fini(front);
    memo_fini(&front->memo);
    tails_fini(&front->tails);
    json_fini(&front->json);
    buf_fini(&front->scratch);
    auth_release(&front->auth);
    mem_free(routes->options.mem, MEM_OTHER, front, sizeof *front);
}

/* ---------------------------------------------------------------------------------------------- the guard -- */

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

static bool check_query(struct http_exchange *exchange, const struct http_route *route)
{
    aic_error error = {0};
    aic_status status = call_check_query(exchange, route, &error);
    if (status != AIC_OK) http_reply_error(exchange, status, &error);
    return status == AIC_OK;
}

static bool guard(struct http_exchange *exchange, const struct http_route *route)
{
    struct call *call = call_of(exchange);
    struct front *front = front_of(exchange);
    if (route->access == ROUTES_PUBLIC) return true;
    refresh_auth(front);
    aic_view authorization = {NULL, 0}, api_key = {NULL, 0};
    if (!auth_is_open(front->auth)) {
        authorization = http_header(exchange, "Authorization");
        api_key = http_header(exchange, "X-API-Key");
    }
    struct auth_caller caller;
    aic_error error;
    error_clear(&error);
    aic_status status = auth_check(front->auth, authorization, api_key, &caller, &error);
    if (status == AIC_UNAUTHORIZED) refuse_key(exchange, &error, authorization.data != NULL || api_key.data != NULL);
    else if (status != AIC_OK) http_reply_error(exchange, status, NULL);
    else if (route->access == ROUTES_ADMIN && !caller.admin)
        http_reply_problem(exchange, 403, "admin_required", NULL, "this route needs an API key with the admin flag");
    else {
        take_caller(call, &caller);
        return check_query(exchange, route);
    }
    return false;
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
    options->pools = &routes->pools;
    options->thread_start = thread_start;
    options->thread_stop = thread_stop;
    options->finished = finished;
}
