/*
 * cache_model - random operations on a two-tier cache and on a plain array beside it; after every step they must tell
 * the same. The seed is printed; `cache_model SEED` repeats a run.
 *
 * Storage keeps everything, memory is small, so that entries are evicted, promoted, kept plain and compressed again all
 * the time without one answer changing. Without storage memory is large, so that nothing is evicted.
 */
#include "../unit/cache/support.h"

#include "base/check.h"
#include "base/glob.h"

#include <time.h>

#define NAMES 3
#define TEXTS 12
#define ENTRIES (2 * NAMES * TEXTS)

struct expected {
    bool there;
    uint64_t created_ms, expires_ms;
    unsigned seed; /* of the response */
    size_t size;
    unsigned tag;
};

struct model {
    struct bench_cache table;
    bool storage;
    unsigned seed;
    struct expected entries[ENTRIES];
    uint64_t hits, misses;
};

static const char *const spaces[] = {"default", "other"};
static const char *const names[] = {"qa", "qa_v2", "summarize"};
static const char *const tags[] = {"red", "green", "blue"};

static unsigned draw(struct model *model, unsigned below)
{
    return (unsigned)rand_r(&model->seed) % below;
}

static uint64_t now_ms(struct model *model)
{
    return atomic_load(&model->table.hand.wall_ms);
}

static aic_request request_at(unsigned index, char text[16])
{
    snprintf(text, 16, "text %u", index % TEXTS);
    return (aic_request){.ns = aic_view_of(spaces[index / (NAMES * TEXTS)]),
                         .operation = aic_view_of(names[index / TEXTS % NAMES]),
                         .text = aic_view_of(text)};
}

static bool alive(struct model *model, const struct expected *entry)
{
    return entry->there && (entry->expires_ms == 0 || entry->expires_ms > now_ms(model));
}

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static void step_put(struct model *model, unsigned index)
{
    static const size_t sizes[] = {2, 10, 900, 1500, 6000, 20000, 60000};
    struct expected *entry = &model->entries[index];
    *entry = (struct expected){.there = true, .created_ms = now_ms(model), .seed = draw(model, 100000)};
    entry->size = sizes[draw(model, COUNT_OF(sizes))];
    entry->tag = draw(model, COUNT_OF(tags));
    uint64_t ttl = draw(model, 4) == 0 ? 0 : 1 + draw(model, 5000);
    entry->expires_ms = ttl == 0 ? 0 : entry->created_ms + ttl * 1000;
    char text[16], *response = make_response(entry->size, entry->seed);
    aic_view tag = aic_view_of(tags[entry->tag]);
    aic_put put = {.request = request_at(index, text),
                   .response = aic_view_of(response),
                   .ttl_given = true,
                   .ttl_seconds = ttl,
                   .tags = &tag,
                   .tag_count = 1};
    aic_put_result result;
    MUST(aic_cache_put(model->table.cache, &put, &result, NULL) == AIC_OK);
    MUST(result.expires_ms == entry->expires_ms && result.size_bytes == entry->size);
    free(response);
}

static void step_lookup(struct model *model, unsigned index)
{
    struct expected *entry = &model->entries[index];
    char text[16];
    aic_request request = request_at(index, text);
    aic_hit *hit;
    aic_key key;
    aic_status status = draw(model, 2) == 0 ? aic_cache_lookup(model->table.cache, &request, &key, &hit, NULL)
                                            : AIC_EXISTS;
    if (status == AIC_EXISTS) { /* the same by key */
        MUST(aic_cache_key(model->table.cache, &request, &key, NULL) == AIC_OK);
        status = aic_cache_get(model->table.cache, request.ns, &key, &hit);
    }
    MUST(status == (alive(model, entry) ? AIC_OK : AIC_MISS));
    model->hits += status == AIC_OK;
    model->misses += status != AIC_OK;
    if (status != AIC_OK) return;
    aic_view response;
    char *wanted = make_response(entry->size, entry->seed);
    MUST(aic_hit_response(hit, &response) == AIC_OK);
    MUST(response.size == entry->size && memcmp(response.data, wanted, entry->size) == 0);
    const aic_metadata *metadata = aic_hit_metadata(hit);
    MUST(metadata->created_ms == entry->created_ms && metadata->expires_ms == entry->expires_ms);
    aic_hit_release(&hit);
    free(wanted);
}

static void step_delete(struct model *model, unsigned index)
{
    char text[16];
    aic_request request = request_at(index, text);
    aic_key key;
    MUST(aic_cache_key(model->table.cache, &request, &key, NULL) == AIC_OK);
    aic_status status = aic_cache_delete(model->table.cache, request.ns, &key);
    MUST(status == (alive(model, &model->entries[index]) ? AIC_OK : AIC_MISS));
    model->entries[index].there = false;
}

/* A random filter; *describe is what the array must match. */
struct choice {
    int space, name, tag; /* -1: any */
    const char *pattern;
    bool aged;
    uint64_t age;
};

static struct choice choose(struct model *model, aic_filter *filter)
{
    static const char *const patterns[] = {"qa*", "*e*", "[br]*", "summar?ze", "x*"};
    struct choice choice = {-1, -1, -1, NULL, false, 0};
    *filter = (aic_filter){.all = true};
    choice.space = (int)draw(model, 3) - 1;
    if (choice.space >= 0) filter->ns = aic_view_of(spaces[choice.space]);
    filter->all_namespaces = choice.space < 0;
    if (draw(model, 2) == 0) filter->operation = aic_view_of(names[choice.name = (int)draw(model, NAMES)]);
    if (draw(model, 2) == 0) filter->tag = aic_view_of(tags[choice.tag = (int)draw(model, COUNT_OF(tags))]);
    if (draw(model, 3) == 0) filter->pattern = aic_view_of(choice.pattern = patterns[draw(model, COUNT_OF(patterns))]);
    choice.aged = filter->age_given = draw(model, 3) == 0;
    choice.age = filter->older_than_seconds = draw(model, 100);
    return choice;
}

static bool glob_match(aic_view pattern, aic_view text)
{
    struct glob glob;
    CHECK(glob_compile(&glob, pattern) == AIC_OK);
    return glob_matches(&glob, text);
}

static bool matches(struct model *model, const struct choice *choice, unsigned index)
{
    const struct expected *entry = &model->entries[index];
    const char *name = names[index / TEXTS % NAMES], *tag = tags[entry->tag];
    if (!alive(model, entry)) return false;
    if (choice->space >= 0 && (unsigned)choice->space != index / (NAMES * TEXTS)) return false;
    if (choice->name >= 0 && (unsigned)choice->name != index / TEXTS % NAMES) return false;
    if (choice->tag >= 0 && (unsigned)choice->tag != entry->tag) return false;
    if (choice->aged && entry->created_ms + choice->age * 1000 > now_ms(model)) return false;
    return choice->pattern == NULL || glob_match(aic_view_of(choice->pattern), aic_view_of(name)) ||
           glob_match(aic_view_of(choice->pattern), aic_view_of(tag));
}

static void step_invalidate(struct model *model)
{
    aic_filter filter;
    struct choice choice = choose(model, &filter);
    bool dry = draw(model, 8) != 0;
    uint64_t wanted = 0;
    for (unsigned i = 0; i < ENTRIES; i++) {
        if (!matches(model, &choice, i)) continue;
        wanted++;
        if (!dry) model->entries[i].there = false;
    }
    aic_invalidated sums;
    MUST(aic_cache_invalidate(model->table.cache, &filter, dry, &sums, NULL) == AIC_OK);
    MUST(sums.matched == wanted && sums.removed == (dry ? 0 : wanted));
}

static void step_list(struct model *model)
{
    aic_filter filter;
    struct choice choice = choose(model, &filter);
    uint64_t wanted = 0, found = 0;
    for (unsigned i = 0; i < ENTRIES; i++) wanted += matches(model, &choice, i);
    char cursor[AIC_KEY_HEX_SIZE] = "";
    size_t limit = 1 + draw(model, 30);
    do {
        aic_page *page;
        MUST(aic_cache_list(model->table.cache, &filter, limit, aic_view_of(cursor), &page, NULL) == AIC_OK);
        found += aic_page_count(page);
        aic_view next = aic_page_cursor(page);
        snprintf(cursor, sizeof cursor, "%.*s", (int)next.size, next.data);
        aic_page_release(&page);
    } while (cursor[0] != '\0');
    MUST(found == wanted);
}

static void step_reopen(struct model *model)
{
    if (!model->storage) return;
    aic_cache_close(&model->table.cache);
    table_open(&model->table);
    model->hits = model->misses = 0;
}

static void check(struct model *model)
{
    aic_error error = {0};
    if (aic_cache_verify(model->table.cache, &error) != AIC_OK) {
        fprintf(stderr, "verify: %s\n", error.message);
        abort();
    }
    struct figures stats = stats_of(model->table.cache);
    MUST(stats.hits_memory + stats.hits_storage == model->hits && stats.misses == model->misses);
    MUST(stats.memory_bytes <= stats.memory_max_bytes && stats.damaged == 0);
}

static void step(struct model *model)
{
    unsigned index = draw(model, ENTRIES), kind = draw(model, 100);
    if (kind < 30) step_put(model, index);
    else if (kind < 75) step_lookup(model, index);
    else if (kind < 80) step_delete(model, index);
    else if (kind < 84) step_invalidate(model);
    else if (kind < 88) step_list(model);
    else if (kind < 93) hand_turn(&model->table.hand, draw(model, 60));
    else if (kind < 96) cache_tick(model->table.cache);
    else if (kind < 97 && model->storage) forget_memory(model->table.cache);
    else if (kind < 99) check(model);
    else if (draw(model, 10) == 0) step_reopen(model);
}

static void run(unsigned seed, bool storage, unsigned steps)
{
    struct model *model = calloc(1, sizeof *model);
    MUST(model != NULL);
    model->seed = seed;
    model->storage = storage;
    table_init(&model->table);
    model->table.options.memory_max_bytes = storage ? 160 << 10 : 64 << 20;
    model->table.options.data_dir = storage ? model->table.dir.path : NULL;
    table_open(&model->table);
    for (unsigned i = 0; i < steps; i++) step(model);
    check(model);
    struct figures stats = stats_of(model->table.cache);
    printf("%s: %llu evicted, %llu promoted, %llu kept plain\n", storage ? "both tiers" : "memory",
           (unsigned long long)stats.evicted_capacity, (unsigned long long)stats.promoted,
           (unsigned long long)stats.hot_entries);
    table_fini(&model->table);
    free(model);
}

int main(int count, char **arguments)
{
    unsigned seed = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : (unsigned)time(NULL);
    unsigned steps = count > 2 ? (unsigned)strtoul(arguments[2], NULL, 10) : 8000;
    printf("seed %u\n", seed);
    fflush(stdout);
    run(seed, false, steps);
    run(seed + 1, true, steps);
    return 0;
}
