/*
 * fixture.h - a monitor with a clock that the test moves, and reading members of its reports by path.
 */
#ifndef TEST_MONITOR_FIXTURE_H
#define TEST_MONITOR_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aicache/monitor.h>

#include "base/json.h"

struct fixture {
    uint64_t now_ms; /* both clocks */
    aic_clock clock;
    aic_monitor *monitor;
    char log[64][320]; /* lines, the newest at log_count - 1 */
    aic_log_level levels[64];
    unsigned log_count;
};

/* options->clock and log are the fixture's. */
void fixture_open(struct fixture *fixture, aic_monitor_options options);
void fixture_close(struct fixture *fixture);
void fixture_advance(struct fixture *fixture, double seconds);

/* A report read back. Paths are members and indexes joined by dots: "cache_operations.by_operation_type.get.count",
 * "0.severity". */
struct reading {
    struct mem mem;
    struct json json;
    aic_report *report;
};
typedef aic_status report_fn(aic_monitor *, aic_report **);
void reading_open(struct reading *reading, struct fixture *fixture, report_fn *fn);
void reading_take(struct reading *reading, aic_report *report);
void reading_close(struct reading *reading);
/* UINT32_MAX when there is no such path. */
uint32_t reading_find(const struct reading *reading, const char *path);
double reading_number(const struct reading *reading, const char *path);
bool reading_is_null(const struct reading *reading, const char *path);
bool reading_true(const struct reading *reading, const char *path);
unsigned reading_length(const struct reading *reading, const char *path);
/* Compares a text; reports both on a difference. */
void reading_expect_text(const struct reading *reading, const char *path, const char *expected);
void reading_expect(const struct reading *reading, const char *path, double expected);
bool reading_contains(const struct reading *reading, const char *path, const char *part);

#endif
