/*
 * shard.h - one of the independent parts of a store: a table, a policy, a ghost and a wheel under one mutex.
 *
 * `lock` protects everything here except the atomics. No thread holds two shards' locks (but store_verify, which takes
 * all in order of number); below it only the pool's lock is taken. It is never held over a copy, a callback or a system
 * call, which is why an insert may answer AIC_BUSY: the caller then calls shard_commit() without the lock and comes
 * again. `commit_lock` orders those; it is taken before `lock`.
 *
 * Functions with the suffix _locked are called with the lock held.
 */
#ifndef STORE_SHARD_H
#define STORE_SHARD_H

#include "base/check.h"
#include "store/budget.h"
#include "store/ghost.h"
#include "store/lock.h"
#include "store/policy.h"
#include "store/pool.h"
#include "store/store.h"
#include "store/table.h"
#include "store/wheel.h"

#include <pthread.h>

/* The last that expired and the last that was evicted, for figures; the youngest of all shards is reported. */
struct shard_last {
    uint64_t expired_at_ms, expiry_lag_ms;
    uint64_t evicted_at_ms, evicted_idle_ms;
};

struct shard {
    /* The line that every get writes, so what the others of its kind write lies here too. */
    _Alignas(64) struct lock lock;
    /* Pins given back: written by any thread without the lock. Relaxed: a count. */
    _Atomic uint64_t releases;
    uint64_t gets, hits, peeks; /* peeks: pins that are no hits */
    /* Puts between their first take and their last give (low half: active, high half: started), for store_verify().
     * seq_cst. */
    _Atomic uint64_t activity;
    struct table table;
    struct store *store;
    struct policy policy;
    uint64_t entries, value_bytes;
    /* Granules of its entries in bytes; written under the lock, read by others as a hint (relaxed). */
    _Atomic uint64_t footprint;
    /* Bytes of credit that the next insert can use for the index, | WANTS_COMMIT; as footprint. */
    _Atomic uint32_t wants;
    uint64_t puts, replaced, deleted, ghost_hits;
    struct shard_last last;
    struct ghost ghost;
    struct wheel wheel;
    pthread_mutex_t commit_lock;
};

struct store {
    struct mem *mem;
    const aic_clock *clock;
    uint64_t reserve_bytes, max_item_bytes;
    unsigned shard_count, shard_bits, shard_shift;
    struct shard *shards; /* aligned within the block below */
    void *shard_block;
    size_t shard_block_bytes;
    char *index; /* the reservation of all tables and ghosts */
    size_t index_bytes;
    struct pool pool;
    char apart_1[64]; /* as in the pool: each put writes the budget, each get reads what is above */
    struct budget budget;
    char apart_2[64];
    pthread_mutex_t resize_lock; /* one resize or compaction at a time; taken before everything else */
    struct figure_lanes counts;
    _Atomic uint32_t hand; /* the shard that is asked to evict next; relaxed: any order will do */
    /* Entries that were removed while pinned, until the last release. Relaxed counts. */
    _Atomic uint64_t limbo_entries, limbo_value_bytes, limbo_footprint;
};

/*
 * Bytes and places that were taken from the budget and are not used yet, or not used any more; and the entries whose
 * memory goes back to the pool first, together, when it is settled or exchanged for other memory. Its owner is within
 * activity or holds the lock of the shard that they were in.
 */
enum { CREDIT_GONE = 16 };
struct credit {
    uint64_t bytes, entries;
    unsigned gone_count;
    handle gone[CREDIT_GONE];
};

/* In `wants`: a region of the index is nearly full, shard_commit() should come before the next insert. */
#define WANTS_COMMIT (1u << 31)

void shard_init(struct shard *shard, struct store *store, aic_policy policy, char *index, size_t region_bytes);
/* Releases all entries. */
void shard_fini(struct shard *shard, struct store *store);

/* The shard's index wants room: makes the next steps of its regions usable. No lock may be held. AIC_NO_MEMORY;
 * AIC_FULL when the reservation ends. */
AIC_MUST_CHECK aic_status shard_commit(struct shard *shard);
/* Gives back what the index does not need any more. No lock may be held. */
void shard_return(struct shard *shard);

/*
 * Makes an entry visible, in the place of what had its key. The credit holds its bytes and its place; what is not used
 * is left in it. AIC_FULL: the index needs more credit; AIC_BUSY: shard_commit() first; the entry is not visible then.
 * *replaced gets the former entry, detached, or 0; give it to entry_drop().
 */
AIC_MUST_CHECK aic_status shard_insert_locked(struct shard *shard, struct store *store, uint64_t hash, handle at,
                                              uint64_t footprint, struct credit *credit, handle *replaced);
/*
 * Takes an entry out of every structure; its place and what the index gives back go into the credit. Afterwards the
 * index's reference is the caller's: entry_drop().
 */
void shard_detach_locked(struct shard *shard, struct store *store, uint64_t hash, struct entry *entry, handle at,
                         struct credit *credit);
/* Drops the index's reference after a detach. If nobody holds the entry, it is freed into the credit. With or without
 * the lock. */
void entry_drop(struct store *store, handle at, struct credit *credit);
/* Gives the memory of what is gone to the pool. */
void credit_return(struct store *store, struct credit *credit);
/* The same, and gives what is left to the budget. */
void credit_settle(struct store *store, struct credit *credit);

/* Removes an expired entry and counts it. */
void shard_expire_locked(struct shard *shard, struct store *store, uint64_t hash, struct entry *entry, handle at,
                         uint64_t now_ms, struct credit *credit);
/*
 * Evicts until the credit holds at least `bytes` and `entries`, or nothing more can go, or `max` went. Returns how many
 * went.
 */
unsigned shard_evict_locked(struct shard *shard, struct store *store, uint64_t bytes, uint64_t entries, unsigned max,
                            uint64_t now_ms, struct credit *credit);
/* Puts `to`, a copy, in the exact place of `from` in every structure. `from` is the caller's afterwards: entry_drop().
 */
void shard_move_locked(struct shard *shard, struct store *store, uint64_t hash, handle from, handle to);

/* Recounts; NULL, or what is wrong. The lock is held. */
const char *shard_verify_locked(struct shard *shard, struct store *store);

static inline struct shard *shard_of(struct store *store, uint64_t hash)
{
    /* A store of one shard shifts by 63 and masks: a shift by 64 is undefined. */
    return &store->shards[(hash >> store->shard_shift) & (store->shard_count - 1)];
}

/* Moves entries out of arenas that are nearly empty when much is mapped and not used. No lock may be held. */
enum compact_when { COMPACT_NOW, COMPACT_IF_MUCH };
void store_compact(struct store *store, enum compact_when when);

/* Brackets what takes from or gives to the budget outside the shard's lock, so that store_verify() knows when the sums
 * must agree. */
static inline void activity_begin(struct shard *shard)
{
    atomic_fetch_add(&shard->activity, (1ull << 32) + 1);
}

static inline void activity_end(struct shard *shard)
{
    uint64_t before = atomic_fetch_sub(&shard->activity, 1);
    CHECK((before & UINT32_MAX) != 0);
}

/* Does it hold its share of the budget, so that it is its turn to evict? */
static inline bool shard_is_heavy(const struct shard *shard, const struct store *store)
{
    uint64_t held = atomic_load_explicit(&shard->footprint, memory_order_relaxed);
    return held > 0 && held >= budget_max_bytes(&store->budget) >> store->shard_bits;
}

/* Does it hold so much of its share that it makes the room for its own puts, which costs less than to look elsewhere?
 */
static inline bool shard_is_filled(const struct shard *shard, const struct store *store)
{
    uint64_t held = atomic_load_explicit(&shard->footprint, memory_order_relaxed);
    uint64_t share = budget_max_bytes(&store->budget) >> store->shard_bits;
    return held > 0 && held >= share - share / 16;
}

/* Evicts anywhere until the credit holds that much or a few went. Returns how many went. No lock may be held; within
 * activity. */
unsigned store_evict(struct store *store, uint64_t bytes, uint64_t entries, uint64_t now_ms, struct credit *credit);

#endif
