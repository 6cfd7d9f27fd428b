#include "cache/key.h"

#include "base/check.h"
#include "base/decimal.h"
#include "base/status.h"
#include "base/utf8.h"
#include "cache/key_form.h"

#include <stdio.h>
#include <string.h>

static void add_bytes(const struct key_form *form, const void *bytes, size_t size)
{
    if (size > 0) form->add(form->context, bytes, size);
}

/* A letter, a decimal number, a mark: "s12:". */
static void add_head(const struct key_form *form, char letter, uint64_t number, char mark)
{
    char head[1 + DECIMAL_BYTES + 1], *end = head + sizeof head - 1;
    *end = mark;
    char *first = decimal_before(end, number);
    *--first = letter;
    add_bytes(form, first, (size_t)(end + 1 - first));
}

/* ---- paths ---- */

static size_t write_step(const struct key_step *step, char *out, size_t max)
{
    size_t size = step->parent != NULL ? write_step(step->parent, out, max) : 0;
    char part[16];
    if (size == max) return size;
    if (step->root != NULL || step->name == UINT32_MAX) {
        if (step->root == NULL) snprintf(part, sizeof part, "[%u]", step->index);
        const char *text = step->root != NULL ? step->root : part;
        size_t length = strlen(text) < max - size ? strlen(text) : max - size;
        memcpy(out + size, text, length);
        return size + length;
    }
    out[size++] = '.';
    return size + json_unescape_front(step->json, step->name, (uint8_t *)out + size, max - size);
}

size_t key_path(const struct key_step *step, char *out, size_t max)
{
    static const char ellipsis[] = "…";
    CHECK(max >= 2 * sizeof ellipsis);
    size_t size = write_step(step, out, max);
    if (size >= max) {
        size = utf8_fit((aic_view){out, max}, max - sizeof ellipsis);
        memcpy(out + size, ellipsis, sizeof ellipsis - 1);
        size += sizeof ellipsis - 1;
    }
    out[size] = '\0';
    return size;
}

/* ---- members in order ---- */

aic_status key_members_begin(struct key_members *members, struct mem *mem, const struct json *json, uint32_t object)
{
    size_t count = json->tokens[object].members;
    members->cells = members->few;
    members->bytes = 0;
    if (count > KEY_FEW_MEMBERS) {
        members->bytes = 2 * count * sizeof *members->cells;
        members->cells = mem_alloc(mem, MEM_CACHE, members->bytes);
        if (members->cells == NULL) return AIC_NO_MEMORY;
    }
    json_order_members(json, object, members->cells);
    return AIC_OK;
}

void key_members_end(struct key_members *members, struct mem *mem)
{
    if (members->bytes > 0) mem_free(mem, MEM_CACHE, members->cells, members->bytes);
}

/* ---- values ---- */

static void add_plain_string(const struct key_form *form, aic_view text)
{
    add_head(form, 's', text.size, ':');
    add_bytes(form, text.data, text.size);
}

/* An escaped string is crossed twice, for its length and for its bytes; that is cheaper than a copy and needs no
 * memory. */
static void add_string_token(const struct key_form *form, const struct json *json, uint32_t token, uint64_t *points)
{
    uint64_t bytes;
    json_measure(json, token, &bytes, points);
    add_head(form, 's', bytes, ':');
    json_unescape_pieces(json, token, form->add, form->context);
}

bool key_text_absent(const struct key_text *text)
{
    return text->json == NULL && text->plain.data == NULL;
}

void key_form_text(const struct key_form *form, const struct key_text *text, uint64_t *points)
{
    if (text->json != NULL) {
        add_string_token(form, text->json, text->token, points);
        return;
    }
    add_plain_string(form, text->plain);
    if (points != NULL) *points = text->plain.size > 0 ? utf8_count(text->plain.data, text->plain.size) : 0;
}

/* "d-15e3;": sign, digits without zeros at either end, power of ten. */
static aic_status add_number(const struct key_form *form, const struct json *json, uint32_t token,
                             const struct key_step *step)
{
    struct json_decimal decimal;
    if (json_decimal(json, token, &decimal) != AIC_OK) {
        char path[sizeof form->error->field];
        key_path(step, path, sizeof path);
        return error_set(form->error, AIC_INVALID, path, "the exponent of a number must fit 64 bits");
    }
    if (decimal.count == 0) {
        add_bytes(form, "d0e0;", 5);
        return AIC_OK;
    }
    add_bytes(form, "d-", decimal.negative ? 2 : 1);
    const char *at = decimal.digits.data;
    const char *end = at + decimal.digits.size;
    const char *point = memchr(at, '.', decimal.digits.size);
    if (point != NULL) {
        add_bytes(form, at, (size_t)(point - at));
        at = point + 1;
    }
    add_bytes(form, at, (size_t)(end - at));
    bool negative = decimal.exponent < 0;
    if (negative) add_bytes(form, "e", 1);
    add_head(form, negative ? '-' : 'e', negative ? 0 - (uint64_t)decimal.exponent : (uint64_t)decimal.exponent, ';');
    return AIC_OK;
}

static aic_status add_array(const struct key_form *form, const struct json *json, uint32_t array,
                            const struct key_step *step)
{
    uint32_t count = json->tokens[array].members;
    add_head(form, 'a', count, ':');
    struct key_step inner = {.parent = step, .json = json, .name = UINT32_MAX};
    uint32_t token = array + 1;
    for (; inner.index < count; inner.index++, token = json->tokens[token].next)
        TRY(key_form_value(form, json, token, &inner));
    return AIC_OK;
}

static void add_model(const struct key_form *form, aic_view model)
{
    add_plain_string(form, AIC_LITERAL("model"));
    add_plain_string(form, model);
}

/* Does this member come behind one of the name "model"? */
static bool follows_model(const struct json *json, uint32_t name)
{
    uint8_t front[6];
    size_t size = json_unescape_front(json, name, front, sizeof front);
    int order = memcmp(front, "model", size < 5 ? size : 5);
    return order > 0 || (order == 0 && size > 5);
}

/* `model` is one member more, in its place; empty: none. */
static aic_status add_object(const struct key_form *form, const struct json *json, uint32_t object,
                             const struct key_step *step, aic_view model)
{
    uint32_t count = json->tokens[object].members;
    struct key_members members;
    if (key_members_begin(&members, form->mem, json, object) != AIC_OK)
        return error_set(form->error, AIC_NO_MEMORY, NULL, "not enough memory to order the members of an object");
    bool due = model.size > 0;
    add_head(form, 'o', (uint64_t)count + due, ':');
    struct key_step inner = {.parent = step, .json = json};
    aic_status status = AIC_OK;
    for (uint32_t i = 0; i < count && status == AIC_OK; i++) {
        inner.name = key_members_at(&members, i);
        if (due && follows_model(json, inner.name)) {
            add_model(form, model);
            due = false;
        }
        add_string_token(form, json, inner.name, NULL);
        status = key_form_value(form, json, inner.name + 1, &inner);
    }
    if (due) add_model(form, model);
    key_members_end(&members, form->mem);
    return status;
}

aic_status key_form_value(const struct key_form *form, const struct json *json, uint32_t token,
                          const struct key_step *step)
{
    switch ((enum json_kind)json->tokens[token].type) {
    case JSON_NULL: add_bytes(form, "n", 1); return AIC_OK;
    case JSON_FALSE: add_bytes(form, "f", 1); return AIC_OK;
    case JSON_TRUE: add_bytes(form, "t", 1); return AIC_OK;
    case JSON_NUMBER: return add_number(form, json, token, step);
    case JSON_STRING: add_string_token(form, json, token, NULL); return AIC_OK;
    case JSON_ARRAY: return add_array(form, json, token, step);
    case JSON_OBJECT: return add_object(form, json, token, step, (aic_view){NULL, 0});
    }
    return AIC_INTERNAL;
}

/* ---- the request ---- */

static aic_status check_text(const struct key_text *text, const char *field, aic_error *error)
{
    if (text->json != NULL || utf8_is_valid(text->plain)) return AIC_OK;
    return error_set(error, AIC_INVALID, field, "the text is not UTF-8: byte %zu begins no valid sequence",
                     utf8_valid_bytes(text->plain));
}

static aic_status form_options(const struct key_form *form, const struct key_request *request)
{
    const struct key_step root = {.root = "options"};
    bool given = request->options != NULL && request->options->tokens[request->options_token].type != JSON_NULL;
    if (given) return add_object(form, request->options, request->options_token, &root, request->model);
    add_head(form, 'o', request->model.size > 0, ':');
    if (request->model.size > 0) add_model(form, request->model);
    return AIC_OK;
}

static aic_status form_request(const struct key_form *form, const struct key_request *request, uint64_t *points)
{
    TRY(check_text(&request->text, "text", form->error));
    TRY(check_text(&request->question, "question", form->error));
    add_bytes(form, KEY_FORM_TAG, sizeof KEY_FORM_TAG - 1);
    add_plain_string(form, request->ns);
    add_plain_string(form, request->operation);
    key_form_text(form, &request->text, points);
    TRY(form_options(form, request));
    if (key_text_absent(&request->question)) add_bytes(form, "n", 1);
    else key_form_text(form, &request->question, NULL);
    return AIC_OK;
}

static void digest_piece(void *context, const void *bytes, size_t size)
{
    digest_add(context, bytes, size);
}

aic_status key_compute(struct digest *digest, struct mem *mem, const struct key_request *request, aic_key *out,
                       uint64_t *text_length, aic_error *error)
{
    struct digest_message *message;
    if (digest_begin(digest, &message) != AIC_OK)
        return error_set(error, AIC_NO_MEMORY, NULL, "not enough memory to make a key");
    struct key_form form = {.add = digest_piece, .context = message, .mem = mem, .error = error};
    uint64_t points = 0;
    aic_status status = form_request(&form, request, &points);
    if (status != AIC_OK) {
        digest_cancel(&message);
        return status;
    }
    digest_end(&message, out);
    if (text_length != NULL) *text_length = points;
    return AIC_OK;
}

static void buf_piece(void *context, const void *bytes, size_t size)
{
    buf_append(context, bytes, size);
}

aic_status key_canonical(struct mem *mem, const struct key_request *request, struct buf *out, aic_error *error)
{
    size_t before = out->size;
    struct key_form form = {.add = buf_piece, .context = out, .mem = mem, .error = error};
    aic_status status = form_request(&form, request, NULL);
    if (status == AIC_OK && buf_status(out) != AIC_OK)
        status = error_set(error, AIC_NO_MEMORY, NULL, "not enough memory for the canonical form");
    if (status != AIC_OK) out->size = before;
    return status;
}
