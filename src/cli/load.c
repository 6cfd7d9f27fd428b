#include "cli/load.h"

#include "base/check.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HEAD_BYTES 16384
#define READ_BYTES 65536

struct connection {
    int fd;
    aic_view request;
    size_t sent;
    uint64_t started_ns;
    char head[HEAD_BYTES + 1];
    size_t head_size; /* collected so far */
    bool in_body;
    uint64_t body_left;
    int status;
};

struct loader {
    const struct load_options *options;
    pthread_t thread;
    int epoll;
    struct connection *connections; /* owned */
    unsigned count;
    size_t next; /* request */
    uint64_t end_ns;
    unsigned open;
    uint64_t requests, failed, broken, bytes_in, bytes_out;
    aic_status status;
    struct hist latency_ns;
    char bytes[READ_BYTES];
};

static int connect_one(const struct load_options *options)
{
    int fd = socket(options->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int on = 1;
    if (options->address.ss_family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)&options->address, options->address_size) != 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void close_one(struct loader *loader, struct connection *connection)
{
    if (connection->fd < 0) return;
    close(connection->fd);
    connection->fd = -1;
    loader->open--;
}

/* Sends what the socket takes; what is left waits for EPOLLOUT. */
static void send_rest(struct loader *loader, struct connection *connection)
{
    while (connection->sent < connection->request.size) {
        ssize_t put = send(connection->fd, connection->request.data + connection->sent,
                           connection->request.size - connection->sent, MSG_NOSIGNAL);
        if (put < 0 && errno == EINTR) continue;
        if (put < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (put <= 0) {
            loader->broken++;
            close_one(loader, connection);
            return;
        }
        connection->sent += (size_t)put;
        loader->bytes_out += (uint64_t)put;
    }
}

static void begin(struct loader *loader, struct connection *connection)
{
    const struct load_options *options = loader->options;
    connection->request = options->requests[loader->next++ % options->request_count];
    connection->sent = 0;
    connection->head_size = 0;
    connection->in_body = false;
    connection->started_ns = clock_mono_ns(clock_system());
    send_rest(loader, connection);
}

static void complete(struct loader *loader, struct connection *connection)
{
    uint64_t now = clock_mono_ns(clock_system());
    hist_record(&loader->latency_ns, now - connection->started_ns);
    loader->requests++;
    if (connection->status >= 400) loader->failed++;
    if (now >= loader->end_ns) close_one(loader, connection);
    else begin(loader, connection);
}

/* Status and length of a complete head. False for what this client does not understand. */
static bool read_head(struct connection *connection)
{
    connection->head[connection->head_size] = '\0';
    if (strncmp(connection->head, "HTTP/1.1 ", 9) != 0) return false;
    connection->status = (int)strtol(connection->head + 9, NULL, 10);
    connection->body_left = 0;
    if (connection->status == 204) return true;
    const char *field = strcasestr(connection->head, "\r\ncontent-length:");
    if (field == NULL) return false;
    connection->body_left = strtoull(field + 17, NULL, 10);
    return true;
}

/* Takes bytes of the head; returns how many belong to it, or SIZE_MAX when it cannot be. */
static size_t take_head(struct connection *connection, const char *bytes, size_t size)
{
    size_t room = HEAD_BYTES - connection->head_size;
    size_t taken = size < room ? size : room;
    size_t before = connection->head_size;
    memcpy(connection->head + before, bytes, taken);
    connection->head_size += taken;
    size_t from = before > 3 ? before - 3 : 0;
    const char *end = memmem(connection->head + from, connection->head_size - from, "\r\n\r\n", 4);
    if (end == NULL) return taken == size ? taken : SIZE_MAX;
    connection->head_size = (size_t)(end - connection->head) + 2;
    if (!read_head(connection)) return SIZE_MAX;
    connection->in_body = true;
    return (size_t)(end - connection->head) + 4 - before;
}

static void take(struct loader *loader, struct connection *connection, const char *bytes, size_t size)
{
    while (size > 0 && connection->fd >= 0) {
        size_t used;
        if (!connection->in_body) {
            used = take_head(connection, bytes, size);
            if (used == SIZE_MAX) {
                loader->status = AIC_INVALID;
                close_one(loader, connection);
                return;
            }
        } else {
            used = size < connection->body_left ? size : (size_t)connection->body_left;
            connection->body_left -= used;
        }
        bytes += used;
        size -= used;
        if (connection->in_body && connection->body_left == 0) complete(loader, connection);
    }
}

static void on_ready(struct loader *loader, struct connection *connection, uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && connection->sent < connection->request.size) send_rest(loader, connection);
    while (connection->fd >= 0) {
        ssize_t got = recv(connection->fd, loader->bytes, sizeof loader->bytes, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (got <= 0) {
            loader->broken++;
            close_one(loader, connection);
            return;
        }
        loader->bytes_in += (uint64_t)got;
        take(loader, connection, loader->bytes, (size_t)got);
        if ((size_t)got < sizeof loader->bytes) return;
    }
}

static bool open_all(struct loader *loader)
{
    for (unsigned i = 0; i < loader->count; i++) {
        struct connection *connection = &loader->connections[i];
        connection->fd = connect_one(loader->options);
        if (connection->fd < 0) return false;
        loader->open++;
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = connection};
        if (epoll_ctl(loader->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0) return false;
    }
    return true;
}

static void *run(void *context)
{
    struct loader *loader = context;
    struct epoll_event events[64];
    if (!open_all(loader)) loader->status = AIC_UNAVAILABLE;
    for (unsigned i = 0; i < loader->count && loader->status == AIC_OK; i++) begin(loader, &loader->connections[i]);
    while (loader->open > 0 && loader->status == AIC_OK) {
        int ready = epoll_wait(loader->epoll, events, COUNT_OF(events), 1000);
        for (int i = 0; i < ready; i++) on_ready(loader, events[i].data.ptr, events[i].events);
        if (clock_mono_ns(clock_system()) > loader->end_ns + 5000000000u) break; /* the daemon has stopped answering */
    }
    for (unsigned i = 0; i < loader->count; i++) {
        if (loader->connections[i].fd >= 0 && loader->status == AIC_OK) loader->broken++;
        close_one(loader, &loader->connections[i]);
    }
    return NULL;
}

static aic_status start(struct loader *loader, const struct load_options *options, unsigned index, uint64_t end_ns)
{
    loader->options = options;
    loader->end_ns = end_ns;
    loader->next = options->request_count / options->threads * index;
    loader->count = options->connections / options->threads + (index < options->connections % options->threads ? 1 : 0);
    loader->connections = mem_zalloc(options->mem, MEM_OTHER, loader->count * sizeof *loader->connections);
    loader->epoll = epoll_create1(EPOLL_CLOEXEC);
    if ((loader->connections == NULL && loader->count > 0) || loader->epoll < 0) return AIC_NO_MEMORY;
    for (unsigned i = 0; i < loader->count; i++) loader->connections[i].fd = -1;
    return pthread_create(&loader->thread, NULL, run, loader) == 0 ? AIC_OK : AIC_NO_MEMORY;
}

static void gather(const struct loader *loader, struct load_result *out)
{
    out->requests += loader->requests;
    out->failed += loader->failed;
    out->broken += loader->broken;
    out->bytes_in += loader->bytes_in;
    out->bytes_out += loader->bytes_out;
    hist_add(&out->latency_ns, &loader->latency_ns);
}

aic_status load_run(const struct load_options *options, struct load_result *out)
{
    struct loader *loaders = mem_zalloc(options->mem, MEM_OTHER, options->threads * sizeof *loaders);
    if (loaders == NULL) return AIC_NO_MEMORY;
    aic_status status = AIC_OK;
    unsigned running = 0;
    uint64_t started = clock_mono_ns(clock_system());
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < options->threads && status == AIC_OK; i++) {
        loaders[i].epoll = -1;
        status = start(&loaders[i], options, i, started + options->duration_ns);
        if (status == AIC_OK) running++;
    }
    for (unsigned i = 0; i < options->threads; i++) {
        if (i < running) pthread_join(loaders[i].thread, NULL);
        if (i < running && loaders[i].status != AIC_OK) status = loaders[i].status;
        if (i < running) gather(&loaders[i], out);
        if (i <= running && loaders[i].epoll >= 0 && loaders[i].options != NULL) close(loaders[i].epoll);
        mem_free(options->mem, MEM_OTHER, loaders[i].connections, loaders[i].count * sizeof *loaders[i].connections);
    }
    out->seconds = (double)(clock_mono_ns(clock_system()) - started) * 1e-9;
    mem_free(options->mem, MEM_OTHER, loaders, options->threads * sizeof *loaders);
    return status;
}
