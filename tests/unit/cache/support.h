/*
 * support.h - what the tests of the cache share: a clock that they turn by hand, a directory of their own, short ways
 * to put and look up.
 */
#ifndef TESTS_CACHE_SUPPORT_H
#define TESTS_CACHE_SUPPORT_H

#include "base/check.h"
#include "cache/cache.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
/* Verifying the memory tier takes the locks of all its shards; the sanitizer's search for lock orders ends at 64. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "detect_deadlocks=0";
}
#endif

/* ---- time by hand ---- */

struct hand_clock {
    _Atomic uint64_t wall_ms, mono_ns;
    aic_clock clock;
};

static inline uint64_t hand_wall(void *context)
{
    return atomic_load(&((struct hand_clock *)context)->wall_ms);
}

static inline uint64_t hand_mono(void *context)
{
    return atomic_load(&((struct hand_clock *)context)->mono_ns);
}

static inline void hand_init(struct hand_clock *hand)
{
    atomic_init(&hand->wall_ms, 1700000000000);
    atomic_init(&hand->mono_ns, 1000000000);
    hand->clock = (aic_clock){hand_wall, hand_mono, hand};
}

static inline void hand_turn(struct hand_clock *hand, uint64_t seconds)
{
    atomic_fetch_add(&hand->wall_ms, seconds * 1000);
    atomic_fetch_add(&hand->mono_ns, seconds * 1000000000);
}

/* ---- a directory ---- */

struct own_dir {
    char path[64];
};

static inline void own_dir_make(struct own_dir *dir)
{
    const char *base = getenv("TMPDIR");
    int size = snprintf(dir->path, sizeof dir->path, "%s/aicache-test-XXXXXX",
                        base != NULL && strlen(base) < 40 ? base : "/tmp");
    CHECK(size > 0 && mkdtemp(dir->path) != NULL);
}

static inline int remove_one(const char *path, const struct stat *entry, int kind, struct FTW *walk)
{
    (void)entry;
    (void)kind;
    (void)walk;
    return remove(path);
}

static inline void own_dir_remove(struct own_dir *dir)
{
    CHECK(nftw(dir->path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

/* ---- a cache ---- */

struct bench_cache { /* everything a test needs on the table */
    struct hand_clock hand;
    struct own_dir dir;
    aic_options options;
    aic_cache *cache;
};

static inline void table_open(struct bench_cache *table)
{
    aic_error error;
    aic_status status = aic_cache_open(&table->options, &table->cache, &error);
    if (status != AIC_OK) fprintf(stderr, "%s: %s: %s\n", aic_status_name(status), error.field, error.message);
    CHECK(status == AIC_OK);
}

/* Memory only. The storage deadline is long, so that a slow machine does not make misses of hits. */
static inline void table_init(struct bench_cache *table)
{
    memset(table, 0, sizeof *table);
    hand_init(&table->hand);
    own_dir_make(&table->dir);
    table->options.clock = &table->hand.clock;
    table->options.storage_deadline_ms = 20000;
}

static inline void table_fini(struct bench_cache *table)
{
    aic_cache_close(&table->cache);
    own_dir_remove(&table->dir);
}

static inline aic_request request_of(const char *operation, const char *text)
{
    return (aic_request){.operation = aic_view_of(operation), .text = aic_view_of(text)};
}

static inline aic_put put_of(const char *operation, const char *text, const char *response)
{
    return (aic_put){.request = request_of(operation, text), .response = aic_view_of(response)};
}

/* Puts; AIC_OK or what went wrong. */
static inline aic_status put_text(aic_cache *cache, const char *operation, const char *text, const char *response)
{
    aic_put put = put_of(operation, text, response);
    return aic_cache_put(cache, &put, NULL, NULL);
}

/* 'm' a hit in memory, 's' a hit in storage, '-' a miss, '!' an error, '?' a hit with another response than `wanted`
 * (NULL: any). */
static inline char look_for(aic_cache *cache, const aic_request *request, const char *wanted)
{
    aic_hit *hit = NULL;
    aic_status status = aic_cache_lookup(cache, request, NULL, &hit, NULL);
    if (status == AIC_MISS) return '-';
    if (status != AIC_OK) return '!';
    aic_view response;
    char found = aic_hit_tier(hit) == AIC_IN_MEMORY ? 'm' : 's';
    if (aic_hit_response(hit, &response) != AIC_OK) found = '!';
    else if (wanted != NULL && (response.size != strlen(wanted) || memcmp(response.data, wanted, response.size) != 0))
        found = '?';
    aic_hit_release(&hit);
    return found;
}

static inline char look(aic_cache *cache, const char *operation, const char *text, const char *wanted)
{
    aic_request request = request_of(operation, text);
    return look_for(cache, &request, wanted);
}

/* Empties the memory tier alone, so that the next lookup has to ask storage. */
static inline void forget_memory(aic_cache *cache)
{
    aic_filter filter = {.all = true, .all_namespaces = true, .tiers = AIC_IN_MEMORY};
    CHECK(aic_cache_invalidate(cache, &filter, false, NULL, NULL) == AIC_OK);
}

static inline struct figures stats_of(aic_cache *cache)
{
    struct figures stats = {0};
    cache_figures(cache, &stats);
    return stats;
}

/* ---- cmocka's fixtures: a table, closed; open with memory only; open with storage in its directory ---- */

static inline int table_setup(void **state)
{
    struct bench_cache *table = malloc(sizeof *table);
    CHECK(table != NULL);
    table_init(table);
    *state = table;
    return 0;
}

static inline int table_setup_memory(void **state)
{
    (void)table_setup(state);
    table_open(*state);
    return 0;
}

static inline int table_setup_storage(void **state)
{
    (void)table_setup(state);
    struct bench_cache *table = *state;
    table->options.data_dir = table->dir.path;
    table_open(table);
    return 0;
}

static inline int table_teardown(void **state)
{
    table_fini(*state);
    free(*state);
    return 0;
}

/* A JSON string of `size` bytes that compresses well but is no constant. */
static inline char *make_response(size_t size, unsigned seed)
{
    static const char *const words[] = {"the ", "answer ", "of ",  "a ",    "model ",
                                        "is ",  "long ",   "and ", "kept ", "warm "};
    char *text = malloc(size + 1);
    CHECK(text != NULL);
    size_t at = 0;
    text[at++] = '"';
    while (at + 1 < size) {
        const char *word = words[rand_r(&seed) % 10];
        for (size_t i = 0; word[i] != '\0' && at + 1 < size; i++) text[at++] = word[i];
    }
    text[at++] = '"';
    text[at] = '\0';
    return text;
}

#endif
