/*
 * footprint.h - where this process's resident memory lies: its mappings, each counted to one owner, so that the parts
 * add up to RSS.
 *
 * /proc/self/smaps lists every mapping with its resident bytes. A mapping belongs to the memory tier (its address range
 * is known), to the storage tier (its file is known), to a stack, to the program and its libraries (any other file), or
 * to the allocator (what is left). Reading it walks page tables: some milliseconds per GiB, so it is done at most every
 * few seconds, in the background.
 */
#ifndef OBSERVE_FOOTPRINT_H
#define OBSERVE_FOOTPRINT_H

#include <aicache/aicache.h>

/* Every part: member, name in reports, what it is. */
#define FOOTPRINT_MAP(X)                                                                                               \
    X(memory_values, "arenas of the memory tier")                                                                      \
    X(memory_index, "tables and ghosts of the memory tier")                                                            \
    X(storage_map, "pages of the storage tier's file, which the kernel can drop")                                      \
    X(heap, "what the allocator holds, in use or not")                                                                 \
    X(stacks, "stacks of the threads")                                                                                 \
    X(program, "the program and its libraries")

struct footprint {
    uint64_t rss; /* the sum of all parts */
#define FOOTPRINT_MEMBER(name, help) uint64_t name;
    FOOTPRINT_MAP(FOOTPRINT_MEMBER)
#undef FOOTPRINT_MEMBER
};

struct footprint_options {
    const char *root;         /* "" for this machine, or a tree with proc/self/smaps */
    const char *storage_file; /* end of the path of the storage tier's file; NULL: none */
    /* The memory tier's addresses; equal: none. */
    uintptr_t values_begin, values_end, index_begin, index_end;
};

/* AIC_IO when the mappings cannot be read. Any thread. */
AIC_MUST_CHECK aic_status footprint_read(const struct footprint_options *options, struct footprint *out);

#endif
