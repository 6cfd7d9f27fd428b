#include "support.h"

#include "base/check.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

void scratch_make(struct scratch *scratch)
{
    const char *root = getenv("TMPDIR");
    snprintf(scratch->path, sizeof scratch->path, "%s/tier-XXXXXX", root != NULL ? root : P_tmpdir);
    CHECK(mkdtemp(scratch->path) != NULL);
}

void scratch_remove(struct scratch *scratch)
{
    DIR *directory = opendir(scratch->path);
    if (directory == NULL) return;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (unlinkat(dirfd(directory), entry->d_name, 0) == 0) continue;
        struct scratch inner;
        int size = snprintf(inner.path, sizeof inner.path, "%s/%s", scratch->path, entry->d_name);
        if (size > 0 && (size_t)size < sizeof inner.path) scratch_remove(&inner);
    }
    closedir(directory);
    CHECK(rmdir(scratch->path) == 0);
}

void scratch_name(const struct scratch *scratch, const char *name, char *out, size_t size)
{
    CHECK((size_t)snprintf(out, size, "%s/%s", scratch->path, name) < size);
}

void scratch_write(const struct scratch *scratch, const char *name, const char *text)
{
    char path[512];
    scratch_name(scratch, name, path, sizeof path);
    FILE *file = fopen(path, "w");
    CHECK(file != NULL);
    CHECK(fputs(text, file) >= 0 && fclose(file) == 0);
}

static uint64_t hand_wall_ms(void *context)
{
    struct hand_clock *hand = context;
    return atomic_load(&hand->wall_ms);
}

static uint64_t hand_mono_ns(void *context)
{
    struct hand_clock *hand = context;
    return atomic_load(&hand->mono_ns);
}

void hand_clock_init(struct hand_clock *hand, uint64_t wall_ms)
{
    hand->clock = (aic_clock){.wall_ms = hand_wall_ms, .mono_ns = hand_mono_ns, .context = hand};
    atomic_init(&hand->wall_ms, wall_ms);
    atomic_init(&hand->mono_ns, 1000000000);
}

/* splitmix64 (S. Vigna). */
uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t random_below(uint64_t *state, uint64_t bound)
{
    return random_next(state) % bound;
}

aic_key sample_key(uint64_t number)
{
    aic_key key;
    uint64_t state = number;
    for (size_t i = 0; i < AIC_KEY_BYTES; i += 8) {
        uint64_t part = random_next(&state);
        memcpy(key.bytes + i, &part, sizeof part);
    }
    return key;
}

enum { HEAD_BYTES = 33 };

void sample_write(const struct sample *sample, struct buf *out)
{
    size_t start = out->size;
    uint64_t check = 0;
    uint64_t seed = sample->payload_seed;
    uint8_t count = 0;
    while (count < TIER_MAX_LABELS && sample->labels[count] != NULL) count++;
    buf_append(out, &sample->created_ms, 8);
    buf_append(out, &sample->expires_ms, 8);
    buf_append(out, &check, 8);
    buf_append(out, &sample->seq, 8);
    buf_append_byte(out, (char)count);
    for (uint8_t i = 0; i < count; i++) {
        size_t size = strlen(sample->labels[i] + 1);
        buf_append_byte(out, (char)(sample->labels[i][0] - '0'));
        buf_append_byte(out, (char)size);
        buf_append(out, sample->labels[i] + 1, size);
    }
    for (size_t left = sample->payload_bytes; left > 0;) {
        uint64_t part = random_next(&seed);
        size_t size = left < sizeof part ? left : sizeof part;
        buf_append(out, &part, size);
        left -= size;
    }
    if (out->failed) return;
    check = XXH3_64bits(out->data + start + 24, out->size - start - 24);
    memcpy(out->data + start + 16, &check, sizeof check);
}

aic_status sample_describe(void *context, aic_view record, struct tier_description *out)
{
    (void)context;
    uint64_t check;
    if (record.size < HEAD_BYTES) return AIC_DAMAGED;
    memcpy(&check, record.data + 16, sizeof check);
    if (check != XXH3_64bits(record.data + 24, record.size - 24)) return AIC_DAMAGED;
    memcpy(&out->created_ms, record.data, 8);
    memcpy(&out->expires_ms, record.data + 8, 8);
    memcpy(&out->seq, record.data + 24, 8);
    out->label_count = (uint8_t)record.data[HEAD_BYTES - 1];
    if (out->label_count > TIER_MAX_LABELS) return AIC_DAMAGED;
    size_t at = HEAD_BYTES;
    for (size_t i = 0; i < out->label_count; i++) {
        if (record.size - at < 2) return AIC_DAMAGED;
        size_t size = (uint8_t)record.data[at + 1];
        if (record.size - at - 2 < size) return AIC_DAMAGED;
        out->labels[i].kind = (uint8_t)record.data[at];
        out->labels[i].value = (aic_view){record.data + at + 2, size};
        at += 2 + size;
    }
    return AIC_OK;
}

struct tier_label sample_label(const char *text)
{
    return (struct tier_label){.kind = (uint8_t)(text[0] - '0'), .value = aic_view_of(text + 1)};
}

static bool may_go_on(struct failing_allocator *failing)
{
    if (atomic_load(&failing->left) < 0) return true;
    return atomic_fetch_sub(&failing->left, 1) > 0 || (atomic_store(&failing->left, 0), false);
}

static void *failing_acquire(void *context, size_t bytes)
{
    struct failing_allocator *failing = context;
    void *block = may_go_on(failing) ? malloc(bytes) : NULL;
    if (block != NULL) atomic_fetch_add(&failing->live, 1);
    return block;
}

static void failing_release(void *context, void *block, size_t bytes)
{
    struct failing_allocator *failing = context;
    (void)bytes;
    free(block);
    atomic_fetch_sub(&failing->live, 1);
}

static bool failing_mapping(void *context, size_t bytes)
{
    (void)bytes;
    return may_go_on(context);
}

void failing_allocator_init(struct failing_allocator *failing)
{
    failing->allocator = (aic_allocator){failing_acquire, failing_release, failing_mapping, failing};
    atomic_init(&failing->left, -1);
    atomic_init(&failing->live, 0);
}

aic_status walk_tier(struct mem *mem, struct tier *tier, const struct tier_filter *filter, struct tier_place *at,
                     tier_visit_fn *visit, void *context)
{
    struct tier_place start = {0}, *place = at != NULL ? at : &start;
    struct tier_page page = {.next = *place};
    struct tier_row row;
    aic_view record;
    aic_status status = AIC_OK;
    bool more = true;
    buf_init(&page.bytes, mem, MEM_OTHER);
    while (more && !place->ended && (status = tier->ops->select(tier, filter, &page)) == AIC_OK) {
        for (size_t next = 0; more && tier_page_read(&page, &next, &row, &record);) {
            if (filter->any_order) place->row = row.row + 1;
            else tier_place_after(place, &row.key);
            more = visit(context, &row.key, record);
        }
        if (more) *place = page.next;
    }
    buf_fini(&page.bytes);
    return status;
}

aic_status walk_blobs(struct mem *mem, struct tier *tier, const char *prefix,
                      bool (*visit)(void *context, aic_view name, aic_view value), void *context)
{
    struct buf name, value;
    aic_status status;
    buf_init(&name, mem, MEM_OTHER);
    buf_init(&value, mem, MEM_OTHER);
    while ((status = tier->ops->blob_next(tier, aic_view_of(prefix), &name, &value)) == AIC_OK) {
        if (!visit(context, buf_view(&name), buf_view(&value))) break;
    }
    buf_fini(&value);
    buf_fini(&name);
    return status == AIC_MISS ? AIC_OK : status;
}

aic_status check_tier(struct tier *tier, aic_error *error)
{
    struct tier_check check = {0};
    aic_status status = AIC_OK;
    while (status == AIC_OK && !check.ended) status = tier->ops->verify(tier, &check, error);
    return status;
}
