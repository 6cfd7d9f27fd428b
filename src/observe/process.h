/*
 * process.h - CPU time, memory and descriptors of this process, as the kernel tells them.
 */
#ifndef OBSERVE_PROCESS_H
#define OBSERVE_PROCESS_H

#include <stdint.h>

/* What cannot be read is 0. */
struct process_figures {
    double cpu_seconds, start_seconds;
    uint64_t rss_bytes, virtual_bytes, open_fds, max_fds;
};
void process_read(struct process_figures *out);

#endif
