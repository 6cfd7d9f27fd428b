/*
 * tails.h - a front thread's memory of rendered metadata: what is said of an entry does not change while the entry does
 * not.
 *
 * The idea: half of the instructions of a hit went into spelling the same twenty members again. A direct-mapped table
 * keeps the text of the last TAILS_SLOTS entries that were hit on this thread. An entry is known by its key, the
 * checksum of its record, which covers everything that is spelled, and the tiers; all are compared in full. (The
 * checksum alone would not do: it is not keyed, and whoever forged one would be shown another namespace's tags.)
 *
 * Answers are sent from the table's own text, which stays as it is as long as one of them has it pinned.
 *
 * Bounded: texts up to TAILS_MAX_BYTES, at most 1.1 MB a thread beside what is being sent. One thread.
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
    unsigned pins; /* the table's, and those of answers; freed with the last */
    uint32_t size;
    char text[];
};

struct tails {
    struct mem *mem;
    struct tail *slots[TAILS_SLOTS]; /* owned */
};

void tails_init(struct tails *tails, struct mem *mem);
void tails_fini(struct tails *tails); /* every pin must have been released */
/* What is known of an entry, pinned; NULL: nothing. */
struct tail *tails_pin(struct tails *tails, const aic_key *key, uint64_t checksum, unsigned tiers);
/* Accepts a pointer to NULL; nulls. */
void tails_release(struct tails *tails, struct tail **tail);
/* Keeps a copy in place of what the slot held. Without memory, or for a long text, nothing happens. */
void tails_add(struct tails *tails, const aic_key *key, uint64_t checksum, unsigned tiers, aic_view text);

#endif
