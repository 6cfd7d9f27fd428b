/*
 * fuzz_glob - any bytes as pattern and text, parted by the first newline: no crash, no endless work, and what must hold
 * for all patterns. A text matches itself with every byte that could mean something escaped, also with stars around and
 * between; and what matches p matches *p*.
 */
#include "base/buf.h"
#include "base/check.h"
#include "base/glob.h"

#include <string.h>

static bool glob_match(aic_view pattern, aic_view text)
{
    struct glob glob;
    CHECK(glob_compile(&glob, pattern) == AIC_OK);
    return glob_matches(&glob, text);
}

static void append_escaped(struct buf *out, aic_view text, bool stars)
{
    for (size_t i = 0; i < text.size; i++) {
        /* Between the bytes of one code point a star would part it. */
        if (stars && ((uint8_t)text.data[i] & 0x80) == 0) buf_append_byte(out, '*');
        if (strchr("*?[\\", text.data[i]) != NULL && text.data[i] != '\0') buf_append_byte(out, '\\');
        buf_append_byte(out, text.data[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 2048) return 0;
    const char *all = (const char *)data, *end = size > 0 ? memchr(all, '\n', size) : NULL;
    aic_view pattern = {all, end != NULL ? (size_t)(end - all) : size};
    aic_view text = {end != NULL ? end + 1 : "", end != NULL ? size - pattern.size - 1 : 0};
    if (pattern.size > GLOB_MAX_PATTERN) pattern.size = GLOB_MAX_PATTERN;
    if (text.size > GLOB_MAX_TEXT) text.size = GLOB_MAX_TEXT;
    bool matched = glob_match(pattern, text);
    CHECK(glob_match(AIC_LITERAL("*"), text) && glob_match(AIC_LITERAL("**"), text));
    CHECK(glob_match(AIC_LITERAL("?*"), text) == (text.size > 0));

    struct mem mem;
    struct buf made;
    mem_init(&mem, NULL);
    buf_init(&made, &mem, MEM_OTHER);
    append_escaped(&made, text, false);
    CHECK(glob_match(buf_view(&made), text));
    buf_clear(&made);
    append_escaped(&made, text, true);
    CHECK(glob_match(buf_view(&made), text));
    /* A pattern that ends in a lone backslash would escape the star behind it. */
    if (matched && pattern.size + 2 <= GLOB_MAX_PATTERN &&
        (pattern.size == 0 || pattern.data[pattern.size - 1] != '\\') && memchr(all, '[', pattern.size) == NULL) {
        buf_clear(&made);
        buf_append_byte(&made, '*');
        buf_append_view(&made, pattern);
        buf_append_byte(&made, '*');
        CHECK(glob_match(buf_view(&made), text));
    }
    buf_fini(&made);
    mem_fini(&mem);
    return 0;
}
