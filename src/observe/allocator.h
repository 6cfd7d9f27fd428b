/*
 * allocator.h - what the allocator behind malloc says of itself, and giving its free pages back: jemalloc where it is
 * linked, the C library elsewhere.
 */
#ifndef OBSERVE_ALLOCATOR_H
#define OBSERVE_ALLOCATOR_H

#include <stdint.h>

/* Bytes. Zero where the allocator does not tell. */
struct allocator_figures {
    const char *name;   /* "jemalloc" or "glibc" */
    uint64_t allocated; /* given out */
    uint64_t active;    /* pages with something in use */
    uint64_t resident;  /* pages in memory */
    uint64_t retained;  /* address space kept without memory */
};

/* Any thread; microseconds. */
void allocator_read(struct allocator_figures *out);
/* Gives free pages back to the kernel that nobody has wanted for some seconds; once a second. jemalloc does it by
 * itself only where it is called, and a daemon that is idle after a burst calls it nowhere. Any thread but a front one.
 */
void allocator_decay(void);
/* Gives all free pages back to the kernel; may take milliseconds. Any thread but a front one. */
void allocator_purge(void);

#endif
