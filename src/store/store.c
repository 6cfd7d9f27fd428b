#include "store/shard.h"

#include "base/check.h"
#include "base/status.h"
#include "store/hash.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ----------------------------------------------------------------------------------------------- create, destroy -- */

/*
 * The next power of two >= 8 x cores, within 64 and 256; fewer for a small budget, for each shard has a queue of its
 * own: against one queue, shards of 16 entries lose up to 3.8 points of hit rate, of 47 up to 0.7, of 156 up to 0.1
 * (docs/decisions/004-memory-tier.md), and 256 KB is some 50 entries.
 */
static unsigned default_shards(uint64_t max_bytes)
{
    enum { MIN_SHARDS = 8, MIN_SHARE = 256 << 10 };
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned shards = 64;
    while (shards < 256 && shards < 8 * (unsigned long)(cores > 0 ? cores : 1)) shards *= 2;
    while (shards > MIN_SHARDS && max_bytes / shards < MIN_SHARE) shards /= 2;
    return shards;
}

enum { REGIONS = 3 /* of a shard's index, each of the same size */ };

/* What one region of one shard's index may grow to: twice its share if all memory held the smallest entries. */
static size_t region_bytes_for(uint64_t reserve_bytes, unsigned shards)
{
    uint64_t keys = reserve_bytes / sizeof(struct entry) / shards;
    uint64_t bytes = 2 * keys / BUCKET_TARGET * BUCKET_BYTES + (256 << 10);
    return bytes / REGION_STEP_BYTES * REGION_STEP_BYTES;
}

/* Beyond max_bytes, so that the limit may be raised later: four times it, at least 1 GiB. */
static uint64_t reserve_for(uint64_t max_bytes)
{
    uint64_t bytes = max_bytes > (256ull << 20) ? 4 * max_bytes : 1ull << 30;
    return bytes < STORE_MAX_BYTES ? bytes : STORE_MAX_BYTES;
}

static_assert((STORE_MAX_BYTES + STORE_MAX_BYTES / 22 + 5 * ARENA_BYTES) / GRANULE_BYTES < UINT32_MAX,
              "a handle names any granule of the largest store");

/* With what rounding and the edges of arenas may cost. */
static uint64_t pool_reserve_for(uint64_t reserve_bytes)
{
    return reserve_bytes + reserve_bytes / 22 + 3 * ARENA_BYTES;
}

uint64_t store_address_bytes(uint64_t max_bytes)
{
    CHECK(max_bytes <= STORE_MAX_BYTES);
    unsigned shards = default_shards(max_bytes);
    uint64_t reserve = reserve_for(max_bytes);
    return pool_address_bytes(pool_reserve_for(reserve)) + region_bytes_for(reserve, shards) * REGIONS * shards;
}

static aic_status map_index(struct store *store, size_t region_bytes)
{
    store->index_bytes = region_bytes * REGIONS * store->shard_count;
    if (!mem_may_map(store->mem, store->index_bytes)) return AIC_NO_MEMORY;
    void *index = mmap(NULL, store->index_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (index == MAP_FAILED) return AIC_NO_MEMORY;
    store->index = index;
    (void)madvise(index, store->index_bytes, MADV_DONTDUMP);
    return AIC_OK;
}

static aic_status make_shards(struct store *store, aic_policy policy, size_t region_bytes)
{
    store->shard_block_bytes = store->shard_count * sizeof(struct shard) + _Alignof(struct shard);
    store->shard_block = mem_zalloc(store->mem, MEM_STORE_INDEX, store->shard_block_bytes);
    if (store->shard_block == NULL) return AIC_NO_MEMORY;
    size_t skew = (size_t)(-(uintptr_t)store->shard_block) % _Alignof(struct shard);
    store->shards = (struct shard *)(void *)((char *)store->shard_block + skew);
    for (unsigned i = 0; i < store->shard_count; i++)
        shard_init(&store->shards[i], store, policy, store->index + i * REGIONS * region_bytes, region_bytes);
    return AIC_OK;
}

aic_status store_create(const struct store_options *options, struct store **out)
{
    unsigned shards = options->shards == 0 ? default_shards(options->max_bytes) : options->shards;
    if ((shards & (shards - 1)) != 0 || shards > 256 || options->max_bytes > STORE_MAX_BYTES) return AIC_INVALID;
    struct store *store = mem_zalloc(options->mem, MEM_STORE_INDEX, sizeof *store);
    if (store == NULL) return AIC_NO_MEMORY;
    store->mem = options->mem;
    store->clock = options->clock;
    store->max_item_bytes = options->max_item_bytes;
    store->shard_count = shards;
    store->shard_bits = (unsigned)__builtin_ctz(shards);
    store->shard_shift = shards == 1 ? 63 : 64 - store->shard_bits;
    store->reserve_bytes = reserve_for(options->max_bytes);
    budget_init(&store->budget, options->max_bytes, options->max_entries);
    pthread_mutex_init(&store->resize_lock, NULL);
    bool has_pool = false;
    size_t region_bytes = region_bytes_for(store->reserve_bytes, shards);
    aic_status status = pool_init(&store->pool, store->mem, pool_reserve_for(store->reserve_bytes));
    if (status != AIC_OK) goto fail;
    has_pool = true;
    pool_set_limit(&store->pool, options->max_bytes);
    TRY_OR_FAIL(map_index(store, region_bytes));
    TRY_OR_FAIL(make_shards(store, options->policy, region_bytes));
    *out = store;
    return AIC_OK;
fail:
    if (store->index != NULL) munmap(store->index, store->index_bytes);
    if (has_pool) pool_fini(&store->pool);
    pthread_mutex_destroy(&store->resize_lock);
    mem_free(options->mem, MEM_STORE_INDEX, store, sizeof *store);
    return status;
}

void store_destroy(struct store **store)
{
    struct store *it = *store;
    if (it == NULL) return;
    *store = NULL;
    CHECK(atomic_load_explicit(&it->limbo_entries, memory_order_relaxed) == 0);
    for (unsigned i = 0; i < it->shard_count; i++) shard_fini(&it->shards[i], it);
    CHECK(budget_bytes(&it->budget) == 0 && budget_entries(&it->budget) == 0);
    mem_free(it->mem, MEM_STORE_INDEX, it->shard_block, it->shard_block_bytes);
    munmap(it->index, it->index_bytes);
    pool_fini(&it->pool);
    pthread_mutex_destroy(&it->resize_lock);
    mem_free(it->mem, MEM_STORE_INDEX, it, sizeof *it);
}

/* --------------------------------------------------------------------------------------------------- get, delete -- */

/* Relaxed: the lock orders it against removal; the release of the last holder is in shard.c. */
static inline void pin_entry_locked(struct shard *shard, struct entry *entry, struct pin *out)
{
    atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
    *out = (struct pin){.shard = shard, .entry = entry};
}

/* Counts a use of an entry. The lock is held. */
static inline void use_locked(struct shard *shard, struct entry *entry, handle at, uint64_t now_ms)
{
    shard->hits++;
    entry_mark_used(entry, now_ms);
    shard->policy.ops->use(&shard->policy, entry, at);
}

/* There is no entry (0), or one that expired: removes that. The lock is held. */
static void miss_locked(struct store *store, struct shard *shard, uint64_t hash, handle at, bool used, uint64_t now_ms)
{
    if (at != 0) {
        struct credit credit = {0};
        shard_expire_locked(shard, store, hash, pool_entry(&store->pool, at), at, now_ms, &credit);
        entry_drop(store, at, &credit);
        credit_settle(store, &credit);
    }
    if (used && ghost_find(&shard->ghost, hash) != GHOST_NONE) shard->ghost_hits++;
}

/*
 * Finds and pins, at `now_ms` or up to `slack_ms` later: AIC_STALE when that would make a difference. Few instructions
 * and no waiting: how much of the next get the processor can begin meanwhile decides what a row of gets costs.
 */
static inline aic_status find_at(struct store *store, struct shard *shard, uint64_t hash, const aic_key *key, bool used,
                                 uint64_t now_ms, uint64_t slack_ms, struct pin *pin)
{
    aic_status status = AIC_OK;
    lock_take(&shard->lock);
    handle at = table_find(&shard->table, hash, key);
    struct entry *entry = pool_entry(&store->pool, at);
    if (at != 0 && !entry_is_expired(entry, now_ms + slack_ms)) {
        pin_entry_locked(shard, entry, pin);
        if (used) use_locked(shard, entry, at, now_ms);
        else shard->peeks++;
    } else if (at != 0 && slack_ms > 0) {
        status = AIC_STALE;
    } else {
        miss_locked(store, shard, hash, at, used, now_ms);
        status = AIC_MISS;
    }
    shard->gets += used && status != AIC_STALE;
    lock_give(&shard->lock);
    return status;
}

/* The time of the last tick is enough for an entry that lives for a second more; the exact one is asked for otherwise.
 */
static inline aic_status find(struct store *store, const aic_key *key, bool used, struct pin *pin)
{
    enum { SLACK_MS = 1000 };
    uint64_t hash = hash_key(key);
    struct shard *shard = shard_of(store, hash);
    table_prefetch(&shard->table, hash);
    aic_status status = find_at(store, shard, hash, key, used, clock_tick_ms(store->clock), SLACK_MS, pin);
    if (status == AIC_STALE) status = find_at(store, shard, hash, key, used, clock_wall_ms(store->clock), 0, pin);
    return status;
}

aic_status store_get(struct store *store, const aic_key *key, struct pin *pin)
{
    return find(store, key, true, pin);
}

aic_status store_peek(struct store *store, const aic_key *key, struct pin *pin)
{
    return find(store, key, false, pin);
}

static void trim(struct store *store)
{
    if (pool_wants_trim(&store->pool)) pool_trim(&store->pool);
}

aic_status store_delete(struct store *store, const aic_key *key)
{
    uint64_t hash = hash_key(key), now_ms = clock_wall_ms(store->clock);
    struct shard *shard = shard_of(store, hash);
    struct credit credit = {0};
    aic_status status = AIC_MISS;
    lock_take(&shard->lock);
    handle at = table_find(&shard->table, hash, key);
    if (at != 0) {
        struct entry *entry = pool_entry(&store->pool, at);
        if (entry_is_expired(entry, now_ms)) {
            shard_expire_locked(shard, store, hash, entry, at, now_ms, &credit);
        } else {
            shard_detach_locked(shard, store, hash, entry, at, &credit);
            shard->deleted++;
            status = AIC_OK;
        }
        entry_drop(store, at, &credit);
        credit_settle(store, &credit);
    }
    lock_give(&shard->lock);
    trim(store);
    return status;
}

uint64_t store_pinned_bytes(const struct store *store, const struct pin *pin)
{
    return pool_granules(&store->pool, pin->entry, pool_handle(&store->pool, pin->entry)) * GRANULE_BYTES;
}

aic_status store_remove_pinned(struct store *store, const struct pin *pin, uint64_t *bytes_freed)
{
    struct entry *entry = pin->entry;
    uint64_t hash = hash_key(&entry->key);
    struct shard *shard = shard_of(store, hash);
    CHECK(pin->shard == shard);
    struct credit credit = {0};
    handle at = pool_handle(&store->pool, entry);
    aic_status status = AIC_STALE;
    lock_take(&shard->lock);
    if (table_find(&shard->table, hash, &entry->key) == at) {
        shard_detach_locked(shard, store, hash, entry, at, &credit);
        shard->deleted++;
        if (bytes_freed != NULL) *bytes_freed = store_pinned_bytes(store, pin);
        entry_drop(store, at, &credit);
        credit_settle(store, &credit);
        status = AIC_OK;
    }
    lock_give(&shard->lock);
    return status;
}

/* -------------------------------------------------------------------------------------------------- scan, expire -- */

/*
 * A cursor is a place in the order of (shard, reversed hash): 8 bits of shard, 56 of the reversed hash. In that order a
 * bucket is an interval, whatever the size of the table, so a table that grows or shrinks between two calls neither
 * hides nor repeats an entry.
 */
enum { CURSOR_BITS = 56 };

static uint64_t place_of(uint64_t hash)
{
    return hash_reverse(hash) >> (64 - CURSOR_BITS);
}

/* The number of low hash bits that tell this bucket from the others. */
static unsigned bucket_bits(uint32_t bucket, uint32_t count)
{
    unsigned level = linear_level(count);
    uint32_t split = count - (1u << level);
    return bucket < split || bucket >= 1u << level ? level + 1 : level;
}

/*
 * Pins the entries of one bucket whose place is >= *place, smallest place first, at most `max` of them, and moves
 * *place behind them. true: the bucket is done and *place is where the next one begins (0: the shard is done).
 */
static bool scan_bucket(struct store *store, struct shard *shard, uint64_t *place, uint64_t now_ms, struct pin *out,
                        size_t max, size_t *count)
{
    const struct table *table = &shard->table;
    uint64_t hash_there = hash_reverse(*place << (64 - CURSOR_BITS));
    uint32_t bucket = linear_bucket(hash_there, table_count(table));
    uint32_t length = table_chain_length(table, bucket);
    for (;;) {
        handle next = 0;
        uint64_t next_place = UINT64_MAX;
        for (uint32_t i = 0; i < length; i++) {
            handle at = table_chain_at(table, bucket, i);
            const struct entry *entry = pool_entry(&store->pool, at);
            uint64_t here = place_of(hash_key(&entry->key));
            if (here < *place || here >= next_place || entry_is_expired(entry, now_ms)) continue;
            next = at;
            next_place = here;
        }
        if (next == 0) break;
        if (*count == max) return false;
        pin_entry_locked(shard, pool_entry(&store->pool, next), &out[(*count)++]);
        shard->peeks++;
        *place = next_place + 1;
    }
    unsigned bits = bucket_bits(bucket, table_count(table));
    uint64_t start = place_of(bucket), width = 1ull << (CURSOR_BITS - bits);
    *place = (start + width) & ((1ull << CURSOR_BITS) - 1);
    return true;
}

size_t store_scan(struct store *store, uint64_t *cursor, struct pin *out, size_t max)
{
    uint64_t number = *cursor >> CURSOR_BITS, place = *cursor & ((1ull << CURSOR_BITS) - 1);
    uint64_t now_ms = clock_wall_ms(store->clock);
    size_t count = 0;
    for (; number < store->shard_count; number++, place = 0) {
        struct shard *shard = &store->shards[number];
        bool is_done = false, is_full = false;
        lock_take(&shard->lock);
        while (!is_done && !is_full && table_count(&shard->table) > 0) {
            is_full = !scan_bucket(store, shard, &place, now_ms, out, max, &count);
            is_done = !is_full && place == 0;
        }
        lock_give(&shard->lock);
        if (is_full) {
            *cursor = number << CURSOR_BITS | place;
            return count;
        }
    }
    *cursor = 0;
    return count;
}

/* Expires in one shard; few at a time, for other threads want the lock too. */
static size_t expire_shard(struct store *store, struct shard *shard, uint64_t now_ms)
{
    enum { WORK = 4096, BATCH = 64 };
    size_t removed = 0;
    for (unsigned left = WORK; left > 0;) {
        unsigned work = BATCH;
        struct credit credit = {0};
        handle at;
        lock_take(&shard->lock);
        while ((at = wheel_next(&shard->wheel, now_ms, &work)) != 0) {
            struct entry *entry = pool_entry(&store->pool, at);
            shard_expire_locked(shard, store, hash_key(&entry->key), entry, at, now_ms, &credit);
            entry_drop(store, at, &credit);
            removed++;
        }
        credit_settle(store, &credit);
        lock_give(&shard->lock);
        if (work > 0) break;
        left -= BATCH;
    }
    return removed;
}

size_t store_expire(struct store *store)
{
    uint64_t now_ms = clock_wall_ms(store->clock);
    size_t removed = 0;
    for (unsigned i = 0; i < store->shard_count; i++) {
        removed += expire_shard(store, &store->shards[i], now_ms);
        shard_return(&store->shards[i]);
    }
    trim(store);
    store_compact(store, COMPACT_IF_MUCH);
    return removed;
}

aic_status store_resize(struct store *store, uint64_t max_bytes, uint64_t max_entries)
{
    if (max_bytes > store->reserve_bytes) return AIC_INVALID;
    uint64_t now_ms = clock_wall_ms(store->clock), bytes, entries;
    pthread_mutex_lock(&store->resize_lock);
    budget_set(&store->budget, max_bytes, max_entries);
    pool_set_limit(&store->pool, max_bytes);
    activity_begin(&store->shards[0]);
    for (;;) {
        struct credit credit = {0};
        budget_excess(&store->budget, &bytes, &entries);
        if (bytes == 0 && entries == 0) break;
        unsigned gone = store_evict(store, bytes, entries, now_ms, &credit);
        credit_settle(store, &credit);
        if (gone == 0) break;
    }
    activity_end(&store->shards[0]);
    for (unsigned i = 0; i < store->shard_count; i++) shard_return(&store->shards[i]);
    pthread_mutex_unlock(&store->resize_lock);
    trim(store);
    store_compact(store, COMPACT_NOW);
    return AIC_OK;
}
