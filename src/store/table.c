#include "store/table.h"

#include "base/check.h"
#include "store/hash.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    TAG_SHIFT = 8,
    TAG_BITS = 16,
    SPARE_BUCKETS = 2 /* kept when keys go, so that the next ones do not split what was just folded */
};

void table_init(struct table *table, struct mem *mem, const char *base, char *buckets, size_t buckets_bytes,
                char *spills, size_t spills_bytes)
{
    memset(table, 0, sizeof *table);
    table->base = base;
    region_init(&table->buckets, mem, buckets, buckets_bytes);
    region_init(&table->spills, mem, spills, spills_bytes);
}

static struct bucket *bucket_at(const struct table *table, uint32_t bucket)
{
    return (struct bucket *)(void *)(table->buckets.base + (size_t)bucket * BUCKET_BYTES);
}

static struct bucket *spill_at(const struct table *table, uint32_t spill)
{
    CHECK(spill > 0 && spill <= table->spill_made);
    return (struct bucket *)(void *)(table->spills.base + (size_t)(spill - 1) * BUCKET_BYTES);
}

static struct bucket *next_of(const struct table *table, const struct bucket *bucket)
{
    return bucket->spill == 0 ? NULL : spill_at(table, bucket->spill);
}

static const struct entry *entry_of(const struct table *table, handle at)
{
    return (const struct entry *)(const void *)(table->base + (size_t)at * GRANULE_BYTES);
}

static uint16_t tag_of(uint64_t hash)
{
    return (uint16_t)(hash >> TAG_SHIFT);
}

static void set_count(struct table *table, uint32_t count)
{
    atomic_store_explicit(&table->count, count, memory_order_relaxed);
}

/* ------------------------------------------------------------------------------------- where bytes come and go -- */

static bool take_bucket(struct table *table, uint64_t *credit)
{
    if (*credit < BUCKET_BYTES) return false;
    *credit -= BUCKET_BYTES;
    table->bytes += BUCKET_BYTES;
    return true;
}

static void give_bucket(struct table *table, uint64_t *credit)
{
    CHECK(table->bytes >= BUCKET_BYTES);
    table->bytes -= BUCKET_BYTES;
    *credit += BUCKET_BYTES;
}

static bool has_spill_room(const struct table *table)
{
    return ((size_t)table->spill_made + 1) * BUCKET_BYTES <= table->spills.committed;
}

static aic_status take_spill(struct table *table, uint64_t *credit, uint32_t *out)
{
    uint32_t spill = table->spill_free;
    if (spill == 0 && !has_spill_room(table)) return AIC_BUSY;
    if (!take_bucket(table, credit)) return AIC_FULL;
    if (spill != 0) table->spill_free = spill_at(table, spill)->spill;
    else spill = ++table->spill_made;
    memset(spill_at(table, spill), 0, BUCKET_BYTES);
    *out = spill;
    return AIC_OK;
}

static void give_spill(struct table *table, uint32_t spill, uint64_t *credit)
{
    spill_at(table, spill)->spill = table->spill_free;
    table->spill_free = spill;
    give_bucket(table, credit);
}

/* ---------------------------------------------------------------------------------------------------------- find -- */

/* Bit i: slot i has this tag. */
static unsigned match_tags(const struct bucket *bucket, uint16_t tag)
{
    unsigned mask = 0;
#ifdef __SSE2__
    __m128i tags = _mm_loadu_si128((const __m128i *)(const void *)bucket->tags);
    __m128i equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16((short)tag));
    mask = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128()));
    const unsigned done = 8;
#else
    const unsigned done = 0;
#endif
    for (unsigned slot = done; slot < BUCKET_SLOTS; slot++) mask |= (unsigned)(bucket->tags[slot] == tag) << slot;
    return mask;
}

handle table_find(const struct table *table, uint64_t hash, const aic_key *key)
{
    if (table_count(table) == 0) return 0;
    uint16_t tag = tag_of(hash);
    for (const struct bucket *bucket = bucket_at(table, linear_bucket(hash, table_count(table))); bucket != NULL;
         bucket = next_of(table, bucket)) {
        for (unsigned mask = match_tags(bucket, tag); mask != 0; mask &= mask - 1) {
            handle at = bucket->entries[__builtin_ctz(mask)];
            if (at != 0 && memcmp(&entry_of(table, at)->key, key, sizeof *key) == 0) return at;
        }
    }
    return 0;
}

/* The slot that holds `at`; it must be there. */
static struct bucket *slot_of(const struct table *table, uint64_t hash, handle at, unsigned *slot)
{
    for (struct bucket *bucket = bucket_at(table, linear_bucket(hash, table_count(table))); bucket != NULL;
         bucket = next_of(table, bucket)) {
        for (unsigned i = 0; i < BUCKET_SLOTS; i++) {
            if (bucket->entries[i] != at) continue;
            *slot = i;
            return bucket;
        }
    }
    CHECK(!"a handle is missing from its bucket");
    return NULL;
}

/* ----------------------------------------------------------------------------------------------- grow and shrink -- */

static unsigned slots_used(const struct bucket *bucket)
{
    unsigned used = 0;
    while (used < BUCKET_SLOTS && bucket->entries[used] != 0) used++;
    return used;
}

/* Appends to a chain. AIC_FULL, AIC_BUSY as table_add(). */
static aic_status append(struct table *table, struct bucket *bucket, handle at, uint16_t tag, uint64_t *credit)
{
    while (bucket->spill != 0) bucket = spill_at(table, bucket->spill);
    unsigned slot = slots_used(bucket);
    if (slot == BUCKET_SLOTS) {
        uint32_t spill;
        TRY(take_spill(table, credit, &spill));
        bucket->spill = spill;
        bucket = spill_at(table, spill);
        slot = 0;
    }
    bucket->entries[slot] = at;
    bucket->tags[slot] = tag;
    return AIC_OK;
}

/* Does a slot move to the new bucket when this level splits? */
static bool moves(const struct table *table, handle at, uint16_t tag, unsigned level)
{
    if (level >= TAG_SHIFT && level < TAG_SHIFT + TAG_BITS) return (tag >> (level - TAG_SHIFT) & 1) != 0;
    return (hash_key(&entry_of(table, at)->key) >> level & 1) != 0;
}

/*
 * Splits one bucket into a new last one. The chain's spill buckets are given back one by one while it is dealt out
 * again, and two chains never need more of them together than the one did, so the appends cannot fail.
 */
static void split(struct table *table, uint64_t *credit)
{
    unsigned level = linear_level(table_count(table));
    struct bucket *low = bucket_at(table, table_count(table) - (1u << level));
    struct bucket *high = bucket_at(table, table->count);
    struct bucket from = *low;
    memset(low, 0, sizeof *low);
    memset(high, 0, sizeof *high);
    set_count(table, table_count(table) + 1);
    for (;;) {
        for (unsigned slot = 0; slot < BUCKET_SLOTS && from.entries[slot] != 0; slot++) {
            bool up = moves(table, from.entries[slot], from.tags[slot], level);
            CHECK(append(table, up ? high : low, from.entries[slot], from.tags[slot], credit) == AIC_OK);
        }
        uint32_t spill = from.spill;
        if (spill == 0) return;
        from = *spill_at(table, spill);
        give_spill(table, spill, credit);
    }
}

static bool is_growth_due(const struct table *table)
{
    return table->keys + 1 > (uint64_t)table_count(table) * BUCKET_TARGET;
}

static bool has_room_for(const struct table *table, uint32_t count)
{
    return (size_t)count * BUCKET_BYTES <= table->buckets.committed;
}

uint64_t table_wants(const struct table *table)
{
    return is_growth_due(table) ? 2 * BUCKET_BYTES : 0;
}

aic_status table_add(struct table *table, uint64_t hash, handle at, uint64_t *credit)
{
    if (table_count(table) == 0) {
        if (!has_room_for(table, 1)) return AIC_BUSY;
        if (!take_bucket(table, credit)) return AIC_FULL;
        memset(bucket_at(table, 0), 0, BUCKET_BYTES);
        set_count(table, 1);
    } else if (is_growth_due(table) && has_room_for(table, table_count(table) + 1) && *credit >= 2 * BUCKET_BYTES) {
        /* Growth can wait, a spill bucket cannot: one bucket of credit is left for it. */
        CHECK(take_bucket(table, credit));
        split(table, credit);
    }
    TRY(append(table, bucket_at(table, linear_bucket(hash, table_count(table))), at, tag_of(hash), credit));
    table->keys++;
    return AIC_OK;
}

/*
 * Folds the last bucket into the one that it was split from: split() backwards. The bucket that goes pays for the spill
 * bucket that the longer chain may need. Two full chains wait until that has changed: they would leave neither credit
 * nor a free slot, and a key that leaves to come back must find one of the two.
 */
static void fold(struct table *table, uint64_t *credit)
{
    uint32_t last = table_count(table) - 1, into = last - (1u << linear_level(last));
    uint32_t going = table_chain_length(table, last), staying = table_chain_length(table, into);
    bool has_spill = table->spill_free != 0 || has_spill_room(table);
    if (going + staying > BUCKET_SLOTS && !has_spill) return;
    if (going > 0 && staying > 0 && going % BUCKET_SLOTS == 0 && staying % BUCKET_SLOTS == 0) return;
    struct bucket from = *bucket_at(table, last), *to = bucket_at(table, into);
    set_count(table, last);
    give_bucket(table, credit);
    for (;;) {
        for (unsigned slot = 0, used = slots_used(&from); slot < used; slot++)
            CHECK(append(table, to, from.entries[slot], from.tags[slot], credit) == AIC_OK);
        uint32_t spill = from.spill;
        if (spill == 0) return;
        from = *spill_at(table, spill);
        give_spill(table, spill, credit);
    }
}

static void shrink(struct table *table, uint64_t *credit)
{
    if (table->keys == 0) {
        /* The last key left a chain of one empty bucket, and no spill bucket, anywhere. */
        for (uint32_t left = table_count(table); left > 0; left--) give_bucket(table, credit);
        CHECK(table->bytes == 0);
        set_count(table, 0);
        table->spill_made = table->spill_free = 0;
    } else if (table_count(table) > SPARE_BUCKETS &&
               table->keys < (uint64_t)(table_count(table) - SPARE_BUCKETS) * BUCKET_TARGET) {
        fold(table, credit);
    }
}

void table_remove(struct table *table, uint64_t hash, handle at, uint64_t *credit)
{
    unsigned slot;
    CHECK(table->keys > 0);
    struct bucket *holder = slot_of(table, hash, at, &slot);
    /* The last slot of the chain fills the gap, so that chains stay packed. */
    struct bucket *before = NULL, *last = holder;
    while (last->spill != 0) {
        before = last;
        last = spill_at(table, last->spill);
    }
    unsigned end = BUCKET_SLOTS;
    while (last->entries[end - 1] == 0) end--;
    holder->entries[slot] = last->entries[end - 1];
    holder->tags[slot] = last->tags[end - 1];
    last->entries[end - 1] = 0;
    last->tags[end - 1] = 0;
    table->keys--;
    if (end == 1) {
        /* An empty spill bucket goes; `before` is known unless the holder is the last one itself. */
        if (before == NULL) {
            before = bucket_at(table, linear_bucket(hash, table_count(table)));
            if (before == last) before = NULL;
            while (before != NULL && spill_at(table, before->spill) != last) before = spill_at(table, before->spill);
        }
        if (before != NULL) {
            give_spill(table, before->spill, credit);
            before->spill = 0;
        }
    }
    shrink(table, credit);
}

void table_swap(struct table *table, uint64_t hash, handle from, handle to)
{
    unsigned slot;
    struct bucket *holder = slot_of(table, hash, from, &slot);
    CHECK(memcmp(&entry_of(table, from)->key, &entry_of(table, to)->key, sizeof(aic_key)) == 0);
    holder->entries[slot] = to;
}

/* ----------------------------------------------------------------------------------------------- walk and verify -- */

uint32_t table_chain_length(const struct table *table, uint32_t bucket)
{
    uint32_t length = 0;
    for (const struct bucket *it = bucket_at(table, bucket); it != NULL; it = next_of(table, it))
        for (unsigned slot = 0; slot < BUCKET_SLOTS && it->entries[slot] != 0; slot++) length++;
    return length;
}

handle table_chain_at(const struct table *table, uint32_t bucket, uint32_t place)
{
    const struct bucket *it = bucket_at(table, bucket);
    for (; place >= BUCKET_SLOTS; place -= BUCKET_SLOTS) it = spill_at(table, it->spill);
    CHECK(it->entries[place] != 0); /* the place lies within the chain */
    return it->entries[place];
}

static const char *verify_bucket(const struct table *table, uint32_t number, uint64_t *keys, uint64_t *spills)
{
    bool ended = false;
    for (const struct bucket *it = bucket_at(table, number); it != NULL; it = next_of(table, it)) {
        for (unsigned slot = 0; slot < BUCKET_SLOTS; slot++) {
            if (it->entries[slot] == 0) {
                ended = true;
                continue;
            }
            if (ended) return "a chain of the table is not packed";
            uint64_t hash = hash_key(&entry_of(table, it->entries[slot])->key);
            if (linear_bucket(hash, table_count(table)) != number) return "a key lies in the wrong bucket";
            if (tag_of(hash) != it->tags[slot]) return "a key has the wrong tag";
            ++*keys;
        }
        if (it->spill != 0) {
            if (ended) return "a chain of the table goes on after its end";
            if (it->spill > table->spill_made) return "a chain leads to a spill bucket that was never made";
            if (spill_at(table, it->spill)->entries[0] == 0) return "an empty spill bucket is in use";
            ++*spills;
        }
    }
    return NULL;
}

const char *table_verify(const struct table *table)
{
    uint64_t keys = 0, spills = 0, free_spills = 0;
    for (uint32_t number = 0; number < table_count(table); number++) {
        const char *wrong = verify_bucket(table, number, &keys, &spills);
        if (wrong != NULL) return wrong;
    }
    for (uint32_t spill = table->spill_free; spill != 0 && free_spills <= table->spill_made; free_spills++)
        spill = spill_at(table, spill)->spill;
    if (keys != table->keys) return "the table's keys do not add up";
    if (spills + free_spills != table->spill_made) return "the table's spill buckets do not add up";
    if ((table_count(table) + spills) * BUCKET_BYTES != table->bytes) return "the table's bytes do not add up";
    return NULL;
}
