/*
 * lmdb_select.c - which records carry all of these labels?
 *
 * The idea: the rows of one label are a list of keys in key order, so several labels are a merge of sorted lists: each
 * list is asked for its first key at or after the candidate; whoever has a greater one makes the next candidate. The
 * rarest label decides how many steps that takes, without anybody knowing which it is. Without a partition label (every
 * namespace) the entries themselves are walked.
 *
 * Matches are copied out in batches and visited with no transaction open. A transaction takes a bounded number of
 * steps. The records of one walk may come from several snapshots; a record that is there during the whole walk is
 * visited exactly once.
 *
 * The merge is the leapfrog join of T. Veldhuizen, "Leapfrog Triejoin" (2014), section 3.
 */
#include "tier/lmdb_tier.h"

#include "base/check.h"

#include <string.h>

enum { BATCH_RECORDS = 64, BATCH_BYTES = 1 << 20, BATCH_STEPS = 4096, MAX_LISTS = 4 };

struct selection {
    struct lmdb_tier *lmdb;
    const struct tier_filter *filter;
    uint64_t now_ms;
    uint64_t lists[MAX_LISTS]; /* label ids that are merged; the other labels are compared record by record */
    size_t list_count;         /* 0: walk the entries */

    aic_key from; /* the next candidate: nothing before it is looked at again */
    bool ended;
    struct buf batch; /* key[32] | size u64 | record, one after the other */
    size_t batch_records;
};

static void selection_init(struct selection *selection, struct lmdb_tier *lmdb, const struct tier_filter *filter,
                           const aic_key *after)
{
    *selection = (struct selection){.lmdb = lmdb, .filter = filter, .now_ms = clock_wall_ms(lmdb->clock)};
    buf_init(&selection->batch, lmdb->mem, MEM_STORAGE);
    if (after != NULL) {
        selection->from = *after;
        selection->ended = !lmdb_key_next(&selection->from);
    }
    const struct tier_label *partition = NULL;
    for (size_t i = 0; i < filter->label_count; i++) {
        if (filter->labels[i].kind == 0) partition = &filter->labels[i];
    }
    if (partition == NULL) return;
    for (size_t i = 0; i < filter->label_count && selection->list_count < MAX_LISTS; i++) {
        selection->lists[selection->list_count++] = lmdb_label_id(partition->value, &filter->labels[i]);
    }
}

/* ------------------------------------------------------------------------------------------------------ matching -- */

static bool has_label(const struct tier_description *description, const struct tier_label *label)
{
    for (size_t i = 0; i < description->label_count; i++) {
        const struct tier_label *own = &description->labels[i];
        if (own->kind == label->kind && own->value.size == label->value.size &&
            (own->value.size == 0 || memcmp(own->value.data, label->value.data, own->value.size) == 0)) {
            return true;
        }
    }
    return false;
}

/* The labels themselves decide, not their hashes. A record that cannot be read matches nothing. */
static bool matches(const struct selection *selection, aic_view record)
{
    struct tier_description description = {0};
    const struct tier_filter *filter = selection->filter;
    if (selection->lmdb->describe(selection->lmdb->describe_context, record, &description) != AIC_OK) return false;
    for (size_t i = 0; i < filter->label_count; i++) {
        if (!has_label(&description, &filter->labels[i])) return false;
    }
    return true;
}

static bool dates_match(const struct selection *selection, const struct lmdb_envelope *envelope)
{
    if (envelope->expires_ms != 0 && envelope->expires_ms <= selection->now_ms) return false;
    uint64_t until = selection->filter->created_until_ms;
    return until == 0 || envelope->created_ms <= until;
}

/* Appends the record to the batch if it matches. Damaged ones are left out. AIC_NO_MEMORY, AIC_IO. */
static aic_status consider(struct selection *selection, MDB_txn *txn, const aic_key *key, MDB_val value)
{
    struct lmdb_envelope envelope;
    size_t envelope_size;
    if (lmdb_envelope_read(value, &envelope, &envelope_size) != AIC_OK || !dates_match(selection, &envelope))
        return AIC_OK;
    struct buf *batch = &selection->batch;
    size_t before = batch->size;
    uint8_t size[8];
    lmdb_put_u64(size, envelope.record_bytes);
    buf_append(batch, key->bytes, AIC_KEY_BYTES);
    buf_append(batch, size, sizeof size);
    aic_status status = buf_status(batch);
    if (status == AIC_OK) status = lmdb_record(selection->lmdb, txn, key, value, &envelope, envelope_size, batch);
    if (status != AIC_OK && status != AIC_DAMAGED) return status;
    size_t head = before + AIC_KEY_BYTES + 8;
    if (status == AIC_OK && matches(selection, (aic_view){batch->data + head, batch->size - head})) {
        selection->batch_records++;
    } else {
        batch->size = before;
    }
    return AIC_OK;
}

static bool batch_is_full(const struct selection *selection)
{
    return selection->batch_records >= BATCH_RECORDS || selection->batch.size >= BATCH_BYTES;
}

/* ------------------------------------------------------------------------------------------- walking the entries -- */

/* Keys that go back would have a walk go on for ever. */
static bool is_behind(const struct selection *selection, MDB_val key)
{
    return key.mv_size != AIC_KEY_BYTES || memcmp(key.mv_data, selection->from.bytes, AIC_KEY_BYTES) < 0;
}

static aic_status out_of_order(struct selection *selection, MDB_cursor *cursor)
{
    if (cursor != NULL) mdb_cursor_close(cursor);
    lmdb_found_damage(selection->lmdb, "keys are out of order");
    return AIC_DAMAGED;
}

static aic_status walk_entries(struct selection *selection, MDB_txn *txn)
{
    MDB_cursor *cursor;
    int code = mdb_cursor_open(txn, selection->lmdb->databases[LMDB_ENTRIES], &cursor);
    if (code != 0) return lmdb_status(code);
    aic_key key = selection->from;
    MDB_val entry = lmdb_val(key.bytes, AIC_KEY_BYTES);
    MDB_val value;
    aic_status status = AIC_OK;
    code = mdb_cursor_get(cursor, &entry, &value, MDB_SET_RANGE);
    for (int step = 0; code == 0 && status == AIC_OK && step < BATCH_STEPS && !batch_is_full(selection); step++) {
        if (is_behind(selection, entry)) return out_of_order(selection, cursor);
        memcpy(key.bytes, entry.mv_data, AIC_KEY_BYTES);
        status = consider(selection, txn, &key, value);
        selection->ended = !lmdb_key_next(&key);
        selection->from = key;
        code = selection->ended ? MDB_NOTFOUND : mdb_cursor_get(cursor, &entry, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (code == MDB_NOTFOUND) selection->ended = true;
    return status != AIC_OK || code == MDB_NOTFOUND ? status : lmdb_status(code);
}

/* --------------------------------------------------------------------------------------------- merging the lists -- */

/* Moves *key to the list's first key at or after it. MDB_NOTFOUND at the list's end. */
static int seek_list(MDB_cursor *cursor, uint64_t list, aic_key *key)
{
    struct lmdb_pair_row from;
    lmdb_pair_row_make(list, key, &from);
    MDB_val row = lmdb_val(from.bytes, sizeof from.bytes);
    MDB_val nothing;
    int code = mdb_cursor_get(cursor, &row, &nothing, MDB_SET_RANGE);
    if (code != 0) return code;
    if (row.mv_size != sizeof from.bytes || lmdb_pair_row_number(row) != list) return MDB_NOTFOUND;
    lmdb_pair_row_key(row, key);
    return 0;
}

static aic_status consider_key(struct selection *selection, MDB_txn *txn, const aic_key *key)
{
    MDB_val entry = lmdb_val(key->bytes, AIC_KEY_BYTES);
    MDB_val value;
    int code = mdb_get(txn, selection->lmdb->databases[LMDB_ENTRIES], &entry, &value);
    if (code == MDB_NOTFOUND) return AIC_OK; /* left over by a damaged entry */
    return code != 0 ? lmdb_status(code) : consider(selection, txn, key, value);
}

/* One transaction's worth of the merge. `agreed` lists in a row have the candidate; all of them: a match. */
static aic_status merge_lists(struct selection *selection, MDB_txn *txn, MDB_cursor **cursors)
{
    size_t agreed = 0;
    size_t list = 0;
    for (int step = 0; step < BATCH_STEPS && !batch_is_full(selection); step++) {
        aic_key key = selection->from;
        int code = seek_list(cursors[list], selection->lists[list], &key);
        if (code == MDB_NOTFOUND) selection->ended = true;
        if (code != 0) return code == MDB_NOTFOUND ? AIC_OK : lmdb_status(code);
        if (is_behind(selection, lmdb_val(key.bytes, AIC_KEY_BYTES))) return out_of_order(selection, NULL);
        agreed = memcmp(key.bytes, selection->from.bytes, AIC_KEY_BYTES) == 0 ? agreed + 1 : 1;
        selection->from = key;
        list = (list + 1) % selection->list_count;
        if (agreed < selection->list_count) continue;
        TRY(consider_key(selection, txn, &key));
        agreed = 0;
        selection->ended = !lmdb_key_next(&selection->from);
        if (selection->ended) return AIC_OK;
    }
    return AIC_OK;
}

static aic_status walk_lists(struct selection *selection, MDB_txn *txn)
{
    MDB_cursor *cursors[MAX_LISTS];
    size_t opened = 0;
    int code = 0;
    while (opened < selection->list_count) {
        code = mdb_cursor_open(txn, selection->lmdb->databases[LMDB_LABELS], &cursors[opened]);
        if (code != 0) break;
        opened++;
    }
    aic_status status = code != 0 ? lmdb_status(code) : merge_lists(selection, txn, cursors);
    while (opened > 0) mdb_cursor_close(cursors[--opened]);
    return status;
}

/* ------------------------------------------------------------------------------------------------------ the walk -- */

struct filling {
    struct selection *selection;
    MDB_txn *txn;
    aic_status status;
};

static int fill_guarded(void *context)
{
    struct filling *filling = context;
    struct selection *selection = filling->selection;
    filling->status = selection->list_count > 0 ? walk_lists(selection, filling->txn)
                                                : walk_entries(selection, filling->txn);
    return 0;
}

static aic_status fill_batch(struct selection *selection)
{
    struct filling filling = {.selection = selection};
    buf_clear(&selection->batch);
    selection->batch_records = 0;
    TRY(lmdb_read_begin(selection->lmdb, &filling.txn));
    aic_status status = lmdb_guarded(selection->lmdb, fill_guarded, &filling) == 0 ? filling.status : AIC_DAMAGED;
    lmdb_read_end(selection->lmdb, &filling.txn);
    return status;
}

static bool visit_batch(const struct selection *selection, tier_visit_fn *visit, void *context)
{
    const struct buf *batch = &selection->batch;
    for (size_t at = 0; at < batch->size;) {
        aic_key key;
        memcpy(key.bytes, batch->data + at, AIC_KEY_BYTES);
        size_t size = (size_t)lmdb_take_u64((const uint8_t *)batch->data + at + AIC_KEY_BYTES);
        at += AIC_KEY_BYTES + 8;
        if (!visit(context, &key, (aic_view){batch->data + at, size})) return false;
        at += size;
    }
    return true;
}

aic_status lmdb_select(struct tier *tier, const struct tier_filter *filter, const aic_key *after, tier_visit_fn *visit,
                       void *context)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    for (size_t i = 0; i < filter->label_count; i++) {
        if (filter->labels[i].value.size > 128) return AIC_INVALID;
    }
    struct selection selection;
    selection_init(&selection, lmdb, filter, after);
    aic_status status = AIC_OK;
    while (!selection.ended) {
        status = fill_batch(&selection);
        if (status != AIC_OK || !visit_batch(&selection, visit, context)) break;
    }
    buf_fini(&selection.batch);
    return status;
}
