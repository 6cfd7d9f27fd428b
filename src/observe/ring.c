#include "observe/ring.h"

#include "base/check.h"

void ring_init(struct ring *ring, _Atomic uint64_t *slots, uint64_t capacity, uint64_t slot_words)
{
    CHECK(capacity > 0 && slot_words > 0);
    *ring = (struct ring){.capacity = capacity, .slot_words = slot_words, .slots = slots};
}

static _Atomic uint64_t *slot_of(const struct ring *ring, uint64_t ticket)
{
    return ring->slots + ticket % ring->capacity * (2 + ring->slot_words);
}

void ring_append(struct ring *ring, const uint64_t *words, uint64_t count)
{
    CHECK(count > 0 && count <= ring->slot_words);
    uint64_t ticket = atomic_fetch_add_explicit(&ring->head, 1, memory_order_relaxed);
    _Atomic uint64_t *slot = slot_of(ring, ticket);
    uint64_t seen = atomic_load_explicit(slot, memory_order_relaxed);
    bool busy = seen % 2 == 1 || seen > 2 * ticket;
    /* Claims the slot. Words follow with release stores, so that no reader sees one of them together with the old even
     * number. */
    if (busy || !atomic_compare_exchange_strong_explicit(slot, &seen, 2 * ticket + 1, memory_order_relaxed,
                                                         memory_order_relaxed)) {
        atomic_fetch_add_explicit(&ring->lost, 1, memory_order_relaxed);
        return;
    }
    atomic_store_explicit(slot + 1, count, memory_order_release);
    for (uint64_t i = 0; i < count; i++) atomic_store_explicit(slot + 2 + i, words[i], memory_order_release);
    /* The next writer's lines come into the cache while this one's request goes on. */
    const _Atomic uint64_t *next = slot_of(ring, ticket + 1);
    for (unsigned line = 0; line < 3; line++) __builtin_prefetch((const void *)(next + line * 8), 1);
    /* Publishes: pairs with the acquire load of the number in ring_read(). */
    atomic_store_explicit(slot, 2 * ticket + 2, memory_order_release);
}

void ring_clear(struct ring *ring)
{
    atomic_store_explicit(&ring->first, atomic_load_explicit(&ring->head, memory_order_relaxed), memory_order_relaxed);
}

void ring_span(const struct ring *ring, uint64_t *from, uint64_t *until)
{
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    uint64_t first = atomic_load_explicit(&ring->first, memory_order_relaxed);
    uint64_t oldest = head > ring->capacity ? head - ring->capacity : 0;
    *from = first > oldest ? first : oldest;
    *until = head > *from ? head : *from;
}

uint64_t ring_read(const struct ring *ring, uint64_t ticket, uint64_t *words)
{
    const _Atomic uint64_t *slot = slot_of(ring, ticket);
    /* Pairs with the publishing store of ring_append(). */
    if (atomic_load_explicit(slot, memory_order_acquire) != 2 * ticket + 2) return 0;
    /* Acquire: a word of a newer writer brings that writer's odd number with it, so that the last load sees it. */
    uint64_t count = atomic_load_explicit(slot + 1, memory_order_acquire);
    CHECK(count <= ring->slot_words); /* whichever writer it is of */
    for (uint64_t i = 0; i < count; i++) words[i] = atomic_load_explicit(slot + 2 + i, memory_order_acquire);
    return atomic_load_explicit(slot, memory_order_relaxed) == 2 * ticket + 2 ? count : 0;
}

uint64_t ring_total(const struct ring *ring)
{
    uint64_t first = atomic_load_explicit(&ring->first, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    return head > first ? head - first : 0;
}
