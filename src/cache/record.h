/*
 * record.h - one entry as bytes, the same in both tiers: a checksummed head with everything that is known of the entry,
 * then the payload.
 *
 *   "AIR" + u8 version | u32 head size | u64 XXH3 of all that follows (payload included), seeded with that of the key |
 * u64 created_ms | u64 expires_ms | u64 plain size | u64 text length | u64 prompt tokens | u64 completion tokens | f64
 * cost | u32 dictionary id | u8 flags (1: compressed) | u8 tag count | u16 shape size | u64 payload size | u8 sizes of
 * namespace, operation, model | u40 of response and put | u64 seq | namespace, operation, model | tags, each u8 size
 * + bytes | shape | payload
 *
 * A record proves by itself whose it is: under another key it is damaged, whatever kept it. `seq` is the number of its
 * put, ascending for as long as the store lives: it tells which of two is the newer, which no wall clock does.
 *
 * Little-endian. This is version 2; the golden file under tests/ holds it. Pure functions; any thread.
 */
#ifndef CACHE_RECORD_H
#define CACHE_RECORD_H

#include "base/buf.h"
#include "store/codec.h"
#include "tier/tier.h"

enum label_kind { LABEL_NAMESPACE = 0, LABEL_OPERATION = 1, LABEL_MODEL = 2, LABEL_TAG = 3 };

struct record {
    aic_view ns, operation, model;
    uint64_t seq; /* of the put */
    uint64_t created_ms, expires_ms, plain_bytes, text_length, prompt_tokens, completion_tokens;
    double cost_usd;
    uint64_t content; /* 40 bits that tell this put's response from any other's: record_content() */
    struct codec_form form;
    aic_view shape;
    aic_view payload; /* as stored: compressed or plain */
    size_t tag_count;
    aic_view tags[AIC_MAX_TAGS]; /* last: those from tag_count on are neither zeroed nor copied */
};

#define RECORD_FIXED_BYTES 104
#define RECORD_MAX_SHAPE_BYTES 512
#define RECORD_MAX_HEAD_BYTES 5128 /* every label at its longest */

/*
 * Appends the head for this record of this key and its payload (head only: the payload is written after it as a part of
 * its own). Cost: one XXH3 pass over both. AIC_INVALID for names, tags or a shape beyond their limits, a cost that is
 * no finite number, a plain form whose plain_bytes is not the payload's size, or with a dictionary; AIC_NO_MEMORY.
 */
AIC_MUST_CHECK aic_status record_write_head(const struct record *record, const aic_key *key, struct buf *out);
/* Size of the head (RECORD_FIXED_BYTES..RECORD_MAX_HEAD_BYTES) of which `bytes` hold at least the first
 * RECORD_FIXED_BYTES; 0 when it is no record of this version. */
size_t record_head_size(aic_view bytes);
/*
 * Reads the head at the front of `bytes`, which hold at least the head and at most the record. Every length is checked,
 * the checksum is not. payload.size is always set; payload.data is NULL unless `bytes` hold the whole record. Views
 * point into `bytes`. AIC_DAMAGED, AIC_NEWER.
 */
AIC_MUST_CHECK aic_status record_read(aic_view bytes, struct record *record);
/* What `content` is for a response and the number of its put: the low 40 bits of the sum of its XXH3 and the number, so
 * that the same response, put twice in one millisecond, has two. */
uint64_t record_content(aic_view response, uint64_t number);
/* Compares the checksum of a whole record, about 10 GB/s: AIC_OK, or AIC_DAMAGED, also when it is another key's. */
AIC_MUST_CHECK aic_status record_check(const aic_key *key, aic_view bytes);
/* What a tier gave for a key: checked and read, with its payload. AIC_DAMAGED, AIC_NEWER. */
AIC_MUST_CHECK aic_status record_take(const aic_key *key, aic_view bytes, struct record *record);
/* A tier_describe_fn. */
aic_status record_describe(void *context, aic_view bytes, struct tier_description *out);

#endif
