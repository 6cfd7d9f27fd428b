#include "base/clock.h"

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

uint64_t clock_tick_ms(const aic_clock *clock)
{
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
