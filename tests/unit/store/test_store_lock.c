/*
 * The store's mutex: it excludes, also when those who wait must sleep, and nobody sleeps for ever.
 */
#include "base/check.h"
#include "store/lock.h"

#include <pthread.h>
#include <sched.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { THREADS = 4 };

struct shared {
    struct lock lock;
    unsigned turns, yields;
    uint64_t plain; /* not atomic: the lock alone keeps it right */
    unsigned inside;
};

static void *count_up(void *context)
{
    struct shared *shared = context;
    for (unsigned i = 0; i < shared->turns; i++) {
        lock_take(&shared->lock);
        CHECK(shared->inside++ == 0);
        shared->plain++;
        /* Long enough for the others to give up looking and sleep. */
        for (unsigned j = 0; j < shared->yields; j++) sched_yield();
        CHECK(--shared->inside == 0);
        lock_give(&shared->lock);
    }
    return NULL;
}

static void crowd(unsigned turns, unsigned yields)
{
    struct shared shared = {.turns = turns, .yields = yields};
    pthread_t threads[THREADS];
    lock_init(&shared.lock);
    for (unsigned i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, count_up, &shared), 0);
    for (unsigned i = 0; i < THREADS; i++) assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(shared.plain, (uint64_t)turns * THREADS);
    assert_int_equal(atomic_load(&shared.lock.state), LOCK_FREE);
}

static void test_lock_excludes_when_held_briefly(void **state)
{
    (void)state;
    crowd(20000, 0);
}

static void test_lock_wakes_who_sleeps(void **state)
{
    (void)state;
    crowd(300, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lock_excludes_when_held_briefly),
        cmocka_unit_test(test_lock_wakes_who_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
