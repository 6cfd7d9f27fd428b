/*
 * aicached_check_secret.c - --check-config: is there a secret, and is it that of the store?
 *
 * The secret is read by a cache without storage, so that what is said of it is what a start says. The store is not
 * opened as a start does, which would change it: LMDB reads the one blob that tells. With a store that a daemon has
 * open it does so as any reader. One that nobody has open is looked at only if it was closed in order and its pages are
 * whole, for a damaged page can take the process along; otherwise nothing is known, and nothing is said.
 */
#include "aicached.h"

#include "cache/inner.h"
#include "tier/lmdb_check.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define PATIENCE_MS 2000
#define DATABASES 6

/* Does a process have the store open? Asked of the lock that it holds then; also when that cannot be asked. */
static bool is_held(int directory)
{
    int fd = openat(directory, "cache.lock", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno != ENOENT;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0;
    close(fd);
    return held;
}

static bool was_closed(int directory)
{
    static const char closed[] = "aicache-store 1 clean";
    char text[64];
    int fd = openat(directory, "cache.state", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t size = read(fd, text, sizeof text);
    close(fd);
    return size >= (ssize_t)sizeof closed - 1 && memcmp(text, closed, sizeof closed - 1) == 0;
}

static bool is_whole(struct mem *mem, int directory)
{
    struct lmdb_finding finding;
    struct lmdb_patience patience = {clock_system(), PATIENCE_MS};
    int fd = openat(directory, "cache.mdb", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    aic_status status = lmdb_check(mem, fd, NULL, &patience, &finding);
    close(fd);
    return status == AIC_OK;
}

static bool read_blob(MDB_env *env, char out[FINGERPRINT_DIGITS + 1])
{
    static char name[] = "secret/fingerprint";
    MDB_txn *txn = NULL;
    MDB_dbi blobs;
    MDB_val key = {sizeof name - 1, name}, value;
    if (mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != MDB_SUCCESS) return false;
    bool found = mdb_dbi_open(txn, "blobs", 0, &blobs) == MDB_SUCCESS &&
                 mdb_get(txn, blobs, &key, &value) == MDB_SUCCESS && value.mv_size == FINGERPRINT_DIGITS;
    if (found) memcpy(out, value.mv_data, FINGERPRINT_DIGITS);
    out[FINGERPRINT_DIGITS] = '\0';
    mdb_txn_abort(txn);
    return found;
}

/* The fingerprint that the store in `data_dir` keeps; false: there is none, or it cannot be known. */
static bool kept_fingerprint(struct mem *mem, const char *data_dir, char out[FINGERPRINT_DIGITS + 1])
{
    char path[4096];
    MDB_env *env = NULL;
    if (snprintf(path, sizeof path, "%s/cache", data_dir) >= (int)sizeof path - 16) return false;
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return false;
    bool held = is_held(directory);
    bool readable = faccessat(directory, "cache.mdb", R_OK, AT_EACCESS) == 0 &&
                    (held || (was_closed(directory) && is_whole(mem, directory)));
    close(directory);
    if (!readable || mdb_env_create(&env) != MDB_SUCCESS) return false;
    memcpy(path + strlen(path), "/cache.mdb", sizeof "/cache.mdb");
    unsigned flags = MDB_NOSUBDIR | MDB_RDONLY | (held ? 0U : (unsigned)MDB_NOLOCK);
    bool found = mdb_env_set_maxdbs(env, DATABASES) == MDB_SUCCESS &&
                 mdb_env_open(env, path, flags, 0600) == MDB_SUCCESS && read_blob(env, out);
    mdb_env_close(env);
    return found;
}

struct listener {
    const struct trial *trial;
    const char *option;
};

/* What the cache says of the secret: who can read it. */
static void warn(void *context, aic_log_level level, const char *line)
{
    const struct listener *listener = context;
    if (level < AIC_LOG_WARNING) return;
    option_warn(listener->trial->report, trial_origin(listener->trial, listener->option), listener->option, "%s", line);
}

static void refuse_store(const struct trial *trial, const char *option, const char *data_dir, const char *path,
                         bool missing)
{
    option_refuse(trial->report, trial_origin(trial, option), option,
                  "the store in '%.200s' was written under another secret than %s in '%.200s' %s: none of its entries "
                  "could be found; accepted: its own secret file, or an empty data_dir",
                  data_dir, missing ? "a new one" : "the one", path, missing ? "would be" : "is");
}

void trial_secret(const struct trial *trial)
{
    struct mem *mem = &trial->daemon->mem;
    aic_options wanted;
    char path[4096], kept[FINGERPRINT_DIGITS + 1];
    settings_cache_options(&trial->daemon->settings, &wanted);
    bool given = wanted.secret_file != NULL;
    struct listener listener = {trial, given ? "secret_file" : "data_dir"};
    if (!given && wanted.data_dir == NULL) return; /* a secret of its own for each start */
    if (snprintf(path, sizeof path, "%s%s", given ? wanted.secret_file : wanted.data_dir, given ? "" : "/secret") >=
        (int)sizeof path)
        return;
    bool known = wanted.data_dir != NULL && kept_fingerprint(mem, wanted.data_dir, kept);
    if (!given && access(path, F_OK) != 0 && errno == ENOENT) { /* the start makes it */
        if (known) refuse_store(trial, listener.option, wanted.data_dir, path, true);
        return;
    }
    aic_cache *cache = NULL;
    aic_error error = {0};
    aic_options options = {.secret_file = path,
                           .storage = AIC_STORAGE_NONE,
                           .memory_max_bytes = AIC_ZERO,
                           .log = warn,
                           .log_context = &listener};
    aic_status status = aic_cache_open(&options, &cache, &error);
    if (status != AIC_OK)
        option_refuse(trial->report, trial_origin(trial, listener.option), listener.option,
                      "%s; accepted: a file that this user may read, of at least 16 bytes",
                      error.message[0] != '\0' ? error.message : aic_status_text(status));
    else if (known && memcmp(kept, cache->fingerprint, FINGERPRINT_DIGITS) != 0)
        refuse_store(trial, listener.option, wanted.data_dir, path, false);
    aic_cache_close(&cache);
}
