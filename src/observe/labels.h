/*
 * labels.h - which namespaces and operations have a name of their own among the metrics: the busiest hundred of each.
 *
 * The idea: pairs of namespace and operation are counted under numbers, LABELS_PAIRS of them at most, and each front
 * thread counts by number in memory of its own (tally.h). Who reads the counts settles them first: what came since the
 * last time is credited to the label that the pair's names have now, or to `other`. So each lookup stands in exactly
 * one series for good, no series ever falls, and the sum of all increases is right, while labels may change hands:
 *
 *   - a name has a label as soon as it is seen while there are free ones;
 *   - beyond that the busiest nameless one takes the place of the idlest, when it had more than twice its lookups of
 *     late (which fade within LABELS_FADE_S). The series of the one that leaves ends; that of the new one
 *     begins at zero with what was not settled yet. What was counted as `other` before stays there;
 *   - when all numbers are taken and somebody was turned away, the idlest LABELS_BATCH pairs give theirs up, first
 *     those without a label. A number is given out again a second later.
 *
 * A place that was found is remembered with the generation of its time, which changes with every number that is taken
 * away; a place of an older generation is looked up again, or counts as `other` where that cannot be done any more.
 *
 * Threads: finding a known pair is two loads per slot and takes no lock. Slots hold 117 bits of a seeded hash and the
 * number, nothing that could be freed: one that is read while it changes hands fits nobody. The mutex protects the rest
 * (adding, settling, reading) and is a leaf.
 */
#ifndef OBSERVE_LABELS_H
#define OBSERVE_LABELS_H

#include "base/mem.h"

#include <pthread.h>

#define LABELS_SHOWN 100  /* namespaces, and operations, with a label; number LABELS_SHOWN is `other` */
#define LABELS_PAIRS 1024 /* counted apart, as numbers from 1; number 0 is the rest */
#define LABELS_SLOTS 4096 /* a power of two, four times LABELS_PAIRS */
#define LABELS_WINDOW 16  /* slots in which a pair can be */
#define LABELS_BATCH 128  /* pairs that give up their number at once */
#define LABELS_FADE_S 300 /* settled every second, lookups of so long ago weigh 1/e */
#define LABELS_OUTCOMES 3

/* Where lookups of a pair are counted. Zeroed: nowhere yet. */
struct labels_place {
    uint32_t generation; /* never 0 */
    uint32_t number;     /* 0 .. LABELS_PAIRS */
};

enum labels_kind { LABELS_NAMESPACE, LABELS_OPERATION, LABELS_KINDS };

/* A namespace or an operation of a counted pair. */
struct labels_name {
    char text[AIC_MAX_NAME_BYTES];
    size_t size;
    uint64_t hash;
    unsigned pairs; /* that are counted; without any the name is forgotten */
    unsigned label; /* LABELS_SHOWN: `other` */
    bool rest;      /* spelled like the rest: never has a label, two series of one label set would spoil the page */
    double recent;  /* lookups, aged */
};

struct labels_pair {
    struct labels_name *names[LABELS_KINDS]; /* NULL: the number is free, or will be */
    unsigned slot;
    double recent;
    uint64_t retired_ns;            /* when it was taken away; 0: it was not */
    uint64_t seen[LABELS_OUTCOMES]; /* credited so far */
};

struct labels_slot {
    _Atomic uint64_t low;         /* relaxed, stored before `high_number` */
    _Atomic uint64_t high_number; /* the upper 53 bits of the hash and the number; 0: free. Release under the mutex,
                                     acquire by finders */
};

typedef uint64_t labels_counts[LABELS_OUTCOMES];

struct labels {
    struct mem *mem;
    uint64_t seed;
    struct labels_slot slots[LABELS_SLOTS];
    _Atomic uint32_t generation; /* release under the mutex, acquire by finders */
    _Atomic unsigned free_count; /* numbers that can be given out; relaxed: a hint, looked at again under the mutex */
    _Atomic bool refused;        /* somebody found no number; relaxed: a hint */
    pthread_mutex_t mutex;       /* all below; a leaf */
    struct labels_pair pairs[LABELS_PAIRS + 1];
    struct labels_name *names[LABELS_KINDS][LABELS_PAIRS]; /* owned */
    size_t name_count[LABELS_KINDS];
    struct labels_name *shown[LABELS_KINDS][LABELS_SHOWN];
    size_t shown_count[LABELS_KINDS];
    labels_counts *rows[LABELS_SHOWN]; /* owned: what the series of a namespace show, by label of the operation */
    labels_counts rest_row[LABELS_SHOWN + 1];
    uint64_t settled_ns;
};

void labels_init(struct labels *labels, struct mem *mem, uint64_t seed);
void labels_fini(struct labels *labels);

/* Where to count a pair; number 0 when there is no room or no memory. Any thread. */
struct labels_place labels_find(struct labels *labels, aic_view ns, aic_view operation);

/* Whether a place that was found earlier still holds. Any thread. */
static inline bool labels_hold(const struct labels *labels, struct labels_place place)
{
    /* Acquire pairs with the release in labels_settle: who sees the new number of a pair sees its generation. */
    return place.generation == atomic_load_explicit(&labels->generation, memory_order_acquire);
}

/* The operation of a place, copied; 0 bytes when that is not known: number 0, or a place that does not hold any more.
 * Takes the mutex: not for every lookup. Any thread. */
size_t labels_operation(struct labels *labels, struct labels_place place, char out[AIC_MAX_NAME_BYTES]);

/* Credits what was counted since the last time and lets labels change hands. `counts`: by number, of all threads since
 * the start, LABELS_PAIRS + 1 of them; callers see to it that they never fall between two calls. Any thread. */
void labels_settle(struct labels *labels, const labels_counts *counts, uint64_t now_ns);

/* The series, as settled last. */
struct labels_series {
    unsigned ns, operation; /* labels */
    labels_counts counts;
};
struct labels_text {
    char text[AIC_MAX_NAME_BYTES];
    size_t size;
};
struct labels_page {
    size_t count;
    struct labels_text texts[LABELS_KINDS][LABELS_SHOWN + 1];
    struct labels_series series[(LABELS_SHOWN + 1) * (LABELS_SHOWN + 1)];
};
void labels_read(struct labels *labels, struct labels_page *out);
static inline aic_view labels_page_text(const struct labels_page *page, enum labels_kind kind, unsigned label)
{
    return (aic_view){page->texts[kind][label].text, page->texts[kind][label].size};
}

#endif
