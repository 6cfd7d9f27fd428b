/*
 * object_pool.h - fixed-size objects that are used again instead of allocated again.
 *
 * Taking gives a zeroed object from the free list (a hit) or a new one (a miss). Giving back puts it on the free list, or releases it when the
 * list is full. Each object carries a mark in front that says who has it, so that giving the same object twice is refused and counted instead of handing it to
 * two owners. A pool that sits on more free objects than it needs shrinks by half of its low-water mark.
 *
 * Any thread may call any function; a mutex per pool, never held over an allocation.
 */
#ifndef BASE_OBJECT_POOL_H
#define BASE_OBJECT_POOL_H

#include "base/mem.h"

#include <pthread.h>

struct pool_object;

struct object_pool {
    const char *name; /* static */
    struct mem *mem;
    enum mem_owner owner;
    size_t object_bytes;
    size_t max_free;
    pthread_mutex_t mutex; /* guards all below */
    struct pool_object *free_list;
    uint64_t free_count, active, hits, misses, created, released, refused, high_water, low_water;
};

struct object_pool_stats {
    const char *name;
    uint64_t size;  /* objects on the free list */
    uint64_t active;
    uint64_t object_bytes, bytes; /* of one object; of all, active and free, with their marks */
    uint64_t hits, misses, created, released /* given back and kept */, refused, high_water;
};

/* max_free: objects kept for reuse. `name` is static. Allocates nothing. */
void object_pool_init(struct object_pool *pool, const char *name, struct mem *mem, enum mem_owner owner, size_t object_bytes,
               size_t max_free);
/* Every object must have been given back. */
void object_pool_fini(struct object_pool *pool);

/* A zeroed object, or NULL without memory. */
void *object_pool_take(struct object_pool *pool);
/* Gives *object back and nulls it. Accepts a pointer to NULL. false: it was given back already, or is none of this pool's; nothing is done then. */
bool object_pool_give(struct object_pool *pool, void **object);
/* Releases half of what was free all the time since the last call; with `all` every free object. Returns the bytes released. */
size_t object_pool_shrink(struct object_pool *pool, bool all);
void object_pool_stats(struct object_pool *pool, struct object_pool_stats *out);

#endif
