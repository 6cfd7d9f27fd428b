/* The overview over a tree of /proc and /sys made for the test: pressure and what is done about it, alerts, kept
 * history.
 */
#include "../cache/fake_tier.h"
#include "base/check.h"
#include "observe/monitor.h"
#include "observe/overview.h"
#include "observe/parts.h"
#include "observe/pools.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../support/test_mem.h"

#define TIER_BYTES (64 << 20)
#define LIMIT (256 << 20)

struct world {
    struct test_mem test;
    struct hand_clock hand;
    struct own_dir dir;
    struct object_pool pool;
    struct fake_tier *storage; /* the cache's; NULL: none */
    aic_cache *cache;
    aic_monitor *monitor;
    struct overview overview;
    bool seen; /* the overview is there */
    char history[128];
};

static void put_file(struct world *world, const char *path, const char *text)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", world->dir.path, path);
    for (char *at = whole + strlen(world->dir.path) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(whole, 0755);
        *at = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* So many percent of a cgroup's limit of 256 MiB are in use. */
static void put_usage(struct world *world, double percent)
{
    char text[32];
    snprintf(text, sizeof text, "%llu\n", (unsigned long long)(percent / 100 * LIMIT));
    put_file(world, "/sys/fs/cgroup/a/memory.current", text);
}

static struct overview_options options_of(struct world *world)
{
    return (struct overview_options){.mem = &world->test.mem,
                                     .clock = &world->hand.clock,
                                     .cache = world->cache,
                                     .monitor = world->monitor,
                                     .version = "test",
                                     .storage_kind = world->storage != NULL ? "fake" : "none",
                                     .root = world->dir.path,
                                     .history_file = world->history};
}

static struct overview_route route(size_t index)
{
    (void)index;
    return (struct overview_route){"GET", "/"};
}

static aic_status overview_begin(struct world *world, const struct overview_options *options)
{
    aic_status status = overview_init(&world->overview, options, route, 1, 1);
    world->seen = status == AIC_OK;
    if (world->seen) {
        object_pool_init(&world->pool, "test", &world->test.mem, MEM_POOLS, 1000, 100);
        object_pools_add(&world->overview.pools, &world->pool);
    }
    return status;
}

static void overview_end(struct world *world)
{
    if (!world->seen) return;
    object_pools_remove(&world->overview.pools, &world->pool);
    object_pool_fini(&world->pool);
    overview_fini(&world->overview);
    world->seen = false;
}

/* Over a storage tier that the test holds in its hand, or, for NULL, none. */
static void world_open_over(struct world *world, struct fake_tier *storage)
{
    char text[64];
    memset(world, 0, sizeof *world);
    test_mem_init(&world->test, TEST_MEM_NEVER);
    hand_init(&world->hand);
    own_dir_make(&world->dir);
    snprintf(world->history, sizeof world->history, "%s/history", world->dir.path);
    put_file(world, "/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n");
    put_file(world, "/proc/self/cgroup", "0::/a\n");
    snprintf(text, sizeof text, "%d\n", LIMIT);
    put_file(world, "/sys/fs/cgroup/a/memory.max", text);
    put_file(world, "/sys/fs/cgroup/a/memory.stat", "inactive_file 0\n");
    put_usage(world, 40);
    world->storage = storage;
    aic_options cache = {.memory_max_bytes = TIER_BYTES, .clock = &world->hand.clock};
    if (storage != NULL) assert_int_equal(cache_open(&cache, &storage->tier, &world->cache, NULL), AIC_OK);
    else assert_int_equal(aic_cache_open(&cache, &world->cache, NULL), AIC_OK);
    aic_monitor_options monitor = {.clock = &world->hand.clock};
    assert_int_equal(aic_monitor_open(&monitor, &world->monitor, NULL), AIC_OK);
    struct overview_options options = options_of(world);
    assert_int_equal(overview_begin(world, &options), AIC_OK);
}

static void world_open(struct world *world)
{
    world_open_over(world, NULL);
}

static void world_close(struct world *world)
{
    overview_end(world);
    aic_monitor_close(&world->monitor);
    aic_cache_close(&world->cache);
    own_dir_remove(&world->dir);
    test_mem_fini(&world->test);
}

static void tick(struct world *world)
{
    hand_turn(&world->hand, 1);
    overview_tick(&world->overview);
}

static uint64_t tier_limit(struct world *world)
{
    struct figures stats = {0};
    store_figures(cache_store(world->cache), &stats);
    return stats.memory_max_bytes;
}

static void fill_pool(struct world *world, unsigned count)
{
    void *objects[64];
    assert_true(count <= COUNT_OF(objects));
    for (unsigned i = 0; i < count; i++) assert_non_null(objects[i] = object_pool_take(&world->pool));
    for (unsigned i = 0; i < count; i++) assert_true(object_pool_give(&world->pool, &objects[i]));
}

static uint64_t pool_size(struct world *world)
{
    struct object_pool_stats stats;
    object_pool_stats(&world->pool, &stats);
    return stats.size;
}

/* What a writer wrote, NUL-terminated; until the next call. */
static const char *report_of(void (*write)(struct world *world, struct json_writer *out), struct world *world)
{
    static char kept[65536];
    struct buf text;
    struct json_writer writer;
    buf_init(&text, &world->test.mem, MEM_OTHER);
    json_writer_init(&writer, &text);
    write(world, &writer);
    assert_int_equal(buf_status(&text), AIC_OK);
    assert_true(text.size < sizeof kept);
    memcpy(kept, text.data, text.size);
    kept[text.size] = '\0';
    buf_fini(&text);
    return kept;
}

static void write_pressure(struct world *world, struct json_writer *out)
{
    pressure_write(world->overview.pressure, out);
}

static void write_alerts(struct world *world, struct json_writer *out)
{
    alerts_write(world->overview.alerts, out);
}

static void write_history(struct world *world, struct json_writer *out)
{
    history_write(&world->monitor->history, out);
}

static void write_pools(struct world *world, struct json_writer *out)
{
    pools_write(&world->overview.pools, world->cache, out);
}

static void write_breakdown(struct world *world, struct json_writer *out)
{
    memory_look_write(&world->overview.look, out);
}

static bool has(const char *text, const char *words)
{
    return strstr(text, words) != NULL;
}

/* ---------------------------------------------------------------------------------------------------- pressure -- */

static void gives_memory_back_under_pressure_and_takes_it_again(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    fill_pool(&world, 40);
    tick(&world);
    assert_int_equal(pressure_state(world.overview.pressure), PRESSURE_NORMAL);
    assert_int_equal(tier_limit(&world), TIER_BYTES);
    assert_int_equal(pool_size(&world), 40);
    put_usage(&world, 93);
    tick(&world);
    assert_int_equal(pressure_state(world.overview.pressure), PRESSURE_CRITICAL);
    assert_true(tier_limit(&world) < TIER_BYTES);
    assert_true(tier_limit(&world) >= TIER_BYTES / 5);
    assert_int_equal(pool_size(&world), 0);
    const char *said = report_of(write_pressure, &world);
    assert_true(has(said, "\"current_state\":\"critical\""));
    assert_true(has(said, "memory pressure critical: 93.0% of the limit"));
    assert_true(has(said, "free lists emptied: "));
    assert_true(has(said, "allocator purged"));
    put_usage(&world, 40);
    for (int i = 0; i < 29; i++) tick(&world);
    uint64_t small = tier_limit(&world);
    assert_true(small < TIER_BYTES); /* not before half a minute of calm */
    for (int i = 0; i < 30; i++) tick(&world);
    assert_int_equal(tier_limit(&world), TIER_BYTES);
    world_close(&world);
}

static void looks_at_once_when_the_kernel_tells_of_a_stall(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    overview_stalled(&world.overview);
    assert_int_equal(pressure_state(world.overview.pressure), PRESSURE_WARNING);
    tick(&world);
    assert_int_equal(pressure_state(world.overview.pressure), PRESSURE_NORMAL);
    world_close(&world);
}

static void grows_to_a_limit_that_was_changed_meanwhile(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    put_usage(&world, 93);
    tick(&world);
    put_usage(&world, 40);
    pressure_set_cache_limit(world.overview.pressure, TIER_BYTES / 2);
    for (int i = 0; i < 90; i++) tick(&world);
    assert_true(tier_limit(&world) <= TIER_BYTES / 2);
    world_close(&world);
}

/* ------------------------------------------------------------------------------------------------------ alerts -- */

static void opens_escalates_and_resolves_alerts_of_pressure(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    uint64_t open[ALERT_SEVERITIES];
    put_usage(&world, 80);
    tick(&world);
    alerts_count_open(world.overview.alerts, open);
    assert_int_equal(open[ALERT_MEDIUM], 1);
    put_usage(&world, 96);
    tick(&world);
    alerts_count_open(world.overview.alerts, open);
    assert_int_equal(open[ALERT_MEDIUM], 0);
    assert_int_equal(open[ALERT_CRITICAL], 1);
    assert_true(has(report_of(write_alerts, &world), "\"escalations\":1"));
    put_usage(&world, 40);
    tick(&world);
    assert_int_equal(alerts_open_count(world.overview.alerts), 0);
    assert_true(has(report_of(write_alerts, &world), "\"resolved_alerts\":1"));
    world_close(&world);
}

/* Storage answers on a thread of its own: seconds pass until the alerts say it. */
static void wait_for_alerts(struct world *world, const char *words)
{
    for (int i = 0; i < 60000; i++) {
        tick(world);
        if (has(report_of(write_alerts, world), words)) return;
        usleep(1000);
    }
    fail_msg("%s lacks %s", report_of(write_alerts, world), words);
}

static void put_some(struct world *world, const char *text)
{
    aic_put put = put_of("qa", text, "\"an answer\"");
    assert_int_equal(aic_cache_put(world->cache, &put, NULL, NULL), AIC_OK);
}

/* A disk that is full is no storage that is gone, in the alert's words too. */
static void tells_degraded_from_down(void **state)
{
    (void)state;
    struct world world;
    struct hand_clock storage_clock;
    hand_init(&storage_clock);
    struct fake_tier *storage = fake_create(&storage_clock.clock);
    world_open_over(&world, storage);
    put_some(&world, "before");
    assert_int_equal(aic_cache_sync(world.cache), AIC_OK);

    atomic_store(&storage->writes_fail, true);
    put_some(&world, "during");
    wait_for_alerts(&world, "\"message\":\"storage has been degraded for ");
    assert_false(has(report_of(write_alerts, &world), " has been down for "));
    struct overview_health health;
    size_t part;
    overview_health(&world.overview, false, &health);
    assert_int_equal(health_find(world.overview.health, AIC_LITERAL("storage"), &part), AIC_OK);
    assert_int_equal(health.reports[part].status, HEALTH_DEGRADED);

    atomic_store(&storage->writes_fail, false);
    wait_for_alerts(&world, "\"active\":[]");
    atomic_store(&storage->down, true);
    put_some(&world, "after");
    wait_for_alerts(&world, "\"message\":\"storage has been down for ");
    atomic_store(&storage->down, false);
    wait_for_alerts(&world, "\"active\":[]");
    world_close(&world);
}

/* ------------------------------------------------------------------------------------------------------- pools -- */

static void releases_half_of_what_lies_idle_every_second(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    fill_pool(&world, 40);
    tick(&world); /* they were needed since the last look */
    assert_int_equal(pool_size(&world), 40);
    tick(&world);
    assert_int_equal(pool_size(&world), 20);
    tick(&world);
    assert_int_equal(pool_size(&world), 10);
    for (int i = 0; i < 8; i++) tick(&world);
    assert_int_equal(pool_size(&world), 0);
    const char *said = report_of(write_pools, &world);
    assert_true(has(said, "\"test\":{\"size\":0,\"active\":0,\"object_bytes\":1000,\"bytes\":0,\"high_water\":40"));
    assert_true(has(said, "\"memory_tier_arenas\":{"));
    world_close(&world);
}

/* ----------------------------------------------------------------------------------------------------- history -- */

static void again(struct world *world)
{
    overview_end(world);
    aic_monitor_close(&world->monitor);
    aic_monitor_options monitor = {.clock = &world->hand.clock};
    assert_int_equal(aic_monitor_open(&monitor, &world->monitor, NULL), AIC_OK);
    struct overview_options options = options_of(world);
    assert_int_equal(overview_begin(world, &options), AIC_OK);
}

static void keeps_the_history_over_a_restart(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    for (int i = 0; i < 3; i++) tick(&world);
    char before[65536];
    snprintf(before, sizeof before, "%s", report_of(write_history, &world));
    again(&world);
    assert_string_equal(report_of(write_history, &world), before);
    tick(&world);
    assert_true(strlen(report_of(write_history, &world)) > strlen(before));
    world_close(&world);
}

static void begins_anew_after_a_damaged_history(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    char empty[4096];
    snprintf(empty, sizeof empty, "%s", report_of(write_history, &world));
    for (int i = 0; i < 3; i++) tick(&world);
    overview_end(&world);
    assert_int_equal(truncate(world.history, 100), 0);
    aic_monitor_close(&world.monitor);
    aic_monitor_options monitor = {.clock = &world.hand.clock};
    assert_int_equal(aic_monitor_open(&monitor, &world.monitor, NULL), AIC_OK);
    struct overview_options options = options_of(&world);
    assert_int_equal(overview_begin(&world, &options), AIC_OK);
    assert_string_equal(report_of(write_history, &world), empty);
    world_close(&world);
}

/* Once a limit on files cuts the write short, which sets no errno. */
static void says_why_the_history_is_not_saved(void **state)
{
    (void)state;
    struct world world;
    struct rlimit before;
    int ends[2];
    char said[1024] = "";
    world_open(&world);
    assert_int_equal(pipe(ends), 0);
    struct log *log = NULL;
    assert_int_equal(
        log_create(&(struct log_options){.mem = &world.test.mem, .clock = &world.hand.clock, .fd = ends[1]}, &log),
        AIC_OK);
    overview_end(&world);
    struct overview_options options = options_of(&world);
    options.log = log;
    assert_int_equal(overview_begin(&world, &options), AIC_OK);
    tick(&world);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &(struct rlimit){10, before.rlim_max}), 0);
    overview_end(&world); /* saves */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(read(ends[0], said, sizeof said - 1) > 0);
    assert_true(has(said, "the history could not be saved: File too large"));
    log_destroy(&log);
    close(ends[0]);
    close(ends[1]);
    world_close(&world);
}

/* A pipe that nobody reads stands in for the disk: opening it for writing does not come back. */
static void goes_on_while_the_disk_hangs(void **state)
{
    (void)state;
    struct world world;
    char beside[160], bytes[4096];
    struct stat info;
    world_open(&world);
    snprintf(beside, sizeof beside, "%s.new", world.history);
    assert_int_equal(mkfifo(beside, 0600), 0);
    for (int i = 0; i < 200; i++) tick(&world); /* three times is the history to be saved */
    assert_int_equal(stat(world.history, &info), -1);
    int fd = open(beside, O_RDONLY); /* waits for the one that saves, who waits for this */
    assert_true(fd >= 0);
    while (read(fd, bytes, sizeof bytes) > 0) continue;
    close(fd);
    assert_int_equal(unlink(beside) == 0 || errno == ENOENT, 1); /* it was renamed, or is about to be */
    char before[1 << 18];
    snprintf(before, sizeof before, "%s", report_of(write_history, &world));
    again(&world); /* saves once more, now to a file */
    assert_int_equal(stat(world.history, &info), 0);
    assert_true(S_ISREG(info.st_mode));
    assert_string_equal(report_of(write_history, &world), before);
    world_close(&world);
}

/* --------------------------------------------------------------------------------------------------- breakdown -- */

static void counts_every_mapping_once(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    assert_string_equal(report_of(write_breakdown, &world), "[]");
    put_file(&world, "/proc/self/smaps",
             "55550000-55560000 r-xp 00000000 08:01 1 /usr/bin/aicached\nRss: 1000 kB\n"
             "70000000-70100000 rw-p 00000000 00:00 0 \nRss: 20000 kB\n"
             "71000000-71100000 rw-s 00000000 08:01 2 /data/cache.mdb\nRss: 300 kB\n"
             "7ff00000-7ff10000 rw-p 00000000 00:00 0 [stack]\nRss: 40 kB\n");
    for (int i = 0; i < 6; i++) tick(&world);
    const char *said = report_of(write_breakdown, &world);
    assert_true(has(said, "{\"owner\":\"storage_map\",\"bytes\":307200"));
    assert_true(has(said, "{\"owner\":\"stacks\",\"bytes\":40960"));
    assert_true(has(said, "{\"owner\":\"program\",\"bytes\":1024000"));
    uint64_t sum = 0;
    for (const char *at = said; (at = strstr(at, "\"bytes\":")) != NULL; at++) sum += strtoull(at + 8, NULL, 10);
    assert_int_equal(sum, 21340 * 1024);
    world_close(&world);
}

/* A process whose resident memory is the allocator's. */
static void put_resident(struct world *world, unsigned kib)
{
    char text[256];
    snprintf(text, sizeof text, "70000000-7f000000 rw-p 00000000 00:00 0 \nRss: %u kB\n", kib);
    put_file(world, "/proc/self/smaps", text);
    snprintf(text, sizeof text, "Name:\tx\nVmRSS:\t%u kB\n", kib);
    put_file(world, "/proc/self/status", text);
}

static uint64_t sum_of_breakdown(struct world *world)
{
    uint64_t sum = 0;
    const char *said = report_of(write_breakdown, world);
    for (const char *at = said; (at = strstr(at, "\"bytes\":")) != NULL; at++) sum += strtoull(at + 8, NULL, 10);
    return sum;
}

/* A second in which memory grew is not left to the next look at the mappings. */
static void follows_memory_that_grows_quickly(void **state)
{
    (void)state;
    struct world world;
    aic_memory_sample now;
    struct breakdown what;
    world_open(&world);
    assert_false(overview_measure(&world.overview, &what, &now)); /* nothing to read yet */
    for (unsigned kib = 20000; kib < 200000; kib += 30000) {
        put_resident(&world, kib);
        tick(&world);
        assert_int_equal(sum_of_breakdown(&world), kib * 1024);
    }
    put_resident(&world, 171000); /* an unhurried second: a percent more */
    tick(&world);
    assert_int_equal(sum_of_breakdown(&world), 170000 * 1024);
    hand_turn(&world.hand, 1);
    put_resident(&world, 180000); /* who asks is told of this moment */
    assert_true(overview_measure(&world.overview, &what, &now));
    assert_int_equal(now.process_bytes, 180000 * 1024);
    assert_int_equal(sum_of_breakdown(&world), 180000 * 1024);
    put_resident(&world, 190000); /* and who asks again at once costs nothing */
    assert_true(overview_measure(&world.overview, &what, &now));
    assert_int_equal(now.process_bytes, 180000 * 1024);
    assert_int_equal(sum_of_breakdown(&world), 180000 * 1024);
    world_close(&world);
}

/* ----------------------------------------------------------------------------------------------- out of memory -- */

static void survives_every_failed_allocation(void **state)
{
    (void)state;
    struct world world;
    world_open(&world);
    tick(&world);
    overview_end(&world); /* leaves a history to load */
    struct overview_options options = options_of(&world);
    aic_status status = AIC_NO_MEMORY;
    for (int64_t n = 0; status != AIC_OK; n++) {
        assert_true(n < 100);
        atomic_store(&world.test.until_refusal, n);
        status = overview_begin(&world, &options);
        atomic_store(&world.test.until_refusal, TEST_MEM_NEVER);
        assert_true(status == AIC_OK || status == AIC_NO_MEMORY);
    }
    for (int64_t n = 0; n < 20; n++) {
        atomic_store(&world.test.until_refusal, n);
        tick(&world);
        atomic_store(&world.test.until_refusal, TEST_MEM_NEVER);
    }
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_memory_back_under_pressure_and_takes_it_again),
        cmocka_unit_test(looks_at_once_when_the_kernel_tells_of_a_stall),
        cmocka_unit_test(grows_to_a_limit_that_was_changed_meanwhile),
        cmocka_unit_test(opens_escalates_and_resolves_alerts_of_pressure),
        cmocka_unit_test(tells_degraded_from_down),
        cmocka_unit_test(releases_half_of_what_lies_idle_every_second),
        cmocka_unit_test(keeps_the_history_over_a_restart),
        cmocka_unit_test(begins_anew_after_a_damaged_history),
        cmocka_unit_test(says_why_the_history_is_not_saved),
        cmocka_unit_test(goes_on_while_the_disk_hangs),
        cmocka_unit_test(counts_every_mapping_once),
        cmocka_unit_test(follows_memory_that_grows_quickly),
        cmocka_unit_test(survives_every_failed_allocation),
    };
    return cmocka_run_group_tests_name("overview", tests, NULL, NULL);
}
