/*
 * remove.c - taking an entry out with everything that points to it, and choosing what leaves first.
 */
#include "tier/lmdb/inner.h"

#include "base/check.h"

#include <string.h>

/* A row that is not there is no failure: what had to go is gone. */
static int remove_row(MDB_txn *txn, MDB_dbi database, const void *row, size_t size)
{
    MDB_val key = lmdb_val(row, size);
    int code = mdb_del(txn, database, &key, NULL);
    return code == MDB_NOTFOUND ? 0 : code;
}

/* The same of one value of a sorted list. */
static int remove_pair(MDB_txn *txn, MDB_dbi database, MDB_val key, MDB_val value)
{
    int code = mdb_del(txn, database, &key, &value);
    return code == MDB_NOTFOUND ? 0 : code;
}

static int remove_label(struct lmdb_write *write, const struct lmdb_entry *entry, uint64_t label)
{
    struct lmdb_front front = lmdb_front_of(&entry->envelope.key);
    bool shared;
    int code = lmdb_front_has(write->lmdb, write->txn, front, label, entry->row, &shared);
    if (code != 0 || shared) return code;
    struct lmdb_number_row id = lmdb_number_row(label);
    return remove_pair(write->txn, write->lmdb->databases[LMDB_LABELS], lmdb_val(id.bytes, sizeof id.bytes),
                       lmdb_val(front.bytes, sizeof front.bytes));
}

static int remove_rows(struct lmdb_write *write, const struct lmdb_entry *entry, const struct lmdb_envelope *next)
{
    const MDB_dbi *databases = write->lmdb->databases;
    const struct lmdb_envelope *old = &entry->envelope;
    int code = 0;
    for (size_t i = 0; code == 0 && i < old->label_count; i++) {
        if (next == NULL || !lmdb_has_label(next, old->labels[i])) code = remove_label(write, entry, old->labels[i]);
    }
    if (code == 0 && (next == NULL || lmdb_rank(next) != lmdb_rank(old))) {
        struct lmdb_expiry_row row = lmdb_expiry_row(lmdb_rank(old), entry->row);
        code = remove_row(write->txn, databases[LMDB_EXPIRY], row.bytes, sizeof row.bytes);
    }
    for (uint32_t i = 0; code == 0 && i < lmdb_chunk_count(old); i++) {
        struct lmdb_chunk_row chunk = lmdb_chunk_row(entry->row, i);
        code = remove_row(write->txn, databases[LMDB_CHUNKS], chunk.bytes, sizeof chunk.bytes);
    }
    return code;
}

/* An entry that its key leads to. */
static int remove_key(struct lmdb_write *write, const aic_key *key, const struct lmdb_entry *entry)
{
    struct lmdb_front front = lmdb_front_of(key);
    struct lmdb_place place = lmdb_place(entry->row, entry->check);
    return remove_pair(write->txn, write->lmdb->databases[LMDB_KEYS], lmdb_val(front.bytes, sizeof front.bytes),
                       lmdb_val(place.bytes, sizeof place.bytes));
}

static int remove_entry(struct lmdb_write *write, uint64_t row)
{
    struct lmdb_number_row number = lmdb_number_row(row);
    write->entries--;
    return remove_row(write->txn, write->lmdb->databases[LMDB_ENTRIES], number.bytes, sizeof number.bytes);
}

int lmdb_remove(struct lmdb_write *write, const struct lmdb_entry *entry, const struct lmdb_envelope *next)
{
    write->bytes -= entry->envelope.record_bytes;
    int code = remove_rows(write, entry, next);
    if (code == 0) code = remove_key(write, &entry->envelope.key, entry);
    return code != 0 || next != NULL ? code : remove_entry(write, entry->row);
}

/* Where a database holds the number of the entry's row that it leads to. */
static const uint8_t *led_to(enum lmdb_database which, const MDB_val *key, const MDB_val *value)
{
    if (which == LMDB_EXPIRY) return key->mv_size == 16 ? (const uint8_t *)key->mv_data + 8 : NULL;
    return value->mv_size >= 8 ? value->mv_data : NULL;
}

/*
 * Takes the row that leads to a damaged entry out of an index; *front is the key's, where the index is that of keys.
 * The entry cannot say any more where it stands, so that all of the index is walked; without it the counts of the file
 * would disagree for good, and the next open would drop the store for one entry.
 */
static int remove_leading(struct lmdb_write *write, enum lmdb_database which, uint64_t row, struct lmdb_front *front)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = mdb_cursor_open(write->txn, write->lmdb->databases[which], &cursor);
    if (code != 0) return code;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        const uint8_t *number = led_to(which, &key, &value);
        if (number == NULL || lmdb_row_number(number) != row) continue;
        if (which == LMDB_KEYS && key.mv_size == sizeof front->bytes)
            memcpy(front->bytes, key.mv_data, sizeof front->bytes);
        code = mdb_cursor_del(cursor, 0);
        break;
    }
    mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? 0 : code;
}

/* Takes a damaged entry out of every list of labels but those of another entry with the same front. */
static int remove_from_lists(struct lmdb_write *write, struct lmdb_front front, uint64_t row)
{
    MDB_cursor *lists, *list = NULL;
    MDB_val id, value;
    int code = mdb_cursor_open(write->txn, write->lmdb->databases[LMDB_LABELS], &lists);
    if (code != 0) return code;
    code = mdb_cursor_open(write->txn, write->lmdb->databases[LMDB_LABELS], &list);
    while (code == 0 && (code = mdb_cursor_get(lists, &id, &value, MDB_NEXT_NODUP)) == 0) {
        bool shared = true;
        if (id.mv_size != sizeof(struct lmdb_number_row)) {
            code = MDB_CORRUPTED;
            break;
        }
        MDB_val found_id = id, found = lmdb_val(front.bytes, sizeof front.bytes);
        code = mdb_cursor_get(list, &found_id, &found, MDB_GET_BOTH);
        if (code == 0) code = lmdb_front_has(write->lmdb, write->txn, front, lmdb_row_number(id.mv_data), row, &shared);
        if (code == 0 && !shared) code = mdb_cursor_del(list, 0);
        if (code == MDB_NOTFOUND) code = 0;
    }
    if (list != NULL) mdb_cursor_close(list);
    mdb_cursor_close(lists);
    return code == MDB_NOTFOUND ? 0 : code;
}

/* A damaged entry itself. How many bytes its record had it cannot say any more, so that those of all others are summed.
 */
static int remove_damaged(struct lmdb_write *write, uint64_t row)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int code = remove_entry(write, row);
    for (uint32_t i = 0; code == 0; i++) { /* its chunks, as many as there are */
        struct lmdb_chunk_row chunk = lmdb_chunk_row(row, i);
        key = lmdb_val(chunk.bytes, sizeof chunk.bytes);
        code = mdb_del(write->txn, write->lmdb->databases[LMDB_CHUNKS], &key, NULL);
    }
    if (code == MDB_NOTFOUND) code = mdb_cursor_open(write->txn, write->lmdb->databases[LMDB_ENTRIES], &cursor);
    if (code != 0) return code;
    uint64_t bytes = 0;
    while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct lmdb_envelope envelope;
        size_t size;
        uint32_t check;
        bool sound = key.mv_size == sizeof(struct lmdb_number_row) &&
                     lmdb_envelope_read(value, lmdb_row_number(key.mv_data), &envelope, &size, &check) == AIC_OK;
        if (sound) bytes += envelope.record_bytes;
    }
    mdb_cursor_close(cursor);
    if (code == MDB_NOTFOUND) write->bytes = bytes;
    return code == MDB_NOTFOUND ? 0 : code;
}

int lmdb_remove_lost(struct lmdb_write *write, const aic_key *key, const struct lmdb_entry *entry)
{
    lmdb_count(&write->lmdb->counts.errors, 1);
    int code = remove_key(write, key, entry);
    if (code != 0 || !entry->there || entry->readable) return code;
    code = remove_leading(write, LMDB_EXPIRY, entry->row, NULL);
    if (code == 0) code = remove_from_lists(write, lmdb_front_of(key), entry->row);
    return code == 0 ? remove_damaged(write, entry->row) : code;
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
    if (row.mv_size != sizeof(struct lmdb_expiry_row)) return MDB_CORRUPTED;
    uint64_t rank = lmdb_row_number(row.mv_data);
    if (rank > until) return 0;

    struct lmdb_entry entry;
    struct lmdb_expiry_row copy = lmdb_expiry_row(rank, lmdb_row_number((const uint8_t *)row.mv_data + 8));
    code = lmdb_entry_of_row(write->lmdb, write->txn, lmdb_row_number(copy.bytes + 8), &entry);
    if (code != 0) return code;
    if (entry.readable && lmdb_rank(&entry.envelope) == rank) code = lmdb_remove(write, &entry, NULL);
    else if (entry.there && !entry.readable) {
        struct lmdb_front front = {.bytes = {0}};
        code = remove_leading(write, LMDB_KEYS, entry.row, &front);
        if (code == 0) code = remove_from_lists(write, front, entry.row);
        if (code == 0) code = remove_damaged(write, entry.row);
    }
    if (code != 0) return code;
    /* The entry's removal took the row along, unless the row led to a damaged entry or to none. */
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
