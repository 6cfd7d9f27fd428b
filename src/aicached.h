/*
 * aicached.h - the parts of the daemon and how they hang together; shared by aicached.c (order of setup and teardown),
 * aicached_check.c (--check-config) and aicached_reload.c (SIGHUP).
 *
 * The main thread has the main loop: it owns this struct, handles signals and ticks once a second. Front threads belong
 * to the server.
 */
#ifndef AICACHED_H
#define AICACHED_H

#include "cache/cache.h"
#include "observe/oplog.h"
#include "serve/routes/routes.h"
#include "serve/settings/settings.h"

#include "base/loop.h"

#include <uv.h>

struct daemon {
    struct mem mem;
    /* The sources of settings, kept for reloads. Borrowed from main(). */
    struct option_flag *flags;
    struct option_input input;
    struct settings settings;
    unsigned threads;

    struct log *log;
    aic_monitor *monitor; /* NULL: off */
    aic_cache *cache;
    struct oplog oplog;
    struct auth *auth;
    struct routes *routes;
    struct http_server *server;
    bool started;

    uv_loop_t loop;
    uv_signal_t terminate, interrupt, hangup;
    uv_timer_t tick, turn;
    uv_poll_t stall;         /* of memory, told by the kernel */
    int stall_fd;            /* -1: not available here */
    char history_file[4096]; /* empty: the history is not kept */
    bool loop_open;
    struct loop back; /* what waits for others: backends */
    bool back_open;
};

/* Every option that the server takes live. */
struct http_limits daemon_limits(const struct settings *settings);
/* A set of keys from the settings. */
AIC_MUST_CHECK aic_status daemon_auth(struct daemon *daemon, const struct settings *settings, struct auth **out,
                                      aic_error *error);
/* Logs it when there are descriptors for fewer connections than limits.connections. */
void daemon_check_connections(struct daemon *daemon);
/* Logs a report or a list line by line. */
void daemon_log_lines(struct daemon *daemon, aic_log_level level, const char *part, const char *prefix,
                      const struct buf *lines);
/* Reads file and environment again; changes what is live and logs what changed, what cannot and what is wrong. */
void daemon_reload(struct daemon *daemon);
/* Warns of a memory.max_bytes that the cgroups of this process, or the machine, have no room for. */
void daemon_try_memory(const struct settings *settings, const struct settings_origins *origins,
                       struct option_report *report);
/* Tries what a start with the daemon's settings needs, and changes nothing. AIC_INVALID: `report` says what would fail.
 * AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status daemon_try(struct daemon *daemon, const struct settings_origins *origins,
                                     struct option_report *report);

#endif
