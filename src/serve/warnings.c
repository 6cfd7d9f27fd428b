/*
 * warnings.c - the warnings of GET /monitoring/warnings and of a snapshot: the monitor's, and what storage has to say.
 */
#include "serve/handlers.h"

#include "monitor/fields.h"
#include "monitor/monitor.h"
#include "monitor/warning.h"

#include <stdio.h>

#define NEARLY_FULL 0.75 /* of the queue */

/* A file that may not grow on a full disk evicts and reuses its own room instead. */
static uint64_t present_size(const aic_stats *stats)
{
    uint64_t mebibytes = stats->storage_file_bytes >> 20;
    return (mebibytes > 4 ? mebibytes : 4) << 20;
}

static void write_storage(struct json_writer *out, const struct gate_stats *gate, const aic_stats *stats)
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
    warning_advise(
        out, "storage.max_bytes", present_size(stats),
        "Free room where data_dir is; or keep the store at the size that it has, so that it evicts instead of growing.");
    if (nearly_full)
        warning_advise(out, "storage.queue_bytes", gate->queue_max_bytes * 2,
                       "Let more writes wait until storage takes them again; beyond it they are dropped.");
    warning_close(out);
}

aic_status warnings_all(const struct routes_options *options, struct json_writer *out)
{
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
        json_open(out, '[');
        if (own.size > 2) json_put_raw(out, (aic_view){own.data + 1, own.size - 2}); /* without its brackets */
        if (storage != NULL) {
            struct gate_stats gate;
            aic_stats stats;
            gate_stats(storage, &gate);
            aic_cache_stats(options->cache, &stats);
            write_storage(out, &gate, &stats);
        }
        json_close(out, ']');
    }
    buf_fini(&own);
    return status;
}
