/*
 * warnings.h - what is wrong with the daemon: what its parts have to say, connections that found no room, and every
 * alert that is open. Any thread.
 */
#ifndef OBSERVE_WARNINGS_H
#define OBSERVE_WARNINGS_H

#include "observe/overview.h"

/* Finds what is wrong. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status warnings_find(const struct overview *overview, const struct overview_facts *facts,
                                        struct verdict *out);
/* An open alert marks the findings that it tells of; where there is none, it becomes one. */
void warnings_mark_alerts(const struct overview *overview, const struct overview_facts *facts, struct verdict *verdict);

/* What the rows of parts.h refer to. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status warnings_of_storage(const struct overview *overview, const struct overview_facts *facts,
                                              struct verdict *out);
void warnings_advise_storage(const struct overview *overview, struct finding *found);
AIC_MUST_CHECK aic_status warnings_of_memory(const struct overview *overview, const struct overview_facts *facts,
                                             struct verdict *out);

#endif
