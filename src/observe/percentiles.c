#include "observe/percentiles.h"

static void hist_clear(struct hist *hist)
{
    for (unsigned i = 0; i < HIST_BUCKETS; i++) atomic_store_explicit(&hist->counts[i], 0, memory_order_relaxed);
    atomic_store_explicit(&hist->sum, 0, memory_order_relaxed);
    atomic_store_explicit(&hist->max, 0, memory_order_relaxed);
}

void percentiles_init(struct percentiles *percentiles, uint64_t period_ns)
{
    percentiles->period_ns = period_ns > 0 ? period_ns : 1;
}

/*
 * Moves on to the period of `now_ns`. The thread that wins the exchange clears the half that the new period fills; a
 * duration that another thread records in between may be cleared with it, which costs one count at most per thread and
 * period.
 */
static uint64_t turn(struct percentiles *percentiles, uint64_t now_ns)
{
    uint64_t period = now_ns / percentiles->period_ns + 1;
    uint64_t seen = atomic_load_explicit(&percentiles->period, memory_order_acquire);
    while (period > seen) {
        if (!atomic_compare_exchange_weak_explicit(&percentiles->period, &seen, period, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        hist_clear(&percentiles->halves[period % 2]);
        if (period - seen > 1) hist_clear(&percentiles->halves[(period + 1) % 2]);
        return period;
    }
    return seen;
}

void percentiles_add(struct percentiles *percentiles, uint64_t now_ns, double seconds)
{
    struct hist *hist = &percentiles->halves[turn(percentiles, now_ns) % 2];
    uint64_t ns = seconds > 0 ? (uint64_t)(seconds * 1e9) : 0;
    atomic_fetch_add_explicit(&hist->counts[hist_bucket(ns)], 1, memory_order_relaxed);
    uint64_t max = atomic_load_explicit(&hist->max, memory_order_relaxed);
    while (ns > max &&
           !atomic_compare_exchange_weak_explicit(&hist->max, &max, ns, memory_order_relaxed, memory_order_relaxed)) {
    }
}

void percentiles_clear(struct percentiles *percentiles)
{
    hist_clear(&percentiles->halves[0]);
    hist_clear(&percentiles->halves[1]);
}

void percentiles_sum(struct percentiles *percentiles, uint64_t now_ns, struct hist_total *total)
{
    turn(percentiles, now_ns);
    hist_add(total, &percentiles->halves[0]);
    hist_add(total, &percentiles->halves[1]);
}

void percentiles_write(const struct hist_total *total, struct json_writer *out)
{
    if (total->count == 0) return;
    static const struct {
        const char *name;
        double fraction;
    } wanted[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    for (unsigned i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        json_key(out, wanted[i].name);
        json_put_double(out, (double)hist_percentile(total, wanted[i].fraction) / 1e9);
    }
}
