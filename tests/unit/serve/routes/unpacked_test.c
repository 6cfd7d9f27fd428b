/* unpacked_test.c - large responses: one unpacked copy for all who read the same, counted once, gone with the last. */
#include "../../../support/test_mem.h"
#include "serve/routes/unpacked.h"

#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RESPONSE_BYTES 3000000
#define READERS 8

struct place {
    aic_cache *cache;
    struct lanes *lanes;
    struct unpacked_list list;
    struct mem mem, lane_mem; /* of what is unpacked; of the lanes */
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
    mem_init(&place->lane_mem, NULL);
    assert_int_equal(lanes_create(&place->lane_mem, 2, &place->lanes), AIC_OK);
    unpacked_init(&place->list, place->lanes);
    place->response = malloc(RESPONSE_BYTES);
    assert_int_equal(cache_open(&options, NULL, &place->cache, NULL), AIC_OK);
    put(place, 'a');
}

static void close_place(struct place *place)
{
    lanes_destroy(&place->lanes); /* a thread may not be done with a copy that could not be made */
    assert_int_equal(mem_bytes(&place->mem, MEM_ANSWERS), 0);
    unpacked_fini(&place->list);
    aic_cache_close(&place->cache);
    mem_fini(&place->mem);
    mem_fini(&place->lane_mem);
    free(place->response);
}

static void find(struct place *place, struct cache_hit *hit)
{
    assert_int_equal(cache_lookup_memory(place->cache, (aic_view){NULL, 0}, &place->key, hit), AIC_OK);
    assert_true(hit->record.form.compressed);
}

/* Somebody who asks, and is told. */
struct reader {
    struct unpacked_wait wait;
    struct cache_hit hit;
    sem_t told;
};

static void on_told(struct unpacked_wait *wait)
{
    sem_post(&((struct reader *)wait)->told);
}

static void ask(struct place *place, struct reader *reader, uint64_t checksum)
{
    memset(reader, 0, sizeof *reader);
    reader->wait.told = on_told;
    assert_int_equal(sem_init(&reader->told, 0, 0), 0);
    find(place, &reader->hit);
    if (unpacked_ask(&place->list, &place->mem, &reader->hit, checksum, &reader->wait)) sem_post(&reader->told);
}

static aic_status learn(struct reader *reader)
{
    while (sem_wait(&reader->told) != 0) continue;
    assert_int_equal(reader->wait.status == AIC_OK, reader->wait.unpacked != NULL);
    return reader->wait.status;
}

static void leave(struct place *place, struct reader *reader)
{
    unpacked_release(&place->list, &reader->wait.unpacked);
    assert_null(reader->wait.unpacked);
    cache_hit_release(&reader->hit);
    sem_destroy(&reader->told);
}

static void ask_and_learn(struct place *place, struct reader *reader, uint64_t checksum)
{
    ask(place, reader, checksum);
    assert_int_equal(learn(reader), AIC_OK);
}

static _Atomic unsigned firsts; /* of the readers */

static void *read_one(void *context)
{
    struct place *place = context;
    struct reader reader;
    pthread_barrier_wait(&place->all);
    ask_and_learn(place, &reader, 1);
    atomic_fetch_add(&firsts, reader.wait.first);
    pthread_barrier_wait(&place->all); /* all have it */
    assert_true(mem_bytes(&place->mem, MEM_ANSWERS) < RESPONSE_BYTES + 4096);
    assert_int_equal(unpacked_view(reader.wait.unpacked).size, RESPONSE_BYTES);
    assert_memory_equal(unpacked_view(reader.wait.unpacked).data, place->response, RESPONSE_BYTES);
    pthread_barrier_wait(&place->all); /* all have looked */
    leave(place, &reader);
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
    assert_int_equal(atomic_load(&firsts), 1);
    pthread_barrier_destroy(&place.all);
    close_place(&place);
}

static void test_another_record_is_another_copy(void **state)
{
    (void)state;
    struct place place;
    struct reader first, same, second;
    open_place(&place, NULL);
    ask_and_learn(&place, &first, 1);
    ask_and_learn(&place, &same, 1);
    assert_ptr_equal(first.wait.unpacked, same.wait.unpacked);
    assert_true(first.wait.first && !same.wait.first);
    put(&place, 'b');
    ask_and_learn(&place, &second, 2);
    assert_ptr_not_equal(first.wait.unpacked, second.wait.unpacked);
    assert_int_equal(unpacked_view(first.wait.unpacked).data[1], 'a');
    assert_int_equal(unpacked_view(second.wait.unpacked).data[1], 'b');
    leave(&place, &first);
    assert_int_equal(unpacked_view(same.wait.unpacked).data[1], 'a'); /* the other reader's pin holds it */
    leave(&place, &second);
    leave(&place, &same);
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

/* Whoever waits for a copy that cannot be made is told; nothing of it stays. */
static void test_without_room_nothing_stays(void **state)
{
    (void)state;
    struct place place;
    struct reader readers[READERS];
    size_t most = 0;
    open_place(&place, &(aic_allocator){.acquire = refuse_large, .release = give_back, .context = &most});
    for (int pass = 0; pass < 2; pass++) { /* without memory for anything, and without that for the response */
        for (int i = 0; i < READERS; i++) ask(&place, &readers[i], 1);
        for (int i = 0; i < READERS; i++) assert_int_equal(learn(&readers[i]), AIC_NO_MEMORY);
        for (int i = 0; i < READERS; i++) assert_false(readers[i].wait.first);
        for (int i = 0; i < READERS; i++) leave(&place, &readers[i]);
        assert_null(place.list.first);
        most = RESPONSE_BYTES - 1;
    }
    most = RESPONSE_BYTES + 4096; /* and when there is room again, it is made */
    ask_and_learn(&place, &readers[0], 1);
    leave(&place, &readers[0]);
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
