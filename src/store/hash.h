/*
 * hash.h - one 64-bit hash per key, and which of its bits serve whom.
 *
 *   bits  0..31  address of the bucket, in the table and in the ghost (linear hashing uses the low bits first)
 *   bits  8..23  tag of a table slot: filters, and says where a key goes when its bucket splits at levels 8..23
 *   bits 32..42  fingerprint in the ghost
 *   bits 56..63  shard (as many of the top bits as there are shards)
 */
#ifndef STORE_HASH_H
#define STORE_HASH_H

#include <aicache/aicache.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t hash_key(const aic_key *key)
{
    return XXH3_64bits(key->bytes, sizeof key->bytes);
}

/* The bits in reverse: buckets in this order keep their order when the table grows or shrinks. */
static inline uint64_t hash_reverse(uint64_t x)
{
    x = (x >> 1 & 0x5555555555555555ull) | (x & 0x5555555555555555ull) << 1;
    x = (x >> 2 & 0x3333333333333333ull) | (x & 0x3333333333333333ull) << 2;
    x = (x >> 4 & 0x0f0f0f0f0f0f0f0full) | (x & 0x0f0f0f0f0f0f0f0full) << 4;
    return __builtin_bswap64(x);
}

/*
 * Linear hashing (Litwin, VLDB 1980): with `count` buckets (not 0), 2^level <= count < 2^(level+1), the buckets below
 * count - 2^level are split already and use one bit more.
 */
static inline unsigned linear_level(uint32_t count)
{
    return 31u - (unsigned)__builtin_clz(count);
}

static inline uint32_t linear_bucket(uint64_t hash, uint32_t count)
{
    unsigned level = linear_level(count);
    uint32_t wide = (uint32_t)hash & (uint32_t)((2ull << level) - 1);
    return wide - ((uint32_t)(wide >= count) << level); /* no jump: it would be guessed wrong as often as right */
}

#endif
