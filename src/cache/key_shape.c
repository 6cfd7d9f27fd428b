#include "base/check.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "cache/key_form.h"

#include <endian.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * The shape of a request: u8 path size | path | u32 hash, leaf after leaf. A hash is XXH3 over the leaf's path and
 * canonical value with a seed derived from the secret: enough to say "this differs", too short to be a key, and not
 * comparable between stores with different secrets.
 *
 * A digest per leaf would cost half a microsecond each; this costs 50 ns and runs over a long text at 10 GB/s.
 */

enum { SHAPE_MAX = KEY_SHAPE_BYTES, PATH_MAX_BYTES = 255, HASH_BYTES = 4 };
static const char rest_path[] = "…";
enum { REST_BYTES = 1 + sizeof rest_path - 1 + HASH_BYTES };
static_assert(PATH_MAX_BYTES <= UINT8_MAX, "a path's size has one byte");
static_assert(1 + PATH_MAX_BYTES + HASH_BYTES + REST_BYTES <= (int)SHAPE_MAX, "the longest leaf fits beside the rest");

struct shape {
    struct mem *mem;
    struct buf *out;
    size_t start; /* of the shape in `out` */
    uint64_t seed;
    bool overflowed;
    XXH3_state_t leaf;
    XXH3_state_t rest; /* every leaf that did not fit */
};

static void hash_piece(void *context, const void *bytes, size_t size)
{
    (void)XXH3_64bits_update(context, bytes, size);
}

static void append_leaf(struct buf *out, const char *path, size_t size, uint64_t hash)
{
    CHECK(size <= PATH_MAX_BYTES);
    uint32_t low = htole32((uint32_t)hash);
    buf_append_byte(out, (char)(uint8_t)size);
    buf_append(out, path, size);
    buf_append(out, &low, sizeof low);
}

/* Begins a leaf: the state that its value goes into. */
static XXH3_state_t *begin_leaf(struct shape *shape, const char *path, size_t size)
{
    size_t used = shape->out->size - shape->start;
    if (used + 1 + size + HASH_BYTES > SHAPE_MAX - REST_BYTES) shape->overflowed = true;
    XXH3_state_t *state = shape->overflowed ? &shape->rest : &shape->leaf;
    if (!shape->overflowed) (void)XXH3_64bits_reset_withSeed(state, shape->seed);
    (void)XXH3_64bits_update(state, path, size + 1); /* with its NUL, so that path and value cannot run together */
    return state;
}

static void end_leaf(struct shape *shape, const char *path, size_t size)
{
    if (!shape->overflowed) append_leaf(shape->out, path, size, XXH3_64bits_digest(&shape->leaf));
}

static void add_text(struct shape *shape, const char *path, const struct key_text *text)
{
    if (key_text_absent(text)) return;
    struct key_form form = {.add = hash_piece, .mem = shape->mem};
    form.context = begin_leaf(shape, path, strlen(path));
    key_form_text(&form, text, NULL);
    end_leaf(shape, path, strlen(path));
}

static aic_status add_leaf(struct shape *shape, const struct json *json, uint32_t token, const struct key_step *step)
{
    char path[PATH_MAX_BYTES + 1];
    size_t size = key_path(step, path, sizeof path);
    struct key_form form = {.add = hash_piece, .mem = shape->mem};
    form.context = begin_leaf(shape, path, size);
    TRY(key_form_value(&form, json, token, step));
    end_leaf(shape, path, size);
    return AIC_OK;
}

static aic_status add_value(struct shape *shape, const struct json *json, uint32_t token, const struct key_step *step);

static aic_status add_elements(struct shape *shape, const struct json *json, uint32_t array,
                               const struct key_step *step)
{
    struct key_step inner = {.parent = step, .json = json, .name = UINT32_MAX};
    uint32_t token = array + 1;
    for (; inner.index < json->tokens[array].members; inner.index++, token = json->tokens[token].next)
        TRY(add_value(shape, json, token, &inner));
    return AIC_OK;
}

static aic_status add_members(struct shape *shape, const struct json *json, uint32_t object,
                              const struct key_step *step)
{
    struct key_members members;
    TRY(key_members_begin(&members, shape->mem, json, object));
    struct key_step inner = {.parent = step, .json = json};
    aic_status status = AIC_OK;
    for (uint32_t i = 0; i < json->tokens[object].members && status == AIC_OK; i++) {
        inner.name = key_members_at(&members, i);
        status = add_value(shape, json, inner.name + 1, &inner);
    }
    key_members_end(&members, shape->mem);
    return status;
}

/* Containers with something in them are walked; all else is a leaf. */
static aic_status add_value(struct shape *shape, const struct json *json, uint32_t token, const struct key_step *step)
{
    const struct json_token *value = &json->tokens[token];
    if (value->members == 0) return add_leaf(shape, json, token, step);
    return value->type == JSON_OBJECT ? add_members(shape, json, token, step) : add_elements(shape, json, token, step);
}

static aic_status shape_seed(struct digest *digest, uint64_t *seed)
{
    struct digest_message *message;
    aic_key key;
    TRY(digest_begin(digest, &message));
    digest_add(message, "aicache-shape-1;", 16);
    digest_end(&message, &key);
    memcpy(seed, key.bytes, sizeof *seed);
    *seed = le64toh(*seed);
    return AIC_OK;
}

aic_status key_shape(struct digest *digest, struct mem *mem, const struct key_request *request, struct buf *out)
{
    struct shape shape = {.mem = mem, .out = out, .start = out->size};
    TRY(shape_seed(digest, &shape.seed));
    (void)XXH3_64bits_reset_withSeed(&shape.rest, shape.seed);
    struct key_text operation = {.plain = request->operation};
    add_text(&shape, "operation", &operation);
    add_text(&shape, "text", &request->text);
    add_text(&shape, "question", &request->question);
    aic_status status = AIC_OK;
    const struct key_step root = {.root = "options"};
    if (request->options != NULL && request->options->tokens[request->options_token].members > 0)
        status = add_value(&shape, request->options, request->options_token, &root);
    struct key_text model = {.plain = request->model};
    if (model.plain.size > 0) add_text(&shape, "options.model", &model);
    if (shape.overflowed) append_leaf(out, rest_path, sizeof rest_path - 1, XXH3_64bits_digest(&shape.rest));
    CHECK(out->size - shape.start <= KEY_SHAPE_BYTES);
    if (status == AIC_OK) status = buf_status(out);
    if (status != AIC_OK) out->size = shape.start;
    return status;
}

/* ---- comparison ---- */

struct leaf {
    aic_view path;
    uint32_t hash;
};

/* Takes the leaf at the front of *shape; false at its end, or where it is cut. */
static bool take_leaf(aic_view *shape, struct leaf *leaf)
{
    if (shape->size == 0) return false;
    size_t path_size = (uint8_t)shape->data[0];
    size_t size = 1 + path_size + HASH_BYTES;
    if (shape->size < size) return false;
    leaf->path = (aic_view){shape->data + 1, path_size};
    memcpy(&leaf->hash, shape->data + 1 + path_size, HASH_BYTES);
    *shape = (aic_view){shape->data + size, shape->size - size};
    return true;
}

static bool has_leaf(aic_view shape, const struct leaf *wanted)
{
    struct leaf leaf;
    while (take_leaf(&shape, &leaf))
        if (leaf.hash == wanted->hash && leaf.path.size == wanted->path.size &&
            memcmp(leaf.path.data, wanted->path.data, leaf.path.size) == 0)
            return true;
    return false;
}

/* Counts the leaves of `from` that `in` has too; the first that it has not becomes *missing, unless there is one
 * already. */
static size_t count_common(aic_view from, aic_view in, aic_view *missing)
{
    struct leaf leaf;
    size_t same = 0;
    while (take_leaf(&from, &leaf)) {
        if (has_leaf(in, &leaf)) same++;
        else if (missing->size == 0) *missing = leaf.path;
    }
    return same;
}

void key_shape_compare(aic_view a, aic_view b, size_t *same, aic_view *first_difference)
{
    aic_view missing = {"", 0};
    *same = count_common(a, b, &missing);
    (void)count_common(b, a, &missing);
    *first_difference = missing;
}

/* ---- as text ---- */

aic_view key_shape_format(aic_view shape, char out[2 * KEY_SHAPE_BYTES])
{
    CHECK(shape.size <= KEY_SHAPE_BYTES);
    hex_write(shape.data, shape.size, out);
    return (aic_view){out, 2 * shape.size};
}

static bool is_shape(aic_view shape)
{
    struct leaf leaf;
    while (take_leaf(&shape, &leaf))
        if (!utf8_is_valid(leaf.path)) return false;
    return shape.size == 0;
}

aic_status key_shape_parse(aic_view digits, struct buf *out)
{
    if (digits.size % 2 != 0 || digits.size > 2 * KEY_SHAPE_BYTES) return AIC_INVALID;
    size_t size = digits.size / 2;
    char *bytes = buf_reserve(out, size);
    if (bytes == NULL) return AIC_NO_MEMORY;
    if (!hex_read(digits.data, size, bytes) || !is_shape((aic_view){bytes, size})) return AIC_INVALID;
    buf_commit(out, size);
    return AIC_OK;
}
