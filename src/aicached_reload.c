/*
 * aicached_reload.c - SIGHUP: what is live changes, part by part; what is wrong changes nothing.
 *
 * The order is that of setup(). A part that refuses its new value (a memory budget beyond what was reserved, a
 * certificate that does not load) keeps the old one; the settings in force say so, and the next reload tries again.
 */
#include "aicached.h"

#include "base/check.h"
#include "observe/monitor.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

struct http_limits daemon_limits(const struct settings *settings)
{
    return (struct http_limits){
        .connections = settings->limits_connections,
        .body_bytes = settings->limits_body_bytes,
        .bodies_bytes = settings->limits_bodies_bytes,
        .answers_bytes = settings->limits_answers_bytes,
        .header_bytes = settings->limits_header_bytes,
        .header_ms = settings->timeouts_header,
        .body_ms = settings->timeouts_body,
        .write_ms = settings->timeouts_write,
        .idle_ms = settings->timeouts_idle,
    };
}

void daemon_check_connections(struct daemon *daemon)
{
    uint64_t wanted = daemon->settings.limits_connections, most = http_server_connections(daemon->server);
    if (most < wanted)
        log_line(daemon->log, AIC_LOG_WARNING, "settings",
                 "limits.connections: %llu are accepted at one time instead of %llu: the process may not open more "
                 "descriptors (LimitNOFILE= of a unit, ulimit -Hn)",
                 (unsigned long long)most, (unsigned long long)wanted);
}

aic_status daemon_auth(struct daemon *daemon, const struct settings *settings, struct auth **out, aic_error *error)
{
    size_t bytes = settings->api_keys.count * sizeof(struct auth_key);
    struct auth_key *keys = mem_alloc(&daemon->mem, MEM_CONFIG, bytes);
    if (keys == NULL && bytes > 0) return AIC_NO_MEMORY;
    for (size_t i = 0; i < settings->api_keys.count; i++) {
        const struct settings_key *key = &settings->api_keys.items[i];
        keys[i] = (struct auth_key){.id = key->id, .sha256 = key->sha256, .ns = key->namespace_, .admin = key->admin};
    }
    aic_status status = auth_create(
        &daemon->mem, keys, settings->api_keys.count,
        (struct auth_hosts){(const char *const *)settings->hosts.items, settings->hosts.count}, out, error);
    mem_free(&daemon->mem, MEM_CONFIG, keys, bytes);
    return status;
}

void daemon_log_lines(struct daemon *daemon, aic_log_level level, const char *part, const char *prefix,
                      const struct buf *lines)
{
    for (size_t at = 0; at < lines->size;) {
        const char *line = lines->data + at;
        const char *end = memchr(line, '\n', lines->size - at);
        size_t size = end != NULL ? (size_t)(end - line) : lines->size - at;
        log_line(daemon->log, level, part, "%s%.*s", prefix, (int)size, line);
        at += size + 1;
    }
}

static const char *why(aic_status status, const aic_error *error)
{
    return error->message[0] != '\0' ? error->message : aic_status_text(status);
}

/* What was read, on its way to being in force: a part that refuses its new value keeps the old one. */
struct reload {
    struct settings next;
    struct buf changed, fixed; /* names of options that change; lines about those that cannot */
};

/* Takes the line of a name out of a list. */
static void strike(struct buf *lines, const char *name)
{
    size_t size = strlen(name);
    for (size_t at = 0; at < lines->size;) {
        char *line = lines->data + at;
        const char *end = memchr(line, '\n', lines->size - at);
        size_t whole = end != NULL ? (size_t)(end - line) + 1 : lines->size - at;
        if (whole == size + 1 && memcmp(line, name, size) == 0) {
            memmove(line, line + whole, lines->size - at - whole);
            lines->size -= whole;
            return;
        }
        at += whole;
    }
}

/* An option stays as it is: then the next reload finds it changed again and tries again. */
static void keep(struct daemon *daemon, struct reload *reload, const char *name)
{
    const struct option_row *row = option_find(settings_table(), name);
    CHECK(row != NULL);
    option_swap(row, &daemon->settings, &reload->next);
    strike(&reload->changed, name);
}

static void reload_auth(struct daemon *daemon, struct reload *reload)
{
    struct auth *auth;
    aic_error error = {0};
    aic_status status = daemon_auth(daemon, &reload->next, &auth, &error);
    if (status != AIC_OK) {
        log_line(daemon->log, AIC_LOG_ERROR, "settings", "api_keys: the old ones stay: %s", why(status, &error));
        keep(daemon, reload, "api_keys");
        return;
    }
    if (auth_is_open(auth) && !auth_is_open(daemon->auth))
        log_line(daemon->log, AIC_LOG_WARNING, "settings",
                 "api_keys: none is left: every request is allowed everything now, without a key");
    routes_reload_auth(daemon->routes, auth);
    auth_release(&daemon->auth);
    daemon->auth = auth;
}

/* What the tier can take of its two limits: a refused number of bytes does not hold the entries back. */
static void reload_limits(struct daemon *daemon, struct reload *reload)
{
    struct store *store = cache_store(daemon->cache);
    const struct settings *now = &daemon->settings, *next = &reload->next;
    bool bytes = next->memory_max_bytes != now->memory_max_bytes;
    bool entries = next->memory_max_entries != now->memory_max_entries;
    if (!bytes && !entries) return;
    bool fits = store_resize(store, next->memory_max_bytes, next->memory_max_entries) == AIC_OK;
    if (!fits) {
        log_line(
            daemon->log, AIC_LOG_ERROR, "settings",
            "memory.max_bytes: %llu is more than what was reserved at the start (four times the first value, at least 1G); it stays %llu, restart to go beyond",
            (unsigned long long)next->memory_max_bytes, (unsigned long long)now->memory_max_bytes);
        keep(daemon, reload, "memory.max_bytes"); /* from here on next has what is in force */
        if (!entries) return;
        if (store_resize(store, next->memory_max_bytes, next->memory_max_entries) != AIC_OK)
            keep(daemon, reload, "memory.max_entries");
    }
    routes_reload_memory(daemon->routes, next->memory_max_bytes);
}

static void reload_memory(struct daemon *daemon, struct reload *reload)
{
    const struct settings *next = &reload->next;
    reload_limits(daemon, reload);
    uint64_t warning = settings_warning_bytes(next), critical = settings_critical_bytes(next);
    routes_reload_thresholds(daemon->routes, warning, critical);
    if (daemon->monitor != NULL) monitor_set_memory_thresholds(daemon->monitor, warning, critical);
}

static void reload_ttls(struct daemon *daemon, struct reload *reload)
{
    aic_error error = {0};
    const struct settings *next = &reload->next;
    const struct buf *changed = &reload->changed;
    if (changed->size == 0 || memmem(changed->data, changed->size, "ttl.", 4) == NULL) return;
    aic_status status = cache_set_ttls(daemon->cache, next->ttl_default != 0 ? next->ttl_default : AIC_ZERO,
                                       next->ttl_operations.items, next->ttl_operations.count, &error);
    if (status == AIC_OK) return;
    log_line(daemon->log, AIC_LOG_ERROR, "settings", "ttl: the old ones stay: %s", why(status, &error));
    keep(daemon, reload, "ttl.default");
    keep(daemon, reload, "ttl.operations");
}

/* Always, not only when the paths changed: a renewed certificate stands at the old path. */
static void reload_tls(struct daemon *daemon, struct reload *reload)
{
    aic_error error = {0};
    const struct settings *next = &reload->next;
    bool was = daemon->settings.tls_certificate != NULL, is = next->tls_certificate != NULL;
    aic_status status = AIC_OK;
    if (was != is) {
        log_line(daemon->log, AIC_LOG_WARNING, "settings",
                 "TLS cannot be switched on or off while running; restart to do so");
    } else if (is) {
        status = http_server_reload_tls(daemon->server, next->tls_certificate, next->tls_key, &error);
        if (status != AIC_OK)
            log_line(daemon->log, AIC_LOG_ERROR, "settings", "tls: the old certificate stays: %s", why(status, &error));
    }
    if (was == is && status == AIC_OK) return;
    keep(daemon, reload, "tls.certificate");
    keep(daemon, reload, "tls.key");
}

static void apply(struct daemon *daemon, struct reload *reload)
{
    struct settings *next = &reload->next;
    struct http_limits limits = daemon_limits(next);
    log_set(daemon->log, (aic_log_level)next->log_level, (enum log_format)next->log_format);
    oplog_set(&daemon->oplog, daemon->cache, next->log_sample);
    reload_memory(daemon, reload);
    reload_ttls(daemon, reload);
    reload_auth(daemon, reload);
    http_server_set_limits(daemon->server, &limits);
    reload_tls(daemon, reload);
    settings_release(&daemon->mem, &daemon->settings);
    daemon->settings = *next;
    daemon_check_connections(daemon);
}

static void run_reload(struct daemon *daemon, struct reload *reload, struct option_report *report)
{
    aic_status status = settings_reload(&daemon->mem, &daemon->input, &daemon->settings, &reload->next,
                                        &reload->changed, &reload->fixed, report);
    daemon_log_lines(daemon, status == AIC_OK ? AIC_LOG_WARNING : AIC_LOG_ERROR, "settings", "", &report->text);
    if (status != AIC_OK) {
        log_line(daemon->log, AIC_LOG_ERROR, "settings", "%s; nothing was changed",
                 status == AIC_INVALID ? "the settings are not acceptable" : aic_status_text(status));
        return;
    }
    apply(daemon, reload);
    daemon_log_lines(daemon, AIC_LOG_INFO, "settings", "changed: ", &reload->changed);
    daemon_log_lines(daemon, AIC_LOG_WARNING, "settings",
                     "cannot change while running, restart for that: ", &reload->fixed);
    log_line(daemon->log, AIC_LOG_INFO, "settings", "reloaded");
}

void daemon_reload(struct daemon *daemon)
{
    struct reload reload;
    struct option_report report;
    buf_init(&reload.changed, &daemon->mem, MEM_CONFIG);
    buf_init(&reload.fixed, &daemon->mem, MEM_CONFIG);
    option_report_init(&report, &daemon->mem);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)(clock_mono_ns(clock_system()) / 1000));
    run_reload(daemon, &reload, &report);
    sd_notify(0, "READY=1");
    option_report_fini(&report);
    buf_fini(&reload.fixed);
    buf_fini(&reload.changed);
}
