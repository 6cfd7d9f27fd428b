/*
 * parts.h - the registry of the daemon's parts: a row for each, with the functions that tell how it is.
 *
 * /health, /cache/status, warnings and alerts walk over the rows in this order and know no part by name, so that a new
 * one is a row and its functions. Functions are given the overview and the facts of one moment.
 */
#ifndef OBSERVE_PARTS_H
#define OBSERVE_PARTS_H

#include "observe/health.h"

struct figures;
struct overview;
struct overview_facts;
struct overview_health;
struct verdict;
struct finding;

struct part {
    const char *name;
    /* Of the health+json draft: the type of component, and what is observed of it in which unit. */
    const char *type, *measurement, *unit;
    bool vital;                                          /* while it is unhealthy, so is the whole */
    bool quiet;                                          /* other alerts tell of it: there is none for being down */
    bool (*configured)(const struct overview *overview); /* NULL: where there is `judge` */
    health_ask_fn *ask;                                  /* the context of both is the overview */
    health_judge_fn *judge;                              /* NULL: this daemon has no such part */
    /* Any of these may be NULL. The value for the draft, in place of the response time; words of this moment, in place
     * of those of the last check; more members for /health; what its section in /cache/status says beside its figures;
     * what is wrong with it, and what to change. */
    double (*observed)(const struct overview_facts *facts);
    void (*freshen)(const struct overview_facts *facts, struct health_report *report);
    void (*write)(struct overview *overview, const struct overview_facts *facts, struct json_writer *out);
    void (*status)(const struct overview *overview, const struct figures *stats, struct json_writer *out);
    aic_status (*find)(const struct overview *overview, const struct overview_facts *facts, struct verdict *out);
    /* What helps when it is down and nothing was found; NULL: its health says more. */
    void (*advise)(const struct overview *overview, struct finding *found);
};

extern const struct part parts[];
extern const size_t parts_count; /* at most HEALTH_PARTS */

/* Is it a part of this daemon? */
bool parts_has(const struct overview *overview, const struct part *part);
/* Adds all of them. */
AIC_MUST_CHECK aic_status parts_register(const struct overview *overview, struct health *health);

/* The body of GET /health, the same as the draft has it, and one part's object in the first. */
void parts_write_health(const struct overview_health *health, struct json_writer *out);
void parts_write_draft(const struct overview_health *health, struct json_writer *out);
void parts_write_part(const struct overview_health *health, size_t part, struct json_writer *out);

#endif
