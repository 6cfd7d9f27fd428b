#include "base/hist.h"

#include "base/check.h"

_Static_assert(HIST_BUCKETS == 593, "the bucket formula and the array agree");

void hist_add(struct hist_total *total, const struct hist *hist)
{
    for (unsigned bucket = 0; bucket < HIST_BUCKETS; bucket++) {
        uint64_t count = atomic_load_explicit(&hist->counts[bucket], memory_order_relaxed);
        total->counts[bucket] += count;
        total->count += count;
    }
    total->sum += atomic_load_explicit(&hist->sum, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&hist->max, memory_order_relaxed);
    if (max > total->max) total->max = max;
}

uint64_t hist_bucket_high(unsigned bucket)
{
    if (bucket + 1 >= HIST_BUCKETS) return UINT64_MAX;
    unsigned group = bucket >> HIST_LINEAR_BITS;
    uint64_t within = bucket & ((1U << HIST_LINEAR_BITS) - 1);
    if (group == 0) return within + 1;
    return ((UINT64_C(1) << HIST_LINEAR_BITS) + within + 1) << (group - 1);
}

uint64_t hist_percentile(const struct hist_total *total, double fraction)
{
    if (total->count == 0) return 0;
    /* The rank is counted from one: the smallest value is rank 1, also for fraction 0. */
    double exact = fraction * (double)total->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact) rank++;
    if (rank == 0) rank = 1;
    if (rank > total->count) rank = total->count;
    uint64_t seen = 0;
    for (unsigned bucket = 0; bucket < HIST_BUCKETS; bucket++) {
        seen += total->counts[bucket];
        if (seen < rank) continue;
        uint64_t high = hist_bucket_high(bucket);
        return high > total->max ? total->max : high;
    }
    return total->max;
}

uint64_t hist_count_until(const struct hist_total *total, unsigned bits)
{
    CHECK(bits >= HIST_LINEAR_BITS && bits <= HIST_MAX_BITS);
    unsigned last = hist_bucket(UINT64_C(1) << bits);
    uint64_t count = 0;
    for (unsigned bucket = 0; bucket <= last; bucket++) count += total->counts[bucket];
    return count;
}
