#include "monitor/stream.h"

#include "base/check.h"

#include <assert.h>
#include <string.h>

/* A slot: mono, seconds, numbers, the lengths of the texts (16 bits each), the texts. */
#define FIXED_WORDS (3 + EVENT_NUMBERS)
#define SLOT_WORDS (FIXED_WORDS + EVENT_TEXT_WORDS)

static_assert(EVENT_TEXTS * 16 <= 64, "the lengths of all texts share one word");

aic_status stream_init(struct stream *stream, struct mem *mem, const aic_clock *clock, uint64_t capacity,
                       uint64_t retention_ns)
{
    stream->clock = clock;
    stream->retention_ns = retention_ns;
    return ring_init(&stream->ring, mem, capacity, SLOT_WORDS);
}

void stream_fini(struct stream *stream)
{
    ring_fini(&stream->ring);
}

/* At most `max` bytes of `text`, not ending inside a code point. */
static size_t cut(aic_view text, size_t max)
{
    if (text.size <= max) return text.size;
    while (max > 0 && ((unsigned char)text.data[max] & 0xC0) == 0x80) max--;
    return max;
}

void stream_append(struct stream *stream, struct event *event)
{
    uint64_t words[SLOT_WORDS];
    char *bytes = (char *)(words + FIXED_WORDS);
    size_t used = 0;
    uint64_t lengths = 0;
    for (unsigned i = 0; i < EVENT_TEXTS; i++) {
        size_t room = sizeof(uint64_t) * EVENT_TEXT_WORDS - used;
        size_t size = cut(event->text[i], room);
        if (i == EVENT_TEXTS - 1 && size < event->text[i].size) size = 0;
        if (size > 0) memcpy(bytes + used, event->text[i].data, size);
        lengths |= (uint64_t)size << (16 * i);
        used += size;
    }
    if (event->mono_ns == 0) event->mono_ns = clock_mono_ns(stream->clock);
    words[0] = event->mono_ns;
    memcpy(&words[1], &event->seconds, sizeof words[1]);
    memcpy(&words[2], event->number, sizeof event->number);
    words[FIXED_WORDS - 1] = lengths;
    size_t text_words = (used + 7) / 8;
    memset(bytes + used, 0, text_words * 8 - used);
    ring_append(&stream->ring, words, FIXED_WORDS + text_words);
}

static void unpack(const uint64_t words[SLOT_WORDS], uint64_t count, struct event_copy *copy)
{
    struct event *event = &copy->event;
    event->mono_ns = words[0];
    memcpy(&event->seconds, &words[1], sizeof event->seconds);
    memcpy(event->number, &words[2], sizeof event->number);
    memcpy(copy->bytes, words + FIXED_WORDS, (count - FIXED_WORDS) * sizeof words[0]);
    size_t at = 0;
    for (unsigned i = 0; i < EVENT_TEXTS; i++) {
        size_t size = words[FIXED_WORDS - 1] >> (16 * i) & 0xFFFF;
        event->text[i] = (aic_view){(const char *)copy->bytes + at, size};
        at += size;
    }
}

static bool is_old(const struct stream *stream, uint64_t now_ns, uint64_t event_ns)
{
    return now_ns >= event_ns && now_ns - event_ns >= stream->retention_ns;
}

aic_status window_read(struct window *window, struct mem *mem, const struct stream *stream)
{
    uint64_t from, until;
    ring_span(&stream->ring, &from, &until);
    *window = (struct window){.mem = mem, .capacity = (size_t)(until - from)};
    if (until == from) return AIC_OK;
    window->events = mem_alloc(mem, MEM_MONITOR, window->capacity * sizeof *window->events);
    if (window->events == NULL) return AIC_NO_MEMORY;
    uint64_t now = clock_mono_ns(stream->clock), wall_ms = clock_wall_ms(stream->clock);
    uint64_t words[SLOT_WORDS];
    for (uint64_t ticket = from; ticket < until; ticket++) {
        uint64_t count = ring_read(&stream->ring, ticket, words);
        if (count == 0 || is_old(stream, now, words[0])) continue;
        struct event_copy *copy = &window->events[window->count++];
        unpack(words, count, copy);
        copy->event.wall_ms = wall_ms - (now > words[0] ? (now - words[0]) / 1000000 : 0);
    }
    return AIC_OK;
}

bool stream_is_empty(const struct stream *stream)
{
    uint64_t from, until, words[SLOT_WORDS];
    ring_span(&stream->ring, &from, &until);
    uint64_t now = clock_mono_ns(stream->clock);
    for (; until > from; until--)
        if (ring_read(&stream->ring, until - 1, words) > 0) return is_old(stream, now, words[0]);
    return true;
}

void window_fini(struct window *window)
{
    mem_free(window->mem, MEM_MONITOR, window->events, window->capacity * sizeof *window->events);
    window->events = NULL;
    window->count = 0;
}
