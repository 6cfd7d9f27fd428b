/*
 * history.h - memory over time in three resolutions: a second for ten minutes, a minute for a day, an hour for a month.
 *
 * Each level is a ring of samples; a sample enters a level when that level's period has passed since its last one. It
 * costs 350 KB for a month and can be saved and loaded, so that the curves survive a restart. A mutex guards it: there
 * is one writer, once a second. It is taken last, under no other lock of the monitor.
 */
#ifndef OBSERVE_HISTORY_H
#define OBSERVE_HISTORY_H

#include "base/buf.h"
#include "base/json.h"

#include <pthread.h>

/* Every level: name, seconds between samples, samples kept. */
#define HISTORY_LEVEL_MAP(X)                                                                                           \
    X(SECONDS, "seconds", 1, 600)                                                                                      \
    X(MINUTES, "minutes", 60, 1440)                                                                                    \
    X(HOURS, "hours", 3600, 720)

enum history_level {
#define HISTORY_LEVEL_ENUM(name, label, seconds, count) HISTORY_##name,
    HISTORY_LEVEL_MAP(HISTORY_LEVEL_ENUM)
#undef HISTORY_LEVEL_ENUM
        HISTORY_LEVEL_COUNT
};

/* Every figure of a sample: member, name. All are bytes or counts. */
#define HISTORY_FIGURE_MAP(X)                                                                                          \
    X(time_ms)                                                                                                         \
    X(total_bytes)                                                                                                     \
    X(memory_bytes)                                                                                                    \
    X(memory_entries)                                                                                                  \
    X(process_bytes)                                                                                                   \
    X(resident_tier_bytes)                                                                                             \
    X(resident_storage_bytes)                                                                                          \
    X(resident_heap_bytes)                                                                                             \
    X(resident_program_bytes)                                                                                          \
    X(hits)                                                                                                            \
    X(misses)                                                                                                          \
    X(operations)                                                                                                      \
    X(evicted)

struct history_sample {
#define HISTORY_FIGURE_MEMBER(name) uint64_t name;
    HISTORY_FIGURE_MAP(HISTORY_FIGURE_MEMBER)
#undef HISTORY_FIGURE_MEMBER
};

struct history_ring {
    struct history_sample *samples; /* owned */
    size_t first, count, capacity;
    uint64_t period_ms;
};

struct history {
    struct mem *mem;
    pthread_mutex_t mutex; /* guards the levels */
    struct history_ring levels[HISTORY_LEVEL_COUNT];
};

AIC_MUST_CHECK aic_status history_init(struct history *history, struct mem *mem);
void history_fini(struct history *history);
void history_add(struct history *history, const struct history_sample *sample);

/* Copies the newest sample and the one `back` samples before it (or the oldest). false with fewer than two samples. */
bool history_span(struct history *history, enum history_level level, size_t back, struct history_sample *first,
                  struct history_sample *last);

/* Writes {"seconds":{"period_seconds":1,"figures":["time_ms",…],"samples":[[…],…]},"minutes":…,"hours":…}. */
void history_write(struct history *history, struct json_writer *out);

/* The whole as bytes, and back. A damaged or foreign text gives AIC_DAMAGED and changes nothing. */
void history_save(struct history *history, struct buf *out);
AIC_MUST_CHECK aic_status history_load(struct history *history, aic_view bytes);

#endif
