#include "base/glob.h"

#include "base/check.h"

#include <stddef.h>
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

typedef unsigned __int128 bits;

static bits bits_of(const uint64_t words[2])
{
    return (bits)words[1] << 64 | words[0];
}

/* ---- compiling ---- */

/* Behind the `[` that was taken, is there a `]` that closes it? */
static bool set_is_closed(struct cursor at)
{
    if (at.at < at.end && (*at.at == '!' || *at.at == '^')) at.at++;
    for (bool first = true; at.at < at.end; first = false) {
        if (*at.at == ']' && !first) return true;
        cursor_take_escaped(&at);
        if (at.end - at.at < 2 || at.at[0] != '-' || at.at[1] == ']') continue;
        at.at++;
        cursor_take_escaped(&at);
    }
    return false;
}

/* What one unit accepts, while it is read. */
struct unit {
    unsigned number;
    bool negated;
    uint64_t ascii[2];
};

static void accept_range(struct glob *glob, struct unit *unit, uint32_t low, uint32_t high)
{
    for (uint32_t c = low; c <= high && c < 128; c++) unit->ascii[c / 64] |= UINT64_C(1) << c % 64;
    if (high < 128 || low > high) return;
    /* Each has used up a byte of the pattern that no other has. */
    CHECK(glob->range_count < GLOB_MAX_PATTERN);
    glob->ranges[glob->range_count++] = (uint64_t)(low < 128 ? 128 : low) << 29 | (uint64_t)high << 7 | unit->number;
}

static void take_set(struct glob *glob, struct unit *unit, struct cursor *at)
{
    unit->negated = *at->at == '!' || *at->at == '^';
    if (unit->negated) at->at++;
    for (bool first = true; first || *at->at != ']'; first = false) {
        uint32_t low = cursor_take_escaped(at), high = low;
        if (at->end - at->at >= 2 && at->at[0] == '-' && at->at[1] != ']') {
            at->at++;
            high = cursor_take_escaped(at);
        }
        accept_range(glob, unit, low, high);
    }
    at->at++;
}

static void add_unit(struct glob *glob, const struct unit *unit)
{
    size_t word = unit->number / 64;
    uint64_t bit = UINT64_C(1) << unit->number % 64;
    for (unsigned c = 0; c < 128; c++) {
        if ((unit->ascii[c / 64] >> c % 64 & 1) != unit->negated) glob->accepts[c][word] |= bit;
    }
    if (unit->negated) glob->others[word] |= bit;
}

aic_status glob_compile(struct glob *glob, aic_view pattern)
{
    static const uint8_t none[1];
    if (pattern.size > GLOB_MAX_PATTERN) return AIC_INVALID;
    const uint8_t *front = pattern.size > 0 ? (const uint8_t *)pattern.data : none;
    struct cursor at = {front, front + pattern.size};
    bool unclosed = false; /* if one bracket is not closed, none after it is */
    memset(glob, 0, offsetof(struct glob, ranges));
    while (at.at < at.end) {
        struct unit unit = {.number = glob->units};
        uint32_t point = cursor_take(&at);
        if (point == '*') {
            if (glob->units == 0) glob->starts_with_star = true;
            else glob->stars[(glob->units - 1) / 64] |= UINT64_C(1) << (glob->units - 1) % 64;
            continue;
        }
        if (glob->units++ == GLOB_MAX_TEXT) break;
        if (point == '[' && !unclosed) unclosed = !set_is_closed(at);
        if (point == '?') unit.negated = true;
        else if (point == '[' && !unclosed) take_set(glob, &unit, &at);
        else {
            if (point == '\\' && at.at < at.end) point = cursor_take(&at);
            accept_range(glob, &unit, point, point);
        }
        add_unit(glob, &unit);
    }
    return AIC_OK;
}

/* ---- matching ---- */

/* The units that accept a code point beyond ASCII. */
static bits accepts_other(const struct glob *glob, uint32_t point)
{
    uint64_t found[2] = {0, 0};
    for (size_t i = 0; i < glob->range_count; i++) {
        uint64_t range = glob->ranges[i];
        bool inside = range >> 29 <= point && point <= (range >> 7 & 0x3FFFFF);
        found[range >> 6 & 1] |= (uint64_t)inside << (range & 63);
    }
    return bits_of(glob->others) ^ bits_of(found);
}

/* The same as below for the usual pattern, with half the bits. */
static bool match_short(const struct glob *glob, struct cursor at)
{
    uint64_t stars = glob->stars[0], state = 0, front = 1, stays = glob->starts_with_star;
    while (at.at < at.end) {
        uint32_t point = *at.at;
        uint64_t accepted = glob->accepts[point & 127][0];
        if (point < 128) at.at++;
        else accepted = (uint64_t)accepts_other(glob, cursor_take(&at));
        state = ((state << 1 | front) & accepted) | (state & stars);
        front &= stays;
        if ((state | front) == 0) return false;
    }
    return glob->units == 0 ? front != 0 : (state >> (glob->units - 1) & 1) != 0;
}

bool glob_matches(const struct glob *glob, aic_view text)
{
    if (text.size > GLOB_MAX_TEXT || glob->units > text.size) return false;
    if (text.size == 0) return true;
    struct cursor at = {(const uint8_t *)text.data, (const uint8_t *)text.data + text.size};
    if (glob->units <= 64) return match_short(glob, at);
    bits stars = bits_of(glob->stars), state = 0; /* bit i: what was read matches all up to unit i */
    bool front = true;                            /* what was read matches all before the first unit */
    while (at.at < at.end) {
        uint32_t point = cursor_take(&at);
        bits accepted = point < 128 ? bits_of(glob->accepts[point]) : accepts_other(glob, point);
        state = ((state << 1 | front) & accepted) | (state & stars);
        front = front && glob->starts_with_star;
        if (state == 0 && !front) return false;
    }
    return glob->units == 0 ? front : (state >> (glob->units - 1) & 1) != 0;
}
