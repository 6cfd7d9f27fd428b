/*
 * ttl.c - how long an answer lives when the request does not say: one table, the operations of the contract first, the user's over them.
 */
#include "cache/inner.h"

#include <string.h>

#define DEFAULT_TTL_SECONDS 3600

static const aic_operation_ttl builtin_ttls[] = {
    {"summarize", 7200}, {"sentiment", 86400}, {"key_points", 7200}, {"questions", 3600}, {"qa", 1800},
};

static aic_status add_ttl(struct aic_cache *cache, const aic_operation_ttl *from, aic_error *error)
{
    aic_view name = aic_view_of(from->operation);
    TRY(cache_check_name("ttl.operations", name, error));
    TRY(cache_check_ttl(from->ttl_seconds, error));
    for (size_t i = 0; i < cache->ttl_count; i++) {
        if (strcmp(cache->ttls[i].operation, from->operation) != 0) continue;
        cache->ttls[i].ttl_seconds = from->ttl_seconds;
        return AIC_OK;
    }
    struct ttl_row *row = &cache->ttls[cache->ttl_count++];
    memcpy(row->operation, name.data, name.size);
    row->operation[name.size] = '\0';
    row->ttl_seconds = from->ttl_seconds;
    return AIC_OK;
}

aic_status ttl_init(struct aic_cache *cache, const aic_options *options, aic_error *error)
{
    if (options->ttl_operation_count > 10000) return error_set(error, AIC_INVALID, "ttl.operations", "at most 10000");
    cache->ttl_rows = COUNT_OF(builtin_ttls) + options->ttl_operation_count;
    cache->ttls = mem_alloc(&cache->mem, MEM_CACHE, cache->ttl_rows * sizeof *cache->ttls);
    if (cache->ttls == NULL) return AIC_NO_MEMORY;
    uint64_t given = options->ttl_default_seconds;
    cache->ttl_default = given == 0 ? DEFAULT_TTL_SECONDS : given == AIC_ZERO ? 0 : given;
    TRY(cache_check_ttl(cache->ttl_default, error));
    for (size_t i = 0; i < COUNT_OF(builtin_ttls); i++) TRY(add_ttl(cache, &builtin_ttls[i], error));
    for (size_t i = 0; i < options->ttl_operation_count; i++) TRY(add_ttl(cache, &options->ttl_operations[i], error));
    return AIC_OK;
}

void ttl_fini(struct aic_cache *cache)
{
    mem_free(&cache->mem, MEM_CACHE, cache->ttls, cache->ttl_rows * sizeof *cache->ttls);
}

uint64_t cache_default_ttl(const struct aic_cache *cache, aic_view operation)
{
    for (size_t i = 0; i < cache->ttl_count; i++) {
        const char *name = cache->ttls[i].operation;
        if (strlen(name) == operation.size && memcmp(name, operation.data, operation.size) == 0)
            return cache->ttls[i].ttl_seconds;
    }
    return cache->ttl_default;
}

