/*
 * snapshot.h - one picture of everything, as the web page and `aicache top` show it: built once a second, shared by
 * everybody who looks.
 *
 * A snapshot is a server-sent event, whole ("data: {…}\n\n"), counted by its holders; who may see one namespace alone
 * is written an event of it. snapshot_make() is called by one background thread, the rest by any.
 */
#ifndef OBSERVE_SNAPSHOT_H
#define OBSERVE_SNAPSHOT_H

#include "base/buf.h"
#include "observe/overview.h"

struct snapshot;

/* The lookups that the last event told of, of all or of one namespace, to tell rates from. Zeroed at the start. */
struct snapshot_own {
    uint64_t time_ns, hits, misses;
};
/* What the last snapshot counted. Zeroed at the start; owned by the thread that makes snapshots. */
struct snapshot_last {
    struct snapshot_own lookups;
    struct hist_total lookup_ns;
};

/* A new snapshot with one holder. AIC_NO_MEMORY. Takes milliseconds. */
AIC_MUST_CHECK aic_status snapshot_make(struct overview *overview, struct snapshot_last *last, struct snapshot **out);
struct snapshot *snapshot_pin(struct snapshot *snapshot);
/* An http_release_fn. */
void snapshot_release(void *snapshot);
aic_view snapshot_text(const struct snapshot *snapshot);

/* Appends an event of one namespace: its lookups and operations, and of the daemon its version, age and state. Without
 * figures where the namespace has no label of its own (labels.h). */
void snapshot_write_own(const struct snapshot *snapshot, aic_view ns, struct snapshot_own *last, struct buf *out);

#endif
