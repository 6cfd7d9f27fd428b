/*
 * router.c - see router.h. Nodes lie in one array and name their children by index; there are a few dozen of them, so a
 * scan over the children of a node beats hashing.
 */
#include "serve/http/router.h"

#include "base/check.h"
#include "base/status.h"

#include <string.h>

enum node_kind { NODE_LITERAL, NODE_PARAMETER, NODE_REST };

struct node {
    aic_view text; /* of a literal: its segment, borrowed from the table */
    enum node_kind kind;
    uint16_t sibling; /* the next child of the same parent, 0: none (the root is nobody's child) */
    uint16_t child;   /* the first child, 0: none */
    bool bound;       /* at least one row ends here */
    const struct http_route *by_verb[HTTP_VERB_COUNT];
};

struct router {
    struct mem *mem;
    size_t bytes;
    uint16_t count;
    struct node nodes[];
};

/* A path cut at its slashes: "/a/b" has two segments, "/" one empty one. */
struct path {
    bool escaped; /* somewhere in it is a percent sign */
    unsigned count;
    aic_view segments[ROUTER_MAX_SEGMENTS];
};

/* The last segment keeps the rest of a path that has too many. False only for a path without a leading slash. */
static bool path_split(aic_view text, struct path *out)
{
    out->count = 0;
    if (text.size == 0 || text.data[0] != '/') return false;
    out->escaped = memchr(text.data, '%', text.size) != NULL;
    const char *at = text.data + 1;
    const char *stop = text.data + text.size;
    for (;;) {
        const char *slash = memchr(at, '/', (size_t)(stop - at));
        bool last = slash == NULL || out->count == ROUTER_MAX_SEGMENTS - 1;
        const char *end = last ? stop : slash;
        out->segments[out->count++] = (aic_view){at, (size_t)(end - at)};
        if (last) return true;
        at = slash + 1;
    }
}

static bool same(aic_view a, aic_view b)
{
    return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

static bool segment_is(aic_view segment, aic_view literal, bool escaped)
{
    if (!escaped) return same(segment, literal);
    char plain[128];
    if (segment.size > sizeof plain) return false;
    size_t size = head_decode(segment, false, plain);
    return size != SIZE_MAX && same((aic_view){plain, size}, literal);
}

/* -------------------------------------------------------------------------------------------------- compiling -- */

static bool kind_of(aic_view segment, enum node_kind *out)
{
    bool braces = segment.size > 0 && segment.data[0] == '{';
    if (!braces) {
        *out = NODE_LITERAL;
        return memchr(segment.data, '{', segment.size) == NULL && memchr(segment.data, '}', segment.size) == NULL;
    }
    if (segment.size < 3 || segment.data[segment.size - 1] != '}') return false;
    *out = segment.data[segment.size - 2] == '*' ? NODE_REST : NODE_PARAMETER;
    return true;
}

static uint16_t child_find(struct router *router, uint16_t parent, enum node_kind kind, aic_view text)
{
    for (uint16_t at = router->nodes[parent].child; at != 0; at = router->nodes[at].sibling) {
        struct node *node = &router->nodes[at];
        if (node->kind == kind && (kind != NODE_LITERAL || same(node->text, text))) return at;
    }
    return 0;
}

/* Children are kept in the order in which they are tried: literals, then a parameter, then a rest. */
static uint16_t child_add(struct router *router, uint16_t parent, enum node_kind kind, aic_view text)
{
    CHECK(router->bytes >= sizeof *router + (router->count + 1u) * sizeof *router->nodes); /* all were counted before */
    uint16_t index = router->count++;
    uint16_t *link = &router->nodes[parent].child;
    while (*link != 0 && router->nodes[*link].kind <= kind) link = &router->nodes[*link].sibling;
    router->nodes[index] = (struct node){.text = text, .kind = kind, .sibling = *link};
    *link = index;
    return index;
}

static aic_status route_add(struct router *router, const struct http_route *route, aic_error *error)
{
    struct path path;
    bool whole = path_split(aic_view_of(route->path), &path) && path.count < ROUTER_MAX_SEGMENTS &&
                 route->handler != NULL;
    uint16_t at = 0;
    unsigned parameters = 0;
    for (unsigned i = 0; whole && i < path.count; i++) {
        enum node_kind kind;
        whole = kind_of(path.segments[i], &kind) && (kind != NODE_REST || i + 1 == path.count);
        if (!whole) break;
        if (kind != NODE_LITERAL) whole = ++parameters <= ROUTER_MAX_PARAMETERS;
        uint16_t next = child_find(router, at, kind, path.segments[i]);
        at = next != 0 ? next : child_add(router, at, kind, path.segments[i]);
    }
    if (!whole) return error_set(error, AIC_INVALID, "routes", "The path %s of a route is malformed.", route->path);
    struct node *node = &router->nodes[at];
    if (node->by_verb[route->verb] != NULL)
        return error_set(error, AIC_INVALID, "routes", "The route %s %s is there twice.", http_verb_name(route->verb),
                         route->path);
    node->by_verb[route->verb] = route;
    node->bound = true;
    return AIC_OK;
}

static size_t count_nodes(const struct http_route *routes, size_t count)
{
    size_t nodes = 1;
    for (size_t i = 0; i < count; i++) {
        for (const char *at = routes[i].path; *at != '\0'; at++) nodes += *at == '/';
    }
    return nodes;
}

aic_status router_create(struct mem *mem, const struct http_route *routes, size_t count, struct router **out,
                         aic_error *error)
{
    size_t nodes = count_nodes(routes, count);
    if (nodes > UINT16_MAX) return error_set(error, AIC_INVALID, "routes", "There are too many routes.");
    size_t bytes = sizeof(struct router) + nodes * sizeof(struct node);
    struct router *router = mem_zalloc(mem, MEM_CONNECTIONS, bytes);
    if (router == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "No memory for the routes.");
    router->mem = mem;
    router->bytes = bytes;
    router->count = 1;
    for (size_t i = 0; i < count; i++) {
        aic_status status = route_add(router, &routes[i], error);
        if (status == AIC_OK) continue;
        router_destroy(&router);
        return status;
    }
    for (uint16_t i = 0; i < router->count; i++) { /* GET answers HEAD, unless a row of its own does */
        struct node *node = &router->nodes[i];
        if (node->by_verb[HTTP_VERB_HEAD] == NULL) node->by_verb[HTTP_VERB_HEAD] = node->by_verb[HTTP_VERB_GET];
    }
    *out = router;
    return AIC_OK;
}

void router_destroy(struct router **router)
{
    if (*router == NULL) return;
    mem_free((*router)->mem, MEM_CONNECTIONS, *router, (*router)->bytes);
    *router = NULL;
}

/* --------------------------------------------------------------------------------------------------- matching -- */

/* The whole rest of the path from segment `from` on, slashes included. */
static aic_view rest_of(const struct path *path, unsigned from)
{
    const aic_view *last = &path->segments[path->count - 1];
    const char *begin = path->segments[from].data;
    return (aic_view){begin, (size_t)(last->data + last->size - begin)};
}

/* Recursion is as deep as the deepest route. */
static uint16_t match_from(const struct router *router, uint16_t parent, const struct path *path, unsigned depth,
                           struct router_match *out)
{
    if (depth == path->count) return router->nodes[parent].bound ? parent : 0;
    aic_view segment = path->segments[depth];
    for (uint16_t at = router->nodes[parent].child; at != 0; at = router->nodes[at].sibling) {
        const struct node *node = &router->nodes[at];
        unsigned before = out->parameter_count;
        uint16_t found = 0;
        if (node->kind == NODE_LITERAL) {
            if (segment_is(segment, node->text, path->escaped)) found = match_from(router, at, path, depth + 1, out);
        } else if (node->kind == NODE_PARAMETER) {
            if (segment.size == 0) continue;
            CHECK(out->parameter_count < COUNT_OF(out->parameters));
            out->parameters[out->parameter_count++] = segment;
            found = match_from(router, at, path, depth + 1, out);
        } else {
            CHECK(out->parameter_count < COUNT_OF(out->parameters));
            out->parameters[out->parameter_count++] = rest_of(path, depth);
            found = at;
        }
        if (found != 0) return found;
        out->parameter_count = before;
    }
    return 0;
}

aic_status router_match(const struct router *router, aic_view path_text, struct router_match *out)
{
    struct path path;
    out->parameter_count = 0;
    if (!path_split(path_text, &path)) return AIC_NOT_FOUND;
    uint16_t found = match_from(router, 0, &path, 0, out);
    if (found == 0) return AIC_NOT_FOUND;
    out->by_verb = router->nodes[found].by_verb;
    return AIC_OK;
}

void router_allow(const struct http_route *const *by_verb, char out[ROUTER_ALLOW_BYTES])
{
    size_t size = 0;
    for (unsigned verb = 0; verb < HTTP_VERB_COUNT; verb++) {
        if (by_verb[verb] == NULL && verb != HTTP_VERB_OPTIONS) continue;
        const char *name = http_verb_name((enum http_verb)verb);
        size_t length = strlen(name);
        CHECK(size + length + 3 <= ROUTER_ALLOW_BYTES);
        if (size > 0) {
            memcpy(out + size, ", ", 2);
            size += 2;
        }
        memcpy(out + size, name, length);
        size += length;
    }
    out[size] = '\0';
}
