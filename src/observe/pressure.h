/*
 * pressure.h - memory pressure of the machine or the cgroup: a state with hysteresis, its history, and what is done
 * about it.
 *
 * A state is entered at its threshold and left 5 points below. Entering a state upwards runs the actions: the memory
 * tier shrinks to a target computed from the excess (never below a fifth of its configured size; a stall without an
 * excess takes a twentieth), free lists are emptied, the allocator gives its pages back. When pressure has been normal
 * for half a minute, the tier grows back by a twentieth of its configured size per tick. (Bounds as in CacheLib's
 * memory monitor: at most so much given away, slow return.)
 *
 * pressure_tick() is called by one thread, once a second or when a stall trigger fires; the rest by any thread. A mutex
 * guards the state; actions run outside it.
 */
#ifndef OBSERVE_PRESSURE_H
#define OBSERVE_PRESSURE_H

#include "base/clock.h"
#include "base/json.h"
#include "observe/host.h"

#include <pthread.h>

/* Percent of the memory limit: the default thresholds, and how far below its own a state is left. */
#define PRESSURE_USUAL_WARNING 75
#define PRESSURE_USUAL_CRITICAL 90
#define PRESSURE_LEAVE_POINTS 5
/* Of the memory tier's configured size: what is left of it at least, and what a stall takes and a tick gives back. */
#define PRESSURE_FLOOR_DIVISOR 5
#define PRESSURE_STEP_DIVISOR 20

enum pressure_state { PRESSURE_NORMAL, PRESSURE_WARNING, PRESSURE_CRITICAL };
const char *pressure_state_name(enum pressure_state state);

/* What the owner of the memory can do. Each may be NULL. Called by the thread that ticks. */
struct pressure_actions {
    uint64_t (*cache_bytes)(void *context); /* what the memory tier uses now */
    void (*resize_cache)(void *context, uint64_t max_bytes);
    size_t (*empty_pools)(void *context); /* bytes released */
    void (*purge_allocator)(void *context);
    void (*log)(void *context, aic_log_level level, const char *line);
    void *context;
};

struct pressure_options {
    struct mem *mem;
    const aic_clock *clock;
    const char *root;         /* "" for this machine; borrowed as long as the monitor lives */
    double warning_percent;   /* 0: PRESSURE_USUAL_WARNING */
    double critical_percent;  /* 0: PRESSURE_USUAL_CRITICAL */
    uint64_t cache_max_bytes; /* the memory tier's configured limit */
    struct pressure_actions actions;
};

struct pressure;
/* AIC_INVALID when the thresholds are not 0 < warning < critical <= 100; AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status pressure_create(const struct pressure_options *options, struct pressure **out,
                                          aic_error *error);
void pressure_destroy(struct pressure **pressure);

/* Looks at the host and acts. `host`: what was just read of it; NULL: it is read here. `stalled`: a stall trigger
 * fired.
 */
void pressure_tick(struct pressure *pressure, const struct host_memory *host, bool stalled);
/* The same with a given figure in place of the host's (tests, embedders). Returns the state after it. */
enum pressure_state pressure_observe(struct pressure *pressure, double percent, uint64_t limit_bytes, bool stalled);

enum pressure_state pressure_state(struct pressure *pressure);

/* As of the last tick. */
struct pressure_figures {
    enum pressure_state state;
    uint64_t since_ms;       /* when it was entered */
    double percent;          /* of the limit */
    uint64_t limit_bytes;    /* the cgroup's, or the machine's memory; 0: nothing was read of the host yet */
    unsigned cgroup_version; /* 1 or 2; 0: the limit is the machine's */
    double warning_percent, critical_percent;
    uint64_t cache_limit, cache_max_bytes; /* of the memory tier: in force, configured */
    struct host_psi psi;
};
void pressure_read(struct pressure *pressure, struct pressure_figures *out);
/* The configured limit of the memory tier changed. */
void pressure_set_cache_limit(struct pressure *pressure, uint64_t cache_max_bytes);
/* {current_state, current_pressure, avg_pressure_30m, peak_pressure_30m, pressure_trends, psi, cgroup, actions[], …} */
void pressure_write(struct pressure *pressure, struct json_writer *out);

#endif
