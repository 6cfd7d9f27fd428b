#include "base/utf8.h"

#include "base/check.h"

#include <stdio.h>

size_t utf8_valid_bytes(aic_view text)
{
    if (text.size == 0) return 0;
    const uint8_t *begin = (const uint8_t *)text.data;
    const uint8_t *end = begin + text.size;
    const uint8_t *at = begin;
    while (at < end) {
        while (end - at >= 16 && ((utf8_load(at) | utf8_load(at + 8)) & UTF8_TOPS) == 0) at += 16;
        if (at == end) break;
        size_t length = utf8_sequence(at, end);
        if (length == 0) break;
        at += length;
    }
    return (size_t)(at - begin);
}

bool utf8_is_valid(aic_view text)
{
    return utf8_valid_bytes(text) == text.size;
}

bool utf8_has_control(aic_view text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = (uint8_t)text.data[i];
        if (byte < 0x20 || byte == 0x7f) return true;
        if (byte == 0xc2 && i + 1 < text.size && (uint8_t)text.data[i + 1] < 0xa0) return true;
    }
    return false;
}

/* Every byte but a tail byte begins a code point. A tail byte has bit 7 set and bit 6 clear. */
uint64_t utf8_count(const void *bytes, size_t size)
{
    const uint8_t *at = bytes;
    uint64_t tails = 0;
    size_t left = size;
    for (; left >= 8; at += 8, left -= 8) {
        uint64_t word = utf8_load(at);
        tails += ((word & ~(word << 1) & UTF8_TOPS) >> 7) * UTF8_EACH(1) >>
                 56; /* the product's top byte is the sum of all bytes */
    }
    for (; left > 0; at++, left--) tails += utf8_is_tail(*at);
    return size - tails;
}

size_t utf8_encode(uint32_t point, uint8_t out[4])
{
    if (point < 0x80) {
        out[0] = (uint8_t)point;
        return 1;
    }
    if (point < 0x800) {
        out[0] = (uint8_t)(0xc0 | point >> 6);
        out[1] = (uint8_t)(0x80 | (point & 0x3f));
        return 2;
    }
    if (point < 0x10000) {
        out[0] = (uint8_t)(0xe0 | point >> 12);
        out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (point & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | point >> 18);
    out[1] = (uint8_t)(0x80 | (point >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (point & 0x3f));
    return 4;
}

size_t utf8_fit(aic_view text, size_t max)
{
    if (text.size <= max) return text.size;
    size_t size = max;
    while (size > 0 && utf8_is_tail((uint8_t)text.data[size])) size--;
    return size;
}

uint32_t utf8_decode(const uint8_t *at, size_t size)
{
    static const uint8_t lead[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    CHECK(size >= 1 && size <= 4);
    uint32_t point = at[0] & lead[size];
    for (size_t i = 1; i < size; i++) point = point << 6 | (at[i] & 0x3fu);
    return point;
}

/* Ranges of code points that are not shown, ascending: Unicode's Cc, Zl, Zp and the Cf that hide or turn text. */
static const struct {
    uint32_t first, last;
} hidden[] = {{0, 0x1f},        {0x7f, 0x9f},     {0x61c, 0x61c},    {0x180e, 0x180e},
              {0x200b, 0x200b}, {0x200e, 0x200f}, {0x2028, 0x202e},  {0x2060, 0x206f},
              {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff}};

size_t utf8_shown(const uint8_t *at, const uint8_t *end)
{
    size_t size = utf8_sequence(at, end);
    uint32_t point = size > 0 ? utf8_decode(at, size) : 0;
    for (size_t i = 0; size > 0 && i < COUNT_OF(hidden) && hidden[i].first <= point; i++) {
        if (point <= hidden[i].last) return 0;
    }
    return size;
}

size_t utf8_escape(const uint8_t *at, const uint8_t *end, char out[UTF8_ESCAPE_BYTES])
{
    size_t size = utf8_sequence(at, end);
    uint32_t point = size > 0 ? utf8_decode(at, size) : 0xfffd;
    if (point < 0x10000) snprintf(out, UTF8_ESCAPE_BYTES, "\\u%04x", point & 0xffff);
    else
        snprintf(out, UTF8_ESCAPE_BYTES, "\\u%04x\\u%04x", 0xd800 + ((point - 0x10000) >> 10 & 0x3ff),
                 0xdc00 + (point & 0x3ff));
    return size > 0 ? size : 1;
}
