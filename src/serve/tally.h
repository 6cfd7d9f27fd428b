/*
 * tally.h - what the front threads count: lookups by namespace and operation, durations, savings, answers by route.
 *
 * The idea: one tally per front thread, written by it alone with plain relaxed stores, and added together when somebody
 * reads. A recording costs a few nanoseconds and shares no cache line. What threads do share are the label values: the
 * first TALLY_LABELS namespaces and operations that are seen get a number for the life of the process, all others are
 * counted as `other`, so that no client can grow the page of metrics.
 *
 * Finding a label is lock-free; the registry's mutex protects adding one (at most 2 x TALLY_LABELS times) and is a
 * leaf: nothing is taken under it.
 */
#ifndef SERVE_TALLY_H
#define SERVE_TALLY_H

#include "base/hist.h"
#include "base/mem.h"

#include <pthread.h>

#define TALLY_LABELS 100      /* distinct values of one label; the next is `other` */
#define TALLY_LABEL_SLOTS 256 /* a power of two above 2 x TALLY_LABELS */
#define TALLY_CELLS 1024      /* pairs of namespace and operation per thread; the last one takes what does not fit */

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

/* One set of known label values. */
struct tally_label {
    char text[AIC_MAX_NAME_BYTES];
    size_t size;
    uint64_t hash;
    unsigned number; /* 0 .. TALLY_LABELS - 1, in the order of appearance */
};
struct tally_names {
    struct mem *mem;
    uint64_t seed;
    _Atomic(struct tally_label *) slots[TALLY_LABEL_SLOTS]; /* release when added under the mutex, acquire by finders */
    _Atomic unsigned count;                                 /* the same */
    pthread_mutex_t mutex;                                  /* adding; a leaf */
};
void tally_names_init(struct tally_names *names, struct mem *mem, uint64_t seed);
void tally_names_fini(struct tally_names *names);
/* The number of a name, TALLY_LABELS for `other` (also when there is no memory to remember it). Any thread. */
unsigned tally_names_number(struct tally_names *names, aic_view name);
/* The text of a number: "other" for TALLY_LABELS and whatever is not known. Any thread. */
aic_view tally_names_text(const struct tally_names *names, unsigned number);

/* Counts of one pair. */
struct tally_cell {
    _Atomic uint32_t pair; /* 0: free; else namespace number + 1 and operation number + 1; release by the owner, acquire
                              by readers */
    _Atomic uint64_t counts[TALLY_OUTCOMES]; /* relaxed: one writer */
};

#define TALLY_MAX_ROUTES 64
#define TALLY_STATUS_CLASSES 6 /* 1xx .. 5xx; 0: ended without an answer */

/* One front thread's. Zeroed at the start. */
struct tally {
    struct tally_cell cells[TALLY_CELLS];
    struct hist lookup_ns[TALLY_OUTCOMES];
    struct hist store_ns;
    struct hist key_ns;
    struct hist age_ms;
    _Atomic uint64_t answers[TALLY_MAX_ROUTES][TALLY_STATUS_CLASSES]; /* relaxed: one writer */
    _Atomic uint64_t prompt_tokens_saved, completion_tokens_saved;    /* relaxed: one writer */
    _Atomic double cost_saved_usd;                                    /* relaxed: one writer */
    _Atomic uint64_t memo_hits, memo_misses;                          /* relaxed: one writer */
    _Atomic uint64_t worker_decodes;                                  /* relaxed: one writer */
};

/* Adds to a counter that one thread writes and any may read. */
static inline void tally_bump(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

/* The cell of a pair of label numbers; the owner thread only. Stays where it is for the life of the tally. */
struct tally_cell *tally_find(struct tally *tally, unsigned ns, unsigned operation);

/* The sum of several tallies. */
struct tally_pair {
    unsigned ns, operation;
    uint64_t counts[TALLY_OUTCOMES];
};
struct tally_sum {
    struct tally_pair pairs[2 * TALLY_CELLS];
    size_t pair_count;
    uint16_t index[TALLY_LABELS + 1][TALLY_LABELS + 1]; /* of a pair in `pairs`, from one; 0: not there */
    struct hist_total lookup_ns[TALLY_OUTCOMES];
    struct hist_total store_ns, key_ns, age_ms;
    uint64_t answers[TALLY_MAX_ROUTES][TALLY_STATUS_CLASSES];
    uint64_t prompt_tokens_saved, completion_tokens_saved;
    double cost_saved_usd;
    uint64_t memo_hits, memo_misses, worker_decodes;
};
/* Adds one thread's figures while it goes on counting. `sum` begins zeroed. Any thread. */
void tally_add(struct tally_sum *sum, const struct tally *tally);

#endif
