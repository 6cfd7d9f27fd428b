#include "cache/record.h"

#include "base/check.h"

#include <endian.h>
#include <math.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 *  0 "AIR" + version     4 u32 head size       8 u64 XXH3 of all that follows
 * 16 u64 created        24 u64 expires        32 u64 plain size          40 u64 text length
 * 48 u64 prompt tokens  56 u64 completion     64 f64 cost                72 u32 dictionary id
 * 76 u8 flags           77 u8 tag count       78 u16 shape size          80 u64 payload size
 * 88 u8 namespace size  89 u8 operation size  90 u8 model size           91 u40 of the response's XXH3
 * 96 u64 seq
 * 104 namespace | operation | model | tags, each u8 size + bytes | shape | payload
 */
enum {
    AT_MAGIC = 0,
    AT_HEAD_SIZE = 4,
    AT_CHECKSUM = 8,
    AT_CREATED = 16,
    AT_EXPIRES = 24,
    AT_PLAIN_SIZE = 32,
    AT_TEXT_LENGTH = 40,
    AT_PROMPT_TOKENS = 48,
    AT_COMPLETION_TOKENS = 56,
    AT_COST = 64,
    AT_DICTIONARY = 72,
    AT_FLAGS = 76,
    AT_TAG_COUNT = 77,
    AT_SHAPE_SIZE = 78,
    AT_PAYLOAD_SIZE = 80,
    AT_NAMESPACE_SIZE = 88,
    AT_OPERATION_SIZE = 89,
    AT_MODEL_SIZE = 90,
    AT_CONTENT = 91,
    AT_SEQ = 96,
    CONTENT_BYTES = AT_SEQ - AT_CONTENT,
    CHECKED_FROM = AT_CREATED,
    VERSION = 2,
    FLAG_COMPRESSED = 1,
};
static const char magic[3] = {'A', 'I', 'R'};

_Static_assert(AIC_MAX_NAME_BYTES <= 255, "a name's size is one byte");
static_assert(AIC_MAX_TAGS <= 255 && RECORD_MAX_SHAPE_BYTES <= UINT16_MAX, "their sizes fit the fields");
static_assert(AT_SEQ + sizeof(uint64_t) == RECORD_FIXED_BYTES, "the labels follow the last field");
static_assert(AT_CHECKSUM + sizeof(uint64_t) == CHECKED_FROM, "the checksum covers all that follows it");
static_assert(CONTENT_BYTES == 5, "content is a number of 40 bits");
_Static_assert(RECORD_MAX_HEAD_BYTES == RECORD_FIXED_BYTES + 3 * AIC_MAX_NAME_BYTES +
                                            AIC_MAX_TAGS * (1 + AIC_MAX_NAME_BYTES) + RECORD_MAX_SHAPE_BYTES,
               "the largest head has every label at its longest");
_Static_assert(TIER_MAX_LABELS >= 3 + AIC_MAX_TAGS, "every label of a record fits a description");

static void put_u64(char *at, uint64_t number)
{
    number = htole64(number);
    memcpy(at, &number, sizeof number);
}

static uint64_t get_u64(const char *at)
{
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return le64toh(number);
}

static void put_u32(char *at, uint32_t number)
{
    number = htole32(number);
    memcpy(at, &number, sizeof number);
}

static uint32_t get_u32(const char *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return le32toh(number);
}

static uint8_t get_u8(const char *at)
{
    return (uint8_t)*at;
}

static uint32_t get_u16(const char *at)
{
    return (uint32_t)get_u8(at) | (uint32_t)get_u8(at + 1) << 8;
}

/* ---- writing ---- */

static bool is_writable(const struct record *record)
{
    if (record->ns.size > AIC_MAX_NAME_BYTES || record->operation.size > AIC_MAX_NAME_BYTES ||
        record->model.size > AIC_MAX_NAME_BYTES || record->tag_count > AIC_MAX_TAGS ||
        record->shape.size > RECORD_MAX_SHAPE_BYTES || !isfinite(record->cost_usd))
        return false;
    if (!record->form.compressed && (record->form.dictionary_id != 0 || record->plain_bytes != record->payload.size))
        return false;
    for (size_t i = 0; i < record->tag_count; i++)
        if (record->tags[i].size > AIC_MAX_NAME_BYTES) return false;
    return true;
}

static size_t head_size_of(const struct record *record)
{
    size_t size = RECORD_FIXED_BYTES + record->ns.size + record->operation.size + record->model.size +
                  record->shape.size;
    for (size_t i = 0; i < record->tag_count; i++) size += 1 + record->tags[i].size;
    return size;
}

static char *put_view(char *at, aic_view view)
{
    if (view.size > 0) memcpy(at, view.data, view.size);
    return at + view.size;
}

static void put_fixed(char *head, const struct record *record, size_t head_size)
{
    memset(head, 0, RECORD_FIXED_BYTES);
    memcpy(head + AT_MAGIC, magic, sizeof magic);
    head[AT_MAGIC + sizeof magic] = VERSION;
    put_u32(head + AT_HEAD_SIZE, (uint32_t)head_size);
    put_u64(head + AT_SEQ, record->seq);
    put_u64(head + AT_CREATED, record->created_ms);
    put_u64(head + AT_EXPIRES, record->expires_ms);
    put_u64(head + AT_PLAIN_SIZE, record->plain_bytes);
    put_u64(head + AT_TEXT_LENGTH, record->text_length);
    put_u64(head + AT_PROMPT_TOKENS, record->prompt_tokens);
    put_u64(head + AT_COMPLETION_TOKENS, record->completion_tokens);
    uint64_t cost;
    memcpy(&cost, &record->cost_usd, sizeof cost);
    put_u64(head + AT_COST, cost);
    put_u32(head + AT_DICTIONARY, record->form.dictionary_id);
    head[AT_FLAGS] = record->form.compressed ? FLAG_COMPRESSED : 0;
    head[AT_TAG_COUNT] = (char)record->tag_count;
    head[AT_SHAPE_SIZE] = (char)(uint8_t)(record->shape.size & 0xff);
    head[AT_SHAPE_SIZE + 1] = (char)(uint8_t)(record->shape.size >> 8);
    put_u64(head + AT_PAYLOAD_SIZE, record->payload.size);
    head[AT_NAMESPACE_SIZE] = (char)(uint8_t)record->ns.size;
    head[AT_OPERATION_SIZE] = (char)(uint8_t)record->operation.size;
    head[AT_MODEL_SIZE] = (char)(uint8_t)record->model.size;
    for (size_t i = 0; i < CONTENT_BYTES; i++) head[AT_CONTENT + i] = (char)(uint8_t)(record->content >> 8 * i);
}

static uint64_t seed_of(const aic_key *key)
{
    return XXH3_64bits(key->bytes, sizeof key->bytes);
}

static uint64_t checksum_of(const aic_key *key, aic_view head, aic_view payload)
{
    uint64_t seed = seed_of(key);
    if (payload.size == 0) return XXH3_64bits_withSeed(head.data + CHECKED_FROM, head.size - CHECKED_FROM, seed);
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    (void)XXH3_64bits_reset_withSeed(&state, seed);
    (void)XXH3_64bits_update(&state, head.data + CHECKED_FROM, head.size - CHECKED_FROM);
    (void)XXH3_64bits_update(&state, payload.data, payload.size);
    return XXH3_64bits_digest(&state);
}

aic_status record_write_head(const struct record *record, const aic_key *key, struct buf *out)
{
    if (!is_writable(record)) return AIC_INVALID;
    size_t size = head_size_of(record);
    char *head = buf_reserve(out, size);
    if (head == NULL) return AIC_NO_MEMORY;
    put_fixed(head, record, size);
    char *at = head + RECORD_FIXED_BYTES;
    at = put_view(at, record->ns);
    at = put_view(at, record->operation);
    at = put_view(at, record->model);
    for (size_t i = 0; i < record->tag_count; i++) {
        *at++ = (char)(uint8_t)record->tags[i].size;
        at = put_view(at, record->tags[i]);
    }
    at = put_view(at, record->shape);
    CHECK((size_t)(at - head) == size);
    put_u64(head + AT_CHECKSUM, checksum_of(key, (aic_view){head, size}, record->payload));
    buf_commit(out, size);
    return AIC_OK;
}

/* ---- reading ---- */

/* AIC_OK when `bytes` begin like a record of this version. */
static aic_status check_front(aic_view bytes)
{
    if (bytes.size < RECORD_FIXED_BYTES || memcmp(bytes.data, magic, sizeof magic) != 0) return AIC_DAMAGED;
    uint8_t version = get_u8(bytes.data + AT_MAGIC + sizeof magic);
    if (version > VERSION) return AIC_NEWER;
    uint32_t head_size = get_u32(bytes.data + AT_HEAD_SIZE);
    bool sound = version == VERSION && head_size >= RECORD_FIXED_BYTES && head_size <= RECORD_MAX_HEAD_BYTES;
    return sound ? AIC_OK : AIC_DAMAGED;
}

size_t record_head_size(aic_view bytes)
{
    return check_front(bytes) == AIC_OK ? get_u32(bytes.data + AT_HEAD_SIZE) : 0;
}

/* Takes `size` bytes from the front of *rest. */
static aic_status take_view(aic_view *rest, size_t size, size_t max, aic_view *out)
{
    if (size > max || size > rest->size) return AIC_DAMAGED;
    *out = (aic_view){rest->data, size};
    *rest = (aic_view){rest->data + size, rest->size - size};
    return AIC_OK;
}

static aic_status take_labels(aic_view *rest, const char *head, struct record *record)
{
    TRY(take_view(rest, get_u8(head + AT_NAMESPACE_SIZE), AIC_MAX_NAME_BYTES, &record->ns));
    TRY(take_view(rest, get_u8(head + AT_OPERATION_SIZE), AIC_MAX_NAME_BYTES, &record->operation));
    TRY(take_view(rest, get_u8(head + AT_MODEL_SIZE), AIC_MAX_NAME_BYTES, &record->model));
    record->tag_count = get_u8(head + AT_TAG_COUNT);
    if (record->tag_count > AIC_MAX_TAGS) return AIC_DAMAGED;
    for (size_t i = 0; i < record->tag_count; i++) {
        aic_view size;
        TRY(take_view(rest, 1, 1, &size));
        TRY(take_view(rest, get_u8(size.data), AIC_MAX_NAME_BYTES, &record->tags[i]));
    }
    TRY(take_view(rest, get_u16(head + AT_SHAPE_SIZE), RECORD_MAX_SHAPE_BYTES, &record->shape));
    return rest->size == 0 ? AIC_OK : AIC_DAMAGED;
}

static aic_status take_fixed(const char *head, struct record *record)
{
    uint8_t flags = get_u8(head + AT_FLAGS);
    if ((flags & ~FLAG_COMPRESSED) != 0) return AIC_DAMAGED;
    record->seq = get_u64(head + AT_SEQ);
    record->created_ms = get_u64(head + AT_CREATED);
    record->expires_ms = get_u64(head + AT_EXPIRES);
    record->plain_bytes = get_u64(head + AT_PLAIN_SIZE);
    record->text_length = get_u64(head + AT_TEXT_LENGTH);
    record->prompt_tokens = get_u64(head + AT_PROMPT_TOKENS);
    record->completion_tokens = get_u64(head + AT_COMPLETION_TOKENS);
    uint64_t cost = get_u64(head + AT_COST);
    memcpy(&record->cost_usd, &cost, sizeof cost);
    for (size_t i = 0; i < CONTENT_BYTES; i++) record->content |= (uint64_t)get_u8(head + AT_CONTENT + i) << 8 * i;
    record->form = (struct codec_form){(flags & FLAG_COMPRESSED) != 0, get_u32(head + AT_DICTIONARY)};
    uint64_t payload_size = get_u64(head + AT_PAYLOAD_SIZE);
    if (!isfinite(record->cost_usd) || payload_size > SIZE_MAX / 2) return AIC_DAMAGED;
    record->payload = (aic_view){NULL, (size_t)payload_size};
    if (!record->form.compressed && (record->form.dictionary_id != 0 || record->plain_bytes != payload_size))
        return AIC_DAMAGED;
    return AIC_OK;
}

aic_status record_read(aic_view bytes, struct record *record)
{
    TRY(check_front(bytes));
    size_t head_size = get_u32(bytes.data + AT_HEAD_SIZE);
    if (bytes.size < head_size) return AIC_DAMAGED;
    struct record found;
    memset(&found, 0, offsetof(struct record, tags));
    TRY(take_fixed(bytes.data, &found));
    aic_view rest = {bytes.data + RECORD_FIXED_BYTES, head_size - RECORD_FIXED_BYTES};
    TRY(take_labels(&rest, bytes.data, &found));
    size_t behind = bytes.size - head_size;
    if (behind > found.payload.size) return AIC_DAMAGED;
    if (behind == found.payload.size) found.payload.data = bytes.data + head_size;
    memcpy(record, &found, offsetof(struct record, tags) + found.tag_count * sizeof found.tags[0]);
    return AIC_OK;
}

uint64_t record_content(aic_view response, uint64_t number)
{
    return (XXH3_64bits(response.data, response.size) + number) & ((UINT64_C(1) << 8 * CONTENT_BYTES) - 1);
}

aic_status record_check(const aic_key *key, aic_view bytes)
{
    size_t head_size = record_head_size(bytes);
    if (head_size == 0 || bytes.size < head_size) return AIC_DAMAGED;
    if (bytes.size - head_size != get_u64(bytes.data + AT_PAYLOAD_SIZE)) return AIC_DAMAGED;
    uint64_t checksum = XXH3_64bits_withSeed(bytes.data + CHECKED_FROM, bytes.size - CHECKED_FROM, seed_of(key));
    return checksum == get_u64(bytes.data + AT_CHECKSUM) ? AIC_OK : AIC_DAMAGED;
}

aic_status record_take(const aic_key *key, aic_view bytes, struct record *record)
{
    TRY(check_front(bytes));
    TRY(record_check(key, bytes));
    return record_read(bytes, record);
}

static void describe_label(struct tier_description *description, enum label_kind kind, aic_view value)
{
    description->labels[description->label_count++] = (struct tier_label){(uint8_t)kind, value};
}

aic_status record_describe(void *context, aic_view bytes, struct tier_description *out)
{
    (void)context;
    struct record record;
    TRY(record_read(bytes, &record));
    out->seq = record.seq;
    out->created_ms = record.created_ms;
    out->expires_ms = record.expires_ms;
    out->label_count = 0;
    describe_label(out, LABEL_NAMESPACE, record.ns);
    describe_label(out, LABEL_OPERATION, record.operation);
    if (record.model.size > 0) describe_label(out, LABEL_MODEL, record.model);
    for (size_t i = 0; i < record.tag_count; i++) describe_label(out, LABEL_TAG, record.tags[i]);
    return AIC_OK;
}
