/*
 * test_mem.h - an allocator for tests that counts what is out, remembers the most that ever was, and can refuse the
 * n-th request.
 *
 *   struct test_mem test; test_mem_init(&test, TEST_MEM_NEVER);
 *   ... use &test.mem ...
 *   test_mem_fini(&test); // CHECKs that everything came back
 *
 * A sweep runs the same work with n = 0, 1, 2 ... until nothing was refused: see TEST_MEM_SWEEP. Any thread may
 * allocate.
 */
#ifndef TESTS_TEST_MEM_H
#define TESTS_TEST_MEM_H

#include "base/mem.h"

#include <stdlib.h>

#define TEST_MEM_NEVER INT64_MAX

struct test_mem {
    struct mem mem;
    _Atomic int64_t until_refusal; /* relaxed, as are the others: the tests that sweep use one thread */
    _Atomic int64_t bytes;
    _Atomic int64_t most_bytes;
};

static inline void *test_mem_acquire(void *context, size_t bytes)
{
    struct test_mem *test = context;
    if (atomic_fetch_sub_explicit(&test->until_refusal, 1, memory_order_relaxed) == 0) return NULL;
    int64_t now = atomic_fetch_add_explicit(&test->bytes, (int64_t)bytes, memory_order_relaxed) + (int64_t)bytes;
    if (now > atomic_load_explicit(&test->most_bytes, memory_order_relaxed))
        atomic_store_explicit(&test->most_bytes, now, memory_order_relaxed);
    return malloc(bytes);
}

static inline void test_mem_release(void *context, void *block, size_t bytes)
{
    struct test_mem *test = context;
    atomic_fetch_sub_explicit(&test->bytes, (int64_t)bytes, memory_order_relaxed);
    free(block);
}

/* Refuses the request number `refuse` (from 0), and only that one. */
static inline void test_mem_init(struct test_mem *test, int64_t refuse)
{
    atomic_init(&test->until_refusal, refuse);
    atomic_init(&test->bytes, 0);
    atomic_init(&test->most_bytes, 0);
    mem_init(&test->mem, &(aic_allocator){.acquire = test_mem_acquire, .release = test_mem_release, .context = test});
}

/* Was the request refused that was to be? */
static inline bool test_mem_refused(struct test_mem *test)
{
    return atomic_load_explicit(&test->until_refusal, memory_order_relaxed) < 0;
}

static inline void test_mem_fini(struct test_mem *test)
{
    mem_fini(&test->mem);
}

/* Runs `body` (which sees `test`) with the first request refused, then the second, and so on until none is. */
#define TEST_MEM_SWEEP(test, body)                                                                                     \
    for (int64_t refuse_ = 0, again_ = 1; again_; refuse_++) {                                                         \
        struct test_mem test;                                                                                          \
        test_mem_init(&test, refuse_);                                                                                 \
        body;                                                                                                          \
        again_ = test_mem_refused(&test);                                                                              \
        test_mem_fini(&test);                                                                                          \
    }

#endif
