/*
 * put.c - how a value gets in: bytes from the budget, memory from the pool, the copy, and only then, under the lock,
 * the index.
 *
 * The order keeps the promises: the budget is taken before anything is allocated; the copy is made while nobody can see
 * the entry and no lock is held; whoever looks sees the old value or the new one, whole. Only when the budget is used
 * up does the older value of the same key go first, so that an update that fits pushes out no stranger.
 */
#include "store/shard.h"

#include "base/check.h"
#include "store/hash.h"
#include "store/value.h"

#include <string.h>

/* One put under way. */
struct putting {
    struct store *store;
    const struct store_put *put;
    struct shard *shard;
    uint64_t hash, now_ms;
    uint64_t need; /* bytes of the entry in one piece */
    uint32_t size;
    handle at;          /* 0: no memory yet */
    uint64_t footprint; /* bytes that it occupies */
    struct credit credit;
};

static bool guards_hold(const struct store_put *put)
{
    for (size_t i = 0; i < put->guard_count; i++) {
        /* acquire: pairs with the release of whoever invalidates; it changes the cell first and removes entries after.
         */
        if (atomic_load_explicit(put->guards[i].cell, memory_order_acquire) != put->guards[i].expected) return false;
    }
    return true;
}

/* May it still be stored? The lock is held. *old gets what is there under the key, or 0. */
static aic_status admit_locked(const struct putting *putting, handle *old)
{
    if (!guards_hold(putting->put)) return AIC_STALE;
    *old = table_find(&putting->shard->table, putting->hash, &putting->put->key);
    if (*old == 0 || !putting->put->only_if_absent) return AIC_OK;
    return entry_is_expired(pool_entry(&putting->store->pool, *old), putting->now_ms) ? AIC_OK : AIC_EXISTS;
}

/* Removes the older value, so that nobody is served what was overwritten. The lock is held. */
static void remove_older_locked(struct putting *putting, handle old)
{
    struct entry *entry = pool_entry(&putting->store->pool, old);
    shard_detach_locked(putting->shard, putting->store, putting->hash, entry, old, &putting->credit);
    entry_drop(putting->store, old, &putting->credit);
    putting->shard->replaced++;
}

/* Does the credit hold `bytes` and a place, maybe with what is left in the budget? Takes that. Where bytes are left and
 * only a place is missing, the bytes are taken: nobody needs to go for them. */
static bool has_credit(struct putting *putting, uint64_t bytes)
{
    struct credit *credit = &putting->credit;
    struct budget *budget = &putting->store->budget;
    uint64_t more = bytes > credit->bytes ? bytes - credit->bytes : 0;
    if (more > 0 && !budget_take(budget, more, 0)) return false;
    credit->bytes += more;
    if (credit->entries > 0) return true;
    if (!budget_take(budget, 0, 1)) return false;
    credit->entries = 1;
    return true;
}

/*
 * The budget is used up: room is made in the key's own shard, at the cost of its older value first, of others if it
 * holds its share. An update needs no more of the index than its removal gave back; it must not evict a stranger for a
 * bucket that can wait.
 */
static aic_status make_room(struct putting *putting, uint64_t *bytes)
{
    enum { BATCH = 16 };
    struct shard *shard = putting->shard;
    struct store *store = putting->store;
    handle old;
    lock_take(&shard->lock);
    aic_status status = admit_locked(putting, &old);
    /* A pinned one stays until it is replaced: its bytes would not come back now. */
    if (status == AIC_OK && old != 0 && !entry_is_pinned(pool_entry(&store->pool, old))) {
        uint64_t footprint = pool_granules(&store->pool, pool_entry(&store->pool, old), old) * GRANULE_BYTES;
        remove_older_locked(putting, old);
        *bytes = putting->need + putting->credit.bytes - footprint;
    }
    if (status == AIC_OK && shard_is_filled(shard, store) && !has_credit(putting, *bytes))
        shard_evict_locked(shard, store, *bytes, 1, BATCH, putting->now_ms, &putting->credit);
    lock_give(&shard->lock);
    return status;
}

/* Brings the credit up to `bytes` and one place; evicts as long as that helps. AIC_FULL. */
static aic_status fill_credit(struct putting *putting, uint64_t bytes)
{
    while (!has_credit(putting, bytes))
        if (store_evict(putting->store, bytes, 1, putting->now_ms, &putting->credit) == 0) return AIC_FULL;
    return AIC_OK;
}

static aic_status reserve(struct putting *putting)
{
    uint64_t wants = atomic_load_explicit(&putting->shard->wants, memory_order_relaxed);
    uint64_t bytes = putting->need + (wants & ~WANTS_COMMIT);
    if (budget_take(&putting->store->budget, bytes, 1)) {
        putting->credit.bytes = bytes;
        putting->credit.entries = 1;
        return AIC_OK;
    }
    TRY(make_room(putting, &bytes));
    if (fill_credit(putting, bytes) != AIC_OK) {
        /* The index can do without its next bucket. */
        bytes = putting->need;
        TRY(fill_credit(putting, bytes));
    }
    return AIC_OK;
}

/* There are bytes in the budget but no memory for them: what goes now leaves holes. */
static aic_status evict_more(struct putting *putting)
{
    struct credit credit = {0};
    unsigned gone = store_evict(putting->store, putting->need, 0, putting->now_ms, &credit);
    credit_settle(putting->store, &credit);
    return gone > 0 ? AIC_OK : AIC_FULL;
}

static aic_status allocate(struct putting *putting)
{
    struct store *store = putting->store;
    struct credit *credit = &putting->credit;
    uint64_t max_granules = putting->need / GRANULE_BYTES, granules;
    for (;;) {
        aic_status status = AIC_OK;
        enum pool_result result = pool_exchange(&store->pool, credit->gone, credit->gone_count, putting->size,
                                                max_granules, &putting->at, &granules);
        credit->gone_count = 0;
        switch (result) {
        case POOL_TAKEN: putting->footprint = granules * GRANULE_BYTES; return AIC_OK;
        case POOL_GROW:
            status = pool_grow(&store->pool);
            if (status == AIC_FULL) status = AIC_OK; /* another thread was faster, or pieces will have to do */
            break;
        case POOL_TIGHT:
            max_granules += 2 + max_granules / 64;
            status = fill_credit(putting, max_granules * GRANULE_BYTES);
            break;
        case POOL_FULL: status = evict_more(putting); break;
        }
        if (status != AIC_OK) return status;
    }
}

/*
 * What an eviction brought beyond the need goes back at once when it is much: others may be looking for it. The memory
 * is back in the pool already.
 */
static void give_surplus(struct putting *putting)
{
    enum { MUCH = 4096 };
    struct credit *credit = &putting->credit;
    CHECK(credit->bytes >= putting->footprint && credit->entries > 0 && credit->gone_count == 0);
    uint64_t kept = putting->footprint + 2 * BUCKET_BYTES + GHOST_LINE_BYTES; /* the most that the index may want */
    uint64_t bytes = credit->bytes > kept ? credit->bytes - kept : 0;
    if (bytes < MUCH && credit->entries <= 1) return;
    budget_give(&putting->store->budget, bytes, credit->entries - 1);
    credit->bytes -= bytes;
    credit->entries = 1;
}

uint64_t store_date(uint64_t expires_ms)
{
    return expires_ms < ENTRY_MAX_EXPIRES ? expires_ms : ENTRY_MAX_EXPIRES;
}

static void fill_entry(struct putting *putting)
{
    struct entry *entry = pool_entry(&putting->store->pool, putting->at);
    entry->key = putting->put->key;
    entry->queue_prev = entry->queue_next = 0;
    entry->wheel_prev = entry->wheel_next = 0;
    atomic_store_explicit(&entry->refs, 1, memory_order_relaxed);
    entry_set_life(entry, store_date(putting->put->expires_ms) | life_used_bits(putting->now_ms));
    struct value_cursor to = value_begin(entry);
    value_write(putting->store, &to, putting->put->parts, putting->put->part_count);
}

static aic_status publish(struct putting *putting)
{
    struct store *store = putting->store;
    struct shard *shard = putting->shard;
    for (;;) {
        handle old, replaced = 0;
        lock_take(&shard->lock);
        aic_status status = admit_locked(putting, &old);
        if (status == AIC_OK)
            status = shard_insert_locked(shard, store, putting->hash, putting->at, putting->footprint, &putting->credit,
                                         &replaced);
        lock_give(&shard->lock);
        if (status == AIC_OK) {
            putting->at = 0; /* it belongs to the shard */
            if (replaced != 0) entry_drop(store, replaced, &putting->credit);
            return AIC_OK;
        }
        if (status == AIC_BUSY) TRY(shard_commit(shard));
        else if (status == AIC_FULL) TRY(fill_credit(putting, putting->footprint + BUCKET_BYTES));
        else return status;
    }
}

static aic_status put_value(struct putting *putting)
{
    /* A promotion that comes too late must not evict anybody first. */
    if (putting->put->guard_count > 0 || putting->put->only_if_absent) {
        handle old;
        lock_take(&putting->shard->lock);
        aic_status status = admit_locked(putting, &old);
        lock_give(&putting->shard->lock);
        TRY(status);
    }
    if (atomic_load_explicit(&putting->shard->wants, memory_order_relaxed) & WANTS_COMMIT) {
        /* The insert finds out whether that was needed. */
        aic_status ignored = shard_commit(putting->shard);
        (void)ignored;
    }
    TRY(reserve(putting));
    TRY(allocate(putting));
    give_surplus(putting);
    fill_entry(putting);
    return publish(putting);
}

/* Nothing was stored: takes the older value away as well, and counts. */
static aic_status refuse(struct putting *putting, aic_status status)
{
    handle old;
    lock_take(&putting->shard->lock);
    aic_status removed = admit_locked(putting, &old);
    if (removed == AIC_OK && old != 0) remove_older_locked(putting, old);
    lock_give(&putting->shard->lock);
    if (removed != AIC_OK) return removed;
    if (status == AIC_NOT_STORED) FIGURE_COUNT_LANE(&putting->store->counts, not_admitted, 1);
    return status;
}

aic_status store_put(struct store *store, const struct store_put *put)
{
    uint64_t size = 0;
    for (size_t i = 0; i < put->part_count; i++) size += put->parts[i].iov_len;
    struct putting putting = {.store = store, .put = put, .hash = hash_key(&put->key)};
    putting.shard = shard_of(store, putting.hash);
    /* Both will be missed: at once. */
    table_prefetch(&putting.shard->table, putting.hash);
    ghost_prefetch(&putting.shard->ghost, putting.hash);
    putting.now_ms = clock_wall_ms(store->clock);
    bool fits = size <= store->max_item_bytes && size <= ENTRY_MAX_VALUE;
    if (fits) {
        putting.size = (uint32_t)size;
        putting.need = (uint64_t)entry_granules_for(size) * GRANULE_BYTES;
        fits = putting.need + BUCKET_BYTES <= budget_max_bytes(&store->budget);
    }
    activity_begin(putting.shard);
    aic_status status = fits ? put_value(&putting) : refuse(&putting, AIC_NOT_STORED);
    if (putting.at != 0) pool_give(&store->pool, putting.at); /* its bytes are in the credit still */
    if (status == AIC_FULL) status = refuse(&putting, AIC_NOT_STORED);
    else if (status == AIC_NO_MEMORY) status = refuse(&putting, AIC_NO_MEMORY);
    credit_settle(store, &putting.credit);
    activity_end(putting.shard);
    if (pool_wants_trim(&store->pool)) pool_trim(&store->pool);
    return status;
}
