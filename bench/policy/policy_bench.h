/*
 * policy_bench.h - traces, and those who replay them: the product's own store under each policy, a plain S3-FIFO, and
 * Belady's optimum.
 */
#ifndef POLICY_BENCH_H
#define POLICY_BENCH_H

#include "store/store.h"

/* Requests in order. Ids are dense: 0 .. unique - 1. */
struct trace {
    char name[64];
    uint32_t *ids;
    size_t count;
    uint32_t *sizes; /* by id, bytes */
    uint32_t unique;
    uint64_t unique_bytes; /* of memory that one entry for each id would take */
};

/* Names of the generated traces, NULL at the end. */
extern const char *const trace_names[];
/* Makes one of them. */
void trace_generate(struct trace *trace, const char *name, size_t requests, uint32_t objects, uint64_t seed);
/* Reads lines `time,key,size`; the key is any text. Exits with a message and status 2 when a line cannot be read. */
void trace_read(struct trace *trace, const char *path);
void trace_fini(struct trace *trace);

/* What an entry of this size takes in the store's memory, its header and rounding included. */
uint64_t weight_of(uint32_t size);

struct outcome {
    double hit_rate;      /* percent of the requests */
    double byte_hit_rate; /* percent of the bytes */
    uint64_t index_bytes; /* of the capacity, used by the store's index; 0 for the others */
};

/* A miss is followed by a put, as the cache does it. Everything happens in the product's own store. */
struct outcome replay_store(const struct trace *trace, aic_policy policy, uint64_t capacity, unsigned shards);
/* The paper's algorithm, with exact queues and an exact ghost. */
struct outcome replay_reference(const struct trace *trace, uint64_t capacity);
/* Evicts what is used furthest in the future, and does not admit what would be that. */
struct outcome replay_belady(const struct trace *trace, uint64_t capacity);

void *must_alloc(size_t count, size_t size);

#endif
