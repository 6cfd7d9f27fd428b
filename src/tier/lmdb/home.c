#include "tier/lmdb/home.h"

#include "base/check.h"
#include "base/file.h"
#include "base/status.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define DATA_NAME "cache.mdb"
#define DATA_LOCK_NAME "cache.mdb-lock"
#define LOCK_NAME "cache.lock"
#define ENDS "unclean ends before: "
#define STATE_NAME "cache.state"
#define SYNCED_NAME "cache.synced"
#define STATE_NEW_NAME "cache.state.new"
#define STATE_MAGIC "aicache-store "
#define STATE_VERSION 1

/* Reads a small file whole, NUL-terminated, without the line end. Bytes read, or -1 with errno. */
static ssize_t read_small(int directory_fd, const char *name, char *out, size_t capacity)
{
    int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    size_t size;
    int code = file_read(fd, out, capacity - 1, 0, &size);
    close(fd);
    if (code != 0) {
        errno = code;
        return -1;
    }
    while (size > 0 && (out[size - 1] == '\n' || out[size - 1] == '\0')) size--;
    out[size] = '\0';
    return (ssize_t)size;
}

static void read_boot_id(struct lmdb_home *home, const char *path)
{
    if (path == NULL) path = "/proc/sys/kernel/random/boot_id";
    ssize_t size = read_small(AT_FDCWD, path, home->boot_id, sizeof home->boot_id);
    if (size < 0) home->boot_id[0] = '\0';
}

static aic_status refuse(const struct lmdb_home *home, aic_error *error, int code, const char *what)
{
    bool rights = code == EACCES || code == EPERM || code == EROFS;
    return error_set(error, code == ENOMEM ? AIC_NO_MEMORY : AIC_IO, "data_dir", "%s %s: %s%s", what, home->directory,
                     strerror(code), rights ? "; make it writable for this user or name another directory" : "");
}

static aic_status open_directory(struct lmdb_home *home, aic_error *error)
{
    if (mkdir(home->directory, 0700) != 0 && errno != EEXIST) {
        return refuse(home, error, errno, "cannot make the storage directory");
    }
    home->directory_fd = open(home->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (home->directory_fd < 0) return refuse(home, error, errno, "cannot open the storage directory");
    /* Files that are there already may be open to this user, but marks are written beside them. */
    if (faccessat(home->directory_fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
        return refuse(home, error, errno, "cannot write in the storage directory");
    }
    return AIC_OK;
}

/* Does this process have the file open? After a fork without exec a child has its parent's. */
static bool has_open(const struct stat *file)
{
    DIR *fds = opendir("/proc/self/fd");
    bool found = false;
    if (fds == NULL) return false;
    for (const struct dirent *entry; !found && (entry = readdir(fds)) != NULL;) {
        struct stat other;
        if (fstatat(dirfd(fds), entry->d_name, &other, 0) != 0) continue;
        found = other.st_dev == file->st_dev && other.st_ino == file->st_ino;
    }
    closedir(fds);
    return found;
}

/* By its number and by what it has open: processes in two containers can have the same number. */
static bool is_held_here(const struct lmdb_home *home, const char *holder)
{
    struct stat file;
    char *end;
    const char *number = strncmp(holder, "process ", 8) == 0 ? holder + 8 : "";
    if (strtol(number, &end, 10) != (long)getpid() || end == number) return false;
    return fstatat(home->directory_fd, LOCK_NAME, &file, AT_SYMLINK_NOFOLLOW) == 0 && has_open(&file);
}

static aic_status refuse_locked(const struct lmdb_home *home, aic_error *error)
{
    char holder[128];
    ssize_t size = read_small(home->directory_fd, LOCK_NAME, holder, sizeof holder);
    if (size > 0) holder[strcspn(holder, "\n")] = '\0'; /* the first line names it */
    if (size > 0 && is_held_here(home, holder))
        return error_set(error, AIC_LOCKED, "data_dir",
                         "the store in %s is open in this process already; close it or name another directory",
                         home->directory);
    return error_set(error, AIC_LOCKED, "data_dir", "the store in %s is held by %s; stop it or name another directory",
                     home->directory, size > 0 ? holder : "another process");
}

/* Writes who holds the store into the lock file, for the message of the next one, and how many ends were unclean, for
 * the next start. A failure costs only that. */
static void name_holder(const struct lmdb_home *home)
{
    char program[64];
    char line[128];
    if (read_small(AT_FDCWD, "/proc/self/comm", program, sizeof program) <= 0) program[0] = '\0';
    int size = snprintf(line, sizeof line, "process %ld%s%s%s\n" ENDS "%u\n", (long)getpid(),
                        program[0] != '\0' ? " (" : "", program, program[0] != '\0' ? ")" : "", home->unclean_ends);
    /* Never empty on the way: on a full disk the bytes that are there are all that there will be. */
    bool named = file_write(home->lock_fd, line, (size_t)size, 0) == 0 && ftruncate(home->lock_fd, size) == 0;
    (void)named;
}

/* One more than the last holder found, if that one has left its name. */
static unsigned count_ends(const struct lmdb_home *home)
{
    char text[160];
    size_t size;
    if (file_read(home->lock_fd, text, sizeof text - 1, 0, &size) != 0) return 0;
    text[size] = '\0';
    const char *line = strstr(text, "\n" ENDS);
    unsigned long before = line != NULL ? strtoul(line + sizeof ENDS, NULL, 10) : 0;
    return before < 1000000 ? (unsigned)before + 1 : 1;
}

void lmdb_home_forget_ends(struct lmdb_home *home)
{
    home->unclean_ends = 0;
    name_holder(home);
}

static aic_status take_lock(struct lmdb_home *home, aic_error *error)
{
    home->lock_fd = openat(home->directory_fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (home->lock_fd < 0) return refuse(home, error, errno, "cannot write in the storage directory");
    if (flock(home->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int code = errno;
        close(home->lock_fd);
        home->lock_fd = -1;
        return code == EWOULDBLOCK ? refuse_locked(home, error)
                                   : refuse(home, error, code, "cannot lock the storage directory");
    }
    home->unclean_ends = count_ends(home);
    name_holder(home);
    return AIC_OK;
}

aic_status lmdb_home_open(struct lmdb_home *home, struct mem *mem, const char *directory, const char *boot_id_path,
                          aic_error *error)
{
    *home = (struct lmdb_home){.mem = mem, .directory_fd = -1, .lock_fd = -1};
    home->directory = mem_copy_string(mem, MEM_STORAGE, aic_view_of(directory));
    if (home->directory == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "no memory to open the store");
    read_boot_id(home, boot_id_path);
    aic_status status = open_directory(home, error);
    if (status == AIC_OK) status = take_lock(home, error);
    if (status != AIC_OK) lmdb_home_close(home);
    return status;
}

void lmdb_home_close(struct lmdb_home *home)
{
    if (home->lock_fd >= 0) {
        /* Emptied first, so that nobody reads the name of a process that has let go. */
        bool emptied = ftruncate(home->lock_fd, 0) == 0;
        (void)emptied;
        close(home->lock_fd);
    }
    if (home->directory_fd >= 0) close(home->directory_fd);
    mem_free_string(home->mem, MEM_STORAGE, home->directory);
    home->directory = NULL;
    home->directory_fd = -1;
    home->lock_fd = -1;
}

/* Understands "aicache-store VERSION clean|open BOOT-ID". What is not understood counts as lost: the bytes are not to
 * be trusted. */
static enum lmdb_mark parse_mark(const struct lmdb_home *home, const char *text)
{
    if (strncmp(text, STATE_MAGIC, sizeof STATE_MAGIC - 1) != 0) return LMDB_MARK_LOST;
    char *rest;
    unsigned long version = strtoul(text + sizeof STATE_MAGIC - 1, &rest, 10);
    if (version > STATE_VERSION) return LMDB_MARK_NEWER;
    if (strcmp(rest, " clean") == 0) return LMDB_MARK_CLEAN;
    if (strncmp(rest, " open ", 6) != 0 || home->boot_id[0] == '\0') return LMDB_MARK_LOST;
    return strcmp(rest + 6, home->boot_id) == 0 ? LMDB_MARK_CRASHED : LMDB_MARK_LOST;
}

aic_status lmdb_home_read(struct lmdb_home *home, enum lmdb_mark *out, aic_error *error)
{
    char text[160];
    if (read_small(home->directory_fd, STATE_NAME, text, sizeof text) < 0) {
        if (errno != ENOENT) return refuse(home, error, errno, "cannot read " STATE_NAME " in");
        *out = LMDB_MARK_NONE;
        return AIC_OK;
    }
    *out = parse_mark(home, text);
    home->clean = *out == LMDB_MARK_CLEAN;
    home->open = *out == LMDB_MARK_CRASHED;
    return AIC_OK;
}

/* 0, or the number of the error. */
static int write_durably(const struct lmdb_home *home, const char *text, size_t size)
{
    int fd = openat(home->directory_fd, STATE_NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return errno;
    int fault = file_write(fd, text, size, 0);
    if (fault == 0 && fsync(fd) != 0) fault = errno;
    if (close(fd) != 0 && fault == 0) fault = errno;
    if (fault != 0) return fault;
    if (renameat(home->directory_fd, STATE_NEW_NAME, home->directory_fd, STATE_NAME) != 0) return errno;
    /* After the rename the new mark stands in any case; a directory that cannot be synced still is a failure of the
     * promise. */
    return fsync(home->directory_fd) == 0 ? 0 : errno;
}

aic_status lmdb_home_write(struct lmdb_home *home, bool clean)
{
    char text[160];
    int size = snprintf(text, sizeof text, STATE_MAGIC "%d %s%s\n", STATE_VERSION, clean ? "clean" : "open ",
                        clean ? "" : home->boot_id);
    /* A failed write leaves it unknown which mark stands; the next commit and the next settling write theirs again. */
    home->clean = home->open = false;
    int fault = write_durably(home, text, (size_t)size);
    if (fault != 0) {
        errno = fault;
        return AIC_IO;
    }
    home->clean = clean;
    home->open = !clean;
    return AIC_OK;
}

aic_status lmdb_home_mark_open(struct lmdb_home *home)
{
    return home->open ? AIC_OK : lmdb_home_write(home, false);
}

bool lmdb_home_is_synced(const struct lmdb_home *home)
{
    return faccessat(home->directory_fd, SYNCED_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

aic_status lmdb_home_keep_synced(struct lmdb_home *home)
{
    int fd = openat(home->directory_fd, SYNCED_NAME, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return AIC_IO;
    close(fd);
    return fsync(home->directory_fd) == 0 ? AIC_OK : AIC_IO;
}

bool lmdb_home_has_data(const struct lmdb_home *home, uint64_t *bytes)
{
    struct stat file;
    bool known = fstatat(home->directory_fd, DATA_NAME, &file, AT_SYMLINK_NOFOLLOW) == 0;
    *bytes = known && S_ISREG(file.st_mode) ? (uint64_t)file.st_size : 1;
    return known || errno != ENOENT;
}

aic_status lmdb_home_drop(struct lmdb_home *home)
{
    if (unlinkat(home->directory_fd, DATA_NAME, 0) != 0 && errno != ENOENT) return AIC_IO;
    if (unlinkat(home->directory_fd, DATA_LOCK_NAME, 0) != 0 && errno != ENOENT) return AIC_IO;
    return AIC_OK;
}

aic_status lmdb_home_swap(struct lmdb_home *home)
{
    return renameat(home->directory_fd, LMDB_NEW_DATA_NAME, home->directory_fd, DATA_NAME) == 0 ? AIC_OK : AIC_IO;
}

void lmdb_home_drop_new(struct lmdb_home *home)
{
    (void)unlinkat(home->directory_fd, LMDB_NEW_DATA_NAME, 0);
}

/* May the data file not grow so much, by the process's limit on the size of files? */
static bool is_limited(const struct lmdb_home *home, uint64_t bytes)
{
    struct rlimit limit;
    struct stat info;
    if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return false;
    return fstatat(home->directory_fd, DATA_NAME, &info, 0) == 0 &&
           (uint64_t)info.st_size + bytes > (uint64_t)limit.rlim_cur;
}

/* A file without a name takes the room and gives it back. Where there are none, or room cannot be asked for, the count
 * of free blocks has to do. */
int lmdb_home_room_fault(const struct lmdb_home *home, uint64_t bytes)
{
    struct statvfs room;
    if (is_limited(home, bytes)) return EFBIG;
    int fd = openat(home->directory_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    int code = fd < 0 ? errno : fallocate(fd, 0, 0, (off_t)bytes) != 0 ? errno : 0;
    if (fd >= 0) close(fd);
    if (code == 0 || code == ENOSPC || code == EDQUOT) return code;
    if (fstatvfs(home->directory_fd, &room) != 0) return 0;
    return (uint64_t)room.f_bavail * room.f_frsize < bytes ? ENOSPC : 0;
}
