#include "base/check.h"
#include "base/json.h"
#include "base/utf8.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * Reading what the scanner found. The text was validated, so nothing here can be malformed: an escape is whole, a
 * surrogate has its partner, a number follows the grammar.
 */

enum { GATHER_BYTES = 1024 };

aic_view json_source(const struct json *json, uint32_t token)
{
    const struct json_token *found = &json->tokens[token];
    return (aic_view){json->text.data + found->start, found->size};
}

aic_view json_text(const struct json *json, uint32_t token)
{
    aic_view source = json_source(json, token);
    if (json->tokens[token].type != JSON_STRING) return source;
    return (aic_view){source.data - 1, source.size + 2};
}

static uint32_t unit_of(const uint8_t *digits)
{
    uint32_t unit = 0;
    for (int i = 0; i < 4; i++) {
        uint8_t digit = digits[i];
        unit = unit << 4 | (uint32_t)(digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10);
    }
    return unit;
}

/* Decodes the escape whose backslash is at `at` into `out`; *used gets its length in the source. */
static size_t decode_escape(const uint8_t *at, uint8_t out[4], size_t *used)
{
    *used = 2;
    switch (at[1]) {
    case 'b': return utf8_encode('\b', out);
    case 'f': return utf8_encode('\f', out);
    case 'n': return utf8_encode('\n', out);
    case 'r': return utf8_encode('\r', out);
    case 't': return utf8_encode('\t', out);
    case 'u': break;
    default: return utf8_encode(at[1], out); /* a quote, a backslash or a slash stand for themselves */
    }
    uint32_t point = unit_of(at + 2);
    *used = 6;
    if (point >= 0xd800 && point <= 0xdbff) {
        point = 0x10000 + ((point - 0xd800) << 10) + (unit_of(at + 8) - 0xdc00);
        *used = 12;
    }
    return utf8_encode(point, out);
}

/* Spans and decoded bytes gather here before they are given on: a text has an escape every line, and a call for each
 * would cost more than the copy. */
struct gather {
    json_piece_fn *add;
    void *context;
    size_t size;
    uint8_t bytes[GATHER_BYTES];
};

static void gather_flush(struct gather *gather)
{
    if (gather->size > 0) gather->add(gather->context, gather->bytes, gather->size);
    gather->size = 0;
}

static void gather_add(struct gather *gather, const uint8_t *bytes, size_t size)
{
    if (size > GATHER_BYTES - gather->size) gather_flush(gather);
    if (size > GATHER_BYTES / 2) {
        gather_flush(gather);
        gather->add(gather->context, bytes, size);
        return;
    }
    memcpy(gather->bytes + gather->size, bytes, size);
    gather->size += size;
}

/* The next backslash from `at`, or `end`. */
static const uint8_t *next_escape(const uint8_t *at, const uint8_t *end)
{
    const uint8_t *found = at < end ? memchr(at, '\\', (size_t)(end - at)) : NULL;
    return found != NULL ? found : end;
}

void json_unescape_pieces(const struct json *json, uint32_t token, json_piece_fn *add, void *context)
{
    aic_view source = json_source(json, token);
    const uint8_t *at = (const uint8_t *)source.data;
    const uint8_t *end = at + source.size;
    if (!json->tokens[token].escaped) {
        if (source.size > 0) add(context, source.data, source.size);
        return;
    }
    struct gather gather;
    gather.add = add;
    gather.context = context;
    gather.size = 0;
    while (at < end) {
        const uint8_t *stop = next_escape(at, end);
        gather_add(&gather, at, (size_t)(stop - at));
        at = stop;
        if (at == end) break;
        uint8_t decoded[4];
        size_t used;
        size_t length = decode_escape(at, decoded, &used);
        gather_add(&gather, decoded, length);
        at += used;
    }
    gather_flush(&gather);
}

/* Each escape is one code point, whatever its length in the source, where it counts as that many ASCII characters. */
void json_measure(const struct json *json, uint32_t token, uint64_t *bytes, uint64_t *points)
{
    aic_view source = json_source(json, token);
    uint64_t size = source.size;
    uint64_t count = points != NULL ? utf8_count(source.data, source.size) : 0;
    const uint8_t *at = (const uint8_t *)source.data;
    const uint8_t *end = at + source.size;
    if (json->tokens[token].escaped) {
        while ((at = next_escape(at, end)) < end) {
            uint8_t decoded[4];
            size_t used;
            size += decode_escape(at, decoded, &used);
            size -= used;
            count -= used - 1;
            at += used;
        }
    }
    *bytes = size;
    if (points != NULL) *points = count;
}

static void append_piece(void *context, const void *bytes, size_t size)
{
    buf_append(context, bytes, size);
}

void json_unescape(const struct json *json, uint32_t token, struct buf *out)
{
    json_unescape_pieces(json, token, append_piece, out);
}

/* The unescaped bytes of a string, one by one, without a buffer. */
struct spelling {
    const uint8_t *at;
    const uint8_t *end;
    uint8_t decoded[4];
    size_t given;
    size_t have;
};

static struct spelling spelling_of(const struct json *json, uint32_t token)
{
    aic_view source = json_source(json, token);
    const uint8_t *at = (const uint8_t *)source.data;
    return (struct spelling){.at = at, .end = at + source.size};
}

/* The next byte, or -1 after the last. */
static int next_byte(struct spelling *spelling)
{
    if (spelling->given < spelling->have) return spelling->decoded[spelling->given++];
    if (spelling->at == spelling->end) return -1;
    if (*spelling->at != '\\') return *spelling->at++;
    size_t used;
    spelling->have = decode_escape(spelling->at, spelling->decoded, &used);
    spelling->given = 1;
    spelling->at += used;
    return spelling->decoded[0];
}

int json_compare_names(const struct json *json, uint32_t a, uint32_t b)
{
    if (!json->tokens[a].escaped && !json->tokens[b].escaped) {
        aic_view left = json_source(json, a);
        aic_view right = json_source(json, b);
        int order = memcmp(left.data, right.data, left.size < right.size ? left.size : right.size);
        return order != 0 ? order : (left.size > right.size) - (left.size < right.size);
    }
    struct spelling left = spelling_of(json, a);
    struct spelling right = spelling_of(json, b);
    for (;;) {
        int one = next_byte(&left);
        int other = next_byte(&right);
        if (one != other) return one < other ? -1 : 1;
        if (one < 0) return 0;
    }
}

bool json_same_names(const struct json *json, uint32_t a, uint32_t b)
{
    const struct json_token *left = &json->tokens[a];
    const struct json_token *right = &json->tokens[b];
    if (!left->escaped && !right->escaped && left->size != right->size) return false;
    return json_compare_names(json, a, b) == 0;
}

size_t json_unescape_front(const struct json *json, uint32_t token, uint8_t *out, size_t max)
{
    struct spelling spelling = spelling_of(json, token);
    size_t size = 0;
    for (int byte; size < max && (byte = next_byte(&spelling)) >= 0;) out[size++] = (uint8_t)byte;
    return size;
}

bool json_equals(const struct json *json, uint32_t token, aic_view name)
{
    aic_view source = json_source(json, token);
    if (!json->tokens[token].escaped)
        return source.size == name.size && (name.size == 0 || memcmp(source.data, name.data, name.size) == 0);
    struct spelling spelling = spelling_of(json, token);
    for (size_t i = 0; i < name.size; i++)
        if (next_byte(&spelling) != (uint8_t)name.data[i]) return false;
    return next_byte(&spelling) < 0;
}

uint32_t json_member(const struct json *json, uint32_t object, const char *name)
{
    aic_view wanted = aic_view_of(name);
    uint32_t at = object + 1;
    for (uint32_t i = 0; i < json->tokens[object].members; i++) {
        if (json_equals(json, at, wanted)) return at + 1;
        at = json->tokens[at + 1].next;
    }
    return UINT32_MAX;
}

/* ---- numbers ---- */

/* Exponents beyond this are all refused alike; no text of 2 GiB brings one of them back into 64 bits. */
#define EXPONENT_FAR ((__int128)1 << 70)

/* The explicit exponent at `at` (behind the 'e'), bounded by EXPONENT_FAR. */
static __int128 read_exponent(const char *at, const char *end)
{
    bool negative = *at == '-';
    if (*at == '-' || *at == '+') at++;
    __int128 exponent = 0;
    for (; at < end; at++)
        if (exponent < EXPONENT_FAR) exponent = exponent * 10 + (*at - '0');
    return negative ? -exponent : exponent;
}

/* The span of significant digits: from the first to the last that is not 0, with the point between them if it lies
 * there. */
static void trim_zeros(const char **first, const char **last)
{
    while (*first < *last && (**first == '0' || **first == '.')) ++*first;
    while (*last > *first && ((*last)[-1] == '0' || (*last)[-1] == '.')) --*last;
}

aic_status json_decimal(const struct json *json, uint32_t token, struct json_decimal *out)
{
    aic_view source = json_source(json, token);
    const char *at = source.data;
    const char *end = at + source.size;
    struct json_decimal decimal = {.negative = *at == '-'};
    if (decimal.negative) at++;
    const char *mark = at;
    while (mark < end && (*mark | 0x20) != 'e') mark++;
    const char *point = memchr(at, '.', (size_t)(mark - at));
    const char *last = mark;
    trim_zeros(&at, &last);
    if (at == last) {
        *out = (struct json_decimal){.digits = {at, 0}}; /* zero has no sign and no exponent */
        return AIC_OK;
    }
    decimal.digits = (aic_view){at, (size_t)(last - at)};
    decimal.count = decimal.digits.size - (point != NULL && point > at && point < last);
    /* The value is its digits, read as an integer, times ten to the number of places from the last digit to the point.
     */
    __int128 exponent = mark < end ? read_exponent(mark + 1, end) : 0;
    const char *unit = point != NULL ? point : mark;
    exponent += last <= unit ? unit - last : unit - last + 1;
    if (exponent < INT64_MIN || exponent > INT64_MAX) return AIC_INVALID;
    decimal.exponent = (int64_t)exponent;
    *out = decimal;
    return AIC_OK;
}

aic_status json_integer(const struct json *json, uint32_t token, int64_t *out)
{
    struct json_decimal decimal;
    TRY(json_decimal(json, token, &decimal));
    if (decimal.exponent < 0 || decimal.exponent > 18 || decimal.count > 19) return AIC_INVALID;
    uint64_t number = 0;
    for (size_t i = 0; i < decimal.digits.size; i++) {
        char digit = decimal.digits.data[i];
        if (digit == '.') continue;
        if (__builtin_mul_overflow(number, 10u, &number)) return AIC_INVALID;
        if (__builtin_add_overflow(number, (uint64_t)(digit - '0'), &number)) return AIC_INVALID;
    }
    for (int64_t i = 0; i < decimal.exponent; i++)
        if (__builtin_mul_overflow(number, 10u, &number)) return AIC_INVALID;
    if (number > (uint64_t)INT64_MAX + decimal.negative) return AIC_INVALID;
    *out = decimal.negative ? (int64_t)(0 - number) : (int64_t)number;
    return AIC_OK;
}

/* Nobody's double needs more: what follows 770 digits only says whether there is anything but zeros. */
enum { DOUBLE_DIGITS = 800 };

aic_status json_double(const struct json *json, uint32_t token, double *out)
{
    struct json_decimal decimal;
    TRY(json_decimal(json, token, &decimal));
    char text[DOUBLE_DIGITS + 64];
    size_t size = 0;
    if (decimal.negative) text[size++] = '-';
    size_t taken = 0;
    for (size_t i = 0; i < decimal.digits.size && taken < DOUBLE_DIGITS; i++) {
        if (decimal.digits.data[i] == '.') continue;
        text[size++] = decimal.digits.data[i];
        taken++;
    }
    int64_t exponent;
    if (__builtin_add_overflow(decimal.exponent, (int64_t)(decimal.count - taken), &exponent)) return AIC_INVALID;
    if (taken < decimal.count) { /* the last digit is never 0, so something is left */
        text[size++] = '1';
        exponent--;
    }
    if (taken == 0) text[size++] = '0';
    if (exponent > 1000000) return AIC_INVALID;
    snprintf(text + size, sizeof text - size, "e%lld", (long long)(exponent < -1000000 ? -1000000 : exponent));
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* static in the C library: nothing to release */
    double number = strtod_l(text, NULL, plain);
    if (!isfinite(number)) return AIC_INVALID;
    *out = number;
    return AIC_OK;
}
