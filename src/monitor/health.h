/*
 * health.h - is every part well? Measured in the background, answered from memory.
 *
 * Each part has a check that may block, and a thread of its own that runs it every `interval_ms`, with retries and growing pauses; so a part that hangs delays no other,
 * and a reader never waits. A run that takes longer than its deadline counts as degraded ("timed out") while it lasts. The last results of each part are kept.
 * Registering happens before health_start(); everything else may be called by any thread. A mutex guards the results; checks run outside it.
 */
#ifndef MONITOR_HEALTH_H
#define MONITOR_HEALTH_H

#include "base/clock.h"
#include "base/json.h"

#include <pthread.h>

enum health_status { HEALTH_HEALTHY, HEALTH_DEGRADED, HEALTH_UNHEALTHY, HEALTH_DISABLED };
const char *health_status_name(enum health_status status);

#define HEALTH_DETAILS_BYTES 160

struct health_result {
    enum health_status status;
    char details[HEALTH_DETAILS_BYTES];
};
/* Fills *result. AIC_OK: the result stands; an error: it failed and is tried again (details say why). Blocks as long as it likes. */
typedef aic_status health_check_fn(void *context, struct health_result *result);

struct health_options {
    struct mem *mem;
    const aic_clock *clock;
    uint64_t interval_ms;    /* 0: 5000 */
    uint64_t deadline_ms;    /* 0: 2000 */
    unsigned retries;        /* after the first try; UINT_MAX: none. 0: 2 */
    double backoff_seconds;  /* before the first retry, doubling; negative: none. 0: 0.1 */
    /* Pauses between retries; NULL: a real pause. Tests give their own. */
    void (*pause)(void *context, double seconds);
    void *pause_context;
};

struct health;
AIC_MUST_CHECK aic_status health_create(const struct health_options *options, struct health **out);
/* Stops the threads; waits for checks under way. */
void health_destroy(struct health **health);

/* A part by name (1..31 bytes); the last registration of a name wins. `check` NULL with `disabled`: the part says "disabled" and does not count. AIC_INVALID, AIC_FULL (16 parts). */
AIC_MUST_CHECK aic_status health_register(struct health *health, const char *name, health_check_fn *check,
                                          void *context);
AIC_MUST_CHECK aic_status health_register_disabled(struct health *health, const char *name);
/* Starts a thread for each part that has a check. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status health_start(struct health *health);
/* Runs one part's check now, with its retries, in the calling thread. AIC_NOT_FOUND. */
AIC_MUST_CHECK aic_status health_run(struct health *health, const char *name);

/* What is known of one part now. */
struct health_report {
    enum health_status status;
    char details[HEALTH_DETAILS_BYTES];
    double response_ms;   /* of the last whole run, with its retries */
    uint64_t checked_ms;  /* wall time; 0: not yet */
    double down_seconds;  /* since it was last healthy; 0: it is, or is disabled */
};
AIC_MUST_CHECK aic_status health_get(struct health *health, const char *name, struct health_report *out);
/* The worst of the parts; *up of *counted are healthy. */
enum health_status health_overall(struct health *health, unsigned *up, unsigned *counted);
/* Calls `visit` for each part, in order of registration, outside the mutex. */
typedef void health_visit_fn(void *context, const char *name, const struct health_report *report);
void health_each(struct health *health, health_visit_fn *visit, void *context);
/* {"part":…,"history":[{timestamp,status,details,response_time_ms}]}, newest first. AIC_NOT_FOUND. */
AIC_MUST_CHECK aic_status health_write_history(struct health *health, const char *name, struct json_writer *out);

#endif
