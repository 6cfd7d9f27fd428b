/*
 * gate_world.h - a gate before a fault tier: what each test of the gate starts from. Waits are for events, never for a
 * time to pass.
 */
#ifndef TESTS_TIER_GATE_WORLD_H
#define TESTS_TIER_GATE_WORLD_H

#include "base/check.h"
#include "fault_tier.h"
#include "support.h"
#include "tier/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <time.h>

enum { LONG_MS = 60000 };

struct world {
    struct mem mem;
    struct failing_allocator allocator; /* counts what an abandoned gate still holds */
    struct hand_clock clock;
    struct fault_tier *fault;
    struct gate *gate;
    struct gate_options options;
    bool closed;
    _Atomic unsigned lines, emptied_lines;
    char last_line[256]; /* written before `lines` is counted up; read it when no further one can come */
};

int gate_setup(void **state);
int gate_teardown(void **state);

void start(struct world *world);
aic_status put(struct world *world, uint64_t number, const char *text);
aic_status delete (struct world *world, uint64_t number);
/* The status of a read; the record must be `text` when it is AIC_OK. */
aic_status get(struct world *world, uint64_t number, unsigned deadline_ms, const char *text);
struct gate_stats stats_of(struct world *world);
struct figures figures_of(struct world *world);

/* A read that nobody waits for. */
struct async {
    _Atomic int calls;
    aic_status status;
};
void async_done(void *context, aic_status status, aic_view record);

/* Waits for something that another thread does sooner or later. */
#define AWAIT(condition)                                                                                               \
    while (!(condition)) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL)

#endif
