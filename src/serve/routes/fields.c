#include "serve/routes/fields.h"

#include "base/check.h"
#include "base/status.h"
#include "base/view.h"
#include "cache/cache.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char *const type_names[] = {
    [JSON_NULL] = "null",       [JSON_FALSE] = "a boolean", [JSON_TRUE] = "a boolean",  [JSON_NUMBER] = "a number",
    [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",  [JSON_OBJECT] = "an object"};
static_assert(COUNT_OF(type_names) == JSON_OBJECT + 1, "an object is the last kind");

static aic_status refuse_unknown(const struct json *json, uint32_t name, const struct field_rule *rules, size_t count,
                                 aic_error *error)
{
    char known[256];
    size_t used = 0;
    known[0] = '\0';
    for (size_t i = 0; i < count && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", rules[i].name);
    /* The name is repeated in `param` alone, cut to what fits, and only if it is plain. */
    char field[81];
    aic_view plain = view_plain_name(json_source(json, name), sizeof field - 1);
    snprintf(field, sizeof field, "%.*s", (int)plain.size, plain.data);
    return error_set(error, AIC_INVALID, field, "this field is not known here; known %s%s",
                     count == 0 ? "is none" : "are: ", known);
}

static size_t find_rule(const struct json *json, uint32_t name, const struct field_rule *rules, size_t count)
{
    size_t i = 0;
    while (i < count && !json_equals(json, name, aic_view_of(rules[i].name))) i++;
    return i;
}

static aic_status check_type(const struct json *json, uint32_t value, const struct field_rule *rule, uint32_t *token,
                             aic_error *error)
{
    uint8_t type = json->tokens[value].type;
    if (type == JSON_NULL && !rule->required && !rule->strict && rule->types != FIELD_ANY) return AIC_OK;
    if ((rule->types & (1U << type)) == 0)
        return error_set(error, AIC_INVALID, rule->name, "%s came; %s is accepted", type_names[type], rule->accepts);
    *token = value;
    return AIC_OK;
}

aic_status fields_read_object(const struct json *json, uint32_t object, const struct field_rule *rules, size_t count,
                              uint32_t *tokens, aic_error *error)
{
    uint8_t type = json->tokens[object].type;
    if (type != JSON_OBJECT)
        return error_set(error, AIC_INVALID, NULL, "%s is %s; a JSON object is accepted",
                         object == 0 ? "the body" : "this", type_names[type]);
    for (size_t i = 0; i < count; i++) tokens[i] = FIELDS_ABSENT;
    uint32_t end = json->tokens[object].next;
    for (uint32_t name = object + 1; name < end; name = json->tokens[name + 1].next) {
        size_t rule = find_rule(json, name, rules, count);
        if (rule == count) return refuse_unknown(json, name, rules, count, error);
        TRY(check_type(json, name + 1, &rules[rule], &tokens[rule], error));
    }
    for (size_t i = 0; i < count; i++) {
        if (!rules[i].required || tokens[i] != FIELDS_ABSENT) continue;
        return error_set(error, AIC_INVALID, rules[i].name, "this field is required; %s is accepted", rules[i].accepts);
    }
    return AIC_OK;
}

static bool is_blank(aic_view text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (!view_byte_in(text.data[i], " \t\r\n")) return false;
    }
    return true;
}

aic_status fields_scan(struct json *json, aic_view body, const struct field_rule *rules, size_t count, aic_error *error)
{
    bool required = false;
    for (size_t i = 0; i < count; i++) required |= rules[i].required;
    if (is_blank(body)) {
        if (required) return error_set(error, AIC_INVALID, NULL, "the body is empty; a JSON object is accepted");
        body = AIC_LITERAL("{}");
    }
    return json_scan(json, body, error);
}

aic_status fields_read(struct json *json, aic_view body, const struct field_rule *rules, size_t count, uint32_t *tokens,
                       aic_error *error)
{
    TRY(fields_scan(json, body, rules, count, error));
    return fields_read_object(json, 0, rules, count, tokens, error);
}

aic_status fields_text(const struct json *json, uint32_t token, struct buf *scratch, aic_view *out)
{
    if (token == FIELDS_ABSENT) {
        *out = (aic_view){0};
        return AIC_OK;
    }
    if (!json->tokens[token].escaped) {
        *out = json_source(json, token);
        return AIC_OK;
    }
    /* All unescaped strings of a body together are shorter than the body: room for it once keeps earlier views in
     * place. */
    if (scratch->capacity < json->text.size) {
        CHECK(scratch->size == 0);
        if (buf_reserve(scratch, json->text.size) == NULL) return AIC_NO_MEMORY;
    }
    size_t start = scratch->size;
    json_unescape(json, token, scratch);
    TRY(buf_status(scratch));
    *out = (aic_view){scratch->data + start, scratch->size - start};
    return AIC_OK;
}

aic_status fields_name(const struct json *json, uint32_t token, const char *field, struct buf *scratch, aic_view *out,
                       aic_error *error)
{
    aic_view name;
    TRY(fields_text(json, token, scratch, &name));
    if (name.data != NULL) TRY(cache_check_name(field, name, error));
    *out = name;
    return AIC_OK;
}

aic_status fields_count(const struct json *json, uint32_t token, const char *field, const char *accepts, uint64_t max,
                        uint64_t *out, aic_error *error)
{
    int64_t number;
    if (json_integer(json, token, &number) != AIC_OK || number < 0 || (uint64_t)number > max)
        return error_set(error, AIC_INVALID, field, "the number is negative, fractional or too large; %s is accepted",
                         accepts);
    *out = (uint64_t)number;
    return AIC_OK;
}

aic_status fields_tags(const struct json *json, uint32_t token, struct buf *scratch, aic_view *tags, size_t *count,
                       aic_error *error)
{
    *count = 0;
    if (token == FIELDS_ABSENT) return AIC_OK;
    if (json->tokens[token].members > AIC_MAX_TAGS)
        return error_set(error, AIC_INVALID, "tags", "%u tags came; at most %d are accepted",
                         json->tokens[token].members, AIC_MAX_TAGS);
    uint32_t end = json->tokens[token].next;
    size_t found = 0;
    for (uint32_t at = token + 1; at < end; at = json->tokens[at].next, found++) {
        char field[32];
        snprintf(field, sizeof field, "tags[%zu]", found);
        if (json->tokens[at].type != JSON_STRING)
            return error_set(error, AIC_INVALID, field, "%s came; a string is accepted",
                             type_names[json->tokens[at].type]);
        TRY(fields_name(json, at, field, scratch, &tags[found], error));
        for (size_t other = 0; other < found; other++) {
            if (tags[other].size == tags[found].size &&
                memcmp(tags[other].data, tags[found].data, tags[found].size) == 0)
                return error_set(error, AIC_INVALID, field, "this tag came twice; each tag is accepted once");
        }
    }
    *count = found;
    return AIC_OK;
}

aic_status fields_count_text(aic_view text, const char *field, uint64_t min, uint64_t max, uint64_t *out,
                             aic_error *error)
{
    uint64_t number = 0;
    bool good = text.size > 0 && text.size <= 19;
    for (size_t i = 0; i < text.size && good; i++) {
        good = text.data[i] >= '0' && text.data[i] <= '9';
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (!good)
        return error_set(error, AIC_INVALID, field, "a whole number from %llu to %llu is accepted",
                         (unsigned long long)min, (unsigned long long)max);
    if (number < min || number > max)
        return error_set(error, AIC_INVALID, field, "%c%s too %s: %llu; a whole number from %llu to %llu is accepted",
                         toupper((unsigned char)field[0]), field + 1, number < min ? "small" : "large",
                         (unsigned long long)number, (unsigned long long)min, (unsigned long long)max);
    *out = number;
    return AIC_OK;
}

aic_status fields_above_zero_text(struct json *json, aic_view text, const char *field, double max, double *out,
                                  aic_error *error)
{
    double number = 0;
    aic_status status = json_scan(json, text, NULL);
    if (status == AIC_NO_MEMORY) return status;
    bool good = status == AIC_OK && json->tokens[0].type == JSON_NUMBER && json_text(json, 0).size == text.size &&
                json_double(json, 0, &number) == AIC_OK && number > 0 && number <= max;
    if (!good)
        return error_set(error, AIC_INVALID, field,
                         "a number above 0, up to %.0f, is accepted, in decimal digits as 2 or 1.5", max);
    *out = number;
    return AIC_OK;
}

aic_status fields_bool_text(aic_view text, const char *field, bool *out, aic_error *error)
{
    static const struct {
        const char *text;
        bool truth;
    } words[] = {{"1", true}, {"true", true}, {"yes", true}, {"0", false}, {"false", false}, {"no", false}};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (text.size != strlen(words[i].text) || memcmp(text.data, words[i].text, text.size) != 0) continue;
        *out = words[i].truth;
        return AIC_OK;
    }
    return error_set(error, AIC_INVALID, field, "true or false is accepted");
}
