#include "cache/hot.h"

#include "cache/inner.h"

#include <pthread.h>
#include <string.h>

#define BYTES_PER_ROW 2048 /* of the share, for each row of the ledger: answers have a median of 3 KB */
#define ROWS_MIN 64
#define ROWS_MAX 65536
#define SLOTS_PER_ROW 2
#define SET_SLOTS 4
#define DECODES_TO_MOVE 2 /* a second decode shows that the first was no accident */
#define COUNT_LIMIT 15
#define CROSS_OFF_PER_TICK 4096
#define COMPRESS_PER_TICK 256 /* 30 us each: at most 8 ms of a background second */
#define ITEM_SHARE 8          /* one value takes at most an eighth of the share */

struct ledger_row {
    aic_key key;
    uint64_t bytes; /* of the record with the plain payload */
};

struct hot {
    struct mem *mem;
    /* fingerprint << 8 | count. Relaxed: a guess, and no memory hangs on it. */
    _Atomic uint64_t *slots;
    size_t slot_count;
    pthread_mutex_t lock;    /* protects the rest; a leaf */
    struct ledger_row *rows; /* a ring: `count` rows from `first`, oldest first */
    size_t row_count, first, count;
    size_t in_hand;   /* rows that the tick has taken out to look at */
    uint64_t bytes;   /* of all of them */
    uint64_t refused; /* for want of room, since the last tick */
};

/* How many rows a share of so many bytes deserves. */
static size_t rows_for(uint64_t share)
{
    size_t rows = ROWS_MIN;
    while (rows < ROWS_MAX && rows * BYTES_PER_ROW < share) rows *= 2;
    return rows;
}

aic_status hot_create(struct mem *mem, uint64_t memory_max_bytes, struct hot **out)
{
    struct hot *hot = mem_zalloc(mem, MEM_CACHE, sizeof *hot);
    if (hot == NULL) return AIC_NO_MEMORY;
    hot->mem = mem;
    hot->row_count = rows_for(memory_max_bytes / HOT_SHARE);
    hot->slot_count = hot->row_count * SLOTS_PER_ROW;
    pthread_mutex_init(&hot->lock, NULL);
    hot->rows = mem_alloc(mem, MEM_CACHE, hot->row_count * sizeof *hot->rows);
    hot->slots = mem_zalloc(mem, MEM_CACHE, hot->slot_count * sizeof *hot->slots);
    if (hot->rows == NULL || hot->slots == NULL) {
        hot_destroy(&hot);
        return AIC_NO_MEMORY;
    }
    *out = hot;
    return AIC_OK;
}

void hot_destroy(struct hot **hot)
{
    struct hot *old = *hot;
    if (old == NULL) return;
    CHECK(old->in_hand == 0);
    mem_free(old->mem, MEM_CACHE, old->slots, old->slot_count * sizeof *old->slots);
    mem_free(old->mem, MEM_CACHE, old->rows, old->row_count * sizeof *old->rows);
    pthread_mutex_destroy(&old->lock);
    mem_free(old->mem, MEM_CACHE, old, sizeof *old);
    *hot = NULL;
}

/* ---- the sketch: sets of four slots, half a cache line each ---- */

static_assert(ROWS_MIN * SLOTS_PER_ROW % SET_SLOTS == 0, "the sketch consists of whole sets");
static_assert(COUNT_LIMIT <= 0xFF, "a count fits beside the fingerprint");

static _Atomic uint64_t *set_of(struct hot *hot, const aic_key *key, uint64_t *fingerprint)
{
    uint64_t low, high;
    memcpy(&low, key->bytes + 8, 8);
    memcpy(&high, key->bytes + 16, 8);
    *fingerprint = high >> 8;
    return &hot->slots[low % (hot->slot_count / SET_SLOTS) * SET_SLOTS];
}

static unsigned count_of(uint64_t value)
{
    return (unsigned)(value & 0xFF);
}

/* The key's slot, or NULL; *least gets the slot of its set with the smallest count. */
static _Atomic uint64_t *slot_find(struct hot *hot, const aic_key *key, uint64_t *fingerprint, _Atomic uint64_t **least)
{
    _Atomic uint64_t *set = set_of(hot, key, fingerprint);
    *least = set;
    for (size_t i = 0; i < SET_SLOTS; i++) {
        uint64_t value = atomic_load_explicit(&set[i], memory_order_relaxed);
        if (value >> 8 == *fingerprint) return &set[i];
        if (count_of(value) < count_of(atomic_load_explicit(*least, memory_order_relaxed))) *least = &set[i];
    }
    return NULL;
}

/* Counts one use; returns the count. In a full set the stranger with the smallest count loses one per visit and gives
 * way at one. */
static unsigned slot_use(struct hot *hot, const aic_key *key)
{
    uint64_t fingerprint;
    _Atomic uint64_t *least, *slot = slot_find(hot, key, &fingerprint, &least);
    uint64_t value = atomic_load_explicit(slot != NULL ? slot : least, memory_order_relaxed);
    unsigned count = count_of(value);
    if (slot != NULL) {
        if (count < COUNT_LIMIT) atomic_store_explicit(slot, value + 1, memory_order_relaxed);
        return count < COUNT_LIMIT ? count + 1 : count;
    }
    atomic_store_explicit(least, count > 1 ? value - 1 : fingerprint << 8 | 1, memory_order_relaxed);
    return count > 1 ? 0 : 1;
}

/* Was the key used since the last call? Takes its counts away. */
static bool slot_take(struct hot *hot, const aic_key *key)
{
    uint64_t fingerprint;
    _Atomic uint64_t *least, *slot = slot_find(hot, key, &fingerprint, &least);
    if (slot == NULL || count_of(atomic_load_explicit(slot, memory_order_relaxed)) == 0) return false;
    atomic_store_explicit(slot, fingerprint << 8, memory_order_relaxed);
    return true;
}

void hot_touch(struct hot *hot, const aic_key *key)
{
    /* Only a key that the sketch knows: answers that were never compressed shall not push it out. No store when its
     * count is full, so that a very hot key's line stays shared between the cores. */
    uint64_t fingerprint;
    _Atomic uint64_t *least, *slot = slot_find(hot, key, &fingerprint, &least);
    if (slot == NULL) return;
    uint64_t value = atomic_load_explicit(slot, memory_order_relaxed);
    if (count_of(value) < COUNT_LIMIT) atomic_store_explicit(slot, value + 1, memory_order_relaxed);
}

/* ---- the ledger ---- */

static bool ledger_add(struct hot *hot, const aic_key *key, uint64_t bytes, uint64_t share)
{
    pthread_mutex_lock(&hot->lock);
    bool room = hot->count + hot->in_hand < hot->row_count && hot->bytes + bytes <= share;
    if (room) {
        hot->rows[(hot->first + hot->count++) % hot->row_count] = (struct ledger_row){*key, bytes};
        hot->bytes += bytes;
    } else {
        hot->refused++;
    }
    pthread_mutex_unlock(&hot->lock);
    return room;
}

/* The oldest row is in the tick's hand from here on, and counts until it is given back or dropped: what it stands for
 * is still in memory, and its room is nobody else's. */
static bool ledger_take_first(struct hot *hot, struct ledger_row *out)
{
    pthread_mutex_lock(&hot->lock);
    bool some = hot->count > 0;
    if (some) {
        *out = hot->rows[hot->first];
        hot->first = (hot->first + 1) % hot->row_count;
        hot->count--;
        hot->in_hand++;
    }
    pthread_mutex_unlock(&hot->lock);
    return some;
}

/* To the end of the ring. */
static void ledger_return(struct hot *hot, const struct ledger_row *row)
{
    pthread_mutex_lock(&hot->lock);
    CHECK(hot->in_hand > 0 && hot->count + hot->in_hand <= hot->row_count);
    hot->rows[(hot->first + hot->count++) % hot->row_count] = *row;
    hot->in_hand--;
    pthread_mutex_unlock(&hot->lock);
}

static void ledger_drop(struct hot *hot, const struct ledger_row *row)
{
    pthread_mutex_lock(&hot->lock);
    CHECK(hot->in_hand > 0 && hot->bytes >= row->bytes);
    hot->bytes -= row->bytes;
    hot->in_hand--;
    pthread_mutex_unlock(&hot->lock);
}

/* A larger ring when the share was raised; without memory for it the old one will do. Called by the tick alone. */
static void ledger_fit(struct hot *hot, uint64_t share)
{
    size_t old_count = hot->row_count, count = rows_for(share);
    if (count <= old_count) return;
    struct ledger_row *rows = mem_alloc(hot->mem, MEM_CACHE, count * sizeof *rows);
    if (rows == NULL) return;
    pthread_mutex_lock(&hot->lock);
    struct ledger_row *old = hot->rows;
    CHECK(hot->in_hand == 0 && hot->row_count == old_count);
    for (size_t i = 0; i < hot->count; i++) rows[i] = old[(hot->first + i) % old_count];
    hot->rows = rows;
    hot->row_count = count;
    hot->first = 0;
    pthread_mutex_unlock(&hot->lock);
    mem_free(hot->mem, MEM_CACHE, old, old_count * sizeof *old);
}

/* ---- moving ---- */

/* The bytes that all plain forms together may take: of the budget as it is now. */
static uint64_t share_of(const struct aic_cache *cache)
{
    return store_max_bytes(cache->store) / HOT_SHARE;
}

/* Writes a record with another payload over the entry in memory, unless something happened to it since `moment`. The
 * head keeps its size. */
static aic_status rewrite(struct aic_cache *cache, const aic_key *key, struct moment moment,
                          const struct record *record)
{
    struct buf head;
    buf_init(&head, &cache->mem, MEM_CACHE);
    aic_status status = record_write_head(record, key, &head);
    struct iovec parts[] = {{head.data, head.size}, {(void *)(uintptr_t)record->payload.data, record->payload.size}};
    if (status == AIC_OK) status = cache_move_in(cache, key, moment, record->expires_ms, parts, COUNT_OF(parts), false);
    buf_fini(&head);
    return status;
}

void hot_decoded(struct cache_hit *hit, aic_view plain)
{
    struct aic_cache *cache = hit->cache;
    if (hit->pin.entry == NULL || cache->hot == NULL) return;
    if (plain.size >= cache->max_item_bytes / 2 || plain.size > share_of(cache) / ITEM_SHARE) return;
    if (slot_use(cache->hot, &hit->key) < DECODES_TO_MOVE) return;
    struct moment moment = hit_moment(hit);
    if (!moment_is_quiet(moment)) return;
    /* The bytes are booked before they are moved in, so that moves never exceed the share; a failed move is crossed off
     * by the tick. */
    if (!ledger_add(cache->hot, &hit->key, hit->head_bytes + plain.size, share_of(cache))) return;
    struct record record = hit->record;
    record.form = (struct codec_form){false, 0};
    record.payload = plain;
    (void)rewrite(cache, &hit->key, moment, &record);
}

/* True: it is compressed again, or does not get smaller. False: for want of memory, or somebody wrote meanwhile. */
static bool compress_again(struct cache_hit *hit)
{
    struct aic_cache *cache = hit->cache;
    struct buf plain, packed;
    buf_init(&plain, &cache->mem, MEM_CACHE);
    buf_init(&packed, &cache->mem, MEM_CACHE);
    struct record record = hit->record;
    size_t size = pin_size(&hit->pin) - hit->head_bytes;
    char *room = buf_reserve(&plain, size);
    aic_status status = room != NULL ? AIC_OK : AIC_NO_MEMORY;
    if (status == AIC_OK) {
        pin_copy(&hit->pin, hit->head_bytes, room, size);
        buf_commit(&plain, size);
        status = codec_encode(cache->codec, record.ns, buf_view(&plain), &packed, &record.form);
    }
    if (status == AIC_OK && record.form.compressed) {
        record.payload = buf_view(&packed);
        status = rewrite(cache, &hit->key, hit_moment(hit), &record);
    }
    buf_fini(&packed);
    buf_fini(&plain);
    return status == AIC_OK;
}

/* One turn of the ring's oldest. True when it was to be compressed (which costs). */
static bool turn(struct aic_cache *cache, const struct ledger_row *row, bool make_room)
{
    struct cache_hit hit;
    /* What is not there left by itself. */
    aic_status found = hit_peek(cache, &row->key, &hit);
    bool there = found == AIC_OK && !hit.record.form.compressed && pin_size(&hit.pin) == row->bytes;
    bool goes = there && make_room && !slot_take(cache->hot, &row->key);
    /* As long as it lies there plain it counts; without memory nobody can say whether it does. */
    bool kept = found == AIC_NO_MEMORY || (there && !(goes && compress_again(&hit)));
    cache_hit_release(&hit);
    if (kept) ledger_return(cache->hot, row);
    else ledger_drop(cache->hot, row);
    return goes;
}

void hot_tick(struct aic_cache *cache)
{
    struct hot *hot = cache->hot;
    if (hot == NULL) return;
    uint64_t share = share_of(cache);
    ledger_fit(hot, share);
    pthread_mutex_lock(&hot->lock);
    size_t rows = hot->count < CROSS_OFF_PER_TICK ? hot->count : CROSS_OFF_PER_TICK;
    bool wanted = hot->refused > 0 || hot->bytes > share;
    hot->refused = 0;
    pthread_mutex_unlock(&hot->lock);
    unsigned compressed = 0;
    for (size_t i = 0; i < rows; i++) {
        struct ledger_row row;
        if (!ledger_take_first(hot, &row)) return;
        compressed += turn(cache, &row, wanted && compressed < COMPRESS_PER_TICK);
    }
}

void hot_figures(struct hot *hot, struct figures *out)
{
    pthread_mutex_lock(&hot->lock);
    out->hot_entries = hot->count + hot->in_hand;
    out->hot_bytes = hot->bytes;
    pthread_mutex_unlock(&hot->lock);
}
