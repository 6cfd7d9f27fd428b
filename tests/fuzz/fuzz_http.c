/*
 * fuzz_http.c - any bytes as an HTTP request. Four things must hold: a head gets the same verdict however it is cut;
 * what is accepted, http_parser accepts too, and both read the same (method, target, fields, length, body); lines that
 * are known are read as the parser reads them; and a connection that is fed these bytes answers with whole HTTP answers
 * or closes, and gives everything back.
 */
#include "../support/http_drive.h"

#include "serve/http/chunk.h"
#include "serve/http/head_memo.h"

#include <http_parser.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct head_limits LIMITS = {HEAD_MAX_BYTES, 16384};

/* ---- the oracle ---- */

struct seen {
    char url[65536];
    char fields[65536]; /* name, colon, value, newline */
    char body[65536];
    size_t url_size, fields_size, body_size;
    bool in_value, headers_done, complete;
};

static struct seen seen;

static int add(char *to, size_t *used, const char *at, size_t size)
{
    if (*used + size + 2 > 65536) return 1;
    memcpy(to + *used, at, size);
    *used += size;
    return 0;
}

static int on_url(http_parser *parser, const char *at, size_t size)
{
    (void)parser;
    return add(seen.url, &seen.url_size, at, size);
}

/* Trailing blanks belong to the value for http_parser, and to nobody for RFC 9110. */
static void end_value(void)
{
    if (!seen.in_value) return;
    while (seen.fields_size > 0 &&
           (seen.fields[seen.fields_size - 1] == ' ' || seen.fields[seen.fields_size - 1] == '\t'))
        seen.fields_size--;
    seen.fields[seen.fields_size++] = '\n';
    seen.in_value = false;
}

static int on_field(http_parser *parser, const char *at, size_t size)
{
    (void)parser;
    if (seen.headers_done) return 0;
    end_value();
    return add(seen.fields, &seen.fields_size, at, size);
}

static int on_value(http_parser *parser, const char *at, size_t size)
{
    (void)parser;
    if (seen.headers_done) return 0;
    if (!seen.in_value) seen.fields[seen.fields_size++] = ':';
    seen.in_value = true;
    return add(seen.fields, &seen.fields_size, at, size);
}

static int on_headers(http_parser *parser)
{
    (void)parser;
    end_value();
    seen.headers_done = true;
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t size)
{
    (void)parser;
    return add(seen.body, &seen.body_size, at, size);
}

static int on_complete(http_parser *parser)
{
    seen.complete = true;
    http_parser_pause(parser, 1);
    return 0;
}

/* ---- the comparison ---- */

static enum head_outcome scan_cut(const char *data, size_t size, size_t cut, size_t *begin, size_t *end, int *status)
{
    struct head_scan scan = {0};
    struct head_refusal why = {0};
    enum head_outcome outcome = cut > 0 ? head_scan(&scan, data, cut, &LIMITS, end, &why) : HEAD_MORE;
    if (outcome == HEAD_MORE) outcome = head_scan(&scan, data, size, &LIMITS, end, &why);
    *begin = scan.begin;
    *status = why.status;
    return outcome;
}

static void compare_fields(const struct head *head, const char *data)
{
    const char *at = seen.fields;
    for (unsigned i = 0; i < head->field_count; i++) {
        aic_view name = head_view(data, head->fields[i].name);
        aic_view value = head_view(data, head->fields[i].value);
        const char *line = memchr(at, '\n', (size_t)(seen.fields + seen.fields_size - at));
        CHECK(line != NULL && (size_t)(line - at) == name.size + 1 + value.size);
        CHECK(memcmp(at, name.data, name.size) == 0 && memcmp(at + name.size + 1, value.data, value.size) == 0);
        at = line + 1;
    }
    CHECK(at == seen.fields + seen.fields_size);
}

/* Decodes our way, one byte at a time where `step` says so: the bytes used, or SIZE_MAX when it is refused or
 * incomplete. */
static size_t decode(const char *data, size_t size, size_t step, char *body, size_t *body_size)
{
    struct chunk chunk = {0};
    struct head_refusal why;
    *body_size = 0;
    for (size_t at = 0; at < size;) {
        size_t have = size - at < step ? size - at : step;
        size_t used = 0;
        aic_view piece = {NULL, 0};
        enum chunk_event event = chunk_read(&chunk, data + at, have, &used, &piece, &why);
        CHECK(used <= have);
        if (event == CHUNK_REFUSED) return SIZE_MAX;
        if (event == CHUNK_DATA) {
            CHECK(piece.size <= used && *body_size + piece.size <= size);
            memcpy(body + *body_size, piece.data, piece.size);
            *body_size += piece.size;
        }
        at += used;
        if (event == CHUNK_END) return at;
    }
    return SIZE_MAX;
}

/* http_parser reads a Content-Length among the trailers as one of the head; RFC 9110, 6.5.1: it has no meaning there,
 * and trailers are skipped here. */
static bool misread_trailer(enum http_errno error)
{
    return error == HPE_UNEXPECTED_CONTENT_LENGTH || error == HPE_INVALID_CONTENT_LENGTH;
}

static void compare_body(const struct head *head, enum http_errno error, const char *data, size_t size, size_t end)
{
    static char body[65536];
    static char again[65536];
    size_t body_size = 0;
    size_t again_size = 0;
    if (!head->chunked) {
        CHECK(seen.complete == (head->content_length <= size - end));
        if (seen.complete) CHECK(seen.body_size == head->content_length);
        return;
    }
    size_t used = decode(data + end, size - end, SIZE_MAX / 2, body, &body_size);
    CHECK(decode(data + end, size - end, 1, again, &again_size) == used);
    CHECK(body_size == again_size && memcmp(body, again, body_size) == 0);
    if (used == SIZE_MAX) return; /* refused or incomplete here; http_parser is the more lenient one */
    if (memchr(data + end, '\t', used) != NULL) return; /* but it knows no tab behind the size of a chunk */
    CHECK(seen.complete || misread_trailer(error));
    CHECK(seen.body_size == body_size && memcmp(seen.body, body, body_size) == 0);
}

/* http_parser 2.9.4 takes any name that begins with Transfer-Encoding for a use of it. */
static bool misread(const struct head *head, const char *data)
{
    for (unsigned i = 0; i < head->field_count; i++) {
        aic_view name = head_view(data, head->fields[i].name);
        if (name.size > 17 && strncasecmp(name.data, "transfer-encoding", 17) == 0) return true;
    }
    return false;
}

static bool is_one_of(const char *list, size_t size, const char *token)
{
    for (size_t at = 0; at < size; at++) {
        size_t end = at;
        while (end < size && list[end] != ',') end++;
        size_t first = at + strspn(list + at, " \t"); /* a line ends behind its value */
        size_t length = strlen(token);
        if (first + length <= end && strncasecmp(list + first, token, length) == 0 &&
            strspn(list + first + length, " \t") >= end - first - length)
            return true;
        at = end;
    }
    return false;
}

/* RFC 9112, 9.3, read plainly: http_parser gives up at the empty elements that RFC 9110, 5.6.1 allows in a list. */
static void compare_keep_alive(const struct head *head, const char *data)
{
    bool close = false, keep_alive = false;
    for (unsigned i = 0; i < head->field_count; i++) {
        aic_view name = head_view(data, head->fields[i].name);
        aic_view value = head_view(data, head->fields[i].value);
        if (name.size != 10 || strncasecmp(name.data, "connection", 10) != 0) continue;
        close = close || is_one_of(value.data, value.size, "close");
        keep_alive = keep_alive || is_one_of(value.data, value.size, "keep-alive");
    }
    CHECK(head->keep_alive == (!close && (keep_alive || !head->http10)));
}

/* What the oracle reads: the same bytes, but for tabs around values, which are spaces. RFC 9110, 5.6.3 allows both;
 * http_parser takes a tab behind a Content-Length for a part of the number. */
static const char *without_tabs(const struct head *head, const char *data, size_t size)
{
    static char copy[60000];
    memcpy(copy, data, size);
    for (unsigned i = 0; i < head->field_count; i++) {
        struct head_span name = head->fields[i].name, value = head->fields[i].value;
        for (size_t at = (size_t)name.at + name.size + 1; at < value.at; at++) copy[at] = ' ';
        for (size_t at = (size_t)value.at + value.size; copy[at] != '\r'; at++) copy[at] = ' ';
    }
    return copy;
}

static void compare(const struct head *head, const char *data, size_t size, size_t begin, size_t end)
{
    static const http_parser_settings settings = {
        .on_url = on_url,
        .on_header_field = on_field,
        .on_header_value = on_value,
        .on_headers_complete = on_headers,
        .on_body = on_body,
        .on_message_complete = on_complete,
    };
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    seen.url_size = seen.fields_size = seen.body_size = 0;
    seen.in_value = seen.headers_done = seen.complete = false;
    http_parser_execute(&parser, &settings, without_tabs(head, data, size) + begin, size - begin);
    enum http_errno error = HTTP_PARSER_ERRNO(&parser);
    /* It knows fewer hosts than RFC 3986 does. */
    bool origin = data[head->target.at] == '/' || head->asterisk;
    if (!origin && (error == HPE_INVALID_URL || error == HPE_INVALID_HOST)) return;
    compare_keep_alive(head, data);
    if (misread(head, data)) return;
    if (!seen.headers_done) abort();
    CHECK(strcmp(http_method_str((enum http_method)parser.method), http_verb_name(head->verb)) == 0);
    aic_view target = head_view(data, head->target);
    CHECK(seen.url_size == target.size && memcmp(seen.url, target.data, target.size) == 0);
    compare_fields(head, data);
    if (parser.upgrade) return; /* it stops behind the head then */
    compare_body(head, error, data, size, end);
}

/* The lines of a head that was accepted are known when it comes again. */
static void check_memo(const struct head *head, const char *data, size_t size, size_t begin, size_t end)
{
    static struct head_memo memo;
    struct head_match match;
    struct head known;
    struct head_refusal why;
    memset(&memo, 0, sizeof memo);
    head_memo_add(&memo, head, data, begin, end);
    if (!head_memo_find(&memo, data + begin, size - begin, &LIMITS, &match)) return;
    CHECK(match.end == end - begin);
    CHECK(head_memo_parse(&match, &known, data + begin, &LIMITS, &why) == HEAD_COMPLETE);
    CHECK(known.keep_alive == head->keep_alive && known.chunked == head->chunked && known.encoded == head->encoded);
    CHECK(known.expect_continue == head->expect_continue && known.content_length == head->content_length);
    CHECK(known.field_count == head->field_count);
    for (unsigned i = 0; i < known.field_count; i++) {
        struct head_field a = known.fields[i], b = head->fields[i];
        CHECK(a.name.at + begin == b.name.at && a.name.size == b.name.size);
        CHECK(a.value.at + begin == b.value.at && a.value.size == b.value.size);
    }
}

static void check_parser(const char *data, size_t size)
{
    size_t begin = 0;
    size_t end = 0;
    int status = 0;
    enum head_outcome whole = scan_cut(data, size, 0, &begin, &end, &status);
    for (size_t cut = 1; cut<size; cut += size> 300 ? 97 : 1) {
        size_t other_begin = 0;
        size_t other_end = 0;
        int other_status = 0;
        CHECK(scan_cut(data, size, cut, &other_begin, &other_end, &other_status) == whole && other_status == status);
        if (whole == HEAD_COMPLETE) CHECK(begin == other_begin && end == other_end);
    }
    struct head head;
    struct head_refusal why;
    if (whole != HEAD_COMPLETE || head_parse(&head, data, begin, end, &LIMITS, &why) != HEAD_COMPLETE) return;
    compare(&head, data, size, begin, end);
    check_memo(&head, data, size, begin, end);
}

/* ---- a connection ---- */

static void on_echo(struct http_exchange *exchange)
{
    size_t count;
    aic_view value;
    if (http_query(exchange, "a", &value) == AIC_INVALID || http_query_count(exchange, &count) != AIC_OK) {
        http_reply_error(exchange, AIC_INVALID, NULL);
        return;
    }
    http_reply_header(exchange, "A", http_header(exchange, "a"));
    http_reply_bytes(exchange, 200, "text/plain", http_body(exchange));
}

static void on_body_piece(struct http_exchange *exchange, enum http_body_event event, aic_view bytes, void *context)
{
    (void)context;
    if (event == HTTP_BODY_DATA) (void)http_stream_write(exchange, bytes);
    else http_stream_close(exchange);
}

static void on_mirror(struct http_exchange *exchange)
{
    http_stream_open(exchange, 200, "text/plain");
    http_body_start(exchange, on_body_piece, NULL);
}

static const struct http_route ROUTES[] = {
    {HTTP_VERB_GET, "/", on_echo},
    {HTTP_VERB_POST, "/", on_echo, HTTP_BODY_BUFFERED},
    {HTTP_VERB_PUT, "/m", on_mirror, HTTP_BODY_STREAMED},
    {HTTP_VERB_GET, "/{a}/{b*}", on_echo},
};

static struct mem mem;
static struct drive drive;

static void check_connection(const char *data, size_t size)
{
    static char out[1 << 20];
    static bool ready;
    bool eof;
    if (!ready) {
        mem_init(&mem, NULL);
        CHECK(drive_init(&drive, &mem, ROUTES, COUNT_OF(ROUTES), NULL) == AIC_OK);
        ready = true;
    }
    int client = drive_connect(&drive);
    CHECK(client >= 0);
    size_t half = size > 0 ? (size_t)(unsigned char)data[0] % size : 0;
    drive_send(&drive, client, data, half);
    drive_send(&drive, client, data + half, size - half);
    shutdown(client, SHUT_WR);
    drive_turn(&drive);
    size_t got = drive_receive(&drive, client, out, sizeof out, &eof);
    CHECK(got == 0 || (got > 12 && memcmp(out, "HTTP/1.1 ", 9) == 0));
    close(client);
    for (int i = 0; drive.thread->live > 0; i++) {
        CHECK(i < 100);
        drive_turn(&drive);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 60000) return 0;
    check_parser((const char *)data, size);
    check_connection((const char *)data, size);
    return 0;
}
