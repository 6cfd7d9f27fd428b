/*
 * pin.c - reading what is pinned. Nothing here takes a lock: key, size, expiry and bytes of a pinned entry do not
 * change.
 */
#include "store/shard.h"

#include "base/check.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

const aic_key *pin_key(const struct pin *pin)
{
    return &pin->entry->key;
}

uint64_t pin_expires_ms(const struct pin *pin)
{
    return entry_expires_ms(pin->entry);
}

size_t pin_size(const struct pin *pin)
{
    return entry_size(pin->entry);
}

/* One run of value bytes, and the piece that follows. */
struct run {
    char *data;
    size_t size;
    handle next; /* 0: the last one */
};

static struct run first_run(const struct entry *entry)
{
    char *behind = (char *)entry + sizeof *entry;
    if (!entry_in_pieces(entry)) return (struct run){behind, entry_size(entry), 0};
    const struct piece *piece = (const struct piece *)(const void *)behind;
    size_t size = (size_t)piece->granules * GRANULE_BYTES - sizeof *entry - sizeof *piece;
    return (struct run){behind + sizeof *piece, size, piece->next};
}

static struct run next_run(const struct store *store, handle at)
{
    char *start = (char *)pool_entry(&store->pool, at);
    const struct piece *piece = (const struct piece *)(const void *)start;
    size_t size = (size_t)piece->granules * GRANULE_BYTES - sizeof *piece;
    return (struct run){start + sizeof *piece, size, piece->next};
}

size_t pin_pieces(const struct pin *pin, size_t offset, size_t size, struct iovec *out, size_t max, size_t *covered)
{
    size_t total = entry_size(pin->entry), count = 0;
    *covered = 0;
    if (offset >= total) return 0;
    if (size > total - offset) size = total - offset;
    struct run run = first_run(pin->entry);
    while (size > 0) {
        if (offset < run.size) {
            if (count == max) break;
            size_t part = run.size - offset < size ? run.size - offset : size;
            out[count++] = (struct iovec){.iov_base = run.data + offset, .iov_len = part};
            *covered += part;
            size -= part;
            offset = 0;
        } else {
            offset -= run.size;
        }
        if (size == 0 || run.next == 0) break;
        run = next_run(pin->store, run.next);
    }
    return count;
}

void pin_copy(const struct pin *pin, size_t offset, void *out, size_t size)
{
    CHECK(offset <= entry_size(pin->entry) && size <= entry_size(pin->entry) - offset);
    char *to = out;
    while (size > 0) {
        struct iovec pieces[16];
        size_t covered;
        size_t count = pin_pieces(pin, offset, size, pieces, COUNT_OF(pieces), &covered);
        for (size_t i = 0; i < count; i++) {
            memcpy(to, pieces[i].iov_base, pieces[i].iov_len);
            to += pieces[i].iov_len;
        }
        offset += covered;
        size -= covered;
    }
}

/*
 * Copies into memory that is cold and will be read later, if ever. Long runs go around the CPU's caches where that is
 * possible: the lines need not be fetched before they are overwritten, and nothing else is pushed out (measured, 5 KB:
 * 320 ns instead of 550).
 */
static void copy_cold(char *to, const char *from, size_t size)
{
#ifdef __SSE2__
    enum { LONG = 2048, LINE = 64 };
    if (size >= LONG) {
        size_t skew = (size_t)(-(uintptr_t)to) % LINE;
        memcpy(to, from, skew);
        to += skew, from += skew, size -= skew;
        for (; size >= LINE; to += LINE, from += LINE, size -= LINE) {
            const __m128i *source = (const __m128i *)(const void *)from;
            __m128i *target = (__m128i *)(void *)to;
            __m128i a = _mm_loadu_si128(source), b = _mm_loadu_si128(source + 1);
            __m128i c = _mm_loadu_si128(source + 2), d = _mm_loadu_si128(source + 3);
            _mm_stream_si128(target, a);
            _mm_stream_si128(target + 1, b);
            _mm_stream_si128(target + 2, c);
            _mm_stream_si128(target + 3, d);
        }
        /* Such stores are not ordered by the lock that publishes the entry; this fence orders them before it. */
        _mm_sfence();
    }
#endif
    memcpy(to, from, size);
}

struct value_cursor value_begin(struct entry *entry)
{
    struct run run = first_run(entry);
    return (struct value_cursor){.data = run.data, .left = run.size, .next = run.next};
}

void value_write(struct store *store, struct value_cursor *to, const struct iovec *parts, size_t part_count)
{
    for (size_t i = 0; i < part_count; i++) {
        const char *from = parts[i].iov_base;
        for (size_t left = parts[i].iov_len; left > 0;) {
            if (to->left == 0) {
                struct run run = next_run(store, to->next);
                *to = (struct value_cursor){.data = run.data, .left = run.size, .next = run.next};
            }
            size_t part = to->left < left ? to->left : left;
            copy_cold(to->data, from, part);
            to->data += part;
            to->left -= part;
            from += part;
            left -= part;
        }
    }
}
