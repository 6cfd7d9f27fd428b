#include "serve/tails.h"

#include <string.h>

void tails_init(struct tails *tails, struct mem *mem)
{
    memset(tails, 0, sizeof *tails);
    tails->mem = mem;
}

/* Keys are digests: any bits of one are as good as a hash. */
static size_t slot_of(const aic_key *key)
{
    return (key->bytes[8] | (size_t)key->bytes[9] << 8) % TAILS_SLOTS;
}

static void forget(struct tails *tails, size_t slot)
{
    struct tail *tail = tails->slots[slot];
    if (tail != NULL) mem_free(tails->mem, MEM_CACHE, tail, sizeof *tail + tail->size);
    tails->slots[slot] = NULL;
}

void tails_fini(struct tails *tails)
{
    for (size_t slot = 0; slot < TAILS_SLOTS; slot++) forget(tails, slot);
}

aic_view tails_find(const struct tails *tails, const aic_key *key, uint64_t checksum, unsigned tiers)
{
    const struct tail *tail = tails->slots[slot_of(key)];
    if (tail == NULL || tail->checksum != checksum || tail->tiers != tiers) return (aic_view){0};
    if (memcmp(&tail->key, key, sizeof *key) != 0) return (aic_view){0};
    return (aic_view){tail->text, tail->size};
}

void tails_add(struct tails *tails, const aic_key *key, uint64_t checksum, unsigned tiers, aic_view text)
{
    if (text.size > TAILS_MAX_BYTES) return;
    struct tail *tail = mem_alloc(tails->mem, MEM_CACHE, sizeof *tail + text.size);
    if (tail == NULL) return;
    *tail = (struct tail){.key = *key, .checksum = checksum, .tiers = tiers, .size = (uint32_t)text.size};
    memcpy(tail->text, text.data, text.size);
    forget(tails, slot_of(key));
    tails->slots[slot_of(key)] = tail;
}
