/*
 * alerts.h - what somebody should look at: opened once, escalated while it lasts, resolved by itself.
 *
 * An alert is known by its cause and, of a part, by its name. Triggering an open one can raise its severity or change
 * its message, never makes a second: it keeps the highest severity it had, and the message of that, until it is
 * resolved. Only an opening, an escalation and a resolution are told to `notify`. The history is bounded: the oldest
 * resolved alert makes room. Any thread; a mutex guards the table, `notify` runs outside it.
 */
#ifndef OBSERVE_ALERTS_H
#define OBSERVE_ALERTS_H

#include "base/clock.h"
#include "base/json.h"
#include "observe/pressure.h"

#include <pthread.h>

enum alert_severity { ALERT_MEDIUM, ALERT_HIGH, ALERT_CRITICAL, ALERT_SEVERITIES };
const char *alert_severity_name(enum alert_severity severity);

/* What alerts are of: enum name, the id that is told. */
#define ALERT_CAUSE_MAP(X)                                                                                             \
    X(HIT_RATE, "low_hit_rate")                                                                                        \
    X(PRESSURE, "memory_pressure")                                                                                     \
    X(THRESHOLD, "memory_threshold") /* the cache reached one that somebody set, or broke its bound */                 \
    X(DOWN, "down")                  /* of a part: "down:storage" */

enum alert_cause {
    ALERT_OF_NOTHING,
#define ALERT_CAUSE_ENUM(name, id) ALERT_OF_##name,
    ALERT_CAUSE_MAP(ALERT_CAUSE_ENUM)
#undef ALERT_CAUSE_ENUM
        ALERT_CAUSES
};
/* What identifies an alert. Passed by value. */
struct alert_key {
    enum alert_cause cause;
    const char *part; /* static; NULL but for ALERT_OF_DOWN */
};
bool alert_is(struct alert_key one, struct alert_key other);
#define ALERT_ID_BYTES 64
void alert_id(struct alert_key key, char out[ALERT_ID_BYTES]);

/* A copy of one alert, as `notify` gets it. */
struct alert {
    struct alert_key key;
    enum alert_severity severity;
    char message[256];
    uint64_t opened_ms, changed_ms, resolved_ms; /* resolved_ms 0: open */
    unsigned escalations;
    uint64_t told_ms;                  /* the last notice of it before its resolution, */
    enum alert_severity told_severity; /* and what it said */
};
typedef void alert_notify_fn(void *context, const struct alert *alert);

struct alerts;
/* notify (may be NULL) is told of openings, escalations and resolutions. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status alerts_create(struct mem *mem, const aic_clock *clock, alert_notify_fn *notify, void *context,
                                        struct alerts **out);
void alerts_destroy(struct alerts **alerts);

/* Opens the alert, or escalates the open one. `quiet_ms`: an alert resolved less than so long ago is not opened again
 * yet (false then); an escalation is told, by a later trigger, when the last notice is so old. */
bool alerts_trigger(struct alerts *alerts, struct alert_key key, enum alert_severity severity, uint64_t quiet_ms,
                    const char *message);
/* true when there was one of this key: open ones are resolved by it, resolved ones stay as they are. `message`: how
 * things are now, for the notice; the list of past alerts keeps what the alert was about. */
bool alerts_resolve(struct alerts *alerts, struct alert_key key, const char *message);
uint64_t alerts_open_count(struct alerts *alerts);
/* Copies the open ones, the newest first, at most `most`; returns how many. */
size_t alerts_read_open(struct alerts *alerts, struct alert *out, size_t most);
/* How many are open of each severity. */
void alerts_count_open(struct alerts *alerts, uint64_t counts[ALERT_SEVERITIES]);
/* {"active":[…],"past":[…],"total_alerts","resolved_alerts"} */
void alerts_write(struct alerts *alerts, struct json_writer *out);

/* ---- the rules ---- */

/* Hit rate over at least 50 lookups of the last five minutes: below 50 % medium, below 30 % high, below 10 % critical;
 * resolved from 55 % on. At most one notice in 300 s, but a resolution is told at once. While the cache is `cold` (not
 * yet filled, nor long up) nothing is judged, and what is counted then does not count later. One thread. */
void alerts_watch_hit_rate(struct alerts *alerts, uint64_t hits, uint64_t misses, bool cold);
/* Percent of the memory limit: from 75 medium, from 85 high, from 95 critical; resolved five points below, as the
 * states of observe/pressure.h are left. Thresholds of pressure that are set higher hold for the alert too: it is open
 * in no state that is normal, and not critical in one that is a warning. Lower ones do not: they cut the memory tier
 * early and wake nobody. */
void alerts_watch_pressure(struct alerts *alerts, const struct pressure_figures *now);
/* `part` is static. Seconds that a part has been not healthy but, in a word, `state` ("down", "degraded"); 0: it is
 * healthy. From 60 s on medium, 300 high, 900 critical. */
void alerts_watch_part(struct alerts *alerts, const char *part, const char *state, double down_seconds);

/* The severities behind the rules. */
enum alert_severity alert_of_downtime(double seconds);
enum alert_severity alert_of_hit_rate(double percent);

#endif
