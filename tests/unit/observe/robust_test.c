/* The monitor's history survives a restart and damage; every report survives every failed allocation. */
#include "fixture.h"

#include "observe/history.h"

#include <stdlib.h>
#include <string.h>

static void saves_and_loads_its_history(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct history a, b;
    assert_int_equal(history_init(&a, &mem), AIC_OK);
    assert_int_equal(history_init(&b, &mem), AIC_OK);
    for (uint64_t second = 0; second < 5000; second++)
        history_add(&a, &(struct history_sample){.time_ms = second * 1000, .total_bytes = second});
    struct buf saved, again;
    buf_init(&saved, &mem, MEM_OTHER);
    buf_init(&again, &mem, MEM_OTHER);
    history_save(&a, &saved);
    assert_int_equal(history_load(&b, buf_view(&saved)), AIC_OK);
    struct history_sample first, last;
    assert_true(history_span(&b, HISTORY_SECONDS, 10000, &first, &last));
    assert_int_equal(last.total_bytes, 4999);
    assert_int_equal(first.total_bytes, 4400);
    assert_true(history_span(&b, HISTORY_HOURS, 1, &first, &last));
    assert_int_equal(last.total_bytes - first.total_bytes, 3600);
    history_save(&b, &again);
    assert_int_equal(saved.size, again.size);
    assert_memory_equal(saved.data, again.data, saved.size);
    for (size_t at = 0; at < saved.size; at += 997) { /* any flipped byte is seen and changes nothing */
        saved.data[at] ^= 1;
        assert_int_equal(history_load(&b, buf_view(&saved)), AIC_DAMAGED);
        saved.data[at] ^= 1;
    }
    for (size_t size = 0; size < saved.size; size += 1009)
        assert_int_equal(history_load(&b, (aic_view){saved.data, size}), AIC_DAMAGED);
    assert_true(history_span(&b, HISTORY_SECONDS, 1, &first, &last));
    assert_int_equal(last.total_bytes, 4999);
    buf_fini(&saved);
    buf_fini(&again);
    history_fini(&a);
    history_fini(&b);
    mem_fini(&mem);
}

struct failing {
    unsigned left;
};

static void *fail_at(void *context, size_t bytes)
{
    struct failing *failing = context;
    return failing->left-- == 0 ? NULL : malloc(bytes);
}

static void release(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

static report_fn *const reports[] = {aic_monitor_statistics, aic_monitor_summary,       aic_monitor_memory_usage,
                                     aic_monitor_warnings,   aic_monitor_invalidations, aic_monitor_invalidation_advice,
                                     aic_monitor_export};

static void fill(aic_monitor *monitor)
{
    for (unsigned i = 0; i < 3; i++) {
        aic_monitor_key_generation(monitor, .2, 10, AIC_LITERAL("qa"), (aic_view){0});
        aic_monitor_operation(monitor, AIC_LITERAL("get"), .2, true, 10, (aic_view){0});
        aic_monitor_compression(monitor, 1000, 400, .01, AIC_LITERAL("qa"));
        aic_monitor_invalidation(monitor, AIC_LITERAL("p"), 1000, .2, (aic_view){0}, (aic_view){0}, (aic_view){0});
        aic_monitor_memory(monitor, &(aic_memory_sample){.memory_bytes = 200 << 20, .memory_entries = 5},
                           (aic_view){0});
    }
}

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < sizeof reports / sizeof reports[0]; kind++) {
        for (unsigned n = 0;; n++) {
            assert_true(n < 1000);
            struct failing failing = {.left = n};
            aic_allocator allocator = {.acquire = fail_at, .release = release, .context = &failing};
            aic_monitor *monitor = NULL;
            aic_status status = aic_monitor_open(&(aic_monitor_options){.allocator = &allocator}, &monitor, NULL);
            aic_report *report = NULL;
            if (status == AIC_OK) {
                fill(monitor);
                status = reports[kind](monitor, &report);
            }
            assert_true(status == AIC_OK || (status == AIC_NO_MEMORY && report == NULL));
            bool whole = status == AIC_OK;
            aic_report_release(&report);
            aic_monitor_close(&monitor);
            if (whole) break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saves_and_loads_its_history),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("monitor robust", tests, NULL, NULL);
}
