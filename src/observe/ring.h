/*
 * ring.h - the newest N measurements: any thread appends without a lock, readers never stop a writer.
 *
 * A slot is a sequence number, how many words are in use, and the words. A writer takes a ticket, marks its slot odd,
 * stores the words, marks it even; a reader copies the words and keeps them only if the slot carried the same even
 * number before and after (a sequence lock per slot). When the ring laps a writer that has not finished, the newer
 * measurement is dropped and counted, because waiting would block a request.
 *
 *   head ──► ticket t ──► slot t mod N:  [ seq = 2t+1 while writing, 2t+2 when whole | used | word 0 | word 1 | … ]
 */
#ifndef OBSERVE_RING_H
#define OBSERVE_RING_H

#include <aicache/aicache.h>

#include <stdatomic.h>

struct ring {
    uint64_t capacity;     /* slots */
    uint64_t slot_words;   /* payload words in a slot */
    _Atomic uint64_t head; /* tickets given; relaxed: a slot's own sequence number orders its words */
    /* Tickets below were cleared; relaxed, a reader that misses the change reads once more what was there. */
    _Atomic uint64_t first;
    _Atomic uint64_t lost;   /* relaxed: a count */
    _Atomic uint64_t *slots; /* borrowed; ring_bytes() of them */
};

/* What `slots` takes; capacity and slot_words > 0. */
static inline size_t ring_bytes(uint64_t capacity, uint64_t slot_words)
{
    return capacity * (2 + slot_words) * sizeof(uint64_t);
}
/* slots: zeroed, borrowed for as long as the ring is used. */
void ring_init(struct ring *ring, _Atomic uint64_t *slots, uint64_t capacity, uint64_t slot_words);

/* Appends `count` words (<= slot_words). Any thread. */
void ring_append(struct ring *ring, const uint64_t *words, uint64_t count);
/* Forgets what is there. Any thread. */
void ring_clear(struct ring *ring);

/* The tickets that may be read now: [*from, *until), oldest first. */
void ring_span(const struct ring *ring, uint64_t *from, uint64_t *until);
/* Copies the slot of a ticket out, room for slot_words; how many words it holds, 0 when it is gone or not whole yet. */
uint64_t ring_read(const struct ring *ring, uint64_t ticket, uint64_t *words);
/* How often something was appended since the start or the last ring_clear(), lost or not. */
uint64_t ring_total(const struct ring *ring);

#endif
