#include "serve/routes/memo.h"

#include "base/check.h"

#include <string.h>
#include <xxhash.h>

static_assert(AIC_MAX_NAME_BYTES <= UINT16_MAX && MEMO_MAX_BODY <= UINT32_MAX, "the sizes of an entry fit its fields");

void memo_init(struct memo *memo, struct mem *mem, uint64_t seed, size_t max_body)
{
    CHECK(max_body <= MEMO_MAX_BODY);
    memset(memo, 0, sizeof *memo);
    memo->mem = mem;
    memo->seed = seed;
    memo->max_body = max_body;
}

static void forget(struct memo *memo, struct memo_entry **slot)
{
    if (*slot != NULL) mem_free(memo->mem, MEM_CACHE, *slot, (*slot)->bytes);
    *slot = NULL;
}

void memo_fini(struct memo *memo)
{
    for (size_t slot = 0; slot < MEMO_SLOTS; slot++) forget(memo, &memo->slots[slot]);
}

uint64_t memo_hash(const struct memo *memo, aic_view caller, aic_view body)
{
    /* Callers with the same body should not drive each other out of one slot. */
    return XXH3_64bits_withSeed(body.data, body.size, memo->seed ^ XXH3_64bits(caller.data, caller.size));
}

const struct memo_entry *memo_find(const struct memo *memo, uint64_t hash, aic_view caller, bool admin, aic_view body)
{
    const struct memo_entry *entry = memo->slots[hash % MEMO_SLOTS];
    if (entry == NULL || entry->hash != hash || entry->admin != admin) return NULL;
    if (entry->body_size != body.size || entry->caller_size != caller.size) return NULL;
    if (memcmp(entry->text, caller.data, caller.size) != 0) return NULL;
    const char *kept = entry->text + entry->caller_size + entry->ns_size;
    return memcmp(kept, body.data, body.size) == 0 ? entry : NULL;
}

void memo_add(struct memo *memo, const struct memo_entry *what, aic_view caller, aic_view ns, aic_view body)
{
    if (body.size > memo->max_body || caller.size > AIC_MAX_NAME_BYTES || ns.size > AIC_MAX_NAME_BYTES) return;
    size_t bytes = sizeof *what + caller.size + ns.size + body.size;
    struct memo_entry *entry = mem_alloc(memo->mem, MEM_CACHE, bytes);
    if (entry == NULL) return;
    *entry = *what;
    entry->bytes = bytes;
    entry->caller_size = (uint16_t)caller.size;
    entry->ns_size = (uint16_t)ns.size;
    entry->body_size = (uint32_t)body.size;
    memcpy(entry->text, caller.data, caller.size);
    memcpy(entry->text + caller.size, ns.data, ns.size);
    memcpy(entry->text + caller.size + ns.size, body.data, body.size);
    forget(memo, &memo->slots[what->hash % MEMO_SLOTS]);
    memo->slots[what->hash % MEMO_SLOTS] = entry;
}
