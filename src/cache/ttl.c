/*
 * ttl.c - how long an answer lives when the request does not say: one table, the operations of the contract first, the
 * user's over them.
 *
 * A reload makes another table and puts it in force by one store; the older ones stay until the close, because a reader
 * may still look at them. Reloads are rare and tables small.
 */
#include "cache/builtin_ttls.h"
#include "cache/inner.h"

#include <string.h>

#define DEFAULT_TTL_SECONDS 3600
#define MAX_OPERATIONS 10000

static const aic_operation_ttl builtin_ttls[] = {
#define BUILTIN_TTL_ROW(operation, seconds) {operation, seconds},
    BUILTIN_TTL_MAP(BUILTIN_TTL_ROW)
#undef BUILTIN_TTL_ROW
};

/* A ttl of the options, told by their name of it. */
static aic_status check_row_ttl(const char *field, uint64_t ttl_seconds, aic_error *error)
{
    aic_error inner = {0};
    aic_status status = cache_check_ttl(ttl_seconds, &inner);
    return status == AIC_OK ? AIC_OK : error_set(error, status, field, "%s", inner.message);
}

static aic_status add_ttl(struct ttl_table *table, const aic_operation_ttl *from, aic_error *error)
{
    aic_view name = aic_view_of(from->operation);
    TRY(cache_check_name("ttl.operations", name, error));
    TRY(check_row_ttl("ttl.operations", from->ttl_seconds, error));
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->rows[i].operation, from->operation) != 0) continue;
        table->rows[i].ttl_seconds = from->ttl_seconds;
        return AIC_OK;
    }
    CHECK(table->count < table->capacity && name.size < sizeof table->rows->operation);
    struct ttl_row *row = &table->rows[table->count++];
    memcpy(row->operation, name.data, name.size);
    row->operation[name.size] = '\0';
    row->ttl_seconds = from->ttl_seconds;
    return AIC_OK;
}

static size_t table_bytes(size_t capacity)
{
    return sizeof(struct ttl_table) + capacity * sizeof(struct ttl_row);
}

static void table_destroy(struct aic_cache *cache, struct ttl_table *table)
{
    if (table != NULL) mem_free(&cache->mem, MEM_CACHE, table, table_bytes(table->capacity));
}

static aic_status fill(struct ttl_table *table, uint64_t fallback, const aic_operation_ttl *operations, size_t count,
                       aic_error *error)
{
    table->fallback = fallback == 0 ? DEFAULT_TTL_SECONDS : fallback == AIC_ZERO ? 0 : fallback;
    TRY(check_row_ttl("ttl.default", table->fallback, error));
    for (size_t i = 0; i < COUNT_OF(builtin_ttls); i++) TRY(add_ttl(table, &builtin_ttls[i], error));
    for (size_t i = 0; i < count; i++) TRY(add_ttl(table, &operations[i], error));
    return AIC_OK;
}

aic_status cache_set_ttls(struct aic_cache *cache, uint64_t fallback, const aic_operation_ttl *operations, size_t count,
                          aic_error *error)
{
    if (count > MAX_OPERATIONS)
        return error_set(error, AIC_INVALID, "ttl.operations", "%zu operations are too many: at most %d are accepted",
                         count, MAX_OPERATIONS);
    if (count > 0 && operations == NULL)
        return error_set(error, AIC_INVALID, "ttl.operations", "%zu came, in an array that is NULL", count);
    size_t capacity = COUNT_OF(builtin_ttls) + count;
    struct ttl_table *table = mem_zalloc(&cache->mem, MEM_CACHE, table_bytes(capacity));
    if (table == NULL) return AIC_NO_MEMORY;
    table->capacity = capacity;
    aic_status status = fill(table, fallback, operations, count, error);
    if (status != AIC_OK) {
        table_destroy(cache, table);
        return status;
    }
    table->older = atomic_load_explicit(&cache->ttls,
                                        memory_order_relaxed); /* one thread sets: what it set before it sees */
    atomic_store_explicit(&cache->ttls, table, memory_order_release);
    return AIC_OK;
}

aic_status ttl_init(struct aic_cache *cache, const aic_options *options, aic_error *error)
{
    return cache_set_ttls(cache, options->ttl_default_seconds, options->ttl_operations, options->ttl_operation_count,
                          error);
}

void ttl_fini(struct aic_cache *cache)
{
    struct ttl_table *table = atomic_load_explicit(&cache->ttls, memory_order_relaxed);
    while (table != NULL) {
        struct ttl_table *older = table->older;
        table_destroy(cache, table);
        table = older;
    }
    atomic_store_explicit(&cache->ttls, NULL, memory_order_relaxed);
}

uint64_t cache_default_ttl(const struct aic_cache *cache, aic_view operation)
{
    const struct ttl_table *table = atomic_load_explicit(&cache->ttls, memory_order_acquire);
    for (size_t i = 0; i < table->count; i++) {
        const char *name = table->rows[i].operation;
        if (strlen(name) == operation.size && memcmp(name, operation.data, operation.size) == 0)
            return table->rows[i].ttl_seconds;
    }
    return table->fallback;
}
