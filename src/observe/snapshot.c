#include "observe/snapshot.h"

#include "base/check.h"
#include "base/view.h"
#include "observe/fields.h"
#include "observe/monitor.h"
#include "observe/parts.h"
#include "observe/stats.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOP_SHOWN 10
#define ALL_LABELS UINT_MAX
#define SLOW_SHOWN 10
#define SLOW_MULTIPLIER 5 /* times the usual: worth a look on a screen that is always on */

struct snapshot {
    _Atomic unsigned holders; /* release by whoever lets go, acquire by the last, who frees */
    struct mem *mem;
    const struct overview *overview;
    uint64_t now_ms, now_ns;
    enum health_status health;
    struct labels_page *labels; /* owned; sorted, the busiest first */
    struct buf text;
};

struct snapshot *snapshot_pin(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->holders, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_release(void *held)
{
    struct snapshot *snapshot = held;
    if (atomic_fetch_sub_explicit(&snapshot->holders, 1, memory_order_acq_rel) != 1) return;
    struct mem *mem = snapshot->mem;
    buf_fini(&snapshot->text);
    mem_free(mem, MEM_MONITOR, snapshot->labels, sizeof *snapshot->labels);
    mem_free(mem, MEM_MONITOR, snapshot, sizeof *snapshot);
}

aic_view snapshot_text(const struct snapshot *snapshot)
{
    return buf_view(&snapshot->text);
}

/* What is gathered before it is written. */
struct view {
    struct overview *overview;
    struct snapshot *made;
    struct figures figures, since; /* as of now, and since the last reset */
    struct tally_sum *sum;
    struct overview_marks marks; /* to be taken off what is told as of the last reset */
};

static double percent(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole * 100 : 0;
}

/* Of a counter, what came since it was marked; a reset may have come between the two. */
static uint64_t since(uint64_t now, uint64_t marked)
{
    return now > marked ? now - marked : 0;
}

/* What came between two looks at the same durations. */
static void take_off(const struct hist_total *all, const struct hist_total *before, struct hist_total *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < HIST_BUCKETS; i++) out->counts[i] = since(all->counts[i], before->counts[i]);
    out->count = since(all->count, before->count);
    out->max = all->max;
}

/* ------------------------------------------------------------------------------------------------------ traffic -- */

/* What came since the last look, and makes this one the last. */
static void write_recent(uint64_t now_ns, uint64_t hits, uint64_t misses, struct snapshot_own *last,
                         struct json_writer *out)
{
    double seconds = last->time_ns > 0 ? (double)(now_ns - last->time_ns) / 1e9 : 0;
    bool counted = seconds > 0 && hits >= last->hits && misses >= last->misses;
    uint64_t new_hits = counted ? hits - last->hits : 0;
    uint64_t lookups = counted ? new_hits + misses - last->misses : 0;
    json_key(out, "recent");
    json_open(out, '{');
    put_number(out, "lookups_per_second", counted ? (double)lookups / seconds : 0);
    json_key(out, "hit_rate");
    if (lookups > 0) json_put_double(out, percent(new_hits, lookups));
    else json_put_null(out);
    json_close(out, '}');
    *last = (struct snapshot_own){now_ns, hits, misses};
}

static void write_traffic(const struct view *view, struct snapshot_last *last, struct json_writer *out)
{
    const struct figures *stats = &view->figures;
    uint64_t hits = stats_hits(stats);
    json_key(out, "traffic");
    json_open(out, '{');
    put_time(out, "since", view->marks.since_ms);
    put_count(out, "hits", hits);
    put_count(out, "misses", stats->misses);
    put_count(out, "puts", view->since.puts);
    put_number(out, "hit_rate", percent(hits, hits + stats->misses));
    write_recent(view->made->now_ns, hits, stats->misses, &last->lookups, out);
    json_key(out, "saved");
    json_open(out, '{');
    put_count(out, "tokens", view->since.prompt_tokens_saved + view->since.completion_tokens_saved);
    put_number(out, "cost_usd", view->since.cost_saved_usd);
    json_close(out, '}');
    json_close(out, '}');
}

static void write_percentiles(const char *name, const struct hist_total *durations, struct json_writer *out)
{
    static const struct {
        const char *name;
        double fraction;
    } wanted[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
    json_key(out, name);
    if (durations->count == 0) {
        json_put_null(out);
        return;
    }
    json_open(out, '{');
    for (unsigned i = 0; i < COUNT_OF(wanted); i++)
        put_number(out, wanted[i].name, (double)hist_percentile(durations, wanted[i].fraction) / 1e9);
    json_close(out, '}');
}

/* Percentiles of the lookups since the last reset, and of those since the last snapshot. */
static void write_latency(const struct view *view, struct snapshot_last *last, struct json_writer *out)
{
    struct hist_total all, some;
    overview_lookups(view->sum, &all);
    take_off(&all, &view->marks.lookup_ns, &some);
    write_percentiles("latency", &some, out);
    take_off(&all, &last->lookup_ns, &some);
    write_percentiles("latency_recent", &some, out);
    last->lookup_ns = all;
}

static uint64_t hits_of(const struct labels_series *series)
{
    return series->counts[TALLY_HIT_MEMORY] + series->counts[TALLY_HIT_STORAGE];
}

static uint64_t lookups_of(const struct labels_series *series)
{
    return hits_of(series) + series->counts[TALLY_MISS];
}

static int by_lookups(const void *a, const void *b)
{
    uint64_t left = lookups_of(a), right = lookups_of(b);
    return (left < right) - (left > right);
}

/* The busiest operations: of all namespaces, or of the one that has this label. */
static void write_top(const struct labels_page *labels, unsigned only, struct json_writer *out)
{
    json_key(out, "top");
    json_open(out, '[');
    for (size_t i = 0, shown = 0; i < labels->count && shown < TOP_SHOWN; i++) {
        const struct labels_series *pair = &labels->series[i];
        if (lookups_of(pair) == 0) break;
        if (only != ALL_LABELS && pair->ns != only) continue;
        json_open(out, '{');
        put_view(out, "namespace", labels_page_text(labels, LABELS_NAMESPACE, pair->ns));
        put_view(out, "operation", labels_page_text(labels, LABELS_OPERATION, pair->operation));
        put_count(out, "lookups", lookups_of(pair));
        put_number(out, "hit_rate", percent(hits_of(pair), lookups_of(pair)));
        json_close(out, '}');
        shown++;
    }
    json_close(out, ']');
}

/* ------------------------------------------------------------------------------------------------ tiers, memory -- */

static void write_tiers(const struct view *view, struct json_writer *out)
{
    const struct figures *stats = &view->figures;
    json_key(out, "tiers");
    json_open(out, '{');
    json_key(out, "memory");
    json_open(out, '{');
    put_count(out, "entries", stats->memory_entries);
    put_count(out, "bytes", stats->memory_bytes);
    put_count(out, "max_bytes", stats->memory_max_bytes);
    put_count(out, "hits", stats->hits_memory);
    put_count(out, "evicted", view->since.evicted_capacity);
    json_close(out, '}');
    json_key(out, "storage");
    json_open(out, '{');
    put_text(out, "kind", stats->storage_configured ? view->overview->options.storage_kind : "none");
    put_text(out, "status", stats_storage_status(stats));
    put_count(out, "entries", stats->storage_entries);
    put_count(out, "bytes", stats->storage_bytes);
    put_count(out, "max_bytes", stats->storage_max_bytes);
    put_count(out, "hits", stats->hits_storage);
    put_count(out, "evicted", view->since.storage_evicted);
    put_count(out, "queue_bytes", stats->queue_bytes);
    json_close(out, '}');
    json_close(out, '}');
}

/* The parts of process_bytes as the history keeps them, so that the page draws past and present alike. */
static void write_resident(const struct view *view, struct json_writer *out)
{
    struct history_sample first, last = {0};
    aic_monitor *monitor = view->overview->options.monitor;
    if (monitor == NULL || !history_span(&monitor->history, HISTORY_SECONDS, 1, &first, &last)) return;
    put_count(out, "resident_tier_bytes", last.resident_tier_bytes);
    put_count(out, "resident_storage_bytes", last.resident_storage_bytes);
    put_count(out, "resident_heap_bytes", last.resident_heap_bytes);
    put_count(out, "resident_program_bytes", last.resident_program_bytes);
}

/* Growth and evictions are those of /monitoring/memory; null where they are not known. */
static void write_trend(const struct memory_trend *trend, struct json_writer *out)
{
    const struct {
        const char *name;
        bool known;
        double value;
    } figures[] = {{"growth_bytes_per_hour", trend->known, trend->bytes_per_hour},
                   {"evictions_per_minute", trend->known, trend->evictions_per_minute},
                   {"growth_span_seconds", trend->known, trend->seconds},
                   {"projected_seconds_to_limit", trend->projected, trend->seconds_to_limit}};
    put_flag(out, "at_limit", trend->at_limit);
    for (unsigned i = 0; i < COUNT_OF(figures); i++) {
        json_key(out, figures[i].name);
        if (figures[i].known) json_put_double(out, figures[i].value);
        else json_put_null(out);
    }
}

static aic_status write_memory(const struct view *view, struct json_writer *out)
{
    const struct figures *stats = &view->figures;
    struct overview *overview = view->overview;
    struct memory_trend trend = {.at_limit = memory_at_limit(stats->memory_bytes, stats->memory_max_bytes)};
    if (overview->options.monitor != NULL) TRY(memory_trend(overview->options.monitor, &trend));
    json_key(out, "memory");
    json_open(out, '{');
    put_count(out, "bytes", stats->memory_bytes);
    put_count(out, "max_bytes", stats->memory_max_bytes);
    put_count(out, "warning_bytes", atomic_load_explicit(&overview->warning_bytes, memory_order_relaxed));
    put_count(out, "critical_bytes", atomic_load_explicit(&overview->critical_bytes, memory_order_relaxed));
    put_count(out, "process_bytes", view->figures.process_rss_bytes);
    write_resident(view, out);
    write_trend(&trend, out);
    json_close(out, '}');
    json_key(out, "breakdown");
    memory_look_write(&overview->look, out);
    return AIC_OK;
}

/* ------------------------------------------------------------------------------------------------------ monitor -- */

static aic_status write_monitor(const struct view *view, struct json_writer *out)
{
    aic_monitor *monitor = view->overview->options.monitor;
    json_key(out, "curve");
    if (monitor == NULL || view->figures.memory_max_bytes == 0) json_put_null(out);
    else reuse_write(monitor->reuse, view->figures.memory_max_bytes, out);
    json_key(out, "warnings");
    struct verdict verdict;
    overview_verdict(view->overview, &verdict);
    verdict_write(&verdict, out);
    json_key(out, "slow");
    if (monitor != NULL) TRY(slow_recent_write(monitor, SLOW_MULTIPLIER, SLOW_SHOWN, out));
    else json_put_raw(out, AIC_LITERAL("[]"));
    json_key(out, "pressure");
    pressure_write(view->overview->pressure, out);
    json_key(out, "alerts");
    alerts_write(view->overview->alerts, out);
    return AIC_OK;
}

static void write_health(const struct view *view, struct json_writer *out)
{
    struct overview_health health;
    overview_health(view->overview, false, &health);
    json_key(out, "health");
    json_open(out, '{');
    put_text(out, "status", health_status_name(health.overall));
    view->made->health = health.overall;
    json_key(out, "parts");
    json_open(out, '[');
    for (size_t part = 0; part < parts_count; part++) {
        const struct health_report *report = &health.reports[part];
        if (report->status == HEALTH_DISABLED) continue;
        json_open(out, '{');
        put_text(out, "name", parts[part].name);
        put_text(out, "status", health_status_name(report->status));
        put_text(out, "details", report->details);
        put_number(out, "response_time_ms", report->response_ms);
        json_close(out, '}');
    }
    json_close(out, ']');
    json_close(out, '}');
}

/* -------------------------------------------------------------------------------------------------------- whole -- */

static aic_status write_all(const struct view *view, struct snapshot_last *last, struct json_writer *out)
{
    const struct overview *overview = view->overview;
    json_open(out, '{');
    put_count(out, "time_ms", view->made->now_ms);
    put_text(out, "version", overview->options.version);
    put_number(out, "uptime_seconds", (double)(view->made->now_ns - overview->started_ns) / 1e9);
    write_traffic(view, last, out);
    write_latency(view, last, out);
    write_top(view->made->labels, ALL_LABELS, out);
    write_tiers(view, out);
    TRY(write_memory(view, out));
    TRY(write_monitor(view, out));
    write_health(view, out);
    json_key(out, "figures");
    json_open(out, '{');
    figures_write(&view->figures, NULL, NULL, out);
    json_close(out, '}');
    json_close(out, '}');
    return AIC_OK;
}

aic_status snapshot_make(struct overview *overview, struct snapshot_last *last, struct snapshot **out)
{
    struct mem *mem = overview->options.mem;
    struct snapshot *made = mem_zalloc(mem, MEM_MONITOR, sizeof *made);
    if (made == NULL) return AIC_NO_MEMORY;
    struct view view = {.overview = overview, .made = made};
    made->mem = mem;
    made->overview = overview;
    made->now_ms = clock_wall_ms(overview->options.clock);
    made->now_ns = clock_mono_ns(overview->options.clock);
    atomic_init(&made->holders, 1);
    buf_init(&made->text, mem, MEM_MONITOR);
    made->labels = mem_alloc(mem, MEM_MONITOR, sizeof *made->labels);
    view.sum = mem_alloc(mem, MEM_MONITOR, sizeof *view.sum);
    aic_status status = made->labels != NULL && view.sum != NULL ? AIC_OK : AIC_NO_MEMORY;
    if (status == AIC_OK) {
        overview_figures(overview, &view.figures);
        overview_marks(overview, &view.marks);
        overview_sum(overview, view.sum);
        labels_read(&overview->labels, made->labels);
        qsort(made->labels->series, made->labels->count, sizeof made->labels->series[0], by_lookups);
        view.since = view.figures;
        figures_since(&view.since, &view.marks.figures);
        struct json_writer writer;
        buf_append_text(&made->text, "data: ");
        json_writer_init(&writer, &made->text);
        status = write_all(&view, last, &writer);
        buf_append_text(&made->text, "\n\n");
        if (status == AIC_OK) status = buf_status(&made->text);
    }
    mem_free(mem, MEM_MONITOR, view.sum, sizeof *view.sum);
    if (status == AIC_OK) *out = made;
    else snapshot_release(made);
    return status;
}

void snapshot_write_own(const struct snapshot *snapshot, aic_view ns, struct snapshot_own *last, struct buf *out)
{
    const struct overview *overview = snapshot->overview;
    const struct labels_page *labels = snapshot->labels;
    uint64_t hits = 0, misses = 0;
    unsigned label = 0;
    while (label < LABELS_SHOWN && !view_equal(labels_page_text(labels, LABELS_NAMESPACE, label), ns)) label++;
    for (size_t i = 0; label < LABELS_SHOWN && i < labels->count; i++) {
        const struct labels_series *series = &labels->series[i];
        if (series->ns != label) continue;
        hits += hits_of(series);
        misses += series->counts[TALLY_MISS];
    }
    struct json_writer writer;
    buf_append_text(out, "data: ");
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    put_count(&writer, "time_ms", snapshot->now_ms);
    put_text(&writer, "version", overview->options.version);
    put_number(&writer, "uptime_seconds", (double)(snapshot->now_ns - overview->started_ns) / 1e9);
    put_view(&writer, "namespace", ns);
    json_key(&writer, "health");
    json_open(&writer, '{');
    put_text(&writer, "status", health_status_name(snapshot->health));
    json_close(&writer, '}');
    json_key(&writer, "traffic");
    if (label < LABELS_SHOWN) {
        json_open(&writer, '{');
        put_time(&writer, "since", overview->started_ms); /* the labelled series are never reset */
        put_count(&writer, "hits", hits);
        put_count(&writer, "misses", misses);
        put_number(&writer, "hit_rate", percent(hits, hits + misses));
        write_recent(snapshot->now_ns, hits, misses, last, &writer);
        json_close(&writer, '}');
    } else {
        json_put_null(&writer);
    }
    write_top(labels, label < LABELS_SHOWN ? label : LABELS_SHOWN + 1, &writer);
    json_close(&writer, '}');
    buf_append_text(out, "\n\n");
}
