#include "observe/warnings.h"

#include "base/check.h"
#include "base/status.h"
#include "cache/cache.h"
#include "observe/monitor.h"
#include "observe/parts.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#define NEARLY_FULL 0.75 /* of the queue */
#define MB 1048576.0

static const struct alert_key storage_alert = {.cause = ALERT_OF_DOWN, .part = "storage"};

/* What helps at once, without a restart: it comes first. */
static void advise_place(struct finding *found, const char *directory, enum tier_cause cause)
{
    char reason[256];
    struct statvfs room;
    bool full = cause == TIER_CAUSE_FULL;
    if (directory == NULL) directory = "";
    if (full && statvfs(directory, &room) == 0)
        snprintf(reason, sizeof reason,
                 "Free space on the file system that data_dir lies on: %llu of its %llu bytes are free. Storage takes "
                 "writes again by itself; a restart loses those that wait in its queue.",
                 (unsigned long long)room.f_bavail * room.f_frsize, (unsigned long long)room.f_blocks * room.f_frsize);
    else if (cause == TIER_CAUSE_DAMAGED)
        snprintf(
            reason, sizeof reason,
            "The store's file is damaged: it is dropped and begun anew by itself. Should this stay, stop the daemon "
            "and remove the directory cache in data_dir; only cached answers are lost.");
    else if (cause == TIER_CAUSE_LIMIT)
        snprintf(reason, sizeof reason,
                 "A file may not grow further: raise the process's limit (LimitFSIZE= of a unit, ulimit -f, prlimit "
                 "while it runs), or the file system's own. Storage takes writes again by itself.");
    else
        snprintf(reason, sizeof reason, "%s. Storage takes writes again by itself; a restart loses those that wait.",
                 full ? "Free space on the file system that data_dir lies on"
                      : "Mend the device that data_dir lies on, or the rights to it");
    finding_advise_text(found, "data_dir", directory, "%s", reason);
}

/* A file that may not grow on a full disk evicts and reuses its own room instead. */
static uint64_t present_size(const struct figures *stats)
{
    uint64_t mebibytes = stats->storage_file_bytes >> 20;
    return (mebibytes > 4 ? mebibytes : 4) << 20;
}

/* The same for reads and for writes that storage does not take. */
static void advise_queue(struct finding *found, const struct figures *stats)
{
    if ((double)stats->queue_bytes >= NEARLY_FULL * (double)stats->queue_max_bytes)
        finding_advise(found, "storage.queue_bytes", stats->queue_max_bytes * 2, NULL,
                       "For the next time: let more writes wait; beyond it they are dropped. Takes effect after a "
                       "restart, which loses those that wait now.");
}

/* Reads hang or fail, so nothing in storage is found: what that costs, and which settings bound the cost. */
static void find_storage_down(struct verdict *out, const struct overview_options *options,
                              const struct gate_stats *gate, const struct figures *stats)
{
    if (gate->reads_down_ms == 0) return;
    struct finding *found = verdict_add(
        out, SEVERITY_CRITICAL, "storage_down", gate->reads_down_ms,
        "Storage does not answer%s%s: what it alone has is a miss. Since the start %llu lookups ran into their "
        "deadline of %llu ms and %llu reads or writes failed; %llu writes wait in its queue (%llu of %llu bytes), "
        "%llu were dropped.",
        gate->trouble.text != NULL ? ": " : "", gate->trouble.text != NULL ? gate->trouble.text : "",
        (unsigned long long)stats->storage_timeouts, (unsigned long long)options->storage_deadline_ms,
        (unsigned long long)stats->storage_errors, (unsigned long long)stats->queue_entries,
        (unsigned long long)stats->queue_bytes, (unsigned long long)stats->queue_max_bytes,
        (unsigned long long)stats->storage_dropped_writes);
    found->alert = storage_alert;
    finding_advise_text(found, "data_dir", options->data_dir != NULL ? options->data_dir : "",
                        "Mend the device that it lies on. Storage is asked again by itself and applies what waits; a "
                        "restart loses the writes that wait.");
    if (options->storage_deadline_ms > 1)
        finding_advise(found, "storage.deadline", (options->storage_deadline_ms + 1) / 2, "ms",
                       "Lookups that meet a storage that hangs wait half as long before they are misses. Takes effect "
                       "after a restart.");
    advise_queue(found, stats);
}

static void find_writes_fail(struct verdict *out, const char *directory, const struct gate_stats *gate,
                             const struct figures *stats)
{
    if (gate->writes_down_ms == 0) return;
    struct finding *found = verdict_add(
        out, SEVERITY_CRITICAL, "storage_writes_fail", gate->writes_down_ms,
        "Storage takes no writes%s%s: %llu wait in its queue (%llu of %llu bytes), %llu were dropped.",
        gate->trouble.text != NULL ? ": " : "", gate->trouble.text != NULL ? gate->trouble.text : "",
        (unsigned long long)stats->queue_entries, (unsigned long long)stats->queue_bytes,
        (unsigned long long)stats->queue_max_bytes, (unsigned long long)stats->storage_dropped_writes);
    found->alert = storage_alert;
    enum tier_cause cause = gate->trouble.cause;
    bool full = cause == TIER_CAUSE_FULL || cause == TIER_CAUSE_LIMIT;
    advise_place(found, directory, cause);
    if (full && present_size(stats) < stats->storage_max_bytes)
        finding_advise(found, "storage.max_bytes", present_size(stats), NULL,
                       "Where there is no more: keep the store at the size that it has, so that it evicts instead "
                       "of growing. Takes effect after a restart, which loses the writes that wait.");
    advise_queue(found, stats);
}

/* Thresholds below the usual ones are what somebody set; where the usual ones would be calm, they are the advice. */
static void advise_pressure(struct finding *found, const struct pressure_figures *now)
{
    static const char usual[] = "The default: pressure would be normal there, and the memory tier not cut.";
    bool calm = now->warning_percent < PRESSURE_USUAL_WARNING &&
                now->percent <= PRESSURE_USUAL_WARNING - PRESSURE_LEAVE_POINTS;
    bool no_error = now->state == PRESSURE_CRITICAL && now->percent <= PRESSURE_USUAL_CRITICAL - PRESSURE_LEAVE_POINTS;
    if (calm) finding_advise(found, "pressure.warning", PRESSURE_USUAL_WARNING, NULL, "%s", usual);
    if (now->critical_percent < PRESSURE_USUAL_CRITICAL &&
        (no_error || (calm && now->critical_percent <= PRESSURE_USUAL_WARNING)))
        finding_advise(found, "pressure.critical", PRESSURE_USUAL_CRITICAL, NULL, "%s",
                       calm ? usual : "The default: pressure would not be critical there.");
}

static uint64_t whole_mebibytes(double bytes)
{
    return (uint64_t)(bytes / MB) << 20;
}

/* The tier is as small as it gets and the rest is still too much: the limit, where it is one that can be set. */
static void advise_limit(struct finding *found, const struct pressure_figures *now, double others, double calm)
{
    double least = (double)now->cache_max_bytes / PRESSURE_FLOOR_DIVISOR;
    if (now->cgroup_version == 0) return;
    finding_advise(found, now->cgroup_version == 1 ? "cgroup memory.limit_in_bytes" : "cgroup memory.max",
                   whole_mebibytes((others + least) / calm) + (1ULL << 20), NULL,
                   "The limit of the cgroup (MemoryMax= of a unit, the memory limit of a container), %.1f MB now: %.1f "
                   "MB of the working set are not the memory tier's, and with a fifth of the tier pressure ends there.",
                   (double)now->limit_bytes / MB, others / MB);
}

/*
 * The size of the memory tier with which what is in use stays where a warning is left. What the tier does not hold is
 * taken to stay as it is; where that alone is too much, the tier is told to keep what pressure leaves it.
 */
static void advise_size(struct finding *found, const struct pressure_figures *now, uint64_t tier_bytes)
{
    char reason[256];
    double calm = (now->warning_percent - PRESSURE_LEAVE_POINTS) / 100, limit = (double)now->limit_bytes;
    double used = now->percent / 100 * limit, most = (double)now->cache_max_bytes,
           least = most / PRESSURE_FLOOR_DIVISOR;
    double others = used > (double)tier_bytes ? used - (double)tier_bytes : 0, size = calm * limit - others;
    bool stalled = used <= calm * limit, enough = stalled || size >= least;
    if (limit == 0 || calm <= 0) return;
    if (stalled) {
        size = most - most / PRESSURE_STEP_DIVISOR;
        snprintf(reason, sizeof reason,
                 "Programs waited for memory below the threshold: a twentieth less for the tier.");
    } else if (enough) {
        snprintf(reason, sizeof reason,
                 "%.1f MB are in use, %.1f MB of them by the memory tier: with a tier of this size %.1f MB of %.1f MB, "
                 "where the warning ends.",
                 used / MB, (double)tier_bytes / MB, calm * limit / MB, limit / MB);
    } else {
        size = least;
        snprintf(reason, sizeof reason,
                 "%.1f MB are in use, %.1f MB of them by the memory tier: a fifth of its size is what pressure leaves "
                 "it and it does not grow back past that; the other %.1f MB are too much without it.",
                 used / MB, (double)tier_bytes / MB, others / MB);
    }
    uint64_t value = size >= MB ? whole_mebibytes(size) : (uint64_t)size >> 10 << 10;
    if (value > 0) finding_advise(found, "memory.max_bytes", value, NULL, "%s", reason);
    if (!enough) advise_limit(found, now, others, calm);
}

static void find_pressure(struct verdict *out, const struct pressure_figures *now, uint64_t tier_bytes)
{
    static const enum severity severities[] = {
        [PRESSURE_WARNING] = SEVERITY_WARNING, [PRESSURE_CRITICAL] = SEVERITY_CRITICAL};
    if (now->state == PRESSURE_NORMAL) return;
    char cut[112] = "";
    bool stalled = now->percent <= now->warning_percent - PRESSURE_LEAVE_POINTS;
    if (now->cache_limit < now->cache_max_bytes)
        snprintf(cut, sizeof cut, " The memory tier is cut to %.1f MB of %.1f MB and grows back when pressure is over.",
                 (double)now->cache_limit / MB, (double)now->cache_max_bytes / MB);
    struct finding *found = verdict_add(
        out, severities[now->state], "memory_pressure", now->since_ms,
        "Memory pressure is %s: %.1f%% of the memory limit is in use%s (pressure.warning %.0f, pressure.critical "
        "%.0f; a state is left %d points below).%s",
        pressure_state_name(now->state), now->percent, stalled ? " and programs waited for memory" : "",
        now->warning_percent, now->critical_percent, PRESSURE_LEAVE_POINTS, cut);
    found->alert.cause = ALERT_OF_PRESSURE;
    advise_pressure(found, now);
    advise_size(found, now, tier_bytes);
}

/* The memory tier is off: that costs time, and without storage there is nothing that a lookup could find. */
static void find_tier_off(struct verdict *out, const struct overview *overview, const struct figures *stats)
{
    if (stats->memory_max_bytes > 0) return;
    struct finding *found = stats->storage_configured
                                ? verdict_add(out, SEVERITY_INFO, "memory_tier_off", overview->started_ms,
                                              "The memory tier is off (memory.max_bytes 0): every hit is read from "
                                              "storage, and /health calls the cache degraded.")
                                : verdict_add(out, SEVERITY_CRITICAL, "no_tier", overview->started_ms,
                                              "No tier keeps entries: memory.max_bytes is 0 and storage.kind is none.");
    finding_advise(found, "memory.max_bytes", 256 << 20, NULL, "The default: the memory tier keeps entries then.");
}

static void find_crowd(struct verdict *out, const struct overview *overview)
{
    uint64_t since = atomic_load_explicit(&overview->crowded_since_ms, memory_order_relaxed);
    uint64_t most = atomic_load_explicit(&overview->connections, memory_order_relaxed);
    if (since == 0) return;
    struct finding *found = verdict_add(
        out, SEVERITY_WARNING, "connections_full", since,
        "All of the %llu connections that are accepted at one time are open or were within a minute: idle ones are "
        "closed for new ones, and where none is idle, new ones get 503.",
        (unsigned long long)most);
    struct rlimit descriptors;
    enum { NEAR = 1024 }; /* the descriptors that are kept for all else are fewer */
    bool bound = getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur < most + NEAR;
    if (bound)
        finding_advise(
            found, "LimitNOFILE", most * 2 + NEAR, NULL,
            "The process's limit on descriptors (LimitNOFILE= of a unit, ulimit -n before the start) is what "
            "leaves room for no more; limits.connections counts beyond it for nothing.");
    else
        finding_advise(found, "limits.connections", most * 2, NULL,
                       "Twice as many; the process's limit on descriptors (LimitNOFILE= of a unit, ulimit -n) leaves "
                       "room for more.");
}

/* What would help against misses: more memory where the curve says so, else to look at the requests. */
static void advise_hit_rate(struct finding *found, const struct overview_options *options, const struct figures *stats)
{
    double now, twice;
    if (options->monitor != NULL && memory_worth_growing(options->monitor, stats->memory_max_bytes, &now, &twice))
        finding_advise(found, "memory.max_bytes", stats->memory_max_bytes * 2, NULL,
                       "By reuse distance memory answers %.1f%% of the lookups now, %.1f%% with twice of it.",
                       now * 100, twice * 100);
    finding_advise_text(found, "requests", "aicache explain",
                        "Since the start %llu entries were stored, %llu expired and %llu were evicted. Of a request "
                        "that should have hit, explain names the first difference from the nearest entry.",
                        (unsigned long long)stats->puts,
                        (unsigned long long)(stats->evicted_expired + stats->storage_expired),
                        (unsigned long long)(stats->evicted_capacity + stats->storage_evicted));
}

aic_status warnings_of_storage(const struct overview *overview, const struct overview_facts *facts, struct verdict *out)
{
    struct gate_stats gate;
    gate_stats(cache_gate(overview->options.cache), &gate);
    find_storage_down(out, &overview->options, &gate, &facts->stats);
    find_writes_fail(out, overview->options.data_dir, &gate, &facts->stats);
    return AIC_OK;
}

aic_status warnings_of_memory(const struct overview *overview, const struct overview_facts *facts, struct verdict *out)
{
    if (overview->options.monitor != NULL) TRY(memory_findings(overview->options.monitor, out));
    find_tier_off(out, overview, &facts->stats);
    find_pressure(out, &facts->pressure, facts->stats.memory_bytes);
    return AIC_OK;
}

aic_status warnings_find(const struct overview *overview, const struct overview_facts *facts, struct verdict *out)
{
    out->count = 0;
    for (size_t i = 0; i < parts_count; i++)
        if (parts[i].find != NULL && parts_has(overview, &parts[i])) TRY(parts[i].find(overview, facts, out));
    find_crowd(out, overview);
    return AIC_OK;
}

void warnings_advise_storage(const struct overview *overview, struct finding *found)
{
    advise_place(found, overview->options.data_dir, TIER_CAUSE_UNKNOWN);
}

/* What helps against an alert that tells of no finding. */
static void advise_alert(const struct overview *overview, const struct figures *stats, struct finding *found)
{
    size_t part = 0;
    bool of_part = found->alert.part != NULL &&
                   health_find(overview->health, aic_view_of(found->alert.part), &part) == AIC_OK;
    if (found->alert.cause == ALERT_OF_HIT_RATE) advise_hit_rate(found, &overview->options, stats);
    else if (of_part && parts[part].advise != NULL) parts[part].advise(overview, found);
    else finding_advise_text(found, "health", "aicache health", "Says what the last check of this part found.");
}

/* Marks the findings that this open alert tells of. */
static bool mark(struct verdict *verdict, const struct alert *alert, enum severity severity)
{
    bool known = false;
    for (size_t i = 0; i < verdict->count; i++) {
        struct finding *found = &verdict->findings[i];
        if (!alert_is(found->alert, alert->key)) continue;
        known = found->alerted = true;
        if (severity > found->severity) found->severity = severity;
    }
    return known;
}

void warnings_mark_alerts(const struct overview *overview, const struct overview_facts *facts, struct verdict *verdict)
{
    struct alert open[VERDICT_FINDINGS];
    char id[ALERT_ID_BYTES];
    size_t count = alerts_read_open(overview->alerts, open, COUNT_OF(open));
    for (size_t i = 0; i < count; i++) {
        const struct alert *alert = &open[i];
        enum severity severity = alert->severity == ALERT_CRITICAL ? SEVERITY_CRITICAL : SEVERITY_WARNING;
        /* Where a threshold is not reached any more, the next tick resolves its alert. */
        bool over = alert->key.cause == ALERT_OF_THRESHOLD || alert->key.cause == ALERT_OF_PRESSURE;
        if (mark(verdict, alert, severity) || over || verdict->count == VERDICT_FINDINGS) continue;
        alert_id(alert->key, id);
        struct finding *found = verdict_add(verdict, severity, id, alert->opened_ms, "%s", alert->message);
        found->alert = alert->key;
        found->alerted = true;
        advise_alert(overview, &facts->stats, found);
    }
}
