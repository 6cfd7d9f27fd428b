#include "observe/metrics.h"

#include "base/check.h"
#include "base/prom.h"
#include "cache/cache.h"
#include "observe/monitor.h"
#include "observe/overview.h"
#include "observe/pools.h"
#include "observe/process.h"

#include <string.h>

static const struct prom_family table[] = {
#define METRIC(name, text, kind, label_names, words) {text, PROM_##kind, words},
#include "observe/metrics.def"
#undef METRIC
};

/* What a page is made from, gathered once. */
struct page {
    struct overview *overview;
    struct prom prom;
    aic_view ns; /* of a caller who may see only one; absent: all */
    struct tally_sum *sum;
    struct labels_page *labels;
    aic_stats stats;
    struct process_figures process;
};

static void begin(struct page *page, enum metric metric)
{
    prom_begin(&page->prom, &table[metric]);
}

static void single(struct page *page, enum metric metric, double value)
{
    begin(page, metric);
    prom_sample(&page->prom, NULL, 0, value);
}

static void count(struct page *page, enum metric metric, uint64_t value)
{
    begin(page, metric);
    prom_sample_u64(&page->prom, NULL, 0, value);
}

/* One sample of a family with one or two labels. */
static void labelled(struct page *page, const char *first, const char *value, const char *second, const char *other,
                     uint64_t number)
{
    struct prom_label labels[2] = {{first, aic_view_of(value)}, {second, aic_view_of(other)}};
    prom_sample_u64(&page->prom, labels, second != NULL ? 2 : 1, number);
}

static void valued(struct page *page, const char *name, const char *value, double number)
{
    struct prom_label label = {name, aic_view_of(value)};
    prom_sample(&page->prom, &label, 1, number);
}

/* --------------------------------------------------------------------------------------------------- lookups -- */

static const struct {
    const char *result, *kind, *tier;
} outcomes[] = {
#define OUTCOME_ROW(name, result, kind, tier) {result, kind, tier},
    TALLY_OUTCOME_MAP(OUTCOME_ROW)
#undef OUTCOME_ROW
};

static bool may_see(const struct page *page, aic_view ns)
{
    return page->ns.data == NULL || (page->ns.size == ns.size && memcmp(page->ns.data, ns.data, ns.size) == 0);
}

static void write_requests(struct page *page)
{
    begin(page, METRIC_REQUESTS);
    for (size_t i = 0; i < page->labels->count; i++) {
        const struct labels_series *series = &page->labels->series[i];
        aic_view ns = labels_page_text(page->labels, LABELS_NAMESPACE, series->ns);
        if (!may_see(page, ns)) continue;
        aic_view operation = labels_page_text(page->labels, LABELS_OPERATION, series->operation);
        for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++) {
            if (series->counts[outcome] == 0) continue;
            struct prom_label labels[] = {{"namespace", ns},
                                          {"operation", operation},
                                          {"result", aic_view_of(outcomes[outcome].result)},
                                          {"kind", aic_view_of(outcomes[outcome].kind)},
                                          {"tier", aic_view_of(outcomes[outcome].tier)}};
            prom_sample_u64(&page->prom, labels, COUNT_OF(labels), series->counts[outcome]);
        }
    }
}

/* 1 µs to 17 s in steps of four. */
static const struct prom_buckets seconds_of_ns = {1e-9, 10, 2, 34};
/* 1 s to 12 days in steps of four. */
static const struct prom_buckets seconds_of_ms = {1e-3, 10, 2, 30};

static void write_durations(struct page *page)
{
    begin(page, METRIC_LOOKUP_DURATION);
    for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++) {
        struct prom_label labels[] = {{"result", aic_view_of(outcomes[outcome].result)},
                                      {"tier", aic_view_of(outcomes[outcome].tier)}};
        prom_histogram(&page->prom, labels, COUNT_OF(labels), &page->sum->lookup_ns[outcome], &seconds_of_ns);
    }
    begin(page, METRIC_STORE_DURATION);
    prom_histogram(&page->prom, NULL, 0, &page->sum->store_ns, &seconds_of_ns);
    begin(page, METRIC_KEY_DURATION);
    prom_histogram(&page->prom, NULL, 0, &page->sum->key_ns, &seconds_of_ns);
    begin(page, METRIC_ENTRY_AGE);
    prom_histogram(&page->prom, NULL, 0, &page->sum->age_ms, &seconds_of_ms);
    count(page, METRIC_WORKER_DECODES, page->sum->worker_decodes);
    count(page, METRIC_MEMO_HITS, page->sum->memo_hits);
    count(page, METRIC_MEMO_MISSES, page->sum->memo_misses);
}

static void write_savings(struct page *page)
{
    begin(page, METRIC_TOKENS_SAVED);
    labelled(page, "type", "prompt", NULL, NULL, page->sum->prompt_tokens_saved);
    labelled(page, "type", "completion", NULL, NULL, page->sum->completion_tokens_saved);
    single(page, METRIC_COST_SAVED, page->sum->cost_saved_usd);
}

/* ----------------------------------------------------------------------------------------------------- tiers -- */

static void write_holdings(struct page *page)
{
    const aic_stats *stats = &page->stats;
    begin(page, METRIC_ENTRIES);
    labelled(page, "tier", "memory", NULL, NULL, stats->memory_entries);
    if (stats->storage_configured) labelled(page, "tier", "storage", NULL, NULL, stats->storage_entries);
    begin(page, METRIC_BYTES);
    labelled(page, "tier", "memory", "part", "keys", stats->memory_key_bytes);
    labelled(page, "tier", "memory", "part", "values", stats->memory_value_bytes);
    labelled(page, "tier", "memory", "part", "index", stats->memory_index_bytes);
    labelled(page, "tier", "memory", "part", "overhead", stats->memory_overhead_bytes);
    if (stats->storage_configured) {
        labelled(page, "tier", "storage", "part", "records", stats->storage_bytes);
        uint64_t file = stats->storage_file_bytes;
        labelled(page, "tier", "storage", "part", "overhead",
                 file > stats->storage_bytes ? file - stats->storage_bytes : 0);
    }
    count(page, METRIC_MEMORY_LIMIT, stats->memory_max_bytes);
    if (stats->storage_configured) count(page, METRIC_STORAGE_LIMIT, stats->storage_max_bytes);
    count(page, METRIC_PINNED, stats->pinned);
}

static void write_compression(struct page *page)
{
    const aic_stats *stats = &page->stats;
    double in = (double)stats->compression_bytes_in;
    single(page, METRIC_COMPRESSION_RATIO, in > 0 ? (double)stats->compression_bytes_out / in : 1.0);
    count(page, METRIC_COMPRESSED, stats->compressed_entries);
    count(page, METRIC_DICTIONARIES, stats->dictionaries);
}

static void write_changes(struct page *page)
{
    const aic_stats *stats = &page->stats;
    count(page, METRIC_PUTS, stats->puts);
    count(page, METRIC_DELETES, stats->deletes);
    count(page, METRIC_PROMOTED, stats->promoted);
    begin(page, METRIC_EVICTIONS);
    labelled(page, "tier", "memory", "reason", "capacity", stats->evicted_capacity);
    labelled(page, "tier", "memory", "reason", "expired", stats->evicted_expired);
    if (stats->storage_configured) {
        labelled(page, "tier", "storage", "reason", "capacity", stats->storage_evicted);
        labelled(page, "tier", "storage", "reason", "expired", stats->storage_expired);
    }
    count(page, METRIC_NOT_ADMITTED, stats->not_admitted);
    begin(page, METRIC_INVALIDATIONS);
    labelled(page, "type", "manual", NULL, NULL,
             stats->invalidations - stats->invalidations_by_operation - stats->invalidations_of_memory);
    labelled(page, "type", "operation_specific", NULL, NULL, stats->invalidations_by_operation);
    labelled(page, "type", "memory", NULL, NULL, stats->invalidations_of_memory);
    count(page, METRIC_INVALIDATED, stats->invalidated_entries);
    single(page, METRIC_EXPIRY_LAG, (double)stats->expiry_lag_ms / 1000.0);
}

static void write_storage(struct page *page)
{
    const aic_stats *stats = &page->stats;
    if (stats->storage_configured) {
        count(page, METRIC_STORAGE_UP, stats->storage_up);
        count(page, METRIC_STORAGE_ERRORS, stats->storage_errors);
        count(page, METRIC_STORAGE_TIMEOUTS, stats->storage_timeouts);
        count(page, METRIC_STORAGE_DROPPED, stats->storage_dropped_writes);
        count(page, METRIC_STORAGE_REFUSED, stats->storage_refused_writes);
        count(page, METRIC_QUEUE_ENTRIES, stats->queue_entries);
        count(page, METRIC_QUEUE_BYTES, stats->queue_bytes);
    }
    count(page, METRIC_DAMAGED, stats->damaged);
    count(page, METRIC_INFLIGHT_WAITERS, page->sum->waiting);
}

/* -------------------------------------------------------------------------------------------------- the watch -- */

static void write_pressure(struct page *page)
{
    struct overview *overview = page->overview;
    const aic_stats *stats = &page->stats;
    struct pressure_figures figures;
    pressure_read(overview->pressure, &figures);
    count(page, METRIC_MEMORY_PRESSURE, figures.state);
    single(page, METRIC_PRESSURE_RATIO, figures.percent / 100);
    begin(page, METRIC_STALL_SECONDS);
    if (figures.psi.available) {
        valued(page, "tasks", "some", (double)figures.psi.some_total_us * 1e-6);
        valued(page, "tasks", "all", (double)figures.psi.full_total_us * 1e-6);
    }
    uint64_t warning = atomic_load_explicit(&overview->warning_bytes, memory_order_relaxed);
    uint64_t critical = atomic_load_explicit(&overview->critical_bytes, memory_order_relaxed);
    begin(page, METRIC_THRESHOLD_BYTES);
    labelled(page, "level", "warning", NULL, NULL, warning > 0 ? warning : stats->memory_max_bytes * 80 / 100);
    labelled(page, "level", "critical", NULL, NULL, critical > 0 ? critical : stats->memory_max_bytes * 95 / 100);
}

static void write_expected(struct page *page)
{
    static const struct {
        const char *text;
        double factor;
    } sizes[] = {{"0.5", 0.5}, {"1", 1}, {"2", 2}, {"4", 4}};
    aic_monitor *monitor = page->overview->options.monitor;
    begin(page, METRIC_EXPECTED_HIT_RATIO);
    if (monitor == NULL || !reuse_is_known(monitor->reuse)) return;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint64_t bytes = (uint64_t)((double)page->stats.memory_max_bytes * sizes[i].factor);
        valued(page, "factor", sizes[i].text, reuse_hit_ratio(monitor->reuse, bytes));
    }
}

static void write_leases(struct page *page)
{
    struct leases_figures figures;
    leases_figures(cache_leases(page->overview->options.cache), &figures);
    count(page, METRIC_LEASES, figures.leases);
    count(page, METRIC_LEASE_WAITERS, figures.waiters);
    begin(page, METRIC_LEASES_ENDED);
    labelled(page, "event", "granted", NULL, NULL, figures.granted);
    labelled(page, "event", "answered", NULL, NULL, figures.answered);
    labelled(page, "event", "given_up", NULL, NULL, figures.given_up);
    labelled(page, "event", "expired", NULL, NULL, figures.expired);
}

static void write_alerts(struct page *page)
{
    uint64_t open[ALERT_SEVERITIES];
    struct webhook_stats notices;
    alerts_count_open(page->overview->alerts, open);
    begin(page, METRIC_ALERTS);
    for (enum alert_severity severity = 0; severity < ALERT_SEVERITIES; severity++)
        labelled(page, "severity", alert_severity_name(severity), NULL, NULL, open[severity]);
    if (page->overview->webhook != NULL) {
        webhook_stats(page->overview->webhook, &notices);
        begin(page, METRIC_ALERT_NOTICES);
        labelled(page, "result", "sent", NULL, NULL, notices.sent);
        labelled(page, "result", "failed", NULL, NULL, notices.failed);
        labelled(page, "result", "dropped", NULL, NULL, notices.dropped);
    }
    const aic_monitor *monitor = page->overview->options.monitor;
    if (monitor == NULL) return;
    begin(page, METRIC_MONITOR_LOST);
    for (enum stream_kind kind = 0; kind < STREAM_COUNT; kind++)
        labelled(page, "stream", monitor_stream_name(kind), NULL, NULL, stream_lost(&monitor->streams[kind]));
}

static void write_pools(struct page *page)
{
    struct object_pool_stats pools[POOLS_MAX];
    size_t found = pools_read(&page->overview->pools, page->overview->options.cache, pools);
    begin(page, METRIC_POOL_OBJECTS);
    for (size_t i = 0; i < found; i++) {
        labelled(page, "pool", pools[i].name, "state", "active", pools[i].active);
        labelled(page, "pool", pools[i].name, "state", "free", pools[i].size);
    }
    begin(page, METRIC_POOL_BYTES);
    for (size_t i = 0; i < found; i++) labelled(page, "pool", pools[i].name, NULL, NULL, pools[i].bytes);
    begin(page, METRIC_POOL_REFUSED);
    for (size_t i = 0; i < found; i++) labelled(page, "pool", pools[i].name, NULL, NULL, pools[i].refused);
}

/* ------------------------------------------------------------------------------------------ server and process -- */

static void write_routes(struct page *page)
{
    static const char *const classes[TALLY_STATUS_CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    begin(page, METRIC_HTTP_REQUESTS);
    for (size_t route = 0; route < page->overview->route_count; route++) {
        for (size_t class = 0; class < TALLY_STATUS_CLASSES; class ++) {
            if (page->sum->answers[route][class] == 0) continue;
            struct overview_route names = page->overview->route(route);
            struct prom_label labels[] = {{"route", aic_view_of(names.path)},
                                          {"method", aic_view_of(names.method)},
                                          {"code", aic_view_of(classes[class])}};
            prom_sample_u64(&page->prom, labels, COUNT_OF(labels), page->sum->answers[route][class]);
        }
    }
}

static void on_front_figure(void *page, enum metric metric, uint64_t value)
{
    count(page, metric, value);
}

static void write_owners(struct page *page)
{
    begin(page, METRIC_OWNER_BYTES);
    for (enum mem_owner owner = 0; owner < MEM_OWNER_COUNT; owner++)
        labelled(page, "owner", mem_owner_name(owner), NULL, NULL,
                 breakdown_owner_bytes(&page->overview->look.sources, owner));
}

static void write_process(struct page *page)
{
    const struct process_figures *process = &page->process;
    single(page, METRIC_PROCESS_CPU, process->cpu_seconds);
    count(page, METRIC_PROCESS_RSS, process->rss_bytes);
    count(page, METRIC_PROCESS_VIRTUAL, process->virtual_bytes);
    count(page, METRIC_PROCESS_FDS, process->open_fds);
    count(page, METRIC_PROCESS_MAX_FDS, process->max_fds);
    single(page, METRIC_PROCESS_START, process->start_seconds);
}

/* ------------------------------------------------------------------------------------------------- the page -- */

static void gather(struct page *page)
{
    struct overview *overview = page->overview;
    overview_sum(overview, page->sum);
    labels_read(&overview->labels, page->labels);
    aic_cache_stats(overview->options.cache, &page->stats);
    process_read(&page->process);
}

static void write_all(struct page *page)
{
    const struct overview_options *options = &page->overview->options;
    struct prom_label version = {"version", aic_view_of(options->version)};
    begin(page, METRIC_BUILD_INFO);
    prom_sample_u64(&page->prom, &version, 1, 1);
    single(page, METRIC_UPTIME, (double)(clock_mono_ns(options->clock) - page->overview->started_ns) * 1e-9);
    write_requests(page);
    if (page->ns.data != NULL) { /* all else is of everybody */
        prom_end(&page->prom);
        return;
    }
    write_durations(page);
    write_holdings(page);
    write_compression(page);
    write_changes(page);
    write_storage(page);
    write_leases(page);
    write_pressure(page);
    write_expected(page);
    write_alerts(page);
    write_pools(page);
    write_savings(page);
    write_routes(page);
    overview_front_figures(page->overview, on_front_figure, page);
    write_owners(page);
    write_process(page);
    prom_end(&page->prom);
}

aic_status metrics_write(struct overview *overview, aic_view ns, bool open_metrics, struct buf *out)
{
    struct mem *mem = overview->options.mem;
    struct page page = {.overview = overview, .ns = ns};
    page.sum = mem_alloc(mem, MEM_OTHER, sizeof *page.sum);
    page.labels = mem_alloc(mem, MEM_OTHER, sizeof *page.labels);
    bool room = page.sum != NULL && page.labels != NULL;
    if (room) {
        prom_init(&page.prom, out, open_metrics);
        gather(&page);
        write_all(&page);
    }
    mem_free(mem, MEM_OTHER, page.labels, sizeof *page.labels);
    mem_free(mem, MEM_OTHER, page.sum, sizeof *page.sum);
    return room ? buf_status(out) : AIC_NO_MEMORY;
}
