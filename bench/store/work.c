#include "store_bench.h"

#include "base/check.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct worker {
    struct bench *bench;
    enum work work;
    unsigned number, threads;
    uint64_t first, count;
    struct cost total;
    uint64_t sum; /* of whatever was read, so that nothing is left out */
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

/* A key like a digest. */
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

void work_setup(struct bench *bench)
{
    bench->resident_max = bench->budget_bytes / 500 + 1;
    bench->sizes = calloc(SIZE_COUNT, sizeof *bench->sizes);
    bench->source = malloc(SOURCE_BYTES);
    bench->resident = calloc(bench->resident_max, sizeof *bench->resident);
    bench->values = calloc(bench->resident_max, sizeof *bench->values);
    CHECK(bench->sizes != NULL && bench->source != NULL && bench->resident != NULL && bench->values != NULL);
    for (size_t i = 0; i < SOURCE_BYTES; i++) bench->source[i] = (char)mix(i);
    make_sizes(bench);
    bench->now_ms = clock_wall_ms(clock_system());
}

void work_teardown(struct bench *bench)
{
    free(bench->sizes);
    free(bench->source);
    free(bench->resident);
    free(bench->values);
}

/* What is put under an id. */
static struct store_put put_of(const struct bench *bench, uint64_t id, struct iovec *part)
{
    *part = (struct iovec){bench->source + (id % 1024) * 64, bench->sizes[id % SIZE_COUNT]};
    uint64_t expires_ms = bench->ttl_ms == 0 ? 0 : bench->now_ms + bench->ttl_ms + mix(id + 3) % bench->ttl_ms;
    return (struct store_put){.key = key_of(id), .parts = part, .part_count = 1, .expires_ms = expires_ms};
}

void work_put_next(struct bench *bench)
{
    struct iovec part;
    struct store_put put = put_of(bench, bench->next_id++, &part);
    CHECK(store_put(bench->store, &put) == AIC_OK);
}

/* ------------------------------------------------------------------------------------------------- what is timed -- */

static uint64_t sum_of(const aic_key *key)
{
    uint64_t words[4];
    memcpy(words, key->bytes, sizeof words);
    return words[0] + words[1] + words[2] + words[3];
}

static void look_at_keys(struct worker *worker)
{
    const struct bench *bench = worker->bench;
    size_t at = (size_t)worker->first;
    for (uint64_t i = 0; i < worker->count; i++) {
        worker->sum += sum_of(&bench->resident[at]);
        if (++at == bench->resident_count) at = 0;
    }
}

static void read_alone(struct worker *worker)
{
    const struct bench *bench = worker->bench;
    size_t at = (size_t)worker->first;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < worker->count; i++) {
        /* The sum never gets so large, but the processor must wait for it to know the address. */
        sum += *(const volatile unsigned char *)(bench->values[at] + (sum >> 63));
        if (++at == bench->resident_count) at = 0;
    }
    worker->sum = sum;
}

static void read_many(struct worker *worker)
{
    const struct bench *bench = worker->bench;
    size_t at = (size_t)worker->first;
    uint64_t sum = 0;
    for (uint64_t i = 0; i < worker->count; i++) {
        sum += *(const volatile unsigned char *)bench->values[at];
        if (++at == bench->resident_count) at = 0;
    }
    worker->sum = sum;
}

static void get(struct worker *worker)
{
    struct bench *bench = worker->bench;
    size_t at = (size_t)worker->first;
    for (uint64_t i = 0; i < worker->count; i++) {
        struct pin pin;
        CHECK(store_get(bench->store, &bench->resident[at], &pin) == AIC_OK);
        if (++at == bench->resident_count) at = 0;
        worker->sum += pin_size(&pin);
        pin_release(&pin);
    }
}

static void make_puts(struct worker *worker)
{
    for (uint64_t i = 0; i < worker->count; i++) {
        struct iovec part;
        struct store_put put = put_of(worker->bench, worker->first + i, &part);
        worker->sum += sum_of(&put.key) + part.iov_len + put.expires_ms;
    }
}

static void put(struct worker *worker)
{
    for (uint64_t i = 0; i < worker->count; i++) {
        struct iovec part;
        struct store_put it = put_of(worker->bench, worker->first + i, &part);
        CHECK(store_put(worker->bench->store, &it) == AIC_OK);
    }
}

static void pass(struct worker *worker)
{
    static _Alignas(64) _Atomic uint64_t line;
    enum { LOOKS = 10000 }; /* then maybe it is one core for all, and the others must come on */
    for (uint64_t i = 0; i < worker->count; i++) {
        for (unsigned look = 1; atomic_load(&line) % worker->threads != worker->number; look++)
            if (look % LOOKS == 0) sched_yield();
        atomic_fetch_add(&line, 1);
    }
}

static void *run_worker(void *context)
{
    static void (*const works[WORK_COUNT])(struct worker *) = {
        [WORK_GET_LOOP] = look_at_keys,
        [WORK_READ_ALONE] = read_alone,
        [WORK_READ_MANY] = read_many,
        [WORK_GET] = get,
        [WORK_PUT_LOOP] = make_puts,
        [WORK_PUT] = put,
        [WORK_PASS] = pass,
    };
    struct worker *worker = context;
    double cpu = now_ns(CLOCK_THREAD_CPUTIME_ID), wall = now_ns(CLOCK_MONOTONIC);
    works[worker->work](worker);
    worker->total.cpu_ns = now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    worker->total.wall_ns = now_ns(CLOCK_MONOTONIC) - wall;
    return NULL;
}

struct cost work_run(struct bench *bench, enum work work, unsigned threads, uint64_t operations)
{
    struct worker workers[MAX_THREADS];
    pthread_t ids[MAX_THREADS];
    struct cost cost = {0};
    uint64_t each = operations / threads / (work == WORK_PASS ? 16 : 1);
    bool is_put = work == WORK_PUT || work == WORK_PUT_LOOP;
    static volatile uint64_t sink;
    for (unsigned i = 0; i < threads; i++) {
        uint64_t first = is_put ? bench->next_id + i * each : i * (bench->resident_count / threads);
        workers[i] = (struct worker){
            .bench = bench, .work = work, .number = i, .threads = threads, .first = first, .count = each};
        CHECK(pthread_create(&ids[i], NULL, run_worker, &workers[i]) == 0);
    }
    for (unsigned i = 0; i < threads; i++) {
        CHECK(pthread_join(ids[i], NULL) == 0);
        cost.cpu_ns += workers[i].total.cpu_ns / (double)(each * threads);
        cost.wall_ns += workers[i].total.wall_ns / (double)(each * threads);
        sink += workers[i].sum;
    }
    if (work == WORK_PUT) bench->next_id += threads * each;
    return cost;
}

/* ----------------------------------------------------------------------------------------------- what is there -- */

void work_list_resident(struct bench *bench)
{
    struct pin pins[256];
    uint64_t cursor = 0;
    bench->resident_count = 0;
    do {
        size_t count = store_scan(bench->store, &cursor, pins, 256);
        for (size_t i = 0; i < count; i++) {
            struct iovec piece;
            size_t covered;
            CHECK(pin_pieces(&pins[i], 0, 1, &piece, 1, &covered) == 1 && bench->resident_count < bench->resident_max);
            bench->values[bench->resident_count] = piece.iov_base;
            bench->resident[bench->resident_count++] = *pin_key(&pins[i]);
            pin_release(&pins[i]);
        }
    } while (cursor != 0);
    for (size_t i = bench->resident_count - 1; i > 0; i--) {
        size_t j = mix(i) % (i + 1);
        aic_key key = bench->resident[i];
        bench->resident[i] = bench->resident[j];
        bench->resident[j] = key;
        const char *value = bench->values[i];
        bench->values[i] = bench->values[j];
        bench->values[j] = value;
    }
}
