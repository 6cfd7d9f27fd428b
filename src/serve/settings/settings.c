/*
 * settings.c - loading the daemon's settings, and the rules that span several options.
 *
 * A rule that no single row can see names the option that the user most likely wants to change, at the place where it
 * was set.
 */
#include "serve/settings/settings.h"

#include "base/check.h"
#include "base/status.h"
#include "base/url.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------------------------- addresses -- */

/* What can be wrong with an address. */
enum address_fault { ADDRESS_GOOD, NO_HOST, NO_PORT, BAD_PORT, TOO_LONG, NO_IPV6, BAD_HOST, BAD_PATH };

static const char *const address_faults[] = {
    [NO_HOST] = "There is no address before the port; 0.0.0.0 means each of this machine's",
    [NO_PORT] = "There is no port",
    [BAD_PORT] = "Port must be between 1 and 65535, or 0 for any free one",
    [TOO_LONG] = "The address is too long",
    [NO_IPV6] = "What stands in brackets is no IPv6 address",
    [BAD_HOST] = "Invalid host format",
    [BAD_PATH] = "The path of a unix socket must have 1 to 107 bytes",
};
static_assert(COUNT_OF(address_faults) == BAD_PATH + 1, "each fault has its words");

static bool is_host(const char *host)
{
    size_t size = strlen(host);
    if (size == 0 || size > 253) return false;
    return strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == size;
}

static enum address_fault parse_tcp(const char *text, struct settings_address *out)
{
    struct in6_addr address;
    uint64_t port;
    const char *colon = strrchr(text, ':');
    if (colon == NULL) return NO_PORT;
    if (colon == text) return NO_HOST;
    size_t size = (size_t)(colon - text);
    bool bracketed = size >= 2 && text[0] == '[' && text[size - 1] == ']';
    if (bracketed) {
        text++;
        size -= 2;
    }
    if (size >= sizeof out->host) return TOO_LONG;
    memcpy(out->host, text, size);
    out->host[size] = '\0';
    if (bracketed && inet_pton(AF_INET6, out->host, &address) != 1) return NO_IPV6;
    if (!bracketed && size > 0 && !is_host(out->host)) return BAD_HOST;
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1)) return BAD_PORT;
    if (option_number(OPTION_U64, colon + 1, &port) != AIC_OK || port > 65535) return BAD_PORT;
    out->port = (uint16_t)port;
    return ADDRESS_GOOD;
}

static enum address_fault parse_unix(const char *path, struct settings_address *out)
{
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof out->path) return BAD_PATH;
    out->is_unix = true;
    memcpy(out->path, path, size + 1);
    return ADDRESS_GOOD;
}

aic_status settings_address_parse(const char *text, struct settings_address *out, aic_error *error)
{
    struct settings_address address = {0};
    bool is_unix = strncmp(text, "unix:", 5) == 0;
    enum address_fault fault = is_unix ? parse_unix(text + 5, &address) : parse_tcp(text, &address);
    if (fault != ADDRESS_GOOD)
        return error_set(error, AIC_INVALID, "listen", "%s; accepted: ADDRESS:PORT, [ADDRESS]:PORT or unix:PATH",
                         address_faults[fault]);
    *out = address;
    return AIC_OK;
}

bool settings_address_is_local(const struct settings_address *address)
{
    struct in_addr four;
    struct in6_addr six;
    if (address->is_unix || strcmp(address->host, "localhost") == 0) return true;
    if (inet_pton(AF_INET, address->host, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, address->host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

/* --------------------------------------------------------------------------------------------------- the rules -- */

struct rules {
    const struct settings *settings;
    const struct option_origin *origins;
    struct option_report *report;
    bool in_force; /* options that are not live have the values with which the daemon runs, whatever was read */
};

static struct option_origin origin_of(const struct rules *rules, const char *name)
{
    const struct option_table *table = settings_table();
    const struct option_row *row = option_find(table, name);
    CHECK(row != NULL);
    return rules->origins[row - table->rows];
}

static bool is_same_address(const struct settings_address *a, const struct settings_address *b)
{
    if (a->is_unix || b->is_unix) return a->is_unix && b->is_unix && strcmp(a->path, b->path) == 0;
    return a->port != 0 && a->port == b->port && strcasecmp(a->host, b->host) == 0;
}

/* Is it one of those before it in the list? */
static bool came_before(const struct option_texts *listen, size_t index, const struct settings_address *address)
{
    for (size_t i = 0; i < index; i++) {
        struct settings_address other;
        aic_error error;
        if (settings_address_parse(listen->items[i], &other, &error) == AIC_OK && is_same_address(&other, address))
            return true;
    }
    return false;
}

static void check_listen(const struct rules *rules)
{
    const struct settings *settings = rules->settings;
    if (settings->listen.count == 0 || settings->listen.count > 16) {
        option_refuse(rules->report, origin_of(rules, "listen"), "listen", "%zu addresses; accepted: 1 to 16",
                      settings->listen.count);
    }
    for (size_t i = 0; i < settings->listen.count; i++) {
        struct settings_address address;
        aic_error error;
        char quoted[OPTION_QUOTE_SIZE];
        option_quote(quoted, settings->listen.items[i]);
        if (settings_address_parse(settings->listen.items[i], &address, &error) != AIC_OK) {
            option_refuse(rules->report, origin_of(rules, "listen"), "listen", "%s: %s", quoted, error.message);
        } else if (came_before(&settings->listen, i, &address)) {
            option_refuse(rules->report, origin_of(rules, "listen"), "listen",
                          "%s stands twice; accepted: each address once", quoted);
        } else if (!settings_address_is_local(&address) && settings->api_keys.count == 0 && rules->in_force) {
            option_refuse(rules->report, origin_of(rules, "api_keys"), "api_keys",
                          "none is left, but listen cannot change while running, and %s, where the daemon listens, can "
                          "be reached from other machines; accepted: a key until a restart",
                          quoted);
        } else if (!settings_address_is_local(&address) && settings->api_keys.count == 0) {
            option_refuse(
                rules->report, origin_of(rules, "listen"), "listen",
                "%s can be reached from other machines, and without api_keys anyone there could read and change the cache; listen on 127.0.0.1 or "
                "a unix socket, or make a key with `aicache key new --namespace NAME` and put the entry that it prints under api_keys",
                quoted);
        }
    }
}

static void check_hosts(const struct rules *rules)
{
    const struct option_texts *hosts = &rules->settings->hosts;
    for (size_t i = 0; i < hosts->count; i++) {
        char quoted[OPTION_QUOTE_SIZE];
        option_quote(quoted, hosts->items[i]);
        if (!is_host(hosts->items[i]))
            option_refuse(rules->report, origin_of(rules, "hosts"), "hosts",
                          "%s; accepted: names without scheme, port or wildcard", quoted);
    }
}

static void check_memory(const struct rules *rules)
{
    const struct settings *settings = rules->settings;
    if (settings_warning_bytes(settings) < settings_critical_bytes(settings)) return;
    const char *name = settings->memory_warning_bytes != 0 ? "memory.warning_bytes" : "memory.critical_bytes";
    option_refuse(rules->report, origin_of(rules, name), name,
                  "warning is at %llu bytes and critical at %llu; accepted: warning below critical",
                  (unsigned long long)settings_warning_bytes(settings),
                  (unsigned long long)settings_critical_bytes(settings));
}

static void check_pressure(const struct rules *rules)
{
    const struct settings *settings = rules->settings;
    if (settings->pressure_warning < settings->pressure_critical) return;
    bool is_default = origin_of(rules, "pressure.warning").place == OPTION_DEFAULT;
    const char *name = is_default ? "pressure.critical" : "pressure.warning";
    option_refuse(rules->report, origin_of(rules, name), name,
                  "warning is at %llu percent and critical at %llu; accepted: warning below critical",
                  (unsigned long long)settings->pressure_warning, (unsigned long long)settings->pressure_critical);
}

/* What is for all of a kind has room for one. */
static void check_room(const struct rules *rules, const char *name, const char *kind, uint64_t bytes)
{
    const struct settings *settings = rules->settings;
    if (bytes >= settings->limits_body_bytes) return;
    option_refuse(
        rules->report, origin_of(rules, name), name,
        "all %s together may have %llu bytes and one of them %llu (limits.body_bytes); accepted: no less than one",
        kind, (unsigned long long)bytes, (unsigned long long)settings->limits_body_bytes);
}

/* What is wrong with an http:// or https:// address; NULL: nothing. A port of 0 is nobody's there. */
static const char *web_address_fault(const char *address)
{
    struct settings_address parsed;
    char authority[300];
    size_t scheme = strncmp(address, "http://", 7) == 0 ? 7 : strncmp(address, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0) return "not accepted";
    size_t size = strcspn(address + scheme, "/?#");
    if (size >= sizeof authority - sizeof ":80") return "Invalid host format";
    memcpy(authority, address + scheme, size);
    authority[size] = '\0';
    const char *user = strrchr(authority, '@');
    const char *host = user != NULL ? user + 1 : authority;
    const char *after = host[0] == '[' ? strchr(host, ']') : host;
    if (after == NULL || host[0] == '\0' || host[0] == ':') return "Invalid host format";
    if (strchr(after, ':') == NULL) memcpy(authority + size, ":80", sizeof ":80");
    enum address_fault fault = parse_tcp(host, &parsed);
    if (fault == BAD_PORT || (fault == ADDRESS_GOOD && parsed.port == 0)) return "Port must be between 1 and 65535";
    return fault == ADDRESS_GOOD ? NULL : "Invalid host format";
}

static void check_webhook(const struct rules *rules)
{
    const char *address = rules->settings->alerts_webhook;
    const char *fault = address != NULL ? web_address_fault(address) : NULL;
    if (fault == NULL) return;
    char place[URL_PLACE_BYTES]; /* the address may hold a token */
    option_refuse(rules->report, origin_of(rules, "alerts.webhook"), "alerts.webhook",
                  "%s: %s; accepted: http://HOST:PORT/PATH or https://HOST:PORT/PATH", url_place(address, place),
                  fault);
}

static void check_tls(const struct rules *rules)
{
    const struct settings *settings = rules->settings;
    if ((settings->tls_certificate == NULL) == (settings->tls_key == NULL)) return;
    const char *name = settings->tls_certificate != NULL ? "tls.certificate" : "tls.key";
    option_refuse(rules->report, origin_of(rules, name), name,
                  "it stands alone; accepted: tls.certificate and tls.key together, or neither");
}

/* -------------------------------------------------------------------------------------------------------- need -- */

#define MIB ((uint64_t)1 << 20)
#define PROGRAM_BYTES (50 * MIB) /* program, libraries, measurements, stacks, compression, what the allocator keeps */
#define TIER_PERCENT 107         /* of memory.max_bytes: with the free pieces between values */

void settings_need(const struct settings *settings, uint64_t limit, struct settings_need *out)
{
    CHECK(settings->limits_body_bytes > 0); /* it was loaded */
    uint64_t queue = settings->storage_kind != SETTINGS_STORAGE_NONE ? settings->storage_queue_bytes : 0;
    uint64_t others = PROGRAM_BYTES + settings->limits_body_bytes;
    out->least = settings->memory_max_bytes / 100 * TIER_PERCENT + others;
    out->most = out->least - settings->limits_body_bytes + queue + settings->limits_bodies_bytes +
                settings->limits_answers_bytes;
    out->fits = limit > others ? (limit - others) / TIER_PERCENT * 100 / MIB * MIB : 0;
}

/* -------------------------------------------------------------------------------------------------------- load -- */

static const char *variable(char *const *environment, const char *name)
{
    size_t size = strlen(name);
    for (char *const *at = environment; at != NULL && *at != NULL; at++) {
        if (strncmp(*at, name, size) == 0 && (*at)[size] == '=' && (*at)[size + 1] != '\0') return *at + size + 1;
    }
    return NULL;
}

/* systemd's directory, or the system's for root, or the user's. */
static aic_status default_data_dir(struct mem *mem, char *const *environment, char **out)
{
    struct buf path;
    buf_init(&path, mem, MEM_CONFIG);
    const char *state = variable(environment, "STATE_DIRECTORY");
    const char *xdg = variable(environment, "XDG_STATE_HOME");
    const char *home = variable(environment, "HOME"), *below = NULL;
    if (state != NULL) buf_append(&path, state, strcspn(state, ":"));
    else if (geteuid() == 0) below = "/var/lib/aicache";
    else if (xdg != NULL && xdg[0] == '/') buf_append_text(&path, xdg), below = "/aicache";
    else if (home != NULL) buf_append_text(&path, home), below = "/.local/state/aicache";
    while (below != NULL && path.size > 0 && path.data[path.size - 1] == '/') path.size--; /* HOME=/, for one */
    if (below != NULL) buf_append_text(&path, below);
    aic_status status = buf_status(&path);
    if (status == AIC_OK && path.size > 0) {
        *out = mem_copy_string(mem, MEM_CONFIG, buf_view(&path));
        if (*out == NULL) status = AIC_NO_MEMORY;
    }
    buf_fini(&path);
    return status;
}

static aic_status check_all(struct mem *mem, const struct option_input *input, struct settings *settings, bool in_force,
                            const struct option_origin *origins, struct option_report *report)
{
    struct rules rules = {settings, origins, report, in_force};
    size_t errors = report->errors;
    if (settings->data_dir == NULL) TRY(default_data_dir(mem, input->environment, &settings->data_dir));
    if (settings->data_dir == NULL && settings->storage_kind != SETTINGS_STORAGE_NONE) {
        option_refuse(report, origin_of(&rules, "data_dir"), "data_dir",
                      "none is given, and there is no home directory to put one; accepted: a directory");
    }
    check_listen(&rules);
    check_hosts(&rules);
    check_memory(&rules);
    check_room(&rules, "limits.bodies_bytes", "bodies", settings->limits_bodies_bytes);
    check_room(&rules, "limits.answers_bytes", "answers", settings->limits_answers_bytes);
    check_pressure(&rules);
    check_webhook(&rules);
    check_tls(&rules);
    TRY(buf_status(&report->text));
    return report->errors > errors ? AIC_INVALID : AIC_OK;
}

aic_status settings_load(struct mem *mem, const struct option_input *input, struct settings *out,
                         struct option_origin *origins, struct option_report *report)
{
    struct option_origin own[COUNT_OF(((struct settings_origins *)0)->items)];
    struct option_origin *places = origins != NULL ? origins : own;
    struct settings settings;
    size_t errors = report->errors;
    TRY(option_gather(settings_table(), mem, input, &settings, places, report));
    aic_status status = check_all(mem, input, &settings, false, places, report);
    if (status == AIC_OK && report->errors > errors) status = AIC_INVALID;
    if (status == AIC_OK) *out = settings;
    else settings_release(mem, &settings);
    return status;
}

/* Adds a line for an option that differs: to `changed` when it is live, otherwise to `fixed`. */
static aic_status note_difference(struct mem *mem, const struct option_row *row, const struct settings *current,
                                  const struct settings *next, struct buf *changed, struct buf *fixed)
{
    struct buf now, then;
    buf_init(&now, mem, MEM_CONFIG);
    buf_init(&then, mem, MEM_CONFIG);
    option_write(row, current, &now);
    option_write(row, next, &then);
    aic_status status = buf_status(&now) != AIC_OK ? AIC_NO_MEMORY : buf_status(&then);
    bool differs = status == AIC_OK &&
                   (now.size != then.size || (now.size > 0 && memcmp(now.data, then.data, now.size) != 0));
    if (differs && !row->live) {
        buf_printf(fixed, "%s: stays ", row->name);
        option_write_shown(row, current, fixed);
        buf_append_byte(fixed, '\n');
    }
    if (differs && row->live) buf_printf(changed, "%s\n", row->name);
    buf_fini(&then);
    buf_fini(&now);
    return status;
}

static void swap_fixed(struct settings *a, struct settings *b)
{
    const struct option_table *table = settings_table();
    for (size_t i = 0; i < table->row_count; i++) {
        if (!table->rows[i].live) option_swap(&table->rows[i], a, b);
    }
}

static aic_status note_differences(struct mem *mem, const struct settings *current, const struct settings *next,
                                   struct buf *changed, struct buf *fixed)
{
    const struct option_table *table = settings_table();
    for (size_t i = 0; i < table->row_count; i++) {
        TRY(note_difference(mem, &table->rows[i], current, next, changed, fixed));
    }
    TRY(buf_status(changed));
    return buf_status(fixed);
}

/* A file that was cut short, swapped or emptied says nothing of keys: that lets nobody in. Only `api_keys: []` does. */
static aic_status check_keys_stay(const struct settings *current, const struct settings *next,
                                  const struct option_origin *origins, const struct option_input *input,
                                  struct option_report *report)
{
    const struct option_row *row = option_find(settings_table(), "api_keys");
    CHECK(row != NULL);
    size_t at = (size_t)(row - settings_table()->rows);
    if (current->api_keys.count == 0 || next->api_keys.count > 0 || origins[at].place != OPTION_DEFAULT) return AIC_OK;
    option_refuse(report,
                  (struct option_origin){OPTION_FILE, input->file != NULL ? input->file : "the configuration", 0},
                  "api_keys", "nothing is said of them, and %zu %s in force; `api_keys: []` takes them away",
                  current->api_keys.count, current->api_keys.count == 1 ? "is" : "are");
    return AIC_INVALID;
}

aic_status settings_reload(struct mem *mem, const struct option_input *input, struct settings *current,
                           struct settings *out, struct buf *changed, struct buf *fixed, struct option_report *report)
{
    struct settings_origins origins;
    struct settings next;
    struct option_input regular = *input;
    regular.regular_only = true;
    TRY(settings_load(mem, &regular, &next, origins.items, report));
    aic_status status = check_keys_stay(current, &next, origins.items, input, report);
    if (status == AIC_OK) status = note_differences(mem, current, &next, changed, fixed);
    swap_fixed(current, &next);
    if (status == AIC_OK) status = check_all(mem, input, &next, true, origins.items, report);
    if (status == AIC_OK) {
        *out = next; /* the fixed values that were read go with `current`, which the caller releases */
        return AIC_OK;
    }
    swap_fixed(current, &next);
    settings_release(mem, &next);
    return status;
}

void settings_release(struct mem *mem, struct settings *settings)
{
    option_release(settings_table(), mem, settings);
}

uint64_t settings_warning_bytes(const struct settings *settings)
{
    if (settings->memory_warning_bytes != 0) return settings->memory_warning_bytes;
    bool beyond = settings->memory_critical_bytes == 0 ||
                  settings->memory_critical_bytes > settings->memory_max_bytes + 1;
    if (beyond) return settings->memory_max_bytes + 1;
    return settings->memory_critical_bytes > 1 ? settings->memory_critical_bytes - 1 : 1;
}

uint64_t settings_critical_bytes(const struct settings *settings)
{
    if (settings->memory_critical_bytes != 0) return settings->memory_critical_bytes;
    uint64_t bound = settings->memory_max_bytes, warning = settings_warning_bytes(settings);
    return (warning > bound ? warning : bound) + bound / 20 + 1;
}

static uint64_t or_zero(uint64_t value)
{
    return value != 0 ? value : AIC_ZERO;
}

void settings_cache_options(const struct settings *settings, aic_options *out)
{
    *out = (aic_options){
        .data_dir = settings->storage_kind == SETTINGS_STORAGE_NONE ? NULL : settings->data_dir,
        .storage = settings->storage_kind == SETTINGS_STORAGE_NONE ? AIC_STORAGE_NONE : AIC_STORAGE_LMDB,
        .secret_file = settings->secret_file,
        .memory_max_bytes = or_zero(settings->memory_max_bytes),
        .memory_max_entries = settings->memory_max_entries,
        .memory_max_item_bytes = settings->memory_max_item_bytes,
        .memory_policy = (aic_policy)settings->memory_policy,
        .storage_max_bytes = settings->storage_max_bytes,
        .storage_queue_bytes = settings->storage_queue_bytes,
        .storage_deadline_ms = (unsigned)settings->storage_deadline,
        .storage_durability = (aic_durability)(AIC_DURABILITY_MEMORY + settings->storage_durability),
        .storage_sync_ms = (unsigned)settings->storage_sync,
        .ttl_default_seconds = or_zero(settings->ttl_default),
        .ttl_operations = settings->ttl_operations.items,
        .ttl_operation_count = settings->ttl_operations.count,
        .compression_threshold_bytes = or_zero(settings->compression_threshold_bytes),
        .compression_level = (int)settings->compression_level,
        .dictionary_off = !settings->compression_dictionary,
    };
}
