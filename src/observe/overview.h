/*
 * overview.h - the daemon as it is looked at: its parts, who watches them, and what its threads count, in one place.
 *
 * The idea: metrics, snapshots, warnings and health are made from this and from nothing else, so that what is told of
 * the daemon needs to know nothing of how its routes answer. Each front thread counts in a tally of its own, which
 * stands in the list here from the thread's start to its end; what it counted stays in the sum, so that no counter ever
 * falls.
 *
 * Once a second overview_tick() looks after the daemon: memory snapshots, pressure and what is done about it, the
 * verdict with its alerts, the kept history. The verdict is all that is wrong: warnings, alerts and health are three
 * views of it.
 *
 * Any thread, but for overview_tick(), overview_turn() and overview_stalled(), which one background thread calls. The
 * mutex protects what stands below it; above the labels' and the server's alone.
 */
#ifndef OBSERVE_OVERVIEW_H
#define OBSERVE_OVERVIEW_H

#include "base/log.h"
#include "base/object_pool.h"
#include "observe/alerts.h"
#include "observe/breakdown.h"
#include "observe/health.h"
#include "observe/history_file.h"
#include "observe/host.h"
#include "observe/metrics.h"
#include "observe/pressure.h"
#include "observe/tally.h"
#include "observe/verdict.h"
#include "observe/webhook.h"

/* Everything is borrowed and outlives the overview. */
struct overview_options {
    struct mem *mem;
    const aic_clock *clock; /* NULL: the system's */
    struct log *log;        /* may be NULL */
    aic_cache *cache;
    aic_monitor *monitor; /* NULL: measurements are off */
    const char *version;
    const char *root;         /* where /proc and /sys are; NULL: this machine's */
    const char *history_file; /* kept over restarts; NULL: not */
    struct loop
        *back; /* what waits for others runs there; has a thread, outlives the overview; needed with a webhook */
    const char *webhook;                        /* an address told of alerts; NULL: none */
    unsigned warning_percent, critical_percent; /* of the memory limit; 0: 75, 90 */
    const char *storage_kind;                   /* "none", "lmdb"; NULL: "none" */
    const char *data_dir;                       /* where storage lies; NULL: not told */
    uint64_t storage_deadline_ms;               /* 0: 20 */
    uint64_t memory_warning_bytes;              /* of the memory tier; 0: none */
    uint64_t memory_critical_bytes;             /* 0: none */
};

/*
 * Who serves the cache to others, as far as that is shown. Each function may be called by any thread, under the
 * overview's mutex.
 */
struct overview_front {
    void *context;
    /* How many connections are accepted at one time; when one last found no room (wall time, 0 for never). */
    void (*room)(void *context, uint64_t *connections, uint64_t *crowded_ms);
    /* Adds its own figures. */
    void (*figures)(void *context, struct figures *out);
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
    struct figures figures;
    struct hist_total lookup_ns;
};

/* Figures as of the last tick. */
struct overview_facts {
    struct figures stats;
    struct host_memory host;
    struct pressure_figures pressure;
};

struct overview {
    struct overview_options options; /* with the defaults filled in */
    struct labels labels;            /* of what is counted by namespace and operation */
    struct object_pools pools;       /* of all front threads */
    struct health *health;           /* of parts.h, by their place there */
    struct pressure *pressure;
    struct alerts *alerts;
    struct webhook *webhook; /* NULL: none */
    struct memory_look look; /* who holds memory */
    struct history_file history;
    unsigned ticks;
    uint64_t started_ns; /* monotonic */
    uint64_t started_ms; /* wall time */
    /* As of the last tick: since when connections find no room (0: they do), and how many there is room for; relaxed.
     */
    _Atomic uint64_t crowded_since_ms, connections;
    _Atomic uint64_t warning_bytes, critical_bytes; /* relaxed: each stands for itself */
    overview_route_fn *route;                       /* whose answers are counted, in the order of tally.answers */
    size_t route_count;

    pthread_mutex_t mutex;
    struct tally *tallies;  /* of the front threads that run now */
    struct tally_sum *past; /* of those that ended */
    struct overview_marks marks;
    struct overview_front front; /* its functions are NULL while nobody serves */
    struct overview_facts facts;
    struct verdict verdict; /* found last */
};

/* `route` names the routes 0 .. route_count - 1; `seed` is of the labels. AIC_NO_MEMORY, AIC_INVALID; then there is
 * nothing to fini. */
AIC_MUST_CHECK aic_status overview_init(struct overview *overview, const struct overview_options *options,
                                        overview_route_fn *route, size_t route_count, uint64_t seed);
/* After the last overview_leave(). */
void overview_fini(struct overview *overview);

/* The once-a-second work. Takes milliseconds. */
void overview_tick(struct overview *overview);
/* What health is to ask or to take now; returns in how many milliseconds to come again. Waits for nothing. */
uint64_t overview_turn(struct overview *overview);
/* A stall trigger of the kernel fired: pressure is looked at now. */
void overview_stalled(struct overview *overview);

void overview_facts(struct overview *overview, struct overview_facts *out);
/* What is wrong, as it was last found: by the tick, or by who asked. */
void overview_verdict(struct overview *overview, struct verdict *out);
/* What is wrong at this moment; all views show it from then on. Takes what a tenth of a tick takes. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status overview_find(struct overview *overview, struct verdict *out);

/* How the daemon is, in all its parts: what GET /health shows. */
struct overview_health {
    struct overview *overview;
    struct overview_facts facts; /* with the hits and misses of now, those of both tiers as hits_memory */
    struct health_report reports[HEALTH_PARTS];
    /* Unhealthy only when a vital part is; any other part that is not well degrades, and so does a critical warning. */
    enum health_status overall;
    unsigned up, counted; /* parts that are healthy, of those that are configured */
    unsigned criticals;   /* warnings of that severity */
    bool stopping;
    uint64_t now_ms;
};
/* stopping: the daemon is, so the whole is unhealthy. */
void overview_health(struct overview *overview, bool stopping, struct overview_health *out);

/* Makes a snapshot of memory from the cache's figures; process_bytes: RSS. Nothing without a monitor. */
void overview_record_memory(struct overview *overview, const struct figures *stats, uint64_t process_bytes);
/* Who holds memory at this moment, and the figures of the same moment. Blocks for milliseconds per GiB of RSS: not for
 * a front thread. false: the mappings cannot be read. */
bool overview_measure(struct overview *overview, struct breakdown *what, aic_memory_sample *now);

/* Is memory short: the memory tier at a threshold that somebody set, or the process near its limit? Any thread. */
bool overview_memory_short(struct overview *overview, const struct figures *figures);

/* A front thread's tally, zeroed before the first and owned by the thread until after the second. */
void overview_join(struct overview *overview, struct tally *tally);
void overview_leave(struct overview *overview, struct tally *tally);
/* What all front threads counted since the start; settles the labels. */
void overview_sum(struct overview *overview, struct tally_sum *out);
/* Every figure of the daemon as of now, counters since the start. Takes the cache's locks and reads files of /proc: not
 * for every request. Any thread. */
void overview_figures(struct overview *overview, struct figures *out);

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

#endif
