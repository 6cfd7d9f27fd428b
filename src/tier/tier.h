/*
 * tier.h - the storage tier behind one vtable: records by key, kept outside the process's memory.
 *
 * A record is opaque bytes; what the tier must know of it (labels for its indexes, dates, its place in the order of
 * puts) it asks from a function given at creation. Functions of a tier block; they are called by worker threads
 * (tier/gate.h), never by a front thread. Any thread may call any function.
 *
 * Knows nothing of JSON or AI.
 */
#ifndef TIER_TIER_H
#define TIER_TIER_H

#include "base/buf.h"
#include "base/clock.h"

#define TIER_MAX_LABELS 36

/* A label: something that entries are selected by. Kinds are the caller's (namespace, operation, model, tag). Kind 0 is
 * the partition. */
struct tier_label {
    uint8_t kind;
    aic_view value; /* at most 128 bytes */
};

struct tier_description {
    uint64_t seq; /* which of two records is the newer: ascending over all of a store, whatever the clock does */
    uint64_t created_ms;
    uint64_t expires_ms;                       /* 0: never */
    struct tier_label labels[TIER_MAX_LABELS]; /* views into the record; the partition first */
    size_t label_count;
};

/* Describes a record. AIC_DAMAGED when it cannot be read. Must not block. */
typedef aic_status tier_describe_fn(void *context, aic_view record, struct tier_description *out);

struct tier_write {
    aic_key key;
    aic_view record; /* data == NULL: delete */
    uint64_t seq;    /* of a delete: spare a record of another one; 0: whatever is there */
};

/* Which records: all labels must be present, equal; created at or before `created_until_ms` (0: any), of a `seq` of at
 * most `until_seq` (0: any). */
struct tier_filter {
    const struct tier_label *labels;
    size_t label_count;
    uint64_t created_until_ms, until_seq;
    /* Not NULL, without a partition and without `after`: in whatever order is quickest. Where to begin (0: the start),
     * and set to where to go on. */
    uint64_t *place;
    /* Asked with the context of the visits, at the latest after some hundred records that were looked at, also where
     * none of them matches; false ends the walk. NULL: nobody asks. */
    bool (*goes_on)(void *context);
};

/* Visits one record (borrowed for the call). false ends the walk. */
typedef bool tier_visit_fn(void *context, const aic_key *key, aic_view record);

struct tier_stats {
    uint64_t entries, bytes /* of records */, file_bytes, max_bytes;
    uint64_t reads, hits, writes, deletes, expired, evicted, errors;
    uint64_t last_sync_ms;
    uint64_t last_seq; /* the greatest of any record that was ever in this store */
};

struct tier;
struct tier_ops {
    const char *kind; /* "lmdb" */
    /* AIC_OK with the record appended to `out`, AIC_MISS (also when expired), AIC_DAMAGED, AIC_NO_MEMORY, AIC_IO. */
    aic_status (*get)(struct tier *tier, const aic_key *key, struct buf *out);
    /* Applies in order, in one transaction. AIC_FULL after eviction did not help; AIC_IO (also a full disk);
     * AIC_DAMAGED for a record that cannot be described. Nothing is applied on an error. */
    aic_status (*apply)(struct tier *tier, const struct tier_write *writes, size_t count);
    /* Until it returns AIC_OK, what was applied may be lost in a power failure (not in a crash of the process). Called
     * again with nothing new, it may mark the store as complete: a power failure from then on loses nothing at all. */
    aic_status (*sync)(struct tier *tier);
    /* Visits records that match, in key order, from the first key > *after (NULL: from the start), or as filter->place
     * says. Expired ones are left out. */
    aic_status (*select)(struct tier *tier, const struct tier_filter *filter, const aic_key *after,
                         tier_visit_fn *visit, void *context);
    /* Removes what expired, at most `max`. */
    aic_status (*expire)(struct tier *tier, size_t max, size_t *removed);
    /* Small named blobs (dictionaries, marks). get: AIC_MISS. put with data == NULL deletes. each: in name order. */
    aic_status (*blob_get)(struct tier *tier, aic_view name, struct buf *out);
    aic_status (*blob_put)(struct tier *tier, aic_view name, aic_view value);
    aic_status (*blob_each)(struct tier *tier, aic_view prefix,
                            bool (*visit)(void *context, aic_view name, aic_view value), void *context);
    void (*stats)(struct tier *tier, struct tier_stats *out);
    aic_status (*verify)(struct tier *tier, aic_error *error);
    /* From here on all that was applied, and each apply() that returns from now on, outlives a power failure, for ever:
     * also in the processes after this one. AIC_IO: it cannot be promised. May be absent. */
    aic_status (*harden)(struct tier *tier);
    /* Why the last write or sync that failed did so, as a text that lives for ever; NULL: nothing is known. May be
     * absent. Does not block. */
    const char *(*trouble)(struct tier *tier);
    /* What it holds is broken, so that nothing of it can be relied on until clear() has begun anew; its calls are
     * AIC_DAMAGED until then. May be absent. Does not block. */
    bool (*damaged)(struct tier *tier);
    /* Removes every record at once, keeps the blobs. */
    aic_status (*clear)(struct tier *tier);
    void (*close)(struct tier *tier);
};

/* Every tier begins with this. */
struct tier {
    const struct tier_ops *ops;
    uint64_t max_record_bytes; /* apply() refuses what is larger, always; 0: it takes any. Never changes */
};

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
