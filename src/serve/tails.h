/*
 * tails.h - a front thread's memory of rendered metadata: what is said of an entry does not change while the entry does
 * not.
 *
 * The idea: half of the instructions of a hit went into spelling the same twenty members again. A direct-mapped table
 * keeps the text of the last TAILS_SLOTS entries that were hit on this thread. An entry is known by its key, the
 * checksum of its record, which covers everything that is spelled, and the tiers; all are compared in full. (The
 * checksum alone would not do: it is not keyed, and whoever forged one would be shown another namespace's tags.)
 *
 * Bounded: texts up to TAILS_MAX_BYTES, at most 1.1 MB a thread. One thread.
 */
#ifndef SERVE_TAILS_H
#define SERVE_TAILS_H

#include "base/mem.h"

#define TAILS_SLOTS 1024
#define TAILS_MAX_BYTES 1024

struct tail {
    aic_key key;
    uint64_t checksum;
    unsigned tiers;
    uint32_t size;
    char text[];
};

struct tails {
    struct mem *mem;
    struct tail *slots[TAILS_SLOTS]; /* owned */
};

void tails_init(struct tails *tails, struct mem *mem);
void tails_fini(struct tails *tails);
/* The text, or the absent view. Valid until the next tails_add(). */
aic_view tails_find(const struct tails *tails, const aic_key *key, uint64_t checksum, unsigned tiers);
/* Keeps a copy in place of what the slot held. Without memory, or for a long text, nothing happens. */
void tails_add(struct tails *tails, const aic_key *key, uint64_t checksum, unsigned tiers, aic_view text);

#endif
