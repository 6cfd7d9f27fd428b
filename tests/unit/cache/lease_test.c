/* Leases: who is told what, when; random operations against a naive reference, on a clock that the test turns. */
#include "cache/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../support/test_mem.h"

#define KEYS 6
#define WAITERS 40
#define MS UINT64_C(1000000)

static uint64_t now_ns;

static uint64_t mono(void *context)
{
    (void)context;
    return now_ns;
}

static uint64_t wall(void *context)
{
    (void)context;
    return now_ns / MS;
}

static const aic_clock turned = {.wall_ms = wall, .mono_ns = mono};

/* A waiter, and what it was told last. */
struct client {
    struct lease_waiter waiter;
    int told; /* times */
    enum lease_news news;
};

static void on_told(struct lease_waiter *waiter, enum lease_news news)
{
    struct client *client = (struct client *)waiter;
    client->told++;
    client->news = news;
}

static aic_key key_of(unsigned number)
{
    aic_key key = {.bytes = {(uint8_t)number, 7}};
    return key;
}

static void set(struct client *client, unsigned number, uint64_t wait_ms)
{
    *client = (struct client){
        .waiter = {.key = key_of(number), .ns = AIC_LITERAL("default"), .wait_ms = wait_ms, .told = on_told}};
}

struct world {
    struct test_mem test;
    struct leases *leases;
};

static void world_open(struct world *w)
{
    now_ns = 1000 * MS;
    test_mem_init(&w->test, TEST_MEM_NEVER);
    assert_int_equal(leases_create(&w->test.mem, &turned, &w->leases), AIC_OK);
}

static void world_close(struct world *w)
{
    assert_int_equal(leases_verify(w->leases), AIC_OK);
    leases_destroy(&w->leases);
    test_mem_fini(&w->test);
}

static aic_view id_of(const struct client *client)
{
    return aic_view_of(client->waiter.id);
}

static void one_computes_and_all_are_answered(void **state)
{
    (void)state;
    struct world w;
    struct client client[4], other;
    world_open(&w);
    for (int i = 0; i < 4; i++) {
        set(&client[i], 1, 5000);
        assert_int_equal(leases_ask(w.leases, &client[i].waiter), i == 0 ? LEASE_GRANTED : LEASE_WAITS);
    }
    set(&other, 2, 5000);
    assert_int_equal(leases_ask(w.leases, &other.waiter), LEASE_GRANTED);
    assert_int_equal(client[0].waiter.lease_ms, LEASE_LEAST_MS);
    aic_key key = key_of(1);
    assert_int_equal(leases_check(id_of(&client[0]), &key), AIC_OK);
    assert_int_equal(leases_check(id_of(&other), &key), AIC_INVALID);
    assert_int_equal(leases_check(AIC_LITERAL("x"), &key), AIC_INVALID);
    leases_answer(w.leases, &key);
    for (int i = 1; i < 4; i++) assert_true(client[i].told == 1 && client[i].news == LEASE_ANSWERED);
    assert_int_equal(client[0].told + other.told, 0);
    assert_int_equal(leases_give_up(w.leases, AIC_LITERAL("default"), id_of(&client[0])), AIC_NOT_FOUND);
    world_close(&w);
}

/* One namespace cannot have all leases, so that there are some for others; what it gives back it may have again. */
static void no_namespace_takes_all(void **state)
{
    (void)state;
    static struct client client[LEASE_MOST_OF_ONE + 1];
    struct world w;
    struct client other;
    world_open(&w);
    for (unsigned i = 0; i <= LEASE_MOST_OF_ONE; i++) {
        set(&client[i], 0, 5000);
        client[i].waiter.key = (aic_key){.bytes = {(uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16)}};
        assert_int_equal(leases_ask(w.leases, &client[i].waiter), i < LEASE_MOST_OF_ONE ? LEASE_GRANTED : LEASE_OVER);
    }
    other = client[LEASE_MOST_OF_ONE];
    other.waiter.ns = AIC_LITERAL("another");
    assert_int_equal(leases_ask(w.leases, &other.waiter), LEASE_GRANTED);
    leases_answer(w.leases, &client[0].waiter.key);
    client[0].waiter.key.bytes[31] = 1;
    assert_int_equal(leases_ask(w.leases, &client[0].waiter), LEASE_GRANTED);
    /* A lease that passes to another namespace is that one's. */
    client[1].waiter.ns = AIC_LITERAL("another");
    assert_int_equal(leases_ask(w.leases, &client[1].waiter), LEASE_WAITS);
    char id[LEASE_ID_BYTES];
    memcpy(id, client[1].waiter.id, sizeof id);
    assert_int_equal(leases_give_up(w.leases, AIC_LITERAL("default"), aic_view_of(id)), AIC_OK);
    assert_int_equal(client[1].news, LEASE_GRANTED);
    client[2].waiter.key.bytes[31] = 2;
    assert_int_equal(leases_ask(w.leases, &client[2].waiter), LEASE_GRANTED);
    client[3].waiter.key.bytes[31] = 3;
    assert_int_equal(leases_ask(w.leases, &client[3].waiter), LEASE_OVER);
    world_close(&w);
}

/* Beyond what the asker says nobody waits: a connection stays for the put that answers all of them. */
static void not_everybody_waits(void **state)
{
    (void)state;
    struct world w;
    struct client client[5];
    static const enum lease_news expected[] = {LEASE_GRANTED, LEASE_WAITS, LEASE_WAITS, LEASE_OVER, LEASE_GRANTED};
    world_open(&w);
    for (unsigned i = 0; i < 5; i++) {
        set(&client[i], i < 4 ? 1 : 2, 5000);
        client[i].waiter.most_waiters = 2;
        assert_int_equal(leases_ask(w.leases, &client[i].waiter), expected[i]);
    }
    assert_true(leases_withdraw(w.leases, &client[1].waiter));
    assert_int_equal(leases_ask(w.leases, &client[3].waiter), LEASE_WAITS);
    leases_end(w.leases);
    world_close(&w);
}

static void exactly_one_takes_over(void **state)
{
    (void)state;
    struct world w;
    struct client client[4];
    world_open(&w);
    for (int i = 0; i < 4; i++) {
        set(&client[i], 1, 100000);
        assert_int_equal(leases_ask(w.leases, &client[i].waiter), i == 0 ? LEASE_GRANTED : LEASE_WAITS);
    }
    assert_int_equal(leases_give_up(w.leases, AIC_LITERAL("other"), id_of(&client[0])), AIC_NOT_FOUND);
    assert_int_equal(leases_give_up(w.leases, AIC_LITERAL("default"), id_of(&client[0])), AIC_OK);
    assert_true(client[1].told == 1 && client[1].news == LEASE_GRANTED && client[2].told + client[3].told == 0);
    assert_string_not_equal(client[1].waiter.id, client[0].waiter.id);
    assert_int_equal(leases_give_up(w.leases, AIC_LITERAL("default"), id_of(&client[0])), AIC_NOT_FOUND);
    assert_true(leases_withdraw(w.leases, &client[2].waiter)); /* its client has gone */
    now_ns += client[1].waiter.lease_ms * MS - 1;
    (void)leases_tick(w.leases);
    assert_int_equal(client[3].told, 0);
    now_ns += 1;
    (void)leases_tick(w.leases);
    assert_true(client[3].told == 1 && client[3].news == LEASE_OVER); /* its own wait ended in the same moment */
    assert_int_equal(client[2].told, 0);
    assert_false(leases_withdraw(w.leases, &client[3].waiter));
    world_close(&w);
}

static void a_full_table_grants_nothing(void **state)
{
    (void)state;
    struct world w;
    world_open(&w);
    uint64_t granted = 0;
    for (unsigned i = 0; i < 70000; i++) {
        struct client client;
        set(&client, 0, 1000);
        client.waiter.ns = (aic_view){"abcde" + i % 5, 1};
        memcpy(client.waiter.key.bytes, &i, sizeof i);
        enum lease_news news = leases_ask(w.leases, &client.waiter);
        granted += news == LEASE_GRANTED;
        assert_true(news == LEASE_GRANTED || news == LEASE_OVER);
    }
    assert_int_equal(granted, LEASE_MOST);
    now_ns += LEASE_LEAST_MS * MS;
    assert_true(leases_tick(w.leases) == UINT64_MAX);
    struct figures figures = {0};
    leases_figures(w.leases, &figures);
    assert_true(figures.leases == 0 && figures.leases_expired == LEASE_MOST);
    world_close(&w);
}

static void without_memory_a_miss_is_a_miss(void **state)
{
    (void)state;
    struct world w;
    struct client client;
    world_open(&w);
    atomic_store(&w.test.until_refusal, 0);
    set(&client, 1, 1000);
    assert_int_equal(leases_ask(w.leases, &client.waiter), LEASE_OVER);
    assert_int_equal(leases_ask(w.leases, &client.waiter), LEASE_GRANTED);
    world_close(&w);
}

/* ---------------------------------------------------------------------------------------------- the reference -- */

struct reference {
    bool held;
    char id[LEASE_ID_BYTES];
    uint64_t over_ns;
    int queue[WAITERS];
    int count;
};

static struct reference references[KEYS];
static struct client clients[WAITERS];
static int expected_told[WAITERS];
static enum lease_news expected[WAITERS];
static bool waiting[WAITERS];

static void expect(int who, enum lease_news news)
{
    expected_told[who]++;
    expected[who] = news;
    waiting[who] = false;
}

static int dequeue(struct reference *one, int at)
{
    int who = one->queue[at];
    memmove(one->queue + at, one->queue + at + 1, (size_t)(one->count - at - 1) * sizeof(int));
    one->count--;
    return who;
}

static void pass(struct reference *one)
{
    one->held = one->count > 0;
    if (!one->held) return;
    int who = dequeue(one, 0);
    expect(who, LEASE_GRANTED);
    memcpy(one->id, clients[who].waiter.id, LEASE_ID_BYTES);
    uint64_t wait = clients[who].waiter.wait_ms;
    one->over_ns = now_ns + (wait > LEASE_LEAST_MS ? wait : LEASE_LEAST_MS) * MS;
}

static void compare(struct world *w, unsigned seed, int step)
{
    for (int i = 0; i < WAITERS; i++) {
        if (clients[i].told != expected_told[i] || (clients[i].told > 0 && clients[i].news != expected[i]))
            fail_msg("seed %u, step %d: waiter %d was told %d times, last %d; expected %d, %d", seed, step, i,
                     clients[i].told, (int)clients[i].news, expected_told[i], (int)expected[i]);
    }
    assert_int_equal(leases_verify(w->leases), AIC_OK);
}

static void random_operations(void **state)
{
    (void)state;
    const char *given = getenv("SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : 20261201;
    struct world w;
    world_open(&w);
    memset(references, 0, sizeof references);
    memset(expected_told, 0, sizeof expected_told);
    memset(waiting, 0, sizeof waiting);
    memset(clients, 0, sizeof clients);
    unsigned random = seed;
    for (int step = 0; step < 20000; step++) {
        unsigned number = (unsigned)rand_r(&random) % KEYS;
        struct reference *one = &references[number];
        aic_key key = key_of(number);
        int who = rand_r(&random) % WAITERS;
        switch (rand_r(&random) % 8) {
        case 0:
        case 1:
        case 2:
        case 3:
            if (waiting[who]) break;
            set(&clients[who], number, 1 + (uint64_t)rand_r(&random) % 100000);
            expected_told[who] = 0;
            if (leases_ask(w.leases, &clients[who].waiter) == LEASE_GRANTED) {
                assert_false(one->held);
                one->held = true;
                memcpy(one->id, clients[who].waiter.id, LEASE_ID_BYTES);
                one->over_ns = now_ns + clients[who].waiter.lease_ms * MS;
            } else {
                assert_true(one->held);
                waiting[who] = true;
                one->queue[one->count++] = who;
            }
            break;
        case 4:
            leases_answer(w.leases, &key);
            while (one->count > 0) expect(dequeue(one, 0), LEASE_ANSWERED);
            one->held = false;
            break;
        case 5: {
            aic_status status = leases_give_up(w.leases, AIC_LITERAL("default"), aic_view_of(one->id));
            assert_int_equal(status, one->held ? AIC_OK : AIC_NOT_FOUND);
            if (!one->held) break;
            pass(one);
            break;
        }
        case 6:
            assert_int_equal(leases_withdraw(w.leases, &clients[who].waiter), waiting[who]);
            for (int k = 0; waiting[who] && k < KEYS; k++) {
                for (int i = 0; i < references[k].count; i++) {
                    if (references[k].queue[i] == who) dequeue(&references[k], i--);
                }
            }
            waiting[who] = false;
            break;
        default: {
            now_ns += (uint64_t)rand_r(&random) % 20000 * MS;
            uint64_t soonest = UINT64_MAX, next = leases_tick(w.leases);
            for (int k = 0; k < KEYS; k++) {
                struct reference *all = &references[k];
                for (int i = 0; i < all->count; i++) {
                    if (clients[all->queue[i]].waiter.until_ns <= now_ns) expect(dequeue(all, i--), LEASE_OVER);
                }
                if (all->held && all->over_ns <= now_ns) pass(all);
                if (all->held && all->over_ns < soonest) soonest = all->over_ns;
                for (int i = 0; i < all->count; i++) {
                    if (clients[all->queue[i]].waiter.until_ns < soonest)
                        soonest = clients[all->queue[i]].waiter.until_ns;
                }
            }
            assert_true(now_ns < next && next <= soonest); /* what has ended since may have been sooner */
        }
        }
        compare(&w, seed, step);
    }
    for (int i = 0; i < WAITERS; i++) (void)leases_withdraw(w.leases, &clients[i].waiter);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_computes_and_all_are_answered),
        cmocka_unit_test(no_namespace_takes_all),
        cmocka_unit_test(not_everybody_waits),
        cmocka_unit_test(exactly_one_takes_over),
        cmocka_unit_test(a_full_table_grants_nothing),
        cmocka_unit_test(without_memory_a_miss_is_a_miss),
        cmocka_unit_test(random_operations),
    };
    return cmocka_run_group_tests_name("lease", tests, NULL, NULL);
}
