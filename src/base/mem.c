#include "base/mem.h"

#include "base/check.h"
#include "base/status.h"

#include <stdlib.h>
#include <string.h>

static _Thread_local const struct mem *refused_by;

static void *system_acquire(void *context, size_t bytes)
{
    (void)context;
    return malloc(bytes);
}

static void system_release(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

aic_status mem_check_allocator(const aic_allocator *allocator, aic_error *error)
{
    if (allocator == NULL || (allocator->acquire != NULL && allocator->release != NULL)) return AIC_OK;
    return error_set(error, AIC_INVALID, "allocator", "%s is NULL: an allocator needs both acquire and release",
                     allocator->acquire == NULL ? "acquire" : "release");
}

void mem_init(struct mem *mem, const aic_allocator *allocator)
{
    memset(mem, 0, sizeof *mem);
    if (allocator != NULL) {
        mem->allocator = *allocator;
    } else {
        mem->allocator.acquire = system_acquire;
        mem->allocator.release = system_release;
    }
}

void mem_fini(struct mem *mem)
{
    for (int owner = 0; owner < MEM_OWNER_COUNT; owner++) CHECK(mem_bytes(mem, (enum mem_owner)owner) == 0);
}

void *mem_alloc(struct mem *mem, enum mem_owner owner, size_t bytes)
{
    if (bytes == 0) return NULL;
    void *block = mem->allocator.acquire(mem->allocator.context, bytes);
    if (block == NULL) {
        atomic_fetch_add_explicit(&mem->failures, 1, memory_order_relaxed);
        if (refused_by != mem) refused_by = NULL; /* a mem within this one's allocator has been asked before */
        return NULL;
    }
    mem_count(mem, owner, (int64_t)bytes);
    return block;
}

void *mem_zalloc(struct mem *mem, enum mem_owner owner, size_t bytes)
{
    void *block = mem_alloc(mem, owner, bytes);
    if (block != NULL) memset(block, 0, bytes);
    return block;
}

void *mem_realloc(struct mem *mem, enum mem_owner owner, void *old, size_t old_bytes, size_t new_bytes)
{
    void *block = mem_alloc(mem, owner, new_bytes);
    if (block == NULL) return NULL;
    if (old != NULL) {
        memcpy(block, old, old_bytes < new_bytes ? old_bytes : new_bytes);
        mem_free(mem, owner, old, old_bytes);
    }
    return block;
}

void mem_free(struct mem *mem, enum mem_owner owner, void *block, size_t bytes)
{
    if (block == NULL) return;
    mem_count(mem, owner, -(int64_t)bytes);
    mem->allocator.release(mem->allocator.context, block, bytes);
}

const struct mem *mem_refused_by(void)
{
    return refused_by;
}

void mem_refuse(const struct mem *mem)
{
    refused_by = mem;
}

char *mem_copy_string(struct mem *mem, enum mem_owner owner, aic_view text)
{
    char *copy = mem_alloc(mem, owner, text.size + 1);
    if (copy == NULL) return NULL;
    if (text.size > 0) memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    return copy;
}

void mem_free_string(struct mem *mem, enum mem_owner owner, char *text)
{
    if (text != NULL) mem_free(mem, owner, text, strlen(text) + 1);
}

bool mem_may_map(struct mem *mem, size_t bytes)
{
    if (mem->allocator.acquire_mapping == NULL) return true;
    if (mem->allocator.acquire_mapping(mem->allocator.context, bytes)) return true;
    atomic_fetch_add_explicit(&mem->failures, 1, memory_order_relaxed);
    refused_by = NULL;
    return false;
}

void mem_count(struct mem *mem, enum mem_owner owner, int64_t bytes)
{
    atomic_fetch_add_explicit(&mem->bytes[owner], (uint64_t)bytes, memory_order_relaxed);
}

uint64_t mem_bytes(const struct mem *mem, enum mem_owner owner)
{
    return atomic_load_explicit(&mem->bytes[owner], memory_order_relaxed);
}

const char *mem_owner_name(enum mem_owner owner)
{
    static const char *const names[] = {
#define MEM_OWNER_LABEL(name, label, help) label,
        MEM_OWNER_MAP(MEM_OWNER_LABEL)
#undef MEM_OWNER_LABEL
    };
    static_assert(COUNT_OF(names) == MEM_OWNER_COUNT, "each owner has its name");
    CHECK((unsigned)owner < MEM_OWNER_COUNT);
    return names[owner];
}
