/*
 * holes.h - the free runs of granules: found by size in constant time, merged with their neighbours when memory comes
 * back.
 *
 * The idea is TLSF (Masmano et al., ECRTS 2004): bins by size, and a bitmap of the bins that are not empty. There are
 * 64 bins per doubling, so that what is found is the best fit to 1.6 %, and exact below 8 KiB: what is left of a hole
 * is often nothing. With eight per doubling three times as much lies in holes that are too short, and a
 * cache at its limit crumbles (docs/decisions/004-memory-tier.md). A hole keeps its links and its length in its own
 * first and last granule. Whether the granule beside a run that comes back belongs to a hole is told by one bit per
 * granule that is set on the first and the last granule of each hole only, so adding or removing a hole costs two bits.
 *
 *   arena (2 MiB) | entry | hole: [granules prev next ...... granules] | entry | entry | hole | ...
 *   edge bits        0 0 0         1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1       0 0 0 0 0 0    1 1
 *
 * Not thread-safe: the pool's lock protects it. Holes never cross an arena's end.
 */
#ifndef STORE_HOLES_H
#define STORE_HOLES_H

#include "store/entry.h"

enum {
    ARENA_BYTES = 2 << 20, /* one huge page */
    ARENA_GRANULES = ARENA_BYTES / GRANULE_BYTES,
    HOLE_STEP_BITS = 6,
    HOLE_STEPS = 1 << HOLE_STEP_BITS,                      /* bins per doubling; shorter holes have one bin a size */
    HOLE_BINS = (15 - HOLE_STEP_BITS + 1) * HOLE_STEPS + 1 /* up to 2^15, a whole arena, which has the last */
};

struct holes {
    char *base;      /* of the reservation; borrowed */
    uint64_t *edges; /* one bit per granule; borrowed */
    handle bins[HOLE_BINS];
    uint64_t filled[(HOLE_BINS + 63) / 64]; /* bit per bin: not empty */
    uint64_t granules;                      /* in holes that can be found */
    uint32_t count;
    uint32_t whole; /* holes that are an entire arena */
};

void holes_init(struct holes *holes, char *base, uint64_t *edges);
/*
 * Makes a run a hole without looking at its neighbours; a hidden one merges but is not found and not counted (its arena
 * is being emptied). The two functions through which every hole comes and goes.
 */
void holes_add(struct holes *holes, handle at, uint32_t granules, bool hidden);
void holes_remove(struct holes *holes, handle at);
/* Length of the hole that begins at `at`. */
uint32_t holes_length(const struct holes *holes, handle at);
/* A hole of at least `granules`, close to that size, or 0. */
handle holes_find(const struct holes *holes, uint32_t granules);
/* One of the largest, or 0. */
handle holes_largest(const struct holes *holes);
/* The hole that ends just before `at`, or begins at `at`; 0: none within the arena. */
handle holes_before(const struct holes *holes, handle at);
handle holes_behind(const struct holes *holes, handle at);
/* Hides or shows all holes of the arena with this number. */
void holes_hide(struct holes *holes, uint32_t arena, bool hidden);
/* Do any of these granules lie on the edge of a hole? */
bool holes_touch(const struct holes *holes, handle at, uint32_t granules);
/* Recounts; NULL, or what is wrong. */
const char *holes_verify(const struct holes *holes);

#endif
