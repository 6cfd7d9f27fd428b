/*
 * history_file.h - the history of memory, kept over restarts.
 *
 * It is written by a thread that lives as long as one writing takes: who ticks has more to do than to wait for a disk.
 * While one has not come back no other goes. All functions are called by one thread.
 */
#ifndef OBSERVE_HISTORY_FILE_H
#define OBSERVE_HISTORY_FILE_H

#include "base/log.h"
#include "observe/history.h"

struct history_file {
    struct history *history; /* borrowed */
    const char *path;        /* borrowed; NULL: nothing is kept */
    struct log *log;         /* may be NULL */
    pthread_t thread;
    bool started;      /* and not joined */
    _Atomic bool done; /* release by the thread, acquire by who ticks */
    struct buf text;   /* the thread's until `done` */
};

/* Loads what was kept, if anything was. `history` NULL: nothing is kept. */
void history_file_init(struct history_file *file, struct history *history, const char *path, struct log *log);
/* Saves, and waits for it: also for a disk that hangs. Accepts what was zeroed. */
void history_file_fini(struct history_file *file);
/* Begins to save. Never waits. */
void history_file_save(struct history_file *file);

#endif
