/*
 * server.c - see server.h: setup and teardown of the front threads, in one visible order and its reverse.
 */
#include "serve/http/connection.h"

#include "base/check.h"
#include "base/status.h"

#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* Descriptors that are kept for storage, logs, health, the loops, and those who are told that there is no room. */
#define RESERVED_DESCRIPTORS (96 + REJECT_ROOM)
#define LOOP_DESCRIPTORS 4 /* of a front thread, beside its listening sockets */

/* The connections for which there are descriptors. Where there are few of them, half are for connections. */
static uint64_t room_for_connections(const struct http_server *server)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
    uint64_t reserve = RESERVED_DESCRIPTORS + server->thread_count * (server->listener_count + LOOP_DESCRIPTORS);
    uint64_t most = limit.rlim_cur > 1 ? limit.rlim_cur : 2;
    return most < 2 * reserve ? most / 2 : most - reserve;
}

void http_server_set_limits(struct http_server *server, const struct http_limits *limits)
{
#define LIMIT_STORE(name, fallback, help)                                                                              \
    atomic_store_explicit(&server->limits.name, limits->name != 0 ? limits->name : (uint64_t)(fallback),               \
                          memory_order_relaxed);
    HTTP_LIMIT_MAP(LIMIT_STORE)
#undef LIMIT_STORE
    if (atomic_load_explicit(&server->limits.header_bytes, memory_order_relaxed) > HEAD_MAX_BYTES)
        atomic_store_explicit(&server->limits.header_bytes, HEAD_MAX_BYTES, memory_order_relaxed);
    uint64_t room = room_for_connections(server);
    if (http_server_connections(server) > room)
        atomic_store_explicit(&server->limits.connections, room, memory_order_relaxed);
}

uint64_t http_server_connections(const struct http_server *server)
{
    return atomic_load_explicit(&server->limits.connections, memory_order_relaxed);
}

uint64_t http_server_crowded_ms(const struct http_server *server)
{
    return atomic_load_explicit(&server->crowded_ms, memory_order_relaxed);
}

static void copy_options(struct http_server *server, const struct http_options *options)
{
    server->clock = options->clock != NULL ? options->clock : clock_system();
    server->guard = options->guard;
    server->context = options->context;
    server->pools = options->pools;
    server->thread_start = options->thread_start;
    server->thread_stop = options->thread_stop;
    server->finished = options->finished;
}

static aic_status make_threads(struct http_server *server, unsigned count, aic_error *error)
{
    server->threads_bytes = count * sizeof(struct http_thread) + _Alignof(struct http_thread);
    server->threads_block = mem_zalloc(server->mem, MEM_CONNECTIONS, server->threads_bytes);
    if (server->threads_block == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "No memory for the front threads.");
    uintptr_t address = (uintptr_t)server->threads_block + _Alignof(struct http_thread) - 1;
    server->threads = (struct http_thread *)(address - address % _Alignof(struct http_thread));
    server->thread_count = count;
    return AIC_OK;
}

/* One address: a socket for each front thread. */
static aic_status open_listener(struct http_server *server, const char *address, aic_error *error)
{
    int sockets[HTTP_MAX_THREADS];
    if (server->listener_count == HTTP_MAX_LISTEN)
        return error_set(error, AIC_INVALID, "listen",
                         "More than %d addresses to listen on, those of names counted each.", HTTP_MAX_LISTEN);
    struct listener *listener = &server->listeners[server->listener_count];
    TRY(listener_open(listener, address, sockets, server->thread_count, error));
    server->listener_count++;
    for (unsigned t = 0; t < server->thread_count; t++) {
        struct http_thread *thread = &server->threads[t];
        struct acceptor *acceptor = &thread->acceptors[thread->acceptor_count++];
        acceptor->fd = sockets[t];
        acceptor->local = listener->local;
    }
    return AIC_OK;
}

static aic_status open_listeners(struct http_server *server, const struct http_options *options, aic_error *error)
{
    if (options->listen_count == 0 || options->listen_count > HTTP_MAX_LISTEN)
        return error_set(error, AIC_INVALID, "listen", "%zu addresses to listen on; 1 to %d are accepted.",
                         options->listen_count, HTTP_MAX_LISTEN);
    for (size_t i = 0; i < options->listen_count; i++) {
        char addresses[LISTEN_NAME_ADDRESSES][LISTEN_ADDRESS_BYTES];
        unsigned count = 0;
        TRY(listener_addresses(options->listen[i], addresses, &count, error));
        for (unsigned j = 0; j < count; j++) TRY(open_listener(server, addresses[j], error));
    }
    return AIC_OK;
}

static aic_status init_threads(struct http_server *server, aic_error *error)
{
    for (unsigned i = 0; i < server->thread_count; i++) {
        aic_status status = thread_init(&server->threads[i], server, i);
        if (status != AIC_OK) return error_set(error, status, NULL, "Cannot set up the loop of a front thread.");
        server->thread_ready++;
    }
    return AIC_OK;
}

/* ---- room for bodies and answers ---- */

bool room_take(struct room *room, uint64_t bytes)
{
    uint64_t sum = atomic_fetch_add_explicit(&room->bytes, bytes, memory_order_relaxed) + bytes;
    if (bytes <= room->small || sum <= atomic_load_explicit(room->limit, memory_order_relaxed)) return true;
    room_give(room, bytes);
    return false;
}

void room_give(struct room *room, uint64_t bytes)
{
    uint64_t held = atomic_fetch_sub_explicit(&room->bytes, bytes, memory_order_relaxed);
    CHECK(held >= bytes);
}

void room_refuse(const struct room *room, struct head_refusal *why)
{
    head_refuse(why, 503, room->code, "The %s may hold %llu bytes (%s), and hold too many now.", room->what,
                (unsigned long long)atomic_load_explicit(room->limit, memory_order_relaxed), room->option);
}

static void *acquire_in_room(void *context, size_t bytes)
{
    struct room *room = context;
    if (!room_take(room, bytes)) {
        atomic_fetch_add_explicit(&room->refused, 1, memory_order_relaxed);
        mem_refuse(&room->mem);
        return NULL;
    }
    void *block = mem_alloc(room->server->mem, room->owner, bytes);
    if (block == NULL) room_give(room, bytes);
    return block;
}

static void release_in_room(void *context, void *block, size_t bytes)
{
    struct room *room = context;
    mem_free(room->server->mem, room->owner, block, bytes);
    room_give(room, bytes);
}

static void room_init(struct room *room, struct room is)
{
    *room = is;
    mem_init(&room->mem, &(aic_allocator){.acquire = acquire_in_room, .release = release_in_room, .context = room});
}

static void room_fini(struct room *room)
{
    mem_fini(&room->mem);
    CHECK(atomic_load_explicit(&room->bytes, memory_order_relaxed) == 0);
}

/* ---- the whole ---- */

aic_status http_server_create(const struct http_options *options, struct http_server **out, aic_error *error)
{
    unsigned threads = options->threads != 0 ? options->threads : uv_available_parallelism();
    if (threads > HTTP_MAX_THREADS) threads = HTTP_MAX_THREADS;
    struct http_server *server = mem_zalloc(options->mem, MEM_CONNECTIONS, sizeof *server);
    if (server == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "No memory for the server.");
    server->mem = options->mem;
    room_init(&server->bodies, (struct room){.server = server,
                                             .owner = MEM_CONNECTIONS,
                                             .code = "bodies_full",
                                             .what = "bodies of all requests, and what is made of them,",
                                             .option = "limits.bodies_bytes",
                                             .limit = &server->limits.bodies_bytes});
    room_init(&server->answers, (struct room){.server = server,
                                              .owner = MEM_ANSWERS,
                                              .code = "answers_full",
                                              .what = "answers that are not yet sent",
                                              .option = "limits.answers_bytes",
                                              .limit = &server->limits.answers_bytes,
                                              .small = HTTP_SMALL_ANSWER});
    atomic_init(&server->figures_limit, HTTP_FIGURES_BYTES);
    room_init(&server->figures, (struct room){.server = server,
                                              .owner = MEM_ANSWERS,
                                              .code = "answers_full",
                                              .what = "figures that are not yet sent",
                                              .option = "beside limits.answers_bytes",
                                              .limit = &server->figures_limit,
                                              .small = HTTP_SMALL_ANSWER});
    copy_options(server, options);
    aic_status status;
    TRY_OR_FAIL(router_create(server->mem, options->routes, options->route_count, &server->router, error));
    if (options->tls_certificate != NULL || options->tls_key != NULL)
        TRY_OR_FAIL(tls_create(server->mem, options->tls_certificate, options->tls_key, &server->tls, error));
    TRY_OR_FAIL(make_threads(server, threads, error));
    TRY_OR_FAIL(open_listeners(server, options, error));
    TRY_OR_FAIL(init_threads(server, error));
    http_server_set_limits(server, &options->limits); /* knows how many descriptors the threads have */
    *out = server;
    return AIC_OK;
fail:
    http_server_destroy(&server);
    return status;
}

/* Threads whose loop was never set up have nothing but their descriptors. */
static void close_descriptors(struct http_thread *thread)
{
    for (unsigned i = 0; i < thread->acceptor_count; i++) {
        if (thread->acceptors[i].fd >= 0) close(thread->acceptors[i].fd);
    }
}

void http_server_destroy(struct http_server **server_pointer)
{
    struct http_server *server = *server_pointer;
    if (server == NULL) return;
    for (unsigned i = 0; i < server->thread_count; i++) {
        if (i < server->thread_ready) thread_fini(&server->threads[i]);
        else close_descriptors(&server->threads[i]);
    }
    for (unsigned i = 0; i < server->listener_count; i++) listener_close(&server->listeners[i]);
    room_fini(&server->bodies);
    room_fini(&server->answers);
    room_fini(&server->figures);
    mem_free(server->mem, MEM_CONNECTIONS, server->threads_block, server->threads_bytes);
    tls_destroy(&server->tls);
    router_destroy(&server->router);
    mem_free(server->mem, MEM_CONNECTIONS, server, sizeof *server);
    *server_pointer = NULL;
}

aic_status http_server_start(struct http_server *server, aic_error *error)
{
    CHECK(!server->started);
    server->started = true;
    for (unsigned i = 0; i < server->thread_count; i++) {
        aic_status status = thread_start(&server->threads[i]);
        if (status == AIC_OK) continue;
        http_server_stop(server, 0);
        return error_set(error, status, NULL, "Cannot start front thread %u.", i);
    }
    return AIC_OK;
}

void http_server_stop(struct http_server *server, uint64_t deadline_ms)
{
    /* Relaxed: the post below orders it for the threads. */
    atomic_store_explicit(&server->stop_in_ms, deadline_ms, memory_order_relaxed);
    for (unsigned i = 0; i < server->thread_count; i++) {
        struct http_thread *thread = &server->threads[i];
        if (thread->running) http_post(thread, &thread->stop_post);
    }
    for (unsigned i = 0; i < server->thread_count; i++) thread_join(&server->threads[i]);
}

size_t http_server_address_count(const struct http_server *server)
{
    return server->listener_count;
}

const char *http_server_address(const struct http_server *server, size_t index)
{
    CHECK(index < server->listener_count);
    return server->listeners[index].address;
}

aic_status http_server_reload_tls(struct http_server *server, const char *certificate, const char *key,
                                  aic_error *error)
{
    if (server->tls == NULL)
        return error_set(error, AIC_INVALID, "tls.certificate",
                         "The server was started without TLS; a restart turns it on.");
    return tls_reload(server->tls, certificate, key, error);
}

uint64_t http_server_body_bytes(const struct http_server *server)
{
    return atomic_load_explicit(&server->bodies.bytes, memory_order_relaxed);
}

uint64_t http_server_answer_bytes(const struct http_server *server)
{
    return atomic_load_explicit(&server->answers.bytes, memory_order_relaxed) +
           atomic_load_explicit(&server->figures.bytes, memory_order_relaxed);
}

void http_server_figures(const struct http_server *server, struct figures *out)
{
    CHECK(!figures_are_read(out, FIGURES_HTTP));
    out->owners |= 1U << FIGURES_HTTP;
    for (unsigned i = 0; i < server->thread_count; i++) figures_add(out, &server->threads[i].counts);
    out->http_bodies_refused += atomic_load_explicit(&server->bodies.refused, memory_order_relaxed);
    out->http_answer_bytes = http_server_answer_bytes(server);
    out->http_answer_limit = atomic_load_explicit(&server->limits.answers_bytes, memory_order_relaxed);
    out->http_answers_refused = atomic_load_explicit(&server->answers.refused, memory_order_relaxed) +
                                atomic_load_explicit(&server->figures.refused, memory_order_relaxed);
}
