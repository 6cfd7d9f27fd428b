#include "store/ghost.h"

#include "base/check.h"
#include "store/hash.h"

#include <string.h>

enum { EPOCHS = 15, EPOCHS_ALIVE = 8, KEYS_PER_LINE = 16, SPARE_LINES = 2, FINGERPRINT_SHIFT = 32, MAIN_BIT = 1 << 4 };

struct line {
    uint16_t slots[GHOST_SLOTS];
};
static_assert(sizeof(struct line) == GHOST_LINE_BYTES, "two lines of the ghost are one cache line");
static_assert((0x7ff << 5 | MAIN_BIT | EPOCHS) == UINT16_MAX, "fingerprint, queue and epoch fill a slot");
static_assert(EPOCHS > EPOCHS_ALIVE + 2, "a line is swept before an epoch's number comes back");

void ghost_init(struct ghost *ghost, struct mem *mem, char *lines, size_t lines_bytes)
{
    memset(ghost, 0, sizeof *ghost);
    ghost->epoch = 1;
    region_init(&ghost->lines, mem, lines, lines_bytes);
}

static void set_count(struct ghost *ghost, uint32_t count)
{
    CHECK((size_t)count * GHOST_LINE_BYTES <= ghost->lines.committed);
    atomic_store_explicit(&ghost->count, count, memory_order_relaxed);
}

static struct line *line_at(const struct ghost *ghost, uint32_t line)
{
    return (struct line *)(void *)(ghost->lines.base + (size_t)line * GHOST_LINE_BYTES);
}

static uint16_t print_of(uint64_t hash)
{
    return (uint16_t)((hash >> FINGERPRINT_SHIFT & 0x7ff) << 5);
}

/* Epochs since a slot was written; EPOCHS for an empty one. */
static uint32_t age_of(const struct ghost *ghost, uint16_t slot)
{
    uint32_t epoch = slot & 15;
    if (epoch == 0) return EPOCHS;
    return ghost->epoch >= epoch ? ghost->epoch - epoch : ghost->epoch + EPOCHS - epoch;
}

static uint16_t *slot_of(const struct ghost *ghost, uint64_t hash)
{
    if (ghost_count(ghost) == 0) return NULL;
    struct line *line = line_at(ghost, linear_bucket(hash, ghost_count(ghost)));
    uint16_t print = print_of(hash);
    for (unsigned i = 0; i < GHOST_SLOTS; i++) {
        uint16_t slot = line->slots[i];
        if ((slot & 0xffe0) == print && (slot & 15) != 0 && age_of(ghost, slot) <= EPOCHS_ALIVE) return &line->slots[i];
    }
    return NULL;
}

enum ghost_kind ghost_find(const struct ghost *ghost, uint64_t hash)
{
    const uint16_t *slot = slot_of(ghost, hash);
    if (slot == NULL) return GHOST_NONE;
    return *slot & MAIN_BIT ? GHOST_EVICTED_MAIN : GHOST_EVICTED_EARLY;
}

void ghost_remove(struct ghost *ghost, uint64_t hash)
{
    uint16_t *slot = slot_of(ghost, hash);
    if (slot != NULL) *slot = 0;
}

/* Empties slots that are too old, in enough lines that every line is visited before an epoch's number comes back. */
static void sweep(struct ghost *ghost)
{
    for (uint32_t lines = ghost_count(ghost) / (EPOCHS - EPOCHS_ALIVE - 2) + 1; lines > 0; lines--) {
        if (ghost->swept >= ghost_count(ghost)) ghost->swept = 0;
        struct line *line = line_at(ghost, ghost->swept++);
        for (unsigned i = 0; i < GHOST_SLOTS; i++)
            if (age_of(ghost, line->slots[i]) > EPOCHS_ALIVE) line->slots[i] = 0;
    }
}

static void advance(struct ghost *ghost, uint64_t weight, uint64_t held)
{
    ghost->epoch_fill += weight;
    if (ghost->epoch_fill <= held / 10 * 9 / EPOCHS_ALIVE) return;
    ghost->epoch_fill = 0;
    ghost->epoch = ghost->epoch % EPOCHS + 1;
    sweep(ghost);
}

void ghost_add(struct ghost *ghost, uint64_t hash, bool from_main, uint64_t weight, uint64_t held)
{
    if (ghost_count(ghost) == 0) return;
    struct line *line = line_at(ghost, linear_bucket(hash, ghost_count(ghost)));
    unsigned oldest = 0;
    uint32_t oldest_age = 0;
    for (unsigned i = 0; i < GHOST_SLOTS; i++) {
        uint32_t age = age_of(ghost, line->slots[i]);
        if (age <= oldest_age) continue;
        oldest = i;
        oldest_age = age;
        if (age == EPOCHS) break; /* an empty one */
    }
    line->slots[oldest] = (uint16_t)(print_of(hash) | (from_main ? MAIN_BIT : 0) | ghost->epoch);
    advance(ghost, weight, held);
}

static uint32_t deserved(uint64_t keys)
{
    return (uint32_t)((keys + KEYS_PER_LINE - 1) / KEYS_PER_LINE);
}

uint64_t ghost_wants(const struct ghost *ghost, uint64_t keys)
{
    return deserved(keys + 1) > ghost_count(ghost) ? GHOST_LINE_BYTES : 0;
}

void ghost_fit(struct ghost *ghost, uint64_t keys, uint64_t *credit)
{
    uint32_t lines = deserved(keys);
    if (ghost_count(ghost) < lines) {
        if (((size_t)ghost_count(ghost) + 1) * GHOST_LINE_BYTES > ghost->lines.committed || *credit < GHOST_LINE_BYTES)
            return;
        *credit -= GHOST_LINE_BYTES;
        struct line *made = line_at(ghost, ghost_count(ghost));
        if (ghost_count(ghost) == 0) memset(made, 0, sizeof *made);
        else *made = *line_at(ghost, ghost_count(ghost) - (1u << linear_level(ghost_count(ghost))));
        set_count(ghost, ghost_count(ghost) + 1);
    }
    uint32_t count = ghost_count(ghost), most = lines > 0 ? lines + SPARE_LINES : 0;
    if (count <= most) return;
    *credit += (uint64_t)(count - most) * GHOST_LINE_BYTES;
    set_count(ghost, most);
}

uint64_t ghost_bytes(const struct ghost *ghost)
{
    return (uint64_t)ghost_count(ghost) * GHOST_LINE_BYTES;
}

const char *ghost_verify(const struct ghost *ghost)
{
    if (ghost->epoch == 0 || ghost->epoch > EPOCHS) return "the ghost's epoch is out of range";
    if ((size_t)ghost_count(ghost) * GHOST_LINE_BYTES > ghost->lines.committed)
        return "the ghost is larger than its room";
    for (uint32_t number = 0; number < ghost_count(ghost); number++) {
        const struct line *line = line_at(ghost, number);
        for (unsigned i = 0; i < GHOST_SLOTS; i++)
            if (line->slots[i] != 0 && (line->slots[i] & 15) == 0) return "a ghost has no epoch";
    }
    return NULL;
}
