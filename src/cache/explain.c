/*
 * explain.c - why a request hits or misses: its key, its canonical form, what is not in it, and the entry that comes
 * nearest.
 *
 * Nearness is counted on shapes (record.h keeps a hash per leaf of each request), so that nothing of what was asked
 * before is kept or shown. The search looks at a bounded number of entries of the namespace and says how many.
 */
#include "cache/inner.h"

#include "base/hex.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define SEARCH_MEMORY 200000
#define SEARCH_STORAGE 20000
#define FLUSH_DEADLINE_MS 1000
#define SHOWN_BYTES 256 /* of a long string in the form */
#define LONG_BYTES 512

struct nearest {
    struct aic_cache *cache;
    stop_flag *stop;
    aic_view ns, shape;
    bool found;
    size_t same;
    aic_key key;
    uint64_t created_ms;
    char path[1024];
    size_t path_size;
    char operation[AIC_MAX_NAME_BYTES];
    size_t operation_size;
    uint64_t looked_memory, looked_storage;
};

struct aic_explanation {
    struct aic_cache *cache;
    struct buf json;
};

static void consider(struct nearest *nearest, const aic_key *key, const struct record *record)
{
    if (record->ns.size != nearest->ns.size || memcmp(record->ns.data, nearest->ns.data, nearest->ns.size) != 0) return;
    if (record->shape.size == 0) return;
    size_t same = 0;
    aic_view path = {NULL, 0};
    key_shape_compare(nearest->shape, record->shape, &same, &path);
    bool better = !nearest->found || same > nearest->same ||
                  (same == nearest->same && record->created_ms > nearest->created_ms);
    if (!better) return;
    nearest->found = true;
    nearest->same = same;
    nearest->key = *key;
    nearest->created_ms = record->created_ms;
    nearest->path_size = utf8_fit(path, sizeof nearest->path);
    memcpy(nearest->path, path.data != NULL ? path.data : "", nearest->path_size);
    nearest->operation_size = record->operation.size;
    memcpy(nearest->operation, record->operation.data, record->operation.size);
}

static bool search_pinned(void *context, struct cache_hit *hit)
{
    struct nearest *nearest = context;
    nearest->looked_memory++;
    if (hit_read_pin(hit) == AIC_OK) consider(nearest, &hit->key, &hit->record);
    return nearest->looked_memory < SEARCH_MEMORY && !stop_is_set(nearest->stop);
}

static bool search_stored(void *context, const aic_key *key, aic_view bytes)
{
    struct nearest *nearest = context;
    struct record record;
    nearest->looked_storage++;
    if (record_take(key, bytes, &record) == AIC_OK && !filter_list_hides(&nearest->cache->filters, &record))
        consider(nearest, key, &record);
    return nearest->looked_storage < SEARCH_STORAGE && !stop_is_set(nearest->stop);
}

static void search_storage(struct nearest *nearest)
{
    struct aic_cache *cache = nearest->cache;
    /* What waits in the queue is stored, too. A tier that does not answer is left out; the figures under `searched`
     * show it. */
    if (!cache_storage_up(cache) || gate_flush(cache->gate, false, FLUSH_DEADLINE_MS) != AIC_OK) return;
    struct tier_label label = {LABEL_NAMESPACE, nearest->ns};
    struct tier_filter filter = {.labels = &label, .label_count = 1};
    struct tier_place at = {0};
    if (gate_walk(cache->gate, &(struct tier_walk){
                                   .filter = &filter, .at = &at, .visit = search_stored, .context = nearest}) != AIC_OK)
        cache_log(cache, AIC_LOG_WARNING, "explain could not search storage");
}

/* ---- the form, readable ---- */

static void append_digest(struct buf *out, aic_view text)
{
    uint8_t hash[32];
    char digits[2 * sizeof hash];
    if (digest_sha256(text.data, text.size, hash) != AIC_OK) return;
    hex_write(hash, sizeof hash, digits);
    buf_append(out, digits, sizeof digits);
}

/* Copies the form, long strings shortened: s5000:first bytes…[4744 bytes more, sha256 …]. Returns whether any was. */
static bool shorten(aic_view form, struct buf *out)
{
    bool any = false;
    const char *at = form.data, *end = form.data + form.size;
    while (at < end) {
        if (*at != 's') {
            const char *start = at++;
            if (*start == 'd') {
                while (at < end && *at != ';') at++;
            }
            buf_append(out, start, (size_t)(at - start));
            continue;
        }
        char *digits_end;
        size_t size = (size_t)strtoull(at + 1, &digits_end, 10);
        aic_view text = {digits_end + 1, size};
        size_t shown = size > LONG_BYTES ? utf8_fit(text, SHOWN_BYTES) : size;
        buf_append(out, at, (size_t)(text.data - at) + shown);
        if (shown < size) {
            buf_printf(out, "\xE2\x80\xA6[%zu bytes more, sha256 ", size - shown);
            append_digest(out, text);
            buf_append_text(out, "]");
            any = true;
        }
        at = text.data + size;
    }
    return any;
}

static aic_status write_form(struct aic_cache *cache, const struct key_request *request, struct json_writer *writer,
                             aic_error *error)
{
    struct buf form, readable;
    buf_init(&form, &cache->mem, MEM_CACHE);
    buf_init(&readable, &cache->mem, MEM_CACHE);
    aic_status status;
    TRY_OR_FAIL(key_canonical(&cache->mem, request, &form, error));
    buf_append_byte(&form, '\0'); /* so that reading a number cannot run on */
    TRY_OR_FAIL(buf_status(&form));
    size_t front = sizeof KEY_FORM_TAG - 1;
    buf_append_text(&readable, KEY_FORM_TAG);
    bool shortened = shorten((aic_view){form.data + front, form.size - 1 - front}, &readable);
    TRY_OR_FAIL(buf_status(&readable));
    json_key(writer, "canonical"), json_put_view(writer, buf_view(&readable));
    json_key(writer, "canonical_bytes"), json_put_u64(writer, form.size - 1);
    json_key(writer, "canonical_shortened"), json_put_bool(writer, shortened);
fail:
    buf_fini(&readable);
    buf_fini(&form);
    return status;
}

/* ---- the answer ---- */

static void left_out(struct json_writer *writer, const char *field, const char *why)
{
    json_open(writer, '{');
    json_key(writer, "field"), json_put_text(writer, field);
    json_key(writer, "why"), json_put_text(writer, why);
    json_close(writer, '}');
}

static void write_left_out(struct json_writer *writer, const struct key_request *request)
{
    json_key(writer, "left_out");
    json_open(writer, '[');
    bool no_options = request->options == NULL || request->options->tokens[request->options_token].members == 0;
    no_options = no_options && request->model.size == 0;
    if (no_options) left_out(writer, "options", "absent, null and {} are the same request");
    if (request->question.json == NULL && request->question.plain.data == NULL)
        left_out(writer, "question", "absent, which is not the same as empty");
    left_out(writer, "ttl, tags, tokens, cost_usd", "kept with the entry; they are not part of what was asked");
    left_out(writer, "order of members, spelling of numbers and escapes",
             "1 and 1.0 are the same number, \\u0061 is a");
    json_close(writer, ']');
}

static void write_hit(struct json_writer *writer, struct aic_cache *cache, const struct record *record, unsigned tier)
{
    uint64_t now = clock_wall_ms(&cache->clock);
    json_key(writer, "tier"), json_put_text(writer, tier == AIC_IN_MEMORY ? "memory" : "storage");
    json_key(writer, "age_seconds"),
        json_put_u64(writer, now > record->created_ms ? (now - record->created_ms) / 1000 : 0);
    json_key(writer, "ttl_seconds");
    if (record->expires_ms == 0) json_put_null(writer);
    else json_put_u64(writer, record->expires_ms > now ? (record->expires_ms - now) / 1000 : 0);
}

static aic_status write_nearest(struct aic_cache *cache, const struct key_request *request, stop_flag *stop,
                                struct json_writer *writer)
{
    struct buf shape;
    buf_init(&shape, &cache->mem, MEM_CACHE);
    aic_status status = key_shape(cache->digest, &cache->mem, request, &shape);
    struct nearest nearest = {.cache = cache, .stop = stop, .ns = request->ns, .shape = buf_view(&shape)};
    if (status == AIC_OK) {
        cache_walk_memory(cache, search_pinned, &nearest);
        if (cache->gate != NULL && !stop_is_set(stop)) search_storage(&nearest);
        json_key(writer, "nearest");
        if (nearest.found) {
            char hex[AIC_KEY_HEX_SIZE];
            aic_key_format(&nearest.key, hex);
            json_open(writer, '{');
            json_key(writer, "key"), json_put_text(writer, hex);
            json_key(writer, "operation"), json_put_view(writer, (aic_view){nearest.operation, nearest.operation_size});
            json_key(writer, "same_leaves"), json_put_u64(writer, nearest.same);
            json_key(writer, "first_difference"), json_put_view(writer, (aic_view){nearest.path, nearest.path_size});
            json_close(writer, '}');
        } else {
            json_put_null(writer);
        }
        json_key(writer, "searched");
        json_open(writer, '{');
        json_key(writer, "memory"), json_put_u64(writer, nearest.looked_memory);
        json_key(writer, "storage"), json_put_u64(writer, nearest.looked_storage);
        json_close(writer, '}');
    }
    buf_fini(&shape);
    return status;
}

aic_status cache_explain(struct aic_cache *cache, const struct key_request *request, stop_flag *stop, struct buf *json,
                         aic_error *error)
{
    aic_key key;
    uint64_t length = 0;
    TRY(cache_key(cache, request, &key, &length, error));
    char hex[AIC_KEY_HEX_SIZE];
    aic_key_format(&key, hex);
    struct json_writer writer;
    json_writer_init(&writer, json);
    json_open(&writer, '{');
    json_key(&writer, "key"), json_put_text(&writer, hex);
    json_key(&writer, "partition"), json_put_view(&writer, request->ns);
    json_key(&writer, "operation"), json_put_view(&writer, request->operation);
    json_key(&writer, "text_length"), json_put_u64(&writer, length);
    json_key(&writer, "text_tier"), json_put_text(&writer, aic_text_tier(length));
    json_key(&writer, "default_ttl_seconds"), json_put_u64(&writer, cache_default_ttl(cache, request->operation));
    TRY(write_form(cache, request, &writer, error));
    write_left_out(&writer, request);
    struct cache_hit hit;
    aic_status found = cache_look(cache, request->ns, &key, &hit);
    json_key(&writer, "hit"), json_put_bool(&writer, found == AIC_OK);
    if (found == AIC_OK) {
        write_hit(&writer, cache, &hit.record, hit.tier);
        cache_hit_release(&hit);
    } else {
        json_key(&writer, "storage"), json_put_text(&writer, cache->gate == NULL ? "none"
                                                             : found == AIC_MISS ? "miss"
                                                                                 : aic_status_text(found));
        TRY(write_nearest(cache, request, stop, &writer));
    }
    json_close(&writer, '}');
    return buf_status(json);
}

aic_status aic_cache_explain(aic_cache *cache, const aic_request *request, aic_explanation **out, aic_error *error)
{
    if (error != NULL) *error = (aic_error){0};
    struct aic_explanation *made = mem_alloc(&cache->mem, MEM_CACHE, sizeof *made);
    if (made == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "%s", aic_status_text(AIC_NO_MEMORY));
    made->cache = cache;
    buf_init(&made->json, &cache->mem, MEM_CACHE);
    struct json json;
    struct key_request taken;
    aic_status status = request_take(cache, request, &json, &taken, error);
    if (status == AIC_OK) status = cache_explain(cache, &taken, NULL, &made->json, error);
    json_fini(&json);
    if (status != AIC_OK) {
        aic_explanation_release(&made);
        if (error != NULL && error->status == AIC_OK)
            (void)error_set(error, status, NULL, "%s", aic_status_text(status));
        return status;
    }
    *out = made;
    return AIC_OK;
}

aic_view aic_explanation_json(const aic_explanation *explanation)
{
    return buf_view(&explanation->json);
}

void aic_explanation_release(aic_explanation **explanation)
{
    if (explanation == NULL || *explanation == NULL) return;
    struct aic_cache *cache = (*explanation)->cache;
    buf_fini(&(*explanation)->json);
    mem_free(&cache->mem, MEM_CACHE, *explanation, sizeof **explanation);
    *explanation = NULL;
}
