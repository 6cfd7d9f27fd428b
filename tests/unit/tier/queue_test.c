/*
 * queue_test.c - the write-behind queue by example, and by thousands of random steps against a naive one.
 */
#include "base/check.h"
#include "support.h"
#include "tier/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct queue_item *put_of(struct mem *mem, uint64_t number, const char *text)
{
    aic_key key = sample_key(number);
    struct iovec parts[2] = {{.iov_base = (void *)(uintptr_t)text, .iov_len = 1},
                             {.iov_base = (void *)(uintptr_t)(text + 1), .iov_len = strlen(text + 1)}};
    struct queue_item *item = queue_item_create(mem, &key, parts, 2);
    assert_non_null(item);
    return item;
}

static struct queue_item *delete_of(struct mem *mem, uint64_t number)
{
    aic_key key = sample_key(number);
    struct queue_item *item = queue_item_create(mem, &key, NULL, 0);
    assert_non_null(item);
    return item;
}

static bool holds(const struct queue *queue, uint64_t number, const char *text)
{
    aic_key key = sample_key(number);
    struct queue_item *item = queue_find(queue, &key);
    if (text == NULL) return item != NULL && item->is_delete;
    return item != NULL && item->size == strlen(text) && memcmp(item->record, text, item->size) == 0;
}

static void test_the_newest_write_of_a_key_is_seen(void **state)
{
    (void)state;
    struct mem mem;
    struct queue queue;
    mem_init(&mem, NULL);
    assert_int_equal(queue_init(&queue, &mem, 1 << 20), AIC_OK);
    assert_int_equal(queue_add(&queue, put_of(&mem, 1, "one"), 1), AIC_OK);
    assert_int_equal(queue_add(&queue, put_of(&mem, 2, "two"), 2), AIC_OK);
    assert_int_equal(queue_add(&queue, put_of(&mem, 1, "uno"), 3), AIC_OK);
    assert_int_equal(queue.waiting, 2);
    assert_true(holds(&queue, 1, "uno") && queue.oldest->queued_ns == 1);

    struct queue_item *flying[8];
    assert_int_equal(queue_take(&queue, flying, 8, 1 << 20), 2);
    assert_true(holds(&queue, 1, "uno")); /* still seen in flight */
    assert_int_equal(queue_oldest_sequence(&queue), 1);
    assert_int_equal(queue_add(&queue, delete_of(&mem, 1), 4), AIC_OK);
    assert_true(holds(&queue, 1, NULL));
    assert_int_equal(queue_verify(&queue), AIC_OK);
    uint64_t oldest = queue_oldest_sequence(&queue);
    queue_return(&queue, flying,
                 2); /* the tier failed: 1 is superseded, its delete takes its place, 2 comes after it */
    assert_int_equal(queue.waiting, 2);
    assert_int_equal(queue_oldest_sequence(&queue), oldest);
    assert_true(queue.oldest->is_delete && memcmp(queue.newest->record, "two", 3) == 0 && holds(&queue, 1, NULL));
    assert_int_equal(queue_verify(&queue), AIC_OK);
    assert_int_equal(queue_take(&queue, flying, 8, 1 << 20), 2);
    queue_land(&queue, flying, 2);
    assert_int_equal(queue.bytes, 0);
    assert_int_equal(queue_oldest_sequence(&queue), queue.next_sequence);
    queue_fini(&queue);
    mem_fini(&mem);
}

static void test_deletes_fit_where_puts_do_not(void **state)
{
    (void)state;
    struct mem mem;
    struct queue queue;
    mem_init(&mem, NULL);
    static char text[2001];
    memset(text, 'x', 2000);
    assert_int_equal(queue_init(&queue, &mem, 16000), AIC_OK);
    uint64_t number = 0;
    struct queue_item *item;
    for (;; number++) {
        item = put_of(&mem, number, text);
        if (queue_add(&queue, item, 0) != AIC_OK) break;
    }
    queue_item_release(&item);
    assert_int_equal(number, 14000 / (2000 + sizeof *item));
    assert_int_equal(queue_add(&queue, delete_of(&mem, number), 0), AIC_OK);
    assert_int_equal(queue_add(&queue, delete_of(&mem, 0), 0), AIC_OK); /* in the place of the put: frees its bytes */
    assert_int_equal(queue_add(&queue, put_of(&mem, 0, "small"), 0), AIC_OK);
    assert_int_equal(queue_verify(&queue), AIC_OK);
    for (number = 100;; number++) {
        item = delete_of(&mem, number);
        if (queue_add(&queue, item, 0) != AIC_OK) break;
    }
    queue_item_release(&item);
    assert_true(queue.bytes <= 16000);
    item = delete_of(&mem, 100);
    assert_int_equal(queue_add(&queue, item, 0), AIC_OK); /* replaces */
    queue_drop(&queue);
    assert_int_equal(queue.bytes, 0);
    queue_fini(&queue);
    mem_fini(&mem);
}

enum { KEYS = 40, STEPS = 60000 };

struct model {
    int64_t newest[KEYS]; /* -1 nothing, 0 a delete, > 0 a put of this number */
    int64_t applied[KEYS];
};

static void check_model(const struct queue *queue, const struct model *model)
{
    for (uint64_t i = 0; i < KEYS; i++) {
        char text[32];
        snprintf(text, sizeof text, "v%lld", (long long)model->newest[i]);
        aic_key key = sample_key(i);
        struct queue_item *item = queue_find(queue, &key);
        if (item != NULL) assert_true(holds(queue, i, model->newest[i] > 0 ? text : NULL));
        else assert_int_equal(model->applied[i], model->newest[i]); /* what is not queued has been applied last */
    }
}

static void land(struct queue *queue, struct queue_item **items, size_t count, struct model *model)
{
    for (size_t i = 0; i < count; i++) {
        for (uint64_t number = 0; number < KEYS; number++) {
            aic_key key = sample_key(number);
            if (memcmp(key.bytes, items[i]->key.bytes, AIC_KEY_BYTES) != 0) continue;
            char text[32] = "";
            if (!items[i]->is_delete) memcpy(text, items[i]->record, items[i]->size);
            model->applied[number] = items[i]->is_delete ? 0 : strtoll(text + 1, NULL, 10);
        }
    }
    queue_land(queue, items, count);
}

static void test_random_steps(void **state)
{
    (void)state;
    uint64_t seed = 20240607;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct mem mem;
    struct queue queue;
    struct model model = {{0}, {0}};
    struct queue_item *flying[16];
    size_t flying_count = 0;
    mem_init(&mem, NULL);
    assert_int_equal(queue_init(&queue, &mem, 1 << 20), AIC_OK);
    for (int64_t step = 1; step <= STEPS; step++) {
        uint64_t number = random_below(&seed, KEYS);
        char text[32];
        snprintf(text, sizeof text, "v%lld", (long long)step);
        switch (random_below(&seed, 6)) {
        case 0:
        case 1:
            assert_int_equal(queue_add(&queue, put_of(&mem, number, text), 0), AIC_OK);
            model.newest[number] = step;
            break;
        case 2:
            assert_int_equal(queue_add(&queue, delete_of(&mem, number), 0), AIC_OK);
            model.newest[number] = 0;
            break;
        case 3:
            if (flying_count == 0) flying_count = queue_take(&queue, flying, 1 + random_below(&seed, 16), 100);
            break;
        case 4:
            land(&queue, flying, flying_count, &model);
            flying_count = 0;
            break;
        default: { /* the first few are through, the rest comes back */
            size_t through = flying_count > 0 ? random_below(&seed, flying_count + 1) : 0;
            land(&queue, flying, through, &model);
            queue_return(&queue, flying + through, flying_count - through);
            flying_count = 0;
        }
        }
        assert_int_equal(queue_verify(&queue), AIC_OK);
        if (flying_count == 0) check_model(&queue, &model);
    }
    queue_land(&queue, flying, flying_count);
    queue_fini(&queue);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_newest_write_of_a_key_is_seen),
        cmocka_unit_test(test_deletes_fit_where_puts_do_not),
        cmocka_unit_test(test_random_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
