/*
 * test_in.h - tests that are given what they work on.
 *
 *   static void counts(struct world *world) { ... }
 *
 *   static void a_world(void **state) // sets up, runs, takes down
 *   {
 *       void (*run)(struct world *) = *state;
 *       ...
 *   }
 *
 *   cmocka_unit_test_in(counts, a_world),
 *
 * Not cmocka's own setup and teardown: the latter runs after a test that failed as well, where what is still in use
 * ends the program before the failure is reported.
 */
#ifndef TESTS_TEST_IN_H
#define TESTS_TEST_IN_H

/* clang-format off */
#define cmocka_unit_test_in(test, place) {#test, place, NULL, NULL, (void *)(test)}
/* clang-format on */

#endif
