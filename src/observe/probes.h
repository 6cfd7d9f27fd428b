/*
 * probes.h - is every part well? Measured in the background, answered from memory.
 *
 * Each part has a check that may block, and a thread of its own that runs it every `interval_ms`, with retries and
 * growing pauses; so a part that hangs delays no other, and a reader never waits. An error is unhealthy, with its
 * message. A try that takes longer than the deadline is degraded, "timed out", while it lasts and after, with the error
 * that came of it. The last results of each part are kept. Registering happens
 * before probes_start(); everything else may be called by any thread. A mutex guards the results; checks run outside
 * it.
 */
#ifndef OBSERVE_PROBES_H
#define OBSERVE_PROBES_H

#include "base/clock.h"
#include "base/json.h"

#include <pthread.h>

enum probe_status { PROBE_HEALTHY, PROBE_DEGRADED, PROBE_UNHEALTHY, PROBE_DISABLED };
const char *probe_status_name(enum probe_status status);

#define PROBE_DETAILS_BYTES 160

struct probe_result {
    enum probe_status status;
    char details[PROBE_DETAILS_BYTES];
};
/* Fills *result. AIC_OK: the result stands; an error: it failed and is tried again (details say why). Blocks as long as
 * it likes. */
typedef aic_status probe_check_fn(void *context, struct probe_result *result);

struct probe_options {
    struct mem *mem;
    const aic_clock *clock;
    uint64_t interval_ms;   /* 0: 5000 */
    uint64_t deadline_ms;   /* 0: 2000 */
    unsigned retries;       /* after the first try; UINT_MAX: none. 0: 2 */
    double backoff_seconds; /* before the first retry, doubling; negative: none. 0: 0.1 */
    /* Pauses between retries; NULL: a real pause. Tests give their own. */
    void (*pause)(void *context, double seconds);
    void *pause_context;
};

struct probes;
AIC_MUST_CHECK aic_status probes_create(const struct probe_options *options, struct probes **out);
/* Stops the threads; waits for checks under way. */
void probes_destroy(struct probes **probes);

/* A part by name (1..31 bytes); the last registration of a name wins. `check` NULL with `disabled`: the part says
 * "disabled" and does not count. AIC_INVALID, AIC_FULL (16 parts). */
AIC_MUST_CHECK aic_status probes_register(struct probes *probes, const char *name, probe_check_fn *check,
                                          void *context);
AIC_MUST_CHECK aic_status probes_register_disabled(struct probes *probes, const char *name);
/* Starts a thread for each part that has a check. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status probes_start(struct probes *probes);
/* Runs one part's check now, with its retries, in the calling thread. AIC_NOT_FOUND. */
AIC_MUST_CHECK aic_status probes_run(struct probes *probes, const char *name);

/* What is known of one part now. */
struct probe_report {
    enum probe_status status;
    char details[PROBE_DETAILS_BYTES];
    double response_ms;  /* of the last whole run, with its retries */
    uint64_t checked_ms; /* wall time; 0: not yet */
    double down_seconds; /* since it was last healthy; 0: it is, or is disabled */
};
AIC_MUST_CHECK aic_status probes_get(struct probes *probes, const char *name, struct probe_report *out);
/* Calls `visit` for each part, in order of registration, outside the mutex. */
typedef void probe_visit_fn(void *context, const char *name, const struct probe_report *report);
void probes_each(struct probes *probes, probe_visit_fn *visit, void *context);
/* {"part":…,"history":[{timestamp,status,details,response_time_ms}]}, newest first. AIC_NOT_FOUND. */
AIC_MUST_CHECK aic_status probes_write_history(struct probes *probes, const char *name, struct json_writer *out);

#endif
