/* A loop: messages of many senders, each in order; a thread of its own; what is called on it. */
#include "base/check.h"
#include "base/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { SENDERS = 4, LETTERS = 20000 };

struct letter {
    struct message message;
    int sender, number;
};

static struct loop loop;
static struct letter letters[SENDERS][LETTERS];
static int last_number[SENDERS];
static int arrived;

static void letter_read(struct message *message)
{
    struct letter *letter = (struct letter *)message;
    CHECK(letter->number == last_number[letter->sender] + 1);
    last_number[letter->sender] = letter->number;
    arrived++;
}

static void *sender_main(void *argument)
{
    int sender = *(int *)argument;
    for (int i = 0; i < LETTERS; i++) {
        letters[sender][i] = (struct letter){.message = {.run = letter_read}, .sender = sender, .number = i + 1};
        loop_post(&loop, &letters[sender][i].message);
    }
    return NULL;
}

static void send_all(pthread_t threads[SENDERS], int names[SENDERS])
{
    arrived = 0;
    for (int i = 0; i < SENDERS; i++) {
        last_number[i] = 0;
        names[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, sender_main, &names[i]), 0);
    }
}

static void test_driven_by_its_owner(void **state)
{
    (void)state;
    pthread_t threads[SENDERS];
    int names[SENDERS];
    assert_int_equal(loop_init(&loop), AIC_OK);
    send_all(threads, names);
    while (arrived < SENDERS * LETTERS) uv_run(&loop.uv, UV_RUN_ONCE);
    for (int i = 0; i < SENDERS; i++) pthread_join(threads[i], NULL); /* a sender may still be waking the loop */
    loop_fini(&loop);
    for (int i = 0; i < SENDERS; i++) assert_int_equal(last_number[i], LETTERS);
}

/* What was posted before the stop is run; what is called runs on the loop's thread, and the caller waits. */
static void note_thread(void *context)
{
    *(pthread_t *)context = pthread_self();
}

static void test_with_a_thread(void **state)
{
    (void)state;
    pthread_t threads[SENDERS], ran;
    int names[SENDERS];
    assert_int_equal(loop_init(&loop), AIC_OK);
    loop_call(&loop, note_thread, &ran);
    assert_true(pthread_equal(ran, pthread_self())); /* there is none yet */
    assert_int_equal(loop_start(&loop), AIC_OK);
    send_all(threads, names);
    loop_call(&loop, note_thread, &ran);
    assert_true(pthread_equal(ran, loop.thread));
    for (int i = 0; i < SENDERS; i++) pthread_join(threads[i], NULL);
    loop_stop(&loop);
    loop_stop(&loop); /* nothing is left to stop */
    assert_int_equal(arrived, SENDERS * LETTERS);
    loop_fini(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_driven_by_its_owner),
                                       cmocka_unit_test(test_with_a_thread)};
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
