/*
 * fill.c - puts made-up answers into a server: aicached over HTTP, Redis over RESP, memcached over its text protocol.
 *
 * usage: fill PORT http|resp|memcached COUNT
 *
 * Every server gets the same answers (see answers.h), each as one JSON string; Redis and memcached under keys of 64 hex
 * digits, which is what aicached makes of a request by itself. Requests are pipelined 32 at a time. Prints one line of
 * JSON. Exit status 1 when an answer says anything but "stored".
 */
#include "answers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 32
#define OUT_BYTES ((size_t)BATCH * (2 * ANSWERS_MAX_BYTES + 2048))

enum protocol { HTTP, RESP, MEMCACHED };

struct fill {
    enum protocol protocol;
    int fd;
    char *out;
    size_t size;
    uint64_t value_bytes;
    char value[2 * ANSWERS_MAX_BYTES + 2];
    char in[65536];
    size_t in_size;
};

static struct answers answers;

static void die(const char *what)
{
    fprintf(stderr, "fill: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void append(struct fill *fill, const char *bytes, size_t size)
{
    memcpy(fill->out + fill->size, bytes, size);
    fill->size += size;
}

static void append_key(uint64_t index, char key[65])
{
    uint64_t state = index;
    for (size_t word = 0; word < 4; word++) {
        state = (state ^ (state >> 31)) * 0x9e3779b97f4a7c15u + word + 1;
        snprintf(key + word * 16, 17, "%016llx", (unsigned long long)(state ^ (state >> 29)));
    }
}

static void append_http(struct fill *fill, uint64_t index, size_t value_size)
{
    char question[300], escaped[640], head[256], body[1024];
    answers_question(&answers, index, question, sizeof question);
    escaped[answers_json_string(question, strlen(question), escaped)] = '\0';
    int body_size = snprintf(body, sizeof body, "{\"operation\":\"qa\",\"ttl\":0,\"text\":%s,\"response\":", escaped);
    int head_size = snprintf(head, sizeof head,
                             "PUT /cache/entries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                             "Content-Length: %zu\r\n\r\n",
                             (size_t)body_size + value_size + 1);
    append(fill, head, (size_t)head_size);
    append(fill, body, (size_t)body_size);
    append(fill, fill->value, value_size);
    append(fill, "}", 1);
}

static void append_request(struct fill *fill, uint64_t index)
{
    static char text[ANSWERS_MAX_BYTES];
    char key[65], head[256];
    size_t size = answers_size(index);
    answers_write(&answers, index, size, text);
    size_t value_size = answers_json_string(text, size, fill->value);
    fill->value_bytes += value_size;
    if (fill->protocol == HTTP) {
        append_http(fill, index, value_size);
        return;
    }
    append_key(index, key);
    int head_size = fill->protocol == RESP
                        ? snprintf(head, sizeof head, "*3\r\n$3\r\nSET\r\n$64\r\n%s\r\n$%zu\r\n", key, value_size)
                        : snprintf(head, sizeof head, "set %s 0 0 %zu\r\n", key, value_size);
    append(fill, head, (size_t)head_size);
    append(fill, fill->value, value_size);
    append(fill, "\r\n", 2);
}

/* The size of the answer at the front of the input, 0 when it is not whole yet. */
static size_t whole_answer(const struct fill *fill)
{
    const char *end = memmem(fill->in, fill->in_size, "\r\n", 2);
    if (end == NULL) return 0;
    size_t line = (size_t)(end - fill->in) + 2;
    const char *expected = fill->protocol == HTTP ? "HTTP/1.1 201" : fill->protocol == RESP ? "+OK" : "STORED";
    if (strncmp(fill->in, expected, strlen(expected)) != 0) {
        fprintf(stderr, "fill: the answer is %.*s\n", (int)(fill->in_size < 600 ? fill->in_size : 600), fill->in);
        exit(1);
    }
    if (fill->protocol != HTTP) return line;
    end = memmem(fill->in, fill->in_size, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    const char *length = strcasestr(fill->in, "\r\ncontent-length:");
    if (length == NULL || length > end) return 0;
    size_t whole = (size_t)(end - fill->in) + 4 + (size_t)strtoul(length + 17, NULL, 10);
    return fill->in_size >= whole ? whole : 0;
}

static void read_answers(struct fill *fill, size_t count)
{
    while (count > 0) {
        ssize_t got = recv(fill->fd, fill->in + fill->in_size, sizeof fill->in - 1 - fill->in_size, 0);
        if (got == 0) errno = ECONNRESET;
        if (got <= 0) die("recv");
        fill->in_size += (size_t)got;
        fill->in[fill->in_size] = '\0';
        for (size_t size; count > 0 && (size = whole_answer(fill)) > 0; count--) {
            memmove(fill->in, fill->in + size, fill->in_size + 1 - size);
            fill->in_size -= size;
        }
    }
}

static void send_batch(struct fill *fill)
{
    for (size_t done = 0; done < fill->size;) {
        ssize_t wrote = send(fill->fd, fill->out + done, fill->size - done, MSG_NOSIGNAL);
        if (wrote <= 0) die("send");
        done += (size_t)wrote;
    }
    fill->size = 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: fill PORT http|resp|memcached COUNT\n");
        return 2;
    }
    static struct fill fill;
    fill.protocol = strcmp(argv[2], "http") == 0 ? HTTP : strcmp(argv[2], "resp") == 0 ? RESP : MEMCACHED;
    uint64_t total = strtoull(argv[3], NULL, 10);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fill.fd = socket(AF_INET, SOCK_STREAM, 0);
    fill.out = malloc(OUT_BYTES);
    if (fill.out == NULL || connect(fill.fd, (struct sockaddr *)&address, sizeof address) != 0) die("connect");
    answers_init(&answers);
    for (uint64_t index = 0; index < total;) {
        size_t batch = 0;
        for (; batch < BATCH && index < total; batch++) append_request(&fill, index++);
        send_batch(&fill);
        read_answers(&fill, batch);
    }
    printf("{\"entries\":%llu,\"value_bytes\":%llu}\n", (unsigned long long)total,
           (unsigned long long)fill.value_bytes);
    close(fill.fd);
    free(fill.out);
    return 0;
}
