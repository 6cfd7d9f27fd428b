#include "observe/overview.h"

#include "base/check.h"
#include "base/view.h"
#include "cache/cache.h"
#include "observe/monitor.h"
#include "observe/parts.h"
#include "observe/process.h"
#include "observe/tick.h"

#include <string.h>

static void set_defaults(struct overview_options *options)
{
    if (options->storage_deadline_ms == 0) options->storage_deadline_ms = 20;
    if (options->clock == NULL) options->clock = clock_system();
    if (options->storage_kind == NULL) options->storage_kind = "none";
    if (options->root == NULL) options->root = "";
}

static aic_status create_parts(struct overview *overview)
{
    const struct overview_options *options = &overview->options;
    overview->past = mem_zalloc(options->mem, MEM_OTHER, sizeof *overview->past);
    if (overview->past == NULL) return AIC_NO_MEMORY;
    TRY(tick_setup(overview));
    struct health_options health = {.mem = options->mem, .clock = options->clock, .context = overview};
    TRY(health_create(&health, &overview->health));
    TRY(parts_register(overview, overview->health));
    history_file_init(&overview->history, options->monitor != NULL ? &options->monitor->history : NULL,
                      options->history_file, options->log);
    struct overview_facts facts;
    tick_refresh(overview, &facts);
    tick_publish(overview, &facts);
    overview_turn(overview);
    return AIC_OK;
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
    overview->health = NULL;
    overview->pressure = NULL;
    overview->alerts = NULL;
    overview->webhook = NULL;
    overview->ticks = 0;
    overview->history = (struct history_file){0};
    overview->verdict.count = 0;
    const struct breakdown_sources sources = {options->mem, options->cache, options->monitor};
    memory_look_init(&overview->look, &sources, overview->options.root, overview->options.clock);
    CHECK(pthread_mutex_init(&overview->mutex, NULL) == 0);
    object_pools_init(&overview->pools);
    labels_init(&overview->labels, options->mem, seed);
    atomic_init(&overview->warning_bytes, options->memory_warning_bytes);
    atomic_init(&overview->critical_bytes, options->memory_critical_bytes);
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
    health_destroy(&overview->health);
    history_file_fini(&overview->history);
    webhook_destroy(&overview->webhook);
    alerts_destroy(&overview->alerts);
    pressure_destroy(&overview->pressure);
    memory_look_fini(&overview->look);
    mem_free(overview->options.mem, MEM_OTHER, overview->past, sizeof *overview->past);
    labels_fini(&overview->labels);
    object_pools_fini(&overview->pools);
    pthread_mutex_destroy(&overview->mutex);
}

void overview_facts(struct overview *overview, struct overview_facts *out)
{
    pthread_mutex_lock(&overview->mutex);
    *out = overview->facts;
    pthread_mutex_unlock(&overview->mutex);
}

void overview_verdict(struct overview *overview, struct verdict *out)
{
    pthread_mutex_lock(&overview->mutex);
    *out = overview->verdict;
    pthread_mutex_unlock(&overview->mutex);
}

/* How well the parts are together. */
static void sum_up(struct overview_health *out)
{
    out->overall = out->criticals > 0 ? HEALTH_DEGRADED : HEALTH_HEALTHY;
    for (size_t i = 0; i < parts_count; i++) {
        enum health_status status = out->reports[i].status;
        if (status == HEALTH_DISABLED) continue;
        out->counted++;
        out->up += status == HEALTH_HEALTHY;
        if (status == HEALTH_UNHEALTHY && parts[i].vital) out->overall = HEALTH_UNHEALTHY;
        else if (status != HEALTH_HEALTHY && out->overall == HEALTH_HEALTHY) out->overall = HEALTH_DEGRADED;
    }
    if (out->stopping) out->overall = HEALTH_UNHEALTHY;
}

void overview_health(struct overview *overview, bool stopping, struct overview_health *out)
{
    unsigned counts[SEVERITIES];
    memset(out, 0, sizeof *out);
    out->overview = overview;
    out->stopping = stopping;
    out->now_ms = clock_wall_ms(overview->options.clock);
    pthread_mutex_lock(&overview->mutex);
    out->facts = overview->facts;
    verdict_count(&overview->verdict, counts);
    pthread_mutex_unlock(&overview->mutex);
    out->criticals = counts[SEVERITY_CRITICAL];
    cache_lookup_counts(overview->options.cache, &out->facts.stats.hits_memory, &out->facts.stats.misses);
    out->facts.stats.hits_storage = 0; /* hits of both tiers are in hits_memory now; only their sum is shown */
    for (size_t i = 0; i < parts_count; i++) {
        health_read(overview->health, i, &out->reports[i]);
        if (parts[i].freshen != NULL) parts[i].freshen(&out->facts, &out->reports[i]);
    }
    sum_up(out);
}

bool overview_memory_short(struct overview *overview, const struct figures *stats)
{
    uint64_t threshold = atomic_load_explicit(&overview->warning_bytes, memory_order_relaxed);
    return (threshold > 0 && stats->memory_bytes >= threshold) || pressure_state(overview->pressure) != PRESSURE_NORMAL;
}

void overview_join(struct overview *overview, struct tally *tally)
{
    pthread_mutex_lock(&overview->mutex);
    CHECK(tally->next == NULL && overview->tallies != tally);
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

/* Where nobody set a threshold, the usual part of the limit is shown. */
static uint64_t threshold(const _Atomic uint64_t *set, uint64_t max_bytes, unsigned usual_percent)
{
    uint64_t bytes = atomic_load_explicit(set, memory_order_relaxed);
    return bytes > 0 ? bytes : max_bytes * usual_percent / 100;
}

static void add_pressure(const struct overview *overview, struct figures *out)
{
    struct pressure_figures now;
    pressure_read(overview->pressure, &now);
    out->pressure_state = now.state;
    out->pressure_ratio = now.percent / 100;
    if (!now.psi.available) return;
    out->owners |= 1U << FIGURES_STALLS;
    out->stalls_some_seconds = (double)now.psi.some_total_us * 1e-6;
    out->stalls_all_seconds = (double)now.psi.full_total_us * 1e-6;
}

void overview_figures(struct overview *overview, struct figures *out)
{
    pthread_mutex_lock(&overview->mutex);
    *out = overview->past->figures;
    for (const struct tally *tally = overview->tallies; tally != NULL; tally = tally->next)
        figures_add(out, &tally->counts);
    if (overview->front.figures != NULL) overview->front.figures(overview->front.context, out);
    pthread_mutex_unlock(&overview->mutex);
    out->owners |= 1U << FIGURES_DAEMON;
    cache_figures(overview->options.cache, out);
    add_pressure(overview, out);
    if (overview->webhook != NULL) webhook_figures(overview->webhook, out);
    process_figures(out);
    out->uptime_seconds = (double)(clock_mono_ns(overview->options.clock) - overview->started_ns) * 1e-9;
    out->warning_bytes = threshold(&overview->warning_bytes, out->memory_max_bytes, 80);
    out->critical_bytes = threshold(&overview->critical_bytes, out->memory_max_bytes, 95);
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
    struct figures figures;
    overview_sum(overview, sum);
    overview_figures(overview, &figures);
    cache_forget_lookups(overview->options.cache);
    pthread_mutex_lock(&overview->mutex);
    struct overview_marks *marks = &overview->marks;
    marks->since_ms = clock_wall_ms(overview->options.clock);
    marks->figures = figures;
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
