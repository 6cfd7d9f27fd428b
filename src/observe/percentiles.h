/*
 * percentiles.h - percentiles of durations over the retention window, from two log-linear histograms that take turns.
 *
 * A stream keeps at most max_measurements samples; under load these cover seconds. The histograms count every duration:
 * one is filled during a retention period, the one of the period before is kept, so a percentile covers between one and
 * two periods. Any thread records; a percentile is never off by more than 1/16 of its value. 9.4 KB.
 */
#ifndef OBSERVE_PERCENTILES_H
#define OBSERVE_PERCENTILES_H

#include "base/hist.h"
#include "base/json.h"

struct percentiles {
    uint64_t period_ns;
    _Atomic uint64_t period; /* the period that `halves[period % 2]` counts; acquire/release: orders its clearing */
    struct hist halves[2];
};

/* percentiles is zeroed. */
void percentiles_init(struct percentiles *percentiles, uint64_t period_ns);
void percentiles_add(struct percentiles *percentiles, uint64_t now_ns, double seconds);
void percentiles_clear(struct percentiles *percentiles);
/* Adds what both halves hold at now_ns to `total`. */
void percentiles_sum(struct percentiles *percentiles, uint64_t now_ns, struct hist_total *total);
/* Writes the members p50, p90, p99, p999 in seconds; nothing when nothing was counted. */
void percentiles_write(const struct hist_total *total, struct json_writer *out);

#endif
