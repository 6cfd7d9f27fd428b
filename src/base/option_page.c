/*
 * option_page.c - the pages that are made from the table: help, manual, reference, the settings in force.
 *
 * Because they come from the rows that the loader itself uses, they cannot name an option that does not exist, nor a
 * default that is not so.
 */
#include "base/option_impl.h"

#include "base/url.h"
#include "base/utf8.h"

#include <string.h>

#define HELP_INDENT 8
#define HELP_COLUMNS 97

void option_write_wrapped(const char *text, size_t column, size_t from, size_t columns, struct buf *out)
{
    bool first = true;
    for (const char *at = text; *at != '\0'; at += strspn(at, " "), first = false) {
        size_t word = strcspn(at, " ");
        if (!first && column + 1 + word > columns) {
            buf_printf(out, "\n%*s", (int)from, "");
            column = from;
        } else if (!first) {
            buf_append_byte(out, ' ');
            column++;
        }
        buf_append(out, at, word);
        column += word;
        at += word;
    }
    buf_append_byte(out, '\n');
}

static void write_indented(const char *text, struct buf *out)
{
    buf_printf(out, "%*s", HELP_INDENT, "");
    option_write_wrapped(text, HELP_INDENT, HELP_INDENT, HELP_COLUMNS, out);
}

static const char *value_name(const struct option_row *row)
{
    switch (row->type) {
    case OPTION_BOOL: return "BOOL";
    case OPTION_U64:
    case OPTION_HOURS: return "NUMBER";
    case OPTION_SIZE: return "SIZE";
    case OPTION_MS:
    case OPTION_SECONDS: return "DURATION";
    case OPTION_ENUM: return "NAME";
    case OPTION_TABLE: return "YAML";
    default: return "TEXT";
    }
}

static void write_fallback(const struct option_row *row, struct buf *out)
{
    buf_append_text(out, row->fallback[0] != '\0'                              ? row->fallback
                         : row->type == OPTION_TEXT || row->type == OPTION_URL ? "none"
                                                                               : "empty");
}

void option_write_help(const struct option_table *table, struct buf *out)
{
    for (size_t i = 0; i < table->action_count; i++) {
        const struct option_action *action = &table->actions[i];
        buf_printf(out, "  --%s%s%s\n", action->name, action->value != NULL ? " " : "",
                   action->value != NULL ? action->value : "");
        write_indented(action->help, out);
    }
    buf_append_text(out, "\n");
    for (size_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        buf_append_text(out, "  ");
        option_write_flag(row, out);
        buf_printf(out, " %s\n", value_name(row));
        write_indented(row->help, out);
        buf_append_text(out, "        (");
        option_write_accepted(row, out);
        buf_append_text(out, "; default ");
        write_fallback(row, out);
        buf_append_text(out, ")\n");
    }
}

void option_write_roff_text(const char *text, struct buf *out)
{
    bool bold = false;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '`') buf_append_text(out, (bold = !bold) ? "\\fB" : "\\fR");
        else if (*at == '\\') buf_append_text(out, "\\e");
        else if (*at == '-') buf_append_text(out, "\\-");
        else if ((*at == '.' || *at == '\'') && (at == text || at[-1] == '\n')) buf_printf(out, "\\&%c", *at);
        else buf_append_byte(out, *at);
    }
}

static void write_roff_row(const struct option_table *table, const struct option_row *row, struct buf *out)
{
    struct buf text;
    buf_init(&text, out->mem, out->owner);
    option_write_flag(row, &text);
    buf_append_byte(&text, '\0');
    buf_append_text(out, ".TP\n.B ");
    option_write_roff_text(text.data != NULL && !text.failed ? text.data : "", out);
    buf_printf(out, " \\fI%s\\fR\n", value_name(row));
    option_write_roff_text(row->help, out);
    if (row->detail != NULL) {
        buf_append_byte(out, ' ');
        option_write_roff_text(row->detail, out);
    }
    buf_append_text(out, "\n.br\nIn the file ");
    buf_printf(out, "\\fB%s\\fR, in the environment \\fB", row->name);
    option_write_variable(table, row, out);
    buf_append_text(out, "\\fR. Accepts ");
    buf_clear(&text);
    option_write_accepted(row, &text);
    buf_append_text(&text, "; default ");
    write_fallback(row, &text);
    buf_append_text(&text, row->live ? "; SIGHUP changes it live." : "; needs a restart.");
    buf_append_byte(&text, '\0');
    option_write_roff_text(text.data != NULL && !text.failed ? text.data : "", out);
    buf_append_byte(out, '\n');
    out->failed = out->failed || text.failed;
    buf_fini(&text);
}

void option_write_roff(const struct option_table *table, struct buf *out)
{
    for (size_t i = 0; i < table->action_count; i++) {
        const struct option_action *action = &table->actions[i];
        buf_append_text(out, ".TP\n.B \\-\\-");
        option_write_roff_text(action->name, out);
        if (action->value != NULL) buf_printf(out, " \\fI%s\\fR", action->value);
        buf_append_byte(out, '\n');
        option_write_roff_text(action->help, out);
        buf_append_byte(out, '\n');
    }
    for (size_t i = 0; i < table->row_count; i++) write_roff_row(table, &table->rows[i], out);
}

static void write_markdown_section(const struct option_row *row, const char *previous, struct buf *out)
{
    const char *dot = strchr(row->name, '.');
    size_t size = dot != NULL ? (size_t)(dot - row->name) : 0;
    const char *before = previous != NULL ? strchr(previous, '.') : NULL;
    size_t before_size = before != NULL ? (size_t)(before - previous) : 0;
    if (previous != NULL && size == before_size && strncmp(row->name, previous, size) == 0) return;
    if (size > 0) buf_printf(out, "\n## %.*s\n", (int)size, row->name);
    else buf_printf(out, "\n## %s\n", previous == NULL ? "General" : "Further");
}

void option_write_markdown(const struct option_table *table, struct buf *out)
{
    const char *previous = NULL;
    for (size_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        write_markdown_section(row, previous, out);
        previous = row->name;
        buf_printf(out, "\n### `%s`\n\n%s", row->name, row->help);
        if (row->detail != NULL) buf_printf(out, " %s", row->detail);
        buf_append_text(out, "\n\n| accepts | default | environment | flag | SIGHUP |\n|---|---|---|---|---|\n| ");
        option_write_accepted(row, out);
        buf_append_text(out, " | `");
        write_fallback(row, out);
        buf_append_text(out, "` | `");
        option_write_variable(table, row, out);
        buf_append_text(out, "` | `");
        option_write_flag(row, out);
        buf_printf(out, "` | %s |\n", row->live ? "live" : "restart");
    }
}

/* What utf8_shown() leaves out includes all that YAML takes for a line break or leaves out. */
void option_write_quoted(const char *text, struct buf *out)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + strlen(text);
    buf_append_byte(out, '"');
    while (at < end) {
        size_t size = utf8_sequence(at, end);
        uint32_t point = size > 0 ? utf8_decode(at, size) : *at;
        if (utf8_shown(at, end) == 0) buf_printf(out, point < 0x10000 ? "\\u%04x" : "\\U%08x", point);
        else if (*at == '"' || *at == '\\') buf_printf(out, "\\%c", *at);
        else buf_append(out, at, size);
        at += size > 0 ? size : 1;
    }
    buf_append_byte(out, '"');
}

static void write_yaml_value(const struct option_row *row, const void *target, struct buf *out)
{
    const char *field = (const char *)target + row->offset;
    if (row->type == OPTION_TEXT || row->type == OPTION_URL) {
        const char *text = *(char *const *)(const void *)field;
        char place[URL_PLACE_BYTES];
        if (text != NULL && row->type == OPTION_URL) text = url_place(text, place);
        option_write_quoted(text != NULL ? text : "", out);
    } else if (row->type == OPTION_TEXT_LIST) {
        const struct option_texts *texts = (const struct option_texts *)(const void *)field;
        buf_append_byte(out, '[');
        for (size_t i = 0; i < texts->count; i++) {
            if (i > 0) buf_append_text(out, ", ");
            option_write_quoted(texts->items[i], out);
        }
        buf_append_byte(out, ']');
    } else {
        option_write(row, target, out);
    }
}

void option_write_settings(const struct option_table *table, const void *target, const struct option_origin *origins,
                           struct buf *out)
{
    for (size_t i = 0; i < table->row_count; i++) {
        const struct option_row *row = &table->rows[i];
        buf_printf(out, "%s: ", row->name);
        write_yaml_value(row, target, out);
        buf_append_text(out, "  # ");
        if (origins[i].place == OPTION_ENVIRONMENT) option_write_variable(table, row, out);
        else option_write_origin(origins[i], out);
        buf_append_byte(out, '\n');
    }
}
