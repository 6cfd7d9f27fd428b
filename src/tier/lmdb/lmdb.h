/*
 * lmdb.h - the embedded engine: records in one LMDB file in a directory of their own. It blocks, so that the gate's
 * threads call it (tier/gate.h). See docs/decisions/006-storage-tier.md for the file.
 */
#ifndef TIER_LMDB_LMDB_H
#define TIER_LMDB_LMDB_H

#include "tier/tier.h"

struct lmdb_options {
    struct mem *mem;
    const aic_clock *clock;
    const char *directory; /* exists or is made, mode 0700 */
    uint64_t max_bytes;    /* of the file; beyond, what expires first is evicted */
    tier_describe_fn *describe;
    void *describe_context;
    /* Told when a store from before a power failure is dropped; may be NULL. */
    void (*log)(void *context, aic_log_level level, const char *line);
    void *log_context;
    const char *boot_id_path; /* NULL: /proc/sys/kernel/random/boot_id */
};
/* AIC_LOCKED, AIC_NEWER, AIC_DAMAGED (not a store of ours), AIC_INVALID (max_bytes below LMDB_MIN_BYTES), AIC_IO,
 * AIC_NO_MEMORY; `error` says what and what to do. *out is closed with its `close`. */
#define LMDB_MIN_BYTES ((uint64_t)4 << 20)
/* A record may be this part of max_bytes: a larger one would empty the store of much else on its way in. */
#define LMDB_RECORD_SHARE 4
AIC_MUST_CHECK aic_status lmdb_tier_open(const struct lmdb_options *options, struct tier **out, aic_error *error);

/*
 * Takes SIGBUS for the whole process, so that an LMDB store's page that the disk does not give, or that was cut off, is
 * damage and no end of the process: its calls are AIC_DAMAGED and clear() begins a new file. For a program that owns
 * its signals; a library must not. What faults elsewhere goes to whoever had the signal before. Before other threads
 * run; again only where somebody has taken the signal away.
 */
void tier_guard_faults(void);

#endif
