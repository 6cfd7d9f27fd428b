/*
 * env.c - LMDB's environment: opening, the size of its map, read transactions.
 *
 * The map starts small and doubles, up to max_bytes exactly: LMDB never allocates a page beyond its map, so the file
 * cannot grow past the limit. It moves only while map_lock is held exclusively, that is with no transaction alive. Idle
 * read transactions keep their slot in the reader table (MDB_NOTLS), so that a read costs no search for one; and they
 * stay in the newest state until the next commit, so that a read between two commits costs no renewal either.
 *
 * Never MDB_WRITEMAP: a stray pointer of ours must not reach the file. Never MDB_NOMEMINIT: heap bytes must not either.
 */
#include "tier/lmdb/check.h"
#include "tier/lmdb/inner.h"

#include "base/check.h"
#include "base/status.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FIRST_MAP_BYTES = 64 << 20 };
#define LOOK_NS ((uint64_t)60 * 1000 * 1000 * 1000)

static const struct {
    const char *name;
    unsigned flags;
} databases[] = {
#define DATABASE(name, text, flags) {text, flags},
    LMDB_DATABASE_MAP(DATABASE)
#undef DATABASE
};

aic_status lmdb_status(int code)
{
    switch (code) {
    case MDB_SUCCESS: return AIC_OK;
    case MDB_NOTFOUND: return AIC_MISS;
    case ENOMEM: return AIC_NO_MEMORY;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL: return AIC_FULL;
    case MDB_READERS_FULL: return AIC_BUSY;
    case MDB_VERSION_MISMATCH: return AIC_NEWER;
    default: return lmdb_is_damage(code) ? AIC_DAMAGED : AIC_IO;
    }
}

/* MDB_BAD_TXN: an error before it was not told, and only a page that makes no sense is told so late. */
bool lmdb_is_damage(int code)
{
    return code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND || code == MDB_INVALID || code == MDB_PAGE_FULL ||
           code == MDB_CURSOR_FULL || code == MDB_BAD_TXN;
}

/* ------------------------------------------------------------------------------------------------------- damage -- */

/* Where a failed assertion of LMDB, or a page that cannot be read, goes to, in this thread. */
struct guard {
    jmp_buf jump;
    struct guard *outer;
    bool fault; /* it was a page */
};
static _Thread_local struct guard *guard;

/* Of the signal of a page that cannot be read. Release by who installs the handler; acquire by who unblocks it. */
static _Atomic bool faults_guarded;
static struct sigaction fault_before;

/* LMDB calls this and then abort(), unless it does not return. Its frames hold no lock but the writer's, which the
 * wreck keeps, and no memory that the wreck does not keep. */
static void on_assertion(MDB_env *env, const char *text)
{
    if (guard == NULL) return;
    lmdb_found_damage(mdb_env_get_userctx(env), text);
    longjmp(guard->jump, 1);
}

static void unblock_fault_signal(void)
{
    sigset_t bus;
    sigemptyset(&bus);
    sigaddset(&bus, SIGBUS);
    pthread_sigmask(SIG_UNBLOCK, &bus, NULL);
}

/* A read of the map met a page that the disk does not give, or that lies beyond a file that was cut. Outside of a guard
 * it is somebody else's business: the access is repeated for whoever had the signal before. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)info, (void)context;
    if (guard == NULL) {
        sigaction(number, &fault_before, NULL);
        return;
    }
    guard->fault = true;
    unblock_fault_signal(); /* the jump leaves the handler, but not its mask */
    _longjmp(guard->jump, 1);
}

bool lmdb_faults_guarded(void)
{
    return atomic_load_explicit(&faults_guarded, memory_order_acquire);
}

void tier_guard_faults(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, now;
    sigemptyset(&action.sa_mask);
    CHECK(sigaction(SIGBUS, NULL, &now) == 0);
    if ((now.sa_flags & SA_SIGINFO) != 0 && now.sa_sigaction == on_fault) return;
    fault_before = now;
    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
    atomic_store_explicit(&faults_guarded, true, memory_order_release);
}

/* A fault in a thread that blocks its signal ends the process, whoever handles it. */
static void unblock_faults(void)
{
    static _Thread_local bool done;
    if (done || !lmdb_faults_guarded()) return;
    unblock_fault_signal();
    done = true;
}

int lmdb_guarded(struct lmdb_tier *lmdb, int (*work)(void *context), void *context)
{
    struct guard here = {.outer = guard};
    unblock_faults();
    if (_setjmp(here.jump) == 0) {
        guard = &here;
        int code = work(context);
        guard = here.outer;
        return code;
    }
    struct guard *left = guard; /* `here`, by a way that no jump has made stale */
    guard = left->outer;
    if (left->fault) lmdb_found_damage(lmdb, "a page cannot be read");
    return MDB_CORRUPTED;
}

/* What is done with a transaction under a guard. */
struct guarded {
    struct lmdb_tier *lmdb;
    MDB_txn *txn;
};

/* An environment whose write was left by a jump still has its writer's lock taken, and cursors on a stack that is gone:
 * it is neither used nor closed. Its address space stays, its room on the disk does not. Kept in a list, so that
 * whoever looks for leaks finds it. */
static _Atomic(MDB_env *) wrecks; /* relaxed: nobody follows it */

static void leave_wreck(struct lmdb_tier *lmdb)
{
    MDB_env *before = atomic_load_explicit(&wrecks, memory_order_relaxed);
    do {
        mdb_env_set_userctx(lmdb->env, before);
    } while (!atomic_compare_exchange_weak_explicit(&wrecks, &before, lmdb->env, memory_order_relaxed,
                                                    memory_order_relaxed));
    if (lmdb->data_fd >= 0 && ftruncate(lmdb->data_fd, 0) != 0) lmdb_count(&lmdb->counts.errors, 1);
    lmdb->env = NULL;
    lmdb->wrecked = false;
}

void lmdb_found_damage(struct lmdb_tier *lmdb, const char *what)
{
    char line[512];
    int whole = LMDB_WHOLE;
    if (!atomic_compare_exchange_strong_explicit(&lmdb->damage, &whole, LMDB_DAMAGED, memory_order_relaxed,
                                                 memory_order_relaxed))
        return;
    atomic_store_explicit(&lmdb->trouble, MDB_CORRUPTED, memory_order_relaxed);
    if (lmdb->log == NULL) return;
    snprintf(line, sizeof line, "the stored entries in %s are dropped: the file is damaged (%s)", lmdb->path, what);
    lmdb->log(lmdb->log_context, AIC_LOG_ERROR, line);
}

bool lmdb_damaged(struct tier *tier)
{
    return atomic_load_explicit(&lmdb_of(tier)->damage, memory_order_relaxed) != LMDB_WHOLE;
}

static bool is_refused(const struct lmdb_tier *lmdb)
{
    return atomic_load_explicit(&lmdb->damage, memory_order_relaxed) == LMDB_DAMAGED;
}

void lmdb_suspect(struct lmdb_tier *lmdb, int code)
{
    struct lmdb_finding finding;
    uint64_t now_ns = clock_mono_ns(lmdb->clock);
    bool disk = code == EIO || code == ENOSPC || code == EDQUOT || code == EROFS || code == EACCES || code == EPERM;
    if (disk || lmdb->data_fd < 0 || (lmdb->looked_ns != 0 && now_ns < lmdb->looked_ns + LOOK_NS)) return;
    lmdb->looked_ns = now_ns;
    if (lmdb_check(lmdb->mem, lmdb->data_fd, NULL, NULL, false, &finding) == AIC_DAMAGED)
        lmdb_found_damage(lmdb, finding.what);
}

static uint64_t round_to_pages(uint64_t bytes)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return bytes / page * page;
}

static aic_status refuse(const struct lmdb_tier *lmdb, aic_error *error, int code, const char *what)
{
    aic_status status = lmdb_status(code);
    if (status >= 0) status = AIC_IO;
    if (status == AIC_DAMAGED) {
        return error_set(error, status, "data_dir",
                         "%s is not a store of this program, or is damaged (%s); move it away", lmdb->path,
                         mdb_strerror(code));
    }
    return error_set(error, status, "data_dir", "%s %s: %s", what, lmdb->path, mdb_strerror(code));
}

/* ------------------------------------------------------------------------------------------------ start and stop -- */

static uint64_t first_map_bytes(const struct lmdb_tier *lmdb)
{
    struct stat file;
    uint64_t bytes = FIRST_MAP_BYTES;
    if (stat(lmdb->path, &file) == 0 && file.st_size > 0) {
        uint64_t wanted = (uint64_t)file.st_size + (uint64_t)file.st_size / 4;
        if (bytes < wanted) bytes = wanted;
    }
    return round_to_pages(bytes < lmdb->max_bytes ? bytes : lmdb->max_bytes);
}

static int open_environment(struct lmdb_tier *lmdb)
{
    uint64_t map_bytes = first_map_bytes(lmdb);
    if (!mem_may_map(lmdb->mem, map_bytes)) return ENOMEM;
    int code = mdb_env_create(&lmdb->env);
    if (code != 0) {
        lmdb->env = NULL;
        return code;
    }
    if ((code = mdb_env_set_userctx(lmdb->env, lmdb)) != 0) return code;
    if ((code = mdb_env_set_assert(lmdb->env, on_assertion)) != 0) return code;
    if ((code = mdb_env_set_maxdbs(lmdb->env, LMDB_DATABASES)) != 0) return code;
    if ((code = mdb_env_set_maxreaders(lmdb->env, LMDB_MAX_READERS)) != 0) return code;
    if ((code = mdb_env_set_mapsize(lmdb->env, map_bytes)) != 0) return code;
    unsigned sync = atomic_load_explicit(&lmdb->synced_commits, memory_order_relaxed) ? 0 : MDB_NOSYNC;
    code = mdb_env_open(lmdb->env, lmdb->path, MDB_NOSUBDIR | sync | MDB_NORDAHEAD | MDB_NOTLS, 0600);
    if (code != 0) return code;
    int dead;
    if ((code = mdb_reader_check(lmdb->env, &dead)) != 0) return code;
    mdb_filehandle_t fd;
    if ((code = mdb_env_get_fd(lmdb->env, &fd)) != 0) return code;
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return errno;
    lmdb->data_fd = open(lmdb->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return lmdb->data_fd < 0 ? errno : 0;
}

/* A store without a meta database is new when it has no database at all, and foreign otherwise. */
static int check_new(MDB_txn *txn, bool *is_new)
{
    MDB_stat main_stat;
    int code = mdb_stat(txn, 1, &main_stat);
    if (code != 0) return code;
    MDB_dbi meta;
    code = mdb_dbi_open(txn, databases[LMDB_META].name, 0, &meta);
    *is_new = code == MDB_NOTFOUND && main_stat.ms_entries == 0;
    if (code == MDB_NOTFOUND && !*is_new) return MDB_INVALID;
    return code == MDB_NOTFOUND ? 0 : code;
}

/* Not the row's: a page of blobs that is none shall not have a blob "counters". */
#define COUNTERS_NAME AIC_LITERAL("meta: counters")

void lmdb_counters_write(uint64_t entries, uint64_t bytes, uint64_t next_row, uint64_t last_seq, uint8_t *out)
{
    lmdb_put_u64(out + 8, entries);
    lmdb_put_u64(out + 16, bytes);
    lmdb_put_u64(out + 24, next_row);
    lmdb_put_u64(out + 32, last_seq);
    lmdb_put_u64(out, lmdb_named_check(COUNTERS_NAME, out + 8, LMDB_COUNTERS_BYTES - 8));
}

bool lmdb_counters_read(MDB_val value, uint64_t out[4])
{
    if (value.mv_size != LMDB_COUNTERS_BYTES) return false;
    const uint8_t *bytes = value.mv_data;
    for (size_t i = 0; i < 4; i++) out[i] = lmdb_take_u64(bytes + 8 + 8 * i);
    return lmdb_take_u64(bytes) == lmdb_named_check(COUNTERS_NAME, bytes + 8, LMDB_COUNTERS_BYTES - 8);
}

static int write_meta(struct lmdb_tier *lmdb, MDB_txn *txn)
{
    uint8_t format[4];
    uint8_t counters[LMDB_COUNTERS_BYTES];
    lmdb_put_u32(format, LMDB_FORMAT);
    lmdb_counters_write(0, 0, 1, 0, counters);
    MDB_val key = lmdb_val("format", 6);
    MDB_val value = lmdb_val(format, sizeof format);
    int code = mdb_put(txn, lmdb->databases[LMDB_META], &key, &value, 0);
    if (code != 0) return code;
    key = lmdb_val("counters", 8);
    value = lmdb_val(counters, sizeof counters);
    return mdb_put(txn, lmdb->databases[LMDB_META], &key, &value, 0);
}

/* Before anything else is looked at: other formats have other databases. */
static int check_format(struct lmdb_tier *lmdb, MDB_txn *txn)
{
    MDB_val key = lmdb_val("format", 6);
    MDB_val value;
    int code = mdb_get(txn, lmdb->databases[LMDB_META], &key, &value);
    if (code != 0) return code == MDB_NOTFOUND ? MDB_INVALID : code;
    if (value.mv_size != 4) return MDB_INVALID;
    uint32_t format = lmdb_take_u32(value.mv_data);
    lmdb->older = format > 0 && format < LMDB_FORMAT;
    if (format > LMDB_FORMAT) return MDB_VERSION_MISMATCH;
    return format < LMDB_FORMAT ? MDB_INVALID : 0;
}

static int read_counters(struct lmdb_tier *lmdb, MDB_txn *txn)
{
    uint64_t counters[4];
    MDB_val key = lmdb_val("counters", 8);
    MDB_val value;
    int code = mdb_get(txn, lmdb->databases[LMDB_META], &key, &value);
    if (code != 0) return code == MDB_NOTFOUND ? MDB_INVALID : code;
    if (!lmdb_counters_read(value, counters)) return MDB_CORRUPTED;
    atomic_store_explicit(&lmdb->entries, counters[0], memory_order_relaxed);
    atomic_store_explicit(&lmdb->bytes, counters[1], memory_order_relaxed);
    atomic_store_explicit(&lmdb->next_row, counters[2], memory_order_relaxed);
    atomic_store_explicit(&lmdb->last_seq, counters[3], memory_order_relaxed);
    static const enum lmdb_database counted[] = {LMDB_ENTRIES, LMDB_EXPIRY, LMDB_KEYS};
    for (size_t i = 0; i < COUNT_OF(counted); i++) {
        MDB_stat rows;
        if ((code = mdb_stat(txn, lmdb->databases[counted[i]], &rows)) != 0) return code;
        if (rows.ms_entries != counters[0]) return MDB_CORRUPTED;
        lmdb->page_bytes = rows.ms_psize;
    }
    return 0;
}

static int open_databases(struct lmdb_tier *lmdb, MDB_txn *txn)
{
    bool is_new;
    int code = check_new(txn, &is_new);
    for (int i = 0; code == 0 && i < LMDB_DATABASES; i++) {
        unsigned flags = databases[i].flags | (is_new ? MDB_CREATE : 0u);
        code = mdb_dbi_open(txn, databases[i].name, flags, &lmdb->databases[i]);
        if (code == MDB_NOTFOUND) code = MDB_INVALID;
        if (code == 0 && i == LMDB_META) code = is_new ? write_meta(lmdb, txn) : check_format(lmdb, txn);
    }
    return code != 0 ? code : read_counters(lmdb, txn);
}

static int open_in_transaction(void *context)
{
    struct guarded *opening = context;
    int code = mdb_txn_begin(opening->lmdb->env, NULL, 0, &opening->txn);
    if (code != 0) return code;
    code = open_databases(opening->lmdb, opening->txn);
    if (code == 0) return mdb_txn_commit(opening->txn);
    mdb_txn_abort(opening->txn);
    return code;
}

static int start_databases(struct lmdb_tier *lmdb)
{
    struct guarded opening = {.lmdb = lmdb};
    int code = lmdb_guarded(lmdb, open_in_transaction, &opening);
    if (!lmdb_damaged(&lmdb->tier)) return code;
    lmdb->wrecked = true; /* by a jump */
    return MDB_CORRUPTED;
}

static void publish_map(struct lmdb_tier *lmdb)
{
    MDB_envinfo info;
    if (mdb_env_info(lmdb->env, &info) != 0) return;
    lmdb->map_bytes = info.me_mapsize;
    lmdb_read_anew(lmdb, info.me_last_txnid);
    atomic_store_explicit(&lmdb->file_bytes, (info.me_last_pgno + 1) * lmdb->page_bytes, memory_order_relaxed);
}

aic_status lmdb_env_start(struct lmdb_tier *lmdb, aic_error *error)
{
    lmdb->older = false;
    int code = open_environment(lmdb);
    if (code != 0) {
        lmdb_env_stop(lmdb);
        return refuse(lmdb, error, code, "cannot open");
    }
    code = start_databases(lmdb);
    if (code != 0) {
        lmdb_env_stop(lmdb);
        if (code == MDB_VERSION_MISMATCH) {
            return error_set(error, AIC_NEWER, "data_dir",
                             "%s was written by a newer version of this program; this one reads formats up to %d",
                             lmdb->path, LMDB_FORMAT);
        }
        return refuse(lmdb, error, code, "cannot read");
    }
    publish_map(lmdb);
    return AIC_OK;
}

static void empty_pool(struct lmdb_tier *lmdb)
{
    pthread_mutex_lock(&lmdb->pool_lock);
    while (lmdb->idle_count > 0) mdb_txn_abort(lmdb->idle[--lmdb->idle_count].txn);
    pthread_mutex_unlock(&lmdb->pool_lock);
}

void lmdb_env_stop(struct lmdb_tier *lmdb)
{
    empty_pool(lmdb);
    if (lmdb->wrecked) leave_wreck(lmdb);
    if (lmdb->data_fd >= 0) close(lmdb->data_fd);
    lmdb->data_fd = -1;
    if (lmdb->env != NULL) mdb_env_close(lmdb->env);
    lmdb->env = NULL;
}

aic_status lmdb_env_restart(struct lmdb_tier *lmdb)
{
    pthread_rwlock_wrlock(&lmdb->map_lock);
    lmdb_env_stop(lmdb);
    aic_status status = lmdb_env_start(lmdb, NULL);
    pthread_rwlock_unlock(&lmdb->map_lock);
    return status;
}

/* ------------------------------------------------------------------------------------------------ the map's size -- */

static int remap(struct lmdb_tier *lmdb, uint64_t bytes)
{
    pthread_rwlock_wrlock(&lmdb->map_lock);
    empty_pool(lmdb);
    int code = mdb_env_set_mapsize(lmdb->env, bytes);
    if (code == 0) {
        publish_map(lmdb);
    } else {
        /* The old map is gone already; opening again takes a size that the file needs. */
        lmdb_env_stop(lmdb);
        if (lmdb_env_start(lmdb, NULL) != AIC_OK) lmdb_count(&lmdb->counts.errors, 1);
    }
    pthread_rwlock_unlock(&lmdb->map_lock);
    return code;
}

aic_status lmdb_env_grow(struct lmdb_tier *lmdb, uint64_t bytes)
{
    uint64_t limit = round_to_pages(lmdb->max_bytes);
    if (lmdb->map_bytes >= limit) return AIC_FULL;
    if (bytes < 2 * lmdb->map_bytes) bytes = 2 * lmdb->map_bytes;
    bytes = bytes < limit ? round_to_pages(bytes) : limit;
    if (!mem_may_map(lmdb->mem, bytes)) return AIC_NO_MEMORY;
    return lmdb_status(remap(lmdb, bytes));
}

static aic_status copy_live(struct lmdb_tier *lmdb)
{
    struct buf path;
    buf_init(&path, lmdb->mem, MEM_STORAGE);
    buf_printf(&path, "%s/" LMDB_NEW_DATA_NAME, lmdb->home.directory);
    buf_append_byte(&path, '\0');
    aic_status status = buf_status(&path);
    lmdb_home_drop_new(&lmdb->home);
    if (status == AIC_OK) status = lmdb_status(mdb_env_copy2(lmdb->env, path.data, MDB_CP_COMPACT));
    buf_fini(&path);
    return status;
}

aic_status lmdb_env_compact(struct lmdb_tier *lmdb)
{
    aic_status status = lmdb_home_mark_open(&lmdb->home);
    if (status == AIC_OK) status = copy_live(lmdb);
    if (status != AIC_OK) {
        lmdb_home_drop_new(&lmdb->home);
        return status;
    }
    lmdb_env_stop(lmdb);
    status = lmdb_home_swap(&lmdb->home);
    aic_status started = lmdb_env_start(lmdb, NULL);
    return status == AIC_OK ? started : status;
}

int lmdb_live_pages(struct lmdb_tier *lmdb, MDB_txn *txn, uint64_t *out)
{
    uint64_t pages = 2; /* the two meta pages */
    for (int i = -2; i < LMDB_DATABASES; i++) {
        MDB_stat stat;
        /* 0 is LMDB's free list, 1 its list of databases. */
        int code = mdb_stat(txn, i < 0 ? (MDB_dbi)(i + 2) : lmdb->databases[i], &stat);
        if (code != 0) return code;
        pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
        /* The pages of long lists are not counted by LMDB; they are filled to two thirds or more. */
        if (i == LMDB_LABELS) pages += stat.ms_entries * LMDB_FRONT_BYTES * 3 / 2 / stat.ms_psize;
    }
    *out = pages;
    return 0;
}

/* --------------------------------------------------------------------------------------------- read transactions -- */

static struct lmdb_idle take_idle(struct lmdb_tier *lmdb)
{
    struct lmdb_idle none = {NULL, false};
    pthread_mutex_lock(&lmdb->pool_lock);
    struct lmdb_idle idle = lmdb->idle_count > 0 ? lmdb->idle[--lmdb->idle_count] : none;
    pthread_mutex_unlock(&lmdb->pool_lock);
    return idle;
}

/* A renewed one reads the roots of its databases again, which takes longer than to find a record. */
static int begin_read(void *context)
{
    struct guarded *begin = context;
    struct lmdb_idle idle = take_idle(begin->lmdb);
    begin->txn = idle.txn;
    if (idle.txn == NULL) return mdb_txn_begin(begin->lmdb->env, NULL, MDB_RDONLY, &begin->txn);
    int code = idle.live ? 0 : mdb_txn_renew(begin->txn);
    if (code != 0) mdb_txn_abort(begin->txn);
    return code;
}

void lmdb_read_anew(struct lmdb_tier *lmdb, uint64_t last_txn)
{
    pthread_mutex_lock(&lmdb->pool_lock);
    lmdb->last_txn = last_txn;
    for (size_t i = 0; i < lmdb->idle_count; i++) {
        if (lmdb->idle[i].live) mdb_txn_reset(lmdb->idle[i].txn);
        lmdb->idle[i].live = false;
    }
    pthread_mutex_unlock(&lmdb->pool_lock);
}

aic_status lmdb_read_begin(struct lmdb_tier *lmdb, MDB_txn **out)
{
    pthread_rwlock_rdlock(&lmdb->map_lock);
    struct guarded begin = {.lmdb = lmdb};
    int code = is_refused(lmdb) ? MDB_CORRUPTED : lmdb->env == NULL ? EIO : lmdb_guarded(lmdb, begin_read, &begin);
    if (code == 0) {
        *out = begin.txn;
        return AIC_OK;
    }
    pthread_rwlock_unlock(&lmdb->map_lock);
    lmdb_count(&lmdb->counts.errors, 1);
    return lmdb_status(code);
}

void lmdb_read_end(struct lmdb_tier *lmdb, MDB_txn **txn)
{
    MDB_stat stat;
    /* A transaction that met a page that makes no sense answers everything after it with MDB_BAD_TXN: asked here, no
     * reader can forget it. 1 is the list of databases, whose root each transaction has. */
    if (!is_refused(lmdb) && mdb_stat(*txn, 1, &stat) == MDB_BAD_TXN)
        lmdb_found_damage(lmdb, "a page that was read makes no sense");
    pthread_mutex_lock(&lmdb->pool_lock);
    bool live = !lmdb_damaged(&lmdb->tier) && mdb_txn_id(*txn) >= lmdb->last_txn;
    if (!live) mdb_txn_reset(*txn);
    bool kept = lmdb->idle_count < LMDB_IDLE_READERS;
    if (kept) lmdb->idle[lmdb->idle_count++] = (struct lmdb_idle){*txn, live};
    pthread_mutex_unlock(&lmdb->pool_lock);
    if (!kept) mdb_txn_abort(*txn);
    *txn = NULL;
    pthread_rwlock_unlock(&lmdb->map_lock);
}
