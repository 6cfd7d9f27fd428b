/*
 * stats.c - what the daemon measures, as tables: stats, health, memory, warnings, slow.
 */
#include "cli/commands.h"

#include "base/check.h"
#include "base/figures.h"
#include "base/plural.h"

#include <stdarg.h>
#include <string.h>

static void row(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void row(const char *name, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("  %-22s ", name);
    vprintf(format, arguments);
    putchar('\n');
    va_end(arguments);
}

static void row_bytes(json_object *root, const char *name, const char *bytes_path, const char *limit_path)
{
    char bytes[PRINT_BYTES], limit[PRINT_BYTES];
    uint64_t used = json_u64_at(root, bytes_path), most = json_u64_at(root, limit_path);
    print_size(bytes, used);
    if (most > 0) row(name, "%s of %s (%.1f %%)", bytes, print_size(limit, most), 100.0 * (double)used / (double)most);
    else row(name, "%s", bytes);
}

static unsigned long long whole(json_object *root, const char *path)
{
    return (unsigned long long)json_u64_at(root, path);
}

static void print_memory_tier(json_object *root)
{
    printf("memory tier\n");
    row("entries", "%llu", whole(root, "memory.memory_cache_entries"));
    row_bytes(root, "bytes", "memory.bytes", "memory.max_bytes");
    json_object *rate = json_at(root, "performance.memory_usage.trends.evictions_per_minute");
    if (rate == NULL) row("evicted since start", "%llu", whole(root, "memory.evicted"));
    else
        row("evicted since start", "%llu, %.0f a minute now", whole(root, "memory.evicted"),
            json_object_get_double(rate));
    row("memory pressure", "%s", json_bool_at(root, "memory_pressure") ? "yes, see aicache warnings" : "no");
}

/* What a key without the admin flag is told. */
static void print_own_stats(json_object *root)
{
    char text[PRINT_BYTES];
    printf("namespace ");
    print_text(stdout, json_text_at(root, "namespace", "-"), 0, INT_MAX);
    printf(", since %s\n", print_moment(text, json_text_at(root, "since", NULL)));
    if (json_at(root, "total_hits") == NULL) row("lookups", "%s", "none yet, or counted with other idle namespaces");
    else {
        row("hits", "%llu", whole(root, "total_hits"));
        row("misses", "%llu", whole(root, "total_misses"));
        row("hit rate", "%s", json_text_at(root, "hit_rate", "-"));
    }
    row("entries", "%llu", whole(root, "cache_size"));
    row("bytes", "%s", print_size(text, json_u64_at(root, "bytes")));
    row("storage", "%s, %s", json_text_at(root, "storage.kind", "-"), json_text_at(root, "storage.status", "-"));
}

static void print_stats(json_object *root)
{
    char since[PRINT_BYTES];
    if (json_at(root, "namespace") != NULL) {
        print_own_stats(root);
        return;
    }
    printf("requests since %s\n", print_moment(since, json_text_at(root, "since", NULL)));
    row("hits", "%llu", whole(root, "total_hits"));
    row("misses", "%llu", whole(root, "total_misses"));
    row("hit rate", "%s", json_text_at(root, "hit_rate", "-"));
    if (whole(root, "memory.max_bytes") == 0) printf("memory tier, off (memory.max_bytes 0)\n");
    else print_memory_tier(root);
    printf("storage tier\n");
    row("kind", "%s, %s", json_text_at(root, "storage.kind", "-"), json_text_at(root, "storage.status", "-"));
    row("entries", "%llu", whole(root, "storage.keys"));
    row_bytes(root, "bytes", "storage.bytes", "storage.max_bytes");
}

/* By the table: whatever a daemon tells of it, in its order. */
static void print_figures(json_object *root)
{
    for (size_t i = 0; i < FIGURE_TOTAL; i++) {
        const char *path = figure_rows[i].path;
        if (path[0] != '\0' && json_at(root, path) != NULL) printf("%-44s %s\n", path, json_text_at(root, path, "-"));
    }
}

int command_stats(struct cli *cli)
{
    struct reply reply;
    int result = session_ask(cli, "GET", "/cache/status", (aic_view){0}, &reply);
    if (result == CLI_OK) reply_parse(&reply);
    if (result == CLI_OK && cli->json) print_json(&reply);
    else if (result == CLI_OK && cli_has(cli, "all")) print_figures(reply.json);
    else if (result == CLI_OK) print_stats(reply.json);
    reply_fini(&reply);
    return result;
}

static void print_part(const char *name, json_object *part)
{
    printf("  %-14s %-10s ", name, json_text_at(part, "status", "-"));
    print_text(stdout, json_text_at(part, "details", ""), 28, print_columns(INT_MAX));
    putchar('\n');
}

static void print_health(json_object *root)
{
    char up[PRINT_BYTES];
    printf("%s, version %s, up for %s: %s\n", json_text_at(root, "status", "-"), json_text_at(root, "version", "-"),
           print_duration(up, json_double_at(root, "uptime_seconds")), json_text_at(root, "summary", ""));
    json_object_object_foreach(root, name, part)
    {
        if (json_object_is_type(part, json_type_object) && json_at(part, "status") != NULL) print_part(name, part);
    }
}

/* 503 says that the daemon cannot serve: an answer, not an error. */
int command_health(struct cli *cli)
{
    struct reply reply;
    int result = session_send(cli, "GET", "/health", (aic_view){0}, &reply);
    if (result == CLI_OK) reply_parse(&reply);
    bool told = result == CLI_OK && json_at(reply.json, "status") != NULL;
    if (result == CLI_OK && !told) result = session_complain(cli, &reply);
    if (told && cli->json) print_json(&reply);
    else if (told) print_health(reply.json);
    if (told && strcmp(json_text_at(reply.json, "status", ""), "healthy") != 0) result = CLI_NO;
    reply_fini(&reply);
    return result;
}

/* Who holds the process's memory, the largest first. */
static void print_breakdown(json_object *list)
{
    char bytes[PRINT_BYTES];
    uint64_t sum = 0;
    if (list == NULL || json_object_array_length(list) == 0) return;
    json_sort_by(list, "bytes");
    printf("memory of\n");
    for (size_t i = 0; i < json_object_array_length(list); i++) {
        json_object *one = json_object_array_get_idx(list, i);
        sum += json_u64_at(one, "bytes");
        if (json_u64_at(one, "bytes") == 0) continue;
        printf("  %-22s %11s   ", json_text_at(one, "owner", "-"), print_size(bytes, json_u64_at(one, "bytes")));
        print_text(stdout, json_text_at(one, "help", ""), 39, print_columns(PRINT_COLUMNS));
        putchar('\n');
    }
    row("all of them", "%11s", print_size(bytes, sum));
}

/* What another size of the memory tier would do. */
static void print_curve(json_object *curve)
{
    char bytes[PRINT_BYTES], name[32];
    json_object *points = json_at(curve, "points");
    if (!json_bool_at(curve, "known") || points == NULL) return;
    printf("lookups answered from memory, with a memory tier of\n");
    for (size_t i = 0; i < json_object_array_length(points); i++) {
        json_object *point = json_object_array_get_idx(points, i);
        double factor = json_double_at(point, "factor");
        snprintf(name, sizeof name, "%s", print_size(bytes, json_u64_at(point, "bytes")));
        row(name, "%5.1f %%%s", json_double_at(point, "hit_rate"), factor == 1 ? "   as it is" : "");
    }
}

/* Those that somebody set: the default ones lie above the bound of the tier. */
static void print_thresholds(json_object *root)
{
    static const char *const levels[] = {"warning", "critical"};
    printf("thresholds\n");
    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        char bytes[64], reached[64];
        snprintf(bytes, sizeof bytes, "thresholds.%s_threshold_mb", levels[i]);
        snprintf(reached, sizeof reached, "thresholds.%s_threshold_reached", levels[i]);
        double limit = json_double_at(root, "memory_tier_limit_mb");
        if (json_double_at(root, bytes) > limit) row(levels[i], "none");
        else row(levels[i], "%.1f MiB%s", json_double_at(root, bytes), json_bool_at(root, reached) ? ", reached" : "");
    }
}

void print_memory(json_object *root)
{
    char trend[PRINT_TREND_BYTES];
    bool on = json_double_at(root, "memory_tier_limit_mb") > 0;
    if (json_bool_at(root, "no_measurements")) {
        puts("nothing was measured yet");
        return;
    }
    printf("now\n");
    if (on) {
        row("memory tier", "%.1f MiB in %llu %s", json_double_at(root, "current.memory_cache_size_mb"),
            whole(root, "current.memory_cache_entry_count"),
            plural(whole(root, "current.memory_cache_entry_count"), "entry", "entries"));
        row("an entry on average", "%.0f bytes", json_double_at(root, "current.avg_entry_size_bytes"));
    } else {
        row("memory tier", "off (memory.max_bytes 0)");
    }
    row("process", "%.1f MiB", json_double_at(root, "current.process_memory_mb"));
    if (on) print_thresholds(root);
    if (on) {
        json_object *rate = json_at(root, "trends.growth_rate_mb_per_hour");
        double hourly = rate != NULL ? json_object_get_double(rate) * 1048576.0 : 0;
        printf("trend\n");
        row("growth", "%s", print_trend(trend, json_at(root, "trends"), rate != NULL ? &hourly : NULL));
    }
    print_curve(json_at(root, "miss_ratio_curve"));
    print_breakdown(json_at(root, "breakdown"));
}

/* "memory.max_bytes 536870912 (512.0 MiB): why"; "data_dir /var/lib/aicache: why". */
static void print_advice(json_object *advice)
{
    char size[PRINT_BYTES], in_units[PRINT_BYTES + 4] = "", line[1024];
    const char *setting = json_text_at(advice, "setting", "-");
    bool bytes = strlen(setting) > 6 && strcmp(setting + strlen(setting) - 6, "_bytes") == 0;
    if (bytes && !json_object_is_type(json_at(advice, "value"), json_type_string))
        snprintf(in_units, sizeof in_units, " (%s)", print_size(size, json_u64_at(advice, "value")));
    snprintf(line, sizeof line, "%s %s%s: %s", setting, json_text_at(advice, "value", "-"), in_units,
             json_text_at(advice, "reason", ""));
    fputs("         - ", stdout);
    print_text(stdout, line, 11, print_columns(INT_MAX));
    putchar('\n');
}

static void print_one_warning(json_object *warning)
{
    printf("%-8s ", json_text_at(warning, "severity", "-"));
    print_text(stdout, json_text_at(warning, "message", ""), 9, print_columns(INT_MAX));
    putchar('\n');
    json_object *advice = json_at(warning, "recommendations");
    for (size_t i = 0; advice != NULL && i < json_object_array_length(advice); i++)
        print_advice(json_object_array_get_idx(advice, i));
}

static size_t length_of(json_object *list)
{
    return json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
}

void print_warnings(json_object *answer)
{
    for (size_t i = 0; i < length_of(answer); i++) print_one_warning(json_object_array_get_idx(answer, i));
    if (length_of(answer) == 0) puts("no warnings");
}

int judge_warnings(json_object *answer)
{
    return length_of(answer) > 0 ? CLI_NO : CLI_OK;
}

#define SLOW_SHOWN 10 /* of each stream; --json shows all */

void print_slow(json_object *root)
{
    char at[PRINT_BYTES];
    size_t total = 0;
    int width = print_columns(PRINT_COLUMNS) - 54; /* what the other columns leave */
    width = width < 12 ? 12 : width > 40 ? 40 : width;
    json_object_object_foreach(root, stream, list)
    {
        size_t count = length_of(list);
        if (count == 0) continue;
        if (total == 0) printf("  %-19s  %-*s  %12s  %s\n", "at", width, "operation", "took", "times the usual");
        puts(stream);
        json_sort_by(list, "times_slower");
        for (size_t i = 0; i < count && i < SLOW_SHOWN; i++) {
            json_object *one = json_object_array_get_idx(list, i);
            printf("  %-19s  ", print_moment(at, json_text_at(one, "timestamp", NULL)));
            print_cell(stdout, json_text_at(one, "operation_type", "-"), width, true);
            printf("  %9.3f ms  %15.1f\n", json_double_at(one, "duration") * 1000, json_double_at(one, "times_slower"));
        }
        if (count > SLOW_SHOWN) printf("  and %zu more\n", count - SLOW_SHOWN);
        total += count;
    }
    if (total == 0) puts("nothing was slow");
}
