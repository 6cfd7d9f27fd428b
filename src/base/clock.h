/*
 * clock.h - time that tests can replace. Wall time dates entries, monotonic time measures durations; never the other
 * way round.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <aicache/aicache.h>

#include <stdatomic.h>

/* The system's clock: CLOCK_REALTIME and CLOCK_MONOTONIC. Static, never released. */
const aic_clock *clock_system(void);

/* Does a user's clock (NULL: none was given) have both of its functions? AIC_INVALID with the field "clock". */
AIC_MUST_CHECK aic_status clock_check(const aic_clock *clock, aic_error *error);

/* Wall time in UTC as RFC 3339 with milliseconds, "2026-01-31T12:00:00.000Z", and a NUL. */
#define CLOCK_TEXT_SIZE 32
void clock_format(uint64_t wall_ms, char out[CLOCK_TEXT_SIZE]);

static inline uint64_t clock_wall_ms(const aic_clock *clock)
{
    return clock->wall_ms(clock->context);
}

/*
 * Wall time as of the kernel's last tick: some milliseconds behind clock_wall_ms() at most times, never ahead of it,
 * and never to be trusted to the second. Reading the exact time makes the processor finish all that it has begun; this
 * does not. A clock that was given by a user is exact.
 */
uint64_t clock_tick_ms(const aic_clock *clock);

static inline uint64_t clock_mono_ns(const aic_clock *clock)
{
    return clock->mono_ns(clock->context);
}

/*
 * A clock that stays ahead of another one by so much as it is told: where that one makes a small step back, whoever
 * dates and expires by this one sees none. Any thread reads it; one at a time holds.
 */
struct clock_held {
    aic_clock base;           /* never changed after the init */
    _Atomic uint64_t held_ms; /* relaxed: nothing is ordered by it */
};
/* A clock that reads `held`, which it borrows; `base` is copied. Nothing is held yet. */
aic_clock clock_held_init(struct clock_held *held, const aic_clock *base);
/* The base made a step by so much, back when it is negative: held against, as far as `max_ms` in all. */
void clock_hold(struct clock_held *held, int64_t step_ms, uint64_t max_ms);

#endif
