/*
 * queue.h - writes on their way to a tier: in order, bounded in bytes, found by key.
 *
 * An item is WAITING (in the list), or FLYING (taken by the writer, not applied yet). The index knows the newest item
 * of each key, in either state, so that a read sees what was written last. A new write of a key replaces a waiting one
 * in its place; a flying one is superseded: it ends its flight, is seen no more, and if the tier fails its newer write
 * comes back in its place.
 *
 *      index: key -> newest item            oldest                    newest
 *      waiting list                          [a]-[b]-[c]-[d]
 *      flying                    [x]-[y]      taken from the front, returned to the front when the tier fails
 *
 * Puts may fill 7/8 of the bytes; the rest is for deletes, which are small and must not be refused while anything else
 * can be dropped.
 *
 * No lock of its own: the gate's lock protects it. Items are counted references, so that their bytes can be read
 * without it.
 */
#ifndef TIER_QUEUE_H
#define TIER_QUEUE_H

#include "base/mem.h"

#include <stdatomic.h>
#include <sys/uio.h>

struct queue_item {
    aic_key key;
    struct mem *mem;
    _Atomic uint32_t references; /* released with acquire-release: the last holder sees all reads of the others done */
    bool is_delete;
    bool flying;
    bool superseded; /* flying, and not the newest of its key */
    bool noted;      /* its key was given out by queue_note(), or is known; inherited by what takes its place */
    uint64_t sequence;
    uint64_t queued_ns;
    struct queue_item *previous, *next; /* of the waiting list */
    struct queue_item *chain;           /* of the index */
    size_t size;                        /* of the record */
    char record[];
};

/* A copy of the record, or a delete when parts is NULL. NULL: no memory. One reference, the caller's. */
struct queue_item *queue_item_create(struct mem *mem, const aic_key *key, const struct iovec *parts, size_t part_count);
void queue_item_pin(struct queue_item *item);
/* Nulls. Accepts a pointer to NULL. */
void queue_item_release(struct queue_item **item);

struct queue {
    struct mem *mem;
    uint64_t max_bytes;
    uint64_t bytes; /* of waiting and flying items, headers included */
    size_t waiting, flying;
    struct queue_item *oldest, *newest;
    struct queue_item **buckets; /* owned */
    size_t bucket_count;         /* a power of two */
    size_t indexed;
    uint64_t next_sequence;
    uint64_t first_flying; /* sequence of the first item of the batch under way */
};

AIC_MUST_CHECK aic_status queue_init(struct queue *queue, struct mem *mem, uint64_t max_bytes);
/* Drops what is waiting; nothing may be flying. */
void queue_fini(struct queue *queue);

/* Takes the caller's reference over: AIC_OK. AIC_FULL: it stays the caller's. */
AIC_MUST_CHECK aic_status queue_add(struct queue *queue, struct queue_item *item, uint64_t now_ns);
/* The newest item of the key, borrowed while the lock is held; NULL: none. */
struct queue_item *queue_find(const struct queue *queue, const aic_key *key);
/* Takes from the front at most `max` items and about max_bytes; they are flying until queue_land or queue_return. */
size_t queue_take(struct queue *queue, struct queue_item **out, size_t max, uint64_t max_bytes);
/* They were applied, or are given up: releases them. */
void queue_land(struct queue *queue, struct queue_item **items, size_t count);
/* They were not applied: they, or the newer writes of their keys, go back to the front, in order. */
void queue_return(struct queue *queue, struct queue_item **items, size_t count);
/* Drops what is waiting and supersedes what is flying. */
void queue_drop(struct queue *queue);
/* The sequence of the oldest item that is not applied yet; next_sequence when there is none. */
uint64_t queue_oldest_sequence(const struct queue *queue);
/* Gives out keys that are not applied yet, each once, at most `max` a call; 0: there are no others. `again`: also those
 * that were given out before. */
size_t queue_note(struct queue *queue, bool again, aic_key *out, size_t max);
/* The bytes that count for an item. */
uint64_t queue_item_bytes(const struct queue_item *item);
/* Recounts. AIC_DAMAGED at the first difference. */
AIC_MUST_CHECK aic_status queue_verify(const struct queue *queue);

#endif
