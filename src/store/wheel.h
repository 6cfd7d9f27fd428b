/*
 * wheel.h - what expires when: four wheels of 64 slots, ticks of 256 ms, the nodes inside the entries.
 *
 * The idea (Varghese and Lauck, SOSP 1987): an entry hangs in the finest wheel that reaches its time (16 s, 17 min, 18
 * h, 49 days) and moves one wheel down when its slot comes up; adding and removing are constant. Slots that are empty
 * are jumped over by bitmap, so a clock that leaps a year costs a few steps. What expires beyond 49 days waits in the
 * last slot and is hung again. The work of one call is bounded by the caller; what is due and not done yet stays in the
 * due lists. An entry is never touched before its expiry; a read checks the expiry by itself.
 *
 * `wheel_prev` of a slot's first entry is the slot's number + 1: handles that small do not exist. 0 means not in the
 * wheel. The shard's lock protects it.
 */
#ifndef STORE_WHEEL_H
#define STORE_WHEEL_H

#include "store/entry.h"

enum {
    WHEEL_LEVELS = 4,
    WHEEL_SLOTS = 64,
    WHEEL_TICK_MS = 256,
    WHEEL_LISTS = WHEEL_LEVELS * WHEEL_SLOTS + WHEEL_LEVELS
};

struct wheel {
    char *base;                /* of the entries; borrowed */
    handle lists[WHEEL_LISTS]; /* the slots, level by level, then one due list per level */
    uint64_t filled[WHEEL_LEVELS];
    uint64_t tick; /* all before it is done, but for the due lists */
    uint64_t count;
};

void wheel_init(struct wheel *wheel, char *base, uint64_t now_ms);
/* The entry must have an expiry and not be in the wheel. */
void wheel_add(struct wheel *wheel, struct entry *entry, handle at);
/* Accepts an entry that is not in the wheel. */
void wheel_remove(struct wheel *wheel, struct entry *entry);
/*
 * An entry that has expired (it stays in the wheel), or 0 when there is none left or *work is used up. Each entry that
 * is looked at or moved costs one of *work.
 */
handle wheel_next(struct wheel *wheel, uint64_t now_ms, unsigned *work);
const char *wheel_verify(const struct wheel *wheel);

#endif
