/*
 * tier.c - how fast the LMDB tier is: filling, replacing, hot reads, commits, and opening a store of many entries.
 *
 *   bench_tier [--directory DIR] [--megabytes N] [--entries N] [--labelled N] [--labels 0..3] [--real] [--json]
 *
 * The first part works on records of 1..50 KB (--real: log-normal around 3 KB), N megabytes of them in all (default
 * 1000; 0: left out), 64 a batch, one sync a second, as the gate does it. The second part (--entries, default 0: left
 * out) fills a store with that many small records and measures its opening and the first read after it, with the file
 * in memory and with none of it (what of it stayed all the same is told). The third (--labelled, default 0) fills one
 * with that many records of 525 bytes with four labels each (one partition, operation and model, tags of 20 000
 * entries), and measures its file, its opening, a walk over all and the removal of one tag. What is written is removed
 * at the end. Each record has three labels (partition, operation, model), or --labels of them: a label costs a row in a
 * random place of an index.
 */
#include "base/check.h"
#include "support.h"
#include "tier/lmdb/lmdb.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, READS = 200000, MAX_COMMITS = 400000, LABELLED_BYTES = 525, TAKEN = 512 };

struct bench {
    struct mem mem;
    struct scratch scratch;
    struct tier *tier;
    uint64_t seed;
    uint64_t entries; /* of the first part */
    uint64_t synced_ns;
    uint64_t labels; /* of each record, 0..3 */
    bool json, real_sizes;
    double commits_ms[MAX_COMMITS];
    size_t commit_count;
};

static uint64_t now_ns(void)
{
    return clock_mono_ns(clock_system());
}

static void open_tier(struct bench *bench, uint64_t max_bytes)
{
    struct lmdb_options options = {.mem = &bench->mem,
                                   .clock = clock_system(),
                                   .directory = bench->scratch.path,
                                   .max_bytes = max_bytes,
                                   .describe = sample_describe};
    aic_error error;
    if (lmdb_tier_open(&options, &bench->tier, &error) == AIC_OK) return;
    fprintf(stderr, "%s\n", error.message);
    exit(1);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Sorts. */
static double percentile(double *values, size_t count, double part)
{
    qsort(values, count, sizeof values[0], compare_doubles);
    return count == 0 ? 0 : values[(size_t)(part * (double)(count - 1))];
}

/* 1..50 KB evenly, or with --real log-normal around 3 KB. */
static size_t record_size(struct bench *bench)
{
    if (!bench->real_sizes) return 1000 + random_below(&bench->seed, 49000);
    double u = ((double)(random_next(&bench->seed) >> 11) + 1) / 9007199254740993.0;
    double v = (double)(random_next(&bench->seed) >> 11) / 9007199254740992.0;
    double size = 3072 * exp(0.9 * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    return size < 500 ? 500 : size > 51200 ? 51200 : (size_t)size;
}

/* Writes a batch of records under the given numbers; returns the bytes. */
static uint64_t write_batch(struct bench *bench, const uint64_t *numbers, size_t count, size_t fixed_bytes)
{
    static struct buf records[BATCH];
    struct tier_write writes[BATCH];
    uint64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        static const unsigned ttl_seconds[] = {1800, 3600, 7200, 86400};
        uint64_t now_ms = clock_wall_ms(clock_system());
        struct sample sample = {.created_ms = now_ms,
                                .expires_ms = now_ms + 1000 * ttl_seconds[random_below(&bench->seed, 4)],
                                .labels = {"0default", numbers[i] % 2 == 0 ? "1qa" : "1summarize", "2gpt-4o"},
                                .payload_bytes = fixed_bytes > 0 ? fixed_bytes : record_size(bench),
                                .payload_seed = numbers[i]};
        sample.labels[fixed_bytes > 0 ? 1 : bench->labels] = NULL;
        buf_clear(&records[i]);
        records[i].mem = &bench->mem;
        records[i].owner = MEM_OTHER;
        sample_write(&sample, &records[i]);
        writes[i] = (struct tier_write){.key = sample_key(numbers[i]), .record = buf_view(&records[i])};
        /* Many entries are written in the order of their keys: only their number matters afterwards, not how long they
         * took. */
        for (size_t j = 0; fixed_bytes > 0 && j < 8; j++)
            writes[i].key.bytes[j] = (uint8_t)(numbers[i] >> (56 - 8 * j));
        bytes += records[i].size;
    }
    uint64_t before = now_ns();
    CHECK(bench->tier->ops->apply(bench->tier, writes, count) == AIC_OK);
    uint64_t after = now_ns();
    if (bench->commit_count < MAX_COMMITS) bench->commits_ms[bench->commit_count++] = (double)(after - before) / 1e6;
    if (after - bench->synced_ns > 1000000000) {
        CHECK(bench->tier->ops->sync(bench->tier) == AIC_OK);
        bench->synced_ns = now_ns();
    }
    return bytes;
}

static void report(const struct bench *bench, const char *name, double value, const char *unit)
{
    if (bench->json) printf("{\"bench\":\"tier\",\"name\":\"%s\",\"value\":%.3f,\"unit\":\"%s\"}\n", name, value, unit);
    else printf("%-28s %12.2f %s\n", name, value, unit);
    fflush(stdout);
}

static void measure_writes(struct bench *bench, const char *name, uint64_t total_bytes, bool replaces)
{
    uint64_t numbers[BATCH];
    uint64_t bytes = 0, next = 0;
    char title[64];
    bench->commit_count = 0;
    uint64_t busy_ns = 0;
    uint64_t first_ns = now_ns();
    clock_t first_cpu = clock();
    while (bytes < total_bytes) {
        for (size_t i = 0; i < BATCH; i++) numbers[i] = replaces ? random_below(&bench->seed, bench->entries) : next++;
        uint64_t written = write_batch(bench, numbers, BATCH, 0);
        bytes += written;
        busy_ns += (uint64_t)(bench->commits_ms[bench->commit_count - 1] * 1e6);
    }
    if (!replaces) bench->entries = next;
    CHECK(bench->tier->ops->sync(bench->tier) == AIC_OK);
    double seconds = (double)(now_ns() - first_ns) / 1e9;
    double cpu_seconds = (double)(clock() - first_cpu) / CLOCKS_PER_SEC;
    snprintf(title, sizeof title, "%s", name);
    report(bench, title, (double)bytes / 1e6 / ((double)busy_ns / 1e9), "MB/s in apply");
    snprintf(title, sizeof title, "%s, with syncs", name);
    report(bench, title, (double)bytes / 1e6 / seconds, "MB/s (making the records included)");
    snprintf(title, sizeof title, "%s, processor", name);
    report(bench, title, (double)bytes / 1e6 / cpu_seconds, "MB per processor second (the same)");
    snprintf(title, sizeof title, "%s, commit p50", name);
    report(bench, title, percentile(bench->commits_ms, bench->commit_count, 0.5), "ms");
    snprintf(title, sizeof title, "%s, commit p99", name);
    report(bench, title, percentile(bench->commits_ms, bench->commit_count, 0.99), "ms");
}

static void measure_reads(struct bench *bench)
{
    static double micros[READS];
    struct buf out;
    buf_init(&out, &bench->mem, MEM_OTHER);
    for (size_t i = 0; i < READS; i++) {
        aic_key key = sample_key(random_below(&bench->seed, bench->entries));
        buf_clear(&out);
        uint64_t before = now_ns();
        CHECK(bench->tier->ops->get(bench->tier, &key, &out) == AIC_OK);
        micros[i] = (double)(now_ns() - before) / 1e3;
    }
    buf_fini(&out);
    report(bench, "hot read p50", percentile(micros, READS, 0.5), "us");
    report(bench, "hot read p99", percentile(micros, READS, 0.99), "us");
}

static void measure_size(struct bench *bench)
{
    struct tier_stats stats;
    bench->tier->ops->stats(bench->tier, &stats);
    report(bench, "file / live bytes", (double)stats.file_bytes / (double)stats.bytes, "");
}

static void close_tier(struct bench *bench)
{
    bench->tier->ops->close(bench->tier);
}

static void part_large(struct bench *bench, uint64_t megabytes)
{
    open_tier(bench, megabytes * 4000000);
    measure_writes(bench, "fill", megabytes * 1000000, false);
    measure_size(bench);
    measure_writes(bench, "replace", 2 * megabytes * 1000000, true);
    measure_size(bench);
    measure_reads(bench);
    close_tier(bench);
    scratch_remove(&bench->scratch);
}

/* Asks the kernel to forget the file, which nobody has open; returns how much of it stayed, in percent. */
static double forget_file(const struct bench *bench)
{
    char path[4096];
    struct stat facts;
    scratch_name(&bench->scratch, "cache.mdb", path, sizeof path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && fstat(fd, &facts) == 0);
    CHECK(fdatasync(fd) == 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    size_t pages = ((size_t)facts.st_size + 4095) / 4096, stayed = 0;
    unsigned char *resident = calloc(pages, 1);
    void *map = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(resident != NULL && map != MAP_FAILED && mincore(map, (size_t)facts.st_size, resident) == 0);
    for (size_t i = 0; i < pages; i++) stayed += resident[i] & 1;
    munmap(map, (size_t)facts.st_size);
    close(fd);
    free(resident);
    return 100 * (double)stayed / (double)pages;
}

/* Opening, and reading one entry of the middle. */
static void measure_open(struct bench *bench, uint64_t entries, const char *how)
{
    struct tier_stats stats;
    char title[64];
    struct buf out;
    aic_key key = sample_key(entries / 2);
    for (size_t j = 0; j < 8; j++) key.bytes[j] = (uint8_t)(entries / 2 >> (56 - 8 * j));
    uint64_t first_ns = now_ns();
    open_tier(bench, (uint64_t)16 << 30);
    bench->tier->ops->stats(bench->tier, &stats);
    snprintf(title, sizeof title, "open %" PRIu64 " entries, %s", stats.entries, how);
    report(bench, title, (double)(now_ns() - first_ns) / 1e6, "ms");
    buf_init(&out, &bench->mem, MEM_OTHER);
    first_ns = now_ns();
    CHECK(bench->tier->ops->get(bench->tier, &key, &out) == AIC_OK);
    snprintf(title, sizeof title, "first read, %s", how);
    report(bench, title, (double)(now_ns() - first_ns) / 1e6, "ms");
    buf_fini(&out);
    close_tier(bench);
}

static void part_many(struct bench *bench, uint64_t entries)
{
    uint64_t numbers[BATCH];
    scratch_make(&bench->scratch);
    open_tier(bench, (uint64_t)16 << 30);
    uint64_t first_ns = now_ns();
    for (uint64_t number = 0; number < entries; number += BATCH) {
        for (size_t i = 0; i < BATCH; i++) numbers[i] = number + i;
        write_batch(bench, numbers, BATCH, 40);
    }
    report(bench, "small entries written", (double)entries / ((double)(now_ns() - first_ns) / 1e9), "a second");
    struct tier_stats stats;
    bench->tier->ops->stats(bench->tier, &stats);
    report(bench, "small entries, file", (double)stats.file_bytes / (double)stats.entries, "bytes an entry");
    close_tier(bench);
    measure_open(bench, entries, "warm");
    for (int i = 0; i < 3; i++) {
        report(bench, "still in memory", forget_file(bench), "% of the file");
        measure_open(bench, entries, "cold");
    }
    scratch_remove(&bench->scratch);
}

/* A batch of records of 525 bytes. */
static void write_labelled(struct bench *bench, uint64_t first, size_t count, uint64_t tags)
{
    static struct buf records[BATCH];
    struct tier_write writes[BATCH];
    uint64_t now_ms = clock_wall_ms(clock_system());
    for (size_t i = 0; i < count; i++) {
        char tag[32];
        snprintf(tag, sizeof tag, "3tag-%05" PRIu64, (first + i) % tags);
        struct sample sample = {.created_ms = now_ms,
                                .expires_ms = now_ms + 86400000,
                                .labels = {"0default", "1qa", "2gpt-4o", tag},
                                .payload_seed = first + i};
        records[i].mem = &bench->mem;
        records[i].owner = MEM_OTHER;
        buf_clear(&records[i]);
        sample_write(&sample, &records[i]);
        sample.payload_bytes = LABELLED_BYTES - records[i].size;
        buf_clear(&records[i]);
        sample_write(&sample, &records[i]);
        writes[i] = (struct tier_write){.key = sample_key(first + i), .record = buf_view(&records[i])};
    }
    uint64_t before = now_ns();
    CHECK(bench->tier->ops->apply(bench->tier, writes, count) == AIC_OK);
    if (bench->commit_count < MAX_COMMITS) bench->commits_ms[bench->commit_count++] = (double)(now_ns() - before) / 1e6;
}

struct taken {
    aic_key keys[TAKEN];
    size_t count, stop;
};

static bool take_key(void *context, const aic_key *key, aic_view record)
{
    struct taken *taken = context;
    (void)record;
    if (taken->stop > 0) taken->keys[taken->count] = *key;
    return ++taken->count != taken->stop;
}

/* As an invalidation does it. */
static uint64_t remove_tag(struct bench *bench, const struct tier_filter *filter)
{
    static struct taken taken;
    static struct tier_write writes[TAKEN];
    uint64_t removed = 0;
    taken.stop = TAKEN;
    struct tier_place at = {0};
    do {
        taken.count = 0;
        CHECK(walk_tier(&bench->mem, bench->tier, filter, &at, take_key, &taken) == AIC_OK);
        for (size_t i = 0; i < taken.count; i++) writes[i] = (struct tier_write){.key = taken.keys[i]};
        CHECK(bench->tier->ops->apply(bench->tier, writes, taken.count) == AIC_OK);
        removed += taken.count;
    } while (taken.count == TAKEN);
    return removed;
}

static void part_labelled(struct bench *bench, uint64_t entries)
{
    static struct taken all;
    const struct tier_label labels[] = {sample_label("0default"), sample_label("3tag-00000")};
    const struct tier_filter filter = {.labels = labels, .label_count = COUNT_OF(labels)};
    uint64_t tags = entries < 20000 ? 1 : entries / 20000;
    scratch_make(&bench->scratch);
    open_tier(bench, (uint64_t)16 << 30);
    bench->commit_count = 0;
    uint64_t first_ns = now_ns();
    for (uint64_t number = 0; number < entries; number += BATCH)
        write_labelled(bench, number, entries - number < BATCH ? (size_t)(entries - number) : BATCH, tags);
    report(bench, "labelled entries written", (double)entries / ((double)(now_ns() - first_ns) / 1e9), "a second");
    report(bench, "labelled, commit p50", percentile(bench->commits_ms, bench->commit_count, 0.5), "ms");
    report(bench, "labelled, commit p99", percentile(bench->commits_ms, bench->commit_count, 0.99), "ms");
    measure_size(bench);
    bench->entries = entries;
    measure_reads(bench);
    close_tier(bench);
    first_ns = now_ns();
    open_tier(bench, (uint64_t)16 << 30);
    report(bench, "labelled, open", (double)(now_ns() - first_ns) / 1e6, "ms");
    first_ns = now_ns();
    CHECK(walk_tier(&bench->mem, bench->tier, &(struct tier_filter){0}, NULL, take_key, &all) == AIC_OK);
    CHECK(all.count == entries);
    report(bench, "labelled, walk by key", (double)(now_ns() - first_ns) / 1e9, "s");
    all.count = 0;
    first_ns = now_ns();
    CHECK(walk_tier(&bench->mem, bench->tier, &(struct tier_filter){.any_order = true}, NULL, take_key, &all) ==
          AIC_OK);
    CHECK(all.count == entries);
    report(bench, "labelled, walk as it lies", (double)(now_ns() - first_ns) / 1e9, "s");
    first_ns = now_ns();
    uint64_t removed = remove_tag(bench, &filter);
    report(bench, "labelled, one tag removed", (double)(now_ns() - first_ns) / 1e9, "s");
    report(bench, "labelled, of a tag", (double)removed, "entries");
    close_tier(bench);
    scratch_remove(&bench->scratch);
}

int main(int count, char **arguments)
{
    uint64_t megabytes = 1000, entries = 0, labelled = 0;
    struct bench *bench = calloc(1, sizeof *bench);
    CHECK(bench != NULL);
    bench->labels = 3;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--json") == 0) bench->json = true;
        else if (strcmp(arguments[i], "--real") == 0) bench->real_sizes = true;
        else if (i + 1 < count && strcmp(arguments[i], "--megabytes") == 0)
            megabytes = strtoull(arguments[++i], NULL, 10);
        else if (i + 1 < count && strcmp(arguments[i], "--entries") == 0) entries = strtoull(arguments[++i], NULL, 10);
        else if (i + 1 < count && strcmp(arguments[i], "--labelled") == 0)
            labelled = strtoull(arguments[++i], NULL, 10);
        else if (i + 1 < count && strcmp(arguments[i], "--directory") == 0)
            CHECK(setenv("TMPDIR", arguments[++i], 1) == 0);
        else if (i + 1 < count && strcmp(arguments[i], "--labels") == 0)
            bench->labels = strtoull(arguments[++i], NULL, 10) % 4;
        else
            return fprintf(
                       stderr,
                       "usage: %s [--directory DIR] [--megabytes N] [--entries N] [--labelled N] [--labels 0..3] [--real] "
                       "[--json]\n",
                       arguments[0]),
                   2;
    }
    mem_init(&bench->mem, NULL);
    bench->seed = 42;
    bench->synced_ns = now_ns();
    if (megabytes > 0) {
        scratch_make(&bench->scratch);
        part_large(bench, megabytes);
    }
    if (entries > 0) part_many(bench, entries);
    if (labelled > 0) part_labelled(bench, labelled);
    free(bench);
    return 0;
}
