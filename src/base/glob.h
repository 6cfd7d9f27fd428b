/*
 * glob.h - shell patterns over UTF-8 text: `*` any run, `?` one code point, `[a-z]` one of a set, `[!a-z]` or `[^a-z]`
 * one outside of it, `\` takes the next code point as it is. Everything else stands for itself; the whole text must
 * match.
 *
 * Every UTF-8 string is a pattern: an unclosed `[` and a `\` at the end stand for themselves, a `]` right after the
 * opening belongs to the set. Bytes that are no UTF-8 count as one unit each, so nothing is ever refused or read
 * beyond.
 *
 * The idea: only the last `*` needs to be remembered (what an earlier one could still swallow, the last one can too),
 * so the cost is at most pattern x text steps and no stack; a pattern from a stranger cannot be made expensive. Pure
 * function, any thread.
 */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include <aicache/aicache.h>

bool glob_match(aic_view pattern, aic_view text);

#endif
