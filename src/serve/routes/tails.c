#include "serve/routes/tails.h"

#include "base/check.h"

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

void tails_release(struct tails *tails, struct tail **tail)
{
    struct tail *old = *tail;
    *tail = NULL;
    CHECK(old == NULL || old->pins > 0);
    if (old != NULL && --old->pins == 0) mem_free(tails->mem, MEM_CACHE, old, sizeof *old + old->size);
}

void tails_fini(struct tails *tails)
{
    for (size_t slot = 0; slot < TAILS_SLOTS; slot++) tails_release(tails, &tails->slots[slot]);
}

struct tail *tails_pin(struct tails *tails, const aic_key *key, uint64_t checksum, unsigned tiers)
{
    struct tail *tail = tails->slots[slot_of(key)];
    if (tail == NULL || tail->checksum != checksum || tail->tiers != tiers) return NULL;
    if (memcmp(&tail->key, key, sizeof *key) != 0) return NULL;
    tail->pins++;
    return tail;
}

void tails_add(struct tails *tails, const aic_key *key, uint64_t checksum, unsigned tiers, aic_view text)
{
    static_assert(TAILS_MAX_BYTES <= UINT32_MAX, "its size has 32 bits");
    if (text.size > TAILS_MAX_BYTES) return;
    struct tail *tail = mem_alloc(tails->mem, MEM_CACHE, sizeof *tail + text.size);
    if (tail == NULL) return;
    *tail = (struct tail){.key = *key, .checksum = checksum, .tiers = tiers, .pins = 1, .size = (uint32_t)text.size};
    memcpy(tail->text, text.data, text.size);
    tails_release(tails, &tails->slots[slot_of(key)]);
    tails->slots[slot_of(key)] = tail;
}
