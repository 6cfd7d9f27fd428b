/*
 * config.c - `aicache config`: presets, a recommendation, and checks, all without a daemon.
 */
#include "cli/commands.h"

#include "base/check.h"
#include "serve/settings/settings.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------- presets -- */

static json_object *describe(const struct settings_preset *preset)
{
    json_object *out = json_object_new_object();
    json_object_object_add(out, "name", json_object_new_string(preset->name));
    json_object_object_add(out, "purpose", json_object_new_string(preset->purpose));
    json_object_object_add(out, "default_ttl", json_object_new_uint64(preset->default_ttl));
    json_object_object_add(out, "storage", json_object_new_string(preset->storage));
    json_object_object_add(out, "memory_entries",
                           preset->memory_entries > 0 ? json_object_new_uint64(preset->memory_entries) : NULL);
    json_object_object_add(out, "compress_above", json_object_new_uint64(preset->compress_above));
    json_object_object_add(out, "compression_level", json_object_new_uint64(preset->level));
    json_object_object_add(out, "monitor", json_object_new_boolean(preset->monitor));
    json_object_object_add(out, "log_level", json_object_new_string(preset->log_level));
    json_object *operations = json_object_new_object();
    for (const char *at = preset->operations; *at != '\0';) { /* "name: seconds, name: seconds" */
        char name[64];
        size_t size = strcspn(at, ":");
        if (size >= sizeof name) break;
        memcpy(name, at, size);
        name[size] = '\0';
        json_object_object_add(operations, name, json_object_new_uint64(strtoull(at + size + 1, NULL, 10)));
        at += strcspn(at, ",");
        at += strspn(at, ", ");
    }
    json_object_object_add(out, "operations", operations);
    return out;
}

/* A row of the table, and below it what the preset is for and its times to live by operation. */
static void print_preset(const struct settings_preset *preset)
{
    char entries[24] = "by bytes";
    if (preset->memory_entries > 0) snprintf(entries, sizeof entries, "%" PRIu64, preset->memory_entries);
    printf("%-14s %5" PRIu64 " %7s %8s %8" PRIu64 " %5" PRIu64 " %7s %7s\n", preset->name, preset->default_ttl,
           preset->storage, entries, preset->compress_above, preset->level, preset->monitor ? "yes" : "no",
           preset->log_level);
    const char *const below[] = {preset->purpose, preset->operations};
    for (size_t i = 0; i < COUNT_OF(below); i++) {
        if (below[i][0] == '\0') continue;
        fputs("    ", stdout);
        print_text(stdout, below[i], 4, print_columns(PRINT_COLUMNS));
        putchar('\n');
    }
}

int command_config_presets(struct cli *cli)
{
    size_t count;
    const struct settings_preset *presets = settings_presets(&count);
    json_object *list = json_object_new_array();
    if (!cli->json)
        printf("%-14s %5s %7s %8s %8s %5s %7s %7s\n", "preset", "ttl", "storage", "entries", "compress", "level",
               "monitor", "log");
    for (size_t i = 0; i < count; i++) {
        if (cli->json) json_object_array_add(list, describe(&presets[i]));
        else print_preset(&presets[i]);
    }
    if (cli->json) puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(list);
    return CLI_OK;
}

static const struct settings_preset *find_preset(const char *name)
{
    size_t count;
    const struct settings_preset *presets = settings_presets(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(presets[i].name, name) == 0) return &presets[i];
    }
    return NULL;
}

static int refuse_preset(struct cli *cli, const char *name)
{
    char quoted[OPTION_QUOTE_SIZE];
    struct buf names;
    size_t count;
    const struct settings_preset *presets = settings_presets(&count);
    buf_init(&names, &cli->mem, MEM_OTHER);
    for (size_t i = 0; i < count; i++) buf_printf(&names, "%s%s", i > 0 ? ", " : "", presets[i].name);
    cli_fail("%s is no preset; available: %.*s", option_quote(quoted, name), (int)names.size,
             names.size > 0 ? names.data : "");
    buf_fini(&names);
    return CLI_ERROR;
}

/* --------------------------------------------------------------------------------------------------- recommend -- */

/* Names of environments as people spell them; a word within a longer name counts less than the whole name. */
static const struct {
    const char *word;
    const char *preset;
    double sure;
} environments[] = {
    {"ai-production", "ai-production", 0.95},
    {"ai-prod", "ai-production", 0.95},
    {"ai-development", "ai-development", 0.95},
    {"ai-dev", "ai-development", 0.95},
    {"production", "production", 0.95},
    {"prod", "production", 0.95},
    {"live", "production", 0.90},
    {"staging", "production", 0.85},
    {"stage", "production", 0.85},
    {"preprod", "production", 0.85},
    {"uat", "production", 0.80},
    {"development", "development", 0.95},
    {"dev", "development", 0.95},
    {"local", "development", 0.85},
    {"sandbox", "development", 0.80},
    {"testing", "minimal", 0.85},
    {"test", "minimal", 0.85},
    {"ci", "minimal", 0.85},
    {"embedded", "minimal", 0.80},
    {"edge", "minimal", 0.75},
    {"demo", "simple", 0.75},
    {"simple", "simple", 0.95},
    {"minimal", "minimal", 0.95},
    {"disabled", "disabled", 0.95},
    {"off", "disabled", 0.85},
};

static bool is_word_in(const char *word, const char *name)
{
    size_t size = strlen(word);
    for (const char *at = strstr(name, word); at != NULL; at = strstr(at + 1, word)) {
        bool begins = at == name || !isalnum((unsigned char)at[-1]);
        if (begins && !isalnum((unsigned char)at[size])) return true;
    }
    return false;
}

static bool has_ai_word(const char *name)
{
    return is_word_in("ai", name) || is_word_in("llm", name) || is_word_in("ml", name);
}

static const char *recommend(const char *name, double *sure)
{
    for (size_t i = 0; i < COUNT_OF(environments); i++) {
        if (strcmp(environments[i].word, name) != 0) continue;
        *sure = environments[i].sure;
        return environments[i].preset;
    }
    for (size_t i = 0; i < COUNT_OF(environments); i++) {
        const char *preset = environments[i].preset;
        if (!is_word_in(environments[i].word, name)) continue;
        *sure = 0.70;
        if (has_ai_word(name) && strcmp(preset, "production") == 0) return "ai-production";
        if (has_ai_word(name) && strcmp(preset, "development") == 0) return "ai-development";
        return preset;
    }
    *sure = 0.40;
    return "simple";
}

int command_config_recommend(struct cli *cli)
{
    char name[128];
    double sure;
    size_t at = 0;
    for (const char *from = cli->arguments[0]; *from != '\0' && at + 1 < sizeof name; from++) {
        name[at++] = *from == '_' || *from == ' ' ? '-' : (char)tolower((unsigned char)*from);
    }
    name[at] = '\0';
    const char *preset = recommend(name, &sure);
    if (cli->json) printf("{\"preset\":\"%s\",\"confidence\":%.2f}\n", preset, sure);
    else printf("%s (confidence %.2f)\n", preset, sure);
    return CLI_OK;
}

/* ------------------------------------------------------------------------------------------------------- check -- */

/* What a preset is made of, and what is sensible. */
static const struct bound {
    const char *name;
    enum { WHOLE, TRUTH, LEVEL, ADDRESS } kind;
    uint64_t min, max;
} bounds[] = {
    {"default_ttl", WHOLE, 60, 604800},
    {"connections", WHOLE, 1, 100},
    {"connect_timeout", WHOLE, 1, 60},
    {"memory_entries", WHOLE, 1, 10000},
    {"compress_above", WHOLE, 0, 1073741824},
    {"compression_level", WHOLE, 1, 9},
    {"monitor", TRUTH, 0, 0},
    {"log_level", LEVEL, 0, 0},
    {"redis_url", ADDRESS, 0, 0},
};

static bool is_redis_address(const char *text)
{
    static const char *const schemes[] = {"redis://", "rediss://", "unix://"};
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        size_t size = strlen(schemes[i]);
        if (strncmp(text, schemes[i], size) == 0 && text[size] != '\0') return true;
    }
    return false;
}

static bool is_log_level(const char *text)
{
    return strcmp(text, "debug") == 0 || strcmp(text, "info") == 0 || strcmp(text, "warning") == 0 ||
           strcmp(text, "error") == 0;
}

/* One value against its bound. CLI_ERROR after a message. */
static int check_value(const struct bound *bound, json_object *value)
{
    char quoted[OPTION_QUOTE_SIZE];
    option_quote(quoted, value != NULL ? json_object_get_string(value) : "null");
    if (bound->kind == WHOLE) {
        if (!json_object_is_type(value, json_type_int))
            return cli_fail("%s expects int; %s came; accepted: %" PRIu64 " to %" PRIu64, bound->name, quoted,
                            bound->min, bound->max);
        int64_t number = json_object_get_int64(value);
        bool fits = number >= 0 && (uint64_t)number >= bound->min && (uint64_t)number <= bound->max;
        return fits ? CLI_OK
                    : cli_fail("%s must be between %" PRIu64 " and %" PRIu64 "; %s came", bound->name, bound->min,
                               bound->max, quoted);
    }
    if (bound->kind == TRUTH)
        return json_object_is_type(value, json_type_boolean)
                   ? CLI_OK
                   : cli_fail("%s expects bool; %s came; accepted: true, false", bound->name, quoted);
    if (!json_object_is_type(value, json_type_string)) return cli_fail("%s expects text; %s came", bound->name, quoted);
    const char *text = json_object_get_string(value);
    if (bound->kind == LEVEL)
        return is_log_level(text) ? CLI_OK
                                  : cli_fail("%s: %s came; accepted: debug, info, warning, error", bound->name, quoted);
    return is_redis_address(text)
               ? CLI_OK
               : cli_fail("%s must begin with redis://, rediss:// or unix://; %s came", bound->name, quoted);
}

static int check_operations(json_object *operations)
{
    int worst = CLI_OK;
    if (!json_object_is_type(operations, json_type_object))
        return cli_fail("operations expects an object of operation: seconds");
    json_object_object_foreach(operations, name, value)
    {
        char label[160];
        snprintf(label, sizeof label, "operations.%.100s", name);
        struct bound bound = {label, WHOLE, 0, 604800};
        if (check_value(&bound, value) != CLI_OK) worst = CLI_ERROR;
    }
    return worst;
}

extern char **environ;

/* Options of the daemon among the overrides, "memory.max_bytes", are judged as in its file, over the preset. JSON is
 * YAML. */
static int check_options(struct cli *cli, const char *preset, json_object *overrides)
{
    struct buf yaml;
    int result = CLI_OK;
    size_t count = 0;
    buf_init(&yaml, &cli->mem, MEM_OTHER);
    buf_printf(&yaml, "preset: %s\n", preset);
    json_object_object_foreach(overrides, name, value)
    {
        if (option_find(settings_table(), name) == NULL) continue;
        buf_printf(&yaml, "%s: %s\n", name, json_object_to_json_string_ext(value, JSON_C_TO_STRING_NOSLASHESCAPE));
        count++;
    }
    if (count > 0 && buf_status(&yaml) == AIC_OK) {
        struct option_report report;
        struct settings settings;
        struct option_input input = {.file = "--override", .text = buf_view(&yaml), .environment = environ};
        option_report_init(&report, &cli->mem);
        aic_status status = settings_load(&cli->mem, &input, &settings, NULL, &report);
        if (report.text.size > 0) fwrite(report.text.data, 1, report.text.size, stderr);
        if (status == AIC_OK) settings_release(&cli->mem, &settings);
        else result = CLI_ERROR;
        option_report_fini(&report);
    }
    if (buf_status(&yaml) != AIC_OK) result = cli_fail("no memory");
    buf_fini(&yaml);
    return result;
}

/* *known: the preset has such a value, so that an acceptable one takes its place. */
static int check_override(const char *name, json_object *value, bool *known)
{
    *known = true;
    for (size_t i = 0; i < COUNT_OF(bounds); i++) {
        if (strcmp(bounds[i].name, name) == 0) return check_value(&bounds[i], value);
    }
    if (strcmp(name, "operations") == 0) return check_operations(value);
    if (option_find(settings_table(), name) != NULL) return CLI_OK; /* check_options() judges it */
    *known = false;
    char quoted[OPTION_QUOTE_SIZE];
    fprintf(stderr, "aicache: warning: unknown key %s is ignored\n", option_quote(quoted, name));
    return CLI_OK;
}

static int check_preset(struct cli *cli)
{
    const char *name = cli_value(cli, "preset") != NULL ? cli_value(cli, "preset") : "simple";
    const struct settings_preset *preset = find_preset(name);
    if (preset == NULL) return refuse_preset(cli, name);
    struct buf text;
    int worst = CLI_OK;
    buf_init(&text, &cli->mem, MEM_OTHER);
    if (cli_read_value(cli, cli_value(cli, "override") != NULL ? cli_value(cli, "override") : "{}", &text) != CLI_OK)
        worst = CLI_ERROR;
    buf_append_byte(&text, '\0');
    json_object *overrides = worst == CLI_OK && buf_status(&text) == AIC_OK ? json_tokener_parse(text.data) : NULL;
    buf_fini(&text);
    json_object *all = describe(preset);
    if (!json_object_is_type(overrides, json_type_object)) worst = cli_fail("--override: that is no JSON object");
    if (worst == CLI_OK) {
        json_object_object_foreach(overrides, key, value)
        {
            bool known;
            if (check_override(key, value, &known) != CLI_OK) worst = CLI_ERROR;
            else if (known) json_object_object_add(all, key, json_object_get(value));
        }
    }
    if (worst == CLI_OK) worst = check_options(cli, name, overrides);
    if (worst == CLI_OK) puts(json_object_to_json_string_ext(all, JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(all);
    json_object_put(overrides);
    return worst;
}

/* What was found, by line, on standard error; with --json as one object on standard output. */
static void print_findings(const struct cli *cli, const struct buf *text, bool is_good)
{
    if (!cli->json) {
        if (text->size > 0) fwrite(text->data, 1, text->size, stderr);
        if (is_good) puts("The settings are fine.");
        return;
    }
    json_object *out = json_object_new_object();
    json_object *findings = json_object_new_array();
    for (size_t at = 0; at < text->size;) {
        const char *end = memchr(text->data + at, '\n', text->size - at);
        size_t size = end != NULL ? (size_t)(end - text->data) - at : text->size - at;
        json_object_array_add(findings, json_object_new_string_len(text->data + at, (int)size));
        at += size + 1;
    }
    json_object_object_add(out, "ok", json_object_new_boolean(is_good));
    json_object_object_add(out, "findings", findings);
    puts(json_object_to_json_string_ext(out, JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(out);
}

int command_config_check(struct cli *cli)
{
    static const char usage[] = "usage: aicache config check FILE, or --preset NAME [--override JSON]";
    const char *instead = cli_has(cli, "preset") ? "preset" : cli_has(cli, "override") ? "override" : NULL;
    if (instead != NULL && cli->argument_count > 0)
        return cli_fail("either FILE or --%s is accepted, not both; %s", instead, usage);
    if (instead != NULL) return check_preset(cli);
    if (cli->argument_count == 0) return cli_fail("which file? %s", usage);
    struct option_report report;
    struct settings settings;
    struct option_input input = {.file = cli->arguments[0], .environment = environ};
    option_report_init(&report, &cli->mem);
    aic_status status = settings_load(&cli->mem, &input, &settings, NULL, &report);
    print_findings(cli, &report.text, status == AIC_OK);
    option_report_fini(&report);
    if (status != AIC_OK) return CLI_ERROR;
    settings_release(&cli->mem, &settings);
    return CLI_OK;
}
