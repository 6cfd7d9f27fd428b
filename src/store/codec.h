/*
 * codec.h - compression of values by zstd, with dictionaries trained per group (a namespace) from what was stored.
 *
 * A value larger than the threshold is compressed and kept so only if that made it smaller. Each frame is a standard
 * zstd frame with its content size and, where one was used, the id of its dictionary.
 *
 * A dictionary's id is made from what it is (samples.h), so that one never passes for another. A group gets its first
 * one after 256 samples and 256 KB, a new one when eight times as much has come or when values compress 20 % worse than
 * they did after the training; it is only taken into use when it saves more than 3 % of what the one before (or none)
 * needs. An old one stays until the owner of the entries says that nobody needs it:
 *
 *   ids = codec_superseded()       at some tick;
 *   walk both tiers, strike the ids that records still name (record.form.dictionary_id) from the list;
 *   codec_retire(id)               for the rest, and delete what `keep` had made durable.
 *
 * Begin the walk no sooner than a minute after the list was made: a record that was encoded before its dictionary was
 * superseded has reached its tier by then. Should one come later still, it is AIC_DAMAGED when it is read, that is a
 * miss.
 *
 * Any thread may call any function; contexts are pooled per codec, none is shared by two calls. One lock inside, never
 * held over a compression or a callback.
 */
#ifndef STORE_CODEC_H
#define STORE_CODEC_H

#include "base/buf.h"
#include "base/figures.h"

struct codec;

struct codec_options {
    struct mem *mem;
    uint64_t threshold_bytes; /* strictly larger values are compressed */
    int level;
    bool dictionary_off;
    uint64_t max_plain_bytes; /* bound on what is unpacked: more is AIC_DAMAGED */
};

/* AIC_INVALID for a level outside 1..19, AIC_NO_MEMORY. *out is owned by the caller. */
AIC_MUST_CHECK aic_status codec_create(const struct codec_options *options, struct codec **out);
/* No other call may be running. Accepts a pointer to NULL; nulls. */
void codec_destroy(struct codec **codec);

/* What is needed to decode. Kept in the record beside the payload. */
struct codec_form {
    bool compressed;
    uint32_t dictionary_id; /* 0: none */
};

/*
 * Encodes `plain`. When it is kept plain, form->compressed is false and nothing is appended to `out`; otherwise the
 * compressed bytes are appended. Deterministic for one dictionary version. Feeds the group's training samples.
 * AIC_NO_MEMORY
 * (`out` is unchanged then).
 */
AIC_MUST_CHECK aic_status codec_encode(struct codec *codec, aic_view group, aic_view plain, struct buf *out,
                                       struct codec_form *form);
/* Appends exactly plain_size bytes, or AIC_DAMAGED, AIC_NOT_FOUND (its dictionary is not known), AIC_NO_MEMORY; `out`
 * is unchanged then. */
AIC_MUST_CHECK aic_status codec_decode(struct codec *codec, struct codec_form form, aic_view stored, size_t plain_size,
                                       struct buf *out);

/*
 * Trains what has gathered enough samples; call from a background thread, once a second. For each new dictionary `keep`
 * is called first (no lock held) so that it is durable before the first record needs it; on failure of `keep` the
 * dictionary is dropped, and the group tries again later. `keep` may be NULL. *trained (may
 * be NULL) gets how many were taken into use. Takes up to a second per dictionary. The first failure is returned after
 * all groups were tried. A call while another one trains does nothing.
 */
typedef aic_status codec_keep_fn(void *context, aic_view group, uint32_t id, aic_view dictionary);
AIC_MUST_CHECK aic_status codec_train(struct codec *codec, codec_keep_fn *keep, void *context, unsigned *trained);
/*
 * Adds a dictionary known from storage, at open. The newest id of a group becomes the one that encodes (not with
 * dictionary_off). AIC_DAMAGED when the bytes are no dictionary with this id, AIC_EXISTS, AIC_NO_MEMORY.
 */
AIC_MUST_CHECK aic_status codec_add_dictionary(struct codec *codec, aic_view group, uint32_t id, aic_view dictionary);
/* Ids that no longer encode, at most `max` of them; returns how many were written. */
size_t codec_superseded(struct codec *codec, uint32_t *ids, size_t max);
/* Forgets a superseded dictionary. AIC_BUSY while it encodes, AIC_NOT_FOUND. */
AIC_MUST_CHECK aic_status codec_retire(struct codec *codec, uint32_t id);

/* Adds to `out`, zeroed before, what was counted, and what is known of dictionaries now. Any thread. */
void codec_figures(struct codec *codec, struct figures *out);

#endif
