/*
 * compact.c - moving entries together so that arenas become empty and go back to the kernel.
 *
 * After a budget was cut, or after much expired at once, what is left lies scattered over many arenas, and none of them
 * is empty. The emptier ones are closed for new entries, their entries are copied to the others one by one, and what is
 * empty is returned. A copy is made while the entry is pinned and no lock is held; under the lock it takes the entry's
 * exact place in every structure, provided that nobody else pinned it meanwhile.
 */
#include "store/shard.h"

#include "base/check.h"
#include "store/hash.h"
#include "store/value.h"

#include <string.h>

/* Does any piece lie in an arena that is to be emptied? */
static bool is_draining(struct store *store, const struct pin *pin)
{
    struct iovec pieces[8];
    size_t covered;
    if (pool_is_draining(&store->pool, pool_handle(&store->pool, pin->entry))) return true;
    for (size_t offset = 0; offset < pin_size(pin); offset += covered) {
        size_t count = pin_pieces(pin, offset, SIZE_MAX, pieces, 8, &covered);
        for (size_t i = 0; i < count; i++) {
            const struct entry *inside = pieces[i].iov_base;
            if (pool_is_draining(&store->pool, pool_handle(&store->pool, inside))) return true;
        }
    }
    return false;
}

/* Memory for a copy, from the budget and the pool; at most one entry is evicted for it. */
static bool take_copy(struct store *store, const struct pin *pin, handle *copy, uint64_t *footprint)
{
    uint64_t bytes = entry_weight(pin->entry), granules;
    if (!budget_take(&store->budget, bytes, 0)) {
        struct credit credit = {0};
        store_evict(store, bytes, 0, clock_wall_ms(store->clock), &credit);
        credit_settle(store, &credit);
        if (!budget_take(&store->budget, bytes, 0)) return false;
    }
    if (pool_take(&store->pool, entry_size(pin->entry), bytes / GRANULE_BYTES, copy, &granules) == POOL_TAKEN) {
        *footprint = granules * GRANULE_BYTES;
        CHECK(*footprint <= bytes);
        struct credit rest = {.bytes = bytes - *footprint};
        credit_settle(store, &rest);
        return true;
    }
    budget_give(&store->budget, bytes, 0);
    return false;
}

static void copy_value(struct store *store, const struct pin *pin, struct entry *copy)
{
    struct iovec pieces[16];
    struct value_cursor to = value_begin(copy);
    size_t covered;
    copy->key = pin->entry->key;
    copy->queue_prev = copy->queue_next = copy->wheel_prev = copy->wheel_next = 0;
    atomic_store_explicit(&copy->refs, 1, memory_order_relaxed);
    for (size_t offset = 0; offset < pin_size(pin); offset += covered)
        value_write(store, &to, pieces, pin_pieces(pin, offset, SIZE_MAX, pieces, 16, &covered));
}

/* Moves one entry. false: there is no room, so that going on is no use. */
static bool move(struct store *store, const struct pin *pin)
{
    uint64_t hash = hash_key(pin_key(pin)), footprint;
    struct shard *shard = shard_of(store, hash);
    handle from = pool_handle(&store->pool, pin->entry), copy;
    struct credit credit = {0};
    activity_begin(shard);
    bool has_room = take_copy(store, pin, &copy, &footprint);
    if (has_room) {
        copy_value(store, pin, pool_entry(&store->pool, copy));
        lock_take(&shard->lock);
        /* Ours is the one pin; the caller's release frees the old place. */
        bool can_move = table_find(&shard->table, hash, pin_key(pin)) == from &&
                        atomic_load_explicit(&pin->entry->refs, memory_order_acquire) == 2;
        if (can_move) {
            shard_move_locked(shard, store, hash, from, copy);
            entry_drop(store, from, &credit);
        }
        lock_give(&shard->lock);
        if (!can_move) credit.bytes += pool_give(&store->pool, copy) * GRANULE_BYTES;
    }
    credit_settle(store, &credit);
    activity_end(shard);
    return has_room;
}

/* Moves all entries out of the arenas that are to be emptied. */
static void move_all(struct store *store)
{
    struct pin pins[32];
    uint64_t cursor = 0;
    bool has_room = true;
    do {
        size_t count = store_scan(store, &cursor, pins, 32);
        for (size_t i = 0; i < count; i++) {
            if (has_room && is_draining(store, &pins[i])) has_room = move(store, &pins[i]);
            pin_release(&pins[i]);
        }
    } while (cursor != 0 && has_room);
}

/* What compaction leaves idle is an eighth; so that it does not run again at once, more must have gathered. */
static bool is_sparse(struct store *store, enum compact_when when)
{
    uint64_t used = budget_bytes(&store->budget);
    uint64_t allowed = when == COMPACT_NOW ? used / 7 + (4 << 20) : used / 4 + (16 << 20);
    return pool_idle_bytes(&store->pool) > allowed;
}

void store_compact(struct store *store, enum compact_when when)
{
    if (!is_sparse(store, when)) return;
    pthread_mutex_lock(&store->resize_lock);
    if (is_sparse(store, when) && pool_drain(&store->pool) > 0) {
        move_all(store);
        pool_undrain(&store->pool);
    }
    pthread_mutex_unlock(&store->resize_lock);
    if (pool_wants_trim(&store->pool)) pool_trim(&store->pool);
}
