#include "serve/watch/warnings.h"

#include "cache/cache.h"
#include "monitor/fields.h"
#include "monitor/monitor.h"
#include "monitor/warning.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define NEARLY_FULL 0.75 /* of the queue */
/* Percent of the memory limit: the defaults of the thresholds of pressure, and how far below one a state is left. */
#define USUAL_WARNING 75
#define USUAL_CRITICAL 90
#define LEAVE_POINTS 5
/* What pressure.c takes of the memory tier: all but a fifth at most, for a stall a twentieth. */
#define LEAST_DIVISOR 5
#define STALL_DIVISOR 20
#define MB 1048576.0

/* Of the file system, or of the process's limit on files. */
static bool is_limited(const char *trouble)
{
    return trouble != NULL && strcmp(trouble, strerror(EFBIG)) == 0;
}

static bool is_full(const char *trouble)
{
    return trouble != NULL && (strcmp(trouble, strerror(ENOSPC)) == 0 || strcmp(trouble, strerror(EDQUOT)) == 0);
}

/* What helps at once, without a restart: it comes first. */
static void advise_place(struct json_writer *out, const char *directory, const char *trouble)
{
    char reason[256];
    struct statvfs room;
    bool full = is_full(trouble);
    /* LMDB's own texts begin so; those of the system do not. */
    bool damaged = trouble != NULL && strncmp(trouble, "MDB_CORRUPTED", 13) == 0;
    if (directory == NULL) directory = "";
    if (full && statvfs(directory, &room) == 0)
        snprintf(reason, sizeof reason,
                 "Free space on the file system that data_dir lies on: %llu of its %llu bytes are free. Storage takes "
                 "writes again by itself; a restart loses those that wait in its queue.",
                 (unsigned long long)room.f_bavail * room.f_frsize, (unsigned long long)room.f_blocks * room.f_frsize);
    else if (damaged)
        snprintf(
            reason, sizeof reason,
            "The store's file is damaged: it is dropped and begun anew by itself. Should this stay, stop the daemon "
            "and remove the directory cache in data_dir; only cached answers are lost.");
    else if (is_limited(trouble))
        snprintf(reason, sizeof reason,
                 "A file may not grow further: raise the process's limit (LimitFSIZE= of a unit, ulimit -f, prlimit "
                 "while it runs), or the file system's own. Storage takes writes again by itself.");
    else
        snprintf(reason, sizeof reason, "%s. Storage takes writes again by itself; a restart loses those that wait.",
                 full ? "Free space on the file system that data_dir lies on"
                      : "Mend the device that data_dir lies on, or the rights to it");
    json_open(out, '{');
    put_text(out, "setting", "data_dir");
    put_text(out, "value", directory);
    put_text(out, "reason", reason);
    json_close(out, '}');
}

/* A file that may not grow on a full disk evicts and reuses its own room instead. */
static uint64_t present_size(const aic_stats *stats)
{
    uint64_t mebibytes = stats->storage_file_bytes >> 20;
    return (mebibytes > 4 ? mebibytes : 4) << 20;
}

static void advise_text(struct json_writer *out, const char *setting, const char *value, const char *reason)
{
    json_open(out, '{');
    put_text(out, "setting", setting);
    put_text(out, "value", value);
    put_text(out, "reason", reason);
    json_close(out, '}');
}

/* Reads hang or fail, so nothing in storage is found: what that costs, and which settings bound the cost. */
static void write_storage_down(struct json_writer *out, const struct overview_options *options,
                               const struct gate_stats *gate, const aic_stats *stats)
{
    char message[384], value[32];
    snprintf(message, sizeof message,
             "Storage does not answer%s%s: what it alone has is a miss. Since the start %llu lookups ran into their "
             "deadline of %llu ms and %llu reads or writes failed; %llu writes wait in its queue (%llu of %llu bytes), "
             "%llu were dropped.",
             gate->trouble != NULL ? ": " : "", gate->trouble != NULL ? gate->trouble : "",
             (unsigned long long)stats->storage_timeouts, (unsigned long long)options->storage_deadline_ms,
             (unsigned long long)gate->errors, (unsigned long long)gate->queue_entries,
             (unsigned long long)gate->queue_bytes, (unsigned long long)gate->queue_max_bytes,
             (unsigned long long)gate->dropped_writes);
    warning_open(out, "critical", "storage_down", message, gate->reads_down_ms);
    advise_text(out, "data_dir", options->data_dir != NULL ? options->data_dir : "",
                "Mend the device that it lies on. Storage is asked again by itself and applies what waits; a restart "
                "loses the writes that wait.");
    if (options->storage_deadline_ms > 1) {
        snprintf(value, sizeof value, "%llums", (unsigned long long)(options->storage_deadline_ms + 1) / 2);
        advise_text(out, "storage.deadline", value,
                    "Lookups that meet a storage that hangs wait half as long before they are misses. Takes effect "
                    "after a restart.");
    }
    if ((double)gate->queue_bytes >= NEARLY_FULL * (double)gate->queue_max_bytes)
        warning_advise(out, "storage.queue_bytes", gate->queue_max_bytes * 2,
                       "For the next time: let more writes wait; beyond it they are dropped. Takes effect after a "
                       "restart, which loses those that wait now.");
    warning_close(out);
}

static void write_storage(struct json_writer *out, const char *directory, const struct gate_stats *gate,
                          const aic_stats *stats)
{
    char message[256];
    bool nearly_full = (double)gate->queue_bytes >= NEARLY_FULL * (double)gate->queue_max_bytes;
    if (gate->writes_down_ms == 0) return;
    snprintf(message, sizeof message,
             "Storage takes no writes%s%s: %llu wait in its queue (%llu of %llu bytes), %llu were dropped.",
             gate->trouble != NULL ? ": " : "", gate->trouble != NULL ? gate->trouble : "",
             (unsigned long long)gate->queue_entries, (unsigned long long)gate->queue_bytes,
             (unsigned long long)gate->queue_max_bytes, (unsigned long long)gate->dropped_writes);
    warning_open(out, "critical", "storage_writes_fail", message, gate->writes_down_ms);
    bool full = is_full(gate->trouble) || is_limited(gate->trouble);
    advise_place(out, directory, gate->trouble);
    if (full && present_size(stats) < stats->storage_max_bytes)
        warning_advise(out, "storage.max_bytes", present_size(stats),
                       "Where there is no more: keep the store at the size that it has, so that it evicts instead "
                       "of growing. Takes effect after a restart, which loses the writes that wait.");
    if (nearly_full)
        warning_advise(out, "storage.queue_bytes", gate->queue_max_bytes * 2,
                       "For the next time: let more writes wait; beyond it they are dropped. Takes effect after a "
                       "restart, which loses those that wait now.");
    warning_close(out);
}

/* Thresholds below the usual ones are what somebody set; where the usual ones would be calm, they are the advice. */
static void advise_pressure(struct json_writer *out, const struct pressure_figures *now)
{
    static const char usual[] = "The default: pressure would be normal there, and the memory tier not cut.";
    bool calm = now->warning_percent < USUAL_WARNING && now->percent <= USUAL_WARNING - LEAVE_POINTS;
    bool no_error = now->state == PRESSURE_CRITICAL && now->percent <= USUAL_CRITICAL - LEAVE_POINTS;
    if (calm) warning_advise(out, "pressure.warning", USUAL_WARNING, usual);
    if (now->critical_percent < USUAL_CRITICAL && (no_error || (calm && now->critical_percent <= USUAL_WARNING)))
        warning_advise(out, "pressure.critical", USUAL_CRITICAL,
                       calm ? usual : "The default: pressure would not be critical there.");
}

static uint64_t whole_mebibytes(double bytes)
{
    return (uint64_t)(bytes / MB) << 20;
}

/* The tier is as small as it gets and the rest is still too much: the limit, where it is one that can be set. */
static void advise_limit(struct json_writer *out, const struct pressure_figures *now, double others, double calm)
{
    char reason[320];
    double least = (double)now->cache_max_bytes / LEAST_DIVISOR;
    if (now->cgroup_version == 0) return;
    snprintf(reason, sizeof reason,
             "The limit of the cgroup (MemoryMax= of a unit, the memory limit of a container), %.1f MB now: %.1f MB of "
             "the working set are not the memory tier's, and with a fifth of the tier pressure ends there.",
             (double)now->limit_bytes / MB, others / MB);
    warning_advise(out, now->cgroup_version == 1 ? "cgroup memory.limit_in_bytes" : "cgroup memory.max",
                   whole_mebibytes((others + least) / calm) + (1ULL << 20), reason);
}

/*
 * The size of the memory tier with which what is in use stays where a warning is left. What the tier does not hold is
 * taken to stay as it is; where that alone is too much, the tier is told to keep what pressure leaves it.
 */
static void advise_size(struct json_writer *out, const struct pressure_figures *now, uint64_t tier_bytes)
{
    char reason[256];
    double calm = (now->warning_percent - LEAVE_POINTS) / 100, limit = (double)now->limit_bytes;
    double used = now->percent / 100 * limit, most = (double)now->cache_max_bytes, least = most / LEAST_DIVISOR;
    double others = used > (double)tier_bytes ? used - (double)tier_bytes : 0, size = calm * limit - others;
    bool stalled = used <= calm * limit, enough = stalled || size >= least;
    if (limit == 0 || calm <= 0) return;
    if (stalled) {
        size = most - most / STALL_DIVISOR;
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
    if (value > 0) warning_advise(out, "memory.max_bytes", value, reason);
    if (!enough) advise_limit(out, now, others, calm);
}

static void write_pressure(struct json_writer *out, const struct pressure_figures *now, uint64_t tier_bytes)
{
    if (now->state == PRESSURE_NORMAL) return;
    char message[320], cut[112] = "";
    bool stalled = now->percent <= now->warning_percent - LEAVE_POINTS;
    if (now->cache_limit < now->cache_max_bytes)
        snprintf(cut, sizeof cut, " The memory tier is cut to %.1f MB of %.1f MB and grows back when pressure is over.",
                 (double)now->cache_limit / 1048576.0, (double)now->cache_max_bytes / 1048576.0);
    snprintf(message, sizeof message,
             "Memory pressure is %s: %.1f%% of the memory limit is in use%s (pressure.warning %.0f, pressure.critical "
             "%.0f; a state is left %d points below).%s",
             pressure_state_name(now->state), now->percent, stalled ? " and programs waited for memory" : "",
             now->warning_percent, now->critical_percent, LEAVE_POINTS, cut);
    warning_open(out, pressure_state_name(now->state), "memory_pressure", message, now->since_ms);
    advise_pressure(out, now);
    advise_size(out, now, tier_bytes);
    warning_close(out);
}

aic_status warnings_all(const struct overview *overview, struct json_writer *out)
{
    const struct overview_options *options = &overview->options;
    struct buf own;
    aic_status status = AIC_OK;
    buf_init(&own, options->mem, MEM_CONNECTIONS);
    if (options->monitor != NULL) {
        struct json_writer inner;
        json_writer_init(&inner, &own);
        status = warnings_write(options->monitor, &inner);
    }
    if (status == AIC_OK) status = buf_status(&own);
    if (status == AIC_OK) {
        struct gate *storage = cache_gate(options->cache);
        aic_stats stats;
        aic_cache_stats(options->cache, &stats);
        json_open(out, '[');
        if (own.size > 2) json_put_raw(out, (aic_view){own.data + 1, own.size - 2}); /* without its brackets */
        if (storage != NULL) {
            struct gate_stats gate;
            gate_stats(storage, &gate);
            if (gate.reads_down_ms != 0) write_storage_down(out, options, &gate, &stats);
            write_storage(out, options->data_dir, &gate, &stats);
        }
        struct pressure_figures pressure;
        pressure_read(watch_pressure(overview->watch), &pressure);
        write_pressure(out, &pressure, stats.memory_bytes);
        json_close(out, ']');
    }
    buf_fini(&own);
    return status;
}
