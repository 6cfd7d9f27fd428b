/*
 * storage_hang.c - a disk that stops answering: loaded into a daemon before its libraries (LD_PRELOAD), it lets every
 * call into LMDB wait as long as the file that STORAGE_HANG names is there.
 *
 * The threads that wait are those that called, in the middle of what they hold, as with a file on a network that went
 * away; nothing fails, nothing comes back. Without the variable, or without the file, the calls pass.
 */
#include <dlfcn.h>
#include <lmdb.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void wait_while_it_hangs(void)
{
    const char *path = getenv("STORAGE_HANG");
    const struct timespec pause = {.tv_nsec = 5000000};
    while (path != NULL && access(path, F_OK) == 0) nanosleep(&pause, NULL);
}

/* The function behind the one of this name. */
static void *behind(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) abort();
    return found;
}

#define CALL(name, parameters, ...)                                                                                    \
    __attribute__((visibility("default"))) int name parameters                                                         \
    {                                                                                                                  \
        wait_while_it_hangs();                                                                                         \
        int(*next) parameters = (__typeof__(next))behind(#name);                                                       \
        return next(__VA_ARGS__);                                                                                      \
    }

CALL(mdb_txn_begin, (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **txn), env, parent, flags, txn)
CALL(mdb_txn_renew, (MDB_txn * txn), txn)
CALL(mdb_txn_commit, (MDB_txn * txn), txn)
CALL(mdb_get, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), txn, dbi, key, data)
CALL(mdb_put, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags), txn, dbi, key, data, flags)
CALL(mdb_cursor_get, (MDB_cursor * cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op), cursor, key, data, op)
CALL(mdb_env_sync, (MDB_env * env, int force), env, force)
