#include "base/json.h"

#include "base/check.h"
#include "base/status.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

/*
 * The scanner. A loop over six expectations instead of recursion: depth costs no C stack, and each state says what it
 * accepts, which is also the sentence of its refusal. Strings carry nearly all bytes of a request; they are crossed 16
 * bytes at a time (utf8_plain_end). Duplicate names are found when an object closes (json_order.c).
 */

enum {
    TEXT_MAX = 0x7fffffff,
    FIRST_CAPACITY = 64,
    KEPT_CAPACITY = 16384,
    MANY_TOKENS = 65536,
    NAMES_COMPARED_IN_PAIRS = 8
};

enum expectation { EXPECT_VALUE, EXPECT_FIRST_ELEMENT, EXPECT_FIRST_NAME, EXPECT_NAME, EXPECT_MORE, EXPECT_NOTHING };

struct scan {
    struct json *json;
    aic_error *error;
    const uint8_t *begin;
    const uint8_t *at;
    const uint8_t *end;
    uint32_t depth;
    uint32_t open[JSON_MAX_DEPTH]; /* tokens of the containers around `at` */
};

void json_init(struct json *json, struct mem *mem, enum mem_owner owner)
{
    *json = (struct json){.mem = mem, .owner = owner};
}

void json_fini(struct json *json)
{
    mem_free(json->mem, json->owner, json->tokens, json->capacity * sizeof *json->tokens);
    json_init(json, json->mem, json->owner);
}

static aic_status refuse(const struct scan *scan, const char *expected)
{
    if (scan->at >= scan->end)
        return error_set(scan->error, AIC_INVALID, NULL, "not JSON: the text ends at byte %zu, expected %s",
                         (size_t)(scan->end - scan->begin), expected);
    return error_set(scan->error, AIC_INVALID, NULL, "not JSON: at byte %zu expected %s",
                     (size_t)(scan->at - scan->begin), expected);
}

static bool make_room(struct json *json, uint32_t capacity)
{
    struct json_token *tokens = mem_realloc(json->mem, json->owner, json->tokens, json->capacity * sizeof *tokens,
                                            capacity * sizeof *tokens);
    if (tokens == NULL) return false;
    json->tokens = tokens;
    json->capacity = capacity;
    return true;
}

/* No more tokens than this are to come: each follows the beginning, a comma, a colon, or an opening bracket. */
static uint64_t count_marks(const uint8_t *at, const uint8_t *end)
{
    uint64_t count = 1;
    while (at < end) {
        const uint8_t *stop = end - at > 128 ? at + 128 : end;
        uint8_t marks = 0; /* of a piece: the compiler adds up many bytes at a time */
        for (; at < stop; at++)
            marks = (uint8_t)(marks + (*at == ',') + (*at == ':') + ((*at | 0x20) == '{')); /* or [ */
        count += marks;
    }
    return count;
}

/* By half, until it is clear that this is a document of many tokens: then for all that it can have, since growing on
 * would hold two and a half times as much on the way. */
static aic_status grow(struct scan *scan)
{
    struct json *json = scan->json;
    if (json->capacity >= MANY_TOKENS) {
        uint64_t all = json->count + count_marks(scan->at, scan->end);
        if (all <= UINT32_MAX && make_room(json, (uint32_t)all)) return AIC_OK;
    }
    if (make_room(json, json->capacity == 0 ? FIRST_CAPACITY : json->capacity + json->capacity / 2)) return AIC_OK;
    return error_set(scan->error, AIC_NO_MEMORY, NULL, "not enough memory to read the JSON text");
}

/* Adds a token that starts at `start`; the caller has made room. */
static inline struct json_token *add_token(struct scan *scan, enum json_kind type, const uint8_t *start)
{
    struct json *json = scan->json;
    uint32_t index = json->count++;
    struct json_token *token = &json->tokens[index];
    *token = (struct json_token){.type = (uint8_t)type, .start = (uint32_t)(start - scan->begin), .next = index + 1};
    return token;
}

static inline void skip_space(struct scan *scan)
{
    const uint8_t *at = scan->at;
    while (at < scan->end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) at++;
    scan->at = at;
}

static int hex_of(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Reads the four digits after "\u"; `at` is at the backslash. -1 when they are not there. */
static int32_t unit_at(const uint8_t *at, const uint8_t *end)
{
    if (end - at < 6 || at[0] != '\\' || at[1] != 'u') return -1;
    int32_t unit = 0;
    for (int i = 2; i < 6; i++) {
        int digit = hex_of(at[i]);
        if (digit < 0) return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

/* Crosses the escape at the backslash under `at`. */
static aic_status scan_escape(struct scan *scan)
{
    if (scan->end - scan->at < 2) {
        scan->at = scan->end;
        return refuse(scan, "the rest of an escape");
    }
    if (scan->at[1] != 'u') {
        if (memchr("\"\\/bfnrt", scan->at[1], 8) == NULL)
            return refuse(scan, "an escape that JSON knows (\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u)");
        scan->at += 2;
        return AIC_OK;
    }
    int32_t unit = unit_at(scan->at, scan->end);
    if (unit < 0) return refuse(scan, "four hex digits after \\u");
    if (unit >= 0xdc00 && unit <= 0xdfff) return refuse(scan, "no low surrogate without a high one before it");
    if (unit >= 0xd800 && unit <= 0xdbff) {
        int32_t low = unit_at(scan->at + 6, scan->end);
        if (low < 0xdc00 || low > 0xdfff) return refuse(scan, "a low surrogate after the high one");
        scan->at += 6;
    }
    scan->at += 6;
    return AIC_OK;
}

/* Crosses a string; `at` is at its opening quote. */
static aic_status scan_string(struct scan *scan)
{
    struct json_token *token = add_token(scan, JSON_STRING, scan->at + 1);
    const uint8_t *start = ++scan->at;
    for (;;) {
        scan->at = utf8_plain_end(scan->at, scan->end);
        if (scan->at == scan->end) return refuse(scan, "the closing quote of a string");
        if (*scan->at == '"') break;
        if (*scan->at == '\\') {
            token->escaped = true;
            TRY(scan_escape(scan));
        } else if (*scan->at < 0x20) {
            return refuse(scan, "no control character inside a string (escape it)");
        } else {
            do {
                size_t length = utf8_sequence(scan->at, scan->end);
                if (length == 0) return refuse(scan, "valid UTF-8");
                scan->at += length;
            } while (scan->at < scan->end && *scan->at >= 0x80);
        }
    }
    token->size = (uint32_t)(scan->at - start);
    scan->at++;
    return AIC_OK;
}

static inline bool is_digit(const struct scan *scan)
{
    return scan->at < scan->end && (uint8_t)(*scan->at - '0') <= 9;
}

static aic_status scan_digits(struct scan *scan)
{
    if (!is_digit(scan)) return refuse(scan, "a digit");
    while (is_digit(scan)) scan->at++;
    return AIC_OK;
}

static aic_status scan_number(struct scan *scan)
{
    const uint8_t *start = scan->at;
    if (*scan->at == '-') scan->at++;
    if (scan->at < scan->end && *scan->at == '0') scan->at++;
    else TRY(scan_digits(scan));
    if (scan->at < scan->end && *scan->at == '.') {
        scan->at++;
        TRY(scan_digits(scan));
    }
    if (scan->at < scan->end && (*scan->at | 0x20) == 'e') {
        scan->at++;
        if (scan->at < scan->end && (*scan->at == '+' || *scan->at == '-')) scan->at++;
        TRY(scan_digits(scan));
    }
    add_token(scan, JSON_NUMBER, start)->size = (uint32_t)(scan->at - start);
    return AIC_OK;
}

static aic_status scan_word(struct scan *scan, enum json_kind type, const char *word, size_t size)
{
    if ((size_t)(scan->end - scan->at) < size || memcmp(scan->at, word, size) != 0)
        return refuse(scan, "a value: an object, an array, a string, a number, true, false or null");
    add_token(scan, type, scan->at)->size = (uint32_t)size;
    scan->at += size;
    return AIC_OK;
}

static aic_status open_container(struct scan *scan, enum json_kind type)
{
    if (scan->depth == JSON_MAX_DEPTH)
        return error_set(scan->error, AIC_INVALID, NULL,
                         "JSON nested too deeply: at byte %zu begins level %d, at most %d are accepted",
                         (size_t)(scan->at - scan->begin), JSON_MAX_DEPTH + 1, JSON_MAX_DEPTH);
    scan->open[scan->depth++] = scan->json->count;
    add_token(scan, type, scan->at);
    scan->at++;
    return AIC_OK;
}

static aic_status scan_value(struct scan *scan, enum expectation *expect)
{
    *expect = EXPECT_MORE;
    if (scan->json->count == scan->json->capacity) TRY(grow(scan));
    if (scan->at == scan->end) return refuse(scan, "a value");
    switch (*scan->at) {
    case '"': return scan_string(scan);
    case '{': *expect = EXPECT_FIRST_NAME; return open_container(scan, JSON_OBJECT);
    case '[': *expect = EXPECT_FIRST_ELEMENT; return open_container(scan, JSON_ARRAY);
    case 't': return scan_word(scan, JSON_TRUE, "true", 4);
    case 'f': return scan_word(scan, JSON_FALSE, "false", 5);
    case '-':
    case '0' ... '9': return scan_number(scan);
    default: return scan_word(scan, JSON_NULL, "null", 4);
    }
}

static aic_status scan_name(struct scan *scan, enum expectation *expect)
{
    *expect = EXPECT_VALUE;
    if (scan->json->count == scan->json->capacity) TRY(grow(scan));
    if (scan->at == scan->end || *scan->at != '"') return refuse(scan, "the name of a member, in double quotes");
    TRY(scan_string(scan));
    skip_space(scan);
    if (scan->at == scan->end || *scan->at != ':') return refuse(scan, "':' after the name of a member");
    scan->at++;
    return AIC_OK;
}

/* ---- where a refused member is ---- */

struct path {
    char text[sizeof((aic_error *)NULL)->field];
    size_t size; /* all of text: there was no room for the rest */
};

static void path_add(struct path *path, const char *text, size_t size)
{
    size_t room = sizeof path->text - path->size;
    if (size > room) size = room;
    memcpy(path->text + path->size, text, size);
    path->size += size;
}

static void path_add_name(struct path *path, const struct json *json, uint32_t name)
{
    if (path->size > 0) path_add(path, ".", 1);
    path->size += json_unescape_front(json, name, (uint8_t *)path->text + path->size, sizeof path->text - path->size);
}

/* The step from an open container to the child that is being read: `members` of them are complete. */
static void path_add_step(struct path *path, const struct json *json, uint32_t container)
{
    const struct json_token *token = &json->tokens[container];
    char index[16];
    if (token->type == JSON_ARRAY) {
        path_add(path, index, (size_t)snprintf(index, sizeof index, "[%u]", token->members));
        return;
    }
    uint32_t name = container + 1;
    for (uint32_t i = 0; i < token->members; i++) name = json->tokens[name + 1].next;
    path_add_name(path, json, name);
}

static const char *path_end(struct path *path)
{
    static const char ellipsis[] = "…";
    if (path->size == sizeof path->text) {
        path->size = utf8_fit((aic_view){path->text, path->size}, path->size - sizeof ellipsis);
        path_add(path, ellipsis, sizeof ellipsis - 1);
    }
    path->text[path->size] = '\0';
    return path->text;
}

/* Of an object that was just closed: those around it are in `open`. */
static aic_status refuse_duplicate(const struct scan *scan, uint32_t name)
{
    struct path path = {.size = 0};
    for (uint32_t i = 0; i < scan->depth; i++) path_add_step(&path, scan->json, scan->open[i]);
    path_add_name(&path, scan->json, name);
    return error_set(scan->error, AIC_INVALID, path_end(&path),
                     "not acceptable JSON: the member named at byte %u repeats a name of its object",
                     scan->json->tokens[name].start - 1);
}

/* ---- members ---- */

/* Objects of a few members, which are nearly all: each name against those before it. */
static aic_status check_few_names(const struct scan *scan, uint32_t object)
{
    const struct json *json = scan->json;
    uint32_t names[NAMES_COMPARED_IN_PAIRS];
    uint32_t members = json->tokens[object].members;
    for (uint32_t i = 0, name = object + 1; i < members; i++, name = json->tokens[name + 1].next) {
        for (uint32_t j = 0; j < i; j++)
            if (json_same_names(json, names[j], name)) return refuse_duplicate(scan, name);
        names[i] = name;
    }
    return AIC_OK;
}

static aic_status check_names(const struct scan *scan, uint32_t object)
{
    if (scan->json->tokens[object].members <= NAMES_COMPARED_IN_PAIRS) return check_few_names(scan, object);
    uint32_t duplicate = UINT32_MAX;
    aic_status status = json_find_duplicate(scan->json, object, &duplicate);
    if (status == AIC_NO_MEMORY) return error_set(scan->error, status, NULL, "not enough memory to read the JSON text");
    return duplicate != UINT32_MAX ? refuse_duplicate(scan, duplicate) : AIC_OK;
}

static aic_status close_container(struct scan *scan)
{
    uint32_t index = scan->open[--scan->depth];
    struct json_token *token = &scan->json->tokens[index];
    scan->at++;
    token->size = (uint32_t)(scan->at - scan->begin) - token->start;
    token->next = scan->json->count;
    return token->type == JSON_OBJECT && token->members > 1 ? check_names(scan, index) : AIC_OK;
}

/* After a value: a comma, the end of its container, or of the text. */
static aic_status scan_more(struct scan *scan, enum expectation *expect)
{
    if (scan->depth == 0) {
        if (scan->at < scan->end) return refuse(scan, "nothing after the value");
        *expect = EXPECT_NOTHING;
        return AIC_OK;
    }
    struct json_token *parent = &scan->json->tokens[scan->open[scan->depth - 1]];
    bool object = parent->type == JSON_OBJECT;
    parent->members++;
    if (scan->at < scan->end && *scan->at == ',') {
        scan->at++;
        *expect = object ? EXPECT_NAME : EXPECT_VALUE;
        return AIC_OK;
    }
    if (scan->at == scan->end || *scan->at != (object ? '}' : ']'))
        return refuse(scan, object ? "',' or '}' after a member" : "',' or ']' after an element");
    return close_container(scan);
}

/* After an opening bracket: its closing one, or the first member. */
static aic_status scan_first(struct scan *scan, enum expectation *expect)
{
    bool object = *expect == EXPECT_FIRST_NAME;
    if (scan->at < scan->end && *scan->at == (object ? '}' : ']')) {
        *expect = EXPECT_MORE;
        return close_container(scan);
    }
    return object ? scan_name(scan, expect) : scan_value(scan, expect);
}

static aic_status scan_step(struct scan *scan, enum expectation *expect)
{
    skip_space(scan);
    switch (*expect) {
    case EXPECT_VALUE: return scan_value(scan, expect);
    case EXPECT_FIRST_ELEMENT:
    case EXPECT_FIRST_NAME: return scan_first(scan, expect);
    case EXPECT_NAME: return scan_name(scan, expect);
    default: return scan_more(scan, expect);
    }
}

/* One document of nothing but small numbers must not leave its tokens, ten times its size, behind for ever. */
static void trim(struct json *json)
{
    if (json->capacity <= KEPT_CAPACITY || json->text.size / 2 >= json->capacity / 2) return;
    mem_free(json->mem, json->owner, json->tokens, json->capacity * sizeof *json->tokens);
    json->tokens = NULL;
    json->capacity = 0;
}

aic_status json_scan(struct json *json, aic_view text, aic_error *error)
{
    json->text = text;
    json->count = 0;
    if (text.size > TEXT_MAX)
        return error_set(error, AIC_TOO_LARGE, NULL, "the JSON text has %zu bytes, at most %d are accepted", text.size,
                         TEXT_MAX);
    trim(json);
    static const uint8_t nothing[1];
    struct scan scan = {.json = json, .error = error};
    scan.begin = scan.at = text.data != NULL ? (const uint8_t *)text.data : nothing;
    scan.end = scan.begin + (text.data != NULL ? text.size : 0);
    enum expectation expect = EXPECT_VALUE;
    while (expect != EXPECT_NOTHING) {
        aic_status status = scan_step(&scan, &expect);
        if (status != AIC_OK) {
            json->count = 0;
            return status;
        }
    }
    return AIC_OK;
}
