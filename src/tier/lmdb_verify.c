/*
 * lmdb_verify.c - recounts the store: every entry has exactly its rows, every row its entry, and the counters agree.
 *
 * It works in short transactions, so that a check of many gigabytes pins no pages. What must hold at every moment is
 * compared within one of them; the sum of the record bytes is compared when nothing was committed meanwhile.
 */
#include "tier/lmdb_tier.h"

#include "base/check.h"
#include "base/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { STEP_ROWS = 1024, STEP_BYTES = 16 << 20, MAX_ROW_BYTES = 64 };

/* A walk over one database, step by step. */
struct walk {
    struct lmdb_tier *lmdb;
    aic_error *error;
    enum lmdb_database database;
    uint8_t from[MAX_ROW_BYTES]; /* the last row that was checked */
    size_t from_size;            /* 0: none yet */
    uint64_t rows;
    uint64_t record_bytes;
    struct buf record;
};

typedef aic_status check_fn(struct walk *walk, MDB_txn *txn, MDB_val key, MDB_val value);

static aic_status damaged(struct walk *walk, const uint8_t *key, const char *what)
{
    char hex[AIC_KEY_HEX_SIZE];
    aic_key whole;
    memcpy(whole.bytes, key, AIC_KEY_BYTES);
    aic_key_format(&whole, hex);
    return error_set(walk->error, AIC_DAMAGED, NULL, "storage entry %.12s: %s", hex, what);
}

static bool has_row(struct walk *walk, MDB_txn *txn, enum lmdb_database database, uint64_t number, const aic_key *key)
{
    struct lmdb_pair_row row;
    lmdb_pair_row_make(number, key, &row);
    MDB_val row_key = lmdb_val(row.bytes, sizeof row.bytes);
    MDB_val nothing;
    return mdb_get(txn, walk->lmdb->databases[database], &row_key, &nothing) == 0;
}

/* The envelope must say what the record says. */
static aic_status check_description(struct walk *walk, const aic_key *key, const struct lmdb_envelope *envelope)
{
    struct tier_description description = {0};
    struct lmdb_envelope fresh;
    aic_view record = buf_view(&walk->record);
    if (walk->lmdb->describe(walk->lmdb->describe_context, record, &description) != AIC_OK ||
        lmdb_envelope_make(&description, record.size, &fresh) != AIC_OK) {
        return damaged(walk, key->bytes, "its record cannot be read");
    }
    if (fresh.created_ms != envelope->created_ms || fresh.expires_ms != envelope->expires_ms ||
        fresh.label_count != envelope->label_count ||
        memcmp(fresh.labels, envelope->labels, fresh.label_count * sizeof fresh.labels[0]) != 0) {
        return damaged(walk, key->bytes, "its envelope and its record disagree");
    }
    return AIC_OK;
}

static aic_status check_entry(struct walk *walk, MDB_txn *txn, MDB_val key_bytes, MDB_val value)
{
    struct lmdb_envelope envelope;
    size_t size;
    aic_key key;
    if (key_bytes.mv_size != AIC_KEY_BYTES)
        return error_set(walk->error, AIC_DAMAGED, NULL, "a storage key has a wrong size");
    memcpy(key.bytes, key_bytes.mv_data, AIC_KEY_BYTES);
    if (lmdb_envelope_read(value, &envelope, &size) != AIC_OK)
        return damaged(walk, key.bytes, "its envelope is damaged");
    if (!has_row(walk, txn, LMDB_EXPIRY, lmdb_rank(&envelope), &key))
        return damaged(walk, key.bytes, "it has no expiry row");
    for (size_t i = 0; i < envelope.label_count; i++) {
        if (!has_row(walk, txn, LMDB_LABELS, envelope.labels[i], &key))
            return damaged(walk, key.bytes, "a label row is missing");
    }
    buf_clear(&walk->record);
    aic_status status = lmdb_record(walk->lmdb, txn, &key, value, &envelope, size, &walk->record);
    if (status == AIC_DAMAGED) return damaged(walk, key.bytes, "a part of its record is missing");
    TRY(status);
    walk->record_bytes += envelope.record_bytes;
    return check_description(walk, &key, &envelope);
}

static bool read_entry(struct walk *walk, MDB_txn *txn, const uint8_t *key, struct lmdb_envelope *out)
{
    MDB_val entry = lmdb_val(key, AIC_KEY_BYTES);
    MDB_val value;
    size_t size;
    return mdb_get(txn, walk->lmdb->databases[LMDB_ENTRIES], &entry, &value) == 0 &&
           lmdb_envelope_read(value, out, &size) == AIC_OK;
}

static aic_status check_pair_row(struct walk *walk, MDB_txn *txn, MDB_val row, MDB_val value)
{
    struct lmdb_envelope envelope;
    if (row.mv_size != sizeof(struct lmdb_pair_row) || value.mv_size != 0) {
        return error_set(walk->error, AIC_DAMAGED, NULL, "an index row has a wrong size");
    }
    const uint8_t *key = (const uint8_t *)row.mv_data + 8;
    uint64_t number = lmdb_pair_row_number(row);
    if (!read_entry(walk, txn, key, &envelope)) return damaged(walk, key, "an index row leads to no entry");
    bool agrees = walk->database == LMDB_EXPIRY && lmdb_rank(&envelope) == number;
    for (size_t i = 0; walk->database == LMDB_LABELS && i < envelope.label_count; i++) {
        if (envelope.labels[i] == number) agrees = true;
    }
    return agrees ? AIC_OK : damaged(walk, key, "an index row of an older record is left over");
}

static aic_status check_chunk(struct walk *walk, MDB_txn *txn, MDB_val row, MDB_val value)
{
    struct lmdb_envelope envelope;
    (void)value; /* its size was checked with the entry */
    if (row.mv_size != sizeof(struct lmdb_chunk_row))
        return error_set(walk->error, AIC_DAMAGED, NULL, "a chunk's key has a wrong size");
    const uint8_t *key = row.mv_data;
    if (!read_entry(walk, txn, key, &envelope)) return damaged(walk, key, "a chunk belongs to no entry");
    struct lmdb_chunk_row last;
    aic_key entry_key;
    memcpy(entry_key.bytes, key, AIC_KEY_BYTES);
    lmdb_chunk_row_make(&entry_key, lmdb_chunk_count(&envelope), &last);
    return memcmp(row.mv_data, last.bytes, sizeof last.bytes) < 0 ? AIC_OK : damaged(walk, key, "a chunk is left over");
}

/* ------------------------------------------------------------------------------------------------------- walking -- */

static int seek(struct walk *walk, MDB_cursor *cursor, MDB_val *key, MDB_val *value)
{
    if (walk->from_size == 0) return mdb_cursor_get(cursor, key, value, MDB_FIRST);
    *key = lmdb_val(walk->from, walk->from_size);
    int code = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    bool same = code == 0 && key->mv_size == walk->from_size && memcmp(key->mv_data, walk->from, walk->from_size) == 0;
    return same ? mdb_cursor_get(cursor, key, value, MDB_NEXT) : code;
}

/* AIC_OK after a bounded number of rows, AIC_MISS at the end. */
static aic_status step(struct walk *walk, MDB_txn *txn, MDB_cursor *cursor, check_fn *check)
{
    MDB_val key, value;
    size_t bytes = 0;
    int code = seek(walk, cursor, &key, &value);
    for (int row = 0; code == 0; row++) {
        if (row == STEP_ROWS || bytes > STEP_BYTES) return AIC_OK;
        if (key.mv_size > MAX_ROW_BYTES)
            return error_set(walk->error, AIC_DAMAGED, NULL, "a storage key has a wrong size");
        TRY(check(walk, txn, key, value));
        walk->rows++;
        bytes += value.mv_size + walk->record.size;
        walk->from_size = key.mv_size;
        memcpy(walk->from, key.mv_data, key.mv_size);
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    return lmdb_status(code);
}

/* One transaction of a walk, under a guard. */
struct visit {
    struct walk *walk;
    MDB_txn *txn;
    check_fn *check;
    uint64_t *bytes;
    aic_status status;
};

static int step_guarded(void *context)
{
    struct visit *visit = context;
    MDB_cursor *cursor;
    struct walk *walk = visit->walk;
    visit->status = lmdb_status(mdb_cursor_open(visit->txn, walk->lmdb->databases[walk->database], &cursor));
    if (visit->status != AIC_OK) return 0;
    visit->status = step(walk, visit->txn, cursor, visit->check);
    mdb_cursor_close(cursor);
    return 0;
}

static aic_status visit_guarded(struct visit *visit, int (*work)(void *context))
{
    struct lmdb_tier *lmdb = visit->walk->lmdb;
    TRY(lmdb_read_begin(lmdb, &visit->txn));
    int code = lmdb_guarded(lmdb, work, visit);
    lmdb_read_end(lmdb, &visit->txn);
    if (code == 0) return visit->status;
    return error_set(visit->walk->error, AIC_DAMAGED, NULL, "the storage file is damaged");
}

static aic_status walk_database(struct walk *walk, check_fn *check)
{
    struct visit visit = {.walk = walk, .check = check};
    walk->from_size = 0;
    walk->rows = 0;
    aic_status status = AIC_OK;
    while (status == AIC_OK) status = visit_guarded(&visit, step_guarded);
    return status == AIC_MISS ? AIC_OK : status;
}

/* In one transaction: the counters in meta and LMDB's own counts of rows. */
static aic_status check_counters(struct walk *walk, MDB_txn *txn, uint64_t *bytes)
{
    MDB_val key = lmdb_val("counters", 8);
    MDB_val value;
    MDB_stat entries, ranks;
    TRY(lmdb_status(mdb_get(txn, walk->lmdb->databases[LMDB_META], &key, &value)));
    TRY(lmdb_status(mdb_stat(txn, walk->lmdb->databases[LMDB_ENTRIES], &entries)));
    TRY(lmdb_status(mdb_stat(txn, walk->lmdb->databases[LMDB_EXPIRY], &ranks)));
    uint64_t counted = value.mv_size == 16 ? lmdb_take_u64(value.mv_data) : UINT64_MAX;
    if (counted != entries.ms_entries || counted != ranks.ms_entries) {
        return error_set(walk->error, AIC_DAMAGED, NULL,
                         "%" PRIu64 " storage entries counted, %zu there, %zu in the expiry index", counted,
                         entries.ms_entries, ranks.ms_entries);
    }
    *bytes = lmdb_take_u64((const uint8_t *)value.mv_data + 8);
    return AIC_OK;
}

static int count_guarded(void *context)
{
    struct visit *visit = context;
    visit->status = check_counters(visit->walk, visit->txn, visit->bytes);
    return 0;
}

static aic_status read_counters(struct walk *walk, uint64_t *bytes)
{
    struct visit visit = {.walk = walk, .bytes = bytes};
    aic_status status = visit_guarded(&visit, count_guarded);
    return status == AIC_MISS ? error_set(walk->error, AIC_DAMAGED, NULL, "the storage counters are missing") : status;
}

static aic_status verify_all(struct walk *walk)
{
    static const struct {
        enum lmdb_database database;
        check_fn *check;
    } checks[] = {{LMDB_EXPIRY, check_pair_row},
                  {LMDB_LABELS, check_pair_row},
                  {LMDB_CHUNKS, check_chunk},
                  {LMDB_ENTRIES, check_entry}};
    uint64_t bytes = 0;
    uint64_t before = atomic_load_explicit(&walk->lmdb->committed, memory_order_acquire);
    TRY(read_counters(walk, &bytes));
    for (size_t i = 0; i < COUNT_OF(checks); i++) {
        walk->database = checks[i].database;
        TRY(walk_database(walk, checks[i].check));
    }
    bool still = atomic_load_explicit(&walk->lmdb->committed, memory_order_acquire) == before;
    if (still && bytes != walk->record_bytes) {
        return error_set(walk->error, AIC_DAMAGED, NULL,
                         "%" PRIu64 " bytes of storage records counted, %" PRIu64 " there", bytes, walk->record_bytes);
    }
    return AIC_OK;
}

aic_status lmdb_verify(struct tier *tier, aic_error *error)
{
    struct walk walk = {.lmdb = lmdb_of(tier), .error = error};
    buf_init(&walk.record, walk.lmdb->mem, MEM_STORAGE);
    aic_status status = verify_all(&walk);
    buf_fini(&walk.record);
    if (status < 0 && status != AIC_DAMAGED)
        return error_set(error, status, NULL, "the storage could not be read: %s", aic_status_text(status));
    return status;
}

/* ---------------------------------------------------------------------------------------------------------- dump -- */

enum { DUMP_BYTES = 512 };

/* A long value is told by its front, its size and its hash. */
static void dump_hex(struct buf *out, MDB_val bytes)
{
    const uint8_t *at = bytes.mv_data;
    for (size_t i = 0; i < bytes.mv_size && i < DUMP_BYTES; i++) buf_printf(out, "%02x", at[i]);
    if (bytes.mv_size <= DUMP_BYTES) return;
    buf_printf(out, "... %zu bytes, hash %016" PRIx64, bytes.mv_size,
               (uint64_t)XXH3_64bits(bytes.mv_data, bytes.mv_size));
}

static int dump_database(struct lmdb_tier *lmdb, MDB_txn *txn, enum lmdb_database database, struct buf *out)
{
    static const char *const names[] = {
#define DATABASE_NAME(name, text) text,
        LMDB_DATABASE_MAP(DATABASE_NAME)
#undef DATABASE_NAME
    };
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(txn, lmdb->databases[database], &cursor);
    if (code != 0) return code;
    for (code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST); code == 0;
         code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        buf_append_text(out, names[database]);
        buf_append_byte(out, ' ');
        dump_hex(out, key);
        buf_append_text(out, " = ");
        dump_hex(out, value);
        buf_append_byte(out, '\n');
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}

aic_status lmdb_dump(struct tier *tier, struct buf *out)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    MDB_txn *txn;
    TRY(lmdb_read_begin(lmdb, &txn));
    int code = 0;
    for (int i = 0; code == 0 && i < LMDB_DATABASES; i++) code = dump_database(lmdb, txn, (enum lmdb_database)i, out);
    lmdb_read_end(lmdb, &txn);
    return code != 0 ? lmdb_status(code) : buf_status(out);
}
