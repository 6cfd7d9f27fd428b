/*
 * policy_s3fifo.c - S3-FIFO by bytes (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023).
 *
 * Most entries are asked for once. A small queue of a tenth of the bytes shows who they are before they can push out
 * the others: what was used twice while in it moves to the main queue, the rest goes and leaves a fingerprint in the
 * ghost; what comes back while the fingerprint lives goes to the main queue at once. The main queue gives as many
 * further rounds as an entry was used, three at most.
 */
#include "store/policy.h"

/*
 * One call moves at most so many entries before it takes the next one whatever its uses: a queue full of well-used
 * entries must not hold the lock for a whole round.
 */
enum { MAX_MOVES = 128, MAX_FREQ = 3, MOVE_FREQ = 2 };

static void s3fifo_add(struct policy *policy, struct entry *entry, handle at, const struct policy_hint *hint)
{
    entry_set_freq(entry, hint->queue == QUEUE_NONE ? 0 : hint->freq < MAX_FREQ ? hint->freq + 1 : MAX_FREQ);
    queue_push(policy, hint->returns || hint->queue == QUEUE_MAIN ? QUEUE_MAIN : QUEUE_SMALL, entry, at);
}

static void s3fifo_use(struct policy *policy, struct entry *entry, handle at)
{
    (void)policy;
    (void)at;
    unsigned freq = entry_freq(entry);
    if (freq < MAX_FREQ) entry_set_freq(entry, freq + 1);
}

static void s3fifo_remove(struct policy *policy, struct entry *entry, handle at)
{
    (void)at;
    queue_remove(policy, entry);
}

static handle s3fifo_victim(struct policy *policy)
{
    const struct queue *small = &policy->queues[QUEUE_SMALL], *main = &policy->queues[QUEUE_MAIN];
    uint64_t pinned = 0;
    for (unsigned moves = 0; pinned <= small->count + main->count; moves++) {
        handle at = policy_oldest(policy);
        if (at == 0) return 0;
        bool from_small = at == small->tail;
        struct entry *entry = entry_at(policy->base, at);
        unsigned freq = entry_freq(entry);
        bool is_pinned = entry_is_pinned(entry);
        if (!is_pinned && (moves >= MAX_MOVES || freq < (from_small ? MOVE_FREQ : 1))) return at;
        pinned += is_pinned;
        if (!is_pinned) entry_set_freq(entry, from_small ? 0 : freq - 1);
        queue_move(policy, QUEUE_MAIN, entry, at);
    }
    return 0;
}

const struct policy_ops policy_s3fifo = {"s3fifo", true, s3fifo_add, s3fifo_use, s3fifo_remove, s3fifo_victim};
