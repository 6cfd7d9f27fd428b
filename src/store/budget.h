/*
 * budget.h - the limits in bytes and in entries, taken before anything is allocated and given back after it was freed.
 *
 * The idea: one word says how much is taken, and a take succeeds only if the limit still holds afterwards (compare and
 * swap, no add that is undone later), so the limit is never exceeded, not even for a moment. Every byte passes
 * budget_take() and budget_give(), no other function. Lock-free; any thread. The words order nothing but themselves:
 * relaxed throughout; what is built in the bytes is published by the shard lock.
 */
#ifndef STORE_BUDGET_H
#define STORE_BUDGET_H

#include <aicache/aicache.h>

#include <stdatomic.h>

struct budget {
    _Atomic uint64_t bytes, entries;         /* taken */
    _Atomic uint64_t max_bytes, max_entries; /* max_entries 0: no limit */
};

void budget_init(struct budget *budget, uint64_t max_bytes, uint64_t max_entries);
/* New limits; what is taken may lie above them until enough was given back. */
void budget_set(struct budget *budget, uint64_t max_bytes, uint64_t max_entries);
/* Both or nothing. */
AIC_MUST_CHECK bool budget_take(struct budget *budget, uint64_t bytes, uint64_t entries);
void budget_give(struct budget *budget, uint64_t bytes, uint64_t entries);
/* How far what is taken lies above the limits; both 0 when within. */
void budget_excess(const struct budget *budget, uint64_t *bytes, uint64_t *entries);

uint64_t budget_bytes(const struct budget *budget);
uint64_t budget_entries(const struct budget *budget);
uint64_t budget_max_bytes(const struct budget *budget);
uint64_t budget_max_entries(const struct budget *budget);

#endif
