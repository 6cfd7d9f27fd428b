/*
 * monitor - what watching costs: CPU time of a recording from one and two threads, of a reference for the miss-ratio
 * curve, of the reports over full streams, and the bytes of the history. Prints a table, or JSON with --json.
 */
#include <aicache/monitor.h>

#include "base/check.h"
#include "observe/monitor.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RECORDINGS 2000000
#define REPORTS 200
#define NO_DATA ((aic_view){NULL, 0})

static double cpu_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

struct job {
    aic_monitor *monitor;
    void (*record)(aic_monitor *monitor, unsigned i);
    double ns; /* per recording */
};

static void record_operation(aic_monitor *monitor, unsigned i)
{
    aic_monitor_operation(monitor, AIC_LITERAL("get"), 1e-5, i % 3 != 0, i % 4096,
                          AIC_LITERAL("{\"tier\":\"memory\"}"));
}

static void record_key(aic_monitor *monitor, unsigned i)
{
    aic_monitor_key_generation(monitor, 1e-6, i % 4096, AIC_LITERAL("summarize"), NO_DATA);
}

static void record_reference(aic_monitor *monitor, unsigned i)
{
    uint64_t hash = (i % 100000 + 1) * 0x9E3779B97F4A7C15ULL;
    reuse_reference(monitor->reuse, hash ^ hash >> 29, 2000);
}

static void *run_job(void *context)
{
    struct job *job = context;
    double start = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
    for (unsigned i = 0; i < RECORDINGS; i++) job->record(job->monitor, i);
    job->ns = (cpu_ns(CLOCK_THREAD_CPUTIME_ID) - start) / RECORDINGS;
    return NULL;
}

/* CPU ns a recording. *at_once: how many of the threads ran at a time on average; with much less than `threads` they
 * hardly met, and the figure says nothing about threads in each other's way. */
static double measure(aic_monitor *monitor, void (*record)(aic_monitor *, unsigned), unsigned threads, double *at_once)
{
    double began = cpu_ns(CLOCK_MONOTONIC);
    struct job jobs[2];
    pthread_t ids[2];
    double sum = 0;
    for (unsigned i = 0; i < threads; i++) {
        jobs[i] = (struct job){.monitor = monitor, .record = record};
        if (pthread_create(&ids[i], NULL, run_job, &jobs[i]) != 0) exit(1);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += jobs[i].ns;
    }
    *at_once = sum * RECORDINGS / (cpu_ns(CLOCK_MONOTONIC) - began);
    return sum / threads;
}

static double report_ms(aic_monitor *monitor, aic_status (*make)(aic_monitor *, aic_report **))
{
    double start = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (unsigned i = 0; i < REPORTS; i++) {
        aic_report *report = NULL;
        if (make(monitor, &report) != AIC_OK) exit(1);
        aic_report_release(&report);
    }
    return (cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - start) / REPORTS / 1e6;
}

static void fill(aic_monitor *monitor)
{
    for (unsigned i = 0; i < 1000; i++) {
        record_operation(monitor, i);
        record_key(monitor, i);
        aic_monitor_compression(monitor, 3000 + i, 1200, 2e-5, AIC_LITERAL("qa"));
        aic_monitor_invalidation(monitor, i % 2 ? AIC_LITERAL("op:qa") : AIC_LITERAL("tag:docs"), 3, 1e-3, NO_DATA,
                                 NO_DATA, NO_DATA);
        aic_monitor_memory(monitor, &(aic_memory_sample){.memory_bytes = i << 10, .memory_entries = i}, NO_DATA);
    }
}

static size_t history_bytes(aic_monitor *monitor)
{
    for (uint64_t second = 0; second < 86400; second++)
        history_add(&monitor->history, &(struct history_sample){.time_ms = second * 1000});
    struct buf saved;
    buf_init(&saved, &monitor->mem, MEM_OTHER);
    history_save(&monitor->history, &saved);
    size_t bytes = saved.size;
    buf_fini(&saved);
    return bytes;
}

struct row {
    const char *name, *unit;
    double value, limit;
    double at_once; /* threads at a time; 0: of one thread */
};

static struct row recording(const char *name, aic_monitor *monitor, void (*record)(aic_monitor *, unsigned),
                            unsigned threads)
{
    struct row row = {.name = name, .unit = "ns", .limit = 100};
    double at_once;
    row.value = measure(monitor, record, threads, &at_once);
    if (threads > 1) row.at_once = at_once;
    return row;
}

static void print_json(const struct row *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        printf("%s\"%s\":{\"value\":%.4g,\"unit\":\"%s\",\"limit\":%.4g", i > 0 ? "," : "{", rows[i].name,
               rows[i].value, rows[i].unit, rows[i].limit);
        if (rows[i].at_once > 0) printf(",\"threads_at_once\":%.2f", rows[i].at_once);
        printf("}");
    }
    printf("}\n");
}

static void print_table(const struct row *rows, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        printf("%-28s %10.4g %-5s (limit %g)", rows[i].name, rows[i].value, rows[i].unit, rows[i].limit);
        if (rows[i].at_once > 0) printf("  %.2f threads at once", rows[i].at_once);
        printf("\n");
    }
}

int main(int count, char **arguments)
{
    bool json = count > 1 && strcmp(arguments[1], "--json") == 0;
    aic_monitor *monitor = NULL;
    if (aic_monitor_open(NULL, &monitor, NULL) != AIC_OK) return 1;
    const struct row rows[] = {
        recording("operation, 1 thread", monitor, record_operation, 1),
        recording("operation, 2 threads", monitor, record_operation, 2),
        recording("key generation, 2 threads", monitor, record_key, 2),
        recording("curve, 1 thread", monitor, record_reference, 1),
        recording("curve, 2 threads", monitor, record_reference, 2),
        {"statistics of 5 x 1000", "ms", (fill(monitor), report_ms(monitor, aic_monitor_statistics)), 1, 0},
        {"memory usage", "ms", report_ms(monitor, aic_monitor_memory_usage), 1, 0},
        {"warnings", "ms", report_ms(monitor, aic_monitor_warnings), 1, 0},
        {"a day of history", "bytes", (double)history_bytes(monitor), 2e6, 0},
    };
    if (json) print_json(rows, COUNT_OF(rows));
    else print_table(rows, COUNT_OF(rows));
    aic_monitor_close(&monitor);
    return 0;
}
