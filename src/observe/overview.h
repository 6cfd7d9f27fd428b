/*
 * overview.h - the daemon as it is looked at: its parts, who watches them, and what its threads count, in one place.
 *
 * The idea: metrics, snapshots, warnings and health are made from this and from nothing else, so that what is told of
 * the daemon needs to know nothing of how its routes answer. Each front thread counts in a tally of its own, which
 * stands in the list here from the thread's start to its end; what it counted stays in the sum, so that no counter ever
 * falls.
 *
 * Any thread, but for overview_tick(). The mutex protects what stands below it; above the labels' and the server's
 * alone.
 */
#ifndef OBSERVE_OVERVIEW_H
#define OBSERVE_OVERVIEW_H

#include "observe/metrics.h"
#include "observe/tally.h"
#include "observe/watch.h"

/* Everything is borrowed and outlives the overview. */
struct overview_options {
    struct mem *mem;
    const aic_clock *clock; /* NULL: the system's */
    struct log *log;        /* may be NULL */
    aic_cache *cache;
    aic_monitor *monitor; /* NULL: measurements are off */
    const char *version;
    struct watch_options watch;     /* root, history_file, webhook and percents; the rest is filled in */
    const char *storage_kind;       /* "none", "lmdb"; NULL: "none" */
    const char *data_dir;           /* where storage lies; NULL: not told */
    uint64_t storage_deadline_ms;   /* 0: 20 */
    uint64_t memory_warning_bytes;  /* of the memory tier; 0: none */
    uint64_t memory_critical_bytes; /* 0: none */
};

/*
 * Who serves the cache to others, as far as that is shown. Each function may be called by any thread, under the
 * overview's mutex.
 */
typedef void overview_tell_fn(void *to, enum metric metric, uint64_t value);
struct overview_front {
    void *context;
    /* How many connections are accepted at one time; when one last found no room (wall time, 0 for never). */
    void (*room)(void *context, uint64_t *connections, uint64_t *crowded_ms);
    /* Tells each figure of its own once. */
    void (*figures)(void *context, overview_tell_fn *tell, void *to);
};
/* The names under which the answers of a route are shown, both static. */
struct overview_route {
    const char *method, *path;
};
typedef struct overview_route overview_route_fn(size_t index);

/* What was counted when the figures of traffic were reset, to be taken off what is counted now. Zeroed at the start:
 * counters themselves never fall, since /metrics tells them. */
struct overview_marks {
    uint64_t since_ms; /* wall time of the start, or of the last reset */
    uint64_t puts, memory_evicted, storage_evicted, tokens_saved;
    double cost_saved_usd;
    struct hist_total lookup_ns;
};

struct overview {
    struct overview_options options; /* with the defaults filled in */
    struct labels labels;            /* of what is counted by namespace and operation */
    struct object_pools pools;       /* of all front threads */
    struct parts *parts;
    struct watch *watch;
    uint64_t started_ns; /* monotonic */
    uint64_t started_ms; /* wall time */
    /* As of the last tick: since when connections find no room (0: they do), and how many there is room for; relaxed.
     */
    _Atomic uint64_t crowded_since_ms, connections;
    _Atomic unsigned criticals;                     /* critical findings of the last tick; relaxed: stands for itself */
    _Atomic uint64_t warning_bytes, critical_bytes; /* relaxed: each stands for itself */
    overview_route_fn *route;                       /* whose answers are counted, in the order of tally.answers */
    size_t route_count;

    pthread_mutex_t mutex;
    struct tally *tallies;  /* of the front threads that run now */
    struct tally_sum *past; /* of those that ended */
    struct overview_marks marks;
    struct overview_front front; /* its functions are NULL while nobody serves */
};

/* `route` names the routes 0 .. route_count - 1; `seed` is of the labels. AIC_NO_MEMORY, AIC_INVALID; then there is
 * nothing to fini. */
AIC_MUST_CHECK aic_status overview_init(struct overview *overview, const struct overview_options *options,
                                        overview_route_fn *route, size_t route_count, uint64_t seed);
/* After the last overview_leave(). */
void overview_fini(struct overview *overview);

/* The once-a-second work: the figures that health repeats, all that the watch does, and the labels' changes of hands.
 * From one background thread; takes milliseconds. */
void overview_tick(struct overview *overview);

/* The health of the whole, in the words of parts_overall(): never healthy beside a critical warning. Any thread. */
enum probe_status overview_health(struct overview *overview, const struct probe_report *reports, unsigned *up,
                                  unsigned *counted);
/* Is memory short: the memory tier at a threshold that somebody set, or the process near its limit? Any thread. */
bool overview_memory_short(struct overview *overview, const aic_stats *stats);

/* A front thread's tally, zeroed before the first and owned by the thread until after the second. */
void overview_join(struct overview *overview, struct tally *tally);
void overview_leave(struct overview *overview, struct tally *tally);
/* What all front threads counted since the start; settles the labels. */
void overview_sum(struct overview *overview, struct tally_sum *out);

/* Lookups of one namespace since its label began, mostly the start, by outcome. AIC_OK, AIC_MISS: it has no label, so
 * that its lookups are counted together with others' (or it had none). AIC_NO_MEMORY. Any thread. */
AIC_MUST_CHECK aic_status overview_namespace(struct overview *overview, aic_view ns, labels_counts out);

/* Lookups of every outcome. */
void overview_lookups(const struct tally_sum *sum, struct hist_total *out);
/* Begins the figures of traffic anew: lookups, puts, evictions, savings, latency. Any thread. AIC_NO_MEMORY: nothing is
 * reset then. */
AIC_MUST_CHECK aic_status overview_reset(struct overview *overview);
/* What to take off, and since when the rest was counted. Any thread. */
void overview_marks(struct overview *overview, struct overview_marks *out);
uint64_t overview_since_ms(struct overview *overview);

/* The server whose figures are shown, from before its start until after its stop; NULL: none. Copied. */
void overview_attach(struct overview *overview, const struct overview_front *front);
/* Its figures; tells nothing without a server. */
void overview_front_figures(struct overview *overview, overview_tell_fn *tell, void *to);

#endif
