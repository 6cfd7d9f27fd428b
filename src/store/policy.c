#include "store/policy.h"

#include "base/check.h"

#include <string.h>

void policy_init(struct policy *policy, aic_policy kind, char *base)
{
    static const struct policy_ops *const all[] = {
        [AIC_POLICY_S3FIFO] = &policy_s3fifo,
        [AIC_POLICY_LRU] = &policy_lru,
        [AIC_POLICY_FIFO] = &policy_fifo,
        [AIC_POLICY_SIEVE] = &policy_sieve,
    };
    static_assert(COUNT_OF(all) == AIC_POLICY_SIEVE + 1, "each policy has its operations");
    CHECK((unsigned)kind < COUNT_OF(all));
    memset(policy, 0, sizeof *policy);
    policy->ops = all[kind];
    policy->base = base;
}

uint64_t policy_bytes(const struct policy *policy)
{
    return policy->queues[QUEUE_SMALL].bytes + policy->queues[QUEUE_MAIN].bytes;
}

/* The small queue gives while it holds a tenth of the bytes; policies of one queue have nothing in it. */
handle policy_oldest(const struct policy *policy)
{
    enum { SMALL_SHARE = 10 };
    const struct queue *small = &policy->queues[QUEUE_SMALL], *main = &policy->queues[QUEUE_MAIN];
    bool from_small = main->tail == 0 || small->bytes >= policy_bytes(policy) / SMALL_SHARE;
    return from_small && small->tail != 0 ? small->tail : main->tail;
}

static_assert(QUEUE_COUNT <= 1 << (LIFE_HIT_SHIFT - LIFE_QUEUE_SHIFT), "an entry names its queue in two bits");

void queue_push(struct policy *policy, unsigned number, struct entry *entry, handle at)
{
    struct queue *queue = &policy->queues[number];
    CHECK(number != QUEUE_NONE && entry_queue(entry) == QUEUE_NONE);
    entry->queue_prev = 0;
    entry->queue_next = queue->head;
    if (queue->head != 0) entry_at(policy->base, queue->head)->queue_prev = at;
    else queue->tail = at;
    queue->head = at;
    entry_set_queue(entry, number);
    queue->bytes += entry_weight(entry);
    queue->count++;
}

void queue_remove(struct policy *policy, struct entry *entry)
{
    struct queue *queue = &policy->queues[entry_queue(entry)];
    CHECK(queue->count > 0 && queue->bytes >= entry_weight(entry));
    CHECK(entry->queue_prev != 0 || entry_at(policy->base, queue->head) == entry);
    CHECK(entry->queue_next != 0 || entry_at(policy->base, queue->tail) == entry);
    if (entry->queue_prev != 0) entry_at(policy->base, entry->queue_prev)->queue_next = entry->queue_next;
    else queue->head = entry->queue_next;
    if (entry->queue_next != 0) entry_at(policy->base, entry->queue_next)->queue_prev = entry->queue_prev;
    else queue->tail = entry->queue_prev;
    entry->queue_prev = entry->queue_next = 0;
    entry_set_queue(entry, QUEUE_NONE);
    queue->bytes -= entry_weight(entry);
    queue->count--;
}

void queue_move(struct policy *policy, unsigned queue, struct entry *entry, handle at)
{
    if (policy->queues[queue].head == at) return;
    queue_remove(policy, entry);
    queue_push(policy, queue, entry, at);
}

void queue_replace(struct policy *policy, struct entry *from, handle from_at, struct entry *to, handle to_at)
{
    struct queue *queue = &policy->queues[entry_queue(from)];
    CHECK(entry_queue(to) == entry_queue(from) && entry_weight(to) == entry_weight(from));
    to->queue_prev = from->queue_prev;
    to->queue_next = from->queue_next;
    if (to->queue_prev != 0) entry_at(policy->base, to->queue_prev)->queue_next = to_at;
    else queue->head = to_at;
    if (to->queue_next != 0) entry_at(policy->base, to->queue_next)->queue_prev = to_at;
    else queue->tail = to_at;
    if (policy->hand == from_at) policy->hand = to_at;
    from->queue_prev = from->queue_next = 0;
}

const char *policy_verify(const struct policy *policy)
{
    for (unsigned number = QUEUE_SMALL; number < QUEUE_COUNT; number++) {
        const struct queue *queue = &policy->queues[number];
        uint64_t bytes = 0, count = 0;
        handle prev = 0;
        for (handle at = queue->head; at != 0;) {
            const struct entry *entry = entry_at(policy->base, at);
            if (entry->queue_prev != prev) return "the links of a queue do not match";
            if (entry_queue(entry) != number) return "an entry thinks that it is in another queue";
            if (++count > queue->count) return "a queue holds more than was counted";
            bytes += entry_weight(entry);
            prev = at;
            at = entry->queue_next;
        }
        if (prev != queue->tail || count != queue->count || bytes != queue->bytes) return "a queue does not add up";
    }
    if (policy->queues[QUEUE_NONE].count != 0) return "entries were added to no queue";
    return NULL;
}
