/*
 * inner.h - what the files of the LMDB tier share: the databases, their rows, and transactions.
 *
 * One environment in DIR/cache.mdb, seven databases:
 *
 *   keys      front[8]                     -> row u64 BE | check u32     sorted list: where the keys with it are
 *   entries   row u64 BE                   -> envelope | record          its first 65520 bytes less the envelope
 *   chunks    row u64 BE | index u32 BE    -> bytes                      the next 65520 of a larger record
 *   expiry    rank u64 BE | row u64 BE     -> nothing                    in the order in which entries leave
 *   labels    label id u64 BE              -> front[8]                   sorted list: the entries that have it
 *   blobs     name                         -> check u64 | bytes
 *   meta      "format"                     -> u32
 *             "counters"                   -> check u64 | entries u64 | record bytes u64 | next row u64 | last seq u64
 *
 *   envelope  0 version u8 | 1 labels u8 | 2 zero u16 | 4 check u32 | 8 key[32] | 40 seq u64 | 48 created_ms u64 |
 *             56 expires_ms u64 | 64 record bytes u64 | 72 label ids, u64 each                   (all little-endian)
 *
 * An entry keeps the row that its key was given first, in ascending order: so new entries fill the last page to its
 * end, and its index rows are short. The front of a key is its first 8 bytes; keys are hashes, so that two that share
 * it are rare, and are told apart by the whole key in the envelope.
 *
 * Whatever is read proves that it is what was asked for, and not what a wrong page number led to: an envelope's check
 * covers its row and its key, the key's row repeats it (so that no older state of the entry passes either), index rows
 * lead to envelopes, which have to agree, and the checks of blobs and counters cover their names. Of the bytes of the
 * record, chunks too, the record's own checksum tells.
 *
 * The envelope repeats what the describe function told, so that the rows of an old record can be removed without
 * understanding it: rows and records cannot disagree. A label id is a 64-bit hash of partition, kind and value; a
 * collision costs a look at one more record, never a wrong answer, because a match is compared with the labels
 * themselves.
 *
 * A record larger than one run of 16 pages is cut into chunks: LMDB searches its free list linearly for contiguous
 * pages.
 *
 * Locks, in this order: write_lock (one writer), map_lock (shared by transactions, exclusive while the map moves),
 * pool_lock (idle read transactions).
 */
#ifndef TIER_LMDB_INNER_H
#define TIER_LMDB_INNER_H

#include "tier/lmdb/home.h"
#include "tier/lmdb/lmdb.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#define LMDB_FORMAT 2

/* Every database: enum name, its name in the file, LMDB's flags. */
#define LMDB_DATABASE_MAP(X)                                                                                           \
    X(META, "meta", 0)                                                                                                 \
    X(KEYS, "keys", MDB_DUPSORT | MDB_DUPFIXED)                                                                        \
    X(ENTRIES, "entries", 0)                                                                                           \
    X(CHUNKS, "chunks", 0)                                                                                             \
    X(EXPIRY, "expiry", 0)                                                                                             \
    X(LABELS, "labels", MDB_DUPSORT | MDB_DUPFIXED)                                                                    \
    X(BLOBS, "blobs", 0)

enum lmdb_database {
#define LMDB_DATABASE_ENUM(name, text, flags) LMDB_##name,
    LMDB_DATABASE_MAP(LMDB_DATABASE_ENUM)
#undef LMDB_DATABASE_ENUM
        LMDB_DATABASES
};

enum {
    LMDB_PIECE_BYTES = 65520, /* 16 pages of 4 KiB less the header of an overflow run */
    LMDB_IDLE_READERS = 16,
    LMDB_MAX_READERS = 254,
    LMDB_MAX_NAME_BYTES = 511, /* of a blob: the largest key of the packaged library */
    LMDB_ENVELOPE_BYTES = 72,  /* without the label ids */
    LMDB_ENVELOPE_VERSION = 2,
    LMDB_FRONT_BYTES = 8,
    LMDB_COUNTERS_BYTES = 40,
    LMDB_ROUGH_PAGE_BYTES = 4096, /* for estimates; the true size is known under a lock only */
};

/* ------------------------------------------------------------------------------------------- rows (row.c) -- */

struct lmdb_envelope {
    aic_key key;
    uint64_t seq;
    uint64_t created_ms;
    uint64_t expires_ms;
    uint64_t record_bytes;
    size_t label_count; /* ids are distinct and ascending */
    uint64_t labels[TIER_MAX_LABELS];
};

/* The front of a key: where it stands among all of them. */
struct lmdb_front {
    uint8_t bytes[LMDB_FRONT_BYTES];
};
struct lmdb_number_row {
    uint8_t bytes[8];
};
struct lmdb_expiry_row {
    uint8_t bytes[16];
};
struct lmdb_chunk_row {
    uint8_t bytes[12];
};
/* What keys say of an entry. */
struct lmdb_place {
    uint8_t bytes[12];
};

/* The id of a label within a partition. */
uint64_t lmdb_label_id(aic_view partition, const struct tier_label *label);
/* What the description says of the record of a key, as an envelope. AIC_INVALID when there are too many labels or one
 * is too long. */
AIC_MUST_CHECK aic_status lmdb_envelope_make(const aic_key *key, const struct tier_description *description,
                                             uint64_t record_bytes, struct lmdb_envelope *out);
size_t lmdb_envelope_size(const struct lmdb_envelope *envelope);
/* Writes lmdb_envelope_size() bytes for this row; returns their check. */
uint32_t lmdb_envelope_write(const struct lmdb_envelope *envelope, uint64_t row, uint8_t *out);
/* AIC_DAMAGED when the bytes are no envelope of this row. *size gets how many of them it takes, *check its check. */
AIC_MUST_CHECK aic_status lmdb_envelope_read(MDB_val value, uint64_t row, struct lmdb_envelope *out, size_t *size,
                                             uint32_t *check);
bool lmdb_has_label(const struct lmdb_envelope *envelope, uint64_t label);

/* Where in the order of leaving: by expiry; what never expires after all that does, the oldest first. */
uint64_t lmdb_rank(const struct lmdb_envelope *envelope);
struct lmdb_front lmdb_front_of(const aic_key *key);
struct lmdb_number_row lmdb_number_row(uint64_t number);
struct lmdb_expiry_row lmdb_expiry_row(uint64_t rank, uint64_t row);
struct lmdb_chunk_row lmdb_chunk_row(uint64_t row, uint32_t index);
struct lmdb_place lmdb_place(uint64_t row, uint32_t check);
/* The first 8 bytes of a row as a number. */
uint64_t lmdb_row_number(const void *row);
/* How many chunks follow the entry of such a record. */
uint32_t lmdb_chunk_count(const struct lmdb_envelope *envelope);
/* How many record bytes lie in the entry itself. */
size_t lmdb_inline_bytes(const struct lmdb_envelope *envelope);
/* The first key with the next front; false after the last one. */
bool lmdb_front_next(aic_key *key);
/* Proves that bytes are those of this name. */
uint64_t lmdb_named_check(aic_view name, const void *bytes, size_t size);

void lmdb_put_u32(uint8_t *out, uint32_t number); /* little-endian */
void lmdb_put_u64(uint8_t *out, uint64_t number);
uint32_t lmdb_take_u32(const uint8_t *bytes);
uint64_t lmdb_take_u64(const uint8_t *bytes);

static inline MDB_val lmdb_val(const void *bytes, size_t size)
{
    return (MDB_val){.mv_size = size, .mv_data = (void *)(uintptr_t)bytes};
}

/* ------------------------------------------------------------------------------------------------------ the tier -- */

/* Counters of operations since the open. Relaxed: each is exact, together they are no snapshot. */
struct lmdb_counts {
    _Atomic uint64_t reads, hits, writes, deletes, expired, evicted, errors;
};

struct lmdb_tier {
    struct tier tier; /* first */
    struct mem *mem;
    const aic_clock *clock;
    tier_describe_fn *describe;
    void *describe_context;
    void (*log)(void *context, aic_log_level level, const char *line);
    void *log_context;

    struct lmdb_home home;
    char *path; /* of the data file, owned */
    uint64_t max_bytes;

    pthread_rwlock_t
        map_lock; /* protects env, databases, page_bytes, map_bytes: shared by transactions, exclusive to change them */
    MDB_env *env; /* NULL after a reopening failed: every call is AIC_IO until one succeeds */
    MDB_dbi databases[LMDB_DATABASES];
    uint64_t page_bytes;
    uint64_t map_bytes;
    int data_fd; /* a descriptor of our own for fdatasync, so that a sync needs no lock; -1: none. Written under
                    map_lock */

    pthread_mutex_t
        write_lock; /* protects the writing side: one transaction at a time, home's mark, entries and bytes */

    pthread_mutex_t pool_lock; /* protects what follows; taken last */
    struct lmdb_idle {
        MDB_txn *txn;
        bool live; /* still in the newest state: it reads on as it is, and pins no page that a writer could use */
    } idle[LMDB_IDLE_READERS];
    size_t idle_count;
    uint64_t last_txn; /* LMDB's number of the newest state */

    /* Published under write_lock after each commit; relaxed reads by lmdb_stats, nothing is inferred from them. */
    _Atomic uint64_t entries, bytes, next_row, last_seq, file_bytes;
    /* Number of the last commit (release by the writer, acquire by sync_data) and of the last one known to be on disk
     * (relaxed, written by sync; a stale value costs one more sync). */
    _Atomic uint64_t committed, synced;
    /* Each commit is synced, so that the mark stays clean. Written under write_lock and map_lock; relaxed reads. */
    _Atomic bool synced_commits;
    _Atomic bool sync_failed; /* sticky: the kernel may have dropped what it could not write; such a store is never
                                 marked clean */
    _Atomic uint64_t last_sync_ms;
    _Atomic int trouble; /* the code of the last write or sync that failed; 0: none did. Relaxed: for a log line */
    /* Is the structure of the file broken? Set by whoever meets it, told once; a new file takes it back, under
     * map_lock. Relaxed: nothing is inferred from it but that nobody goes on. */
    _Atomic int damage; /* enum lmdb_damage */
    uint16_t files;     /* begun anew, modulo 2^16: LMDB's numbers of commits begin again with each. Under map_lock */
    bool older;         /* the file that was opened last has an earlier format. The opening thread's */
    bool wrecked;       /* a jump has left a write of env. Set under write_lock, read with map_lock exclusively */
    uint64_t looked_ns; /* when the file was last looked at after a write that failed. Under write_lock */
    struct lmdb_counts counts;
};

enum lmdb_damage {
    LMDB_WHOLE,
    LMDB_DAMAGED, /* reads and writes are refused */
    LMDB_RESCUED, /* reads are let through: clear() takes the blobs out */
};

static inline struct lmdb_tier *lmdb_of(struct tier *tier)
{
    return (struct lmdb_tier *)tier;
}

/* The status of LMDB's or the system's error number. */
aic_status lmdb_status(int code);
void lmdb_count(_Atomic uint64_t *counter, uint64_t amount);

/* -------------------------------------------------------------------------------------- environment (env.c) -- */

/* Opens the environment and its databases; the caller holds map_lock exclusively or is alone. AIC_NEWER, AIC_DAMAGED,
 * AIC_NO_MEMORY, AIC_IO. */
AIC_MUST_CHECK aic_status lmdb_env_start(struct lmdb_tier *lmdb, aic_error *error);
/* The reverse. Accepts an environment that is not open. */
void lmdb_env_stop(struct lmdb_tier *lmdb);
/* Closes and opens again, after a failure from which LMDB itself does not recover. Takes map_lock; the caller holds
 * write_lock. */
AIC_MUST_CHECK aic_status lmdb_env_restart(struct lmdb_tier *lmdb);
/* Makes the map at least `bytes` large if the limit allows: AIC_OK, AIC_FULL at the limit, AIC_NO_MEMORY. The caller
 * holds write_lock. */
AIC_MUST_CHECK aic_status lmdb_env_grow(struct lmdb_tier *lmdb, uint64_t bytes);
/* Writes what is live into a new file and takes that, so that the disk gets the rest back. AIC_IO, AIC_NO_MEMORY: the
 * old file stays. The caller is alone with the store. */
AIC_MUST_CHECK aic_status lmdb_env_compact(struct lmdb_tier *lmdb);
/* The row "counters": entries, record bytes, next row, last seq. false: it is not. */
void lmdb_counters_write(uint64_t entries, uint64_t bytes, uint64_t next_row, uint64_t last_seq, uint8_t *out);
bool lmdb_counters_read(MDB_val value, uint64_t out[4]);
/* Pages that hold something, all databases together. */
AIC_MUST_CHECK int lmdb_live_pages(struct lmdb_tier *lmdb, MDB_txn *txn, uint64_t *out);

/* Is this error number what LMDB tells of pages that make no sense? */
bool lmdb_is_damage(int code);
/* The file is damaged: tells the log once, and refuses everything until a new file is begun. */
void lmdb_found_damage(struct lmdb_tier *lmdb, const char *what);
bool lmdb_damaged(struct tier *tier);
/* Calls work(context), which may call LMDB, and comes back even where LMDB finds that a page cannot be true and would
 * end the process, or (after tier_guard_faults()) where a page cannot be read: with MDB_CORRUPTED, after
 * lmdb_found_damage(). What `work` holds then is lost, so it holds no lock of ours and nothing but a cursor (a few
 * hundred bytes, once a damaged file). A read transaction can be ended as usual, a write transaction can not: the
 * environment is a wreck then. */
AIC_MUST_CHECK int lmdb_guarded(struct lmdb_tier *lmdb, int (*work)(void *context), void *context);
/* Was tier_guard_faults() called? */
bool lmdb_faults_guarded(void);
/* Looks at the file after a write that failed for no reason of the disk, at most once a minute. The caller holds
 * write_lock. */
void lmdb_suspect(struct lmdb_tier *lmdb, int code);

/* A read transaction: holds map_lock shared until the end. Keep it short; never call out while it is open. AIC_BUSY,
 * AIC_NO_MEMORY, AIC_IO. */
AIC_MUST_CHECK aic_status lmdb_read_begin(struct lmdb_tier *lmdb, MDB_txn **out);
void lmdb_read_end(struct lmdb_tier *lmdb, MDB_txn **txn);
/* A commit has made this state the newest: from here on no read begins in an older one. */
void lmdb_read_anew(struct lmdb_tier *lmdb, uint64_t last_txn);

/* ---------------------------------------------------------------------------------------- finding (find.c) -- */

/* What a row of keys leads to. Valid until the transaction ends or writes. */
struct lmdb_entry {
    uint64_t row;
    uint32_t check; /* as keys have it */
    bool there;     /* something is in that row */
    bool readable;  /* and it is an envelope of that row */
    bool sound;     /* and the one that keys mean */
    MDB_val value;
    struct lmdb_envelope envelope; /* when readable */
    size_t envelope_size;
};
/* The entry of a row; *out says whether it can be read. LMDB's error number; a row that is not there is none. */
AIC_MUST_CHECK int lmdb_entry_of_row(struct lmdb_tier *lmdb, MDB_txn *txn, uint64_t row, struct lmdb_entry *out);
/* The entry that a row of keys leads to. LMDB's error number. */
AIC_MUST_CHECK int lmdb_entry_at(struct lmdb_tier *lmdb, MDB_txn *txn, MDB_val place, struct lmdb_entry *out);
/* The entry of a key. MDB_NOTFOUND: none; 0 with an entry that is not sound: what the key leads to is damaged. */
AIC_MUST_CHECK int lmdb_find(struct lmdb_tier *lmdb, MDB_txn *txn, const aic_key *key, struct lmdb_entry *out);
/* *shared: does a sound entry other than that of `row` stand at this front and have the label? */
AIC_MUST_CHECK int lmdb_front_has(struct lmdb_tier *lmdb, MDB_txn *txn, struct lmdb_front front, uint64_t label,
                                  uint64_t row, bool *shared);

/* ---------------------------------------------------------------------------------------- writing (write.c) -- */

/* One write transaction under way. Lives on the writer's stack. */
struct lmdb_write {
    struct lmdb_tier *lmdb;
    MDB_txn *txn;
    uint64_t entries, bytes, next_row, last_seq; /* the counters as this transaction will leave them */
    uint64_t writes, deletes, expired, evicted;
};
/* Does the work of one write transaction; may run more than once. LMDB's error number, 0 to commit. */
typedef int lmdb_work_fn(struct lmdb_write *write, void *context);

/* Runs `work` in a write transaction, grows the map, makes room, retries, commits. `need_bytes` is an estimate. */
AIC_MUST_CHECK aic_status lmdb_write(struct lmdb_tier *lmdb, uint64_t need_bytes, lmdb_work_fn *work, void *context);

/* Before whatever changes the data: puts the mark to "open", or keeps it clean where commits are synced. The caller
 * holds write_lock. AIC_IO with errno. */
AIC_MUST_CHECK aic_status lmdb_before_commit(struct lmdb_tier *lmdb);
/* Evicts until the store is within its limit. */
AIC_MUST_CHECK aic_status lmdb_shrink(struct lmdb_tier *lmdb);
aic_status lmdb_apply(struct tier *tier, const struct tier_write *writes, size_t count);
aic_status lmdb_expire(struct tier *tier, size_t max, size_t *removed);

/* ------------------------------------------------------------------------------ removing (remove.c), shared with
 * writing -- */

/* Takes out what leads to an entry that was found, and its chunks; the entry itself too unless `next` (NULL: nothing)
 * takes its place, for which the label rows and the expiry row stay that it has too. */
AIC_MUST_CHECK int lmdb_remove(struct lmdb_write *write, const struct lmdb_entry *entry,
                               const struct lmdb_envelope *next);
/* Takes out what a key leads to and what is not its entry any more. Nothing tells which other rows led there; they lead
 * nowhere from now on, and verify() names them. */
AIC_MUST_CHECK int lmdb_remove_lost(struct lmdb_write *write, const aic_key *key, const struct lmdb_entry *entry);
/* Removes the entry that leaves first, if its rank is at most `until`; *removed tells whether there was one. */
AIC_MUST_CHECK int lmdb_remove_first(struct lmdb_write *write, uint64_t until, bool *removed);
/* Evicts what leaves first until at most the budget of pages is in use. */
AIC_MUST_CHECK int lmdb_evict(struct lmdb_write *write);
/* Pages that may be in use after a commit: the limit less the reserve that copy-on-write needs. */
uint64_t lmdb_budget_pages(const struct lmdb_tier *lmdb);

/* --------------------------------------------------------------------------------- reading (read.c,
 * select.c) -- */

aic_status lmdb_get(struct tier *tier, const aic_key *key, struct buf *out);
aic_status lmdb_select(struct tier *tier, const struct tier_filter *filter, struct tier_page *page);
/* Appends the whole record of a sound entry, from the entry and its chunks. AIC_DAMAGED, AIC_NO_MEMORY, AIC_IO. */
AIC_MUST_CHECK aic_status lmdb_record(struct lmdb_tier *lmdb, MDB_txn *txn, const struct lmdb_entry *entry,
                                      struct buf *out);

aic_status lmdb_blob_get(struct tier *tier, aic_view name, struct buf *out);
aic_status lmdb_blob_put(struct tier *tier, aic_view name, aic_view value);
aic_status lmdb_blob_next(struct tier *tier, aic_view prefix, struct buf *name, struct buf *value);

/* -------------------------------------------------------------------------------------- checking (verify.c) -- */

aic_status lmdb_verify(struct tier *tier, struct tier_check *check, aic_error *error);
/* Appends every row of every database as a line of text: name, key, value in hexadecimal, long ones by their hash. For
 * golden files. */
AIC_MUST_CHECK aic_status lmdb_dump(struct tier *tier, struct buf *out);

#endif
