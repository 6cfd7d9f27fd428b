#include "store/pool.h"

#include "base/check.h"

#include <string.h>
#include <sys/mman.h>

enum { EDGE_BYTES = ARENA_GRANULES / 8 /* of edge bits per arena: one page */ };
static_assert(EDGE_BYTES == 4096, "the edge bits of an arena are mapped and returned on their own");

/* ------------------------------------------------------------------------------------------------- reservation -- */

static uint64_t arenas_for(uint64_t reserve_bytes)
{
    return (reserve_bytes + ARENA_BYTES - 1) / ARENA_BYTES + 1;
}

uint64_t pool_address_bytes(uint64_t reserve_bytes)
{
    uint64_t arenas = arenas_for(reserve_bytes);
    return (arenas + 1) * ARENA_BYTES + arenas * EDGE_BYTES;
}

aic_status pool_init(struct pool *pool, struct mem *mem, uint64_t reserve_bytes)
{
    memset(pool, 0, sizeof *pool);
    pool->mem = mem;
    uint64_t arenas = arenas_for(reserve_bytes);
    if (arenas * ARENA_GRANULES > UINT32_MAX) return AIC_INVALID;
    pool->arena_count = (uint32_t)arenas;
    pool->arenas = mem_zalloc(mem, MEM_STORE_INDEX, arenas * sizeof *pool->arenas);
    if (pool->arenas == NULL) return AIC_NO_MEMORY;
    pool->mapping_bytes = pool_address_bytes(reserve_bytes);
    pool->mapping = MAP_FAILED;
    if (mem_may_map(mem, pool->mapping_bytes))
        pool->mapping = mmap(NULL, pool->mapping_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pool->mapping == MAP_FAILED) {
        mem_free(mem, MEM_STORE_INDEX, pool->arenas, arenas * sizeof *pool->arenas);
        return AIC_NO_MEMORY;
    }
    size_t skew = (size_t)(-(uintptr_t)pool->mapping) % ARENA_BYTES;
    pool->base = pool->mapping + skew;
    pool->edges = (uint64_t *)(void *)(pool->base + arenas * ARENA_BYTES);
    pool->arenas[0].state = ARENA_MOVING; /* for good: handle 0 lies here */
    pool->search = 1;
    /* Advice only: without huge pages it is slower, not wrong. */
    (void)madvise(pool->base, arenas * ARENA_BYTES, MADV_HUGEPAGE);
    (void)madvise(pool->mapping, pool->mapping_bytes, MADV_DONTDUMP);
    holes_init(&pool->holes, pool->base, pool->edges);
    lock_init(&pool->lock);
    return AIC_OK;
}

void pool_fini(struct pool *pool)
{
    /* All was given back and merged, and nobody maps or returns an arena any more. */
    CHECK(pool->taken == 0 && pool->holes.whole == pool->mapped);
    munmap(pool->mapping, pool->mapping_bytes);
    mem_count(pool->mem, MEM_STORE_VALUES, -(int64_t)pool->mapped * (ARENA_BYTES + EDGE_BYTES));
    mem_free(pool->mem, MEM_STORE_INDEX, pool->arenas, pool->arena_count * sizeof *pool->arenas);
}

void pool_set_limit(struct pool *pool, uint64_t max_bytes)
{
    uint64_t arenas = (max_bytes + max_bytes / 22) / ARENA_BYTES + 2;
    lock_take(&pool->lock);
    pool->limit = arenas < pool->arena_count ? (uint32_t)arenas : pool->arena_count - 1;
    /* What lies in holes at the limit; keeping less would map and return the same arenas all day. */
    atomic_store_explicit(&pool->kept_whole, pool->limit / 32 + 2, memory_order_relaxed);
    lock_give(&pool->lock);
}

static void note_whole(struct pool *pool)
{
    /* Written when it changes only: everybody reads it after every put. */
    if (atomic_load_explicit(&pool->whole, memory_order_relaxed) != pool->holes.whole)
        atomic_store_explicit(&pool->whole, pool->holes.whole, memory_order_relaxed);
}

/* ----------------------------------------------------------------------------------------------- map and return -- */

/* Claims an absent arena and a place under the limit; 0: none. */
static uint32_t claim_absent(struct pool *pool)
{
    uint32_t arena = 0;
    lock_take(&pool->lock);
    if (pool->mapped < pool->limit) {
        arena = pool->search;
        while (arena < pool->arena_count && pool->arenas[arena].state != ARENA_ABSENT) arena++;
        pool->search = arena;
        if (arena == pool->arena_count) arena = 0;
    }
    if (arena != 0) {
        pool->arenas[arena].state = ARENA_MOVING;
        pool->mapped++;
    }
    lock_give(&pool->lock);
    return arena;
}

static void unclaim(struct pool *pool, uint32_t arena)
{
    CHECK(lock_is_taken(&pool->lock) && pool->arenas[arena].state == ARENA_MOVING && pool->mapped > 0);
    pool->arenas[arena].state = ARENA_ABSENT;
    pool->mapped--;
    if (arena < pool->search) pool->search = arena;
}

static bool make_usable(struct pool *pool, uint32_t arena)
{
    char *start = pool->base + (size_t)arena * ARENA_BYTES;
    char *edges = (char *)pool->edges + (size_t)arena * EDGE_BYTES;
    if (!mem_may_map(pool->mem, ARENA_BYTES + EDGE_BYTES)) return false;
    if (mprotect(start, ARENA_BYTES, PROT_READ | PROT_WRITE) != 0) return false;
    if (mprotect(edges, EDGE_BYTES, PROT_READ | PROT_WRITE) != 0) return false;
    mem_count(pool->mem, MEM_STORE_VALUES, ARENA_BYTES + EDGE_BYTES);
    /* The first touch brings a huge page that the kernel must zero: better here than under the lock. */
    *(volatile char *)start = 0;
    *(volatile char *)edges = 0;
    return true;
}

aic_status pool_grow(struct pool *pool)
{
    uint32_t arena = claim_absent(pool);
    if (arena == 0) return AIC_FULL;
    bool usable = make_usable(pool, arena);
    lock_take(&pool->lock);
    if (usable) {
        pool->arenas[arena].state = ARENA_MAPPED;
        holes_add(&pool->holes, arena * ARENA_GRANULES, ARENA_GRANULES, false);
        pool->grows++;
        if (pool->mapped > pool->most_mapped) pool->most_mapped = pool->mapped;
        note_whole(pool);
    } else {
        unclaim(pool, arena);
    }
    lock_give(&pool->lock);
    return usable ? AIC_OK : AIC_NO_MEMORY;
}

bool pool_wants_trim(const struct pool *pool)
{
    return atomic_load_explicit(&pool->whole, memory_order_relaxed) >
           atomic_load_explicit(&pool->kept_whole, memory_order_relaxed);
}

void pool_trim(struct pool *pool)
{
    for (;;) {
        uint32_t arena = 0;
        lock_take(&pool->lock);
        handle at = pool_wants_trim(pool) ? holes_find(&pool->holes, ARENA_GRANULES) : 0;
        if (at != 0) {
            holes_remove(&pool->holes, at);
            note_whole(pool);
            arena = at / ARENA_GRANULES;
            CHECK(pool->arenas[arena].state == ARENA_MAPPED && pool->arenas[arena].taken == 0);
            pool->arenas[arena].state = ARENA_MOVING;
        }
        lock_give(&pool->lock);
        if (arena == 0) return;
        (void)madvise(pool->base + (size_t)arena * ARENA_BYTES, ARENA_BYTES, MADV_DONTNEED);
        (void)madvise((char *)pool->edges + (size_t)arena * EDGE_BYTES, EDGE_BYTES, MADV_DONTNEED);
        mem_count(pool->mem, MEM_STORE_VALUES, -(ARENA_BYTES + EDGE_BYTES));
        lock_take(&pool->lock);
        unclaim(pool, arena);
        lock_give(&pool->lock);
    }
}

/* ------------------------------------------------------------------------------------------------- take and give -- */

static struct arena *arena_of(struct pool *pool, handle at)
{
    return &pool->arenas[at / ARENA_GRANULES];
}

/* Takes the front of a hole. Together with run_give(), the only place where granules are counted. */
static void run_take(struct pool *pool, handle at, uint32_t granules)
{
    uint32_t length = holes_length(&pool->holes, at);
    CHECK(lock_is_taken(&pool->lock) && length >= granules && arena_of(pool, at)->state == ARENA_MAPPED);
    holes_remove(&pool->holes, at);
    if (length > granules) holes_add(&pool->holes, at + granules, length - granules, false);
    arena_of(pool, at)->taken += granules;
    pool->taken += granules;
}

static void run_give(struct pool *pool, handle at, uint32_t granules)
{
    struct arena *arena = arena_of(pool, at);
    CHECK(lock_is_taken(&pool->lock));
    CHECK(arena->taken >= granules && pool->taken >= granules);
    arena->taken -= granules;
    pool->taken -= granules;
    if (arena->taken == 0) arena->state = ARENA_MAPPED; /* it is drained */
    handle behind = holes_behind(&pool->holes, at + granules);
    if (behind != 0) {
        granules += holes_length(&pool->holes, behind);
        holes_remove(&pool->holes, behind);
    }
    handle before = holes_before(&pool->holes, at);
    if (before != 0) {
        granules += holes_length(&pool->holes, before);
        holes_remove(&pool->holes, before);
        at = before;
    }
    holes_add(&pool->holes, at, granules, arena->state == ARENA_DRAINING);
}

static struct piece *piece_at(const struct pool *pool, handle at, bool first)
{
    return (struct piece *)(void *)(pool->base + (size_t)at * GRANULE_BYTES + (first ? sizeof(struct entry) : 0));
}

static uint64_t chain_give(struct pool *pool, handle at)
{
    uint64_t total = 0;
    for (bool first = true; at != 0; first = false) {
        struct piece piece = *piece_at(pool, at, first);
        run_give(pool, at, piece.granules);
        total += piece.granules;
        at = piece.next;
    }
    return total;
}

/*
 * Takes the largest holes one after the other until they hold the value. Pieces of less than 1 KiB on average are
 * refused beyond the first eight: then it is better that something is evicted.
 */
static enum pool_result take_pieces(struct pool *pool, uint32_t size, uint64_t max_granules, handle *out,
                                    uint64_t *granules)
{
    uint64_t left = sizeof(struct entry) + (uint64_t)size, total = 0;
    uint32_t pieces = 0, max_pieces = 8 + size / 1024;
    handle first = 0;
    struct piece *last = NULL;
    enum pool_result result = pool->mapped < pool->limit ? POOL_GROW : POOL_FULL;
    while (left > 0) {
        handle at = holes_largest(&pool->holes);
        if (at == 0 || pieces == max_pieces) break;
        uint64_t wanted = (left + sizeof(struct piece) + GRANULE_BYTES - 1) / GRANULE_BYTES;
        uint32_t length = holes_length(&pool->holes, at);
        if (pieces == 0 && length < 2) break; /* the header and a link need more than one */
        if (length < wanted && length < ARENA_GRANULES && pool->mapped < pool->limit) {
            result = POOL_GROW;
            break;
        }
        if (length > wanted) length = (uint32_t)wanted;
        if (total + length > max_granules) {
            result = POOL_TIGHT;
            break;
        }
        run_take(pool, at, length);
        struct piece *piece = piece_at(pool, at, pieces == 0);
        *piece = (struct piece){.granules = length};
        if (last != NULL) last->next = at;
        else first = at;
        last = piece;
        pieces++;
        total += length;
        uint64_t held = (uint64_t)length * GRANULE_BYTES - sizeof(struct piece);
        left -= held < left ? held : left;
    }
    if (left > 0) {
        if (first != 0) chain_give(pool, first);
        return result;
    }
    pool_entry(pool, first)->size_bits = size | ENTRY_IN_PIECES;
    *out = first;
    *granules = total;
    return POOL_TAKEN;
}

static uint64_t give_locked(struct pool *pool, handle at)
{
    const struct entry *entry = pool_entry(pool, at);
    uint64_t granules = entry_granules_for(entry_size(entry));
    if (entry_in_pieces(entry)) granules = chain_give(pool, at);
    else run_give(pool, at, (uint32_t)granules);
    pool->gives++;
    return granules;
}

static enum pool_result take_locked(struct pool *pool, uint32_t size, uint64_t max_granules, handle *out,
                                    uint64_t *granules)
{
    uint32_t wanted = entry_granules_for(size);
    handle at = holes_find(&pool->holes, wanted);
    if (at == 0 && wanted <= ARENA_GRANULES && pool->mapped < pool->limit) return POOL_GROW;
    if (at == 0) return take_pieces(pool, size, max_granules, out, granules);
    run_take(pool, at, wanted);
    pool_entry(pool, at)->size_bits = size;
    *out = at;
    *granules = wanted;
    return POOL_TAKEN;
}

enum pool_result pool_exchange(struct pool *pool, const handle *gone, unsigned gone_count, uint32_t size,
                               uint64_t max_granules, handle *out, uint64_t *granules)
{
    lock_take(&pool->lock);
    for (unsigned i = 0; i < gone_count; i++) give_locked(pool, gone[i]);
    enum pool_result result = take_locked(pool, size, max_granules, out, granules);
    pool->takes += result == POOL_TAKEN;
    note_whole(pool);
    lock_give(&pool->lock);
    return result;
}

enum pool_result pool_take(struct pool *pool, uint32_t size, uint64_t max_granules, handle *out, uint64_t *granules)
{
    return pool_exchange(pool, NULL, 0, size, max_granules, out, granules);
}

void pool_give_all(struct pool *pool, const handle *gone, unsigned gone_count)
{
    if (gone_count == 0) return;
    lock_take(&pool->lock);
    for (unsigned i = 0; i < gone_count; i++) give_locked(pool, gone[i]);
    note_whole(pool);
    lock_give(&pool->lock);
}

uint64_t pool_give(struct pool *pool, handle at)
{
    lock_take(&pool->lock);
    uint64_t granules = give_locked(pool, at);
    note_whole(pool);
    lock_give(&pool->lock);
    return granules;
}

uint64_t pool_granules(const struct pool *pool, const struct entry *entry, handle at)
{
    if (!entry_in_pieces(entry)) return entry_granules_for(entry_size(entry));
    uint64_t total = 0;
    for (bool first = true; at != 0; first = false) {
        const struct piece *piece = piece_at(pool, at, first);
        total += piece->granules;
        at = piece->next;
    }
    return total;
}

/* ---------------------------------------------------------------------------------------------------- compaction -- */

uint32_t pool_drain(struct pool *pool)
{
    uint32_t draining = 0;
    lock_take(&pool->lock);
    /* Room outside the draining arenas must hold what they hold, and an eighth of it more for what does not fit
     * exactly. */
    uint64_t room = 0, moving = 0;
    for (uint32_t arena = 1; arena < pool->arena_count; arena++)
        if (pool->arenas[arena].state == ARENA_MAPPED) room += ARENA_GRANULES - pool->arenas[arena].taken;
    for (uint32_t eighth = 1; eighth <= 7; eighth++) {
        for (uint32_t arena = 1; arena < pool->arena_count; arena++) {
            const struct arena *it = &pool->arenas[arena];
            if (it->state != ARENA_MAPPED || it->taken == 0) continue;
            if (it->taken > (uint64_t)ARENA_GRANULES * eighth / 8) continue;
            uint64_t room_after = room - (ARENA_GRANULES - it->taken);
            if (moving + it->taken + (moving + it->taken) / 8 > room_after) continue;
            holes_hide(&pool->holes, arena, true);
            pool->arenas[arena].state = ARENA_DRAINING;
            room = room_after;
            moving += it->taken;
            draining++;
        }
    }
    lock_give(&pool->lock);
    return draining;
}

bool pool_is_draining(struct pool *pool, handle at)
{
    lock_take(&pool->lock);
    bool draining = arena_of(pool, at)->state == ARENA_DRAINING;
    lock_give(&pool->lock);
    return draining;
}

void pool_undrain(struct pool *pool)
{
    lock_take(&pool->lock);
    for (uint32_t arena = 1; arena < pool->arena_count; arena++) {
        if (pool->arenas[arena].state != ARENA_DRAINING) continue;
        pool->arenas[arena].state = ARENA_MAPPED;
        holes_hide(&pool->holes, arena, false);
    }
    lock_give(&pool->lock);
}

uint64_t pool_resident_bytes(struct pool *pool)
{
    lock_take(&pool->lock);
    uint64_t mapped = pool->mapped;
    lock_give(&pool->lock);
    return mapped * (ARENA_BYTES + EDGE_BYTES);
}

uint64_t pool_idle_bytes(struct pool *pool)
{
    lock_take(&pool->lock);
    uint64_t granules = (uint64_t)(pool->mapped - pool->holes.whole) * ARENA_GRANULES - pool->taken;
    lock_give(&pool->lock);
    return granules * GRANULE_BYTES;
}

const char *pool_verify(struct pool *pool)
{
    lock_take(&pool->lock);
    const char *wrong = holes_verify(&pool->holes);
    uint64_t taken = 0, free_granules = 0;
    uint32_t mapped = 0;
    for (uint32_t arena = 1; wrong == NULL && arena < pool->arena_count; arena++) {
        const struct arena *it = &pool->arenas[arena];
        if (it->state == ARENA_ABSENT && it->taken != 0) wrong = "an arena that is not mapped holds something";
        taken += it->taken;
        if (it->state == ARENA_MAPPED) free_granules += ARENA_GRANULES - it->taken;
        mapped += it->state != ARENA_ABSENT;
    }
    if (wrong == NULL && taken != pool->taken) wrong = "the arenas do not add up to what is taken";
    if (wrong == NULL && free_granules != pool->holes.granules) wrong = "arenas and holes do not add up";
    if (wrong == NULL && mapped != pool->mapped) wrong = "the mapped arenas do not add up";
    lock_give(&pool->lock);
    return wrong;
}
