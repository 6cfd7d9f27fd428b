/*
 * hist.h - a log-linear histogram: sixteen buckets per doubling, so that a percentile is never off by more than 1/16 of
 * its value.
 *
 * The idea: one writer per instance, many instances (one per thread) added together on read. Recording is an index from
 * the number of leading zeros and one relaxed add, about 2 ns; there is no lock and no shared cache line. Bucket i
 * holds low < v <= high with every power of two a boundary, so that the count of values <= 2^k is exact: those are the
 * `le` bounds that /metrics shows.
 *
 * Values are plain numbers of any unit up to 2^40 (18 minutes in nanoseconds); larger ones are counted in one last
 * bucket, and in `max` and `sum` as they are. An instance is 4.7 KB.
 */
#ifndef BASE_HIST_H
#define BASE_HIST_H

#include <aicache/aicache.h>
#include <stdatomic.h>

#define HIST_LINEAR_BITS 4 /* 16 buckets per doubling */
#define HIST_MAX_BITS 40
#define HIST_BUCKETS (((HIST_MAX_BITS - HIST_LINEAR_BITS + 1) << HIST_LINEAR_BITS) + 1) /* the last: beyond */

/* One writer's. A zeroed one is empty. */
struct hist {
    _Atomic uint64_t counts[HIST_BUCKETS]; /* relaxed: written by one thread, read by any */
    _Atomic uint64_t sum;
    _Atomic uint64_t max;
};

/* What was read from any number of instances; plain numbers. A zeroed one is empty. */
struct hist_total {
    uint64_t counts[HIST_BUCKETS];
    uint64_t count;
    uint64_t sum;
    uint64_t max;
};

/* The bucket of a value: v <= 16 has one of its own, beyond that sixteen to a doubling, each open below and closed
 * above. */
static inline unsigned hist_bucket(uint64_t value)
{
    uint64_t below = value > 0 ? value - 1 : 0;
    if (below < (1U << HIST_LINEAR_BITS)) return (unsigned)below;
    unsigned top = 63U - (unsigned)__builtin_clzll(below);
    if (top >= HIST_MAX_BITS) return HIST_BUCKETS - 1;
    unsigned shift = top - HIST_LINEAR_BITS;
    return ((shift + 1) << HIST_LINEAR_BITS) + (unsigned)((below >> shift) & ((1U << HIST_LINEAR_BITS) - 1));
}

/* Only the owner thread calls it. Load and store instead of an atomic add: there is no second writer to lose a count
 * to. */
static inline void hist_record(struct hist *hist, uint64_t value)
{
    _Atomic uint64_t *count = &hist->counts[hist_bucket(value)];
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
    atomic_store_explicit(&hist->sum, atomic_load_explicit(&hist->sum, memory_order_relaxed) + value,
                          memory_order_relaxed);
    if (value > atomic_load_explicit(&hist->max, memory_order_relaxed))
        atomic_store_explicit(&hist->max, value, memory_order_relaxed);
}

/*
 * Adds one instance to `total`; any thread, while the owner goes on recording. Each figure is exact as of some moment
 * during the call; `count` is the sum of the buckets, so that a cumulative series made from `total` never contradicts
 * itself.
 */
void hist_add(struct hist_total *total, const struct hist *hist);

/* The greatest value of a bucket; UINT64_MAX for the last. */
uint64_t hist_bucket_high(unsigned bucket);
/* The value that `fraction` (0..1) of all values do not exceed: the upper end of its bucket, never above `max`. 0
 * without values. */
uint64_t hist_percentile(const struct hist_total *total, double fraction);
/* How many values are <= 2^bits; exact for 4 <= bits <= HIST_MAX_BITS. */
uint64_t hist_count_until(const struct hist_total *total, unsigned bits);

#endif
