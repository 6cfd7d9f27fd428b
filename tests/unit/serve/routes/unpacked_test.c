/* unpacked_test.c - large responses: one unpacked copy for all who read the same, counted once, gone with the last. */
#include "../../../support/test_mem.h"
#include "serve/routes/unpacked.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RESPONSE_BYTES 3000000
#define READERS 8

struct place {
    aic_cache *cache;
    struct unpacked_list list;
    struct mem mem; /* of what is unpacked */
    char *response;
    aic_key key;
    pthread_barrier_t all;
};

static void put(struct place *place, char letter)
{
    place->response[0] = place->response[RESPONSE_BYTES - 1] = '"';
    memset(place->response + 1, letter, RESPONSE_BYTES - 2);
    aic_put put = {.request = {.operation = AIC_LITERAL("qa"), .text = AIC_LITERAL("the large one")},
                   .response = {place->response, RESPONSE_BYTES}};
    aic_put_result result;
    assert_int_equal(aic_cache_put(place->cache, &put, &result, NULL), AIC_OK);
    place->key = result.key;
}

static void open_place(struct place *place, const aic_allocator *allocator)
{
    aic_options options = {.memory_max_bytes = 64 << 20};
    memset(place, 0, sizeof *place);
    mem_init(&place->mem, allocator);
    unpacked_init(&place->list);
    place->response = malloc(RESPONSE_BYTES);
    assert_int_equal(cache_open(&options, NULL, &place->cache, NULL), AIC_OK);
    put(place, 'a');
}

static void close_place(struct place *place)
{
    assert_int_equal(mem_bytes(&place->mem, MEM_ANSWERS), 0);
    unpacked_fini(&place->list);
    aic_cache_close(&place->cache);
    mem_fini(&place->mem);
    free(place->response);
}

static void find(struct place *place, struct cache_hit *hit)
{
    assert_int_equal(cache_lookup_memory(place->cache, (aic_view){NULL, 0}, &place->key, hit), AIC_OK);
    assert_true(hit->record.form.compressed);
}

static struct unpacked *pin(struct place *place, struct cache_hit *hit, uint64_t checksum)
{
    struct unpacked *pinned = NULL;
    assert_int_equal(unpacked_pin(&place->list, &place->mem, hit, checksum, &pinned), AIC_OK);
    return pinned;
}

static void *read_one(void *context)
{
    struct place *place = context;
    struct cache_hit hit = {0};
    find(place, &hit);
    pthread_barrier_wait(&place->all);
    struct unpacked *pinned = pin(place, &hit, 1);
    pthread_barrier_wait(&place->all); /* all have it */
    assert_true(mem_bytes(&place->mem, MEM_ANSWERS) < RESPONSE_BYTES + 4096);
    assert_int_equal(unpacked_view(pinned).size, RESPONSE_BYTES);
    assert_memory_equal(unpacked_view(pinned).data, place->response, RESPONSE_BYTES);
    pthread_barrier_wait(&place->all); /* all have looked */
    unpacked_release(&place->list, &pinned);
    assert_null(pinned);
    cache_hit_release(&hit);
    return NULL;
}

static void test_one_copy_for_all(void **state)
{
    (void)state;
    struct place place;
    pthread_t readers[READERS];
    open_place(&place, NULL);
    assert_int_equal(pthread_barrier_init(&place.all, NULL, READERS), 0);
    for (int i = 0; i < READERS; i++) assert_int_equal(pthread_create(&readers[i], NULL, read_one, &place), 0);
    for (int i = 0; i < READERS; i++) pthread_join(readers[i], NULL);
    pthread_barrier_destroy(&place.all);
    close_place(&place);
}

static void test_another_record_is_another_copy(void **state)
{
    (void)state;
    struct place place;
    struct cache_hit old = {0}, new = {0};
    open_place(&place, NULL);
    find(&place, &old);
    struct unpacked *first = pin(&place, &old, 1), *same = pin(&place, &old, 1);
    assert_ptr_equal(first, same);
    put(&place, 'b');
    find(&place, &new);
    struct unpacked *second = pin(&place, &new, 2);
    assert_ptr_not_equal(first, second);
    assert_int_equal(unpacked_view(first).data[1], 'a');
    assert_int_equal(unpacked_view(second).data[1], 'b');
    unpacked_release(&place.list, &first);
    assert_int_equal(unpacked_view(same).data[1], 'a'); /* the other reader's pin holds it */
    unpacked_release(&place.list, &second);
    unpacked_release(&place.list, &same);
    cache_hit_release(&old);
    cache_hit_release(&new);
    close_place(&place);
}

static void *refuse_large(void *context, size_t bytes)
{
    return bytes > *(size_t *)context ? NULL : malloc(bytes);
}

static void give_back(void *context, void *block, size_t bytes)
{
    (void)context, (void)bytes;
    free(block);
}

static void test_without_room_nothing_stays(void **state)
{
    (void)state;
    struct place place;
    struct cache_hit hit = {0};
    size_t most = 0;
    struct unpacked *pinned = NULL;
    open_place(&place, &(aic_allocator){.acquire = refuse_large, .release = give_back, .context = &most});
    find(&place, &hit);
    assert_int_equal(unpacked_pin(&place.list, &place.mem, &hit, 1, &pinned), AIC_NO_MEMORY);
    most = RESPONSE_BYTES - 1;
    assert_int_equal(unpacked_pin(&place.list, &place.mem, &hit, 1, &pinned), AIC_NO_MEMORY);
    assert_null(pinned);
    assert_null(place.list.first);
    most = RESPONSE_BYTES + 4096; /* and when there is room again, it is made */
    pinned = pin(&place, &hit, 1);
    unpacked_release(&place.list, &pinned);
    cache_hit_release(&hit);
    close_place(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_copy_for_all),
        cmocka_unit_test(test_another_record_is_another_copy),
        cmocka_unit_test(test_without_room_nothing_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
