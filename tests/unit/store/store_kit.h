/*
 * store_kit.h - what the tests of the memory tier share: a store with a clock of its own, and values that tell whose
 * they are.
 */
#ifndef STORE_KIT_H
#define STORE_KIT_H

#include "base/check.h"
#include "store/shard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct kit {
    struct mem mem;
    aic_clock clock;
    uint64_t now_ms;
    struct store *store;
};

static inline uint64_t kit_wall(void *context)
{
    return ((struct kit *)context)->now_ms;
}

static inline void kit_open_with(struct kit *kit, struct store_options options, const aic_allocator *allocator)
{
    memset(kit, 0, sizeof *kit);
    mem_init(&kit->mem, allocator);
    kit->now_ms = 1700000000000;
    kit->clock = (aic_clock){.wall_ms = kit_wall, .mono_ns = kit_wall, .context = kit};
    options.mem = &kit->mem;
    if (options.clock == NULL) options.clock = &kit->clock;
    if (options.max_item_bytes == 0) options.max_item_bytes = 8 << 20;
    assert_int_equal(store_create(&options, &kit->store), AIC_OK);
}

static inline void kit_open(struct kit *kit, struct store_options options)
{
    kit_open_with(kit, options, NULL);
}

static inline void kit_verify(struct kit *kit)
{
    aic_error error = {0};
    if (store_verify(kit->store, &error) != AIC_OK) fail_msg("%s", error.message);
}

static inline void kit_close(struct kit *kit)
{
    kit_verify(kit);
    store_destroy(&kit->store);
    assert_null(kit->store);
    mem_fini(&kit->mem);
}

static inline aic_key kit_key(unsigned number)
{
    aic_key key = {{0}};
    memcpy(key.bytes, &number, sizeof number);
    return key;
}

static inline unsigned char kit_byte(unsigned number, size_t at)
{
    return (unsigned char)(number * 31 + at * 7 + at / 256);
}

static inline aic_status kit_put_full(struct kit *kit, unsigned number, size_t size, struct store_put put)
{
    unsigned char *value = malloc(size + 1);
    assert_non_null(value);
    for (size_t i = 0; i < size; i++) value[i] = kit_byte(number, i);
    struct iovec part = {value, size};
    put.key = kit_key(number);
    put.parts = &part;
    put.part_count = 1;
    aic_status status = store_put(kit->store, &put);
    free(value);
    return status;
}

static inline aic_status kit_put(struct kit *kit, unsigned number, size_t size)
{
    return kit_put_full(kit, number, size, (struct store_put){0});
}

static inline aic_status kit_put_ttl(struct kit *kit, unsigned number, size_t size, uint64_t ttl_ms)
{
    return kit_put_full(kit, number, size, (struct store_put){.expires_ms = ttl_ms == 0 ? 0 : kit->now_ms + ttl_ms});
}

static inline aic_status kit_get(struct kit *kit, unsigned number, struct pin *pin)
{
    aic_key key = kit_key(number);
    return store_get(kit->store, &key, pin);
}

static inline bool kit_has(struct kit *kit, unsigned number)
{
    aic_key key = kit_key(number);
    struct pin pin = {0};
    aic_status status = store_peek(kit->store, &key, &pin);
    pin_release(&pin);
    return status == AIC_OK;
}

/* The pinned value is that of this number. */
static inline void kit_check(const struct pin *pin, unsigned number, size_t size)
{
    assert_int_equal(pin_size(pin), size);
    unsigned char *value = malloc(size + 1);
    assert_non_null(value);
    pin_copy(pin, 0, value, size);
    for (size_t i = 0; i < size; i++) assert_int_equal(value[i], kit_byte(number, i));
    free(value);
}

static inline struct figures kit_stats(struct kit *kit)
{
    struct figures stats = {0};
    store_figures(kit->store, &stats);
    return stats;
}

#endif
