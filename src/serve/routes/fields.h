/*
 * fields.h - reading our own routes' bodies: every member is known, of the right type, or refused by name.
 *
 * A route describes its body as an array of rules; what comes back is one token per rule, so that a handler never
 * searches. Nothing is copied: strings without escapes stay views of the body, others are unescaped into a scratch
 * buffer that has room for all of them from the start. One thread at a time.
 */
#ifndef SERVE_FIELDS_H
#define SERVE_FIELDS_H

#include "base/json.h"

#define FIELDS_ABSENT UINT32_MAX

/* Accepted JSON types, as a set. */
#define FIELD_STRING (1U << JSON_STRING)
#define FIELD_NUMBER (1U << JSON_NUMBER)
#define FIELD_BOOL (1U << JSON_TRUE | 1U << JSON_FALSE)
#define FIELD_ARRAY (1U << JSON_ARRAY)
#define FIELD_OBJECT (1U << JSON_OBJECT)
#define FIELD_ANY (~0U)

struct field_rule {
    const char *name;
    unsigned types;
    bool required;
    bool strict;         /* an optional field that is null is refused, not taken as absent */
    const char *accepts; /* ends the sentence "... is accepted": "a string" */
};

/*
 * Scans `body` into `json` and fills tokens[rule], FIELDS_ABSENT for what was not given. AIC_INVALID: not JSON, no
 * object, a member that no rule knows, a type that the rule does not accept, something required that is missing. An
 * empty body is "{}" when nothing is required.
 */
AIC_MUST_CHECK aic_status fields_read(struct json *json, aic_view body, const struct field_rule *rules, size_t count,
                                      uint32_t *tokens, aic_error *error);

/* Its two halves: scans; and reads the members of an object, which is the body (0) or lies in it. */
AIC_MUST_CHECK aic_status fields_scan(struct json *json, aic_view body, const struct field_rule *rules, size_t count,
                                      aic_error *error);
AIC_MUST_CHECK aic_status fields_read_object(const struct json *json, uint32_t object, const struct field_rule *rules,
                                             size_t count, uint32_t *tokens, aic_error *error);
/* The text of a string token: a view of the body, or unescaped into `scratch`, whose earlier views stay valid.
 * AIC_NO_MEMORY. Absent for FIELDS_ABSENT. */
AIC_MUST_CHECK aic_status fields_text(const struct json *json, uint32_t token, struct buf *scratch, aic_view *out);
/* A namespace, operation, model or tag. `field` is how errors call it. */
AIC_MUST_CHECK aic_status fields_name(const struct json *json, uint32_t token, const char *field, struct buf *scratch,
                                      aic_view *out, aic_error *error);
/* A whole number >= 0; `max` bounds it. `accepts` ends the sentence. */
AIC_MUST_CHECK aic_status fields_count(const struct json *json, uint32_t token, const char *field, const char *accepts,
                                       uint64_t max, uint64_t *out, aic_error *error);
/* Up to AIC_MAX_TAGS names, none twice. */
AIC_MUST_CHECK aic_status fields_tags(const struct json *json, uint32_t token, struct buf *scratch, aic_view *tags,
                                      size_t *count, aic_error *error);

/* The same for text of a query string: decimal digits only; "1", "true", "yes" and "0", "false", "no". */
AIC_MUST_CHECK aic_status fields_count_text(aic_view text, const char *field, uint64_t min, uint64_t max, uint64_t *out,
                                            aic_error *error);
/* A number above 0, up to `max`, spelt as JSON spells numbers; `json` reads it. */
AIC_MUST_CHECK aic_status fields_above_zero_text(struct json *json, aic_view text, const char *field, double max,
                                                 double *out, aic_error *error);
/* true, yes, 1, false, no or 0. Nothing is none of them: what a script left empty shall not mean "all". */
AIC_MUST_CHECK aic_status fields_bool_text(aic_view text, const char *field, bool *out, aic_error *error);

#endif
