/*
 * figures.h - every figure of the program by its name, from one table (figures.def).
 *
 * The idea: a floor counts where something happens, in a struct figure_counts of its own, and says with one line what
 * it read of its structures in a struct figures. It knows nothing of who asks. Whoever asks adds the counts of all
 * floors together; what is told from them (metrics, status, stream, the library's aic_cache_figure()) goes through the
 * table. So a new figure is a row, and a line where it is counted.
 *
 * Both structs have a member for each row, also those of floors that never touch them: a few hundred bytes that nobody
 * has to wire up.
 */
#ifndef BASE_FIGURES_H
#define BASE_FIGURES_H

#include "base/lanes.h"

#include <stdatomic.h>

struct json_writer;

/* Who counts: the cache with its memory tier, its storage tier, the kernel's stall counters, the HTTP server, the
 * webhook, and the daemon around them. */
enum figure_owner { FIGURES_CACHE, FIGURES_STORAGE, FIGURES_STALLS, FIGURES_HTTP, FIGURES_WEBHOOK, FIGURES_DAEMON };
enum figure_kind { FIGURE_COUNTER, FIGURE_GAUGE, FIGURE_REAL_COUNTER, FIGURE_REAL_GAUGE };

enum {
#define FIGURE(owner, name, kind, metric, labels, path, help) FIGURE_NUMBER_##name,
#include "base/figures.def"
    FIGURE_TOTAL
};

#define FIGURE_TYPE_COUNTER uint64_t
#define FIGURE_TYPE_GAUGE uint64_t
#define FIGURE_TYPE_REAL_COUNTER double
#define FIGURE_TYPE_REAL_GAUGE double

/* What was read at one time. Zeroed: nothing was. */
struct figures {
    unsigned owners; /* bits of enum figure_owner: whose figures were read */
    union {
        union {
            uint64_t whole;
            double real;
        } of[FIGURE_TOTAL];
        struct {
#define FIGURE(owner, name, kind, metric, labels, path, help) FIGURE_TYPE_##kind name;
#include "base/figures.def"
        };
    };
};

/* What is counted. Relaxed: a figure stands for itself, and nothing is ordered by it. Zeroed at the start. */
struct figure_counts {
    union {
        _Atomic uint64_t of[FIGURE_TOTAL];
        struct {
#define FIGURE(owner, name, kind, metric, labels, path, help) _Atomic FIGURE_TYPE_##kind name;
#include "base/figures.def"
        };
    };
};

_Static_assert(sizeof(struct figure_counts) == FIGURE_TOTAL * sizeof(uint64_t),
               "members and numbers are the same figures");

/* Adds to one figure that any thread may add to. */
#define FIGURE_COUNT(counts, name, amount) atomic_fetch_add_explicit(&(counts)->name, (amount), memory_order_relaxed)
/* The same, without a locked instruction, of counts that one thread alone writes. */
#define FIGURE_COUNT_OWN(counts, name, amount)                                                                         \
    atomic_store_explicit(&(counts)->name, atomic_load_explicit(&(counts)->name, memory_order_relaxed) + (amount),     \
                          memory_order_relaxed)

/* Counts of what many threads do often: each thread adds in its lane, so that they share no cache line. */
struct figure_lanes {
    struct {
        struct figure_counts counts;
        char apart[128];
    } lanes[LANES];
};
#define FIGURE_COUNT_LANE(all, name, amount) FIGURE_COUNT(&(all)->lanes[lane_of_thread()].counts, name, amount)

/* Adds what was counted; others go on counting. Any thread. */
void figures_add(struct figures *out, const struct figure_counts *counts);
void figures_add_lanes(struct figures *out, const struct figure_lanes *lanes);
/* What came since `mark`: counters alone are changed, and none falls below 0. */
void figures_since(struct figures *figures, const struct figures *mark);

/* One row of the table. */
struct figure_row {
    enum figure_owner owner;
    enum figure_kind kind;
    const char *metric, *labels, *path, *help; /* as in figures.def */
};
extern const struct figure_row figure_rows[FIGURE_TOTAL];

static inline bool figure_is_real(const struct figure_row *row)
{
    return row->kind == FIGURE_REAL_COUNTER || row->kind == FIGURE_REAL_GAUGE;
}
/* Were those of this owner read? Not where there is no such part. */
static inline bool figures_are_read(const struct figures *figures, enum figure_owner owner)
{
    return (figures->owners >> owner & 1) != 0;
}

/* Writes every section as an object with a member for each figure, also of those whose owner was not read. `words`
 * (NULL: none) writes what else is said in a section. */
typedef void figures_words_fn(const void *context, const struct figures *figures, aic_view section,
                              struct json_writer *out);
void figures_write(const struct figures *figures, figures_words_fn *words, const void *context,
                   struct json_writer *out);

#endif
