/*
 * host.h - what the machine and the cgroup say about memory (limit, working set, own RSS, stalls) and about cores.
 *
 * Every path is read below a root, so that tests give a tree of their own in place of / . cgroup v2, v1 and both
 * together are understood. A limit holds for all that lives in its group, also in groups beside ours, so each level
 * from our own group up to the root is measured by itself: its working set against its limit. The level that is nearest
 * to its limit is the one that is told of. The working set is usage without the inactive page cache (a mapped store's
 * pages are charged to us and can be dropped). What cannot be read is 0, never an error; levels that a cgroup namespace
 * hides are passed over. A level without a limit costs one or two small files, one with a limit two more.
 */
#ifndef OBSERVE_HOST_H
#define OBSERVE_HOST_H

#include <aicache/aicache.h>

#define HOST_PATH_BYTES 1024

struct host_memory {
    uint64_t total_bytes, available_bytes; /* of the machine */
    uint64_t rss_bytes, rss_anon_bytes;    /* of this process */
    bool in_cgroup;                        /* a cgroup limits this process */
    unsigned cgroup_version;               /* 1 or 2 */
    uint64_t cgroup_least_bytes;           /* the least limit of all levels; 0: none */
    /* Of the level nearest to its limit; without any limit below the machine's memory, of our own group. */
    char cgroup_path[HOST_PATH_BYTES]; /* below the mount, "/" for the mount itself */
    uint64_t cgroup_limit_bytes;       /* 0: none */
    uint64_t cgroup_usage_bytes, cgroup_working_bytes;
};

/* Stalls on memory. Percent of time, and microseconds since the boot. */
struct host_psi {
    bool available;
    double some_avg10, some_avg60, some_avg300, full_avg10, full_avg60, full_avg300;
    uint64_t some_total_us, full_total_us;
};

/* root: "" for this machine, or the directory of a tree with proc/ and sys/. Any thread. */
void host_memory_read(const char *root, struct host_memory *out);
void host_psi_read(const char *root, struct host_psi *out);

/* Percent of the limit (the cgroup's, or the machine's) that is in use; 0.0 when nothing can be read. */
double host_pressure(const struct host_memory *memory);
/* The limit that host_pressure() measures against. */
uint64_t host_limit(const struct host_memory *memory);

/* How many cores the CPU quotas of our cgroup and those above it leave of `cores`; one at least. */
unsigned host_cores(const char *root, unsigned cores);

/*
 * Opens a trigger for stalls of 100 ms within 2 s (the shortest window that the kernel allows without privileges): poll
 * the descriptor for POLLPRI; POLLERR means that the source is gone. The cgroup's own file first, then the machine's; a
 * path in $MEMORY_PRESSURE_WATCH (systemd) before both. -1: not available here, then the averages are all there is. The
 * caller closes.
 */
int host_psi_trigger(const char *root);

#endif
