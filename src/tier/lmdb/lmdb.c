/*
 * lmdb.c - the embedded storage tier: opening a store or dropping one that cannot be trusted, syncing, closing, and the
 * table of operations.
 *
 * The idea: one LMDB environment without a sync per commit (measured with 1..50 KB values, 64 a commit: 835 MB/s
 * replaced against 133 with one), one fdatasync now and then, and a mark (home.h) that tells after a power failure
 * whether the file can be trusted. A crash of the process alone never harms it: LMDB's pages are copied on write, and
 * the kernel keeps what was committed.
 *
 * Opening takes the same time for any number of entries: the counters are kept in the same transactions as the entries.
 *
 * Threads: any, for every operation. Locks: see inner.h.
 */
#include "tier/lmdb/check.h"
#include "tier/lmdb/inner.h"

#include "base/check.h"
#include "base/plural.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SUSPECT_ENDS = 2,    /* without a close, in a row: the file is looked at before it is used */
    QUICK_LOOK_MS = 250, /* a single one: as far as that goes */
};

/* ---------------------------------------------------------------------------------------------------------- sync -- */

/* A descriptor of its own, so that neither a commit nor a moving map waits for the disk. 0, or the number of the error.
 */
static int borrow_data_fd(struct lmdb_tier *lmdb, int *fd)
{
    pthread_rwlock_rdlock(&lmdb->map_lock);
    *fd = lmdb->data_fd >= 0 ? fcntl(lmdb->data_fd, F_DUPFD_CLOEXEC, 0) : -1;
    int fault = *fd >= 0 ? 0 : lmdb->data_fd >= 0 ? errno : EIO;
    pthread_rwlock_unlock(&lmdb->map_lock);
    return fault;
}

/* AIC_IO with errno. */
static aic_status sync_data(struct lmdb_tier *lmdb)
{
    /* Acquire, partner of the release in publish(): what was committed up to this number is in the file before the
     * fdatasync. */
    uint64_t committed = atomic_load_explicit(&lmdb->committed, memory_order_acquire);
    int fd, fault = borrow_data_fd(lmdb, &fd);
    if (fault == 0) {
        if (fdatasync(fd) != 0) fault = errno;
        close(fd);
        if (fault != 0) atomic_store_explicit(&lmdb->sync_failed, true, memory_order_relaxed);
    }
    if (fault != 0) {
        atomic_store_explicit(&lmdb->trouble, fault, memory_order_relaxed);
        errno = fault;
        return AIC_IO;
    }
    atomic_store_explicit(&lmdb->synced, committed, memory_order_relaxed);
    atomic_store_explicit(&lmdb->last_sync_ms, clock_wall_ms(lmdb->clock), memory_order_relaxed);
    return AIC_OK;
}

static bool is_synced(const struct lmdb_tier *lmdb)
{
    return atomic_load_explicit(&lmdb->synced, memory_order_relaxed) ==
           atomic_load_explicit(&lmdb->committed, memory_order_relaxed);
}

/* Marks the store as whole on disk, unless a commit came or a sync has ever failed. */
static aic_status settle(struct lmdb_tier *lmdb)
{
    if (lmdb_damaged(&lmdb->tier)) return AIC_OK;
    if (atomic_load_explicit(&lmdb->sync_failed, memory_order_relaxed)) return AIC_OK;
    pthread_mutex_lock(&lmdb->write_lock);
    aic_status status = AIC_OK;
    if (is_synced(lmdb) && !lmdb->home.clean && lmdb->env != NULL) status = lmdb_home_write(&lmdb->home, true);
    if (status != AIC_OK) atomic_store_explicit(&lmdb->trouble, errno, memory_order_relaxed);
    pthread_mutex_unlock(&lmdb->write_lock);
    return status;
}

static bool has_synced_commits(const struct lmdb_tier *lmdb)
{
    return atomic_load_explicit(&lmdb->synced_commits, memory_order_relaxed);
}

/* What a failed sync has left is whole in this boot only, and a store that once failed is not marked clean again. */
aic_status lmdb_before_commit(struct lmdb_tier *lmdb)
{
    bool failed = atomic_load_explicit(&lmdb->sync_failed, memory_order_relaxed);
    if (!has_synced_commits(lmdb) || failed) return lmdb_home_mark_open(&lmdb->home);
    if (lmdb->home.clean) return AIC_OK;
    if (!is_synced(lmdb)) TRY(sync_data(lmdb));
    return lmdb_home_write(&lmdb->home, true);
}

/* A commit that is not synced makes all of the file doubtful after a power failure, so a promise for one entry is one
 * for each commit from then on. */
static aic_status lmdb_harden(struct tier *tier)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    pthread_mutex_lock(&lmdb->write_lock);
    aic_status status = AIC_OK;
    if (lmdb->env == NULL || lmdb_damaged(tier) || atomic_load_explicit(&lmdb->sync_failed, memory_order_relaxed))
        status = AIC_IO;
    if (status == AIC_OK && !has_synced_commits(lmdb)) {
        status = lmdb_home_keep_synced(&lmdb->home);
        pthread_rwlock_wrlock(&lmdb->map_lock);
        if (status == AIC_OK && mdb_env_set_flags(lmdb->env, MDB_NOSYNC, 0) != 0) status = AIC_IO;
        if (status == AIC_OK) atomic_store_explicit(&lmdb->synced_commits, true, memory_order_relaxed);
        pthread_rwlock_unlock(&lmdb->map_lock);
    }
    if (status == AIC_OK) status = lmdb_before_commit(lmdb);
    pthread_mutex_unlock(&lmdb->write_lock);
    return status;
}

static aic_status lmdb_sync(struct tier *tier)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    aic_status status = is_synced(lmdb) ? settle(lmdb) : sync_data(lmdb);
    if (status < 0) lmdb_count(&lmdb->counts.errors, 1);
    return status;
}

/* --------------------------------------------------------------------------------------------------------- clear -- */

/* name size u64 | value size u64 | name | value */
static aic_status keep_blobs(struct tier *tier, struct buf *kept)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    struct buf name, value;
    aic_status status;
    buf_init(&name, lmdb->mem, MEM_STORAGE);
    buf_init(&value, lmdb->mem, MEM_STORAGE);
    while ((status = lmdb_blob_next(tier, (aic_view){"", 0}, &name, &value)) == AIC_OK) {
        uint8_t sizes[16];
        lmdb_put_u64(sizes, name.size);
        lmdb_put_u64(sizes + 8, value.size);
        buf_append(kept, sizes, sizeof sizes);
        buf_append_view(kept, buf_view(&name));
        buf_append_view(kept, buf_view(&value));
    }
    buf_fini(&value);
    buf_fini(&name);
    return status == AIC_MISS ? AIC_OK : status;
}

static aic_status restore_blobs(struct tier *tier, const struct buf *kept)
{
    for (size_t at = 0; at < kept->size;) {
        size_t name_size = (size_t)lmdb_take_u64((const uint8_t *)kept->data + at);
        size_t value_size = (size_t)lmdb_take_u64((const uint8_t *)kept->data + at + 8);
        const char *name = kept->data + at + 16;
        TRY(lmdb_blob_put(tier, (aic_view){name, name_size}, (aic_view){name + name_size, value_size}));
        at += 16 + name_size + value_size;
    }
    return AIC_OK;
}

/* A new file instead of millions of removals: takes a moment, and gives the disk back. */
static aic_status start_new_file(struct lmdb_tier *lmdb)
{
    pthread_mutex_lock(&lmdb->write_lock);
    pthread_rwlock_wrlock(&lmdb->map_lock);
    aic_status status = lmdb_home_mark_open(&lmdb->home);
    if (status == AIC_OK) {
        lmdb_env_stop(lmdb);
        status = lmdb_home_drop(&lmdb->home);
        if (status == AIC_OK) atomic_store_explicit(&lmdb->damage, LMDB_WHOLE, memory_order_relaxed);
        lmdb->files++;
        aic_status started = lmdb_env_start(lmdb, NULL);
        if (status == AIC_OK) status = started;
        atomic_fetch_add_explicit(&lmdb->committed, 1, memory_order_release);
    }
    pthread_rwlock_unlock(&lmdb->map_lock);
    pthread_mutex_unlock(&lmdb->write_lock);
    return status;
}

/* The blobs of a damaged file are read only where the check finds them whole: LMDB trusts every page. */
static bool let_blobs_out(struct lmdb_tier *lmdb)
{
    struct lmdb_finding finding = {0};
    pthread_mutex_lock(&lmdb->write_lock);
    aic_status status = lmdb->env != NULL && lmdb->data_fd >= 0
                            ? lmdb_check(lmdb->mem, lmdb->data_fd, "blobs", NULL, false, &finding)
                            : AIC_IO;
    if (finding.named_whole) atomic_store_explicit(&lmdb->damage, LMDB_RESCUED, memory_order_relaxed);
    pthread_mutex_unlock(&lmdb->write_lock);
    return status != AIC_IO && finding.named_whole;
}

static aic_status lmdb_clear(struct tier *tier)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    struct buf kept;
    buf_init(&kept, lmdb->mem, MEM_STORAGE);
    aic_status status = AIC_OK;
    if (!lmdb_damaged(tier) || let_blobs_out(lmdb)) {
        status = keep_blobs(tier, &kept);
        /* What could be kept is kept. */
        if (lmdb_damaged(tier)) {
            atomic_store_explicit(&lmdb->damage, LMDB_DAMAGED, memory_order_relaxed);
            status = AIC_OK;
        }
    }
    if (status == AIC_OK) status = buf_status(&kept);
    if (status == AIC_OK) status = start_new_file(lmdb);
    if (status == AIC_OK) status = restore_blobs(tier, &kept);
    buf_fini(&kept);
    return status;
}

/* ---------------------------------------------------------------------------------------------------- statistics -- */

static void lmdb_stats(struct tier *tier, struct tier_stats *out)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
#define RELAXED(field) atomic_load_explicit(&lmdb->field, memory_order_relaxed)
    *out = (struct tier_stats){
        .entries = RELAXED(entries),
        .bytes = RELAXED(bytes),
        .file_bytes = RELAXED(file_bytes),
        .max_bytes = lmdb->max_bytes,
        .reads = RELAXED(counts.reads),
        .hits = RELAXED(counts.hits),
        .writes = RELAXED(counts.writes),
        .deletes = RELAXED(counts.deletes),
        .expired = RELAXED(counts.expired),
        .evicted = RELAXED(counts.evicted),
        .errors = RELAXED(counts.errors),
        .last_sync_ms = RELAXED(last_sync_ms),
        .last_seq = RELAXED(last_seq),
    };
#undef RELAXED
}

/* ------------------------------------------------------------------------------------------------ open and close -- */

static void lmdb_close(struct tier *tier)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    if (lmdb_damaged(tier)) {
        /* Nobody has emptied it: the next open begins anew. */
        if (lmdb_home_drop(&lmdb->home) != AIC_OK) lmdb_count(&lmdb->counts.errors, 1);
    } else if (lmdb->env != NULL) {
        bool whole = is_synced(lmdb) || sync_data(lmdb) == AIC_OK;
        /* A mark that cannot be written leaves the store "open": whole in this boot, dropped after a power failure. */
        if (whole && settle(lmdb) != AIC_OK) lmdb_count(&lmdb->counts.errors, 1);
    }
    lmdb_env_stop(lmdb);
    lmdb_home_close(&lmdb->home);
    pthread_mutex_destroy(&lmdb->pool_lock);
    pthread_mutex_destroy(&lmdb->write_lock);
    pthread_rwlock_destroy(&lmdb->map_lock);
    mem_free_string(lmdb->mem, MEM_STORAGE, lmdb->path);
    mem_free(lmdb->mem, MEM_STORAGE, lmdb, sizeof *lmdb);
}

static struct tier_trouble lmdb_trouble(struct tier *tier)
{
    int code = atomic_load_explicit(&lmdb_of(tier)->trouble, memory_order_relaxed);
    if (code == 0) return (struct tier_trouble){TIER_CAUSE_UNKNOWN, NULL};
    enum tier_cause cause = code == ENOSPC || code == EDQUOT ? TIER_CAUSE_FULL
                            : code == EFBIG                  ? TIER_CAUSE_LIMIT
                            : lmdb_is_damage(code)           ? TIER_CAUSE_DAMAGED
                                                             : TIER_CAUSE_DEVICE;
    return (struct tier_trouble){cause, mdb_strerror(code)};
}

static const struct tier_ops lmdb_ops = {
    .kind = "lmdb",
    .get = lmdb_get,
    .apply = lmdb_apply,
    .sync = lmdb_sync,
    .harden = lmdb_harden,
    .select = lmdb_select,
    .expire = lmdb_expire,
    .blob_get = lmdb_blob_get,
    .blob_put = lmdb_blob_put,
    .blob_next = lmdb_blob_next,
    .stats = lmdb_stats,
    .verify = lmdb_verify,
    .trouble = lmdb_trouble,
    .damaged = lmdb_damaged,
    .clear = lmdb_clear,
    .close = lmdb_close,
};

/* Locks that cannot be made are out of memory by the letter of POSIX. A writer of the map goes before new readers, or
 * it would starve. */
static void init_locks(struct lmdb_tier *lmdb)
{
    pthread_rwlockattr_t attributes;
    CHECK(pthread_rwlockattr_init(&attributes) == 0);
    CHECK(pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP) == 0);
    CHECK(pthread_rwlock_init(&lmdb->map_lock, &attributes) == 0);
    pthread_rwlockattr_destroy(&attributes);
    CHECK(pthread_mutex_init(&lmdb->write_lock, NULL) == 0);
    CHECK(pthread_mutex_init(&lmdb->pool_lock, NULL) == 0);
}

static void tell(struct lmdb_tier *lmdb, aic_log_level level, const char *what, const char *why)
{
    char line[512];
    if (lmdb->log == NULL) return;
    snprintf(line, sizeof line, "the stored entries in %s %s: %s", lmdb->path, what, why);
    lmdb->log(lmdb->log_context, level, line);
}

/* A new file needs its mark first: data without a mark is never taken for ours. */
static aic_status start_fresh(struct lmdb_tier *lmdb, aic_error *error)
{
    if (lmdb_home_drop(&lmdb->home) != AIC_OK || lmdb_home_write(&lmdb->home, false) != AIC_OK) {
        return error_set(error, AIC_IO, "data_dir", "cannot write in the storage directory %s: %s",
                         lmdb->home.directory, strerror(errno));
    }
    lmdb_home_forget_ends(&lmdb->home);
    atomic_store_explicit(&lmdb->damage, LMDB_WHOLE, memory_order_relaxed);
    return lmdb_env_start(lmdb, error);
}

static bool is_over_limit(const struct lmdb_tier *lmdb, int fd)
{
    struct stat file;
    return fstat(fd, &file) == 0 && (uint64_t)file.st_size > lmdb->max_bytes;
}

/* Before use, a file is looked at where LMDB, which trusts every page, might end us: whoever had it before has ended
 * without closing it (killed, or by a damaged page: only the file knows), or it is about to be copied, since its limit
 * was lowered. AIC_DAMAGED: told, also of a page that the disk does not give. A look that comes to no end is no
 * finding. */
static aic_status look_at_file(struct lmdb_tier *lmdb)
{
    struct lmdb_finding finding;
    char why[256];
    unsigned ends = lmdb->home.unclean_ends;
    int fd = open(lmdb->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return AIC_OK;
    bool copied = is_over_limit(lmdb, fd);
    bool thorough = ends >= SUSPECT_ENDS || copied;
    bool look = thorough || ends > 0;
    bool values = copied ||
                  !lmdb_faults_guarded(); /* else what it does not read ends nobody; LMDB's copy has no guard */
    const struct lmdb_patience quick = {lmdb->clock, QUICK_LOOK_MS};
    aic_status status = look ? lmdb_check(lmdb->mem, fd, NULL, thorough ? NULL : &quick, values, &finding) : AIC_OK;
    close(fd);
    if (look && status == AIC_OK) lmdb_home_forget_ends(&lmdb->home);
    if (status != AIC_DAMAGED) return AIC_OK;
    int size = snprintf(why, sizeof why, "the file is damaged (page %llu: %s)", (unsigned long long)finding.page,
                        finding.what);
    if (ends > 0)
        snprintf(why + size, sizeof why - (size_t)size, ", and whoever used it ended %u %s without closing it", ends,
                 plural(ends, "time", "times"));
    tell(lmdb, AIC_LOG_ERROR, "were dropped", why);
    return AIC_DAMAGED;
}

/* Does the disk give what every opening reads first? */
static bool is_readable(const struct lmdb_tier *lmdb)
{
    char pages[2 * LMDB_ROUGH_PAGE_BYTES];
    int fd = open(lmdb->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return true; /* it is not the disk */
    bool fault = pread(fd, pages, sizeof pages, 0) < 0 && errno == EIO;
    close(fd);
    return !fault;
}

static aic_status start(struct lmdb_tier *lmdb, aic_error *error)
{
    atomic_store_explicit(&lmdb->synced_commits, lmdb_home_is_synced(&lmdb->home), memory_order_relaxed);
    enum lmdb_mark mark;
    TRY(lmdb_home_read(&lmdb->home, &mark, error));
    if (mark == LMDB_MARK_NEWER) {
        return error_set(error, AIC_NEWER, "data_dir", "the store in %s was written by a newer version of this program",
                         lmdb->home.directory);
    }
    lmdb_home_drop_new(&lmdb->home); /* of a process that died while it made the file smaller */
    uint64_t bytes;
    bool there = lmdb_home_has_data(&lmdb->home, &bytes), gone = !there || bytes == 0;
    if (gone && mark != LMDB_MARK_NONE)
        tell(lmdb, AIC_LOG_WARNING, "are gone", there ? "the file is empty" : "there is no such file any more");
    if (!there || (gone && mark != LMDB_MARK_NONE)) return start_fresh(lmdb, error);
    if (mark == LMDB_MARK_NONE) {
        return error_set(error, AIC_DAMAGED, "data_dir",
                         "%s lies there without cache.state, so that nobody knows whether it is whole; move it away",
                         lmdb->path);
    }
    if (mark == LMDB_MARK_LOST) {
        tell(lmdb, AIC_LOG_WARNING, "were dropped", "the machine went down while they were being written");
        return start_fresh(lmdb, error);
    }
    if (look_at_file(lmdb) == AIC_DAMAGED) return start_fresh(lmdb, error);
    aic_status status = lmdb_env_start(lmdb, error);
    bool readable = status != AIC_IO || is_readable(lmdb);
    if (status != AIC_DAMAGED && readable) return status;
    if (lmdb->older) tell(lmdb, AIC_LOG_WARNING, "were dropped", "they are of an earlier version of this program");
    else if (!lmdb_damaged(&lmdb->tier)) /* else it was told */
        tell(lmdb, AIC_LOG_ERROR, "were dropped", readable ? "the file is damaged" : "the file cannot be read");
    return start_fresh(lmdb, error);
}

/* A file larger than a limit that was lowered gives the difference back. Where that fails (a full disk) the file stays
 * as it is. */
static aic_status fit_limit(struct lmdb_tier *lmdb, aic_error *error)
{
    if (atomic_load_explicit(&lmdb->file_bytes, memory_order_relaxed) <= lmdb->max_bytes) return AIC_OK;
    aic_status status = lmdb_shrink(lmdb);
    if (status == AIC_OK) status = lmdb_env_compact(lmdb);
    if (lmdb->env == NULL)
        return error_set(error, AIC_IO, "data_dir", "cannot open %s again after making it smaller", lmdb->path);
    if (status != AIC_OK) {
        lmdb_count(&lmdb->counts.errors, 1);
        if (lmdb->log != NULL)
            lmdb->log(lmdb->log_context, AIC_LOG_WARNING, "the storage file could not be made as small as its limit");
    }
    return AIC_OK;
}

static aic_status make_path(struct lmdb_tier *lmdb)
{
    struct buf path;
    buf_init(&path, lmdb->mem, MEM_STORAGE);
    buf_printf(&path, "%s/cache.mdb", lmdb->home.directory);
    aic_status status = buf_status(&path);
    if (status == AIC_OK) {
        lmdb->path = mem_copy_string(lmdb->mem, MEM_STORAGE, buf_view(&path));
        if (lmdb->path == NULL) status = AIC_NO_MEMORY;
    }
    buf_fini(&path);
    return status;
}

aic_status lmdb_tier_open(const struct lmdb_options *options, struct tier **out, aic_error *error)
{
    if (options->max_bytes < LMDB_MIN_BYTES) {
        return error_set(error, AIC_INVALID, "storage.max_bytes",
                         "%llu bytes came: at least %u MiB (%llu) are accepted", (unsigned long long)options->max_bytes,
                         (unsigned)(LMDB_MIN_BYTES >> 20), (unsigned long long)LMDB_MIN_BYTES);
    }
    struct lmdb_tier *lmdb = mem_zalloc(options->mem, MEM_STORAGE, sizeof *lmdb);
    if (lmdb == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "no memory to open the store");
    lmdb->tier.ops = &lmdb_ops;
    lmdb->mem = options->mem;
    lmdb->clock = options->clock;
    lmdb->describe = options->describe;
    lmdb->describe_context = options->describe_context;
    lmdb->log = options->log;
    lmdb->log_context = options->log_context;
    lmdb->max_bytes = options->max_bytes;
    lmdb->tier.max_record_bytes = options->max_bytes / LMDB_RECORD_SHARE;
    lmdb->data_fd = -1;
    init_locks(lmdb);
    aic_status status = lmdb_home_open(&lmdb->home, lmdb->mem, options->directory, options->boot_id_path, error);
    if (status == AIC_OK) {
        status = make_path(lmdb);
        if (status == AIC_OK) {
            status = start(lmdb, error);
        } else {
            error_set(error, status, NULL, "no memory to open the store");
        }
        if (status == AIC_OK) status = fit_limit(lmdb, error);
    }
    if (status != AIC_OK) {
        lmdb_close(&lmdb->tier);
        return status;
    }
    /* What is not marked clean may be in the kernel only: the next sync has something to do. */
    if (!lmdb->home.clean) atomic_store_explicit(&lmdb->committed, 1, memory_order_relaxed);
    *out = &lmdb->tier;
    return AIC_OK;
}
