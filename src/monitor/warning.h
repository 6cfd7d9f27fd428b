/*
 * warning.h - the shape of a warning in a report: {severity, code, message, since, recommendations: [{setting, value,
 * reason}, ...]}.
 */
#ifndef MONITOR_WARNING_H
#define MONITOR_WARNING_H

#include "monitor/fields.h"

/* Follow with any number of warning_advise() and one warning_close(). severity: "warning" or "critical". */
static inline void warning_open(struct json_writer *out, const char *severity, const char *code, const char *message,
                                uint64_t since_ms)
{
    json_open(out, '{');
    put_text(out, "severity", severity);
    put_text(out, "code", code);
    put_text(out, "message", message);
    put_time(out, "since", since_ms);
    json_key(out, "recommendations");
    json_open(out, '[');
}

/* One piece of advice: the setting, a value to try, and why. */
static inline void warning_advise(struct json_writer *out, const char *setting, uint64_t value, const char *reason)
{
    json_open(out, '{');
    put_text(out, "setting", setting);
    put_count(out, "value", value);
    put_text(out, "reason", reason);
    json_close(out, '}');
}

static inline void warning_close(struct json_writer *out)
{
    json_close(out, ']');
    json_close(out, '}');
}

#endif
