/*
 * patience.h - work in storage, for which nobody waits longer than it makes progress.
 *
 * A call into a disk that hangs cannot be taken back. So the work runs on a thread of its own, as the bounded close
 * does (close.c): whoever waits for it leaves when nothing has moved for a while, and the thread ends by itself when
 * storage lets go. Where no thread is to be had, the caller does the work and waits. Internal to this folder; any
 * thread.
 */
#ifndef CACHE_PATIENCE_H
#define CACHE_PATIENCE_H

#include "cache/inner.h"

struct patience {
    void (*work)(void *context);
    void (*discard)(void *context); /* called after work() where the caller has left: frees the context */
    void *context;
    const _Atomic unsigned *steps; /* in the context; work() counts what it has done there. Relaxed */
    _Atomic bool *give_up;         /* in the context; work() ends soon when it is set. Relaxed */
    stop_flag *stop;               /* of the caller; may be NULL */
};

/* AIC_OK: work() has been called and the context is the caller's. AIC_TIMEOUT: it makes no progress; the context is no
 * more the caller's. AIC_NO_MEMORY: work() was not called. */
AIC_MUST_CHECK aic_status patience_run(struct aic_cache *cache, const struct patience *what);
/* Waits until no thread works any more for callers who have left, however long storage takes. */
void patience_end(struct aic_cache *cache);

#endif
