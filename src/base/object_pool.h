/*
 * object_pool.h - fixed-size objects that are used again instead of allocated again.
 *
 * Taking gives an object from the free list (a hit) or a new one (a miss). Giving back puts it on the free list, or
 * releases it when the list is full. Each object carries a mark in front that says who has it, so that giving the same
 * object twice is refused and counted instead of handing it to two owners. A pool that sits on more free objects than
 * it needs shrinks by half of its low-water mark.
 *
 * Objects are zeroed whenever they are taken, unless the pool has hooks: then only a new one is zero, and one used
 * again is as it was given back, so that buffers are kept from use to use.
 *
 * Any thread may call any function; a mutex per pool, never held over an allocation or a hook. A pool that one thread
 * uses costs that thread an uncontended lock.
 */
#ifndef BASE_OBJECT_POOL_H
#define BASE_OBJECT_POOL_H

#include "base/mem.h"

#include <pthread.h>

struct pool_object;

/* For objects that own something. Each may be NULL; called without a lock, with an object that nobody else has. */
struct object_pool_hooks {
    void (*clear)(void *object); /* given back: before it waits for its next use */
    void (*fini)(void *object);  /* before its memory is released, by whoever shrinks the pool */
};

struct object_pool_stats {
    const char *name;
    uint64_t size; /* objects on the free list */
    uint64_t active;
    uint64_t object_bytes, bytes; /* of one object; of all, active and free, with their marks */
    uint64_t hits, misses, created, released /* given back and kept */, refused, high_water;
};

struct object_pool {
    const struct object_pool_hooks *hooks; /* static; NULL: none */
    struct object_pool *next;              /* in an object_pools, under its mutex */
    struct mem *mem;
    enum mem_owner owner;
    size_t max_free;
    pthread_mutex_t mutex; /* guards all below */
    struct pool_object *free_list;
    uint64_t low_water;              /* objects that were free all the time since the last shrinking */
    struct object_pool_stats counts; /* its name and object_bytes never change; `bytes` is made when it is asked for */
};

/* max_free: objects kept for reuse. `name` is static. Allocates nothing. */
void object_pool_init(struct object_pool *pool, const char *name, struct mem *mem, enum mem_owner owner,
                      size_t object_bytes, size_t max_free);
/* Before the first object is taken; `hooks` is static. */
void object_pool_set_hooks(struct object_pool *pool, const struct object_pool_hooks *hooks);
/* Every object must have been given back. */
void object_pool_fini(struct object_pool *pool);

/* An object (zero, or as the hooks left it), or NULL without memory. */
void *object_pool_take(struct object_pool *pool);
/* Gives *object back and nulls it. Accepts a pointer to NULL. false: it was given back already, or is none of this
 * pool's; nothing is done then. */
bool object_pool_give(struct object_pool *pool, void **object);
/* Releases half of what was free all the time since the last call; with `all` every free object. Returns the bytes
 * released. */
size_t object_pool_shrink(struct object_pool *pool, bool all);
void object_pool_stats(struct object_pool *pool, struct object_pool_stats *out);

/*
 * Pools that are looked at together: a list, under a mutex that is taken before the pools'. Pools of one name (one per
 * thread) are one line of the statistics.
 */
struct object_pools {
    pthread_mutex_t mutex; /* guards the list */
    struct object_pool *first;
};

void object_pools_init(struct object_pools *pools);
/* Every pool must have been removed. */
void object_pools_fini(struct object_pools *pools);
/* The pool stays the caller's, who removes it before object_pool_fini(). `pools` may be NULL: nothing is done then. */
void object_pools_add(struct object_pools *pools, struct object_pool *pool);
void object_pools_remove(struct object_pools *pools, struct object_pool *pool);
/* object_pool_shrink() of each. Returns the bytes released. */
size_t object_pools_shrink(struct object_pools *pools, bool all);
/* One line per name in the order of names, at most `max`; returns how many. high_water is the sum of the pools' own. */
size_t object_pools_stats(struct object_pools *pools, struct object_pool_stats *out, size_t max);

#endif
