/*
 * Two tiers that agree: what was removed is not served again from anywhere, not by a promotion under way, not after
 * storage was down, not while writers and invalidations race. The oracle is a version per key that only grows.
 */
#include "fake_tier.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void wait_until_up(aic_cache *cache)
{
    for (int i = 0; i < 60000; i++) {
        struct figures stats = stats_of(cache);
        if (stats.storage_up) return;
        usleep(1000);
    }
    fail_msg("storage did not come back");
}

/* ---- a promotion that is under way when the entry goes ---- */

struct slow_lookup {
    aic_cache *cache;
    char seen;
};

static void *slow_lookup_main(void *context)
{
    struct slow_lookup *lookup = context;
    lookup->seen = look(lookup->cache, "qa", "x", NULL);
    return NULL;
}

enum removal { BY_INVALIDATION, BY_DELETE, BY_PUT };

static void promotion_loses(void **state, enum removal removal)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "\"old\""), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    forget_memory(table->cache);
    uint64_t reads = atomic_load(&fake->reads);
    atomic_store(&fake->delay_us, 100000); /* the reader holds the old record in its hand for so long */
    struct slow_lookup lookup = {table->cache, 0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, slow_lookup_main, &lookup), 0);
    while (atomic_load(&fake->reads) == reads) usleep(100);
    usleep(2000);
    atomic_store(&fake->delay_us, 0);
    if (removal == BY_INVALIDATION) {
        aic_filter filter = {.operation = AIC_LITERAL("qa")};
        assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL), AIC_OK);
    } else if (removal == BY_DELETE) {
        aic_key key;
        aic_request request = request_of("qa", "x");
        assert_int_equal(aic_cache_key(table->cache, &request, &key, NULL), AIC_OK);
        assert_int_equal(aic_cache_delete(table->cache, AIC_LITERAL("default"), &key), AIC_OK);
    } else {
        assert_int_equal(put_text(table->cache, "qa", "x", "\"new\""), AIC_OK);
    }
    pthread_join(thread, NULL);
    const char *wanted = removal == BY_PUT ? "\"new\"" : NULL;
    assert_int_equal(look(table->cache, "qa", "x", wanted), removal == BY_PUT ? 'm' : '-');
    forget_memory(table->cache);
    assert_int_equal(look(table->cache, "qa", "x", wanted), removal == BY_PUT ? 's' : '-');
}

static void promotion_loses_to_invalidation(void **state)
{
    promotion_loses(state, BY_INVALIDATION);
}

static void promotion_loses_to_delete(void **state)
{
    promotion_loses(state, BY_DELETE);
}

static void promotion_loses_to_put(void **state)
{
    promotion_loses(state, BY_PUT);
}

/* ---- a put that meets a running invalidation ---- */

static void *invalidate_main(void *context)
{
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    CHECK(aic_cache_invalidate(context, &filter, false, NULL, NULL) == AIC_OK);
    return NULL;
}

/* The tiers that list the only entry of an operation; 0 when there is none. */
static unsigned tiers_of(aic_cache *cache, const char *operation)
{
    aic_filter filter = {.operation = aic_view_of(operation)};
    aic_page *page;
    assert_int_equal(aic_cache_list(cache, &filter, 10, (aic_view){NULL, 0}, &page, NULL), AIC_OK);
    unsigned tiers = aic_page_count(page) > 0 ? aic_page_entry(page, 0)->tiers : 0;
    aic_page_release(&page);
    return tiers;
}

static void a_put_in_the_middle_is_in_both_or_none(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    assert_int_equal(put_text(table->cache, "qa", "before", "1"), AIC_OK);
    atomic_store(&fake->select_delay_us, 100000); /* storage was looked through, memory was not yet */
    uint64_t selects = atomic_load(&fake->selects);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, invalidate_main, table->cache), 0);
    while (atomic_load(&fake->selects) == selects) usleep(100);
    assert_int_equal(put_text(table->cache, "qa", "x", "2"), AIC_OK);
    assert_int_equal(put_text(table->cache, "other", "x", "3"), AIC_OK);
    atomic_store(&fake->select_delay_us, 0);
    pthread_join(thread, NULL);
    unsigned tiers = tiers_of(table->cache, "qa");
    if (tiers != 0 && tiers != (AIC_IN_MEMORY | AIC_IN_STORAGE)) fail_msg("one tier alone (%u) has it", tiers);
    assert_int_equal(look(table->cache, "qa", "before", NULL), '-');
    assert_int_equal(tiers_of(table->cache, "other"), AIC_IN_MEMORY | AIC_IN_STORAGE);
}

/* ---- storage is down while entries are invalidated ---- */

static void removed_while_storage_was_down(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(put_text(table->cache, "summarize", "x", "2"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&fake->down, true);
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    aic_invalidated sums;
    aic_error error;
    aic_status status = aic_cache_invalidate(table->cache, &filter, false, &sums, &error);
    assert_true(status < 0);
    assert_int_equal(sums.removed, 1); /* memory's */
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.invalidations_pending, 1);
    hand_turn(&table->hand, 1);
    assert_int_equal(put_text(table->cache, "qa", "later", "3"), AIC_OK);
    atomic_store(&fake->down, false);
    for (int i = 0; i < 200; i++) { /* hidden at once, and gone after the tick */
        char seen = look(table->cache, "qa", "x", NULL);
        if (seen != '-') fail_msg("it came back (%c)", seen);
        usleep(1000);
    }
    for (int i = 0; i < 60000; i++) { /* the breaker closes after a probe; the tick pays what is owed */
        stats = stats_of(table->cache);
        if (stats.invalidations_pending == 0) break;
        hand_turn(&table->hand, 1);
        cache_tick(table->cache);
        assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
        usleep(1000);
    }
    assert_int_equal(stats.invalidations_pending, 0);
    wait_until_up(table->cache);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    forget_memory(table->cache);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    assert_int_equal(look(table->cache, "summarize", "x", "2"), 's');
}

/* A lookup that holds the old record in its hand while the tick pays what storage owes. */
static void settling_hides_what_was_read_before(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "\"old\""), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    atomic_store(&fake->down, true);
    assert_true(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL) < 0);
    hand_turn(&table->hand, 1);
    atomic_store(&fake->down, false);
    wait_until_up(table->cache);
    uint64_t reads = atomic_load(&fake->reads);
    atomic_store(&fake->delay_us, 300000);
    struct slow_lookup lookup = {table->cache, 0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, slow_lookup_main, &lookup), 0);
    while (atomic_load(&fake->reads) == reads) usleep(100);
    atomic_store(&fake->delay_us, 0);
    cache_tick(table->cache);
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.invalidations_pending, 0);
    pthread_join(thread, NULL);
    assert_int_equal(lookup.seen, '-');
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
}

static void owed_invalidations_are_bounded(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    forget_memory(table->cache);
    atomic_store(&fake->down, true);
    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "op%d", i);
        aic_filter filter = {.operation = aic_view_of(name)};
        assert_true(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL) < 0);
    }
    struct figures stats = stats_of(table->cache);
    assert_true(stats.invalidations_pending > 0 && stats.invalidations_pending <= 65);
    atomic_store(&fake->down, false);
    /* Too much to remember one by one: everything that was stored before is forgotten rather than one entry too few. */
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
}

/* ---- everything at once ---- */

#define WRITERS 3
#define KEYS 8
#define ROUNDS 400

struct race {
    aic_cache *cache;
    pthread_mutex_t lock;         /* protects next and busy */
    uint64_t next[KEYS];          /* versions handed out */
    uint64_t busy[WRITERS][KEYS]; /* the version that a writer is putting; 0: none */
    _Atomic unsigned writers;
    _Atomic uint64_t removed[KEYS]; /* every version up to here was invalidated, and the call has returned */
    _Atomic bool stop;
    _Atomic unsigned failures;
    _Atomic uint64_t lookups;
};

static void text_of(char out[16], unsigned key)
{
    snprintf(out, 16, "key %u", key);
}

static void *writer_main(void *context)
{
    struct race *race = context;
    unsigned self = atomic_fetch_add(&race->writers, 1), seed = 1000 + self;
    for (int i = 0; i < ROUNDS; i++) {
        unsigned key = (unsigned)rand_r(&seed) % KEYS;
        char text[16], response[32], operation[8];
        text_of(text, key);
        snprintf(operation, sizeof operation, "op%u", key % 2);
        pthread_mutex_lock(&race->lock);
        uint64_t version = ++race->next[key];
        race->busy[self][key] = version;
        pthread_mutex_unlock(&race->lock);
        snprintf(response, sizeof response, "%llu", (unsigned long long)version);
        if (put_text(race->cache, operation, text, response) < 0) atomic_fetch_add(&race->failures, 1);
        pthread_mutex_lock(&race->lock);
        race->busy[self][key] = 0;
        pthread_mutex_unlock(&race->lock);
    }
    return NULL;
}

/* The newest version such that it and every older one was put for sure: a put that is under way may survive what
 * removes the rest. */
static uint64_t settled_version(struct race *race, unsigned key)
{
    pthread_mutex_lock(&race->lock);
    uint64_t version = race->next[key];
    for (size_t i = 0; i < WRITERS; i++) {
        if (race->busy[i][key] != 0 && race->busy[i][key] <= version) version = race->busy[i][key] - 1;
    }
    pthread_mutex_unlock(&race->lock);
    return version;
}

static void *reader_main(void *context)
{
    struct race *race = context;
    unsigned seed = (unsigned)(uintptr_t)pthread_self();
    while (!atomic_load(&race->stop)) {
        unsigned key = (unsigned)rand_r(&seed) % KEYS;
        char text[16], operation[8];
        text_of(text, key);
        snprintf(operation, sizeof operation, "op%u", key % 2);
        aic_request request = request_of(operation, text);
        uint64_t floor = atomic_load(&race->removed[key]); /* before the lookup begins */
        aic_hit *hit;
        atomic_fetch_add(&race->lookups, 1);
        if (aic_cache_lookup(race->cache, &request, NULL, &hit, NULL) != AIC_OK) continue;
        aic_view response;
        char digits[32] = "";
        if (aic_hit_response(hit, &response) == AIC_OK && response.size < sizeof digits)
            memcpy(digits, response.data, response.size);
        uint64_t version = strtoull(digits, NULL, 10);
        if (version == 0 || version <= floor) {
            fprintf(stderr, "key %u: version %llu was served, everything up to %llu was removed\n", key,
                    (unsigned long long)version, (unsigned long long)floor);
            atomic_fetch_add(&race->failures, 1);
        }
        aic_hit_release(&hit);
        if (rand_r(&seed) % 4 == 0) forget_memory(race->cache); /* so that promotions happen all the time */
    }
    return NULL;
}

static void *remover_main(void *context)
{
    struct race *race = context;
    unsigned seed = (unsigned)(uintptr_t)pthread_self();
    while (!atomic_load(&race->stop)) {
        unsigned which = (unsigned)rand_r(&seed) % 2;
        uint64_t before[KEYS] = {0};
        for (unsigned key = which; key < KEYS; key += 2) before[key] = settled_version(race, key);
        aic_filter filter = {.operation = which == 0 ? AIC_LITERAL("op0") : AIC_LITERAL("op1")};
        if (aic_cache_invalidate(race->cache, &filter, false, NULL, NULL) != AIC_OK)
            atomic_fetch_add(&race->failures, 1);
        for (unsigned key = which; key < KEYS; key += 2) {
            uint64_t now = atomic_load(&race->removed[key]);
            while (now < before[key] && !atomic_compare_exchange_weak(&race->removed[key], &now, before[key])) {
            }
        }
        usleep((useconds_t)rand_r(&seed) % 2000);
    }
    return NULL;
}

/* After the dust: what memory serves is what storage serves. */
static void tiers_agree(aic_cache *cache)
{
    for (unsigned key = 0; key < KEYS; key++) {
        char text[16], operation[8], digits[2][32] = {"", ""};
        text_of(text, key);
        snprintf(operation, sizeof operation, "op%u", key % 2);
        aic_request request = request_of(operation, text);
        for (int pass = 0; pass < 2; pass++) {
            aic_hit *hit;
            aic_view response;
            if (aic_cache_lookup(cache, &request, NULL, &hit, NULL) == AIC_OK) {
                assert_int_equal(aic_hit_response(hit, &response), AIC_OK);
                memcpy(digits[pass], response.data, response.size);
                aic_hit_release(&hit);
            }
            aic_filter filter = {.all = true, .tiers = AIC_IN_MEMORY};
            assert_int_equal(aic_cache_invalidate(cache, &filter, false, NULL, NULL), AIC_OK);
        }
        assert_string_equal(digits[0], digits[1]);
    }
}

static void run_race(struct bench_cache *table)
{
    struct race *race = calloc(1, sizeof *race);
    race->cache = table->cache;
    pthread_mutex_init(&race->lock, NULL);
    pthread_t writers[WRITERS], readers[2], remover;
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&readers[i], NULL, reader_main, race), 0);
    assert_int_equal(pthread_create(&remover, NULL, remover_main, race), 0);
    for (int i = 0; i < WRITERS; i++) assert_int_equal(pthread_create(&writers[i], NULL, writer_main, race), 0);
    for (int i = 0; i < WRITERS; i++) pthread_join(writers[i], NULL);
    atomic_store(&race->stop, true);
    for (int i = 0; i < 2; i++) pthread_join(readers[i], NULL);
    pthread_join(remover, NULL);
    assert_int_equal(atomic_load(&race->failures), 0);
    assert_true(atomic_load(&race->lookups) > 0);
    tiers_agree(table->cache);
    aic_error error = {0};
    if (aic_cache_verify(table->cache, &error) != AIC_OK) fail_msg("%s", error.message);
    pthread_mutex_destroy(&race->lock);
    free(race);
}

static void races_over_a_slow_tier(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = table_open_fake(table);
    atomic_store(&fake->delay_us, 200);
    run_race(table);
}

static void races_over_lmdb(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table_open(table);
    run_race(table);
}

/* ---- writers of one key ---- */

struct rewriting {
    aic_cache *cache;
    unsigned writer;
};

static void *rewriter_main(void *context)
{
    struct rewriting *rewriting = context;
    for (int i = 0; i < 30; i++) {
        char response[32];
        snprintf(response, sizeof response, "\"%u/%d\"", rewriting->writer, i);
        CHECK(put_text(rewriting->cache, "op1", "key 1", response) == AIC_OK);
    }
    return NULL;
}

static void writers_of_one_key_take_turns(void **state)
{
    struct bench_cache *table = *state;
    (void)table_open_fake(table);
    for (int round = 0; round < 200; round++) {
        pthread_t threads[WRITERS];
        struct rewriting rewriting[WRITERS];
        for (unsigned i = 0; i < WRITERS; i++) {
            rewriting[i] = (struct rewriting){table->cache, i};
            assert_int_equal(pthread_create(&threads[i], NULL, rewriter_main, &rewriting[i]), 0);
        }
        for (int i = 0; i < WRITERS; i++) pthread_join(threads[i], NULL);
        tiers_agree(table->cache);
    }
}

/* ---- three workers, fifteen entries ---- */

static void *worker_main(void *context)
{
    aic_cache *cache = ((struct race *)context)->cache;
    unsigned worker = atomic_fetch_add(&((struct race *)context)->failures, 1);
    for (int i = 0; i < 5; i++) {
        char text[32], response[32];
        snprintf(text, sizeof text, "worker %u, %d", worker, i);
        snprintf(response, sizeof response, "\"%u/%d\"", worker, i);
        CHECK(put_text(cache, "qa", text, response) == AIC_OK);
        CHECK(look(cache, "qa", text, response) == 'm');
    }
    return NULL;
}

static void E16_three_workers(void **state)
{
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table_open(table);
    struct race race = {.cache = table->cache};
    pthread_t workers[3];
    for (int i = 0; i < 3; i++) assert_int_equal(pthread_create(&workers[i], NULL, worker_main, &race), 0);
    for (int i = 0; i < 3; i++) pthread_join(workers[i], NULL);
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.memory_entries, 15);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    stats = stats_of(table->cache);
    assert_int_equal(stats.storage_entries, 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(promotion_loses_to_invalidation, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(promotion_loses_to_delete, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(promotion_loses_to_put, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_put_in_the_middle_is_in_both_or_none, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(removed_while_storage_was_down, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(settling_hides_what_was_read_before, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(writers_of_one_key_take_turns, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(owed_invalidations_are_bounded, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(races_over_a_slow_tier, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(races_over_lmdb, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(E16_three_workers, table_setup, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
