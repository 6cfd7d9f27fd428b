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

/* What a preset is made of, and what is sensible in its place. */
static const struct column {
    const char *name;   /* in JSON, and of --override */
    const char *option; /* of the daemon; NULL: of other caches of this kind, so that it is checked and no more */
    enum { WHOLE, TRUTH, CHOICE, ADDRESS } kind;
    uint64_t min, max;
    const char *title; /* in the table */
    int width;
} columns[] = {
    {"default_ttl", "ttl.default", WHOLE, 60, 604800, "ttl", 5},
    {"storage", "storage.kind", CHOICE, 0, 0, "storage", 7},
    {"memory_entries", "memory.max_entries", WHOLE, 1, 10000, "entries", 8},
    {"compress_above", "compression.threshold_bytes", WHOLE, 0, 1073741824, "compress", 8},
    {"compression_level", "compression.level", WHOLE, 1, 9, "level", 5},
    {"monitor", "monitor.enabled", TRUTH, 0, 0, "monitor", 7},
    {"log_level", "log.level", CHOICE, 0, 0, "log", 7},
    {"connections", NULL, WHOLE, 1, 100, NULL, 0},
    {"connect_timeout", NULL, WHOLE, 1, 60, NULL, 0},
    {"redis_url", NULL, ADDRESS, 0, 0, NULL, 0},
};

static const char *setting_of(const struct option_preset *preset, const char *option)
{
    const struct option_setting *setting = preset->settings;
    while (setting->name != NULL && strcmp(setting->name, option) != 0) setting++;
    CHECK(setting->name != NULL);
    return setting->value;
}

/* JSON's null is no limit. */
static json_object *value_of(const struct option_preset *preset, const struct column *column)
{
    const char *text = setting_of(preset, column->option);
    if (column->kind == TRUTH) return json_object_new_boolean(strcmp(text, "true") == 0);
    if (column->kind != WHOLE) return json_object_new_string(text);
    uint64_t number = strtoull(text, NULL, 10);
    return number == 0 && column->min > 0 ? NULL : json_object_new_uint64(number);
}

static json_object *describe(const struct option_preset *preset)
{
    json_object *out = json_object_new_object(), *operations = json_object_new_object();
    json_object_object_add(out, "name", json_object_new_string(preset->name));
    json_object_object_add(out, "purpose", json_object_new_string(preset->help));
    for (const struct column *column = columns; column->option != NULL; column++)
        json_object_object_add(out, column->name, value_of(preset, column));
    const char *at = setting_of(preset, "ttl.operations"); /* "{name: seconds, name: seconds}" */
    char name[64];
    uint64_t seconds;
    int used;
    while (sscanf(at, "%*[{, ]%63[^:]: %" SCNu64 "%n", name, &seconds, &used) == 2) {
        json_object_object_add(operations, name, json_object_new_uint64(seconds));
        at += used;
    }
    json_object_object_add(out, "operations", operations);
    return out;
}

/* A row of the table, and below it what the preset is for and its times to live by operation. */
static void print_preset(const struct option_preset *preset)
{
    char operations[256];
    printf("%-14s", preset->name);
    for (const struct column *column = columns; column->option != NULL; column++) {
        const char *text = setting_of(preset, column->option);
        if (column->kind == WHOLE && column->min > 0 && strcmp(text, "0") == 0) text = "by bytes";
        if (column->kind == TRUTH) text = strcmp(text, "true") == 0 ? "yes" : "no";
        printf(" %*s", column->width, text);
    }
    snprintf(operations, sizeof operations, "%s", setting_of(preset, "ttl.operations") + 1);
    operations[strcspn(operations, "}")] = '\0';
    const char *const below[] = {preset->help, operations};
    for (size_t i = 0; i < COUNT_OF(below) && below[i][0] != '\0'; i++) {
        fputs("\n    ", stdout);
        print_text(stdout, below[i], 4, print_columns(PRINT_COLUMNS));
    }
    putchar('\n');
}

int command_config_presets(struct cli *cli)
{
    const struct option_table *table = settings_table();
    json_object *list = json_object_new_array();
    if (!cli->json) {
        printf("%-14s", "preset");
        for (const struct column *column = columns; column->option != NULL; column++)
            printf(" %*s", column->width, column->title);
        putchar('\n');
    }
    for (size_t i = 0; i < table->preset_count; i++) {
        if (cli->json) json_object_array_add(list, describe(&table->presets[i]));
        else print_preset(&table->presets[i]);
    }
    if (cli->json) puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(list);
    return CLI_OK;
}

/* NULL after a message. */
static const struct option_preset *find_preset(struct cli *cli, const char *name)
{
    const struct option_table *table = settings_table();
    char quoted[OPTION_QUOTE_SIZE];
    struct buf names;
    buf_init(&names, &cli->mem, MEM_OTHER);
    for (size_t i = 0; i < table->preset_count; i++) {
        if (strcmp(table->presets[i].name, name) == 0) {
            buf_fini(&names);
            return &table->presets[i];
        }
        buf_printf(&names, "%s%s", i > 0 ? ", " : "", table->presets[i].name);
    }
    cli_fail("%s is no preset; available: %.*s", option_quote(quoted, name), (int)names.size, names.data);
    buf_fini(&names);
    return NULL;
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

static bool is_redis_address(const char *text)
{
    static const char *const schemes[] = {"redis://", "rediss://", "unix://"};
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        size_t size = strlen(schemes[i]);
        if (strncmp(text, schemes[i], size) == 0 && text[size] != '\0') return true;
    }
    return false;
}

/* One value against what is sensible. CLI_ERROR after a message. */
static int check_value(struct cli *cli, const struct column *column, json_object *value)
{
    char quoted[OPTION_QUOTE_SIZE];
    static const struct {
        json_c_type type;
        const char *name;
    } wanted[] = {
        [WHOLE] = {json_type_int, "int"},
        [TRUTH] = {json_type_boolean, "bool"},
        [CHOICE] = {json_type_string, "text"},
        [ADDRESS] = {json_type_string, "text"},
    };
    const char *text = value != NULL ? json_object_get_string(value) : "null";
    option_quote(quoted, text);
    if (!json_object_is_type(value, wanted[column->kind].type))
        return cli_fail("%s expects %s; %s came", column->name, wanted[column->kind].name, quoted);
    if (column->kind == WHOLE) {
        int64_t number = json_object_get_int64(value);
        if (number < 0 || (uint64_t)number < column->min || (uint64_t)number > column->max)
            return cli_fail("%s must be between %" PRIu64 " and %" PRIu64 "; %s came", column->name, column->min,
                            column->max, quoted);
    } else if (column->kind == ADDRESS && !is_redis_address(text)) {
        return cli_fail("%s must begin with redis://, rediss:// or unix://; %s came", column->name, quoted);
    } else if (column->kind == CHOICE) {
        const struct option_row *row = option_find(settings_table(), column->option);
        CHECK(row != NULL);
        unsigned index;
        struct buf accepted;
        if (option_choice(row->choices, text, &index)) return CLI_OK;
        buf_init(&accepted, &cli->mem, MEM_OTHER);
        option_write_accepted(row, &accepted);
        cli_fail("%s: %s came; accepted: %.*s", column->name, quoted, (int)accepted.size, accepted.data);
        buf_fini(&accepted);
        return CLI_ERROR;
    }
    return CLI_OK;
}

static int check_operations(struct cli *cli, json_object *operations)
{
    int worst = CLI_OK;
    if (!json_object_is_type(operations, json_type_object))
        return cli_fail("operations expects an object of operation: seconds");
    json_object_object_foreach(operations, name, value)
    {
        char label[160];
        snprintf(label, sizeof label, "operations.%.100s", name);
        struct column column = {label, NULL, WHOLE, 0, 604800, NULL, 0};
        if (check_value(cli, &column, value) != CLI_OK) worst = CLI_ERROR;
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
static int check_override(struct cli *cli, const char *name, json_object *value, bool *known)
{
    *known = true;
    for (size_t i = 0; i < COUNT_OF(columns); i++) {
        if (strcmp(columns[i].name, name) == 0) return check_value(cli, &columns[i], value);
    }
    if (strcmp(name, "operations") == 0) return check_operations(cli, value);
    if (option_find(settings_table(), name) != NULL) return CLI_OK; /* check_options() judges it */
    *known = false;
    char quoted[OPTION_QUOTE_SIZE];
    fprintf(stderr, "aicache: warning: unknown key %s is ignored\n", option_quote(quoted, name));
    return CLI_OK;
}

static int check_preset(struct cli *cli)
{
    const char *name = cli_value(cli, "preset") != NULL ? cli_value(cli, "preset") : "simple";
    const struct option_preset *preset = find_preset(cli, name);
    if (preset == NULL) return CLI_ERROR;
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
            if (check_override(cli, key, value, &known) != CLI_OK) worst = CLI_ERROR;
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
