#include "store/holes.h"

#include "base/check.h"

#include <string.h>

/* Kept in the first granule of a hole; the length once more in the last four bytes of the last. */
struct hole {
    uint32_t granules;
    handle prev, next; /* in the bin */
    bool hidden;       /* in no bin */
};
static_assert(sizeof(struct hole) + sizeof(uint32_t) <= GRANULE_BYTES, "a hole of one granule holds both its lengths");
static_assert(ARENA_GRANULES == 1 << 15, "HOLE_BINS counts the doublings up to a whole arena");
static_assert(ARENA_GRANULES % 64 == 0, "no word of edge bits belongs to two arenas");

static struct hole *hole_at(const struct holes *holes, handle at)
{
    return (struct hole *)(void *)(holes->base + (size_t)at * GRANULE_BYTES);
}

static uint32_t *hole_foot(const struct holes *holes, handle last)
{
    return (uint32_t *)(void *)(holes->base + ((size_t)last + 1) * GRANULE_BYTES - sizeof(uint32_t));
}

/* The bin of holes of this length. */
static unsigned bin_of(uint32_t granules)
{
    if (granules < HOLE_STEPS) return granules;
    unsigned log = 31u - (unsigned)__builtin_clz(granules);
    return (log - HOLE_STEP_BITS + 1) * HOLE_STEPS + ((granules >> (log - HOLE_STEP_BITS)) & (HOLE_STEPS - 1));
}

/* The first bin whose holes are all long enough; may be HOLE_BINS. */
static unsigned bin_from(uint32_t granules)
{
    if (granules < HOLE_STEPS) return granules;
    unsigned log = 31u - (unsigned)__builtin_clz(granules);
    return bin_of(granules + (1u << (log - HOLE_STEP_BITS)) - 1);
}

static bool is_edge(const struct holes *holes, handle at)
{
    return (holes->edges[at / 64] >> (at % 64) & 1) != 0;
}

static void set_edge(struct holes *holes, handle at)
{
    holes->edges[at / 64] |= 1ull << (at % 64);
}

static void clear_edge(struct holes *holes, handle at)
{
    holes->edges[at / 64] &= ~(1ull << (at % 64));
}

void holes_init(struct holes *holes, char *base, uint64_t *edges)
{
    memset(holes, 0, sizeof *holes);
    holes->base = base;
    holes->edges = edges;
}

void holes_add(struct holes *holes, handle at, uint32_t granules, bool hidden)
{
    struct hole *hole = hole_at(holes, at);
    CHECK(granules > 0 && at % ARENA_GRANULES + granules <= ARENA_GRANULES);
    *hole = (struct hole){.granules = granules, .hidden = hidden};
    *hole_foot(holes, at + granules - 1) = granules;
    set_edge(holes, at);
    set_edge(holes, at + granules - 1);
    if (hidden) return;
    unsigned bin = bin_of(granules);
    hole->next = holes->bins[bin];
    if (hole->next != 0) hole_at(holes, hole->next)->prev = at;
    holes->bins[bin] = at;
    holes->filled[bin / 64] |= 1ull << (bin % 64);
    holes->granules += granules;
    holes->count++;
    if (granules == ARENA_GRANULES) holes->whole++;
}

void holes_remove(struct holes *holes, handle at)
{
    const struct hole *hole = hole_at(holes, at);
    CHECK(is_edge(holes, at) && *hole_foot(holes, at + hole->granules - 1) == hole->granules);
    clear_edge(holes, at);
    clear_edge(holes, at + hole->granules - 1);
    if (hole->hidden) return;
    unsigned bin = bin_of(hole->granules);
    CHECK(hole->prev != 0 || holes->bins[bin] == at);
    CHECK(holes->count > 0 && holes->granules >= hole->granules);
    if (hole->next != 0) hole_at(holes, hole->next)->prev = hole->prev;
    if (hole->prev != 0) hole_at(holes, hole->prev)->next = hole->next;
    else holes->bins[bin] = hole->next;
    if (holes->bins[bin] == 0) holes->filled[bin / 64] &= ~(1ull << (bin % 64));
    holes->granules -= hole->granules;
    holes->count--;
    if (hole->granules == ARENA_GRANULES) holes->whole--;
}

void holes_hide(struct holes *holes, uint32_t arena, bool hidden)
{
    handle at = arena * ARENA_GRANULES, end = at + (ARENA_GRANULES - 1);
    while (at <= end) {
        uint64_t bits = holes->edges[at / 64] >> (at % 64);
        if (bits == 0) {
            at = (at / 64 + 1) * 64;
            if (at == 0) return; /* behind the last handle of all */
            continue;
        }
        at += (uint32_t)__builtin_ctzll(bits);
        uint32_t granules = holes_length(holes, at);
        holes_remove(holes, at);
        holes_add(holes, at, granules, hidden);
        at += granules;
    }
}

uint32_t holes_length(const struct holes *holes, handle at)
{
    return hole_at(holes, at)->granules;
}

/* The first bin >= `from` that is not empty, or HOLE_BINS. */
static unsigned filled_from(const struct holes *holes, unsigned from)
{
    for (unsigned word = from / 64; word < COUNT_OF(holes->filled); word++) {
        uint64_t bits = holes->filled[word];
        if (word == from / 64) bits &= ~0ull << (from % 64);
        if (bits != 0) return word * 64 + (unsigned)__builtin_ctzll(bits);
    }
    return HOLE_BINS;
}

handle holes_find(const struct holes *holes, uint32_t granules)
{
    if (granules > ARENA_GRANULES) return 0;
    unsigned bin = filled_from(holes, bin_from(granules));
    if (bin < HOLE_BINS) return holes->bins[bin];
    /* Only the bin that the length itself falls into is left: some of its holes may be long enough. */
    handle at = holes->bins[bin_of(granules)];
    for (int tries = 0; at != 0 && tries < 8; tries++) {
        if (hole_at(holes, at)->granules >= granules) return at;
        at = hole_at(holes, at)->next;
    }
    return 0;
}

handle holes_largest(const struct holes *holes)
{
    for (unsigned word = COUNT_OF(holes->filled); word-- > 0;) {
        if (holes->filled[word] == 0) continue;
        return holes->bins[word * 64 + 63 - (unsigned)__builtin_clzll(holes->filled[word])];
    }
    return 0;
}

handle holes_before(const struct holes *holes, handle at)
{
    if (at % ARENA_GRANULES == 0 || !is_edge(holes, at - 1)) return 0;
    return at - *hole_foot(holes, at - 1);
}

handle holes_behind(const struct holes *holes, handle at)
{
    return at % ARENA_GRANULES != 0 && is_edge(holes, at) ? at : 0;
}

bool holes_touch(const struct holes *holes, handle at, uint32_t granules)
{
    for (uint32_t i = 0; i < granules; i++)
        if (is_edge(holes, at + i)) return true;
    return false;
}

const char *holes_verify(const struct holes *holes)
{
    uint64_t granules = 0;
    uint32_t count = 0, whole = 0;
    for (unsigned bin = 0; bin < HOLE_BINS; bin++) {
        bool filled = (holes->filled[bin / 64] >> (bin % 64) & 1) != 0;
        if (filled != (holes->bins[bin] != 0)) return "a bin's bit does not match its list";
        handle prev = 0;
        for (handle at = holes->bins[bin]; at != 0; at = hole_at(holes, at)->next) {
            const struct hole *hole = hole_at(holes, at);
            if (hole->granules == 0 || bin_of(hole->granules) != bin) return "a hole lies in the wrong bin";
            if (at % ARENA_GRANULES + hole->granules > ARENA_GRANULES) return "a hole crosses the end of its arena";
            if (hole->hidden) return "a hidden hole can be found";
            if (hole->prev != prev) return "a hole's links do not match";
            if (*hole_foot(holes, at + hole->granules - 1) != hole->granules) return "a hole's two lengths differ";
            if (!is_edge(holes, at) || !is_edge(holes, at + hole->granules - 1)) return "a hole has no edge bits";
            if (hole->granules > 2 && holes_touch(holes, at + 1, hole->granules - 2)) return "two holes overlap";
            if (holes_behind(holes, at + hole->granules) != 0) return "two holes are not merged";
            granules += hole->granules;
            whole += hole->granules == ARENA_GRANULES;
            prev = at;
            if (++count > holes->count) return "there are more holes than were counted";
        }
    }
    if (count != holes->count || granules != holes->granules || whole != holes->whole) return "the holes do not add up";
    return NULL;
}
