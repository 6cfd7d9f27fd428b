/*
 * http_drive.h - drives the connection layer from one thread: no front thread runs, the test turns the loop by hand.
 *
 *   struct drive drive;
 *   drive_init(&drive, mem, routes, count, &limits); // a server that accepts nothing
 *   int client = drive_connect(&drive);              // a socket whose other end is a connection
 *   drive_send(&drive, client, bytes, size); drive_receive(&drive, client, out, room, &eof);
 *   drive_fini(&drive);                              // after closing the clients
 */
#ifndef TESTS_HTTP_DRIVE_H
#define TESTS_HTTP_DRIVE_H

#include "base/check.h"
#include "serve/http/connection.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct drive {
    struct http_server *server;
    struct http_thread *thread;
};

static inline aic_status drive_init(struct drive *drive, struct mem *mem, const struct http_route *routes, size_t count,
                                    const struct http_limits *limits)
{
    static const char *const listen[] = {"127.0.0.1:0"};
    struct http_options options = {
        .mem = mem, .listen = listen, .listen_count = 1, .threads = 1, .routes = routes, .route_count = count};
    if (limits != NULL) options.limits = *limits;
    signal(SIGPIPE, SIG_IGN);
    TRY(http_server_create(&options, &drive->server, NULL));
    drive->thread = &drive->server->threads[0];
    return AIC_OK;
}

static inline void drive_turn(struct drive *drive)
{
    for (int i = 0; i < 6; i++) {
        uv_run(&drive->thread->loop.uv, UV_RUN_NOWAIT);
        thread_verify(drive->thread);
    }
}

/* The client's socket, or -1 when there was no memory for the connection. */
static inline int drive_connect(struct drive *drive)
{
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    atomic_fetch_add(&drive->server->open, 1);
    if (conn_open(drive->thread, pair[0], true, false) == AIC_OK) return pair[1];
    atomic_fetch_sub(&drive->server->open, 1);
    close(pair[0]);
    close(pair[1]);
    return -1;
}

static inline void drive_send(struct drive *drive, int client, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(client, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) break; /* the server has closed */
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else {
            break; /* the server takes no more, because its answers are not read */
        }
        drive_turn(drive);
    }
    drive_turn(drive);
}

static inline void drive_text(struct drive *drive, int client, const char *text)
{
    drive_send(drive, client, text, strlen(text));
}

/* What has come back, up to `room`. */
static inline size_t drive_receive(struct drive *drive, int client, char *out, size_t room, bool *eof)
{
    size_t size = 0;
    *eof = false;
    for (int turns = 0; turns < 3 && size < room;) {
        ssize_t got = recv(client, out + size, room - size, 0);
        if (got > 0) {
            size += (size_t)got;
            turns = 0;
        } else if (got < 0 && errno == EAGAIN) {
            turns++;
        } else {
            *eof = true;
            break;
        }
        drive_turn(drive);
    }
    return size;
}

static inline void drive_fini(struct drive *drive)
{
    for (int i = 0; drive->thread->live > 0; i++) {
        CHECK(i < 10000);
        uint32_t lingering = drive->thread->conn_count;
        drive_turn(drive);
        if (i > 100 && lingering > 0) conn_close(drive->thread->conns[0]);
    }
    http_server_destroy(&drive->server);
}

#endif
