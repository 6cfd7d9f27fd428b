/*
 * bench/store - what one operation of the memory tier costs, in CPU time, at full size.
 *
 * Values are log-normal (median 3 KB, 0.5 to 50 KB). The store is filled, then every put replaces something: that is
 * the state that a cache lives in. Gets ask for keys that are there, in random order, so that every one misses the
 * CPU's caches. Each thread measures its own CPU time; key generation is included. One table on standard output, or one
 * JSON object with --json; exit status 1 when a limit that was asked for with --check is missed.
 */
#include "base/check.h"
#include "store/store.h"

#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { SIZE_COUNT = 1 << 16, SOURCE_BYTES = 128 << 10, MAX_THREADS = 16 };

struct bench {
    uint64_t budget_bytes, operations, replacements, seed;
    aic_policy policy;
    unsigned threads; /* the largest number tried */
    bool json, check;
    struct mem mem;
    struct store *store;
    uint32_t *sizes;
    char *source;
    uint64_t *resident;  /* ids of keys that are there, shuffled */
    const char **values; /* their first bytes, in the same order; valid until the next put */
    size_t resident_count;
    uint64_t next_id;
};

struct worker {
    struct bench *bench;
    uint64_t first, count;
    double cpu_ns, wall_ns;
    uint64_t hits, bytes;
};

static double now_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* A key like a digest; its first eight bytes are the id, so that a scan tells which it is. */
static aic_key key_of(uint64_t id)
{
    uint64_t words[4] = {id, mix(id), mix(id + 1), mix(id + 2)};
    aic_key key;
    memcpy(key.bytes, words, sizeof words);
    return key;
}

static void make_sizes(struct bench *bench)
{
    for (size_t i = 0; i < SIZE_COUNT; i += 2) {
        /* Box and Muller; sigma 1 puts the 99.7th percentile at 50 KB. */
        double u = ((double)(mix(bench->seed + i) >> 11) + 1) / 9007199254740993.0;
        double v = (double)(mix(bench->seed + i + 1) >> 11) / 9007199254740992.0;
        double radius = sqrt(-2 * log(u)), normal[2] = {radius * cos(2 * M_PI * v), radius * sin(2 * M_PI * v)};
        for (size_t j = 0; j < 2; j++) {
            double size = 3000 * exp(normal[j]);
            bench->sizes[i + j] = (uint32_t)(size < 500 ? 500 : size > 50000 ? 50000 : size);
        }
    }
}

static uint32_t size_of(const struct bench *bench, uint64_t id)
{
    return bench->sizes[mix(id) % SIZE_COUNT];
}

static void put_id(struct bench *bench, uint64_t id)
{
    struct iovec part = {bench->source + (id % 1024) * 64, size_of(bench, id)};
    struct store_put put = {.key = key_of(id), .parts = &part, .part_count = 1, .expires_ms = 0};
    CHECK(store_put(bench->store, &put) == AIC_OK);
}

static void *put_worker(void *context)
{
    struct worker *worker = context;
    double cpu = now_ns(CLOCK_THREAD_CPUTIME_ID), wall = now_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < worker->count; i++) put_id(worker->bench, worker->first + i);
    worker->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    worker->wall_ns = now_ns(CLOCK_MONOTONIC) - wall;
    return NULL;
}

static void *get_worker(void *context)
{
    struct worker *worker = context;
    struct bench *bench = worker->bench;
    size_t at = (size_t)(worker->first % bench->resident_count);
    double cpu = now_ns(CLOCK_THREAD_CPUTIME_ID), wall = now_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < worker->count; i++) {
        aic_key key = key_of(bench->resident[at]);
        if (++at == bench->resident_count) at = 0;
        struct pin pin;
        if (store_get(bench->store, &key, &pin) != AIC_OK) continue;
        worker->hits++;
        worker->bytes += pin_size(&pin);
        pin_release(&pin);
    }
    worker->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    worker->wall_ns = now_ns(CLOCK_MONOTONIC) - wall;
    return NULL;
}

/* The floor under a get: reads one byte of each value, each read waiting for the one before. */
static void *read_worker(void *context)
{
    struct worker *worker = context;
    const struct bench *bench = worker->bench;
    size_t at = (size_t)(worker->first % bench->resident_count);
    uint64_t sum = 0;
    double cpu = now_ns(CLOCK_THREAD_CPUTIME_ID), wall = now_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < worker->count; i++) {
        sum += *(const volatile unsigned char *)(bench->values[at + (sum & 1)]);
        if (++at >= bench->resident_count) at = 0;
    }
    worker->cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    worker->wall_ns = now_ns(CLOCK_MONOTONIC) - wall;
    worker->bytes = sum;
    return NULL;
}

struct phase {
    double cpu_ns, wall_ns; /* per operation of one thread, mean over the threads */
    uint64_t hits;
};

static struct phase run_phase(struct bench *bench, void *(*work)(void *), unsigned threads, uint64_t operations)
{
    struct worker workers[MAX_THREADS] = {{0}};
    pthread_t ids[MAX_THREADS];
    struct phase phase = {0};
    uint64_t each = operations / threads;
    for (unsigned i = 0; i < threads; i++) {
        workers[i] = (struct worker){.bench = bench, .count = each};
        workers[i].first = work == put_worker ? bench->next_id + i * each : i * (bench->resident_count / threads);
        CHECK(pthread_create(&ids[i], NULL, work, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        CHECK(pthread_join(ids[i], NULL) == 0);
        phase.cpu_ns += workers[i].cpu_ns / (double)(each * threads);
        phase.wall_ns += workers[i].wall_ns / (double)(each * threads);
        phase.hits += workers[i].hits;
    }
    if (work == put_worker) bench->next_id += threads * each;
    return phase;
}

/* Lists what is there, in random order. */
static void list_resident(struct bench *bench)
{
    struct pin pins[256];
    uint64_t cursor = 0;
    bench->resident_count = 0;
    do {
        size_t count = store_scan(bench->store, &cursor, pins, 256);
        for (size_t i = 0; i < count; i++) {
            struct iovec piece;
            size_t covered;
            CHECK(pin_pieces(&pins[i], 0, 1, &piece, 1, &covered) == 1);
            bench->values[bench->resident_count] = piece.iov_base;
            memcpy(&bench->resident[bench->resident_count++], pin_key(&pins[i])->bytes, sizeof(uint64_t));
            pin_release(&pins[i]);
        }
    } while (cursor != 0);
    for (size_t i = bench->resident_count - 1; i > 0; i--) {
        size_t j = mix(i) % (i + 1);
        uint64_t id = bench->resident[i];
        bench->resident[i] = bench->resident[j];
        bench->resident[j] = id;
        const char *value = bench->values[i];
        bench->values[i] = bench->values[j];
        bench->values[j] = value;
    }
    bench->values[bench->resident_count] = bench->values[0]; /* the read phase looks one further */
}

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

struct report {
    struct phase reads[2], gets[2], puts[2];
    unsigned threads[2];
    size_t thread_counts;
    struct store_stats stats;
    uint64_t rss_before, rss_after, rss_limit;
    double overhead, overhead_limit, index, rounding, pieces;
};

static void measure_memory(struct bench *bench, struct report *report)
{
    store_stats(bench->store, &report->stats);
    const struct store_stats *stats = &report->stats;
    double entries = (double)stats->entries, mean = (double)stats->value_bytes / entries;
    report->index = (double)stats->index_bytes / entries;
    report->rounding = (double)stats->overhead_bytes / entries + 32 - 64; /* the key is part of the header */
    report->overhead = 64 + report->index + report->rounding;
    report->overhead_limit = 64 + 12 + 0.04 * mean;
    report->rss_after = resident_memory() - report->rss_before;
    report->rss_limit = bench->budget_bytes + bench->budget_bytes / 20 + 20000000;
    report->pieces = mean_pieces(bench);
}

static const struct {
    const char *name;
    double limit_ns;
} LIMITS[] = {{"get + pin", 250}, {"put", 1500}};

static void print_table(const struct bench *bench, const struct report *report)
{
    printf(
        "budget %.0f MB, %llu entries of %.0f bytes in the mean, %llu operations a phase, %llu replacements in all\n\n",
        (double)bench->budget_bytes / 1e6, (unsigned long long)report->stats.entries,
        (double)report->stats.value_bytes / (double)report->stats.entries, (unsigned long long)bench->operations,
        (unsigned long long)report->stats.evicted_capacity);
    printf("%-26s %8s %12s %12s %10s\n", "", "threads", "CPU ns/op", "wall ns/op", "limit");
    for (size_t i = 0; i < report->thread_counts; i++) {
        printf("%-26s %8u %12.0f %12.0f\n", "a read of one byte of it", report->threads[i], report->reads[i].cpu_ns,
               report->reads[i].wall_ns);
        printf("%-26s %8u %12.0f %12.0f %10.0f\n", LIMITS[0].name, report->threads[i], report->gets[i].cpu_ns,
               report->gets[i].wall_ns, LIMITS[0].limit_ns);
        printf("%-26s %8u %12.0f %12.0f %10.0f\n", LIMITS[1].name, report->threads[i], report->puts[i].cpu_ns,
               report->puts[i].wall_ns, LIMITS[1].limit_ns);
    }
    printf("\n%-26s %10.1f bytes: header 64, index %.1f, rounding %.1f; limit %.1f\n", "overhead of an entry",
           report->overhead, report->index, report->rounding, report->overhead_limit);
    printf("%-26s %10.1f MB; limit %.1f MB\n", "resident beyond the start", (double)report->rss_after / 1e6,
           (double)report->rss_limit / 1e6);
    printf("%-26s %10.3f\n", "pieces of a value", report->pieces);
    printf("%-26s %10.1f MB in arenas, %.1f MB in the budget\n", "mapped", (double)report->stats.resident_bytes / 1e6,
           (double)report->stats.bytes / 1e6);
}

static void print_json(const struct bench *bench, const struct report *report)
{
    printf("{\"budget_bytes\":%llu,\"entries\":%llu,\"operations\":%llu,\"runs\":[",
           (unsigned long long)bench->budget_bytes, (unsigned long long)report->stats.entries,
           (unsigned long long)bench->operations);
    for (size_t i = 0; i < report->thread_counts; i++)
        printf(
            "%s{\"threads\":%u,\"read_cpu_ns\":%.1f,\"get_cpu_ns\":%.1f,\"get_wall_ns\":%.1f,\"put_cpu_ns\":%.1f,\"put_wall_ns\":%.1f}",
            i > 0 ? "," : "", report->threads[i], report->reads[i].cpu_ns, report->gets[i].cpu_ns,
            report->gets[i].wall_ns, report->puts[i].cpu_ns, report->puts[i].wall_ns);
    printf(
        "],\"overhead_bytes_per_entry\":%.2f,\"overhead_limit\":%.2f,\"index_bytes_per_entry\":%.2f,"
        "\"rounding_bytes_per_entry\":%.2f,\"resident_bytes\":%llu,\"resident_limit\":%llu,\"pieces_per_value\":%.4f,"
        "\"replacements\":%llu}\n",
        report->overhead, report->overhead_limit, report->index, report->rounding,
        (unsigned long long)report->rss_after, (unsigned long long)report->rss_limit, report->pieces,
        (unsigned long long)report->stats.evicted_capacity);
}

/* Are the limits kept? Time is judged only where it was asked for: a shared machine is no judge. */
static bool is_within(const struct report *report, bool with_times)
{
    bool within = report->overhead <= report->overhead_limit && report->rss_after <= report->rss_limit;
    for (size_t i = 0; with_times && i < report->thread_counts; i++)
        within = within && report->gets[i].cpu_ns <= LIMITS[0].limit_ns && report->puts[i].cpu_ns <= LIMITS[1].limit_ns;
    return within;
}

static int run(struct bench *bench)
{
    struct report report = {.rss_before = 0};
    bench->sizes = calloc(SIZE_COUNT, sizeof *bench->sizes);
    bench->source = malloc(SOURCE_BYTES);
    bench->resident = calloc(bench->budget_bytes / 500 + 2, sizeof *bench->resident);
    bench->values = calloc(bench->budget_bytes / 500 + 2, sizeof *bench->values);
    CHECK(bench->sizes != NULL && bench->source != NULL && bench->resident != NULL && bench->values != NULL);
    for (size_t i = 0; i < SOURCE_BYTES; i++) bench->source[i] = (char)mix(i);
    make_sizes(bench);
    mem_init(&bench->mem, NULL);
    struct store_options options = {.mem = &bench->mem,
                                    .clock = clock_system(),
                                    .max_bytes = bench->budget_bytes,
                                    .max_item_bytes = 8 << 20,
                                    .policy = bench->policy};
    CHECK(store_create(&options, &bench->store) == AIC_OK);
    /* The harness's own arrays are not the store's memory: an eighth of them will be touched. */
    memset(bench->resident, 1, bench->budget_bytes / 500 * sizeof *bench->resident / 8);
    memset(bench->values, 1, bench->budget_bytes / 500 * sizeof *bench->values / 8);
    report.rss_before = resident_memory();
    struct store_stats stats;
    do {
        put_id(bench, bench->next_id++);
        store_stats(bench->store, &stats);
        for (unsigned i = 0; i < 1000; i++) put_id(bench, bench->next_id++);
    } while (stats.evicted_capacity == 0);
    for (unsigned threads = 1; threads <= bench->threads && report.thread_counts < 2; threads *= 2) {
        size_t i = report.thread_counts++;
        report.threads[i] = threads;
        list_resident(bench);
        run_phase(bench, get_worker, threads,
                  bench->resident_count < bench->operations / 8 ? bench->resident_count : 0);
        report.reads[i] = run_phase(bench, read_worker, threads, bench->operations);
        report.gets[i] = run_phase(bench, get_worker, threads, bench->operations);
        report.puts[i] = run_phase(bench, put_worker, threads, bench->operations);
    }
    store_stats(bench->store, &stats);
    if (stats.evicted_capacity < bench->replacements)
        run_phase(bench, put_worker, 1, bench->replacements - stats.evicted_capacity);
    measure_memory(bench, &report);
    aic_error error;
    CHECK(store_verify(bench->store, &error) == AIC_OK);
    if (bench->json) print_json(bench, &report);
    else print_table(bench, &report);
    store_destroy(&bench->store);
    mem_fini(&bench->mem);
    free(bench->sizes);
    free(bench->source);
    free(bench->resident);
    free(bench->values);
    return is_within(&report, bench->check) ? 0 : 1;
}

static void usage(FILE *to)
{
    fprintf(
        to,
        "usage: bench_store [--budget-mb N] [--operations N] [--replacements N] [--threads N] [--policy NAME] [--json] "
        "[--check]\n");
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
    struct bench bench = {
        .budget_bytes = 4000000000, .operations = 16000000, .replacements = 10000000, .threads = 2, .seed = 1};
    static const struct option options[] = {{"budget-mb", required_argument, NULL, 'b'},
                                            {"operations", required_argument, NULL, 'o'},
                                            {"replacements", required_argument, NULL, 'r'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"policy", required_argument, NULL, 'p'},
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
        case 'j': bench.json = true; break;
        case 'c': bench.check = true; break;
        case 'h': usage(stdout); return 0;
        default: usage(stderr); return 2;
        }
    }
    if (bench.threads < 1 || bench.threads > MAX_THREADS || bench.budget_bytes < 4000000 || bench.operations < 1000) {
        usage(stderr);
        return 2;
    }
    return run(&bench);
}
