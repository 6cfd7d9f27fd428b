/*
 * measure.c - an application with a cache of its own records what it does, and gets the statistics that aicached has.
 *
 *     cc measure.c $(pkg-config --cflags --libs aicache) -o measure
 *     ./measure
 */
#include <aicache/monitor.h>

#include <stdio.h>

static void say(void *context, aic_log_level level, const char *line)
{
    (void)context;
    (void)level;
    fprintf(stderr, "%s\n", line);
}

static int show(aic_status status, aic_report **report)
{
    if (status != AIC_OK) return 1;
    aic_view text = aic_report_json(*report);
    printf("%.*s\n", (int)text.size, text.data);
    aic_report_release(report);
    return 0;
}

int main(void)
{
    aic_monitor_options options = {.slow_operation_seconds = 0.5, .log = say};
    aic_monitor *monitor;
    aic_error error;
    if (aic_monitor_open(&options, &monitor, &error) != AIC_OK) return fprintf(stderr, "%s\n", error.message), 1;

    /* Durations are seconds, from a clock that never goes back; any thread may record. */
    aic_view model = AIC_LITERAL("{\"model\":\"small\"}"), nothing = {0};
    aic_monitor_key_generation(monitor, 0.00002, 1200, AIC_LITERAL("translate"), model);
    aic_monitor_operation(monitor, AIC_LITERAL("get"), 0.0001, false, 1200, nothing);
    aic_monitor_operation(monitor, AIC_LITERAL("set"), 0.0004, false, 1200, nothing);
    aic_monitor_operation(monitor, AIC_LITERAL("get"), 0.7, true, 1200, nothing); /* slow: it is logged */
    aic_monitor_compression(monitor, 5000, 2000, 0.00003, AIC_LITERAL("translate"));
    aic_monitor_memory(monitor, &(aic_memory_sample){.memory_bytes = 60 << 20, .memory_entries = 900}, nothing);

    aic_report *report;
    int failed = show(aic_monitor_summary(monitor, &report), &report);
    failed |= show(aic_monitor_warnings(monitor, &report), &report);
    failed |= show(aic_monitor_slow(monitor, 2, &report), &report);
    aic_monitor_close(&monitor);
    return failed;
}
