/* Counting: labels are bounded and shared, sums are exact while threads write, a memo never answers for other bytes. */
#include "../../support/test_in.h"
#include "base/check.h"
#include "base/clock.h"
#include "serve/memo.h"
#include "serve/tails.h"
#include "serve/tally.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static aic_view name_of(char *room, unsigned number)
{
    int size = snprintf(room, 32, "name %u", number);
    return (aic_view){room, (size_t)size};
}

static void test_labels_are_bounded(void **state)
{
    (void)state;
    struct mem mem;
    struct tally_names names;
    char room[32];
    mem_init(&mem, NULL);
    tally_names_init(&names, &mem, 7);
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < 300; i++) {
            unsigned number = tally_names_number(&names, name_of(room, i));
            assert_int_equal(number, i < TALLY_LABELS ? i : TALLY_LABELS);
        }
    }
    aic_view text = tally_names_text(&names, 42);
    assert_int_equal(text.size, 7);
    assert_memory_equal(text.data, "name 42", 7);
    assert_memory_equal(tally_names_text(&names, TALLY_LABELS).data, "other", 5);
    tally_names_fini(&names);
    mem_fini(&mem);
}

static void test_a_name_like_the_rest(void **state)
{
    (void)state;
    struct mem mem;
    struct tally_names names;
    mem_init(&mem, NULL);
    tally_names_init(&names, &mem, 7);
    assert_int_equal(tally_names_number(&names, AIC_LITERAL("other")), TALLY_LABELS);
    assert_int_equal(tally_names_number(&names, AIC_LITERAL("others")), 0);
    tally_names_fini(&names);
    mem_fini(&mem);
}

static void test_sums(void **state)
{
    (void)state;
    static struct tally tallies[2];
    struct tally_sum *sum = calloc(1, sizeof *sum);
    assert_non_null(sum);
    /* More pairs than cells: what does not fit counts as other, nothing is lost. */
    uint64_t expected = 0;
    for (unsigned t = 0; t < 2; t++) {
        for (unsigned ns = 0; ns <= TALLY_LABELS; ns++) {
            for (unsigned operation = 0; operation <= TALLY_LABELS; operation += 3) {
                tally_bump(&tally_find(&tallies[t], ns, operation)->counts[TALLY_MISS], ns + 1);
                expected += ns + 1;
            }
        }
        hist_record(&tallies[t].store_ns, 5);
    }
    tally_add(sum, &tallies[0]);
    tally_add(sum, &tallies[1]);
    uint64_t total = 0;
    for (size_t i = 0; i < sum->pair_count; i++) {
        total += sum->pairs[i].counts[TALLY_MISS];
        for (size_t j = 0; j < i; j++)
            assert_false(sum->pairs[i].ns == sum->pairs[j].ns && sum->pairs[i].operation == sum->pairs[j].operation);
    }
    assert_int_equal(total, expected);
    assert_int_equal(sum->store_ns.count, 2);
    free(sum);
}

#define WRITES 200000

struct writer {
    struct tally_names *names;
    struct tally tally;
};

static void *write_many(void *context)
{
    struct writer *writer = context;
    char room[32];
    for (unsigned i = 0; i < WRITES; i++) {
        unsigned number = tally_names_number(writer->names, name_of(room, i % 150));
        tally_bump(&tally_find(&writer->tally, number, number)->counts[TALLY_HIT_MEMORY], 1);
        hist_record(&writer->tally.lookup_ns[TALLY_HIT_MEMORY], i);
    }
    return NULL;
}

static void test_reading_while_threads_write(void **state)
{
    (void)state;
    static struct writer writers[3];
    struct mem mem;
    struct tally_names names;
    pthread_t threads[3];
    struct tally_sum *sum = malloc(sizeof *sum);
    assert_non_null(sum);
    mem_init(&mem, NULL);
    tally_names_init(&names, &mem, 7);
    for (size_t t = 0; t < 3; t++) {
        writers[t].names = &names;
        assert_int_equal(pthread_create(&threads[t], NULL, write_many, &writers[t]), 0);
    }
    uint64_t before = 0;
    for (unsigned look = 0; look < 20; look++) {
        memset(sum, 0, sizeof *sum);
        for (size_t t = 0; t < 3; t++) tally_add(sum, &writers[t].tally);
        assert_true(sum->lookup_ns[TALLY_HIT_MEMORY].count >= before);
        before = sum->lookup_ns[TALLY_HIT_MEMORY].count;
    }
    for (size_t t = 0; t < 3; t++) pthread_join(threads[t], NULL);
    memset(sum, 0, sizeof *sum);
    for (size_t t = 0; t < 3; t++) tally_add(sum, &writers[t].tally);
    uint64_t total = 0;
    for (size_t i = 0; i < sum->pair_count; i++) total += sum->pairs[i].counts[TALLY_HIT_MEMORY];
    assert_int_equal(total, 3 * WRITES);
    assert_int_equal(sum->lookup_ns[TALLY_HIT_MEMORY].count, 3 * WRITES);
    assert_int_equal(atomic_load(&names.count), TALLY_LABELS);
    free(sum);
    tally_names_fini(&names);
    mem_fini(&mem);
}

/* ---- memo ---- */

static void a_memo(void **state)
{
    void (*run)(struct memo *) = *state;
    struct mem mem;
    struct memo *memo = malloc(sizeof *memo);
    assert_non_null(memo);
    mem_init(&mem, NULL);
    memo_init(memo, &mem, 99);
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
    assert_null(tails_find(tails, &one, 7, 1).data);
    tails_add(tails, &one, 7, 1, AIC_LITERAL("seven"));
    assert_memory_equal(tails_find(tails, &one, 7, 1).data, "seven", 5);
    assert_null(tails_find(tails, &one, 8, 1).data);
    assert_null(tails_find(tails, &one, 7, 3).data);
    assert_null(tails_find(tails, &two, 7, 1).data); /* the same slot and checksum */
    tails_add(tails, &one, 8, 1, AIC_LITERAL("eight"));
    assert_null(tails_find(tails, &one, 7, 1).data);
    assert_memory_equal(tails_find(tails, &one, 8, 1).data, "eight", 5);
    tails_add(tails, &two, 9, 1, (aic_view){lengthy, sizeof lengthy});
    assert_null(tails_find(tails, &two, 9, 1).data);
    for (unsigned i = 0; i < 3000; i++) {
        aic_key key = {.bytes = {[8] = (uint8_t)i, [9] = (uint8_t)(i >> 8)}};
        tails_add(tails, &key, i, 1, (aic_view){lengthy, TAILS_MAX_BYTES});
    }
    assert_true(mem_bytes(&mem, MEM_CACHE) <= TAILS_SLOTS * (sizeof(struct tail) + TAILS_MAX_BYTES));
    tails_fini(tails);
    free(tails);
    mem_fini(&mem);
}

/* Not a limit, which would depend on the machine: the figure is printed to be looked at. */
static void test_print_cost(void **state)
{
    (void)state;
    static struct tally tally;
    const aic_clock *clock = clock_system();
    struct tally_cell *cell = tally_find(&tally, 1, 1);
    uint64_t started = clock_mono_ns(clock);
    for (uint64_t i = 0; i < 10000000; i++) {
        tally_bump(&cell->counts[TALLY_HIT_MEMORY], 1);
        hist_record(&tally.lookup_ns[TALLY_HIT_MEMORY], i & 0xfffff);
        hist_record(&tally.age_ms, i & 0xffff);
    }
    print_message("recording of one lookup: %.1f ns\n", (double)(clock_mono_ns(clock) - started) / 1e7);
    assert_int_equal(atomic_load(&cell->counts[TALLY_HIT_MEMORY]), 10000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels_are_bounded),
        cmocka_unit_test(test_a_name_like_the_rest),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_reading_while_threads_write),
        cmocka_unit_test_in(test_memo_answers_only_for_the_same_bytes, a_memo),
        cmocka_unit_test_in(test_memo_with_colliding_hashes, a_memo),
        cmocka_unit_test_in(test_memo_is_bounded, a_memo),
        cmocka_unit_test(test_tails_know_an_entry_by_all_of_it),
        cmocka_unit_test(test_print_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
