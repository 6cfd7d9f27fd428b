/*
 * aicached.c - the daemon: parts set up in one order and torn down in its reverse.
 *
 * The main thread has the main loop. It owns every part, takes signals, and once a second has the routes do what is due
 * (figures, pressure, alerts, history) and tells systemd's watchdog that it lives. Checks of health have threads of
 * their own. Requests never pass through it: front threads belong to the server, storage has threads of its own, the
 * cache ticks by itself.
 */
#include "aicached.h"

#include "base/check.h"
#include "base/streams.h"
#include "observe/host.h"
#include "tier/lmdb/lmdb.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

extern char **environ;

enum { EXIT_STARTUP = 1, EXIT_SETTINGS = 2 };

/* What goes wrong before or while the log is set up goes here too: a message for the one who starts the program. */
static int refuse(struct daemon *daemon, const char *what, aic_status status, const aic_error *error)
{
    const char *message = error != NULL && error->message[0] != '\0' ? error->message : aic_status_text(status);
    if (status == AIC_NO_MEMORY)
        message = "an allocation failed, or no further thread is to be had; what limits them are ulimit -v and -u, and "
                  "memory.max and pids.max of the cgroup (MemoryMax and TasksMax of systemd)";
    if (daemon->log != NULL) log_line(daemon->log, AIC_LOG_ERROR, what, "cannot start: %s", message);
    else fprintf(stderr, "aicached: %s: %s\n", what, message);
    return EXIT_STARTUP;
}

/* ------------------------------------------------------------------------------------------------------- parts -- */

static int setup_process(struct daemon *daemon)
{
    (void)daemon;
    struct rlimit descriptors;
    umask(077);
    /* The soft limit is 1024 for the sake of programs that use select(). */
    if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0 && descriptors.rlim_cur < descriptors.rlim_max) {
        descriptors.rlim_cur = descriptors.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &descriptors);
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit on the size of files is an error of the write that met it */
    tier_guard_faults();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    /* No core file and no debugger of another process sees answers or keys; the leak checker needs it. */
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
    return 0;
}

static int setup_log(struct daemon *daemon)
{
    struct log_options options = {.mem = &daemon->mem,
                                  .fd = STDERR_FILENO,
                                  .level = (aic_log_level)daemon->settings.log_level,
                                  .format = (enum log_format)daemon->settings.log_format,
                                  .hold = true};
    aic_status status = log_create(&options, &daemon->log);
    return status == AIC_OK ? 0 : refuse(daemon, "log", status, NULL);
}

static void teardown_log(struct daemon *daemon)
{
    log_destroy(&daemon->log);
}

static int setup_monitor(struct daemon *daemon)
{
    const struct settings *settings = &daemon->settings;
    if (!settings->monitor_enabled) return 0;
    aic_error error = {0};
    aic_monitor_options options = {
        .retention_hours = (double)settings->monitor_retention / 3600000.0,
        .max_measurements = (int64_t)settings->monitor_max_measurements,
        .memory_warning_bytes = settings_warning_bytes(settings),
        .memory_critical_bytes = settings_critical_bytes(settings),
        .slow_min_seconds = settings->monitor_slow_min > 0 ? (double)settings->monitor_slow_min / 1000.0 : 1e-9,
        .log = log_from_cache,
        .log_context = daemon->log,
    };
    aic_status status = aic_monitor_open(&options, &daemon->monitor, &error);
    return status == AIC_OK ? 0 : refuse(daemon, "monitor", status, &error);
}

static void teardown_monitor(struct daemon *daemon)
{
    aic_monitor_close(&daemon->monitor);
}

/* The directories above the data directory, as `mkdir -p` makes them; the last one is the cache's to make. */
static int make_parents(struct daemon *daemon, const char *path)
{
    char parent[4096];
    int size = snprintf(parent, sizeof parent, "%s", path);
    if (size >= (int)sizeof parent) return refuse(daemon, "data_dir", AIC_TOO_LARGE, NULL);
    for (char *slash = strchr(parent + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(parent, 0700) == 0;
        int why = errno; /* of mkdir: access() has one of its own */
        if (!made && why != EEXIST && access(parent, F_OK) != 0) {
            aic_error error = {0};
            snprintf(error.message, sizeof error.message,
                     "data_dir: %.200s cannot be made: %s; give another directory as data_dir", parent, strerror(why));
            return refuse(daemon, "storage", AIC_IO, &error);
        }
        *slash = '/';
    }
    return 0;
}

/* The memory tier reserves its addresses at once; threads, the allocator and the storage tier's map need some beside
 * it. Where they are limited and too few, something would fail later, far from its cause. */
static int check_addresses(struct daemon *daemon)
{
    enum { BESIDE_MB = 1280 };
    struct rlimit limit;
    uint64_t memory = daemon->settings.memory_max_bytes, reserve = store_address_bytes(memory);
    uint64_t needed = reserve + ((uint64_t)BESIDE_MB << 20);
    if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= needed) return 0;
    aic_error error = {0};
    snprintf(
        error.message, sizeof error.message,
        "the limit on address space (ulimit -v, %llu MiB) is below the %llu MiB that memory.max_bytes %llu needs: the "
        "%llu MiB that its tier reserves, and %d MiB beside it; raise the limit, or lower memory.max_bytes",
        (unsigned long long)limit.rlim_cur >> 20, (unsigned long long)(needed + (1 << 20) - 1) >> 20,
        (unsigned long long)memory, (unsigned long long)(reserve + (1 << 20) - 1) >> 20, BESIDE_MB);
    return refuse(daemon, "memory", AIC_FULL, &error);
}

static int setup_cache(struct daemon *daemon)
{
    aic_options options;
    aic_error error = {0};
    if (check_addresses(daemon) != 0) return EXIT_STARTUP;
    settings_cache_options(&daemon->settings, &options);
    options.monitor = daemon->monitor;
    options.log = log_from_cache;
    options.log_context = daemon->log;
    if (options.data_dir != NULL) {
        int failed = make_parents(daemon, options.data_dir);
        if (failed != 0) return failed;
    }
    aic_status status = aic_cache_open(&options, &daemon->cache, &error);
    if (status != AIC_OK) return refuse(daemon, "cache", status, &error);
    oplog_init(&daemon->oplog, daemon->log, daemon->cache);
    oplog_set(&daemon->oplog, daemon->cache, daemon->settings.log_sample);
    return 0;
}

static void teardown_cache(struct daemon *daemon)
{
    aic_status status = daemon->cache != NULL ? aic_cache_sync(daemon->cache) : AIC_OK;
    if (status != AIC_OK) {
        struct gate_stats storage;
        gate_stats(cache_gate(daemon->cache), &storage);
        log_line(daemon->log, AIC_LOG_ERROR, "cache", "the last writes could not be synced to disk: %s",
                 storage.trouble.text != NULL ? storage.trouble.text : aic_status_text(status));
    }
    aic_cache_close(&daemon->cache);
}

static int setup_auth(struct daemon *daemon)
{
    aic_error error = {0};
    aic_status status = daemon_auth(daemon, &daemon->settings, &daemon->auth, &error);
    return status == AIC_OK ? 0 : refuse(daemon, "api_keys", status, &error);
}

static void teardown_auth(struct daemon *daemon)
{
    auth_release(&daemon->auth);
}

static int setup_back(struct daemon *daemon)
{
    aic_status status = loop_init(&daemon->back);
    daemon->back_open = status == AIC_OK;
    if (status == AIC_OK) status = loop_start(&daemon->back);
    return status == AIC_OK ? 0 : refuse(daemon, "back", status, NULL);
}

static void teardown_back(struct daemon *daemon)
{
    if (!daemon->back_open) return;
    loop_stop(&daemon->back);
    loop_fini(&daemon->back);
}

static int setup_routes(struct daemon *daemon)
{
    const struct settings *settings = &daemon->settings;
    if (settings->storage_kind != SETTINGS_STORAGE_NONE)
        snprintf(daemon->history_file, sizeof daemon->history_file, "%s/history", settings->data_dir);
    struct overview_options options = {
        .mem = &daemon->mem,
        .clock = clock_system(),
        .log = daemon->log,
        .cache = daemon->cache,
        .monitor = daemon->monitor,
        .version = AIC_VERSION,
        .storage_kind = settings->storage_kind == SETTINGS_STORAGE_NONE ? "none" : "lmdb",
        .data_dir = settings->data_dir,
        .storage_deadline_ms = settings->storage_deadline,
        .memory_warning_bytes = settings_warning_bytes(settings),
        .memory_critical_bytes = settings_critical_bytes(settings),
        .history_file = daemon->history_file[0] != '\0' ? daemon->history_file : NULL,
        .back = &daemon->back,
        .webhook = settings->alerts_webhook,
        .warning_percent = (unsigned)settings->pressure_warning,
        .critical_percent = (unsigned)settings->pressure_critical,
    };
    aic_status status = routes_create(&options, daemon->auth, settings->cache_keep_request_bytes, &daemon->routes);
    return status == AIC_OK ? 0 : refuse(daemon, "routes", status, NULL);
}

static void teardown_routes(struct daemon *daemon)
{
    routes_destroy(&daemon->routes);
}

static int setup_server(struct daemon *daemon)
{
    const struct settings *settings = &daemon->settings;
    aic_error error = {0};
    struct http_options options = {
        .mem = &daemon->mem,
        .clock = clock_system(),
        .listen = (const char *const *)settings->listen.items,
        .listen_count = settings->listen.count,
        .threads = daemon->threads,
        .limits = daemon_limits(settings),
        .tls_certificate = settings->tls_certificate,
        .tls_key = settings->tls_key,
    };
    routes_serve(daemon->routes, &options);
    aic_status status = http_server_create(&options, &daemon->server, &error);
    if (status != AIC_OK) return refuse(daemon, "server", status, &error);
    routes_attach(daemon->routes, daemon->server);
    status = http_server_start(daemon->server, &error);
    if (status != AIC_OK) return refuse(daemon, "server", status, &error);
    daemon->started = true;
    daemon_check_connections(daemon);
    return 0;
}

static void stop_server(struct daemon *daemon)
{
    struct figures figures = {0};
    routes_drain(daemon->routes);
    http_server_stop(daemon->server, daemon->settings.timeouts_drain);
    http_server_figures(daemon->server, &figures);
    if (figures.http_cut > 0)
        log_line(daemon->log, AIC_LOG_WARNING, "daemon",
                 "%llu connection%s cut: not done %llu ms after the stop began (timeouts.drain)",
                 (unsigned long long)figures.http_cut, figures.http_cut == 1 ? " was" : "s were",
                 (unsigned long long)daemon->settings.timeouts_drain);
    daemon->started = false;
}

static void teardown_server(struct daemon *daemon)
{
    if (daemon->started) stop_server(daemon);
    if (daemon->server != NULL) routes_detach(daemon->routes);
    http_server_destroy(&daemon->server);
}

/* --------------------------------------------------------------------------------------------------- main loop -- */

static void on_stop(uv_signal_t *signal, int number)
{
    struct daemon *daemon = signal->data;
    log_line(daemon->log, AIC_LOG_INFO, "daemon", "stopping on %s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    sd_notify(0, "STOPPING=1");
    uv_stop(&daemon->loop);
}

static void on_hangup(uv_signal_t *signal, int number)
{
    (void)number;
    daemon_reload(signal->data);
}

static void on_tick(uv_timer_t *timer)
{
    struct daemon *daemon = timer->data;
    routes_tick(daemon->routes);
    sd_notify(0, "WATCHDOG=1");
}

/* Health says itself when it has something to do again. */
static void on_turn(uv_timer_t *timer)
{
    struct daemon *daemon = timer->data;
    uint64_t next_ms = routes_turn(daemon->routes);
    uv_timer_start(timer, on_turn, next_ms > 0 ? next_ms : 1, 0);
}

/* The kernel says that something waits for memory: looked at now rather than at the next tick. */
static void on_stall(uv_poll_t *poll, int status, int events)
{
    struct daemon *daemon = poll->data;
    if (status != 0 || (events & UV_PRIORITIZED) == 0)
        uv_poll_stop(poll); /* the source is gone; the ticks go on looking */
    else routes_stalled(daemon->routes);
}

/* A machine without stall triggers is watched by the ticks alone. */
static void start_stall(struct daemon *daemon)
{
    daemon->stall_fd = host_psi_trigger("");
    if (daemon->stall_fd < 0) return;
    if (uv_poll_init(&daemon->loop, &daemon->stall, daemon->stall_fd) != 0) return;
    daemon->stall.data = daemon;
    uv_poll_start(&daemon->stall, UV_PRIORITIZED, on_stall);
}

static bool start_signal(struct daemon *daemon, uv_signal_t *signal, uv_signal_cb handler, int number)
{
    if (uv_signal_init(&daemon->loop, signal) != 0) return false;
    signal->data = daemon;
    return uv_signal_start(signal, handler, number) == 0;
}

static int setup_loop(struct daemon *daemon)
{
    daemon->stall_fd = -1;
    if (uv_loop_init(&daemon->loop) != 0) return refuse(daemon, "daemon", AIC_NO_MEMORY, NULL);
    daemon->loop_open = true;
    bool ready = start_signal(daemon, &daemon->terminate, on_stop, SIGTERM) &&
                 start_signal(daemon, &daemon->interrupt, on_stop, SIGINT) &&
                 start_signal(daemon, &daemon->hangup, on_hangup, SIGHUP) &&
                 uv_timer_init(&daemon->loop, &daemon->tick) == 0 && uv_timer_init(&daemon->loop, &daemon->turn) == 0;
    daemon->tick.data = daemon->turn.data = daemon;
    if (ready)
        ready = uv_timer_start(&daemon->tick, on_tick, 1000, 1000) == 0 &&
                uv_timer_start(&daemon->turn, on_turn, 1, 0) == 0;
    if (ready) start_stall(daemon);
    return ready ? 0 : refuse(daemon, "daemon", AIC_NO_MEMORY, NULL);
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    uv_close(handle, NULL);
}

static void teardown_loop(struct daemon *daemon)
{
    if (!daemon->loop_open) return;
    uv_walk(&daemon->loop, close_handle, NULL);
    uv_run(&daemon->loop, UV_RUN_DEFAULT);
    CHECK(uv_loop_close(&daemon->loop) == 0);
    if (daemon->stall_fd >= 0) close(daemon->stall_fd);
    daemon->loop_open = false;
}

/* ----------------------------------------------------------------------------------- the order of everything -- */

static const struct step {
    int (*setup)(struct daemon *daemon); /* an exit status; what it began, teardown ends, also after a failure */
    void (*teardown)(struct daemon *daemon);
} steps[] = {
    {setup_process, NULL},       {setup_log, teardown_log},         {setup_loop, teardown_loop},
    {setup_back, teardown_back}, {setup_monitor, teardown_monitor}, {setup_cache, teardown_cache},
    {setup_auth, teardown_auth}, {setup_routes, teardown_routes},   {setup_server, teardown_server},
};

/* How long the parts wait for storage that answers slowly, and for one that was down before the stop. */
enum { STOP_SECONDS = 75, STOP_SECONDS_DOWN = 15 };

/* A call into a disk that is gone cannot be ended by anybody: the program ends without it. What was not written by then
 * is lost, as it would be with the process killed. */
static void on_overdue(int number)
{
    static const char line[] = "aicached: storage does not let go; ending without it, its last writes may be lost\n";
    (void)number;
    (void)!write(STDERR_FILENO, line, sizeof line - 1);
    _exit(0);
}

/* Bounds what follows, whatever hangs. */
static void limit_teardown(struct daemon *daemon)
{
    struct figures stats = {0};
    if (daemon->cache != NULL) cache_figures(daemon->cache, &stats);
    bool down = stats.storage_configured && !stats.storage_up;
    struct sigaction action = {.sa_handler = on_overdue};
    sigaction(SIGALRM, &action, NULL);
    alarm((unsigned)(daemon->settings.timeouts_drain / 1000) + (down ? STOP_SECONDS_DOWN : STOP_SECONDS));
}

static int setup(struct daemon *daemon, size_t *done)
{
    int failed = 0;
    for (*done = 0; *done < COUNT_OF(steps) && failed == 0; ++*done) failed = steps[*done].setup(daemon);
    return failed;
}

static void teardown(struct daemon *daemon, size_t done)
{
    while (done-- > 0) {
        if (steps[done].teardown != NULL) steps[done].teardown(daemon);
    }
}

/* "aicached VERSION listening on ADDRESS:PORT", a line for each address, before all that the log has held back. */
static void announce(struct daemon *daemon)
{
    struct buf lines;
    buf_init(&lines, &daemon->mem, MEM_CONFIG);
    for (size_t i = 0; i < http_server_address_count(daemon->server); i++) {
        buf_printf(&lines, "%saicached " AIC_VERSION " listening on %s", i > 0 ? "\n" : "",
                   http_server_address(daemon->server, i));
    }
    buf_append_byte(&lines, '\0');
    log_unhold(daemon->log, buf_status(&lines) == AIC_OK ? lines.data : "aicached " AIC_VERSION " listening");
    buf_fini(&lines);
    sd_notifyf(0, "READY=1\nSTATUS=listening on %s", http_server_address(daemon->server, 0));
}

/* Signals wait but for the time in which the loop runs. So the threads that are made before it take none, and a second
 * request to stop, in the last moments of the first, does not end the process by default: by then nobody watches. */
static void hold_signals(bool held)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(held ? SIG_BLOCK : SIG_UNBLOCK, &signals, NULL);
}

static int serve(struct daemon *daemon, const struct option_report *report)
{
    size_t done;
    unsigned cores = host_cores("", uv_available_parallelism());
    daemon->threads = daemon->settings.threads != 0 ? (unsigned)daemon->settings.threads
                      : cores < HTTP_MAX_THREADS    ? cores
                                                    : HTTP_MAX_THREADS;
    hold_signals(true);
    int failed = setup(daemon, &done);
    if (failed == 0) {
        daemon_log_lines(daemon, AIC_LOG_WARNING, "settings", "", &report->text);
        announce(daemon);
        hold_signals(false);
        uv_run(&daemon->loop, UV_RUN_DEFAULT);
        hold_signals(true);
    }
    limit_teardown(daemon);
    teardown(daemon, done);
    alarm(0);
    return failed;
}

/* -------------------------------------------------------------------------------------------- the command line -- */

/* Prints a page that was written, and finishes it. */
static int print_page(struct buf *page)
{
    bool written = buf_status(page) == AIC_OK && fwrite(page->data, 1, page->size, stdout) == page->size &&
                   fflush(stdout) == 0;
    buf_fini(page);
    return written ? 0 : EXIT_STARTUP;
}

static int print(struct daemon *daemon, void (*write)(struct buf *out))
{
    struct buf page;
    buf_init(&page, &daemon->mem, MEM_CONFIG);
    write(&page);
    return print_page(&page);
}

static void write_version(struct buf *out)
{
    buf_append_text(out, "aicached " AIC_VERSION "\n");
}

static bool has_action(const struct option_input *input, const char *name, const char **value)
{
    for (size_t i = 0; i < input->flag_count; i++) {
        const struct option_flag *flag = &input->flags[i];
        if (flag->row != OPTION_ACTION || strcmp(settings_table()->actions[flag->action].name, name) != 0) continue;
        if (value != NULL) *value = flag->value;
        return true;
    }
    return false;
}

static int print_settings(struct daemon *daemon, const struct settings_origins *origins)
{
    struct buf page;
    buf_init(&page, &daemon->mem, MEM_CONFIG);
    option_write_settings(settings_table(), &daemon->settings, origins->items, &page);
    return print_page(&page);
}

static int with_settings(struct daemon *daemon, struct option_report *report)
{
    struct settings_origins origins;
    aic_status status = settings_load(&daemon->mem, &daemon->input, &daemon->settings, origins.items, report);
    bool checking = has_action(&daemon->input, "check-config", NULL);
    if (status == AIC_OK && checking) {
        status = daemon_try(daemon, &origins, report);
        if (status != AIC_OK) settings_release(&daemon->mem, &daemon->settings);
    }
    if ((status != AIC_OK || checking) && report->text.size > 0)
        fwrite(report->text.data, 1, report->text.size, stderr);
    if (status != AIC_OK) {
        fprintf(stderr, "aicached: %s\n",
                status == AIC_INVALID ? "the settings are not acceptable" : aic_status_text(status));
        return EXIT_SETTINGS;
    }
    int result = 0;
    if (checking) printf("The settings are fine.\n");
    else if (has_action(&daemon->input, "print-config", NULL)) result = print_settings(daemon, &origins);
    else {
        daemon_try_memory(&daemon->settings, &origins, report);
        result = serve(daemon, report);
    }
    settings_release(&daemon->mem, &daemon->settings);
    return result;
}

static int command(struct daemon *daemon, int argc, char **argv, struct option_report *report)
{
    aic_status status = option_parse_flags(settings_table(), argc, argv, daemon->flags, &daemon->input.flag_count,
                                           report);
    if (status != AIC_OK) {
        fprintf(stderr, "%.*saicached --help lists all flags\n", (int)report->text.size,
                report->text.size > 0 ? report->text.data : "");
        return EXIT_SETTINGS;
    }
    daemon->input.flags = daemon->flags;
    daemon->input.environment = environ;
    const struct option_input *input = &daemon->input;
    if (has_action(input, "help", NULL)) return print(daemon, settings_write_help);
    if (has_action(input, "version", NULL)) return print(daemon, write_version);
    if (has_action(input, "manual", NULL)) return print(daemon, settings_write_manual);
    if (has_action(input, "reference", NULL)) return print(daemon, settings_write_reference);
    if (!has_action(input, "config", &daemon->input.file)) daemon->input.file = getenv("AICACHE_CONFIG");
    return with_settings(daemon, report);
}

int main(int argc, char **argv)
{
    static struct daemon daemon;
    struct option_report report;
    sigset_t hangup;
    streams_hold();
    /* One that comes before the loop is there to take it would end the process: serve() lets it in. */
    sigemptyset(&hangup);
    sigaddset(&hangup, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &hangup, NULL);
    mem_init(&daemon.mem, NULL);
    option_report_init(&report, &daemon.mem);
    size_t bytes = ((size_t)argc + 1) * sizeof *daemon.flags;
    daemon.flags = mem_alloc(&daemon.mem, MEM_CONFIG, bytes);
    int result = daemon.flags != NULL ? command(&daemon, argc, argv, &report) : EXIT_STARTUP;
    mem_free(&daemon.mem, MEM_CONFIG, daemon.flags, bytes);
    option_report_fini(&report);
    mem_fini(&daemon.mem);
    return result;
}
