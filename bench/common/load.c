/*
 * load.c - sends one request over and over on many connections and measures: throughput, latency, answers that are not
 * as expected.
 *
 * usage: load PORT http|resp REQUEST_FILE CONNECTIONS REQUESTS
 *
 * One client for every protocol, so that a comparison of servers compares servers. Each connection has one request in
 * flight; the latency runs from its write to the last byte of its answer. Prints one line of JSON. One thread, epoll,
 * loopback. Exit status 1 when an answer is an error or far from the others in size.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES (1u << 20)

/* Log-linear: 32 steps per doubling, from 0.1 µs; 3 % exact. */
#define STEPS 32
#define DOUBLINGS 32

struct connection {
    int fd;
    uint64_t sent_ns;
    size_t got;      /* bytes of the answer so far */
    size_t expected; /* of the whole answer; 0: not known yet */
    char *answer;
};

struct load {
    bool resp;
    char *request;
    size_t request_size;
    uint64_t total, started, done;
    size_t answer_size; /* of the first answer without its head */
    uint64_t histogram[STEPS * DOUBLINGS];
    int epoll;
};

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void record(struct load *load, uint64_t ns)
{
    uint64_t units = ns / 100 + STEPS;
    unsigned doubling = 63u - (unsigned)__builtin_clzll(units) - 5u;
    size_t index = (size_t)doubling * STEPS + (size_t)((units >> doubling) - STEPS);
    size_t last = sizeof load->histogram / sizeof load->histogram[0] - 1;
    load->histogram[index < last ? index : last]++;
}

static double percentile_us(const struct load *load, double part)
{
    uint64_t wanted = (uint64_t)((double)load->done * part), seen = 0;
    for (size_t i = 0; i < sizeof load->histogram / sizeof load->histogram[0]; i++) {
        seen += load->histogram[i];
        if (seen > wanted) return (double)(((i % STEPS + STEPS) << (i / STEPS)) - STEPS) / 10.0;
    }
    return 0;
}

/* The size of the whole answer once its head is there, 0 before; *body gets the size without the head. */
static size_t http_expected(const char *answer, size_t got, size_t *body)
{
    const char *end = memmem(answer, got, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    if (memcmp(answer, "HTTP/1.1 200", 12) != 0) {
        fprintf(stderr, "load: the answer is %.*s\n", (int)(got < 300 ? got : 300), answer);
        exit(1);
    }
    for (const char *line = answer; line < end;) {
        if (strncasecmp(line, "content-length:", 15) == 0) {
            *body = (size_t)strtoul(line + 15, NULL, 10);
            return (size_t)(end - answer) + 4 + *body;
        }
        line = (const char *)memchr(line, '\n', (size_t)(end + 2 - line)) + 1;
    }
    fprintf(stderr, "load: an answer without Content-Length\n");
    exit(1);
}

static size_t resp_expected(const char *answer, size_t got, size_t *body)
{
    const char *end = memchr(answer, '\n', got);
    if (end == NULL) return 0;
    if (answer[0] != '$' || answer[1] == '-') {
        fprintf(stderr, "load: the answer is %.*s\n", (int)(end - answer), answer);
        exit(1);
    }
    *body = (size_t)strtoul(answer + 1, NULL, 10);
    return (size_t)(end + 1 - answer) + *body + 2;
}

static void send_request(struct load *load, struct connection *connection)
{
    if (load->started == load->total) return;
    load->started++;
    connection->got = connection->expected = 0;
    connection->sent_ns = now_ns();
    ssize_t wrote = send(connection->fd, load->request, load->request_size, MSG_NOSIGNAL);
    if (wrote != (ssize_t)load->request_size) die("send");
}

static void receive(struct load *load, struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->answer + connection->got, ANSWER_BYTES - connection->got, 0);
    if (got == 0) errno = ECONNRESET;
    if (got <= 0) die("recv");
    connection->got += (size_t)got;
    size_t body = 0;
    if (connection->expected == 0) {
        connection->expected = load->resp ? resp_expected(connection->answer, connection->got, &body)
                                          : http_expected(connection->answer, connection->got, &body);
        if (connection->expected == 0) return;
        if (load->answer_size == 0) load->answer_size = body;
        /* An age of ten seconds is a byte longer than one of nine. */
        size_t difference = body > load->answer_size ? body - load->answer_size : load->answer_size - body;
        if (difference > 16 || connection->expected > ANSWER_BYTES) {
            fprintf(stderr, "load: an answer of %zu bytes after one of %zu\n", body, load->answer_size);
            exit(1);
        }
    }
    if (connection->got < connection->expected) return;
    record(load, now_ns() - connection->sent_ns);
    load->done++;
    send_request(load, connection);
}

static void connect_to(struct load *load, struct connection *connection, uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connection->fd = socket(AF_INET, SOCK_STREAM, 0);
    connection->answer = malloc(ANSWER_BYTES);
    int yes = 1;
    if (connection->fd < 0 || connection->answer == NULL) die("socket");
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->fd, &event) != 0) die("epoll_ctl");
}

static void read_request(struct load *load, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) die(path);
    load->request = malloc(ANSWER_BYTES);
    if (load->request == NULL) die("malloc");
    load->request_size = fread(load->request, 1, ANSWER_BYTES, file);
    fclose(file);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: load PORT http|resp REQUEST_FILE CONNECTIONS REQUESTS\n");
        return 2;
    }
    static struct load load;
    load.resp = strcmp(argv[2], "resp") == 0;
    load.total = strtoull(argv[5], NULL, 10);
    load.epoll = epoll_create1(0);
    read_request(&load, argv[3]);
    size_t count = (size_t)strtoul(argv[4], NULL, 10);
    struct connection *connections = calloc(count, sizeof *connections);
    if (connections == NULL || load.epoll < 0) die("start");
    for (size_t i = 0; i < count; i++) connect_to(&load, &connections[i], (uint16_t)atoi(argv[1]));
    uint64_t start = now_ns();
    for (size_t i = 0; i < count; i++) send_request(&load, &connections[i]);
    while (load.done < load.total) {
        struct epoll_event events[64];
        int ready = epoll_wait(load.epoll, events, 64, 10000);
        if (ready == 0) errno = ETIMEDOUT;
        if (ready <= 0) die("epoll_wait");
        for (int i = 0; i < ready; i++) receive(&load, events[i].data.ptr);
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    printf("{\"requests\":%llu,\"seconds\":%.4f,\"per_second\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
           "\"answer_bytes\":%zu}\n",
           (unsigned long long)load.done, seconds, (double)load.done / seconds, percentile_us(&load, 0.5),
           percentile_us(&load, 0.99), percentile_us(&load, 0.999), load.answer_size);
    for (size_t i = 0; i < count; i++) {
        close(connections[i].fd);
        free(connections[i].answer);
    }
    free(connections);
    free(load.request);
    return 0;
}
