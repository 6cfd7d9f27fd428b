#include "observe/history_file.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_BYTES (4 << 20)

void history_file_init(struct history_file *file, struct history *history, const char *path, struct log *log)
{
    *file = (struct history_file){.history = history, .path = history != NULL ? path : NULL, .log = log};
    int fd = file->path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    struct buf text;
    buf_init(&text, history->mem, MEM_MONITOR);
    struct stat info;
    if (fstat(fd, &info) == 0 && info.st_size > 0 && info.st_size <= MOST_BYTES) {
        char *room = buf_reserve(&text, (size_t)info.st_size);
        size_t got;
        if (room != NULL && file_read(fd, room, (size_t)info.st_size, 0, &got) == 0) buf_commit(&text, got);
    }
    close(fd);
    if (text.size > 0 && history_load(history, buf_view(&text)) != AIC_OK && log != NULL)
        log_line(log, AIC_LOG_WARNING, "monitor",
                 "the kept history is damaged, or of another version, and was left out; it begins anew");
    buf_fini(&text);
}

/* Beside the file and then in its place, so that a crash leaves the old one. 0, or the number of the error. */
static int write_whole(const char *path, aic_view bytes)
{
    char beside[4096];
    if ((size_t)snprintf(beside, sizeof beside, "%s.new", path) >= sizeof beside) return ENAMETOOLONG;
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return errno;
    int fault = file_write(fd, bytes.data, bytes.size, 0);
    if (close(fd) != 0 && fault == 0) fault = errno;
    if (fault == 0 && rename(beside, path) != 0) fault = errno;
    return fault;
}

static void *save_main(void *context)
{
    struct history_file *file = context;
    int fault = write_whole(file->path, buf_view(&file->text));
    if (fault != 0 && file->log != NULL)
        log_line(file->log, AIC_LOG_WARNING, "monitor", "the history could not be saved: %s", strerror(fault));
    atomic_store_explicit(&file->done, true, memory_order_release);
    return NULL;
}

/* The one that runs, to its end; a disk that hangs is waited for. */
static void finish_saving(struct history_file *file)
{
    if (file->started) pthread_join(file->thread, NULL);
    file->started = false;
    buf_fini(&file->text);
}

void history_file_save(struct history_file *file)
{
    sigset_t all, before;
    if (file->path == NULL) return;
    if (file->started && !atomic_load_explicit(&file->done, memory_order_acquire)) return;
    finish_saving(file);
    buf_init(&file->text, file->history->mem, MEM_MONITOR);
    history_save(file->history, &file->text);
    if (buf_status(&file->text) != AIC_OK) return;
    atomic_store_explicit(&file->done, false, memory_order_relaxed); /* pthread_create orders it */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    file->started = pthread_create(&file->thread, NULL, save_main, file) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void history_file_fini(struct history_file *file)
{
    finish_saving(file);
    history_file_save(file);
    finish_saving(file);
}
