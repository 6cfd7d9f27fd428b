/*
 * key.h - a request's identity: canonical form -> HMAC-SHA-256.
 *
 * The canonical form is length-prefixed and typed, so that no two different requests are spelled the same. It is
 * streamed into the digest: text of 10 MB is hashed where it lies. Members of objects are ordered by their unescaped
 * names, numbers are reduced to sign, digits and exponent, so that 1, 1.0 and 10e-1 are one number. See docs/keys.md
 * for the exact bytes.
 */
#ifndef CACHE_KEY_H
#define CACHE_KEY_H

#include "base/digest.h"
#include "base/json.h"

/* The first bytes of every form. A change of the form changes the number, so that keys of two versions never meet. */
#define KEY_FORM_TAG "aicache-key-1;"

/* A text of a request: plain UTF-8 (`json` NULL), or a string token of a scanned document that is unescaped on the way
 * into the digest. */
struct key_text {
    const struct json *json;
    uint32_t token;
    aic_view plain; /* data NULL and json NULL: absent */
};

struct key_request {
    aic_view ns; /* already defaulted, valid */
    aic_view operation;
    struct key_text text;
    const struct json *options; /* NULL: absent */
    uint32_t options_token;     /* a JSON_OBJECT or JSON_NULL */
    struct key_text question;
    aic_view model; /* stands in the form as options.model, which the options then do not have; empty: none */
};

/* AIC_INVALID with the field named (a number whose exponent does not fit, ...), AIC_NO_MEMORY. *text_length gets the
 * text's code points. */
AIC_MUST_CHECK aic_status key_compute(struct digest *digest, struct mem *mem, const struct key_request *request,
                                      aic_key *out, uint64_t *text_length, aic_error *error);

/* The canonical form itself, appended to `out` (for explain and for tests). Same bytes as what the digest sees. */
AIC_MUST_CHECK aic_status key_canonical(struct mem *mem, const struct key_request *request, struct buf *out,
                                        aic_error *error);

/*
 * The shape: one {path, 32-bit hash of the value} per leaf ("operation", "text", "options.temperature", "question"), so
 * that explain can say where two requests differ without keeping them. At most KEY_SHAPE_BYTES; leaves beyond share the
 * last hash under the path "…".
 */
AIC_MUST_CHECK aic_status key_shape(struct digest *digest, struct mem *mem, const struct key_request *request,
                                    struct buf *out);
#define KEY_SHAPE_BYTES 512
/* The shape in lower-case hex digits, in `out`. */
aic_view key_shape_format(aic_view shape, char out[2 * KEY_SHAPE_BYTES]);
/* And back, appended to `out`. AIC_INVALID, with `out` unchanged, for all that no shape is written as: digits that are
 * none, half a leaf, a path that is not UTF-8, more than KEY_SHAPE_BYTES. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status key_shape_parse(aic_view digits, struct buf *out);
/* How many leaves agree, and the first path (borrowed from a or b) that differs; empty when none does. */
void key_shape_compare(aic_view a, aic_view b, size_t *same, aic_view *first_difference);

#endif
