/*
 * lock.h - a mutex of four bytes whose usual way through is two instructions, in line.
 *
 * Why not pthread's: a get waits for two lines of memory, and what decides its cost in a row of gets is how much of the
 * next one the processor can begin meanwhile. It looks some 300 instructions ahead. A pthread mutex takes 60 of them,
 * this one 6: measured, 40 to 90 ns of a get (docs/decisions/004-memory-tier.md).
 *
 * The idea is the third mutex of "Futexes are tricky" (Drepper, 2004): 0 free, 1 taken, 2 taken and somebody sleeps.
 * Who finds it taken looks again for some microseconds, which is longer than any of these locks is held, and then
 * sleeps in the kernel. Not recursive, not fair. Any thread; no order of its own.
 */
#ifndef STORE_LOCK_H
#define STORE_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct lock {
    _Atomic uint32_t state; /* acquire in lock_take(), release in lock_give(): they pair with each other */
};

enum { LOCK_FREE = 0, LOCK_TAKEN = 1, LOCK_SLEPT_ON = 2 };

static inline void lock_init(struct lock *lock)
{
    atomic_init(&lock->state, LOCK_FREE);
}

/* The slow ways: wait until it is taken; wake one who sleeps, for it was given in the state `found`. */
void lock_take_slow(struct lock *lock);
void lock_wake(struct lock *lock, uint32_t found);

/* Does anybody hold it? For checks at the doors of what it protects. */
static inline bool lock_is_taken(const struct lock *lock)
{
    return atomic_load_explicit(&lock->state, memory_order_relaxed) != LOCK_FREE;
}

static inline void lock_take(struct lock *lock)
{
    uint32_t found = LOCK_FREE;
    if (!atomic_compare_exchange_strong_explicit(&lock->state, &found, LOCK_TAKEN, memory_order_acquire,
                                                 memory_order_relaxed))
        lock_take_slow(lock);
}

static inline void lock_give(struct lock *lock)
{
    uint32_t found = atomic_exchange_explicit(&lock->state, LOCK_FREE, memory_order_release);
    if (found != LOCK_TAKEN) lock_wake(lock, found);
}

#endif
