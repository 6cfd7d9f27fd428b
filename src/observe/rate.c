#include "observe/rate.h"

/* Period 0 is never used, so that an untouched bucket belongs to no period. */
static uint64_t period_at(uint64_t mono_ns)
{
    return mono_ns / (RATE_BUCKET_SECONDS * 1000000000ULL) + 1;
}

void rate_add(struct rate *rate, uint64_t mono_ns)
{
    uint64_t period = period_at(mono_ns);
    _Atomic uint64_t *bucket = &rate->buckets[period % RATE_BUCKETS];
    uint64_t seen = atomic_load_explicit(bucket, memory_order_relaxed);
    uint64_t next;
    do {
        next = seen >> 32 == period ? seen + 1 : (period << 32 | 1);
    } while (!atomic_compare_exchange_weak_explicit(bucket, &seen, next, memory_order_relaxed, memory_order_relaxed));
}

uint64_t rate_sum(const struct rate *rate, uint64_t mono_ns, uint64_t seconds)
{
    uint64_t now = period_at(mono_ns);
    uint64_t periods = (seconds + RATE_BUCKET_SECONDS - 1) / RATE_BUCKET_SECONDS;
    uint64_t sum = 0;
    for (unsigned i = 0; i < RATE_BUCKETS; i++) {
        uint64_t bucket = atomic_load_explicit(&rate->buckets[i], memory_order_relaxed);
        uint64_t period = bucket >> 32;
        if (period != 0 && period <= now && now - period < periods) sum += bucket & UINT32_MAX;
    }
    return sum;
}

void rate_clear(struct rate *rate)
{
    for (unsigned i = 0; i < RATE_BUCKETS; i++) atomic_store_explicit(&rate->buckets[i], 0, memory_order_relaxed);
}
