#include "store/dictionary.h"

#include "base/check.h"

#include <string.h>
#include <zdict.h>

static bool is_dictionary(uint32_t id, aic_view bytes)
{
    return id != 0 && bytes.data != NULL && ZDICT_getDictID(bytes.data, bytes.size) == id &&
           !ZDICT_isError(ZDICT_getDictHeaderSize(bytes.data, bytes.size));
}

/*
 * The digests lie in rooms of our own: ZSTD_createCDict_advanced() of zstd 1.5.4 dereferences NULL when its allocation
 * fails.
 */
static aic_status digest(struct dictionary *made, int level)
{
    ZSTD_compressionParameters parameters = ZSTD_getCParams(level, 0, made->size);
    made->compress_size = ZSTD_estimateCDictSize_advanced(made->size, parameters, ZSTD_dlm_byRef);
    made->decompress_size = ZSTD_estimateDDictSize(made->size, ZSTD_dlm_byRef);
    made->compress_room = mem_alloc(made->mem, MEM_CODEC, made->compress_size);
    made->decompress_room = mem_alloc(made->mem, MEM_CODEC, made->decompress_size);
    if (made->compress_room == NULL || made->decompress_room == NULL) return AIC_NO_MEMORY;
    made->compress = ZSTD_initStaticCDict(made->compress_room, made->compress_size, made->bytes, made->size,
                                          ZSTD_dlm_byRef, ZSTD_dct_fullDict, parameters);
    made->decompress = ZSTD_initStaticDDict(made->decompress_room, made->decompress_size, made->bytes, made->size,
                                            ZSTD_dlm_byRef, ZSTD_dct_fullDict);
    return made->compress != NULL && made->decompress != NULL ? AIC_OK : AIC_DAMAGED;
}

aic_status dictionary_create(struct mem *mem, uint32_t id, aic_view bytes, int level, struct dictionary **out)
{
    if (!is_dictionary(id, bytes)) return AIC_DAMAGED;
    struct dictionary *made = mem_zalloc(mem, MEM_CODEC, sizeof *made + bytes.size);
    if (made == NULL) return AIC_NO_MEMORY;
    made->mem = mem;
    made->id = id;
    made->size = bytes.size;
    atomic_init(&made->references, 1);
    memcpy(made->bytes, bytes.data, bytes.size);
    aic_status status = digest(made, level);
    if (status != AIC_OK) {
        dictionary_release(&made);
        return status;
    }
    *out = made;
    return AIC_OK;
}

void dictionary_take(struct dictionary *dictionary)
{
    /* Relaxed: the caller holds the codec's lock, under which the set's own reference keeps the count above 0. */
    CHECK(atomic_fetch_add_explicit(&dictionary->references, 1, memory_order_relaxed) > 0);
}

void dictionary_release(struct dictionary **dictionary)
{
    struct dictionary *gone = *dictionary;
    if (gone == NULL) return;
    *dictionary = NULL;
    /* Acquire and release: whoever frees sees all that the other holders did before their own release of this count. */
    uint32_t before = atomic_fetch_sub_explicit(&gone->references, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before > 1) return;
    mem_free(gone->mem, MEM_CODEC, gone->compress_room, gone->compress_size);
    mem_free(gone->mem, MEM_CODEC, gone->decompress_room, gone->decompress_size);
    mem_free(gone->mem, MEM_CODEC, gone, sizeof *gone + gone->size);
}

size_t dictionary_bytes(const struct dictionary *dictionary)
{
    return sizeof *dictionary + dictionary->size + dictionary->compress_size + dictionary->decompress_size;
}

static struct dictionary **chain_of(struct dictionary_set *set, uint32_t id)
{
    return &set->chains[id % DICTIONARY_CHAINS];
}

void dictionary_set_add(struct dictionary_set *set, struct dictionary *dictionary)
{
    struct dictionary **chain = chain_of(set, dictionary->id);
    CHECK(dictionary_set_find(set, dictionary->id) == NULL);
    dictionary->next = *chain;
    *chain = dictionary;
    set->count++;
    set->bytes += dictionary_bytes(dictionary);
}

struct dictionary *dictionary_set_find(const struct dictionary_set *set, uint32_t id)
{
    struct dictionary *found = set->chains[id % DICTIONARY_CHAINS];
    while (found != NULL && found->id != id) found = found->next;
    return found;
}

struct dictionary *dictionary_set_remove(struct dictionary_set *set, uint32_t id)
{
    struct dictionary **link = chain_of(set, id);
    while (*link != NULL && (*link)->id != id) link = &(*link)->next;
    struct dictionary *found = *link;
    if (found == NULL) return NULL;
    *link = found->next;
    CHECK(set->count > 0 && set->bytes >= dictionary_bytes(found));
    set->count--;
    set->bytes -= dictionary_bytes(found);
    return found;
}
