/*
 * option.c - the loader: which source says what, each over the one before.
 *
 * The idea: every source ends in option_assign_text() or option_assign_node() for one row, which replace what the row
 * held. Applying the sources in order of precedence is all the merging there is. Findings are gathered, so that a user
 * sees all of them at once; the target is given back only when there is none.
 */
#include "base/option_impl.h"

#include "base/check.h"
#include "base/url.h"
#include "base/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct loader {
    const struct option_table *table;
    struct mem *mem;
    const struct option_input *input;
    void *target;
    struct option_origin *origins; /* may be NULL */
    struct option_report *report;
};

void option_report_init(struct option_report *report, struct mem *mem)
{
    *report = (struct option_report){0};
    buf_init(&report->text, mem, MEM_CONFIG);
}

void option_report_fini(struct option_report *report)
{
    buf_fini(&report->text);
}

void option_write_origin(struct option_origin origin, struct buf *out)
{
    switch (origin.place) {
    case OPTION_DEFAULT: buf_append_text(out, "the default"); return;
    case OPTION_PRESET: buf_printf(out, "the preset %s", origin.name); return;
    case OPTION_FILE:
        buf_append_text(out, origin.name);
        if (origin.line > 0) buf_printf(out, ":%u", origin.line);
        return;
    case OPTION_ENVIRONMENT:
        buf_printf(out, "the environment variable %.*s", (int)strcspn(origin.name, "="), origin.name);
        return;
    case OPTION_FLAG: /* without its value, which may be secret */
        buf_printf(out, "the flag %.*s", (int)strcspn(origin.name, "="), origin.name);
        return;
    }
}

/* A finding is one line whatever the user wrote: names of members come here as they stand in the file. */
static void append_plain(struct buf *out, const char *text)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
    while (at < end) {
        char escape[UTF8_ESCAPE_BYTES];
        size_t size = utf8_shown(at, end);
        if (size > 0) buf_append(out, at, size);
        else if (utf8_sequence(at, end) == 0) buf_printf(out, "\\x%02x", *at);
        else {
            size = utf8_escape(at, end, escape);
            buf_append_text(out, escape);
        }
        at += size > 0 ? size : 1;
    }
}

static void add_finding(struct option_report *report, struct option_origin origin, const char *kind, const char *key,
                        const char *format, va_list arguments)
{
    char message[1024];
    size_t start = report->text.size;
    vsnprintf(message, sizeof message, format, arguments);
    option_write_origin(origin, &report->text);
    buf_printf(&report->text, ": %s", kind);
    append_plain(&report->text, key != NULL ? key : "");
    if (key != NULL) buf_append_text(&report->text, ": ");
    append_plain(&report->text, message);
    buf_append_byte(&report->text, '\0');
    if (buf_status(&report->text) != AIC_OK) return;
    url_hide(report->text.data + start); /* a flag, a value, the name of a file: any may be a URL by mistake */
    report->text.size = start + strlen(report->text.data + start);
    buf_append_byte(&report->text, '\n');
}

void option_refuse(struct option_report *report, struct option_origin origin, const char *key, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_finding(report, origin, "", key, format, arguments);
    va_end(arguments);
    report->errors++;
}

void option_warn(struct option_report *report, struct option_origin origin, const char *key, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    add_finding(report, origin, "warning: ", key, format, arguments);
    va_end(arguments);
    report->warnings++;
}

/* Tells of an unknown key, with the nearest name. */
static void option_refuse_unknown(const struct option_table *table, struct option_report *report,
                                  struct option_origin origin, const char *key)
{
    char quoted[OPTION_QUOTE_SIZE];
    const char *near = option_nearest(table, key);
    option_refuse(report, origin, NULL, "unknown option %s%s%s%s; %s --help lists all of them",
                  option_quote(quoted, key), near != NULL ? ", did you mean " : "", near != NULL ? near : "",
                  near != NULL ? "?" : "", table->program);
}

const struct option_row *option_find(const struct option_table *table, const char *name)
{
    for (size_t i = 0; i < table->row_count; i++) {
        if (strcmp(table->rows[i].name, name) == 0) return &table->rows[i];
    }
    return NULL;
}

static void note_origin(struct loader *loader, const struct option_row *row, struct option_origin origin)
{
    size_t index = (size_t)(row - loader->table->rows);
    CHECK(index < loader->table->row_count);
    if (loader->origins != NULL) loader->origins[index] = origin;
}

/* ------------------------------------------------------------------------------------------ defaults and preset -- */

static aic_status apply_defaults(struct loader *loader)
{
    struct option_origin origin = {OPTION_DEFAULT, NULL, 0};
    for (size_t i = 0; i < loader->table->row_count; i++) {
        const struct option_row *row = &loader->table->rows[i];
        note_origin(loader, row, origin);
        if (row->fallback[0] == '\0') continue;
        TRY(option_assign_text(row, loader->mem, row->fallback, origin, loader->target, loader->report));
    }
    return AIC_OK;
}

static aic_status apply_preset(struct loader *loader, unsigned index)
{
    const struct option_preset *preset = &loader->table->presets[index - 1];
    struct option_origin origin = {OPTION_PRESET, preset->name, 0};
    for (const struct option_setting *setting = preset->settings; setting->name != NULL; setting++) {
        const struct option_row *set = option_find(loader->table, setting->name);
        CHECK(set != NULL);
        note_origin(loader, set, origin);
        TRY(option_assign_text(set, loader->mem, setting->value, origin, loader->target, loader->report));
    }
    return AIC_OK;
}

/* --------------------------------------------------------------------------------------------------------- file -- */

#define NAME_BYTES 256

static aic_status read_file(struct loader *loader, struct buf *text)
{
    struct option_origin origin = {OPTION_FILE, loader->input->file, 0};
    struct stat facts;
    bool regular_only = loader->input->regular_only;
    int fd = open(loader->input->file, O_RDONLY | O_CLOEXEC | (regular_only ? O_NONBLOCK : 0));
    if (fd < 0) {
        option_refuse(loader->report, origin, NULL, "cannot be read: %s", strerror(errno));
        return AIC_INVALID;
    }
    if (regular_only && (fstat(fd, &facts) != 0 || !S_ISREG(facts.st_mode))) {
        close(fd);
        option_refuse(loader->report, origin, NULL, "is no regular file, which a reload alone reads; restart instead");
        return AIC_INVALID;
    }
    aic_status status = AIC_OK;
    while (status == AIC_OK && text->size <= (2u << 20)) {
        char *room = buf_reserve(text, 64 << 10);
        if (room == NULL) break;
        ssize_t got = read(fd, room, 64 << 10);
        if (got == 0) break;
        if (got > 0) buf_commit(text, (size_t)got);
        else if (errno != EINTR) {
            option_refuse(loader->report, origin, NULL, "cannot be read: %s", strerror(errno));
            status = AIC_INVALID;
        }
    }
    close(fd);
    return status == AIC_OK ? buf_status(text) : status;
}

static aic_status read_tree(struct loader *loader, struct option_node **root)
{
    *root = NULL;
    if (loader->input->file == NULL) return AIC_OK;
    if (loader->input->text.data != NULL) {
        return option_yaml_read(loader->mem, loader->input->file, loader->input->text, root, loader->report);
    }
    struct buf text;
    buf_init(&text, loader->mem, MEM_CONFIG);
    aic_status status = read_file(loader, &text);
    if (status == AIC_OK) {
        status = option_yaml_read(loader->mem, loader->input->file, buf_view(&text), root, loader->report);
    }
    buf_fini(&text);
    return status;
}

/* Is there an option below this name, so that a map may stand there? */
static bool is_section(const struct option_table *table, const char *name)
{
    size_t size = strlen(name);
    for (size_t i = 0; i < table->row_count; i++) {
        if (strncmp(table->rows[i].name, name, size) == 0 && table->rows[i].name[size] == '.') return true;
    }
    return false;
}

static void refuse_section(struct loader *loader, struct option_origin origin, const char *name, const char *came)
{
    struct buf members;
    buf_init(&members, loader->mem, MEM_CONFIG);
    size_t size = strlen(name);
    for (size_t i = 0; i < loader->table->row_count; i++) {
        const char *option = loader->table->rows[i].name;
        if (strncmp(option, name, size) != 0 || option[size] != '.') continue;
        buf_printf(&members, "%s%s", members.size > 0 ? ", " : "", option + size + 1);
    }
    option_refuse(loader->report, origin, name, "%s where a map belongs; accepted: a map of %.*s", came,
                  (int)members.size, members.size > 0 ? members.data : "");
    buf_fini(&members);
}

/* One member of the file, or of a section of it. */
static aic_status apply_member(struct loader *loader, const struct option_node *node, const char *prefix)
{
    char name[NAME_BYTES];
    struct option_origin origin = {OPTION_FILE, loader->input->file, node->line};
    int size = snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "", node->name);
    const struct option_row *row = size < NAME_BYTES ? option_find(loader->table, name) : NULL;
    if (row != NULL) {
        note_origin(loader, row, origin);
        return option_assign_node(row, loader->mem, node, origin, loader->target, loader->report);
    }
    if (size >= NAME_BYTES || !is_section(loader->table, name)) {
        option_refuse_unknown(loader->table, loader->report, origin, size < NAME_BYTES ? name : node->name);
        return AIC_OK;
    }
    if (node->kind == OPTION_SCALAR && node->text[0] == '\0' && !node->quoted)
        return AIC_OK; /* `memory:` with nothing below */
    if (node->kind != OPTION_MAP) {
        refuse_section(loader, origin, name, node->kind == OPTION_LIST ? "a list" : "a single value");
        return AIC_OK;
    }
    for (const struct option_node *child = node->first; child != NULL; child = child->next) {
        TRY(apply_member(loader, child, name));
    }
    return AIC_OK;
}

static aic_status apply_tree(struct loader *loader, const struct option_node *root)
{
    if (root == NULL) return AIC_OK;
    if (root->kind == OPTION_SCALAR && root->text[0] == '\0' && !root->quoted) return AIC_OK;
    if (root->kind != OPTION_MAP) {
        struct option_origin origin = {OPTION_FILE, loader->input->file, root->line};
        option_refuse(loader->report, origin, NULL, "no map; accepted: `name: value` lines");
        return AIC_OK;
    }
    for (const struct option_node *child = root->first; child != NULL; child = child->next) {
        TRY(apply_member(loader, child, ""));
    }
    return AIC_OK;
}

/* -------------------------------------------------------------------------------------------------- environment -- */

void option_write_variable(const struct option_table *table, const struct option_row *row, struct buf *out)
{
    buf_append_text(out, table->prefix);
    for (const char *at = row->name; *at != '\0'; at++) {
        buf_append_byte(out, (char)(*at == '.' ? '_' : *at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at));
    }
}

/* Is the variable's name, without the prefix, that of the row? */
static bool variable_matches(const struct option_row *row, const char *name, size_t size)
{
    if (strlen(row->name) != size) return false;
    for (size_t i = 0; i < size; i++) {
        char want = row->name[i];
        if (want == '.') want = '_';
        else if (want >= 'a' && want <= 'z') want = (char)(want - 'a' + 'A');
        if (name[i] != want) return false;
    }
    return true;
}

static bool is_foreign(const struct option_table *table, const char *variable, size_t size)
{
    for (const char *const *known = table->known_foreign; known != NULL && *known != NULL; known++) {
        if (strlen(*known) == size && memcmp(*known, variable, size) == 0) return true;
    }
    return false;
}

/* A variable that nobody knows is a warning, not an error: Kubernetes sets AICACHE_PORT and its like for a service of
 * that name. */
static void warn_variable(struct loader *loader, const char *variable, size_t size)
{
    char name[NAME_BYTES], quoted[OPTION_QUOTE_SIZE];
    snprintf(name, sizeof name, "%.*s", (int)(size < NAME_BYTES ? size : NAME_BYTES - 1), variable);
    option_warn(loader->report, (struct option_origin){OPTION_ENVIRONMENT, option_quote(quoted, name), 0}, NULL,
                "no option has this name; it is ignored");
}

static aic_status apply_variable(struct loader *loader, const char *variable)
{
    const struct option_table *table = loader->table;
    size_t prefix = strlen(table->prefix);
    const char *equals = strchr(variable, '=');
    if (equals == NULL || strncmp(variable, table->prefix, prefix) != 0) return AIC_OK;
    size_t size = (size_t)(equals - variable);
    for (size_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        if (!variable_matches(row, variable + prefix, size - prefix)) continue;
        struct option_origin origin = {OPTION_ENVIRONMENT, variable, 0};
        note_origin(loader, row, origin);
        return option_assign_text(row, loader->mem, equals + 1, origin, loader->target, loader->report);
    }
    if (!is_foreign(table, variable, size)) warn_variable(loader, variable, size);
    return AIC_OK;
}

static aic_status apply_environment(struct loader *loader)
{
    for (char *const *at = loader->input->environment; at != NULL && *at != NULL; at++) {
        TRY(apply_variable(loader, *at));
    }
    return AIC_OK;
}

/* -------------------------------------------------------------------------------------------------------- flags -- */

static aic_status apply_flag(struct loader *loader, size_t index)
{
    const struct option_flag *flag = &loader->input->flags[index];
    CHECK(flag->row < loader->table->row_count && flag->value != NULL);
    const struct option_row *row = &loader->table->rows[flag->row];
    struct option_origin origin = {OPTION_FLAG, flag->given, 0};
    note_origin(loader, row, origin);
    if (row->type != OPTION_TEXT_LIST) {
        return option_assign_text(row, loader->mem, flag->value, origin, loader->target, loader->report);
    }
    bool first = true; /* of a list, the first flag replaces what came before, further ones add */
    for (size_t i = 0; i < index; i++) first = first && loader->input->flags[i].row != flag->row;
    if (first) option_release_row(row, loader->mem, loader->target);
    struct option_texts *texts = (struct option_texts *)(void *)((char *)loader->target + row->offset);
    return option_texts_add(loader->mem, texts, flag->value, strlen(flag->value));
}

static aic_status apply_flags(struct loader *loader)
{
    for (size_t i = 0; i < loader->input->flag_count; i++) {
        if (loader->input->flags[i].row != OPTION_ACTION) TRY(apply_flag(loader, i));
    }
    return AIC_OK;
}

/* --------------------------------------------------------------------------------------------------------- load -- */

/* The sources, each over the one before, and the preset below all of them. */
static aic_status apply_sources(struct loader *loader, const struct option_node *root, unsigned preset)
{
    TRY(apply_defaults(loader));
    if (preset > 0) TRY(apply_preset(loader, preset));
    TRY(apply_tree(loader, root));
    TRY(apply_environment(loader));
    return apply_flags(loader);
}

/* Which preset there is, is known once all sources were read; what is wrong is told of the reading that counts. */
static aic_status apply_all(struct loader *loader, const struct option_node *root)
{
    struct option_report quiet, *report = loader->report;
    const struct option_row *row = option_find(loader->table, "preset");
    if (row == NULL) return apply_sources(loader, root, 0);
    option_report_init(&quiet, loader->mem);
    loader->report = &quiet;
    aic_status status = apply_sources(loader, root, 0);
    loader->report = report;
    option_report_fini(&quiet);
    unsigned preset = *(unsigned *)((char *)loader->target + row->offset);
    CHECK(preset <= loader->table->preset_count);
    option_release(loader->table, loader->mem, loader->target);
    return status == AIC_OK ? apply_sources(loader, root, preset) : status;
}

aic_status option_gather(const struct option_table *table, struct mem *mem, const struct option_input *input,
                         void *target, struct option_origin *origins, struct option_report *report)
{
    CHECK(input->text.data == NULL || input->file != NULL); /* a text has a name */
    struct loader loader = {table, mem, input, target, origins, report};
    struct option_node *root;
    memset(target, 0, table->target_bytes);
    aic_status status = read_tree(&loader, &root);
    if (status == AIC_OK) status = apply_all(&loader, root);
    option_node_release(mem, &root);
    if (status == AIC_OK) status = buf_status(&report->text);
    if (status != AIC_OK) option_release(table, mem, target);
    return status;
}

void option_release(const struct option_table *table, struct mem *mem, void *target)
{
    for (size_t i = 0; i < table->row_count; i++) option_release_row(&table->rows[i], mem, target);
    memset(target, 0, table->target_bytes);
}
