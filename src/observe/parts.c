#include "observe/parts.h"

#include "base/check.h"
#include "base/digest.h"
#include "cache/cache.h"
#include "observe/stats.h"

#include <stdio.h>
#include <string.h>

#define CHECK_DEADLINE_MS 2000

static const struct {
    const char *name, *type, *measurement;
} table[] = {
#define PARTS_ROW(name, text, type, measurement) {text, type, measurement},
    PARTS_MAP(PARTS_ROW)
#undef PARTS_ROW
};

struct parts {
    struct parts_options options;
    struct probes *probes;
    pthread_mutex_t mutex; /* facts; a leaf */
    struct parts_facts facts;
};

const char *part_name(enum part part)
{
    return table[part].name;
}

const char *part_type(enum part part)
{
    return table[part].type;
}

const char *part_measurement(enum part part)
{
    return table[part].measurement;
}

/* -------------------------------------------------------------------------------------------------- checks -- */

/* Asks storage for a key that nobody has: a miss is the right answer, and says that it reads. Whether it writes, its
 * breaker knows. */
static aic_status check_storage(void *context, struct probe_result *result)
{
    struct parts *parts = context;
    struct buf record;
    aic_key key;
    TRY(digest_random(&key, sizeof key));
    buf_init(&record, parts->options.mem, MEM_OTHER);
    aic_status status = gate_get(cache_gate(parts->options.cache), &key, CHECK_DEADLINE_MS, &record);
    buf_fini(&record);
    if (status == AIC_OK || status == AIC_MISS) {
        struct gate_stats gate;
        gate_stats(cache_gate(parts->options.cache), &gate);
        result->status = gate.up ? PROBE_HEALTHY : PROBE_DEGRADED;
        snprintf(result->details, sizeof result->details, "%s %s", parts->options.storage_kind,
                 gate.up ? "answers" : "degraded: reads work, writes fail; the log says why");
        return AIC_OK;
    }
    result->status = PROBE_UNHEALTHY;
    snprintf(result->details, sizeof result->details, "%s does not answer: %s", parts->options.storage_kind,
             aic_status_text(status));
    return status;
}

static aic_status check_memory(void *context, struct probe_result *result)
{
    struct parts *parts = context;
    struct parts_facts facts;
    parts_facts(parts, &facts);
    bool over = facts.stats.memory_bytes > facts.stats.memory_max_bytes;
    struct pressure *pressure = parts->options.pressure;
    bool pressed = pressure != NULL && pressure_state(pressure) == PRESSURE_CRITICAL;
    char tier[64] = "memory tier off (memory.max_bytes 0)";
    result->status = over || pressed ? PROBE_DEGRADED : PROBE_HEALTHY;
    if (facts.stats.memory_max_bytes > 0)
        snprintf(tier, sizeof tier, "memory tier %.1f of %.1f MiB", (double)facts.stats.memory_bytes / 1048576.0,
                 (double)facts.stats.memory_max_bytes / 1048576.0);
    snprintf(result->details, sizeof result->details, "%s, %s at %.1f%%", tier,
             facts.host.in_cgroup ? "cgroup" : "machine", host_pressure(&facts.host));
    return AIC_OK;
}

/* The cache is well when memory and the storage that is configured keep entries, and degraded when one does not. */
static aic_status check_cache(void *context, struct probe_result *result)
{
    struct parts_facts facts;
    char rate[STATS_RATE_BYTES];
    parts_facts(context, &facts);
    const aic_stats *stats = &facts.stats;
    stats_rate(stats, rate);
    bool memory = stats->memory_max_bytes > 0;
    bool storage_lost = stats->storage_configured && !stats->storage_up;
    if (!memory && !(stats->storage_configured && stats->storage_up)) {
        result->status = PROBE_UNHEALTHY;
        snprintf(result->details, sizeof result->details, "No tier keeps entries");
    } else if (storage_lost || !memory) {
        result->status = PROBE_DEGRADED;
        snprintf(result->details, sizeof result->details, "Cache degraded: %s - %s hit rate",
                 !storage_lost             ? "the memory tier is off"
                 : stats->storage_reads_up ? "storage: reads work, writes fail"
                                           : "storage is down",
                 rate);
    } else {
        result->status = PROBE_HEALTHY;
        snprintf(result->details, sizeof result->details, "Cache operational - %s hit rate", rate);
    }
    return AIC_OK;
}

static aic_status register_parts(struct parts *parts)
{
    for (enum part part = 0; part < PART_COUNT; part++) {
        probe_check_fn *check = NULL;
        if (part == PART_CACHE) check = check_cache;
        else if (part == PART_MEMORY) check = check_memory;
        else if (part == PART_STORAGE && cache_has_storage(parts->options.cache)) check = check_storage;
        if (check != NULL) TRY(probes_register(parts->probes, part_name(part), check, parts));
        else TRY(probes_register_disabled(parts->probes, part_name(part)));
    }
    return AIC_OK;
}

/* --------------------------------------------------------------------------------------------------- the rest -- */

aic_status parts_create(const struct parts_options *options, struct parts **out)
{
    struct parts *parts = mem_zalloc(options->mem, MEM_MONITOR, sizeof *parts);
    if (parts == NULL) return AIC_NO_MEMORY;
    parts->options = *options;
    if (parts->options.root == NULL) parts->options.root = "";
    pthread_mutex_init(&parts->mutex, NULL);
    struct probe_options probing = {.mem = options->mem,
                                    .clock = options->clock,
                                    .deadline_ms = CHECK_DEADLINE_MS,
                                    .interval_ms = options->interval_ms > 0 ? options->interval_ms : 2000};
    aic_status status;
    TRY_OR_FAIL(probes_create(&probing, &parts->probes));
    TRY_OR_FAIL(register_parts(parts));
    parts_refresh(parts);
    TRY_OR_FAIL(probes_start(parts->probes));
    *out = parts;
    return AIC_OK;
fail:
    parts_destroy(&parts);
    return status;
}

void parts_destroy(struct parts **parts)
{
    struct parts *self = *parts;
    if (self == NULL) return;
    *parts = NULL;
    if (self->probes != NULL) probes_destroy(&self->probes);
    pthread_mutex_destroy(&self->mutex);
    mem_free(self->options.mem, MEM_MONITOR, self, sizeof *self);
}

void parts_refresh(struct parts *parts)
{
    struct parts_facts facts;
    aic_cache_stats(parts->options.cache, &facts.stats);
    host_memory_read(parts->options.root, &facts.host);
    pthread_mutex_lock(&parts->mutex);
    parts->facts = facts;
    pthread_mutex_unlock(&parts->mutex);
}

void parts_facts(struct parts *parts, struct parts_facts *out)
{
    pthread_mutex_lock(&parts->mutex);
    *out = parts->facts;
    pthread_mutex_unlock(&parts->mutex);
}

struct probes *parts_probes(struct parts *parts)
{
    return parts->probes;
}

void parts_read(struct parts *parts, enum part part, struct probe_report *out)
{
    CHECK(probes_get(parts->probes, part_name(part), out) == AIC_OK);
}

enum probe_status parts_overall(const struct probe_report *reports, unsigned *up, unsigned *counted)
{
    enum probe_status worst = PROBE_HEALTHY;
    *up = *counted = 0;
    for (enum part part = 0; part < PART_COUNT; part++) {
        enum probe_status status = reports[part].status;
        if (status == PROBE_DISABLED) continue;
        ++*counted;
        *up += status == PROBE_HEALTHY;
        if (status == PROBE_HEALTHY) continue;
        if (part == PART_CACHE && status == PROBE_UNHEALTHY) worst = PROBE_UNHEALTHY;
        else if (worst == PROBE_HEALTHY) worst = PROBE_DEGRADED;
    }
    return worst;
}
