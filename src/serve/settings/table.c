/*
 * table.c - the daemon's option table, its presets, and the two options with a shape of their own.
 */
#include "serve/settings/settings.h"

#include "base/check.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "cache/builtin_ttls.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------- ttl.operations -- */

static void release_ttls(struct mem *mem, void *field)
{
    struct settings_ttls *ttls = field;
    for (size_t i = 0; i < ttls->count; i++)
        mem_free_string(mem, MEM_CONFIG, (char *)(uintptr_t)ttls->items[i].operation);
    mem_free(mem, MEM_CONFIG, ttls->items, ttls->count * sizeof *ttls->items);
    *ttls = (struct settings_ttls){0};
}

/* The rule of the cache for names: 1 to 128 bytes of UTF-8 without control characters. */
static bool is_name(const char *text)
{
    aic_view name = aic_view_of(text);
    return name.size > 0 && name.size <= AIC_MAX_NAME_BYTES && utf8_is_valid(name) && !utf8_has_control(name);
}

static aic_status add_ttl(struct mem *mem, struct settings_ttls *ttls, const char *operation, uint64_t seconds)
{
    size_t bytes = ttls->count * sizeof *ttls->items;
    char *name = mem_copy_string(mem, MEM_CONFIG, aic_view_of(operation));
    if (name == NULL) return AIC_NO_MEMORY;
    aic_operation_ttl *grown = mem_realloc(mem, MEM_CONFIG, ttls->items, bytes, bytes + sizeof *grown);
    if (grown == NULL) {
        mem_free_string(mem, MEM_CONFIG, name);
        return AIC_NO_MEMORY;
    }
    grown[ttls->count++] = (aic_operation_ttl){.operation = name, .ttl_seconds = seconds};
    ttls->items = grown;
    return AIC_OK;
}

#define TTL_MAX_SECONDS 315360000u

static aic_status read_ttls(struct mem *mem, const struct option_node *node, struct option_origin origin,
                            const char *key, void *field, struct option_report *report)
{
    char quoted[OPTION_QUOTE_SIZE];
    if (node->kind != OPTION_MAP) {
        option_refuse(report, origin, key, "no map; accepted: a map of operation: duration, such as {qa: 30m}");
        return AIC_OK;
    }
    for (const struct option_node *item = node->first; item != NULL; item = item->next) {
        uint64_t seconds = 0;
        if (origin.place == OPTION_FILE) origin.line = item->line;
        if (!is_name(item->name)) {
            option_refuse(report, origin, key, "%s is no name; accepted: 1 to 128 bytes without control characters",
                          option_quote(quoted, item->name));
        } else if (item->kind != OPTION_SCALAR || option_number(OPTION_SECONDS, item->text, &seconds) != AIC_OK ||
                   seconds > TTL_MAX_SECONDS) {
            char member[AIC_MAX_NAME_BYTES + 64];
            snprintf(member, sizeof member, "%s.%s", key, item->name);
            option_refuse(
                report, origin, member,
                "%s is not accepted; accepted: a duration in whole seconds, with s, m, h or d (a number alone is seconds), from 0 (never "
                "expires) to 3650d",
                item->kind == OPTION_SCALAR ? option_quote(quoted, item->text) : "a map or list");
        } else {
            TRY(add_ttl(mem, field, item->name, seconds));
        }
    }
    return AIC_OK;
}

static bool has_ttl(const struct settings_ttls *ttls, const char *operation)
{
    for (size_t i = 0; i < ttls->count; i++) {
        if (strcmp(ttls->items[i].operation, operation) == 0) return true;
    }
    return false;
}

/* All that is in force: the built-in ones, too, where nothing stands over them. */
static void write_ttls(const void *field, struct buf *out)
{
    static const aic_operation_ttl builtin[] = {
#define BUILTIN_TTL_ROW(operation, seconds) {operation, seconds},
        BUILTIN_TTL_MAP(BUILTIN_TTL_ROW)
#undef BUILTIN_TTL_ROW
    };
    const struct settings_ttls *ttls = field;
    const char *between = "{";
    for (size_t i = 0; i < ttls->count + COUNT_OF(builtin); i++) {
        const aic_operation_ttl *one = i < ttls->count ? &ttls->items[i] : &builtin[i - ttls->count];
        if (i >= ttls->count && has_ttl(ttls, one->operation)) continue;
        buf_append_text(out, between);
        option_write_quoted(one->operation, out);
        buf_append_text(out, ": ");
        option_write_number(OPTION_SECONDS, one->ttl_seconds, out);
        between = ", ";
    }
    buf_append_byte(out, '}');
}

/* ------------------------------------------------------------------------------------------------------ api_keys -- */

static void release_key(struct mem *mem, struct settings_key *key)
{
    mem_free_string(mem, MEM_CONFIG, key->id);
    mem_free_string(mem, MEM_CONFIG, key->namespace_);
}

static void release_keys(struct mem *mem, void *field)
{
    struct settings_keys *keys = field;
    for (size_t i = 0; i < keys->count; i++) release_key(mem, &keys->items[i]);
    mem_free(mem, MEM_CONFIG, keys->items, keys->count * sizeof *keys->items);
    *keys = (struct settings_keys){0};
}

/* In digits of either case. */
static bool read_digest(const char *text, uint8_t out[32])
{
    char digits[64];
    if (strlen(text) != sizeof digits) return false;
    for (size_t i = 0; i < sizeof digits; i++) digits[i] = (char)tolower((unsigned char)text[i]);
    return hex_read(digits, 32, out);
}

/* One member of one key. `name` is "api_keys[2].sha256". *seen gets a bit per member that was good. */
enum { SEEN_ID = 1, SEEN_SHA256 = 2 };
static aic_status read_key_member(struct mem *mem, const struct option_node *member, struct option_origin origin,
                                  const char *name, struct settings_key *key, unsigned *seen,
                                  struct option_report *report)
{
    const char *text = member->kind == OPTION_SCALAR ? member->text : "";
    size_t size = strlen(text);
    if (strcmp(member->name, "id") == 0 || strcmp(member->name, "namespace") == 0) {
        char **target = member->name[0] == 'i' ? &key->id : &key->namespace_;
        if (!is_name(text)) {
            option_refuse(report, origin, name,
                          "no name, %zu bytes; accepted: 1 to 128 bytes without control characters", size);
            return AIC_OK;
        }
        *target = mem_copy_string(mem, MEM_CONFIG, (aic_view){text, size});
        if (member->name[0] == 'i') *seen |= SEEN_ID;
        return *target != NULL ? AIC_OK : AIC_NO_MEMORY;
    }
    if (strcmp(member->name, "sha256") == 0) {
        if (read_digest(text, key->sha256)) *seen |= SEEN_SHA256;
        else
            option_refuse(report, origin, name,
                          "%zu bytes that are no digest; accepted: the 64 hex digits that `aicache key new` prints",
                          size);
    } else if (strcmp(member->name, "admin") == 0) {
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            option_refuse(report, origin, name, "neither true nor false; accepted: true or false");
        else key->admin = text[0] == 't';
    } else {
        char quoted[OPTION_QUOTE_SIZE];
        option_refuse(report, origin, name, "unknown member %s; accepted: id, sha256, namespace, admin",
                      option_quote(quoted, member->name));
    }
    return AIC_OK;
}

static aic_status read_key(struct mem *mem, const struct option_node *node, struct option_origin origin,
                           const char *name, struct settings_key *key, struct option_report *report)
{
    unsigned seen = 0;
    size_t errors = report->errors;
    for (const struct option_node *member = node->first; member != NULL; member = member->next) {
        char full[96];
        snprintf(full, sizeof full, "%s.%.40s", name, member->name);
        struct option_origin place = origin;
        if (origin.place == OPTION_FILE) place.line = member->line;
        TRY(read_key_member(mem, member, place, full, key, &seen, report));
    }
    if (report->errors == errors && (seen & SEEN_ID) == 0)
        option_refuse(report, origin, name, "no id; accepted: {id, sha256, namespace, admin}");
    if (report->errors == errors && (seen & SEEN_SHA256) == 0)
        option_refuse(report, origin, name, "no sha256; accepted: {id, sha256, namespace, admin}");
    return AIC_OK;
}

static bool is_repeated(const struct settings_keys *keys, const struct settings_key *key)
{
    for (size_t i = 0; key->id != NULL && i < keys->count; i++) {
        if (strcmp(keys->items[i].id, key->id) == 0) return true;
        if (memcmp(keys->items[i].sha256, key->sha256, sizeof key->sha256) == 0) return true;
    }
    return false;
}

static aic_status add_key(struct mem *mem, struct settings_keys *keys, const struct settings_key *key)
{
    size_t bytes = keys->count * sizeof *keys->items;
    struct settings_key *grown = mem_realloc(mem, MEM_CONFIG, keys->items, bytes, bytes + sizeof *grown);
    if (grown == NULL) return AIC_NO_MEMORY;
    grown[keys->count++] = *key;
    keys->items = grown;
    return AIC_OK;
}

#define MAX_KEYS 10000

static aic_status read_keys(struct mem *mem, const struct option_node *node, struct option_origin origin,
                            const char *key, void *field, struct option_report *report)
{
    struct settings_keys *keys = field;
    size_t index = 0;
    if (node->kind != OPTION_LIST) {
        option_refuse(report, origin, key, "no list; accepted: a list of {id, sha256, namespace, admin}");
        return AIC_OK;
    }
    for (const struct option_node *item = node->first; item != NULL; item = item->next, index++) {
        char name[48];
        struct settings_key one = {0};
        size_t errors = report->errors;
        if (origin.place == OPTION_FILE) origin.line = item->line;
        snprintf(name, sizeof name, "%s[%zu]", key, index);
        aic_status status = AIC_OK;
        if (item->kind != OPTION_MAP)
            option_refuse(report, origin, name, "no map; accepted: {id, sha256, namespace, admin}");
        else if (index >= MAX_KEYS) option_refuse(report, origin, name, "too many keys; accepted: at most 10000");
        else status = read_key(mem, item, origin, name, &one, report);
        if (status == AIC_OK && report->errors == errors && is_repeated(keys, &one)) {
            option_refuse(report, origin, name, "its id or sha256 is that of an earlier key; accepted: each once");
        }
        bool keep = status == AIC_OK && report->errors == errors;
        if (keep) status = add_key(mem, keys, &one);
        if (!keep || status != AIC_OK) release_key(mem, &one);
        if (status != AIC_OK) return status;
        if (index >= MAX_KEYS) break;
    }
    return AIC_OK;
}

static void write_keys(const void *field, struct buf *out)
{
    const struct settings_keys *keys = field;
    buf_append_byte(out, '[');
    for (size_t i = 0; i < keys->count; i++) {
        const struct settings_key *key = &keys->items[i];
        buf_append_text(out, i > 0 ? ", {id: " : "{id: ");
        option_write_quoted(key->id, out);
        buf_append_text(out, ", sha256: \"");
        char digits[2 * sizeof key->sha256];
        hex_write(key->sha256, sizeof key->sha256, digits);
        buf_append(out, digits, sizeof digits);
        buf_append_byte(out, '"');
        if (key->namespace_ != NULL) {
            buf_append_text(out, ", namespace: ");
            option_write_quoted(key->namespace_, out);
        }
        buf_printf(out, ", admin: %s}", key->admin ? "true" : "false");
    }
    buf_append_byte(out, ']');
}

/* --------------------------------------------------------------------------------------------------------- table -- */

static const struct option_shape ttls_shape = {read_ttls, write_ttls, release_ttls, "a map of operation: duration"};
static const struct option_shape keys_shape = {read_keys, write_keys, release_keys,
                                               "a list of {id, sha256, namespace, admin}"};

#define TYPE_BOOL OPTION_BOOL, NULL
#define TYPE_U64 OPTION_U64, NULL
#define TYPE_SIZE OPTION_SIZE, NULL
#define TYPE_MS OPTION_MS, NULL
#define TYPE_SECONDS OPTION_SECONDS, NULL
#define TYPE_HOURS OPTION_HOURS, NULL
#define TYPE_TEXT OPTION_TEXT, NULL
#define TYPE_URL OPTION_URL, NULL
#define TYPE_ENUM OPTION_ENUM, NULL
#define TYPE_TEXT_LIST OPTION_TEXT_LIST, NULL
#define TYPE_TTLS OPTION_TABLE, &ttls_shape
#define TYPE_KEYS OPTION_TABLE, &keys_shape
#define ROW_(row_type, row_shape, row_field, row_name, row_fallback, row_min, row_max, row_choices, row_live,          \
             row_help, row_detail)                                                                                     \
    {.name = row_name,                                                                                                 \
     .type = row_type,                                                                                                 \
     .offset = offsetof(struct settings, row_field),                                                                   \
     .bytes = sizeof((struct settings *)0)->row_field,                                                                 \
     .fallback = row_fallback,                                                                                         \
     .min = row_min,                                                                                                   \
     .max = row_max,                                                                                                   \
     .choices = row_choices,                                                                                           \
     .shape = row_shape,                                                                                               \
     .live = row_live,                                                                                                 \
     .help = row_help,                                                                                                 \
     .detail = row_detail},
#define ROW(...) ROW_(__VA_ARGS__)
#define OPTION(type, ...) ROW(TYPE_##type, __VA_ARGS__)
static const struct option_row rows[] = {
#include "serve/settings/settings.def"
};
#undef OPTION

static const struct option_action actions[] = {
    {"config", "FILE", "Read this YAML file. AICACHE_CONFIG in the environment does the same."},
    {"check-config", NULL,
     "Check file, environment and flags; print what is wrong; exit with 0 when all is well and with 2 otherwise."},
    {"print-config", NULL, "Print the settings that would be in force, each with where it came from."},
    {"manual", NULL, "Print the manual page aicached(8)."},
    {"reference", NULL, "Print the reference of all options in Markdown."},
    {"help", NULL, "Print this help."},
    {"version", NULL, "Print the version."},
};

/* What the client reads, and what this table does not: no reason for a warning. */
static const char *const known_foreign[] = {"AICACHE_CONFIG", "AICACHE_URL", "AICACHE_API_KEY", "AICACHE_UNIX", NULL};

/* Every column is an option of this daemon; entries 0: the memory tier is bounded by bytes alone. */
#define PRESET(name, purpose, ttl, storage, entries, compress, level, monitor, log, operations)                        \
    {name, purpose,                                                                                                    \
     (const struct option_setting[]){{"ttl.default", #ttl},                                                            \
                                     {"ttl.operations", "{" operations "}"},                                           \
                                     {"storage.kind", storage},                                                        \
                                     {"memory.max_entries", #entries},                                                 \
                                     {"compression.threshold_bytes", #compress},                                       \
                                     {"compression.level", #level},                                                    \
                                     {"monitor.enabled", #monitor},                                                    \
                                     {"log.level", log},                                                               \
                                     {NULL, NULL}}},
static const struct option_preset presets[] = {
    PRESET("disabled", "next to no caching, and nothing on disk: for finding out what the cache hides", 300, "none", 10,
           10000, 1, false, "warning",
           "") PRESET("minimal", "small devices and tests", 900, "lmdb", 25, 5000, 1, false, "error", "")
        PRESET("simple", "one service, no special demands", 3600, "lmdb", 100, 1000, 3, true, "info", "")
            PRESET("development", "short-lived entries and every event in the log", 600, "lmdb", 50, 2000, 1, true,
                   "debug", "") PRESET("production", "web services", 7200, "lmdb", 0, 500, 3, true, "info", "")
                PRESET("ai-development", "trying prompts and models", 1800, "lmdb", 100, 1000, 3, true, "debug",
                       "summarize: 1800, sentiment: 900, key_points: 1200, questions: 1500, qa: 900")
                    PRESET("ai-production", "LLM answers that are expensive to make", 14400, "lmdb", 0, 300, 3, true,
                           "info", "summarize: 14400, sentiment: 7200, key_points: 10800, questions: 9600, qa: 7200")};
#undef PRESET

const struct option_table *settings_table(void)
{
    static const struct option_table table = {
        .rows = rows,
        .row_count = COUNT_OF(rows),
        .actions = actions,
        .action_count = COUNT_OF(actions),
        .presets = presets,
        .preset_count = COUNT_OF(presets),
        .target_bytes = sizeof(struct settings),
        .prefix = "AICACHE_",
        .known_foreign = known_foreign,
        .program = "aicached",
    };
    return &table;
}
