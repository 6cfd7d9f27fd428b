/*
 * fuzz_json.c - the scanner on any bytes. What it accepts, json-c accepts too and reads alike; its tokens cover the
 * text as they say; every string can be written and read again. (What it refuses is compared with Python's parser in
 * tests/unit/cache/json_oracle_test.py, because json-c accepts more than JSON.)
 */
#include "base/check.h"
#include "base/json.h"
#include "base/utf8.h"

#include <json-c/json.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(const struct json *json, uint32_t token, const json_object *other);

static void compare_string(const struct json *json, uint32_t token, const char *bytes, size_t size)
{
    struct buf text;
    uint64_t length;
    uint64_t points;
    buf_init(&text, json->mem, MEM_OTHER);
    json_unescape(json, token, &text);
    CHECK(text.size == size && (size == 0 || memcmp(text.data, bytes, size) == 0));
    CHECK(utf8_is_valid(buf_view(&text)));
    json_measure(json, token, &length, &points);
    CHECK(length == size && points == utf8_count(bytes, size));
    CHECK(json_equals(json, token, (aic_view){bytes, size}));

    struct json again;
    struct buf written;
    json_init(&again, json->mem, MEM_OTHER);
    buf_init(&written, json->mem, MEM_OTHER);
    json_write_string(&written, (aic_view){bytes, size});
    CHECK(json_scan(&again, buf_view(&written), NULL) == AIC_OK);
    CHECK(json_equals(&again, 0, (aic_view){bytes, size}));
    buf_fini(&written);
    json_fini(&again);
    buf_fini(&text);
}

static void compare_number(const struct json *json, uint32_t token, const json_object *other)
{
    int64_t integer;
    double number;
    struct json_decimal decimal;
    if (json_decimal(json, token, &decimal) == AIC_OK) CHECK((decimal.count == 0) == (decimal.digits.size == 0));
    if (json_double(json, token, &number) == AIC_OK && json_object_is_type(other, json_type_double))
        CHECK(number == json_object_get_double(other));
    /* json-c clips what does not fit 64 bits, and has 64 bits without a sign too. */
    if (json_integer(json, token, &integer) == AIC_OK && json_object_is_type(other, json_type_int))
        CHECK(integer == json_object_get_int64(other));
}

static void compare_members(const struct json *json, uint32_t object, const json_object *other)
{
    CHECK(json_object_is_type(other, json_type_object));
    CHECK(json->tokens[object].members == (uint32_t)json_object_object_length(other));
    uint32_t name = object + 1;
    for (uint32_t i = 0; i < json->tokens[object].members; i++, name = json->tokens[name + 1].next) {
        CHECK(json->tokens[name].type == JSON_STRING);
        struct buf text;
        buf_init(&text, json->mem, MEM_OTHER);
        json_unescape(json, name, &text);
        buf_append_byte(&text, '\0');
        json_object *value;
        bool readable = strlen(text.data) + 1 == text.size; /* json-c ends names at a NUL */
        if (readable) CHECK(json_object_object_get_ex(other, text.data, &value));
        if (readable) CHECK(json_member(json, object, text.data) == name + 1);
        if (readable) compare(json, name + 1, value);
        buf_fini(&text);
    }
    CHECK(name == json->tokens[object].next);
}

static void compare(const struct json *json, uint32_t token, const json_object *other)
{
    const struct json_token *is = &json->tokens[token];
    CHECK((size_t)is->start + is->size <= json->text.size && is->next <= json->count && is->next > token);
    switch ((enum json_kind)is->type) {
    case JSON_NULL: CHECK(other == NULL); break;
    case JSON_FALSE:
    case JSON_TRUE:
        CHECK(json_object_is_type(other, json_type_boolean) &&
              json_object_get_boolean(other) == (is->type == JSON_TRUE));
        break;
    case JSON_NUMBER: compare_number(json, token, other); break;
    case JSON_STRING:
        CHECK(json_object_is_type(other, json_type_string));
        compare_string(json, token, json_object_get_string((json_object *)(uintptr_t)other),
                       (size_t)json_object_get_string_len(other));
        break;
    case JSON_ARRAY: {
        CHECK(json_object_is_type(other, json_type_array) && is->members == json_object_array_length(other));
        uint32_t element = token + 1;
        for (uint32_t i = 0; i < is->members; i++, element = json->tokens[element].next)
            compare(json, element, json_object_array_get_idx(other, i));
        CHECK(element == is->next);
        break;
    }
    case JSON_OBJECT: compare_members(json, token, other); break;
    }
}

/* A NUL ends json-c's reading of names, so that two names may become one: those documents are not compared. */
static bool has_nul_escape(const uint8_t *data, size_t size)
{
    return memmem(data, size, "\\u0000", 6) != NULL;
}

/* json-c 0.16 takes code points above U+FFFF whose lower half looks like a surrogate (U+5DE0F) for one. */
static bool is_misread(const struct buf *text)
{
    for (size_t i = 0; i + 3 < text->size; i++) {
        const uint8_t *at = (const uint8_t *)text->data + i;
        uint32_t low = (uint32_t)(at[1] & 0x0f) << 12 | (uint32_t)(at[2] & 0x3f) << 6 | (at[3] & 0x3f);
        if (at[0] >= 0xf0 && low >= 0xd800 && low <= 0xdfff) return true;
    }
    return false;
}

static bool json_c_misreads(const struct json *json)
{
    struct buf text;
    bool misread = false;
    buf_init(&text, json->mem, MEM_OTHER);
    for (uint32_t i = 0; i < json->count && !misread; i++) {
        if (json->tokens[i].type != JSON_STRING || !json->tokens[i].escaped) continue;
        buf_clear(&text);
        json_unescape(json, i, &text);
        misread = is_misread(&text);
    }
    buf_fini(&text);
    return misread;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mem mem;
    struct json json;
    aic_error error = {0};
    mem_init(&mem, NULL);
    json_init(&json, &mem, MEM_OTHER);
    aic_status status = json_scan(&json, (aic_view){(const char *)data, size}, &error);
    CHECK(status == AIC_OK || (status == AIC_INVALID && error.message[0] != '\0' && json.count == 0));
    if (status == AIC_OK && !has_nul_escape(data, size) && !json_c_misreads(&json)) {
        json_tokener *tokener = json_tokener_new_ex(JSON_MAX_DEPTH + 8);
        CHECK(tokener != NULL);
        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
        json_object *other = json_tokener_parse_ex(tokener, (const char *)data, (int)size);
        enum json_tokener_error verdict = json_tokener_get_error(tokener);
        /* A number at the end may go on, as far as json-c knows: the NUL behind it ends it. */
        if (verdict == json_tokener_continue) other = json_tokener_parse_ex(tokener, "", 1);
        CHECK(json_tokener_get_error(tokener) == json_tokener_success);
        CHECK(json.tokens[0].next == json.count);
        compare(&json, 0, other);
        json_object_put(other);
        json_tokener_free(tokener);
    }
    json_fini(&json);
    mem_fini(&mem);
    return 0;
}
