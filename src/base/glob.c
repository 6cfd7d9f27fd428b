#include "base/glob.h"

#include <string.h>

struct cursor {
    const uint8_t *at, *end;
};

/* Takes one code point; a byte that begins no sequence comes alone, above the code points so that it equals only
 * itself. */
static uint32_t cursor_take(struct cursor *cursor)
{
    uint8_t lead = *cursor->at++;
    if (lead < 0x80) return lead;
    size_t tails = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC2 ? 1 : 0;
    if (tails == 0 || lead > 0xF4 || (size_t)(cursor->end - cursor->at) < tails) return 0x200000U + lead;
    uint32_t point = lead & (0x3FU >> tails);
    for (size_t i = 0; i < tails; i++) {
        if ((cursor->at[i] & 0xC0) != 0x80) return 0x200000U + lead;
        point = point << 6 | (cursor->at[i] & 0x3FU);
    }
    cursor->at += tails;
    return point;
}

static uint32_t cursor_take_escaped(struct cursor *cursor)
{
    uint32_t point = cursor_take(cursor);
    return point == '\\' && cursor->at < cursor->end ? cursor_take(cursor) : point;
}

/*
 * Reads a set whose `[` was taken. True when it is closed: the cursor stands behind it and *inside tells. False: the
 * cursor is where it was, and the bracket stands for itself.
 */
static bool set_match(struct cursor *pattern, uint32_t point, bool *inside)
{
    struct cursor at = *pattern;
    bool negated = at.at < at.end && (*at.at == '!' || *at.at == '^');
    if (negated) at.at++;
    bool found = false;
    for (bool first = true; at.at < at.end; first = false) {
        if (*at.at == ']' && !first) {
            at.at++;
            *pattern = at;
            *inside = found != negated;
            return true;
        }
        uint32_t low = cursor_take_escaped(&at), high = low;
        if (at.end - at.at >= 2 && at.at[0] == '-' && at.at[1] != ']') {
            at.at++;
            high = cursor_take_escaped(&at);
        }
        if (low <= point && point <= high) found = true;
    }
    return false;
}

/*
 * Does the unit at the front of the pattern (no star) accept this code point? The pattern moves behind it. From
 * *unclosed on no bracket is closed (if one is not, none after it is), so that a row of open brackets is searched for
 * an end once, not once each.
 */
static bool unit_match(struct cursor *pattern, uint32_t point, const uint8_t **unclosed)
{
    uint32_t unit = cursor_take(pattern);
    if (unit == '?') return true;
    bool inside = false;
    if (unit == '[' && pattern->at < *unclosed) {
        if (set_match(pattern, point, &inside)) return inside;
        *unclosed = pattern->at;
    }
    if (unit == '\\' && pattern->at < pattern->end) unit = cursor_take(pattern);
    return unit == point;
}

bool glob_match(aic_view pattern, aic_view text)
{
    static const uint8_t none[1];
    const uint8_t *front = pattern.size > 0 ? (const uint8_t *)pattern.data : none;
    const uint8_t *begin = text.size > 0 ? (const uint8_t *)text.data : none;
    struct cursor p = {front, front + pattern.size}, t = {begin, begin + text.size};
    struct cursor star = {NULL, NULL}, resume = t; /* behind the last star, and where the text was then */
    const uint8_t *unclosed = p.end;
    while (t.at < t.end) {
        if (p.at < p.end && *p.at == '*') {
            p.at++;
            star = p;
            resume = t;
            continue;
        }
        if (p.at < p.end) {
            struct cursor next = t;
            uint32_t point = cursor_take(&next);
            if (unit_match(&p, point, &unclosed)) {
                t = next;
                continue;
            }
        }
        if (star.at == NULL) return false;
        cursor_take(&resume); /* the star swallows one more */
        t = resume;
        p = star;
    }
    while (p.at < p.end && *p.at == '*') p.at++;
    return p.at == p.end;
}
