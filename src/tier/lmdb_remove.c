/*
 * lmdb_remove.c - taking an entry out with everything that points to it, and choosing what leaves first.
 */
#include "tier/lmdb_tier.h"

#include "base/check.h"

#include <errno.h>
#include <string.h>

/* A row that is not there is no failure: what had to go is gone. */
static int remove_row(MDB_txn *txn, MDB_dbi database, const void *row, size_t size)
{
    MDB_val key = lmdb_val(row, size);
    int code = mdb_del(txn, database, &key, NULL);
    return code == MDB_NOTFOUND ? 0 : code;
}

static bool has_label(const struct lmdb_envelope *envelope, uint64_t label)
{
    for (size_t i = 0; i < envelope->label_count; i++) {
        if (envelope->labels[i] == label) return true;
    }
    return false;
}

static int remove_rows(struct lmdb_write *write, const aic_key *key, const struct lmdb_envelope *old,
                       const struct lmdb_envelope *next)
{
    const MDB_dbi *databases = write->lmdb->databases;
    struct lmdb_pair_row row;
    int code = 0;
    for (size_t i = 0; code == 0 && i < old->label_count; i++) {
        if (next != NULL && has_label(next, old->labels[i])) continue;
        lmdb_pair_row_make(old->labels[i], key, &row);
        code = remove_row(write->txn, databases[LMDB_LABELS], row.bytes, sizeof row.bytes);
    }
    if (code == 0 && (next == NULL || lmdb_rank(next) != lmdb_rank(old))) {
        lmdb_pair_row_make(lmdb_rank(old), key, &row);
        code = remove_row(write->txn, databases[LMDB_EXPIRY], row.bytes, sizeof row.bytes);
    }
    for (uint32_t i = 0; code == 0 && i < lmdb_chunk_count(old); i++) {
        struct lmdb_chunk_row chunk;
        lmdb_chunk_row_make(key, i, &chunk);
        code = remove_row(write->txn, databases[LMDB_CHUNKS], chunk.bytes, sizeof chunk.bytes);
    }
    return code;
}

int lmdb_remove(struct lmdb_write *write, const aic_key *key, MDB_val value, const struct lmdb_envelope *next,
                bool keep_entry)
{
    struct lmdb_envelope old;
    size_t size;
    int code = 0;
    if (lmdb_envelope_read(value, &old, &size) == AIC_OK) {
        write->bytes -= old.record_bytes;
        code = remove_rows(write, key, &old, next);
    } else {
        /* Nothing tells which rows were its own; they lead nowhere from now on, and verify() names them. */
        lmdb_count(&write->lmdb->counts.errors, 1);
    }
    write->entries--;
    if (code != 0 || keep_entry) return code;
    return remove_row(write->txn, write->lmdb->databases[LMDB_ENTRIES], key->bytes, AIC_KEY_BYTES);
}

static int first_row(struct lmdb_write *write, MDB_val *row)
{
    MDB_cursor *cursor;
    MDB_val nothing;
    int code = mdb_cursor_open(write->txn, write->lmdb->databases[LMDB_EXPIRY], &cursor);
    if (code != 0) return code;
    code = mdb_cursor_get(cursor, row, &nothing, MDB_FIRST);
    mdb_cursor_close(cursor);
    return code;
}

int lmdb_remove_first(struct lmdb_write *write, uint64_t until, bool *removed)
{
    MDB_val row;
    *removed = false;
    int code = first_row(write, &row);
    if (code == MDB_NOTFOUND) return 0;
    if (code != 0) return code;
    if (row.mv_size != sizeof(struct lmdb_pair_row)) return MDB_CORRUPTED;
    uint64_t rank = lmdb_pair_row_number(row);
    if (rank > until) return 0;

    aic_key key;
    lmdb_pair_row_key(row, &key);
    MDB_val entry = lmdb_val(key.bytes, AIC_KEY_BYTES);
    MDB_val value;
    code = mdb_get(write->txn, write->lmdb->databases[LMDB_ENTRIES], &entry, &value);
    if (code == 0) code = lmdb_remove(write, &key, value, NULL, false);
    if (code != 0 && code != MDB_NOTFOUND) return code;
    /* The entry's removal took the row along, unless the row led to a damaged entry or to none. */
    struct lmdb_pair_row copy;
    lmdb_pair_row_make(rank, &key, &copy);
    *removed = true;
    code = remove_row(write->txn, write->lmdb->databases[LMDB_EXPIRY], copy.bytes, sizeof copy.bytes);
    if (code == 0) code = first_row(write, &row);
    if (code != 0) return code == MDB_NOTFOUND ? 0 : code;
    /* A row that comes first but is not found lies in the wrong place: it would come first for ever. */
    bool again = row.mv_size == sizeof copy.bytes && memcmp(row.mv_data, copy.bytes, sizeof copy.bytes) == 0;
    return again ? MDB_CORRUPTED : 0;
}

uint64_t lmdb_budget_pages(const struct lmdb_tier *lmdb)
{
    uint64_t pages = lmdb->max_bytes / lmdb->page_bytes;
    return pages - pages / 8;
}

int lmdb_evict(struct lmdb_write *write)
{
    uint64_t budget = lmdb_budget_pages(write->lmdb);
    for (;;) {
        uint64_t live;
        int code = lmdb_live_pages(write->lmdb, write->txn, &live);
        if (code != 0 || live <= budget) return code;
        bool removed;
        code = lmdb_remove_first(write, UINT64_MAX, &removed);
        if (code != 0 || !removed) return code;
        write->evicted++;
    }
}
