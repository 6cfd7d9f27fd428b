/*
 * inner.h - the inside of a cache, shared by the files of this folder and by nobody else.
 *
 * Two tiers have to agree although neither waits for the other. Four things keep them honest:
 *
 * - epoch, one per cache: odd while an invalidation cleans storage, so it changes at the begin and at the end of that.
 * - stripe.writes, one per stripe of keys: odd while a put or delete of a key of that stripe is at work. The stripe's
 *   mutex makes writers of one key take turns, so that memory and storage see them in the same order.
 * - the list of active filters: the invalidations that run now, and those that storage still owes.
 * - settled: how often an owed invalidation was carried out. A record that was read from storage before is not accepted
 *   after, because its filter has left the list meanwhile.
 *
 * Whoever moves an entry that it has read (promotion from storage, the plain form of what is hot) samples epoch and
 * writes before it reads, gives up at once when one of them is odd, and hands both to the store as guards, which are
 * compared under the shard's lock. Why that is enough: a writer makes `writes` odd before it touches a tier and even
 * again after both tiers have its value. If the mover sampled before the writer began, its guard fails or its entry is
 * overwritten by the writer; if it sampled after the writer ended, it has read the writer's value. The same holds for
 * an invalidation with `epoch`.
 *
 * A put that meets a running invalidation whose filter it matches removes itself again from both tiers: it counts as
 * having come before. Before an invalidation takes its filter from the list it passes once through every stripe's lock,
 * so that no writer that began while one tier was cleaned already ends unstruck.
 *
 * Invalidations run side by side, each for itself: the epoch is odd while any of them cleans storage.
 *
 * Lock order: a stripe, then cache.filters.lock, cache.invalidating or cache.owed.lock, each a leaf. No lock is held
 * while the store's or the gate's functions wait for anything but their own short locks, but for owed.lock, which is
 * held over writes to its file.
 */
#ifndef CACHE_INNER_H
#define CACHE_INNER_H

#include "base/check.h"
#include "base/lanes.h"
#include "base/status.h"
#include "cache/cache.h"
#include "cache/filter.h"
#include "cache/hot.h"
#include "cache/observe.h"
#include "cache/owed.h"

#include <pthread.h>

struct aic_monitor;

#define STRIPES 1024 /* two writers at a time meet by chance once in a thousand */
struct stripe {
    pthread_mutex_t lock;    /* one writer of these keys at a time */
    _Atomic uint64_t writes; /* odd while one is at work; partner: the guards of promotions (acquire in the store) */
};

struct ttl_row {
    char operation[AIC_MAX_NAME_BYTES + 1];
    uint64_t ttl_seconds;
};

/* One set of defaults; never changed once it is in force. */
struct ttl_table {
    struct ttl_table *older; /* owned: readers may still look at it, so that it stays until the cache is closed */
    uint64_t fallback;
    size_t count, capacity;
    struct ttl_row rows[];
};

/* The search for dictionaries that no entry needs any more; owned by the ticking thread. */
#define SWEEP_IDS 64
struct dictionary_sweep {
    enum { SWEEP_IDLE, SWEEP_WAITING, SWEEP_WALKING } state;
    uint64_t due_ns; /* monotonic: when the next step is due */
    struct tier_place at;
    uint32_t ids[SWEEP_IDS]; /* superseded when it began */
    bool needed[SWEEP_IDS];
    size_t count;
};

/* Ids of dictionaries that records name and nobody knows; 0: a free place. Relaxed: each stands for itself. */
struct dictionary_wants {
    _Atomic uint32_t wanted[16];  /* the tick asks storage for them */
    _Atomic uint32_t missing[16]; /* storage does not have them */
    size_t next_missing;          /* the tick's */
};

/* What is known of how far the wall clock is right; owned by the ticking thread. */
struct clock_steps {
    uint64_t ahead_ms;    /* wall time less monotonic time, modulo 2^64, at the last step */
    uint64_t checked_seq; /* the last put before the step back that was seen last, or before the open */
    uint64_t forward_seq; /* the last put before the first large step forward since then */
    uint64_t forward_ms;  /* by how much the clock went forward since then, in large steps; 0: it did not */
};

#define FINGERPRINT_DIGITS 16
static_assert(FINGERPRINT_DIGITS / 2 <= sizeof(aic_key), "a fingerprint is the front of a digest");

struct aic_cache {
    struct mem mem;
    aic_clock clock; /* dates and expires entries; reads `held` */
    struct clock_held held;
    struct digest *digest;
    char fingerprint[FINGERPRINT_DIGITS + 1]; /* of the secret; never changed after the open */
    struct codec *codec;
    struct store *store;
    struct gate *gate;               /* NULL: no storage tier */
    struct aic_monitor *monitor;     /* borrowed; NULL: none */
    const struct cache_meter *meter; /* how it is told */
    struct observer observer;
    void (*log)(void *context, aic_log_level level, const char *line);
    void *log_context;

    uint64_t max_item_bytes;
    unsigned deadline_ms;
    aic_durability durability;      /* of puts that do not say; never changed after the open */
    struct ttl_table *_Atomic ttls; /* owned; release in cache_set_ttls(), partner: acquire in cache_default_ttl() */

    struct stripe *stripes;
    /* Changed sequentially consistent; partners: moment_sample() and the guards of promotions in the store (acquire).
     */
    _Atomic uint64_t epoch;
    _Atomic uint64_t settled; /* how often an owed invalidation was carried out; partner: cache_accept (acquire) */
    /* The number of the newest put, at least 1. What is newer than an invalidation is decided by it, sequentially
     * consistent with the list of filters: clocks go back. */
    _Atomic uint64_t last_seq;
    pthread_mutex_t invalidating; /* protects the epoch's parity and the count; never held for long */
    unsigned cleaning;            /* invalidations that clean storage now */
    struct filter_list filters;
    struct owed owed;
    struct hot *hot;       /* NULL: no memory tier */
    struct leases *leases; /* owned */
    struct figure_lanes counts;
    struct {
        _Atomic uint64_t hits_memory, hits_storage, misses; /* relaxed: each stands for itself */
    } forgotten;                                            /* counted before the last cache_forget_lookups() */

    pthread_mutex_t ticking; /* one tick at a time; protects `sweep` and `steps` */
    struct clock_steps steps;
    struct dictionary_sweep sweep;
    struct dictionary_wants wants;
    pthread_t thread;
    bool thread_started;
    pthread_mutex_t thread_lock; /* protects `stopping` */
    pthread_cond_t thread_wake;
    bool stopping;
};

static_assert((STRIPES & (STRIPES - 1)) == 0 && STRIPES <= 1 << 16, "two bytes of a key choose its stripe, evenly");

static inline struct stripe *stripe_of(struct aic_cache *cache, const aic_key *key)
{
    /* Not the top bits: those choose the store's shard, and a shard's keys should not share a stripe. */
    return &cache->stripes[(key->bytes[30] | (unsigned)key->bytes[31] << 8) % STRIPES];
}

/* A writer of one key: from here to writer_end no other writer of the key is at work and no entry of it is moved. */
struct stripe *writer_begin(struct aic_cache *cache, const aic_key *key);
void writer_end(struct stripe *stripe);

/* What a mover samples before it reads. */
struct moment {
    uint64_t epoch, writes, settled;
};
static inline struct moment moment_sample(struct aic_cache *cache, const aic_key *key)
{
    /* Acquire: what is read afterwards is not older than the sample. Partners: writer_begin, writer_end, invalidation.
     */
    struct moment moment;
    moment.epoch = atomic_load_explicit(&cache->epoch, memory_order_acquire);
    moment.writes = atomic_load_explicit(&stripe_of(cache, key)->writes, memory_order_acquire);
    moment.settled = atomic_load_explicit(&cache->settled, memory_order_acquire);
    return moment;
}
/* The moment before a hit was read. */
static inline struct moment hit_moment(const struct cache_hit *hit)
{
    return (struct moment){hit->epoch, hit->writes, 0};
}
static inline bool moment_is_quiet(struct moment moment)
{
    return ((moment.epoch | moment.writes) & 1) == 0;
}
/* Puts a record into the memory tier only if nothing happened to its key since `moment`. Outcomes of store_put. */
AIC_MUST_CHECK aic_status cache_move_in(struct aic_cache *cache, const aic_key *key, struct moment moment,
                                        uint64_t expires_ms, const struct iovec *parts, size_t part_count,
                                        bool only_if_absent);

/* ---- across files ---- */

/* Whether there was one does not matter. */
static inline void drop_from_memory(struct aic_cache *cache, const aic_key *key)
{
    aic_status gone = store_delete(cache->store, key);
    (void)gone;
}

/* Reads the head of a pinned record into `hit` (record views, head). AIC_DAMAGED, AIC_NEWER, AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status hit_read_pin(struct cache_hit *hit);
/* Looks at memory's entry of a key without counting a use: AIC_OK, AIC_MISS, AIC_DAMAGED, AIC_NEWER, AIC_NO_MEMORY. The
 * hit is to be released in any case. */
AIC_MUST_CHECK aic_status hit_peek(struct aic_cache *cache, const aic_key *key, struct cache_hit *hit);
/*
 * Looks at an entry of a namespace (empty: of any) in memory, else in storage within the deadline; neither counts nor
 * promotes. AIC_OK with the hit to be released and its tier in it; AIC_MISS, AIC_NO_MEMORY, or why storage could not
 * tell.
 */
AIC_MUST_CHECK aic_status cache_look(struct aic_cache *cache, aic_view ns, const aic_key *key, struct cache_hit *hit);
/*
 * Shows every entry of the memory tier, pinned, until `visit` returns false; one may come twice while the tables grow.
 * The visitor calls hit_read_pin() where it needs the record; the hit is released after it. No lock is held.
 */
typedef bool hit_visit_fn(void *context, struct cache_hit *hit);
void cache_walk_memory(struct aic_cache *cache, hit_visit_fn *visit, void *context);
/* Removes an entry from both tiers, storage's part by its queue. AIC_STALE: somebody has written the key, or one of its
 * stripe, since `moment` (NULL: whenever), and it stays; AIC_NO_MEMORY, AIC_CLOSED. */
AIC_MUST_CHECK aic_status cache_remove_both(struct aic_cache *cache, const aic_key *key, const struct moment *moment);
/* Removes a damaged entry from both tiers unless it was written anew since, and counts it. */
void cache_drop_damaged(struct aic_cache *cache, const aic_key *key, struct moment moment);
/*
 * One read of storage that waits at most until the deadline and neither counts nor promotes: AIC_OK with the record in
 * `out`, whole, checked, alive and not hidden. AIC_MISS, AIC_TIMEOUT, AIC_UNAVAILABLE, ...
 */
AIC_MUST_CHECK aic_status cache_read_storage(struct aic_cache *cache, const aic_key *key, unsigned deadline_ms,
                                             struct buf *out, struct record *record);
/*
 * A record of this key from storage, read after `moment` was sampled: AIC_OK, AIC_MISS (expired, hidden), AIC_DAMAGED,
 * AIC_NEWER. An owed invalidation that was carried out meanwhile hides no more what had been read before; `settled`
 * tells, and the record is not used.
 */
AIC_MUST_CHECK aic_status cache_accept(struct aic_cache *cache, const aic_key *key, struct moment moment,
                                       aic_view bytes, struct record *record);
/* Fills metadata from a record; views as the record's. */
void metadata_fill(aic_metadata *out, const aic_key *key, const struct record *record, uint64_t stored_bytes,
                   unsigned tiers);
/* Memory, then storage within the deadline; counts hits and misses. AIC_OK with a hit to release, AIC_MISS,
 * AIC_NO_MEMORY. *outcome is the same, but for a miss because storage could not say: why it could not. */
AIC_MUST_CHECK aic_status cache_find(struct aic_cache *cache, aic_view ns, const aic_key *key, struct cache_hit *hit,
                                     aic_status *outcome);
/* Appends the plain response of a record whose payload is there. AIC_DAMAGED; AIC_NO_MEMORY; why a dictionary that it
 * needs cannot be had. May wait for storage. */
AIC_MUST_CHECK aic_status cache_decode(struct aic_cache *cache, const struct record *record, struct buf *out);

/* Checks a request of the library's caller and makes it one of ours. `json` is initialised by the callee and finished
 * by the caller. */
AIC_MUST_CHECK aic_status request_take(struct aic_cache *cache, const aic_request *request, struct json *json,
                                       struct key_request *out, aic_error *error);
/* Checks the tags, model and numbers of a put. */
AIC_MUST_CHECK aic_status cache_check_put(const struct cache_put *put, aic_error *error);

/* What a filter selects storage by. `labels` are part of it and live as long; texts are borrowed from the filter. */
struct tier_filter filter_of_storage(const struct filter *filter, struct tier_label labels[4]);
/*
 * The date of a record lies ahead: the clock was ahead when it was put, and is right now. It would outlive its time to
 * live, so that it is no entry for anybody; what never expires may stay. Less than that is a small step, which is held
 * against (look_at_clock), or the clock of another machine.
 */
#define CLOCK_SLACK_MS 10000
static inline bool is_from_ahead(const struct record *record, uint64_t now_ms)
{
    return record->expires_ms != 0 && record->created_ms > now_ms + CLOCK_SLACK_MS;
}
/* The clock went back far: removes what expires and was put after `from_seq`, or is dated ahead of now, from memory,
 * hides it in storage and leaves its removal to cache_settle(). For the tick. AIC_NO_MEMORY: nothing was done. */
AIC_MUST_CHECK aic_status cache_clock_went_back(struct aic_cache *cache, uint64_t from_seq);
/* filter_take() by the time and the puts of now. */
AIC_MUST_CHECK aic_status cache_take_filter(struct aic_cache *cache, const aic_filter *from, struct filter *out,
                                            aic_error *error);
/* Carries out in storage what it owes. By the ticking thread. */
aic_status cache_settle(struct aic_cache *cache);

/* Do the options make sense, as far as they themselves can tell? AIC_INVALID. */
AIC_MUST_CHECK aic_status options_check(const aic_options *options, aic_error *error);
AIC_MUST_CHECK aic_status ttl_init(struct aic_cache *cache, const aic_options *options, aic_error *error);
void ttl_fini(struct aic_cache *cache);
/* The thread that ticks. */
AIC_MUST_CHECK aic_status tick_start(struct aic_cache *cache);
void tick_stop(struct aic_cache *cache);
/* Fills cache->digest and cache->fingerprint, and holds the latter against that of storage, which is
 * written where there is none. AIC_INVALID (also for a store of another secret, which stays as it is; no secret is made
 * for it), AIC_IO, AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status secret_load(struct aic_cache *cache, const aic_options *options, aic_error *error);
/* Ends it, however long storage takes, and nulls. Accepts a pointer to NULL. */
void cache_destroy(struct aic_cache **cache);
AIC_MUST_CHECK aic_status dictionaries_load(struct aic_cache *cache, aic_error *error);
/* A record names a dictionary that is not known: true when it may yet come, so that the record stays. Never blocks. */
bool dictionaries_want(struct aic_cache *cache, uint32_t id);
/* Reads what is wanted from storage. By the ticking thread. */
void dictionaries_fetch_wanted(struct aic_cache *cache);
/* Reads one from storage: AIC_OK, it is known now; AIC_MISS, storage does not have it, or nothing usable; or why
 * storage cannot tell. */
AIC_MUST_CHECK aic_status dictionaries_fetch(struct aic_cache *cache, uint32_t id);
void dictionaries_train(struct aic_cache *cache);
void dictionaries_sweep(struct aic_cache *cache, size_t max_records);

bool cache_storage_up(struct aic_cache *cache);

__attribute__((format(printf, 3, 4))) void cache_log(struct aic_cache *cache, aic_log_level level, const char *format,
                                                     ...);
static inline double seconds_since(struct aic_cache *cache, uint64_t started_ns)
{
    return (double)(clock_mono_ns(&cache->clock) - started_ns) / 1e9;
}

#endif
