/*
 * warnings.h - what is wrong with the daemon now: what the monitor finds of memory (if there is one), what storage has
 * to say, memory pressure while it lasts, and every alert that is open.
 */
#ifndef OBSERVE_WARNINGS_H
#define OBSERVE_WARNINGS_H

#include "observe/overview.h"
#include "observe/verdict.h"

/* The verdict of this moment, of which GET /monitoring/warnings, snapshots, alerts and health are views. Any thread.
 * AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status warnings_find(const struct overview *overview, struct verdict *out);

#endif
