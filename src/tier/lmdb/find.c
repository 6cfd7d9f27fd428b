/*
 * find.c - from a key to its entry: the front of the key leads to a row, the row to an envelope, and the envelope
 * proves that it is the one that was meant.
 */
#include "tier/lmdb/inner.h"

#include "base/check.h"
#include "base/view.h"

#include <string.h>

int lmdb_entry_of_row(struct lmdb_tier *lmdb, MDB_txn *txn, uint64_t row, struct lmdb_entry *out)
{
    struct lmdb_number_row number = lmdb_number_row(row);
    MDB_val key = lmdb_val(number.bytes, sizeof number.bytes);
    out->row = row;
    out->readable = out->sound = false;
    int code = mdb_get(txn, lmdb->databases[LMDB_ENTRIES], &key, &out->value);
    out->there = code == 0;
    if (code != 0) return code == MDB_NOTFOUND ? 0 : code;
    out->readable = lmdb_envelope_read(out->value, row, &out->envelope, &out->envelope_size, &out->check) == AIC_OK;
    return 0;
}

int lmdb_entry_at(struct lmdb_tier *lmdb, MDB_txn *txn, MDB_val place, struct lmdb_entry *out)
{
    if (place.mv_size != sizeof(struct lmdb_place)) return MDB_CORRUPTED;
    uint32_t check = lmdb_take_u32((const uint8_t *)place.mv_data + 8);
    int code = lmdb_entry_of_row(lmdb, txn, lmdb_row_number(place.mv_data), out);
    out->sound = code == 0 && out->readable && out->check == check;
    out->check = check;
    return code;
}

static bool is_of(const struct lmdb_entry *entry, const aic_key *key)
{
    return entry->sound && key_compare(&entry->envelope.key, key) == 0;
}

/* Among all keys of this front. What cannot be read might be the one. */
static int find_among(struct lmdb_tier *lmdb, MDB_txn *txn, const aic_key *key, struct lmdb_entry *out)
{
    MDB_cursor *cursor;
    struct lmdb_front front = lmdb_front_of(key);
    MDB_val from = lmdb_val(front.bytes, sizeof front.bytes), place;
    struct lmdb_entry one;
    bool lost = false;
    int code = mdb_cursor_open(txn, lmdb->databases[LMDB_KEYS], &cursor);
    if (code != 0) return code;
    code = mdb_cursor_get(cursor, &from, &place, MDB_SET);
    while (code == 0 && (code = lmdb_entry_at(lmdb, txn, place, &one)) == 0) {
        if (is_of(&one, key) || (!one.sound && !lost)) *out = one;
        if (is_of(&one, key)) break;
        lost = lost || !one.sound;
        code = mdb_cursor_get(cursor, &from, &place, MDB_NEXT_DUP);
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND && lost ? 0 : code;
}

int lmdb_find(struct lmdb_tier *lmdb, MDB_txn *txn, const aic_key *key, struct lmdb_entry *out)
{
    struct lmdb_front front = lmdb_front_of(key);
    MDB_val from = lmdb_val(front.bytes, sizeof front.bytes), place;
    int code = mdb_get(txn, lmdb->databases[LMDB_KEYS], &from, &place);
    if (code == 0) code = lmdb_entry_at(lmdb, txn, place, out);
    return code != 0 || is_of(out, key) ? code : find_among(lmdb, txn, key, out);
}

int lmdb_front_has(struct lmdb_tier *lmdb, MDB_txn *txn, struct lmdb_front front, uint64_t label, uint64_t row,
                   bool *shared)
{
    MDB_cursor *cursor;
    MDB_val from = lmdb_val(front.bytes, sizeof front.bytes), place;
    struct lmdb_entry one;
    *shared = false;
    int code = mdb_cursor_open(txn, lmdb->databases[LMDB_KEYS], &cursor);
    if (code != 0) return code;
    code = mdb_cursor_get(cursor, &from, &place, MDB_SET);
    while (code == 0 && (code = lmdb_entry_at(lmdb, txn, place, &one)) == 0 && !*shared) {
        *shared = one.sound && one.row != row && lmdb_has_label(&one.envelope, label);
        code = mdb_cursor_get(cursor, &from, &place, MDB_NEXT_DUP);
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}
