/*
 * check.h - is the structure of an LMDB file whole? Asked of the bytes themselves, without LMDB: its own walks
 * trust every page, and a damaged one ends the process (an assertion, a wild read).
 *
 * From the newer meta page every page of every tree is visited once: its number, its kind, the bounds and sizes of its
 * nodes, the order of the keys, the run behind a large value, the counts that the tree keeps of itself; then the list
 * of free pages. No page may be used twice. What the values say is not asked: records have checksums of their own.
 *
 * It reads with pread(), so a page that a disk does not give is a finding and no signal. Time: one read a tree page
 * (about 300 ms for a million small entries in memory); memory: a bit a page.
 *
 * Nobody may commit meanwhile; readers do not matter.
 */
#ifndef TIER_LMDB_CHECK_H
#define TIER_LMDB_CHECK_H

#include "base/clock.h"
#include "base/mem.h"

struct lmdb_finding {
    char what[96];    /* empty when the file is whole */
    uint64_t page;    /* where */
    bool named_whole; /* the database that was named, and the list of databases, are whole all the same */
};

struct lmdb_patience {
    const aic_clock *clock;
    unsigned max_ms;
};

/* AIC_OK: whole. AIC_DAMAGED: *out says what was found first. AIC_IO, AIC_NO_MEMORY, AIC_TIMEOUT: nothing is known.
 * `named`: a database to be told of by itself; NULL: none. `patience`: after how long it gives up; NULL: never.
 * `values`: large values are read too, only to learn whether the disk gives them. */
AIC_MUST_CHECK aic_status lmdb_check(struct mem *mem, int fd, const char *named, const struct lmdb_patience *patience,
                                     bool values, struct lmdb_finding *out);

#endif
