/*
 * owed.h - removals that were answered and that storage has not carried out yet, kept so that they survive the process.
 *
 * The idea: the end of a removal is the moment after which no kill brings the entry back. Usually storage's own commit
 * is that: a delete waits for it. When storage takes no writes (a full disk) or takes too long, the removal is written
 * to a small synced file beside it (tier/journal.h), and is carried out by the next process that opens the store, if
 * this one ends first: deletes go into the queue, invalidations into the list of owed ones, so that they hide at once.
 * What the file has no room for becomes one record that forgets everything that storage holds: a cache may forget.
 *
 * A value that was replaced while storage takes no writes is as good as removed: its older form must not be back after
 * this process. So while writes are down the tick writes down the keys that wait for storage and that storage has an
 * older form of, and so does the close for what storage has not taken by then. The newer form is lost with the process,
 * as any write is that storage did not take.
 *
 * The file is emptied when nothing is owed any more and everything queued before was applied and synced.
 *
 * Any thread; owed.lock is a leaf, held over writes to that file.
 */
#ifndef CACHE_OWED_H
#define CACHE_OWED_H

#include "cache/filter.h"

struct aic_cache;
struct journal;

struct owed {
    pthread_mutex_t lock;    /* protects what follows */
    struct journal *journal; /* NULL: no directory, or the file cannot be opened */
    bool everything;         /* the record that forgets everything is in it: no other is needed */
    _Atomic bool missed; /* keys are not written down, or no more: the next time all are; relaxed, for one thread at a
                            time */
};

void owed_init(struct owed *owed);
void owed_fini(struct owed *owed);

/* Opens DATA_DIR/removals and takes over what an earlier process left. After the gate was made. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status owed_open(struct aic_cache *cache, const char *data_dir);
/* The removal is on disk when they return AIC_OK; AIC_UNAVAILABLE when it cannot be. */
AIC_MUST_CHECK aic_status owed_deletes(struct aic_cache *cache, const aic_key *keys, size_t count);
AIC_MUST_CHECK aic_status owed_filter(struct aic_cache *cache, const struct filter *filter);
/* Writes down what waits for storage and has an older form there. Waits for storage; the tick, or the close after it.
 */
void owed_replaced(struct aic_cache *cache);
/* Empties the file after a close that has brought everything into storage. */
void owed_paid(struct aic_cache *cache);
/* Empties the file if nothing is owed any more. By the ticking thread, or when nobody else is there; may
 * wait for storage. */
void owed_settle(struct aic_cache *cache);

#endif
