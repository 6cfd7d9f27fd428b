/*
 * head.h - the head of an HTTP/1 request: request line and fields, read by the letter of RFC 9110 and 9112.
 *
 * The idea: the head is held contiguously until it is complete; head_scan() finds its end line by line and refuses what
 * no later byte can mend (a bare LF, a limit), head_parse() then reads it in one pass into offsets, without a copy.
 * What the scan refuses depends on nothing but the bytes up to that point, so a request is answered alike whether it
 * arrives whole or byte by byte.
 *
 * Why not http_parser: docs/decisions/008-http-layer.md. Pure functions, any thread.
 */
#ifndef SERVE_HEAD_H
#define SERVE_HEAD_H

#include "serve/http/http.h"

#define HEAD_MAX_FIELDS 100
#define HEAD_MAX_BYTES 65000 /* offsets have 16 bits */

/* Offsets from the head's first byte. */
struct head_span {
    uint16_t at;
    uint16_t size;
};

struct head_field {
    struct head_span name;
    struct head_span value;
};

struct head {
    enum http_verb verb;
    bool keep_alive;      /* what version and Connection ask for */
    bool http10;          /* version 1.0 */
    bool chunked;         /* the body comes in chunks */
    bool expect_continue; /* the client waits for 100 */
    bool encoded;         /* a Content-Encoding other than identity */
    bool asterisk;        /* the target is `*` */
    bool authority;       /* the target is `host:port` (CONNECT) */
    bool has_query;
    bool absolute;           /* the target names a host, which stands for that of Host */
    bool target_named;       /* that host is a name: no address, and not localhost */
    bool host_named;         /* that of Host is */
    uint64_t content_length; /* 0 when chunked, or when there is no body */
    struct head_span target;
    struct head_span path; /* empty for `*`, for an authority, and for an absolute target without a path */
    struct head_span query;
    uint16_t field_count;
    struct head_field fields[HEAD_MAX_FIELDS];
};

enum head_outcome { HEAD_MORE, HEAD_COMPLETE, HEAD_REFUSED };

/* A refusal: HTTP status, code (static) and sentence of the error shape. The sentence is a copy, because it names the
 * limit in force, and the option that sets it, where there is one. */
struct head_refusal {
    int status;
    const char *code;
    char message[160];
};

/* Fills *why, message by printf; HEAD_REFUSED, so that it is the whole refusal. */
enum head_outcome head_refuse(struct head_refusal *why, int status, const char *code, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

struct head_limits {
    size_t header_bytes; /* at most HEAD_MAX_BYTES */
    size_t target_bytes;
};

/* Where the scan stands; zero it for each request. */
struct head_scan {
    uint32_t line;    /* offset of the current line */
    uint32_t checked; /* bytes already looked at */
    uint32_t begin;   /* offset of the request line (after one CRLF) */
};

/*
 * Looks for the end of the head in data[0..size), going on from where *scan stands. HEAD_COMPLETE: *end is the offset
 * after the empty line. HEAD_REFUSED: *why says it.
 */
enum head_outcome head_scan(struct head_scan *scan, const char *data, size_t size, const struct head_limits *limits,
                            size_t *end, struct head_refusal *why);

/* Reads a complete head, data[begin..end) as found by the scan. HEAD_COMPLETE or HEAD_REFUSED. */
enum head_outcome head_parse(struct head *head, const char *data, size_t begin, size_t end,
                             const struct head_limits *limits, struct head_refusal *why);

/* Reads the request line alone, data[0..size) with its CRLF, as if no field followed; for whoever knows the fields. */
enum head_outcome head_parse_line(struct head *head, const char *data, size_t size, const struct head_limits *limits,
                                  struct head_refusal *why);

/* The view of a span, where `base` is the head's first byte. */
static inline aic_view head_view(const char *base, struct head_span span)
{
    return (aic_view){base + span.at, span.size};
}

/* The host of `host:port`: no port, no brackets, no dot at its end. */
aic_view head_host(aic_view authority);

/* Takes the next element of a list, without surrounding blanks, from the front of *rest; false at its end. */
bool head_list_next(aic_view *rest, char separator, aic_view *element);

/* The first field of this name, in any case, or NULL. */
const struct head_field *head_find(const struct head *head, const char *base, const char *name, size_t name_size);

/* Are these the bytes of a token; of a field value? */
bool head_is_token(aic_view text);
bool head_is_value(aic_view text);
/* `%XX` and, for queries, `+` decoded into out (which has room for text.size): the size, or SIZE_MAX for a bad escape.
 */
size_t head_decode(aic_view text, bool plus, char *out);

#endif
