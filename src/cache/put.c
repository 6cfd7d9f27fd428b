/*
 * put.c - one response on its way into both tiers: checked, encoded once, written as the same bytes to memory and to
 * storage's queue.
 */
#include "cache/inner.h"
#include "cache/text_tier.h"

#include <stdio.h>
#include <string.h>

#define DURABLE_WAIT_MS 5000

/* A record being made, and the bytes that it refers to. */
struct making {
    struct record record;
    struct buf shape, packed, head;
    char model[AIC_MAX_NAME_BYTES];
};

static void making_init(struct making *making, struct mem *mem)
{
    memset(&making->record, 0, sizeof making->record);
    buf_init(&making->shape, mem, MEM_CACHE);
    buf_init(&making->packed, mem, MEM_CACHE);
    buf_init(&making->head, mem, MEM_CACHE);
}

static void making_fini(struct making *making)
{
    buf_fini(&making->head);
    buf_fini(&making->packed);
    buf_fini(&making->shape);
}

static_assert(KEY_SHAPE_BYTES <= RECORD_MAX_SHAPE_BYTES, "a record takes every shape");

static aic_status encode(struct aic_cache *cache, const struct cache_put *put, struct making *making)
{
    struct record *record = &making->record;
    uint64_t started = cache->monitor != NULL ? clock_mono_ns(&cache->clock) : 0;
    TRY(codec_encode(cache->codec, put->request.ns, put->response, &making->packed, &record->form));
    CHECK(!record->form.compressed || making->packed.size < put->response.size);
    record->plain_bytes = put->response.size;
    record->content = record_content(put->response, record->seq);
    record->payload = record->form.compressed ? buf_view(&making->packed) : put->response;
    if (cache->monitor != NULL && record->form.compressed)
        cache->meter->compression(cache->monitor, put->response.size, record->payload.size,
                                  seconds_since(cache, started), put->request.operation);
    return AIC_OK;
}

static void set_dates(struct aic_cache *cache, const struct cache_put *put, struct record *record)
{
    if (put->dates_given) {
        record->created_ms = put->created_ms;
        record->expires_ms = put->expires_ms;
        return;
    }
    uint64_t ttl = put->ttl_given ? put->ttl_seconds : cache_default_ttl(cache, put->request.operation);
    record->created_ms = clock_wall_ms(&cache->clock);
    record->expires_ms = ttl == 0 ? 0 : record->created_ms + ttl * 1000;
}

static aic_status make(struct aic_cache *cache, const struct cache_put *put, const aic_key *key, struct making *making)
{
    struct record *record = &making->record;
    record->ns = put->request.ns;
    record->operation = put->request.operation;
    record->model = cache_model_of(&put->request, making->model);
    record->tag_count = put->tag_count;
    for (size_t i = 0; i < put->tag_count; i++) record->tags[i] = put->tags[i];
    record->text_length = put->text_length;
    record->prompt_tokens = put->prompt_tokens;
    record->completion_tokens = put->completion_tokens;
    record->cost_usd = put->cost_usd;
    set_dates(cache, put, record);
    record->seq = atomic_fetch_add_explicit(&cache->last_seq, 1, memory_order_seq_cst) + 1;
    record->shape = put->shape;
    if (put->key == NULL) {
        TRY(key_shape(cache->digest, &cache->mem, &put->request, &making->shape));
        record->shape = buf_view(&making->shape);
    }
    TRY(encode(cache, put, making));
    return record_write_head(record, key, &making->head);
}

static void undo(struct aic_cache *cache, const aic_key *key)
{
    drop_from_memory(cache, key);
    if (cache->gate != NULL && gate_delete(cache->gate, key) != AIC_OK)
        cache_log(cache, AIC_LOG_WARNING,
                  "an entry that an invalidation removed may still be in storage: out of memory");
}

/* Where a put went. */
struct placement {
    unsigned tiers; /* that have it, for whoever asks */
    bool queued;    /* storage took it into its queue */
    bool refused;   /* storage never takes what is so large, which is no failure of it */
    bool up;        /* storage took it and answers, both ways */
};

/* What waits for storage while its writes fail is in storage's hands only: named when nobody else has it. */
static unsigned tiers_of(bool kept, bool queued, bool writes_up)
{
    unsigned tiers = kept ? AIC_IN_MEMORY : 0;
    return queued && (writes_up || !kept) ? tiers | AIC_IN_STORAGE : tiers;
}

/*
 * Both tiers, under the stripe. Storage first: when its queue has no memory for the write the put fails with nothing
 * changed. What memory does not keep it must not keep the older value of, either.
 */
static aic_status write_tiers(struct aic_cache *cache, const aic_key *key, const struct making *making,
                              struct placement *placement)
{
    const struct record *record = &making->record;
    struct iovec parts[] = {{making->head.data, making->head.size},
                            {(void *)(uintptr_t)record->payload.data, record->payload.size}};
    struct gate_health health = {0};
    aic_status stored = cache->gate != NULL ? gate_put(cache->gate, key, parts, COUNT_OF(parts), &health)
                                            : AIC_NOT_STORED;
    if (stored != AIC_OK && stored != AIC_NOT_STORED && stored != AIC_TOO_LARGE) return stored;
    aic_status kept = store_put(cache->store, &(struct store_put){.key = *key,
                                                                  .expires_ms = record->expires_ms,
                                                                  .parts = parts,
                                                                  .part_count = COUNT_OF(parts)});
    placement->queued = stored == AIC_OK;
    placement->refused = stored == AIC_TOO_LARGE;
    placement->up = placement->queued && health.reads_up && health.writes_up;
    placement->tiers = tiers_of(kept == AIC_OK, placement->queued, health.writes_up);
    if (kept == AIC_OK && cache->monitor != NULL)
        cache->meter->stored(cache->monitor, key, store_cost(parts[0].iov_len + parts[1].iov_len));
    /* An invalidation that runs has seen both tiers, one, or none of them: this put came before it, then. It cannot end
     * unseen, because it waits for every writer before it leaves the list. */
    if (filter_list_strikes(&cache->filters, record)) undo(cache, key);
    if (placement->tiers == 0 && kept == AIC_NO_MEMORY) return AIC_NO_MEMORY;
    return placement->tiers == 0 ? AIC_NOT_STORED : AIC_OK;
}

static aic_status put_keyed(struct aic_cache *cache, const struct cache_put *put, const aic_key *key,
                            struct placement *placement, aic_put_result *result)
{
    struct making making;
    making_init(&making, &cache->mem);
    aic_status status = make(cache, put, key, &making);
    if (status == AIC_OK) {
        struct stripe *stripe = writer_begin(cache, key);
        status = write_tiers(cache, key, &making, placement);
        writer_end(stripe);
    }
    if (status >= 0)
        *result = (aic_put_result){.key = *key,
                                   .expires_ms = making.record.expires_ms,
                                   .size_bytes = put->response.size,
                                   .stored_bytes = making.record.payload.size,
                                   .compressed = making.record.form.compressed,
                                   .tiers = placement->tiers};
    making_fini(&making);
    return status;
}

/* What the monitor keeps of a put. The reason names the tier: "lmdb_error". Static, or in `room`. */
static aic_view data_of(const struct aic_cache *cache, const struct cache_put *put, aic_status status,
                        const struct placement *placement, char room[160])
{
    const char *kind = cache->gate != NULL ? gate_kind(cache->gate) : "";
    const char *reason = NULL, *tier = aic_text_tier(put->text_length);
    if (cache->gate != NULL && !placement->queued && !placement->refused) reason = "error";
    else if (placement->queued && !placement->up) reason = "connection_failed";
    if (reason == NULL && status == AIC_OK) return text_tier_data(put->text_length);
    if (reason != NULL)
        snprintf(room, 160, "{\"text_tier\":\"%s\",\"status\":\"failed\",\"reason\":\"%s_%s\"}", tier, kind, reason);
    else snprintf(room, 160, "{\"text_tier\":\"%s\",\"status\":\"%s\"}", tier, status < 0 ? "failed" : "not_stored");
    return aic_view_of(room);
}

aic_status cache_put(struct aic_cache *cache, const struct cache_put *given, aic_put_result *result, aic_error *error)
{
    struct cache_put put = *given;
    aic_key key;
    if (put.key != NULL) key = *put.key;
    else TRY(cache_key(cache, &put.request, &key, &put.text_length, error));
    if (put.lease.data != NULL && leases_check(put.lease, &key) != AIC_OK)
        return error_set(error, AIC_INVALID, "lease",
                         "this is no lease of this request; the one that its lookup was answered with is accepted");
    uint64_t started = clock_mono_ns(&cache->clock), before = cache_observe_begin(cache);
    struct placement placement = {0};
    aic_put_result done = {0};
    aic_status status = put_keyed(cache, &put, &key, &placement, &done);
    if (status >= 0) FIGURE_COUNT_LANE(&cache->counts, puts, 1);
    if (status >= 0) leases_answer(cache->leases, &key);
    char room[160];
    if (cache_is_told(cache))
        cache_observe_end(cache, (struct cache_event){.kind = CACHE_SET,
                                                      .key = &key,
                                                      .operation = put.request.operation,
                                                      .tiers = done.tiers,
                                                      .started_ns = started,
                                                      .ended_ns = clock_mono_ns(&cache->clock),
                                                      .text_length = put.text_length,
                                                      .data = data_of(cache, &put, status, &placement, room),
                                                      .memory_before = before});
    if (status >= 0 && result != NULL) *result = done;
    if (status < 0) (void)error_set(error, status, NULL, "%s", aic_status_text(status));
    return status;
}

aic_status cache_durability(const struct aic_cache *cache, aic_durability asked, aic_durability *out, aic_error *error)
{
    if ((unsigned)asked > AIC_DURABILITY_DISK)
        return error_set(error, AIC_INVALID, "durability", "memory, storage and disk are accepted");
    if (asked > AIC_DURABILITY_MEMORY && cache->gate == NULL)
        return error_set(error, AIC_INVALID, "durability", "there is no storage tier; only memory is accepted");
    aic_durability wanted = asked != AIC_DURABILITY_DEFAULT ? asked : cache->durability;
    *out = wanted == AIC_DURABILITY_DEFAULT || cache->gate == NULL ? AIC_DURABILITY_MEMORY : wanted;
    return AIC_OK;
}

/* Everything before is applied: is this, too? Storage may have refused the record by itself. */
static bool is_in_storage(struct aic_cache *cache, const aic_key *key)
{
    struct buf bytes;
    struct cache_hit hit;
    buf_init(&bytes, &cache->mem, MEM_CACHE);
    bool there = gate_get(cache->gate, key, DURABLE_WAIT_MS, &bytes) == AIC_OK;
    buf_fini(&bytes);
    if (there) return true;
    /* Where memory has it no more either, it was removed meanwhile, or is over. */
    bool removed = hit_peek(cache, key, &hit) == AIC_MISS;
    cache_hit_release(&hit);
    return removed;
}

static aic_status await_durable(struct aic_cache *cache, aic_durability durability, const aic_put_result *result)
{
    if ((result->tiers & AIC_IN_STORAGE) == 0) return AIC_UNAVAILABLE;
    TRY(gate_flush(cache->gate, false, DURABLE_WAIT_MS));
    if (!is_in_storage(cache, &result->key)) return AIC_UNAVAILABLE;
    if (durability != AIC_DURABILITY_DISK) return AIC_OK;
    aic_status status = gate_harden(cache->gate);
    return status == AIC_NOT_FOUND ? gate_flush(cache->gate, true, DURABLE_WAIT_MS) : status;
}

aic_status cache_make_durable(struct aic_cache *cache, aic_durability durability, const aic_put_result *result,
                              aic_error *error)
{
    if (durability <= AIC_DURABILITY_MEMORY || await_durable(cache, durability, result) == AIC_OK) return AIC_OK;
    return error_set(
        error, AIC_UNAVAILABLE, NULL,
        "the entry is stored, but not as durably as asked: storage has not %s it; it is served, and an end "
        "of this process may lose it",
        durability == AIC_DURABILITY_DISK ? "synced" : "applied");
}

static aic_status check_response(struct aic_cache *cache, aic_view response, aic_error *error)
{
    if (response.size == 0) return error_set(error, AIC_INVALID, "response", "is required: any JSON value");
    TRY(cache_check_bytes("response", response, error));
    struct json json;
    json_init(&json, &cache->mem, MEM_CACHE);
    aic_error inner = {0};
    aic_status status = json_scan(&json, response, &inner);
    json_fini(&json);
    if (status == AIC_OK || status == AIC_NO_MEMORY) return status;
    return error_within(error, status, "response", &inner);
}

static aic_status put_checked(aic_cache *cache, const aic_put *put, struct json *json, aic_put_result *result,
                              aic_error *error)
{
    struct cache_put inner = {.response = put->response,
                              .ttl_given = put->ttl_given,
                              .ttl_seconds = put->ttl_seconds,
                              .tags = put->tags,
                              .tag_count = put->tag_count,
                              .prompt_tokens = put->prompt_tokens,
                              .completion_tokens = put->completion_tokens,
                              .cost_usd = put->cost_usd};
    aic_durability durability = AIC_DURABILITY_MEMORY;
    aic_put_result own;
    if (result == NULL) result = &own;
    TRY(request_take(cache, &put->request, json, &inner.request, error));
    TRY(cache_check_put(&inner, error));
    TRY(check_response(cache, put->response, error));
    TRY(cache_durability(cache, put->durability, &durability, error));
    aic_status status = cache_put(cache, &inner, result, error);
    if (status < 0) return status;
    TRY(cache_make_durable(cache, durability, result, error));
    return status;
}

aic_status aic_cache_put(aic_cache *cache, const aic_put *put, aic_put_result *result, aic_error *error)
{
    if (error != NULL) *error = (aic_error){0};
    struct json json;
    json_init(&json, &cache->mem, MEM_CACHE);
    aic_status status = put_checked(cache, put, &json, result, error);
    json_fini(&json);
    if (status < 0 && error != NULL && error->status == AIC_OK)
        (void)error_set(error, status, NULL, "%s", aic_status_text(status));
    return status;
}
