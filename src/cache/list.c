/*
 * list.c - pages of metadata in the order of keys, over both tiers.
 *
 * Keys are spread evenly and a page is bounded, so a page is made from two sorted runs: the `limit` smallest matching
 * keys of memory behind the cursor, kept in a heap during one pass over the memory tier, and the same from storage,
 * which is sorted already. Merging them drops what is in both. Because the order is that of the keys and the cursor is
 * a key, an entry that stays is listed exactly once.
 */
#include "cache/inner.h"

#include "base/view.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LIMIT 1000
#define FLUSH_DEADLINE_MS 2000

/* One entry of a run: a copy of its record's head. */
struct row {
    aic_key key;
    size_t head_bytes;
    uint64_t stored_bytes;
    unsigned tiers;
    char *head; /* owned; of head_bytes */
};

struct run {
    struct aic_cache *cache;
    const struct filter *filter;
    const aic_key *after; /* NULL: from the start */
    size_t limit;
    struct row *rows; /* of memory: a heap with the greatest key on top while it grows; sorted afterwards */
    size_t count;
    aic_status status;
};

struct aic_page {
    struct aic_cache *cache;
    aic_metadata *entries;
    struct row *rows; /* the heads that the metadata lead into */
    size_t count, capacity;
    char cursor[AIC_KEY_HEX_SIZE]; /* empty: the last page */
};

static int compare_rows(const void *a, const void *b)
{
    return key_compare(&((const struct row *)a)->key, &((const struct row *)b)->key);
}

static void row_fini(struct aic_cache *cache, struct row *row)
{
    mem_free(&cache->mem, MEM_CACHE, row->head, row->head_bytes);
    row->head = NULL;
}

static void sift_down(struct row *rows, size_t count, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count) return;
        if (child + 1 < count && key_compare(&rows[child + 1].key, &rows[child].key) > 0) child++;
        if (key_compare(&rows[child].key, &rows[at].key) <= 0) return;
        struct row swap = rows[at];
        rows[at] = rows[child];
        rows[child] = swap;
        at = child;
    }
}

static void sift_up(struct row *rows, size_t at)
{
    while (at > 0 && key_compare(&rows[(at - 1) / 2].key, &rows[at].key) < 0) {
        struct row swap = rows[at];
        rows[at] = rows[(at - 1) / 2];
        rows[(at - 1) / 2] = swap;
        at = (at - 1) / 2;
    }
}

/* Could this key be among the smallest `limit` behind the cursor? */
static bool heap_wants(const struct run *run, const aic_key *key)
{
    if (run->after != NULL && key_compare(key, run->after) <= 0) return false;
    return run->count < run->limit || key_compare(key, &run->rows[0].key) < 0;
}

static bool heap_holds(const struct run *run, const aic_key *key)
{
    for (size_t i = 0; i < run->count; i++) {
        if (key_compare(&run->rows[i].key, key) == 0) return true;
    }
    return false;
}

static void heap_add(struct run *run, const struct row *row)
{
    if (run->count < run->limit) {
        run->rows[run->count] = *row;
        sift_up(run->rows, run->count++);
        return;
    }
    row_fini(run->cache, &run->rows[0]);
    run->rows[0] = *row;
    sift_down(run->rows, run->count, 0);
}

static aic_status row_make(struct aic_cache *cache, const aic_key *key, aic_view head, uint64_t stored_bytes,
                           unsigned tiers, struct row *out)
{
    *out = (struct row){.key = *key, .head_bytes = head.size, .stored_bytes = stored_bytes, .tiers = tiers};
    out->head = mem_alloc(&cache->mem, MEM_CACHE, head.size);
    if (out->head == NULL) return AIC_NO_MEMORY;
    memcpy(out->head, head.data, head.size);
    return AIC_OK;
}

static bool take_pinned(void *context, struct cache_hit *hit)
{
    struct run *run = context;
    if (filter_is_stopped(run->filter)) run->status = AIC_CLOSED;
    if (run->status != AIC_OK) return false;
    /* A walk of the store may show an entry twice while its tables grow. */
    if (!heap_wants(run, &hit->key) || heap_holds(run, &hit->key)) return true;
    aic_status status = hit_read_pin(hit);
    if (status == AIC_OK && filter_matches(run->filter, &hit->record)) {
        struct iovec first;
        size_t covered;
        aic_view head = buf_view(&hit->head);
        if (head.size == 0 && pin_pieces(&hit->pin, 0, hit->head_bytes, &first, 1, &covered) == 1)
            head = (aic_view){first.iov_base, hit->head_bytes};
        struct row row;
        status = row_make(run->cache, &hit->key, head, pin_size(&hit->pin) - hit->head_bytes, AIC_IN_MEMORY, &row);
        if (status == AIC_OK) heap_add(run, &row);
    }
    if (status == AIC_NO_MEMORY) run->status = status;
    return run->status == AIC_OK;
}

static bool take_stored(void *context, const aic_key *key, aic_view bytes)
{
    struct run *run = context;
    struct record record;
    if (filter_is_stopped(run->filter)) {
        run->status = AIC_CLOSED;
        return false;
    }
    if (record_take(key, bytes, &record) != AIC_OK || !filter_matches(run->filter, &record)) return true;
    if (filter_list_hides(&run->cache->filters, &record)) return true;
    aic_view head = {bytes.data, bytes.size - record.payload.size};
    run->status = row_make(run->cache, key, head, record.payload.size, AIC_IN_STORAGE, &run->rows[run->count]);
    if (run->status == AIC_OK) run->count++;
    return run->status == AIC_OK && run->count < run->limit;
}

static bool goes_on(void *context)
{
    struct run *run = context;
    if (filter_is_stopped(run->filter)) run->status = AIC_CLOSED;
    return run->status == AIC_OK;
}

static void run_storage(struct run *run)
{
    struct aic_cache *cache = run->cache;
    /* Storage that is down or slow shows nothing; memory's part of the page is still true. */
    if (!cache_storage_up(cache) || gate_flush(cache->gate, false, FLUSH_DEADLINE_MS) != AIC_OK) return;
    struct tier_label labels[4];
    struct tier_place at = {0};
    struct tier_filter filter = filter_of_storage(run->filter, labels);
    if (run->after != NULL) tier_place_after(&at, run->after);
    aic_status status = gate_walk(cache->gate, &(struct tier_walk){.filter = &filter,
                                                                   .at = &at,
                                                                   .most = run->limit,
                                                                   .visit = take_stored,
                                                                   .goes_on = goes_on,
                                                                   .context = run});
    if (status == AIC_NO_MEMORY) run->status = status;
}

static aic_status run_init(struct run *run, struct aic_cache *cache, const struct filter *filter, const aic_key *after,
                           size_t limit)
{
    *run = (struct run){.cache = cache, .filter = filter, .after = after, .limit = limit};
    run->rows = mem_alloc(&cache->mem, MEM_CACHE, limit * sizeof *run->rows);
    return run->rows != NULL ? AIC_OK : AIC_NO_MEMORY;
}

static void run_fini(struct run *run)
{
    if (run->rows == NULL) return;
    CHECK(run->count <= run->limit);
    for (size_t i = 0; i < run->count; i++) row_fini(run->cache, &run->rows[i]);
    mem_free(&run->cache->mem, MEM_CACHE, run->rows, run->limit * sizeof *run->rows);
}

/* Moves the smaller of the two fronts to the page; equal ones become one. What is over stays with its run. */
static void merge(struct run *memory, struct run *storage, struct aic_page *page)
{
    size_t m = 0, s = 0;
    while (page->count < page->capacity && (m < memory->count || s < storage->count)) {
        int order = m == memory->count    ? 1
                    : s == storage->count ? -1
                                          : compare_rows(&memory->rows[m], &storage->rows[s]);
        struct row *from = order <= 0 ? &memory->rows[m] : &storage->rows[s];
        if (order == 0) from->tiers |= AIC_IN_STORAGE;
        page->rows[page->count++] = *from;
        from->head = NULL; /* the page's now */
        m += order <= 0;
        s += order >= 0;
    }
    bool more = m < memory->count || s < storage->count || memory->count == memory->limit ||
                storage->count == storage->limit;
    if (more && page->count > 0) aic_key_format(&page->rows[page->count - 1].key, page->cursor);
}

static aic_status page_fill(struct aic_page *page)
{
    if (page->count == 0) return AIC_OK;
    page->entries = mem_alloc(&page->cache->mem, MEM_CACHE, page->capacity * sizeof *page->entries);
    if (page->entries == NULL) return AIC_NO_MEMORY;
    for (size_t i = 0; i < page->count; i++) {
        struct row *row = &page->rows[i];
        struct record record;
        TRY(record_read((aic_view){row->head, row->head_bytes}, &record));
        metadata_fill(&page->entries[i], &row->key, &record, row->stored_bytes, row->tiers);
    }
    return AIC_OK;
}

static aic_status page_make(struct aic_cache *cache, const struct filter *filter, const aic_key *after, size_t limit,
                            struct aic_page *page)
{
    struct run memory, storage = {0};
    TRY(run_init(&memory, cache, filter, after, limit));
    aic_status status = run_init(&storage, cache, filter, after, limit);
    if (status == AIC_OK && (filter->tiers & AIC_IN_MEMORY) != 0) {
        cache_walk_memory(cache, take_pinned, &memory);
        qsort(memory.rows, memory.count, sizeof *memory.rows, compare_rows);
    }
    if (status == AIC_OK) status = memory.status;
    if (status == AIC_OK && cache->gate != NULL && (filter->tiers & AIC_IN_STORAGE) != 0) run_storage(&storage);
    if (status == AIC_OK) status = storage.status;
    if (status == AIC_OK) {
        merge(&memory, &storage, page);
        status = page_fill(page);
    }
    run_fini(&storage);
    run_fini(&memory);
    return status;
}

static aic_status check_arguments(struct aic_cache *cache, const aic_filter *filter, size_t limit, aic_view cursor,
                                  struct filter *taken, aic_key *after, aic_error *error)
{
    if (limit < 1 || limit > MAX_LIMIT)
        return error_set(error, AIC_INVALID, "limit", "%zu: 1 to %d are accepted", limit, MAX_LIMIT);
    if (cursor.size > 0 && aic_key_parse(cursor, after) != AIC_OK)
        return error_set(error, AIC_INVALID, "cursor", "is not the cursor of a page");
    return cache_take_filter(cache, filter, taken, error);
}

aic_status cache_list(struct aic_cache *cache, const aic_filter *filter, size_t limit, aic_view cursor, stop_flag *stop,
                      aic_page **out, aic_error *error)
{
    if (error != NULL) *error = (aic_error){0};
    struct filter taken;
    aic_key after;
    TRY(check_arguments(cache, filter, limit, cursor, &taken, &after, error));
    taken.stop = stop;
    struct aic_page *page = mem_zalloc(&cache->mem, MEM_CACHE, sizeof *page);
    if (page == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "%s", aic_status_text(AIC_NO_MEMORY));
    page->cache = cache;
    page->capacity = limit;
    page->rows = mem_alloc(&cache->mem, MEM_CACHE, limit * sizeof *page->rows);
    aic_status status = page->rows == NULL ? AIC_NO_MEMORY
                                           : page_make(cache, &taken, cursor.size > 0 ? &after : NULL, limit, page);
    if (status != AIC_OK) {
        aic_page_release(&page);
        return error_set(error, status, NULL, "%s", aic_status_text(status));
    }
    *out = page;
    return AIC_OK;
}

aic_status aic_cache_list(aic_cache *cache, const aic_filter *filter, size_t limit, aic_view cursor, aic_page **out,
                          aic_error *error)
{
    return cache_list(cache, filter, limit, cursor, NULL, out, error);
}

size_t aic_page_count(const aic_page *page)
{
    return page->count;
}

const aic_metadata *aic_page_entry(const aic_page *page, size_t index)
{
    return index < page->count ? &page->entries[index] : NULL;
}

aic_view aic_page_cursor(const aic_page *page)
{
    return aic_view_of(page->cursor);
}

void aic_page_release(aic_page **page)
{
    if (page == NULL || *page == NULL) return;
    struct aic_page *old = *page;
    struct mem *mem = &old->cache->mem;
    for (size_t i = 0; i < old->count; i++) row_fini(old->cache, &old->rows[i]);
    mem_free(mem, MEM_CACHE, old->entries, old->capacity * sizeof *old->entries);
    mem_free(mem, MEM_CACHE, old->rows, old->capacity * sizeof *old->rows);
    mem_free(mem, MEM_CACHE, old, sizeof *old);
    *page = NULL;
}
