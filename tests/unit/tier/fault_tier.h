/*
 * fault_tier.h - a tier in memory that fails, hangs and dawdles on command.
 */
#ifndef TESTS_TIER_FAULT_TIER_H
#define TESTS_TIER_FAULT_TIER_H

#include "tier/tier.h"

#include <pthread.h>

enum { FAULT_SLOTS = 4096 };

struct fault_tier {
    struct tier tier; /* first */
    struct mem *mem;
    pthread_mutex_t lock; /* protects all that follows */
    pthread_cond_t changed;
    aic_status get_status, apply_status, sync_status, clear_status; /* AIC_OK: works */
    aic_status bulk_status;                                         /* of an apply of more than one */
    bool hang_gets, hang_applies, hang_syncs, hang_expires;
    unsigned get_delay_ms;
    unsigned hanging; /* calls that hang now */
    unsigned gets, applies, syncs, clears, expires;
    size_t largest_batch;
    bool *closed;                   /* set by close; may be NULL */
    _Atomic size_t *slots_at_close; /* the same */
    struct {
        bool used;
        aic_key key;
        char *record;
        size_t size;
    } slots[FAULT_SLOTS];
    size_t slot_count;
};

/* Owned by whoever gets the tier: its close frees it. */
struct fault_tier *fault_tier_create(struct mem *mem);
/* Changes the behaviour, waking who hangs: { lock; statement; broadcast; unlock }. */
#define FAULT_SET(fault, statement)                                                                                    \
    do {                                                                                                               \
        pthread_mutex_lock(&(fault)->lock);                                                                            \
        statement;                                                                                                     \
        pthread_cond_broadcast(&(fault)->changed);                                                                     \
        pthread_mutex_unlock(&(fault)->lock);                                                                          \
    } while (0)
/* Waits until so many calls hang. */
void fault_tier_await_hanging(struct fault_tier *fault, unsigned count);
unsigned fault_tier_gets(struct fault_tier *fault);
unsigned fault_tier_applies(struct fault_tier *fault);

#endif
