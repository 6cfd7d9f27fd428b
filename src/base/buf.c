#include "base/buf.h"

#include "base/check.h"
#include "base/decimal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void buf_init(struct buf *buf, struct mem *mem, enum mem_owner owner)
{
    *buf = (struct buf){.mem = mem, .owner = owner};
}

void buf_fini(struct buf *buf)
{
    CHECK(buf->size <= buf->capacity);
    mem_free(buf->mem, buf->owner, buf->data, buf->capacity);
    buf_init(buf, buf->mem, buf->owner);
}

void buf_clear(struct buf *buf)
{
    buf->size = 0;
    buf->failed = false;
}

char *buf_reserve(struct buf *buf, size_t bytes)
{
    if (buf->failed) return NULL;
    if (buf->capacity - buf->size >= bytes && buf->data != NULL) return buf->data + buf->size;
    size_t capacity = buf->capacity < 64 ? 64 : buf->capacity + buf->capacity / 2;
    if (bytes > SIZE_MAX - buf->size) capacity = 0; /* mem_alloc refuses 0 */
    else if (capacity < buf->size + bytes) capacity = buf->size + bytes;
    char *grown = mem_alloc(buf->mem, buf->owner, capacity);
    if (grown == NULL) {
        buf->failed = true;
        return NULL;
    }
    if (buf->size > 0) memcpy(grown, buf->data, buf->size);
    mem_free(buf->mem, buf->owner, buf->data, buf->capacity);
    buf->data = grown;
    buf->capacity = capacity;
    return buf->data + buf->size;
}

void buf_commit(struct buf *buf, size_t bytes)
{
    CHECK(buf->capacity - buf->size >= bytes);
    buf->size += bytes;
}

void buf_append(struct buf *buf, const void *bytes, size_t size)
{
    if (size == 0) return;
    char *room = buf_reserve(buf, size);
    if (room == NULL) return;
    memcpy(room, bytes, size);
    buf->size += size;
}

void buf_append_view(struct buf *buf, aic_view text)
{
    buf_append(buf, text.data, text.size);
}

void buf_append_text(struct buf *buf, const char *text)
{
    buf_append(buf, text, strlen(text));
}

void buf_append_byte(struct buf *buf, char byte)
{
    buf_append(buf, &byte, 1);
}

void buf_append_u64(struct buf *buf, uint64_t number)
{
    char room[DECIMAL_BYTES];
    buf_append_view(buf, decimal(number, room));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *room = length >= 0 ? buf_reserve(buf, (size_t)length + 1) : NULL;
    if (room != NULL) {
        vsnprintf(room, (size_t)length + 1, format, again);
        buf->size += (size_t)length;
    }
    va_end(again);
}

aic_status buf_status(const struct buf *buf)
{
    return buf->failed ? AIC_NO_MEMORY : AIC_OK;
}

aic_view buf_view(const struct buf *buf)
{
    return (aic_view){buf->data, buf->size};
}
