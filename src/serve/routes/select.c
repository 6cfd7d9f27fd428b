#include "serve/routes/select.h"

#include "base/check.h"
#include "base/status.h"
#include "cache/cache.h"

#include <string.h>

/* Everything that can be said: name, what it belongs to, its type. */
#define SELECT_MAP(X)                                                                                                  \
    X(NAMESPACE, "namespace", SELECT_LABELS, FIELD_STRING, "a string of 1 to 128 bytes")                               \
    X(OPERATION, "operation", SELECT_LABELS, FIELD_STRING, "a string of 1 to 128 bytes")                               \
    X(MODEL, "model", SELECT_LABELS, FIELD_STRING, "a string of 1 to 128 bytes")                                       \
    X(TAG, "tag", SELECT_LABELS, FIELD_STRING, "a string of 1 to 128 bytes")                                           \
    X(ALL_NAMESPACES, "all_namespaces", SELECT_LABELS, FIELD_BOOL, "true or false")                                    \
    X(PATTERN, "pattern", SELECT_MORE, FIELD_STRING, "a glob of 1 to 1024 bytes")                                      \
    X(OLDER, "older_than_seconds", SELECT_MORE, FIELD_NUMBER, "a whole number from 0 to 1099511627776")                \
    X(TIER, "tier", SELECT_MORE, FIELD_STRING, "\"memory\", \"storage\" or \"both\"")                                  \
    X(CONTEXT, "context", SELECT_REMOVAL, FIELD_STRING, "a string of up to 1024 bytes")                                \
    X(DRY_RUN, "dry_run", SELECT_REMOVAL, FIELD_BOOL, "true or false")                                                 \
    X(ALL, "all", SELECT_REMOVAL, FIELD_BOOL, "true or false")                                                         \
    X(LIMIT, "limit", SELECT_PAGE, FIELD_NUMBER, "a whole number from 1 to 1000")                                      \
    X(CURSOR, "cursor", SELECT_PAGE, FIELD_STRING, "the `cursor` of the page before")

enum select_field {
#define SELECT_ENUM(name, text, group, types, accepts) FIELD_##name,
    SELECT_MAP(SELECT_ENUM)
#undef SELECT_ENUM
        SELECT_FIELDS
};

static const struct {
    const char *name;
    unsigned group;
    unsigned types;
    const char *accepts;
} fields[] = {
#define SELECT_ROW(name, text, group, types, accepts) {text, group, types, accepts},
    SELECT_MAP(SELECT_ROW)
#undef SELECT_ROW
};

#define MAX_AGE_SECONDS (UINT64_C(1) << 40) /* 1099511627776, as the table says */
#define PAGE_DEFAULT 100
#define PAGE_MAX 1000

static aic_status check_limit_text(aic_view text, const char *name, aic_error *error)
{
    if (text.size <= SELECT_MAX_TEXT) return AIC_OK;
    return error_set(error, AIC_INVALID, name, "%zu bytes came; up to %d are accepted", text.size, SELECT_MAX_TEXT);
}

static aic_status set_tier(struct selection *out, aic_view text, aic_error *error)
{
    static const struct {
        const char *name;
        unsigned tiers;
    } known[] = {{"memory", AIC_IN_MEMORY}, {"storage", AIC_IN_STORAGE}, {"both", 0}, {"all", 0}};
    for (size_t i = 0; i < COUNT_OF(known); i++) {
        if (strlen(known[i].name) != text.size || memcmp(known[i].name, text.data, text.size) != 0) continue;
        out->filter.tiers = known[i].tiers;
        return AIC_OK;
    }
    return error_set(error, AIC_INVALID, "tier", "\"memory\", \"storage\" or \"both\" is accepted");
}

static aic_status set_label(enum select_field field, aic_view text, aic_view *out, aic_error *error)
{
    TRY(cache_check_name(fields[field].name, text, error));
    *out = text;
    return AIC_OK;
}

/* One text, from either spelling. */
static aic_status set_text(struct selection *out, enum select_field field, aic_view text, aic_error *error)
{
    aic_filter *filter = &out->filter;
    switch (field) {
    case FIELD_NAMESPACE: return set_label(field, text, &filter->ns, error);
    case FIELD_OPERATION: return set_label(field, text, &filter->operation, error);
    case FIELD_MODEL: return set_label(field, text, &filter->model, error);
    case FIELD_TAG: return set_label(field, text, &filter->tag, error);
    case FIELD_PATTERN:
        TRY(cache_check_pattern(text, error));
        filter->pattern = text;
        return AIC_OK;
    case FIELD_TIER: return set_tier(out, text, error);
    case FIELD_CONTEXT:
        TRY(check_limit_text(text, "context", error));
        filter->context = text;
        return AIC_OK;
    case FIELD_CURSOR:
        TRY(check_limit_text(text, "cursor", error));
        out->cursor = text;
        return AIC_OK;
    default: CHECK(!"a field that is no text"); return AIC_INTERNAL;
    }
}

static aic_status set_number(struct selection *out, enum select_field field, uint64_t number, aic_error *error)
{
    if (field == FIELD_OLDER) {
        out->filter.age_given = true;
        out->filter.older_than_seconds = number;
        return AIC_OK;
    }
    if (number < 1 || number > PAGE_MAX)
        return error_set(error, AIC_INVALID, "limit", "a whole number from 1 to %d is accepted", PAGE_MAX);
    out->limit = (size_t)number;
    return AIC_OK;
}

static void set_bool(struct selection *out, enum select_field field, bool truth)
{
    if (field == FIELD_ALL_NAMESPACES) out->filter.all_namespaces = truth;
    else if (field == FIELD_DRY_RUN) out->dry_run = truth;
    else out->filter.all = truth;
}

/* The caller's rights: its own namespace, or for an administrator any and all. */
static aic_status apply_rights(struct selection *out, const struct call *call, aic_error *error)
{
    aic_filter *filter = &out->filter;
    out->named = filter->all || filter->age_given || filter->ns.size > 0 || filter->operation.size > 0 ||
                 filter->model.size > 0 || filter->tag.size > 0 || filter->pattern.size > 0;
    if (filter->all_namespaces) {
        if (!call->admin)
            return error_set(error, AIC_FORBIDDEN, "all_namespaces", "this needs an API key with the admin flag");
        if (filter->ns.data != NULL)
            return error_set(error, AIC_INVALID, "namespace", "either `namespace` or `all_namespaces` is accepted");
        return AIC_OK;
    }
    return call_namespace(call, filter->ns, &filter->ns, error);
}

static aic_status take_parameter(struct selection *out, unsigned what, aic_view name, aic_view value, unsigned *seen,
                                 aic_error *error)
{
    unsigned field = 0;
    while (field < SELECT_FIELDS && ((fields[field].group & what) == 0 || strlen(fields[field].name) != name.size ||
                                     memcmp(fields[field].name, name.data, name.size) != 0))
        field++;
    if (field == SELECT_FIELDS) return AIC_NOT_FOUND;
    if (*seen & 1U << field) return error_set(error, AIC_INVALID, fields[field].name, "this parameter came twice");
    *seen |= 1U << field;
    if (fields[field].types == FIELD_NUMBER) {
        uint64_t number;
        TRY(fields_count_text(value, fields[field].name, field == FIELD_LIMIT,
                              field == FIELD_LIMIT ? PAGE_MAX : MAX_AGE_SECONDS, &number, error));
        return set_number(out, field, number, error);
    }
    if (fields[field].types == FIELD_BOOL) {
        bool truth;
        TRY(fields_bool_text(value, fields[field].name, &truth, error));
        set_bool(out, field, truth);
        return AIC_OK;
    }
    return set_text(out, field, value, error);
}

aic_status select_from_query(struct http_exchange *exchange, unsigned what, struct selection *out, aic_error *error)
{
    *out = (struct selection){.limit = PAGE_DEFAULT};
    size_t count;
    TRY(http_query_count(exchange, &count));
    unsigned seen = 0;
    for (size_t i = 0; i < count; i++) {
        aic_view name, value;
        http_query_at(exchange, i, &name, &value);
        TRY(take_parameter(out, what, name, value, &seen, error));
    }
    return apply_rights(out, call_of(exchange), error);
}

static aic_status take_member(const struct json *json, uint32_t token, enum select_field field, struct buf *scratch,
                              struct selection *out, aic_error *error)
{
    if (fields[field].types == FIELD_NUMBER) {
        uint64_t number;
        TRY(fields_count(json, token, fields[field].name, fields[field].accepts, MAX_AGE_SECONDS, &number, error));
        return set_number(out, field, number, error);
    }
    if (fields[field].types == FIELD_BOOL) {
        set_bool(out, field, json->tokens[token].type == JSON_TRUE);
        return AIC_OK;
    }
    aic_view text;
    TRY(fields_text(json, token, scratch, &text));
    return set_text(out, field, text, error);
}

aic_status select_from_body(struct json *json, struct buf *scratch, aic_view body, const struct call *call,
                            unsigned what, struct selection *out, aic_error *error)
{
    struct field_rule rules[SELECT_FIELDS];
    enum select_field of_rule[SELECT_FIELDS];
    uint32_t tokens[SELECT_FIELDS];
    size_t count = 0;
    *out = (struct selection){.limit = PAGE_DEFAULT};
    for (unsigned field = 0; field < SELECT_FIELDS; field++) {
        if ((fields[field].group & what) == 0) continue;
        rules[count] = (struct field_rule){fields[field].name, fields[field].types, false, false,
                                           fields[field].accepts};
        of_rule[count++] = (enum select_field)field;
    }
    TRY(fields_read(json, body, rules, count, tokens, error));
    for (size_t i = 0; i < count; i++) {
        if (tokens[i] != FIELDS_ABSENT) TRY(take_member(json, tokens[i], of_rule[i], scratch, out, error));
    }
    return apply_rights(out, call, error);
}
