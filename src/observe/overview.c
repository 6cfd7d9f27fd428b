#include "observe/overview.h"

#include "base/check.h"
#include "base/view.h"
#include "cache/cache.h"
#include "observe/monitor.h"
#include "observe/warnings.h"

#include <string.h>

static void set_defaults(struct overview_options *options)
{
    if (options->storage_deadline_ms == 0) options->storage_deadline_ms = 20;
    if (options->clock == NULL) options->clock = clock_system();
    if (options->storage_kind == NULL) options->storage_kind = "none";
}

static aic_status create_parts(struct overview *overview)
{
    const struct overview_options *options = &overview->options;
    overview->past = mem_zalloc(options->mem, MEM_OTHER, sizeof *overview->past);
    if (overview->past == NULL) return AIC_NO_MEMORY;
    struct watch_options watch = options->watch;
    watch.mem = options->mem;
    watch.clock = options->clock;
    watch.log = options->log;
    watch.cache = options->cache;
    watch.monitor = options->monitor;
    watch.pools = &overview->pools;
    TRY(watch_create(&watch, &overview->watch, NULL));
    struct parts_options parts = {.mem = options->mem,
                                  .clock = options->clock,
                                  .cache = options->cache,
                                  .storage_kind = options->storage_kind,
                                  .root = options->watch.root,
                                  .pressure = watch_pressure(overview->watch)};
    return parts_create(&parts, &overview->parts);
}

aic_status overview_init(struct overview *overview, const struct overview_options *options, overview_route_fn *route,
                         size_t route_count, uint64_t seed)
{
    CHECK(route_count <= TALLY_MAX_ROUTES);
    overview->options = *options;
    set_defaults(&overview->options);
    overview->route = route;
    overview->route_count = route_count;
    overview->tallies = NULL;
    overview->past = NULL;
    overview->front = (struct overview_front){0};
    overview->parts = NULL;
    overview->watch = NULL;
    CHECK(pthread_mutex_init(&overview->mutex, NULL) == 0);
    object_pools_init(&overview->pools);
    labels_init(&overview->labels, options->mem, seed);
    atomic_init(&overview->warning_bytes, options->memory_warning_bytes);
    atomic_init(&overview->critical_bytes, options->memory_critical_bytes);
    atomic_init(&overview->criticals, 0);
    overview->started_ns = clock_mono_ns(overview->options.clock);
    overview->started_ms = clock_wall_ms(overview->options.clock);
    overview->marks = (struct overview_marks){.since_ms = overview->started_ms};
    aic_status status = create_parts(overview);
    if (status != AIC_OK) overview_fini(overview);
    return status;
}

void overview_fini(struct overview *overview)
{
    CHECK(overview->tallies == NULL);
    parts_destroy(&overview->parts);
    watch_destroy(&overview->watch);
    mem_free(overview->options.mem, MEM_OTHER, overview->past, sizeof *overview->past);
    labels_fini(&overview->labels);
    object_pools_fini(&overview->pools);
    pthread_mutex_destroy(&overview->mutex);
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

/* Tells of thresholds that were reached, and keeps for health how much is critical. */
static void judge(struct overview *overview)
{
    struct alerts *alerts = watch_alerts(overview->watch);
    struct verdict verdict;
    const struct finding *reached = NULL;
    unsigned counts[SEVERITIES];
    if (warnings_find(overview, &verdict) != AIC_OK) return; /* the next second will do */
    for (size_t i = 0; i < verdict.count; i++)
        if (verdict.findings[i].alert != NULL && strcmp(verdict.findings[i].alert, ALERT_THRESHOLD) == 0)
            reached = &verdict.findings[i];
    if (reached != NULL)
        alerts_trigger(alerts, ALERT_THRESHOLD, reached->severity == SEVERITY_CRITICAL ? ALERT_CRITICAL : ALERT_MEDIUM,
                       0, reached->message);
    else alerts_resolve(alerts, ALERT_THRESHOLD, "The cache is below its thresholds again.");
    verdict_count(&verdict, counts);
    atomic_store_explicit(&overview->criticals, counts[SEVERITY_CRITICAL], memory_order_relaxed);
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
    bool crowded = last > 0 && now < last + CROWDED_MS;
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

void overview_tick(struct overview *overview)
{
    struct parts_facts facts;
    look_at_connections(overview);
    parts_refresh(overview->parts);
    parts_facts(overview->parts, &facts);
    watch_tick(overview->watch, &facts, overview->parts);
    judge(overview);
    settle_labels(overview);
}

enum probe_status overview_health(struct overview *overview, const struct probe_report *reports, unsigned *up,
                                  unsigned *counted)
{
    enum probe_status status = parts_overall(reports, up, counted);
    bool critical = atomic_load_explicit(&overview->criticals, memory_order_relaxed) > 0;
    return status == PROBE_HEALTHY && critical ? PROBE_DEGRADED : status;
}

bool overview_memory_short(struct overview *overview, const aic_stats *stats)
{
    uint64_t threshold = atomic_load_explicit(&overview->warning_bytes, memory_order_relaxed);
    return (threshold > 0 && stats->memory_bytes >= threshold) ||
           pressure_state(watch_pressure(overview->watch)) != PRESSURE_NORMAL;
}

void overview_join(struct overview *overview, struct tally *tally)
{
    pthread_mutex_lock(&overview->mutex);
    tally->next = overview->tallies;
    overview->tallies = tally;
    pthread_mutex_unlock(&overview->mutex);
}

void overview_leave(struct overview *overview, struct tally *tally)
{
    pthread_mutex_lock(&overview->mutex);
    struct tally **link = &overview->tallies;
    while (*link != tally) {
        CHECK(*link != NULL); /* it has joined */
        link = &(*link)->next;
    }
    *link = tally->next;
    tally_add(overview->past, tally);
    pthread_mutex_unlock(&overview->mutex);
}

void overview_sum(struct overview *overview, struct tally_sum *out)
{
    pthread_mutex_lock(&overview->mutex);
    *out = *overview->past;
    for (const struct tally *tally = overview->tallies; tally != NULL; tally = tally->next) tally_add(out, tally);
    /* Under the mutex, so that no older sum is settled after a newer one. */
    labels_settle(&overview->labels, out->lookups, clock_mono_ns(overview->options.clock));
    pthread_mutex_unlock(&overview->mutex);
}

aic_status overview_namespace(struct overview *overview, aic_view ns, labels_counts out)
{
    struct mem *mem = overview->options.mem;
    struct tally_sum *sum = mem_alloc(mem, MEM_OTHER, sizeof *sum);
    struct labels_page *page = mem_alloc(mem, MEM_OTHER, sizeof *page);
    aic_status status = sum != NULL && page != NULL ? AIC_MISS : AIC_NO_MEMORY;
    memset(out, 0, sizeof(labels_counts));
    if (status == AIC_MISS) {
        overview_sum(overview, sum);
        labels_read(&overview->labels, page);
        for (size_t i = 0; i < page->count; i++) {
            const struct labels_series *series = &page->series[i];
            bool own = series->ns < LABELS_SHOWN &&
                       view_equal(labels_page_text(page, LABELS_NAMESPACE, series->ns), ns);
            for (unsigned outcome = 0; own && outcome < LABELS_OUTCOMES; outcome++)
                out[outcome] += series->counts[outcome];
            if (own) status = AIC_OK;
        }
    }
    mem_free(mem, MEM_OTHER, page, sizeof *page);
    mem_free(mem, MEM_OTHER, sum, sizeof *sum);
    return status;
}

void overview_lookups(const struct tally_sum *sum, struct hist_total *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++) {
        const struct hist_total *one = &sum->lookup_ns[outcome];
        for (unsigned i = 0; i < HIST_BUCKETS; i++) out->counts[i] += one->counts[i];
        out->count += one->count;
        if (one->max > out->max) out->max = one->max;
    }
}

aic_status overview_reset(struct overview *overview)
{
    struct mem *mem = overview->options.mem;
    struct tally_sum *sum = mem_alloc(mem, MEM_OTHER, sizeof *sum);
    if (sum == NULL) return AIC_NO_MEMORY;
    aic_stats stats;
    overview_sum(overview, sum);
    aic_cache_stats(overview->options.cache, &stats);
    cache_forget_lookups(overview->options.cache);
    pthread_mutex_lock(&overview->mutex);
    struct overview_marks *marks = &overview->marks;
    marks->since_ms = clock_wall_ms(overview->options.clock);
    marks->puts = stats.puts;
    marks->memory_evicted = stats.evicted_capacity;
    marks->storage_evicted = stats.storage_evicted;
    marks->tokens_saved = sum->prompt_tokens_saved + sum->completion_tokens_saved;
    marks->cost_saved_usd = sum->cost_saved_usd;
    overview_lookups(sum, &marks->lookup_ns);
    pthread_mutex_unlock(&overview->mutex);
    mem_free(mem, MEM_OTHER, sum, sizeof *sum);
    return AIC_OK;
}

void overview_marks(struct overview *overview, struct overview_marks *out)
{
    pthread_mutex_lock(&overview->mutex);
    *out = overview->marks;
    pthread_mutex_unlock(&overview->mutex);
}

uint64_t overview_since_ms(struct overview *overview)
{
    pthread_mutex_lock(&overview->mutex);
    uint64_t since_ms = overview->marks.since_ms;
    pthread_mutex_unlock(&overview->mutex);
    return since_ms;
}

void overview_attach(struct overview *overview, const struct overview_front *front)
{
    pthread_mutex_lock(&overview->mutex);
    overview->front = front != NULL ? *front : (struct overview_front){0};
    pthread_mutex_unlock(&overview->mutex);
}

void overview_front_figures(struct overview *overview, overview_tell_fn *tell, void *to)
{
    pthread_mutex_lock(&overview->mutex);
    if (overview->front.figures != NULL) overview->front.figures(overview->front.context, tell, to);
    pthread_mutex_unlock(&overview->mutex);
}
