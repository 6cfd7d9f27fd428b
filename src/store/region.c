#include "store/region.h"

#include "base/check.h"

#include <sys/mman.h>

void region_init(struct region *region, struct mem *mem, char *base, size_t reserved)
{
    CHECK(reserved % REGION_STEP_BYTES == 0);
    *region = (struct region){.mem = mem, .base = base, .reserved = reserved};
}

aic_status region_commit(struct region *region, size_t from, size_t to)
{
    CHECK(from % REGION_STEP_BYTES == 0 && from < to && to <= region->reserved);
    if (!mem_may_map(region->mem, to - from)) return AIC_NO_MEMORY;
    if (mprotect(region->base + from, to - from, PROT_READ | PROT_WRITE) != 0) return AIC_NO_MEMORY;
    return AIC_OK;
}

void region_return(struct region *region, size_t from, size_t to)
{
    CHECK(region->committed <= from && to <= region->reserved);
    (void)madvise(region->base + from, to - from, MADV_DONTNEED);
}

void region_set(struct region *region, size_t committed)
{
    CHECK(committed % REGION_STEP_BYTES == 0 && committed <= region->reserved);
    mem_count(region->mem, MEM_STORE_INDEX, (int64_t)committed - (int64_t)region->committed);
    region->committed = committed;
}
