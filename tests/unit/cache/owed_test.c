/*
 * Removals that storage owes outlive the process: what was removed while storage took no writes is not there for the
 * next one, and nothing else is missing. A tier that stays behind while its cache is closed stands in for the kill: a
 * close that storage takes nothing from leaves what a kill does. (The kill itself: tests/live/test_disk.py.)
 */
#include "fake_tier.h"

#include "cache/inner.h"
#include "tier/journal.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct fake_tier *open_kept(struct bench_cache *table)
{
    table->options.data_dir = table->dir.path;
    table->options.ttl_default_seconds = AIC_ZERO;
    table->options.clock = NULL; /* the gate's own time must go on, or no wait ends */
    struct fake_tier *fake = table_open_fake(table);
    fake->keep = true;
    return fake;
}

/* Ends the process, so to speak; the next one finds a tier that works. */
static void begin_anew(struct bench_cache *table, struct fake_tier *fake)
{
    aic_cache_close(&table->cache);
    atomic_store(&fake->down, false);
    assert_int_equal(cache_open(&table->options, &fake->tier, &table->cache, NULL), AIC_OK);
}

static void end(struct bench_cache *table, struct fake_tier *fake)
{
    fake->keep = false;
    aic_cache_close(&table->cache);
}

/* A wall clock that is set by hand; time itself goes on. */
static _Atomic int64_t minutes_off;
static uint64_t wall_that_is_set(void *context)
{
    (void)context;
    return clock_wall_ms(clock_system()) + (uint64_t)(atomic_load(&minutes_off) * 60000);
}
static uint64_t time_that_goes_on(void *context)
{
    (void)context;
    return clock_mono_ns(clock_system());
}

static void path_of(const struct bench_cache *table, char out[256])
{
    snprintf(out, 256, "%s/removals", table->dir.path);
}

/* No version of this program reads it then. */
static void spoil_file(const struct bench_cache *table)
{
    char path[256];
    path_of(table, path);
    int file = open(path, O_WRONLY);
    assert_int_equal(pwrite(file, "aicowed9", 8, 0), 8);
    close(file);
}

static aic_status count_record(void *context, aic_view record)
{
    (void)record;
    ++*(size_t *)context;
    return AIC_OK;
}

static size_t written_down(const struct bench_cache *table)
{
    struct mem mem;
    struct journal *journal;
    char path[256];
    size_t count = 0;
    bool intact;
    path_of(table, path);
    mem_init(&mem, NULL);
    assert_int_equal(journal_open(&mem, path, count_record, &count, &intact, &journal), AIC_OK);
    assert_true(intact);
    journal_close(&journal);
    mem_fini(&mem);
    return count;
}

/* The breaker closes after a probe. */
static void tick_until_paid(struct bench_cache *table)
{
    for (int i = 0; i < 60000 && written_down(table) > 0; i++) {
        cache_tick(table->cache);
        usleep(1000);
    }
    assert_int_equal(written_down(table), 0);
}

static aic_status delete_text(struct bench_cache *table, const char *operation, const char *text)
{
    aic_request request = request_of(operation, text);
    aic_key key;
    CHECK(aic_cache_key(table->cache, &request, &key, NULL) == AIC_OK);
    return aic_cache_delete(table->cache, (aic_view){NULL, 0}, &key);
}

static void removals_outlive_the_process(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    static const char *const operations[] = {"qa", "summarize", "chat"};
    for (size_t i = 0; i < COUNT_OF(operations); i++) {
        assert_int_equal(put_text(table->cache, operations[i], "x", "1"), AIC_OK);
        assert_int_equal(put_text(table->cache, operations[i], "y", "2"), AIC_OK);
    }
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&fake->down, true);
    assert_int_equal(delete_text(table, "chat", "x"), AIC_OK);
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    aic_error error;
    assert_true(aic_cache_invalidate(table->cache, &filter, false, NULL, &error) < 0);
    assert_null(strstr(error.message, "repeat"));
    assert_true(written_down(table) >= 2);    /* the tick may have been faster with one of them */
    for (int round = 0; round < 2; round++) { /* also when the next process ends before storage has taken it */
        begin_anew(table, fake);
        atomic_store(&fake->down, round == 0);
        assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
        assert_int_equal(look(table->cache, "qa", "y", NULL), '-');
        assert_int_equal(look(table->cache, "chat", "x", NULL), '-');
    }
    assert_int_equal(look(table->cache, "chat", "y", "2"), 's');
    assert_int_equal(look(table->cache, "summarize", "x", "1"), 's');
    end(table, fake);
}

/* The wall clock goes back between the puts and their removal, and goes forward again: what is older is told by the
 * order of puts alone, for this process and for the next, and also when everything is to be forgotten. */
static void a_clock_that_is_set_back(void **state)
{
    static const aic_clock clock = {.wall_ms = wall_that_is_set, .mono_ns = time_that_goes_on};
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    aic_cache_close(&table->cache);
    table->options.clock = &clock;
    begin_anew(table, fake);
    for (int64_t back = 0; back < 3; back++) {
        assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
        assert_int_equal(put_text(table->cache, "chat", "x", "1"), AIC_OK);
        assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
        atomic_store(&fake->down, true);
        atomic_fetch_sub(&minutes_off, 300);
        aic_filter filter = {.operation = AIC_LITERAL("qa")};
        assert_true(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL) < 0);
        assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
        assert_int_equal(put_text(table->cache, "qa", "y", "2"), AIC_OK); /* newer, whatever the clock says */
        assert_int_equal(look(table->cache, "qa", "y", "2"), 'm');
        begin_anew(table, fake);
        assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
        assert_int_equal(look(table->cache, "chat", "x", "1"), 's');
        assert_int_equal(put_text(table->cache, "qa", "x", "3"), AIC_OK);
        cache_tick(table->cache);
        assert_int_equal(written_down(table), 0);
        atomic_fetch_add(&minutes_off, 10 * back); /* within its time to live */
        assert_int_equal(look(table->cache, "qa", "x", "3"), 'm');
        aic_cache_close(&table->cache);
        spoil_file(table);
        atomic_fetch_sub(&minutes_off, 300);
        begin_anew(table, fake); /* everything that was stored so far goes */
        assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
        assert_int_equal(look(table->cache, "chat", "x", NULL), '-');
        assert_int_equal(put_text(table->cache, "qa", "z", "4"), AIC_OK);
        cache_tick(table->cache);
        aic_cache_close(&table->cache);
        begin_anew(table, fake);
        assert_int_equal(look(table->cache, "qa", "z", "4"), 's');
        assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    }
    end(table, fake);
}

/* An invalidation by age that storage owes hides what is dated ahead for the next process, too. */
static void an_age_outlives_the_process(void **state)
{
    static const aic_clock clock = {.wall_ms = wall_that_is_set, .mono_ns = time_that_goes_on};
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    aic_cache_close(&table->cache);
    table->options.clock = &clock;
    atomic_store(&minutes_off, 60);
    begin_anew(table, fake);
    assert_int_equal(put_text(table->cache, "chat", "ahead", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&minutes_off, 0);
    assert_int_equal(put_text(table->cache, "chat", "new", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&fake->down, true);
    aic_filter filter = {.age_given = true, .older_than_seconds = 7200};
    assert_true(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL) < 0);
    begin_anew(table, fake);
    assert_int_equal(look(table->cache, "chat", "ahead", NULL), '-');
    assert_int_equal(look(table->cache, "chat", "new", "1"), 's');
    end(table, fake);
}

/* What was paid is not asked for again. */
static void what_is_paid_is_forgotten(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(put_text(table->cache, "chat", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&fake->down, true);
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    assert_true(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL) < 0);
    assert_int_equal(delete_text(table, "chat", "x"), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "x", "2"), AIC_OK);
    assert_int_equal(put_text(table->cache, "chat", "x", "2"), AIC_OK);
    atomic_store(&fake->down, false);
    tick_until_paid(table);
    begin_anew(table, fake);
    assert_int_equal(look(table->cache, "qa", "x", "2"), 's');
    assert_int_equal(look(table->cache, "chat", "x", "2"), 's');
    end(table, fake);
}

/* A delete that storage takes leaves nothing to write down, and is applied before it returns. */
static void a_delete_ends_in_storage(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    assert_int_equal(fake_count(fake), 1);
    assert_int_equal(delete_text(table, "qa", "x"), AIC_OK);
    assert_int_equal(fake_count(fake), 0);
    assert_int_equal(written_down(table), 0);
    end(table, fake);
}

/* More than the file has room for: rather everything than one entry too few. */
static void too_much_to_remember(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    char text[16];
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "t%d", i);
        assert_int_equal(put_text(table->cache, "qa", text, "1"), AIC_OK);
    }
    assert_int_equal(put_text(table->cache, "chat", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&fake->down, true);
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "t%d", i);
        assert_int_equal(delete_text(table, "qa", text), AIC_OK);
    }
    begin_anew(table, fake);
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof text, "t%d", i);
        assert_int_equal(look(table->cache, "qa", text, NULL), '-');
    }
    assert_int_equal(look(table->cache, "chat", "x", NULL), '-');
    end(table, fake);
}

static void a_file_that_cannot_be_read(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    aic_cache_close(&table->cache);
    spoil_file(table);
    begin_anew(table, fake);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    begin_anew(table, fake);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    end(table, fake);
}

static void count_told(void *context, aic_log_level level, const char *line)
{
    const char *found = strstr(line, "'removals' is ");
    if (level == AIC_LOG_WARNING && found != NULL && strstr(found, " beside stored") != NULL) ++*(unsigned *)context;
}

/* A first start has none, and says nothing of it; one that is there is cut to nothing, and to a part of its zeros. */
static void a_file_that_is_gone(void **state)
{
    struct bench_cache *table = *state;
    char path[256];
    unsigned told = 0;
    path_of(table, path);
    table->options.log = count_told;
    table->options.log_context = &told;
    struct fake_tier *fake = open_kept(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    for (unsigned i = 0; i < 3; i++) {
        begin_anew(table, fake);
        assert_int_equal(told, i);
        aic_cache_close(&table->cache);
        assert_int_equal(i == 0 ? unlink(path) : truncate(path, i == 1 ? 0 : 4096), 0);
        begin_anew(table, fake);
        assert_int_equal(told, i + 1);
        assert_int_equal(look(table->cache, "qa", "x", "1"), 's');
    }
    end(table, fake);
}

static int descriptor_of(const char *path)
{
    char name[32], target[256];
    for (int descriptor = 3; descriptor < 1024; descriptor++) {
        snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
        ssize_t size = readlink(name, target, sizeof target);
        if (size == (ssize_t)strlen(path) && memcmp(target, path, (size_t)size) == 0) return descriptor;
    }
    fail_msg("%s is not open", path);
    return -1;
}

/* The file is emptied and its sync fails: nobody knows what is in it, so a delete is written down. */
static void a_file_whose_emptying_fails(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    char path[256];
    path_of(table, path);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    aic_cache_close(&table->cache);
    spoil_file(table);
    begin_anew(table, fake); /* one record says that everything goes */
    CHECK(pthread_mutex_lock(&table->cache->ticking) == 0);
    assert_int_equal(cache_settle(table->cache), AIC_OK);
    int own = descriptor_of(path), kept = dup(own), null = open("/dev/null", O_RDWR);
    assert_int_equal(dup2(null, own), own); /* takes what is written, and refuses a sync */
    owed_settle(table->cache);
    assert_int_equal(dup2(kept, own), own);
    assert_int_equal(truncate(path, 0), 0);
    close(kept);
    close(null);
    CHECK(pthread_mutex_unlock(&table->cache->ticking) == 0);
    assert_int_equal(put_text(table->cache, "qa", "z", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&fake->down, true);
    assert_int_equal(delete_text(table, "qa", "z"), AIC_OK);
    begin_anew(table, fake);
    assert_int_equal(look(table->cache, "qa", "z", NULL), '-');
    end(table, fake);
}

/* One bit of the file changes while no process has it: no delete that was answered comes back. */
static void a_damaged_file_brings_nothing_back(void **state)
{
    enum { ENTRIES = 12 };
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    char text[16], path[256];
    path_of(table, path);
    for (size_t at = 0; at < 32 + ENTRIES * 56; at += 29) {
        for (int i = 0; i < ENTRIES; i++) {
            snprintf(text, sizeof text, "t%d", i);
            assert_int_equal(put_text(table->cache, "qa", text, "1"), AIC_OK);
        }
        assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
        atomic_store(&fake->down, true);
        for (int i = 0; i < ENTRIES; i++) {
            snprintf(text, sizeof text, "t%d", i);
            assert_int_equal(delete_text(table, "qa", text), AIC_OK);
        }
        aic_cache_close(&table->cache);
        int file = open(path, O_RDWR);
        char byte;
        assert_int_equal(pread(file, &byte, 1, (off_t)at), 1);
        byte ^= (char)(1 << at % 8);
        assert_int_equal(pwrite(file, &byte, 1, (off_t)at), 1);
        close(file);
        begin_anew(table, fake);
        for (int i = 0; i < ENTRIES; i++) {
            snprintf(text, sizeof text, "t%d", i);
            if (look(table->cache, "qa", text, NULL) != '-') fail_msg("byte %zu: %s is back", at, text);
        }
        cache_tick(table->cache); /* what was owed is carried out, and the file empty again */
        assert_int_equal(written_down(table), 0);
    }
    end(table, fake);
}

/* With an entry, and with nowhere to write a removal of it down. */
static struct fake_tier *open_without_file(struct bench_cache *table)
{
    char path[256];
    path_of(table, path);
    assert_int_equal(mkdir(path, 0700), 0);
    struct fake_tier *fake = open_kept(table);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    return fake;
}

/* Nowhere to write it down: the caller is told. */
static void no_file(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_without_file(table);
    atomic_store(&fake->down, true);
    assert_int_equal(delete_text(table, "qa", "x"), AIC_UNAVAILABLE);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    aic_filter filter = {.operation = AIC_LITERAL("qa")};
    aic_error error;
    assert_true(aic_cache_invalidate(table->cache, &filter, false, NULL, &error) < 0);
    assert_non_null(strstr(error.message, "repeat"));
    atomic_store(&fake->down, false);
    end(table, fake);
}

/* It is hidden, not gone: a delete of it is no miss. It removes it when storage is back before the tick has looked, and
 * else says whether it lasts. */
static void a_delete_of_what_an_invalidation_hides(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_without_file(table);
    CHECK(pthread_mutex_lock(&table->cache->ticking) == 0);
    for (int back = 1; back >= 0; back--) {
        aic_filter filter = {.operation = AIC_LITERAL("qa")};
        aic_error error;
        atomic_store(&fake->writes_fail, true);
        assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, &error), AIC_UNAVAILABLE);
        assert_non_null(strstr(error.message, "repeat"));
        assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
        atomic_store(&fake->writes_fail, back == 0);
        assert_int_equal(delete_text(table, "qa", "x"), back ? AIC_OK : AIC_UNAVAILABLE);
        assert_int_equal(fake_count(fake), back ? 0 : 1);
        assert_int_equal(delete_text(table, "qa", "never there"), AIC_MISS);
        if (!back) break;
        assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
        assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    }
    CHECK(pthread_mutex_unlock(&table->cache->ticking) == 0);
    end(table, fake);
}

static void replace_while_full(struct bench_cache *table, struct fake_tier *fake)
{
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "y", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&fake->writes_fail, true);
    assert_int_equal(put_text(table->cache, "qa", "x", "2"), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "z", "1"), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "x", "2"), 'm');
}

/* What was acknowledged and is lost is a miss, and never the answer from before. */
static void a_replaced_value_does_not_come_back(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    replace_while_full(table, fake);
    aic_cache_close(&table->cache);
    assert_int_equal(written_down(table), 1); /* of what was new nothing has to go */
    atomic_store(&fake->writes_fail, false);
    assert_int_equal(cache_open(&table->options, &fake->tier, &table->cache, NULL), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    assert_int_equal(look(table->cache, "qa", "y", "1"), 's');
    assert_int_equal(look(table->cache, "qa", "z", NULL), '-');
    end(table, fake);
}

/* A kill does not wait for the close, and a disk that has room again lets nothing go. */
static void the_tick_writes_down_what_was_replaced(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    replace_while_full(table, fake);
    for (int i = 0; i < 60000 && written_down(table) == 0; i++) { /* until the breaker is open */
        cache_tick(table->cache);
        usleep(1000);
    }
    cache_tick(table->cache);
    assert_int_equal(written_down(table), 1);
    owed_paid(table->cache); /* too early: what is forgotten and still waits is written down again */
    cache_tick(table->cache);
    assert_int_equal(written_down(table), 1);
    atomic_store(&fake->writes_fail, false);
    tick_until_paid(table);
    begin_anew(table, fake);
    assert_int_equal(look(table->cache, "qa", "x", "2"), 's');
    assert_int_equal(look(table->cache, "qa", "z", "1"), 's');
    end(table, fake);
}

static void *delete_elsewhere(void *context)
{
    return (void *)(intptr_t)delete_text(context, "qa", "x");
}

/* Whoever syncs the file does not come back: nobody else waits for him longer than a second, and each is told. Nor does
 * it help to ask again, while it is so, for what is hidden already. */
static void a_disk_that_hangs_holds_one_caller(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    pthread_t threads[4];
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "y", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&fake->down, true);
    assert_int_equal(delete_text(table, "qa", "y"), AIC_OK); /* storage is known to be down */
    CHECK(pthread_mutex_lock(&table->cache->owed.lock) == 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, delete_elsewhere, table) == 0);
    for (size_t i = 0; i < COUNT_OF(threads); i++) { /* without a limit this would never end */
        void *status;
        CHECK(pthread_join(threads[i], &status) == 0);
        assert_int_equal((intptr_t)status, AIC_UNAVAILABLE);
    }
    CHECK(pthread_mutex_unlock(&table->cache->owed.lock) == 0);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-'); /* nobody is given what he removed */
    assert_int_equal(delete_text(table, "qa", "x"), AIC_MISS);  /* and now it lasts */
    assert_true(written_down(table) >= 2);                      /* the tick may have been faster with one of them */
    begin_anew(table, fake);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    assert_int_equal(look(table->cache, "qa", "y", NULL), '-');
    end(table, fake);
}

static void *invalidate_what_hangs(void *context)
{
    struct bench_cache *table = context;
    aic_filter filter = {.operation = AIC_LITERAL("hangs")};
    return (void *)(intptr_t)aic_cache_invalidate(table->cache, &filter, false, NULL, NULL);
}

/* One that is in storage that hangs keeps no other, ends by itself, and is remembered. */
static void an_invalidation_that_hangs_is_left(void **state)
{
    struct bench_cache *table = *state;
    struct fake_tier *fake = open_kept(table);
    pthread_t thread;
    void *status;
    assert_int_equal(put_text(table->cache, "hangs", "x", "1"), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "y", "1"), AIC_OK);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    atomic_store(&fake->hang_select, true);
    CHECK(pthread_create(&thread, NULL, invalidate_what_hangs, table) == 0);
    while (atomic_load(&fake->hanging) == 0) usleep(1000);
    aic_filter other = {.operation = AIC_LITERAL("qa")};
    aic_invalidated sums;
    assert_int_equal(aic_cache_invalidate(table->cache, &other, false, &sums, NULL), AIC_OK);
    assert_int_equal(sums.removed, 1);
    CHECK(pthread_join(thread, &status) == 0);
    assert_int_equal((intptr_t)status, AIC_UNAVAILABLE);
    assert_int_equal(atomic_load(&fake->hanging), 1);
    assert_int_equal(look(table->cache, "hangs", "x", NULL), '-');
    assert_int_equal(stats_of(table->cache).invalidations_pending, 1);
    assert_int_equal(written_down(table), 1);
    atomic_store(&fake->hang_select, false);
    while (stats_of(table->cache).invalidations_pending > 0) cache_tick(table->cache);
    assert_int_equal(aic_cache_sync(table->cache), AIC_OK);
    assert_int_equal(look(table->cache, "hangs", "x", NULL), '-');
    assert_int_equal(fake_count(fake), 0);
    end(table, fake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(removals_outlive_the_process, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_is_set_back, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(an_age_outlives_the_process, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(what_is_paid_is_forgotten, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_delete_ends_in_storage, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(too_much_to_remember, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_read, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_gone, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_file_whose_emptying_fails, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_damaged_file_brings_nothing_back, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(no_file, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_replaced_value_does_not_come_back, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(the_tick_writes_down_what_was_replaced, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_delete_of_what_an_invalidation_hides, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_hangs_holds_one_caller, table_setup, table_teardown),
        cmocka_unit_test_setup_teardown(an_invalidation_that_hangs_is_left, table_setup, table_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
