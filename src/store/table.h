/*
 * table.h - which entry has this key: buckets of one cache line, grown one bucket at a time.
 *
 *   bucket, 64 bytes:  | 10 handles, 40 bytes | 10 tags, 20 bytes | spill, 4 bytes |
 *
 * The problem: an index that doubles stops a shard for milliseconds and is half empty afterwards. Linear hashing
 * (Litwin, VLDB 1980) adds one bucket when the load passes 9 keys a bucket and splits one other into it, so a put moves
 * a chain of slots at most and the index costs 9.4 bytes a key at any size (measured), the spill buckets of those not
 * yet split included. It shrinks the same way, two buckets later. The array grows in place, in a reserved range. A tag
 * is 16 bits of the hash: it filters (a key is compared when the tag matches) and tells where a slot goes in a split,
 * so that a split reads no entry.
 *
 * Bytes: every bucket is paid from a credit that the caller took from the budget, and is given back into one:
 * take_bucket() and give_bucket(). The shard's lock protects it.
 */
#ifndef STORE_TABLE_H
#define STORE_TABLE_H

#include "store/entry.h"
#include "store/hash.h"
#include "store/region.h"

enum { BUCKET_SLOTS = 10, BUCKET_BYTES = 64, BUCKET_TARGET = 9 };

struct bucket {
    handle entries[BUCKET_SLOTS]; /* packed: the first 0 ends the chain */
    uint16_t tags[BUCKET_SLOTS];
    uint32_t spill; /* number of a spill bucket + 1; 0: none */
};
static_assert(sizeof(struct bucket) == BUCKET_BYTES, "a bucket is one cache line");

struct table {
    const char *base; /* of the entries; borrowed */
    struct region buckets;
    struct region spills;
    _Atomic uint32_t count; /* buckets in use; relaxed: written under the lock, read without it only to prefetch */
    uint32_t spill_made;    /* spill buckets that were ever used since the table was empty */
    uint32_t spill_free;    /* list of free ones, linked by `spill` */
    uint64_t keys;
    uint64_t bytes; /* of buckets and spill buckets in use */
};

/* The ranges are borrowed. */
void table_init(struct table *table, struct mem *mem, const char *base, char *buckets, size_t buckets_bytes,
                char *spills, size_t spills_bytes);

/* The handle under this key, or 0. */
handle table_find(const struct table *table, uint64_t hash, const aic_key *key);
static inline uint32_t table_count(const struct table *table)
{
    return atomic_load_explicit(&table->count, memory_order_relaxed);
}

/* Brings the key's bucket closer. May be called without the lock: only a hint that can be wrong. */
static inline void table_prefetch(const struct table *table, uint64_t hash)
{
    uint32_t count = table_count(table);
    if (count > 0) __builtin_prefetch(table->buckets.base + (size_t)linear_bucket(hash, count) * BUCKET_BYTES);
}

/*
 * Adds a key that is not there. Grows by one bucket when that is due and the credit pays for it. AIC_FULL: a bucket is
 * needed and the credit is less than BUCKET_BYTES; AIC_BUSY: a region must be committed first. Nothing is changed then.
 */
AIC_MUST_CHECK aic_status table_add(struct table *table, uint64_t hash, handle at, uint64_t *credit);
/* Removes a key that is there; buckets that are not needed any more go into the credit. */
void table_remove(struct table *table, uint64_t hash, handle at, uint64_t *credit);
/* Puts another handle in the place of one that is there. */
void table_swap(struct table *table, uint64_t hash, handle from, handle to);

/* Bytes of credit that the next table_add() can use. */
uint64_t table_wants(const struct table *table);
/* The number of keys in a bucket's chain, and the handle at one place in it. */
uint32_t table_chain_length(const struct table *table, uint32_t bucket);
handle table_chain_at(const struct table *table, uint32_t bucket, uint32_t place);

/* Recounts; NULL, or what is wrong. */
const char *table_verify(const struct table *table);

#endif
