/*
 * cache.c - opening and closing a cache, and the protocol of its writers.
 */
#include "cache/inner.h"
#include "tier/lmdb/lmdb.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define DEFAULT_MEMORY_BYTES (UINT64_C(256) << 20)
#define DEFAULT_ITEM_BYTES (UINT64_C(8) << 20)
#define DEFAULT_STORAGE_BYTES (UINT64_C(10) << 30)
#define DEFAULT_QUEUE_BYTES (UINT64_C(64) << 20)
#define DEFAULT_THRESHOLD 1000
#define DEFAULT_LEVEL 3
#define DEFAULT_DEADLINE_MS 20
#define DEFAULT_SYNC_MS 1000
#define SYNC_DEADLINE_MS 60000
#define DRAIN_WAIT_MS 1000                  /* at the close; what storage has not taken by then may not come in time */
#define MAX_PLAIN_BYTES (UINT64_C(2) << 30) /* what the JSON scanner takes, too */

/* A zeroed number means the default, AIC_ZERO means zero. */
static uint64_t or_default(uint64_t given, uint64_t fallback)
{
    return given == 0 ? fallback : given == AIC_ZERO ? 0 : given;
}

void cache_log(struct aic_cache *cache, aic_log_level level, const char *format, ...)
{
    if (cache->log == NULL) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    cache->log(cache->log_context, level, line);
}

/* ---- writers ---- */

struct stripe *writer_begin(struct aic_cache *cache, const aic_key *key)
{
    struct stripe *stripe = stripe_of(cache, key);
    pthread_mutex_lock(&stripe->lock);
    /* Sequentially consistent: odd is seen by every sample that reads what this writer is about to replace. */
    CHECK(atomic_fetch_add_explicit(&stripe->writes, 1, memory_order_seq_cst) % 2 == 0);
    return stripe;
}

void writer_end(struct stripe *stripe)
{
    CHECK(atomic_fetch_add_explicit(&stripe->writes, 1, memory_order_seq_cst) % 2 == 1);
    pthread_mutex_unlock(&stripe->lock);
}

aic_status cache_move_in(struct aic_cache *cache, const aic_key *key, struct moment moment, uint64_t expires_ms,
                         const struct iovec *parts, size_t part_count, bool only_if_absent)
{
    if (!moment_is_quiet(moment)) return AIC_STALE;
    const struct store_guard guards[] = {{&cache->epoch, moment.epoch},
                                         {&stripe_of(cache, key)->writes, moment.writes}};
    return store_put(cache->store, &(struct store_put){.key = *key,
                                                       .expires_ms = expires_ms,
                                                       .parts = parts,
                                                       .part_count = part_count,
                                                       .only_if_absent = only_if_absent,
                                                       .guards = guards,
                                                       .guard_count = COUNT_OF(guards)});
}

/* ---- open and close ---- */

/* Closes whatever was opened so far, in reverse. The tick thread goes first, so that nobody else is here. */
static void cache_free(struct aic_cache *cache)
{
    tick_stop(cache);
    owed_settle(cache);
    bool late = cache->owed.journal != NULL && gate_flush(cache->gate, false, DRAIN_WAIT_MS) != AIC_OK;
    if (late) owed_replaced(cache);
    aic_status drained = gate_destroy(&cache->gate);
    bool hung = drained == AIC_TIMEOUT;
    if (late && drained == AIC_OK) owed_paid(cache);
    if (hung)
        cache_log(cache, AIC_LOG_WARNING,
                  "storage does not let go: a thread is left to it, its last writes may be lost");
    hot_destroy(&cache->hot);
    leases_destroy(&cache->leases);
    store_destroy(&cache->store);
    codec_destroy(&cache->codec);
    digest_destroy(&cache->digest);
    owed_fini(&cache->owed);
    filter_list_fini(&cache->filters);
    if (cache->stripes != NULL) {
        for (size_t i = 0; i < STRIPES; i++) pthread_mutex_destroy(&cache->stripes[i].lock);
    }
    mem_free(&cache->mem, MEM_CACHE, cache->stripes, STRIPES * sizeof *cache->stripes);
    ttl_fini(cache);
    pthread_mutex_destroy(&cache->invalidating);
    pthread_mutex_destroy(&cache->ticking);
    pthread_mutex_destroy(&cache->thread_lock);
    pthread_cond_destroy(&cache->thread_wake);
    if (hung)
        return; /* a thread that storage never gave back still uses the accounts and the clock: they are left to it */
    struct mem own;
    mem_init(&own, &cache->mem.allocator);
    mem_fini(&cache->mem);
    mem_free(&own, MEM_CACHE, cache, sizeof *cache);
}

/* The handle itself comes from the caller's allocator but is not in its own accounts, which live inside of it. */
static struct aic_cache *cache_alloc(const aic_options *options)
{
    struct mem own;
    mem_init(&own, options->allocator);
    struct aic_cache *cache = mem_zalloc(&own, MEM_CACHE, sizeof *cache);
    if (cache == NULL) return NULL;
    mem_init(&cache->mem, options->allocator);
    cache->clock = clock_held_init(&cache->held, options->clock != NULL ? options->clock : clock_system());
    cache->monitor = options->monitor;
    /* A monitor begins with the pointer to its meter; what else it holds is no business of the cache's. */
    if (cache->monitor != NULL) cache->meter = *(const struct cache_meter *const *)(const void *)cache->monitor;
    cache->log = options->log;
    cache->log_context = options->log_context;
    cache->durability = options->storage_durability;
    cache->deadline_ms = options->storage_deadline_ms != 0 ? options->storage_deadline_ms : DEFAULT_DEADLINE_MS;
    atomic_init(&cache->last_seq, 1);
    filter_list_init(&cache->filters, &cache->mem);
    owed_init(&cache->owed);
    pthread_mutex_init(&cache->invalidating, NULL);
    pthread_mutex_init(&cache->ticking, NULL);
    pthread_mutex_init(&cache->thread_lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&cache->thread_wake, &attributes);
    pthread_condattr_destroy(&attributes);
    return cache;
}

static aic_status make_tables(struct aic_cache *cache)
{
    cache->stripes = mem_zalloc(&cache->mem, MEM_CACHE, STRIPES * sizeof *cache->stripes);
    if (cache->stripes == NULL) return AIC_NO_MEMORY;
    for (size_t i = 0; i < STRIPES; i++) pthread_mutex_init(&cache->stripes[i].lock, NULL);
    return AIC_OK;
}

static aic_status make_memory_tier(struct aic_cache *cache, const aic_options *options)
{
    uint64_t max_bytes = or_default(options->memory_max_bytes, DEFAULT_MEMORY_BYTES);
    cache->max_item_bytes = or_default(options->memory_max_item_bytes, DEFAULT_ITEM_BYTES);
    TRY(store_create(&(struct store_options){.mem = &cache->mem,
                                             .clock = &cache->clock,
                                             .max_bytes = max_bytes,
                                             .max_entries = or_default(options->memory_max_entries, 0),
                                             .max_item_bytes = cache->max_item_bytes,
                                             .policy = options->memory_policy},
                     &cache->store));
    TRY(leases_create(&cache->mem, &cache->clock, &cache->leases));
    return max_bytes > 0 ? hot_create(&cache->mem, max_bytes, &cache->hot) : AIC_OK;
}

static aic_status make_codec(struct aic_cache *cache, const aic_options *options)
{
    int level = options->compression_level != 0 ? options->compression_level : DEFAULT_LEVEL;
    return codec_create(
        &(struct codec_options){.mem = &cache->mem,
                                .threshold_bytes = or_default(options->compression_threshold_bytes, DEFAULT_THRESHOLD),
                                .level = level,
                                .dictionary_off = options->dictionary_off,
                                .max_plain_bytes = MAX_PLAIN_BYTES},
        &cache->codec);
}

static aic_status make_directory(const char *path, aic_error *error)
{
    if (mkdir(path, 0700) == 0) return AIC_OK;
    int why = errno;
    struct stat entry;
    if (why == EEXIST) {
        if (stat(path, &entry) != 0) why = errno; /* of a link that leads nowhere, for one */
        else if (S_ISDIR(entry.st_mode)) return AIC_OK;
        else why = ENOTDIR;
    }
    return error_set(error, AIC_IO, "data_dir", "cannot make the directory '%.200s': %s", path, strerror(why));
}

/* The storage tier that the options name; *out stays NULL without one. */
static aic_status open_tier(struct aic_cache *cache, const aic_options *options, struct tier **out, aic_error *error)
{
    aic_storage kind = options->storage;
    if (kind == AIC_STORAGE_DEFAULT) kind = options->data_dir != NULL ? AIC_STORAGE_LMDB : AIC_STORAGE_NONE;
    if (kind == AIC_STORAGE_NONE) return AIC_OK;
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/cache", options->data_dir) >= sizeof path)
        return error_set(error, AIC_INVALID, "data_dir", "the path is too long");
    return lmdb_tier_open(
        &(struct lmdb_options){.mem = &cache->mem,
                               .clock = &cache->clock,
                               .directory = path,
                               .max_bytes = or_default(options->storage_max_bytes, DEFAULT_STORAGE_BYTES),
                               .describe = record_describe,
                               .log = options->log,
                               .log_context = options->log_context},
        out, error);
}

/* Takes `tier` over in any case. */
static aic_status make_gate(struct aic_cache *cache, const aic_options *options, struct tier *tier)
{
    struct gate_options gate = {.mem = &cache->mem,
                                .clock = &cache->clock,
                                .tier = tier,
                                .queue_bytes = or_default(options->storage_queue_bytes, DEFAULT_QUEUE_BYTES),
                                .sync_ms = options->storage_sync_ms != 0 ? options->storage_sync_ms : DEFAULT_SYNC_MS,
                                .log = options->log,
                                .log_context = options->log_context};
    return gate_create(&gate, &cache->gate);
}

static aic_status cache_setup(struct aic_cache *cache, const aic_options *options, struct tier **tier, aic_error *error)
{
    TRY(make_tables(cache));
    TRY(ttl_init(cache, options, error));
    if (options->data_dir != NULL) TRY(make_directory(options->data_dir, error));
    if (*tier == NULL) TRY(open_tier(cache, options, tier, error)); /* first: it locks the directory */
    if (*tier != NULL) {
        struct tier *taken = *tier;
        *tier = NULL;
        TRY(make_gate(cache, options, taken));
    }
    TRY(secret_load(cache, options, error));
    TRY(make_codec(cache, options));
    TRY(make_memory_tier(cache, options));
    if (cache->gate != NULL) {
        struct tier_stats stats;
        gate_tier_stats(cache->gate, &stats);
        if (stats.last_seq > 1) atomic_store_explicit(&cache->last_seq, stats.last_seq, memory_order_relaxed);
        TRY(owed_open(cache, options->data_dir));
        TRY(dictionaries_load(cache, error));
    }
    return tick_start(cache);
}

aic_status cache_open(const aic_options *options, struct tier *tier, struct aic_cache **out, aic_error *error)
{
    static const aic_options defaults;
    if (error != NULL) *error = (aic_error){0};
    if (options == NULL) options = &defaults;
    aic_status status = options_check(options, error);
    if (status != AIC_OK) {
        if (tier != NULL) tier->ops->close(tier);
        return status;
    }
    struct aic_cache *cache = cache_alloc(options);
    /* Threads inherit the mask of who starts them: the application's signals are its own threads' business. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    status = cache != NULL ? cache_setup(cache, options, &tier, error) : AIC_NO_MEMORY;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (status != AIC_OK) {
        if (tier != NULL) tier->ops->close(tier);
        if (cache != NULL) cache_free(cache);
        if (error != NULL && error->status == AIC_OK) error_set(error, status, NULL, "%s", aic_status_text(status));
        return status;
    }
    *out = cache;
    return AIC_OK;
}

aic_status aic_cache_open(const aic_options *options, aic_cache **out, aic_error *error)
{
    return cache_open(options, NULL, out, error);
}

void cache_destroy(struct aic_cache **cache)
{
    if (*cache == NULL) return;
    cache_free(*cache);
    *cache = NULL;
}

aic_status aic_cache_sync(aic_cache *cache)
{
    return cache->gate != NULL ? gate_flush(cache->gate, true, SYNC_DEADLINE_MS) : AIC_OK;
}

struct mem *cache_mem(struct aic_cache *cache)
{
    return &cache->mem;
}

struct store *cache_store(struct aic_cache *cache)
{
    return cache->store;
}

struct gate *cache_gate(struct aic_cache *cache)
{
    return cache->gate;
}

struct leases *cache_leases(struct aic_cache *cache)
{
    return cache->leases;
}
