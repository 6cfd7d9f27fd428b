#include "store/zstd_mem.h"

/* 16 bytes, so that what follows keeps the alignment of the block. */
union header {
    size_t bytes;
    long double alignment;
};
_Static_assert(sizeof(union header) == 16, "the header keeps 16-byte alignment");

static void *acquire(void *context, size_t bytes)
{
    if (bytes > SIZE_MAX - sizeof(union header)) return NULL;
    union header *block = mem_alloc(context, MEM_CODEC, sizeof *block + bytes);
    if (block == NULL) return NULL;
    block->bytes = sizeof *block + bytes;
    return block + 1;
}

static void release(void *context, void *bytes)
{
    if (bytes == NULL) return;
    union header *block = (union header *)bytes - 1;
    mem_free(context, MEM_CODEC, block, block->bytes);
}

ZSTD_customMem zstd_mem(struct mem *mem)
{
    return (ZSTD_customMem){acquire, release, mem};
}
