/* Counting: labels are bounded and shared, sums are exact while threads write. */
#include "../../support/test_in.h"
#include "base/check.h"
#include "base/clock.h"
#include "observe/tally.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static aic_view name_of(char *room, const char *prefix, unsigned number)
{
    int size = snprintf(room, 32, "%s %u", prefix, number);
    return (aic_view){room, (size_t)size};
}

/* ---- labels ---- */

/* One front thread, the registry and what a reader sees, with a clock of its own. */
struct scene {
    struct mem mem;
    struct labels labels;
    struct tally tally;
    struct tally_sum sum;
    struct labels_page page;
    uint64_t now_ns;
};

static void a_scene(void **state)
{
    void (*run)(struct scene *) = *state;
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    mem_init(&scene->mem, NULL);
    labels_init(&scene->labels, &scene->mem, 7);
    scene->now_ns = 1000000000;
    run(scene);
    labels_fini(&scene->labels);
    mem_fini(&scene->mem); /* all was given back */
    free(scene);
}

static void look_up(struct scene *scene, aic_view ns, const char *operation, unsigned times)
{
    struct labels_place place = labels_find(&scene->labels, ns, aic_view_of(operation));
    for (unsigned i = 0; i < times; i++) tally_count(&scene->tally, &scene->labels, place, TALLY_MISS);
}

static void read_page(struct scene *scene)
{
    memset(&scene->sum, 0, sizeof scene->sum);
    tally_add(&scene->sum, &scene->tally);
    labels_settle(&scene->labels, scene->sum.lookups, scene->now_ns);
    labels_read(&scene->labels, &scene->page);
}

static bool is_text(const struct labels_page *page, enum labels_kind kind, unsigned label, const char *text)
{
    aic_view view = labels_page_text(page, kind, label);
    return view.size == strlen(text) && memcmp(view.data, text, view.size) == 0;
}

/* Misses of the series of a name; of several, by operation, the sum. */
static uint64_t shown(const struct scene *scene, enum labels_kind kind, const char *text)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < scene->page.count; i++) {
        const struct labels_series *series = &scene->page.series[i];
        unsigned label = kind == LABELS_NAMESPACE ? series->ns : series->operation;
        if (is_text(&scene->page, kind, label, text)) sum += series->counts[TALLY_MISS];
    }
    return sum;
}

static uint64_t shown_in_all(const struct scene *scene)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < scene->page.count; i++) sum += scene->page.series[i].counts[TALLY_MISS];
    return sum;
}

static void test_busy_after_a_hundred_has_its_label(struct scene *scene)
{
    char room[32];
    for (unsigned i = 0; i < 150; i++) look_up(scene, name_of(room, "idle", i), "qa", 1);
    read_page(scene);
    assert_int_equal(shown_in_all(scene), 150);
    assert_int_equal(shown(scene, LABELS_NAMESPACE, "idle 3"), 1);
    assert_int_equal(shown(scene, LABELS_NAMESPACE, "other"), 50);
    look_up(scene, AIC_LITERAL("busy"), "qa", 2000);
    look_up(scene, AIC_LITERAL("idle 3"), "qa", 1);
    read_page(scene);
    assert_int_equal(shown(scene, LABELS_NAMESPACE, "busy"), 2000);
    assert_int_equal(shown(scene, LABELS_NAMESPACE, "idle 3"), 2);
    assert_int_equal(shown(scene, LABELS_NAMESPACE, "other"), 50); /* what was counted there stays there */
    assert_int_equal(scene->page.count, 101);
    assert_int_equal(scene->labels.shown_count[LABELS_NAMESPACE], LABELS_SHOWN);
}

static void test_operations_have_theirs_too(struct scene *scene)
{
    char room[32];
    for (unsigned i = 0; i < 150; i++) {
        (void)name_of(room, "step", i);
        look_up(scene, AIC_LITERAL("default"), room, 1);
    }
    look_up(scene, AIC_LITERAL("default"), "summarize", 500);
    read_page(scene);
    assert_int_equal(shown(scene, LABELS_OPERATION, "summarize"), 500);
    assert_int_equal(shown_in_all(scene), 650);
}

/* No series falls, and what all of them grew by is what was counted, whoever has the labels. */
static void test_increases_add_up(struct scene *scene)
{
    static uint64_t before[301], counted, grown;
    char room[32];
    counted = grown = 0;
    memset(before, 0, sizeof before);
    srand(20261122);
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned i = 0; i < 40; i++) {
            unsigned times = (unsigned)rand() % 20;
            unsigned busy = (unsigned)rand() % 4 != 0 ? round / 3 + (unsigned)rand() % 60 : (unsigned)rand() % 300;
            look_up(scene, name_of(room, "ns", busy % 300), "qa", times);
            counted += times;
        }
        scene->now_ns += 30 * UINT64_C(1000000000);
        read_page(scene);
        for (unsigned i = 0; i <= 300; i++) {
            uint64_t now = shown(scene, LABELS_NAMESPACE, i < 300 ? name_of(room, "ns", i).data : "other");
            if (i == 300) assert_true(now >= before[i]);
            else assert_true(now >= before[i] || now == 0 || now <= 20 * 40); /* gone, or begun anew */
            grown += now >= before[i] ? now - before[i] : now;
            before[i] = now;
        }
        assert_true(scene->page.count <= LABELS_SHOWN + 1);
    }
    assert_int_equal(grown, counted);
}

static void test_few_lookups_move_no_label(struct scene *scene)
{
    char room[32];
    for (unsigned i = 0; i < 150; i++) look_up(scene, name_of(room, "ns", i), "qa", 100);
    read_page(scene);
    unsigned moves = 0;
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < 150; i++) look_up(scene, name_of(room, "ns", i), "qa", 3 + (i + round) % 3);
        scene->now_ns += UINT64_C(1000000000);
        uint64_t before = shown(scene, LABELS_NAMESPACE, "ns 7");
        read_page(scene);
        moves += shown(scene, LABELS_NAMESPACE, "ns 7") < before;
        for (unsigned i = 0; i < LABELS_SHOWN; i++) assert_true(scene->labels.shown[LABELS_NAMESPACE][i] != NULL);
    }
    assert_int_equal(moves, 0);
    assert_int_equal(shown(scene, LABELS_NAMESPACE, "ns 149"), 0);
}

/* More pairs than can be counted apart: the idle ones give their numbers up, and memory stays bounded. */
static void test_numbers_go_round(struct scene *scene)
{
    char room[32];
    for (unsigned i = 0; i < 5000; i++) look_up(scene, name_of(room, "once", i), "qa", 1);
    uint64_t counted = 5000;
    assert_true(mem_bytes(&scene->mem, MEM_OTHER) < 2 * LABELS_PAIRS * sizeof(struct labels_name));
    read_page(scene);
    assert_int_equal(shown_in_all(scene), 5000);
    struct labels_place old = labels_find(&scene->labels, AIC_LITERAL("busy"), AIC_LITERAL("qa"));
    for (unsigned round = 0; round < 4; round++) {
        look_up(scene, AIC_LITERAL("busy"), "qa", 1000);
        counted += 1000;
        scene->now_ns += 2 * UINT64_C(1000000000);
        read_page(scene);
    }
    assert_false(labels_hold(&scene->labels, old));
    assert_in_range(shown(scene, LABELS_NAMESPACE, "busy"), 1000, 4000);
    assert_int_equal(scene->page.count > 0, 1);
    assert_true(mem_bytes(&scene->mem, MEM_OTHER) <
                2 * LABELS_PAIRS * sizeof(struct labels_name) + LABELS_SHOWN * sizeof scene->labels.rest_row);
    for (unsigned i = 0; i < LABELS_SLOTS; i++) { /* each number stands once in the table */
        uint64_t number = atomic_load(&scene->labels.slots[i].high_number) & 0x7ff;
        for (unsigned j = 0; j < i && number != 0; j++)
            assert_true((atomic_load(&scene->labels.slots[j].high_number) & 0x7ff) != number);
    }
    assert_int_equal(counted, 9000);
}

/* A lookup that was on its way while its pair gave the number up counts with the rest, never for the next owner. */
static void test_an_old_place_counts_for_nobody(struct scene *scene)
{
    char room[32];
    struct labels_place first = labels_find(&scene->labels, AIC_LITERAL("first"), AIC_LITERAL("qa"));
    assert_true(first.number > 0);
    for (unsigned i = 0; i < LABELS_PAIRS + 10; i++) look_up(scene, name_of(room, "ns", i), "qa", 2);
    for (unsigned round = 0; round < 3; round++) {
        scene->now_ns += 2 * UINT64_C(1000000000);
        read_page(scene);
    }
    for (unsigned i = 0; i < LABELS_BATCH; i++) look_up(scene, name_of(room, "next", i), "qa", 1);
    read_page(scene);
    uint64_t rest = shown(scene, LABELS_NAMESPACE, "other");
    tally_count(&scene->tally, &scene->labels, first, TALLY_MISS);
    read_page(scene);
    assert_int_equal(shown(scene, LABELS_NAMESPACE, "other"), rest + 1);
}

static void expect_operation(struct scene *scene, struct labels_place place, const char *expected)
{
    char room[AIC_MAX_NAME_BYTES];
    assert_int_equal(labels_operation(&scene->labels, place, room), strlen(expected));
    assert_memory_equal(room, expected, strlen(expected));
}

/* By its place, with a label or without one; nobody's name once the number may be another's. */
static void test_a_place_tells_its_operation(struct scene *scene)
{
    char room[32];
    struct labels_place first = labels_find(&scene->labels, AIC_LITERAL("first"), AIC_LITERAL("summarize"));
    struct labels_place last = {0};
    for (unsigned i = 0; i < 200; i++) {
        (void)name_of(room, "step", i);
        last = labels_find(&scene->labels, AIC_LITERAL("first"), aic_view_of(room));
    }
    expect_operation(scene, first, "summarize");
    expect_operation(scene, last, "step 199");
    expect_operation(scene, (struct labels_place){0}, "");
    for (unsigned i = 0; i < LABELS_PAIRS; i++) look_up(scene, name_of(room, "ns", i), "qa", 2);
    expect_operation(scene, labels_find(&scene->labels, AIC_LITERAL("late"), AIC_LITERAL("qa")), ""); /* number 0 */
    expect_operation(scene, first, "summarize");
    read_page(scene); /* the idlest give their numbers up */
    expect_operation(scene, first, "");
    expect_operation(scene, last, "");
}

static void test_a_name_like_the_rest(struct scene *scene)
{
    look_up(scene, AIC_LITERAL("other"), "qa", 5);
    look_up(scene, AIC_LITERAL("others"), "other", 6);
    read_page(scene);
    assert_int_equal(shown(scene, LABELS_NAMESPACE, "other"), 5);
    assert_int_equal(shown(scene, LABELS_NAMESPACE, "others"), 6);
    assert_int_equal(shown(scene, LABELS_OPERATION, "other"), 6);
    assert_int_equal(scene->page.count, 2);
}

static unsigned allocations_left;

static void *alloc_few(void *context, size_t size)
{
    (void)context;
    if (allocations_left == 0) return NULL;
    allocations_left--;
    return malloc(size);
}

static void free_any(void *context, void *block, size_t size)
{
    (void)context, (void)size;
    free(block);
}

static void test_without_memory_nothing_is_lost(void **state)
{
    (void)state;
    const aic_allocator allocator = {.acquire = alloc_few, .release = free_any};
    struct scene *scene = calloc(1, sizeof *scene);
    assert_non_null(scene);
    char room[32];
    for (unsigned left = 0; left < 12; left++) {
        memset(scene, 0, sizeof *scene);
        mem_init(&scene->mem, &allocator);
        labels_init(&scene->labels, &scene->mem, 7);
        allocations_left = left;
        for (unsigned i = 0; i < 5; i++) look_up(scene, name_of(room, "ns", i), "qa", 10);
        read_page(scene);
        assert_int_equal(shown_in_all(scene), 50);
        labels_fini(&scene->labels);
        mem_fini(&scene->mem);
    }
    free(scene);
}

#define WRITES 200000

struct writer {
    struct labels *labels;
    struct tally tally;
};

/* Half of them to ten names, the others to more than can be counted apart. */
static void *write_many(void *context)
{
    struct writer *writer = context;
    char room[32];
    for (unsigned i = 0; i < WRITES; i++) {
        aic_view ns = i % 2 == 0 ? name_of(room, "hot", i % 20) : name_of(room, "cold", i * 7919 % 3000);
        struct labels_place place = labels_find(writer->labels, ns, AIC_LITERAL("qa"));
        tally_count(&writer->tally, writer->labels, place, TALLY_HIT_MEMORY);
        hist_record(&writer->tally.lookup_ns[TALLY_HIT_MEMORY], i);
    }
    return NULL;
}

static void test_reading_while_threads_write(void **state)
{
    (void)state;
    static struct writer writers[3];
    static struct labels labels;
    static struct labels_page page;
    struct mem mem;
    pthread_t threads[3];
    struct tally_sum *sum = malloc(sizeof *sum);
    assert_non_null(sum);
    mem_init(&mem, NULL);
    labels_init(&labels, &mem, 7);
    for (size_t t = 0; t < 3; t++) {
        writers[t].labels = &labels;
        assert_int_equal(pthread_create(&threads[t], NULL, write_many, &writers[t]), 0);
    }
    uint64_t before = 0, now_ns = 1;
    for (unsigned look = 0; look < 20; look++) {
        memset(sum, 0, sizeof *sum);
        for (size_t t = 0; t < 3; t++) tally_add(sum, &writers[t].tally);
        labels_settle(&labels, sum->lookups, now_ns += UINT64_C(1000000000));
        labels_read(&labels, &page);
        assert_true(sum->lookup_ns[TALLY_HIT_MEMORY].count >= before);
        before = sum->lookup_ns[TALLY_HIT_MEMORY].count;
    }
    for (size_t t = 0; t < 3; t++) pthread_join(threads[t], NULL);
    memset(sum, 0, sizeof *sum);
    for (size_t t = 0; t < 3; t++) tally_add(sum, &writers[t].tally);
    uint64_t total = 0;
    for (size_t i = 0; i <= LABELS_PAIRS; i++) total += sum->lookups[i][TALLY_HIT_MEMORY];
    assert_int_equal(total, 3 * WRITES);
    assert_int_equal(sum->lookup_ns[TALLY_HIT_MEMORY].count, 3 * WRITES);
    free(sum);
    labels_fini(&labels);
    mem_fini(&mem);
}

/* Not a limit, which would depend on the machine: the figure is printed to be looked at. */
static void test_print_cost(void **state)
{
    (void)state;
    static struct tally tally;
    const aic_clock *clock = clock_system();
    static struct labels labels;
    struct mem mem;
    mem_init(&mem, NULL);
    labels_init(&labels, &mem, 7);
    struct labels_place place = labels_find(&labels, AIC_LITERAL("default"), AIC_LITERAL("qa"));
    uint64_t started = clock_mono_ns(clock);
    for (uint64_t i = 0; i < 10000000; i++) {
        tally_count(&tally, &labels, place, TALLY_HIT_MEMORY);
        hist_record(&tally.lookup_ns[TALLY_HIT_MEMORY], i & 0xfffff);
        hist_record(&tally.age_ms, i & 0xffff);
    }
    print_message("recording of one lookup: %.1f ns\n", (double)(clock_mono_ns(clock) - started) / 1e7);
    assert_int_equal(atomic_load(&tally.lookups[place.number][TALLY_HIT_MEMORY]), 10000000);
    started = clock_mono_ns(clock);
    unsigned found = 0;
    for (unsigned i = 0; i < 10000000; i++)
        found += labels_find(&labels, AIC_LITERAL("default"), AIC_LITERAL("qa")).number;
    print_message("finding the place of a pair: %.1f ns\n", (double)(clock_mono_ns(clock) - started) / 1e7);
    assert_int_equal(found, 10000000 * place.number);
    labels_fini(&labels);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_in(test_busy_after_a_hundred_has_its_label, a_scene),
        cmocka_unit_test_in(test_operations_have_theirs_too, a_scene),
        cmocka_unit_test_in(test_increases_add_up, a_scene),
        cmocka_unit_test_in(test_few_lookups_move_no_label, a_scene),
        cmocka_unit_test_in(test_numbers_go_round, a_scene),
        cmocka_unit_test_in(test_an_old_place_counts_for_nobody, a_scene),
        cmocka_unit_test_in(test_a_place_tells_its_operation, a_scene),
        cmocka_unit_test_in(test_a_name_like_the_rest, a_scene),
        cmocka_unit_test(test_without_memory_nothing_is_lost),
        cmocka_unit_test(test_reading_while_threads_write),
        cmocka_unit_test(test_print_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
