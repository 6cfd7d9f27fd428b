#include "base/clock.h"

#include "base/check.h"
#include "base/status.h"

#include <stdio.h>
#include <time.h>

static uint64_t system_wall_ms(void *context)
{
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t held_wall_ms(void *context)
{
    struct clock_held *held = context;
    return clock_wall_ms(&held->base) + atomic_load_explicit(&held->held_ms, memory_order_relaxed);
}

static uint64_t held_mono_ns(void *context)
{
    return clock_mono_ns(&((struct clock_held *)context)->base);
}

uint64_t clock_tick_ms(const aic_clock *clock)
{
    if (clock->wall_ms == held_wall_ms) {
        struct clock_held *held = clock->context;
        return clock_tick_ms(&held->base) + atomic_load_explicit(&held->held_ms, memory_order_relaxed);
    }
    if (clock->wall_ms != system_wall_ms) return clock->wall_ms(clock->context);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static uint64_t system_mono_ns(void *context)
{
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

const aic_clock *clock_system(void)
{
    static const aic_clock system = {.wall_ms = system_wall_ms, .mono_ns = system_mono_ns};
    return &system;
}

aic_clock clock_held_init(struct clock_held *held, const aic_clock *base)
{
    held->base = *base;
    atomic_init(&held->held_ms, 0);
    /* The system's needs no context, so that nothing stands between. */
    return (aic_clock){held_wall_ms, base->mono_ns == system_mono_ns ? system_mono_ns : held_mono_ns, held};
}

void clock_hold(struct clock_held *held, int64_t step_ms, uint64_t max_ms)
{
    int64_t now_ms = (int64_t)atomic_load_explicit(&held->held_ms, memory_order_relaxed) - step_ms;
    CHECK(max_ms <= INT64_MAX);
    if (now_ms < 0) now_ms = 0;
    if (now_ms > (int64_t)max_ms) now_ms = (int64_t)max_ms;
    atomic_store_explicit(&held->held_ms, (uint64_t)now_ms, memory_order_relaxed);
}

aic_status clock_check(const aic_clock *clock, aic_error *error)
{
    if (clock == NULL || (clock->wall_ms != NULL && clock->mono_ns != NULL)) return AIC_OK;
    return error_set(error, AIC_INVALID, "clock", "%s is NULL: a clock needs both wall_ms and mono_ns",
                     clock->wall_ms == NULL ? "wall_ms" : "mono_ns");
}

void clock_format(uint64_t wall_ms, char out[CLOCK_TEXT_SIZE])
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    size_t size = 0;
    if (gmtime_r(&seconds, &parts) != NULL) size = strftime(out, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + size, CLOCK_TEXT_SIZE - size, ".%03uZ", (unsigned)(wall_ms % 1000));
}
