/*
 * verdict.h - what is wrong, said once: a list of findings from which warnings, alerts and health are three views.
 *
 * A finding has a severity, a code, a message, since when it holds, and what to change. Who looks for trouble adds
 * findings; who tells of it writes the list, or asks for its worst. Plain values, no allocation: a verdict is some
 * 40 KB and lives on a stack.
 */
#ifndef OBSERVE_VERDICT_H
#define OBSERVE_VERDICT_H

#include "base/json.h"
#include "observe/alerts.h"

enum severity { SEVERITY_INFO, SEVERITY_WARNING, SEVERITY_CRITICAL, SEVERITIES };
const char *severity_name(enum severity severity);

#define VERDICT_FINDINGS 16
#define FINDING_ADVICE 5

/* One piece of advice: the setting, a value to try, and why. */
struct advice {
    const char *setting; /* static */
    const char *text;    /* the value; borrowed as long as the verdict; NULL: it is the number */
    uint64_t number;
    const char *unit; /* static; NULL: the number is written as one */
    char reason[400];
};

struct finding {
    enum severity severity;
    char code[64];
    struct alert_key alert; /* what tells of this; ALERT_OF_NOTHING: no alert does */
    bool alerted;           /* and it is open */
    uint64_t since_ms;      /* wall time */
    char message[448];
    size_t advice_count;
    struct advice advice[FINDING_ADVICE];
};

struct verdict {
    size_t count;
    struct finding findings[VERDICT_FINDINGS];
};

/* A new finding at the end. Never NULL: each kind of trouble is found at most once. */
struct finding *verdict_add(struct verdict *verdict, enum severity severity, const char *code, uint64_t since_ms,
                            const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Advice with a number (with a unit where it is not NULL), and with a text. */
void finding_advise(struct finding *finding, const char *setting, uint64_t value, const char *unit, const char *format,
                    ...) __attribute__((format(printf, 5, 6)));
void finding_advise_text(struct finding *finding, const char *setting, const char *text, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The one that this alert tells of; NULL. */
struct finding *verdict_find(struct verdict *verdict, struct alert_key alert);
/* How many findings there are of each severity. */
void verdict_count(const struct verdict *verdict, unsigned counts[SEVERITIES]);
/* The list, the worst first: [{"severity","code","message","since","alert"?,"recommendations":[{"setting","value",
 * "reason"},…]},…] */
void verdict_write(const struct verdict *verdict, struct json_writer *out);

#endif
