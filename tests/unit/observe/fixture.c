#include "fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t fake_wall_ms(void *context)
{
    return ((struct fixture *)context)->now_ms;
}

static uint64_t fake_mono_ns(void *context)
{
    return ((struct fixture *)context)->now_ms * 1000000;
}

static void keep_line(void *context, aic_log_level level, const char *line)
{
    struct fixture *fixture = context;
    assert_true(fixture->log_count < 64);
    fixture->levels[fixture->log_count] = level;
    snprintf(fixture->log[fixture->log_count++], sizeof fixture->log[0], "%s", line);
}

void fixture_open(struct fixture *fixture, aic_monitor_options options)
{
    memset(fixture, 0, sizeof *fixture);
    fixture->now_ms = 1700000000000;
    fixture->clock = (aic_clock){fake_wall_ms, fake_mono_ns, fixture};
    options.clock = &fixture->clock;
    options.log = keep_line;
    options.log_context = fixture;
    aic_error error;
    assert_int_equal(aic_monitor_open(&options, &fixture->monitor, &error), AIC_OK);
}

void fixture_close(struct fixture *fixture)
{
    if (fixture->reading.report != NULL) reading_close(&fixture->reading);
    aic_monitor_close(&fixture->monitor);
    assert_null(fixture->monitor);
}

void fixture_reopen(struct fixture *fixture, aic_monitor_options options)
{
    fixture_close(fixture);
    fixture_open(fixture, options);
}

void a_monitor(void **state)
{
    void (*run)(struct fixture *) = *state;
    struct fixture fixture;
    fixture_open(&fixture, (aic_monitor_options){0});
    run(&fixture);
    fixture_close(&fixture);
}

void fixture_advance(struct fixture *fixture, double seconds)
{
    fixture->now_ms = (uint64_t)((double)fixture->now_ms + seconds * 1000);
}

void reading_take(struct reading *reading, aic_report *report)
{
    mem_init(&reading->mem, NULL);
    json_init(&reading->json, &reading->mem, MEM_OTHER);
    reading->report = report;
    aic_error error = {0};
    aic_status status = json_scan(&reading->json, aic_report_json(report), &error);
    if (status != AIC_OK) fail_msg("not JSON: %s", error.message);
}

void reading_open(struct reading *reading, struct fixture *fixture, report_fn *fn)
{
    aic_report *report = NULL;
    assert_int_equal(fn(fixture->monitor, &report), AIC_OK);
    reading_take(reading, report);
}

void reading_close(struct reading *reading)
{
    json_fini(&reading->json);
    mem_fini(&reading->mem);
    aic_report_release(&reading->report);
}

static uint32_t element(const struct json *json, uint32_t array, unsigned long index)
{
    uint32_t token = array + 1;
    if (index >= json->tokens[array].members) return UINT32_MAX;
    for (; index > 0; index--) token = json->tokens[token].next;
    return token;
}

uint32_t reading_find(const struct reading *reading, const char *path)
{
    char copy[256];
    snprintf(copy, sizeof copy, "%s", path);
    uint32_t token = 0;
    char *rest = NULL;
    for (char *part = strtok_r(copy, ".", &rest); part != NULL && token != UINT32_MAX;
         part = strtok_r(NULL, ".", &rest)) {
        uint8_t type = reading->json.tokens[token].type;
        if (type == JSON_ARRAY) token = element(&reading->json, token, strtoul(part, NULL, 10));
        else if (type == JSON_OBJECT) token = json_member(&reading->json, token, part);
        else token = UINT32_MAX;
    }
    return token;
}

static uint32_t must_find(const struct reading *reading, const char *path)
{
    uint32_t token = reading_find(reading, path);
    if (token == UINT32_MAX) {
        aic_view text = aic_report_json(reading->report);
        fail_msg("no %s in %.*s", path, (int)text.size, text.data);
    }
    return token;
}

double reading_number(const struct reading *reading, const char *path)
{
    double number = NAN;
    assert_int_equal(json_double(&reading->json, must_find(reading, path), &number), AIC_OK);
    return number;
}

bool reading_is_null(const struct reading *reading, const char *path)
{
    return reading->json.tokens[must_find(reading, path)].type == JSON_NULL;
}

bool reading_true(const struct reading *reading, const char *path)
{
    return reading->json.tokens[must_find(reading, path)].type == JSON_TRUE;
}

unsigned reading_length(const struct reading *reading, const char *path)
{
    return reading->json.tokens[must_find(reading, path)].members;
}

void reading_expect_text(const struct reading *reading, const char *path, const char *expected)
{
    aic_view source = json_source(&reading->json, must_find(reading, path));
    if (source.size != strlen(expected) || memcmp(source.data, expected, source.size) != 0)
        fail_msg("%s is '%.*s', expected '%s'", path, (int)source.size, source.data, expected);
}

void reading_expect(const struct reading *reading, const char *path, double expected)
{
    double number = reading_number(reading, path);
    double scale = fabs(expected) > 1 ? fabs(expected) : 1;
    if (fabs(number - expected) > 1e-9 * scale) fail_msg("%s is %.17g, expected %.17g", path, number, expected);
}

bool reading_contains(const struct reading *reading, const char *path, const char *part)
{
    aic_view source = json_source(&reading->json, must_find(reading, path));
    return memmem(source.data, source.size, part, strlen(part)) != NULL;
}

const struct reading *fixture_read(struct fixture *fixture, report_fn *fn)
{
    if (fixture->reading.report != NULL) reading_close(&fixture->reading);
    reading_open(&fixture->reading, fixture, fn);
    return &fixture->reading;
}

const struct reading *fixture_read_slow(struct fixture *fixture, double multiplier)
{
    aic_report *report = NULL;
    if (fixture->reading.report != NULL) reading_close(&fixture->reading);
    assert_int_equal(aic_monitor_slow(fixture->monitor, multiplier, &report), AIC_OK);
    reading_take(&fixture->reading, report);
    return &fixture->reading;
}

void feed_key(struct fixture *fixture, double seconds)
{
    aic_monitor_key_generation(fixture->monitor, seconds, 100, AIC_LITERAL("summarize"), NO_DATA);
}

void feed_operation(struct fixture *fixture, const char *kind, double seconds, bool hit)
{
    aic_monitor_operation(fixture->monitor, aic_view_of(kind), seconds, hit, 100, NO_DATA);
}

void feed_compression(struct fixture *fixture, uint64_t original, uint64_t compressed, double seconds)
{
    aic_monitor_compression(fixture->monitor, original, compressed, seconds, AIC_LITERAL("qa"));
}

void feed_invalidation(struct fixture *fixture, const char *pattern, uint64_t keys)
{
    aic_monitor_invalidation(fixture->monitor, aic_view_of(pattern), keys, 0.01, NO_DATA, NO_DATA, NO_DATA);
}

void feed_memory(struct fixture *fixture, uint64_t bytes, uint64_t entries)
{
    aic_memory_sample sample = {.memory_bytes = bytes, .memory_entries = entries};
    aic_monitor_memory(fixture->monitor, &sample, NO_DATA);
}

const char *const exported_arrays[5] = {"key_generation_times", "cache_operation_times", "compression_ratios",
                                        "memory_usage_measurements", "invalidation_events"};
