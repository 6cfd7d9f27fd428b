/*
 * world.h - an LMDB tier in a directory of its own, with a clock set by hand and a boot id from a file: what each test
 * of it starts from.
 */
#ifndef TESTS_TIER_WORLD_H
#define TESTS_TIER_WORLD_H

#include "base/check.h"
#include "support.h"
#include "tier/lmdb/inner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define START_MS 1700000000000u

struct world {
    struct mem mem;
    struct failing_allocator allocator;
    struct hand_clock clock;
    struct scratch scratch;
    struct tier *tier;
    struct lmdb_options options;
    unsigned log_lines;
    char boot_path[512];
};

int world_setup(void **state);
int world_teardown(void **state);

void open_tier(struct world *world);
void close_tier(struct world *world);
aic_status put(struct world *world, uint64_t number, const struct sample *sample);
aic_status drop(struct world *world, uint64_t number);
/* Initialises `out`. */
aic_status get(struct world *world, uint64_t number, struct buf *out);
void assert_there(struct world *world, uint64_t number, const struct sample *sample);
void assert_missing(struct world *world, uint64_t number);
void assert_verified(struct world *world);
struct tier_stats stats_of(struct world *world);
/* Commits what a test has written behind the tier's back. */
void commit_behind(struct lmdb_tier *lmdb, MDB_txn *txn);

/* What select found, in order. */
struct found {
    aic_key keys[2000];
    size_t count, stop_at;
};
/* A tier_visit_fn that checks the record and the order. */
bool collect(void *context, const aic_key *key, aic_view record);
/* A visit of blobs: appends "name=value " to a buf. */
bool join_names(void *context, aic_view name, aic_view value);

extern const struct sample plain;

#endif
