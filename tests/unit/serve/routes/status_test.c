/*
 * status_test.c - what is told of measurements where nothing ticks beside the requests: one look leaves one snapshot
 * (K25), a large set of data is told of quickly (N11), a cache whose storage is down is degraded (O16); pressure
 * is one for all who tell of it, and every owner's memory is counted.
 */
#include "routes_world.h"

#include "base/check.h"
#include "base/digest.h"
#include "observe/monitor.h"
#include "observe/warnings.h"
#include "serve/routes/front.h"

#include <sys/stat.h>
#include <time.h>

#define PUT_BODY "{\"operation\":\"qa\",\"text\":\"one\",\"response\":\"answer\"}"

static void begin_with(struct world *world, aic_monitor_options options, uint64_t memory_max_bytes)
{
    assert_int_equal(aic_monitor_open(&options, &world->monitor, NULL), AIC_OK);
    start_world(world, memory_max_bytes, NULL, 0);
}

static void begin(struct world *world, int64_t max_measurements)
{
    memset(world, 0, sizeof *world);
    begin_with(world, (aic_monitor_options){.max_measurements = max_measurements}, 0);
}

static void end(struct world *world)
{
    stop_server(world);
    stop_cache(world);
}

/* The number after "name": in the last answer. */
static double figure(const char *name)
{
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", name);
    const char *at = strstr(answer.text, quoted);
    if (at == NULL) fail_msg("no %s in %.3000s", name, answer.text);
    return strtod(at + strlen(quoted), NULL);
}

static void K25_a_look_leaves_one_snapshot(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 0);
    assert_int_equal(ask(&world, "PUT", "/cache/entries", PUT_BODY), 201);
    assert_int_equal(ask(&world, "GET", "/monitoring/cache-metrics", ""), 200);
    assert_true(says("\"memory_usage\":null"));
    for (int looks = 1; looks <= 3; looks++) {
        assert_int_equal(ask(&world, "GET", "/cache/status", ""), 200);
        assert_true(says("\"redis\":{\"status\":\"disabled\"}") &&
                    says("\"storage\":{\"kind\":\"fake\",\"status\":\"up\""));
        assert_int_equal((int)figure("total_measurements"), looks);
        assert_int_equal((int)figure("memory_cache_entry_count"), 1);
    }
    assert_int_equal(ask(&world, "GET", "/monitoring/memory", ""), 200); /* looks at them, and leaves none */
    assert_int_equal((int)figure("total_measurements"), 3);
    end(&world);
}

static void K25_also_when_storage_is_down(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 0);
    assert_int_equal(ask(&world, "PUT", "/cache/entries", PUT_BODY), 201);
    assert_int_equal(aic_cache_sync(world.cache), AIC_OK);
    atomic_store(&world.storage->down, true);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(&world, "POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"not there\"}"), 200);
    assert_int_equal(ask(&world, "GET", "/cache/status", ""), 200);
    assert_true(says("\"redis\":{\"status\":\"disabled\"}") &&
                says("\"storage\":{\"kind\":\"fake\",\"status\":\"down\""));
    assert_int_equal((int)figure("memory_cache_entries"), 1);
    assert_int_equal((int)figure("total_measurements"), 1);
    end(&world);
}

/* A second looks at the cache twice, before and after what it does about pressure; it tells of one look. */
static void a_second_counts_everything_once(void **state)
{
    (void)state;
    struct world world;
    struct overview_facts facts;
    struct figures now = {0};
    begin(&world, 0);
    assert_int_equal(ask(&world, "PUT", "/cache/entries", PUT_BODY), 201);
    assert_int_equal(ask(&world, "POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"one\"}"), 200);
    assert_int_equal(ask(&world, "POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"two\"}"), 200);
    assert_int_equal(aic_cache_sync(world.cache), AIC_OK);
    routes_tick(world.routes);
    overview_facts(&world.routes->overview, &facts);
    cache_figures(world.cache, &now);
    assert_int_equal(facts.stats.memory_entries, 1);
    assert_int_equal(facts.stats.memory_bytes, now.memory_bytes);
    assert_int_equal(facts.stats.puts, 1);
    assert_int_equal(facts.stats.hits_memory, 1);
    assert_int_equal(facts.stats.misses, 1);
    assert_int_equal(ask(&world, "GET", "/health", ""), 200);
    assert_int_equal((int)figure("cache_size"), 1);
    end(&world);
}

/* What is counted of those without a label is nobody's own, also where somebody is called as it is. */
static void a_namespace_called_other_sees_no_others(void **state)
{
    (void)state;
    struct world world = {0};
    uint8_t digests[2][32];
    assert_int_equal(digest_sha256("one", 3, digests[0]), AIC_OK);
    assert_int_equal(digest_sha256("two", 3, digests[1]), AIC_OK);
    const struct auth_key keys[] = {{"one", digests[0], "other", false}, {"two", digests[1], "root", true}};
    start_world(&world, 0, keys, COUNT_OF(keys));
    for (int i = 0; i < 2 * LABELS_SHOWN; i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"operation\":\"qa\",\"text\":\"one\",\"namespace\":\"n%d\"}", i);
        request(&world, "POST", "/cache/lookup", "two", body, &answer);
        assert_int_equal(answer.status, 200);
    }
    request(&world, "GET", "/metrics", "two", "", &answer);
    assert_true(says("namespace=\"other\"")); /* there is a rest */
    request(&world, "GET", "/metrics", "one", "", &answer);
    assert_int_equal(answer.status, 200);
    assert_false(says("namespace=\"other\""));
    end(&world);
}

/* What the process has worked, not what has passed: the machine is busy with others, too. */
static double worked(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void record_many(struct world *world, unsigned count)
{
    aic_view none = {0};
    for (unsigned i = 0; i < count; i++) {
        aic_monitor_key_generation(world->monitor, 1e-6 * i, i, AIC_LITERAL("qa"), none);
        aic_monitor_operation(world->monitor, AIC_LITERAL("get"), 1e-6 * i, i % 2 == 0, i, none);
        aic_monitor_compression(world->monitor, i, i / 2, 1e-6 * i, AIC_LITERAL("qa"));
        aic_monitor_memory(world->monitor, &(aic_memory_sample){.memory_bytes = i, .memory_entries = i}, none);
        aic_monitor_invalidation(world->monitor, AIC_LITERAL("p"), i, 1e-6 * i, none, none, none);
    }
}

static void N11_ten_thousand_operations(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 10000);
    record_many(&world, 10000);
    double began = worked();
    assert_int_equal(ask(&world, "GET", "/monitoring/cache-metrics", ""), 200);
    assert_true(worked() - began < 1);
    assert_int_equal((int)figure("total_cache_operations"), 10000);
    assert_int_equal((int)figure("cache_hits"), 5000);
    end(&world);
}

static void O16_storage_down_is_a_degraded_cache(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 0);
    atomic_store(&world.storage->down, true);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(ask(&world, "POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"not there\"}"), 200);
        routes_tick(world.routes); /* the checks look at its figures */
        assert_int_equal(ask(&world, "GET", "/health", ""), 200);
        if (says("Cache degraded")) break;
        usleep(100000);
    }
    assert_true(says("\"cache\":{\"status\":\"degraded\",\"details\":\"Cache degraded: storage is down"));
    assert_true(says("{\"status\":\"degraded\""));
    assert_int_equal(ask(&world, "GET", "/health/cache", ""), 200);
    end(&world);
}

/* What the monitor holds is counted where the cache's and the daemon's own is, as in the breakdown by owner. */
static void every_owner_is_accounted_for(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 1000);
    record_many(&world, 1000);
    assert_int_equal(ask(&world, "GET", "/metrics", ""), 200);
    static const char series[] = "\naicache_accounted_bytes{owner=\"monitor\"} ";
    const char *at = strstr(answer.text, series);
    assert_non_null(at);
    uint64_t monitors = mem_bytes(&world.monitor->mem, MEM_MONITOR), daemons = mem_bytes(&world.mem, MEM_MONITOR);
    assert_true(monitors > 0 && daemons > 0);
    assert_true(strtoull(at + strlen(series), NULL, 10) >= monitors + daemons);
    end(&world);
}

static void put_file(const char *root, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s%s", root, name);
    for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        mkdir(path, 0755);
        *at = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* The value of the advice on a setting in the last answer, 0 without it. */
static uint64_t advised(const char *setting)
{
    char words[96];
    snprintf(words, sizeof words, "{\"setting\":\"%s\",\"value\":", setting);
    const char *at = strstr(answer.text, words);
    return at != NULL ? strtoull(at + strlen(words), NULL, 10) : 0;
}

/* So many entries of 64 KB that no codec makes smaller than three quarters. */
static void fill_tier(struct world *world, unsigned count)
{
    static char body[70000];
    uint64_t seed = 1;
    for (unsigned entry = 0; entry < count; entry++) {
        int used = snprintf(body, sizeof body, "{\"operation\":\"qa\",\"text\":\"%u\",\"response\":\"", entry);
        for (unsigned i = 0; i < 65536; i++) {
            seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
            body[used++] = (char)('0' + (seed >> 33) % 43);
        }
        snprintf(body + used, sizeof body - (size_t)used, "\"}");
        assert_int_equal(ask(world, "PUT", "/cache/entries", body), 201);
    }
}

/* A machine and a group of ours, limited to 16 MiB. */
static void make_group(struct own_dir *dir)
{
    own_dir_make(dir);
    put_file(dir->path, "/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n");
    put_file(dir->path, "/proc/self/cgroup", "0::/a\n");
    put_file(dir->path, "/sys/fs/cgroup/a/memory.max", "16777216\n");
    put_file(dir->path, "/sys/fs/cgroup/a/memory.stat", "inactive_file 0\n");
}

/* With the advised size, and all else as it is, what is in use is just where a warning of 75 % is left. */
static void pressure_is_answered_with_a_size(void **state)
{
    (void)state;
    struct world world = {0};
    struct own_dir dir;
    const double mib = 1 << 20, limit = 16 * mib;
    make_group(&dir);
    put_file(dir.path, "/sys/fs/cgroup/a/memory.current", "12582912\n"); /* 12 MiB: 75 % */
    world.root = dir.path;
    start_world(&world, 8 << 20, NULL, 0);
    fill_tier(&world, 90);
    routes_tick(world.routes);
    assert_int_equal(ask(&world, "GET", "/monitoring/warnings", ""), 200);
    struct figures stats = {0};
    cache_figures(world.cache, &stats);
    assert_true(says("\"severity\":\"warning\",\"code\":\"memory_pressure\""));
    double size = .7 * limit - (12 * mib - (double)stats.memory_bytes);
    assert_true(size > 8 * mib / 5);
    assert_int_equal(advised("memory.max_bytes"), (uint64_t)(size / mib) << 20);
    assert_int_equal(advised("cgroup memory.max"), 0);
    assert_int_equal(advised("pressure.warning"), 0);

    put_file(dir.path, "/sys/fs/cgroup/a/memory.current", "16525557\n"); /* 98.5 %: more than the tier can give */
    routes_tick(world.routes);
    assert_int_equal(ask(&world, "GET", "/monitoring/warnings", ""), 200);
    stats = (struct figures){0};
    cache_figures(world.cache, &stats);
    assert_true(says("\"severity\":\"critical\",\"code\":\"memory_pressure\""));
    assert_int_equal(advised("memory.max_bytes"), 1 << 20);
    double needed = (16525557 - (double)stats.memory_bytes + 8 * mib / 5) / .7;
    assert_true((double)advised("cgroup memory.max") >= needed &&
                (double)advised("cgroup memory.max") < needed + mib + 1);
    end(&world);
    own_dir_remove(&dir);
}

/* Who sets the thresholds higher is neither warned nor woken below them. */
static void pressure_below_its_thresholds_is_no_trouble(void **state)
{
    (void)state;
    struct world world = {0};
    struct own_dir dir;
    make_group(&dir);
    put_file(dir.path, "/sys/fs/cgroup/a/memory.current", "13631488\n"); /* 13 MiB: 81 % */
    world.root = dir.path;
    world.warning_percent = 90;
    world.critical_percent = 99;
    start_world(&world, 8 << 20, NULL, 0);
    routes_tick(world.routes);
    assert_int_equal(ask(&world, "GET", "/monitoring/warnings", ""), 200);
    assert_false(says("memory_pressure"));
    assert_int_equal(ask(&world, "GET", "/monitoring/alerts", ""), 200);
    assert_true(says("\"active\":[]"));

    put_file(dir.path, "/sys/fs/cgroup/a/memory.current", "16273899\n"); /* 97 % */
    routes_tick(world.routes);
    assert_int_equal(ask(&world, "GET", "/monitoring/warnings", ""), 200);
    assert_true(says("\"severity\":\"warning\",\"code\":\"memory_pressure\""));
    assert_true(says("\"alert\":\"memory_pressure\""));
    end(&world);
    own_dir_remove(&dir);
}

/* Half of the machine is in use: with these thresholds that is critical, for all who tell of it. */
static void pressure_is_one_everywhere(void **state)
{
    (void)state;
    struct world world = {0};
    struct own_dir dir;
    own_dir_make(&dir);
    put_file(dir.path, "/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n");
    world.root = dir.path;
    world.warning_percent = 30;
    world.critical_percent = 40;
    start_world(&world, 0, NULL, 0);
    routes_tick(world.routes);
    assert_int_equal(ask(&world, "GET", "/monitoring/pressure", ""), 200);
    assert_true(says("\"current_state\":\"critical\""));
    assert_int_equal(ask(&world, "GET", "/monitoring/warnings", ""), 200);
    assert_true(says(
        "\"severity\":\"critical\",\"code\":\"memory_pressure\",\"message\":\"Memory pressure is critical: 50.0%"));
    assert_true(says("pressure.warning 30, pressure.critical 40"));
    assert_true(says("{\"setting\":\"pressure.warning\",\"value\":75,"));
    assert_true(says("{\"setting\":\"pressure.critical\",\"value\":90,"));
    assert_int_equal(advised("memory.max_bytes"), 51 << 20); /* a fifth: the machine's others are too much alone */
    for (int i = 0; i < 300; i++) {                          /* the check looks when it is due */
        routes_tick(world.routes);
        assert_int_equal(ask(&world, "GET", "/health", ""), 200);
        assert_true(says("\"pressure\":\"critical\""));
        if (says("\"memory\":{\"status\":\"degraded\"")) break;
        usleep(100000);
    }
    assert_true(says("\"memory\":{\"status\":\"degraded\""));
    end(&world);
    own_dir_remove(&dir);
}

/* A directory in which a machine has memory enough, whatever the real one's. */
static void calm(struct world *world, struct own_dir *dir)
{
    own_dir_make(dir);
    put_file(dir->path, "/proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 12582912 kB\n");
    world->root = dir->path;
}

/* Checks run when they do. */
static void wait_for_health(struct world *world, const char *words)
{
    for (int i = 0; i < 600; i++) {
        routes_tick(world->routes);
        assert_int_equal(ask(world, "GET", "/health", ""), 200);
        if (says(words)) return;
        usleep(100000);
    }
    fail_msg("%.3000s lacks %s", answer.text, words);
}

static void a_full_tier_is_no_trouble(void **state)
{
    (void)state;
    struct world world = {0};
    struct own_dir dir;
    calm(&world, &dir);
    begin_with(&world, (aic_monitor_options){.memory_warning_bytes = (1 << 20) + 1, .memory_critical_bytes = 2 << 20},
               1 << 20);
    fill_tier(&world, 60);
    for (int i = 0; i < 3; i++) routes_tick(world.routes);
    struct figures stats = {0};
    cache_figures(world.cache, &stats);
    assert_true(stats.evicted_capacity > 0);
    assert_int_equal(ask(&world, "GET", "/monitoring/warnings", ""), 200);
    assert_false(says("\"severity\":\"warning\"") || says("\"severity\":\"critical\""));
    assert_int_equal(ask(&world, "GET", "/monitoring/alerts", ""), 200);
    assert_true(says("\"active\":[]"));
    wait_for_health(&world, "{\"status\":\"healthy\"");
    assert_int_equal(ask(&world, "GET", "/cache/status", ""), 200);
    assert_true(says("\"memory_pressure\":false"));
    end(&world);
    own_dir_remove(&dir);
}

/* Warnings, alerts and health are three views of one verdict. */
static void one_verdict_in_three_views(void **state)
{
    (void)state;
    struct world world = {0};
    struct own_dir dir;
    calm(&world, &dir);
    begin_with(&world, (aic_monitor_options){.memory_warning_bytes = 1, .memory_critical_bytes = 2}, 0);
    assert_int_equal(ask(&world, "PUT", "/cache/entries", PUT_BODY), 201);
    routes_tick(world.routes);
    assert_int_equal(ask(&world, "GET", "/monitoring/warnings", ""), 200);
    assert_true(says("{\"severity\":\"critical\",\"code\":\"memory_critical\""));
    assert_true(says("\"alert\":\"memory_threshold\""));
    assert_false(says("\"setting\":\"memory.warning_bytes\"") || says("\"setting\":\"memory.critical_bytes\""));
    assert_int_equal(ask(&world, "GET", "/monitoring/alerts", ""), 200);
    assert_true(says("\"active\":[{\"id\":\"memory_threshold\",\"severity\":\"critical\""));
    wait_for_health(&world, "{\"status\":\"degraded\"");
    assert_true(says("1 critical warning\""));
    monitor_set_memory_thresholds(world.monitor, 1 << 20, 2 << 20);
    wait_for_health(&world, "{\"status\":\"healthy\"");
    assert_int_equal(ask(&world, "GET", "/monitoring/alerts", ""), 200);
    assert_true(says("\"active\":[]"));
    end(&world);
    own_dir_remove(&dir);
}

/* An alert that nothing else speaks of is a warning with advice. */
static void what_is_an_alert_is_a_warning(void **state)
{
    (void)state;
    struct world world = {0};
    struct own_dir dir;
    calm(&world, &dir);
    begin_with(&world, (aic_monitor_options){0}, 0);
    static const char *const ids[] = {"low_hit_rate", "down:redis", "down:storage"};
    static const struct alert_key keys[] = {
        {ALERT_OF_HIT_RATE, NULL}, {ALERT_OF_DOWN, "redis"}, {ALERT_OF_DOWN, "storage"}};
    struct overview *overview = &world.routes->overview;
    struct overview_facts facts;
    struct verdict verdict = {0};
    struct json_writer writer;
    struct buf text;
    for (unsigned i = 0; i < COUNT_OF(ids); i++)
        assert_true(alerts_trigger(overview->alerts, keys[i], ALERT_HIGH, 0, "so it is"));
    overview_facts(overview, &facts);
    warnings_mark_alerts(overview, &facts, &verdict);
    buf_init(&text, &world.mem, MEM_OTHER);
    json_writer_init(&writer, &text);
    verdict_write(&verdict, &writer);
    assert_int_equal(buf_status(&text), AIC_OK);
    snprintf(answer.text, sizeof answer.text, "%.*s", (int)text.size, text.data);
    buf_fini(&text);
    for (unsigned i = 0; i < COUNT_OF(ids); i++) {
        char words[128];
        snprintf(words, sizeof words, "{\"severity\":\"warning\",\"code\":\"%s\",\"message\":\"so it is\"", ids[i]);
        assert_true(says(words));
        snprintf(words, sizeof words, "\"alert\":\"%s\"", ids[i]);
        assert_true(says(words));
    }
    assert_false(says("\"recommendations\":[]"));
    assert_true(says("\"setting\":\"health\",\"value\":\"aicache health\""));
    assert_null(strstr(strstr(answer.text, "\"data_dir\"") + 1, "\"data_dir\"")); /* helps storage alone */
    end(&world);
    own_dir_remove(&dir);
}

/* What the memo would not keep is neither hashed for it nor counted by it. */
static void test_a_long_body_is_no_miss_of_the_memo(void **state)
{
    (void)state;
    struct world world = {0};
    start_world(&world, 8 << 20, NULL, 0);
    char body[MEMO_MAX_BODY + 1000];
    snprintf(body, sizeof body, "{\"operation\":\"qa\",\"text\":\"%0*d\"}", MEMO_MAX_BODY, 1);
    for (int i = 0; i < 2; i++) assert_int_equal(ask(&world, "POST", "/cache/lookup", body), 200);
    assert_int_equal(ask(&world, "GET", "/metrics", ""), 200);
    assert_true(says("\naicache_request_memo_misses_total 0\n"));
    assert_int_equal(ask(&world, "POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"short\"}"), 200);
    assert_int_equal(ask(&world, "GET", "/metrics", ""), 200);
    assert_true(says("\naicache_request_memo_misses_total 1\n"));
    stop_server(&world);
    stop_cache(&world);
}

static void test_nothing_of_a_request_is_kept(void **state)
{
    (void)state;
    struct world world = {.forgets = true};
    start_world(&world, 8 << 20, NULL, 0);
    assert_int_equal(ask(&world, "PUT", "/cache/entries", "{\"operation\":\"qa\",\"text\":\"t\",\"response\":1}"), 201);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&world, "POST", "/cache/lookup", "{\"operation\":\"qa\",\"text\":\"t\"}"), 200);
        assert_true(says("\"hit\":true"));
    }
    assert_int_equal(ask(&world, "GET", "/metrics", ""), 200);
    assert_true(says("\naicache_request_memo_hits_total 0\n"));
    assert_true(says("\naicache_request_memo_misses_total 0\n"));
    stop_server(&world);
    stop_cache(&world);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_long_body_is_no_miss_of_the_memo),
        cmocka_unit_test(test_nothing_of_a_request_is_kept),
        cmocka_unit_test(K25_a_look_leaves_one_snapshot),
        cmocka_unit_test(K25_also_when_storage_is_down),
        cmocka_unit_test(a_second_counts_everything_once),
        cmocka_unit_test(a_namespace_called_other_sees_no_others),
        cmocka_unit_test(N11_ten_thousand_operations),
        cmocka_unit_test(O16_storage_down_is_a_degraded_cache),
        cmocka_unit_test(pressure_is_answered_with_a_size),
        cmocka_unit_test(pressure_is_one_everywhere),
        cmocka_unit_test(pressure_below_its_thresholds_is_no_trouble),
        cmocka_unit_test(every_owner_is_accounted_for),
        cmocka_unit_test(a_full_tier_is_no_trouble),
        cmocka_unit_test(one_verdict_in_three_views),
        cmocka_unit_test(what_is_an_alert_is_a_warning),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
