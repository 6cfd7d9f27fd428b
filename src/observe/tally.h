/*
 * tally.h - what the front threads count: lookups by namespace and operation, durations, savings, answers by route.
 *
 * The idea: one tally per front thread, written by it alone with plain relaxed stores, and added together when somebody
 * reads. A recording costs a few nanoseconds and shares no cache line. What threads do share are the numbers under
 * which pairs of namespace and operation are counted, and which of them have a label: labels.h.
 */
#ifndef OBSERVE_TALLY_H
#define OBSERVE_TALLY_H

#include "base/figures.h"
#include "base/hist.h"
#include "observe/labels.h"

/* What became of a lookup: name, then the labels result, kind and tier. */
#define TALLY_OUTCOME_MAP(X)                                                                                           \
    X(HIT_MEMORY, "hit", "exact", "memory")                                                                            \
    X(HIT_STORAGE, "hit", "exact", "storage")                                                                          \
    X(MISS, "miss", "exact", "none")

enum tally_outcome {
#define TALLY_OUTCOME_ENUM(name, result, kind, tier) TALLY_##name,
    TALLY_OUTCOME_MAP(TALLY_OUTCOME_ENUM)
#undef TALLY_OUTCOME_ENUM
        TALLY_OUTCOMES
};

_Static_assert((int)TALLY_OUTCOMES == LABELS_OUTCOMES, "pairs are counted by outcome");

#define TALLY_MAX_ROUTES 64
#define TALLY_STATUS_CLASSES 6 /* 1xx .. 5xx; 0: ended without an answer */

/* One front thread's. Zeroed at the start. */
struct tally {
    _Atomic uint64_t lookups[LABELS_PAIRS + 1][TALLY_OUTCOMES]; /* by number of a pair; relaxed: one writer */
    struct hist lookup_ns[TALLY_OUTCOMES];
    struct hist store_ns;
    struct hist key_ns;
    struct hist age_ms;
    _Atomic uint64_t answers[TALLY_MAX_ROUTES][TALLY_STATUS_CLASSES]; /* relaxed: one writer */
    struct figure_counts counts;                                      /* of one writer */
    struct tally *next;                                               /* the overview's */
};

/* Adds to a counter that one thread writes and any may read. */
static inline void tally_bump(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

/* Counts a lookup where its pair is counted, as long as the place holds; else with the rest. The owner thread only. */
static inline void tally_count(struct tally *tally, const struct labels *labels, struct labels_place place,
                               enum tally_outcome outcome)
{
    tally_bump(&tally->lookups[labels_hold(labels, place) ? place.number : 0][outcome], 1);
}

/* The sum of several tallies. */
struct tally_sum {
    labels_counts lookups[LABELS_PAIRS + 1];
    struct hist_total lookup_ns[TALLY_OUTCOMES];
    struct hist_total store_ns, key_ns, age_ms;
    uint64_t answers[TALLY_MAX_ROUTES][TALLY_STATUS_CLASSES];
    struct figures figures;
};
/* Adds one thread's figures while it goes on counting. `sum` begins zeroed. Any thread. */
void tally_add(struct tally_sum *sum, const struct tally *tally);

#endif
