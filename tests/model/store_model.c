/*
 * Random operations against a naive reference: an array of what every key should hold. After every step store_verify()
 * recounts everything, and the limits must hold. What is served must be the last value put, whole and not expired; what
 * is missing must be accounted for by an eviction. STORE_SEED and STORE_STEPS in the environment choose another run.
 */
#include "base/check.h"
#include "store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { KEYS = 400, MAX_VALUE = 5 << 20, MAX_PINS = 24 };

static uint64_t random_state;

static uint64_t rnd(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * 0x2545f4914f6cdd1dull;
}

static uint64_t below(uint64_t bound)
{
    return (rnd() >> 11) % bound;
}

struct expected {
    bool there; /* it was put, and not deleted since */
    uint32_t version, size;
    uint64_t expires_ms;
};

struct held {
    struct pin pin;
    unsigned key;
    struct expected value;
};

struct model {
    struct mem mem;
    aic_clock clock;
    uint64_t now_ms;
    struct store *store;
    struct expected keys[KEYS];
    struct held held[MAX_PINS];
    size_t held_count;
    uint64_t max_bytes, max_entries, max_item;
    _Atomic uint64_t cell;
    uint32_t version;
    bool never_evicts;
    unsigned char *scratch;
};

static uint64_t model_wall(void *context)
{
    return ((struct model *)context)->now_ms;
}

static aic_key key_of(unsigned number)
{
    aic_key key = {{0}};
    memcpy(key.bytes, &number, sizeof number); /* alike on purpose: the hash must spread them */
    return key;
}

static unsigned char byte_of(unsigned key, uint32_t version, size_t at)
{
    return (unsigned char)((at * 131 + at / 251 + key * 7 + version * 13) & 255);
}

static void check_value(const struct pin *pin, unsigned key, const struct expected *value)
{
    aic_key expected = key_of(key);
    assert_memory_equal(pin_key(pin)->bytes, expected.bytes, sizeof expected.bytes);
    assert_int_equal(pin_size(pin), value->size);
    assert_int_equal(pin_expires_ms(pin), value->expires_ms);
    size_t offset = value->size == 0 ? 0 : below(value->size), covered = 0, seen = 0;
    while (offset < value->size) {
        struct iovec pieces[3];
        size_t count = pin_pieces(pin, offset, 1 + below(40000), pieces, 1 + below(3), &covered);
        assert_true(count > 0 && covered > 0);
        for (size_t i = 0; i < count; i++) {
            const unsigned char *bytes = pieces[i].iov_base;
            for (size_t j = 0; j < pieces[i].iov_len; j += 1 + j / 8)
                assert_int_equal(bytes[j], byte_of(key, value->version, offset + j));
            offset += pieces[i].iov_len;
            seen += pieces[i].iov_len;
        }
        if (seen > 200000) break;
    }
    unsigned char ends[2];
    if (value->size == 0) return;
    pin_copy(pin, 0, &ends[0], 1);
    pin_copy(pin, value->size - 1, &ends[1], 1);
    assert_int_equal(ends[0], byte_of(key, value->version, 0));
    assert_int_equal(ends[1], byte_of(key, value->version, value->size - 1));
}

static bool is_dead(const struct model *model, const struct expected *value)
{
    return value->expires_ms != 0 && model->now_ms >= value->expires_ms;
}

static struct figures stats_of(struct model *model)
{
    struct figures stats = {0};
    store_figures(model->store, &stats);
    return stats;
}

static uint32_t random_size(const struct model *model)
{
    switch (below(8)) {
    case 0: return 0;
    case 1: return (uint32_t)below(64);
    case 2: return (uint32_t)below(40000);
    case 3: return (uint32_t)below(model->max_bytes > (1 << 20) ? MAX_VALUE : 3000) / (uint32_t)(1 + below(50));
    default: return (uint32_t)below(3000);
    }
}

static void step_put(struct model *model)
{
    unsigned number = (unsigned)below(KEYS);
    struct expected value = {.there = true, .version = ++model->version, .size = random_size(model)};
    if (below(2) == 0) value.expires_ms = model->now_ms + 1 + below(1u << below(30));
    for (size_t i = 0; i < value.size; i++) model->scratch[i] = byte_of(number, value.version, i);
    size_t cut = below(value.size + 1);
    struct iovec parts[2] = {{model->scratch, cut}, {model->scratch + cut, value.size - cut}};
    struct store_guard guard = {&model->cell, model->cell + (below(10) == 0)};
    struct store_put put = {.key = key_of(number), .expires_ms = value.expires_ms, .parts = parts, .part_count = 2};
    put.only_if_absent = below(6) == 0;
    if (below(4) == 0) put.guards = &guard, put.guard_count = 1;
    struct pin there = {0};
    bool was_there = store_peek(model->store, &put.key, &there) == AIC_OK;
    bool was_pinned = false;
    for (size_t i = 0; i < model->held_count; i++) was_pinned |= model->held[i].key == number;
    size_t old_size = was_there ? pin_size(&there) : 0;
    pin_release(&there);
    uint64_t evicted = stats_of(model).evicted_capacity;
    aic_status status = store_put(model->store, &put);
    if (put.guard_count > 0 && guard.expected != model->cell) {
        assert_int_equal(status, AIC_STALE);
    } else if (put.only_if_absent && was_there) {
        assert_int_equal(status, AIC_EXISTS);
    } else if (status == AIC_OK) {
        assert_true(value.size <= model->max_item);
        model->keys[number] = value;
        struct pin pin;
        assert_int_equal(store_peek(model->store, &put.key, &pin), AIC_OK);
        check_value(&pin, number, &value);
        pin_release(&pin);
        /* An update that fits evicts no stranger. */
        if (was_there && !was_pinned && value.size <= old_size)
            assert_int_equal(stats_of(model).evicted_capacity, evicted);
    } else {
        assert_int_equal(status, AIC_NOT_STORED);
        assert_true(!model->never_evicts || value.size > model->max_item);
        model->keys[number].there = false;
        struct pin pin;
        assert_int_equal(store_peek(model->store, &put.key, &pin), AIC_MISS);
    }
}

static void step_get(struct model *model)
{
    unsigned number = (unsigned)below(KEYS);
    aic_key key = key_of(number);
    struct expected *value = &model->keys[number];
    struct pin pin = {0};
    aic_status status = below(4) == 0 ? store_peek(model->store, &key, &pin) : store_get(model->store, &key, &pin);
    if (status == AIC_OK) {
        assert_true(value->there && !is_dead(model, value));
        check_value(&pin, number, value);
        if (model->held_count < MAX_PINS && below(4) == 0) {
            model->held[model->held_count++] = (struct held){pin, number, *value};
            return;
        }
        if (below(20) == 0) {
            uint64_t freed = 0;
            assert_int_equal(store_remove_pinned(model->store, &pin, &freed), AIC_OK);
            assert_true(freed >= value->size);
            assert_int_equal(store_remove_pinned(model->store, &pin, NULL), AIC_STALE);
            value->there = false;
        }
        pin_release(&pin);
        pin_release(&pin);
        return;
    }
    assert_int_equal(status, AIC_MISS);
    assert_true(!model->never_evicts || !value->there || is_dead(model, value));
    value->there = false;
}

static void step_release(struct model *model)
{
    if (model->held_count == 0) return;
    size_t i = below(model->held_count);
    struct held *held = &model->held[i];
    check_value(&held->pin, held->key, &held->value);
    pin_release(&held->pin);
    *held = model->held[--model->held_count];
}

static void step_delete(struct model *model)
{
    unsigned number = (unsigned)below(KEYS);
    aic_key key = key_of(number);
    struct expected *value = &model->keys[number];
    aic_status status = store_delete(model->store, &key);
    if (status == AIC_OK) assert_true(value->there && !is_dead(model, value));
    else if (model->never_evicts) assert_true(!value->there || is_dead(model, value));
    value->there = false;
}

static void step_scan(struct model *model)
{
    bool seen[KEYS] = {false};
    uint64_t cursor = 0, count = 0;
    struct pin pins[20];
    do {
        size_t got = store_scan(model->store, &cursor, pins, 1 + below(20));
        for (size_t i = 0; i < got; i++) {
            unsigned number;
            memcpy(&number, pin_key(&pins[i])->bytes, sizeof number);
            assert_true(number < KEYS && !seen[number]);
            seen[number] = true;
            assert_true(model->keys[number].there && !is_dead(model, &model->keys[number]));
            pin_release(&pins[i]);
            count++;
        }
    } while (cursor != 0);
    for (unsigned number = 0; number < KEYS; number++) {
        struct expected *value = &model->keys[number];
        if (model->never_evicts && value->there && !is_dead(model, value)) assert_true(seen[number]);
        if (!seen[number] && !is_dead(model, value))
            value->there = false; /* a dead one may stay, and live again when time goes back */
    }
    assert_true(count <= stats_of(model).memory_entries);
}

static void step_resize(struct model *model)
{
    if (model->never_evicts) return;
    uint64_t bytes = model->max_bytes / 4 + below(model->max_bytes);
    uint64_t entries = model->max_entries == 0 ? 0 : 1 + below(2 * model->max_entries);
    assert_int_equal(store_resize(model->store, bytes, entries), AIC_OK);
    uint64_t pinned = 0;
    for (size_t i = 0; i < model->held_count; i++) pinned += model->held[i].value.size + 4096;
    struct figures stats = stats_of(model);
    assert_true(stats.memory_bytes <= bytes + pinned);
    assert_int_equal(store_resize(model->store, model->max_bytes, model->max_entries), AIC_OK);
}

static void check_all(struct model *model)
{
    aic_error error = {0};
    if (store_verify(model->store, &error) != AIC_OK) fail_msg("%s", error.message);
    struct figures stats = stats_of(model);
    assert_int_equal(stats.memory_bytes, stats.memory_key_bytes + stats.memory_value_bytes + stats.memory_index_bytes +
                                             stats.memory_overhead_bytes);
    uint64_t pinned = 0;
    for (size_t i = 0; i < model->held_count; i++) pinned += model->held[i].value.size + 4096;
    assert_true(stats.memory_bytes <= model->max_bytes + (model->never_evicts ? 0 : pinned));
    assert_true(model->max_entries == 0 || stats.memory_entries <= model->max_entries + model->held_count);
    assert_int_equal(stats.memory_pinned, model->held_count);
}

static void run(uint64_t seed, unsigned steps, struct store_options options, bool never_evicts)
{
    static struct model model;
    memset(&model, 0, sizeof model);
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    mem_init(&model.mem, NULL);
    model.now_ms = 1700000000000;
    model.clock = (aic_clock){.wall_ms = model_wall, .mono_ns = model_wall, .context = &model};
    model.scratch = malloc(MAX_VALUE);
    assert_non_null(model.scratch);
    model.never_evicts = never_evicts;
    model.max_bytes = options.max_bytes;
    model.max_entries = options.max_entries;
    model.max_item = options.max_item_bytes;
    options.mem = &model.mem;
    options.clock = &model.clock;
    assert_int_equal(store_create(&options, &model.store), AIC_OK);
    for (unsigned step = 0; step < steps; step++) {
        switch (below(24)) {
        case 0: step_delete(&model); break;
        case 1: step_release(&model); break;
        case 2: model.now_ms += below(1u << below(24)); break;
        case 3: store_expire(model.store); break;
        case 4:
            if (below(8) == 0) step_scan(&model);
            break;
        case 5:
            if (below(8) == 0) step_resize(&model);
            break;
        case 6:
            if (below(4) == 0) model.cell++;
            break;
        case 7:
            if (!never_evicts && below(50) == 0) model.now_ms -= below(100000);
            break;
        case 8:
        case 9:
        case 10:
        case 11:
        case 12:
        case 13: step_get(&model); break;
        default: step_put(&model); break;
        }
        check_all(&model);
    }
    while (model.held_count > 0) step_release(&model);
    check_all(&model);
    store_destroy(&model.store);
    store_destroy(&model.store);
    mem_fini(&model.mem);
    free(model.scratch);
}

static unsigned number_from(const char *name, unsigned fallback)
{
    const char *text = getenv(name);
    return text == NULL ? fallback : (unsigned)strtoul(text, NULL, 10);
}

static void test_model(void **state)
{
    (void)state;
    unsigned seed = number_from("STORE_SEED", 1), steps = number_from("STORE_STEPS", 4000);
    static const uint64_t budgets[] = {700, 3000, 20000, 200000, 2 << 20, 12 << 20};
    static const unsigned shards[] = {1, 4, 64};
    for (unsigned policy = 0; policy < 4; policy++) {
        for (size_t i = 0; i < COUNT_OF(budgets); i++) {
            struct store_options options = {.max_bytes = budgets[i],
                                            .max_item_bytes = 4 << 20,
                                            .policy = (aic_policy)policy,
                                            .shards = shards[(policy + i) % 3],
                                            .max_entries = i % 3 == 1 ? 17 : 0};
            print_message("policy %u, %llu bytes, %u shards: STORE_SEED=%u STORE_STEPS=%u\n", policy,
                          (unsigned long long)options.max_bytes, options.shards, seed, steps);
            run(seed + policy * 100 + i, steps / 4, options, false);
        }
    }
    for (size_t i = 0; i < COUNT_OF(shards); i++) {
        struct store_options options = {.max_bytes = 2300ull << 20, .max_item_bytes = 100000, .shards = shards[i]};
        print_message("no eviction, %u shards: STORE_SEED=%u STORE_STEPS=%u\n", options.shards, seed, steps);
        run(seed + i, steps, options, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};
    return cmocka_run_group_tests_name("store model", tests, NULL, NULL);
}
