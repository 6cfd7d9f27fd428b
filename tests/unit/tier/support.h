/*
 * support.h - what the tests of the tier share: directories of their own, a clock that is set by hand, keys, and
 * records of a simple format.
 *
 * A sample record: created_ms u64 | expires_ms u64 | check u64 | seq u64 | labels u8 | {kind u8, size u8, bytes} ... |
 * payload. The check is the hash of all that follows.
 */
#ifndef TESTS_TIER_SUPPORT_H
#define TESTS_TIER_SUPPORT_H

#include "base/buf.h"
#include "base/clock.h"
#include "tier/tier.h"

#include <stdatomic.h>

struct scratch {
    char path[256];
};
void scratch_make(struct scratch *scratch);
/* Removes the directory with what is in it, one level deep. */
void scratch_remove(struct scratch *scratch);
/* "path/name" in a static buffer of the caller. */
void scratch_name(const struct scratch *scratch, const char *name, char *out, size_t size);
void scratch_write(const struct scratch *scratch, const char *name, const char *text);

struct hand_clock {
    aic_clock clock;
    _Atomic uint64_t wall_ms, mono_ns;
};
void hand_clock_init(struct hand_clock *hand, uint64_t wall_ms);

/* A small generator with a seed that can be printed. */
uint64_t random_next(uint64_t *state);
uint64_t random_below(uint64_t *state, uint64_t bound);
aic_key sample_key(uint64_t number);

struct sample {
    uint64_t created_ms, expires_ms;
    const char
        *labels[TIER_MAX_LABELS]; /* "0default", "1summarize", ...: the kind as a digit, then the value; NULL ends */
    size_t payload_bytes;
    uint64_t payload_seed;
    uint64_t seq;
};
void sample_write(const struct sample *sample, struct buf *out);
aic_status sample_describe(void *context, aic_view record, struct tier_description *out);
struct tier_label sample_label(const char *text);

/* The records of a walk from *at on (NULL: from the start), in the tier's pages; *at is then behind the last that was
 * visited. */
aic_status walk_tier(struct mem *mem, struct tier *tier, const struct tier_filter *filter, struct tier_place *at,
                     tier_visit_fn *visit, void *context);
aic_status walk_blobs(struct mem *mem, struct tier *tier, const char *prefix,
                      bool (*visit)(void *context, aic_view name, aic_view value), void *context);
/* Checks everything. */
aic_status check_tier(struct tier *tier, aic_error *error);

/* An allocator that fails the n-th allocation from when it was set, and all after it. */
struct failing_allocator {
    aic_allocator allocator;
    _Atomic int64_t left; /* negative: never fails */
    _Atomic int64_t live; /* blocks that were not released */
};
void failing_allocator_init(struct failing_allocator *failing);

#endif
