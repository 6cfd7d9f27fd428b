/*
 * tier_model.c - the LMDB tier against a naive one: random batches, reads, selections, expiry, clearing, restarts, with
 * verify() on the way.
 *
 * The reference is an array. What the tier evicts or expires by itself it tells through removed(); the reference checks
 * that it was the right one to leave and takes it out. Usage: tier_model [STEPS [SEED]]; AICACHE_MODEL_SEED does the
 * same.
 */
#include "base/check.h"
#include "support.h"
#include "tier/lmdb/lmdb.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 300, BATCH = 12, LABEL_SETS = 24 };

struct reference {
    bool there;
    struct sample sample;
};

struct model {
    struct mem mem;
    struct hand_clock clock;
    struct scratch scratch;
    struct lmdb_options options;
    struct tier *tier;
    struct reference entries[KEYS];
    aic_key keys[KEYS];
    uint64_t seed, step, last_seq;
    uint64_t evicted; /* as the tier counted since it was opened, when the reference was last made to agree */
    uint64_t departed;
};

#define MUST(model, condition)                                                                                         \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "tier_model: step %" PRIu64 ": %s is false (line %d)\n", (model)->step, #condition,        \
                    __LINE__);                                                                                         \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static const char *const partitions[] = {"0default", "0other", "0"};
static const char *const operations[] = {"1qa", "1qa_v2", "1summarize"};
static const char *const tags[] = {"3a", "3b", "3ab", "3"};

static size_t number_of(struct model *model, const aic_key *key)
{
    for (size_t i = 0; i < KEYS; i++) {
        if (memcmp(model->keys[i].bytes, key->bytes, AIC_KEY_BYTES) == 0) return i;
    }
    MUST(model, !"a known key");
    return 0;
}

static uint64_t rank_of(const struct sample *sample)
{
    return sample->expires_ms != 0 ? sample->expires_ms : (uint64_t)1 << 63 | sample->seq;
}

static void open_tier(struct model *model)
{
    aic_error error = {0};
    model->evicted = 0;
    if (lmdb_tier_open(&model->options, &model->tier, &error) == AIC_OK) return;
    fprintf(stderr, "tier_model: step %" PRIu64 ": %s\n", model->step, error.message);
    abort();
}

/* No two expire at the same moment: which of them leaves first is the tier's own affair. */
static uint64_t free_moment(const struct model *model, uint64_t from)
{
    for (size_t i = 0; i < KEYS; i++) {
        if (!model->entries[i].there || model->entries[i].sample.expires_ms != from) continue;
        from++;
        i = (size_t)-1;
    }
    return from;
}

static void make_sample(struct model *model, struct sample *sample)
{
    uint64_t *seed = &model->seed;
    uint64_t now = atomic_load(&model->clock.wall_ms);
    *sample = (struct sample){.created_ms = now, .payload_seed = random_next(seed), .seq = ++model->last_seq};
    size_t labels = 0;
    sample->labels[labels++] = partitions[random_below(seed, COUNT_OF(partitions))];
    sample->labels[labels++] = operations[random_below(seed, COUNT_OF(operations))];
    for (uint64_t i = random_below(seed, 4); i > 0; i--)
        sample->labels[labels++] = tags[random_below(seed, COUNT_OF(tags))];
    if (random_below(seed, 3) > 0) sample->expires_ms = free_moment(model, now + 1 + random_below(seed, 5000));
    switch (random_below(seed, 20)) {
    case 0: sample->payload_bytes = random_below(seed, 600000); break;
    case 1: sample->payload_bytes = 0; break;
    default: sample->payload_bytes = random_below(seed, 6000);
    }
}

static bool is_alive(const struct model *model, const struct reference *entry)
{
    return entry->there && (entry->sample.expires_ms == 0 || entry->sample.expires_ms > model->clock.wall_ms);
}

struct walk {
    struct model *model;
    bool seen[KEYS];
    size_t left; /* stop after so many */
    aic_key last;
};

static bool on_visit(void *context, const aic_key *key, aic_view record)
{
    struct walk *walk = context;
    size_t number = number_of(walk->model, key);
    (void)record;
    MUST(walk->model, !walk->seen[number]);
    walk->seen[number] = true;
    walk->last = *key;
    return --walk->left > 0;
}

/* ---- what leaves by itself: what is dead, or first in the order of leaving ---- */

static int order_of_leaving(const struct model *model, size_t a, size_t b)
{
    uint64_t left = rank_of(&model->entries[a].sample), right = rank_of(&model->entries[b].sample);
    return left < right ? -1 : left > right;
}

static size_t count_dead(const struct model *model)
{
    size_t dead = 0;
    for (size_t i = 0; i < KEYS; i++) dead += model->entries[i].there && !is_alive(model, &model->entries[i]);
    return dead;
}

/* Those `count` of the dead that leave first. No read shows them, only the counters do. */
static void drop_dead(struct model *model, size_t count)
{
    for (model->departed += count; count > 0; count--) {
        size_t first = KEYS;
        for (size_t i = 0; i < KEYS; i++) {
            if (!model->entries[i].there || is_alive(model, &model->entries[i])) continue;
            if (first == KEYS || order_of_leaving(model, i, first) < 0) first = i;
        }
        MUST(model, first < KEYS);
        model->entries[first].there = false;
    }
}

/*
 * Entries of the reference that are gone must be those that leave first. Room for a batch (whose keys are `fresh`) may
 * be made before it is applied or after: an older entry may leave before a fresh one that would have left sooner.
 */
static size_t drop_vanished(struct model *model, const bool fresh[KEYS], const struct walk *found)
{
    size_t vanished = 0;
    for (size_t i = 0; i < KEYS; i++) {
        if (found->seen[i]) MUST(model, is_alive(model, &model->entries[i]));
        if (found->seen[i] || !is_alive(model, &model->entries[i])) continue;
        for (size_t j = 0; j < KEYS; j++) {
            if (found->seen[j] && (fresh[i] || !fresh[j])) MUST(model, order_of_leaving(model, i, j) < 0);
        }
        vanished++;
    }
    for (size_t i = 0; i < KEYS; i++) {
        if (!found->seen[i] && is_alive(model, &model->entries[i])) model->entries[i].there = false;
    }
    model->departed += vanished;
    return vanished;
}

static void follow_evictions(struct model *model, const bool fresh[KEYS])
{
    struct tier_stats stats;
    model->tier->ops->stats(model->tier, &stats);
    if (stats.evicted == model->evicted) return;
    struct walk found = {.model = model, .left = KEYS + 1};
    MUST(model, walk_tier(&model->mem, model->tier, &(struct tier_filter){0}, NULL, on_visit, &found) == AIC_OK);
    size_t seen = 0, dead = count_dead(model);
    for (size_t i = 0; i < KEYS; i++) seen += found.seen[i];
    size_t vanished = drop_vanished(model, fresh, &found);
    MUST(model, stats.entries >= seen && stats.entries - seen <= dead);
    size_t gone = dead - (size_t)(stats.entries - seen);
    MUST(model, vanished == 0 || gone == dead); /* the dead leave before the living */
    drop_dead(model, gone);
    MUST(model, stats.evicted - model->evicted >= vanished + gone); /* and what the batch replaced */
    model->evicted = stats.evicted;
}

static void step_apply(struct model *model)
{
    struct tier_write writes[BATCH];
    struct buf records[BATCH];
    bool fresh[KEYS] = {false};
    size_t count = 1 + random_below(&model->seed, BATCH);
    for (size_t i = 0; i < count; i++) {
        size_t number = random_below(&model->seed, KEYS);
        writes[i] = (struct tier_write){.key = model->keys[number]};
        fresh[number] = true;
        model->entries[number].there = false;
        buf_init(&records[i], &model->mem, MEM_OTHER);
        if (random_below(&model->seed, 4) == 0) continue;
        struct reference *entry = &model->entries[number];
        make_sample(model, &entry->sample);
        entry->there = true;
        sample_write(&entry->sample, &records[i]);
        writes[i].record = buf_view(&records[i]);
    }
    MUST(model, model->tier->ops->apply(model->tier, writes, count) == AIC_OK);
    follow_evictions(model, fresh);
    for (size_t i = 0; i < count; i++) buf_fini(&records[i]);
}

static void step_get(struct model *model)
{
    size_t number = random_below(&model->seed, KEYS);
    struct buf found, wanted;
    buf_init(&found, &model->mem, MEM_OTHER);
    buf_init(&wanted, &model->mem, MEM_OTHER);
    aic_status status = model->tier->ops->get(model->tier, &model->keys[number], &found);
    MUST(model, status == (is_alive(model, &model->entries[number]) ? AIC_OK : AIC_MISS));
    if (status == AIC_OK) {
        sample_write(&model->entries[number].sample, &wanted);
        MUST(model, found.size == wanted.size && memcmp(found.data, wanted.data, wanted.size) == 0);
    }
    buf_fini(&found);
    buf_fini(&wanted);
}

static bool has_label(const struct sample *sample, const char *label)
{
    for (size_t i = 0; sample->labels[i] != NULL; i++) {
        if (strcmp(sample->labels[i], label) == 0) return true;
    }
    return false;
}

static void step_select(struct model *model)
{
    const char *texts[4];
    struct tier_label labels[4];
    size_t count = 0;
    uint64_t *seed = &model->seed;
    if (random_below(seed, 4) > 0) texts[count++] = partitions[random_below(seed, COUNT_OF(partitions))];
    if (random_below(seed, 2) > 0) texts[count++] = operations[random_below(seed, COUNT_OF(operations))];
    while (count < 4 && random_below(seed, 3) == 0) texts[count++] = tags[random_below(seed, COUNT_OF(tags))];
    for (size_t i = 0; i < count; i++) labels[i] = sample_label(texts[i]);
    struct tier_filter filter = {.labels = labels, .label_count = count};
    if (random_below(seed, 4) == 0) filter.created_until_ms = model->clock.wall_ms - random_below(seed, 2000);
    if (random_below(seed, 4) == 0) filter.until_seq = 1 + random_below(seed, model->last_seq + 1);

    struct walk walk = {.model = model};
    size_t page = 1 + random_below(seed, 60);
    bool anywhere = random_below(seed, 2) == 0;
    struct tier_place at = {0};
    for (size_t i = 0; i < count; i++) anywhere = anywhere && labels[i].kind != 0;
    filter.any_order = anywhere;
    do {
        walk.left = page;
        MUST(model, walk_tier(&model->mem, model->tier, &filter, &at, on_visit, &walk) == AIC_OK);
    } while (walk.left == 0);
    for (size_t i = 0; i < KEYS; i++) {
        const struct reference *entry = &model->entries[i];
        bool wanted = is_alive(model, entry);
        for (size_t j = 0; wanted && j < count; j++) wanted = has_label(&entry->sample, texts[j]);
        if (wanted && filter.created_until_ms != 0) wanted = entry->sample.created_ms <= filter.created_until_ms;
        if (wanted && filter.until_seq != 0) wanted = entry->sample.seq <= filter.until_seq;
        MUST(model, walk.seen[i] == wanted);
    }
}

static void step_expire(struct model *model)
{
    size_t max = 1 + random_below(&model->seed, 40), removed = 0;
    atomic_fetch_add(&model->clock.wall_ms, random_below(&model->seed, 1500));
    size_t dead = count_dead(model);
    MUST(model, model->tier->ops->expire(model->tier, max, &removed) == AIC_OK);
    MUST(model, removed == (dead < max ? dead : max));
    drop_dead(model, removed);
    follow_evictions(model, (const bool[KEYS]){false});
}

static void check_all(struct model *model)
{
    aic_error error = {0};
    struct tier_stats stats;
    uint64_t entries = 0, bytes = 0;
    if (check_tier(model->tier, &error) != AIC_OK) {
        fprintf(stderr, "tier_model: step %" PRIu64 ": %s\n", model->step, error.message);
        abort();
    }
    for (size_t i = 0; i < KEYS; i++) {
        if (!model->entries[i].there) continue;
        struct buf record;
        buf_init(&record, &model->mem, MEM_OTHER);
        sample_write(&model->entries[i].sample, &record);
        entries++;
        bytes += record.size;
        buf_fini(&record);
    }
    model->tier->ops->stats(model->tier, &stats);
    MUST(model, stats.entries == entries && stats.bytes == bytes);
    MUST(model, stats.last_seq <= model->last_seq);
    MUST(model, stats.file_bytes <= stats.max_bytes);
}

static void step_rare(struct model *model)
{
    if (random_below(&model->seed, 4) == 0) {
        MUST(model, model->tier->ops->clear(model->tier) == AIC_OK);
        for (size_t i = 0; i < KEYS; i++) model->entries[i].there = false;
    } else {
        if (random_below(&model->seed, 2) == 0) MUST(model, model->tier->ops->sync(model->tier) == AIC_OK);
        model->tier->ops->close(model->tier);
        open_tier(model);
        follow_evictions(model, (const bool[KEYS]){false});
    }
    check_all(model);
}

static void take_step(struct model *model)
{
    uint64_t choice = random_below(&model->seed, 1000);
    if (choice < 400) step_apply(model);
    else if (choice < 800) step_get(model);
    else if (choice < 900) step_select(model);
    else if (choice < 990) step_expire(model);
    else step_rare(model);
    if (model->step % 16 == 0) check_all(model);
}

static void run(uint64_t max_bytes, uint64_t steps, uint64_t seed)
{
    struct model *model = calloc(1, sizeof *model);
    CHECK(model != NULL);
    printf("tier_model: %" PRIu64 " MiB, %" PRIu64 " steps, seed %" PRIu64 "\n", max_bytes >> 20, steps, seed);
    fflush(stdout);
    mem_init(&model->mem, NULL);
    hand_clock_init(&model->clock, 1700000000000u);
    scratch_make(&model->scratch);
    model->seed = seed;
    for (size_t i = 0; i < KEYS; i++) {
        model->keys[i] = sample_key(i);
        /* Neighbours that share all but the last byte: one front, one list of places. */
        if (i % 3 != 0) {
            model->keys[i] = model->keys[i - i % 3];
            model->keys[i].bytes[AIC_KEY_BYTES - 1] ^= (uint8_t)(i % 3);
        }
    }
    memset(model->keys[0].bytes, 0, AIC_KEY_BYTES);
    memset(model->keys[3].bytes, 0xff, AIC_KEY_BYTES);
    model->options = (struct lmdb_options){.mem = &model->mem,
                                           .clock = &model->clock.clock,
                                           .directory = model->scratch.path,
                                           .max_bytes = max_bytes,
                                           .describe = sample_describe};
    open_tier(model);
    for (model->step = 1; model->step <= steps; model->step++) take_step(model);
    check_all(model);
    printf("tier_model: %" PRIu64 " left by themselves\n", model->departed);
    model->tier->ops->close(model->tier);
    mem_fini(&model->mem);
    scratch_remove(&model->scratch);
    free(model);
}

int main(int count, char **arguments)
{
    const char *seed_text = count > 2 ? arguments[2] : getenv("AICACHE_MODEL_SEED");
    uint64_t steps = count > 1 ? strtoull(arguments[1], NULL, 10) : 4000;
    uint64_t seed = seed_text != NULL ? strtoull(seed_text, NULL, 10) : 1;
    run((uint64_t)64 << 20, steps, seed);
    run(LMDB_MIN_BYTES, steps, seed + 1); /* most of the time at its limit */
    return 0;
}
