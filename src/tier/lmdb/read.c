/*
 * read.c - single records and blobs.
 *
 * A record is copied out and the transaction ended before anybody is called: a reader that lingers pins pages, and the
 * file grows.
 */
#include "tier/lmdb/inner.h"

#include "base/check.h"

#include <string.h>

aic_status lmdb_record(struct lmdb_tier *lmdb, MDB_txn *txn, const struct lmdb_entry *entry, struct buf *out)
{
    const struct lmdb_envelope *envelope = &entry->envelope;
    size_t inside = lmdb_inline_bytes(envelope);
    char *room = buf_reserve(out, (size_t)envelope->record_bytes);
    if (room == NULL && envelope->record_bytes > 0) return AIC_NO_MEMORY;
    if (inside > 0) memcpy(room, (const uint8_t *)entry->value.mv_data + entry->envelope_size, inside);
    size_t at = inside;
    for (uint32_t i = 0; i < lmdb_chunk_count(envelope); i++) {
        struct lmdb_chunk_row row = lmdb_chunk_row(entry->row, i);
        MDB_val chunk_key = lmdb_val(row.bytes, sizeof row.bytes);
        MDB_val chunk;
        int code = mdb_get(txn, lmdb->databases[LMDB_CHUNKS], &chunk_key, &chunk);
        if (code != 0) return code == MDB_NOTFOUND ? AIC_DAMAGED : lmdb_status(code);
        size_t rest = (size_t)envelope->record_bytes - at;
        if (chunk.mv_size != (rest < LMDB_PIECE_BYTES ? rest : LMDB_PIECE_BYTES)) return AIC_DAMAGED;
        memcpy(room + at, chunk.mv_data, chunk.mv_size);
        at += chunk.mv_size;
    }
    buf_commit(out, (size_t)envelope->record_bytes);
    return AIC_OK;
}

/* A read of one record or blob, under a guard. */
struct reading {
    struct lmdb_tier *lmdb;
    MDB_txn *txn;
    const aic_key *key;
    aic_view name; /* of a blob; of the next one: its prefix */
    struct buf *last, *out;
    aic_status status;
};

static aic_status get_in(struct lmdb_tier *lmdb, MDB_txn *txn, const aic_key *key, struct buf *out)
{
    struct lmdb_entry entry;
    int code = lmdb_find(lmdb, txn, key, &entry);
    if (code != 0) return lmdb_status(code);
    if (!entry.sound) return AIC_DAMAGED;
    uint64_t expires_ms = entry.envelope.expires_ms;
    if (expires_ms != 0 && expires_ms <= clock_wall_ms(lmdb->clock)) return AIC_MISS;
    return lmdb_record(lmdb, txn, &entry, out);
}

static int get_guarded(void *context)
{
    struct reading *reading = context;
    reading->status = get_in(reading->lmdb, reading->txn, reading->key, reading->out);
    return 0;
}

aic_status lmdb_get(struct tier *tier, const aic_key *key, struct buf *out)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    struct reading reading = {.lmdb = lmdb, .key = key, .out = out};
    lmdb_count(&lmdb->counts.reads, 1);
    TRY(lmdb_read_begin(lmdb, &reading.txn));
    aic_status status = lmdb_guarded(lmdb, get_guarded, &reading) == 0 ? reading.status : AIC_DAMAGED;
    lmdb_read_end(lmdb, &reading.txn);
    if (status == AIC_OK) lmdb_count(&lmdb->counts.hits, 1);
    if (status < 0) lmdb_count(&lmdb->counts.errors, 1);
    return status;
}

/* --------------------------------------------------------------------------------------------------------- blobs -- */

enum { BLOB_HEAD_BYTES = 8 }; /* the check */

static bool is_name(aic_view name)
{
    return name.size > 0 && name.size <= LMDB_MAX_NAME_BYTES;
}

/* The bytes of a blob, which prove that they are its. */
static aic_status open_blob(aic_view name, MDB_val value, aic_view *out)
{
    const char *bytes = value.mv_data;
    if (value.mv_size < BLOB_HEAD_BYTES) return AIC_DAMAGED;
    *out = (aic_view){bytes + BLOB_HEAD_BYTES, value.mv_size - BLOB_HEAD_BYTES};
    uint64_t check = lmdb_take_u64(value.mv_data);
    return check == lmdb_named_check(name, out->data, out->size) ? AIC_OK : AIC_DAMAGED;
}

static int get_blob(void *context)
{
    struct reading *reading = context;
    MDB_val key = lmdb_val(reading->name.data, reading->name.size);
    MDB_val value;
    aic_view bytes;
    int code = mdb_get(reading->txn, reading->lmdb->databases[LMDB_BLOBS], &key, &value);
    if (code != 0) return code;
    reading->status = open_blob(reading->name, value, &bytes);
    if (reading->status == AIC_OK) buf_append_view(reading->out, bytes);
    return 0;
}

aic_status lmdb_blob_get(struct tier *tier, aic_view name, struct buf *out)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    struct reading reading = {.lmdb = lmdb, .name = name, .out = out};
    if (!is_name(name)) return AIC_INVALID;
    TRY(lmdb_read_begin(lmdb, &reading.txn));
    int code = lmdb_guarded(lmdb, get_blob, &reading);
    lmdb_read_end(lmdb, &reading.txn);
    if (code != 0) return lmdb_status(code);
    return reading.status != AIC_OK ? reading.status : buf_status(out);
}

struct blob {
    aic_view name, value;
};

static int put_blob(struct lmdb_write *write, void *context)
{
    const struct blob *blob = context;
    MDB_dbi database = write->lmdb->databases[LMDB_BLOBS];
    MDB_val key = lmdb_val(blob->name.data, blob->name.size);
    if (blob->value.data == NULL) {
        int code = mdb_del(write->txn, database, &key, NULL);
        return code == MDB_NOTFOUND ? 0 : code;
    }
    MDB_val value = lmdb_val(NULL, BLOB_HEAD_BYTES + blob->value.size);
    int code = mdb_put(write->txn, database, &key, &value, MDB_RESERVE);
    if (code != 0) return code;
    lmdb_put_u64(value.mv_data, lmdb_named_check(blob->name, blob->value.data, blob->value.size));
    if (blob->value.size > 0) memcpy((char *)value.mv_data + BLOB_HEAD_BYTES, blob->value.data, blob->value.size);
    return 0;
}

aic_status lmdb_blob_put(struct tier *tier, aic_view name, aic_view value)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    struct blob blob = {.name = name, .value = value};
    if (!is_name(name) || value.size > lmdb->max_bytes / 8) return AIC_INVALID;
    return lmdb_write(lmdb, value.size + 4 * LMDB_ROUGH_PAGE_BYTES, put_blob, &blob);
}

static bool has_prefix(MDB_val name, aic_view prefix)
{
    return name.mv_size >= prefix.size && (prefix.size == 0 || memcmp(name.mv_data, prefix.data, prefix.size) == 0);
}

static bool is_after(MDB_val name, aic_view last)
{
    int order = memcmp(name.mv_data, last.data, name.mv_size < last.size ? name.mv_size : last.size);
    return order != 0 ? order > 0 : name.mv_size > last.size;
}

/* Copies the first blob of the prefix whose name is greater than *last (empty: the first at all) into the two buffers.
 * *status is AIC_DAMAGED when its bytes are not its own. */
static int next_blob(struct lmdb_tier *lmdb, MDB_txn *txn, aic_view prefix, struct buf *last, struct buf *value,
                     aic_status *status)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, lmdb->databases[LMDB_BLOBS], &cursor);
    if (code != 0) return code;
    aic_view from = last->size > 0 ? buf_view(last) : prefix;
    MDB_val key = lmdb_val(from.data, from.size);
    MDB_val bytes = lmdb_val(NULL, 0);
    code = mdb_cursor_get(cursor, &key, &bytes, from.size > 0 ? MDB_SET_RANGE : MDB_FIRST);
    if (code == 0 && last->size > 0 && key.mv_size == last->size && memcmp(key.mv_data, last->data, last->size) == 0) {
        code = mdb_cursor_get(cursor, &key, &bytes, MDB_NEXT);
    }
    if (code == 0 && !has_prefix(key, prefix)) code = MDB_NOTFOUND;
    /* A page of another kind has neither names nor values. */
    if (code == 0 && (key.mv_size == 0 || (last->size > 0 && !is_after(key, buf_view(last))))) {
        lmdb_found_damage(lmdb, "keys are out of order");
        code = MDB_CORRUPTED;
    }
    if (code == 0) {
        buf_clear(last);
        buf_clear(value);
        buf_append(last, key.mv_data, key.mv_size);
        aic_view own;
        *status = open_blob((aic_view){key.mv_data, key.mv_size}, bytes, &own);
        if (*status == AIC_OK) buf_append_view(value, own);
    }
    mdb_cursor_close(cursor);
    return code;
}

static int next_guarded(void *context)
{
    struct reading *reading = context;
    return next_blob(reading->lmdb, reading->txn, reading->name, reading->last, reading->out, &reading->status);
}

aic_status lmdb_blob_next(struct tier *tier, aic_view prefix, struct buf *name, struct buf *value)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    if (prefix.size > LMDB_MAX_NAME_BYTES) return AIC_INVALID;
    for (;;) {
        struct reading reading = {.lmdb = lmdb, .name = prefix, .last = name, .out = value};
        TRY(lmdb_read_begin(lmdb, &reading.txn));
        aic_status status = lmdb_status(lmdb_guarded(lmdb, next_guarded, &reading));
        lmdb_read_end(lmdb, &reading.txn);
        TRY(status);
        TRY(buf_status(name));
        TRY(buf_status(value));
        if (reading.status != AIC_DAMAGED) return AIC_OK;
        lmdb_count(&lmdb->counts.errors, 1); /* it is left out; whoever asks for it by name is told */
    }
}
