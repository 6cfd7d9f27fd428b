/*
 * json.h - a strict JSON scanner for the request path, and a writer.
 *
 * The scanner makes one pass over borrowed text, validates everything (grammar of RFC 8259, UTF-8, surrogates,
 * duplicate members, depth, one value only) and yields tokens as spans of the source: nothing is copied, numbers keep
 * their source text. Tokens lie in one array in document order; a container's token knows where its subtree ends, so
 * skipping is O(1). The array belongs to the caller's struct and is reused from document to document.
 *
 * Why not a library: see docs/decisions/ (json-c cannot refuse duplicates and clips integers; a stored answer must be
 * the very bytes that came).
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buf.h"

enum json_kind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

#define JSON_MAX_DEPTH 128

struct json_token {
    uint8_t type;     /* enum json_kind */
    bool escaped;     /* a string with at least one backslash */
    uint32_t start;   /* offset of the first byte: inside the quotes for a string, of the bracket for a container */
    uint32_t size;    /* bytes of the source text (of a container: including both brackets) */
    uint32_t next;    /* index of the first token after this subtree */
    uint32_t members; /* of a container: members or elements */
};
_Static_assert(sizeof(struct json_token) == 20,
               "a token is 20 bytes: 10 MB of nothing but small numbers make 100 MB of tokens");
/* An object's members come as pairs: a JSON_STRING token (the name), then the value's subtree. */

struct json {
    struct mem *mem;
    enum mem_owner owner;
    aic_view text;             /* borrowed */
    struct json_token *tokens; /* owned */
    uint32_t count;
    uint32_t capacity;
};

void json_init(struct json *json, struct mem *mem, enum mem_owner owner);
void json_fini(struct json *json);

/*
 * Scans `text` (at most 2 GiB), which stays as it is and in place as long as tokens are read. AIC_OK: tokens[0] is the
 * value. AIC_INVALID with a message that names the byte offset and what was expected ("field" is empty, but for a
 * duplicate member, where it is the member's path: "options.temperature", "tags[3].k"), AIC_TOO_LARGE, AIC_NO_MEMORY.
 * Duplicate members are compared after unescaping.
 * Room for tokens stays for the next scan, unless it is far more than that text can need.
 */
AIC_MUST_CHECK aic_status json_scan(struct json *json, aic_view text, aic_error *error);

/* The value of a member by its unescaped name, or UINT32_MAX. Linear in the members. `object` must be a JSON_OBJECT. */
uint32_t json_member(const struct json *json, uint32_t object, const char *name);
/* The raw source of a token's value (of a string: without its quotes, still escaped). */
aic_view json_source(const struct json *json, uint32_t token);
/* The raw source with quotes: the token as a JSON text of its own. */
aic_view json_text(const struct json *json, uint32_t token);
/* Appends the unescaped UTF-8 of a string token. */
void json_unescape(const struct json *json, uint32_t token, struct buf *out);
/* Is the string token, unescaped, equal to `name`? */
bool json_equals(const struct json *json, uint32_t token, aic_view name);
/* Calls `add` with pieces of the unescaped string, in order, without a buffer of the whole. */
typedef void json_piece_fn(void *context, const void *bytes, size_t size);
void json_unescape_pieces(const struct json *json, uint32_t token, json_piece_fn *add, void *context);
/* The size of a string in unescaped bytes and, unless NULL, in code points. */
void json_measure(const struct json *json, uint32_t token, uint64_t *bytes, uint64_t *points);

/* Names of one object, unescaped, byte by byte: less than, equal to or greater than 0. */
int json_compare_names(const struct json *json, uint32_t a, uint32_t b);
bool json_same_names(const struct json *json, uint32_t a, uint32_t b);
/* The first bytes of a string token, unescaped; returns how many were written, at most `max`. */
size_t json_unescape_front(const struct json *json, uint32_t token, uint8_t *out, size_t max);
/*
 * Orders an object's members by unescaped name. `cells` has room for twice as many cells as members; afterwards the
 * lower 32 bits of the first half are the tokens of the names in order. O(n log n), whatever the names are.
 */
void json_order_members(const struct json *json, uint32_t object, uint64_t *cells);
/* A name that occurs twice: AIC_OK and the later one's token, AIC_MISS when there is none, AIC_NO_MEMORY. O(n log n).
 * json_scan() refuses such objects by it. */
AIC_MUST_CHECK aic_status json_find_duplicate(const struct json *json, uint32_t object, uint32_t *out);

/*
 * A number in normal form, of any precision: +-digits * 10^exponent, where the digits (an integer) neither begin nor
 * end with 0. Zero has no digits, no sign and exponent 0. Two numbers are equal exactly when their normal forms are.
 */
struct json_decimal {
    bool negative;
    aic_view digits; /* borrowed source text; one '.' may lie between two digits and does not count */
    size_t count;    /* digits without the point */
    int64_t exponent;
};
/* AIC_INVALID when the exponent does not fit 64 bits. */
AIC_MUST_CHECK aic_status json_decimal(const struct json *json, uint32_t token, struct json_decimal *out);
/* The number as an integer: AIC_OK, or AIC_INVALID when it has a fraction or does not fit ("1.0" and "1e2" are
 * integers). */
AIC_MUST_CHECK aic_status json_integer(const struct json *json, uint32_t token, int64_t *out);
/* The nearest double, whatever the locale; AIC_INVALID when it is too large for one. */
AIC_MUST_CHECK aic_status json_double(const struct json *json, uint32_t token, double *out);

/* ---- the writer: appends to a buf; the struct json_writer below places commas ---- */

/* Appends a quoted, escaped string; `text` must be UTF-8 (bad bytes become U+FFFD). */
void json_write_string(struct buf *out, aic_view text);
/* Appends the shortest decimal that reads back the same; NaN and infinities become null. */
void json_write_double(struct buf *out, double number);

/*
 * A small writer that places commas by itself:
 *   struct json_writer w; json_writer_init(&w, &buf);
 *   json_open(&w, '{'); json_key(&w, "hit"); json_put_bool(&w, true); json_close(&w, '}');
 */
struct json_writer {
    struct buf *out;
    bool comma; /* a comma is due before the next key or element */
};
void json_writer_init(struct json_writer *writer, struct buf *out);
void json_open(struct json_writer *writer, char bracket);
void json_close(struct json_writer *writer, char bracket);     /* the opening or the closing bracket: both close */
void json_key(struct json_writer *writer, const char *name);   /* a plain ASCII name that needs no escaping */
void json_key_view(struct json_writer *writer, aic_view name); /* any name */
void json_put_view(struct json_writer *writer, aic_view text);
void json_put_text(struct json_writer *writer, const char *text); /* NULL becomes null */
void json_put_u64(struct json_writer *writer, uint64_t number);
void json_put_i64(struct json_writer *writer, int64_t number);
void json_put_double(struct json_writer *writer, double number);
void json_put_bool(struct json_writer *writer, bool truth);
void json_put_null(struct json_writer *writer);
void json_put_raw(struct json_writer *writer, aic_view json_text); /* already JSON */

#endif
