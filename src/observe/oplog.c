#include "observe/oplog.h"

static void write_event(struct oplog *oplog, aic_log_level level, const struct cache_event *event)
{
    char key[AIC_KEY_HEX_SIZE] = "";
    if (event->key != NULL) aic_key_format(event->key, key);
    bool memory = (event->tiers & AIC_IN_MEMORY) != 0, storage = (event->tiers & AIC_IN_STORAGE) != 0;
    const char *tier = memory && storage ? "memory,storage" : memory ? "memory" : storage ? "storage" : "none";
    bool get = event->kind == CACHE_GET;
    static const char *const kinds[] = {
#define KIND(name, word) word,
        CACHE_OPERATION_MAP(KIND)
#undef KIND
    };
    log_fields(oplog->log, level, "cache", kinds[event->kind],
               LOG_F_TEXT("result", !get         ? "done"
                                    : event->hit ? "hit"
                                                 : "miss"),
               LOG_F_TEXT("tier", tier), LOG_F_TEXT("key", key), LOG_F_VIEW("operation", event->operation),
               LOG_F_DOUBLE("duration_seconds", (double)(event->ended_ns - event->started_ns) / 1e9),
               LOG_F_U64("memory_before", event->memory_before), LOG_F_U64("memory_after", event->memory_after));
}

static void on_event(void *context, const struct cache_event *event)
{
    struct oplog *oplog = context;
    if (log_enabled(oplog->log, AIC_LOG_DEBUG)) {
        write_event(oplog, AIC_LOG_DEBUG, event);
        return;
    }
    uint64_t every = atomic_load_explicit(&oplog->every, memory_order_relaxed);
    if (every == 0 || atomic_fetch_add_explicit(&oplog->seen, 1, memory_order_relaxed) % every != 0) return;
    write_event(oplog, AIC_LOG_INFO, event);
}

void oplog_init(struct oplog *oplog, struct log *log, aic_cache *cache)
{
    oplog->log = log;
    cache_observe(cache, on_event, oplog);
}

void oplog_set(struct oplog *oplog, aic_cache *cache, uint64_t every)
{
    atomic_store_explicit(&oplog->every, every, memory_order_relaxed);
    cache_observe_switch(cache, every > 0 || log_enabled(oplog->log, AIC_LOG_DEBUG));
}
