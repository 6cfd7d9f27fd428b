/*
 * tick.h - what overview.c and tick.c share.
 */
#ifndef OBSERVE_TICK_H
#define OBSERVE_TICK_H

#include "observe/overview.h"

/* Makes what the ticks drive: pressure, alerts, the webhook. What was made before a failure is the overview's.
 * AIC_NO_MEMORY, AIC_INVALID. */
AIC_MUST_CHECK aic_status tick_setup(struct overview *overview);
/* Reads the figures of now, and makes them those of the overview. */
void tick_refresh(struct overview *overview, struct overview_facts *facts);
void tick_publish(struct overview *overview, const struct overview_facts *facts);

#endif
