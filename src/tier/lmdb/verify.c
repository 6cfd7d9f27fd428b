/*
 * verify.c - recounts the store: every entry has exactly its rows, every row its entry, and the counters agree.
 *
 * It works in short transactions, so that a check of many gigabytes pins no pages. What must hold at every moment is
 * compared within one of them; the sum of the record bytes is compared when all of them saw the same commit.
 */
#include "tier/lmdb/inner.h"

#include "base/check.h"
#include "base/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

enum { STEP_ROWS = 1024, STEP_BYTES = 16 << 20, MAX_ROW_BYTES = sizeof((struct tier_check *)NULL)->from };

/* One step of a walk over one database. */
struct walk {
    struct lmdb_tier *lmdb;
    aic_error *error;
    struct tier_check *place; /* the last row that was checked, in a sorted list its value too; the sums */
    enum lmdb_database database;
    struct buf record;
};

typedef aic_status check_fn(struct walk *walk, MDB_txn *txn, MDB_val key, MDB_val value);

static aic_status damaged(struct walk *walk, const aic_key *key, const char *what)
{
    char hex[AIC_KEY_HEX_SIZE];
    aic_key_format(key, hex);
    return error_set(walk->error, AIC_DAMAGED, NULL, "storage entry %.12s: %s", hex, what);
}

static aic_status damaged_row(struct walk *walk, uint64_t row, const char *what)
{
    return error_set(walk->error, AIC_DAMAGED, NULL, "storage row %" PRIu64 ": %s", row, what);
}

static bool has_row(struct walk *walk, MDB_txn *txn, enum lmdb_database database, MDB_val key, MDB_val value)
{
    MDB_cursor *cursor;
    if (mdb_cursor_open(txn, walk->lmdb->databases[database], &cursor) != 0) return false;
    int code = mdb_cursor_get(cursor, &key, &value, value.mv_size > 0 ? MDB_GET_BOTH : MDB_SET);
    mdb_cursor_close(cursor);
    return code == 0;
}

/* The envelope must say what the record says. */
static aic_status check_description(struct walk *walk, const struct lmdb_envelope *envelope)
{
    struct tier_description description = {0};
    struct lmdb_envelope fresh;
    aic_view record = buf_view(&walk->record);
    if (walk->lmdb->describe(walk->lmdb->describe_context, record, &description) != AIC_OK ||
        lmdb_envelope_make(&envelope->key, &description, record.size, &fresh) != AIC_OK) {
        return damaged(walk, &envelope->key, "its record cannot be read");
    }
    if (fresh.created_ms != envelope->created_ms || fresh.expires_ms != envelope->expires_ms ||
        fresh.seq != envelope->seq || fresh.label_count != envelope->label_count ||
        memcmp(fresh.labels, envelope->labels, fresh.label_count * sizeof fresh.labels[0]) != 0) {
        return damaged(walk, &envelope->key, "its envelope and its record disagree");
    }
    return AIC_OK;
}

/* Everything that leads to it is there. */
static aic_status check_rows(struct walk *walk, MDB_txn *txn, const struct lmdb_entry *entry)
{
    const struct lmdb_envelope *envelope = &entry->envelope;
    struct lmdb_front front = lmdb_front_of(&envelope->key);
    MDB_val front_val = lmdb_val(front.bytes, sizeof front.bytes);
    struct lmdb_place place = lmdb_place(entry->row, entry->check);
    struct lmdb_expiry_row expiry = lmdb_expiry_row(lmdb_rank(envelope), entry->row);
    if (!has_row(walk, txn, LMDB_KEYS, front_val, lmdb_val(place.bytes, sizeof place.bytes)))
        return damaged(walk, &envelope->key, "its key does not lead to it");
    if (!has_row(walk, txn, LMDB_EXPIRY, lmdb_val(expiry.bytes, sizeof expiry.bytes), lmdb_val("", 0)))
        return damaged(walk, &envelope->key, "it has no expiry row");
    for (size_t i = 0; i < envelope->label_count; i++) {
        struct lmdb_number_row id = lmdb_number_row(envelope->labels[i]);
        if (!has_row(walk, txn, LMDB_LABELS, lmdb_val(id.bytes, sizeof id.bytes), front_val))
            return damaged(walk, &envelope->key, "a label row is missing");
    }
    return AIC_OK;
}

static aic_status check_entry(struct walk *walk, MDB_txn *txn, MDB_val key, MDB_val value)
{
    struct lmdb_entry entry = {.value = value};
    if (key.mv_size != sizeof(struct lmdb_number_row))
        return error_set(walk->error, AIC_DAMAGED, NULL, "a storage key has a wrong size");
    entry.row = lmdb_row_number(key.mv_data);
    if (lmdb_envelope_read(value, entry.row, &entry.envelope, &entry.envelope_size, &entry.check) != AIC_OK)
        return damaged_row(walk, entry.row, "its envelope is damaged");
    TRY(check_rows(walk, txn, &entry));
    buf_clear(&walk->record);
    aic_status status = lmdb_record(walk->lmdb, txn, &entry, &walk->record);
    if (status == AIC_DAMAGED) return damaged(walk, &entry.envelope.key, "a part of its record is missing");
    TRY(status);
    walk->place->found_bytes += entry.envelope.record_bytes;
    return check_description(walk, &entry.envelope);
}

static aic_status check_key(struct walk *walk, MDB_txn *txn, MDB_val front, MDB_val place)
{
    struct lmdb_entry entry;
    if (front.mv_size != LMDB_FRONT_BYTES || place.mv_size != sizeof(struct lmdb_place))
        return error_set(walk->error, AIC_DAMAGED, NULL, "a storage key has a wrong size");
    TRY(lmdb_status(lmdb_entry_at(walk->lmdb, txn, place, &entry)));
    if (!entry.sound) return damaged_row(walk, entry.row, "a key leads to no entry");
    bool agrees = memcmp(front.mv_data, entry.envelope.key.bytes, LMDB_FRONT_BYTES) == 0;
    return agrees ? AIC_OK : damaged(walk, &entry.envelope.key, "another key leads to it");
}

static aic_status check_expiry(struct walk *walk, MDB_txn *txn, MDB_val row, MDB_val value)
{
    struct lmdb_entry entry;
    if (row.mv_size != sizeof(struct lmdb_expiry_row) || value.mv_size != 0)
        return error_set(walk->error, AIC_DAMAGED, NULL, "an index row has a wrong size");
    TRY(lmdb_status(lmdb_entry_of_row(walk->lmdb, txn, lmdb_row_number((const uint8_t *)row.mv_data + 8), &entry)));
    if (!entry.readable) return damaged_row(walk, entry.row, "an index row leads to no entry");
    bool agrees = lmdb_rank(&entry.envelope) == lmdb_row_number(row.mv_data);
    return agrees ? AIC_OK : damaged(walk, &entry.envelope.key, "an index row of an older record is left over");
}

static aic_status check_label(struct walk *walk, MDB_txn *txn, MDB_val id, MDB_val value)
{
    struct lmdb_front front;
    bool has = false;
    if (id.mv_size != sizeof(struct lmdb_number_row) || value.mv_size != sizeof front.bytes)
        return error_set(walk->error, AIC_DAMAGED, NULL, "an index row has a wrong size");
    memcpy(front.bytes, value.mv_data, sizeof front.bytes);
    TRY(lmdb_status(lmdb_front_has(walk->lmdb, txn, front, lmdb_row_number(id.mv_data), 0, &has)));
    return has ? AIC_OK : error_set(walk->error, AIC_DAMAGED, NULL, "a label's row leads to no entry that has it");
}

static aic_status check_chunk(struct walk *walk, MDB_txn *txn, MDB_val row, MDB_val value)
{
    struct lmdb_entry entry;
    (void)value; /* its size was checked with the entry */
    if (row.mv_size != sizeof(struct lmdb_chunk_row))
        return error_set(walk->error, AIC_DAMAGED, NULL, "a chunk's key has a wrong size");
    TRY(lmdb_status(lmdb_entry_of_row(walk->lmdb, txn, lmdb_row_number(row.mv_data), &entry)));
    if (!entry.readable) return damaged_row(walk, entry.row, "a chunk belongs to no entry");
    struct lmdb_chunk_row last = lmdb_chunk_row(entry.row, lmdb_chunk_count(&entry.envelope));
    return memcmp(row.mv_data, last.bytes, sizeof last.bytes) < 0
               ? AIC_OK
               : damaged(walk, &entry.envelope.key, "a chunk is left over");
}

/* ------------------------------------------------------------------------------------------------------- walking -- */

static bool is_same(MDB_val a, const uint8_t *bytes, size_t size)
{
    return a.mv_size == size && memcmp(a.mv_data, bytes, size) == 0;
}

/* Behind the last row that was checked, whether it is there still or not. */
static int seek(struct walk *walk, MDB_cursor *cursor, MDB_val *key, MDB_val *value)
{
    if (walk->place->from_size == 0) return mdb_cursor_get(cursor, key, value, MDB_FIRST);
    *key = lmdb_val(walk->place->from, walk->place->from_size);
    if (walk->place->from_value_size > 0) {
        *value = lmdb_val(walk->place->from_value, walk->place->from_value_size);
        int code = mdb_cursor_get(cursor, key, value, MDB_GET_BOTH_RANGE);
        if (code == 0 && !is_same(*value, walk->place->from_value, walk->place->from_value_size))
            return mdb_cursor_get(cursor, key, value, MDB_GET_CURRENT);
        if (code == 0) return mdb_cursor_get(cursor, key, value, MDB_NEXT);
        if (code != MDB_NOTFOUND) return code;
        *key = lmdb_val(walk->place->from, walk->place->from_size);
    }
    int code = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    bool same = code == 0 && is_same(*key, walk->place->from, walk->place->from_size);
    return same ? mdb_cursor_get(cursor, key, value, MDB_NEXT_NODUP) : code;
}

/* AIC_OK after a bounded number of rows, AIC_MISS at the end. */
static aic_status step(struct walk *walk, MDB_txn *txn, MDB_cursor *cursor, check_fn *check)
{
    MDB_val key, value = lmdb_val(NULL, 0); /* a page of another kind has no value */
    size_t bytes = 0;
    bool is_list = walk->database == LMDB_KEYS || walk->database == LMDB_LABELS;
    int code = seek(walk, cursor, &key, &value);
    for (int row = 0; code == 0; row++) {
        if (row == STEP_ROWS || bytes > STEP_BYTES) return AIC_OK;
        if (key.mv_size > MAX_ROW_BYTES)
            return error_set(walk->error, AIC_DAMAGED, NULL, "a storage key has a wrong size");
        TRY(check(walk, txn, key, value));
        bytes += value.mv_size + walk->record.size;
        walk->place->from_size = key.mv_size;
        memcpy(walk->place->from, key.mv_data, key.mv_size);
        walk->place->from_value_size = is_list && value.mv_size <= MAX_ROW_BYTES ? value.mv_size : 0;
        if (walk->place->from_value_size > 0)
            memcpy(walk->place->from_value, value.mv_data, walk->place->from_value_size);
        code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    return lmdb_status(code);
}

/* One transaction of a walk, under a guard. */
struct visit {
    struct walk *walk;
    MDB_txn *txn;
    check_fn *check;
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
    struct walk *walk = visit->walk;
    struct lmdb_tier *lmdb = walk->lmdb;
    TRY(lmdb_read_begin(lmdb, &visit->txn));
    uint64_t commit = mdb_txn_id(visit->txn) | (uint64_t)lmdb->files << 48;
    if (walk->place->state == 0) walk->place->state = commit;
    if (walk->place->state != commit) walk->place->moved = true;
    int code = lmdb_guarded(lmdb, work, visit);
    lmdb_read_end(lmdb, &visit->txn);
    if (code == 0) return visit->status;
    return error_set(walk->error, AIC_DAMAGED, NULL, "the storage file is damaged");
}

/* In one transaction: the counters in meta and LMDB's own counts of rows. */
static aic_status check_counters(struct walk *walk, MDB_txn *txn)
{
    MDB_val key = lmdb_val("counters", 8);
    MDB_val value;
    MDB_stat entries, ranks, keys;
    uint64_t counters[4];
    TRY(lmdb_status(mdb_get(txn, walk->lmdb->databases[LMDB_META], &key, &value)));
    TRY(lmdb_status(mdb_stat(txn, walk->lmdb->databases[LMDB_ENTRIES], &entries)));
    TRY(lmdb_status(mdb_stat(txn, walk->lmdb->databases[LMDB_EXPIRY], &ranks)));
    TRY(lmdb_status(mdb_stat(txn, walk->lmdb->databases[LMDB_KEYS], &keys)));
    if (!lmdb_counters_read(value, counters))
        return error_set(walk->error, AIC_DAMAGED, NULL, "the storage counters are damaged");
    if (counters[0] != entries.ms_entries || counters[0] != ranks.ms_entries || counters[0] != keys.ms_entries) {
        return error_set(walk->error, AIC_DAMAGED, NULL,
                         "%" PRIu64 " storage entries counted, %zu there, %zu in the expiry index, %zu keys",
                         counters[0], entries.ms_entries, ranks.ms_entries, keys.ms_entries);
    }
    walk->place->wanted_bytes = counters[1];
    return AIC_OK;
}

static int count_guarded(void *context)
{
    struct visit *visit = context;
    visit->status = check_counters(visit->walk, visit->txn);
    return 0;
}

static aic_status read_counters(struct walk *walk)
{
    struct visit visit = {.walk = walk};
    aic_status status = visit_guarded(&visit, count_guarded);
    return status == AIC_MISS ? error_set(walk->error, AIC_DAMAGED, NULL, "the storage counters are missing") : status;
}

static aic_status compare_bytes(const struct walk *walk)
{
    const struct tier_check *place = walk->place;
    if (place->moved || place->wanted_bytes == place->found_bytes) return AIC_OK;
    return error_set(walk->error, AIC_DAMAGED, NULL, "%" PRIu64 " bytes of storage records counted, %" PRIu64 " there",
                     place->wanted_bytes, place->found_bytes);
}

/* Part 0 are the counters; the next ones a database each. */
static aic_status check_part(struct walk *walk)
{
    static const struct {
        enum lmdb_database database;
        check_fn *check;
    } checks[] = {{LMDB_KEYS, check_key},
                  {LMDB_EXPIRY, check_expiry},
                  {LMDB_LABELS, check_label},
                  {LMDB_CHUNKS, check_chunk},
                  {LMDB_ENTRIES, check_entry}};
    struct tier_check *place = walk->place;
    CHECK(place->part <= COUNT_OF(checks));
    aic_status status = AIC_MISS; /* the part is over */
    if (place->part == 0) {
        TRY(read_counters(walk));
    } else {
        struct visit visit = {.walk = walk, .check = checks[place->part - 1].check};
        walk->database = checks[place->part - 1].database;
        status = visit_guarded(&visit, step_guarded);
    }
    if (status != AIC_MISS) return status;
    place->from_size = 0;
    if (++place->part <= COUNT_OF(checks)) return AIC_OK;
    place->ended = true;
    return compare_bytes(walk);
}

aic_status lmdb_verify(struct tier *tier, struct tier_check *check, aic_error *error)
{
    struct walk walk = {.lmdb = lmdb_of(tier), .place = check, .error = error};
    buf_init(&walk.record, walk.lmdb->mem, MEM_STORAGE);
    aic_status status = check_part(&walk);
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
#define DATABASE_NAME(name, text, flags) text,
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
