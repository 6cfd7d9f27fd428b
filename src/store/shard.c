#include "store/shard.h"

#include "base/check.h"
#include "store/hash.h"

#include <string.h>

void shard_init(struct shard *shard, struct store *store, aic_policy policy, char *index, size_t region_bytes)
{
    memset(shard, 0, sizeof *shard);
    lock_init(&shard->lock);
    pthread_mutex_init(&shard->commit_lock, NULL);
    shard->store = store;
    table_init(&shard->table, store->mem, store->pool.base, index, region_bytes, index + region_bytes, region_bytes);
    ghost_init(&shard->ghost, store->mem, index + 2 * region_bytes, region_bytes);
    policy_init(&shard->policy, policy, store->pool.base);
    wheel_init(&shard->wheel, store->pool.base, clock_wall_ms(store->clock));
    atomic_init(&shard->wants, WANTS_COMMIT | (BUCKET_BYTES + GHOST_LINE_BYTES));
}

void shard_fini(struct shard *shard, struct store *store)
{
    struct credit credit = {0};
    lock_take(&shard->lock);
    for (unsigned queue = QUEUE_SMALL; queue < QUEUE_COUNT; queue++) {
        handle at;
        while ((at = shard->policy.queues[queue].head) != 0) {
            struct entry *entry = pool_entry(&store->pool, at);
            CHECK(!entry_is_pinned(entry));
            shard_detach_locked(shard, store, hash_key(&entry->key), entry, at, &credit);
            entry_drop(store, at, &credit);
        }
    }
    credit_settle(store, &credit);
    CHECK(shard->entries == 0 && shard->value_bytes == 0 && shard->wheel.count == 0 && table_count(&shard->table) == 0);
    lock_give(&shard->lock);
    region_set(&shard->table.buckets, 0);
    region_set(&shard->table.spills, 0);
    region_set(&shard->ghost.lines, 0);
    pthread_mutex_destroy(&shard->commit_lock);
}

/* -------------------------------------------------------------------------------------------- room for the index -- */

static struct region *region_of(struct shard *shard, unsigned number)
{
    return number == 0 ? &shard->table.buckets : number == 1 ? &shard->table.spills : &shard->ghost.lines;
}

/* Bytes of a region that are in use. The lock is held. */
static size_t region_used(const struct shard *shard, unsigned number)
{
    if (number == 0) return (size_t)table_count(&shard->table) * BUCKET_BYTES;
    if (number == 1) return (size_t)shard->table.spill_made * BUCKET_BYTES;
    return (size_t)ghost_count(&shard->ghost) * GHOST_LINE_BYTES;
}

/* Is a region nearly used up? The lock is held. */
static bool is_short(struct shard *shard, unsigned number)
{
    const struct region *region = region_of(shard, number);
    return region_used(shard, number) + 4 * BUCKET_BYTES > region->committed && region->committed < region->reserved;
}

static aic_status commit_region(struct shard *shard, unsigned number)
{
    struct region *region = region_of(shard, number);
    lock_take(&shard->lock);
    size_t from = region->committed;
    bool wanted = is_short(shard, number);
    bool is_full = region_used(shard, number) + BUCKET_BYTES > region->reserved;
    lock_give(&shard->lock);
    if (is_full) return AIC_FULL;
    if (!wanted) return AIC_OK;
    TRY(region_commit(region, from, from + REGION_STEP_BYTES));
    lock_take(&shard->lock);
    region_set(region, from + REGION_STEP_BYTES);
    lock_give(&shard->lock);
    return AIC_OK;
}

aic_status shard_commit(struct shard *shard)
{
    aic_status status = AIC_OK;
    pthread_mutex_lock(&shard->commit_lock);
    for (unsigned number = 0; number < 3 && status == AIC_OK; number++) status = commit_region(shard, number);
    pthread_mutex_unlock(&shard->commit_lock);
    return status;
}

void shard_return(struct shard *shard)
{
    pthread_mutex_lock(&shard->commit_lock);
    for (unsigned number = 0; number < 3; number++) {
        struct region *region = region_of(shard, number);
        lock_take(&shard->lock);
        size_t from = (region_used(shard, number) / REGION_STEP_BYTES + 1) * REGION_STEP_BYTES, to = region->committed;
        bool wanted = to > from && to - from >= to / 4;
        if (wanted) region_set(region, from);
        lock_give(&shard->lock);
        if (wanted) region_return(region, from, to);
    }
    pthread_mutex_unlock(&shard->commit_lock);
}

/* --------------------------------------------------------------------------------------------- insert and detach -- */

/* Adds to, or takes from, what the shard holds. With the detach below the only place where that is counted. */
static void count_entry(struct shard *shard, const struct entry *entry, uint64_t footprint, int sign)
{
    CHECK(sign > 0 || (shard->entries > 0 && shard->value_bytes >= entry_size(entry)));
    shard->entries += (uint64_t)(int64_t)sign;
    shard->value_bytes += sign > 0 ? entry_size(entry) : -(uint64_t)entry_size(entry);
    uint64_t before = atomic_load_explicit(&shard->footprint, memory_order_relaxed);
    CHECK(sign > 0 || before >= footprint);
    atomic_store_explicit(&shard->footprint, sign > 0 ? before + footprint : before - footprint, memory_order_relaxed);
}

static void note_wants(struct shard *shard)
{
    uint64_t wants = table_wants(&shard->table) + ghost_wants(&shard->ghost, shard->entries);
    if (is_short(shard, 0) || is_short(shard, 1) || is_short(shard, 2)) wants |= WANTS_COMMIT;
    atomic_store_explicit(&shard->wants, (uint32_t)wants, memory_order_relaxed);
}

aic_status shard_insert_locked(struct shard *shard, struct store *store, uint64_t hash, handle at, uint64_t footprint,
                               struct credit *credit, handle *replaced)
{
    struct entry *entry = pool_entry(&store->pool, at);
    CHECK(lock_is_taken(&shard->lock) && shard_of(store, hash) == shard);
    CHECK(credit->bytes >= footprint && credit->entries > 0);
    handle old = table_find(&shard->table, hash, &entry->key);
    struct policy_hint hint = {0};
    uint64_t index_credit = credit->bytes - footprint;
    if (old != 0) {
        struct entry *former = pool_entry(&store->pool, old);
        hint = (struct policy_hint){.queue = entry_queue(former), .freq = entry_freq(former)};
        table_swap(&shard->table, hash, old, at);
        shard->policy.ops->remove(&shard->policy, former, old);
        wheel_remove(&shard->wheel, former);
        count_entry(shard, former, pool_granules(&store->pool, former, old) * GRANULE_BYTES, -1);
        shard->replaced++;
    } else {
        aic_status status = table_add(&shard->table, hash, at, &index_credit);
        if (status != AIC_OK) {
            credit->bytes = footprint + index_credit; /* the table may have grown */
            return status;
        }
        hint.returns = ghost_find(&shard->ghost, hash) == GHOST_EVICTED_EARLY;
        ghost_remove(&shard->ghost, hash);
        credit->entries--;
    }
    count_entry(shard, entry, footprint, 1);
    ghost_fit(&shard->ghost, shard->entries, &index_credit);
    shard->policy.ops->add(&shard->policy, entry, at, &hint);
    if (entry_expires_ms(entry) != 0) wheel_add(&shard->wheel, entry, at);
    shard->puts++;
    credit->bytes = index_credit;
    *replaced = old;
    note_wants(shard);
    return AIC_OK;
}

void shard_detach_locked(struct shard *shard, struct store *store, uint64_t hash, struct entry *entry, handle at,
                         struct credit *credit)
{
    CHECK(lock_is_taken(&shard->lock) && shard_of(store, hash) == shard);
    table_remove(&shard->table, hash, at, &credit->bytes);
    shard->policy.ops->remove(&shard->policy, entry, at);
    wheel_remove(&shard->wheel, entry);
    count_entry(shard, entry, pool_granules(&store->pool, entry, at) * GRANULE_BYTES, -1);
    ghost_fit(&shard->ghost, shard->entries, &credit->bytes);
    credit->entries++;
    note_wants(shard);
}

void shard_move_locked(struct shard *shard, struct store *store, uint64_t hash, handle from, handle to)
{
    struct entry *old = pool_entry(&store->pool, from), *new = pool_entry(&store->pool, to);
    CHECK(lock_is_taken(&shard->lock) && shard_of(store, hash) == shard);
    entry_set_life(new, entry_life(old));
    table_swap(&shard->table, hash, from, to);
    queue_replace(&shard->policy, old, from, new, to);
    wheel_remove(&shard->wheel, old);
    if (entry_expires_ms(new) != 0) wheel_add(&shard->wheel, new, to);
    count_entry(shard, old, pool_granules(&store->pool, old, from) * GRANULE_BYTES, -1);
    count_entry(shard, new, pool_granules(&store->pool, new, to) * GRANULE_BYTES, 1);
}

void credit_return(struct store *store, struct credit *credit)
{
    pool_give_all(&store->pool, credit->gone, credit->gone_count);
    credit->gone_count = 0;
}

void credit_settle(struct store *store, struct credit *credit)
{
    credit_return(store, credit);
    budget_give(&store->budget, credit->bytes, credit->entries);
    credit->bytes = credit->entries = 0;
}

/* Counts an entry that was removed while pinned, in its memory's last days. */
static void limbo_count(struct store *store, handle at, int sign)
{
    const struct entry *entry = pool_entry(&store->pool, at);
    uint64_t footprint = pool_granules(&store->pool, entry, at) * GRANULE_BYTES, size = entry_size(entry);
    atomic_fetch_add_explicit(&store->limbo_entries, (uint64_t)(int64_t)sign, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->limbo_value_bytes, sign > 0 ? size : -size, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->limbo_footprint, sign > 0 ? footprint : -footprint, memory_order_relaxed);
}

static void entry_free(struct store *store, handle at, struct credit *credit)
{
    if (credit->gone_count == CREDIT_GONE) credit_return(store, credit);
    credit->bytes += pool_granules(&store->pool, pool_entry(&store->pool, at), at) * GRANULE_BYTES;
    credit->gone[credit->gone_count++] = at;
}

void entry_drop(struct store *store, handle at, struct credit *credit)
{
    struct entry *entry = pool_entry(&store->pool, at);
    CHECK(entry->queue_prev == 0 && entry->queue_next == 0 && entry->wheel_prev == 0);
    /* acquire: pairs with the release of the last pin, whose reads must be over before the memory is used again. */
    if (atomic_load_explicit(&entry->refs, memory_order_acquire) > 1) {
        limbo_count(store, at, 1);
        if (atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) > 1) return;
        limbo_count(store, at, -1);
    }
    entry_free(store, at, credit);
}

/* Frees an entry of which this was the last pin. */
static void free_last(struct store *store, struct shard *shard, struct entry *entry)
{
    handle at = pool_handle(&store->pool, entry);
    struct credit credit = {0};
    activity_begin(shard);
    limbo_count(store, at, -1);
    entry_free(store, at, &credit);
    credit_settle(store, &credit);
    activity_end(shard);
    if (pool_wants_trim(&store->pool)) pool_trim(&store->pool);
}

void pin_release(struct pin *pin)
{
    if (pin->entry == NULL) return;
    struct entry *entry = pin->entry;
    struct shard *shard = pin->shard;
    *pin = (struct pin){0};
    atomic_fetch_add_explicit(&shard->releases, 1, memory_order_relaxed);
    /* release: what the holder read is over; acquire: the last one frees after all others. Pairs with entry_drop(). */
    uint32_t before = atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel);
    if (before > 1) return;
    CHECK(before == 1);
    free_last(shard->store, shard, entry);
}

/* --------------------------------------------------------------------------------------------- expire and evict -- */

void shard_expire_locked(struct shard *shard, struct store *store, uint64_t hash, struct entry *entry, handle at,
                         uint64_t now_ms, struct credit *credit)
{
    FIGURE_COUNT_LANE(&store->counts, evicted_expired, 1);
    shard->last.expiry_lag_ms = now_ms - entry_expires_ms(entry);
    shard->last.expired_at_ms = now_ms;
    shard_detach_locked(shard, store, hash, entry, at, credit);
}

enum { EVICT_BATCH = 16 }; /* few at a time: other threads want the lock too */

static void evict_one(struct shard *shard, struct store *store, handle at, uint64_t now_ms, struct credit *credit)
{
    struct entry *entry = pool_entry(&store->pool, at);
    uint64_t hash = hash_key(&entry->key), weight = entry_weight(entry);
    if (entry_is_expired(entry, now_ms)) {
        shard_expire_locked(shard, store, hash, entry, at, now_ms, credit);
    } else {
        FIGURE_COUNT_LANE(&store->counts, evicted_capacity, 1);
        if (!entry_is_hit(entry)) FIGURE_COUNT_LANE(&store->counts, evicted_unused, 1);
        shard->last.evicted_idle_ms = entry_idle_ms(entry, now_ms);
        shard->last.evicted_at_ms = now_ms;
        bool from_main = entry_queue(entry) == QUEUE_MAIN;
        uint64_t passed = from_main && shard->policy.ops->admits_returning ? 0 : weight;
        ghost_add(&shard->ghost, hash, from_main, passed, policy_bytes(&shard->policy));
        shard_detach_locked(shard, store, hash, entry, at, credit);
    }
    entry_drop(store, at, credit);
}

/*
 * Brings closer what the next eviction from this shard will look at, which is some puts away: the bucket and the ghost
 * of who will probably go, and the neighbours of its memory. Its header came by the call before, as that of the one
 * behind it does by this one.
 */
static void prepare_next(struct shard *shard, struct store *store)
{
    handle at = policy_oldest(&shard->policy);
    if (at == 0) return;
    const struct entry *entry = pool_entry(&store->pool, at);
    uint64_t hash = hash_key(&entry->key);
    table_prefetch(&shard->table, hash);
    ghost_prefetch(&shard->ghost, hash);
    pool_prefetch(&store->pool, at, entry_granules_for(entry_size(entry)));
    if (entry->queue_prev != 0) __builtin_prefetch(pool_entry(&store->pool, entry->queue_prev), 1);
}

unsigned shard_evict_locked(struct shard *shard, struct store *store, uint64_t bytes, uint64_t entries, unsigned max,
                            uint64_t now_ms, struct credit *credit)
{
    unsigned gone = 0;
    CHECK(lock_is_taken(&shard->lock));
    while (gone < max && (credit->bytes < bytes || credit->entries < entries)) {
        handle at = shard->policy.ops->victim(&shard->policy);
        if (at == 0) break;
        evict_one(shard, store, at, now_ms, credit);
        prepare_next(shard, store);
        gone++;
    }
    return gone;
}

unsigned store_evict(struct store *store, uint64_t bytes, uint64_t entries, uint64_t now_ms, struct credit *credit)
{
    /* First round: shards that hold their share. Second: any that holds something. */
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < store->shard_count; i++) {
            unsigned number = atomic_fetch_add_explicit(&store->hand, 1, memory_order_relaxed) &
                              (store->shard_count - 1);
            struct shard *shard = &store->shards[number];
            if (atomic_load_explicit(&shard->footprint, memory_order_relaxed) == 0) continue;
            if (round == 0 && !shard_is_heavy(shard, store)) continue;
            lock_take(&shard->lock);
            unsigned gone = shard_evict_locked(shard, store, bytes, entries, EVICT_BATCH, now_ms, credit);
            lock_give(&shard->lock);
            if (gone > 0) return gone;
        }
    }
    return 0;
}

/* -------------------------------------------------------------------------------------------------------- verify -- */

/* Each entry of the table: in a queue, in the wheel if it expires, its memory not also free. */
static const char *verify_entries(struct shard *shard, struct store *store)
{
    uint64_t entries = 0, values = 0, footprint = 0;
    for (uint32_t bucket = 0; bucket < table_count(&shard->table); bucket++) {
        uint32_t length = table_chain_length(&shard->table, bucket);
        for (uint32_t place = 0; place < length; place++) {
            handle at = table_chain_at(&shard->table, bucket, place);
            struct entry *entry = pool_entry(&store->pool, at);
            if (shard_of(store, hash_key(&entry->key)) != shard) return "a key lies in the wrong shard";
            if (atomic_load_explicit(&entry->refs, memory_order_relaxed) == 0) return "an entry has no reference";
            if (entry_queue(entry) == QUEUE_NONE) return "an entry is in no queue";
            if ((entry->wheel_prev != 0) != (entry_expires_ms(entry) != 0)) return "an entry's expiry and wheel differ";
            entries++;
            values += entry_size(entry);
            footprint += pool_granules(&store->pool, entry, at) * GRANULE_BYTES;
        }
    }
    if (entries != shard->entries) return "the shard's entries do not add up";
    if (values != shard->value_bytes) return "the shard's value bytes do not add up";
    if (footprint != atomic_load_explicit(&shard->footprint, memory_order_relaxed))
        return "the shard's memory does not add up";
    return NULL;
}

const char *shard_verify_locked(struct shard *shard, struct store *store)
{
    CHECK(lock_is_taken(&shard->lock));
    const char *wrong = table_verify(&shard->table);
    if (wrong == NULL) wrong = policy_verify(&shard->policy);
    if (wrong == NULL) wrong = wheel_verify(&shard->wheel);
    if (wrong == NULL) wrong = ghost_verify(&shard->ghost);
    if (wrong == NULL) wrong = verify_entries(shard, store);
    if (wrong == NULL && shard->table.keys != shard->entries) wrong = "table and shard count different entries";
    uint64_t queued = shard->policy.queues[QUEUE_SMALL].count + shard->policy.queues[QUEUE_MAIN].count;
    if (wrong == NULL && queued != shard->entries) wrong = "queues and shard count different entries";
    return wrong;
}
