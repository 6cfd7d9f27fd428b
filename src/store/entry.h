/*
 * entry.h - the header in front of every stored value: 64 bytes, the 32 bytes of the key included.
 *
 * Memory is handed out in granules of 64 bytes from one reserved range of addresses, so a 32-bit granule number (a
 * "handle") names any entry within 256 GiB and a link costs 4 bytes, not 8. Handle 0 is nobody.
 *
 *   0        32     36     40            48            56            64
 *   | key    | refs | size | queue links | wheel links | life        | value ...                    (one piece)
 *   | key    | refs | size | queue links | wheel links | life        | link | value ... (further pieces: | link | value
 * ...)
 *
 * A value that found no hole of its size lies in several pieces; each then carries a `struct piece` link of 8 bytes.
 *
 * Who may touch what: key, size and the expiry never change after the entry became visible. `refs` is changed by
 * anybody. All else changes under the lock of the entry's shard. `life` is one atomic word because a pin reads the
 * expiry from it without the lock.
 */
#ifndef STORE_ENTRY_H
#define STORE_ENTRY_H

#include <aicache/aicache.h>

#include <assert.h>
#include <stdatomic.h>

typedef uint32_t handle;

enum { GRANULE_BYTES = 64 };

#define ENTRY_MAX_VALUE ((1u << 31) - 1)     /* bytes; the top bit of `size` says "in pieces" */
#define ENTRY_MAX_EXPIRES ((1ull << 42) - 1) /* the year 2109; what would expire later expires then */

struct entry {
    aic_key key;
    /* One for the index while it is there, one per pin. Pins are taken under the shard lock (relaxed); a release is
     * acq_rel, so that the last holder sees all uses done before it frees. */
    _Atomic uint32_t refs;
    uint32_t size_bits; /* value bytes | ENTRY_IN_PIECES */
    handle queue_prev, queue_next;
    handle wheel_prev, wheel_next;
    /* See below; relaxed: written under the shard lock, read there or, the expiry alone, by pins. */
    _Atomic uint64_t life;
};
static_assert(sizeof(struct entry) == 64, "the entry header is one granule");

#define ENTRY_IN_PIECES (1u << 31)

/* In front of the bytes of each piece of a value in pieces. */
struct piece {
    handle next;       /* 0: the last one */
    uint32_t granules; /* of this piece, its headers included */
};
static_assert(sizeof(struct piece) == 8, "a piece costs 8 bytes");

/*
 * life:  expires_ms 42 | used_at 17 | freq 2 | queue 2 | hit 1
 * used_at counts steps of 4 s and wraps after 6 days: it only feeds the age of the last victim.
 */
enum {
    LIFE_USED_SHIFT = 42,
    LIFE_FREQ_SHIFT = 59,
    LIFE_QUEUE_SHIFT = 61,
    LIFE_HIT_SHIFT = 63,
    LIFE_USED_STEP_MS = 4000,
    LIFE_USED_MASK = (1 << 17) - 1
};
static_assert(ENTRY_MAX_EXPIRES + 1 == 1ull << LIFE_USED_SHIFT, "the expiry ends where the time of use begins");
static_assert(LIFE_USED_MASK + 1 == 1 << (LIFE_FREQ_SHIFT - LIFE_USED_SHIFT), "the time of use ends at the frequency");

static inline uint64_t entry_life(const struct entry *entry)
{
    return atomic_load_explicit(&entry->life, memory_order_relaxed);
}

static inline void entry_set_life(struct entry *entry, uint64_t life)
{
    atomic_store_explicit(&entry->life, life, memory_order_relaxed);
}

static inline uint64_t entry_expires_ms(const struct entry *entry)
{
    return entry_life(entry) & ENTRY_MAX_EXPIRES;
}

static inline bool entry_is_expired(const struct entry *entry, uint64_t now_ms)
{
    uint64_t expires_ms = entry_expires_ms(entry);
    return expires_ms != 0 && now_ms >= expires_ms;
}

static inline unsigned entry_freq(const struct entry *entry)
{
    return (unsigned)(entry_life(entry) >> LIFE_FREQ_SHIFT) & 3;
}

static inline void entry_set_freq(struct entry *entry, unsigned freq)
{
    entry_set_life(entry, (entry_life(entry) & ~(3ull << LIFE_FREQ_SHIFT)) | (uint64_t)freq << LIFE_FREQ_SHIFT);
}

/* The queue of the policy that the entry is in; 0 is none. */
static inline unsigned entry_queue(const struct entry *entry)
{
    return (unsigned)(entry_life(entry) >> LIFE_QUEUE_SHIFT) & 3;
}

static inline void entry_set_queue(struct entry *entry, unsigned queue)
{
    entry_set_life(entry, (entry_life(entry) & ~(3ull << LIFE_QUEUE_SHIFT)) | (uint64_t)queue << LIFE_QUEUE_SHIFT);
}

/* Was it ever served? */
static inline bool entry_is_hit(const struct entry *entry)
{
    return entry_life(entry) >> LIFE_HIT_SHIFT != 0;
}

static inline uint64_t life_used_bits(uint64_t now_ms)
{
    return (now_ms / LIFE_USED_STEP_MS & LIFE_USED_MASK) << LIFE_USED_SHIFT;
}

/* Notes a use. */
static inline void entry_mark_used(struct entry *entry, uint64_t now_ms)
{
    uint64_t life = entry_life(entry) & ~((uint64_t)LIFE_USED_MASK << LIFE_USED_SHIFT);
    entry_set_life(entry, life | life_used_bits(now_ms) | 1ull << LIFE_HIT_SHIFT);
}

/* Time since the last use (or the put), in steps of 4 s. */
static inline uint64_t entry_idle_ms(const struct entry *entry, uint64_t now_ms)
{
    uint64_t steps = (now_ms / LIFE_USED_STEP_MS - (entry_life(entry) >> LIFE_USED_SHIFT)) & LIFE_USED_MASK;
    return steps * LIFE_USED_STEP_MS;
}

static inline uint32_t entry_size(const struct entry *entry)
{
    return entry->size_bits & ~ENTRY_IN_PIECES;
}

static inline bool entry_in_pieces(const struct entry *entry)
{
    return (entry->size_bits & ENTRY_IN_PIECES) != 0;
}

/* Does anybody but the index hold it? Exact only while it cannot be pinned, that is under the shard lock. */
static inline bool entry_is_pinned(const struct entry *entry)
{
    return atomic_load_explicit(&entry->refs, memory_order_acquire) > 1;
}

/* Granules of header and value in one piece. */
static inline uint32_t entry_granules_for(uint64_t size)
{
    return (uint32_t)((sizeof(struct entry) + size + GRANULE_BYTES - 1) / GRANULE_BYTES);
}

/* What an entry weighs for the policies: as if in one piece, so that no chain need be walked. */
static inline uint64_t entry_weight(const struct entry *entry)
{
    return (uint64_t)entry_granules_for(entry_size(entry)) * GRANULE_BYTES;
}

static inline struct entry *entry_at(char *base, handle at)
{
    return (struct entry *)(void *)(base + (size_t)at * GRANULE_BYTES);
}

#endif
