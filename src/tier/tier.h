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

/* Which records: all labels must be present, equal; created at or before `created_until_ms` (0: any) or after
 * `created_from_ms` (0: none), of a `seq` of at most `until_seq` (0: any). */
struct tier_filter {
    const struct tier_label *labels;
    size_t label_count;
    uint64_t created_until_ms, created_from_ms, until_seq;
    bool any_order; /* in whatever order is quickest; without a partition. Otherwise in the order of keys */
};

/* How far a walk has come. Zeroed: at its beginning. */
struct tier_place {
    aic_key key;  /* the least that may come, in the order of keys */
    uint64_t row; /* in any order: the same, by numbers of the tier's own */
    bool ended;   /* nothing comes any more */
};
/* Behind this key, in the order of keys. */
void tier_place_after(struct tier_place *place, const aic_key *key);

/* Some records of a walk, copied out. */
struct tier_page {
    struct tier_place next; /* where the page begins; once it is there: where the one behind it does */
    size_t most;            /* records that are wanted at most; 0: a few dozen */
    size_t most_bytes;      /* the record that reaches this is the last of the page; 0: 1 MiB, which is the most */
    size_t count;
    struct buf bytes; /* of each record a struct tier_row and its bytes, one after the other; owned */
};
struct tier_row {
    aic_key key;
    uint64_t row;
    uint64_t size;
};
/* Takes the row and the record at *at, which begins at 0, and goes to the next; false: there is none. */
bool tier_page_read(const struct tier_page *page, size_t *at, struct tier_row *row, aic_view *record);

/* Visits one record (borrowed for the call). false ends the walk. */
typedef bool tier_visit_fn(void *context, const aic_key *key, aic_view record);

/* How far a check of everything has come. Zeroed: at its beginning; but for `ended` the tier's own. */
struct tier_check {
    bool ended;
    unsigned part;
    uint8_t from[64], from_value[64];
    size_t from_size, from_value_size;
    uint64_t state, wanted_bytes, found_bytes;
    bool moved;
};

struct tier_stats {
    uint64_t entries, bytes /* of records */, file_bytes, max_bytes;
    uint64_t reads, hits, writes, deletes, expired, evicted, errors;
    uint64_t last_sync_ms;
    uint64_t last_seq; /* the greatest of any record that was ever in this store */
};

/* Why storage takes no writes, as far as somebody can do something about it. */
enum tier_cause {
    TIER_CAUSE_UNKNOWN,
    TIER_CAUSE_FULL,    /* the file system, or its user's share of it, has no room */
    TIER_CAUSE_LIMIT,   /* a file may not grow further: the process's limit, or the file system's */
    TIER_CAUSE_DAMAGED, /* what was stored cannot be relied on, and is dropped */
    TIER_CAUSE_HANGS,   /* a write does not come back */
    TIER_CAUSE_DEVICE,  /* anything else that the device or its rights refuse */
};
struct tier_trouble {
    enum tier_cause cause;
    const char *text; /* the error by its usual words, for people; lives for ever. NULL: nothing is known */
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
    /* Fills a page with records that match, from page->next on; what it held before is gone. A bounded amount of work:
     * it may be empty without being the last. Expired records are left out. One that is there during a whole walk comes
     * exactly once. */
    aic_status (*select)(struct tier *tier, const struct tier_filter *filter, struct tier_page *page);
    /* Removes what expired, at most `max`. */
    aic_status (*expire)(struct tier *tier, size_t max, size_t *removed);
    /* Small named blobs (dictionaries, marks). get: AIC_MISS. put with data == NULL deletes. next: in the order of
     * names the first of this prefix behind *name (empty: the first of all), in the place of what both buffers held;
     * AIC_MISS: there is none. */
    aic_status (*blob_get)(struct tier *tier, aic_view name, struct buf *out);
    aic_status (*blob_put)(struct tier *tier, aic_view name, aic_view value);
    aic_status (*blob_next)(struct tier *tier, aic_view prefix, struct buf *name, struct buf *value);
    void (*stats)(struct tier *tier, struct tier_stats *out);
    /* Checks a bounded part of everything. AIC_DAMAGED with the first difference. */
    aic_status (*verify)(struct tier *tier, struct tier_check *check, aic_error *error);
    /* From here on all that was applied, and each apply() that returns from now on, outlives a power failure, for ever:
     * also in the processes after this one. AIC_IO: it cannot be promised. May be absent. */
    aic_status (*harden)(struct tier *tier);
    /* Why the last write or sync that failed did so. May be absent. Does not block. */
    struct tier_trouble (*trouble)(struct tier *tier);
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

#endif
