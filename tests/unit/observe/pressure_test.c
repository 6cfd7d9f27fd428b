/* Pressure: states and hysteresis, what is done, trends, and reading cgroups and stalls from a tree made for the test.
 */
#include "fixture.h"

#include "observe/pressure.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct world {
    struct mem mem;
    uint64_t now_ms;
    aic_clock clock;
    struct pressure *pressure;
    uint64_t cache_bytes, resized_to;
    unsigned entered, purged, emptied;
    char root[64];
};

static uint64_t wall(void *context)
{
    return ((struct world *)context)->now_ms;
}

static uint64_t mono(void *context)
{
    return ((struct world *)context)->now_ms * 1000000;
}

static uint64_t cache_bytes(void *context)
{
    return ((struct world *)context)->cache_bytes;
}

static void resize_cache(void *context, uint64_t max_bytes)
{
    struct world *w = context;
    w->resized_to = max_bytes;
    if (w->cache_bytes > max_bytes) w->cache_bytes = max_bytes;
}

static size_t empty_pools(void *context)
{
    ((struct world *)context)->emptied++;
    return 123;
}

static void purge(void *context)
{
    ((struct world *)context)->purged++;
}

static void log_line(void *context, aic_log_level level, const char *line)
{
    (void)level;
    if (strstr(line, "memory pressure ") == line) ((struct world *)context)->entered++;
}

static void world_open(struct world *w, uint64_t cache_max_bytes)
{
    memset(w, 0, sizeof *w);
    mem_init(&w->mem, NULL);
    w->now_ms = 1700000000000;
    w->clock = (aic_clock){wall, mono, w};
    snprintf(w->root, sizeof w->root, "/tmp/aicache-pressure-XXXXXX");
    assert_non_null(mkdtemp(w->root));
    struct pressure_options options = {
        .mem = &w->mem,
        .clock = &w->clock,
        .root = w->root,
        .cache_max_bytes = cache_max_bytes,
        .actions = {cache_bytes, resize_cache, empty_pools, purge, log_line, w},
    };
    assert_int_equal(pressure_create(&options, &w->pressure, NULL), AIC_OK);
}

static void world_close(struct world *w)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", w->root);
    assert_int_equal(system(command), 0);
    pressure_destroy(&w->pressure);
    mem_fini(&w->mem);
}

static void put_file(struct world *w, const char *path, const char *text)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s%s", w->root, path);
    for (char *at = whole + strlen(w->root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(whole, 0755);
        *at = '/';
    }
    FILE *file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void world_read(struct world *w, struct reading *r)
{
    struct buf text;
    buf_init(&text, &w->mem, MEM_OTHER);
    struct json_writer writer;
    json_writer_init(&writer, &text);
    pressure_write(w->pressure, &writer);
    assert_int_equal(buf_status(&text), AIC_OK);
    mem_init(&r->mem, NULL);
    json_init(&r->json, &r->mem, MEM_OTHER);
    static char kept[16384];
    assert_true(text.size < sizeof kept);
    memcpy(kept, text.data, text.size);
    r->report = NULL;
    assert_int_equal(json_scan(&r->json, (aic_view){kept, text.size}, NULL), AIC_OK);
    buf_fini(&text);
}

static void enters_at_the_threshold_and_leaves_five_points_below(void **state)
{
    (void)state;
    static const double percent[] = {50, 74.9, 75, 80, 89.9, 90, 95, 80, 60, 76};
    static const char expected[] = "nnwwwccwnw";
    struct world w;
    world_open(&w, 0);
    for (unsigned i = 0; i < 10; i++) {
        unsigned before = w.entered;
        enum pressure_state now = pressure_observe(w.pressure, percent[i], 1000, false);
        assert_int_equal(pressure_state_name(now)[0], expected[i]);
        bool upwards = percent[i] == 75 || percent[i] == 90 || percent[i] == 76;
        assert_int_equal(w.entered - before, upwards);
        w.now_ms += 1000;
    }
    assert_int_equal(w.purged, 3);
    assert_int_equal(w.emptied, 3);
    world_close(&w);
}

static void shrinks_to_a_target_and_grows_back_slowly(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1000);
    w.cache_bytes = 1000;
    pressure_observe(w.pressure, 80, 2000, false); /* 10 points above where warning is left: 200 bytes */
    assert_int_equal(w.resized_to, 800);
    pressure_observe(w.pressure, 99, 20000, false); /* an excess of 2800 bytes: no more than down to a fifth */
    assert_int_equal(w.resized_to, 200);
    w.now_ms += 1000;
    pressure_observe(w.pressure, 10, 2000, false);
    w.now_ms += 28000;
    pressure_observe(w.pressure, 10, 2000, false);
    assert_int_equal(w.resized_to, 200);
    w.now_ms += 2000;
    pressure_observe(w.pressure, 10, 2000, false);
    assert_int_equal(w.resized_to, 251);
    for (int i = 0; i < 40; i++) pressure_observe(w.pressure, 10, 2000, false);
    assert_int_equal(w.resized_to, 1000);
    world_close(&w);
}

static void takes_a_stall_for_a_warning(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1000);
    w.cache_bytes = 1000;
    w.cache_bytes = 300; /* somebody else's stall must not take the room that is not used yet */
    assert_int_equal(pressure_observe(w.pressure, 10, 2000, true), PRESSURE_WARNING);
    assert_int_equal(w.resized_to, 950);
    assert_int_equal(pressure_observe(w.pressure, 10, 2000, false), PRESSURE_NORMAL);
    world_close(&w);
}

static void tells_the_trend(void **state)
{
    (void)state;
    static const struct {
        double first, last;
        const char *expected;
    } rows[] = {{50, 50.5, "stable"}, {50, 52, "increasing"}, {52, 50, "decreasing"}};
    for (unsigned i = 0; i < 3; i++) {
        struct world w;
        struct reading r;
        world_open(&w, 0);
        pressure_observe(w.pressure, rows[i].first, 1000, false);
        world_read(&w, &r);
        reading_expect_text(&r, "pressure_trends", "insufficient_data");
        reading_close(&r);
        pressure_observe(w.pressure, rows[i].last, 1000, false);
        world_read(&w, &r);
        reading_expect_text(&r, "pressure_trends", rows[i].expected);
        reading_expect(&r, "avg_pressure_30m", (rows[i].first + rows[i].last) / 2);
        reading_close(&r);
        world_close(&w);
    }
    struct world w;
    struct reading r;
    world_open(&w, 0);
    for (int i = 0; i < 20; i++) pressure_observe(w.pressure, i < 10 ? 50 : 52, 1000, false);
    world_read(&w, &r);
    reading_expect_text(&r, "pressure_trends", "increasing");
    reading_expect(&r, "peak_pressure_30m", 52);
    reading_close(&r);
    w.now_ms += 3600 * 1000; /* what is older than half an hour counts no more */
    pressure_observe(w.pressure, 10, 1000, false);
    world_read(&w, &r);
    reading_expect(&r, "peak_pressure_30m", 10);
    reading_close(&r);
    world_close(&w);
}

static void reads_a_v2_cgroup_with_a_tighter_ancestor(void **state)
{
    (void)state;
    struct world w;
    struct reading r;
    world_open(&w, 0);
    put_file(&w, "/proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");
    put_file(&w, "/proc/self/status", "Name:\tx\nVmRSS:\t   65536 kB\nRssAnon:\t   60000 kB\n");
    put_file(&w, "/proc/self/cgroup", "0::/a/b\n");
    put_file(&w, "/sys/fs/cgroup/a/b/memory.max", "max\n");
    put_file(&w, "/sys/fs/cgroup/a/b/memory.current", "950\n");
    put_file(&w, "/sys/fs/cgroup/a/b/memory.stat", "anon 1\ninactive_file 150\nactive_file 7\n");
    put_file(&w, "/sys/fs/cgroup/a/memory.max", "1000\n");
    put_file(&w, "/sys/fs/cgroup/a/memory.current", "950\n");
    put_file(&w, "/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 150\nactive_file 7\n");
    put_file(&w, "/proc/pressure/memory",
             "some avg10=1.50 avg60=0.75 avg300=0.25 total=4242\n"
             "full avg10=0.50 avg60=0.00 avg300=0.00 total=42\n");
    pressure_tick(w.pressure, NULL, false);
    assert_int_equal(pressure_state(w.pressure), PRESSURE_WARNING);
    world_read(&w, &r);
    reading_expect(&r, "current_pressure", 80);
    reading_expect(&r, "cgroup.limit_bytes", 1000);
    reading_expect(&r, "cgroup.working_set_bytes", 800);
    reading_expect_text(&r, "cgroup.path", "/a");
    reading_expect(&r, "psi.some_avg10", 1.5);
    reading_expect(&r, "psi.full_total_us", 42);
    reading_close(&r);
    struct host_memory host;
    host_memory_read(w.root, &host);
    assert_int_equal(host.rss_bytes, 64 << 20);
    assert_int_equal(host.rss_anon_bytes, 60000 * 1024);
    world_close(&w);
}

static void counts_cores_by_quota(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0);
    assert_int_equal(host_cores(w.root, 8), 8); /* nothing says anything */
    put_file(&w, "/proc/self/cgroup", "0::/a/b\n");
    put_file(&w, "/sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    assert_int_equal(host_cores(w.root, 8), 8);
    put_file(&w, "/sys/fs/cgroup/a/cpu.max", "250000 100000\n");
    assert_int_equal(host_cores(w.root, 8), 3);
    assert_int_equal(host_cores(w.root, 2), 2);
    put_file(&w, "/sys/fs/cgroup/a/b/cpu.max", "1000 100000\n");
    assert_int_equal(host_cores(w.root, 8), 1);
    put_file(&w, "/proc/self/cgroup", "7:cpuset:/other\n5:cpu,cpuacct:/x\n4:memory:/svc\n0::/\n");
    put_file(&w, "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "-1\n");
    put_file(&w, "/sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000\n");
    assert_int_equal(host_cores(w.root, 8), 8);
    put_file(&w, "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "400000\n");
    assert_int_equal(host_cores(w.root, 8), 4);
    world_close(&w);
}

static void reads_a_v1_cgroup_beside_an_empty_v2(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0);
    put_file(&w, "/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n");
    put_file(&w, "/proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/svc\n0::/\n");
    put_file(&w, "/sys/fs/cgroup/memory/svc/memory.limit_in_bytes", "2000\n");
    put_file(&w, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put_file(&w, "/sys/fs/cgroup/memory/svc/memory.usage_in_bytes", "1000\n");
    put_file(&w, "/sys/fs/cgroup/memory/svc/memory.stat", "cache 1\ntotal_inactive_file 500\n");
    struct host_memory host;
    host_memory_read(w.root, &host);
    assert_true(host.in_cgroup);
    assert_int_equal(host.cgroup_version, 1);
    assert_int_equal(host.cgroup_limit_bytes, 2000);
    assert_int_equal((int)host_pressure(&host), 25);
    world_close(&w);
}

/* A level's files; NULL leaves one out. */
static void put_level(struct world *w, unsigned version, const char *group, const char *limit, const char *usage,
                      const char *inactive)
{
    static const char *const names[2][2] = {{"memory.limit_in_bytes", "memory.usage_in_bytes"},
                                            {"memory.max", "memory.current"}};
    const char *mount = version == 1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    char path[128], text[128];
    const char *const values[] = {limit, usage};
    for (unsigned i = 0; i < 2; i++) {
        if (values[i] == NULL) continue;
        snprintf(path, sizeof path, "%s%s/%s", mount, group, names[version - 1][i]);
        put_file(w, path, values[i]);
    }
    snprintf(path, sizeof path, "%s%s/memory.stat", mount, group);
    snprintf(text, sizeof text, "inactive_file %s\ntotal_inactive_file %s\n", version == 2 ? inactive : "1",
             version == 1 ? inactive : "1");
    put_file(w, path, text);
}

static void expect_level(struct world *w, const char *path, uint64_t limit, uint64_t usage, double percent)
{
    struct host_memory host;
    host_memory_read(w->root, &host);
    assert_true(host.in_cgroup);
    assert_string_equal(host.cgroup_path, path);
    assert_int_equal(host.cgroup_limit_bytes, limit);
    assert_int_equal(host.cgroup_usage_bytes, usage);
    assert_true(host_pressure(&host) > percent - .01 && host_pressure(&host) < percent + .01);
}

/* What a neighbour in the parent's group uses is told against the parent's limit, ours against ours. */
static void measures_each_level_against_its_own_limit(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        struct world w;
        world_open(&w, 0);
        put_file(&w, "/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n");
        put_file(&w, "/proc/self/cgroup", version == 1 ? "4:memory:/p/a\n0::/\n" : "0::/p/a\n");
        const char *none = version == 1 ? "9223372036854771712\n" : "max\n";
        put_level(&w, version, "/p/a", none, "9\n", "1");
        put_level(&w, version, "/p", "300\n", "280\n", "10");
        put_level(&w, version, "", none, "100000\n", "0");
        expect_level(&w, "/p", 300, 280, 90);
        put_level(&w, version, "/p/a", "10\n", "9\n", "0"); /* a tie: the innermost */
        expect_level(&w, "/p/a", 10, 9, 90);
        put_level(&w, version, "/p/a", "10\n", "9\n", "1");
        expect_level(&w, "/p", 300, 280, 90);
        struct host_memory host;
        host_memory_read(w.root, &host);
        assert_int_equal(host.cgroup_least_bytes, 10); /* though the other is nearer to its own */
        put_level(&w, version, "/p", "300\n", "280\n", "200");
        expect_level(&w, "/p/a", 10, 9, 80);
        world_close(&w);
    }
}

static void heeds_the_throttling_limit_of_a_level(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0);
    put_file(&w, "/proc/self/cgroup", "0::/p/a\n");
    put_level(&w, 2, "/p/a", "1000\n", "400\n", "0");
    put_level(&w, 2, "/p", "5000\n", "900\n", "0");
    put_file(&w, "/sys/fs/cgroup/p/memory.high", "1200\n");
    expect_level(&w, "/p", 1200, 900, 75);
    world_close(&w);
}

/* A namespace shows the host's path and only the mount; a controller may be off in the inner groups. */
static void passes_over_levels_that_cannot_be_read(void **state)
{
    (void)state;
    for (unsigned version = 1; version <= 2; version++) {
        struct world w;
        world_open(&w, 0);
        put_file(&w, "/proc/self/cgroup", version == 1 ? "4:memory:/docker/abc\n" : "0::/docker/abc\n");
        put_level(&w, version, "", "1000\n", "510\n", "10");
        put_level(&w, version, "/docker", "100\n", NULL, "0"); /* a limit without a usage says nothing */
        expect_level(&w, "/", 1000, 510, 50);
        world_close(&w);
    }
    struct world w;
    struct host_memory host;
    world_open(&w, 0);
    put_file(&w, "/proc/self/cgroup", "0::/../elsewhere\n"); /* not below this mount */
    put_level(&w, 2, "", "1000\n", "510\n", "10");
    host_memory_read(w.root, &host);
    assert_false(host.in_cgroup);
    world_close(&w);
}

/* Version 1 can leave children out of a group's account: then its limit and those above it are not theirs. */
static void stops_where_children_are_not_counted(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0);
    put_file(&w, "/proc/self/cgroup", "4:memory:/g/p/a\n");
    put_level(&w, 1, "/g/p/a", "1000\n", "100\n", "0");
    put_level(&w, 1, "/g/p", "1000\n", "990\n", "0");
    put_level(&w, 1, "/g", "1000\n", "999\n", "0");
    expect_level(&w, "/g", 1000, 999, 99.9);
    put_file(&w, "/sys/fs/cgroup/memory/g/memory.use_hierarchy", "0\n");
    expect_level(&w, "/g/p", 1000, 990, 99);
    put_file(&w, "/sys/fs/cgroup/memory/g/p/memory.use_hierarchy", "0\n");
    expect_level(&w, "/g/p/a", 1000, 100, 10);
    world_close(&w);
}

static void falls_back_to_the_machine_and_to_nothing(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0);
    struct host_memory host;
    host_memory_read(w.root, &host);
    assert_true(host_pressure(&host) == 0.0);
    assert_int_equal(host.rss_bytes, 0);
    struct host_psi psi;
    host_psi_read(w.root, &psi);
    assert_false(psi.available);
    put_file(&w, "/proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 100 kB\n");
    put_file(&w, "/proc/self/statm", "765 440 411 5 0 123 0\n");
    host_memory_read(w.root, &host);
    assert_true(host_pressure(&host) == 90.0);
    assert_int_equal(host.rss_bytes, 440 * (uint64_t)sysconf(_SC_PAGESIZE));
    pressure_tick(w.pressure, NULL, false);
    assert_int_equal(pressure_state(w.pressure), PRESSURE_CRITICAL);
    world_close(&w);
}

static void arms_a_trigger_where_the_service_manager_says(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 0);
    assert_int_equal(host_psi_trigger(w.root), -1);
    char path[128];
    snprintf(path, sizeof path, "%s/watch", w.root);
    put_file(&w, "/watch", "");
    setenv("MEMORY_PRESSURE_WATCH", path, 1);
    int fd = host_psi_trigger(w.root);
    assert_true(fd >= 0);
    close(fd);
    setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1);
    assert_int_equal(host_psi_trigger(w.root), -1);
    unsetenv("MEMORY_PRESSURE_WATCH");
    FILE *file = fopen(path, "r");
    char written[64] = {0};
    assert_int_equal(fread(written, 1, sizeof written, file), sizeof "some 100000 2000000");
    assert_string_equal(written, "some 100000 2000000");
    fclose(file);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(enters_at_the_threshold_and_leaves_five_points_below),
        cmocka_unit_test(shrinks_to_a_target_and_grows_back_slowly),
        cmocka_unit_test(takes_a_stall_for_a_warning),
        cmocka_unit_test(tells_the_trend),
        cmocka_unit_test(reads_a_v2_cgroup_with_a_tighter_ancestor),
        cmocka_unit_test(counts_cores_by_quota),
        cmocka_unit_test(reads_a_v1_cgroup_beside_an_empty_v2),
        cmocka_unit_test(measures_each_level_against_its_own_limit),
        cmocka_unit_test(heeds_the_throttling_limit_of_a_level),
        cmocka_unit_test(passes_over_levels_that_cannot_be_read),
        cmocka_unit_test(stops_where_children_are_not_counted),
        cmocka_unit_test(falls_back_to_the_machine_and_to_nothing),
        cmocka_unit_test(arms_a_trigger_where_the_service_manager_says),
    };
    return cmocka_run_group_tests_name("monitor pressure", tests, NULL, NULL);
}
