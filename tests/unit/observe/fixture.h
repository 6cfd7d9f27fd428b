/*
 * fixture.h - a monitor with a clock that the test moves, and reading members of its reports by path.
 *
 *   static void counts(struct fixture *f)
 *   {
 *       feed_operation(f, "get", .02, true);
 *       reading_expect(fixture_read(f, aic_monitor_statistics), "cache_hits", 1);
 *   }
 *
 *   cmocka_unit_test_in(counts, a_monitor),
 */
#ifndef TEST_MONITOR_FIXTURE_H
#define TEST_MONITOR_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <aicache/monitor.h>

#include "../../support/test_in.h"
#include "base/json.h"

/* A report read back. Paths are members and indexes joined by dots: "cache_operations.by_operation_type.get.count",
 * "0.severity". */
struct reading {
    struct mem mem;
    struct json json;
    aic_report *report;
};
typedef aic_status report_fn(aic_monitor *, aic_report **);

struct fixture {
    uint64_t now_ms; /* both clocks */
    aic_clock clock;
    aic_monitor *monitor;
    char log[64][320]; /* lines, the newest at log_count - 1 */
    aic_log_level levels[64];
    unsigned log_count;
    struct reading reading; /* of fixture_read() */
};

/* options->clock and log are the fixture's. */
void fixture_open(struct fixture *fixture, aic_monitor_options options);
void fixture_close(struct fixture *fixture);
/* A new monitor in place of the former. */
void fixture_reopen(struct fixture *fixture, aic_monitor_options options);
/* Runs a test of cmocka_unit_test_in() on a monitor of default options. */
void a_monitor(void **state);
void fixture_advance(struct fixture *fixture, double seconds);
/* A report of now, until the next one is read or the fixture is closed. */
const struct reading *fixture_read(struct fixture *fixture, report_fn *fn);
const struct reading *fixture_read_slow(struct fixture *fixture, double multiplier);

/* One recording each, with a usual text, length or duration where the test does not say it. */
#define NO_DATA ((aic_view){NULL, 0})
void feed_key(struct fixture *fixture, double seconds);
void feed_operation(struct fixture *fixture, const char *kind, double seconds, bool hit);
void feed_compression(struct fixture *fixture, uint64_t original, uint64_t compressed, double seconds);
void feed_invalidation(struct fixture *fixture, const char *pattern, uint64_t keys);
void feed_memory(struct fixture *fixture, uint64_t bytes, uint64_t entries);
/* What an export calls the recordings of each kind. */
extern const char *const exported_arrays[5];

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
