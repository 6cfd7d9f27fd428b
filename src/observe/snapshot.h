/*
 * snapshot.h - one picture of everything, as the web page and `aicache top` show it: built once a second, shared by
 * everybody who looks.
 *
 * A snapshot is a server-sent event, whole ("data: {…}\n\n"), counted by its holders. snapshot_make() is called by one
 * background thread; pin and release by any.
 */
#ifndef OBSERVE_SNAPSHOT_H
#define OBSERVE_SNAPSHOT_H

#include "base/buf.h"
#include "observe/overview.h"

struct snapshot;

/* What the last snapshot counted, to tell rates from. Zeroed at the start; owned by the thread that makes snapshots. */
struct snapshot_last {
    uint64_t time_ns, hits, misses;
    struct hist_total lookup_ns;
};

/* A new snapshot with one holder. AIC_NO_MEMORY. Takes milliseconds. */
AIC_MUST_CHECK aic_status snapshot_make(struct overview *overview, struct snapshot_last *last, struct snapshot **out);
struct snapshot *snapshot_pin(struct snapshot *snapshot);
/* An http_release_fn. */
void snapshot_release(void *snapshot);
aic_view snapshot_text(const struct snapshot *snapshot);

#endif
