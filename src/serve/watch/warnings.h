/*
 * warnings.h - the list of warnings: the monitor's (if there is one), what storage has to say, and memory pressure
 * while it lasts.
 */
#ifndef SERVE_WARNINGS_H
#define SERVE_WARNINGS_H

#include "serve/watch/overview.h"

/* An array of warnings, as in GET /monitoring/warnings and in a snapshot. Any thread. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status warnings_all(const struct overview *overview, struct json_writer *out);

#endif
