/*
 * select.c - which records carry all of these labels?
 *
 * The idea: the rows of one label are a list of fronts of keys in their order, so several labels are a merge of sorted
 * lists: each list is asked for its first front at or after the candidate; whoever has a greater one makes the next
 * candidate. The rarest label decides how many steps that takes, without anybody knowing which it is. Without a
 * partition label (every namespace) all keys are walked, or, where the order does not matter, the entries as they lie
 * in the file.
 *
 * Matches are copied out in batches and visited with no transaction open. A transaction takes a bounded number of
 * steps. The records of one walk may come from several snapshots; a record that is there during the whole walk is
 * visited exactly once.
 *
 * The merge is the leapfrog join of T. Veldhuizen, "Leapfrog Triejoin" (2014), section 3.
 */
#include "tier/lmdb/inner.h"

#include "base/check.h"
#include "base/view.h"

#include <string.h>

enum { BATCH_RECORDS = 64, BATCH_BYTES = 1 << 20, BATCH_STEPS = 512, MAX_LISTS = 4, BATCH_HEAD = AIC_KEY_BYTES + 16 };

struct selection {
    struct lmdb_tier *lmdb;
    const struct tier_filter *filter;
    uint64_t now_ms;
    uint64_t lists[MAX_LISTS]; /* label ids that are merged; the other labels are compared record by record */
    size_t list_count;         /* 0: walk the keys */

    uint64_t row; /* where to go on as they lie in the file */
    aic_key from; /* the next candidate: nothing before it is looked at again */
    bool ended;
    struct buf batch; /* key[32] | size u64 | row u64 | record, one after the other */
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
    if (filter->place != NULL) selection->row = *filter->place;
    CHECK(filter->place == NULL || (partition == NULL && after == NULL));
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
        if (own->kind == label->kind && view_equal(own->value, label->value)) return true;
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
    const struct tier_filter *filter = selection->filter;
    if (filter->until_seq != 0 && envelope->seq > filter->until_seq) return false;
    if (filter->created_from_ms != 0 && envelope->created_ms > filter->created_from_ms) return true;
    return filter->created_until_ms == 0 || envelope->created_ms <= filter->created_until_ms;
}

/* Appends the record to the batch if it matches. Damaged ones are left out. AIC_NO_MEMORY, AIC_IO. */
static aic_status consider(struct selection *selection, MDB_txn *txn, const struct lmdb_entry *entry)
{
    if (!dates_match(selection, &entry->envelope)) return AIC_OK;
    struct buf *batch = &selection->batch;
    size_t before = batch->size;
    uint8_t numbers[16];
    lmdb_put_u64(numbers, entry->envelope.record_bytes);
    lmdb_put_u64(numbers + 8, entry->row);
    buf_append(batch, entry->envelope.key.bytes, AIC_KEY_BYTES);
    buf_append(batch, numbers, sizeof numbers);
    aic_status status = buf_status(batch);
    if (status == AIC_OK) status = lmdb_record(selection->lmdb, txn, entry, batch);
    if (status != AIC_OK && status != AIC_DAMAGED) return status;
    size_t head = before + BATCH_HEAD;
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

/* ------------------------------------------------------------------------------------------------- one candidate -- */

/* Finds the least key at or after the candidate among those that share its front; *count says how many do. What is not
 * sound is no entry. LMDB's error number; 0 with out->sound false: there is none. */
static int least_of_front(const struct selection *selection, MDB_txn *txn, MDB_cursor *keys, struct lmdb_entry *out,
                          size_t *count)
{
    struct lmdb_front front = lmdb_front_of(&selection->from);
    MDB_val key = lmdb_val(front.bytes, sizeof front.bytes), place;
    struct lmdb_entry one;
    out->sound = false;
    *count = 0;
    int code = mdb_cursor_get(keys, &key, &place, MDB_SET);
    while (code == 0 && (code = lmdb_entry_at(selection->lmdb, txn, place, &one)) == 0) {
        bool later = one.sound && key_compare(&one.envelope.key, &selection->from) >= 0;
        if (later && (!out->sound || key_compare(&one.envelope.key, &out->envelope.key) < 0)) *out = one;
        ++*count;
        code = mdb_cursor_get(keys, &key, &place, MDB_NEXT_DUP);
    }
    return code == MDB_NOTFOUND ? 0 : code;
}

/* Every key with the candidate's front, from the candidate on; the next candidate has the next front, unless the batch
 * is full before. */
static aic_status consider_front(struct selection *selection, MDB_txn *txn, MDB_cursor *keys)
{
    struct lmdb_entry entry;
    size_t count;
    for (;;) {
        int code = least_of_front(selection, txn, keys, &entry, &count);
        if (code != 0) return lmdb_status(code);
        if (!entry.sound) break;
        TRY(consider(selection, txn, &entry));
        selection->from = entry.envelope.key;
        selection->ended = !lmdb_key_next(&selection->from);
        if (memcmp(selection->from.bytes, entry.envelope.key.bytes, LMDB_FRONT_BYTES) != 0) return AIC_OK;
        if (count == 1) break;
        if (batch_is_full(selection)) return AIC_OK;
    }
    selection->ended = !lmdb_front_next(&selection->from);
    return AIC_OK;
}

/* Makes `front` the candidate's. Fronts that go back would have a walk go on for ever. */
static aic_status go_to(struct selection *selection, MDB_val front)
{
    int order = front.mv_size == LMDB_FRONT_BYTES ? memcmp(front.mv_data, selection->from.bytes, LMDB_FRONT_BYTES) : -1;
    if (order < 0) {
        lmdb_found_damage(selection->lmdb, "keys are out of order");
        return AIC_DAMAGED;
    }
    if (order == 0) return AIC_OK;
    memset(&selection->from, 0, sizeof selection->from);
    memcpy(selection->from.bytes, front.mv_data, LMDB_FRONT_BYTES);
    return AIC_OK;
}

/* ---------------------------------------------------------------------------------------------- walking the keys -- */

static aic_status walk_keys(struct selection *selection, MDB_txn *txn, MDB_cursor *keys)
{
    for (int step = 0; step < BATCH_STEPS && !selection->ended && !batch_is_full(selection); step++) {
        struct lmdb_front from = lmdb_front_of(&selection->from);
        MDB_val front = lmdb_val(from.bytes, sizeof from.bytes), place;
        int code = mdb_cursor_get(keys, &front, &place, MDB_SET_RANGE);
        if (code == MDB_NOTFOUND) selection->ended = true;
        if (code != 0) return code == MDB_NOTFOUND ? AIC_OK : lmdb_status(code);
        TRY(go_to(selection, front));
        TRY(consider_front(selection, txn, keys));
    }
    return AIC_OK;
}

/* Does its key lead to it? An older state, in a page that is free since, may be an envelope of this row, too. */
static int confirm(MDB_cursor *keys, struct lmdb_entry *entry)
{
    struct lmdb_front front = lmdb_front_of(&entry->envelope.key);
    struct lmdb_place place = lmdb_place(entry->row, entry->check);
    MDB_val key = lmdb_val(front.bytes, sizeof front.bytes), value = lmdb_val(place.bytes, sizeof place.bytes);
    int code = mdb_cursor_get(keys, &key, &value, MDB_GET_BOTH);
    entry->sound = code == 0;
    return code == MDB_NOTFOUND ? 0 : code;
}

static aic_status consider_row(struct selection *selection, MDB_txn *txn, MDB_cursor *keys, MDB_val row, MDB_val value)
{
    struct lmdb_entry entry = {.value = value};
    bool fits = row.mv_size == sizeof(struct lmdb_number_row) && value.mv_data != NULL;
    entry.row = fits ? lmdb_row_number(row.mv_data) : 0;
    if (!fits || entry.row < selection->row) {
        lmdb_found_damage(selection->lmdb, "rows are out of order");
        return AIC_DAMAGED;
    }
    selection->row = entry.row + 1;
    if (lmdb_envelope_read(value, entry.row, &entry.envelope, &entry.envelope_size, &entry.check) != AIC_OK)
        return AIC_OK;
    int code = confirm(keys, &entry);
    if (code != 0) return lmdb_status(code);
    return entry.sound ? consider(selection, txn, &entry) : AIC_OK;
}

/* As they lie in the file. */
static aic_status walk_rows(struct selection *selection, MDB_txn *txn, MDB_cursor *keys, MDB_cursor *rows)
{
    struct lmdb_number_row from = lmdb_number_row(selection->row);
    MDB_val row = lmdb_val(from.bytes, sizeof from.bytes), value = lmdb_val(NULL, 0);
    int code = mdb_cursor_get(rows, &row, &value, MDB_SET_RANGE);
    for (int step = 0; code == 0 && step < BATCH_STEPS && !batch_is_full(selection); step++) {
        TRY(consider_row(selection, txn, keys, row, value));
        code = mdb_cursor_get(rows, &row, &value, MDB_NEXT);
    }
    if (code == MDB_NOTFOUND) selection->ended = true;
    return code == MDB_NOTFOUND ? AIC_OK : lmdb_status(code);
}

/* --------------------------------------------------------------------------------------------- merging the lists -- */

/* One transaction's worth of the merge. `agreed` lists in a row have the candidate; all of them: a match. */
static aic_status merge_lists(struct selection *selection, MDB_txn *txn, MDB_cursor *keys, MDB_cursor **cursors)
{
    size_t agreed = 0;
    size_t list = 0;
    for (int step = 0; step < BATCH_STEPS && !selection->ended && !batch_is_full(selection); step++) {
        struct lmdb_number_row id = lmdb_number_row(selection->lists[list]);
        struct lmdb_front before = lmdb_front_of(&selection->from);
        MDB_val key = lmdb_val(id.bytes, sizeof id.bytes), front = lmdb_val(before.bytes, sizeof before.bytes);
        int code = mdb_cursor_get(cursors[list], &key, &front, MDB_GET_BOTH_RANGE);
        if (code == MDB_NOTFOUND) selection->ended = true;
        if (code != 0) return code == MDB_NOTFOUND ? AIC_OK : lmdb_status(code);
        TRY(go_to(selection, front));
        agreed = memcmp(before.bytes, selection->from.bytes, LMDB_FRONT_BYTES) == 0 ? agreed + 1 : 1;
        list = (list + 1) % selection->list_count;
        if (agreed < selection->list_count) continue;
        TRY(consider_front(selection, txn, keys));
        agreed = 0;
    }
    return AIC_OK;
}

static aic_status walk(struct selection *selection, MDB_txn *txn)
{
    const MDB_dbi *databases = selection->lmdb->databases;
    MDB_cursor *cursors[1 + MAX_LISTS];
    bool by_row = selection->filter->place != NULL;
    size_t opened = 0, wanted = 1 + (by_row ? 1 : selection->list_count);
    int code = 0;
    while (code == 0 && opened < wanted) {
        enum lmdb_database database = opened == 0 ? LMDB_KEYS : by_row ? LMDB_ENTRIES : LMDB_LABELS;
        code = mdb_cursor_open(txn, databases[database], &cursors[opened]);
        if (code == 0) opened++;
    }
    aic_status status = code != 0    ? lmdb_status(code)
                        : by_row     ? walk_rows(selection, txn, cursors[0], cursors[1])
                        : wanted > 1 ? merge_lists(selection, txn, cursors[0], cursors + 1)
                                     : walk_keys(selection, txn, cursors[0]);
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
    filling->status = walk(filling->selection, filling->txn);
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
        if (selection->filter->place != NULL)
            *selection->filter->place = 1 + lmdb_take_u64((const uint8_t *)batch->data + at + AIC_KEY_BYTES + 8);
        at += BATCH_HEAD;
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
    while (!selection.ended && (filter->goes_on == NULL || filter->goes_on(context))) {
        status = fill_batch(&selection);
        if (status != AIC_OK || !visit_batch(&selection, visit, context)) break;
    }
    buf_fini(&selection.batch);
    return status;
}
