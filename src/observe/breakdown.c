#include "observe/breakdown.h"

#include "base/check.h"
#include "base/status.h"
#include "cache/cache.h"
#include "observe/fields.h"
#include "observe/monitor.h"

#define LOOK_TICKS 5        /* the mappings of a process that stays as it is are walked so seldom */
#define LOOK_CHANGE 50      /* a change of RSS by one part in so many is worth a walk */
#define LOOK_SHARE 20       /* walking takes at most one part in so many of the time */
#define LOOK_NS 10000000ULL /* figures so old are of this moment */

static void put_owner(struct json_writer *out, const char *owner, uint64_t bytes, const char *help)
{
    json_open(out, '{');
    put_text(out, "owner", owner);
    put_count(out, "bytes", bytes);
    put_text(out, "help", help);
    json_close(out, '}');
}

static uint64_t minus(uint64_t from, uint64_t what)
{
    return from > what ? from - what : 0;
}

/* The memory tier's arenas: what the entries take, and the rest of the resident pages. */
static void put_tier(struct json_writer *out, const struct footprint *footprint, const struct figures *figures)
{
    uint64_t entries = figures->memory_key_bytes + figures->memory_value_bytes + figures->memory_overhead_bytes;
    put_owner(out, "memory_tier_keys", figures->memory_key_bytes, "keys of the memory tier");
    put_owner(out, "memory_tier_values", figures->memory_value_bytes, "values of the memory tier");
    put_owner(out, "memory_tier_overhead", figures->memory_overhead_bytes, "headers, links and rounding");
    put_owner(out, "memory_tier_free", minus(footprint->memory_values, entries),
              "pages of the memory tier that hold no entry now");
    put_owner(out, "memory_tier_index", footprint->memory_index, "tables and ghosts of the memory tier");
}

uint64_t breakdown_owner_bytes(const struct breakdown_sources *sources, enum mem_owner owner)
{
    uint64_t bytes = mem_bytes(sources->mem, owner) + mem_bytes(cache_mem(sources->cache), owner);
    return sources->monitor != NULL ? bytes + mem_bytes(&sources->monitor->mem, owner) : bytes;
}

/* What is counted is read before what is resident: of memory that grows meanwhile a little more is found than was
 * counted, which has its owners (free pages, libraries), and never less. */
aic_status breakdown_read(const struct breakdown_sources *sources, const char *root, struct breakdown *out)
{
    struct store_places places;
    store_places(cache_store(sources->cache), &places);
    struct footprint_options options = {.root = root,
                                        .storage_file = "/cache.mdb",
                                        .values_begin = places.values_begin,
                                        .values_end = places.values_end,
                                        .index_begin = places.index_begin,
                                        .index_end = places.index_end};
    out->shards = places.heap_bytes;
    for (unsigned owner = 0; owner < MEM_OWNER_COUNT; owner++)
        out->owners[owner] = breakdown_owner_bytes(sources, owner);
    TRY(footprint_read(&options, &out->footprint));
    allocator_read(&out->allocator);
    return AIC_OK;
}

/* What this code asked the allocator for, by owner. Returns the sum. */
static uint64_t put_counted(const struct breakdown *what, struct json_writer *out)
{
    static const char *const helps[] = {
#define OWNER_HELP(name, label, help) help,
        MEM_OWNER_MAP(OWNER_HELP)
#undef OWNER_HELP
    };
    put_owner(out, "memory_tier_shards", what->shards, "locks, queues and wheels of the memory tier");
    uint64_t sum = what->shards;
    for (unsigned owner = 0; owner < MEM_OWNER_COUNT; owner++) {
        if (owner == MEM_STORE_VALUES || owner == MEM_STORE_INDEX) continue; /* mapped, or in heap_bytes */
        put_owner(out, mem_owner_name(owner), what->owners[owner], helps[owner]);
        sum += what->owners[owner];
    }
    return sum;
}

void breakdown_write(const struct breakdown *what, struct json_writer *out)
{
    const struct footprint *footprint = &what->footprint;
    put_tier(out, footprint, &what->stats);
    put_owner(out, "storage_map", footprint->storage_map,
              "pages of the storage tier's file, which the kernel can drop");
    uint64_t counted = put_counted(what, out);
    /* What was allocated and never touched is not resident: LMDB keeps megabytes of such lists, this code hardly any.
     */
    uint64_t touched = what->allocator.allocated < footprint->heap ? what->allocator.allocated : footprint->heap;
    uint64_t libraries = minus(touched, counted);
    put_owner(out, "libraries", libraries, "what libraries allocated for themselves and have touched");
    put_owner(out, "allocator_slack", minus(footprint->heap, counted + libraries),
              "held by the allocator, but not in use");
    put_owner(out, "stacks", footprint->stacks, "stacks of the threads");
    put_owner(out, "program", footprint->program, "the program and its libraries");
}

void breakdown_write_total(const struct breakdown *what, struct json_writer *out)
{
    json_open(out, '{');
    put_count(out, "rss_bytes", what->footprint.rss);
    put_time(out, "timestamp", what->measured_ms);
    json_close(out, '}');
}

void breakdown_write_allocator(struct json_writer *out)
{
    struct allocator_figures figures;
    allocator_read(&figures);
    json_open(out, '{');
    put_text(out, "name", figures.name);
    put_count(out, "allocated", figures.allocated);
    put_count(out, "active", figures.active);
    put_count(out, "resident", figures.resident);
    put_count(out, "retained", figures.retained);
    json_close(out, '}');
}

/* -------------------------------------------------------------------------------------------------- when to look -- */

void memory_look_init(struct memory_look *look, const struct breakdown_sources *sources, const char *root,
                      const aic_clock *clock)
{
    *look = (struct memory_look){.sources = *sources, .root = root, .clock = clock};
    CHECK(pthread_mutex_init(&look->looking, NULL) == 0);
    CHECK(pthread_mutex_init(&look->mutex, NULL) == 0);
}

void memory_look_fini(struct memory_look *look)
{
    pthread_mutex_destroy(&look->mutex);
    pthread_mutex_destroy(&look->looking);
}

bool memory_look_last(struct memory_look *look, struct breakdown *out)
{
    pthread_mutex_lock(&look->mutex);
    bool measured = look->measured;
    if (measured) *out = look->last;
    pthread_mutex_unlock(&look->mutex);
    return measured;
}

void memory_look_write(struct memory_look *look, struct json_writer *out)
{
    struct breakdown what;
    json_open(out, '[');
    if (memory_look_last(look, &what)) breakdown_write(&what, out);
    json_close(out, ']');
}

/* Walks the mappings. Under `looking`. */
static void walk(struct memory_look *look, const struct figures *stats)
{
    struct breakdown what = {.measured_ms = clock_wall_ms(look->clock), .stats = *stats};
    uint64_t began = clock_mono_ns(look->clock);
    bool read = breakdown_read(&look->sources, look->root, &what) == AIC_OK;
    look->walked_ns = clock_mono_ns(look->clock);
    look->walk_ns = look->walked_ns - began;
    if (!read) return; /* what was known stands */
    pthread_mutex_lock(&look->mutex);
    look->last = what;
    look->measured = true;
    pthread_mutex_unlock(&look->mutex);
}

/* Was the last walk so long ago that another one keeps within its share of the time? Under `looking`. */
static bool may_walk(const struct memory_look *look, uint64_t least_ns)
{
    uint64_t age = clock_mono_ns(look->clock) - look->walked_ns;
    return look->walked_ns == 0 || (age >= least_ns && age >= look->walk_ns * LOOK_SHARE);
}

static bool changed(uint64_t from, uint64_t to)
{
    uint64_t difference = from > to ? from - to : to - from;
    return difference > from / LOOK_CHANGE;
}

void memory_look_tick(struct memory_look *look, const struct figures *stats, uint64_t rss_bytes)
{
    struct breakdown last;
    bool due = look->ticks++ % LOOK_TICKS == 0 || !memory_look_last(look, &last) ||
               changed(last.footprint.rss, rss_bytes);
    if (!due) return;
    pthread_mutex_lock(&look->looking);
    if (may_walk(look, 0)) walk(look, stats);
    pthread_mutex_unlock(&look->looking);
}

bool memory_look_now(struct memory_look *look, struct breakdown *out)
{
    pthread_mutex_lock(&look->looking);
    if (may_walk(look, LOOK_NS)) {
        struct figures stats = {0};
        cache_figures(look->sources.cache, &stats);
        walk(look, &stats);
    }
    bool measured = memory_look_last(look, out);
    pthread_mutex_unlock(&look->looking);
    return measured;
}
