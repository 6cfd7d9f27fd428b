#include "observe/stats.h"

#include <stdio.h>

uint64_t stats_hits(const struct figures *figures)
{
    return figures->hits_memory + figures->hits_storage;
}

double stats_rate(const struct figures *figures, char out[STATS_RATE_BYTES])
{
    uint64_t hits = stats_hits(figures);
    uint64_t lookups = hits + figures->misses;
    double rate = lookups > 0 ? 100.0 * (double)hits / (double)lookups : 0.0;
    snprintf(out, STATS_RATE_BYTES, "%.1f%%", rate);
    return rate;
}

uint64_t stats_entries(const struct figures *figures)
{
    return figures->memory_entries > figures->storage_entries ? figures->memory_entries : figures->storage_entries;
}

const char *stats_storage_status(const struct figures *figures)
{
    if (!figures->storage_configured) return "disabled";
    return figures->storage_up ? "up" : figures->storage_reads_up ? "degraded" : "down";
}
