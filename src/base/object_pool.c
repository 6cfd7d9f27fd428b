#include "base/object_pool.h"

#include "base/check.h"

#include <string.h>

#define MARK_ACTIVE 0x41435449564F424AULL
#define MARK_FREE 0x465245454F424A21ULL

/* In front of every object, padded so that the object keeps the alignment of an allocation. */
struct pool_object {
    _Alignas(16) uint64_t mark;
    struct object_pool *pool;
    struct pool_object *next; /* on the free list */
};

static size_t whole_bytes(const struct object_pool *pool)
{
    return sizeof(struct pool_object) + pool->object_bytes;
}

void object_pool_init(struct object_pool *pool, const char *name, struct mem *mem, enum mem_owner owner, size_t object_bytes,
               size_t max_free)
{
    memset(pool, 0, sizeof *pool);
    pool->name = name;
    pool->mem = mem;
    pool->owner = owner;
    pool->object_bytes = object_bytes;
    pool->max_free = max_free;
    CHECK(pthread_mutex_init(&pool->mutex, NULL) == 0);
}

static void release_list(struct object_pool *pool, struct pool_object *object)
{
    while (object != NULL) {
        struct pool_object *next = object->next;
        object->mark = 0;
        mem_free(pool->mem, pool->owner, object, whole_bytes(pool));
        object = next;
    }
}

void object_pool_fini(struct object_pool *pool)
{
    CHECK(pool->active == 0);
    release_list(pool, pool->free_list);
    pool->free_list = NULL;
    pthread_mutex_destroy(&pool->mutex);
}

static struct pool_object *take_free(struct object_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    struct pool_object *object = pool->free_list;
    if (object != NULL) {
        pool->free_list = object->next;
        pool->free_count--;
        if (pool->free_count < pool->low_water) pool->low_water = pool->free_count;
        pool->hits++;
    } else {
        pool->misses++;
    }
    pool->active++;
    if (pool->active > pool->high_water) pool->high_water = pool->active;
    pthread_mutex_unlock(&pool->mutex);
    return object;
}

static struct pool_object *create(struct object_pool *pool)
{
    struct pool_object *object = mem_alloc(pool->mem, pool->owner, whole_bytes(pool));
    pthread_mutex_lock(&pool->mutex);
    if (object != NULL) pool->created++;
    else pool->active--;
    pthread_mutex_unlock(&pool->mutex);
    return object;
}

void *object_pool_take(struct object_pool *pool)
{
    struct pool_object *object = take_free(pool);
    if (object == NULL) object = create(pool);
    if (object == NULL) return NULL;
    object->mark = MARK_ACTIVE;
    object->pool = pool;
    object->next = NULL;
    return memset(object + 1, 0, pool->object_bytes);
}

bool object_pool_give(struct object_pool *pool, void **given)
{
    if (*given == NULL) return true;
    struct pool_object *object = (struct pool_object *)*given - 1;
    pthread_mutex_lock(&pool->mutex);
    bool ours = object->mark == MARK_ACTIVE && object->pool == pool;
    bool keep = ours && pool->free_count < pool->max_free;
    if (!ours) {
        pool->refused++;
    } else {
        pool->active--;
        object->mark = MARK_FREE;
    }
    if (keep) {
        object->next = pool->free_list;
        pool->free_list = object;
        pool->free_count++;
        pool->released++;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (ours && !keep) release_list(pool, object);
    if (ours) *given = NULL;
    return ours;
}

size_t object_pool_shrink(struct object_pool *pool, bool all)
{
    pthread_mutex_lock(&pool->mutex);
    uint64_t count = all ? pool->free_count : (pool->low_water + 1) / 2;
    if (count > pool->free_count) count = pool->free_count;
    struct pool_object *list = NULL;
    for (uint64_t i = 0; i < count; i++) {
        struct pool_object *object = pool->free_list;
        pool->free_list = object->next;
        object->next = list;
        list = object;
    }
    pool->free_count -= count;
    pool->low_water = pool->free_count;
    pthread_mutex_unlock(&pool->mutex);
    release_list(pool, list);
    return (size_t)count * whole_bytes(pool);
}

void object_pool_stats(struct object_pool *pool, struct object_pool_stats *out)
{
    pthread_mutex_lock(&pool->mutex);
    *out = (struct object_pool_stats){.name = pool->name,
                               .size = pool->free_count,
                               .active = pool->active,
                               .object_bytes = pool->object_bytes,
                               .bytes = (pool->free_count + pool->active) * whole_bytes(pool),
                               .hits = pool->hits,
                               .misses = pool->misses,
                               .created = pool->created,
                               .released = pool->released,
                               .refused = pool->refused,
                               .high_water = pool->high_water};
    pthread_mutex_unlock(&pool->mutex);
}
