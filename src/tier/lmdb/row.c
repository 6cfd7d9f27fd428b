#include "tier/lmdb/inner.h"

#include "base/check.h"
#include "base/view.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

_Static_assert(LMDB_ENVELOPE_BYTES + 8 * TIER_MAX_LABELS < LMDB_PIECE_BYTES, "an envelope fits into the entry");
_Static_assert(TIER_MAX_LABELS <= UINT8_MAX, "the label count is one byte");

enum { MAX_LABEL_BYTES = 128 };

void lmdb_put_u32(uint8_t *out, uint32_t number)
{
    number = htole32(number);
    memcpy(out, &number, sizeof number);
}

void lmdb_put_u64(uint8_t *out, uint64_t number)
{
    number = htole64(number);
    memcpy(out, &number, sizeof number);
}

uint32_t lmdb_take_u32(const uint8_t *bytes)
{
    uint32_t number;
    memcpy(&number, bytes, sizeof number);
    return le32toh(number);
}

uint64_t lmdb_take_u64(const uint8_t *bytes)
{
    uint64_t number;
    memcpy(&number, bytes, sizeof number);
    return le64toh(number);
}

/* Both sizes precede the bytes, so that no two (partition, kind, value) are spelled the same. */
uint64_t lmdb_label_id(aic_view partition, const struct tier_label *label)
{
    uint8_t text[3 + 2 * MAX_LABEL_BYTES];
    CHECK(partition.size <= MAX_LABEL_BYTES && label->value.size <= MAX_LABEL_BYTES);
    text[0] = label->kind;
    text[1] = (uint8_t)partition.size;
    text[2] = (uint8_t)label->value.size;
    if (partition.size > 0) memcpy(text + 3, partition.data, partition.size);
    if (label->value.size > 0) memcpy(text + 3 + partition.size, label->value.data, label->value.size);
    return XXH3_64bits(text, 3 + partition.size + label->value.size);
}

/* Keeps the ids ascending and distinct; there are at most a few dozen. */
static void add_label(struct lmdb_envelope *envelope, uint64_t id)
{
    size_t at = envelope->label_count;
    while (at > 0 && envelope->labels[at - 1] > id) at--;
    if (at > 0 && envelope->labels[at - 1] == id) return;
    memmove(&envelope->labels[at + 1], &envelope->labels[at],
            (envelope->label_count - at) * sizeof envelope->labels[0]);
    envelope->labels[at] = id;
    envelope->label_count++;
}

aic_status lmdb_envelope_make(const aic_key *key, const struct tier_description *description, uint64_t record_bytes,
                              struct lmdb_envelope *out)
{
    if (description->label_count > TIER_MAX_LABELS) return AIC_INVALID;
    for (size_t i = 0; i < description->label_count; i++) {
        if (description->labels[i].value.size > MAX_LABEL_BYTES) return AIC_INVALID;
    }
    aic_view partition = {NULL, 0};
    if (description->label_count > 0 && description->labels[0].kind == 0) partition = description->labels[0].value;
    out->key = *key;
    out->seq = description->seq;
    out->created_ms = description->created_ms;
    out->expires_ms = description->expires_ms;
    out->record_bytes = record_bytes;
    out->label_count = 0;
    for (size_t i = 0; i < description->label_count; i++) {
        add_label(out, lmdb_label_id(partition, &description->labels[i]));
    }
    return AIC_OK;
}

size_t lmdb_envelope_size(const struct lmdb_envelope *envelope)
{
    return LMDB_ENVELOPE_BYTES + 8 * envelope->label_count;
}

bool lmdb_has_label(const struct lmdb_envelope *envelope, uint64_t label)
{
    for (size_t i = 0; i < envelope->label_count; i++) {
        if (envelope->labels[i] == label) return true;
    }
    return false;
}

enum { AT_CHECK = 4, AT_KEY = 8, AT_SEQ = 40, AT_CREATED = 48, AT_EXPIRES = 56, AT_RECORD_BYTES = 64 };

/* The count of labels is the size's, the version is compared: what is not covered can be nothing else. */
static uint32_t envelope_check(const uint8_t *bytes, size_t size, uint64_t row)
{
    return (uint32_t)XXH3_64bits_withSeed(bytes + AT_KEY, size - AT_KEY, row);
}

uint32_t lmdb_envelope_write(const struct lmdb_envelope *envelope, uint64_t row, uint8_t *out)
{
    size_t size = lmdb_envelope_size(envelope);
    memset(out, 0, AT_KEY);
    out[0] = LMDB_ENVELOPE_VERSION;
    out[1] = (uint8_t)envelope->label_count;
    memcpy(out + AT_KEY, envelope->key.bytes, AIC_KEY_BYTES);
    lmdb_put_u64(out + AT_SEQ, envelope->seq);
    lmdb_put_u64(out + AT_CREATED, envelope->created_ms);
    lmdb_put_u64(out + AT_EXPIRES, envelope->expires_ms);
    lmdb_put_u64(out + AT_RECORD_BYTES, envelope->record_bytes);
    for (size_t i = 0; i < envelope->label_count; i++)
        lmdb_put_u64(out + LMDB_ENVELOPE_BYTES + 8 * i, envelope->labels[i]);
    uint32_t check = envelope_check(out, size, row);
    lmdb_put_u32(out + AT_CHECK, check);
    return check;
}

aic_status lmdb_envelope_read(MDB_val value, uint64_t row, struct lmdb_envelope *out, size_t *size, uint32_t *check)
{
    const uint8_t *bytes = value.mv_data;
    if (value.mv_size < LMDB_ENVELOPE_BYTES || bytes[0] != LMDB_ENVELOPE_VERSION || bytes[1] > TIER_MAX_LABELS ||
        bytes[2] != 0 || bytes[3] != 0) {
        return AIC_DAMAGED;
    }
    size_t whole = LMDB_ENVELOPE_BYTES + 8 * (size_t)bytes[1];
    *check = lmdb_take_u32(bytes + AT_CHECK);
    if (value.mv_size < whole || envelope_check(bytes, whole, row) != *check) return AIC_DAMAGED;
    memcpy(out->key.bytes, bytes + AT_KEY, AIC_KEY_BYTES);
    out->seq = lmdb_take_u64(bytes + AT_SEQ);
    out->created_ms = lmdb_take_u64(bytes + AT_CREATED);
    out->expires_ms = lmdb_take_u64(bytes + AT_EXPIRES);
    out->record_bytes = lmdb_take_u64(bytes + AT_RECORD_BYTES);
    out->label_count = bytes[1];
    for (size_t i = 0; i < out->label_count; i++) out->labels[i] = lmdb_take_u64(bytes + LMDB_ENVELOPE_BYTES + 8 * i);
    *size = whole;
    return value.mv_size - whole == lmdb_inline_bytes(out) ? AIC_OK : AIC_DAMAGED;
}

uint64_t lmdb_rank(const struct lmdb_envelope *envelope)
{
    const uint64_t never = (uint64_t)1 << 63;
    if (envelope->expires_ms == 0) return never | envelope->seq;
    return envelope->expires_ms < never ? envelope->expires_ms : never - 1;
}

struct lmdb_front lmdb_front_of(const aic_key *key)
{
    struct lmdb_front front;
    memcpy(front.bytes, key->bytes, sizeof front.bytes);
    return front;
}

struct lmdb_number_row lmdb_number_row(uint64_t number)
{
    struct lmdb_number_row out;
    number = htobe64(number);
    memcpy(out.bytes, &number, sizeof number);
    return out;
}

struct lmdb_expiry_row lmdb_expiry_row(uint64_t rank, uint64_t row)
{
    struct lmdb_expiry_row out;
    rank = htobe64(rank);
    row = htobe64(row);
    memcpy(out.bytes, &rank, sizeof rank);
    memcpy(out.bytes + 8, &row, sizeof row);
    return out;
}

struct lmdb_chunk_row lmdb_chunk_row(uint64_t row, uint32_t index)
{
    struct lmdb_chunk_row out;
    row = htobe64(row);
    index = htobe32(index);
    memcpy(out.bytes, &row, sizeof row);
    memcpy(out.bytes + 8, &index, sizeof index);
    return out;
}

struct lmdb_place lmdb_place(uint64_t row, uint32_t check)
{
    struct lmdb_place out;
    row = htobe64(row);
    memcpy(out.bytes, &row, sizeof row);
    lmdb_put_u32(out.bytes + 8, check);
    return out;
}

uint64_t lmdb_row_number(const void *row)
{
    uint64_t number;
    memcpy(&number, row, sizeof number);
    return be64toh(number);
}

size_t lmdb_inline_bytes(const struct lmdb_envelope *envelope)
{
    size_t room = LMDB_PIECE_BYTES - lmdb_envelope_size(envelope);
    return envelope->record_bytes < room ? (size_t)envelope->record_bytes : room;
}

uint32_t lmdb_chunk_count(const struct lmdb_envelope *envelope)
{
    uint64_t rest = envelope->record_bytes - lmdb_inline_bytes(envelope);
    return (uint32_t)((rest + LMDB_PIECE_BYTES - 1) / LMDB_PIECE_BYTES);
}

bool lmdb_front_next(aic_key *key)
{
    memset(key->bytes + LMDB_FRONT_BYTES, 0xff, AIC_KEY_BYTES - LMDB_FRONT_BYTES);
    return key_next(key);
}

uint64_t lmdb_named_check(aic_view name, const void *bytes, size_t size)
{
    return XXH3_64bits_withSeed(bytes, size, XXH3_64bits(name.data, name.size));
}
