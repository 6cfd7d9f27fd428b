/*
 * health.h - is every part well? Asked in the background, answered from memory.
 *
 * The idea: no part has a thread. health_turn() asks each part that is due, takes what was answered since, and says
 * when to come again; it never waits. A part whose answer takes its time gives it whenever it is there, from any
 * thread; a part that only looks at what is known is judged at once. A run is one try and its retries with growing
 * pauses. A try without an answer within the deadline has failed, and what is answered to it later is dropped. An error
 * is unhealthy, with its message; a run that took longer than the deadline is degraded, "timed out", with the error
 * that came of it. The last results of each part are kept.
 *
 * Parts are added before the first turn. One thread turns; everything else is called by any. A mutex guards the
 * results; no function of a part runs under it.
 */
#ifndef OBSERVE_HEALTH_H
#define OBSERVE_HEALTH_H

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"

enum health_status { HEALTH_HEALTHY, HEALTH_DEGRADED, HEALTH_UNHEALTHY, HEALTH_DISABLED };
const char *health_status_name(enum health_status status);

#define HEALTH_DETAILS_BYTES 160
#define HEALTH_PARTS 16 /* at most */

struct health_result {
    enum health_status status;
    char details[HEALTH_DETAILS_BYTES];
};

/* A question that was put to a part. */
struct health_question;
/* Puts the question: health_answer() is called once, before this returns or later, on any thread, even after the health
 * is gone. Never waits. */
typedef void health_ask_fn(void *context, struct health_question *question);
void health_answer(struct health_question *question, aic_status answer);
/* What the answer says of the part; AIC_OK is the answer of a part that is not asked, AIC_TIMEOUT that of one that did
 * not answer. Fills *result, which comes in as healthy and without details. AIC_OK: it stands. An error: it is tried
 * again; where nothing was filled in, the part is unhealthy and the details are the error's words. By the thread that
 * turns. */
typedef aic_status health_judge_fn(void *context, aic_status answer, struct health_result *result);

struct health_options {
    struct mem *mem;        /* outlives every question */
    const aic_clock *clock; /* the same */
    void *context;          /* of the parts' functions */
    uint64_t interval_ms;   /* between runs; 0: 2000 */
    uint64_t deadline_ms;   /* 0: 2000 */
    unsigned retries;       /* after the first try; UINT_MAX: none. 0: 2 */
    double backoff_seconds; /* before the first retry, doubling; negative: none. 0: 0.1 */
};

struct health;
/* AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status health_create(const struct health_options *options, struct health **out);
/* Waits for nobody. By the thread that turns. */
void health_destroy(struct health **health);

/* Adds a part, or gives the one of this name other functions. name: 1..31 bytes, copied. ask: NULL: the part need not
 * be asked. judge NULL with ask NULL: the part is not configured, says so and does not count. AIC_INVALID: no name, or
 * a question that nobody judges. AIC_FULL. */
AIC_MUST_CHECK aic_status health_add(struct health *health, const char *name, health_ask_fn *ask,
                                     health_judge_fn *judge);
/* Asks what is due, and takes what was answered. Returns in how many milliseconds there is something to do again. */
uint64_t health_turn(struct health *health);

/* What is known of one part now. */
struct health_report {
    enum health_status status;
    char details[HEALTH_DETAILS_BYTES];
    double response_ms;  /* of the last whole run, with its retries */
    uint64_t checked_ms; /* wall time; 0: not yet */
    double down_seconds; /* since it was last healthy; 0: it is, or is disabled */
};
/* Parts are numbered as they were added. */
size_t health_count(const struct health *health);
/* AIC_NOT_FOUND. */
AIC_MUST_CHECK aic_status health_find(const struct health *health, aic_view name, size_t *out);
void health_read(struct health *health, size_t part, struct health_report *out);
/* {"part":…,"history":[{timestamp,status,details,response_time_ms}]}, newest first. */
void health_write_history(struct health *health, size_t part, struct json_writer *out);

#endif
