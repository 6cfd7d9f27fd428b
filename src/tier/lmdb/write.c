/*
 * write.c - one writer at a time: the transaction, what to do when the map or the limit is reached, and the
 * operations that change things.
 *
 * The limit is kept by evicting after the writes of a batch, inside its transaction, down to 7/8 of the pages. The rest
 * is what copy-on-write needs: pages freed by a transaction come back only two transactions later. Where that is not
 * enough (large batches in a small store, no contiguous run), room is made in transactions of their own and the batch
 * is tried again.
 */
#include "tier/lmdb/inner.h"

#include "base/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ATTEMPTS = 8, SHRINK_ENTRIES = 512, ROOM_BYTES = 1 << 18 };

void lmdb_count(_Atomic uint64_t *counter, uint64_t amount)
{
    atomic_fetch_add_explicit(counter, amount, memory_order_relaxed);
}

/* ----------------------------------------------------------------------------------------------- the transaction -- */

static int store_counters(struct lmdb_write *write)
{
    uint8_t counters[LMDB_COUNTERS_BYTES];
    lmdb_counters_write(write->entries, write->bytes, write->next_row, write->last_seq, counters);
    MDB_val key = lmdb_val("counters", 8);
    MDB_val value = lmdb_val(counters, sizeof counters);
    return mdb_put(write->txn, write->lmdb->databases[LMDB_META], &key, &value, 0);
}

static void publish(const struct lmdb_write *write)
{
    struct lmdb_tier *lmdb = write->lmdb;
    MDB_envinfo info;
    CHECK(mdb_env_info(lmdb->env, &info) == 0); /* it fails without an environment only */
    lmdb_read_anew(lmdb, info.me_last_txnid);
    atomic_store_explicit(&lmdb->file_bytes, (info.me_last_pgno + 1) * lmdb->page_bytes, memory_order_relaxed);
    atomic_store_explicit(&lmdb->entries, write->entries, memory_order_relaxed);
    atomic_store_explicit(&lmdb->bytes, write->bytes, memory_order_relaxed);
    atomic_store_explicit(&lmdb->next_row, write->next_row, memory_order_relaxed);
    atomic_store_explicit(&lmdb->last_seq, write->last_seq, memory_order_relaxed);
    atomic_fetch_add_explicit(&lmdb->committed, 1, memory_order_release); /* partner: sync_data's load */
    lmdb_count(&lmdb->counts.writes, write->writes);
    lmdb_count(&lmdb->counts.deletes, write->deletes);
    lmdb_count(&lmdb->counts.expired, write->expired);
    lmdb_count(&lmdb->counts.evicted, write->evicted);
}

struct
try {
    struct lmdb_write write;
    lmdb_work_fn *work;
    void *context;
    bool ended; /* the transaction is over; false after a jump */
};

static int begin_work_and_commit(void *context)
{
    struct try *try = context;
    int code = mdb_txn_begin(try->write.lmdb->env, NULL, 0, &try->write.txn);
    if (code != 0) {
        try->ended = true;
        return code;
    }
    code = try->work(&try->write, try->context);
    if (code == 0) code = store_counters(&try->write);
    if (code == 0) {
        code = mdb_txn_commit(try->write.txn);
    } else {
        mdb_txn_abort(try->write.txn);
    }
    try->ended = true;
    return code;
}

/* One try: all of the work is in the file afterwards, or nothing. */
static int try_once(struct lmdb_tier *lmdb, lmdb_work_fn *work, void *context)
{
    struct try try = {.write = {.lmdb = lmdb,
                                .entries = atomic_load_explicit(&lmdb->entries, memory_order_relaxed),
                                .bytes = atomic_load_explicit(&lmdb->bytes, memory_order_relaxed),
                                .next_row = atomic_load_explicit(&lmdb->next_row, memory_order_relaxed),
                                .last_seq = atomic_load_explicit(&lmdb->last_seq, memory_order_relaxed)},
                      .work = work,
                      .context = context};
    pthread_rwlock_rdlock(&lmdb->map_lock);
    int code = lmdb_guarded(lmdb, begin_work_and_commit, &try);
    lmdb->wrecked = !try.ended;
    if (code == 0) publish(&try.write);
    pthread_rwlock_unlock(&lmdb->map_lock);
    return code;
}

/* --------------------------------------------------------------------------------------------------- making room -- */

static int evict_some(struct lmdb_write *write, void *context)
{
    size_t count = *(size_t *)context;
    for (size_t i = 0; i < count; i++) {
        bool removed;
        int code = lmdb_remove_first(write, UINT64_MAX, &removed);
        if (code != 0) return code;
        if (!removed) return i > 0 ? 0 : MDB_NOTFOUND;
        write->evicted++;
    }
    return 0;
}

static int do_nothing(struct lmdb_write *write, void *context)
{
    (void)write;
    (void)context;
    return 0;
}

/* Evicts at least one entry; fewer at once when even their removal finds no page. MDB_MAP_FULL when nothing helps. */
static int make_room(struct lmdb_tier *lmdb, size_t count)
{
    int code = MDB_MAP_FULL;
    while (count > 0 && code == MDB_MAP_FULL) {
        code = try_once(lmdb, evict_some, &count);
        count /= 2;
    }
    if (code == MDB_NOTFOUND) return MDB_MAP_FULL;
    /* The pages come back two transactions later; these two are small. */
    for (int i = 0; code == 0 && i < 2; i++) code = try_once(lmdb, do_nothing, NULL);
    return code;
}

static int grow_ahead(struct lmdb_tier *lmdb, uint64_t need_bytes)
{
    MDB_envinfo info;
    int code = mdb_env_info(lmdb->env, &info);
    if (code != 0) return code;
    uint64_t used = (info.me_last_pgno + 1) * lmdb->page_bytes;
    uint64_t wanted = used + 2 * need_bytes + lmdb->map_bytes / 8;
    if (wanted <= lmdb->map_bytes) return 0;
    /* At the limit, or refused: the pages that are free inside the file may do. */
    aic_status status = lmdb_env_grow(lmdb, wanted);
    return status == AIC_IO && lmdb->env == NULL ? EIO : 0;
}

static int try_until_it_fits(struct lmdb_tier *lmdb, uint64_t need_bytes, lmdb_work_fn *work, void *context)
{
    int code = grow_ahead(lmdb, need_bytes);
    if (code != 0) return code;
    for (size_t attempt = 0;; attempt++) {
        code = try_once(lmdb, work, context);
        if (code != MDB_MAP_FULL || attempt == ATTEMPTS) return code;
        aic_status grown = lmdb_env_grow(lmdb, lmdb->map_bytes + 4 * need_bytes);
        if (lmdb->env == NULL) return EIO;
        if (grown != AIC_OK && make_room(lmdb, (size_t)16 << attempt) != 0) return code;
    }
}

/* Before the first commit since the store was known to be whole on disk, its mark says so no longer. *code says why
 * not; of an opening that failed, EIO. */
static aic_status prepare(struct lmdb_tier *lmdb, int *code)
{
    *code = EIO;
    if (lmdb_damaged(&lmdb->tier)) return AIC_DAMAGED;
    if (lmdb->env == NULL) TRY(lmdb_env_restart(lmdb));
    aic_status status = lmdb_before_commit(lmdb);
    if (status != AIC_OK) *code = errno;
    return status;
}

/* LMDB tells a write that was cut short as EIO, and the kernel cuts the last one that a disk has room for: what the
 * write wanted is asked for again. Rounded up generously: a batch copies pages on its way to the root. */
static int name_fault(const struct lmdb_tier *lmdb, int code, uint64_t need_bytes)
{
    if (code != EIO) return code;
    int fault = lmdb_home_room_fault(&lmdb->home, need_bytes + ROOM_BYTES);
    return fault != 0 ? fault : code;
}

aic_status lmdb_write(struct lmdb_tier *lmdb, uint64_t need_bytes, lmdb_work_fn *work, void *context)
{
    pthread_mutex_lock(&lmdb->write_lock);
    int code;
    aic_status status = prepare(lmdb, &code);
    if (status == AIC_OK) {
        code = try_until_it_fits(lmdb, need_bytes, work, context);
        status = lmdb_status(code);
        if (lmdb_is_damage(code)) lmdb_found_damage(lmdb, mdb_strerror(code));
        else if (code != 0 && code != MDB_NOTFOUND) lmdb_suspect(lmdb, code);
        if (lmdb_damaged(&lmdb->tier)) status = AIC_DAMAGED;
        /* When its meta page could not be written, LMDB refuses reads and writes until it is opened again, and does not
         * say that it will. */
        if (status == AIC_IO && atomic_load_explicit(&lmdb->synced_commits, memory_order_relaxed))
            atomic_store_explicit(&lmdb->sync_failed, true, memory_order_relaxed); /* nobody knows what the disk has */
        if (status == AIC_IO && lmdb_env_restart(lmdb) != AIC_OK) lmdb_count(&lmdb->counts.errors, 1);
    }
    pthread_mutex_unlock(&lmdb->write_lock);
    if (status < 0) lmdb_count(&lmdb->counts.errors, 1);
    if (status < 0 && status != AIC_DAMAGED) {
        atomic_store_explicit(&lmdb->trouble, name_fault(lmdb, code, need_bytes), memory_order_relaxed);
    }
    return status;
}

/* A step of lmdb_shrink: true in *context when there is nothing left to do. */
static int shrink_some(struct lmdb_write *write, void *context)
{
    bool *done = context;
    *done = false;
    for (int i = 0; i < SHRINK_ENTRIES && !*done; i++) {
        uint64_t live;
        bool removed = false;
        int code = lmdb_live_pages(write->lmdb, write->txn, &live);
        if (code != 0) return code;
        if (live > lmdb_budget_pages(write->lmdb)) code = lmdb_remove_first(write, UINT64_MAX, &removed);
        if (code != 0) return code;
        if (removed) write->evicted++;
        *done = !removed;
    }
    return 0;
}

aic_status lmdb_shrink(struct lmdb_tier *lmdb)
{
    bool done = false;
    while (!done) TRY(lmdb_write(lmdb, 0, shrink_some, &done));
    return AIC_OK;
}

/* --------------------------------------------------------------------------------------------------------- apply -- */

struct batch {
    const struct tier_write *writes;
    struct lmdb_envelope *envelopes; /* of the puts */
    size_t count;
};

/* A new row comes behind all others, whose pages stay full then. *check: that of the envelope. */
static int put_entry(struct lmdb_write *write, uint64_t row, bool is_new, aic_view record,
                     const struct lmdb_envelope *envelope, uint32_t *check)
{
    size_t head = lmdb_envelope_size(envelope);
    size_t inside = lmdb_inline_bytes(envelope);
    struct lmdb_number_row number = lmdb_number_row(row);
    MDB_val entry = lmdb_val(number.bytes, sizeof number.bytes);
    MDB_val value = lmdb_val(NULL, head + inside);
    int code = mdb_put(write->txn, write->lmdb->databases[LMDB_ENTRIES], &entry, &value,
                       is_new ? MDB_RESERVE | MDB_APPEND : MDB_RESERVE);
    if (code != 0) return code == MDB_KEYEXIST ? MDB_CORRUPTED : code;
    *check = lmdb_envelope_write(envelope, row, value.mv_data);
    if (inside > 0) memcpy((uint8_t *)value.mv_data + head, record.data, inside);
    for (uint32_t i = 0; code == 0 && i < lmdb_chunk_count(envelope); i++) {
        struct lmdb_chunk_row chunk_row = lmdb_chunk_row(row, i);
        size_t offset = inside + (size_t)i * LMDB_PIECE_BYTES;
        size_t size = record.size - offset < LMDB_PIECE_BYTES ? record.size - offset : LMDB_PIECE_BYTES;
        MDB_val chunk_key = lmdb_val(chunk_row.bytes, sizeof chunk_row.bytes);
        MDB_val chunk = lmdb_val(record.data + offset, size);
        code = mdb_put(write->txn, write->lmdb->databases[LMDB_CHUNKS], &chunk_key, &chunk, 0);
    }
    return code;
}

/* Entries leave mostly in the order in which they came: a row that comes last fills its page. */
static int put_expiry(struct lmdb_write *write, uint64_t rank, uint64_t row)
{
    struct lmdb_expiry_row expiry = lmdb_expiry_row(rank, row);
    MDB_val key = lmdb_val(expiry.bytes, sizeof expiry.bytes);
    MDB_val nothing = lmdb_val("", 0);
    int code = mdb_put(write->txn, write->lmdb->databases[LMDB_EXPIRY], &key, &nothing, MDB_APPEND);
    if (code == MDB_KEYEXIST) code = mdb_put(write->txn, write->lmdb->databases[LMDB_EXPIRY], &key, &nothing, 0);
    return code;
}

static int put_pair(struct lmdb_write *write, enum lmdb_database database, MDB_val key, MDB_val value)
{
    int code = mdb_put(write->txn, write->lmdb->databases[database], &key, &value, MDB_NODUPDATA);
    return code == MDB_KEYEXIST ? 0 : code;
}

/* What leads to the entry. A row that was there already (the same label as `before`) costs no copied page. */
static int put_rows(struct lmdb_write *write, uint64_t row, uint32_t check, const struct lmdb_envelope *envelope,
                    const struct lmdb_envelope *before)
{
    struct lmdb_front front = lmdb_front_of(&envelope->key);
    struct lmdb_place place = lmdb_place(row, check);
    MDB_val front_val = lmdb_val(front.bytes, sizeof front.bytes);
    int code = put_pair(write, LMDB_KEYS, front_val, lmdb_val(place.bytes, sizeof place.bytes));
    if (code == 0 && (before == NULL || lmdb_rank(before) != lmdb_rank(envelope)))
        code = put_expiry(write, lmdb_rank(envelope), row);
    for (size_t i = 0; code == 0 && i < envelope->label_count; i++) {
        struct lmdb_number_row id = lmdb_number_row(envelope->labels[i]);
        if (before != NULL && lmdb_has_label(before, envelope->labels[i])) continue;
        code = put_pair(write, LMDB_LABELS, lmdb_val(id.bytes, sizeof id.bytes), front_val);
    }
    return code;
}

/* `old`: what is there and leaves, NULL: nothing. */
static int put_one(struct lmdb_write *write, aic_view record, const struct lmdb_envelope *envelope,
                   const struct lmdb_entry *old)
{
    uint64_t row = old != NULL ? old->row : write->next_row++;
    uint32_t check;
    write->writes++;
    if (old == NULL) write->entries++;
    write->bytes += envelope->record_bytes;
    if (envelope->seq > write->last_seq) write->last_seq = envelope->seq;
    int code = put_entry(write, row, old == NULL, record, envelope, &check);
    return code != 0 ? code : put_rows(write, row, check, envelope, old != NULL ? &old->envelope : NULL);
}

static int apply_one(struct lmdb_write *write, const struct tier_write *one, const struct lmdb_envelope *envelope)
{
    bool is_delete = one->record.data == NULL;
    struct lmdb_entry old;
    int code = lmdb_find(write->lmdb, write->txn, &one->key, &old);
    if (code != 0 && code != MDB_NOTFOUND) return code;
    bool there = code == 0 && old.sound;
    /* Another record than the one that a delete is meant for stays. */
    if (is_delete && there && one->seq != 0 && old.envelope.seq != one->seq) return 0;
    if (there) code = lmdb_remove(write, &old, is_delete ? NULL : envelope);
    else code = code == 0 ? lmdb_remove_lost(write, &one->key, &old) : 0;
    if (code != 0) return code;
    if (!is_delete) return put_one(write, one->record, envelope, there ? &old : NULL);
    write->deletes++;
    return 0;
}

static int apply_batch(struct lmdb_write *write, void *context)
{
    const struct batch *batch = context;
    for (size_t i = 0; i < batch->count; i++) {
        int code = apply_one(write, &batch->writes[i], &batch->envelopes[i]);
        if (code != 0) return code;
    }
    int code = lmdb_evict(write);
    return code == ENOMEM ? 0 : code; /* evicting again next time is enough */
}

/* Describes what is put, before any transaction. A record larger than LMDB_RECORD_SHARE allows is refused. */
static aic_status describe_batch(struct lmdb_tier *lmdb, const struct batch *batch, uint64_t *need_bytes)
{
    uint64_t need = 0;
    for (size_t i = 0; i < batch->count; i++) {
        aic_view record = batch->writes[i].record;
        struct tier_description description = {0};
        need += 4 * LMDB_ROUGH_PAGE_BYTES;
        if (record.data == NULL) continue;
        TRY(lmdb->describe(lmdb->describe_context, record, &description));
        TRY(lmdb_envelope_make(&batch->writes[i].key, &description, record.size, &batch->envelopes[i]));
        if (record.size > lmdb->tier.max_record_bytes) return AIC_FULL;
        need += record.size + LMDB_ROUGH_PAGE_BYTES;
    }
    *need_bytes = need;
    return AIC_OK;
}

aic_status lmdb_apply(struct tier *tier, const struct tier_write *writes, size_t count)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    if (count == 0) return AIC_OK;
    struct batch batch = {.writes = writes, .count = count};
    batch.envelopes = mem_alloc(lmdb->mem, MEM_STORAGE, count * sizeof *batch.envelopes);
    if (batch.envelopes == NULL) return AIC_NO_MEMORY;
    uint64_t need_bytes = 0;
    aic_status status = describe_batch(lmdb, &batch, &need_bytes);
    if (status == AIC_OK) status = lmdb_write(lmdb, need_bytes, apply_batch, &batch);
    mem_free(lmdb->mem, MEM_STORAGE, batch.envelopes, count * sizeof *batch.envelopes);
    return status;
}

/* -------------------------------------------------------------------------------------------------------- expire -- */

struct expiry {
    uint64_t until; /* rank: what expires at this millisecond is expired */
    size_t max;
    size_t removed;
};

static int expire_some(struct lmdb_write *write, void *context)
{
    struct expiry *expiry = context;
    expiry->removed = 0;
    while (expiry->removed < expiry->max) {
        bool removed;
        int code = lmdb_remove_first(write, expiry->until, &removed);
        if (code != 0) return code;
        if (!removed) break;
        expiry->removed++;
        write->expired++;
    }
    return 0;
}

struct first_expiry {
    struct lmdb_tier *lmdb;
    MDB_txn *txn;
    uint64_t rank; /* of what leaves first */
};

static int read_first_expiry(void *context)
{
    struct first_expiry *first = context;
    MDB_cursor *cursor;
    MDB_val row, nothing;
    int code = mdb_cursor_open(first->txn, first->lmdb->databases[LMDB_EXPIRY], &cursor);
    if (code != 0) return code;
    code = mdb_cursor_get(cursor, &row, &nothing, MDB_FIRST);
    if (code == 0 && row.mv_size != sizeof(struct lmdb_expiry_row)) code = MDB_CORRUPTED;
    if (code == 0) first->rank = lmdb_row_number(row.mv_data);
    mdb_cursor_close(cursor);
    return code;
}

/* Is there anything to do? Saves the write transaction of an idle second. */
static aic_status has_expired(struct lmdb_tier *lmdb, uint64_t until, bool *out)
{
    struct first_expiry first = {.lmdb = lmdb};
    TRY(lmdb_read_begin(lmdb, &first.txn));
    int code = lmdb_guarded(lmdb, read_first_expiry, &first);
    lmdb_read_end(lmdb, &first.txn);
    if (code == 0 || code == MDB_NOTFOUND) *out = code == 0 && first.rank <= until;
    return code == MDB_NOTFOUND ? AIC_OK : lmdb_status(code);
}

aic_status lmdb_expire(struct tier *tier, size_t max, size_t *removed)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    struct expiry expiry = {.until = clock_wall_ms(lmdb->clock), .max = max};
    bool due = false;
    TRY(has_expired(lmdb, expiry.until, &due));
    if (due) TRY(lmdb_write(lmdb, 64 * LMDB_ROUGH_PAGE_BYTES, expire_some, &expiry));
    *removed = expiry.removed;
    return AIC_OK;
}
