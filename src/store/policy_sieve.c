/*
 * policy_sieve.c - SIEVE (Zhang et al., NSDI 2024): one queue in order of arrival, and a hand that moves from the
 * oldest to the newest. It takes the first entry that was not used since the hand last passed, and what it spares stays
 * where it is.
 */
#include "store/policy.h"

/* See policy_s3fifo.c: one call passes at most so many used entries. */
enum { MAX_PASSES = 128 };

static void sieve_add(struct policy *policy, struct entry *entry, handle at, const struct policy_hint *hint)
{
    entry_set_freq(entry, hint->queue != QUEUE_NONE);
    queue_push(policy, QUEUE_MAIN, entry, at);
}

static void sieve_use(struct policy *policy, struct entry *entry, handle at)
{
    (void)policy;
    (void)at;
    if (entry_freq(entry) == 0) entry_set_freq(entry, 1);
}

static void sieve_remove(struct policy *policy, struct entry *entry, handle at)
{
    if (policy->hand == at) policy->hand = entry->queue_prev;
    queue_remove(policy, entry);
}

static handle sieve_victim(struct policy *policy)
{
    const struct queue *queue = &policy->queues[QUEUE_MAIN];
    uint64_t pinned = 0;
    for (unsigned passes = 0; pinned <= queue->count; passes++) {
        if (policy->hand == 0) policy->hand = queue->tail;
        if (policy->hand == 0) return 0;
        struct entry *entry = entry_at(policy->base, policy->hand);
        bool is_pinned = entry_is_pinned(entry);
        if (!is_pinned && (passes >= MAX_PASSES || entry_freq(entry) == 0)) return policy->hand;
        pinned += is_pinned;
        if (!is_pinned) entry_set_freq(entry, 0);
        policy->hand = entry->queue_prev;
    }
    return 0;
}

const struct policy_ops policy_sieve = {"sieve", false, sieve_add, sieve_use, sieve_remove, sieve_victim};
