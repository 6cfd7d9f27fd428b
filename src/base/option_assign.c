/*
 * option_assign.c - one value into its place in the target, out of it as text, and its release.
 *
 * The same rules for every source: a scalar of a file and a text of the environment or a flag pass through
 * assign_scalar(). Tables of their own shape come as YAML: in the file as a subtree, elsewhere as a YAML text in one
 * line.
 */
#include "base/option_impl.h"

#include "base/check.h"
#include "base/url.h"

#include <stdio.h>
#include <string.h>

static void *field_of(const struct option_row *row, void *target)
{
    return (char *)target + row->offset;
}

static const void *const_field_of(const struct option_row *row, const void *target)
{
    return (const char *)target + row->offset;
}

void option_release_row(const struct option_row *row, struct mem *mem, void *target)
{
    void *field = field_of(row, target);
    if (row->type == OPTION_TEXT || row->type == OPTION_URL) {
        char **text = field;
        mem_free_string(mem, MEM_CONFIG, *text);
        *text = NULL;
    } else if (row->type == OPTION_TEXT_LIST) {
        struct option_texts *texts = field;
        for (size_t i = 0; i < texts->count; i++) mem_free_string(mem, MEM_CONFIG, texts->items[i]);
        mem_free(mem, MEM_CONFIG, texts->items, texts->count * sizeof *texts->items);
        *texts = (struct option_texts){0};
    } else if (row->type == OPTION_TABLE) {
        row->shape->release(mem, field);
    }
}

aic_status option_texts_add(struct mem *mem, struct option_texts *texts, const char *text, size_t size)
{
    char *copy = mem_copy_string(mem, MEM_CONFIG, (aic_view){text, size});
    if (copy == NULL) return AIC_NO_MEMORY;
    size_t bytes = texts->count * sizeof *texts->items;
    char **grown = mem_realloc(mem, MEM_CONFIG, texts->items, bytes, bytes + sizeof *texts->items);
    if (grown == NULL) {
        mem_free_string(mem, MEM_CONFIG, copy);
        return AIC_NO_MEMORY;
    }
    grown[texts->count++] = copy;
    texts->items = grown;
    return AIC_OK;
}

/* Tells what came, why that is refused (may be empty) and what is accepted. */
static aic_status refuse_because(const struct option_row *row, struct mem *mem, const char *came, aic_view why,
                                 struct option_origin origin, struct option_report *report)
{
    struct buf accepted;
    buf_init(&accepted, mem, MEM_CONFIG);
    option_write_accepted(row, &accepted);
    aic_status status = buf_status(&accepted);
    if (status == AIC_OK) {
        option_refuse(report, origin, row->name, "%s is not accepted%s%.*s; accepted: %.*s", came,
                      why.size > 0 ? ", " : "", (int)why.size, why.size > 0 ? why.data : "", (int)accepted.size,
                      accepted.data);
    }
    buf_fini(&accepted);
    return status;
}

static aic_status refuse_value(const struct option_row *row, struct mem *mem, const char *came,
                               struct option_origin origin, struct option_report *report)
{
    return refuse_because(row, mem, came, (aic_view){NULL, 0}, origin, report);
}

static bool in_range(const struct option_row *row, uint64_t number)
{
    return number >= row->min && (row->max == 0 || number <= row->max);
}

static aic_status assign_text(const struct option_row *row, struct mem *mem, const char *text, void *target)
{
    char *copy = NULL;
    if (text[0] != '\0') {
        copy = mem_copy_string(mem, MEM_CONFIG, aic_view_of(text));
        if (copy == NULL) return AIC_NO_MEMORY;
    }
    option_release_row(row, mem, target);
    *(char **)field_of(row, target) = copy;
    return AIC_OK;
}

static bool read_scalar(const struct option_row *row, const char *text, void *field)
{
    uint64_t number;
    switch (row->type) {
    case OPTION_BOOL: return option_bool(text, field);
    case OPTION_ENUM: return option_choice(row->choices, text, field);
    case OPTION_U64:
    case OPTION_SIZE:
    case OPTION_MS:
    case OPTION_SECONDS:
    case OPTION_HOURS:
        if (option_number(row->type, text, &number) != AIC_OK || !in_range(row, number)) return false;
        CHECK(row->bytes == sizeof number);
        *(uint64_t *)field = number;
        return true;
    default: return false;
    }
}

static aic_status assign_scalar(const struct option_row *row, struct mem *mem, const char *text,
                                struct option_origin origin, void *target, struct option_report *report)
{
    if (row->type == OPTION_TEXT || row->type == OPTION_URL) return assign_text(row, mem, text, target);
    if (read_scalar(row, text, field_of(row, target))) return AIC_OK;
    char quoted[OPTION_QUOTE_SIZE];
    return refuse_value(row, mem, option_quote(quoted, text), origin, report);
}

/* "a, b" -> two texts; empty pieces are left out. */
static aic_status assign_pieces(const struct option_row *row, struct mem *mem, const char *text, void *target)
{
    option_release_row(row, mem, target);
    CHECK(row->bytes == sizeof(struct option_texts));
    struct option_texts *texts = field_of(row, target);
    for (const char *at = text; *at != '\0';) {
        at += strspn(at, ", \t");
        size_t size = strcspn(at, ",");
        size_t kept = size;
        while (kept > 0 && (at[kept - 1] == ' ' || at[kept - 1] == '\t')) kept--;
        if (kept > 0) TRY(option_texts_add(mem, texts, at, kept));
        at += size;
    }
    return AIC_OK;
}

static aic_status assign_shape(const struct option_row *row, struct mem *mem, const struct option_node *node,
                               struct option_origin origin, void *target, struct option_report *report)
{
    option_release_row(row, mem, target);
    void *field = field_of(row, target);
    aic_status status = row->shape->read(mem, node, origin, row->name, field, report);
    if (status != AIC_OK) row->shape->release(mem, field);
    return status;
}

/* "table:1: 'a' stands twice; accepted: once" -> "'a' stands twice". */
static aic_view bare_finding(const struct option_report *findings)
{
    aic_view text = buf_view(&findings->text);
    const char *start = text.size > 0 ? memmem(text.data, text.size, ": ", 2) : NULL;
    if (start == NULL) return (aic_view){NULL, 0};
    size_t rest = (size_t)(text.data + text.size - (start += 2));
    const char *end = memchr(start, '\n', rest);
    if (end != NULL) rest = (size_t)(end - start);
    end = memmem(start, rest, "; accepted: ", 12);
    return (aic_view){start, end != NULL ? (size_t)(end - start) : rest};
}

/* A table's YAML text in the environment or a flag. Lines of the text mean nothing to the user: its first finding is
 * told again, from the whole variable or flag. */
static aic_status assign_yaml_text(const struct option_row *row, struct mem *mem, const char *text,
                                   struct option_origin origin, void *target, struct option_report *report)
{
    struct option_node *node = NULL;
    struct option_report inner;
    option_report_init(&inner, mem);
    aic_status status = option_yaml_read(mem, row->name, aic_view_of(text), &node, &inner);
    if (status == AIC_INVALID || (status == AIC_OK && inner.errors > 0)) {
        char quoted[OPTION_QUOTE_SIZE];
        status = buf_status(&inner.text);
        if (status == AIC_OK)
            status = refuse_because(row, mem, option_quote(quoted, text), bare_finding(&inner), origin, report);
    } else if (status == AIC_OK && node == NULL) {
        option_release_row(row, mem, target);
    } else if (status == AIC_OK) {
        status = assign_shape(row, mem, node, origin, target, report);
    }
    option_report_fini(&inner);
    option_node_release(mem, &node);
    return status;
}

aic_status option_assign_text(const struct option_row *row, struct mem *mem, const char *text,
                              struct option_origin origin, void *target, struct option_report *report)
{
    if (row->type == OPTION_TEXT_LIST) return assign_pieces(row, mem, text, target);
    if (row->type == OPTION_TABLE) return assign_yaml_text(row, mem, text, origin, target, report);
    return assign_scalar(row, mem, text, origin, target, report);
}

static aic_status assign_list(const struct option_row *row, struct mem *mem, const struct option_node *node,
                              struct option_origin origin, void *target, struct option_report *report)
{
    option_release_row(row, mem, target);
    struct option_texts *texts = field_of(row, target);
    for (const struct option_node *item = node->first; item != NULL; item = item->next) {
        origin.line = item->line;
        if (item->kind != OPTION_SCALAR || item->text[0] == '\0') {
            TRY(refuse_value(row, mem,
                             item->kind == OPTION_LIST  ? "a list within the list"
                             : item->kind == OPTION_MAP ? "a map within the list"
                                                        : "an empty text",
                             origin, report));
        } else {
            TRY(option_texts_add(mem, texts, item->text, strlen(item->text)));
        }
    }
    return AIC_OK;
}

static bool is_nothing(const struct option_node *node)
{
    return node->kind == OPTION_SCALAR && !node->quoted &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 || strcmp(node->text, "null") == 0);
}

aic_status option_assign_node(const struct option_row *row, struct mem *mem, const struct option_node *node,
                              struct option_origin origin, void *target, struct option_report *report)
{
    if (is_nothing(node)) return refuse_value(row, mem, "no value", origin, report);
    if (row->type == OPTION_TABLE) return assign_shape(row, mem, node, origin, target, report);
    if (row->type == OPTION_TEXT_LIST && node->kind == OPTION_LIST)
        return assign_list(row, mem, node, origin, target, report);
    if (node->kind == OPTION_MAP) return refuse_value(row, mem, "a map", origin, report);
    if (node->kind == OPTION_LIST) return refuse_value(row, mem, "a list", origin, report);
    if (row->type != OPTION_TEXT_LIST) return assign_scalar(row, mem, node->text, origin, target, report);
    option_release_row(row, mem, target);
    return option_texts_add(mem, field_of(row, target), node->text, strlen(node->text));
}

void option_swap(const struct option_row *row, void *a, void *b)
{
    char *left = field_of(row, a), *right = field_of(row, b);
    for (size_t i = 0; i < row->bytes; i++) {
        char byte = left[i];
        left[i] = right[i];
        right[i] = byte;
    }
}

void option_write(const struct option_row *row, const void *target, struct buf *out)
{
    const void *field = const_field_of(row, target);
    switch (row->type) {
    case OPTION_BOOL: buf_append_text(out, *(const bool *)field ? "true" : "false"); return;
    case OPTION_ENUM: buf_append_view(out, option_choice_name(row->choices, *(const unsigned *)field)); return;
    case OPTION_U64:
    case OPTION_SIZE:
    case OPTION_MS:
    case OPTION_SECONDS:
    case OPTION_HOURS: option_write_number(row->type, *(const uint64_t *)field, out); return;
    case OPTION_TEXT:
    case OPTION_URL: {
        const char *text = *(char *const *)field;
        buf_append_text(out, text != NULL ? text : "");
        return;
    }
    case OPTION_TEXT_LIST: {
        const struct option_texts *texts = field;
        for (size_t i = 0; i < texts->count; i++) buf_printf(out, "%s%s", i > 0 ? ", " : "", texts->items[i]);
        return;
    }
    case OPTION_TABLE: row->shape->write(field, out); return;
    }
}

void option_write_shown(const struct option_row *row, const void *target, struct buf *out)
{
    char place[URL_PLACE_BYTES];
    const char *url = row->type == OPTION_URL ? *(char *const *)const_field_of(row, target) : NULL;
    if (url != NULL) buf_append_text(out, url_place(url, place));
    else option_write(row, target, out);
}
