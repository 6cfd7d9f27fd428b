/*
 * glob.h - shell patterns over names in UTF-8: `*` any run, `?` one code point, `[a-z]` one of a set, `[!a-z]` or
 * `[^a-z]` one outside of it, `\` takes the next code point as it is. Everything else stands for itself; the whole text
 * must match.
 *
 * Every UTF-8 string is a pattern: an unclosed `[` and a `\` at the end stand for themselves, a `]` right after the
 * opening belongs to the set. Bytes that are no UTF-8 count as one unit each, so nothing is ever refused or read
 * beyond.
 *
 * The idea: a pattern is compiled once into an automaton whose state is a word of bits, one for each of its units that
 * is not a star (Shift-And: Baeza-Yates and Gonnet, "A new approach to text searching", 1992; stars keep a bit where it
 * is). A code point of the text costs two shifts and a row of a table, whatever the pattern is, so that a stranger's
 * pattern cannot be made expensive: names have at most 128 bytes, so a pattern of more units matches none, and a text
 * that is longer matches nothing. Only a code point beyond ASCII looks at each set that names some. Any thread; a
 * compiled pattern does not change and may be shared.
 */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include <aicache/aicache.h>

#define GLOB_MAX_PATTERN 1024 /* bytes */
#define GLOB_MAX_TEXT 128     /* bytes */

struct glob {
    unsigned units;                    /* that are no star; more than GLOB_MAX_TEXT: it matches nothing */
    bool starts_with_star;             /* before the first unit */
    uint64_t stars[2];                 /* bit i: a star follows unit i */
    uint64_t accepts[128][2];          /* by ASCII character; bit i: unit i accepts it */
    uint64_t others[2];                /* bit i: unit i accepts what is not ASCII and in none of its ranges */
    size_t range_count;                /* beyond ASCII */
    uint64_t ranges[GLOB_MAX_PATTERN]; /* low << 29 | high << 7 | unit: of 22, 22 and 7 bits */
};

/* AIC_INVALID for a pattern of more than GLOB_MAX_PATTERN bytes. The pattern is not kept. */
AIC_MUST_CHECK aic_status glob_compile(struct glob *glob, aic_view pattern);
bool glob_matches(const struct glob *glob, aic_view text);

#endif
