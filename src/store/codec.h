/*
 * codec.h - compression of values by zstd, with dictionaries trained per group (a namespace) from what was stored.
 *
 * A value larger than the threshold is compressed and kept so only if that made it smaller. Dictionaries are versioned by a 32-bit id that is
 * never used twice; an old one stays as long as the owner of the entries says that it is needed.
 * Any thread may call any function; contexts are pooled per codec, none is shared by two calls.
 */
#ifndef STORE_CODEC_H
#define STORE_CODEC_H

#include "base/buf.h"

struct codec;

struct codec_options {
    struct mem *mem;
    uint64_t threshold_bytes; /* strictly larger values are compressed */
    int level;
    bool dictionary_off;
    uint64_t max_plain_bytes; /* bound on what is unpacked: more is AIC_DAMAGED */
};

AIC_MUST_CHECK aic_status codec_create(const struct codec_options *options, struct codec **out);
void codec_destroy(struct codec **codec);

/* What is needed to decode. Kept in the record beside the payload. */
struct codec_form {
    bool compressed;
    uint32_t dictionary_id; /* 0: none */
};

/*
 * Encodes `plain`. When it is kept plain, form->compressed is false and nothing is appended to `out`; otherwise the compressed bytes are appended.
 * Deterministic for one dictionary version. Feeds the group's training samples. AIC_NO_MEMORY.
 */
AIC_MUST_CHECK aic_status codec_encode(struct codec *codec, aic_view group, aic_view plain, struct buf *out,
                                       struct codec_form *form);
/* Appends exactly plain_size bytes, or AIC_DAMAGED (also for an unknown dictionary), AIC_NO_MEMORY; `out` is unchanged then. */
AIC_MUST_CHECK aic_status codec_decode(struct codec *codec, struct codec_form form, aic_view stored, size_t plain_size,
                                       struct buf *out);

/*
 * Trains what has gathered enough samples; call from a background thread, once a second. For each new dictionary `keep` is called first (no
 * lock held) so that it is durable before the first record needs it; on failure of `keep` the dictionary is dropped.
 */
typedef aic_status codec_keep_fn(void *context, aic_view group, uint32_t id, aic_view dictionary);
AIC_MUST_CHECK aic_status codec_train(struct codec *codec, codec_keep_fn *keep, void *context, unsigned *trained);
/* Adds a dictionary known from storage, at open. The newest id of a group becomes the one that encodes. */
AIC_MUST_CHECK aic_status codec_add_dictionary(struct codec *codec, aic_view group, uint32_t id, aic_view dictionary);

struct codec_stats {
    uint64_t encoded, kept_plain, decoded, bytes_in, bytes_out, dictionaries, dictionary_bytes, damaged;
};
void codec_stats(struct codec *codec, struct codec_stats *out);

#endif
