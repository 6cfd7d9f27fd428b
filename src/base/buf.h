/*
 * buf.h - a growing byte buffer whose first failed allocation sticks.
 *
 * The idea: appends return nothing; a buffer that ran out of memory ignores what follows, and buf_status() tells once,
 * at the end. Writing JSON or HTTP headers needs one check, not fifty. One thread at a time.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/mem.h"

struct buf {
    struct mem *mem;
    enum mem_owner owner;
    bool failed;
    char *data; /* owned; not NUL-terminated */
    size_t size;
    size_t capacity;
};

/* Empty; allocates nothing. */
void buf_init(struct buf *buf, struct mem *mem, enum mem_owner owner);
/* Releases the bytes; the buffer is empty and usable again. */
void buf_fini(struct buf *buf);
/* Forgets the contents and a failure, keeps the capacity. */
void buf_clear(struct buf *buf);

/* Makes room for `bytes` more and returns where they go, or NULL (and the failure sticks). Follow with buf_commit(). */
char *buf_reserve(struct buf *buf, size_t bytes);
void buf_commit(struct buf *buf, size_t bytes);

void buf_append(struct buf *buf, const void *bytes, size_t size);
void buf_append_view(struct buf *buf, aic_view text);
void buf_append_text(struct buf *buf, const char *text);
void buf_append_byte(struct buf *buf, char byte);
void buf_append_u64(struct buf *buf, uint64_t number); /* decimal */
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *buf, const char *format, ...);

/* AIC_OK, or AIC_NO_MEMORY when any append failed. */
AIC_MUST_CHECK aic_status buf_status(const struct buf *buf);
aic_view buf_view(const struct buf *buf);

#endif
