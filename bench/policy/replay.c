#include "policy_bench.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

static uint64_t still(void *context)
{
    (void)context;
    return 1700000000000;
}

static aic_key key_of(uint32_t id)
{
    aic_key key = {{0}};
    memcpy(key.bytes, &id, sizeof id);
    return key;
}

struct outcome replay_store(const struct trace *trace, aic_policy policy, uint64_t capacity, unsigned shards)
{
    struct mem mem;
    struct store *store = NULL;
    aic_clock clock = {.wall_ms = still, .mono_ns = still};
    uint32_t largest = 0;
    uint64_t hits = 0, hit_bytes = 0, bytes = 0;
    for (uint32_t id = 0; id < trace->unique; id++)
        if (trace->sizes[id] > largest) largest = trace->sizes[id];
    char *value = must_alloc(largest + 1, 1);
    mem_init(&mem, NULL);
    struct store_options options = {.mem = &mem,
                                    .clock = &clock,
                                    .max_bytes = capacity,
                                    .max_item_bytes = UINT64_MAX,
                                    .policy = policy,
                                    .shards = shards};
    CHECK(store_create(&options, &store) == AIC_OK);
    for (size_t i = 0; i < trace->count; i++) {
        uint32_t id = trace->ids[i], size = trace->sizes[id];
        aic_key key = key_of(id);
        struct pin pin;
        bytes += size;
        if (store_get(store, &key, &pin) == AIC_OK) {
            pin_release(&pin);
            hits++;
            hit_bytes += size;
            continue;
        }
        struct iovec part = {value, size};
        struct store_put put = {.key = key, .parts = &part, .part_count = 1};
        aic_status status = store_put(store, &put);
        CHECK(status == AIC_OK || status == AIC_NOT_STORED);
    }
    struct figures stats = {0};
    store_figures(store, &stats);
    aic_error error;
    CHECK(store_verify(store, &error) == AIC_OK);
    store_destroy(&store);
    mem_fini(&mem);
    free(value);
    return (struct outcome){.hit_rate = 100.0 * (double)hits / (double)trace->count,
                            .byte_hit_rate = bytes == 0 ? 0 : 100.0 * (double)hit_bytes / (double)bytes,
                            .index_bytes = stats.memory_index_bytes};
}
