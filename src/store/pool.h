/*
 * pool.h - memory for entries: one reserved range of addresses, of which arenas of 2 MiB are mapped as they are needed
 * and returned when empty.
 *
 * The problem: values of 0.5 to 50 KB come and go in any order for months. Size classes waste 10 % and let one class
 * starve another; a general allocator keeps what it once had. Here any run of 64-byte granules can become any entry: it
 * is taken in one piece from a hole that is long enough, and in several pieces when there is none, so memory that is
 * free is always usable and an entry wastes 32 bytes on average. The number of arenas is bounded: the limit in bytes,
 * plus 4.5 % and two arenas for what lies in holes. Freed runs merge; arenas that become empty go back to the kernel at
 * once, but for as many as lie in holes at the limit anyway.
 *
 * Arenas are aligned and advised as huge pages: random reads over gigabytes of 4 KiB pages miss the TLB on every
 * access.
 *
 * Threads: any. `lock` protects everything here; it is taken below a shard's lock, and nothing is taken below it.
 * Mapping and returning are system calls and happen with no lock held, which is why pool_take() does not do them: it
 * says POOL_GROW.
 */
#ifndef STORE_POOL_H
#define STORE_POOL_H

#include "base/mem.h"
#include "store/holes.h"
#include "store/lock.h"

enum arena_state { ARENA_ABSENT = 0, ARENA_MOVING /* being mapped or returned */, ARENA_MAPPED, ARENA_DRAINING };

struct arena {
    uint32_t taken; /* granules */
    uint8_t state;
};

struct pool {
    struct mem *mem;
    char *mapping; /* the reservation as it came from the kernel */
    size_t mapping_bytes;
    char *base; /* handle 0; aligned to an arena; the first arena is never mapped, so that no entry has handle 0 */
    uint64_t *edges;
    struct arena *arenas;
    uint32_t arena_count;        /* reserved, the first one included */
    _Atomic uint32_t whole;      /* copy of holes.whole for pool_wants_trim(); relaxed: a hint */
    _Atomic uint32_t kept_whole; /* more empty arenas than these are returned; relaxed: as above */
    char apart[64]; /* what follows is written by every put, what precedes is read by everybody: not in one line */
    struct lock lock;
    uint32_t search; /* no arena below is absent */
    uint32_t mapped, limit;
    uint64_t taken;               /* granules */
    uint64_t takes, gives, grows; /* entries that got memory and gave it back, arenas mapped: since the start */
    uint32_t most_mapped;         /* at once */
    struct holes holes;
};

/* How many bytes of addresses pool_init() reserves for `reserve_bytes` of entries. */
uint64_t pool_address_bytes(uint64_t reserve_bytes);
/* Reserves addresses for `reserve_bytes` of entries. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status pool_init(struct pool *pool, struct mem *mem, uint64_t reserve_bytes);
/* Everything must have been given back. */
void pool_fini(struct pool *pool);
/* How many arenas may be mapped for a budget of `max_bytes`. */
void pool_set_limit(struct pool *pool, uint64_t max_bytes);

enum pool_result {
    POOL_TAKEN,
    POOL_GROW,  /* call pool_grow(), then try again */
    POOL_TIGHT, /* it would lie in pieces, which needs more than max_granules */
    POOL_FULL   /* free memory is too scattered: something must go */
};
/*
 * Memory for a header and `size` value bytes, using at most max_granules. On POOL_TAKEN the entry's size_bits and, in
 * pieces, the piece links are written; nothing else of it is. *granules is what it occupies.
 */
AIC_MUST_CHECK enum pool_result pool_take(struct pool *pool, uint32_t size, uint64_t max_granules, handle *out,
                                          uint64_t *granules);
/* The same after giving back the memory of entries that are gone, for one lock instead of several. */
AIC_MUST_CHECK enum pool_result pool_exchange(struct pool *pool, const handle *gone, unsigned gone_count, uint32_t size,
                                              uint64_t max_granules, handle *out, uint64_t *granules);
/* Gives the memory of entries back. */
void pool_give_all(struct pool *pool, const handle *gone, unsigned gone_count);
/* Gives an entry's memory back; returns the granules. */
uint64_t pool_give(struct pool *pool, handle at);
/* Granules that an entry occupies. */
uint64_t pool_granules(const struct pool *pool, const struct entry *entry, handle at);

/* Maps one more arena. AIC_OK (also when another thread did it), AIC_FULL at the limit, AIC_NO_MEMORY. No lock may be
 * held. */
AIC_MUST_CHECK aic_status pool_grow(struct pool *pool);
/* Returns empty arenas to the kernel. No lock may be held. */
bool pool_wants_trim(const struct pool *pool);
void pool_trim(struct pool *pool);

/*
 * Compaction: marks the emptier arenas as draining, nothing is taken from them until they are empty, as long as what
 * they hold fits elsewhere. Returns how many there are. pool_is_draining() tells whether an entry should move.
 */
uint32_t pool_drain(struct pool *pool);
bool pool_is_draining(struct pool *pool, handle at);
/* Ends it: what could not be emptied is used again. */
void pool_undrain(struct pool *pool);

uint64_t pool_resident_bytes(struct pool *pool);
/* Bytes that lie idle in arenas that hold something: what compaction could return. */
uint64_t pool_idle_bytes(struct pool *pool);
/* Recounts holes and arenas; NULL, or what is wrong. */
const char *pool_verify(struct pool *pool);

/* Brings closer what giving this run back will look at. */
static inline void pool_prefetch(const struct pool *pool, handle at, uint32_t granules)
{
    __builtin_prefetch(&pool->edges[at / 64], 1);
    __builtin_prefetch(pool->base + (size_t)(at + granules) * GRANULE_BYTES, 1);
    __builtin_prefetch(pool->base + (size_t)(at - 1) * GRANULE_BYTES, 1);
}

static inline struct entry *pool_entry(const struct pool *pool, handle at)
{
    return entry_at(pool->base, at);
}

static inline handle pool_handle(const struct pool *pool, const struct entry *entry)
{
    return (handle)((size_t)((const char *)entry - pool->base) / GRANULE_BYTES);
}

#endif
