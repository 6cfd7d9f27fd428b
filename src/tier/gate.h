/*
 * gate.h - the way to a storage tier: worker threads, a deadline, a write-behind queue, a breaker. A slow or dead tier
 * costs nobody more than the deadline.
 *
 * Reads: a job goes to a reader thread; its `done` is called exactly once, by that thread, or at once when the breaker
 * is open or the job queue is full (AIC_UNAVAILABLE, AIC_BUSY). The deadline is the waiter's: it stops waiting and lets
 * the job end unseen (what both share is reference-counted).
 *
 * Writes: put into the queue, visible to reads at once (read-your-writes), applied in batches by the writer thread,
 * synced every sync_ms or 64 MB. When the queue is full a put is dropped and a delete of the same key takes its place,
 * so that no older value can be served; it is counted. When even deletes do not fit, the whole tier is distrusted until
 * it was emptied.
 *
 * Calls: whatever else is asked of the tier (pages of a walk, upkeep, blobs, checks) is run by two threads of its own,
 * one bounded piece after the other, so that no walk delays a read. Who asks waits GATE_CALL_MS for a piece, a tenth of
 * that where the tier is down, and then goes: AIC_TIMEOUT. Nobody reaches the tier in another way.
 *
 * The breaker opens after 5 failures in a row or one read that hung for a second; while open, every call is a miss at
 * once; one probe at a time with growing pauses (0.5 s doubling to 30 s, jitter). Each change of state is one log line
 * through `log`, and so is a write that hangs: nothing goes past it, so nothing opens, but writes are
 * down meanwhile. Reads and writes have a breaker each: a full disk does not keep anybody from reading what is there.
 */
#ifndef TIER_GATE_H
#define TIER_GATE_H

#include "base/figures.h"
#include "tier/tier.h"

#include <sys/uio.h>

struct gate;

struct gate_options {
    struct mem *mem;
    const aic_clock *clock;
    struct tier *tier; /* taken over: closed by gate_destroy, and when gate_create fails */
    uint64_t queue_bytes;
    unsigned sync_ms;
    unsigned readers;       /* default 2 */
    unsigned write_hang_ms; /* a write that takes longer hangs; default 5000, in the system's time whatever `clock`
                               says: a batch and its sync may take their time, and nothing goes past them */
    unsigned close_ms;      /* how long gate_destroy waits for the tier; default 5000 */
    void (*log)(void *context, aic_log_level level, const char *line);
    void *log_context;
};

/* AIC_NO_MEMORY. *out is owned by the caller. */
AIC_MUST_CHECK aic_status gate_create(const struct gate_options *options, struct gate **out);
/*
 * Drains, syncs, stops the threads, closes the tier: AIC_OK. AIC_NOT_STORED: the same, but writes that the tier did not
 * take are lost. When a call into the tier does not come back within close_ms: AIC_TIMEOUT; every waiting `done` was
 * called, but the hung thread still uses the tier, `mem`, `clock` and what the tier's own callbacks use: leak them (the
 * thread releases gate and tier should it ever come back). Nulls *gate in any case; accepts a pointer to NULL.
 */
aic_status gate_destroy(struct gate **gate);

/* Called once, on a reader thread (or before gate_read returns). `record` is borrowed for the call; valid when status
 * is AIC_OK. */
typedef void gate_done_fn(void *context, aic_status status, aic_view record);
/* Never blocks. */
void gate_read(struct gate *gate, const aic_key *key, gate_done_fn *done, void *context);
/* Waits at most deadline_ms: AIC_OK with the record appended, AIC_MISS, AIC_TIMEOUT, AIC_UNAVAILABLE, AIC_BUSY,
 * AIC_NO_MEMORY, AIC_IO, AIC_DAMAGED, AIC_CLOSED. A record that is still queued is given as it is, expired or not: it
 * is the caller's to look. */
AIC_MUST_CHECK aic_status gate_get(struct gate *gate, const aic_key *key, unsigned deadline_ms, struct buf *out);

struct gate_health {
    bool reads_up;  /* reads are admitted, and none hangs: a walk through the tier is likely to come back */
    bool writes_up; /* writes are admitted, none hangs, and the tier is trusted */
};

/*
 * Never blocks on the tier. AIC_OK (queued), AIC_NOT_STORED (dropped as described above), AIC_TOO_LARGE (the tier takes
 * no record of that size; a delete of the key is queued in its place), AIC_NO_MEMORY (nothing changed), AIC_CLOSED. The
 * record is copied. With the first three *health, unless it is NULL, gets how the tier was at
 * that moment: what is queued while writes fail is in the queue alone.
 */
AIC_MUST_CHECK aic_status gate_put(struct gate *gate, const aic_key *key, const struct iovec *parts, size_t part_count,
                                   struct gate_health *health);
/* AIC_OK: queued; never lost while the process lives. AIC_NO_MEMORY (nothing changed), AIC_CLOSED. */
AIC_MUST_CHECK aic_status gate_delete(struct gate *gate, const aic_key *key);
/* Is a delete of the key under way, or of everything? Never blocks on the tier. */
bool gate_removes(struct gate *gate, const aic_key *key);
/* Waits until everything queued before is applied (and with `to_disk`, synced). AIC_TIMEOUT, AIC_UNAVAILABLE (writes
 * fail now, or the tier is distrusted). */
AIC_MUST_CHECK aic_status gate_flush(struct gate *gate, bool to_disk, unsigned deadline_ms);

/* Keys of writes that are not applied yet, each once, at most `max` a call; 0: no others. `again`: also those that were
 * given before. Never blocks on the tier. */
size_t gate_unapplied(struct gate *gate, bool again, aic_key *keys, size_t max);
/* These need not be given by it: the caller knows of them. */
void gate_is_known(struct gate *gate, const aic_key *keys, size_t count);

/* ---- calls. Any thread that may wait. Each may also give AIC_TIMEOUT (no answer in time), AIC_CLOSED, AIC_NO_MEMORY
 * and what the tier gives. What is queued is not looked at: gate_flush() first. ---- */

enum { GATE_CALL_MS = 10000 };

/* A walk through the tier: visits what the filter matches, page by page. */
struct tier_walk {
    const struct tier_filter *filter; /* at most 4 labels */
    struct tier_place *at;            /* where to begin; afterwards behind what was visited last, or ended */
    size_t most, most_bytes;          /* of a page, as there; what is not visited of one is read once more */
    tier_visit_fn *visit;             /* false ends the walk */
    bool (*goes_on)(void *context); /* asked before each page, also where nothing matches; false ends the walk. NULL */
    void *context;
};
AIC_MUST_CHECK aic_status gate_walk(struct gate *gate, const struct tier_walk *walk);
/* Which of these keys, some hundred at most, the tier itself has a record of. */
AIC_MUST_CHECK aic_status gate_holds(struct gate *gate, const aic_key *keys, size_t count, bool *held);
/* Deletes past the queue, in one transaction; each write is without a record. */
AIC_MUST_CHECK aic_status gate_remove(struct gate *gate, const struct tier_write *deletes, size_t count);
/* Removes what expired, at most `max`. */
AIC_MUST_CHECK aic_status gate_expire(struct gate *gate, size_t max, size_t *removed);
/* As tier_ops.harden; AIC_NOT_FOUND: the tier knows no such promise. */
AIC_MUST_CHECK aic_status gate_harden(struct gate *gate);
/* As tier_ops.blob_get, blob_put, blob_next. */
AIC_MUST_CHECK aic_status gate_blob_get(struct gate *gate, aic_view name, struct buf *out);
AIC_MUST_CHECK aic_status gate_blob_put(struct gate *gate, aic_view name, aic_view value);
AIC_MUST_CHECK aic_status gate_blob_next(struct gate *gate, aic_view prefix, struct buf *name, struct buf *value);
/* Checks everything, step by step; goes_on (may be NULL) is asked before each, false ends it with AIC_CLOSED.
 * AIC_DAMAGED with the first difference in `error`. */
AIC_MUST_CHECK aic_status gate_verify(struct gate *gate, bool (*goes_on)(void *context), void *context,
                                      aic_error *error);

/* ---- what never blocks ---- */

/* "lmdb" */
const char *gate_kind(const struct gate *gate);
/* The largest record that the tier takes; 0: any. */
uint64_t gate_max_record_bytes(const struct gate *gate);
void gate_tier_stats(const struct gate *gate, struct tier_stats *out);
/* Why a write, a sync or a blob gave `status`, in words that live for ever. */
const char *gate_why(const struct gate *gate, aic_status status);

/* How the tier is. */
struct gate_stats {
    bool up;                 /* reads and writes are admitted, and the tier is trusted */
    bool reads_up;           /* reads are admitted, and none hangs: a walk through the tier is likely to come back */
    bool distrusted;         /* all that the tier holds is out of date, and goes */
    uint64_t writes_down_ms; /* wall clock: since when writes are not admitted, or one hangs, or the tier is not
                                trusted; 0: none of it */
    uint64_t
        reads_down_ms; /* wall clock: since when reads are not admitted, or one hangs; 0: they are, and none does */
    struct tier_trouble trouble; /* while writes are down: why */
};
void gate_stats(struct gate *gate, struct gate_stats *out);
/* Adds to `out`, zeroed before, what the gate counted and what waits in its queue. Any thread. */
void gate_figures(struct gate *gate, struct figures *out);

#endif
