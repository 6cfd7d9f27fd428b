#include "observe/stats.h"

#include <stdio.h>

uint64_t stats_hits(const aic_stats *stats)
{
    return stats->hits_memory + stats->hits_storage;
}

double stats_rate(const aic_stats *stats, char out[STATS_RATE_BYTES])
{
    uint64_t hits = stats_hits(stats);
    uint64_t lookups = hits + stats->misses;
    double rate = lookups > 0 ? 100.0 * (double)hits / (double)lookups : 0.0;
    snprintf(out, STATS_RATE_BYTES, "%.1f%%", rate);
    return rate;
}

uint64_t stats_entries(const aic_stats *stats)
{
    return stats->memory_entries > stats->storage_entries ? stats->memory_entries : stats->storage_entries;
}

const char *stats_storage_status(const aic_stats *stats)
{
    if (!stats->storage_configured) return "disabled";
    return stats->storage_up ? "up" : stats->storage_reads_up ? "degraded" : "down";
}
