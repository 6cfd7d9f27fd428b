#include "observe/metrics.h"

#include "base/check.h"
#include "base/prom.h"
#include "base/view.h"
#include "observe/monitor.h"
#include "observe/overview.h"
#include "observe/pools.h"

#include <string.h>

/* What a page is made from, gathered once. */
struct page {
    struct overview *overview;
    struct prom prom;
    aic_view ns; /* of a caller who may see only one; absent: all */
    struct tally_sum *sum;
    struct labels_page *labels;
    struct object_pool_stats pools[POOLS_MAX];
    size_t pool_count;
    struct figures figures;
};

/* One sample of a family with one or two labels. */
static void labelled(struct page *page, const char *first, const char *value, const char *second, const char *other,
                     uint64_t number)
{
    struct prom_label labels[2] = {{first, aic_view_of(value)}, {second, aic_view_of(other)}};
    prom_sample_u64(&page->prom, labels, second != NULL ? 2 : 1, number);
}

/* ----------------------------------------------------------------------------- families with their own function -- */

static void write_build_info(struct page *page)
{
    labelled(page, "version", page->overview->options.version, NULL, NULL, 1);
}

static const struct {
    const char *result, *kind, *tier;
} outcomes[] = {
#define OUTCOME_ROW(name, result, kind, tier) {result, kind, tier},
    TALLY_OUTCOME_MAP(OUTCOME_ROW)
#undef OUTCOME_ROW
};

static void write_requests(struct page *page)
{
    for (size_t i = 0; i < page->labels->count; i++) {
        const struct labels_series *series = &page->labels->series[i];
        aic_view ns = labels_page_text(page->labels, LABELS_NAMESPACE, series->ns);
        /* The rest is of everybody, also where a namespace is called as it is. */
        bool own = series->ns < LABELS_SHOWN && view_equal(page->ns, ns);
        if (page->ns.data != NULL && !own) continue;
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

static void write_lookup_duration(struct page *page)
{
    for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++) {
        struct prom_label labels[] = {{"result", aic_view_of(outcomes[outcome].result)},
                                      {"tier", aic_view_of(outcomes[outcome].tier)}};
        prom_histogram(&page->prom, labels, COUNT_OF(labels), &page->sum->lookup_ns[outcome], &seconds_of_ns);
    }
}

static void write_store_duration(struct page *page)
{
    prom_histogram(&page->prom, NULL, 0, &page->sum->store_ns, &seconds_of_ns);
}

static void write_key_duration(struct page *page)
{
    prom_histogram(&page->prom, NULL, 0, &page->sum->key_ns, &seconds_of_ns);
}

static void write_entry_age(struct page *page)
{
    prom_histogram(&page->prom, NULL, 0, &page->sum->age_ms, &seconds_of_ms);
}

static void write_expected_hit_ratio(struct page *page)
{
    static const struct {
        const char *text;
        double factor;
    } sizes[] = {{"0.5", 0.5}, {"1", 1}, {"2", 2}, {"4", 4}};
    aic_monitor *monitor = page->overview->options.monitor;
    if (monitor == NULL || !reuse_is_known(monitor->reuse)) return;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint64_t bytes = (uint64_t)((double)page->figures.memory_max_bytes * sizes[i].factor);
        struct prom_label factor = {"factor", aic_view_of(sizes[i].text)};
        prom_sample(&page->prom, &factor, 1, reuse_hit_ratio(monitor->reuse, bytes));
    }
}

static void write_alerts(struct page *page)
{
    uint64_t open[ALERT_SEVERITIES];
    alerts_count_open(page->overview->alerts, open);
    for (enum alert_severity severity = 0; severity < ALERT_SEVERITIES; severity++)
        labelled(page, "severity", alert_severity_name(severity), NULL, NULL, open[severity]);
}

static void write_monitor_lost(struct page *page)
{
    const aic_monitor *monitor = page->overview->options.monitor;
    for (enum stream_kind kind = 0; monitor != NULL && kind < STREAM_COUNT; kind++)
        labelled(page, "stream", monitor_stream_name(kind), NULL, NULL, stream_lost(&monitor->streams[kind]));
}

static void write_pool_objects(struct page *page)
{
    for (const struct object_pool_stats *pool = page->pools; pool < page->pools + page->pool_count; pool++) {
        labelled(page, "pool", pool->name, "state", "active", pool->active);
        labelled(page, "pool", pool->name, "state", "free", pool->size);
    }
}

static void write_pool_bytes(struct page *page)
{
    for (const struct object_pool_stats *pool = page->pools; pool < page->pools + page->pool_count; pool++)
        labelled(page, "pool", pool->name, NULL, NULL, pool->bytes);
}

static void write_pool_refused(struct page *page)
{
    for (const struct object_pool_stats *pool = page->pools; pool < page->pools + page->pool_count; pool++)
        labelled(page, "pool", pool->name, NULL, NULL, pool->refused);
}

static void write_http_answers(struct page *page)
{
    static const char *const classes[TALLY_STATUS_CLASSES] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
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

static void write_owner_bytes(struct page *page)
{
    for (enum mem_owner owner = 0; owner < MEM_OWNER_COUNT; owner++)
        labelled(page, "owner", mem_owner_name(owner), NULL, NULL,
                 breakdown_owner_bytes(&page->overview->look.sources, owner));
}

/* ------------------------------------------------------------------------------------------------- the page -- */

/* What stands on the page, in its order: a figure, or a family with a function of its own. */
static const struct row {
    const char *metric, *labels;
    struct prom_family family;
    void (*write)(struct page *page); /* NULL: the figure */
    unsigned figure;
} rows[] = {
#define FAMILY(name, kind, metric, labels, help) {metric, labels, {metric, PROM_##kind, help}, write_##name, 0},
#define FIGURE(owner, name, kind, metric, labels, path, help)                                                          \
    {metric, labels, {metric, FIGURE_PROM_##kind, help}, NULL, FIGURE_NUMBER_##name},
#define FIGURE_PROM_COUNTER PROM_COUNTER
#define FIGURE_PROM_GAUGE PROM_GAUGE
#define FIGURE_PROM_REAL_COUNTER PROM_COUNTER
#define FIGURE_PROM_REAL_GAUGE PROM_GAUGE
#include "base/figures.def"
};

#define MOST_LABELS 2

/* Splits "name=value,name=value". */
static size_t split_labels(const char *text, struct prom_label out[MOST_LABELS], char room[64])
{
    size_t count = 0;
    CHECK(strlen(text) < 64);
    strcpy(room, text);
    for (char *rest = NULL, *name = strtok_r(room, "=", &rest); name != NULL; name = strtok_r(NULL, "=", &rest)) {
        CHECK(count < MOST_LABELS);
        out[count++] = (struct prom_label){name, aic_view_of(strtok_r(NULL, ",", &rest))};
    }
    return count;
}

static void write_figure(struct page *page, const struct row *row)
{
    char room[64];
    struct prom_label labels[MOST_LABELS];
    size_t count = split_labels(row->labels, labels, room);
    if (figure_is_real(&figure_rows[row->figure]))
        prom_sample(&page->prom, labels, count, page->figures.of[row->figure].real);
    else prom_sample_u64(&page->prom, labels, count, page->figures.of[row->figure].whole);
}

/* A caller who may see one namespace sees its lookups, which daemon this is, and nothing that is of everybody. */
static bool is_shown(const struct page *page, const struct row *row)
{
    bool open = row->write == write_build_info || row->write == write_requests ||
                (row->write == NULL && row->figure == FIGURE_NUMBER_uptime_seconds);
    if (page->ns.data != NULL && !open) return false;
    return row->write != NULL ||
           (row->metric[0] != '\0' && figures_are_read(&page->figures, figure_rows[row->figure].owner));
}

static void write_all(struct page *page)
{
    const char *family = "";
    for (const struct row *row = rows; row < rows + COUNT_OF(rows); row++) {
        if (!is_shown(page, row)) continue;
        if (strcmp(family, row->metric) != 0) prom_begin(&page->prom, &row->family);
        family = row->metric;
        if (row->write != NULL) row->write(page);
        else write_figure(page, row);
    }
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
        overview_sum(overview, page.sum);
        labels_read(&overview->labels, page.labels);
        overview_figures(overview, &page.figures);
        page.pool_count = pools_read(&overview->pools, overview->options.cache, page.pools);
        write_all(&page);
    }
    mem_free(mem, MEM_OTHER, page.labels, sizeof *page.labels);
    mem_free(mem, MEM_OTHER, page.sum, sizeof *page.sum);
    return room ? buf_status(out) : AIC_NO_MEMORY;
}
