/*
 * routes_world.h - the routes on a real server in this process, over a storage tier and an allocator that a test holds
 * in its hand, and a client that asks it. For one test file at a time: everything is static.
 */
#ifndef TESTS_SERVE_ROUTES_WORLD_H
#define TESTS_SERVE_ROUTES_WORLD_H

#include "../../cache/fake_tier.h"
#include "base/check.h"
#include "cache/cache.h"
#include "serve/routes/memo.h"
#include "serve/routes/routes.h"

#include <aicache/monitor.h>
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

/* ------------------------------------------------------------------------------------------------- the world -- */

#define NEVER INT64_MAX

static _Atomic int64_t allocations_left = NEVER; /* then one allocation fails */
static _Atomic bool failed_once;

static void (*_Atomic on_acquire)(size_t bytes); /* sees every allocation; NULL: nobody looks */

static inline void *acquire(void *context, size_t bytes)
{
    (void)context;
    void (*seen)(size_t) = atomic_load(&on_acquire);
    if (seen != NULL) seen(bytes);
    if (atomic_load(&allocations_left) != NEVER && atomic_fetch_sub(&allocations_left, 1) == 0) {
        atomic_store(&failed_once, true);
        return NULL;
    }
    return malloc(bytes);
}

static inline void give_back(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

static const aic_allocator allocator = {.acquire = acquire, .release = give_back};

struct world {
    struct mem mem;
    struct fake_tier *storage;                  /* the cache's */
    aic_monitor *monitor;                       /* NULL: none */
    const aic_clock *clock;                     /* the cache's; NULL: the system's */
    unsigned deadline_ms;                       /* of storage; 0: so long that a busy machine makes no miss of a hit */
    const char *root;                           /* where /proc and /sys are; NULL: this machine's */
    unsigned warning_percent, critical_percent; /* of pressure; 0: the usual */
    bool forgets;                               /* cache.keep_request_bytes is 0 */
    aic_cache *cache;
    struct auth *auth;
    struct routes *routes;
    struct http_server *server;
    uint16_t port;
};

/* On a world that is zeroed, but for its monitor, clock, deadline, root, thresholds and whether it forgets. */
static inline void start_world(struct world *world, uint64_t memory_bytes, const struct auth_key *keys,
                               size_t key_count)
{
    mem_init(&world->mem, &allocator);
    world->storage = fake_create(NULL);
    aic_options cache = {.memory_max_bytes = memory_bytes,
                         .storage_deadline_ms = world->deadline_ms != 0 ? world->deadline_ms : 60000,
                         .monitor = world->monitor,
                         .allocator = &allocator,
                         .clock = world->clock};
    assert_int_equal(cache_open(&cache, &world->storage->tier, &world->cache, NULL), AIC_OK);
    assert_int_equal(auth_create(&world->mem, keys, key_count, (struct auth_hosts){0}, &world->auth, NULL), AIC_OK);
    struct overview_options options = {.mem = &world->mem,
                                       .clock = clock_system(),
                                       .cache = world->cache,
                                       .monitor = world->monitor,
                                       .version = "test",
                                       .root = world->root,
                                       .warning_percent = world->warning_percent,
                                       .critical_percent = world->critical_percent,
                                       .storage_kind = "fake"};
    assert_int_equal(routes_create(&options, world->auth, world->forgets ? 0 : MEMO_MAX_BODY, &world->routes), AIC_OK);
    const char *listen[] = {"127.0.0.1:0"};
    struct http_options http = {.mem = &world->mem, .listen = listen, .listen_count = 1, .threads = 2};
    routes_serve(world->routes, &http);
    assert_int_equal(http_server_create(&http, &world->server, NULL), AIC_OK);
    routes_attach(world->routes, world->server);
    assert_int_equal(http_server_start(world->server, NULL), AIC_OK);
    world->port = (uint16_t)atoi(strrchr(http_server_address(world->server, 0), ':') + 1);
}

static inline void start(struct world *world, uint64_t memory_bytes, const struct auth_key *keys, size_t key_count)
{
    memset(world, 0, sizeof *world);
    start_world(world, memory_bytes, keys, key_count);
}

static inline void stop_server(struct world *world)
{
    routes_drain(world->routes);
    http_server_stop(world->server, 10000);
    routes_detach(world->routes);
    http_server_destroy(&world->server);
    routes_destroy(&world->routes);
}

static inline void stop_cache(struct world *world)
{
    aic_cache_close(&world->cache);
    aic_monitor_close(&world->monitor);
    auth_release(&world->auth);
    mem_fini(&world->mem);
}

/* ------------------------------------------------------------------------------------------------- a client -- */

struct answer_text {
    int status; /* 0: the connection ended without an answer */
    char text[65536];
};

/* Sends bytes as they are and reads until the server closes; nobody waits for ever. */
static inline void talk(const struct world *world, const char *head, const char *body, struct answer_text *out)
{
    struct timeval patience = {.tv_sec = 60};
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(world->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    out->status = 0;
    size_t got = 0;
    if (send(fd, head, strlen(head), MSG_NOSIGNAL) == (ssize_t)strlen(head) &&
        send(fd, body, strlen(body), MSG_NOSIGNAL) == (ssize_t)strlen(body)) {
        ssize_t more;
        while (got + 1 < sizeof out->text && (more = recv(fd, out->text + got, sizeof out->text - 1 - got, 0)) > 0)
            got += (size_t)more;
        if (got + 1 < sizeof out->text) assert_true(more == 0 || errno != EAGAIN); /* the end came in time */
    }
    out->text[got] = '\0';
    if (got > 12) assert_int_equal(sscanf(out->text, "HTTP/1.1 %d", &out->status), 1);
    close(fd);
}

static inline void request(const struct world *world, const char *method, const char *path, const char *key,
                           const char *body, struct answer_text *out)
{
    char head[1024];
    snprintf(head, sizeof head,
             "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%s%s%sContent-Length: %zu\r\n\r\n", method,
             path, key != NULL ? "X-API-Key: " : "", key != NULL ? key : "", key != NULL ? "\r\n" : "", strlen(body));
    talk(world, head, body, out);
}

static struct answer_text answer; /* of the last request */

static inline int ask(const struct world *world, const char *method, const char *path, const char *body)
{
    request(world, method, path, NULL, body, &answer);
    return answer.status;
}

static inline bool says(const char *words)
{
    return strstr(answer.text, words) != NULL;
}

#endif
