#include "tier/lmdb/check.h"

#include "base/check.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The format of LMDB 0.9 (data version 1), all numbers in the machine's order. The values of one key may be a sorted
 * list of values of one size: in a small page within its node, or, where they are many, in a tree of their own:
 *
 *   page   0 number u64 | 8 pad u16 | 10 flags u16 | 12 lower u16 | 14 upper u16 | 16 offsets of nodes, u16 each
 *          an overflow run has the count of its pages, u32, at 12
 *          a page of a list has the size of its values at 8; they follow from 16, one after the other
 *   node   0 low u16 | 2 high u16 | 4 flags u16 | 6 key bytes u16 | 8 key | data
 *          leaf: low and high are the data's size; branch: low, high and flags are the child's number
 *   tree   0 pad u32 | 4 flags u16 | 6 depth u16 | 8 branch, leaf, overflow pages, entries, root: u64 each
 *   meta   (behind a page's header) 0 magic u32 | 4 version u32 | 24 free tree | 72 main tree | 120 last page u64 |
 *          128 transaction u64
 */
enum {
    HEADER = 16,
    NODE = 8,
    TREE = 48,
    META_BYTES = 136,
    KIND_BRANCH = 1,
    KIND_LEAF = 2,
    KIND_OVERFLOW = 4,
    KIND_META = 8,
    KIND_LIST = 0x20,  /* of values of one size; a leaf as well */
    KIND_INNER = 0x40, /* within a node */
    KINDS = 0x6f,
    NODE_BIG = 1,
    NODE_TREE = 2,
    NODE_LIST = 4,
    TREE_LISTS = 4, /* the values of a key are a sorted list */
    MAX_DEPTH = 32,
    MAX_KEY = 511,
    MAX_TREES = 16,
    MIN_PAGE = 512,
    MAX_PAGE = 65536,
};
#define META_MAGIC 0xBEEFC0DEu
#define NO_PAGE UINT64_MAX
#define BEYOND_BYTES ((uint64_t)4 << 30)

struct tree {
    uint16_t flags, depth;
    uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct named_tree {
    char name[16];
    struct tree tree;
};

struct key {
    uint8_t bytes[MAX_KEY];
    size_t size;
    bool set;
};

enum content { OF_ROWS, OF_LISTS, OF_VALUES, OF_TREES, OF_FREE_PAGES };

struct check {
    struct mem *mem;
    int fd;
    uint64_t file_bytes, page_bytes, last_page;
    const struct lmdb_patience *patience;
    uint64_t until_ns; /* by its clock */
    uint64_t read;     /* pages */
    uint8_t *used;     /* a bit a page */
    uint8_t *pages;    /* one a level of a tree, the same again for a list's tree, one for values */
    bool values;       /* are read too */
    struct lmdb_finding *finding;
    struct named_tree trees[MAX_TREES]; /* that the main tree lists */
    size_t tree_count;

    /* Of the tree that is walked. */
    enum content content;
    struct tree counted;
    unsigned depth, first_level; /* its pages stand from there on */
    struct key last;             /* the key before; the next one is greater */
    struct key floor;            /* of the branch above; the next one is not less */
};

static uint16_t take_u16(const uint8_t *at)
{
    uint16_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static uint32_t take_u32(const uint8_t *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static uint64_t take_u64(const uint8_t *at)
{
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return number;
}

static aic_status found(struct check *check, uint64_t page, const char *what)
{
    if (check->finding->what[0] != '\0') return AIC_DAMAGED;
    snprintf(check->finding->what, sizeof check->finding->what, "%s", what);
    check->finding->page = page;
    return AIC_DAMAGED;
}

/* --------------------------------------------------------------------------------------------------------- pages -- */

static aic_status read_at(struct check *check, uint64_t offset, void *out, size_t size)
{
    size_t got;
    if (file_read(check->fd, out, size, offset, &got) != 0)
        return found(check, (offset + got) / check->page_bytes, "a page cannot be read");
    if (got == size) return AIC_OK;
    return found(check, offset / check->page_bytes, "a page lies beyond the end of the file");
}

/* Every page is used once. */
static aic_status use(struct check *check, uint64_t page)
{
    if (page < 2 || page > check->last_page) return found(check, page, "a page number is out of bounds");
    uint8_t bit = (uint8_t)(1u << (page & 7));
    if ((check->used[page >> 3] & bit) != 0) return found(check, page, "a page is used twice");
    check->used[page >> 3] |= bit;
    return AIC_OK;
}

/* Time is looked at once in so many pages. */
static bool is_late(struct check *check)
{
    return check->patience != NULL && check->read++ % 64 == 0 &&
           clock_mono_ns(check->patience->clock) > check->until_ns;
}

/* Reads a page's front and compares number and kind. */
static aic_status read_page(struct check *check, uint64_t page, uint16_t kind, uint8_t *out, size_t size)
{
    if (is_late(check)) return AIC_TIMEOUT;
    TRY(use(check, page));
    TRY(read_at(check, page * check->page_bytes, out, size));
    if (take_u64(out) != page) return found(check, page, "a page has the number of another");
    return (take_u16(out + 10) & KINDS) == kind ? AIC_OK : found(check, page, "a page is of a wrong kind");
}

static aic_status read_run(struct check *check, uint64_t page, uint64_t bytes)
{
    uint8_t header[HEADER];
    TRY(read_page(check, page, KIND_OVERFLOW, header, sizeof header));
    uint64_t count = take_u32(header + 12);
    if (count < (HEADER - 1 + bytes) / check->page_bytes + 1 || count > check->last_page)
        return found(check, page, "a large value does not fit into its pages");
    for (uint64_t i = 1; i < count; i++) TRY(use(check, page + i));
    check->counted.overflow_pages += count;
    if ((page + count) * check->page_bytes > check->file_bytes)
        return found(check, page, "a large value ends beyond the file");
    for (uint64_t i = 1; check->values && i < count; i++)
        TRY(read_at(check, (page + i) * check->page_bytes, check->pages + 2 * MAX_DEPTH * check->page_bytes,
                    check->page_bytes));
    return AIC_OK;
}

/* ---------------------------------------------------------------------------------------------------------- keys -- */

static int compare(const struct check *check, const struct key *a, const struct key *b)
{
    if (check->content == OF_FREE_PAGES) {
        uint64_t left = take_u64(a->bytes), right = take_u64(b->bytes);
        return left < right ? -1 : left > right;
    }
    int order = memcmp(a->bytes, b->bytes, a->size < b->size ? a->size : b->size);
    if (order != 0) return order;
    return a->size < b->size ? -1 : a->size > b->size;
}

static aic_status take_key(struct check *check, uint64_t page, const uint8_t *bytes, size_t size, struct key *out)
{
    bool fits = check->content == OF_FREE_PAGES ? size == sizeof(uint64_t) : size > 0 && size <= MAX_KEY;
    if (!fits) return found(check, page, "a key has a wrong size");
    memcpy(out->bytes, bytes, size);
    out->size = size;
    out->set = true;
    return check->last.set && compare(check, out, &check->last) <= 0 ? found(check, page, "keys are out of order")
                                                                     : AIC_OK;
}

/* -------------------------------------------------------------------------------------------------------- leaves -- */

static void take_tree(const uint8_t *at, struct tree *out)
{
    *out = (struct tree){.flags = take_u16(at + 4),
                         .depth = take_u16(at + 6),
                         .branch_pages = take_u64(at + 8),
                         .leaf_pages = take_u64(at + 16),
                         .overflow_pages = take_u64(at + 24),
                         .entries = take_u64(at + 32),
                         .root = take_u64(at + 40)};
}

static aic_status add_tree(struct check *check, uint64_t page, const uint8_t *data, size_t size)
{
    if (size != TREE || check->tree_count == MAX_TREES) return found(check, page, "a database is described wrongly");
    struct named_tree *named = &check->trees[check->tree_count++];
    snprintf(named->name, sizeof named->name, "%.*s", (int)check->last.size, (const char *)check->last.bytes);
    take_tree(data, &named->tree);
    return AIC_OK;
}

/* count u64 | page numbers, u64 each, the greatest first. */
static aic_status free_pages(struct check *check, uint64_t page, const uint8_t *list, size_t size)
{
    if (size < sizeof(uint64_t) || take_u64(list) > size / sizeof(uint64_t) - 1)
        return found(check, page, "a list of free pages is cut off");
    for (uint64_t i = take_u64(list); i > 0; i--) TRY(use(check, take_u64(list + i * sizeof(uint64_t))));
    return AIC_OK;
}

static aic_status free_run(struct check *check, uint64_t page, uint64_t run, size_t size)
{
    uint8_t *list = mem_alloc(check->mem, MEM_STORAGE, size);
    if (list == NULL) return AIC_NO_MEMORY;
    aic_status status = read_at(check, run * check->page_bytes + HEADER, list, size);
    if (status == AIC_OK) status = free_pages(check, page, list, size);
    mem_free(check->mem, MEM_STORAGE, list, size);
    return status;
}

static aic_status check_list(struct check *check, uint64_t page, uint16_t flags, const uint8_t *data, size_t size);

/* A node of a leaf; its key was looked at. */
static aic_status check_value(struct check *check, uint64_t page, const uint8_t *node)
{
    size_t size = take_u16(node) | (size_t)take_u16(node + 2) << 16;
    const uint8_t *data = node + NODE + take_u16(node + 6);
    uint16_t flags = take_u16(node + 4);
    if (check->content == OF_LISTS) return check_list(check, page, flags, data, size);
    if (flags != (check->content == OF_TREES ? NODE_TREE : flags & NODE_BIG))
        return found(check, page, "a value is of a wrong kind");
    if (check->content == OF_TREES) return add_tree(check, page, data, size);
    if ((flags & NODE_BIG) != 0) TRY(read_run(check, take_u64(data), size));
    if (check->content != OF_FREE_PAGES) return AIC_OK;
    return (flags & NODE_BIG) != 0 ? free_run(check, page, take_u64(data), size) : free_pages(check, page, data, size);
}

/* The next key of a leaf is greater than the last one, and not less than its branch says. */
static aic_status advance(struct check *check, uint64_t page, const uint8_t *bytes, size_t size)
{
    struct key key;
    TRY(take_key(check, page, bytes, size, &key));
    if (check->floor.set && compare(check, &key, &check->floor) < 0)
        return found(check, page, "a key is less than its branch says");
    check->floor.set = false;
    check->last = key;
    return AIC_OK;
}

static aic_status check_leaf_node(struct check *check, uint64_t page, const uint8_t *node)
{
    TRY(advance(check, page, node + NODE, take_u16(node + 6)));
    if (check->content != OF_LISTS) check->counted.entries++; /* the values of lists are counted */
    return check_value(check, page, node);
}

/* --------------------------------------------------------------------------------------------------------- trees -- */

/* Bytes of a node as it stands in its page. */
static uint64_t node_bytes(const uint8_t *node, bool is_leaf)
{
    uint64_t bytes = (uint64_t)NODE + take_u16(node + 6);
    if (!is_leaf) return bytes;
    if ((take_u16(node + 4) & NODE_BIG) != 0) return bytes + sizeof(uint64_t);
    return bytes + (take_u16(node) | (uint64_t)take_u16(node + 2) << 16);
}

/* All nodes lie within the page, and together they take no more than their part of it. */
static aic_status check_bounds(struct check *check, uint64_t page, const uint8_t *bytes, bool is_leaf, unsigned *count)
{
    uint64_t lower = take_u16(bytes + 12), upper = take_u16(bytes + 14), sum = 0;
    if (lower < HEADER || lower % 2 != 0 || lower > upper || upper > check->page_bytes)
        return found(check, page, "the bounds of a page are wrong");
    unsigned nodes = (unsigned)(lower - HEADER) / 2;
    if (nodes < (is_leaf ? 1 : 2)) return found(check, page, "a page has too few nodes");
    for (unsigned i = 0; i < nodes; i++) {
        uint64_t at = take_u16(bytes + HEADER + 2 * i);
        if (at < upper || at % 2 != 0 || at + NODE > check->page_bytes)
            return found(check, page, "a node lies outside of its page");
        uint64_t size = node_bytes(bytes + at, is_leaf);
        if (at + size > check->page_bytes) return found(check, page, "a node ends outside of its page");
        sum += size + size % 2;
    }
    if (sum > check->page_bytes - upper) return found(check, page, "nodes overlap");
    *count = nodes;
    return AIC_OK;
}

static uint64_t child_of(const uint8_t *node)
{
    return take_u16(node) | (uint64_t)take_u16(node + 2) << 16 | (uint64_t)take_u16(node + 4) << 32;
}

/* A page of a list's values: `room` bytes of it. */
static aic_status check_values(struct check *check, uint64_t page, const uint8_t *bytes, size_t room)
{
    size_t size = take_u16(bytes + 8), lower = take_u16(bytes + 12);
    size_t count = lower >= HEADER ? (lower - HEADER) / 2 : 0;
    if (lower % 2 != 0 || count == 0 || size == 0 || size > MAX_KEY || HEADER + count * size > room)
        return found(check, page, "the bounds of a list are wrong");
    for (size_t i = 0; i < count; i++) TRY(advance(check, page, bytes + HEADER + i * size, size));
    check->counted.entries += count;
    return AIC_OK;
}

/* Recursion no deeper than MAX_DEPTH, each level with a page of its own. */
static aic_status walk(struct check *check, uint64_t page, unsigned level)
{
    bool is_leaf = level + 1 == check->depth;
    uint8_t *bytes = check->pages + (check->first_level + level) * check->page_bytes;
    uint16_t leaf_kind = check->content == OF_VALUES ? KIND_LEAF | KIND_LIST : KIND_LEAF;
    unsigned count;
    TRY(read_page(check, page, is_leaf ? leaf_kind : KIND_BRANCH, bytes, check->page_bytes));
    ++*(is_leaf ? &check->counted.leaf_pages : &check->counted.branch_pages);
    if (is_leaf && check->content == OF_VALUES) return check_values(check, page, bytes, check->page_bytes);
    TRY(check_bounds(check, page, bytes, is_leaf, &count));
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *node = bytes + take_u16(bytes + HEADER + 2 * i);
        if (is_leaf) {
            TRY(check_leaf_node(check, page, node));
            continue;
        }
        /* The first child has no key of its own: that of the branch above holds. */
        if (i > 0) TRY(take_key(check, page, node + NODE, take_u16(node + 6), &check->floor));
        TRY(walk(check, child_of(node), level + 1));
    }
    return AIC_OK;
}

static aic_status check_tree(struct check *check, const struct tree *tree, enum content content)
{
    check->content = content;
    check->counted = (struct tree){0};
    check->last.set = check->floor.set = false;
    check->depth = tree->depth;
    if (tree->root == NO_PAGE) return tree->entries == 0 ? AIC_OK : found(check, 0, "a database has lost its root");
    if (tree->depth == 0 || tree->depth > MAX_DEPTH) return found(check, tree->root, "the depth of a tree is wrong");
    TRY(walk(check, tree->root, 0));
    const struct tree *counted = &check->counted;
    bool agrees = counted->branch_pages == tree->branch_pages && counted->leaf_pages == tree->leaf_pages &&
                  counted->overflow_pages == tree->overflow_pages && counted->entries == tree->entries;
    return agrees ? AIC_OK : found(check, tree->root, "a tree does not hold what is counted");
}

/* The values of one key: one, a page within the node, or a tree, whose pages are counted by itself. */
static aic_status check_list(struct check *check, uint64_t page, uint16_t flags, const uint8_t *data, size_t size)
{
    if (flags == 0) {
        check->counted.entries++;
        return size > 0 && size <= MAX_KEY ? AIC_OK : found(check, page, "a value has a wrong size");
    }
    if (flags == NODE_LIST) {
        struct key last = check->last;
        bool fits = size >= HEADER && (take_u16(data + 10) & KINDS) == (KIND_LEAF | KIND_LIST | KIND_INNER);
        check->last.set = false;
        TRY(fits ? check_values(check, page, data, size) : found(check, page, "a list is of a wrong kind"));
        check->last = last;
        return AIC_OK;
    }
    if (flags != (NODE_LIST | NODE_TREE) || size != TREE) return found(check, page, "a value is of a wrong kind");
    struct tree tree;
    take_tree(data, &tree);
    struct key last = check->last;
    struct tree counted = check->counted;
    unsigned depth = check->depth;
    check->first_level = MAX_DEPTH;
    TRY(check_tree(check, &tree, OF_VALUES));
    check->first_level = 0;
    check->content = OF_LISTS;
    check->last = last;
    check->floor.set = false;
    check->counted = counted;
    check->counted.entries += tree.entries;
    check->depth = depth;
    return AIC_OK;
}

/* ---------------------------------------------------------------------------------------------------------- meta -- */

static aic_status read_meta(struct check *check, uint64_t page, uint8_t *out)
{
    TRY(read_at(check, page * check->page_bytes, out, HEADER + META_BYTES));
    const uint8_t *meta = out + HEADER;
    bool ours = (take_u16(out + 10) & KIND_META) != 0 && take_u32(meta) == META_MAGIC && take_u32(meta + 4) == 1;
    return ours ? AIC_OK : found(check, page, "a meta page is none");
}

/* The newer of the two meta pages, as LMDB chooses. */
static aic_status choose_meta(struct check *check, uint8_t *out)
{
    uint8_t other[HEADER + META_BYTES];
    check->page_bytes = MAX_PAGE;
    TRY(read_meta(check, 0, out));
    uint64_t size = take_u32(out + HEADER + 24);
    if (size < MIN_PAGE || size > MAX_PAGE || (size & (size - 1)) != 0)
        return found(check, 0, "the size of pages is wrong");
    check->page_bytes = size;
    TRY(read_meta(check, 1, other));
    if (take_u32(other + HEADER + 24) != size) return found(check, 1, "the size of pages is wrong");
    if (take_u64(other + HEADER + 128) > take_u64(out + HEADER + 128)) memcpy(out, other, sizeof other);
    check->last_page = take_u64(out + HEADER + 120);
    /* Pages that were freed before they were ever written may lie beyond the file's end. */
    bool possible = check->last_page >= 1 && check->last_page <= (check->file_bytes + BEYOND_BYTES) / size;
    return possible ? AIC_OK : found(check, 0, "the number of the last page is wrong");
}

static aic_status check_named(struct check *check, const struct tree *tree)
{
    return check_tree(check, tree, (tree->flags & TREE_LISTS) != 0 ? OF_LISTS : OF_ROWS);
}

/* All but the named one. */
static aic_status check_others(struct check *check, const char *named)
{
    for (size_t i = 0; i < check->tree_count; i++) {
        if (named != NULL && strcmp(check->trees[i].name, named) == 0) continue;
        TRY(check_named(check, &check->trees[i].tree));
    }
    return AIC_OK;
}

static aic_status check_all(struct check *check, const uint8_t *meta, const char *named)
{
    struct tree tree;
    take_tree(meta + 72, &tree);
    TRY(check_tree(check, &tree, OF_TREES));
    for (size_t i = 0; named != NULL && i < check->tree_count; i++) {
        if (strcmp(check->trees[i].name, named) != 0) continue;
        TRY(check_named(check, &check->trees[i].tree));
        check->finding->named_whole = true;
    }
    TRY(check_others(check, named));
    take_tree(meta + 24, &tree);
    return check_tree(check, &tree, OF_FREE_PAGES);
}

aic_status lmdb_check(struct mem *mem, int fd, const char *named, const struct lmdb_patience *patience, bool values,
                      struct lmdb_finding *out)
{
    uint8_t meta[HEADER + META_BYTES];
    struct stat file;
    struct check check = {.mem = mem, .fd = fd, .patience = patience, .values = values, .finding = out};
    *out = (struct lmdb_finding){0};
    if (patience != NULL) check.until_ns = clock_mono_ns(patience->clock) + patience->max_ms * (uint64_t)1000000;
    if (fstat(fd, &file) != 0) return AIC_IO;
    check.file_bytes = (uint64_t)file.st_size;
    TRY(choose_meta(&check, meta));
    size_t bits = (size_t)(check.last_page >> 3) + 1;
    size_t levels = (2 * MAX_DEPTH + 1) * check.page_bytes;
    check.used = mem_zalloc(mem, MEM_STORAGE, bits);
    check.pages = mem_alloc(mem, MEM_STORAGE, levels);
    aic_status status = AIC_NO_MEMORY;
    if (check.used != NULL && check.pages != NULL) status = check_all(&check, meta + HEADER, named);
    mem_free(mem, MEM_STORAGE, check.pages, levels);
    mem_free(mem, MEM_STORAGE, check.used, bits);
    return status;
}
