/*
 * stream.h - one stream of measurements: events packed into the slots of a ring, read back as a window in time.
 */
#ifndef MONITOR_STREAM_H
#define MONITOR_STREAM_H

#include "base/clock.h"
#include "monitor/ring.h"

#define EVENT_NUMBERS 7
#define EVENT_TEXTS 4
#define EVENT_TEXT_WORDS 72 /* 576 bytes: three names of 128 and 192 of slack, or one name and the largest data */

/* One measurement. What the numbers and texts mean is the stream's (monitor/monitor.h). */
struct event {
    uint64_t mono_ns; /* decides retention */
    uint64_t wall_ms; /* shown; of a read event, told from mono_ns and the clocks of now, so that recording reads one
                         clock */
    double seconds;
    uint64_t number[EVENT_NUMBERS];
    aic_view text[EVENT_TEXTS]; /* of a written event: borrowed; of a read one: into `bytes` of its event_copy */
};

struct event_copy {
    struct event event;
    uint64_t bytes[EVENT_TEXT_WORDS];
};

struct stream {
    struct ring ring;
    const aic_clock *clock;
    uint64_t retention_ns;
};

AIC_MUST_CHECK aic_status stream_init(struct stream *stream, struct mem *mem, const aic_clock *clock, uint64_t capacity,
                                      uint64_t retention_ns);
void stream_fini(struct stream *stream);

/* Dates the event (unless mono_ns is set) and appends it. Texts that do not fit are cut at the end of a code point; the
 * last text (data) is kept whole or left out. */
void stream_append(struct stream *stream, struct event *event);

/* Is nothing in the window? Looks at the newest event only. */
bool stream_is_empty(const struct stream *stream);

/* A copy of the window, oldest first: events younger than the retention (one exactly at the cutoff is dropped). */
struct window {
    struct mem *mem;
    struct event_copy *events; /* owned */
    size_t count;
    size_t capacity;
};
AIC_MUST_CHECK aic_status window_read(struct window *window, struct mem *mem, const struct stream *stream);
void window_fini(struct window *window);
static inline const struct event *window_at(const struct window *window, size_t index)
{
    return &window->events[index].event;
}

#endif
