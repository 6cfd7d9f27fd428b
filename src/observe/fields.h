/*
 * fields.h - one member of a report in one call: its name and its value.
 */
#ifndef OBSERVE_FIELDS_H
#define OBSERVE_FIELDS_H

#include "base/clock.h"
#include "base/json.h"

static inline void put_number(struct json_writer *out, const char *name, double value)
{
    json_key(out, name);
    json_put_double(out, value);
}

static inline void put_count(struct json_writer *out, const char *name, uint64_t value)
{
    json_key(out, name);
    json_put_u64(out, value);
}

static inline void put_flag(struct json_writer *out, const char *name, bool value)
{
    json_key(out, name);
    json_put_bool(out, value);
}

static inline void put_text(struct json_writer *out, const char *name, const char *value)
{
    json_key(out, name);
    json_put_text(out, value);
}

static inline void put_view(struct json_writer *out, const char *name, aic_view value)
{
    json_key(out, name);
    json_put_view(out, value);
}

/* Bytes shown as mebibytes. */
static inline void put_mb(struct json_writer *out, const char *name, uint64_t bytes)
{
    put_number(out, name, (double)bytes / 1048576.0);
}

/* Wall time as "2026-01-31T12:00:00.000Z". */
static inline void put_time(struct json_writer *out, const char *name, uint64_t wall_ms)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format(wall_ms, text);
    put_text(out, name, text);
}

#endif
