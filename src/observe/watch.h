/*
 * watch.h - what looks after the daemon once a second: memory snapshots, pressure and its actions, alerts, the
 * footprint, the kept history.
 *
 * watch_tick() is called by one background thread; everything else by any. What takes milliseconds is done when
 * there is need: the history is saved every minute; the mappings are walked every few ticks, in any tick that finds RSS
 * changed by a fiftieth, and when somebody asks, but never for more than a twentieth of the time. Locks: `looking` (one
 * walk at a time), then `mutex` (the last breakdown; a leaf, held only to copy it).
 */
#ifndef OBSERVE_WATCH_H
#define OBSERVE_WATCH_H

#include "base/clock.h"
#include "base/log.h"
#include "base/object_pool.h"
#include "observe/alerts.h"
#include "observe/breakdown.h"
#include "observe/footprint.h"
#include "observe/parts.h"
#include "observe/pressure.h"
#include "observe/webhook.h"

#include <aicache/monitor.h>

struct watch;

/* Everything is borrowed and outlives the watch. */
struct watch_options {
    struct mem *mem; /* the daemon's */
    const aic_clock *clock;
    struct log *log;
    aic_cache *cache;
    aic_monitor *monitor;       /* NULL: no snapshots are kept */
    struct object_pools *pools; /* emptied under pressure, shrunk every second; NULL: none */
    const char *root;           /* where /proc and /sys are; NULL: this machine's */
    const char *history_file;   /* kept over restarts; NULL: not */
    struct loop *back;   /* what waits for others runs there; has a thread, outlives the watch; needed with a webhook */
    const char *webhook; /* an address told of alerts; NULL: none */
    unsigned warning_percent, critical_percent; /* of the memory limit; 0: 75, 90 */
};

AIC_MUST_CHECK aic_status watch_create(const struct watch_options *options, struct watch **out, aic_error *error);
/* Saves the history. Accepts a pointer to NULL. */
void watch_destroy(struct watch **watch);

/* One second's work, on the figures that were just taken. */
void watch_tick(struct watch *watch, const struct parts_facts *facts, struct parts *parts);
/* A stall trigger of the kernel fired: pressure is looked at now. */
void watch_stalled(struct watch *watch);
/* The configured size of the memory tier changed. */
void watch_set_memory_limit(struct watch *watch, uint64_t max_bytes);

struct pressure *watch_pressure(struct watch *watch);
struct alerts *watch_alerts(struct watch *watch);
/* What became of notices of alerts; false without a webhook. */
bool watch_webhook(struct watch *watch, struct webhook_stats *out);

/* Walks the mappings, unless they were just walked. *what: who holds memory at this moment; *now: the figures of the
 * same moment. Blocks for milliseconds per GiB of RSS: not for a front thread. false: the mappings cannot be read. */
bool watch_measure(struct watch *watch, struct breakdown *what, aic_memory_sample *now);
/* [{"owner","bytes","help"},…]: every byte of RSS has one owner, as of the last look; empty before the first. */
void watch_write_breakdown(struct watch *watch, struct json_writer *out);
/* What one owner holds now, whoever counts it: the cache, the daemon, the monitor. */
uint64_t watch_owner_bytes(const struct watch *watch, enum mem_owner owner);
/* Makes a snapshot of memory from the cache's figures; process_bytes: RSS. Nothing without a monitor. */
void watch_record_memory(struct watch *watch, const aic_stats *stats, uint64_t process_bytes);

#endif
