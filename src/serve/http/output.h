/*
 * output.h - the outgoing queue of a connection: copied bytes in one buffer, borrowed and owned pieces beside them, in
 * order.
 *
 * The idea: heads and small bodies are appended to one buffer that is kept from answer to answer; pieces that must not
 * be copied stand between as segments and are given back the moment their last byte has left. One writev sends many
 * answers. The buffer starts over when the queue runs empty, and segments into it are offsets, because it may move
 * while it grows. What the buffer needs beyond what is kept lies in memory that is counted (limits.answers_bytes) and
 * may be refused. One thread.
 */
#ifndef SERVE_OUTPUT_H
#define SERVE_OUTPUT_H

#include "serve/http/http.h"

#include <sys/uio.h>

#define OUTPUT_INLINE_SEGMENTS 6
#define OUTPUT_KEEP_BYTES 4096 /* capacity that an empty queue keeps */

struct output_segment {
    const char *data; /* NULL: at `offset` of the copied bytes */
    size_t offset;
    size_t size;
    http_release_fn *release; /* may be NULL */
    void *context;
    void *owned; /* a block taken over from a buf, and how it is given back; may be NULL */
    size_t owned_bytes;
    struct mem *mem;
    enum mem_owner owner;
};

struct output {
    struct mem *mem, *large; /* for what is kept; for copied bytes beyond that */
    struct buf copied;
    struct output_segment *segments; /* `few`, or a block of its own */
    bool keeps;                      /* an empty queue keeps all its room */
    unsigned first, count, capacity; /* segments[first .. count) are queued */
    size_t sent;                     /* of segments[first] */
    size_t pending;                  /* bytes queued and not sent */
    struct output_segment few[OUTPUT_INLINE_SEGMENTS];
};

/* Both are borrowed and outlive it. */
void output_init(struct output *output, struct mem *mem, struct mem *large);
/* Gives everything back, unsent or not. */
void output_fini(struct output *output);
/* Gives what is queued back unsent; keeps a small capacity. */
void output_drop(struct output *output);

/* From now on the queue keeps, or does not keep, the room that it has when it runs empty. */
void output_keep(struct output *output, bool keeps);
/* Room for `bytes` copied bytes, or NULL (then nothing has changed); follow with output_commit() of what was used. */
char *output_reserve(struct output *output, size_t bytes);
/* What is copied stays where it is, and the next copies go to a block of their own: what is asked for is then only as
 * large as they are, however much is queued. Not of a queue that keeps its room. */
void output_seal(struct output *output);
AIC_MUST_CHECK aic_status output_commit(struct output *output, size_t bytes);
AIC_MUST_CHECK aic_status output_copy(struct output *output, aic_view bytes);
/* Queues borrowed pieces; `release` runs once, also when this fails (at once then). */
AIC_MUST_CHECK aic_status output_borrow(struct output *output, const aic_view *pieces, size_t count,
                                        http_release_fn *release, void *context);
/* Takes the buffer's bytes over and leaves it empty, also when this fails. */
AIC_MUST_CHECK aic_status output_own(struct output *output, struct buf *body);

/* The first pieces of what is queued; how many. */
unsigned output_pieces(const struct output *output, struct iovec *out, unsigned max);
/* `bytes` of it have left. */
void output_consume(struct output *output, size_t bytes);

/* CHECKs that the parts add up. */
void output_verify(const struct output *output);

#endif
