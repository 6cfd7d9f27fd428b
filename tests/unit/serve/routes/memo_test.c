/* What a front thread remembers: a memo never answers for other bytes, a tail never for another entry. */
#include "../../../support/test_in.h"
#include "base/check.h"
#include "serve/routes/memo.h"
#include "serve/routes/tails.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_memo(void **state)
{
    void (*run)(struct memo *) = *state;
    struct mem mem;
    struct memo *memo = malloc(sizeof *memo);
    assert_non_null(memo);
    mem_init(&mem, NULL);
    memo_init(memo, &mem, 99, MEMO_MAX_BODY);
    run(memo);
    memo_fini(memo);
    free(memo);
    mem_fini(&mem);
}

static const struct memo_entry *find(struct memo *memo, const char *caller, bool admin, const char *body)
{
    aic_view who = aic_view_of(caller), what = aic_view_of(body);
    return memo_find(memo, memo_hash(memo, who, what), who, admin, what);
}

static void add(struct memo *memo, const char *caller, bool admin, const char *ns, const char *body, uint8_t mark)
{
    aic_view who = aic_view_of(caller), what = aic_view_of(body);
    struct memo_entry entry = {.hash = memo_hash(memo, who, what), .admin = admin, .key = {.bytes = {mark}}};
    memo_add(memo, &entry, who, aic_view_of(ns), what);
}

static void test_memo_answers_only_for_the_same_bytes(struct memo *memo)
{
    add(memo, "red", false, "red", "{\"a\":1}", 1);
    const struct memo_entry *entry = find(memo, "red", false, "{\"a\":1}");
    assert_non_null(entry);
    assert_int_equal(entry->key.bytes[0], 1);
    assert_memory_equal(memo_ns(entry).data, "red", 3);
    assert_null(find(memo, "red", true, "{\"a\":1}"));
    assert_null(find(memo, "blue", false, "{\"a\":1}"));
    assert_null(find(memo, "re", false, "{\"a\":1}"));
    assert_null(find(memo, "red", false, "{\"a\":2}"));
    assert_null(find(memo, "red", false, "{\"a\":1} "));
    add(memo, "red", false, "red", "{\"a\":1}", 2);
    assert_int_equal(find(memo, "red", false, "{\"a\":1}")->key.bytes[0], 2);
}

/* A hash that is equal by force: the comparison alone must tell. */
static void test_memo_with_colliding_hashes(struct memo *memo)
{
    struct memo_entry entry = {.hash = 5};
    memo_add(memo, &entry, AIC_LITERAL("ns"), AIC_LITERAL("ns"), AIC_LITERAL("one body"));
    assert_null(memo_find(memo, 5, AIC_LITERAL("ns"), false, AIC_LITERAL("two body")));
    assert_null(memo_find(memo, 5, AIC_LITERAL("nt"), false, AIC_LITERAL("one body")));
    assert_non_null(memo_find(memo, 5, AIC_LITERAL("ns"), false, AIC_LITERAL("one body")));
}

static void test_memo_is_bounded(struct memo *memo)
{
    static char body[MEMO_MAX_BODY + 2];
    memset(body, 'x', MEMO_MAX_BODY + 1);
    add(memo, "ns", true, "ns", body, 1);
    assert_int_equal(mem_bytes(memo->mem, MEM_CACHE), 0);
    body[MEMO_MAX_BODY] = '\0';
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(body, 16, "%u", i);
        body[strlen(body)] = ' ';
        add(memo, "ns", true, "ns", body, 1);
    }
    assert_true(mem_bytes(memo->mem, MEM_CACHE) <= MEMO_SLOTS * (sizeof(struct memo_entry) + 4 + MEMO_MAX_BODY));
}

static void test_memo_that_keeps_nothing(struct memo *memo)
{
    memo->max_body = 0;
    add(memo, "ns", true, "ns", "{}", 1);
    assert_null(find(memo, "ns", true, "{}"));
    assert_int_equal(mem_bytes(memo->mem, MEM_CACHE), 0);
}

/* Is this what is known? NULL: nothing is. */
static void assert_tail(struct tails *tails, const aic_key *key, uint64_t checksum, unsigned tiers, const char *text)
{
    struct tail *tail = tails_pin(tails, key, checksum, tiers);
    assert_int_equal(tail != NULL, text != NULL);
    if (tail == NULL) return;
    assert_int_equal(tail->size, strlen(text));
    assert_memory_equal(tail->text, text, tail->size);
    tails_release(tails, &tail);
    assert_null(tail);
}

static void test_tails_know_an_entry_by_all_of_it(void **state)
{
    (void)state;
    struct mem mem;
    struct tails *tails = malloc(sizeof *tails);
    assert_non_null(tails);
    static char lengthy[TAILS_MAX_BYTES + 1];
    aic_key one = {.bytes = {1}}, two = {.bytes = {2}};
    mem_init(&mem, NULL);
    tails_init(tails, &mem);
    assert_tail(tails, &one, 7, 1, NULL);
    tails_add(tails, &one, 7, 1, AIC_LITERAL("seven"));
    assert_tail(tails, &one, 7, 1, "seven");
    assert_tail(tails, &one, 8, 1, NULL);
    assert_tail(tails, &one, 7, 3, NULL);
    assert_tail(tails, &two, 7, 1, NULL); /* the same slot and checksum */
    struct tail *pinned = tails_pin(tails, &one, 7, 1);
    tails_add(tails, &one, 8, 1, AIC_LITERAL("eight"));
    assert_memory_equal(pinned->text, "seven", 5); /* stays while an answer has it */
    tails_release(tails, &pinned);
    assert_tail(tails, &one, 7, 1, NULL);
    assert_tail(tails, &one, 8, 1, "eight");
    tails_add(tails, &two, 9, 1, (aic_view){lengthy, sizeof lengthy});
    assert_tail(tails, &two, 9, 1, NULL);
    for (unsigned i = 0; i < 3000; i++) {
        aic_key key = {.bytes = {[8] = (uint8_t)i, [9] = (uint8_t)(i >> 8)}};
        tails_add(tails, &key, i, 1, (aic_view){lengthy, TAILS_MAX_BYTES});
    }
    assert_true(mem_bytes(&mem, MEM_CACHE) <= TAILS_SLOTS * (sizeof(struct tail) + TAILS_MAX_BYTES));
    tails_fini(tails);
    free(tails);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_in(test_memo_answers_only_for_the_same_bytes, a_memo),
        cmocka_unit_test_in(test_memo_with_colliding_hashes, a_memo),
        cmocka_unit_test_in(test_memo_is_bounded, a_memo),
        cmocka_unit_test_in(test_memo_that_keeps_nothing, a_memo),
        cmocka_unit_test(test_tails_know_an_entry_by_all_of_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
