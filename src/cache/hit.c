/*
 * hit.c - what can be done with a found entry: its response as pieces or as one text, its metadata; and the hits of the
 * library.
 */
#include "cache/inner.h"
#include "cache/text_tier.h"

#include <string.h>

/* The stored payload in one piece: where it lies, or gathered into `room`. */
static aic_status payload_view(const struct cache_hit *hit, struct buf *room, aic_view *out)
{
    if (hit->pin.entry == NULL) {
        *out = hit->record.payload;
        return AIC_OK;
    }
    CHECK(hit->head_bytes <= pin_size(&hit->pin));
    size_t size = pin_size(&hit->pin) - hit->head_bytes, covered = 0;
    struct iovec piece;
    if (pin_pieces(&hit->pin, hit->head_bytes, size, &piece, 1, &covered) == 1 && covered == size) {
        *out = (aic_view){piece.iov_base, size};
        return AIC_OK;
    }
    char *bytes = buf_reserve(room, size);
    if (bytes == NULL) return AIC_NO_MEMORY;
    pin_copy(&hit->pin, hit->head_bytes, bytes, size);
    buf_commit(room, size);
    *out = (aic_view){bytes, size};
    return AIC_OK;
}

static aic_status pieces_as_stored(struct cache_hit *hit, struct buf *plain, struct iovec *out, size_t max,
                                   size_t *count)
{
    if (hit->pin.entry != NULL) {
        size_t size = pin_size(&hit->pin) - hit->head_bytes, covered = 0;
        size_t filled = pin_pieces(&hit->pin, hit->head_bytes, size, out, max, &covered);
        if (covered == size) {
            *count = filled;
            return AIC_OK;
        }
    }
    aic_view whole;
    buf_clear(plain);
    TRY(payload_view(hit, plain, &whole));
    out[0] = (struct iovec){(void *)(uintptr_t)whole.data, whole.size};
    *count = 1;
    return AIC_OK;
}

static aic_status decode_pieces(struct cache_hit *hit, struct buf *plain, struct iovec *out, size_t *count)
{
    struct aic_cache *cache = hit->cache;
    const struct record *record = &hit->record;
    struct buf gathered;
    buf_init(&gathered, &cache->mem, MEM_CACHE);
    buf_clear(plain);
    aic_view stored;
    aic_status status = payload_view(hit, &gathered, &stored);
    if (status == AIC_OK) status = codec_decode(cache->codec, record->form, stored, (size_t)record->plain_bytes, plain);
    buf_fini(&gathered);
    if (status != AIC_OK) return status;
    out[0] = (struct iovec){plain->data, plain->size};
    *count = 1;
    hot_decoded(hit, buf_view(plain));
    return AIC_OK;
}

aic_status cache_hit_pieces(struct cache_hit *hit, struct buf *plain, struct iovec *out, size_t max, size_t *count)
{
    if (hit->record.form.compressed) {
        aic_status status = decode_pieces(hit, plain, out, count);
        if (status == AIC_NOT_FOUND && dictionaries_want(hit->cache, hit->record.form.dictionary_id))
            return AIC_DAMAGED; /* it stays: the dictionary may come */
        if (status == AIC_NOT_FOUND) status = AIC_DAMAGED;
        if (status == AIC_DAMAGED) cache_drop_damaged(hit->cache, &hit->key, hit_moment(hit));
        return status;
    }
    if (hit->pin.entry != NULL && hit->cache->hot != NULL) hot_touch(hit->cache->hot, pin_key(&hit->pin));
    return pieces_as_stored(hit, plain, out, max, count);
}

aic_status cache_decode(struct aic_cache *cache, const struct record *record, struct buf *out)
{
    if (!record->form.compressed) {
        buf_append_view(out, record->payload);
        return buf_status(out);
    }
    size_t plain_bytes = (size_t)record->plain_bytes;
    aic_status status = codec_decode(cache->codec, record->form, record->payload, plain_bytes, out);
    if (status != AIC_NOT_FOUND) return status;
    status = dictionaries_fetch(cache, record->form.dictionary_id);
    if (status == AIC_OK) status = codec_decode(cache->codec, record->form, record->payload, plain_bytes, out);
    return status == AIC_MISS || status == AIC_NOT_FOUND ? AIC_DAMAGED : status;
}

void metadata_fill(aic_metadata *out, const aic_key *key, const struct record *record, uint64_t stored_bytes,
                   unsigned tiers)
{
    out->key = *key;
    out->ns = record->ns;
    out->operation = record->operation;
    out->model = record->model;
    out->tag_count = record->tag_count;
    for (size_t i = 0; i < record->tag_count; i++) out->tags[i] = record->tags[i];
    out->created_ms = record->created_ms;
    out->expires_ms = record->expires_ms;
    out->size_bytes = record->plain_bytes;
    out->stored_bytes = stored_bytes;
    out->text_length = record->text_length;
    out->compressed = record->form.compressed;
    out->tiers = tiers;
    out->prompt_tokens = record->prompt_tokens;
    out->completion_tokens = record->completion_tokens;
    out->cost_usd = record->cost_usd;
}

void cache_hit_metadata(const struct cache_hit *hit, aic_metadata *out)
{
    uint64_t stored = hit->pin.entry != NULL ? pin_size(&hit->pin) - hit->head_bytes : hit->record.payload.size;
    metadata_fill(out, &hit->key, &hit->record, stored, hit->pin.entry != NULL ? hit->tier | AIC_IN_MEMORY : hit->tier);
}

struct aic_hit {
    struct cache_hit hit;
    struct buf plain; /* the response, when it had to be decoded or gathered */
    bool ready;
    aic_view response;
    aic_metadata metadata;
};

void cache_record_get(struct aic_cache *cache, aic_status outcome, unsigned tier, struct cache_event event)
{
    event.kind = CACHE_GET;
    event.hit = outcome == AIC_OK;
    event.tiers = event.hit ? tier : 0;
    if (cache->monitor != NULL)
        event.data = event.hit ? text_tier_hit_data(tier, event.text_length)
                               : text_tier_miss_data(outcome, event.text_length);
    cache_observe_end(cache, event);
}

/* `operation` of the request; empty by key alone, where only what is found tells it. */
static aic_status get_keyed(struct aic_cache *cache, aic_view ns, aic_view operation, const aic_key *key,
                            uint64_t text_length, aic_hit **out)
{
    uint64_t started = clock_mono_ns(&cache->clock), before = cache_observe_begin(cache);
    aic_hit *found = mem_alloc(&cache->mem, MEM_CACHE, sizeof *found);
    if (found == NULL) return AIC_NO_MEMORY;
    aic_status outcome = AIC_MISS, status = cache_find(cache, ns, key, &found->hit, &outcome);
    if (status >= 0)
        cache_record_get(
            cache, outcome, status == AIC_OK ? found->hit.tier : 0,
            (struct cache_event){.key = key,
                                 .operation = status == AIC_OK ? found->hit.record.operation : operation,
                                 .started_ns = started,
                                 .ended_ns = cache_is_told(cache) ? clock_mono_ns(&cache->clock) : started,
                                 .text_length = status == AIC_OK ? found->hit.record.text_length : text_length,
                                 .memory_before = before});
    if (status != AIC_OK) {
        mem_free(&cache->mem, MEM_CACHE, found, sizeof *found);
        return status;
    }
    buf_init(&found->plain, &cache->mem, MEM_CACHE);
    found->ready = false;
    cache_hit_metadata(&found->hit, &found->metadata);
    *out = found;
    return AIC_OK;
}

aic_status aic_cache_lookup(aic_cache *cache, const aic_request *request, aic_key *key, aic_hit **hit, aic_error *error)
{
    if (error != NULL) *error = (aic_error){0};
    struct json json;
    struct key_request taken;
    aic_key own;
    uint64_t length = 0;
    aic_status status = request_take(cache, request, &json, &taken, error);
    if (status == AIC_OK) status = cache_key(cache, &taken, &own, &length, error);
    if (status == AIC_OK) {
        if (key != NULL) *key = own;
        status = get_keyed(cache, taken.ns, taken.operation, &own, length, hit);
    }
    json_fini(&json);
    if (status < 0 && error != NULL && error->status == AIC_OK)
        (void)error_set(error, status, NULL, "%s", aic_status_text(status));
    return status;
}

aic_status aic_cache_get(aic_cache *cache, aic_view ns, const aic_key *key, aic_hit **hit)
{
    TRY(cache_check_bytes("namespace", ns, NULL));
    return get_keyed(cache, ns.size > 0 ? ns : AIC_LITERAL("default"), (aic_view){NULL, 0}, key, 0, hit);
}

aic_status aic_hit_response(aic_hit *hit, aic_view *out)
{
    if (!hit->ready) {
        struct iovec piece = {NULL, 0};
        size_t count = 0;
        TRY(cache_hit_pieces(&hit->hit, &hit->plain, &piece, 1, &count));
        hit->response = count > 0 ? (aic_view){piece.iov_base, piece.iov_len} : AIC_LITERAL("");
        hit->ready = true;
    }
    *out = hit->response;
    return AIC_OK;
}

const aic_metadata *aic_hit_metadata(const aic_hit *hit)
{
    return &hit->metadata;
}

unsigned aic_hit_tier(const aic_hit *hit)
{
    return hit->hit.tier;
}

void aic_hit_release(aic_hit **hit)
{
    if (hit == NULL || *hit == NULL) return;
    struct aic_cache *cache = (*hit)->hit.cache;
    buf_fini(&(*hit)->plain);
    cache_hit_release(&(*hit)->hit);
    mem_free(&cache->mem, MEM_CACHE, *hit, sizeof **hit);
    *hit = NULL;
}
