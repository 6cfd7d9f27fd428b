/*
 * stream.h - one stream of measurements: events packed into the slots of rings, read back as a window in time, with
 * counters and percentiles that go on counting what the rings no longer hold.
 *
 * Each recording thread has a ring, counters and histograms of its own (base/lanes.h), so that recording threads never
 * wait for each other's cache lines. Every ring has room for the whole limit: the newest events are kept whichever
 * threads they come from. A window merges the rings by time.
 */
#ifndef OBSERVE_STREAM_H
#define OBSERVE_STREAM_H

#include "base/clock.h"
#include "base/json.h"
#include "base/lanes.h"
#include "observe/ring.h"

#define EVENT_NUMBERS 8
#define EVENT_TEXTS 4
#define EVENT_TEXT_WORDS 80 /* 640 bytes: three names of 128 and the largest data */
#define STREAM_COUNTERS 2

/* One measurement. What the numbers and texts mean is the stream's (observe/monitor.h). */
struct event {
    uint64_t mono_ns; /* decides retention */
    uint64_t wall_ms; /* shown; of a read event, told from mono_ns and the clocks of now, so that recording reads one
                         clock */
    double seconds;
    uint64_t number[EVENT_NUMBERS];
    aic_view text[EVENT_TEXTS]; /* of a written event: borrowed; of a read one: into its window */
};

/* How large the stream's events can be; what is beyond numbers is not kept, texts are cut. */
struct stream_shape {
    uint64_t numbers;    /* 1..EVENT_NUMBERS */
    uint64_t text_words; /* 1..EVENT_TEXT_WORDS, of all texts together */
};

struct stream {
    struct lanes lanes; /* of struct stream_lane */
    const aic_clock *clock;
    uint64_t capacity, retention_ns;
    struct stream_shape shape;
};

/* The stream must not move while it is used. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status stream_init(struct stream *stream, struct mem *mem, const aic_clock *clock, uint64_t capacity,
                                      uint64_t retention_ns, struct stream_shape shape);
/* Accepts what was zeroed and never initialised. */
void stream_fini(struct stream *stream);

/*
 * Dates the event (unless mono_ns is set), appends it, counts its duration and adds to the stream's counters. Texts
 * that do not fit are cut at the end of a code point; the last text (data) is kept whole or left out. Any thread.
 */
void stream_append(struct stream *stream, struct event *event, const uint64_t counters[STREAM_COUNTERS]);
/* Forgets events, counters and durations. Any thread. */
void stream_clear(struct stream *stream);

/* Since the start or the last stream_clear(), exact: events recorded; what was added to a counter; events that were
 * dropped because a slower writer was in the way. Any thread. */
uint64_t stream_total(const struct stream *stream);
uint64_t stream_counter(const struct stream *stream, unsigned counter);
uint64_t stream_lost(const struct stream *stream);
/* Writes the members p50, p90, p99, p999 of the durations. Any thread. */
void stream_write_percentiles(struct stream *stream, struct json_writer *out);

/* Is nothing in the window? Looks at the newest events only. */
bool stream_is_empty(const struct stream *stream);

/* A copy of the window, oldest first: events younger than the retention (one exactly at the cutoff is dropped). */
struct window {
    struct mem *mem;
    struct event *events; /* owned, the texts behind them; the last `count` of `capacity` */
    size_t bytes;         /* of the whole block */
    size_t count;
    size_t capacity;
};
AIC_MUST_CHECK aic_status window_read(struct window *window, struct mem *mem, const struct stream *stream);
void window_fini(struct window *window);
static inline const struct event *window_at(const struct window *window, size_t index)
{
    return &window->events[window->capacity - window->count + index];
}

/* What one figure is over a window that has events. */
struct spread {
    double mean, median, min, max;
    double usual; /* the mean of the least four fifths, one at least */
};
/* value: the figure of an event; NULL: its duration. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status window_spread(const struct window *window, double (*value)(const struct event *event),
                                        struct spread *out);

#endif
