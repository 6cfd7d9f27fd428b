/*
 * import_line.c - one line of an import: from an export (with its key) or from a log of requests (the key computed).
 *
 * A line is scanned where it lies and its members are met in one table; unknown ones are refused by position, without
 * repeating them, so that a misspelt field is not lost in silence.
 */
#include "base/view.h"
#include "cache/import.h"
#include "cache/token_usage.h"

#include <stdio.h>
#include <string.h>

#define QUEUE_WAIT_MS 10000
#define ESCAPED_NAME_BYTES (6 * AIC_MAX_NAME_BYTES) /* \u0041 for each byte */

/* Every member of a line: how it is written, and its JSON type. */
#define FIELD_MAP(X)                                                                                                   \
    X(KEY, "key", STRING)                                                                                              \
    X(NAMESPACE, "namespace", STRING)                                                                                  \
    X(OPERATION, "operation", STRING)                                                                                  \
    X(TEXT, "text", STRING)                                                                                            \
    X(OPTIONS, "options", OBJECT)                                                                                      \
    X(QUESTION, "question", STRING)                                                                                    \
    X(MODEL, "model", STRING)                                                                                          \
    X(TAGS, "tags", ARRAY)                                                                                             \
    X(TEXT_LENGTH, "text_length", NUMBER)                                                                              \
    X(CREATED, "created_ms", NUMBER)                                                                                   \
    X(EXPIRES, "expires_ms", NUMBER)                                                                                   \
    X(TTL, "ttl", NUMBER)                                                                                              \
    X(PROMPT_TOKENS, "prompt_tokens", NUMBER)                                                                          \
    X(COMPLETION_TOKENS, "completion_tokens", NUMBER)                                                                  \
    X(TOKENS, "tokens", NULL)                                                                                          \
    X(COST, "cost_usd", NUMBER)                                                                                        \
    X(RESPONSE, "response", NULL)                                                                                      \
    X(SECRET, "secret", STRING)                                                                                        \
    X(SHAPE, "shape", STRING)

enum field {
#define FIELD_ENUM(name, text, type) FIELD_##name,
    FIELD_MAP(FIELD_ENUM)
#undef FIELD_ENUM
        FIELD_COUNT
};
static const struct {
    const char *name;
    uint8_t type;
} fields[] = {
#define FIELD_ROW(name, text, type) {text, JSON_##type},
    FIELD_MAP(FIELD_ROW)
#undef FIELD_ROW
};

static_assert(COUNT_OF(fields) == FIELD_COUNT, "each field has its row");

/* In words, those of which a field may be. */
static const char *const type_words[] = {
    [JSON_NUMBER] = "number", [JSON_STRING] = "string", [JSON_ARRAY] = "array", [JSON_OBJECT] = "object"};
static_assert(COUNT_OF(type_words) == JSON_OBJECT + 1, "an object is the last kind");

#define ABSENT UINT32_MAX

/* A member that is null is absent, as in a put. How long an entry lives is not guessed: "never" could be meant. */
static bool is_left_out(enum field field, uint8_t got)
{
    return got == JSON_NULL && field != FIELD_RESPONSE && field != FIELD_TTL && field != FIELD_EXPIRES;
}

static bool type_fits(uint8_t wanted, uint8_t got)
{
    return wanted == JSON_NULL || wanted == got;
}

/* The name is repeated as the field, cut to what fits, if it is plain. */
static aic_status refuse_unknown(const struct json *json, uint32_t member, aic_error *error)
{
    char known[256] = "";
    size_t used = 0;
    for (size_t f = 0; f < FIELD_COUNT && used < sizeof known; f++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", f > 0 ? ", " : "", fields[f].name);
    char name[81];
    aic_view plain = view_plain_name(json_source(json, member), sizeof name - 1);
    snprintf(name, sizeof name, "%.*s", (int)plain.size, plain.data);
    return error_set(error, AIC_INVALID, plain.size > 0 ? name : NULL,
                     "the member at byte %u is not known here; known are: %s", json->tokens[member].start, known);
}

static aic_status find_fields(struct aic_import *importer, uint32_t at[FIELD_COUNT], aic_error *error)
{
    const struct json *json = &importer->json;
    for (size_t f = 0; f < FIELD_COUNT; f++) at[f] = ABSENT;
    if (json->tokens[0].type != JSON_OBJECT) return error_set(error, AIC_INVALID, NULL, "a line is one JSON object");
    uint32_t member = 1;
    for (uint32_t m = 0; m < json->tokens[0].members; m++, member = json->tokens[member + 1].next) {
        size_t f = 0;
        while (f < FIELD_COUNT && !json_equals(json, member, aic_view_of(fields[f].name))) f++;
        if (f == FIELD_COUNT) return refuse_unknown(json, member, error);
        if (is_left_out((enum field)f, json->tokens[member + 1].type)) continue;
        if (!type_fits(fields[f].type, json->tokens[member + 1].type))
            return error_set(error, AIC_INVALID, fields[f].name, "must be a JSON %s", type_words[fields[f].type]);
        at[f] = member + 1;
    }
    return AIC_OK;
}

/* The unescaped text of a string token, in importer->names or, without escapes, in the line. */
static aic_view take_string(struct aic_import *importer, uint32_t token)
{
    if (token == ABSENT) return (aic_view){NULL, 0};
    /* What is longer than any name with every byte escaped is refused for its length, escaped or not. */
    bool refused = importer->json.tokens[token].size > ESCAPED_NAME_BYTES;
    if (refused || !importer->json.tokens[token].escaped) return json_source(&importer->json, token);
    /* Room was made in import_line(): the buffer does not move, so earlier views stay. */
    size_t start = importer->names.size;
    json_unescape(&importer->json, token, &importer->names);
    return (aic_view){importer->names.data + start, importer->names.size - start};
}

static aic_status take_whole(struct aic_import *importer, const uint32_t at[FIELD_COUNT], enum field field,
                             uint64_t *out, aic_error *error)
{
    if (at[field] == ABSENT) return AIC_OK;
    int64_t number = 0;
    if (json_integer(&importer->json, at[field], &number) != AIC_OK || number < 0)
        return error_set(error, AIC_INVALID, fields[field].name, "must be a whole number that is not negative");
    *out = (uint64_t)number;
    return AIC_OK;
}

static aic_status take_tags(struct aic_import *importer, uint32_t token, aic_view tags[AIC_MAX_TAGS], size_t *count,
                            aic_error *error)
{
    const struct json *json = &importer->json;
    *count = 0;
    if (token == ABSENT) return AIC_OK;
    if (json->tokens[token].members > AIC_MAX_TAGS)
        return error_set(error, AIC_INVALID, "tags", "at most %d are accepted", AIC_MAX_TAGS);
    uint32_t element = token + 1;
    for (uint32_t i = 0; i < json->tokens[token].members; i++, element = json->tokens[element].next) {
        if (json->tokens[element].type != JSON_STRING)
            return error_set(error, AIC_INVALID, "tags", "must be an array of strings");
        tags[(*count)++] = take_string(importer, element);
    }
    return AIC_OK;
}

static aic_status take_request(struct aic_import *importer, const uint32_t at[FIELD_COUNT], struct cache_put *put,
                               aic_error *error)
{
    struct key_request *request = &put->request;
    aic_view own = {importer->ns, importer->ns_size};
    request->ns = take_string(importer, at[FIELD_NAMESPACE]);
    if (request->ns.data == NULL) request->ns = own;
    TRY(cache_check_name("namespace", request->ns, error));
    if (importer->only_ns && !view_equal(request->ns, own))
        return error_set(error, AIC_FORBIDDEN, "namespace", "belongs to another namespace than this import may fill");
    request->operation = take_string(importer, at[FIELD_OPERATION]);
    if (request->operation.data == NULL) return error_set(error, AIC_INVALID, "operation", "is required");
    TRY(cache_check_name("operation", request->operation, error));
    if (at[FIELD_TEXT] != ABSENT) request->text = (struct key_text){.json = &importer->json, .token = at[FIELD_TEXT]};
    if (at[FIELD_QUESTION] != ABSENT)
        request->question = (struct key_text){.json = &importer->json, .token = at[FIELD_QUESTION]};
    if (at[FIELD_OPTIONS] != ABSENT) {
        request->options = &importer->json;
        request->options_token = at[FIELD_OPTIONS];
    }
    aic_view model = take_string(importer, at[FIELD_MODEL]);
    if (at[FIELD_MODEL] != ABSENT) TRY(cache_check_name("model", model, error));
    return cache_take_model(request, model, error);
}

/* A key that was computed under another secret is no request's here. A line of before does not say. */
static aic_status check_secret(struct aic_import *importer, uint32_t token, aic_error *error)
{
    if (token == ABSENT) return AIC_OK;
    aic_view secret = take_string(importer, token);
    const char *own = importer->cache->fingerprint;
    if (secret.size == FINGERPRINT_DIGITS && memcmp(secret.data, own, FINGERPRINT_DIGITS) == 0) return AIC_OK;
    return error_set(error, AIC_INVALID, "secret",
                     "the key was computed under another secret than the one here (fingerprint %s), so that no lookup "
                     "could find the entry; import it where that secret is, or give this daemon that secret file",
                     own);
}

/* What an export says of the request behind a key, in importer->names. Whoever computes the key has no use for it. */
static aic_status take_shape(struct aic_import *importer, uint32_t token, struct cache_put *put, aic_error *error)
{
    if (token == ABSENT) return AIC_OK;
    if (put->key == NULL) return error_set(error, AIC_INVALID, "shape", "goes with key, as an export writes both");
    aic_view text = take_string(importer, token);
    size_t start = importer->names.size;
    aic_status status = key_shape_parse(text, &importer->names);
    if (status == AIC_INVALID) return error_set(error, status, "shape", "is not what an export writes");
    put->shape = (aic_view){importer->names.data + start, importer->names.size - start};
    return status;
}

/* The key as the line gives it, or computed from the request. */
static aic_status take_key(struct aic_import *importer, const uint32_t at[FIELD_COUNT], struct cache_put *put,
                           aic_key *key, aic_error *error)
{
    if (at[FIELD_KEY] == ABSENT) {
        if (at[FIELD_TEXT] == ABSENT) return error_set(error, AIC_INVALID, "text", "is required where no key is given");
        return AIC_OK;
    }
    if (importer->refuse_keys) return error_set(error, AIC_FORBIDDEN, "key", "this import may not name keys");
    if (at[FIELD_TEXT] != ABSENT) return error_set(error, AIC_INVALID, "key", "either key or text is given, not both");
    if (aic_key_parse(take_string(importer, at[FIELD_KEY]), key) != AIC_OK)
        return error_set(error, AIC_INVALID, "key", "must be 64 lower-case hex digits");
    TRY(check_secret(importer, at[FIELD_SECRET], error));
    put->key = key;
    return take_whole(importer, at, FIELD_TEXT_LENGTH, &put->text_length, error);
}

/* Dates: what is given is kept; a ttl counts from now; nothing means the operation's default from now. AIC_STALE: its
 * time is over. */
static aic_status take_dates(struct aic_import *importer, const uint32_t at[FIELD_COUNT], struct cache_put *put,
                             aic_error *error)
{
    struct aic_cache *cache = importer->cache;
    uint64_t now = clock_wall_ms(&cache->clock), ttl = 0;
    if (at[FIELD_TTL] != ABSENT && at[FIELD_EXPIRES] != ABSENT)
        return error_set(error, AIC_INVALID, "ttl", "either ttl or expires_ms is given, not both");
    TRY(take_whole(importer, at, FIELD_TTL, &ttl, error));
    TRY(cache_check_ttl(ttl, error));
    if (at[FIELD_TTL] == ABSENT) ttl = cache_default_ttl(cache, put->request.operation);
    put->dates_given = true;
    put->created_ms = now;
    put->expires_ms = ttl == 0 ? 0 : now + ttl * 1000;
    TRY(take_whole(importer, at, FIELD_CREATED, &put->created_ms, error));
    TRY(take_whole(importer, at, FIELD_EXPIRES, &put->expires_ms, error));
    if (put->created_ms > now) { /* the other machine's clock: it lives as long as it was meant to */
        uint64_t ahead = put->created_ms - now;
        if (at[FIELD_EXPIRES] != ABSENT && put->expires_ms != 0)
            put->expires_ms = put->expires_ms > ahead ? put->expires_ms - ahead : 1;
        put->created_ms = now;
    }
    if (put->expires_ms > now + AIC_MAX_TTL_SECONDS * 1000)
        return error_set(error, AIC_INVALID, "expires_ms", "is more than a hundred years away; 0 means never");
    return put->expires_ms != 0 && put->expires_ms <= now ? AIC_STALE : AIC_OK;
}

static aic_status take_cost(struct aic_import *importer, const uint32_t at[FIELD_COUNT], struct cache_put *put,
                            aic_error *error)
{
    if (at[FIELD_TOKENS] != ABSENT)
        TRY(token_usage_read(&importer->json, at[FIELD_TOKENS], &put->prompt_tokens, &put->completion_tokens, error));
    TRY(take_whole(importer, at, FIELD_PROMPT_TOKENS, &put->prompt_tokens, error));
    TRY(take_whole(importer, at, FIELD_COMPLETION_TOKENS, &put->completion_tokens, error));
    if (at[FIELD_COST] == ABSENT) return AIC_OK;
    if (json_double(&importer->json, at[FIELD_COST], &put->cost_usd) != AIC_OK)
        return error_set(error, AIC_INVALID, "cost_usd", "must be a number that is not negative");
    return AIC_OK;
}

/* Stores; when the write-behind queue was full, waits for it once and stores again, so that an import is not thinned
 * out. */
static aic_status store_line(struct aic_import *importer, const struct cache_put *put, aic_error *error)
{
    struct aic_cache *cache = importer->cache;
    aic_put_result result = {0};
    aic_status status = cache_put(cache, put, &result, error);
    if (status < 0 || cache->gate == NULL || (result.tiers & AIC_IN_STORAGE) != 0 || !cache_storage_up(cache))
        return status;
    uint64_t largest = gate_max_record_bytes(cache->gate);
    if (largest > 0 && result.stored_bytes > largest) return status; /* there is nothing to wait for */
    aic_status flushed = gate_flush(cache->gate, false, QUEUE_WAIT_MS);
    if (flushed != AIC_OK && flushed != AIC_TIMEOUT) return status; /* after so long there is room, if anything moves */
    return cache_put(cache, put, &result, error);
}

aic_status import_line(struct aic_import *importer, aic_view line, aic_error *error)
{
    uint32_t at[FIELD_COUNT];
    TRY(json_scan(&importer->json, line, error));
    TRY(find_fields(importer, at, error));
    /* Key, secret, namespace, operation, model, shape and every tag at their longest, and the shape's bytes. */
    buf_clear(&importer->names);
    size_t room = (AIC_MAX_TAGS + 6) * ESCAPED_NAME_BYTES + RECORD_MAX_SHAPE_BYTES;
    if (buf_reserve(&importer->names, room) == NULL) return AIC_NO_MEMORY;
    struct cache_put put = {0};
    aic_key key;
    aic_view tags[AIC_MAX_TAGS];
    TRY(take_request(importer, at, &put, error));
    TRY(take_key(importer, at, &put, &key, error));
    TRY(take_shape(importer, at[FIELD_SHAPE], &put, error));
    TRY(take_tags(importer, at[FIELD_TAGS], tags, &put.tag_count, error));
    put.tags = tags;
    TRY(take_cost(importer, at, &put, error));
    TRY(cache_check_put(&put, error));
    if (at[FIELD_RESPONSE] == ABSENT) return error_set(error, AIC_INVALID, "response", "is required");
    put.response = json_text(&importer->json, at[FIELD_RESPONSE]);
    TRY(take_dates(importer, at, &put, error));
    return store_line(importer, &put, error);
}
