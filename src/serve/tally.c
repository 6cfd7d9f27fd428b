#include "serve/tally.h"

#include "base/check.h"

#include <string.h>
#include <xxhash.h>

void tally_names_init(struct tally_names *names, struct mem *mem, uint64_t seed)
{
    memset(names, 0, sizeof *names);
    names->mem = mem;
    names->seed = seed;
    pthread_mutex_init(&names->mutex, NULL);
}

void tally_names_fini(struct tally_names *names)
{
    for (size_t slot = 0; slot < TALLY_LABEL_SLOTS; slot++) {
        /* Relaxed: nobody else is left. */
        struct tally_label *label = atomic_load_explicit(&names->slots[slot], memory_order_relaxed);
        mem_free(names->mem, MEM_OTHER, label, sizeof *label);
    }
    pthread_mutex_destroy(&names->mutex);
}

static bool is_label(const struct tally_label *label, uint64_t hash, aic_view name)
{
    return label->hash == hash && label->size == name.size && memcmp(label->text, name.data, name.size) == 0;
}

/* The number of a known name, or TALLY_LABELS and the slot where it would go. The table is never more than half full.
 */
static unsigned find_label(struct tally_names *names, uint64_t hash, aic_view name, size_t *free_slot)
{
    for (size_t slot = hash & (TALLY_LABEL_SLOTS - 1);; slot = (slot + 1) & (TALLY_LABEL_SLOTS - 1)) {
        /* Acquire: with the release in add_label, a label that is seen is seen whole. */
        struct tally_label *label = atomic_load_explicit(&names->slots[slot], memory_order_acquire);
        if (label == NULL) {
            *free_slot = slot;
            return TALLY_LABELS;
        }
        if (is_label(label, hash, name)) return label->number;
    }
}

/* Under the mutex. */
static unsigned add_label(struct tally_names *names, uint64_t hash, aic_view name)
{
    size_t slot = 0;
    unsigned number = find_label(names, hash, name, &slot);
    unsigned count = atomic_load_explicit(&names->count, memory_order_relaxed);
    if (number < TALLY_LABELS || count >= TALLY_LABELS) return number;
    struct tally_label *label = mem_zalloc(names->mem, MEM_OTHER, sizeof *label);
    if (label == NULL) return TALLY_LABELS;
    memcpy(label->text, name.data, name.size);
    label->size = name.size;
    label->hash = hash;
    label->number = count;
    atomic_store_explicit(&names->slots[slot], label, memory_order_release);
    atomic_store_explicit(&names->count, count + 1, memory_order_release);
    return count;
}

unsigned tally_names_number(struct tally_names *names, aic_view name)
{
    /* A name that is spelled like the rest counts with the rest: two series of one label set would spoil the page. */
    bool rest = name.size == 5 && memcmp(name.data, "other", 5) == 0;
    if (rest || name.size > AIC_MAX_NAME_BYTES) return TALLY_LABELS;
    uint64_t hash = XXH3_64bits_withSeed(name.data, name.size, names->seed);
    size_t slot;
    unsigned number = find_label(names, hash, name, &slot);
    if (number < TALLY_LABELS) return number;
    /* Acquire pairs with the release above: once full, the mutex is not touched again. */
    if (atomic_load_explicit(&names->count, memory_order_acquire) >= TALLY_LABELS) return TALLY_LABELS;
    pthread_mutex_lock(&names->mutex);
    number = add_label(names, hash, name);
    pthread_mutex_unlock(&names->mutex);
    return number;
}

aic_view tally_names_text(const struct tally_names *names, unsigned number)
{
    for (size_t slot = 0; slot < TALLY_LABEL_SLOTS && number < TALLY_LABELS; slot++) {
        const struct tally_label *label = atomic_load_explicit(&names->slots[slot], memory_order_acquire);
        if (label != NULL && label->number == number) return (aic_view){label->text, label->size};
    }
    return AIC_LITERAL("other");
}

static uint32_t pair_of(unsigned ns, unsigned operation)
{
    return (uint32_t)((ns + 1) << 16 | (operation + 1));
}

struct tally_cell *tally_find(struct tally *tally, unsigned ns, unsigned operation)
{
    uint32_t pair = pair_of(ns, operation);
    size_t at = (pair * UINT32_C(2654435761) >> 20) % TALLY_CELLS;
    /* Relaxed loads: this thread is the only one that stores. A few steps, then the pair counts as other. */
    for (unsigned step = 0; step < 32; step++, at = (at + 1) % TALLY_CELLS) {
        if (at == TALLY_CELLS - 1) continue;
        uint32_t held = atomic_load_explicit(&tally->cells[at].pair, memory_order_relaxed);
        if (held == pair) return &tally->cells[at];
        if (held != 0) continue;
        /* Release pairs with the acquire in tally_add; the counts are zero before and stay readable. */
        atomic_store_explicit(&tally->cells[at].pair, pair, memory_order_release);
        return &tally->cells[at];
    }
    struct tally_cell *rest = &tally->cells[TALLY_CELLS - 1];
    atomic_store_explicit(&rest->pair, pair_of(TALLY_LABELS, TALLY_LABELS), memory_order_release);
    return rest;
}

static struct tally_pair *sum_pair(struct tally_sum *sum, unsigned ns, unsigned operation)
{
    if (sum->index[ns][operation] != 0) return &sum->pairs[sum->index[ns][operation] - 1];
    /* One place is kept for what does not fit any more. */
    if (sum->pair_count >= COUNT_OF(sum->pairs) - 1 && (ns != TALLY_LABELS || operation != TALLY_LABELS))
        return sum_pair(sum, TALLY_LABELS, TALLY_LABELS);
    struct tally_pair *pair = &sum->pairs[sum->pair_count++];
    pair->ns = ns;
    pair->operation = operation;
    sum->index[ns][operation] = (uint16_t)sum->pair_count;
    return pair;
}

static void add_cells(struct tally_sum *sum, const struct tally *tally)
{
    for (size_t at = 0; at < TALLY_CELLS; at++) {
        const struct tally_cell *cell = &tally->cells[at];
        uint32_t held = atomic_load_explicit(&cell->pair, memory_order_acquire);
        if (held == 0) continue;
        struct tally_pair *pair = sum_pair(sum, (held >> 16) - 1, (held & 0xffff) - 1);
        for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
            pair->counts[outcome] += atomic_load_explicit(&cell->counts[outcome], memory_order_relaxed);
    }
}

void tally_add(struct tally_sum *sum, const struct tally *tally)
{
    add_cells(sum, tally);
    for (unsigned outcome = 0; outcome < TALLY_OUTCOMES; outcome++)
        hist_add(&sum->lookup_ns[outcome], &tally->lookup_ns[outcome]);
    hist_add(&sum->store_ns, &tally->store_ns);
    hist_add(&sum->key_ns, &tally->key_ns);
    hist_add(&sum->age_ms, &tally->age_ms);
    for (size_t route = 0; route < TALLY_MAX_ROUTES; route++) {
        for (size_t class = 0; class < TALLY_STATUS_CLASSES; class ++)
            sum->answers[route][class] += atomic_load_explicit(&tally->answers[route][class], memory_order_relaxed);
    }
    sum->prompt_tokens_saved += atomic_load_explicit(&tally->prompt_tokens_saved, memory_order_relaxed);
    sum->completion_tokens_saved += atomic_load_explicit(&tally->completion_tokens_saved, memory_order_relaxed);
    sum->cost_saved_usd += atomic_load_explicit(&tally->cost_saved_usd, memory_order_relaxed);
    sum->worker_decodes += atomic_load_explicit(&tally->worker_decodes, memory_order_relaxed);
    sum->memo_hits += atomic_load_explicit(&tally->memo_hits, memory_order_relaxed);
    sum->memo_misses += atomic_load_explicit(&tally->memo_misses, memory_order_relaxed);
}
