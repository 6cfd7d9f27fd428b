/*
 * process.h - CPU time, memory and descriptors of this process, as the kernel tells them.
 */
#ifndef OBSERVE_PROCESS_H
#define OBSERVE_PROCESS_H

#include "base/figures.h"

/* Sets the figures of the process; what cannot be read stays as it was. Any thread. */
void process_figures(struct figures *out);

#endif
