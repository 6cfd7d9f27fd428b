/*
 * select.c - which records carry all of these labels?
 *
 * The idea: the rows of one label are a list of fronts of keys in their order, so several labels are a merge of sorted
 * lists: each list is asked for its first front at or after the candidate; whoever has a greater one makes the next
 * candidate. The rarest label decides how many steps that takes, without anybody knowing which it is. Without a
 * partition label (every namespace) all keys are walked, or, where the order does not matter, the entries as they lie
 * in the file.
 *
 * Matches are copied out page by page, each in a transaction of its own that takes a bounded number of steps. The
 * records of one walk may come from several snapshots; a record that is there during the whole walk comes exactly once.
 *
 * The merge is the leapfrog join of T. Veldhuizen, "Leapfrog Triejoin" (2014), section 3.
 */
#include "tier/lmdb/inner.h"

#include "base/check.h"
#include "base/view.h"

#include <string.h>

enum { PAGE_RECORDS = 64, PAGE_MOST_RECORDS = 512, PAGE_BYTES = 1 << 20, PAGE_STEPS = 1024, MAX_LISTS = 4 };

struct selection {
    struct lmdb_tier *lmdb;
    const struct tier_filter *filter;
    struct tier_page *page;
    uint64_t now_ms;
    uint64_t lists[MAX_LISTS]; /* label ids that are merged; the other labels are compared record by record */
    size_t list_count;         /* 0: walk the keys */
    MDB_txn *txn;
    aic_status status;
};

static void selection_init(struct selection *selection, struct lmdb_tier *lmdb, const struct tier_filter *filter,
                           struct tier_page *page)
{
    *selection = (struct selection){.lmdb = lmdb, .filter = filter, .page = page, .now_ms = clock_wall_ms(lmdb->clock)};
    const struct tier_label *partition = NULL;
    for (size_t i = 0; i < filter->label_count; i++) {
        if (filter->labels[i].kind == 0) partition = &filter->labels[i];
    }
    CHECK(!filter->any_order || partition == NULL);
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

/* Appends the record to the page if it matches. Damaged ones are left out. AIC_NO_MEMORY, AIC_IO. */
static aic_status consider(struct selection *selection, MDB_txn *txn, const struct lmdb_entry *entry)
{
    if (!dates_match(selection, &entry->envelope)) return AIC_OK;
    struct buf *bytes = &selection->page->bytes;
    size_t before = bytes->size, head = before + sizeof(struct tier_row);
    struct tier_row row = {entry->envelope.key, entry->row, entry->envelope.record_bytes};
    buf_append(bytes, &row, sizeof row);
    aic_status status = buf_status(bytes);
    if (status == AIC_OK) status = lmdb_record(selection->lmdb, txn, entry, bytes);
    if (status != AIC_OK && status != AIC_DAMAGED) return status;
    if (status == AIC_OK && matches(selection, (aic_view){bytes->data + head, bytes->size - head}))
        selection->page->count++;
    else bytes->size = before;
    return AIC_OK;
}

static bool page_is_full(const struct selection *selection)
{
    const struct tier_page *page = selection->page;
    size_t most = page->most == 0 ? PAGE_RECORDS : page->most < PAGE_MOST_RECORDS ? page->most : PAGE_MOST_RECORDS;
    size_t most_bytes = page->most_bytes != 0 && page->most_bytes < PAGE_BYTES ? page->most_bytes : PAGE_BYTES;
    return page->count >= most || page->bytes.size >= most_bytes;
}

/* ------------------------------------------------------------------------------------------------- one candidate -- */

/* Finds the least key at or after the candidate among those that share its front; *count says how many do. What is not
 * sound is no entry. LMDB's error number; 0 with out->sound false: there is none. */
static int least_of_front(const struct selection *selection, MDB_txn *txn, MDB_cursor *keys, struct lmdb_entry *out,
                          size_t *count)
{
    struct lmdb_front front = lmdb_front_of(&selection->page->next.key);
    MDB_val key = lmdb_val(front.bytes, sizeof front.bytes), place;
    struct lmdb_entry one;
    out->sound = false;
    *count = 0;
    int code = mdb_cursor_get(keys, &key, &place, MDB_SET);
    while (code == 0 && (code = lmdb_entry_at(selection->lmdb, txn, place, &one)) == 0) {
        bool later = one.sound && key_compare(&one.envelope.key, &selection->page->next.key) >= 0;
        if (later && (!out->sound || key_compare(&one.envelope.key, &out->envelope.key) < 0)) *out = one;
        ++*count;
        code = mdb_cursor_get(keys, &key, &place, MDB_NEXT_DUP);
    }
    return code == MDB_NOTFOUND ? 0 : code;
}

/* Every key with the candidate's front, from the candidate on; the next candidate has the next front, unless the page
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
        selection->page->next.key = entry.envelope.key;
        selection->page->next.ended = !key_next(&selection->page->next.key);
        if (memcmp(selection->page->next.key.bytes, entry.envelope.key.bytes, LMDB_FRONT_BYTES) != 0) return AIC_OK;
        if (count == 1) break;
        if (page_is_full(selection)) return AIC_OK;
    }
    selection->page->next.ended = !lmdb_front_next(&selection->page->next.key);
    return AIC_OK;
}

/* Makes `front` the candidate's. Fronts that go back would have a walk go on for ever. */
static aic_status go_to(struct selection *selection, MDB_val front)
{
    int order = front.mv_size == LMDB_FRONT_BYTES
                    ? memcmp(front.mv_data, selection->page->next.key.bytes, LMDB_FRONT_BYTES)
                    : -1;
    if (order < 0) {
        lmdb_found_damage(selection->lmdb, "keys are out of order");
        return AIC_DAMAGED;
    }
    if (order == 0) return AIC_OK;
    memset(&selection->page->next.key, 0, sizeof selection->page->next.key);
    memcpy(selection->page->next.key.bytes, front.mv_data, LMDB_FRONT_BYTES);
    return AIC_OK;
}

/* ---------------------------------------------------------------------------------------------- walking the keys -- */

static aic_status walk_keys(struct selection *selection, MDB_txn *txn, MDB_cursor *keys)
{
    for (int step = 0; step < PAGE_STEPS && !selection->page->next.ended && !page_is_full(selection); step++) {
        struct lmdb_front from = lmdb_front_of(&selection->page->next.key);
        MDB_val front = lmdb_val(from.bytes, sizeof from.bytes), place;
        int code = mdb_cursor_get(keys, &front, &place, MDB_SET_RANGE);
        if (code == MDB_NOTFOUND) selection->page->next.ended = true;
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
    if (!fits || entry.row < selection->page->next.row) {
        lmdb_found_damage(selection->lmdb, "rows are out of order");
        return AIC_DAMAGED;
    }
    selection->page->next.row = entry.row + 1;
    if (lmdb_envelope_read(value, entry.row, &entry.envelope, &entry.envelope_size, &entry.check) != AIC_OK)
        return AIC_OK;
    int code = confirm(keys, &entry);
    if (code != 0) return lmdb_status(code);
    return entry.sound ? consider(selection, txn, &entry) : AIC_OK;
}

/* As they lie in the file. */
static aic_status walk_rows(struct selection *selection, MDB_txn *txn, MDB_cursor *keys, MDB_cursor *rows)
{
    struct lmdb_number_row from = lmdb_number_row(selection->page->next.row);
    MDB_val row = lmdb_val(from.bytes, sizeof from.bytes), value = lmdb_val(NULL, 0);
    int code = mdb_cursor_get(rows, &row, &value, MDB_SET_RANGE);
    for (int step = 0; code == 0 && step < PAGE_STEPS && !page_is_full(selection); step++) {
        TRY(consider_row(selection, txn, keys, row, value));
        code = mdb_cursor_get(rows, &row, &value, MDB_NEXT);
    }
    if (code == MDB_NOTFOUND) selection->page->next.ended = true;
    return code == MDB_NOTFOUND ? AIC_OK : lmdb_status(code);
}

/* --------------------------------------------------------------------------------------------- merging the lists -- */

/* One transaction's worth of the merge. `agreed` lists in a row have the candidate; all of them: a match. */
static aic_status merge_lists(struct selection *selection, MDB_txn *txn, MDB_cursor *keys, MDB_cursor **cursors)
{
    size_t agreed = 0;
    size_t list = 0;
    for (int step = 0; step < PAGE_STEPS && !selection->page->next.ended && !page_is_full(selection); step++) {
        struct lmdb_number_row id = lmdb_number_row(selection->lists[list]);
        struct lmdb_front before = lmdb_front_of(&selection->page->next.key);
        MDB_val key = lmdb_val(id.bytes, sizeof id.bytes), front = lmdb_val(before.bytes, sizeof before.bytes);
        int code = mdb_cursor_get(cursors[list], &key, &front, MDB_GET_BOTH_RANGE);
        if (code == MDB_NOTFOUND) selection->page->next.ended = true;
        if (code != 0) return code == MDB_NOTFOUND ? AIC_OK : lmdb_status(code);
        TRY(go_to(selection, front));
        agreed = memcmp(before.bytes, selection->page->next.key.bytes, LMDB_FRONT_BYTES) == 0 ? agreed + 1 : 1;
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
    bool by_row = selection->filter->any_order;
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

/* ------------------------------------------------------------------------------------------------------ the page -- */

static int fill_guarded(void *context)
{
    struct selection *selection = context;
    selection->status = walk(selection, selection->txn);
    return 0;
}

aic_status lmdb_select(struct tier *tier, const struct tier_filter *filter, struct tier_page *page)
{
    struct lmdb_tier *lmdb = lmdb_of(tier);
    struct selection selection;
    for (size_t i = 0; i < filter->label_count; i++) {
        if (filter->labels[i].value.size > 128) return AIC_INVALID;
    }
    buf_clear(&page->bytes);
    page->count = 0;
    if (page->next.ended) return AIC_OK;
    selection_init(&selection, lmdb, filter, page);
    TRY(lmdb_read_begin(lmdb, &selection.txn));
    aic_status status = lmdb_guarded(lmdb, fill_guarded, &selection) == 0 ? selection.status : AIC_DAMAGED;
    lmdb_read_end(lmdb, &selection.txn);
    return status;
}
