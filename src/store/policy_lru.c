/*
 * policy_lru.c - least recently used: one queue, a use makes an entry the newest. The yardstick that everybody knows.
 */
#include "store/policy.h"

static void lru_add(struct policy *policy, struct entry *entry, handle at, const struct policy_hint *hint)
{
    (void)hint;
    queue_push(policy, QUEUE_MAIN, entry, at);
}

static void lru_use(struct policy *policy, struct entry *entry, handle at)
{
    queue_move(policy, QUEUE_MAIN, entry, at);
}

static void lru_remove(struct policy *policy, struct entry *entry, handle at)
{
    (void)at;
    queue_remove(policy, entry);
}

/* A pinned entry is in use: it becomes the newest. */
static handle lru_victim(struct policy *policy)
{
    const struct queue *queue = &policy->queues[QUEUE_MAIN];
    for (uint64_t seen = 0; seen < queue->count; seen++) {
        handle at = queue->tail;
        struct entry *entry = entry_at(policy->base, at);
        if (!entry_is_pinned(entry)) return at;
        queue_move(policy, QUEUE_MAIN, entry, at);
    }
    return 0;
}

const struct policy_ops policy_lru = {"lru", false, lru_add, lru_use, lru_remove, lru_victim};
