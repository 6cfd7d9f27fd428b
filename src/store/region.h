/*
 * region.h - a range of addresses that is made usable from the front in steps: room for an array that grows without
 * moving.
 *
 * region_commit() is a system call and is made with no shard lock held; the owner of the array checks `committed` under
 * its lock and says that it wants more. Pages that were never touched cost nothing, so what is resident is what the
 * array uses, to a page.
 */
#ifndef STORE_REGION_H
#define STORE_REGION_H

#include "base/mem.h"

enum { REGION_STEP_BYTES = 16 << 10 };

struct region {
    struct mem *mem;
    char *base;       /* borrowed: a part of a larger reservation */
    size_t reserved;  /* a multiple of REGION_STEP_BYTES */
    size_t committed; /* usable from the front; changed under the owner's lock by region_set() */
};

void region_init(struct region *region, struct mem *mem, char *base, size_t reserved);
/*
 * Makes [from, to) usable, both multiples of the step, within the reservation; region_set(to) follows under the lock.
 * One thread at a time per region. AIC_NO_MEMORY.
 */
AIC_MUST_CHECK aic_status region_commit(struct region *region, size_t from, size_t to);
/* Gives [from, to) back to the kernel after region_set(from). */
void region_return(struct region *region, size_t from, size_t to);
void region_set(struct region *region, size_t committed);

#endif
