/*
 * import.c - lines of JSON on their way in: from an export (with keys) or from a log of requests (keys computed).
 *
 * Lines are cut from pieces of any size; only an unfinished line is kept. A line is scanned where it lies and its
 * members are met in one table; unknown ones are refused by position, without repeating them, so that a misspelt field
 * is not lost in silence.
 */
#include "cache/inner.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_LINE_BYTES ((size_t)64 << 20)
#define DEFAULT_REJECTIONS 1000
#define QUEUE_WAIT_MS 10000
#define ESCAPED_NAME_BYTES (6 * AIC_MAX_NAME_BYTES) /* \u0041 for each byte */

struct rejection {
    uint64_t line;
    aic_error error;
};

struct aic_import {
    struct aic_cache *cache;
    bool only_ns_given, refuse_keys;
    char only_ns[AIC_MAX_NAME_BYTES];
    size_t only_ns_size;
    size_t max_line_bytes, max_rejections;
    struct buf partial; /* the unfinished line */
    bool skipping;      /* the rest of a line that is too long */
    uint64_t line;
    aic_import_counts counts;
    struct rejection *rejections; /* owned; grows by doubling */
    size_t rejection_count, rejection_capacity;
    struct json json;
    struct buf names; /* unescaped namespace, operation, model, tags */
};

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
    X(SECRET, "secret", STRING)

enum field {
#define FIELD_ENUM(name, text, type) FIELD_##name,
    FIELD_MAP(FIELD_ENUM)
#undef FIELD_ENUM
        FIELD_COUNT
};
static const struct {
    const char *name;
    uint8_t type;
    const char *is; /* what is accepted */
} fields[] = {
#define FIELD_ROW(name, text, type) {text, JSON_##type, #type},
    FIELD_MAP(FIELD_ROW)
#undef FIELD_ROW
};

#define ABSENT UINT32_MAX

aic_status aic_import_create(aic_cache *cache, const aic_import_options *options, aic_import **out, aic_error *error)
{
    static const aic_import_options defaults;
    if (error != NULL) *error = (aic_error){0};
    if (options == NULL) options = &defaults;
    if (options->only_ns.size > 0) TRY(cache_check_name("namespace", options->only_ns, error));
    struct aic_import *importer = mem_zalloc(&cache->mem, MEM_CACHE, sizeof *importer);
    if (importer == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "%s", aic_status_text(AIC_NO_MEMORY));
    importer->cache = cache;
    importer->only_ns_given = options->only_ns.size > 0;
    importer->only_ns_size = options->only_ns.size;
    if (importer->only_ns_given) memcpy(importer->only_ns, options->only_ns.data, options->only_ns.size);
    importer->refuse_keys = options->refuse_keys;
    importer->max_line_bytes = options->max_line_bytes > 0 ? options->max_line_bytes : DEFAULT_LINE_BYTES;
    importer->max_rejections = options->max_rejections > 0 ? options->max_rejections : DEFAULT_REJECTIONS;
    buf_init(&importer->partial, &cache->mem, MEM_CACHE);
    buf_init(&importer->names, &cache->mem, MEM_CACHE);
    json_init(&importer->json, &cache->mem, MEM_CACHE);
    *out = importer;
    return AIC_OK;
}

void aic_import_destroy(aic_import **importer)
{
    if (importer == NULL || *importer == NULL) return;
    struct aic_import *old = *importer;
    struct mem *mem = &old->cache->mem;
    json_fini(&old->json);
    buf_fini(&old->names);
    buf_fini(&old->partial);
    mem_free(mem, MEM_CACHE, old->rejections, old->rejection_capacity * sizeof *old->rejections);
    mem_free(mem, MEM_CACHE, old, sizeof *old);
    *importer = NULL;
}

void aic_import_count(const aic_import *importer, aic_import_counts *out)
{
    *out = importer->counts;
}

aic_status aic_import_rejection(const aic_import *importer, size_t index, uint64_t *line, aic_error *error)
{
    if (index >= importer->rejection_count) return AIC_MISS;
    *line = importer->rejections[index].line;
    *error = importer->rejections[index].error;
    return AIC_OK;
}

/* Counts it, and keeps it when there is room; without memory it is counted only. */
static void reject(struct aic_import *importer, const aic_error *error)
{
    importer->counts.rejected++;
    if (importer->rejection_count >= importer->max_rejections) return;
    if (importer->rejection_count == importer->rejection_capacity) {
        size_t capacity = importer->rejection_capacity > 0 ? 2 * importer->rejection_capacity : 8;
        struct rejection *grown = mem_realloc(&importer->cache->mem, MEM_CACHE, importer->rejections,
                                              importer->rejection_capacity * sizeof *grown, capacity * sizeof *grown);
        if (grown == NULL) return;
        importer->rejections = grown;
        importer->rejection_capacity = capacity;
    }
    importer->rejections[importer->rejection_count++] = (struct rejection){importer->line, *error};
}

/* ---- one line ---- */

static bool type_fits(uint8_t wanted, uint8_t got)
{
    return wanted == JSON_NULL || wanted == got || (wanted == JSON_OBJECT && got == JSON_NULL);
}

/* The name is repeated as the field, if it is plain and fits. */
static aic_status refuse_unknown(const struct json *json, uint32_t member, aic_error *error)
{
    char known[256] = "";
    size_t used = 0;
    for (size_t f = 0; f < FIELD_COUNT && used < sizeof known; f++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", f > 0 ? ", " : "", fields[f].name);
    char name[80];
    aic_view source = json_source(json, member);
    size_t plain = 0;
    while (plain < source.size && source.data[plain] > ' ' && source.data[plain] < 0x7f) plain++;
    bool fits = plain == source.size && plain < sizeof name;
    snprintf(name, sizeof name, "%.*s", fits ? (int)plain : 0, source.data);
    return error_set(error, AIC_INVALID, fits ? name : NULL, "the member at byte %u is not known here; known are: %s",
                     json->tokens[member].start, known);
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
        if (!type_fits(fields[f].type, json->tokens[member + 1].type))
            return error_set(error, AIC_INVALID, fields[f].name, "must be a JSON %s", fields[f].is);
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
    /* Room was made in parse_line(): the buffer does not move, so earlier views stay. */
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
    request->ns = take_string(importer, at[FIELD_NAMESPACE]);
    if (request->ns.data == NULL)
        request->ns = importer->only_ns_given ? (aic_view){importer->only_ns, importer->only_ns_size}
                                              : AIC_LITERAL("default");
    TRY(cache_check_name("namespace", request->ns, error));
    if (importer->only_ns_given && (request->ns.size != importer->only_ns_size ||
                                    memcmp(request->ns.data, importer->only_ns, importer->only_ns_size) != 0))
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
    return AIC_OK;
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
    if (put->created_ms > now) put->created_ms = now; /* the other machine's clock */
    if (put->expires_ms > now + AIC_MAX_TTL_SECONDS * 1000)
        return error_set(error, AIC_INVALID, "expires_ms", "is more than a hundred years away; 0 means never");
    return put->expires_ms != 0 && put->expires_ms <= now ? AIC_STALE : AIC_OK;
}

/* `tokens` as a put over HTTP has it: a number of completion tokens, or the object that providers call usage. */
static aic_status take_tokens(const struct json *json, uint32_t token, struct cache_put *put, aic_error *error)
{
    static const char *const names[] = {"prompt_tokens", "completion_tokens", "prompt", "completion"};
    uint64_t *const targets[] = {&put->prompt_tokens, &put->completion_tokens};
    bool object = json->tokens[token].type == JSON_OBJECT;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        uint32_t member = object ? json_member(json, token, names[i]) : i == 1 ? token : ABSENT;
        int64_t number = 0;
        if (member == ABSENT) continue;
        if (json->tokens[member].type != JSON_NUMBER || json_integer(json, member, &number) != AIC_OK || number < 0)
            return error_set(error, AIC_INVALID, "tokens",
                             "must be a whole number, or an object with prompt_tokens and completion_tokens");
        *targets[i % 2] = (uint64_t)number;
    }
    return AIC_OK;
}

static aic_status take_cost(struct aic_import *importer, const uint32_t at[FIELD_COUNT], struct cache_put *put,
                            aic_error *error)
{
    if (at[FIELD_TOKENS] != ABSENT) TRY(take_tokens(&importer->json, at[FIELD_TOKENS], put, error));
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
    if (gate_flush(cache->gate, false, QUEUE_WAIT_MS) != AIC_OK) return status;
    return cache_put(cache, put, &result, error);
}

static aic_status parse_line(struct aic_import *importer, aic_view line, aic_error *error)
{
    uint32_t at[FIELD_COUNT];
    TRY(json_scan(&importer->json, line, error));
    TRY(find_fields(importer, at, error));
    /* Key, secret, namespace, operation, model and every tag at their longest. */
    buf_clear(&importer->names);
    if (buf_reserve(&importer->names, (AIC_MAX_TAGS + 5) * ESCAPED_NAME_BYTES) == NULL) return AIC_NO_MEMORY;
    struct cache_put put = {0};
    aic_key key;
    aic_view tags[AIC_MAX_TAGS];
    TRY(take_request(importer, at, &put, error));
    TRY(take_key(importer, at, &put, &key, error));
    put.model = take_string(importer, at[FIELD_MODEL]);
    TRY(take_tags(importer, at[FIELD_TAGS], tags, &put.tag_count, error));
    put.tags = tags;
    TRY(take_cost(importer, at, &put, error));
    TRY(cache_check_put(&put, error));
    if (at[FIELD_RESPONSE] == ABSENT) return error_set(error, AIC_INVALID, "response", "is required");
    put.response = json_text(&importer->json, at[FIELD_RESPONSE]);
    TRY(take_dates(importer, at, &put, error));
    return store_line(importer, &put, error);
}

static bool is_blank(aic_view line)
{
    for (size_t i = 0; i < line.size; i++) {
        if (strchr(" \t\r", line.data[i]) == NULL || line.data[i] == '\0') return false;
    }
    return true;
}

static aic_status take_line(struct aic_import *importer, aic_view line)
{
    importer->line++;
    if (is_blank(line)) return AIC_OK;
    importer->counts.lines++;
    aic_error error = {0};
    aic_status status = parse_line(importer, line, &error);
    if (status == AIC_STALE) {
        importer->counts.expired++;
    } else if (status == AIC_OK) {
        importer->counts.accepted++;
    } else {
        if (error.status == AIC_OK) (void)error_set(&error, status, NULL, "%s", aic_status_text(status));
        reject(importer, &error);
    }
    return status == AIC_NO_MEMORY ? status : AIC_OK;
}

static void reject_long(struct aic_import *importer)
{
    importer->line++;
    importer->counts.lines++;
    aic_error error;
    (void)error_set(&error, AIC_TOO_LARGE, NULL, "the line is longer than %zu bytes", importer->max_line_bytes);
    reject(importer, &error);
}

/* One line's end was found: `tail` is what came of it in this piece. */
static aic_status end_line(struct aic_import *importer, aic_view tail)
{
    if (importer->skipping) {
        importer->skipping = false;
        return AIC_OK;
    }
    if (importer->partial.size + tail.size > importer->max_line_bytes) {
        buf_clear(&importer->partial);
        reject_long(importer);
        return AIC_OK;
    }
    if (importer->partial.size == 0) return take_line(importer, tail);
    buf_append_view(&importer->partial, tail);
    aic_status status = buf_status(&importer->partial);
    if (status == AIC_OK) status = take_line(importer, buf_view(&importer->partial));
    buf_clear(&importer->partial);
    return status;
}

static aic_status keep_partial(struct aic_import *importer, aic_view rest)
{
    if (importer->skipping || rest.size == 0) return AIC_OK;
    if (importer->partial.size + rest.size > importer->max_line_bytes) {
        buf_clear(&importer->partial);
        importer->skipping = true;
        reject_long(importer);
        return AIC_OK;
    }
    buf_append_view(&importer->partial, rest);
    aic_status status = buf_status(&importer->partial);
    if (status != AIC_OK) { /* the line is lost, the next one is not */
        buf_clear(&importer->partial);
        importer->skipping = true;
        importer->line++;
        importer->counts.lines++;
        aic_error error;
        (void)error_set(&error, status, NULL, "%s", aic_status_text(status));
        reject(importer, &error);
    }
    return status;
}

aic_status aic_import_add(aic_import *importer, aic_view bytes)
{
    aic_status worst = AIC_OK;
    while (bytes.size > 0) {
        const char *end = memchr(bytes.data, '\n', bytes.size);
        aic_status status;
        if (end == NULL) {
            status = keep_partial(importer, bytes);
            return worst != AIC_OK ? worst : status;
        }
        size_t size = (size_t)(end - bytes.data);
        status = end_line(importer, (aic_view){bytes.data, size});
        if (status != AIC_OK) worst = status;
        bytes = (aic_view){end + 1, bytes.size - size - 1};
    }
    return worst;
}

aic_status aic_import_finish(aic_import *importer)
{
    bool open = importer->partial.size > 0;
    importer->skipping = importer->skipping && open;
    return open ? end_line(importer, (aic_view){"", 0}) : AIC_OK;
}
