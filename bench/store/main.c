/*
 * bench/store - what one operation of the memory tier costs, in CPU time, at full size.
 *
 * Values are log-normal (median 3 KB, 0.5 to 50 KB). The store is filled, then every put replaces something: that is
 * the state that a cache lives in. Gets ask for keys that are there, in random order, so that every one misses the
 * CPU's caches. Each thread measures its own CPU time. The operations are divided over some rounds, in which each kind
 * of work has its turn, so that all of them see the same machine; medians and the range of the rounds are shown. What
 * is shown for gets and puts includes the making of keys and sizes, which is shown by itself as well. One table on
 * standard output, or one JSON object with --json; exit status 1 when a limit that was asked for with --check is
 * missed.
 */
#include "store_bench.h"

#include "base/check.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_ROUNDS = 64, MAX_THREAD_COUNTS = 2 };

/* Every kind of work: name in the table, name in JSON, limit in ns (0: none). */
static const struct {
    const char *name, *label;
    double limit_ns;
} WORKS[WORK_COUNT] = {
    [WORK_GET_LOOP] = {"  the loop by itself", "get_loop", 0},
    [WORK_READ_ALONE] = {"  a byte of each value, one by one", "read_alone", 0},
    [WORK_READ_MANY] = {"  a byte of each value, overlapping", "read_many", 0},
    [WORK_GET] = {"get + pin + release", "get", 250},
    [WORK_PUT_LOOP] = {"  the loop by itself", "put_loop", 0},
    [WORK_PUT] = {"put with an eviction", "put", 1500},
    [WORK_PASS] = {"  a line round all threads", "pass", 0},
};

struct report {
    struct cost rounds[MAX_THREAD_COUNTS][WORK_COUNT][MAX_ROUNDS]; /* sorted by CPU time at the end */
    unsigned threads[MAX_THREAD_COUNTS];
    size_t thread_counts;
    struct figures stats;
    uint64_t rss_before, rss_after, rss_limit;
    double overhead, overhead_limit, index, rounding, pieces;
};

/* Mean number of pieces per value, over what is there. */
static double mean_pieces(struct bench *bench)
{
    struct pin pins[256];
    uint64_t cursor = 0, values = 0, pieces = 0;
    do {
        size_t count = store_scan(bench->store, &cursor, pins, 256), covered;
        for (size_t i = 0; i < count; i++) {
            struct iovec out[512];
            pieces += pin_pieces(&pins[i], 0, SIZE_MAX, out, 512, &covered);
            values++;
            pin_release(&pins[i]);
        }
    } while (cursor != 0);
    return values == 0 ? 0 : (double)pieces / (double)values;
}

static uint64_t resident_memory(void)
{
    unsigned long size = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file != NULL && fscanf(file, "%lu %lu", &size, &resident) == 2);
    fclose(file);
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void measure_memory(struct bench *bench, struct report *report)
{
    store_figures(bench->store, &report->stats);
    const struct figures *stats = &report->stats;
    double entries = (double)stats->memory_entries, mean = (double)stats->memory_value_bytes / entries;
    report->index = (double)stats->memory_index_bytes / entries;
    report->rounding = (double)stats->memory_overhead_bytes / entries + 32 - 64; /* the key is part of the header */
    report->overhead = 64 + report->index + report->rounding;
    report->overhead_limit = 64 + 12 + 0.04 * mean;
    report->rss_after = resident_memory() - report->rss_before;
    report->rss_limit = bench->budget_bytes + bench->budget_bytes / 20 + 20000000;
    report->pieces = mean_pieces(bench);
}

static double median_ns(const struct bench *bench, const struct report *report, size_t run, enum work work)
{
    return report->rounds[run][work][bench->rounds / 2].cpu_ns;
}

static void print_table(const struct bench *bench, const struct report *report)
{
    printf(
        "budget %.0f MB, %llu entries of %.0f bytes in the mean, %llu operations of a kind in %u rounds, %llu replacements "
        "in all\n\n",
        (double)bench->budget_bytes / 1e6, (unsigned long long)report->stats.memory_entries,
        (double)report->stats.memory_value_bytes / (double)report->stats.memory_entries,
        (unsigned long long)bench->operations, bench->rounds, (unsigned long long)report->stats.evicted_capacity);
    printf("%-36s %8s %10s %8s %8s %10s %8s\n", "", "threads", "CPU ns/op", "least", "most", "wall ns/op", "limit");
    for (size_t i = 0; i < report->thread_counts; i++) {
        for (unsigned work = 0; work < WORK_COUNT; work++) {
            const struct cost *rounds = report->rounds[i][work];
            printf("%-36s %8u %10.0f %8.0f %8.0f %10.0f", WORKS[work].name, report->threads[i],
                   rounds[bench->rounds / 2].cpu_ns, rounds[0].cpu_ns, rounds[bench->rounds - 1].cpu_ns,
                   rounds[bench->rounds / 2].wall_ns);
            if (WORKS[work].limit_ns > 0) printf(" %8.0f", WORKS[work].limit_ns);
            printf("\n");
        }
    }
    printf("\n%-26s %10.1f bytes: header 64, index %.1f, rounding %.1f; limit %.1f\n", "overhead of an entry",
           report->overhead, report->index, report->rounding, report->overhead_limit);
    printf("%-26s %10.1f MB; limit %.1f MB\n", "resident beyond the start", (double)report->rss_after / 1e6,
           (double)report->rss_limit / 1e6);
    printf("%-26s %10.3f\n", "pieces of a value", report->pieces);
    printf("%-26s %10.1f MB in arenas, %.1f MB in the budget\n", "mapped",
           (double)report->stats.memory_resident_bytes / 1e6, (double)report->stats.memory_bytes / 1e6);
}

static void print_json(const struct bench *bench, const struct report *report)
{
    printf("{\"budget_bytes\":%llu,\"entries\":%llu,\"operations\":%llu,\"rounds\":%u,\"runs\":[",
           (unsigned long long)bench->budget_bytes, (unsigned long long)report->stats.memory_entries,
           (unsigned long long)bench->operations, bench->rounds);
    for (size_t i = 0; i < report->thread_counts; i++) {
        printf("%s{\"threads\":%u", i > 0 ? "," : "", report->threads[i]);
        for (unsigned work = 0; work < WORK_COUNT; work++) {
            const struct cost *median = &report->rounds[i][work][bench->rounds / 2];
            printf(",\"%s_cpu_ns\":%.1f,\"%s_wall_ns\":%.1f", WORKS[work].label, median->cpu_ns, WORKS[work].label,
                   median->wall_ns);
        }
        printf("}");
    }
    printf(
        "],\"overhead_bytes_per_entry\":%.2f,\"overhead_limit\":%.2f,\"index_bytes_per_entry\":%.2f,"
        "\"rounding_bytes_per_entry\":%.2f,\"resident_bytes\":%llu,\"resident_limit\":%llu,\"pieces_per_value\":%.4f,"
        "\"replacements\":%llu}\n",
        report->overhead, report->overhead_limit, report->index, report->rounding,
        (unsigned long long)report->rss_after, (unsigned long long)report->rss_limit, report->pieces,
        (unsigned long long)report->stats.evicted_capacity);
}

/* Are the limits kept? Time is judged only where it was asked for: a shared machine is no judge. */
static bool is_within(const struct bench *bench, const struct report *report)
{
    bool within = report->overhead <= report->overhead_limit && report->rss_after <= report->rss_limit;
    for (size_t i = 0; bench->check && i < report->thread_counts; i++)
        for (unsigned work = 0; work < WORK_COUNT; work++)
            within = within && (WORKS[work].limit_ns == 0 || median_ns(bench, report, i, work) <= WORKS[work].limit_ns);
    return within;
}

static int by_cpu(const void *a, const void *b)
{
    const struct cost *x = a, *y = b;
    return (x->cpu_ns > y->cpu_ns) - (x->cpu_ns < y->cpu_ns);
}

/* All kinds of work in turns, on so many threads at once. */
static void measure_times(struct bench *bench, struct report *report, unsigned threads)
{
    size_t run = report->thread_counts++;
    uint64_t operations = bench->operations / bench->rounds;
    report->threads[run] = threads;
    for (unsigned round = 0; round < bench->rounds; round++) {
        if (round == 0) work_list_resident(bench);
        for (unsigned work = 0; work <= WORK_GET; work++)
            report->rounds[run][work][round] = work_run(bench, work, threads, operations);
    }
    for (unsigned round = 0; round < bench->rounds; round++)
        for (unsigned work = WORK_GET + 1; work < WORK_COUNT; work++)
            report->rounds[run][work][round] = work_run(bench, work, threads, operations);
    for (unsigned work = 0; work < WORK_COUNT; work++)
        qsort(report->rounds[run][work], bench->rounds, sizeof(struct cost), by_cpu);
}

static void fill(struct bench *bench)
{
    struct figures stats;
    do {
        for (unsigned i = 0; i < 1000; i++) work_put_next(bench);
        stats = (struct figures){0};
        store_figures(bench->store, &stats);
    } while (stats.evicted_capacity == 0);
}

static int run(struct bench *bench)
{
    static struct report report;
    mem_init(&bench->mem, NULL);
    work_setup(bench);
    struct store_options options = {.mem = &bench->mem,
                                    .clock = clock_system(),
                                    .max_bytes = bench->budget_bytes,
                                    .max_item_bytes = 8 << 20,
                                    .policy = bench->policy};
    CHECK(store_create(&options, &bench->store) == AIC_OK);
    /* The benchmark's own arrays are not the store's memory: an eighth of them will be touched. */
    memset(bench->resident, 1, bench->resident_max * sizeof *bench->resident / 8);
    memset(bench->values, 1, bench->resident_max * sizeof *bench->values / 8);
    report.rss_before = resident_memory();
    fill(bench);
    for (unsigned threads = 1; threads <= bench->threads && report.thread_counts < MAX_THREAD_COUNTS; threads *= 2)
        measure_times(bench, &report, threads);
    struct figures stats = {0};
    store_figures(bench->store, &stats);
    if (stats.evicted_capacity < bench->replacements)
        work_run(bench, WORK_PUT, 1, bench->replacements - stats.evicted_capacity);
    measure_memory(bench, &report);
    aic_error error;
    CHECK(store_verify(bench->store, &error) == AIC_OK);
    if (bench->json) print_json(bench, &report);
    else print_table(bench, &report);
    store_destroy(&bench->store);
    mem_fini(&bench->mem);
    work_teardown(bench);
    return is_within(bench, &report) ? 0 : 1;
}

static void usage(FILE *to)
{
    fprintf(to, "usage: bench_store [--budget-mb N] [--operations N] [--rounds N] [--replacements N] [--threads N]\n"
                "                   [--ttl-s N] [--policy NAME] [--realtime] [--json] [--check]\n"
                "  --ttl-s     values expire after N to 2 N seconds (0, the default: never)\n"
                "  --realtime  go before all other work of the machine\n");
}

/* Goes before other processes, so that their work is not measured. */
static void go_first(void)
{
    struct sched_param param = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &param) != 0) perror("bench_store: --realtime");
}

static bool read_policy(const char *name, aic_policy *out)
{
    static const char *const names[] = {"s3fifo", "lru", "fifo", "sieve"};
    for (unsigned i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (aic_policy)i;
        return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    struct bench bench = {.budget_bytes = 4000000000,
                          .operations = 16000000,
                          .replacements = 10000000,
                          .threads = 2,
                          .rounds = 8,
                          .seed = 1};
    static const struct option options[] = {{"budget-mb", required_argument, NULL, 'b'},
                                            {"operations", required_argument, NULL, 'o'},
                                            {"replacements", required_argument, NULL, 'r'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"policy", required_argument, NULL, 'p'},
                                            {"rounds", required_argument, NULL, 'n'},
                                            {"ttl-s", required_argument, NULL, 'l'},
                                            {"realtime", no_argument, NULL, 'f'},
                                            {"json", no_argument, NULL, 'j'},
                                            {"check", no_argument, NULL, 'c'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'b': bench.budget_bytes = strtoull(optarg, NULL, 10) * 1000000; break;
        case 'o': bench.operations = strtoull(optarg, NULL, 10); break;
        case 'r': bench.replacements = strtoull(optarg, NULL, 10); break;
        case 't': bench.threads = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'p':
            if (read_policy(optarg, &bench.policy)) break;
            usage(stderr);
            return 2;
        case 'n': bench.rounds = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'l': bench.ttl_ms = strtoull(optarg, NULL, 10) * 1000; break;
        case 'f': go_first(); break;
        case 'j': bench.json = true; break;
        case 'c': bench.check = true; break;
        case 'h': usage(stdout); return 0;
        default: usage(stderr); return 2;
        }
    }
    if (bench.threads < 1 || bench.threads > MAX_THREADS || bench.budget_bytes < 4000000 || bench.operations < 1000 ||
        bench.rounds < 1 || bench.rounds > MAX_ROUNDS) {
        usage(stderr);
        return 2;
    }
    return run(&bench);
}
