#include "serve/http/head_memo.h"

#include "base/check.h"

#include <string.h>

static_assert(HEAD_MEMO_FIELDS <= HEAD_MAX_FIELDS && HEAD_MEMO_BYTES <= UINT16_MAX, "what is kept fits a head");
static_assert(HEAD_MEMO_DIGITS <= 19, "so many digits do not overflow 64 bits");

/* Whatever the bytes are, it takes the time of all of them. */
static bool same_bytes(const char *a, const char *b, size_t size)
{
    uint64_t differ = 0;
    for (; size >= sizeof differ; size -= sizeof differ, a += sizeof differ, b += sizeof differ) {
        uint64_t x, y;
        memcpy(&x, a, sizeof x);
        memcpy(&y, b, sizeof y);
        differ |= x ^ y;
    }
    for (; size > 0; size--) differ |= (unsigned char)(*a++ ^ *b++);
    return differ == 0;
}

/* The number at the front of the text; how many digits it has, 0 when there is none, or too long a one. */
static size_t read_digits(const char *text, size_t size, uint64_t *number)
{
    size_t digits = 0;
    for (*number = 0; digits < size && text[digits] >= '0' && text[digits] <= '9'; digits++) {
        if (digits == HEAD_MEMO_DIGITS) return 0;
        *number = *number * 10 + (uint64_t)(text[digits] - '0');
    }
    return digits;
}

/* Does the text begin with these lines? Then *digits and *length are those of Content-Length. */
static bool begins_with(const char *text, size_t size, const struct head_lines *lines, size_t *digits, uint64_t *length)
{
    *digits = 0;
    *length = 0;
    if (lines->size == 0 || size < lines->size || !same_bytes(text, lines->bytes, lines->cut)) return false;
    if (lines->cut == lines->size) return true;
    *digits = read_digits(text + lines->cut, size - lines->cut, length);
    return *digits > 0 && size - *digits >= lines->size &&
           same_bytes(text + lines->cut + *digits, lines->bytes + lines->cut, (size_t)(lines->size - lines->cut));
}

/* The size of a request line that the scan lets pass and that names HTTP/1.1; 0: another, or not all of it. */
static size_t request_line(const char *data, size_t size, const struct head_limits *limits)
{
    const char *newline = memchr(data, '\n', size);
    if (newline == NULL || newline - data < 12 || memcmp(newline - 9, "HTTP/1.1\r", 9) != 0) return 0;
    size_t line = (size_t)(newline - data) + 1;
    return line <= limits->target_bytes ? line : 0;
}

bool head_memo_find(struct head_memo *memo, const char *data, size_t size, const struct head_limits *limits,
                    struct head_match *out)
{
    size_t line = request_line(data, size, limits);
    if (line == 0 || data[0] < 'A' || data[0] > 'Z') return false; /* the scan explains it */
    for (unsigned i = 0; i < HEAD_MEMO_PLACES; i++) {
        unsigned place = (memo->last + i) % HEAD_MEMO_PLACES;
        struct head_lines *lines = &memo->places[place];
        if (!begins_with(data + line, size - line, lines, &out->digits, &out->length)) continue;
        if (line + lines->size + out->digits > limits->header_bytes) return false;
        out->lines = lines;
        out->line = line;
        out->end = line + lines->size + out->digits;
        lines->used = true;
        memo->last = place;
        return true;
    }
    return false;
}

enum head_outcome head_memo_parse(const struct head_match *match, struct head *head, const char *data,
                                  const struct head_limits *limits, struct head_refusal *why)
{
    const struct head_lines *lines = match->lines;
    if (head_parse_line(head, data, match->line, limits, why) == HEAD_REFUSED) return HEAD_REFUSED;
    head->keep_alive = lines->keep_alive;
    head->chunked = lines->chunked;
    head->expect_continue = lines->expect_continue;
    head->encoded = lines->encoded;
    head->host_named = lines->host_named;
    head->content_length = match->length;
    head->field_count = lines->field_count;
    for (unsigned i = 0; i < lines->field_count; i++) {
        struct head_field field = lines->fields[i];
        size_t shift = match->line + (field.name.at >= lines->cut ? match->digits : 0);
        field.name.at = (uint16_t)(field.name.at + shift);
        field.value.at = (uint16_t)(field.value.at + shift);
        head->fields[i] = field;
    }
    if (lines->cut < lines->size) head->fields[lines->length_field].value.size = (uint16_t)match->digits;
    return HEAD_COMPLETE;
}

/* The next place in turn that was of no use since its last. */
static struct head_lines *give_up(struct head_memo *memo)
{
    for (;;) {
        struct head_lines *lines = &memo->places[memo->turn++ % HEAD_MEMO_PLACES];
        if (!lines->used) return lines;
        lines->used = false;
    }
}

void head_memo_add(struct head_memo *memo, const struct head *head, const char *data, size_t begin, size_t end)
{
    const char *newline = memchr(data + begin, '\n', end - begin);
    CHECK(newline != NULL); /* the head was parsed */
    size_t line = (size_t)(newline - data) + 1, size = end - line;
    const struct head_field *length = head_find(head, data, "content-length", 14);
    size_t digits = length != NULL ? length->value.size : 0;
    if (head->http10 || head->field_count > HEAD_MEMO_FIELDS || digits > HEAD_MEMO_DIGITS ||
        size - digits > HEAD_MEMO_BYTES)
        return;
    struct head_lines *lines = give_up(memo);
    lines->size = (uint16_t)(size - digits);
    lines->cut = length != NULL ? (uint16_t)(length->value.at - line) : lines->size;
    CHECK(lines->cut <= lines->size);
    lines->keep_alive = head->keep_alive;
    lines->chunked = head->chunked;
    lines->expect_continue = head->expect_continue;
    lines->encoded = head->encoded;
    lines->host_named = head->host_named;
    lines->field_count = head->field_count;
    lines->length_field = length != NULL ? (uint16_t)(length - head->fields) : 0;
    for (unsigned i = 0; i < head->field_count; i++) {
        struct head_field field = head->fields[i];
        size_t shift = line + (field.name.at >= line + lines->cut ? digits : 0);
        field.name.at = (uint16_t)(field.name.at - shift);
        field.value.at = (uint16_t)(field.value.at - shift);
        lines->fields[i] = field;
    }
    memcpy(lines->bytes, data + line, lines->cut);
    memcpy(lines->bytes + lines->cut, data + line + lines->cut + digits, (size_t)(lines->size - lines->cut));
}
