/*
 * bare.c - the least that a libuv + http_parser server can do: parse the request, answer with the same bytes
 * every time.
 *
 * The yardstick of bench/http: whatever aicached costs above it is what keys, tiers, counters and limits cost. Reads
 * with one shared buffer, writes with uv_try_write and no copy, keep-alive only.
 *
 * usage: bare PORT FILE - FILE is the whole answer, head and body.
 */
#include <http_parser.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static char buffer[65536];
static char bytes_to_send[1 << 20];
static uv_buf_t answer;
static http_parser_settings settings;

struct connection {
    uv_tcp_t socket;
    http_parser parser;
    unsigned complete; /* requests that wait for their answer */
};

static int on_complete(http_parser *parser)
{
    struct connection *connection = parser->data;
    connection->complete++;
    return 0;
}

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_written(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

/* What the socket did not take at once is queued; the bytes live as long as the program. */
static void write_rest(struct connection *connection, size_t done)
{
    uv_buf_t rest = uv_buf_init(answer.base + done, (unsigned)(answer.len - done));
    uv_write_t *request = malloc(sizeof *request);
    if (request == NULL || uv_write(request, (uv_stream_t *)&connection->socket, &rest, 1, on_written) != 0) abort();
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *out)
{
    (void)handle;
    (void)size;
    *out = uv_buf_init(buffer, sizeof buffer);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *bytes)
{
    struct connection *connection = stream->data;
    if (got == 0) return;
    if (got < 0 || http_parser_execute(&connection->parser, &settings, bytes->base, (size_t)got) != (size_t)got) {
        uv_close((uv_handle_t *)stream, on_closed);
        return;
    }
    for (; connection->complete > 0; connection->complete--) {
        int wrote = uv_try_write(stream, &answer, 1);
        size_t done = wrote > 0 ? (size_t)wrote : 0;
        if (done < answer.len) write_rest(connection, done);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct connection *connection = status == 0 ? calloc(1, sizeof *connection) : NULL;
    if (connection == NULL) return;
    uv_tcp_init(listener->loop, &connection->socket);
    connection->socket.data = connection;
    http_parser_init(&connection->parser, HTTP_REQUEST);
    connection->parser.data = connection;
    if (uv_accept(listener, (uv_stream_t *)&connection->socket) != 0) abort();
    uv_tcp_nodelay(&connection->socket, 1);
    uv_read_start((uv_stream_t *)&connection->socket, on_alloc, on_read);
}

static void read_answer(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    size_t size = fread(bytes_to_send, 1, sizeof bytes_to_send, file);
    fclose(file);
    answer = uv_buf_init(bytes_to_send, (unsigned)size);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: bare PORT FILE\n");
        return 2;
    }
    read_answer(argv[2]);
    http_parser_settings_init(&settings);
    settings.on_message_complete = on_complete;
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    if (uv_ip4_addr("127.0.0.1", atoi(argv[1]), &address) != 0 || uv_tcp_init(loop, &listener) != 0 ||
        uv_tcp_bind(&listener, (const struct sockaddr *)&address, 0) != 0 ||
        uv_listen((uv_stream_t *)&listener, 1024, on_connection) != 0) {
        fprintf(stderr, "bare: cannot listen on port %s\n", argv[1]);
        return 1;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
