/*
 * export.c - every matching entry as a line of JSON, in pieces.
 *
 * The walk is storage first, in the order of keys, then what memory alone holds. A piece is collected under one read of
 * storage (copies; no transaction lives longer than that) and decoded afterwards.
 */
#include "cache/inner.h"

#include "base/json.h"

#include <assert.h>
#include <string.h>

#define DEFAULT_PIECE_BYTES ((size_t)256 << 10)
#define MAX_COLLECTED 512 /* records per piece */
#define SCAN_PINS 16
#define FLUSH_DEADLINE_MS 10000
#define LABELS_BYTES 8192            /* more than the rest of a line mostly has */
#define KEPT_BYTES ((size_t)1 << 20) /* what a buffer keeps from piece to piece */
static_assert(RECORD_MAX_SHAPE_BYTES == KEY_SHAPE_BYTES, "each shape that a record holds can be written");

struct collected {
    aic_key key;
    size_t offset, size; /* of its record in `bytes` */
};

/* How far the walk has come. */
struct export_place {
    bool storage_done, done;
    struct tier_place storage;
    uint64_t cursor; /* of the walk over memory */
    uint64_t lines;
};

struct aic_export {
    struct aic_cache *cache;
    struct filter filter;
    struct export_place at;
    size_t piece_bytes;
    struct buf bytes; /* records of this piece */
    struct collected rows[MAX_COLLECTED];
    size_t count;
    struct buf text; /* the piece */
    struct buf plain;
};

aic_status export_create(struct aic_cache *cache, struct mem *lines, const aic_filter *filter, stop_flag *stop,
                         aic_export **out, aic_error *error)
{
    if (error != NULL) *error = (aic_error){0};
    struct aic_export *exporter = mem_zalloc(&cache->mem, MEM_CACHE, sizeof *exporter);
    if (exporter == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "%s", aic_status_text(AIC_NO_MEMORY));
    exporter->cache = cache;
    buf_init(&exporter->bytes, lines, MEM_CACHE);
    buf_init(&exporter->text, lines, MEM_CACHE);
    buf_init(&exporter->plain, lines, MEM_CACHE);
    aic_status status = cache_take_filter(cache, filter, &exporter->filter, error);
    exporter->filter.stop = stop;
    exporter->at.storage_done = cache->gate == NULL || (exporter->filter.tiers & AIC_IN_STORAGE) == 0;
    if (status == AIC_OK && !exporter->at.storage_done) {
        status = gate_flush(cache->gate, false, FLUSH_DEADLINE_MS);
        if (status != AIC_OK) (void)error_set(error, status, NULL, "storage: %s", aic_status_text(status));
    }
    if (status != AIC_OK) {
        aic_export_destroy(&exporter);
        return status;
    }
    *out = exporter;
    return AIC_OK;
}

aic_status aic_export_create(aic_cache *cache, const aic_filter *filter, aic_export **out, aic_error *error)
{
    return export_create(cache, &cache->mem, filter, NULL, out, error);
}

void aic_export_destroy(aic_export **exporter)
{
    if (exporter == NULL || *exporter == NULL) return;
    struct aic_export *old = *exporter;
    buf_fini(&old->plain);
    buf_fini(&old->text);
    buf_fini(&old->bytes);
    mem_free(&old->cache->mem, MEM_CACHE, old, sizeof *old);
    *exporter = NULL;
}

uint64_t aic_export_lines(const aic_export *exporter)
{
    return exporter->at.lines;
}

/* ---- one line ---- */

static void write_tags(struct json_writer *writer, const struct record *record)
{
    json_key(writer, "tags");
    json_open(writer, '[');
    for (size_t i = 0; i < record->tag_count; i++) json_put_view(writer, record->tags[i]);
    json_close(writer, ']');
}

static void write_line(struct buf *out, const char *secret, const aic_key *key, const struct record *record,
                       aic_view response)
{
    char hex[AIC_KEY_HEX_SIZE];
    aic_key_format(key, hex);
    struct json_writer writer;
    json_writer_init(&writer, out);
    json_open(&writer, '{');
    json_key(&writer, "key"), json_put_text(&writer, hex);
    json_key(&writer, "secret"), json_put_text(&writer, secret);
    json_key(&writer, "namespace"), json_put_view(&writer, record->ns);
    json_key(&writer, "operation"), json_put_view(&writer, record->operation);
    if (record->model.size > 0) json_key(&writer, "model"), json_put_view(&writer, record->model);
    if (record->tag_count > 0) write_tags(&writer, record);
    if (record->shape.size > 0) {
        char digits[2 * KEY_SHAPE_BYTES];
        json_key(&writer, "shape"), json_put_view(&writer, key_shape_format(record->shape, digits));
    }
    json_key(&writer, "text_length"), json_put_u64(&writer, record->text_length);
    json_key(&writer, "created_ms"), json_put_u64(&writer, record->created_ms);
    json_key(&writer, "expires_ms"), json_put_u64(&writer, record->expires_ms);
    if (record->prompt_tokens > 0) json_key(&writer, "prompt_tokens"), json_put_u64(&writer, record->prompt_tokens);
    if (record->completion_tokens > 0)
        json_key(&writer, "completion_tokens"), json_put_u64(&writer, record->completion_tokens);
    if (record->cost_usd > 0) json_key(&writer, "cost_usd"), json_put_double(&writer, record->cost_usd);
    json_key(&writer, "response"), json_put_raw(&writer, response);
    json_close(&writer, '}');
    buf_append_byte(out, '\n');
}

/*
 * A response is the bytes that came, and those may hold line breaks between tokens. On a line of its own each becomes a
 * space, which JSON allows everywhere outside strings, and inside a string it cannot stand.
 */
static void flatten(struct buf *plain)
{
    for (size_t i = 0; i < plain->size; i++) {
        if (plain->data[i] == '\n' || plain->data[i] == '\r') plain->data[i] = ' ';
    }
}

static aic_status add_line(struct aic_export *exporter, const aic_key *key, aic_view bytes)
{
    struct record record;
    if (record_take(key, bytes, &record) != AIC_OK) return AIC_OK; /* damaged: no entry */
    if (!filter_matches(&exporter->filter, &record)) return AIC_OK;
    if (filter_list_hides(&exporter->cache->filters, &record)) return AIC_OK;
    buf_clear(&exporter->plain);
    aic_status status = cache_decode(exporter->cache, &record, &exporter->plain);
    if (status == AIC_DAMAGED) return AIC_OK;
    if (status != AIC_OK) return status;
    flatten(&exporter->plain);
    /* At once: a text that grows is there twice. */
    (void)buf_reserve(&exporter->text, exporter->plain.size + RECORD_MAX_SHAPE_BYTES * 2 + LABELS_BYTES);
    write_line(&exporter->text, exporter->cache->fingerprint, key, &record, buf_view(&exporter->plain));
    TRY(buf_status(&exporter->text));
    exporter->at.lines++;
    return AIC_OK;
}

/* ---- storage's part ---- */

static bool collect(void *context, const aic_key *key, aic_view bytes)
{
    struct aic_export *exporter = context;
    struct record record;
    if (filter_is_stopped(&exporter->filter)) return false;
    /* Its checksum is looked at with its line. */
    if (record_read(bytes, &record) != AIC_OK || !filter_matches(&exporter->filter, &record)) return true;
    struct collected *row = &exporter->rows[exporter->count];
    *row = (struct collected){*key, exporter->bytes.size, bytes.size};
    buf_append_view(&exporter->bytes, bytes);
    if (exporter->bytes.failed) return false;
    exporter->count++;
    return exporter->count < MAX_COLLECTED && exporter->bytes.size < exporter->piece_bytes;
}

static bool goes_on(void *context)
{
    const struct aic_export *exporter = context;
    return exporter->count == 0 && !filter_is_stopped(&exporter->filter); /* one page is one piece */
}

static aic_status storage_piece(struct aic_export *exporter)
{
    struct gate_stats gate;
    gate_stats(exporter->cache->gate, &gate);
    if (!gate.reads_up) return AIC_UNAVAILABLE; /* whoever walks through it now may not come back */
    struct tier_label labels[4];
    struct tier_filter filter = filter_of_storage(&exporter->filter, labels);
    filter.any_order = exporter->filter.any_namespace;
    exporter->count = 0;
    buf_clear(&exporter->bytes);
    TRY(gate_walk(exporter->cache->gate, &(struct tier_walk){.filter = &filter,
                                                             .at = &exporter->at.storage,
                                                             .most = MAX_COLLECTED,
                                                             .most_bytes = exporter->piece_bytes,
                                                             .visit = collect,
                                                             .goes_on = goes_on,
                                                             .context = exporter}));
    TRY(buf_status(&exporter->bytes));
    if (filter_is_stopped(&exporter->filter)) return AIC_CLOSED;
    for (size_t i = 0; i < exporter->count; i++) {
        const struct collected *row = &exporter->rows[i];
        TRY(add_line(exporter, &row->key, (aic_view){exporter->bytes.data + row->offset, row->size}));
    }
    exporter->at.storage_done = exporter->at.storage.ended;
    return AIC_OK;
}

/* ---- what memory alone holds ---- */

static aic_status add_pinned(struct aic_export *exporter, const struct pin *pin)
{
    buf_clear(&exporter->bytes);
    char *room = buf_reserve(&exporter->bytes, pin_size(pin));
    if (room == NULL) return AIC_NO_MEMORY;
    pin_copy(pin, 0, room, pin_size(pin));
    return add_line(exporter, pin_key(pin), (aic_view){room, pin_size(pin)});
}

/* Which of these came with storage's part? */
static aic_status look_in_storage(struct aic_export *exporter, const struct pin *pins, size_t count, bool *stored)
{
    struct gate *gate = exporter->cache->gate;
    aic_key keys[SCAN_PINS];
    memset(stored, 0, SCAN_PINS * sizeof *stored);
    if (gate == NULL || count == 0 || (exporter->filter.tiers & AIC_IN_STORAGE) == 0) return AIC_OK;
    for (size_t i = 0; i < count; i++) keys[i] = *pin_key(&pins[i]);
    return gate_holds(gate, keys, count, stored);
}

static aic_status memory_piece(struct aic_export *exporter)
{
    struct pin pins[SCAN_PINS];
    bool stored[SCAN_PINS];
    if (filter_is_stopped(&exporter->filter)) return AIC_CLOSED;
    size_t count = store_scan(exporter->cache->store, &exporter->at.cursor, pins, COUNT_OF(pins));
    aic_status status = look_in_storage(exporter, pins, count, stored);
    for (size_t i = 0; i < count; i++) {
        if (status == AIC_OK && !stored[i]) status = add_pinned(exporter, &pins[i]);
        pin_release(&pins[i]);
    }
    if (exporter->at.cursor == 0) exporter->at.done = true;
    return status;
}

static void start_over(struct buf *buf)
{
    if (buf->capacity > KEPT_BYTES) buf_fini(buf);
    else buf_clear(buf);
}

static aic_status make_piece(struct aic_export *exporter)
{
    struct export_place *at = &exporter->at;
    start_over(&exporter->bytes);
    start_over(&exporter->plain);
    start_over(&exporter->text);
    if (!at->storage_done) TRY(storage_piece(exporter));
    bool memory = at->storage_done && (exporter->filter.tiers & AIC_IN_MEMORY) != 0;
    while (memory && !at->done && exporter->text.size < exporter->piece_bytes) TRY(memory_piece(exporter));
    return AIC_OK;
}

aic_status aic_export_next(aic_export *exporter, size_t piece_bytes, aic_view *out)
{
    exporter->piece_bytes = piece_bytes > 0 ? piece_bytes : DEFAULT_PIECE_BYTES;
    do { /* a piece whose records were all left out is none */
        struct export_place before = exporter->at;
        aic_status status = make_piece(exporter);
        if (status == AIC_NO_MEMORY) { /* who waits keeps nothing from others */
            exporter->at = before;
            buf_fini(&exporter->bytes);
            buf_fini(&exporter->plain);
            buf_fini(&exporter->text);
        }
        TRY(status);
        if (exporter->text.size == 0 && exporter->at.storage_done) return AIC_MISS;
    } while (exporter->text.size == 0);
    *out = buf_view(&exporter->text);
    return AIC_OK;
}
