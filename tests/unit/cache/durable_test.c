/*
 * durable_test.c - what a put with a durability has reached when it returns: asked of storage, and of the process that
 * opens the store after a kill.
 */
#include "fake_tier.h"

#include "cache/inner.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

static aic_status put_durable(aic_cache *cache, const char *text, aic_durability durability, aic_error *error)
{
    aic_put put = {.request = request_of("qa", text), .response = AIC_LITERAL("1"), .durability = durability};
    return aic_cache_put(cache, &put, NULL, error);
}

static void a_put_waits_for_what_it_asks(void **state)
{
    struct bench_cache *table = *state;
    table->options.clock = NULL; /* the gate's own time must go on */
    struct fake_tier *fake = table_open_fake(table);
    aic_error error = {0};
    for (uint64_t i = 1; i <= 20; i++) {
        char text[16];
        snprintf(text, sizeof text, "t%llu", (unsigned long long)i);
        assert_int_equal(put_durable(table->cache, text, i % 2 ? AIC_DURABILITY_STORAGE : AIC_DURABILITY_DISK, &error),
                         AIC_OK);
        assert_int_equal(atomic_load(&fake->applied), i);
    }
    atomic_store(&fake->writes_fail, true);
    assert_int_equal(put_durable(table->cache, "x", AIC_DURABILITY_STORAGE, &error), AIC_UNAVAILABLE);
    assert_non_null(strstr(error.message, "not as durably"));
    assert_int_equal(look(table->cache, "qa", "x", "1"), 'm'); /* it is served all the same */
    assert_int_equal(put_durable(table->cache, "y", AIC_DURABILITY_MEMORY, &error), AIC_OK);
    assert_int_equal(put_durable(table->cache, "y", (aic_durability)9, &error), AIC_INVALID);
    aic_cache_close(&table->cache);
}

static void the_options_say_what_is_usual(void **state)
{
    struct bench_cache *table = *state;
    table->options.clock = NULL;
    table->options.storage_durability = AIC_DURABILITY_STORAGE;
    struct fake_tier *fake = table_open_fake(table);
    assert_int_equal(put_durable(table->cache, "x", AIC_DURABILITY_DEFAULT, NULL), AIC_OK);
    assert_int_equal(atomic_load(&fake->applied), 1);
    aic_cache_close(&table->cache);
    /* Without storage there is nothing to wait for, and nothing to promise. */
    table->options.data_dir = NULL;
    aic_error error;
    assert_int_equal(aic_cache_open(&table->options, &table->cache, NULL), AIC_OK);
    assert_int_equal(put_durable(table->cache, "x", AIC_DURABILITY_DEFAULT, NULL), AIC_OK);
    assert_int_equal(put_durable(table->cache, "x", AIC_DURABILITY_DISK, &error), AIC_INVALID);
    assert_string_equal(error.field, "durability");
    aic_durability wanted = AIC_DURABILITY_STORAGE;
    assert_int_equal(cache_durability(table->cache, AIC_DURABILITY_DISK, &wanted, &error), AIC_INVALID);
    assert_int_equal(wanted, AIC_DURABILITY_STORAGE); /* what is refused writes nothing */
    aic_cache_close(&table->cache);
}

/* Puts until it is killed; each number that was answered goes into the pipe. */
static void put_until_killed(struct bench_cache *table, int answered, unsigned from, aic_durability durability)
{
    aic_cache *cache;
    if (aic_cache_open(&table->options, &cache, NULL) != AIC_OK) _exit(1);
    for (unsigned number = from;; number++) {
        char text[16];
        snprintf(text, sizeof text, "t%u", number);
        if (put_durable(cache, text, durability, NULL) != AIC_OK) _exit(2);
        if (write(answered, &number, sizeof number) != sizeof number) _exit(3);
    }
}

static void kill_rounds(struct bench_cache *table, aic_durability durability, unsigned rounds)
{
    unsigned next = 0;
    table->options.clock = NULL;
    table->options.data_dir = table->dir.path;
    table->options.ttl_default_seconds = AIC_ZERO;
    for (unsigned round = 0; round < rounds; round++) {
        int pipes[2];
        unsigned number, wanted = next + 1 + round * 7 % 40;
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        if (child == 0) put_until_killed(table, pipes[1], next, durability);
        close(pipes[1]);
        do assert_int_equal(read(pipes[0], &number, sizeof number), sizeof number);
        while (number < wanted);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(pipes[0], &number, sizeof number) == sizeof number) {
        }
        close(pipes[0]);
        next = number + 1;
        assert_int_equal(aic_cache_open(&table->options, &table->cache, NULL), AIC_OK);
        for (unsigned i = 0; i < next; i++) {
            char text[16];
            snprintf(text, sizeof text, "t%u", i);
            if (look(table->cache, "qa", text, "1") == '-') fail_msg("round %u: %s of %u is lost", round, text, next);
        }
        aic_cache_close(&table->cache);
    }
}

static void no_kill_loses_what_was_applied(void **state)
{
    kill_rounds(*state, AIC_DURABILITY_STORAGE, 30);
}

static void no_kill_loses_what_was_synced(void **state)
{
    kill_rounds(*state, AIC_DURABILITY_DISK, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_put_waits_for_what_it_asks, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(the_options_say_what_is_usual, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(no_kill_loses_what_was_applied, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(no_kill_loses_what_was_synced, table_setup, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
