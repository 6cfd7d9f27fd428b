/*
 * head_memo.h - field lines that a front thread has read before: the same lines again need no second judgement.
 *
 * The idea: a client sends the same fields with every request of a kind; only the request line differs, and the number
 * in Content-Length. What the fields come to (where they begin and end, keep-alive, framing) is a pure function of
 * their bytes, so a head whose lines equal known ones is as good as parsed: one comparison instead of a walk. The
 * comparison is of all bytes, so nothing can be taken for something else, and what is remembered cannot become stale.
 *
 * The lines are kept without the digits of Content-Length, which are read each time. Only what was accepted, of an
 * HTTP/1.1 request, is kept; whatever is unusual (HTTP/1.0, an empty line in front, a limit) goes the long way.
 * Lines may hold credentials: the comparison takes the same time wherever two lines differ.
 *
 * Which to give up: the next one in turn that was of no use since its last turn. 6 KB for each thread; one thread.
 */
#ifndef SERVE_HEAD_MEMO_H
#define SERVE_HEAD_MEMO_H

#include "serve/http/head.h"

#define HEAD_MEMO_PLACES 4   /* kinds of clients that are known at a time */
#define HEAD_MEMO_BYTES 1024 /* of lines; more is not kept */
#define HEAD_MEMO_FIELDS 32  /* SDKs send about 15 */
#define HEAD_MEMO_DIGITS 18  /* of a Content-Length, which then cannot overflow */

/* Known lines, up to the empty one. Offsets count from the first of them, as if Content-Length had no digits. */
struct head_lines {
    uint16_t size; /* 0: a free place */
    uint16_t cut;  /* where the digits belong; == size: there is no Content-Length */
    bool used;     /* since its last turn */
    bool keep_alive, chunked, expect_continue, encoded, host_named;
    uint16_t field_count;
    uint16_t length_field; /* which is Content-Length */
    struct head_field fields[HEAD_MEMO_FIELDS];
    char bytes[HEAD_MEMO_BYTES];
};

struct head_memo {
    unsigned last; /* found last: tried first */
    unsigned turn;
    struct head_lines places[HEAD_MEMO_PLACES];
};

/* A head whose lines are known. */
struct head_match {
    const struct head_lines *lines; /* NULL: they are not; valid until the next head_memo_add() */
    size_t line;                    /* the size of the request line */
    size_t end;                     /* of the head */
    size_t digits;                  /* of Content-Length */
    uint64_t length;
};

/* Looks for a whole head at the beginning of data[0..size). False: head_scan() is to look. A zeroed memo is empty. */
bool head_memo_find(struct head_memo *memo, const char *data, size_t size, const struct head_limits *limits,
                    struct head_match *out);
/* head_parse() for a match: HEAD_COMPLETE, or HEAD_REFUSED for its request line. */
enum head_outcome head_memo_parse(const struct head_match *match, struct head *head, const char *data,
                                  const struct head_limits *limits, struct head_refusal *why);
/* Remembers the lines of a head that head_parse() has accepted, data[begin..end), if they are of use again. */
void head_memo_add(struct head_memo *memo, const struct head *head, const char *data, size_t begin, size_t end);

#endif
