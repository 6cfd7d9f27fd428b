/*
 * record.h - one entry as bytes, the same in both tiers: a checksummed head with everything that is known of the entry, then the payload.
 *
 *   u32 magic+version | u32 head size | u64 XXH3 of all that follows (payload included) | u64 created_ms | u64 expires_ms | u64 plain size |
 *   u64 text length | u64 prompt tokens | u64 completion tokens | f64 cost | u32 dictionary id | u8 flags | labels and shape, length-prefixed | payload
 *
 * Little-endian. Golden files under tests/ hold every version ever written.
 */
#ifndef CACHE_RECORD_H
#define CACHE_RECORD_H

#include "base/buf.h"
#include "store/codec.h"
#include "tier/tier.h"

enum label_kind { LABEL_NAMESPACE = 0, LABEL_OPERATION = 1, LABEL_MODEL = 2, LABEL_TAG = 3 };

struct record {
    aic_view ns, operation, model;
    aic_view tags[AIC_MAX_TAGS];
    size_t tag_count;
    uint64_t created_ms, expires_ms, plain_bytes, text_length, prompt_tokens, completion_tokens;
    double cost_usd;
    struct codec_form form;
    aic_view shape;
    aic_view payload; /* as stored: compressed or plain */
};

/* Appends the head for this record and payload (head only: the payload is written after it as a part of its own). */
AIC_MUST_CHECK aic_status record_write_head(const struct record *record, struct buf *out);
/* Size of the head at the front of `bytes` (at least RECORD_FIXED_BYTES of them), or 0 when it is no record. */
#define RECORD_FIXED_BYTES 96
size_t record_head_size(aic_view bytes);
/*
 * Reads a head; `record->payload` is set when `bytes` holds the whole record. Every length is checked. AIC_DAMAGED, AIC_NEWER.
 * Views point into `bytes`.
 */
AIC_MUST_CHECK aic_status record_read(aic_view bytes, struct record *record);
/* Compares the checksum of a whole record: AIC_OK or AIC_DAMAGED. */
AIC_MUST_CHECK aic_status record_check(aic_view bytes);
/* A tier_describe_fn. */
aic_status record_describe(void *context, aic_view bytes, struct tier_description *out);

#endif
