/*
 * listener.h - a scripted HTTP server within a test, on a free port of 127.0.0.1.
 *
 * The n-th request gets the n-th line of the script, further ones the last: a whole answer, which ends its connection;
 * LISTENER_CLOSE ends it without one; LISTENER_HANG leaves it open without one until the listener is closed. An empty
 * script takes connections into its backlog and never looks at them.
 */
#ifndef TESTS_LISTENER_H
#define TESTS_LISTENER_H

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENER_CLOSE ""
#define LISTENER_HANG "hang"
#define LISTENER_ANSWER(status, fields, body) "HTTP/1.1 " status " x\r\n" fields "Connection: close\r\n\r\n" body
#define LISTENER_KEPT 64

struct listener {
    int fd;
    const char *const *script; /* ended by NULL */
    char url[64];
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what follows */
    char heads[LISTENER_KEPT][512], bodies[LISTENER_KEPT][256];
    unsigned count;
    int hanging[LISTENER_KEPT];
    unsigned hanging_count;
};

static inline unsigned listener_count(struct listener *listener)
{
    pthread_mutex_lock(&listener->mutex);
    unsigned count = listener->count;
    pthread_mutex_unlock(&listener->mutex);
    return count;
}

static inline bool listener_serve_one(struct listener *listener)
{
    char text[8192] = "";
    int fd = accept(listener->fd, NULL, NULL);
    if (fd < 0) return false;
    size_t got = 0;
    const char *body = NULL;
    for (ssize_t more; (more = recv(fd, text + got, sizeof text - 1 - got, 0)) > 0;) {
        got += (size_t)more;
        text[got] = '\0';
        body = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "content-length: ");
        if (body != NULL && got >= (size_t)(body + 4 - text) + (length != NULL ? strtoul(length + 16, NULL, 10) : 0))
            break;
    }
    if (body == NULL) {
        close(fd);
        return true;
    }
    pthread_mutex_lock(&listener->mutex);
    snprintf(listener->heads[listener->count % LISTENER_KEPT], sizeof *listener->heads, "%.*s",
             (int)(body - text < 511 ? body - text : 511), text);
    snprintf(listener->bodies[listener->count % LISTENER_KEPT], sizeof *listener->bodies, "%.255s", body + 4);
    const char *line = listener->script[0];
    for (unsigned i = 0; i < listener->count && listener->script[i + 1] != NULL; i++) line = listener->script[i + 1];
    listener->count++;
    bool hang = strcmp(line, LISTENER_HANG) == 0 && listener->hanging_count < LISTENER_KEPT;
    if (hang) listener->hanging[listener->hanging_count++] = fd;
    pthread_mutex_unlock(&listener->mutex);
    if (hang) return true;
    for (size_t at = 0, size = strlen(line); at < size;) {
        ssize_t put = send(fd, line + at, size - at, MSG_NOSIGNAL);
        if (put <= 0) break;
        at += (size_t)put;
    }
    close(fd);
    return true;
}

static inline void *listener_serve(void *context)
{
    while (listener_serve_one(context)) continue;
    return NULL;
}

static inline void listener_open(struct listener *listener, const char *const *script)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    memset(listener, 0, sizeof *listener);
    pthread_mutex_init(&listener->mutex, NULL);
    listener->script = script;
    listener->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener->fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(listener->fd, 16), 0);
    assert_int_equal(getsockname(listener->fd, (struct sockaddr *)&address, &size), 0);
    snprintf(listener->url, sizeof listener->url, "http://127.0.0.1:%u/hook", ntohs(address.sin_port));
    if (script[0] != NULL) assert_int_equal(pthread_create(&listener->thread, NULL, listener_serve, listener), 0);
}

static inline void listener_close(struct listener *listener)
{
    shutdown(listener->fd, SHUT_RDWR);
    if (listener->script[0] != NULL) pthread_join(listener->thread, NULL);
    close(listener->fd);
    while (listener->hanging_count > 0) close(listener->hanging[--listener->hanging_count]);
    pthread_mutex_destroy(&listener->mutex);
}

#endif
