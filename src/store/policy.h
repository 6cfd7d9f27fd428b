/*
 * policy.h - who goes when room is needed: one seam, four policies behind it, one policy per shard.
 *
 * The seam is three events and a question: an entry came, was used, left; and: who next? Queues are doubly linked
 * through the entries by handle. An entry that is pinned is never named: its bytes would not come back before the
 * release, so naming it frees nothing. The shard's lock protects a policy.
 */
#ifndef STORE_POLICY_H
#define STORE_POLICY_H

#include "store/entry.h"

struct queue {
    handle head, tail; /* newest, oldest */
    uint64_t bytes;    /* weights */
    uint64_t count;
};

/* What is known of an entry that comes. */
struct policy_hint {
    bool returns;   /* evicted early not long ago (the ghost knew it) */
    unsigned queue; /* of the entry that it replaces, or 0 */
    unsigned freq;
};

enum { QUEUE_NONE = 0, QUEUE_SMALL = 1, QUEUE_MAIN = 2, QUEUE_COUNT = 3 };

struct policy;
struct policy_ops {
    const char *name;
    bool admits_returning; /* asks the ghost: what leaves the main queue must not shorten the memory of what left early
                            */
    void (*add)(struct policy *policy, struct entry *entry, handle at, const struct policy_hint *hint);
    void (*use)(struct policy *policy, struct entry *entry, handle at);
    void (*remove)(struct policy *policy, struct entry *entry, handle at);
    /* The entry that should go, still in its queue; 0 when all are pinned or there is none. */
    handle (*victim)(struct policy *policy);
};

struct policy {
    const struct policy_ops *ops;
    char *base; /* of the entries; borrowed */
    struct queue queues[QUEUE_COUNT];
    handle hand; /* SIEVE's */
};

void policy_init(struct policy *policy, aic_policy kind, char *base);
/* The oldest of the queue that gives next: who will probably go, unless it is pinned or well used. 0: nobody is there.
 */
handle policy_oldest(const struct policy *policy);
/* Weight of all its entries. */
uint64_t policy_bytes(const struct policy *policy);
const char *policy_verify(const struct policy *policy);

/* ---- for the policies ---- */

/* The two functions through which every entry and its weight comes and goes. */
void queue_push(struct policy *policy, unsigned queue, struct entry *entry, handle at);
void queue_remove(struct policy *policy, struct entry *entry);
/* Makes it the newest of a queue, maybe another one. */
void queue_move(struct policy *policy, unsigned queue, struct entry *entry, handle at);

/* Puts `to` in the exact place of `from`, whatever the policy. */
void queue_replace(struct policy *policy, struct entry *from, handle from_at, struct entry *to, handle to_at);

extern const struct policy_ops policy_s3fifo, policy_lru, policy_fifo, policy_sieve;

#endif
