#include "cache/observe.h"

#include "cache/inner.h"

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

bool cache_is_told(const struct aic_cache *cache)
{
    return cache->monitor != NULL || cache_is_observed(cache);
}

void cache_observe_end(struct aic_cache *cache, struct cache_event event)
{
    if (cache->monitor != NULL) cache->meter->operation(cache->monitor, &event);
    if (event.unlogged || !cache_is_observed(cache)) return;
    event.memory_after = store_bytes(cache->store);
    cache->observer.fn(cache->observer.context, &event);
}
