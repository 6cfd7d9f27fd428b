#include "observe/watch.h"

#include "base/check.h"
#include "base/file.h"
#include "base/status.h"
#include "cache/cache.h"
#include "observe/breakdown.h"
#include "observe/fields.h"
#include "observe/monitor.h"
#include "observe/stats.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOOTPRINT_TICKS 5        /* the mappings of a process that stays as it is are walked so seldom */
#define FOOTPRINT_CHANGE 50      /* a change of RSS by one part in so many is worth a walk */
#define FOOTPRINT_SHARE 20       /* walking takes at most one part in so many of the time */
#define FOOTPRINT_NS 10000000ULL /* figures so old are of this moment */
#define SAVE_TICKS 60
#define WARM_NS 600000000000ULL /* so long up, a cache is no cold one any more */
#define HISTORY_MAX_BYTES (4 << 20)

/* Writes the history to its file. The ticking thread's, but for `text` until `done`. */
struct saver {
    pthread_t thread;
    bool started;      /* and not joined */
    _Atomic bool done; /* release by the thread, acquire by who ticks */
    struct buf text;
};

struct watch {
    struct watch_options options;
    struct saver saver;
    struct pressure *pressure;
    struct alerts *alerts;
    struct webhook *webhook;
    uint64_t started_ns; /* monotonic */
    unsigned ticks;
    pthread_mutex_t looking;     /* held while the mappings are walked; guards the two times */
    uint64_t walked_ns, walk_ns; /* when a walk ended, on the monotonic clock, and how long it took */
    pthread_mutex_t mutex;       /* guards what follows; a leaf */
    bool measured;
    struct breakdown breakdown;
};

/* ----------------------------------------------------------------------------------------------------- actions -- */

static uint64_t cache_bytes(void *context)
{
    struct watch *watch = context;
    return store_bytes(cache_store(watch->options.cache));
}

static void resize_cache(void *context, uint64_t max_bytes)
{
    struct watch *watch = context;
    struct store *store = cache_store(watch->options.cache);
    struct store_stats stats;
    store_stats(store, &stats);
    /* A refusal leaves the tier as large as it was; the next tick decides anew. */
    aic_status status = store_resize(store, max_bytes, stats.max_entries);
    if (status != AIC_OK && watch->options.log != NULL)
        log_line(watch->options.log, AIC_LOG_WARNING, "pressure", "the memory tier cannot be resized: %s",
                 aic_status_text(status));
}

static size_t empty_pools(void *context)
{
    struct watch *watch = context;
    return watch->options.pools != NULL ? object_pools_shrink(watch->options.pools, true) : 0;
}

static void purge(void *context)
{
    (void)context;
    allocator_purge();
}

static void say(void *context, aic_log_level level, const char *line)
{
    struct watch *watch = context;
    if (watch->options.log != NULL) log_line(watch->options.log, level, "pressure", "%s", line);
}

/* ------------------------------------------------------------------------------------------------------ alerts -- */

static void send_alert(struct watch *watch, const struct alert *alert)
{
    struct buf text;
    struct json_writer writer;
    buf_init(&text, watch->options.mem, MEM_MONITOR);
    json_writer_init(&writer, &text);
    json_open(&writer, '{');
    put_text(&writer, "source", "aicached");
    put_text(&writer, "id", alert->id);
    put_text(&writer, "severity", alert_severity_name(alert->severity));
    put_text(&writer, "state", alert->resolved_ms > 0 ? "resolved" : alert->escalations > 0 ? "escalated" : "open");
    put_text(&writer, "message", alert->message);
    put_time(&writer, "opened", alert->opened_ms);
    if (alert->resolved_ms > 0) put_time(&writer, "resolved", alert->resolved_ms);
    json_close(&writer, '}');
    if (buf_status(&text) == AIC_OK) webhook_send(watch->webhook, buf_view(&text));
    buf_fini(&text);
}

static void on_alert(void *context, const struct alert *alert)
{
    struct watch *watch = context;
    bool resolved = alert->resolved_ms > 0;
    aic_log_level level = resolved ? AIC_LOG_INFO : alert->severity == ALERT_CRITICAL ? AIC_LOG_ERROR : AIC_LOG_WARNING;
    if (watch->options.log != NULL)
        log_line(watch->options.log, level, "alert", "%s %s: %s", alert->id,
                 resolved ? "resolved" : alert_severity_name(alert->severity), alert->message);
    if (watch->webhook != NULL) send_alert(watch, alert);
}

/* Memory and the cache itself are no services: pressure, thresholds and hit rate have alerts of their own. */
static void watch_part(void *context, const char *name, const struct probe_report *report)
{
    struct watch *watch = context;
    if (strcmp(name, part_name(PART_MEMORY)) == 0 || strcmp(name, part_name(PART_CACHE)) == 0) return;
    const char *state = report->status == PROBE_DEGRADED ? "degraded" : "down";
    if (report->status != PROBE_DISABLED) alerts_watch_part(watch->alerts, name, state, report->down_seconds);
}

/* ----------------------------------------------------------------------------------------------------- history -- */

static void load_history(struct watch *watch)
{
    const char *path = watch->options.history_file;
    if (path == NULL || watch->options.monitor == NULL) return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    struct buf text;
    buf_init(&text, watch->options.mem, MEM_MONITOR);
    struct stat info;
    if (fstat(fd, &info) == 0 && info.st_size > 0 && info.st_size <= HISTORY_MAX_BYTES) {
        char *room = buf_reserve(&text, (size_t)info.st_size);
        size_t got;
        if (room != NULL && file_read(fd, room, (size_t)info.st_size, 0, &got) == 0) buf_commit(&text, got);
    }
    close(fd);
    if (text.size > 0 && history_load(&watch->options.monitor->history, buf_view(&text)) != AIC_OK &&
        watch->options.log != NULL)
        log_line(watch->options.log, AIC_LOG_WARNING, "monitor",
                 "the kept history is damaged, or of another version, and was left out; it begins anew");
    buf_fini(&text);
}

/* Beside the file and then in its place, so that a crash leaves the old one. 0, or the number of the error. */
static int write_whole(const char *path, aic_view bytes)
{
    char beside[4096];
    if ((size_t)snprintf(beside, sizeof beside, "%s.new", path) >= sizeof beside) return ENAMETOOLONG;
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return errno;
    int fault = file_write(fd, bytes.data, bytes.size, 0);
    if (close(fd) != 0 && fault == 0) fault = errno;
    if (fault == 0 && rename(beside, path) != 0) fault = errno;
    return fault;
}

static void *save_main(void *context)
{
    struct watch *watch = context;
    struct saver *saver = &watch->saver;
    int fault = write_whole(watch->options.history_file, buf_view(&saver->text));
    if (fault != 0 && watch->options.log != NULL)
        log_line(watch->options.log, AIC_LOG_WARNING, "monitor", "the history could not be saved: %s", strerror(fault));
    atomic_store_explicit(&saver->done, true, memory_order_release);
    return NULL;
}

/* The one that runs, to its end; a disk that hangs is waited for. */
static void finish_saving(struct saver *saver)
{
    if (saver->started) pthread_join(saver->thread, NULL);
    saver->started = false;
    buf_fini(&saver->text);
}

/* By a thread of its own: who ticks has more to do than to wait for a disk. While one has not come back no other goes.
 */
static void save_history(struct watch *watch)
{
    struct saver *saver = &watch->saver;
    sigset_t all, before;
    if (watch->options.history_file == NULL || watch->options.monitor == NULL) return;
    if (saver->started && !atomic_load_explicit(&saver->done, memory_order_acquire)) return;
    finish_saving(saver);
    buf_init(&saver->text, watch->options.mem, MEM_MONITOR);
    history_save(&watch->options.monitor->history, &saver->text);
    if (buf_status(&saver->text) != AIC_OK) return;
    atomic_store_explicit(&saver->done, false, memory_order_relaxed); /* pthread_create orders it */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    saver->started = pthread_create(&saver->thread, NULL, save_main, watch) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* ------------------------------------------------------------------------------------------------ create, tick -- */

static aic_status create_parts(struct watch *watch, aic_error *error)
{
    const struct watch_options *options = &watch->options;
    struct store_stats stats;
    store_stats(cache_store(options->cache), &stats);
    struct pressure_options pressure = {
        .mem = options->mem,
        .clock = options->clock,
        .root = options->root,
        .warning_percent = options->warning_percent,
        .critical_percent = options->critical_percent,
        .cache_max_bytes = stats.max_bytes,
        .actions = {.cache_bytes = cache_bytes,
                    .resize_cache = resize_cache,
                    .empty_pools = empty_pools,
                    .purge_allocator = purge,
                    .log = say,
                    .context = watch},
    };
    TRY(pressure_create(&pressure, &watch->pressure, error));
    TRY(alerts_create(options->mem, options->clock, on_alert, watch, &watch->alerts));
    return options->webhook != NULL
               ? webhook_create(options->mem, options->webhook, options->back, options->log, &watch->webhook, error)
               : AIC_OK;
}

aic_status watch_create(const struct watch_options *options, struct watch **out, aic_error *error)
{
    CHECK(options->webhook == NULL || options->back != NULL);
    struct watch *watch = mem_zalloc(options->mem, MEM_MONITOR, sizeof *watch);
    if (watch == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "no memory for the watch");
    watch->options = *options;
    if (watch->options.root == NULL) watch->options.root = "";
    watch->started_ns = clock_mono_ns(options->clock);
    CHECK(pthread_mutex_init(&watch->looking, NULL) == 0);
    CHECK(pthread_mutex_init(&watch->mutex, NULL) == 0);
    aic_status status = create_parts(watch, error);
    if (status != AIC_OK) {
        watch->options.history_file = NULL;
        watch_destroy(&watch);
        return status;
    }
    load_history(watch);
    *out = watch;
    return AIC_OK;
}

void watch_destroy(struct watch **watch)
{
    struct watch *self = *watch;
    if (self == NULL) return;
    *watch = NULL;
    finish_saving(&self->saver);
    save_history(self);
    finish_saving(&self->saver);
    webhook_destroy(&self->webhook);
    alerts_destroy(&self->alerts);
    pressure_destroy(&self->pressure);
    pthread_mutex_destroy(&self->mutex);
    pthread_mutex_destroy(&self->looking);
    mem_free(self->options.mem, MEM_MONITOR, self, sizeof *self);
}

static struct breakdown_sources sources_of(const struct watch *watch)
{
    const struct watch_options *options = &watch->options;
    return (struct breakdown_sources){.mem = options->mem, .cache = options->cache, .monitor = options->monitor};
}

static bool last_breakdown(struct watch *watch, struct breakdown *out)
{
    pthread_mutex_lock(&watch->mutex);
    bool measured = watch->measured;
    if (measured) *out = watch->breakdown;
    pthread_mutex_unlock(&watch->mutex);
    return measured;
}

/* Walks the mappings. Under `looking`. */
static void walk(struct watch *watch, const aic_stats *stats)
{
    const aic_clock *clock = watch->options.clock;
    struct breakdown_sources sources = sources_of(watch);
    struct breakdown what = {.measured_ms = clock_wall_ms(clock), .stats = *stats};
    uint64_t began = clock_mono_ns(clock);
    bool read = breakdown_read(&sources, watch->options.root, &what) == AIC_OK;
    watch->walked_ns = clock_mono_ns(clock);
    watch->walk_ns = watch->walked_ns - began;
    if (!read) return; /* what was known stands */
    pthread_mutex_lock(&watch->mutex);
    watch->breakdown = what;
    watch->measured = true;
    pthread_mutex_unlock(&watch->mutex);
}

/* Was the last walk so long ago that another one keeps within its share of the time? Under `looking`. */
static bool may_walk(const struct watch *watch, uint64_t least_ns)
{
    uint64_t age = clock_mono_ns(watch->options.clock) - watch->walked_ns;
    return watch->walked_ns == 0 || (age >= least_ns && age >= watch->walk_ns * FOOTPRINT_SHARE);
}

static bool changed(uint64_t from, uint64_t to)
{
    uint64_t difference = from > to ? from - to : to - from;
    return difference > from / FOOTPRINT_CHANGE;
}

static void walk_if_due(struct watch *watch, const aic_stats *stats, uint64_t rss_bytes)
{
    struct breakdown last;
    bool due = watch->ticks % FOOTPRINT_TICKS == 0 || !last_breakdown(watch, &last) ||
               changed(last.footprint.rss, rss_bytes);
    if (!due) return;
    pthread_mutex_lock(&watch->looking);
    if (may_walk(watch, 0)) walk(watch, stats);
    pthread_mutex_unlock(&watch->looking);
}

/* The embedded store keeps its bytes in a file, not in memory of anybody's: it has entries, but no bytes here. */
static aic_memory_sample sample_of(const aic_stats *stats, uint64_t process_bytes, const struct footprint *footprint)
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

bool watch_measure(struct watch *watch, struct breakdown *what, aic_memory_sample *now)
{
    pthread_mutex_lock(&watch->looking);
    if (may_walk(watch, FOOTPRINT_NS)) {
        aic_stats stats;
        aic_cache_stats(watch->options.cache, &stats);
        walk(watch, &stats);
    }
    bool measured = last_breakdown(watch, what);
    pthread_mutex_unlock(&watch->looking);
    if (measured) *now = sample_of(&what->stats, what->footprint.rss, &what->footprint);
    return measured;
}

void watch_record_memory(struct watch *watch, const aic_stats *stats, uint64_t process_bytes)
{
    if (watch->options.monitor == NULL) return;
    struct breakdown last = {0};
    (void)last_breakdown(watch, &last);
    aic_memory_sample sample = sample_of(stats, process_bytes, &last.footprint);
    aic_monitor_memory(watch->options.monitor, &sample, (aic_view){0});
}

/* Neither filled since the start nor up for ten minutes: misses are how a cache begins. */
static bool is_cold(const struct watch *watch, const aic_stats *stats)
{
    bool filled = stats->evicted_capacity + stats->storage_evicted > 0 ||
                  memory_at_limit(stats->memory_bytes, stats->memory_max_bytes) ||
                  memory_at_limit(stats->memory_entries, stats->memory_max_entries);
    return !filled && clock_mono_ns(watch->options.clock) - watch->started_ns < WARM_NS;
}

void watch_tick(struct watch *watch, const struct parts_facts *facts, struct parts *parts)
{
    struct pressure_figures pressure;
    walk_if_due(watch, &facts->stats, facts->host.rss_bytes);
    watch_record_memory(watch, &facts->stats, facts->host.rss_bytes);
    pressure_tick(watch->pressure, &facts->host, false);
    pressure_read(watch->pressure, &pressure);
    if (watch->options.monitor != NULL)
        atomic_store_explicit(&watch->options.monitor->tier_cut,
                              pressure.cache_limit < pressure.cache_max_bytes || pressure.state != PRESSURE_NORMAL,
                              memory_order_relaxed);
    alerts_watch_pressure(watch->alerts, &pressure);
    alerts_watch_hit_rate(watch->alerts, stats_hits(&facts->stats), facts->stats.misses, is_cold(watch, &facts->stats));
    probes_each(parts_probes(parts), watch_part, watch);
    if (watch->options.pools != NULL) object_pools_shrink(watch->options.pools, false);
    allocator_decay();
    if (watch->ticks % SAVE_TICKS == SAVE_TICKS - 1) save_history(watch);
    watch->ticks++;
}

void watch_stalled(struct watch *watch)
{
    pressure_tick(watch->pressure, NULL, true);
}

void watch_set_memory_limit(struct watch *watch, uint64_t max_bytes)
{
    pressure_set_cache_limit(watch->pressure, max_bytes);
}

struct pressure *watch_pressure(struct watch *watch)
{
    return watch->pressure;
}

struct alerts *watch_alerts(struct watch *watch)
{
    return watch->alerts;
}

bool watch_webhook(struct watch *watch, struct webhook_stats *out)
{
    if (watch->webhook == NULL) return false;
    webhook_stats(watch->webhook, out);
    return true;
}

/* --------------------------------------------------------------------------------------------------- breakdown -- */

uint64_t watch_owner_bytes(const struct watch *watch, enum mem_owner owner)
{
    struct breakdown_sources sources = sources_of(watch);
    return breakdown_owner_bytes(&sources, owner);
}

void watch_write_breakdown(struct watch *watch, struct json_writer *out)
{
    struct breakdown what;
    json_open(out, '[');
    if (last_breakdown(watch, &what)) breakdown_write(&what, out);
    json_close(out, ']');
}
