/*
 * bench/policy - hit rates of the store's four policies beside a plain S3-FIFO and Belady's optimum.
 *
 *   bench_policy                                              all generated traces at 1, 3 and 10 % of the bytes of all
 * objects bench_policy --trace FILE --capacity BYTES                lines `time,key,size`; FILE may be -
 *
 * The policies run in the product's own store, get by get and put by put. By default in one shard, so that the policy
 * is compared and not the sharding; --shards 64 shows what the daemon does. The plain S3-FIFO gets the same capacity
 * less what the store's index took.
 * --check: exit status 1 when the store's S3-FIFO lies more than 0.5 points from the plain one.
 */
#include "policy_bench.h"

#include "base/check.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    aic_policy policy;
} POLICIES[] = {
    {"fifo", AIC_POLICY_FIFO}, {"lru", AIC_POLICY_LRU}, {"sieve", AIC_POLICY_SIEVE}, {"s3fifo", AIC_POLICY_S3FIFO}};

enum { POLICY_COUNT = COUNT_OF(POLICIES), REFERENCE = POLICY_COUNT, BELADY, OUTCOMES };

struct settings {
    const char *trace_path;
    uint64_t capacity, seed;
    size_t requests;
    uint32_t objects;
    unsigned shards;
    bool json, check;
    unsigned rows;
    double largest_difference;
};

static const char *column_name(unsigned column)
{
    return column == REFERENCE ? "plain" : column == BELADY ? "belady" : POLICIES[column].name;
}

static void print_row(struct settings *settings, const struct trace *trace, uint64_t capacity,
                      const struct outcome *outcomes)
{
    double share = 100.0 * (double)capacity / (double)trace->unique_bytes;
    if (!settings->json) {
        printf("%-12s %6.2f%% ", trace->name, share);
        for (unsigned i = 0; i < OUTCOMES; i++) printf(" %8.2f", outcomes[i].hit_rate);
        printf(" %+8.2f\n", outcomes[POLICY_COUNT - 1].hit_rate - outcomes[REFERENCE].hit_rate);
        fflush(stdout);
        return;
    }
    printf("%s{\"trace\":\"", settings->rows > 0 ? ",\n" : "");
    for (const char *c = trace->name; *c != '\0'; c++)
        if ((unsigned char)*c >= ' ' && *c != '"' && *c != '\\') putchar(*c);
    printf("\",\"requests\":%zu,\"objects\":%u,\"capacity\":%llu,\"capacity_percent\":%.3f", trace->count,
           trace->unique, (unsigned long long)capacity, share);
    for (unsigned i = 0; i < OUTCOMES; i++)
        printf(",\"%s\":{\"hit_rate\":%.3f,\"byte_hit_rate\":%.3f}", column_name(i), outcomes[i].hit_rate,
               outcomes[i].byte_hit_rate);
    printf("}");
}

static void run_one(struct settings *settings, const struct trace *trace, uint64_t capacity)
{
    struct outcome outcomes[OUTCOMES];
    for (unsigned i = 0; i < POLICY_COUNT; i++)
        outcomes[i] = replay_store(trace, POLICIES[i].policy, capacity, settings->shards);
    uint64_t rest = capacity - outcomes[POLICY_COUNT - 1].index_bytes;
    outcomes[REFERENCE] = replay_reference(trace, rest);
    outcomes[BELADY] = replay_belady(trace, rest);
    double difference = outcomes[POLICY_COUNT - 1].hit_rate - outcomes[REFERENCE].hit_rate;
    if (difference < 0) difference = -difference;
    if (difference > settings->largest_difference) settings->largest_difference = difference;
    print_row(settings, trace, capacity, outcomes);
    settings->rows++;
}

static void run_generated(struct settings *settings)
{
    static const unsigned percents[] = {1, 3, 10};
    for (size_t i = 0; trace_names[i] != NULL; i++) {
        struct trace trace;
        trace_generate(&trace, trace_names[i], settings->requests, settings->objects, settings->seed + i);
        if (settings->capacity != 0) run_one(settings, &trace, settings->capacity);
        else
            for (size_t j = 0; j < COUNT_OF(percents); j++)
                run_one(settings, &trace, trace.unique_bytes * percents[j] / 100);
        trace_fini(&trace);
    }
}

static int run(struct settings *settings)
{
    if (settings->json) {
        printf("[");
    } else {
        printf("%-12s %7s ", "hit rate, %", "size");
        for (unsigned i = 0; i < OUTCOMES; i++) printf(" %8s", column_name(i));
        printf(" %8s\n", "s3-plain");
    }
    if (settings->trace_path != NULL) {
        struct trace trace;
        trace_read(&trace, settings->trace_path);
        run_one(settings, &trace, settings->capacity != 0 ? settings->capacity : trace.unique_bytes / 10);
        trace_fini(&trace);
    } else {
        run_generated(settings);
    }
    if (settings->json) printf("]\n");
    if (!settings->check || settings->largest_difference <= 0.5) return 0;
    fprintf(stderr, "bench_policy: S3-FIFO lies %.2f points from the plain one\n", settings->largest_difference);
    return 1;
}

static void usage(FILE *to)
{
    fprintf(to, "usage: bench_policy [--trace FILE] [--capacity BYTES] [--requests N] [--objects N] [--shards N] "
                "[--seed N] [--json] [--check]\n");
}

/* A whole number from `least` on, or the end of the program. */
static uint64_t number_of(const char *option, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 && number >= least && number <= most)
        return number;
    fprintf(stderr, "bench_policy: --%s: '%s' is not accepted; accepted: a whole number from %llu to %llu\n", option,
            text, (unsigned long long)least, (unsigned long long)most);
    exit(2);
}

int main(int argc, char **argv)
{
    struct settings settings = {.requests = 1000000, .objects = 100000, .shards = 1, .seed = 1};
    static const struct option options[] = {
        {"trace", required_argument, NULL, 't'},    {"capacity", required_argument, NULL, 'c'},
        {"requests", required_argument, NULL, 'r'}, {"objects", required_argument, NULL, 'o'},
        {"shards", required_argument, NULL, 's'},   {"seed", required_argument, NULL, 'e'},
        {"json", no_argument, NULL, 'j'},           {"check", no_argument, NULL, 'k'},
        {"help", no_argument, NULL, 'h'},           {0}};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 't': settings.trace_path = optarg; break;
        case 'c': settings.capacity = number_of("capacity", optarg, 1, INT64_MAX); break;
        case 'r': settings.requests = number_of("requests", optarg, 100, SIZE_MAX / 64); break;
        case 'o': settings.objects = (uint32_t)number_of("objects", optarg, 20, UINT32_MAX); break;
        case 's': settings.shards = (unsigned)number_of("shards", optarg, 1, 256); break;
        case 'e': settings.seed = number_of("seed", optarg, 0, UINT64_MAX); break;
        case 'j': settings.json = true; break;
        case 'k': settings.check = true; break;
        case 'h': usage(stdout); return 0;
        default: usage(stderr); return 2;
        }
    }
    if ((settings.shards & (settings.shards - 1)) != 0) {
        fprintf(stderr, "bench_policy: --shards: %u is not accepted; accepted: a power of two\n", settings.shards);
        return 2;
    }
    if (optind < argc) {
        usage(stderr);
        return 2;
    }
    return run(&settings);
}
