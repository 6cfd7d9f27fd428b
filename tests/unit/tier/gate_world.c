#include "gate_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void keep_line(void *context, aic_log_level level, const char *line)
{
    struct world *world = context;
    assert_true(level >= AIC_LOG_INFO);
    if (strstr(line, "was emptied and is in use again") != NULL) atomic_fetch_add(&world->emptied_lines, 1);
    snprintf(world->last_line, sizeof world->last_line, "%s", line);
    atomic_fetch_add(&world->lines, 1);
}

void start(struct world *world)
{
    world->fault = fault_tier_create(&world->mem);
    world->fault->closed = &world->closed;
    world->options.tier = &world->fault->tier;
    assert_int_equal(gate_create(&world->options, &world->gate), AIC_OK);
}

int gate_setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    failing_allocator_init(&world->allocator);
    mem_init(&world->mem, &world->allocator.allocator);
    hand_clock_init(&world->clock, 1700000000000u);
    world->options = (struct gate_options){.mem = &world->mem,
                                           .clock = clock_system(),
                                           .queue_bytes = 1 << 20,
                                           .sync_ms = LONG_MS,
                                           .log = keep_line,
                                           .log_context = world};
    *state = world;
    return 0;
}

int gate_teardown(void **state)
{
    struct world *world = *state;
    assert_int_equal(gate_destroy(&world->gate), AIC_OK);
    assert_null(world->gate);
    mem_fini(&world->mem);
    free(world);
    return 0;
}

aic_status put(struct world *world, uint64_t number, const char *text)
{
    aic_key key = sample_key(number);
    struct iovec part = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    return gate_put(world->gate, &key, &part, 1, NULL);
}

aic_status delete (struct world *world, uint64_t number)
{
    aic_key key = sample_key(number);
    return gate_delete(world->gate, &key);
}

aic_status get(struct world *world, uint64_t number, unsigned deadline_ms, const char *text)
{
    aic_key key = sample_key(number);
    struct buf out;
    buf_init(&out, &world->mem, MEM_OTHER);
    aic_status status = gate_get(world->gate, &key, deadline_ms, &out);
    if (status == AIC_OK) {
        assert_int_equal(out.size, strlen(text));
        assert_memory_equal(out.data, text, out.size);
    }
    buf_fini(&out);
    return status;
}

struct figures figures_of(struct world *world)
{
    struct figures figures = {0};
    gate_figures(world->gate, &figures);
    return figures;
}

struct gate_stats stats_of(struct world *world)
{
    struct gate_stats stats;
    gate_stats(world->gate, &stats);
    return stats;
}

void async_done(void *context, aic_status status, aic_view record)
{
    struct async *async = context;
    (void)record;
    async->status = status;
    atomic_fetch_add(&async->calls, 1);
}
