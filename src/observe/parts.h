/*
 * parts.h - the parts whose health is told, what their checks look at, and the figures that /health repeats.
 *
 * Checks run on the threads of observe/probes.h and may wait; parts_refresh() copies statistics once a second, for the
 * checks too. Rendering reads both and waits for nothing. The mutex protects the copy of the figures; it is a leaf.
 */
#ifndef OBSERVE_PARTS_H
#define OBSERVE_PARTS_H

#include "observe/host.h"
#include "observe/pressure.h"
#include "observe/probes.h"

/* In the order of answers: enum name, name, component type of the health+json draft, the measurement that it calls it
 * by. */
#define PARTS_MAP(X)                                                                                                   \
    X(REDIS, "redis", "datastore", "responseTime")                                                                     \
    X(CHROMADB, "chromadb", "datastore", "responseTime")                                                               \
    X(EMBEDDINGS, "embeddings", "component", "responseTime")                                                           \
    X(STORAGE, "storage", "datastore", "responseTime")                                                                 \
    X(MEMORY, "memory", "system", "utilization")                                                                       \
    X(UPSTREAM, "upstream", "component", "responseTime")                                                               \
    X(CACHE, "cache", "component", "hitRatio")

enum part {
#define PARTS_ENUM(name, text, type, measurement) PART_##name,
    PARTS_MAP(PARTS_ENUM)
#undef PARTS_ENUM
        PART_COUNT
};
const char *part_name(enum part part);
const char *part_type(enum part part);
const char *part_measurement(enum part part);

struct parts_options {
    struct mem *mem;
    const aic_clock *clock;
    aic_cache *cache;
    const char *storage_kind;
    const char *root;          /* where /proc and /sys are, borrowed; NULL: this machine's */
    struct pressure *pressure; /* whose state the memory part repeats; borrowed; NULL: none */
    uint64_t interval_ms;      /* between checks; 0: 2000 */
};

/* Figures as of the last refresh. */
struct parts_facts {
    aic_stats stats;
    struct host_memory host;
};

struct parts;
/* Starts the checks' threads. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status parts_create(const struct parts_options *options, struct parts **out);
/* Waits for checks under way. Accepts a pointer to NULL. */
void parts_destroy(struct parts **parts);

/* Copies the cache's and the machine's figures; may take milliseconds. One thread. */
void parts_refresh(struct parts *parts);
void parts_facts(struct parts *parts, struct parts_facts *out);
struct probes *parts_probes(struct parts *parts);
/* The last result of one part. */
void parts_read(struct parts *parts, enum part part, struct probe_report *out);

/*
 * The whole: unhealthy only when the cache itself cannot serve; any other part that is not well degrades. *up of
 * *counted parts are healthy; what is not configured does not count. `reports` has PART_COUNT places.
 */
enum probe_status parts_overall(const struct probe_report *reports, unsigned *up, unsigned *counted);

#endif
