/*
 * dictionary.h - one trained dictionary, digested for both directions, and the set of those that are known. Internal to
 * the codec.
 *
 * A dictionary is immutable but for its reference count: the set holds one reference, every call that compresses or
 * unpacks with it holds one meanwhile. The set itself is protected by the codec's lock.
 */
#ifndef STORE_DICTIONARY_H
#define STORE_DICTIONARY_H

#include "store/zstd_mem.h"

struct dictionary {
    struct mem *mem;
    struct dictionary *next; /* in its chain of the set */
    uint32_t id;             /* also inside the bytes, so that zstd refuses a frame of another one */
    bool encodes;            /* the newest of its group; protected by the codec's lock */
    _Atomic uint32_t references;
    size_t size;
    void *compress_room; /* owned; the two digests lie in them and refer to `bytes` */
    void *decompress_room;
    size_t compress_size;
    size_t decompress_size;
    const ZSTD_CDict *compress;
    const ZSTD_DDict *decompress;
    char bytes[];
};

/* Copies and digests; one reference. AIC_DAMAGED when the bytes are no dictionary with this id, AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status dictionary_create(struct mem *mem, uint32_t id, aic_view bytes, int level,
                                            struct dictionary **out);
void dictionary_take(struct dictionary *dictionary);
/* Nulls; accepts a pointer to NULL; the last reference frees. */
void dictionary_release(struct dictionary **dictionary);
/* What it holds in memory, digests included. */
size_t dictionary_bytes(const struct dictionary *dictionary);

enum { DICTIONARY_CHAINS = 256 };
struct dictionary_set {
    struct dictionary *chains[DICTIONARY_CHAINS];
    size_t count;
    size_t bytes;
};
/* Takes over the caller's reference. No dictionary of this id may be there. */
void dictionary_set_add(struct dictionary_set *set, struct dictionary *dictionary);
/* Borrowed; NULL when there is none. */
struct dictionary *dictionary_set_find(const struct dictionary_set *set, uint32_t id);
/* Gives the set's reference to the caller; NULL when there is none. */
struct dictionary *dictionary_set_remove(struct dictionary_set *set, uint32_t id);

#endif
