/*
 * lanes.h - a share for each thread of what all threads write, added together by whoever reads.
 *
 * The idea: threads that write the same cache line wait for each other, a tenth of a microsecond each time, however
 * little they write. So a thread gets an object of its own when it first writes; readers walk over all of them. Threads
 * are numbered as they come and the number picks the lane, so with more threads than LANES some share one: the objects
 * are made of atomics and stay correct with any number of writers.
 *
 * The first object is made at the start and goes to the thread that comes first; it also serves those for whom no
 * memory is left, so nothing that is written is ever lost to a failed allocation. Objects stay until the end.
 */
#ifndef BASE_LANES_H
#define BASE_LANES_H

#include "base/mem.h"

#define LANES 8
#define LANES_MOST (LANES + 1) /* objects at most: the lanes', and the first when it belongs to none */

typedef void lanes_init_fn(void *object, const void *context);

struct lanes {
    struct mem *mem;
    enum mem_owner owner;
    size_t bytes; /* of an object */
    lanes_init_fn *init;
    const void *context; /* borrowed */
    void *first;         /* owned */
    _Atomic bool taken;  /* `first` belongs to a lane; relaxed: the exchange alone decides whose it is */
    /* Owned, NULL until a thread of the lane writes; release when made, partner: the acquire of whoever looks. */
    void *_Atomic objects[LANES];
};

/* Objects are zeroed, then given to init with `context` (borrowed until the end). AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status lanes_setup(struct lanes *lanes, struct mem *mem, enum mem_owner owner, size_t bytes,
                                      lanes_init_fn *init, const void *context);
/* Nobody uses it any more. Accepts what was zeroed and never set up. */
void lanes_teardown(struct lanes *lanes);

/* The calling thread's object, never NULL. Any thread. */
void *lanes_mine(struct lanes *lanes);
/* The object at 0..LANES_MOST-1, NULL where there is none: each is met once in a walk over all. Any thread. */
void *lanes_at(const struct lanes *lanes, unsigned place);

/* The calling thread's lane, 0..LANES-1: for arrays of counters that a lane each would be too much for. Any thread. */
unsigned lane_of_thread(void);

#endif
