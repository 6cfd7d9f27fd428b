/* Since when warnings of memory say that they hold: as long as it is, not as long as snapshots are kept. */
#include "fixture.h"

#include "base/clock.h"
#include "observe/monitor.h"

#include <stdio.h>
#include <string.h>

static void expect_since(const struct reading *r, const char *code, uint64_t wall_ms)
{
    char path[32], moment[CLOCK_TEXT_SIZE];
    clock_format(wall_ms, moment);
    for (unsigned i = 0; i < reading_length(r, ""); i++) {
        snprintf(path, sizeof path, "%u.code", i);
        if (!reading_contains(r, path, code)) continue;
        snprintf(path, sizeof path, "%u.since", i);
        reading_expect_text(r, path, moment);
        return;
    }
    fail_msg("no %s", code);
}

/* So many seconds of snapshots, twice a retention of half a minute and more. */
static void stay(struct fixture *f, aic_memory_sample sample, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        fixture_advance(f, 1);
        aic_monitor_memory(f->monitor, &sample, NO_DATA);
    }
}

static void says_since_when_a_condition_holds(struct fixture *f)
{
    const aic_memory_sample half = {.memory_bytes = 50, .memory_entries = 5, .limit_bytes = 100, .limit_entries = 10};
    const aic_memory_sample high = {.memory_bytes = 82, .memory_entries = 5, .limit_bytes = 100, .limit_entries = 10};
    const aic_memory_sample full = {.memory_bytes = 96, .memory_entries = 10, .limit_bytes = 100, .limit_entries = 10};
    fixture_reopen(f, (aic_monitor_options){
                          .retention_hours = 30.0 / 3600, .memory_warning_bytes = 80, .memory_critical_bytes = 95});
    stay(f, half, 5);
    uint64_t high_ms = f->now_ms + 1000;
    stay(f, high, 70);
    expect_since(fixture_read(f, aic_monitor_warnings), "memory_warning", high_ms);
    uint64_t full_ms = f->now_ms + 1000;
    stay(f, full, 70);
    static const char *const codes[] = {"memory_critical", "memory_bytes_nearly_full", "memory_entries_nearly_full"};
    for (unsigned i = 0; i < 3; i++) expect_since(fixture_read(f, aic_monitor_warnings), codes[i], full_ms);
    aic_monitor_reset(f->monitor); /* what lasts has not begun anew */
    stay(f, full, 1);
    for (unsigned i = 0; i < 3; i++) expect_since(fixture_read(f, aic_monitor_warnings), codes[i], full_ms);
    stay(f, high, 1);
    expect_since(fixture_read(f, aic_monitor_warnings), "memory_warning", high_ms);
    full_ms = f->now_ms + 1000;
    stay(f, full, 3);
    for (unsigned i = 0; i < 3; i++) expect_since(fixture_read(f, aic_monitor_warnings), codes[i], full_ms);
}

/* Thresholds that came after the newest snapshot: nothing older speaks of them. */
static void says_since_the_snapshot_of_what_is_asked_anew(struct fixture *f)
{
    feed_memory(f, 1 << 20, 1);
    uint64_t taken_ms = f->now_ms;
    fixture_advance(f, 2);
    monitor_set_memory_thresholds(f->monitor, 1 << 10, 1 << 11);
    expect_since(fixture_read(f, aic_monitor_warnings), "memory_critical", taken_ms);
}

/* Looks up 2000 entries of so many bytes in a loop. */
static void loop_over(struct fixture *f, uint64_t bytes)
{
    for (unsigned i = 0; i < 40000; i++) {
        aic_key key = {{0}};
        uint64_t hash = (i % 2000 + 1) * 0x9E3779B97F4A7C15ULL;
        hash ^= hash >> 29;
        memcpy(key.bytes + 8, &(uint64_t){hash * 0xBF58476D1CE4E5B9ULL}, 8);
        monitor_reference(f->monitor, &key, bytes);
    }
}

static void says_since_when_the_size_is_wrong(struct fixture *f)
{
    const aic_memory_sample full = {.memory_bytes = 128 << 20, .memory_entries = 128, .limit_bytes = 128 << 20};
    stay(f, full, 9); /* no curve yet */
    loop_over(f, 100 << 10);
    uint64_t since_ms = f->now_ms + 1000;
    stay(f, full, 4000); /* longer than is kept */
    expect_since(fixture_read(f, aic_monitor_warnings), "memory_tier_too_small", since_ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_in(says_since_when_a_condition_holds, a_monitor),
        cmocka_unit_test_in(says_since_the_snapshot_of_what_is_asked_anew, a_monitor),
        cmocka_unit_test_in(says_since_when_the_size_is_wrong, a_monitor),
    };
    return cmocka_run_group_tests_name("monitor since", tests, NULL, NULL);
}
