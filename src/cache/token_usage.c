#include "cache/token_usage.h"

#include "base/check.h"
#include "base/status.h"
#include "base/view.h"

#include <stdio.h>

#define ACCEPTED "a whole number from 0 to 1099511627776"
_Static_assert(AIC_MAX_TOKENS == 1099511627776, "the words are true");

enum count { PROMPT, COMPLETION, TOTAL, CACHE_WRITTEN, CACHE_READ, COUNTS };

/* The first name of a count is the one that a refusal speaks of. */
static const struct {
    const char *name;
    enum count count;
} names[] = {
    {"prompt_tokens", PROMPT},
    {"completion_tokens", COMPLETION},
    {"total_tokens", TOTAL},
    {"input_tokens", PROMPT},
    {"output_tokens", COMPLETION},
    {"prompt", PROMPT},
    {"completion", COMPLETION},
    {"cache_creation_input_tokens", CACHE_WRITTEN},
    {"cache_read_input_tokens", CACHE_READ},
};

static_assert(COUNT_OF(names) >= COUNTS, "each count has a name");
static_assert(AIC_MAX_TOKENS <= UINT64_MAX / COUNTS, "no sum of counts wraps");
#define FIELD_BYTES 64

static void field_of(size_t name, char field[FIELD_BYTES])
{
    snprintf(field, FIELD_BYTES, "tokens.%s", names[name].name);
}

static aic_status read_count(const struct json *json, uint32_t token, const char *field, uint64_t *out,
                             aic_error *error)
{
    int64_t number = 0;
    bool good = json->tokens[token].type == JSON_NUMBER && json_integer(json, token, &number) == AIC_OK;
    if (!good || number < 0 || (uint64_t)number > AIC_MAX_TOKENS)
        return error_set(error, AIC_INVALID, field, "%s is accepted", ACCEPTED);
    *out = (uint64_t)number;
    return AIC_OK;
}

static aic_status refuse_unknown(const struct json *json, uint32_t member, aic_error *error)
{
    char known[256], field[96];
    size_t used = 0;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", names[i].name);
        CHECK(used < sizeof known);
    }
    aic_view name = view_plain_name(json_source(json, member), sizeof field - sizeof "tokens.");
    snprintf(field, sizeof field, "tokens%s%.*s", name.size > 0 ? "." : "", (int)name.size, name.data);
    return error_set(error, AIC_INVALID, field, "this count is not known here; known are: %s", known);
}

static aic_status refuse_second(size_t name, aic_error *error)
{
    char field[FIELD_BYTES];
    size_t first = 0;
    while (names[first].count != names[name].count) first++;
    field_of(name, field);
    return error_set(error, AIC_INVALID, field, "%s is given under another name already; each count is accepted once",
                     names[first].name);
}

static aic_status read_members(const struct json *json, uint32_t object, uint64_t counts[COUNTS], aic_error *error)
{
    bool given[COUNTS] = {false};
    uint32_t end = json->tokens[object].next;
    for (uint32_t member = object + 1; member < end; member = json->tokens[member + 1].next) {
        char field[FIELD_BYTES];
        size_t i = 0;
        uint8_t type = json->tokens[member + 1].type;
        while (i < COUNT_OF(names) && !json_equals(json, member, aic_view_of(names[i].name))) i++;
        if (i == COUNT_OF(names) && type == JSON_NUMBER) return refuse_unknown(json, member, error);
        if (i == COUNT_OF(names) || type == JSON_NULL) continue;
        if (given[names[i].count]) return refuse_second(i, error);
        given[names[i].count] = true;
        field_of(i, field);
        TRY(read_count(json, member + 1, field, &counts[names[i].count], error));
    }
    return AIC_OK;
}

aic_status token_usage_read(const struct json *json, uint32_t token, uint64_t *prompt, uint64_t *completion,
                            aic_error *error)
{
    uint64_t counts[COUNTS] = {0};
    uint8_t type = json->tokens[token].type;
    if (type == JSON_NUMBER) TRY(read_count(json, token, "tokens", &counts[COMPLETION], error));
    else if (type == JSON_OBJECT) TRY(read_members(json, token, counts, error));
    else if (type != JSON_NULL) return error_set(error, AIC_INVALID, "tokens", "%s is accepted", TOKEN_USAGE_ACCEPTED);
    uint64_t asked = counts[PROMPT] + counts[CACHE_WRITTEN] + counts[CACHE_READ];
    uint64_t answered = counts[COMPLETION];
    if (counts[TOTAL] > asked + answered) answered = counts[TOTAL] - asked;
    if (asked > AIC_MAX_TOKENS)
        return error_set(error, AIC_INVALID, "tokens", "the counts of the prompt are more than 1099511627776 together");
    *prompt = asked;
    *completion = answered;
    return AIC_OK;
}
