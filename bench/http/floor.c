/*
 * floor.c - the least that any server on this kernel can do: epoll, one read and one send for each request, nothing
 * else.
 *
 * The floor under bench/http: it does not even look at what it reads, and takes each read for a request, which is true
 * for a client that has one small request in flight on each connection. Like Redis (and aicached) it reads all sockets
 * that are ready before it answers the first. No server that answers in user space, with one read and one send for each
 * request, costs less than this; what the others cost above it is their own work.
 *
 * usage: floor PORT FILE - FILE is the whole answer.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static char answer[1 << 20];
static size_t answer_size;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1024) != 0)
        die("floor: listen");
    return fd;
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("floor: epoll_ctl");
}

static void take(int epoll, int listener)
{
    int yes = 1, fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    watch(epoll, fd);
}

static void read_answer(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) die(path);
    answer_size = fread(answer, 1, sizeof answer, file);
    fclose(file);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: floor PORT FILE\n");
        return 2;
    }
    read_answer(argv[2]);
    int listener = listen_on((uint16_t)atoi(argv[1])), epoll = epoll_create1(0);
    if (epoll < 0) die("floor: epoll");
    watch(epoll, listener);
    for (;;) {
        static char request[16384];
        struct epoll_event events[1024];
        int asked[1024], count = 0, ready = epoll_wait(epoll, events, 1024, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) take(epoll, listener);
            else if (recv(fd, request, sizeof request, 0) > 0) asked[count++] = fd;
            else close(fd);
        }
        /* An answer of a few kilobytes fits into the socket of a client that has read the one before. */
        for (int i = 0; i < count; i++)
            if (send(asked[i], answer, answer_size, MSG_NOSIGNAL) != (ssize_t)answer_size) close(asked[i]);
    }
}
