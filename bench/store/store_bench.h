/*
 * store_bench.h - what the benchmark of the memory tier measures: the operations, and what each costs at the least.
 */
#ifndef BENCH_STORE_BENCH_H
#define BENCH_STORE_BENCH_H

#include "store/store.h"

enum { SIZE_COUNT = 1 << 16, SOURCE_BYTES = 128 << 10, MAX_THREADS = 16 };

struct bench {
    uint64_t budget_bytes, operations, replacements, seed, ttl_ms;
    aic_policy policy;
    unsigned threads; /* the largest number tried */
    unsigned rounds;
    bool json, check;
    struct mem mem;
    struct store *store;
    uint32_t *sizes;
    char *source;
    aic_key *resident;   /* keys that are there, shuffled */
    const char **values; /* their first bytes, in the same order; valid until the next put */
    size_t resident_count, resident_max;
    uint64_t next_id, now_ms;
};

/* What a thread can be told to do `operations` times. */
enum work {
    WORK_GET_LOOP,   /* looks at the keys, nothing else: what the benchmark itself costs in a get */
    WORK_READ_ALONE, /* reads a byte of each value, each read waiting for the one before */
    WORK_READ_MANY,  /* the same, the processor reading ahead as it likes */
    WORK_GET,
    WORK_PUT_LOOP, /* makes keys and sizes, nothing else */
    WORK_PUT,
    WORK_PASS, /* one line of memory round all threads, each writing it: how far apart the cores are */
    WORK_COUNT
};

/* CPU and wall time per operation of one thread, mean over the threads. */
struct cost {
    double cpu_ns, wall_ns;
};

/* Allocates and fills the tables of sizes and bytes; afterwards put_id() works. */
void work_setup(struct bench *bench);
void work_teardown(struct bench *bench);
/* Stores under the next key. */
void work_put_next(struct bench *bench);
/* Lists what is there, in random order, for the reads and gets that follow. */
void work_list_resident(struct bench *bench);
/* Runs one kind of work on some threads at once. */
struct cost work_run(struct bench *bench, enum work work, unsigned threads, uint64_t operations);

#endif
