/*
 * bench/cache - what one operation of the two-tier cache costs, in the process: key, put, lookup by key of plain,
 * compressed and kept-plain answers.
 *
 *   build/bench/cache/bench_cache [--entries N] [--bytes N]
 *
 * Prints one line per figure: name, nanoseconds per operation. One thread; medians of five rounds.
 */
#include "answers.h"
#include "base/check.h"
#include "cache/cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct bench {
    aic_cache *cache;
    struct answers *answers;
    aic_key *keys;
    size_t entries, bytes;
    uint64_t sum; /* so that nothing is optimised away */
};

static double put_all(struct bench *bench)
{
    static char text[ANSWERS_MAX_BYTES], response[2 * ANSWERS_MAX_BYTES + 2], question[256];
    uint64_t spent = 0;
    for (size_t i = 0; i < bench->entries; i++) {
        answers_write(bench->answers, i, bench->bytes, text);
        answers_question(bench->answers, i, question, sizeof question);
        size_t size = answers_json_string(text, bench->bytes, response);
        aic_put put = {.request = {.operation = AIC_LITERAL("qa"), .text = aic_view_of(question)},
                       .response = {response, size}};
        uint64_t started = now_ns();
        aic_put_result result;
        CHECK(aic_cache_put(bench->cache, &put, &result, NULL) == AIC_OK);
        spent += now_ns() - started;
        bench->keys[i] = result.key;
    }
    return (double)spent / (double)bench->entries;
}

typedef void step_fn(struct bench *bench, size_t i);

static void step_key(struct bench *bench, size_t i)
{
    char text[32];
    int size = snprintf(text, sizeof text, "question %zu", i);
    struct key_request request = {
        .ns = AIC_LITERAL("default"), .operation = AIC_LITERAL("qa"), .text = {.plain = {text, (size_t)size}}};
    aic_key key;
    CHECK(cache_key(bench->cache, &request, &key, NULL, NULL) == AIC_OK);
    bench->sum += key.bytes[0];
}

/* As the daemon does it: found, pieces at hand, released. */
static void step_get(struct bench *bench, size_t i)
{
    struct cache_hit hit;
    struct iovec pieces[64];
    struct buf plain;
    size_t count = 0;
    buf_init(&plain, cache_mem(bench->cache), MEM_CACHE);
    CHECK(cache_lookup_memory(bench->cache, AIC_LITERAL("default"), &bench->keys[i], &hit) == AIC_OK);
    CHECK(cache_hit_pieces(&hit, &plain, pieces, COUNT_OF(pieces), &count) == AIC_OK);
    bench->sum += pieces[0].iov_len;
    cache_hit_release(&hit);
    buf_fini(&plain);
}

static void step_look(struct bench *bench, size_t i)
{
    struct cache_hit hit;
    CHECK(cache_lookup_memory(bench->cache, AIC_LITERAL("default"), &bench->keys[i], &hit) == AIC_OK);
    bench->sum += hit.head_bytes;
    cache_hit_release(&hit);
}

static void measure(struct bench *bench, const char *name, step_fn *step)
{
    double rounds[5];
    for (size_t r = 0; r < COUNT_OF(rounds); r++) {
        uint64_t started = now_ns();
        size_t done = 0;
        for (; done < 200000 || done < bench->entries; done++) step(bench, done * 7919 % bench->entries);
        rounds[r] = (double)(now_ns() - started) / (double)done;
    }
    qsort(rounds, COUNT_OF(rounds), sizeof rounds[0], by_size);
    printf("%-44s %8.0f ns\n", name, rounds[2]);
}

/* `item`: the largest value that memory takes; only what is smaller than half of it is kept plain. */
static void run(struct bench *bench, const char *label, uint64_t threshold, uint64_t item)
{
    aic_options options = {.compression_threshold_bytes = threshold,
                           .memory_max_bytes = ((uint64_t)bench->entries * (bench->bytes + 512) + (8 << 20)) * 16,
                           .memory_max_item_bytes = item,
                           .ttl_default_seconds = AIC_ZERO};
    CHECK(aic_cache_open(&options, &bench->cache, NULL) == AIC_OK);
    char name[96];
    snprintf(name, sizeof name, "%s: put", label);
    printf("%-44s %8.0f ns\n", name, put_all(bench));
    snprintf(name, sizeof name, "%s: find, release", label);
    measure(bench, name, step_look);
    snprintf(name, sizeof name, "%s: find, pieces, release", label);
    measure(bench, name, step_get);
    struct figures stats = {0};
    cache_figures(bench->cache, &stats);
    printf("%-44s %8llu of %zu entries, %.1f MiB of %.1f MiB\n", "  kept plain", (unsigned long long)stats.hot_entries,
           bench->entries, (double)stats.hot_bytes / 1048576, (double)stats.memory_max_bytes / 1048576);
    aic_cache_close(&bench->cache);
}

int main(int count, char **arguments)
{
    struct bench bench = {.entries = 2000, .bytes = 2048};
    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(arguments[i], "--entries") == 0) bench.entries = strtoul(arguments[i + 1], NULL, 10);
        if (strcmp(arguments[i], "--bytes") == 0) bench.bytes = strtoul(arguments[i + 1], NULL, 10);
    }
    if (bench.entries == 0 || bench.bytes < ANSWERS_MIN_BYTES || bench.bytes > ANSWERS_MAX_BYTES) return 2;
    static struct answers answers;
    answers_init(&answers);
    bench.answers = &answers;
    bench.keys = calloc(bench.entries, sizeof *bench.keys);
    CHECK(bench.keys != NULL);
    run(&bench, "stored plain", UINT64_C(1) << 30, 0);
    run(&bench, "compressed, hot ones kept plain", 0, 0);
    run(&bench, "compressed, none kept plain", 0, 2 * bench.bytes);
    CHECK(aic_cache_open(NULL, &bench.cache, NULL) == AIC_OK);
    measure(&bench, "key of a short request", step_key);
    aic_cache_close(&bench.cache);
    printf("(%llu)\n", (unsigned long long)bench.sum);
    free(bench.keys);
    return 0;
}
