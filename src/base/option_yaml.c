/*
 * option_yaml.c - a YAML text as a small tree, from libyaml's events.
 *
 * The tree keeps what messages need, lines, and leaves out what a configuration has no use for: anchors, aliases and
 * tags are refused (a text of a few lines with aliases can stand for gigabytes), so are several documents, member names
 * that are no plain text, and repeated names. Text is at most 1 MiB, nesting at most 16. The builder keeps a stack of
 * open containers instead of recursing.
 */
#include "base/option_impl.h"

#include "base/check.h"

#include <string.h>
#include <yaml.h>

#define YAML_MAX_BYTES (1u << 20)
#define YAML_MAX_DEPTH 16
#define YAML_MAX_MEMBERS 10000 /* of one map: finding repeated names compares each with each */

struct builder {
    struct mem *mem;
    struct option_report *report;
    struct option_origin origin;
    struct option_node *root;
    struct option_node *open[YAML_MAX_DEPTH];
    struct option_node *last[YAML_MAX_DEPTH]; /* the last child of each open container */
    size_t depth;
    char *name;                  /* owned; a member's name that waits for its value */
    bool repeated;               /* that name stands in its map already */
    struct option_node *dropped; /* owned; the values of such names */
    unsigned documents;
    bool refused;
};

static aic_status refuse(struct builder *builder, size_t line, const char *what)
{
    struct option_origin origin = builder->origin;
    origin.line = (unsigned)line + 1;
    option_refuse(builder->report, origin, NULL, "%s", what);
    builder->refused = true;
    return AIC_INVALID;
}

static void release_flat(struct mem *mem, struct option_node *node)
{
    mem_free_string(mem, MEM_CONFIG, node->name);
    mem_free_string(mem, MEM_CONFIG, node->text);
    mem_free(mem, MEM_CONFIG, node, sizeof *node);
}

/* Depth is bounded, but a list may be long: children move to the front of the list of what is to be released. */
void option_node_release(struct mem *mem, struct option_node **node)
{
    struct option_node *waiting = *node;
    *node = NULL;
    while (waiting != NULL) {
        struct option_node *current = waiting;
        waiting = current->next;
        struct option_node *child = current->first;
        if (child != NULL) {
            struct option_node *end = child;
            while (end->next != NULL) end = end->next;
            end->next = waiting;
            waiting = child;
        }
        release_flat(mem, current);
    }
}

static bool in_map(const struct builder *builder)
{
    return builder->depth > 0 && builder->open[builder->depth - 1]->kind == OPTION_MAP;
}

/* Hangs a node below the open container; takes the waiting name. */
static void attach(struct builder *builder, struct option_node *node)
{
    node->name = builder->name;
    builder->name = NULL;
    if (builder->repeated) {
        builder->repeated = false;
        node->next = builder->dropped;
        builder->dropped = node;
        return;
    }
    if (builder->depth == 0) {
        CHECK(builder->root == NULL); /* a second document was refused before its first node */
        builder->root = node;
        return;
    }
    struct option_node *parent = builder->open[builder->depth - 1];
    struct option_node **last = &builder->last[builder->depth - 1];
    if (*last == NULL) parent->first = node;
    else (*last)->next = node;
    *last = node;
}

static aic_status add_node(struct builder *builder, enum option_node_kind kind, const yaml_event_t *event,
                           struct option_node **out)
{
    struct option_node *node = mem_zalloc(builder->mem, MEM_CONFIG, sizeof *node);
    if (node == NULL) return AIC_NO_MEMORY;
    node->kind = kind;
    node->line = (unsigned)event->start_mark.line + 1;
    attach(builder, node);
    *out = node;
    return AIC_OK;
}

static aic_status take_name(struct builder *builder, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t size = event->data.scalar.length;
    if (size == 0 || memchr(text, '\0', size) != NULL) {
        return refuse(builder, event->start_mark.line, "a member's name is empty or holds a NUL byte");
    }
    size_t members = 0;
    for (const struct option_node *other = builder->open[builder->depth - 1]->first; other != NULL;
         other = other->next) {
        if (++members == YAML_MAX_MEMBERS) return refuse(builder, event->start_mark.line, "more than 10000 members");
        if (strcmp(other->name, text) != 0) continue;
        char quoted[OPTION_QUOTE_SIZE];
        struct option_origin origin = builder->origin;
        origin.line = (unsigned)event->start_mark.line + 1;
        option_refuse(builder->report, origin, NULL, "%s stands twice, first in line %u; accepted: once",
                      option_quote(quoted, text), other->line);
        /* Counted: the load fails in the end, and finds what else there is to find. Nobody gets the second value. */
        builder->repeated = true;
        break;
    }
    builder->name = mem_copy_string(builder->mem, MEM_CONFIG, (aic_view){text, size});
    return builder->name != NULL ? AIC_OK : AIC_NO_MEMORY;
}

static aic_status on_scalar(struct builder *builder, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t size = event->data.scalar.length;
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL) {
        return refuse(builder, event->start_mark.line, "anchors and tags are not accepted here");
    }
    if (in_map(builder) && builder->name == NULL) return take_name(builder, event);
    if (memchr(text, '\0', size) != NULL) return refuse(builder, event->start_mark.line, "a value holds a NUL byte");
    struct option_node *node;
    TRY(add_node(builder, OPTION_SCALAR, event, &node));
    node->quoted = event->data.scalar.style == YAML_SINGLE_QUOTED_SCALAR_STYLE ||
                   event->data.scalar.style == YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    node->text = mem_copy_string(builder->mem, MEM_CONFIG, (aic_view){text, size});
    return node->text != NULL ? AIC_OK : AIC_NO_MEMORY;
}

static aic_status on_open(struct builder *builder, const yaml_event_t *event, enum option_node_kind kind)
{
    bool marked = kind == OPTION_MAP
                      ? event->data.mapping_start.anchor != NULL || event->data.mapping_start.tag != NULL
                      : event->data.sequence_start.anchor != NULL || event->data.sequence_start.tag != NULL;
    if (marked) return refuse(builder, event->start_mark.line, "anchors and tags are not accepted here");
    if (in_map(builder) && builder->name == NULL) {
        return refuse(builder, event->start_mark.line, "a member's name must be plain text");
    }
    if (builder->depth == YAML_MAX_DEPTH)
        return refuse(builder, event->start_mark.line, "nested too deeply; accepted: 16 levels");
    struct option_node *node;
    TRY(add_node(builder, kind, event, &node));
    builder->last[builder->depth] = NULL;
    builder->open[builder->depth++] = node;
    return AIC_OK;
}

static aic_status on_event(struct builder *builder, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT: return on_scalar(builder, event);
    case YAML_MAPPING_START_EVENT: return on_open(builder, event, OPTION_MAP);
    case YAML_SEQUENCE_START_EVENT: return on_open(builder, event, OPTION_LIST);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        CHECK(builder->depth > 0 && builder->name == NULL);
        builder->depth--;
        return AIC_OK;
    case YAML_ALIAS_EVENT: return refuse(builder, event->start_mark.line, "aliases are not accepted here");
    case YAML_DOCUMENT_START_EVENT:
        if (++builder->documents > 1)
            return refuse(builder, event->start_mark.line, "a second document begins; accepted: one");
        return AIC_OK;
    default: return AIC_OK;
    }
}

/* From 0. Of bytes that are no text libyaml knows the place, but no line. What is open at the end begins elsewhere: at
 * what libyaml was about, or, where that would have been more, in the innermost map or list. */
static size_t line_of_problem(const struct builder *builder, const yaml_parser_t *parser, aic_view text)
{
    size_t line = 0, characters = 0, end = parser->problem_offset < text.size ? parser->problem_offset : text.size;
    if (parser->error == YAML_READER_ERROR) {
        for (size_t i = 0; i < end; i++) line += text.data[i] == '\n';
        return line;
    }
    for (size_t i = 0; i < text.size; i++) characters += ((unsigned char)text.data[i] & 0xc0) != 0x80; /* marks do so */
    if (parser->problem_mark.index < characters) return parser->problem_mark.line;
    if (parser->context != NULL && parser->context_mark.index < characters) return parser->context_mark.line;
    return builder->depth > 0 ? builder->open[builder->depth - 1]->line - 1 : parser->problem_mark.line;
}

static aic_status next_event(struct builder *builder, yaml_parser_t *parser, aic_view text, bool *more)
{
    yaml_event_t event;
    if (yaml_parser_parse(parser, &event) == 0) {
        if (parser->error == YAML_MEMORY_ERROR) return AIC_NO_MEMORY;
        char what[192];
        size_t line = line_of_problem(builder, parser, text);
        int size = snprintf(what, sizeof what, "not YAML: %s",
                            parser->problem != NULL ? parser->problem : "it cannot be read");
        if (parser->context != NULL && parser->context_mark.line < line)
            snprintf(what + size, sizeof what - (size_t)size, " %s that begins in line %zu", parser->context,
                     parser->context_mark.line + 1);
        return refuse(builder, line, what);
    }
    *more = event.type != YAML_STREAM_END_EVENT;
    aic_status status = on_event(builder, &event);
    yaml_event_delete(&event);
    return status;
}

aic_status option_yaml_read(struct mem *mem, const char *name, aic_view text, struct option_node **out,
                            struct option_report *report)
{
    struct builder builder = {.mem = mem, .report = report, .origin = {OPTION_FILE, name, 0}};
    if (text.size > YAML_MAX_BYTES) {
        option_refuse(report, builder.origin, NULL, "it has %zu bytes; accepted: at most 1M", text.size);
        return AIC_INVALID;
    }
    yaml_parser_t parser;
    if (yaml_parser_initialize(&parser) == 0) return AIC_NO_MEMORY;
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.data != NULL ? text.data : ""), text.size);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    aic_status status = AIC_OK;
    bool more = true;
    while (status == AIC_OK && more) status = next_event(&builder, &parser, text, &more);
    CHECK(status != AIC_OK || builder.depth == 0);
    yaml_parser_delete(&parser);
    mem_free_string(mem, MEM_CONFIG, builder.name);
    option_node_release(mem, &builder.dropped);
    if (status == AIC_OK) *out = builder.root;
    else option_node_release(mem, &builder.root);
    return status;
}
