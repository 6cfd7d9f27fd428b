#include "store/budget.h"

#include "base/check.h"

static uint64_t load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

void budget_init(struct budget *budget, uint64_t max_bytes, uint64_t max_entries)
{
    atomic_init(&budget->bytes, 0);
    atomic_init(&budget->entries, 0);
    atomic_init(&budget->max_bytes, max_bytes);
    atomic_init(&budget->max_entries, max_entries);
}

void budget_set(struct budget *budget, uint64_t max_bytes, uint64_t max_entries)
{
    atomic_store_explicit(&budget->max_bytes, max_bytes, memory_order_relaxed);
    atomic_store_explicit(&budget->max_entries, max_entries, memory_order_relaxed);
}

/* Adds `amount` if the sum stays within `max`. */
static bool take_within(_Atomic uint64_t *taken, uint64_t amount, uint64_t max)
{
    uint64_t before = load(taken);
    do {
        if (before > max || amount > max - before) return false;
    } while (!atomic_compare_exchange_weak_explicit(taken, &before, before + amount, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

bool budget_take(struct budget *budget, uint64_t bytes, uint64_t entries)
{
    if (!take_within(&budget->bytes, bytes, load(&budget->max_bytes))) return false;
    if (entries == 0) return true;
    uint64_t max_entries = load(&budget->max_entries);
    if (take_within(&budget->entries, entries, max_entries == 0 ? UINT64_MAX : max_entries)) return true;
    budget_give(budget, bytes, 0);
    return false;
}

void budget_give(struct budget *budget, uint64_t bytes, uint64_t entries)
{
    if (bytes > 0) {
        uint64_t before = atomic_fetch_sub_explicit(&budget->bytes, bytes, memory_order_relaxed);
        CHECK(before >= bytes);
    }
    if (entries > 0) {
        uint64_t before = atomic_fetch_sub_explicit(&budget->entries, entries, memory_order_relaxed);
        CHECK(before >= entries);
    }
}

void budget_excess(const struct budget *budget, uint64_t *bytes, uint64_t *entries)
{
    uint64_t max_bytes = load(&budget->max_bytes), max_entries = load(&budget->max_entries);
    uint64_t taken_bytes = load(&budget->bytes), taken_entries = load(&budget->entries);
    *bytes = taken_bytes > max_bytes ? taken_bytes - max_bytes : 0;
    *entries = max_entries != 0 && taken_entries > max_entries ? taken_entries - max_entries : 0;
}

uint64_t budget_bytes(const struct budget *budget)
{
    return load(&budget->bytes);
}

uint64_t budget_entries(const struct budget *budget)
{
    return load(&budget->entries);
}

uint64_t budget_max_bytes(const struct budget *budget)
{
    return load(&budget->max_bytes);
}

uint64_t budget_max_entries(const struct budget *budget)
{
    return load(&budget->max_entries);
}
