#include "observe/parts.h"

#include "base/check.h"
#include "base/digest.h"
#include "base/plural.h"
#include "cache/cache.h"
#include "observe/fields.h"
#include "observe/overview.h"
#include "observe/stats.h"
#include "observe/warnings.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------ storage -- */

static bool has_storage(const struct overview *overview)
{
    return cache_has_storage(overview->options.cache);
}

static void storage_answered(void *question, aic_status status, aic_view record)
{
    (void)record;
    health_answer(question, status);
}

/* Asks storage for a key that nobody has: a miss is the right answer, and says that it reads. */
static void ask_storage(void *context, struct health_question *question)
{
    struct overview *overview = context;
    aic_key key;
    aic_status status = digest_random(&key, sizeof key);
    if (status != AIC_OK) health_answer(question, status);
    else gate_read(cache_gate(overview->options.cache), &key, storage_answered, question);
}

/* Whether it writes, its breaker knows. */
static aic_status judge_storage(void *context, aic_status answer, struct health_result *result)
{
    struct overview *overview = context;
    const char *kind = overview->options.storage_kind;
    struct gate_stats gate;
    if (answer != AIC_OK && answer != AIC_MISS) {
        snprintf(result->details, sizeof result->details, "%s does not answer: %s", kind, aic_status_text(answer));
        return answer;
    }
    gate_stats(cache_gate(overview->options.cache), &gate);
    result->status = gate.up ? HEALTH_HEALTHY : HEALTH_DEGRADED;
    snprintf(result->details, sizeof result->details, "%s %s", kind,
             gate.up ? "answers" : "degraded: reads work, writes fail; the log says why");
    return AIC_OK;
}

static void write_storage_status(const struct overview *overview, const struct figures *stats,
                                 struct json_writer *writer)
{
    put_text(writer, "kind", stats->storage_configured ? overview->options.storage_kind : "none");
    put_text(writer, "status", stats_storage_status(stats));
}

/* ------------------------------------------------------------------------------------------------------- memory -- */

static aic_status judge_memory(void *context, aic_status answer, struct health_result *result)
{
    (void)answer;
    struct overview_facts facts;
    overview_facts(context, &facts);
    bool over = facts.stats.memory_bytes > facts.stats.memory_max_bytes;
    char tier[64] = "memory tier off (memory.max_bytes 0)";
    result->status = over || facts.pressure.state == PRESSURE_CRITICAL ? HEALTH_DEGRADED : HEALTH_HEALTHY;
    if (facts.stats.memory_max_bytes > 0)
        snprintf(tier, sizeof tier, "memory tier %.1f of %.1f MiB", (double)facts.stats.memory_bytes / 1048576.0,
                 (double)facts.stats.memory_max_bytes / 1048576.0);
    snprintf(result->details, sizeof result->details, "%s, %s at %.1f%%", tier,
             facts.host.in_cgroup ? "cgroup" : "machine", host_pressure(&facts.host));
    return AIC_OK;
}

static double percent_of_tier(const struct figures *stats)
{
    return stats->memory_max_bytes > 0 ? 100.0 * (double)stats->memory_bytes / (double)stats->memory_max_bytes : 0.0;
}

static double observe_memory(const struct overview_facts *facts)
{
    return percent_of_tier(&facts->stats);
}

static void write_memory(struct overview *overview, const struct overview_facts *facts, struct json_writer *out)
{
    (void)overview;
    put_count(out, "bytes", facts->stats.memory_bytes);
    put_count(out, "max_bytes", facts->stats.memory_max_bytes);
    put_count(out, "rss_bytes", facts->host.rss_bytes);
    put_count(out, "limit_bytes", host_limit(&facts->host));
    put_number(out, "pressure_percent", host_pressure(&facts->host));
    put_text(out, "pressure", pressure_state_name(facts->pressure.state));
}

static void write_memory_status(const struct overview *overview, const struct figures *stats,
                                struct json_writer *writer)
{
    (void)overview;
    char share[48]; /* "2/100" of a limit on entries, otherwise the share of the byte budget */
    snprintf(share, sizeof share, "%.1f%%", percent_of_tier(stats));
    if (stats->memory_max_entries > 0)
        snprintf(share, sizeof share, "%llu/%llu", (unsigned long long)stats->memory_entries,
                 (unsigned long long)stats->memory_max_entries);
    put_text(writer, "status", stats->memory_max_bytes > 0 ? "active" : "disabled");
    put_text(writer, "memory_cache_utilization", share);
    put_number(writer, "utilization_percent", percent_of_tier(stats));
    put_text(writer, "utilization_of", "max_bytes");
}

/* -------------------------------------------------------------------------------------------------------- cache -- */

/* The cache is well when memory and the storage that is configured keep entries, and degraded when one does not. */
static aic_status judge_cache(void *context, aic_status answer, struct health_result *result)
{
    (void)answer;
    struct overview_facts facts;
    char rate[STATS_RATE_BYTES];
    overview_facts(context, &facts);
    const struct figures *stats = &facts.stats;
    stats_rate(stats, rate);
    bool memory = stats->memory_max_bytes > 0;
    bool storage_lost = stats->storage_configured && !stats->storage_up;
    if (!memory && !(stats->storage_configured && stats->storage_up)) {
        result->status = HEALTH_UNHEALTHY;
        snprintf(result->details, sizeof result->details, "No tier keeps entries");
    } else if (storage_lost || !memory) {
        result->status = HEALTH_DEGRADED;
        snprintf(result->details, sizeof result->details, "Cache degraded: %s - %s hit rate",
                 !storage_lost             ? "the memory tier is off"
                 : stats->storage_reads_up ? "storage: reads work, writes fail"
                                           : "storage is down",
                 rate);
    } else {
        result->status = HEALTH_HEALTHY;
        snprintf(result->details, sizeof result->details, "Cache operational - %s hit rate", rate);
    }
    return AIC_OK;
}

static double observe_cache(const struct overview_facts *facts)
{
    char rate[STATS_RATE_BYTES];
    return stats_rate(&facts->stats, rate);
}

/* Hits and misses are free to read, so the rate is that of now and not of the last check. */
static void freshen_cache(const struct overview_facts *facts, struct health_report *report)
{
    char rate[STATS_RATE_BYTES];
    stats_rate(&facts->stats, rate);
    if (report->status == HEALTH_HEALTHY)
        snprintf(report->details, sizeof report->details, "Cache operational - %s hit rate", rate);
}

static void write_cache(struct overview *overview, const struct overview_facts *facts, struct json_writer *out)
{
    const struct figures *stats = &facts->stats;
    char rate[STATS_RATE_BYTES];
    stats_rate(stats, rate);
    put_time(out, "since", overview_since_ms(overview));
    json_key(out, "stats");
    json_open(out, '{');
    put_count(out, "total_hits", stats_hits(stats));
    put_count(out, "total_misses", stats->misses);
    put_text(out, "hit_rate", rate);
    put_count(out, "cache_size", stats_entries(stats));
    put_mb(out, "memory_usage_mb", stats->memory_bytes);
    put_flag(out, "memory_pressure", overview_memory_short(overview, stats));
    json_close(out, '}');
}

/* ----------------------------------------------------------------------------------------------------- registry -- */

static void write_disabled(const struct overview *overview, const struct figures *stats, struct json_writer *out)
{
    (void)overview, (void)stats;
    put_text(out, "status", "disabled");
}

const struct part parts[] = {
    {"redis", "datastore", "responseTime", "ms", .status = write_disabled},
    {"chromadb", "datastore", "responseTime", "ms"},
    {"embeddings", "component", "responseTime", "ms"},
    {"storage", "datastore", "responseTime", "ms", .configured = has_storage, .ask = ask_storage,
     .judge = judge_storage, .status = write_storage_status, .find = warnings_of_storage,
     .advise = warnings_advise_storage},
    {"memory", "system", "utilization", "percent", .quiet = true, .judge = judge_memory, .observed = observe_memory,
     .write = write_memory, .status = write_memory_status, .find = warnings_of_memory},
    {"upstream", "component", "responseTime", "ms"},
    {"cache", "component", "hitRatio", "percent", .vital = true, .quiet = true, .judge = judge_cache,
     .observed = observe_cache, .freshen = freshen_cache, .write = write_cache},
};
const size_t parts_count = COUNT_OF(parts);
_Static_assert(COUNT_OF(parts) <= HEALTH_PARTS, "every part has its place");

bool parts_has(const struct overview *overview, const struct part *part)
{
    return part->judge != NULL && (part->configured == NULL || part->configured(overview));
}

aic_status parts_register(const struct overview *overview, struct health *health)
{
    for (size_t i = 0; i < parts_count; i++) {
        const struct part *part = &parts[i];
        bool configured = parts_has(overview, part);
        CHECK(part->ask == NULL || part->judge != NULL); /* what is asked is judged */
        TRY(health_add(health, part->name, configured ? part->ask : NULL, configured ? part->judge : NULL));
    }
    return AIC_OK;
}

/* ------------------------------------------------------------------------------------------------ our own shape -- */

void parts_write_part(const struct overview_health *health, size_t part, struct json_writer *out)
{
    CHECK(part < parts_count);
    const struct health_report *report = &health->reports[part];
    json_open(out, '{');
    put_text(out, "status", health_status_name(report->status));
    put_text(out, "details", report->details);
    if (report->status != HEALTH_DISABLED) {
        put_number(out, "response_time_ms", report->response_ms);
        if (report->checked_ms > 0 && health->now_ms >= report->checked_ms)
            put_number(out, "age_seconds", (double)(health->now_ms - report->checked_ms) / 1000.0);
        if (report->down_seconds > 0) put_number(out, "down_seconds", report->down_seconds);
    }
    if (parts[part].write != NULL) parts[part].write(health->overview, &health->facts, out);
    json_close(out, '}');
}

static double uptime(const struct overview *overview)
{
    return (double)(clock_mono_ns(overview->options.clock) - overview->started_ns) * 1e-9;
}

void parts_write_health(const struct overview_health *health, struct json_writer *out)
{
    char summary[96], critical[32] = "";
    json_open(out, '{');
    put_text(out, "status", health_status_name(health->overall));
    put_time(out, "timestamp", health->now_ms);
    put_text(out, "version", health->overview->options.version);
    put_number(out, "uptime_seconds", uptime(health->overview));
    for (size_t part = 0; part < parts_count; part++) {
        json_key(out, parts[part].name);
        parts_write_part(health, part, out);
    }
    uint64_t open = alerts_open_count(health->overview->alerts);
    json_key(out, "alerts");
    json_open(out, '{');
    put_text(out, "status", open > 0 ? "active" : "none");
    put_count(out, "active", open);
    json_close(out, '}');
    if (health->criticals > 0)
        snprintf(critical, sizeof critical, "; %u critical %s", health->criticals,
                 plural(health->criticals, "warning", "warnings"));
    snprintf(summary, sizeof summary, "%s%u/%u services healthy%s", health->stopping ? "stopping; " : "", health->up,
             health->counted, critical);
    put_text(out, "summary", summary);
    json_close(out, '}');
}

/* -------------------------------------------------------------------------------------------- the draft's shape -- */

static const char *draft_status(enum health_status status)
{
    return status == HEALTH_HEALTHY ? "pass" : status == HEALTH_DEGRADED ? "warn" : "fail";
}

/* Parts that are not configured have no check. */
static void write_draft_check(const struct overview_health *health, size_t index, struct json_writer *out)
{
    const struct health_report *report = &health->reports[index];
    const struct part *part = &parts[index];
    char name[64];
    if (report->status == HEALTH_DISABLED) return;
    snprintf(name, sizeof name, "%s:%s", part->name, part->measurement);
    json_key(out, name);
    json_open(out, '[');
    json_open(out, '{');
    put_text(out, "componentId", part->name);
    put_text(out, "componentType", part->type);
    put_number(out, "observedValue", part->observed != NULL ? part->observed(&health->facts) : report->response_ms);
    put_text(out, "observedUnit", part->unit);
    put_text(out, "status", draft_status(report->status));
    if (report->checked_ms > 0) put_time(out, "time", report->checked_ms);
    else json_key(out, "time"), json_put_null(out);
    if (report->status != HEALTH_HEALTHY) put_text(out, "output", report->details);
    json_close(out, '}');
    json_close(out, ']');
}

void parts_write_draft(const struct overview_health *health, struct json_writer *out)
{
    json_open(out, '{');
    put_text(out, "status", draft_status(health->overall));
    put_text(out, "version", "1");
    put_text(out, "releaseId", health->overview->options.version);
    put_text(out, "description", "health of the aicache daemon");
    json_key(out, "checks");
    json_open(out, '{');
    json_key(out, "uptime");
    json_open(out, '[');
    json_open(out, '{');
    put_text(out, "componentType", "system");
    put_number(out, "observedValue", uptime(health->overview));
    put_text(out, "observedUnit", "s");
    put_text(out, "status", "pass");
    json_close(out, '}');
    json_close(out, ']');
    for (size_t part = 0; part < parts_count; part++) write_draft_check(health, part, out);
    json_close(out, '}');
    json_close(out, '}');
}
