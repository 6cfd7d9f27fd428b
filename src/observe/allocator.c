#include "observe/allocator.h"

#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* jemalloc's control function; weak, because sanitizer builds run without jemalloc. */
int mallctl(const char *name, void *old, size_t *old_size, void *new_value, size_t new_size) __attribute__((weak));

/* Read by jemalloc before main(). Free pages go back three seconds after their last use instead of ten, and at once
 * instead of lying there for the kernel to take, which it does not count as given back. */
__attribute__((visibility("default"), used)) const char *malloc_conf = "dirty_decay_ms:3000,muzzy_decay_ms:0";

static uint64_t figure(const char *name)
{
    size_t value = 0, size = sizeof value;
    return mallctl(name, &value, &size, NULL, 0) == 0 ? value : 0;
}

static void read_jemalloc(struct allocator_figures *out)
{
    /* The figures are as of the last epoch: a new one makes them current. */
    uint64_t epoch = 1;
    size_t size = sizeof epoch;
    if (mallctl("epoch", &epoch, &size, &epoch, size) != 0) return;
    out->allocated = figure("stats.allocated");
    out->active = figure("stats.active");
    out->resident = figure("stats.resident");
    out->retained = figure("stats.retained");
}

void allocator_read(struct allocator_figures *out)
{
    memset(out, 0, sizeof *out);
    out->name = "jemalloc";
    if (mallctl != NULL) {
        read_jemalloc(out);
        return;
    }
    struct mallinfo2 info = mallinfo2();
    out->name = "glibc";
    out->allocated = info.uordblks + info.hblkhd;
    out->active = info.arena + info.hblkhd;
    out->resident = out->active;
}

#define ALL_ARENAS 4096 /* jemalloc's MALLCTL_ARENAS_ALL */

static void tell_arenas(const char *what)
{
    char name[32];
    snprintf(name, sizeof name, "arena.%u.%s", ALL_ARENAS, what);
    (void)mallctl(name, NULL, NULL, NULL, 0);
}

void allocator_decay(void)
{
    if (mallctl != NULL) tell_arenas("decay");
}

void allocator_purge(void)
{
    if (mallctl == NULL) malloc_trim(0);
    else tell_arenas("purge");
}
