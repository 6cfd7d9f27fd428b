/*
 * status.c - GET /cache/status: what both tiers hold, and how well they serve. A job: it counts and sums.
 */
#include "base/check.h"
#include "base/view.h"
#include "cache/cache.h"
#include "observe/fields.h"
#include "observe/parts.h"
#include "observe/stats.h"
#include "serve/routes/handlers.h"
#include "serve/routes/work.h"

static void write_totals(struct json_writer *writer, const struct figures *stats, struct overview *overview)
{
    char rate[STATS_RATE_BYTES];
    double number = stats_rate(stats, rate);
    put_time(writer, "since", overview_since_ms(overview));
    put_count(writer, "total_hits", stats_hits(stats));
    put_count(writer, "total_misses", stats->misses);
    put_text(writer, "hit_rate", rate);
    put_number(writer, "hit_rate_numeric", number);
    put_count(writer, "cache_size", stats_entries(stats));
    put_mb(writer, "memory_usage_mb", stats->memory_bytes);
    put_flag(writer, "memory_pressure", overview_memory_short(overview, stats));
}

static void write_performance(struct json_writer *writer, const struct overview_options *options)
{
    aic_report *report = NULL;
    json_key(writer, "performance");
    if (options->monitor != NULL && aic_monitor_statistics(options->monitor, &report) == AIC_OK)
        json_put_raw(writer, aic_report_json(report));
    else json_put_null(writer);
    aic_report_release(&report);
}

/* Beside the figures of a part, what is said of it in words. */
static void write_words(const void *overview, const struct figures *stats, aic_view section, struct json_writer *writer)
{
    for (size_t i = 0; i < parts_count; i++)
        if (parts[i].status != NULL && view_equal(aic_view_of(parts[i].name), section))
            parts[i].status(overview, stats, writer);
}

static void run_status(struct work *work)
{
    struct routes *routes = work->front->routes;
    struct json_writer writer;
    struct figures stats;
    overview_figures(&routes->overview, &stats);
    /* Every look at the status leaves a snapshot. */
    overview_record_memory(&routes->overview, &stats, stats.process_rss_bytes);
    json_writer_init(&writer, &work->body);
    json_open(&writer, '{');
    for (size_t i = 0; i < parts_count; i++) {
        if (parts[i].status == NULL || parts[i].judge != NULL) continue; /* those have figures */
        json_key(&writer, parts[i].name);
        json_open(&writer, '{');
        parts[i].status(&routes->overview, &stats, &writer);
        json_close(&writer, '}');
    }
    figures_write(&stats, write_words, &routes->overview, &writer);
    write_performance(&writer, &routes->overview.options);
    write_totals(&writer, &stats, &routes->overview);
    json_close(&writer, '}');
    work->status = buf_status(&work->body);
}

/* For a key without the admin flag: what there is of its namespace, counted for this answer, and nothing of the whole.
 */
static void run_own_status(struct work *work)
{
    struct overview *overview = &work->front->routes->overview;
    const struct overview_options *options = &overview->options;
    aic_view ns = call_ns(work->call);
    labels_counts lookups;
    aic_invalidated holds = {0};
    aic_filter filter = {.ns = ns};
    struct figures stats = {0}, own = {0};
    struct json_writer writer;
    work->status = cache_invalidate(options->cache, &filter, true, &work->gone, &holds, &work->error);
    if (work->status != AIC_OK && work->status != AIC_UNAVAILABLE) return; /* the latter: memory alone was counted */
    aic_status known = overview_namespace(overview, ns, lookups);
    cache_figures(options->cache, &stats);
    own.hits_memory = lookups[TALLY_HIT_MEMORY];
    own.hits_storage = lookups[TALLY_HIT_STORAGE];
    own.misses = lookups[TALLY_MISS];
    json_writer_init(&writer, &work->body);
    json_open(&writer, '{');
    put_view(&writer, "namespace", ns);
    json_key(&writer, "storage");
    json_open(&writer, '{');
    put_text(&writer, "kind", stats.storage_configured ? options->storage_kind : "none");
    put_text(&writer, "status", stats_storage_status(&stats));
    json_close(&writer, '}');
    put_count(&writer, "cache_size", holds.matched);
    put_count(&writer, "bytes", holds.bytes_freed);
    put_time(&writer, "since", overview->started_ms); /* the labelled series are never reset */
    char rate[STATS_RATE_BYTES];
    double number = stats_rate(&own, rate);
    if (known == AIC_OK) {
        put_count(&writer, "total_hits", stats_hits(&own));
        put_count(&writer, "total_misses", own.misses);
        put_text(&writer, "hit_rate", rate);
        put_number(&writer, "hit_rate_numeric", number);
    } else {
        json_key(&writer, "total_hits"), json_put_null(&writer);
        json_key(&writer, "total_misses"), json_put_null(&writer);
        json_key(&writer, "hit_rate"), json_put_null(&writer);
        json_key(&writer, "hit_rate_numeric"), json_put_null(&writer);
    }
    json_close(&writer, '}');
    work->status = buf_status(&work->body);
}

void handle_status(struct http_exchange *exchange)
{
    if (call_of(exchange)->admin) work_answer(exchange, LANE_QUICK, run_status, 0);
    else work_answer(exchange, LANE_WALKS, run_own_status, 0);
}
