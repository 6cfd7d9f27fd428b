/*
 * stop.h - how long work is given up: whoever waits for it hangs up, or the program ends.
 *
 * Work that goes through entries looks at its flag at each of them, and then ends with AIC_CLOSED; what it has done
 * stays done. Any thread may set the flag, which is only ever set.
 */
#ifndef CACHE_STOP_H
#define CACHE_STOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef const _Atomic bool stop_flag;

/* NULL: never. Relaxed: nothing is ordered by it. */
static inline bool stop_is_set(stop_flag *stop)
{
    return stop != NULL && atomic_load_explicit(stop, memory_order_relaxed);
}

#endif
