/*
 * output.c - a file that a command writes: the one before stays until the new one is whole.
 *
 * What is written goes to a part in the same folder, which takes the name by rename() once everything has reached the
 * disk; on a failure, and when a signal ends the program, the part is removed. Names that stand for no regular file (a
 * pipe, a device) cannot be exchanged so, and there is nothing to lose in them: they are written directly.
 *
 * Limits: one part at a time in a program, since a signal handler must find its name; a file of several hard links
 * becomes one of its own.
 */
#include "cli/cli.h"

#include "base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const int ending[] = {SIGHUP, SIGINT, SIGTERM};
static char part[PATH_MAX]; /* the part to remove; changed only while the signals above are blocked */

/* Only what a handler may do. Dies of the same signal, so that a shell sees that. */
static void remove_part(int number)
{
    if (part[0] != '\0') unlink(part);
    signal(number, SIG_DFL);
    raise(number);
}

/* A signal that is ignored, as by nohup, stays so. */
static void guard_part(void)
{
    for (size_t i = 0; i < COUNT_OF(ending); i++) {
        struct sigaction before, action = {.sa_handler = remove_part};
        if (sigaction(ending[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
            sigaction(ending[i], &action, NULL);
    }
}

static void block(sigset_t *before)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < COUNT_OF(ending); i++) sigaddset(&set, ending[i]);
    sigprocmask(SIG_BLOCK, &set, before);
}

/* The same owner and mode as the file that is replaced; where the owner cannot be kept, his group gets no rights. */
static int take_mode(int descriptor, const struct stat *old)
{
    mode_t mode = old->st_mode & 07777;
    struct stat own;
    if (fstat(descriptor, &own) != 0) return -1;
    if ((own.st_uid != old->st_uid || own.st_gid != old->st_gid) && fchown(descriptor, old->st_uid, old->st_gid) != 0)
        mode &= (mode_t) ~(S_IRWXG | S_ISUID | S_ISGID);
    return fchmod(descriptor, mode);
}

static mode_t usual_mode(void)
{
    mode_t mask = umask(0);
    umask(mask);
    return 0666 & ~mask;
}

/* Makes the part beside output->path and opens it. False with errno. */
static bool open_part(struct output *output, const struct stat *old)
{
    static const char pattern[] = ".aicache.XXXXXX";
    const char *slash = strrchr(output->path, '/');
    size_t folder = slash != NULL ? (size_t)(slash - output->path) + 1 : 0;
    if (folder + sizeof pattern > sizeof part) {
        errno = ENAMETOOLONG;
        return false;
    }
    char name[PATH_MAX];
    memcpy(name, output->path, folder);
    memcpy(name + folder, pattern, sizeof pattern);
    sigset_t before;
    block(&before);
    int descriptor = mkostemp(name, O_CLOEXEC), why = errno;
    if (descriptor >= 0) {
        memcpy(part, name, folder + sizeof pattern);
        guard_part();
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (descriptor < 0) {
        errno = why;
        return false;
    }
    int failed = old != NULL ? take_mode(descriptor, old) : fchmod(descriptor, usual_mode());
    if (failed == 0) output->file = fdopen(descriptor, "wb");
    if (output->file != NULL) return true;
    why = errno;
    close(descriptor);
    unlink(part);
    part[0] = '\0';
    errno = why;
    return false;
}

static bool is_standard(const char *name)
{
    return name == NULL || strcmp(name, "-") == 0 || strcmp(name, "/dev/stdout") == 0;
}

int output_open(struct output *output, const char *name)
{
    struct stat facts, link;
    CHECK(part[0] == '\0'); /* one at a time */
    *output = (struct output){.file = stdout, .name = "standard output"};
    if (is_standard(name)) return CLI_OK;
    output->name = name;
    bool there = stat(name, &facts) == 0;
    bool direct = there
                      ? !S_ISREG(facts.st_mode) || strncmp(name, "/dev/fd/", 8) == 0 || strncmp(name, "/proc/", 6) == 0
                      : lstat(name, &link) == 0; /* a link to a file that is yet to be made */
    if (direct) {
        output->file = fopen(name, "wb");
        return output->file != NULL ? CLI_OK : cli_fail("%s: %s", name, strerror(errno));
    }
    /* A link stays one: what it leads to is replaced. */
    output->file = NULL;
    bool known = there ? realpath(name, output->path) != NULL && access(output->path, W_OK) == 0
                       : strlen(name) < sizeof output->path;
    if (!known) return cli_fail("%s: %s", name, strerror(there ? errno : ENAMETOOLONG));
    if (!there) memcpy(output->path, name, strlen(name) + 1);
    if (open_part(output, there ? &facts : NULL)) return CLI_OK;
    return cli_fail("%s: no file can be made in its folder: %s", name, strerror(errno));
}

/* The name is on disk, too, once its folder is; not every filesystem can say so. */
static void sync_folder(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t size = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    memcpy(folder, slash == NULL ? "." : path, slash == NULL ? 1 : size);
    folder[slash == NULL ? 1 : size] = '\0';
    int descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0) return;
    fsync(descriptor);
    close(descriptor);
}

static int take_name(struct output *output)
{
    sigset_t before;
    int result = CLI_OK;
    block(&before);
    if (rename(part, output->path) != 0) {
        result = cli_fail("%s: %s", output->name, strerror(errno));
        unlink(part);
    }
    part[0] = '\0';
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (result == CLI_OK) sync_folder(output->path);
    return result;
}

int output_close(struct output *output, int result)
{
    FILE *file = output->file;
    bool exchanged = output->path[0] != '\0';
    if (file == NULL) return result;
    if (file == stdout) return output_end(result);
    output->file = NULL;
    int why = fflush(file) != 0 ? errno : ferror(file) ? EIO : 0; /* what failed earlier has left no number */
    if (why == 0 && exchanged && fsync(fileno(file)) != 0) why = errno;
    if (fclose(file) != 0 && why == 0) why = errno;
    if (why != 0 && result == CLI_OK) result = cli_fail("%s: %s", output->name, strerror(why));
    if (!exchanged) return result;
    if (result == CLI_OK) return take_name(output);
    unlink(part);
    part[0] = '\0';
    return result;
}
