/*
 * storage_hang.c - a disk that stops answering: loaded into a daemon before its libraries (LD_PRELOAD), it lets every
 * call into LMDB wait as long as the file that STORAGE_HANG names is there.
 *
 * With STORAGE_HANG_WRITES it is only those calls that write.
 *
 * The threads that wait are those that called, in the middle of what they hold, as with a file on a network that went
 * away; nothing fails, nothing comes back. Without the variable, or without the file, the calls pass.
 */
#include <dlfcn.h>
#include <lmdb.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void wait_while_there_is(const char *path)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    while (path != NULL && access(path, F_OK) == 0) nanosleep(&pause, NULL);
}

static void wait_while_it_hangs(void)
{
    wait_while_there_is(getenv("STORAGE_HANG"));
}

static void wait_while_writes_hang(void)
{
    wait_while_it_hangs();
    wait_while_there_is(getenv("STORAGE_HANG_WRITES"));
}

/* The function behind the one of this name. */
static void *behind(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) abort();
    return found;
}

#define CALL(name, parameters, ...) CALL_AFTER(wait_while_it_hangs, name, parameters, __VA_ARGS__)
#define CALL_AFTER(wait, name, parameters, ...)                                                                        \
    __attribute__((visibility("default"))) int name parameters                                                         \
    {                                                                                                                  \
        wait();                                                                                                        \
        int(*next) parameters = (__typeof__(next))behind(#name);                                                       \
        return next(__VA_ARGS__);                                                                                      \
    }

CALL(mdb_txn_begin, (MDB_env * env, MDB_txn *parent, unsigned flags, MDB_txn **txn), env, parent, flags, txn)
CALL(mdb_txn_renew, (MDB_txn * txn), txn)
CALL(mdb_txn_commit, (MDB_txn * txn), txn)
CALL(mdb_get, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data), txn, dbi, key, data)
CALL_AFTER(wait_while_writes_hang, mdb_put, (MDB_txn * txn, MDB_dbi dbi, MDB_val *key, MDB_val *data, unsigned flags),
           txn, dbi, key, data, flags)
CALL(mdb_cursor_get, (MDB_cursor * cursor, MDB_val *key, MDB_val *data, MDB_cursor_op op), cursor, key, data, op)
CALL_AFTER(wait_while_writes_hang, mdb_env_sync, (MDB_env * env, int force), env, force)
