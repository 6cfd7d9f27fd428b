#include "store/samples.h"

#include "base/check.h"

#define XXH_INLINE_ALL
#include <endian.h>
#include <string.h>
#define ZDICT_STATIC_LINKING_ONLY
#include <xxhash.h>
#include <zdict.h>

enum { HOLD_BACK = 8 /* every eighth sample judges */, DICTIONARY_MAX_BYTES = 110 * 1024, DICTIONARY_MIN_BYTES = 4096 };

bool samples_want(struct samples *samples)
{
    uint64_t stride = samples->stride > 0 ? samples->stride : 1;
    return samples->offered++ % stride == 0;
}

struct sample *sample_create(struct mem *mem, aic_view value)
{
    size_t size = value.size < SAMPLE_MAX_BYTES ? value.size : SAMPLE_MAX_BYTES;
    struct sample *sample = mem_alloc(mem, MEM_CODEC, sizeof *sample + size);
    if (sample == NULL) return NULL;
    sample->next = NULL;
    sample->size = size;
    memcpy(sample->bytes, value.data, size);
    return sample;
}

void sample_destroy(struct mem *mem, struct sample **sample)
{
    struct sample *gone = *sample;
    *sample = NULL;
    if (gone != NULL) mem_free(mem, MEM_CODEC, gone, sizeof *gone + gone->size);
}

static void thin(struct samples *samples, struct mem *mem)
{
    bool drop = false;
    for (struct sample **link = &samples->first; *link != NULL; drop = !drop) {
        struct sample *sample = *link;
        if (!drop) {
            link = &sample->next;
            continue;
        }
        *link = sample->next;
        CHECK(samples->count > 0 && samples->bytes >= sample->size);
        samples->count--;
        samples->bytes -= sample->size;
        sample_destroy(mem, &sample);
    }
    samples->stride = samples->stride > 0 ? samples->stride * 2 : 2;
}

void samples_add(struct samples *samples, struct mem *mem, struct sample *sample)
{
    sample->next = samples->first;
    samples->first = sample;
    samples->count++;
    samples->bytes += sample->size;
    if (samples->bytes > SAMPLES_MAX_BYTES) thin(samples, mem);
}

bool samples_are_enough(const struct samples *samples)
{
    return samples->count >= SAMPLES_MIN_COUNT && samples->bytes >= SAMPLES_MIN_BYTES;
}

void samples_clear(struct samples *samples, struct mem *mem)
{
    while (samples->first != NULL) {
        struct sample *sample = samples->first;
        samples->first = sample->next;
        sample_destroy(mem, &sample);
    }
    *samples = (struct samples){0};
}

/* ---- training ---- */

static bool is_held_back(size_t index)
{
    return index % HOLD_BACK == HOLD_BACK - 1;
}

/* The samples that teach, in one block, as ZDICT wants them. */
struct lesson {
    char *bytes;
    size_t *sizes;
    size_t count;
    size_t size;
};

static void lesson_fini(struct lesson *lesson, struct mem *mem, const struct samples *samples)
{
    mem_free(mem, MEM_CODEC, lesson->bytes, samples->bytes);
    mem_free(mem, MEM_CODEC, lesson->sizes, samples->count * sizeof *lesson->sizes);
}

static aic_status lesson_init(struct lesson *lesson, struct mem *mem, const struct samples *samples)
{
    *lesson = (struct lesson){0};
    lesson->bytes = mem_alloc(mem, MEM_CODEC, samples->bytes);
    lesson->sizes = mem_alloc(mem, MEM_CODEC, samples->count * sizeof *lesson->sizes);
    if (lesson->bytes == NULL || lesson->sizes == NULL) {
        lesson_fini(lesson, mem, samples);
        return AIC_NO_MEMORY;
    }
    size_t index = 0;
    for (const struct sample *sample = samples->first; sample != NULL; sample = sample->next, index++) {
        if (is_held_back(index)) continue;
        CHECK(lesson->count < samples->count && sample->size <= samples->bytes - lesson->size);
        memcpy(lesson->bytes + lesson->size, sample->bytes, sample->size);
        lesson->sizes[lesson->count++] = sample->size;
        lesson->size += sample->size;
    }
    return AIC_OK;
}

/* The bytes of the held back samples, compressed with `dictionary` or, for NULL, without one. 0 when a compression
 * fails. */
static size_t judged_bytes(const struct samples *samples, ZSTD_CCtx *context, char *room, size_t capacity, int level,
                           const struct dictionary *dictionary)
{
    size_t total = 0;
    size_t index = 0;
    for (const struct sample *sample = samples->first; sample != NULL; sample = sample->next, index++) {
        if (!is_held_back(index)) continue;
        size_t size = dictionary != NULL
                          ? ZSTD_compress_usingCDict(context, room, capacity, sample->bytes, sample->size,
                                                     dictionary->compress)
                          : ZSTD_compressCCtx(context, room, capacity, sample->bytes, sample->size, level);
        if (ZSTD_isError(size)) return 0;
        total += size;
    }
    return total;
}

/* AIC_OK when `made` beats `current` by more than 3 % of its size. */
static aic_status judge(const struct samples *samples, struct mem *mem, int level, const struct dictionary *made,
                        const struct dictionary *current)
{
    size_t capacity = ZSTD_compressBound(SAMPLE_MAX_BYTES);
    char *room = mem_alloc(mem, MEM_CODEC, capacity);
    ZSTD_CCtx *context = ZSTD_createCCtx_advanced(zstd_mem(mem));
    aic_status status = AIC_NO_MEMORY;
    if (room != NULL && context != NULL) {
        size_t with = judged_bytes(samples, context, room, capacity, level, made);
        size_t without = judged_bytes(samples, context, room, capacity, level, current);
        if (with > 0 && without > 0) status = with < without - without * 3 / 100 ? AIC_OK : AIC_MISS;
    }
    ZSTD_freeCCtx(context);
    mem_free(mem, MEM_CODEC, room, capacity);
    return status;
}

static size_t wanted_capacity(const struct samples *samples)
{
    size_t wanted = samples->bytes / 8;
    if (wanted < DICTIONARY_MIN_BYTES) return DICTIONARY_MIN_BYTES;
    return wanted < DICTIONARY_MAX_BYTES ? wanted : DICTIONARY_MAX_BYTES;
}

enum { ID_HASH_BITS = 24, ID_MAX_GENERATION = 127, ID_OFFSET = 4 /* behind the magic number */ };

static uint32_t make_id(aic_view group, const struct dictionary *current, aic_view trained)
{
    uint32_t generation = current != NULL ? (current->id >> ID_HASH_BITS) + 1 : 1;
    if (generation > ID_MAX_GENERATION) generation = ID_MAX_GENERATION;
    const size_t behind = ID_OFFSET + sizeof(uint32_t);
    uint64_t hash = XXH3_64bits_withSeed(trained.data + behind, trained.size - behind,
                                         XXH3_64bits(group.data, group.size));
    return generation << ID_HASH_BITS | (uint32_t)(hash >> (64 - ID_HASH_BITS));
}

/* A dictionary from the lesson, in `room`; AIC_MISS when the samples have nothing in common. */
static aic_status learn(const struct samples *samples, struct mem *mem, int level, aic_view group,
                        const struct dictionary *current, char *room, size_t capacity, struct dictionary **out)
{
    struct lesson lesson;
    TRY(lesson_init(&lesson, mem, samples));
    /* d 8 and steps 4 are zstd's own defaults; one thread, so that the same samples give the same dictionary. */
    ZDICT_fastCover_params_t parameters = {.d = 8, .steps = 4, .zParams = {.compressionLevel = level}};
    size_t size = ZDICT_optimizeTrainFromBuffer_fastCover(room, capacity, lesson.bytes, lesson.sizes,
                                                          (unsigned)lesson.count, &parameters);
    lesson_fini(&lesson, mem, samples);
    if (ZDICT_isError(size)) return AIC_MISS;
    uint32_t id = make_id(group, current, (aic_view){room, size}), stored = htole32(id);
    memcpy(room + ID_OFFSET, &stored, sizeof stored);
    aic_status status = dictionary_create(mem, id, (aic_view){room, size}, level, out);
    return status == AIC_DAMAGED ? AIC_MISS : status;
}

aic_status samples_train(const struct samples *samples, struct mem *mem, int level, aic_view group,
                         const struct dictionary *current, struct dictionary **out)
{
    size_t capacity = wanted_capacity(samples);
    char *room = mem_alloc(mem, MEM_CODEC, capacity);
    if (room == NULL) return AIC_NO_MEMORY;
    struct dictionary *made = NULL;
    aic_status status = learn(samples, mem, level, group, current, room, capacity, &made);
    mem_free(mem, MEM_CODEC, room, capacity);
    if (status == AIC_OK) status = judge(samples, mem, level, made, current);
    if (status == AIC_OK) *out = made;
    else dictionary_release(&made);
    return status;
}
