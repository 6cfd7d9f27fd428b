/* The footprint: every mapping has one owner, the parts add up to RSS, and filling a part makes that part grow. */
#include "fixture.h"

#include "observe/footprint.h"
#include "observe/host.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILL (32 << 20)

static struct footprint measure(const char *file, void *tier)
{
    struct footprint_options options = {.root = "",
                                        .storage_file = file,
                                        .values_begin = (uintptr_t)tier,
                                        .values_end = (uintptr_t)tier + (tier ? FILL : 0)};
    struct footprint out;
    assert_int_equal(footprint_read(&options, &out), AIC_OK);
    assert_int_equal(out.rss,
                     out.memory_values + out.memory_index + out.storage_map + out.heap + out.stacks + out.program);
    return out;
}

static void expect_grown(uint64_t before, uint64_t after)
{
    assert_in_range(after - before, FILL - (FILL >> 4), FILL + (FILL >> 4));
}

static void adds_up_to_rss(void **state)
{
    (void)state;
    struct footprint footprint = measure(NULL, NULL);
    struct host_memory host;
    host_memory_read("", &host);
    double ratio = (double)footprint.rss / (double)host.rss_bytes;
    if (ratio < 0.95 || ratio > 1.05) fail_msg("parts are %.3f of the RSS", ratio);
    assert_true(footprint.program > 0 && footprint.stacks > 0 && footprint.heap > 0);
}

__attribute__((unused)) static void counts_the_memory_tier_and_the_heap(void **state)
{
    (void)state;
    /* Inside a reservation, as the memory tier has it: the kernel joins neighbouring mappings of one kind. */
    char *reserved = mmap(NULL, 3 * FILL, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(reserved, MAP_FAILED);
    char *tier = reserved + FILL;
    assert_int_equal(mprotect(tier, FILL, PROT_READ | PROT_WRITE), 0);
    struct footprint before = measure(NULL, tier);
    memset(tier, 1, FILL);
    struct footprint after = measure(NULL, tier);
    expect_grown(before.memory_values, after.memory_values);
    char *heap = malloc(FILL);
    assert_non_null(heap);
    memset(heap, 1, FILL);
    assert_int_equal(heap[FILL / 2], 1);
    struct footprint filled = measure(NULL, tier);
    expect_grown(after.heap, filled.heap);
    free(heap);
    munmap(reserved, 3 * FILL);
}

static void counts_the_mapped_storage_file(void **state)
{
    (void)state;
    char path[] = "/tmp/aicache-footprint-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, FILL), 0);
    volatile char *map = mmap(NULL, FILL, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    struct footprint before = measure(strrchr(path, '/'), NULL);
    for (size_t at = 0; at < FILL; at += 4096) map[at] = 1;
    struct footprint after = measure(strrchr(path, '/'), NULL);
    expect_grown(before.storage_map, after.storage_map);
    munmap((void *)map, FILL);
    close(fd);
    unlink(path);
}

struct deep {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int step;
};

static void *use_stack(void *context)
{
    struct deep *deep = context;
    volatile char room[1 << 22];
    for (size_t at = 0; at < sizeof room; at += 1024) room[at] = 1;
    pthread_mutex_lock(&deep->mutex);
    deep->step = 1;
    pthread_cond_broadcast(&deep->changed);
    while (deep->step != 2) pthread_cond_wait(&deep->changed, &deep->mutex);
    pthread_mutex_unlock(&deep->mutex);
    return room[0] == 1 ? NULL : context;
}

__attribute__((unused)) static void counts_the_stacks_of_threads(void **state)
{
    (void)state;
    struct deep deep = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct footprint before = measure(NULL, NULL);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, use_stack, &deep), 0);
    pthread_mutex_lock(&deep.mutex);
    while (deep.step != 1) pthread_cond_wait(&deep.changed, &deep.mutex);
    pthread_mutex_unlock(&deep.mutex);
    struct footprint after = measure(NULL, NULL);
    assert_true(after.stacks - before.stacks >= 4 << 20);
    assert_true(after.stacks - before.stacks < 5 << 20);
    pthread_mutex_lock(&deep.mutex);
    deep.step = 2;
    pthread_cond_broadcast(&deep.changed);
    pthread_mutex_unlock(&deep.mutex);
    pthread_join(thread, NULL);
}

static void says_when_it_cannot_read(void **state)
{
    (void)state;
    struct footprint out = {.rss = 7};
    assert_int_equal(footprint_read(&(struct footprint_options){.root = "/nonexistent"}, &out), AIC_IO);
    assert_int_equal(out.rss, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_up_to_rss),
        cmocka_unit_test(counts_the_mapped_storage_file),
        cmocka_unit_test(says_when_it_cannot_read),
#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__) /* whose shadow memory grows along */
        cmocka_unit_test(counts_the_memory_tier_and_the_heap),
        cmocka_unit_test(counts_the_stacks_of_threads),
#endif
    };
    return cmocka_run_group_tests_name("monitor footprint", tests, NULL, NULL);
}
