#include "base/json.h"

#include "base/check.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * Members by name: their order, and the search for a name that occurs twice. Both are one merge sort over 64-bit cells:
 * the name's token below, a prefix above that decides most comparisons without touching the text. For the order the
 * prefix is the first four bytes; for duplicates, where any order will do, it is a hash. Names with the same prefix are
 * compared themselves, so that chosen collisions cost n log n comparisons like everything else.
 */

enum { HASHED_BYTES = 256, RUN = 8 };

static uint32_t front_prefix(const struct json *json, uint32_t name)
{
    uint8_t front[4] = {0};
    json_unescape_front(json, name, front, sizeof front);
    return (uint32_t)front[0] << 24 | (uint32_t)front[1] << 16 | (uint32_t)front[2] << 8 | front[3];
}

static uint32_t hash_prefix(const struct json *json, uint32_t name)
{
    aic_view source = json_source(json, name);
    uint8_t front[HASHED_BYTES];
    if (!json->tokens[name].escaped)
        return (uint32_t)XXH3_64bits(source.data, source.size < HASHED_BYTES ? source.size : HASHED_BYTES);
    return (uint32_t)XXH3_64bits(front, json_unescape_front(json, name, front, sizeof front));
}

static bool comes_before(const struct json *json, uint64_t a, uint64_t b)
{
    if (a >> 32 != b >> 32) return a < b;
    return json_compare_names(json, (uint32_t)a, (uint32_t)b) < 0;
}

static void sort_run(const struct json *json, uint64_t *cells, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        uint64_t cell = cells[i];
        size_t at = i;
        for (; at > 0 && comes_before(json, cell, cells[at - 1]); at--) cells[at] = cells[at - 1];
        cells[at] = cell;
    }
}

static void merge(const struct json *json, const uint64_t *from, size_t middle, size_t count, uint64_t *to)
{
    size_t left = 0;
    size_t right = middle;
    for (size_t i = 0; i < count; i++) {
        bool take_right = left == middle || (right < count && comes_before(json, from[right], from[left]));
        to[i] = from[take_right ? right++ : left++];
    }
}

static size_t at_most(size_t wanted, size_t limit)
{
    return wanted < limit ? wanted : limit;
}

/* Sorts cells[0..count), with spare[0..count) as room to work. */
static void sort_cells(const struct json *json, uint64_t *cells, uint64_t *spare, size_t count)
{
    for (size_t i = 0; i < count; i += RUN) sort_run(json, cells + i, at_most(RUN, count - i));
    uint64_t *from = cells;
    uint64_t *to = spare;
    for (size_t width = RUN; width < count; width *= 2) {
        for (size_t i = 0; i < count; i += 2 * width)
            merge(json, from + i, at_most(width, count - i), at_most(2 * width, count - i), to + i);
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != cells) memcpy(cells, from, count * sizeof *cells);
}

static void fill_cells(const struct json *json, uint32_t object, uint64_t *cells,
                       uint32_t (*prefix)(const struct json *, uint32_t))
{
    uint32_t members = json->tokens[object].members;
    for (uint32_t i = 0, name = object + 1; i < members; i++, name = json->tokens[name + 1].next)
        cells[i] = (uint64_t)prefix(json, name) << 32 | name;
}

aic_status json_find_duplicate(const struct json *json, uint32_t object, uint32_t *out)
{
    uint64_t few[2 * 64];
    size_t count = json->tokens[object].members;
    size_t bytes = 2 * count * sizeof(uint64_t);
    uint64_t *cells = count <= COUNT_OF(few) / 2 ? few : mem_alloc(json->mem, json->owner, bytes);
    if (cells == NULL) return AIC_NO_MEMORY;
    fill_cells(json, object, cells, hash_prefix);
    sort_cells(json, cells, cells + count, count);
    aic_status status = AIC_MISS;
    for (size_t i = 1; i < count; i++) {
        if (cells[i] >> 32 != cells[i - 1] >> 32) continue;
        uint32_t one = (uint32_t)cells[i - 1];
        uint32_t other = (uint32_t)cells[i];
        if (!json_same_names(json, one, other)) continue;
        *out = one > other ? one : other;
        status = AIC_OK;
        break;
    }
    if (cells != few) mem_free(json->mem, json->owner, cells, bytes);
    return status;
}

void json_order_members(const struct json *json, uint32_t object, uint64_t *cells)
{
    size_t count = json->tokens[object].members;
    fill_cells(json, object, cells, front_prefix);
    sort_cells(json, cells, cells + count, count);
}
