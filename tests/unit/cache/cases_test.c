/* The conformance cases of the response cache (tiers of text sizes, memory tier, time to live, two tiers,
 * compression), by their ids; invalidation has a file of its own. */
#include "fake_tier.h"

#include "store/store.h"

#include <aicache/monitor.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void B01_text_tiers(void **state)
{
    (void)state;
    static const struct {
        uint64_t length;
        const char *tier;
    } rows[] = {{0, "small"},     {1, "small"},      {100, "small"},    {499, "small"},
                {500, "medium"},  {4999, "medium"},  {5000, "large"},   {25000, "large"},
                {49999, "large"}, {50000, "xlarge"}, {100000, "xlarge"}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) assert_string_equal(aic_text_tier(rows[i].length), rows[i].tier);
}

static void B11_sizes_are_different_keys(void **state)
{
    struct bench_cache *table = *state;
    aic_key keys[3];
    static const size_t sizes[] = {100, 1000, 60000};
    for (size_t i = 0; i < 3; i++) {
        char *text = malloc(sizes[i]);
        memset(text, 'x', sizes[i]);
        aic_request request = {.operation = AIC_LITERAL("summarize"), .text = {text, sizes[i]}};
        assert_int_equal(aic_cache_key(table->cache, &request, &keys[i], NULL), AIC_OK);
        free(text);
    }
    assert_memory_not_equal(&keys[0], &keys[1], sizeof keys[0]);
    assert_memory_not_equal(&keys[1], &keys[2], sizeof keys[0]);
    assert_memory_not_equal(&keys[0], &keys[2], sizeof keys[0]);
}

static void C01_D04_empty(void **state)
{
    struct bench_cache *table = *state;
    aic_cache_close(&table->cache);
    table->options.memory_max_entries = 100;
    table_open(table);
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.memory_entries, 0);
    assert_int_equal(stats.memory_max_entries, 100);
    assert_int_equal(stats.hits_memory + stats.hits_storage + stats.misses, 0);
    assert_int_equal(stats.evicted_capacity, 0);
}

static void C07_no_room_at_all(void **state)
{
    struct bench_cache *table = *state;
    aic_cache_close(&table->cache);
    table->options.memory_max_bytes = AIC_ZERO;
    table_open(table);
    aic_put put = put_of("qa", "text", "1");
    aic_put_result result = {.tiers = 7};
    assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_NOT_STORED);
    assert_int_equal(result.tiers, 0);
    assert_int_equal(look(table->cache, "qa", "text", NULL), '-');
    assert_int_equal(stats_of(table->cache).memory_entries, 0);
}

/* A tier that was opened without room and is given some while it runs. */
static void room_that_comes_later(void **state)
{
    struct bench_cache *table = *state;
    aic_cache_close(&table->cache);
    table->options.memory_max_bytes = AIC_ZERO;
    table_open(table);
    assert_int_equal(store_resize(cache_store(table->cache), 1 << 20, 0), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "text", "1"), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "text", "1"), 'm');
}

static void C13_odd_values(void **state)
{
    struct bench_cache *table = *state;
    assert_int_equal(put_text(table->cache, "qa", "", "{}"), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "n", "null"), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "", "{}"), 'm');
    assert_int_equal(look(table->cache, "qa", "n", "null"), 'm');
    aic_request with = request_of("qa", "q"), without = with;
    with.question = AIC_LITERAL("");
    aic_put put = {.request = with, .response = AIC_LITERAL("1")};
    assert_int_equal(aic_cache_put(table->cache, &put, NULL, NULL), AIC_OK);
    assert_int_equal(look_for(table->cache, &with, "1"), 'm');
    assert_int_equal(look_for(table->cache, &without, NULL), '-');
}

static void C14_D14_entries_and_limit(void **state)
{
    struct bench_cache *table = *state;
    aic_cache_close(&table->cache);
    table->options.memory_max_entries = 100;
    table_open(table);
    assert_int_equal(put_text(table->cache, "qa", "a", "1"), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "b", "2"), AIC_OK);
    assert_int_equal(stats_of(table->cache).memory_entries, 2);
    assert_int_equal(put_text(table->cache, "qa", "a", "3"), AIC_OK);
    assert_int_equal(stats_of(table->cache).memory_entries, 2);
    for (int i = 0; i < 1000; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        assert_true(put_text(table->cache, "qa", text, "1") >= 0);
        assert_true(stats_of(table->cache).memory_entries <= 100);
    }
}

static void D05_D07_D08_D25_time(void **state)
{
    struct bench_cache *table = *state;
    aic_put put = put_of("other", "sixty", "60");
    put.ttl_given = true;
    put.ttl_seconds = 60;
    assert_int_equal(aic_cache_put(table->cache, &put, NULL, NULL), AIC_OK);
    assert_int_equal(put_text(table->cache, "other", "default", "1"), AIC_OK);
    put = put_of("other", "never", "0");
    put.ttl_given = true;
    aic_put_result result;
    assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
    assert_int_equal(result.expires_ms, 0);
    assert_int_equal(look(table->cache, "other", "sixty", "60"), 'm');
    hand_turn(&table->hand, 59);
    assert_int_equal(look(table->cache, "other", "sixty", "60"), 'm');
    hand_turn(&table->hand, 2);
    assert_int_equal(look(table->cache, "other", "sixty", NULL), '-');
    hand_turn(&table->hand, 3600 - 61 - 1);
    assert_int_equal(look(table->cache, "other", "default", "1"), 'm');
    hand_turn(&table->hand, 2);
    assert_int_equal(look(table->cache, "other", "default", NULL), '-');
    hand_turn(&table->hand, UINT64_C(50) * 365 * 86400);
    assert_int_equal(look(table->cache, "other", "never", "0"), 'm');
}

/* The memory tier's own dates end in 2109; what lives longer is whole all the same. */
static void the_longest_time(void **state)
{
    struct bench_cache *table = *state;
    aic_put put = put_of("qa", "text", "1");
    put.ttl_given = true;
    put.ttl_seconds = AIC_MAX_TTL_SECONDS;
    aic_put_result result;
    assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
    for (int pass = 0; pass < 2; pass++) {
        aic_error error;
        if (aic_cache_verify(table->cache, &error) != AIC_OK) fail_msg("%s", error.message);
        aic_hit *hit;
        assert_int_equal(aic_cache_lookup(table->cache, &put.request, NULL, &hit, NULL), AIC_OK);
        assert_int_equal(aic_hit_metadata(hit)->expires_ms, result.expires_ms);
        aic_hit_release(&hit);
        if (pass == 0 && table->options.data_dir != NULL) forget_memory(table->cache);
    }
}

static void D17_D19_counting(void **state)
{
    struct bench_cache *table = *state;
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "x", "1"), 'm');
    struct figures stats = stats_of(table->cache);
    assert_int_equal(stats.hits_memory, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.puts, 1);
    assert_int_equal(look(table->cache, "qa", "x", "1"), 'm');
    stats = stats_of(table->cache);
    assert_true(stats.hits_memory == 2 * stats.misses); /* 66.67 % */
}

static void D22_remaining(void **state)
{
    struct bench_cache *table = *state;
    aic_put put = put_of("qa", "x", "1");
    put.ttl_given = true;
    put.ttl_seconds = 60;
    assert_int_equal(aic_cache_put(table->cache, &put, NULL, NULL), AIC_OK);
    aic_request request = request_of("qa", "x");
    aic_hit *hit;
    assert_int_equal(aic_cache_lookup(table->cache, &request, NULL, &hit, NULL), AIC_OK);
    const aic_metadata *metadata = aic_hit_metadata(hit);
    assert_int_equal(metadata->expires_ms - metadata->created_ms, 60000);
    aic_hit_release(&hit);
}

static void D23_bytes_grow(void **state)
{
    struct bench_cache *table = *state;
    assert_int_equal(put_text(table->cache, "qa", "x", "\"a\""), AIC_OK);
    uint64_t before = stats_of(table->cache).memory_bytes;
    char *response = make_response(900, 1);
    assert_int_equal(put_text(table->cache, "qa", "y", response), AIC_OK);
    free(response);
    assert_true(stats_of(table->cache).memory_bytes > before);
}

static void E01_ttls(void **state)
{
    struct bench_cache *table = *state;
    static const struct {
        const char *operation;
        uint64_t ttl;
    } rows[] = {{"summarize", 7200}, {"sentiment", 86400}, {"key_points", 7200},
                {"questions", 3600}, {"qa", 1800},         {"unknown", 3600}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        aic_put put = put_of(rows[i].operation, "x", "1");
        aic_put_result result;
        assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
        assert_int_equal(result.expires_ms, atomic_load(&table->hand.wall_ms) + rows[i].ttl * 1000);
        assert_int_equal(result.tiers, AIC_IN_MEMORY | AIC_IN_STORAGE);
    }
}

static void E02_E04_metadata(void **state)
{
    struct bench_cache *table = *state;
    char *response = make_response(5000, 2);
    aic_view tags[] = {AIC_LITERAL("one"), AIC_LITERAL("zwei ü")};
    aic_put put = put_of("summarize", "Grüße", response);
    put.tags = tags;
    put.tag_count = 2;
    put.request.model = AIC_LITERAL("gpt-4");
    put.prompt_tokens = 10;
    put.completion_tokens = 20;
    put.cost_usd = 0.5;
    aic_put_result result;
    assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
    assert_true(result.compressed && result.stored_bytes < result.size_bytes && result.size_bytes == 5000);
    for (int pass = 0; pass < 2; pass++) {
        aic_request request = put.request;
        aic_hit *hit;
        aic_view got;
        assert_int_equal(aic_cache_lookup(table->cache, &request, NULL, &hit, NULL), AIC_OK);
        assert_int_equal(aic_hit_tier(hit), pass == 0 ? AIC_IN_MEMORY : AIC_IN_STORAGE);
        assert_int_equal(aic_hit_response(hit, &got), AIC_OK);
        assert_int_equal(got.size, 5000);
        assert_memory_equal(got.data, response, 5000);
        const aic_metadata *metadata = aic_hit_metadata(hit);
        assert_int_equal(metadata->text_length, 5);
        assert_int_equal(metadata->size_bytes, 5000);
        assert_int_equal(metadata->stored_bytes, result.stored_bytes);
        assert_true(metadata->compressed);
        assert_int_equal(metadata->tag_count, 2);
        assert_memory_equal(metadata->tags[1].data, "zwei ü", 7);
        assert_memory_equal(metadata->model.data, "gpt-4", 5);
        assert_int_equal(metadata->created_ms, atomic_load(&table->hand.wall_ms));
        assert_true(metadata->prompt_tokens == 10 && metadata->completion_tokens == 20 && metadata->cost_usd == 0.5);
        assert_memory_equal(&metadata->key, &result.key, sizeof result.key);
        aic_hit_release(&hit);
        forget_memory(table->cache);
    }
    free(response);
}

static void E05_E10_E11_E13_E14_storage_down(void **state)
{
    struct bench_cache *table = *state;
    aic_cache_close(&table->cache);
    aic_monitor *monitor;
    assert_int_equal(aic_monitor_open(&(aic_monitor_options){.clock = &table->hand.clock}, &monitor, NULL), AIC_OK);
    table->options.monitor = monitor;
    struct fake_tier *fake = table_open_fake(table);
    assert_int_equal(look(table->cache, "qa", "unknown", NULL), '-');
    atomic_store(&fake->down, true);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "x", "1"), 'm');
    for (int i = 0; i < 20; i++) assert_int_equal(look(table->cache, "qa", "y", NULL), '-');
    /* The breaker is open by now; nothing waits any more, and the monitor hears why. */
    for (int i = 0; i < 60000 && stats_of(table->cache).storage_up; i++) {
        assert_int_equal(look(table->cache, "qa", "z", NULL), '-');
        usleep(1000);
    }
    assert_false(stats_of(table->cache).storage_up);
    assert_int_equal(put_text(table->cache, "qa", "w", "1"), AIC_OK);
    aic_report *report;
    assert_int_equal(aic_monitor_export(monitor, &report), AIC_OK);
    aic_view json = aic_report_json(report);
    assert_non_null(memmem(json.data, json.size, "fake_connection_failed", 22));
    assert_non_null(memmem(json.data, json.size, "\"failed\"", 8));
    aic_report_release(&report);
    assert_true(stats_of(table->cache).storage_errors > 0);
    for (int i = 0; i < 60000 && stats_of(table->cache).storage_reads_up; i++) {
        assert_int_equal(look(table->cache, "qa", "z", NULL), '-');
        usleep(1000);
    }
    double skipped, after;
    assert_int_equal(aic_cache_figure(table->cache, "storage.skipped", &skipped), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "z", NULL), '-');
    assert_int_equal(aic_cache_figure(table->cache, "storage.skipped", &after), AIC_OK);
    assert_true(after == skipped + 1);
    aic_cache_close(&table->cache);
    aic_monitor_close(&monitor);
    table->options.monitor = NULL;
}

/* Where a put is while storage takes no writes: in memory, or in the queue alone. */
static void a_put_names_storage_while_it_takes_writes(void **state)
{
    struct bench_cache *table = *state;
    for (int memory = 1; memory >= 0; memory--) {
        aic_cache_close(&table->cache);
        if (memory == 0) table->options.memory_max_bytes = AIC_ZERO;
        struct fake_tier *fake = table_open_fake(table);
        aic_put put = put_of("qa", "x", "1");
        aic_put_result result;
        struct gate_stats gate;
        unsigned kept = memory ? AIC_IN_MEMORY : 0;
        assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
        assert_int_equal(result.tiers, kept | AIC_IN_STORAGE);
        atomic_store(&fake->down, true);
        do {
            assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
            hand_turn(&table->hand, 1); /* past the gate's pauses between tries */
            usleep(1000);
            gate_stats(cache_gate(table->cache), &gate);
        } while (gate.writes_down_ms == 0);
        assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
        assert_int_equal(result.tiers, memory ? AIC_IN_MEMORY : AIC_IN_STORAGE);
    }
}

static void E19_E20_delete(void **state)
{
    struct bench_cache *table = *state;
    aic_key key;
    aic_request request = request_of("qa", "x");
    assert_int_equal(aic_cache_key(table->cache, &request, &key, NULL), AIC_OK);
    assert_int_equal(aic_cache_delete(table->cache, AIC_LITERAL(""), &key), AIC_MISS);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    assert_int_equal(aic_cache_delete(table->cache, AIC_LITERAL("other"), &key), AIC_MISS);
    assert_int_equal(look(table->cache, "qa", "x", "1"), 'm');
    assert_int_equal(aic_cache_delete(table->cache, AIC_LITERAL("default"), &key), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    forget_memory(table->cache);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    assert_int_equal(aic_cache_delete(table->cache, AIC_LITERAL("default"), &key), AIC_MISS);
    /* Only in storage. */
    assert_int_equal(put_text(table->cache, "qa", "x", "2"), AIC_OK);
    forget_memory(table->cache);
    assert_int_equal(aic_cache_delete(table->cache, AIC_LITERAL("default"), &key), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
}

struct asked {
    aic_cache *cache;
    unsigned times;
    uint64_t meant; /* bytes of the response that may go */
    bool write;     /* another one, while the first answer is thought about */
};

static bool is_meant(void *context, const struct record *record)
{
    struct asked *asked = context;
    bool meant = record->plain_bytes == asked->meant;
    if (asked->times++ == 0 && asked->write) assert_int_equal(put_text(asked->cache, "qa", "x", "\"newer\""), AIC_OK);
    return meant;
}

static void only_what_is_meant_is_removed(void **state)
{
    struct bench_cache *table = *state;
    aic_key key;
    aic_request request = request_of("qa", "x");
    const aic_view ns = AIC_LITERAL("default");
    assert_int_equal(aic_cache_key(table->cache, &request, &key, NULL), AIC_OK);
    assert_int_equal(put_text(table->cache, "qa", "x", "1"), AIC_OK);
    for (int from_storage = 0; from_storage < 2; from_storage++) {
        struct asked other = {.cache = table->cache, .meant = 3};
        if (from_storage) forget_memory(table->cache);
        assert_int_equal(cache_hide_if(table->cache, ns, &key, is_meant, &other), AIC_STALE);
        assert_int_equal(look(table->cache, "qa", "x", "1"), from_storage ? 's' : 'm');
    }
    struct asked raced = {.cache = table->cache, .meant = 1, .write = true};
    assert_int_equal(cache_hide_if(table->cache, ns, &key, is_meant, &raced), AIC_STALE);
    assert_int_equal(raced.times, 2);
    assert_int_equal(look(table->cache, "qa", "x", "\"newer\""), 'm');
    struct asked newer = {.cache = table->cache, .meant = 7};
    assert_int_equal(cache_hide_if(table->cache, ns, &key, is_meant, &newer), AIC_OK);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
    assert_int_equal(cache_hide_if(table->cache, ns, &key, is_meant, &newer), AIC_MISS);
}

static void E_promotion_keeps_the_remaining_time(void **state)
{
    struct bench_cache *table = *state;
    aic_put put = put_of("qa", "x", "1");
    put.ttl_given = true;
    put.ttl_seconds = 100;
    assert_int_equal(aic_cache_put(table->cache, &put, NULL, NULL), AIC_OK);
    forget_memory(table->cache);
    hand_turn(&table->hand, 60);
    assert_int_equal(look(table->cache, "qa", "x", "1"), 's');
    assert_int_equal(look(table->cache, "qa", "x", "1"), 'm');
    assert_int_equal(stats_of(table->cache).promoted, 1);
    hand_turn(&table->hand, 39);
    assert_int_equal(look(table->cache, "qa", "x", "1"), 'm');
    hand_turn(&table->hand, 1);
    assert_int_equal(look(table->cache, "qa", "x", NULL), '-');
}

static void E25_every_kind_of_value(void **state)
{
    struct bench_cache *table = *state;
    char *large = make_response(5000, 3), *huge = make_response(1000000, 4);
    const char *values[] = {"null",
                            "true",
                            "1.50",
                            "-0",
                            "\"\\u0041\\n\"",
                            "[1, 2 ,[ ]]",
                            " {\"a\" : {\"b\":[]}}",
                            "\"Ünïcode 测试 🙂\"",
                            large,
                            huge};
    for (int pass = 0; pass < 3; pass++) {
        for (size_t i = 0; i < COUNT_OF(values); i++) {
            char text[8];
            snprintf(text, sizeof text, "%zu", i);
            if (pass == 0) assert_int_equal(put_text(table->cache, "qa", text, values[i]), AIC_OK);
            else assert_int_equal(look(table->cache, "qa", text, values[i]), pass == 1 ? 'm' : 's');
        }
        if (pass == 1) forget_memory(table->cache);
    }
    free(large);
    free(huge);
}

static void E26_restart(void **state)
{
    struct bench_cache *table = *state;
    assert_int_equal(put_text(table->cache, "qa", "x", "\"kept\""), AIC_OK);
    aic_cache_close(&table->cache);
    table_open(table);
    assert_int_equal(look(table->cache, "qa", "x", "\"kept\""), 's');
    assert_int_equal(look(table->cache, "qa", "x", "\"kept\""), 'm');
    aic_cache *second = NULL;
    aic_error error;
    assert_int_equal(aic_cache_open(&table->options, &second, &error), AIC_LOCKED);
    assert_null(second);
    assert_true(strlen(error.message) > 0);
}

static void F13_F14_compression_is_measured(void **state)
{
    struct bench_cache *table = *state;
    aic_cache_close(&table->cache);
    aic_monitor *monitor;
    assert_int_equal(aic_monitor_open(NULL, &monitor, NULL), AIC_OK);
    table->options.monitor = monitor;
    table_open(table);
    for (int large = 0; large < 2; large++) {
        char *response = make_response(large ? 5000 : 1000, 5); /* 1000 is not more than 1000 */
        aic_put put = put_of("summarize", "x", response);
        aic_put_result result;
        assert_int_equal(aic_cache_put(table->cache, &put, &result, NULL), AIC_OK);
        assert_int_equal(result.compressed, large);
        free(response);
        aic_report *report;
        assert_int_equal(aic_monitor_statistics(monitor, &report), AIC_OK);
        aic_view json = aic_report_json(report);
        bool some = memmem(json.data, json.size, "avg_compression_ratio", 21) != NULL;
        assert_int_equal(some, large);
        aic_report_release(&report);
    }
    aic_cache_close(&table->cache);
    aic_monitor_close(&monitor);
}

static void refusals_name_the_field(void **state)
{
    struct bench_cache *table = *state;
    static char long_name[130];
    memset(long_name, 'n', 129);
    aic_view twice[] = {AIC_LITERAL("a"), AIC_LITERAL("b"), AIC_LITERAL("a")};
    aic_view many[33], bad_tag[] = {AIC_LITERAL("a"), AIC_LITERAL("b"), AIC_LITERAL("c"), AIC_LITERAL("d\n")};
    for (size_t i = 0; i < 33; i++) many[i] = AIC_LITERAL("t");
    aic_put good = put_of("qa", "x", "1");
    struct {
        const char *field;
        aic_put put;
    } rows[24];
    size_t n = 0;
#define ROW(name, change)                                                                                              \
    do {                                                                                                               \
        aic_put put = good;                                                                                            \
        change;                                                                                                        \
        rows[n].field = name;                                                                                          \
        rows[n++].put = put;                                                                                           \
    } while (0)
    ROW("operation", put.request.operation = AIC_LITERAL(""));
    ROW("operation", put.request.operation = aic_view_of(long_name));
    ROW("operation", put.request.operation = AIC_LITERAL("a\tb"));
    ROW("namespace", put.request.ns = AIC_LITERAL("\xC3"));
    ROW("text", put.request.text = ((aic_view){NULL, 0}));
    ROW("text", put.request.text = AIC_LITERAL("\xED\xA0\x80"));
    ROW("question", put.request.question = AIC_LITERAL("\xFF"));
    ROW("options", put.request.options = AIC_LITERAL("[1]"));
    ROW("options.a", put.request.options = AIC_LITERAL("{\"a\":1,\"a\":2}"));
    ROW("response[1].b.c", put.response = AIC_LITERAL("[0,{\"b\":{\"c\":1,\"c\":2}}]"));
    ROW("response", put.response = AIC_LITERAL(""));
    ROW("response", put.response = AIC_LITERAL("{\"a\":}"));
    ROW("tags", (put.tags = many, put.tag_count = 33));
    ROW("tags[3]", (put.tags = bad_tag, put.tag_count = 4));
    ROW("tags[2]", (put.tags = twice, put.tag_count = 3));
    ROW("model", put.request.model = AIC_LITERAL("m\x7F"));
    ROW("prompt_tokens", put.prompt_tokens = AIC_MAX_TOKENS + 1);
    ROW("completion_tokens", put.completion_tokens = UINT64_MAX);
    ROW("cost_usd", put.cost_usd = 1.1e9);
    ROW("ttl", (put.ttl_given = true, put.ttl_seconds = AIC_MAX_TTL_SECONDS + 1));
    ROW("cost_usd", put.cost_usd = -1);
    for (size_t i = 0; i < n; i++) {
        aic_error error;
        assert_int_equal(aic_cache_put(table->cache, &rows[i].put, NULL, &error), AIC_INVALID);
        assert_string_equal(error.field, rows[i].field);
        assert_true(strlen(error.message) > 5);
    }
    aic_put put = good;
    put.request.options = AIC_LITERAL("{\"temperature\":1e99999999999999999999}");
    aic_error error;
    assert_int_equal(aic_cache_put(table->cache, &put, NULL, &error), AIC_INVALID);
    assert_string_equal(error.field, "options.temperature");
    assert_int_equal(stats_of(table->cache).memory_entries, 0);
}

static void namespaces_are_walls(void **state)
{
    struct bench_cache *table = *state;
    aic_put put = put_of("qa", "x", "1");
    put.request.ns = AIC_LITERAL("a");
    aic_put_result a, b;
    assert_int_equal(aic_cache_put(table->cache, &put, &a, NULL), AIC_OK);
    put.request.ns = AIC_LITERAL("b");
    assert_int_equal(aic_cache_put(table->cache, &put, &b, NULL), AIC_OK);
    assert_memory_not_equal(&a.key, &b.key, sizeof a.key);
    aic_hit *hit;
    for (int pass = 0; pass < 2; pass++) {
        assert_int_equal(aic_cache_get(table->cache, AIC_LITERAL("b"), &a.key, &hit), AIC_MISS);
        assert_int_equal(aic_cache_get(table->cache, AIC_LITERAL("a"), &a.key, &hit), AIC_OK);
        aic_hit_release(&hit);
        forget_memory(table->cache);
    }
    aic_filter filter = {.ns = AIC_LITERAL("a")};
    aic_page *page;
    assert_int_equal(aic_cache_list(table->cache, &filter, 10, (aic_view){NULL, 0}, &page, NULL), AIC_OK);
    assert_int_equal(aic_page_count(page), 1);
    aic_page_release(&page);
    assert_int_equal(aic_cache_invalidate(table->cache, &filter, false, NULL, NULL), AIC_OK);
    assert_int_equal(aic_cache_get(table->cache, AIC_LITERAL("b"), &b.key, &hit), AIC_OK);
    aic_hit_release(&hit);
}

#define IN_MEMORY(name) cmocka_unit_test_setup_teardown(name, table_setup_memory, table_teardown)
#define IN_BOTH(name) cmocka_unit_test_setup_teardown(name, table_setup_storage, table_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(B01_text_tiers),
        IN_MEMORY(B11_sizes_are_different_keys),
        IN_MEMORY(C01_D04_empty),
        IN_MEMORY(C07_no_room_at_all),
        IN_MEMORY(room_that_comes_later),
        IN_MEMORY(C13_odd_values),
        IN_MEMORY(C14_D14_entries_and_limit),
        IN_MEMORY(D05_D07_D08_D25_time),
        IN_BOTH(D05_D07_D08_D25_time),
        IN_MEMORY(the_longest_time),
        IN_BOTH(the_longest_time),
        IN_MEMORY(D17_D19_counting),
        IN_BOTH(D17_D19_counting),
        IN_BOTH(D22_remaining),
        IN_MEMORY(D23_bytes_grow),
        IN_BOTH(E01_ttls),
        IN_BOTH(E02_E04_metadata),
        IN_MEMORY(E05_E10_E11_E13_E14_storage_down),
        IN_MEMORY(a_put_names_storage_while_it_takes_writes),
        IN_BOTH(E19_E20_delete),
        IN_BOTH(only_what_is_meant_is_removed),
        IN_BOTH(E_promotion_keeps_the_remaining_time),
        IN_BOTH(E25_every_kind_of_value),
        IN_BOTH(E26_restart),
        IN_BOTH(F13_F14_compression_is_measured),
        IN_MEMORY(refusals_name_the_field),
        IN_BOTH(namespaces_are_walls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
