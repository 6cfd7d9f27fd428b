/*
 * one_thread.c - linked into the tests of suite `one-thread`, which `./dev tsan` leaves out: the thread sanitizer finds
 * nothing in a program that makes no thread. One that begins to make them ends here, and is to be taken out of it.
 */
#include "base/check.h"

#include <pthread.h>

__attribute__((visibility("default"))) int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                                                          void *(*run)(void *), void *context)
{
    (void)thread;
    (void)attributes;
    (void)run;
    (void)context;
    CHECK(!"a test of suite one-thread makes a thread, and the thread sanitizer would never see it");
    return 0;
}
