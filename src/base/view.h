/*
 * view.h - comparing keys and what an aic_view shows, cutting off what says nothing, repeating names that somebody
 * sent.
 */
#ifndef BASE_VIEW_H
#define BASE_VIEW_H

#include <aicache/aicache.h>
#include <string.h>

/* Byte by byte; two empty views are equal whatever they point to. */
static inline bool view_equal(aic_view a, aic_view b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* The order of keys: negative, 0 or positive. */
static inline int key_compare(const aic_key *a, const aic_key *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

/* Makes it the key that follows in that order; false: it was the last, and is the first now. */
static inline bool key_next(aic_key *key)
{
    for (size_t i = sizeof key->bytes; i > 0; i--) {
        if (++key->bytes[i - 1] != 0) return true;
    }
    return false;
}

/* Is the byte one of `set`? A NUL byte is none of them, which strchr() takes for its end. */
static inline bool view_byte_in(char byte, const char *set)
{
    return byte != '\0' && strchr(set, byte) != NULL;
}

/* Without the bytes of `set` around it; without those at its end. */
static inline aic_view view_trim_end(aic_view text, const char *set)
{
    while (text.size > 0 && view_byte_in(text.data[text.size - 1], set)) text.size--;
    return text;
}
static inline aic_view view_trim(aic_view text, const char *set)
{
    text = view_trim_end(text, set);
    while (text.size > 0 && view_byte_in(text.data[0], set)) {
        text.data++;
        text.size--;
    }
    return text;
}

/* Without the byte order mark that some editors put in front of a file of UTF-8; it says nothing. */
static inline aic_view view_skip_bom(aic_view text)
{
    bool marked = text.size >= 3 && memcmp(text.data, "\xEF\xBB\xBF", 3) == 0;
    return marked ? (aic_view){text.data + 3, text.size - 3} : text;
}

/* A name as a refusal may repeat it: its first `max` bytes, or nothing when they are not all visible ASCII. */
static inline aic_view view_plain_name(aic_view name, size_t max)
{
    if (name.size > max) name.size = max;
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] <= ' ' || name.data[i] >= 0x7f) return (aic_view){name.data, 0};
    }
    return name;
}

#endif
