#include "tier/lmdb_tier.h"

#include "base/check.h"

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

aic_status lmdb_envelope_make(const struct tier_description *description, uint64_t record_bytes,
                              struct lmdb_envelope *out)
{
    if (description->label_count > TIER_MAX_LABELS) return AIC_INVALID;
    for (size_t i = 0; i < description->label_count; i++) {
        if (description->labels[i].value.size > MAX_LABEL_BYTES) return AIC_INVALID;
    }
    aic_view partition = {NULL, 0};
    if (description->label_count > 0 && description->labels[0].kind == 0) partition = description->labels[0].value;
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

static uint32_t envelope_check(const uint8_t *bytes, size_t size)
{
    return (uint32_t)XXH3_64bits_withSeed(bytes + 8, size - 8, bytes[1]);
}

void lmdb_envelope_write(const struct lmdb_envelope *envelope, uint8_t *out)
{
    size_t size = lmdb_envelope_size(envelope);
    memset(out, 0, 8);
    out[0] = LMDB_ENVELOPE_VERSION;
    out[1] = (uint8_t)envelope->label_count;
    lmdb_put_u64(out + 8, envelope->created_ms);
    lmdb_put_u64(out + 16, envelope->expires_ms);
    lmdb_put_u64(out + 24, envelope->record_bytes);
    for (size_t i = 0; i < envelope->label_count; i++) lmdb_put_u64(out + 32 + 8 * i, envelope->labels[i]);
    lmdb_put_u32(out + 4, envelope_check(out, size));
}

aic_status lmdb_envelope_read(MDB_val value, struct lmdb_envelope *out, size_t *size)
{
    const uint8_t *bytes = value.mv_data;
    if (value.mv_size < LMDB_ENVELOPE_BYTES || bytes[0] != LMDB_ENVELOPE_VERSION || bytes[1] > TIER_MAX_LABELS ||
        bytes[2] != 0 || bytes[3] != 0) {
        return AIC_DAMAGED;
    }
    size_t whole = LMDB_ENVELOPE_BYTES + 8 * (size_t)bytes[1];
    if (value.mv_size < whole || envelope_check(bytes, whole) != lmdb_take_u32(bytes + 4)) return AIC_DAMAGED;
    struct lmdb_envelope envelope = {.created_ms = lmdb_take_u64(bytes + 8),
                                     .expires_ms = lmdb_take_u64(bytes + 16),
                                     .record_bytes = lmdb_take_u64(bytes + 24),
                                     .label_count = bytes[1]};
    for (size_t i = 0; i < envelope.label_count; i++) envelope.labels[i] = lmdb_take_u64(bytes + 32 + 8 * i);
    if (value.mv_size - whole != lmdb_inline_bytes(&envelope)) return AIC_DAMAGED;
    *out = envelope;
    *size = whole;
    return AIC_OK;
}

uint64_t lmdb_rank(const struct lmdb_envelope *envelope)
{
    const uint64_t never = (uint64_t)1 << 63;
    if (envelope->expires_ms == 0) return never | envelope->created_ms;
    return envelope->expires_ms < never ? envelope->expires_ms : never - 1;
}

void lmdb_pair_row_make(uint64_t number, const aic_key *key, struct lmdb_pair_row *out)
{
    number = htobe64(number);
    memcpy(out->bytes, &number, sizeof number);
    memcpy(out->bytes + 8, key->bytes, AIC_KEY_BYTES);
}

uint64_t lmdb_pair_row_number(MDB_val row)
{
    uint64_t number;
    memcpy(&number, row.mv_data, sizeof number);
    return be64toh(number);
}

void lmdb_pair_row_key(MDB_val row, aic_key *out)
{
    memcpy(out->bytes, (const uint8_t *)row.mv_data + 8, AIC_KEY_BYTES);
}

void lmdb_chunk_row_make(const aic_key *key, uint32_t index, struct lmdb_chunk_row *out)
{
    memcpy(out->bytes, key->bytes, AIC_KEY_BYTES);
    index = htobe32(index);
    memcpy(out->bytes + AIC_KEY_BYTES, &index, sizeof index);
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

bool lmdb_key_next(aic_key *key)
{
    for (size_t i = AIC_KEY_BYTES; i > 0; i--) {
        if (++key->bytes[i - 1] != 0) return true;
    }
    return false;
}
