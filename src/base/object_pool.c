#include "base/object_pool.h"

#include "base/check.h"

#include <string.h>

#define MARK_ACTIVE 0x41435449564F424AULL
#define MARK_FREE 0x465245454F424A21ULL

/* In front of every object, padded so that the object keeps the alignment of an allocation. */
struct pool_object {
    /* Who gives it back changes the mark from active to free, acq_rel; of two at once one wins. Taking stores it
     * relaxed: the list's mutex orders it. */
    _Alignas(16) _Atomic uint64_t mark;
    struct object_pool *pool;
    struct pool_object *next; /* on the free list */
};

static size_t whole_bytes(const struct object_pool *pool)
{
    return sizeof(struct pool_object) + pool->counts.object_bytes;
}

void object_pool_init(struct object_pool *pool, const char *name, struct mem *mem, enum mem_owner owner,
                      size_t object_bytes, size_t max_free)
{
    memset(pool, 0, sizeof *pool);
    pool->counts.name = name;
    pool->mem = mem;
    pool->owner = owner;
    pool->counts.object_bytes = object_bytes;
    pool->max_free = max_free;
    CHECK(pthread_mutex_init(&pool->mutex, NULL) == 0);
}

void object_pool_set_hooks(struct object_pool *pool, const struct object_pool_hooks *hooks)
{
    CHECK(pool->counts.active == 0 && pool->counts.size == 0);
    pool->hooks = hooks;
}

static void release_list(struct object_pool *pool, struct pool_object *object)
{
    while (object != NULL) {
        struct pool_object *next = object->next;
        if (pool->hooks != NULL && pool->hooks->fini != NULL) pool->hooks->fini(object + 1);
        atomic_store_explicit(&object->mark, 0, memory_order_relaxed);
        mem_free(pool->mem, pool->owner, object, whole_bytes(pool));
        object = next;
    }
}

void object_pool_fini(struct object_pool *pool)
{
    CHECK(pool->counts.active == 0);
    release_list(pool, pool->free_list);
    pool->free_list = NULL;
    pthread_mutex_destroy(&pool->mutex);
}

static struct pool_object *take_free(struct object_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    struct pool_object *object = pool->free_list;
    if (object != NULL) {
        CHECK(atomic_load_explicit(&object->mark, memory_order_relaxed) == MARK_FREE && pool->counts.size > 0);
        pool->free_list = object->next;
        pool->counts.size--;
        if (pool->counts.size < pool->low_water) pool->low_water = pool->counts.size;
        pool->counts.hits++;
    } else {
        pool->counts.misses++;
    }
    pool->counts.active++;
    if (pool->counts.active > pool->counts.high_water) pool->counts.high_water = pool->counts.active;
    pthread_mutex_unlock(&pool->mutex);
    return object;
}

static struct pool_object *create(struct object_pool *pool)
{
    struct pool_object *object = mem_alloc(pool->mem, pool->owner, whole_bytes(pool));
    pthread_mutex_lock(&pool->mutex);
    if (object != NULL) pool->counts.created++;
    else pool->counts.active--;
    pthread_mutex_unlock(&pool->mutex);
    return object;
}

void *object_pool_take(struct object_pool *pool)
{
    struct pool_object *object = take_free(pool);
    bool is_new = object == NULL;
    if (is_new) object = create(pool);
    if (object == NULL) return NULL;
    atomic_store_explicit(&object->mark, MARK_ACTIVE, memory_order_relaxed);
    object->pool = pool;
    object->next = NULL;
    return is_new || pool->hooks == NULL ? memset(object + 1, 0, pool->counts.object_bytes) : object + 1;
}

static bool refuse(struct object_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    pool->counts.refused++;
    pthread_mutex_unlock(&pool->mutex);
    return false;
}

bool object_pool_give(struct object_pool *pool, void **given)
{
    if (*given == NULL) return true;
    struct pool_object *object = (struct pool_object *)*given - 1;
    uint64_t expected = MARK_ACTIVE;
    if (object->pool != pool || !atomic_compare_exchange_strong_explicit(&object->mark, &expected, MARK_FREE,
                                                                         memory_order_acq_rel, memory_order_relaxed))
        return refuse(pool);
    *given = NULL;
    if (pool->hooks != NULL && pool->hooks->clear != NULL) pool->hooks->clear(object + 1);
    pthread_mutex_lock(&pool->mutex);
    bool keep = pool->counts.size < pool->max_free;
    CHECK(pool->counts.active > 0);
    pool->counts.active--;
    if (keep) {
        object->next = pool->free_list;
        pool->free_list = object;
        pool->counts.size++;
        pool->counts.released++;
    }
    pthread_mutex_unlock(&pool->mutex);
    if (!keep) release_list(pool, object);
    return true;
}

size_t object_pool_shrink(struct object_pool *pool, bool all)
{
    pthread_mutex_lock(&pool->mutex);
    uint64_t count = all ? pool->counts.size : (pool->low_water + 1) / 2;
    if (count > pool->counts.size) count = pool->counts.size;
    struct pool_object *list = NULL;
    for (uint64_t i = 0; i < count; i++) {
        struct pool_object *object = pool->free_list;
        pool->free_list = object->next;
        object->next = list;
        list = object;
    }
    pool->counts.size -= count;
    pool->low_water = pool->counts.size;
    pthread_mutex_unlock(&pool->mutex);
    release_list(pool, list);
    return (size_t)count * whole_bytes(pool);
}

void object_pool_stats(struct object_pool *pool, struct object_pool_stats *out)
{
    pthread_mutex_lock(&pool->mutex);
    *out = pool->counts;
    out->bytes = (out->size + out->active) * whole_bytes(pool);
    pthread_mutex_unlock(&pool->mutex);
}

/* ------------------------------------------------------------------------------------------------------- many -- */

void object_pools_init(struct object_pools *pools)
{
    pools->first = NULL;
    CHECK(pthread_mutex_init(&pools->mutex, NULL) == 0);
}

void object_pools_fini(struct object_pools *pools)
{
    CHECK(pools->first == NULL);
    pthread_mutex_destroy(&pools->mutex);
}

void object_pools_add(struct object_pools *pools, struct object_pool *pool)
{
    if (pools == NULL) return;
    pthread_mutex_lock(&pools->mutex);
    struct object_pool **link = &pools->first;
    while (*link != NULL && strcmp((*link)->counts.name, pool->counts.name) < 0) link = &(*link)->next;
    pool->next = *link;
    *link = pool;
    pthread_mutex_unlock(&pools->mutex);
}

void object_pools_remove(struct object_pools *pools, struct object_pool *pool)
{
    if (pools == NULL) return;
    pthread_mutex_lock(&pools->mutex);
    struct object_pool **link = &pools->first;
    while (*link != NULL && *link != pool) link = &(*link)->next;
    if (*link != NULL) *link = pool->next;
    pthread_mutex_unlock(&pools->mutex);
}

size_t object_pools_shrink(struct object_pools *pools, bool all)
{
    size_t bytes = 0;
    pthread_mutex_lock(&pools->mutex);
    for (struct object_pool *pool = pools->first; pool != NULL; pool = pool->next)
        bytes += object_pool_shrink(pool, all);
    pthread_mutex_unlock(&pools->mutex);
    return bytes;
}

static void add_up(struct object_pool_stats *sum, const struct object_pool_stats *more)
{
    sum->size += more->size;
    sum->active += more->active;
    sum->bytes += more->bytes;
    sum->hits += more->hits;
    sum->misses += more->misses;
    sum->created += more->created;
    sum->released += more->released;
    sum->refused += more->refused;
    sum->high_water += more->high_water;
}

size_t object_pools_stats(struct object_pools *pools, struct object_pool_stats *out, size_t max)
{
    size_t count = 0;
    pthread_mutex_lock(&pools->mutex);
    for (struct object_pool *pool = pools->first; pool != NULL; pool = pool->next) {
        struct object_pool_stats one;
        object_pool_stats(pool, &one);
        if (count > 0 && strcmp(out[count - 1].name, one.name) == 0) add_up(&out[count - 1], &one);
        else if (count < max) out[count++] = one;
    }
    pthread_mutex_unlock(&pools->mutex);
    return count;
}
