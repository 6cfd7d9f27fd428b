#include "store/wheel.h"

#include "base/check.h"
#include "store/holes.h"

#include <string.h>

enum { SLOT_BITS = 6, SLOT_MASK = WHEEL_SLOTS - 1, DUE_LISTS = WHEEL_LEVELS * WHEEL_SLOTS };
static_assert(WHEEL_SLOTS == 1 << SLOT_BITS && WHEEL_SLOTS == 64, "a level's bitmap is one word, a digit of the tick");
static_assert(WHEEL_LISTS < (int)ARENA_GRANULES,
              "wheel_prev tells a list from a handle: the first arena holds no entry");

void wheel_init(struct wheel *wheel, char *base, uint64_t now_ms)
{
    memset(wheel, 0, sizeof *wheel);
    wheel->base = base;
    wheel->tick = now_ms / WHEEL_TICK_MS;
}

/* The first tick at which it has expired for certain. */
static uint64_t tick_of(const struct entry *entry)
{
    return (entry_expires_ms(entry) + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
}

static void hang(struct wheel *wheel, unsigned list, struct entry *entry, handle at)
{
    handle next = wheel->lists[list];
    entry->wheel_prev = list + 1;
    entry->wheel_next = next;
    if (next != 0) entry_at(wheel->base, next)->wheel_prev = at;
    wheel->lists[list] = at;
    if (list < DUE_LISTS) wheel->filled[list / WHEEL_SLOTS] |= 1ull << (list % WHEEL_SLOTS);
    wheel->count++;
}

void wheel_add(struct wheel *wheel, struct entry *entry, handle at)
{
    CHECK(entry_expires_ms(entry) != 0 && entry->wheel_prev == 0);
    uint64_t due = tick_of(entry);
    if (due <= wheel->tick) due = wheel->tick + 1;
    unsigned level = 0;
    while (level < WHEEL_LEVELS && (due >> level * SLOT_BITS) - (wheel->tick >> level * SLOT_BITS) > SLOT_MASK) level++;
    if (level == WHEEL_LEVELS) {
        level--;
        due = ((wheel->tick >> level * SLOT_BITS) + SLOT_MASK) << level * SLOT_BITS;
    }
    hang(wheel, level * WHEEL_SLOTS + (unsigned)(due >> level * SLOT_BITS & SLOT_MASK), entry, at);
}

void wheel_remove(struct wheel *wheel, struct entry *entry)
{
    if (entry->wheel_prev == 0) return;
    CHECK(wheel->count > 0);
    CHECK(entry->wheel_prev > WHEEL_LISTS || entry_at(wheel->base, wheel->lists[entry->wheel_prev - 1]) == entry);
    if (entry->wheel_next != 0) entry_at(wheel->base, entry->wheel_next)->wheel_prev = entry->wheel_prev;
    if (entry->wheel_prev > WHEEL_LISTS) {
        entry_at(wheel->base, entry->wheel_prev)->wheel_next = entry->wheel_next;
    } else {
        unsigned list = entry->wheel_prev - 1;
        wheel->lists[list] = entry->wheel_next;
        if (entry->wheel_next == 0 && list < DUE_LISTS)
            wheel->filled[list / WHEEL_SLOTS] &= ~(1ull << (list % WHEEL_SLOTS));
    }
    entry->wheel_prev = entry->wheel_next = 0;
    wheel->count--;
}

/* The tick at which the next filled slot of a level comes up; UINT64_MAX: none. */
static uint64_t next_tick(const struct wheel *wheel, unsigned level)
{
    uint64_t filled = wheel->filled[level];
    if (filled == 0) return UINT64_MAX;
    uint64_t current = wheel->tick >> level * SLOT_BITS;
    unsigned turn = (unsigned)(current + 1) & SLOT_MASK;
    uint64_t ahead = turn == 0 ? filled : filled >> turn | filled << (WHEEL_SLOTS - turn);
    return (current + 1 + (unsigned)__builtin_ctzll(ahead)) << level * SLOT_BITS;
}

/* Moves on to the next tick at which something comes up, at most to `target`, and makes that due. */
static bool advance(struct wheel *wheel, uint64_t target)
{
    uint64_t ticks[WHEEL_LEVELS], next = UINT64_MAX;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        ticks[level] = next_tick(wheel, level);
        if (ticks[level] < next) next = ticks[level];
    }
    if (next > target) {
        if (target > wheel->tick) wheel->tick = target;
        return false;
    }
    wheel->tick = next;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        if (ticks[level] != next) continue;
        unsigned slot = (unsigned)(next >> level * SLOT_BITS & SLOT_MASK);
        handle at = wheel->lists[level * WHEEL_SLOTS + slot];
        wheel->lists[level * WHEEL_SLOTS + slot] = 0;
        wheel->filled[level] &= ~(1ull << slot);
        CHECK(wheel->lists[DUE_LISTS + level] == 0);
        wheel->lists[DUE_LISTS + level] = at;
        entry_at(wheel->base, at)->wheel_prev = DUE_LISTS + level + 1;
    }
    return true;
}

handle wheel_next(struct wheel *wheel, uint64_t now_ms, unsigned *work)
{
    do {
        for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
            handle at;
            while ((at = wheel->lists[DUE_LISTS + level]) != 0) {
                if (*work == 0) return 0;
                --*work;
                struct entry *entry = entry_at(wheel->base, at);
                if (entry_is_expired(entry, now_ms)) return at;
                wheel_remove(wheel, entry);
                wheel_add(wheel, entry, at);
            }
        }
    } while (advance(wheel, now_ms / WHEEL_TICK_MS));
    return 0;
}

const char *wheel_verify(const struct wheel *wheel)
{
    uint64_t count = 0;
    for (unsigned list = 0; list < WHEEL_LISTS; list++) {
        bool filled = list >= DUE_LISTS ? wheel->lists[list] != 0
                                        : (wheel->filled[list / WHEEL_SLOTS] >> (list % WHEEL_SLOTS) & 1) != 0;
        if (filled != (wheel->lists[list] != 0)) return "a slot's bit does not match its list";
        handle prev = list + 1;
        for (handle at = wheel->lists[list]; at != 0;) {
            const struct entry *entry = entry_at(wheel->base, at);
            if (entry->wheel_prev != prev) return "the links of a wheel's slot do not match";
            if (entry_expires_ms(entry) == 0) return "an entry that never expires is in the wheel";
            if (++count > wheel->count) return "there is more in the wheel than was counted";
            prev = at;
            at = entry->wheel_next;
        }
    }
    return count == wheel->count ? NULL : "the wheel's entries do not add up";
}
