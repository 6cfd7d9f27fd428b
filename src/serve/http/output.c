#include "serve/http/output.h"

#include "base/check.h"

#include <string.h>

void output_init(struct output *output, struct mem *mem, struct mem *large)
{
    memset(output, 0, offsetof(struct output, few));
    output->mem = mem;
    output->large = large;
    buf_init(&output->copied, mem, MEM_CONNECTIONS);
    output->segments = output->few;
    output->capacity = OUTPUT_INLINE_SEGMENTS;
}

static void segment_give(const struct output_segment *segment)
{
    if (segment->release != NULL) segment->release(segment->context);
    if (segment->owned != NULL) mem_free(segment->mem, segment->owner, segment->owned, segment->owned_bytes);
}

/* An empty queue starts over; what one large answer needed is not kept. */
static void start_over(struct output *output)
{
    output->first = output->count = 0;
    output->sent = 0;
    if (output->copied.capacity > OUTPUT_KEEP_BYTES && !output->keeps) {
        buf_fini(&output->copied);
        buf_init(&output->copied, output->mem, MEM_CONNECTIONS);
    } else {
        buf_clear(&output->copied);
    }
}

void output_keep(struct output *output, bool keeps)
{
    output->keeps = keeps;
    if (output->pending == 0) start_over(output);
}

void output_drop(struct output *output)
{
    for (unsigned i = output->first; i < output->count; i++) segment_give(&output->segments[i]);
    output->pending = 0;
    start_over(output);
}

void output_fini(struct output *output)
{
    output_drop(output);
    if (output->segments != output->few)
        mem_free(output->mem, MEM_CONNECTIONS, output->segments, output->capacity * sizeof *output->segments);
    buf_fini(&output->copied);
    output_init(output, output->mem, output->large);
}

static aic_status grow(struct output *output)
{
    struct mem *mem = output->mem;
    unsigned capacity = output->capacity * 2;
    struct output_segment *grown = mem_alloc(mem, MEM_CONNECTIONS, capacity * sizeof *grown);
    if (grown == NULL) return AIC_NO_MEMORY;
    memcpy(grown, output->segments, output->count * sizeof *grown);
    if (output->segments != output->few)
        mem_free(mem, MEM_CONNECTIONS, output->segments, output->capacity * sizeof *output->segments);
    output->segments = grown;
    output->capacity = capacity;
    return AIC_OK;
}

static aic_status segment_add(struct output *output, struct output_segment segment)
{
    CHECK(segment.size > 0); /* whoever sends relies on it */
    if (output->count == output->capacity) TRY(grow(output));
    output->segments[output->count++] = segment;
    output->pending += segment.size;
    return AIC_OK;
}

/* Moves what is copied and not yet sent to the front. */
static void compact(struct output *output)
{
    struct buf *copied = &output->copied;
    size_t gone = copied->size;
    for (unsigned i = output->first; i < output->count && gone == copied->size; i++) {
        const struct output_segment *segment = &output->segments[i];
        if (segment->data == NULL) gone = segment->offset + (i == output->first ? output->sent : 0);
    }
    CHECK(gone <= copied->size);
    if (gone == 0) return;
    memmove(copied->data, copied->data + gone, copied->size - gone);
    copied->size -= gone;
    for (unsigned i = output->first; i < output->count; i++) {
        struct output_segment *segment = &output->segments[i];
        if (segment->data != NULL) continue;
        size_t sent = i == output->first ? output->sent : 0; /* it begins with what is left of it */
        segment->offset = segment->offset + sent - gone;
        segment->size -= sent;
        if (sent > 0) output->sent = 0;
    }
}

/* A block of its own for what is copied: of OUTPUT_KEEP_BYTES at most, or counted. */
static char *copied_grow(struct output *output, size_t bytes)
{
    struct buf *copied = &output->copied, grown;
    if (copied->size > OUTPUT_KEEP_BYTES) compact(output);
    if (copied->capacity - copied->size >= bytes) return copied->data + copied->size;
    size_t wanted = copied->size + bytes, roomy = copied->size + copied->size / 2 + bytes;
    if (wanted <= OUTPUT_KEEP_BYTES && roomy > OUTPUT_KEEP_BYTES) roomy = OUTPUT_KEEP_BYTES;
    buf_init(&grown, roomy > OUTPUT_KEEP_BYTES ? output->large : output->mem, MEM_CONNECTIONS);
    char *room = buf_reserve(&grown, roomy);
    if (room == NULL) return NULL;
    if (copied->size > 0) memcpy(room, copied->data, copied->size);
    buf_commit(&grown, copied->size);
    buf_fini(copied);
    *copied = grown;
    return copied->data + copied->size;
}

void output_seal(struct output *output)
{
    struct buf *copied = &output->copied;
    struct output_segment *last = NULL;
    CHECK(!output->keeps);
    for (unsigned i = output->first; i < output->count; i++) {
        struct output_segment *segment = &output->segments[i];
        if (segment->data != NULL) continue;
        segment->data = copied->data + segment->offset;
        last = segment;
    }
    if (last == NULL) {
        buf_fini(copied);
    } else { /* they leave in order: with the last of them the block is free */
        last->owned = copied->data;
        last->owned_bytes = copied->capacity;
        last->mem = copied->mem;
        last->owner = copied->owner;
    }
    buf_init(copied, output->mem, MEM_CONNECTIONS);
}

char *output_reserve(struct output *output, size_t bytes)
{
    struct buf *copied = &output->copied;
    return copied->capacity - copied->size >= bytes ? copied->data + copied->size : copied_grow(output, bytes);
}

aic_status output_commit(struct output *output, size_t bytes)
{
    if (bytes == 0) return AIC_OK;
    size_t offset = output->copied.size;
    struct output_segment *last = output->count > output->first ? &output->segments[output->count - 1] : NULL;
    if (last != NULL && last->data == NULL && last->offset + last->size == offset) {
        last->size += bytes;
        output->pending += bytes;
    } else {
        TRY(segment_add(output, (struct output_segment){.offset = offset, .size = bytes}));
    }
    buf_commit(&output->copied, bytes);
    return AIC_OK;
}

aic_status output_copy(struct output *output, aic_view bytes)
{
    if (bytes.size == 0) return AIC_OK;
    char *room = output_reserve(output, bytes.size);
    if (room == NULL) return AIC_NO_MEMORY;
    memcpy(room, bytes.data, bytes.size);
    return output_commit(output, bytes.size);
}

/* Empty pieces are left out, so that every queued segment has a byte to send; the release then hangs on the last one
 * that has. */
aic_status output_borrow(struct output *output, const aic_view *pieces, size_t count, http_release_fn *release,
                         void *context)
{
    unsigned before = output->count;
    size_t pending = output->pending;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size == 0) continue;
        if (segment_add(output, (struct output_segment){.data = pieces[i].data, .size = pieces[i].size}) == AIC_OK)
            continue;
        output->count = before;
        output->pending = pending;
        if (release != NULL) release(context);
        return AIC_NO_MEMORY;
    }
    if (output->count > before) {
        output->segments[output->count - 1].release = release;
        output->segments[output->count - 1].context = context;
    } else if (release != NULL) {
        release(context);
    }
    return AIC_OK;
}

aic_status output_own(struct output *output, struct buf *body)
{
    struct output_segment segment = {
        .data = body->data,
        .size = body->size,
        .owned = body->data,
        .owned_bytes = body->capacity,
        .mem = body->mem,
        .owner = body->owner,
    };
    aic_status status = body->size > 0 ? segment_add(output, segment) : AIC_OK;
    if (status != AIC_OK || body->size == 0) buf_fini(body);
    else buf_init(body, body->mem, body->owner);
    return status;
}

unsigned output_pieces(const struct output *output, struct iovec *out, unsigned max)
{
    unsigned count = 0;
    size_t skip = output->sent;
    for (unsigned i = output->first; i < output->count && count < max; i++) {
        const struct output_segment *segment = &output->segments[i];
        const char *data = segment->data != NULL ? segment->data : output->copied.data + segment->offset;
        out[count].iov_base = (void *)(uintptr_t)(data + skip); /* iovec has no const; it is only sent from */
        out[count].iov_len = segment->size - skip;
        skip = 0;
        count++;
    }
    return count;
}

void output_consume(struct output *output, size_t bytes)
{
    CHECK(bytes <= output->pending);
    output->pending -= bytes;
    output->sent += bytes;
    while (output->first < output->count && output->sent >= output->segments[output->first].size) {
        struct output_segment *segment = &output->segments[output->first++];
        output->sent -= segment->size;
        segment_give(segment);
    }
    if (output->pending == 0) start_over(output);
}

void output_verify(const struct output *output)
{
    size_t total = 0;
    for (unsigned i = output->first; i < output->count; i++) {
        const struct output_segment *segment = &output->segments[i];
        CHECK(segment->size > 0);
        CHECK(segment->data != NULL || segment->offset + segment->size <= output->copied.size);
        total += segment->size;
    }
    CHECK(output->first == output->count ? output->sent == 0 : output->sent < output->segments[output->first].size);
    CHECK(output->pending + output->sent == total);
    CHECK(output->count <= output->capacity);
}
