#include "world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void count_log(void *context, aic_log_level level, const char *line)
{
    struct world *world = context;
    assert_true(level >= AIC_LOG_INFO && strlen(line) > 10);
    world->log_lines++;
}

void open_tier(struct world *world)
{
    aic_error error = {0};
    aic_status status = lmdb_tier_open(&world->options, &world->tier, &error);
    if (status != AIC_OK) fail_msg("%s: %s", aic_status_name(status), error.message);
}

void close_tier(struct world *world)
{
    if (world->tier != NULL) world->tier->ops->close(world->tier);
    world->tier = NULL;
}

int world_setup(void **state)
{
    struct world *world = calloc(1, sizeof *world);
    mem_init(&world->mem, NULL);
    hand_clock_init(&world->clock, START_MS);
    scratch_make(&world->scratch);
    scratch_write(&world->scratch, "boot", "first-boot\n");
    scratch_name(&world->scratch, "boot", world->boot_path, sizeof world->boot_path);
    world->options = (struct lmdb_options){.mem = &world->mem,
                                           .clock = &world->clock.clock,
                                           .directory = world->scratch.path,
                                           .max_bytes = (uint64_t)64 << 20,
                                           .describe = sample_describe,
                                           .log = count_log,
                                           .log_context = world,
                                           .boot_id_path = world->boot_path};
    open_tier(world);
    *state = world;
    return 0;
}

int world_teardown(void **state)
{
    struct world *world = *state;
    close_tier(world);
    mem_fini(&world->mem);
    scratch_remove(&world->scratch);
    free(world);
    return 0;
}

aic_status put(struct world *world, uint64_t number, const struct sample *sample)
{
    struct buf record;
    buf_init(&record, &world->mem, MEM_OTHER);
    sample_write(sample, &record);
    struct tier_write write = {.key = sample_key(number), .record = buf_view(&record)};
    aic_status status = world->tier->ops->apply(world->tier, &write, 1);
    buf_fini(&record);
    return status;
}

aic_status drop(struct world *world, uint64_t number)
{
    struct tier_write write = {.key = sample_key(number)};
    return world->tier->ops->apply(world->tier, &write, 1);
}

aic_status get(struct world *world, uint64_t number, struct buf *out)
{
    aic_key key = sample_key(number);
    buf_init(out, &world->mem, MEM_OTHER);
    return world->tier->ops->get(world->tier, &key, out);
}

void assert_there(struct world *world, uint64_t number, const struct sample *sample)
{
    struct buf wanted, found;
    buf_init(&wanted, &world->mem, MEM_OTHER);
    sample_write(sample, &wanted);
    assert_int_equal(get(world, number, &found), AIC_OK);
    assert_int_equal(found.size, wanted.size);
    assert_memory_equal(found.data, wanted.data, wanted.size);
    buf_fini(&found);
    buf_fini(&wanted);
}

void assert_missing(struct world *world, uint64_t number)
{
    struct buf found;
    assert_int_equal(get(world, number, &found), AIC_MISS);
    assert_int_equal(found.size, 0);
    buf_fini(&found);
}

void assert_verified(struct world *world)
{
    aic_error error = {0};
    aic_status status = check_tier(world->tier, &error);
    if (status != AIC_OK) fail_msg("%s: %s", aic_status_name(status), error.message);
}

struct tier_stats stats_of(struct world *world)
{
    struct tier_stats stats;
    world->tier->ops->stats(world->tier, &stats);
    return stats;
}

const struct sample plain = {
    .created_ms = START_MS, .labels = {"0default", "1qa"}, .payload_bytes = 300, .payload_seed = 1};

bool collect(void *context, const aic_key *key, aic_view record)
{
    struct found *found = context;
    struct tier_description description;
    assert_int_equal(sample_describe(NULL, record, &description), AIC_OK);
    if (found->count > 0) assert_true(memcmp(found->keys[found->count - 1].bytes, key->bytes, AIC_KEY_BYTES) < 0);
    found->keys[found->count++] = *key;
    return found->count != found->stop_at;
}

void commit_behind(struct lmdb_tier *lmdb, MDB_txn *txn)
{
    uint64_t number = mdb_txn_id(txn);
    assert_int_equal(mdb_txn_commit(txn), 0);
    lmdb_read_anew(lmdb, number);
}

bool join_names(void *context, aic_view name, aic_view value)
{
    struct buf *out = context;
    buf_append_view(out, name);
    buf_append_byte(out, '=');
    buf_append_view(out, value);
    buf_append_byte(out, ' ');
    return true;
}
