/*
 * stats.h - the few things that are said of the cache's statistics in more than one place. Pure functions.
 */
#ifndef OBSERVE_STATS_H
#define OBSERVE_STATS_H

#include "base/figures.h"

uint64_t stats_hits(const struct figures *figures);
/* hits / (hits + misses) as "XX.X%"; "0.0%" without lookups. Returns the number. */
#define STATS_RATE_BYTES 16
double stats_rate(const struct figures *figures, char out[STATS_RATE_BYTES]);
/* Entries that the cache holds, in whatever tier: the larger of the two, since a tier's entries are mostly the other's.
 */
uint64_t stats_entries(const struct figures *figures);
/* "disabled", "up", "down"; "degraded" while reads work and writes fail. */
const char *stats_storage_status(const struct figures *figures);

#endif
