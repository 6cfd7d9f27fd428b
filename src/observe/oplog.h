/*
 * oplog.h - the log of operations: every one at level debug, or one in N at level info.
 */
#ifndef OBSERVE_OPLOG_H
#define OBSERVE_OPLOG_H

#include "base/log.h"
#include "cache/observe.h"

struct oplog {
    struct log *log;
    _Atomic uint64_t every; /* one in so many at level info; 0: none. Relaxed: stands for itself */
    _Atomic uint64_t seen;  /* relaxed counter */
};

/* Listens to the cache from now on; both outlive each other's use. Before requests are served. */
void oplog_init(struct oplog *oplog, struct log *log, aic_cache *cache);
/* After a change of the log's level or of the sampling. Any thread. */
void oplog_set(struct oplog *oplog, aic_cache *cache, uint64_t every);

#endif
