/*
 * home.h - the directory of a store: who holds it, and whether its bytes can be trusted after a power failure.
 *
 *   cache.mdb, cache.mdb-lock   LMDB's own
 *   cache.lock                  flock()ed while a process has the store open; says which one, and how many before it
 *                               ended without closing it; empty after one that closed it
 *   cache.synced                there, and empty: each commit is synced (lmdb_harden)
 *   cache.state                 "aicache-store 1 clean" or "aicache-store 1 open BOOT-ID"
 *
 * Commits are not synced one by one, so after a power failure the file may be torn; after a crash of the process alone
 * it is whole, because the kernel has every page. The mark tells them apart: it is put to "open" with this boot's id,
 * durably, before the first commit, and back to "clean" when everything is on disk (at the end, and whenever the store
 * has been idle). "open" with another boot's id means: not to be trusted.
 *
 * What ends without closing may have been ended by the store itself: a damaged page can take the process along. A
 * signal that kills says nothing of that, so such ends only lead to a look at the file before it is used
 * (check.h): a short one after a single end, since a start must not depend on the number of entries, and a whole
 * one after the second in a row.
 *
 * One thread at a time; the tier calls it under its write lock.
 */
#ifndef TIER_LMDB_HOME_H
#define TIER_LMDB_HOME_H

#include "base/mem.h"

enum lmdb_mark {
    LMDB_MARK_NONE,    /* no mark: a new store, or not one of ours */
    LMDB_MARK_CLEAN,   /* everything was on disk */
    LMDB_MARK_CRASHED, /* open in this boot: the process died, the kernel did not */
    LMDB_MARK_LOST,    /* open in another boot, or in an unknown one */
    LMDB_MARK_NEWER,   /* written by a newer version */
};

struct lmdb_home {
    struct mem *mem;
    char *directory;       /* owned */
    int directory_fd;      /* -1: not open */
    int lock_fd;           /* -1: not held */
    char boot_id[64];      /* empty: unknown, which makes every unclean end a lost one */
    unsigned unclean_ends; /* in a row, of those that had the store before, since the file was looked at */
    /* What cache.state is known to say. Neither: it was not read, or a write of it failed, and either may stand. */
    bool clean, open;
};

/* Makes the directory if needed (0700), takes the lock. AIC_LOCKED with the holder named, AIC_IO, AIC_NO_MEMORY. On
 * failure nothing is held. */
AIC_MUST_CHECK aic_status lmdb_home_open(struct lmdb_home *home, struct mem *mem, const char *directory,
                                         const char *boot_id_path, aic_error *error);
void lmdb_home_close(struct lmdb_home *home);

/* The file was looked at, or is a new one: the ends before say nothing of it. */
void lmdb_home_forget_ends(struct lmdb_home *home);
/* What the mark says. AIC_IO when it cannot be read. */
AIC_MUST_CHECK aic_status lmdb_home_read(struct lmdb_home *home, enum lmdb_mark *out, aic_error *error);
/* Writes the mark durably. AIC_IO with errno: nobody knows which one stands. */
AIC_MUST_CHECK aic_status lmdb_home_write(struct lmdb_home *home, bool clean);
/* To be called before whatever changes the data: nothing may change while the mark says "clean", or may say so. AIC_IO
 * with errno. */
AIC_MUST_CHECK aic_status lmdb_home_mark_open(struct lmdb_home *home);
/* Is each commit to be synced, also by the processes after this one? */
bool lmdb_home_is_synced(const struct lmdb_home *home);
/* Says so from now on, durably. AIC_IO. */
AIC_MUST_CHECK aic_status lmdb_home_keep_synced(struct lmdb_home *home);
/* Is there a data file? *bytes gets its size, 1 where that is not known. */
bool lmdb_home_has_data(const struct lmdb_home *home, uint64_t *bytes);
/* Removes the data file and LMDB's lock file. AIC_IO with errno. */
AIC_MUST_CHECK aic_status lmdb_home_drop(struct lmdb_home *home);
/* May the data file grow by so many bytes? 0, or why not: ENOSPC, EDQUOT, EFBIG (the process's limit). Leaves nothing
 * behind. */
int lmdb_home_room_fault(const struct lmdb_home *home, uint64_t bytes);
/* Puts DIR/LMDB_NEW_DATA_NAME into the place of the data file, which nobody has open. AIC_IO. */
#define LMDB_NEW_DATA_NAME "cache.mdb.new"
AIC_MUST_CHECK aic_status lmdb_home_swap(struct lmdb_home *home);
/* Removes a new data file that is not wanted, or was left by a process that died. */
void lmdb_home_drop_new(struct lmdb_home *home);

#endif
