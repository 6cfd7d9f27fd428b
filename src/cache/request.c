/*
 * request.c - what a request may look like, and its key. All checks of the library and of the daemon are here, so that
 * both refuse the same things with the same words; no message repeats what the user sent.
 */
#include "cache/inner.h"
#include "cache/text_tier.h"

#include "base/utf8.h"
#include "base/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

aic_status cache_check_bytes(const char *field, aic_view bytes, aic_error *error)
{
    if (bytes.data != NULL || bytes.size == 0) return AIC_OK;
    return error_set(error, AIC_INVALID, field, "%zu bytes came, and data is NULL", bytes.size);
}

aic_status cache_check_name(const char *field, aic_view name, aic_error *error)
{
    if (name.size == 0) return error_set(error, AIC_INVALID, field, "must not be empty: 1 to 128 bytes are accepted");
    if (name.size > AIC_MAX_NAME_BYTES)
        return error_set(error, AIC_INVALID, field, "%zu bytes are too long: 1 to 128 bytes are accepted", name.size);
    TRY(cache_check_bytes(field, name, error));
    if (!utf8_is_valid(name)) return error_set(error, AIC_INVALID, field, "is not valid UTF-8");
    if (utf8_has_control(name)) return error_set(error, AIC_INVALID, field, "must not contain control characters");
    return AIC_OK;
}

aic_status cache_check_pattern(aic_view pattern, aic_error *error)
{
    if (pattern.size == 0 || pattern.size > FILTER_MAX_PATTERN)
        return error_set(error, AIC_INVALID, "pattern", "%zu bytes: 1 to %d bytes are accepted", pattern.size,
                         FILTER_MAX_PATTERN);
    TRY(cache_check_bytes("pattern", pattern, error));
    if (!utf8_is_valid(pattern)) return error_set(error, AIC_INVALID, "pattern", "is not valid UTF-8");
    return AIC_OK;
}

aic_status cache_check_ttl(uint64_t ttl_seconds, aic_error *error)
{
    if (ttl_seconds <= AIC_MAX_TTL_SECONDS) return AIC_OK;
    return error_set(error, AIC_INVALID, "ttl",
                     "too long: a whole number of seconds from 0 (never expires) to %llu is accepted",
                     (unsigned long long)AIC_MAX_TTL_SECONDS);
}

static aic_status check_tags(const struct cache_put *put, aic_error *error)
{
    if (put->tag_count > AIC_MAX_TAGS)
        return error_set(error, AIC_INVALID, "tags", "%zu tags are too many: at most %d are accepted", put->tag_count,
                         AIC_MAX_TAGS);
    if (put->tag_count > 0 && put->tags == NULL)
        return error_set(error, AIC_INVALID, "tags", "%zu came, in an array that is NULL", put->tag_count);
    for (size_t i = 0; i < put->tag_count; i++) {
        char field[32];
        snprintf(field, sizeof field, "tags[%zu]", i);
        TRY(cache_check_name(field, put->tags[i], error));
        for (size_t other = 0; other < i; other++) {
            if (view_equal(put->tags[other], put->tags[i]))
                return error_set(error, AIC_INVALID, field, "this tag came twice; each tag is accepted once");
        }
    }
    return AIC_OK;
}

static aic_status check_tokens(const char *field, uint64_t count, aic_error *error)
{
    if (count <= AIC_MAX_TOKENS) return AIC_OK;
    return error_set(error, AIC_INVALID, field, "too many: a whole number from 0 to %llu is accepted",
                     (unsigned long long)AIC_MAX_TOKENS);
}

aic_status cache_check_put(const struct cache_put *put, aic_error *error)
{
    TRY(check_tags(put, error));
    if (put->ttl_given) TRY(cache_check_ttl(put->ttl_seconds, error));
    TRY(check_tokens("prompt_tokens", put->prompt_tokens, error));
    TRY(check_tokens("completion_tokens", put->completion_tokens, error));
    if (!(put->cost_usd >= 0 && put->cost_usd <= AIC_MAX_COST_USD))
        return error_set(error, AIC_INVALID, "cost_usd", "a number of US dollars from 0 to 1e9 is accepted");
    return AIC_OK;
}

aic_status cache_take_model(struct key_request *request, aic_view model, aic_error *error)
{
    if (model.size == 0) return AIC_OK;
    const struct json *json = request->options;
    uint32_t own = json != NULL ? json_member(json, request->options_token, "model") : UINT32_MAX;
    if (own == UINT32_MAX) request->model = model;
    else if (json->tokens[own].type != JSON_STRING || !json_equals(json, own, model))
        return error_set(error, AIC_INVALID, "model",
                         "is not the same as options.model: one of the two is accepted, or the same in both");
    return AIC_OK;
}

aic_view cache_model_of(const struct key_request *request, char room[AIC_MAX_NAME_BYTES])
{
    const struct json *json = request->options;
    uint32_t own = json != NULL ? json_member(json, request->options_token, "model") : UINT32_MAX;
    if (own == UINT32_MAX || json->tokens[own].type != JSON_STRING) return request->model;
    uint64_t bytes;
    json_measure(json, own, &bytes, NULL);
    if (bytes > AIC_MAX_NAME_BYTES) return request->model;
    aic_view name = {room, json_unescape_front(json, own, (uint8_t *)room, AIC_MAX_NAME_BYTES)};
    return cache_check_name("model", name, NULL) == AIC_OK ? name : request->model;
}

static aic_status check_text(const char *field, aic_view text, aic_error *error)
{
    if (text.size > INT32_MAX)
        return error_set(error, AIC_TOO_LARGE, field, "more than 2 GiB; a text is at most that long");
    if (!utf8_is_valid(text)) return error_set(error, AIC_INVALID, field, "is not valid UTF-8");
    return AIC_OK;
}

/* Scans the options; absent and empty views are the same. */
static aic_status take_options(struct json *json, aic_view options, struct key_request *out, aic_error *error)
{
    if (options.size == 0) return AIC_OK;
    TRY(cache_check_bytes("options", options, error));
    aic_error inner = {0};
    aic_status status = json_scan(json, options, &inner);
    if (status == AIC_NO_MEMORY) return status;
    if (status != AIC_OK) return error_within(error, status, "options", &inner);
    uint8_t type = json->tokens[0].type;
    if (type != JSON_OBJECT && type != JSON_NULL)
        return error_set(error, AIC_INVALID, "options", "must be a JSON object");
    out->options = json;
    out->options_token = 0;
    return AIC_OK;
}

aic_status request_take(struct aic_cache *cache, const aic_request *request, struct json *json, struct key_request *out,
                        aic_error *error)
{
    json_init(json, &cache->mem, MEM_CACHE);
    *out = (struct key_request){.ns = request->ns, .operation = request->operation};
    if (request->ns.size == 0) out->ns = AIC_LITERAL("default");
    TRY(cache_check_name("namespace", out->ns, error));
    if (request->operation.size == 0) return error_set(error, AIC_INVALID, "operation", "is required: 1 to 128 bytes");
    TRY(cache_check_name("operation", out->operation, error));
    if (request->text.data == NULL) return error_set(error, AIC_INVALID, "text", "is required");
    TRY(check_text("text", request->text, error));
    out->text.plain = request->text;
    TRY(cache_check_bytes("question", request->question, error));
    if (request->question.data != NULL) TRY(check_text("question", request->question, error));
    out->question.plain = request->question;
    TRY(take_options(json, request->options, out, error));
    if (request->model.size > 0) TRY(cache_check_name("model", request->model, error));
    return cache_take_model(out, request->model, error);
}

aic_status cache_key(struct aic_cache *cache, const struct key_request *request, aic_key *out, uint64_t *text_length,
                     aic_error *error)
{
    uint64_t started = cache->monitor != NULL ? clock_mono_ns(&cache->clock) : 0;
    uint64_t length = 0;
    TRY(key_compute(cache->digest, &cache->mem, request, out, &length, error));
    if (text_length != NULL) *text_length = length;
    if (cache->monitor != NULL)
        cache->meter->key_generation(cache->monitor, seconds_since(cache, started), length, request->operation,
                                     text_tier_data(length));
    return AIC_OK;
}

aic_status aic_cache_key(aic_cache *cache, const aic_request *request, aic_key *out, aic_error *error)
{
    if (error != NULL) *error = (aic_error){0};
    struct json json;
    struct key_request taken;
    aic_status status = request_take(cache, request, &json, &taken, error);
    if (status == AIC_OK) status = cache_key(cache, &taken, out, NULL, error);
    json_fini(&json);
    return status;
}

const char *aic_text_tier(uint64_t code_points)
{
#define TEXT_TIER_NAME(name) #name,
    static const char *const names[] = {TEXT_TIER_MAP(TEXT_TIER_NAME)};
#undef TEXT_TIER_NAME
    return names[text_tier_of(code_points)];
}
