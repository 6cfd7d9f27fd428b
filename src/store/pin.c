/*
 * pin.c - reading what is pinned. Nothing here takes a lock: key, size, expiry and bytes of a pinned entry do not
 * change.
 */
#include "store/value.h"

#include "base/check.h"

#include <string.h>

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

size_t pin_pieces(const struct pin *pin, size_t offset, size_t size, struct iovec *out, size_t max, size_t *covered)
{
    size_t total = entry_size(pin->entry), count = 0;
    *covered = 0;
    if (offset >= total) return 0;
    if (size > total - offset) size = total - offset;
    struct run run = run_first(pin->entry);
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
        if (size == 0) break;
        CHECK(run.next != 0); /* the pieces hold as much as the entry says */
        run = run_next(pin->shard->store, run.next);
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
