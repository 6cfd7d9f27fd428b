/*
 * fuzz_key.c - the canonical form of any options. It can be read back: what is read, written as JSON with its members
 * in reverse, has the same form and the same key. So nothing of a request is lost in its form, and no other spelling of
 * the same request has another one.
 */
#include "base/check.h"
#include "base/utf8.h"
#include "cache/key.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TEXT_MAX = 16384 };

static struct mem mem;
static struct digest *digest;

/* Reads "s12:" or the like at *at: the number; *at moves behind the colon. */
static size_t take_count(const char **at)
{
    size_t count = 0;
    for (++*at; **at != ':'; ++*at) count = count * 10 + (size_t)(**at - '0');
    ++*at;
    return count;
}

static const char *skip(const char *at)
{
    const char letter = *at;
    if (letter == 'd') return strchr(at, ';') + 1;
    if (letter != 's' && letter != 'a' && letter != 'o') return at + 1;
    size_t count = take_count(&at);
    if (letter == 's') return at + count;
    for (size_t i = 0; i < (letter == 'o' ? 2 * count : count); i++) at = skip(at);
    return at;
}

static void write_value(const char *at, struct buf *out);

/* Members from the last to the first. */
static void write_members(const char *at, size_t left, struct buf *out)
{
    const char *value = skip(at);
    if (left > 1) {
        write_members(skip(value), left - 1, out);
        buf_append_text(out, " ,\n");
    }
    write_value(at, out);
    buf_append_text(out, " :\t");
    write_value(value, out);
}

static void write_value(const char *at, struct buf *out)
{
    char letter = *at;
    size_t count;
    switch (letter) {
    case 'n':
    case 't':
    case 'f': buf_append_text(out, letter == 'n' ? "null" : letter == 't' ? "true" : "false"); break;
    case 'd': buf_append(out, at + 1, (size_t)(strchr(at, ';') - at - 1)); break;
    case 's':
        count = take_count(&at);
        json_write_string(out, (aic_view){at, count});
        break;
    case 'a':
        buf_append_byte(out, '[');
        count = take_count(&at);
        for (size_t i = 0; i < count; i++, at = skip(at)) {
            if (i > 0) buf_append_byte(out, ',');
            write_value(at, out);
        }
        buf_append_byte(out, ']');
        break;
    default:
        CHECK(letter == 'o');
        buf_append_byte(out, '{');
        count = take_count(&at);
        if (count > 0) write_members(at, count, out);
        buf_append_byte(out, '}');
    }
}

static struct key_request request_of(const struct json *options)
{
    return (struct key_request){.ns = AIC_LITERAL("default"),
                                .operation = AIC_LITERAL("qa"),
                                .text = {.plain = AIC_LITERAL("t")},
                                .options = options};
}

static void check_form(const struct json *options, const struct buf *form)
{
    static const char front[] = "aicache-key-1;s7:defaults2:qas1:t";
    struct buf text;
    struct buf second;
    struct json again;
    aic_key one;
    aic_key other;
    buf_init(&text, &mem, MEM_OTHER);
    buf_init(&second, &mem, MEM_OTHER);
    json_init(&again, &mem, MEM_OTHER);
    CHECK(memcmp(form->data, front, sizeof front - 1) == 0);
    CHECK(skip(form->data + sizeof front - 1) == form->data + form->size - 2 && form->data[form->size - 2] == 'n');
    write_value(form->data + sizeof front - 1, &text);
    CHECK(json_scan(&again, buf_view(&text), NULL) == AIC_OK);
    struct key_request first = request_of(options);
    struct key_request reread = request_of(&again);
    CHECK(key_canonical(&mem, &reread, &second, NULL) == AIC_OK);
    CHECK(second.size + 1 == form->size && memcmp(second.data, form->data, second.size) == 0);
    CHECK(key_compute(digest, &mem, &first, &one, NULL, NULL) == AIC_OK);
    CHECK(key_compute(digest, &mem, &reread, &other, NULL, NULL) == AIC_OK);
    CHECK(memcmp(&one, &other, sizeof one) == 0);
    json_fini(&again);
    buf_fini(&second);
    buf_fini(&text);
}

static void check_shape(const struct json *options)
{
    struct buf shape;
    size_t same;
    aic_view difference;
    buf_init(&shape, &mem, MEM_OTHER);
    struct key_request request = request_of(options);
    CHECK(key_shape(digest, &mem, &request, &shape) == AIC_OK);
    CHECK(shape.size <= 512);
    key_shape_compare(buf_view(&shape), buf_view(&shape), &same, &difference);
    CHECK(difference.size == 0 && same >= 2);
    buf_fini(&shape);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > TEXT_MAX) return 0;
    if (digest == NULL) {
        mem_init(&mem, NULL);
        CHECK(digest_create(&mem, "0123456789abcdef", 16, &digest) == AIC_OK);
    }
    struct json json;
    struct buf form;
    aic_error error = {0};
    json_init(&json, &mem, MEM_OTHER);
    buf_init(&form, &mem, MEM_OTHER);
    /* Shapes come from the store and may be anything. */
    size_t same;
    aic_view difference;
    aic_view any = {(const char *)data, size / 2};
    key_shape_compare(any, (aic_view){any.data + any.size, size - any.size}, &same, &difference);
    if (json_scan(&json, (aic_view){(const char *)data, size}, NULL) == AIC_OK && json.tokens[0].type == JSON_OBJECT) {
        struct key_request request = request_of(&json);
        aic_status status = key_canonical(&mem, &request, &form, &error);
        CHECK(status == AIC_OK || (status == AIC_INVALID && strncmp(error.field, "options", 7) == 0));
        if (status == AIC_OK) {
            buf_append_byte(&form, '\0');
            CHECK(utf8_is_valid(buf_view(&form)));
            check_form(&json, &form);
            check_shape(&json);
        }
    }
    buf_fini(&form);
    json_fini(&json);
    return 0;
}
