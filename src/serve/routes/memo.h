/*
 * memo.h - a front thread's memory of request bodies: the same bytes again need neither parsing nor hashing for their
 * key.
 *
 * The idea: applications ask the same question in the same words, so the body of a repeated lookup is byte for byte
 * what it was. A direct-mapped table of MEMO_SLOTS keeps the last bodies with the key that they led to. The hash (XXH3
 * with a secret seed) only finds the slot; body, namespace and rights of the caller are then compared in full, so a
 * collision can cost a miss, never a wrong key. What a memo holds is a pure function of the request and the cache's
 * secret: it cannot become stale.
 *
 * Bounded: bodies up to max_body bytes (cache.keep_request_bytes), at most 4.5 MB a thread. One thread.
 */
#ifndef SERVE_MEMO_H
#define SERVE_MEMO_H

#include "base/mem.h"
#include "observe/labels.h"

#define MEMO_SLOTS 1024
#define MEMO_MAX_BODY 4096

/* What a body led to. */
struct memo_entry {
    uint64_t hash;
    size_t bytes; /* of this block */
    aic_key key;
    uint64_t text_length;
    struct labels_place place; /* where its lookups are counted */
    bool admin;
    uint16_t caller_size, ns_size; /* of the caller's own namespace, and of the one that was asked */
    uint32_t body_size;
    char text[]; /* caller's namespace, asked namespace, body */
};

struct memo {
    struct mem *mem;
    uint64_t seed;
    size_t max_body;
    struct memo_entry *slots[MEMO_SLOTS]; /* owned */
};

/* max_body: bytes, up to MEMO_MAX_BODY; 0: nothing is ever remembered. */
void memo_init(struct memo *memo, struct mem *mem, uint64_t seed, size_t max_body);
void memo_fini(struct memo *memo);

/* The hash of a request, for the two functions below. */
uint64_t memo_hash(const struct memo *memo, aic_view caller, aic_view body);
/* What was remembered, or NULL. Valid until the next memo_add(). */
const struct memo_entry *memo_find(const struct memo *memo, uint64_t hash, aic_view caller, bool admin, aic_view body);
/* Remembers, in place of what the slot held. Without memory, or for a long body, nothing happens. */
void memo_add(struct memo *memo, const struct memo_entry *what, aic_view caller, aic_view ns, aic_view body);

static inline aic_view memo_ns(const struct memo_entry *entry)
{
    return (aic_view){entry->text + entry->caller_size, entry->ns_size};
}

#endif
