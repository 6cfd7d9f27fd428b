/*
 * mem.h - accounted memory: every byte that this code asks for has an owner and is counted, exactly.
 *
 * The idea: blocks are released with their size, so no header is needed to count them, and each owner's figure is a sum
 * of what was asked for. One `struct mem` belongs to one cache or daemon; there is no global one. Tests give a failing
 * allocator through `aic_allocator` to run the out-of-memory sweep. No other folder calls malloc.
 *
 * Any thread may call any function. Counters are relaxed atomics: each is exact, a set of them read together is not a
 * snapshot.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <aicache/aicache.h>
#include <stdatomic.h>

/* Every owner: enum name, name in statistics, what it holds. */
#define MEM_OWNER_MAP(X)                                                                                               \
    X(STORE_VALUES, "store_values", "arenas of the memory tier: keys, headers, values, rounding")                      \
    X(STORE_INDEX, "store_index", "tables, ghosts and wheels of the memory tier")                                      \
    X(CODEC, "codec", "compression contexts and dictionaries")                                                         \
    X(STORAGE, "storage", "the storage tier's own structures")                                                         \
    X(QUEUE, "queue", "writes waiting for the storage tier")                                                           \
    X(CACHE, "cache", "hits in flight, pages, requests being keyed")                                                   \
    X(CONNECTIONS, "connections", "what connections hold beside pooled objects: buffers, tables, what waits")          \
    X(ANSWERS, "answers", "large answers that are made, or not yet sent")                                              \
    X(MONITOR, "monitor", "measurements and snapshots")                                                                \
    X(POOLS, "pools", "objects that are used again: connections, read blocks, answers")                                \
    X(CONFIG, "config", "configuration")                                                                               \
    X(OTHER, "other", "everything else")

enum mem_owner {
#define MEM_OWNER_ENUM(name, label, help) MEM_##name,
    MEM_OWNER_MAP(MEM_OWNER_ENUM)
#undef MEM_OWNER_ENUM
        MEM_OWNER_COUNT
};

struct mem {
    aic_allocator allocator;
    _Atomic uint64_t bytes[MEM_OWNER_COUNT];
    _Atomic uint64_t failures; /* allocations that were refused */
};

/* Does a user's allocator (NULL: none was given) have both of its functions? AIC_INVALID with the field "allocator". */
AIC_MUST_CHECK aic_status mem_check_allocator(const aic_allocator *allocator, aic_error *error);
/* Initialises with the given allocator (copied), or the C library's for NULL. */
void mem_init(struct mem *mem, const aic_allocator *allocator);
/* CHECKs that everything was released, so that no test can leak unseen. */
void mem_fini(struct mem *mem);

/* NULL when the allocation fails or when bytes is 0. Contents are undefined; mem_zalloc's are zero. */
void *mem_alloc(struct mem *mem, enum mem_owner owner, size_t bytes);
void *mem_zalloc(struct mem *mem, enum mem_owner owner, size_t bytes);
/* Moves to a block of new_bytes; NULL leaves the old block untouched. old may be NULL with old_bytes 0. */
void *mem_realloc(struct mem *mem, enum mem_owner owner, void *old, size_t old_bytes, size_t new_bytes);
/* Accepts NULL. `bytes` is what was asked for. */
void mem_free(struct mem *mem, enum mem_owner owner, void *block, size_t bytes);

/*
 * Why the calling thread's last allocation failed: the mem whose own limit refused it, or NULL when the memory itself
 * was out. An allocator with a limit calls mem_refuse() with its mem before it returns NULL for it.
 */
const struct mem *mem_refused_by(void);
void mem_refuse(const struct mem *mem);

/* A NUL-terminated copy; released by mem_free_string(). NULL when the allocation fails. */
char *mem_copy_string(struct mem *mem, enum mem_owner owner, aic_view text);
void mem_free_string(struct mem *mem, enum mem_owner owner, char *text);

/*
 * May a mapping of this size be made? Asks the test hook; the caller maps by itself and counts with mem_count().
 * A false counts as a failure.
 */
bool mem_may_map(struct mem *mem, size_t bytes);
/* Adds to (or, negative, takes from) an owner's figure what did not come from mem_alloc. */
void mem_count(struct mem *mem, enum mem_owner owner, int64_t bytes);

uint64_t mem_bytes(const struct mem *mem, enum mem_owner owner);
const char *mem_owner_name(enum mem_owner owner);

#endif
