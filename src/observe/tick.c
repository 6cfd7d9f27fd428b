/*
 * tick.c - the once-a-second work of the overview: what is measured, what is done about pressure, and the verdict.
 */
#include "observe/tick.h"

#include "base/check.h"
#include "base/status.h"
#include "cache/cache.h"
#include "observe/allocator.h"
#include "observe/fields.h"
#include "observe/monitor.h"
#include "observe/parts.h"
#include "observe/stats.h"
#include "observe/warnings.h"

#include <string.h>

#define SAVE_TICKS 60
#define WARM_NS 600000000000ULL /* so long up, a cache is no cold one any more */

/* ----------------------------------------------------------------------------------------------------- pressure -- */

static uint64_t cache_bytes(void *context)
{
    struct overview *overview = context;
    return store_bytes(cache_store(overview->options.cache));
}

static void resize_cache(void *context, uint64_t max_bytes)
{
    struct overview *overview = context;
    struct store *store = cache_store(overview->options.cache);
    struct figures figures = {0};
    store_figures(store, &figures);
    /* A refusal leaves the tier as large as it was; the next tick decides anew. */
    aic_status status = store_resize(store, max_bytes, figures.memory_max_entries);
    if (status != AIC_OK && overview->options.log != NULL)
        log_line(overview->options.log, AIC_LOG_WARNING, "pressure", "the memory tier cannot be resized: %s",
                 aic_status_text(status));
}

static size_t empty_pools(void *context)
{
    struct overview *overview = context;
    return object_pools_shrink(&overview->pools, true);
}

static void purge(void *context)
{
    (void)context;
    allocator_purge();
}

static void say(void *context, aic_log_level level, const char *line)
{
    struct overview *overview = context;
    if (overview->options.log != NULL) log_line(overview->options.log, level, "pressure", "%s", line);
}

/* ------------------------------------------------------------------------------------------------------- alerts -- */

static void send_alert(struct overview *overview, const char *id, const struct alert *alert)
{
    struct buf text;
    struct json_writer writer;
    buf_init(&text, overview->options.mem, MEM_MONITOR);
    json_writer_init(&writer, &text);
    json_open(&writer, '{');
    put_text(&writer, "source", "aicached");
    put_text(&writer, "id", id);
    put_text(&writer, "severity", alert_severity_name(alert->severity));
    put_text(&writer, "state", alert->resolved_ms > 0 ? "resolved" : alert->escalations > 0 ? "escalated" : "open");
    put_text(&writer, "message", alert->message);
    put_time(&writer, "opened", alert->opened_ms);
    if (alert->resolved_ms > 0) put_time(&writer, "resolved", alert->resolved_ms);
    json_close(&writer, '}');
    if (buf_status(&text) == AIC_OK) webhook_send(overview->webhook, buf_view(&text));
    buf_fini(&text);
}

static void on_alert(void *context, const struct alert *alert)
{
    struct overview *overview = context;
    char id[ALERT_ID_BYTES];
    alert_id(alert->key, id);
    bool resolved = alert->resolved_ms > 0;
    aic_log_level level = resolved ? AIC_LOG_INFO : alert->severity == ALERT_CRITICAL ? AIC_LOG_ERROR : AIC_LOG_WARNING;
    if (overview->options.log != NULL)
        log_line(overview->options.log, level, "alert", "%s %s: %s", id,
                 resolved ? "resolved" : alert_severity_name(alert->severity), alert->message);
    if (overview->webhook != NULL) send_alert(overview, id, alert);
}

aic_status tick_setup(struct overview *overview)
{
    const struct overview_options *options = &overview->options;
    struct pressure_options pressure = {
        .mem = options->mem,
        .clock = options->clock,
        .root = options->root,
        .warning_percent = options->warning_percent,
        .critical_percent = options->critical_percent,
        .cache_max_bytes = store_max_bytes(cache_store(options->cache)),
        .actions = {.cache_bytes = cache_bytes,
                    .resize_cache = resize_cache,
                    .empty_pools = empty_pools,
                    .purge_allocator = purge,
                    .log = say,
                    .context = overview},
    };
    TRY(pressure_create(&pressure, &overview->pressure, NULL));
    TRY(alerts_create(options->mem, options->clock, on_alert, overview, &overview->alerts));
    if (options->webhook == NULL) return AIC_OK;
    CHECK(options->back != NULL);
    return webhook_create(options->mem, options->webhook, options->back, options->log, &overview->webhook, NULL);
}

/* ------------------------------------------------------------------------------------------------------- memory -- */

/* The embedded store keeps its bytes in a file, not in memory of anybody's: it has entries, but no bytes here. */
static aic_memory_sample sample_of(const struct figures *stats, uint64_t process_bytes,
                                   const struct footprint *footprint)
{
    return (aic_memory_sample){.memory_bytes = stats->memory_bytes,
                               .memory_entries = stats->memory_entries,
                               .storage_entries = stats->storage_entries,
                               .process_bytes = process_bytes,
                               .resident_tier_bytes = footprint->memory_values + footprint->memory_index,
                               .resident_storage_bytes = footprint->storage_map,
                               .resident_heap_bytes = footprint->heap,
                               .resident_program_bytes = footprint->program + footprint->stacks,
                               .limit_entries = stats->memory_max_entries,
                               .limit_bytes = stats->memory_max_bytes,
                               .evicted = stats->evicted_capacity};
}

bool overview_measure(struct overview *overview, struct breakdown *what, aic_memory_sample *now)
{
    if (!memory_look_now(&overview->look, what)) return false;
    *now = sample_of(&what->stats, what->footprint.rss, &what->footprint);
    return true;
}

void overview_record_memory(struct overview *overview, const struct figures *stats, uint64_t process_bytes)
{
    if (overview->options.monitor == NULL) return;
    struct breakdown last = {0};
    (void)memory_look_last(&overview->look, &last);
    aic_memory_sample sample = sample_of(stats, process_bytes, &last.footprint);
    aic_monitor_memory(overview->options.monitor, &sample, (aic_view){0});
}

/* --------------------------------------------------------------------------------------------------- every second --
 */

/* Neither filled since the start nor up for ten minutes: misses are how a cache begins. */
static bool is_cold(const struct overview *overview, const struct figures *stats)
{
    bool filled = stats->evicted_capacity + stats->storage_evicted > 0 ||
                  memory_at_limit(stats->memory_bytes, stats->memory_max_bytes) ||
                  memory_at_limit(stats->memory_entries, stats->memory_max_entries);
    return !filled && clock_mono_ns(overview->options.clock) - overview->started_ns < WARM_NS;
}

/* Labels change hands whether somebody reads them or not. */
static void settle_labels(struct overview *overview)
{
    struct mem *mem = overview->options.mem;
    struct tally_sum *sum = mem_alloc(mem, MEM_OTHER, sizeof *sum);
    if (sum == NULL) return; /* the next second will do */
    overview_sum(overview, sum);
    mem_free(mem, MEM_OTHER, sum, sizeof *sum);
}

/* How long a warning stays after the last connection that found no room. */
#define CROWDED_MS 60000

/* Logs the first connection that finds no room, and no other while one does in each minute. */
static void look_at_connections(struct overview *overview)
{
    uint64_t last = 0, most = 0;
    pthread_mutex_lock(&overview->mutex);
    if (overview->front.room != NULL) overview->front.room(overview->front.context, &most, &last);
    pthread_mutex_unlock(&overview->mutex);
    uint64_t now = clock_wall_ms(overview->options.clock);
    bool crowded = last > 0 && now - last < CROWDED_MS; /* a clock that went back makes it a long time */
    bool known = atomic_load_explicit(&overview->crowded_since_ms, memory_order_relaxed) > 0;
    atomic_store_explicit(&overview->connections, most, memory_order_relaxed);
    if (crowded == known) return;
    atomic_store_explicit(&overview->crowded_since_ms, crowded ? last : 0, memory_order_relaxed);
    if (crowded && overview->options.log != NULL)
        log_line(overview->options.log, AIC_LOG_WARNING, "http",
                 "all of the %llu connections that are accepted at one time were open: idle ones are closed for new "
                 "ones, and where none is idle, new ones get 503 (limits.connections, and the process's limit on "
                 "descriptors)",
                 (unsigned long long)most);
}

/* Anew: figures are added to what stands there. */
static void read_figures(const struct overview *overview, struct overview_facts *facts)
{
    facts->stats = (struct figures){0};
    cache_figures(overview->options.cache, &facts->stats);
}

void tick_refresh(struct overview *overview, struct overview_facts *facts)
{
    read_figures(overview, facts);
    host_memory_read(overview->options.root, &facts->host);
    pressure_read(overview->pressure, &facts->pressure);
}

void tick_publish(struct overview *overview, const struct overview_facts *facts)
{
    pthread_mutex_lock(&overview->mutex);
    overview->facts = *facts;
    pthread_mutex_unlock(&overview->mutex);
}

/* Memory under pressure is no memory tier that is too small. */
static void look_at_pressure(struct overview *overview, struct overview_facts *facts)
{
    struct aic_monitor *monitor = overview->options.monitor;
    pressure_tick(overview->pressure, &facts->host, false);
    pressure_read(overview->pressure, &facts->pressure);
    const struct pressure_figures *now = &facts->pressure;
    if (monitor != NULL)
        atomic_store_explicit(&monitor->tier_cut,
                              now->cache_limit < now->cache_max_bytes || now->state != PRESSURE_NORMAL,
                              memory_order_relaxed);
}

static void watch_parts(struct overview *overview)
{
    for (size_t i = 0; i < parts_count; i++) {
        struct health_report report;
        health_read(overview->health, i, &report);
        if (parts[i].quiet || report.status == HEALTH_DISABLED) continue;
        const char *state = report.status == HEALTH_DEGRADED ? "degraded" : "down";
        alerts_watch_part(overview->alerts, parts[i].name, state, report.down_seconds);
    }
}

static void watch_threshold(struct overview *overview, struct verdict *verdict)
{
    static const struct alert_key key = {.cause = ALERT_OF_THRESHOLD};
    const struct finding *reached = verdict_find(verdict, key);
    if (reached == NULL) alerts_resolve(overview->alerts, key, "The cache is below its thresholds again.");
    else
        alerts_trigger(overview->alerts, key, reached->severity == SEVERITY_CRITICAL ? ALERT_CRITICAL : ALERT_MEDIUM, 0,
                       reached->message);
}

static void keep_verdict(struct overview *overview, const struct overview_facts *facts, struct verdict *verdict)
{
    warnings_mark_alerts(overview, facts, verdict);
    pthread_mutex_lock(&overview->mutex);
    overview->verdict = *verdict;
    pthread_mutex_unlock(&overview->mutex);
}

/* The verdict of this second: what is found of the parts, the alerts that follow from it, and what is open of them. */
static void judge(struct overview *overview, const struct overview_facts *facts)
{
    struct verdict verdict;
    bool found = warnings_find(overview, facts, &verdict) == AIC_OK; /* without memory the next second will do */
    alerts_watch_pressure(overview->alerts, &facts->pressure);
    alerts_watch_hit_rate(overview->alerts, stats_hits(&facts->stats), facts->stats.misses,
                          is_cold(overview, &facts->stats));
    watch_parts(overview);
    if (!found) return;
    watch_threshold(overview, &verdict);
    keep_verdict(overview, facts, &verdict);
}

aic_status overview_find(struct overview *overview, struct verdict *out)
{
    struct overview_facts facts;
    tick_refresh(overview, &facts);
    TRY(warnings_find(overview, &facts, out));
    keep_verdict(overview, &facts, out);
    return AIC_OK;
}

void overview_tick(struct overview *overview)
{
    struct overview_facts facts;
    look_at_connections(overview);
    tick_refresh(overview, &facts);
    memory_look_tick(&overview->look, &facts.stats, facts.host.rss_bytes);
    overview_record_memory(overview, &facts.stats, facts.host.rss_bytes);
    look_at_pressure(overview, &facts);
    read_figures(overview, &facts); /* pressure may have made the memory tier smaller */
    tick_publish(overview, &facts);
    overview_turn(overview);
    judge(overview, &facts);
    object_pools_shrink(&overview->pools, false);
    allocator_decay();
    if (overview->ticks++ % SAVE_TICKS == SAVE_TICKS - 1) history_file_save(&overview->history);
    settle_labels(overview);
}

uint64_t overview_turn(struct overview *overview)
{
    return health_turn(overview->health);
}

void overview_stalled(struct overview *overview)
{
    pressure_tick(overview->pressure, NULL, true);
}
