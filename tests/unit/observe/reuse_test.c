/* The miss-ratio curve against an exact LRU of the same references. */
#include "fixture.h"

#include "observe/reuse.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 20000
#define REFERENCES 300000

static uint64_t seed;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

static double next_unit(void)
{
    return (double)(next_random() >> 11) / 9007199254740992.0;
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 31) * 0x7FB5D329728EA185ULL;
    x = (x ^ x >> 27) * 0x81DADEF4BC2DD44DULL;
    return x ^ x >> 33;
}

static uint64_t size_of(uint32_t key)
{
    return 200 + mix(key + 77) % 4000;
}

/* An exact LRU of so many bytes: a doubly linked list over the keys. */
struct lru {
    uint64_t capacity, used, hits;
    int32_t previous[KEYS + 1], next[KEYS + 1]; /* KEYS is the head */
    bool inside[KEYS];
};

static void lru_init(struct lru *lru, uint64_t capacity)
{
    memset(lru, 0, sizeof *lru);
    lru->capacity = capacity;
    lru->previous[KEYS] = lru->next[KEYS] = KEYS;
}

static void lru_unlink(struct lru *lru, int32_t key)
{
    lru->next[lru->previous[key]] = lru->next[key];
    lru->previous[lru->next[key]] = lru->previous[key];
    lru->inside[key] = false;
    lru->used -= size_of((uint32_t)key);
}

static void lru_reference(struct lru *lru, int32_t key)
{
    if (lru->inside[key]) {
        lru->hits++;
        lru_unlink(lru, key);
    }
    while (lru->used + size_of((uint32_t)key) > lru->capacity) lru_unlink(lru, lru->previous[KEYS]);
    lru->next[key] = lru->next[KEYS];
    lru->previous[key] = KEYS;
    lru->previous[lru->next[KEYS]] = key;
    lru->next[KEYS] = key;
    lru->inside[key] = true;
    lru->used += size_of((uint32_t)key);
}

/* Zipf by inversion of a table of sums. */
static double sums[KEYS];

static int32_t zipf(void)
{
    double wanted = next_unit() * sums[KEYS - 1];
    int32_t low = 0, high = KEYS - 1;
    while (low < high) {
        int32_t middle = (low + high) / 2;
        if (sums[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void predicts_what_an_exact_lru_hits(void **state)
{
    (void)state;
    static const double exponents[] = {0.7, 0.9, 1.1};
    static struct lru lrus[4];
    for (unsigned e = 0; e < 3; e++) {
        seed = 42 + e;
        double sum = 0;
        for (int k = 0; k < KEYS; k++) sums[k] = sum += pow(k + 1, -exponents[e]);
        struct mem mem;
        mem_init(&mem, NULL);
        struct reuse *reuse = NULL;
        assert_int_equal(reuse_create(&mem, &reuse), AIC_OK);
        assert_false(reuse_is_known(reuse));
        uint64_t capacity = 8300000; /* no boundary of a histogram */
        for (unsigned i = 0; i < 4; i++) lru_init(&lrus[i], capacity / 4 << i);
        for (int i = 0; i < REFERENCES; i++) {
            int32_t key = zipf();
            reuse_reference(reuse, mix((uint64_t)key), size_of((uint32_t)key));
            for (unsigned k = 0; k < 4; k++) lru_reference(&lrus[k], key);
        }
        assert_true(reuse_is_known(reuse));
        for (unsigned i = 0; i < 4; i++) {
            double exact = (double)lrus[i].hits / REFERENCES, told = reuse_hit_ratio(reuse, lrus[i].capacity);
            if (fabs(exact - told) > 0.012)
                fail_msg("zipf %.1f, %llu bytes: exact %.3f, told %.3f", exponents[e],
                         (unsigned long long)lrus[i].capacity, exact, told);
        }
        reuse_destroy(&reuse);
        mem_fini(&mem);
    }
}

static void halves_its_sample_rather_than_growing(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct reuse *reuse = NULL;
    assert_int_equal(reuse_create(&mem, &reuse), AIC_OK);
    uint64_t bytes = mem_bytes(&mem, MEM_MONITOR);
    for (int round = 0; round < 2; round++)
        for (uint64_t key = 0; key < 400000; key++) reuse_reference(reuse, mix(key), 1000);
    assert_int_equal(mem_bytes(&mem, MEM_MONITOR), bytes);
    /* A loop over 400 MB: an LRU of less hits nothing, one of more everything but the first round. */
    assert_true(reuse_hit_ratio(reuse, 300u << 20) < 0.1);
    assert_true(reuse_hit_ratio(reuse, 500u << 20) > 0.4);
    reuse_clear(reuse);
    assert_true(reuse_hit_ratio(reuse, 500u << 20) == 0);
    reuse_destroy(&reuse);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(predicts_what_an_exact_lru_hits),
        cmocka_unit_test(halves_its_sample_rather_than_growing),
    };
    return cmocka_run_group_tests_name("monitor reuse", tests, NULL, NULL);
}
