/*
 * rate.h - how often something happened in the last hour and the last day, whatever number of events is kept.
 *
 * A day in buckets of ten seconds; a bucket packs its period's number and a count in one word, so that adding is one
 * compare-and-swap. Error of a figure: what happened in at most one bucket. 69 KB.
 */
#ifndef OBSERVE_RATE_H
#define OBSERVE_RATE_H

#include <stdatomic.h>
#include <stdint.h>

#define RATE_BUCKET_SECONDS 10
#define RATE_BUCKETS (86400 / RATE_BUCKET_SECONDS)

struct rate {
    /* Period number << 32 | count; relaxed: a bucket depends on no other memory. */
    _Atomic uint64_t buckets[RATE_BUCKETS];
};

/* mono_ns: now, on the monotonic clock. Any thread. */
void rate_add(struct rate *rate, uint64_t mono_ns);
/* What was added in the last `seconds` (0..86400), rounded up to whole buckets, without what lies in the oldest one
 * that begins before them. Any thread. */
uint64_t rate_sum(const struct rate *rate, uint64_t mono_ns, uint64_t seconds);
void rate_clear(struct rate *rate);

#endif
