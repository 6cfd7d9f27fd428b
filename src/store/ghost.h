/*
 * ghost.h - fingerprints of what was evicted not long ago: 2 bytes each, in lines of 16.
 *
 * For S3-FIFO, which admits to the main queue what comes back soon, and for the question "how many misses would a
 * larger cache have hit?", under every policy. A fingerprint lives as long as 0.9 times the bytes that are in the cache
 * have been evicted after it (the size of the main queue, as in the paper), measured in eighths ("epochs"). A line that
 * is full replaces its oldest. One foreign key in 130 is taken for a known one, which costs nothing but an early place
 * in the main queue.
 *
 *   slot:  fingerprint 11 | evicted from the main queue 1 | epoch 4 (1..15; 0: empty)
 *
 * Lines are added and removed with the number of entries, by linear hashing as in the table; a new line is a copy of
 * the one it is split from. Bytes pass through ghost_fit() alone. The shard's lock protects it.
 */
#ifndef STORE_GHOST_H
#define STORE_GHOST_H

#include "store/hash.h"
#include "store/region.h"

#include <stdatomic.h>

enum { GHOST_SLOTS = 16, GHOST_LINE_BYTES = 32 };

enum ghost_kind { GHOST_NONE = 0, GHOST_EVICTED_EARLY, GHOST_EVICTED_MAIN };

struct ghost {
    struct region lines;
    _Atomic uint32_t count; /* lines in use; relaxed, as table.count */
    uint32_t swept;         /* the next line to rid of what is too old */
    uint32_t epoch;         /* 1..15 */
    uint64_t epoch_fill;    /* bytes evicted in this epoch */
};

static inline uint32_t ghost_count(const struct ghost *ghost)
{
    return atomic_load_explicit(&ghost->count, memory_order_relaxed);
}

/* Brings the line of a hash closer, as table_prefetch(). */
static inline void ghost_prefetch(const struct ghost *ghost, uint64_t hash)
{
    uint32_t count = ghost_count(ghost);
    if (count > 0) __builtin_prefetch(ghost->lines.base + (size_t)linear_bucket(hash, count) * GHOST_LINE_BYTES);
}

void ghost_init(struct ghost *ghost, struct mem *mem, char *lines, size_t lines_bytes);
/* Notes an eviction from a cache that holds `held` bytes; `weight` bytes of it count for the age of the others. */
void ghost_add(struct ghost *ghost, uint64_t hash, bool from_main, uint64_t weight, uint64_t held);
enum ghost_kind ghost_find(const struct ghost *ghost, uint64_t hash);
void ghost_remove(struct ghost *ghost, uint64_t hash);
/* Grows by at most one line, or shrinks, towards what `keys` entries deserve, paid from or given to the credit. */
void ghost_fit(struct ghost *ghost, uint64_t keys, uint64_t *credit);
/* Bytes of credit that ghost_fit() can use for one more key. */
uint64_t ghost_wants(const struct ghost *ghost, uint64_t keys);
uint64_t ghost_bytes(const struct ghost *ghost);
const char *ghost_verify(const struct ghost *ghost);

#endif
