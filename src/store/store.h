/*
 * store.h - the memory tier: bytes by 32-byte key, sharded, never larger than its budget.
 *
 * A put takes its bytes from the budget before it allocates and evicts first, so the limit is never exceeded, not by
 * one entry. A get returns a pin: the entry's bytes stay as they are until the release, even when it is evicted,
 * replaced or expired meanwhile (its bytes stay in the budget until then). No lock is held over a copy, a callback or a
 * system call.
 *
 * Knows nothing of JSON, AI or the network: a value is opaque bytes.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/figures.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <sys/uio.h>

struct store;
struct shard;
struct entry;

struct store_options {
    struct mem *mem;         /* outlives the store */
    const aic_clock *clock;  /* outlives the store; wall time decides expiry */
    uint64_t max_bytes;      /* everything: keys, headers, values, rounding, index; 0 keeps nothing */
    uint64_t max_entries;    /* 0: no limit */
    uint64_t max_item_bytes; /* of one value; larger ones give AIC_NOT_STORED */
    aic_policy policy;
    /* A power of two <= 256; 0: next one >= 8 x cores, within 64..256, but no more than one per 256 KiB (at least 8).
     */
    unsigned shards;
};

/* The largest max_bytes: handles name 256 GiB, and some of it is what the pool maps beyond the budget. */
#define STORE_MAX_BYTES (UINT64_C(240) << 30)

/* How many bytes of addresses a store of this budget, at most STORE_MAX_BYTES, reserves when it is created: more than
 * four times as many. */
uint64_t store_address_bytes(uint64_t max_bytes);
/* AIC_NO_MEMORY, AIC_INVALID. *out is owned by the caller. */
AIC_MUST_CHECK aic_status store_create(const struct store_options *options, struct store **out);
/* Every pin must have been released. Accepts a pointer to NULL; nulls. */
void store_destroy(struct store **store);

/*
 * A condition on a put, checked under the shard lock: the cell must still hold the expected number. Promotion from the
 * storage tier uses it so that an invalidation, a delete or a newer put that came meanwhile wins.
 */
struct store_guard {
    const _Atomic uint64_t *cell;
    uint64_t expected;
};

struct store_put {
    aic_key key;
    uint64_t expires_ms;       /* wall time; 0: never */
    const struct iovec *parts; /* the value, gathered; borrowed for the call */
    size_t part_count;
    bool only_if_absent;              /* AIC_EXISTS instead of replacing */
    const struct store_guard *guards; /* all must hold, or AIC_STALE */
    size_t guard_count;
};

/* Stores a copy, replacing what was there (never evicting a stranger for an update that fits). AIC_OK; AIC_NOT_STORED
 * (too large, no budget, everything pinned); AIC_EXISTS, AIC_STALE, AIC_NO_MEMORY. After AIC_NOT_STORED and
 * AIC_NO_MEMORY an older value of the key is gone, for it would be a wrong answer. An expiry after the year 2109 counts
 * as 2109. */
AIC_MUST_CHECK aic_status store_put(struct store *store, const struct store_put *put);

/* A pinned entry. Plain data: may be copied, moved to another thread, and released there; exactly one release. */
struct pin {
    struct shard *shard; /* of the entry */
    struct entry *entry; /* NULL: nothing pinned */
};

/* About what an entry with a value of so many bytes takes of the budget: with its header, its key and its place in the
 * index. */
static inline uint64_t store_cost(size_t value_bytes)
{
    enum { HEADER = 64, INDEX = 12, ROUNDING = 16 }; /* the key lies in the header; half of the rounding to 32 or 64 */
    return (uint64_t)value_bytes + HEADER + INDEX + ROUNDING;
}

/* The date of expiry that the store keeps for a given one: the same up to the year 2109, in which the rest expires. */
uint64_t store_date(uint64_t expires_ms);

/* AIC_OK with *pin to be released, or AIC_MISS. An expired entry is a miss and is removed. Counts a use for the policy.
 */
AIC_MUST_CHECK aic_status store_get(struct store *store, const aic_key *key, struct pin *pin);
/* The same without counting a use: for listing and explaining. */
AIC_MUST_CHECK aic_status store_peek(struct store *store, const aic_key *key, struct pin *pin);
/* Lock-free unless it is the last holder of a removed entry. Accepts an empty pin; empties it. */
void pin_release(struct pin *pin);

const aic_key *pin_key(const struct pin *pin);
uint64_t pin_expires_ms(const struct pin *pin); /* store_date() of what was put */
size_t pin_size(const struct pin *pin);         /* of the value */
/*
 * The value's bytes from `offset`, at most `size` of them, as pieces. Returns how many pieces were filled (<= max);
 * *covered gets the bytes that they hold together. Neighbouring pieces are merged.
 */
size_t pin_pieces(const struct pin *pin, size_t offset, size_t size, struct iovec *out, size_t max, size_t *covered);
/* Copies value bytes out; the range must lie within the value. */
void pin_copy(const struct pin *pin, size_t offset, void *out, size_t size);

/* AIC_OK, or AIC_MISS. */
AIC_MUST_CHECK aic_status store_delete(struct store *store, const aic_key *key);
/* Removes exactly the pinned entry if it is still the current one under its key: AIC_OK, or AIC_STALE. The pin stays.
 * `bytes_freed` may be NULL. */
AIC_MUST_CHECK aic_status store_remove_pinned(struct store *store, const struct pin *pin, uint64_t *bytes_freed);
/* What removing the pinned entry frees, in bytes. */
uint64_t store_pinned_bytes(const struct store *store, const struct pin *pin);

/*
 * Walks all entries, in batches of pins. *cursor is 0 to begin and 0 again after the last batch. Every entry that is
 * there during the whole walk comes at least once, also while the table grows. Expired ones are left out.
 */
size_t store_scan(struct store *store, uint64_t *cursor, struct pin *out, size_t max);

/* Removes what expired, a bounded amount of work, and keeps house: returns unused memory, moves entries together when
 * much lies idle. Call every second, from a background thread. Returns how many were removed. */
size_t store_expire(struct store *store);
/* A new budget, live: evicts down to it at once, moves what is left together and returns the rest to the kernel.
 * AIC_INVALID beyond what was reserved at creation (4 x, at least 1 GiB, at most 240 GiB). */
AIC_MUST_CHECK aic_status store_resize(struct store *store, uint64_t max_bytes, uint64_t max_entries);

/* Bytes taken of the budget now: one relaxed load. Any thread. */
uint64_t store_bytes(const struct store *store);
/* How many may be taken: the budget as it was created or last resized. One relaxed load. Any thread. */
uint64_t store_max_bytes(const struct store *store);

/* Adds to `out`, zeroed before, what the memory tier counted and holds: its memory_bytes are keys, values, index and
 * overhead, exactly. Takes each shard's lock for a moment. Any thread. */
void store_figures(struct store *store, struct figures *out);

/* Where the store lies, for a breakdown of the process's memory: two reservations, and what it asked the allocator for.
 */
struct store_places {
    uintptr_t values_begin, values_end, index_begin, index_end;
    uint64_t heap_bytes;
};
void store_places(const struct store *store, struct store_places *out);

/* The arenas that entries lie in, as a pool: what is mapped and empty, what holds something, and how often which was
 * needed. */
struct store_arenas {
    uint64_t empty, used, most /* both, at once */, arena_bytes, bytes;
    uint64_t takes, gives; /* entries that got memory and gave it back */
    uint64_t grows;        /* arenas that were mapped */
};
void store_arenas(struct store *store, struct store_arenas *out);

/* Recounts every structure of every shard. AIC_OK, or AIC_DAMAGED with the first difference in `error`. */
AIC_MUST_CHECK aic_status store_verify(struct store *store, aic_error *error);

/*
 * Appends the state of every structure as text: sizes and counts, no key and no value. Takes the shards' locks one by
 * one, and allocates in `out` under them: a tool for looking at a fault, not for every second.
 */
void store_dump(struct store *store, struct buf *out);

#endif
