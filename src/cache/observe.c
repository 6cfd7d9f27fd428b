#include "cache/observe.h"

#include "base/check.h"
#include "cache/inner.h"

const char *cache_operation_name(enum cache_operation operation)
{
    static const char *const names[] = {"get", "set", "delete", "invalidate"};
    CHECK((size_t)operation < COUNT_OF(names));
    return names[operation];
}

void cache_observe(struct aic_cache *cache, cache_observe_fn *fn, void *context)
{
    cache->observer.fn = fn;
    cache->observer.context = context;
}

void cache_observe_switch(struct aic_cache *cache, bool on)
{
    atomic_store_explicit(&cache->observer.on, on && cache->observer.fn != NULL, memory_order_relaxed);
}

bool cache_is_observed(const struct aic_cache *cache)
{
    return atomic_load_explicit(&cache->observer.on, memory_order_relaxed);
}

uint64_t cache_observe_begin(struct aic_cache *cache)
{
    return cache_is_observed(cache) ? store_bytes(cache->store) : 0;
}

void cache_observe_end(struct aic_cache *cache, struct cache_event event)
{
    if (!cache_is_observed(cache)) return;
    event.memory_after = store_bytes(cache->store);
    cache->observer.fn(cache->observer.context, &event);
}
