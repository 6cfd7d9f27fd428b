/*
 * utf8.h - UTF-8 as RFC 3629 defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * Pure functions; any thread. ASCII goes 16 bytes at a time where SSE2 is there and 8 at a time elsewhere, or with
 * UTF8_PORTABLE defined, for which there is a test.
 */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <aicache/aicache.h>
#include <string.h>

#if defined(__SSE2__) && !defined(UTF8_PORTABLE)
#include <emmintrin.h>
#endif

/* How many bytes at the front are valid: text.size when all are. */
size_t utf8_valid_bytes(aic_view text);
bool utf8_is_valid(aic_view text);
/* Does valid text hold a control character: U+0000 to U+001F, U+007F to U+009F? */
bool utf8_has_control(aic_view text);
/* Code points of valid UTF-8; a text may be counted in pieces that were cut anywhere. */
uint64_t utf8_count(const void *bytes, size_t size);
/* Writes the sequence of a code point that is no surrogate and at most U+10FFFF; returns its length. */
size_t utf8_encode(uint32_t point, uint8_t out[4]);
/* The largest prefix of at most `max` bytes that does not cut a sequence of valid UTF-8. */
size_t utf8_fit(aic_view text, size_t max);
/* The code point of a valid sequence of `size` bytes, as utf8_sequence() measured it. */
uint32_t utf8_decode(const uint8_t *at, size_t size);
/*
 * The length of the sequence at the front when it can stand in a line that people read, else 0: for what is no UTF-8,
 * controls (C0, DEL, C1), line and paragraph separators, and what is invisible or turns the direction of text around
 * it (bidirectional marks, zero-width spaces, tags). Joiners (U+200C, U+200D) pass, since words and emoji need them.
 * at < end.
 */
size_t utf8_shown(const uint8_t *at, const uint8_t *end);
/* Writes what JSON and people read in place of a sequence that is not shown, "\\u202e", a pair of surrogates beyond
 * U+FFFF, "\\ufffd" for a byte that is no UTF-8 (size 0), with a final NUL. Returns the bytes of input it stands for.
 */
#define UTF8_ESCAPE_BYTES 16
size_t utf8_escape(const uint8_t *at, const uint8_t *end, char out[UTF8_ESCAPE_BYTES]);

/* ---- inline, because the JSON scanner lives in them ---- */

/* A 64-bit word with every byte equal to b, and the top bit of each byte. */
#define UTF8_EACH(b) (0x0101010101010101ull * (uint64_t)(b))
#define UTF8_TOPS UTF8_EACH(0x80)

static inline uint64_t utf8_load(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline bool utf8_is_plain(uint8_t byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

#if !defined(__SSE2__) || defined(UTF8_PORTABLE)
/*
 * Not 0 when some byte of the word is not plain. x - 0x20.. borrows from a byte below 0x20; a xor makes a searched byte
 * zero, and x - 0x01.. borrows from zero bytes. Borrows can also mark a neighbour, so that the caller looks at the
 * bytes one by one then.
 */
static inline uint64_t utf8_word_special(uint64_t word)
{
    uint64_t quote = word ^ UTF8_EACH('"');
    uint64_t backslash = word ^ UTF8_EACH('\\');
    uint64_t control = (word - UTF8_EACH(0x20)) & ~word;
    return (word | control | ((quote - UTF8_EACH(1)) & ~quote) | ((backslash - UTF8_EACH(1)) & ~backslash)) & UTF8_TOPS;
}
#endif

/*
 * The first byte from `at` that cannot be copied into a JSON string as it is: a quote, a backslash, a control
 * character, or any byte that is not ASCII; `end` when there is none.
 */
static inline const uint8_t *utf8_plain_end(const uint8_t *at, const uint8_t *end)
{
#if defined(__SSE2__) && !defined(UTF8_PORTABLE)
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(0x20);
    while (end - at >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        /* The comparison is signed: bytes from 0x80 are negative, so less than a space like the control characters. */
        __m128i special = _mm_or_si128(_mm_cmplt_epi8(bytes, space),
                                       _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
        int mask = _mm_movemask_epi8(special);
        if (mask != 0) return at + __builtin_ctz((unsigned)mask);
        at += 16;
    }
#else
    while (end - at >= 8 && utf8_word_special(utf8_load(at)) == 0) at += 8;
#endif
    while (at < end && utf8_is_plain(*at)) at++;
    return at;
}

static inline bool utf8_is_tail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/*
 * The length (1..4) of the valid sequence at the front of `at`, or 0 when there is none before `end`. at < end. Table
 * 3-7 of the Unicode standard: the second byte's range depends on the first.
 */
static inline size_t utf8_sequence(const uint8_t *at, const uint8_t *end)
{
    uint8_t first = at[0];
    size_t left = (size_t)(end - at);
    if (first < 0x80) return 1;
    if (first < 0xc2) return 0;
    if (first < 0xe0) return left >= 2 && utf8_is_tail(at[1]) ? 2 : 0;
    if (first < 0xf0) {
        if (left < 3 || !utf8_is_tail(at[1]) || !utf8_is_tail(at[2])) return 0;
        if (first == 0xe0 && at[1] < 0xa0) return 0; /* overlong */
        if (first == 0xed && at[1] > 0x9f) return 0; /* surrogate */
        return 3;
    }
    if (first > 0xf4 || left < 4 || !utf8_is_tail(at[1]) || !utf8_is_tail(at[2]) || !utf8_is_tail(at[3])) return 0;
    if (first == 0xf0 && at[1] < 0x90) return 0; /* overlong */
    if (first == 0xf4 && at[1] > 0x8f) return 0; /* above U+10FFFF */
    return 4;
}

#endif
