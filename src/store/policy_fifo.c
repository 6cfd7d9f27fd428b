/*
 * policy_fifo.c - first in, first out: a use changes nothing. The floor that the other policies are measured from.
 */
#include "store/policy.h"

static void fifo_add(struct policy *policy, struct entry *entry, handle at, const struct policy_hint *hint)
{
    (void)hint;
    queue_push(policy, QUEUE_MAIN, entry, at);
}

static void fifo_use(struct policy *policy, struct entry *entry, handle at)
{
    (void)policy;
    (void)entry;
    (void)at;
}

static void fifo_remove(struct policy *policy, struct entry *entry, handle at)
{
    (void)at;
    queue_remove(policy, entry);
}

/* The oldest that is not pinned; order is kept. There are no more pinned ones than pins, so the walk is short. */
static handle fifo_victim(struct policy *policy)
{
    handle at = policy->queues[QUEUE_MAIN].tail;
    while (at != 0 && entry_is_pinned(entry_at(policy->base, at))) at = entry_at(policy->base, at)->queue_prev;
    return at;
}

const struct policy_ops policy_fifo = {"fifo", false, fifo_add, fifo_use, fifo_remove, fifo_victim};
