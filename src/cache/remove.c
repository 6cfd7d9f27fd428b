/*
 * remove.c - delete and invalidation: nothing that was removed is served again, from no tier.
 *
 * An invalidation runs in this order: its filter enters the list of those at work (storage's answers are checked
 * against it from here on), the epoch becomes odd (no promotion that began before or begins now can succeed), storage's
 * queue is drained, matching records are removed from storage, the epoch becomes even, matching entries are removed
 * from memory, every stripe is passed once (so that no put that one of the two passes missed is still under way without
 * having met the filter), and the filter leaves the list.
 *
 * When storage cannot be reached, memory is cleaned all the same and the filter stays in the list: what storage holds
 * is hidden from every lookup and removed by the tick when storage is back. The caller is told by the status.
 *
 * No removal ends before it is sure to outlive the process: storage has applied it, or owed.c has written it down.
 */
#include "cache/inner.h"

#include "base/plural.h"

#include <stdio.h>
#include <string.h>

#define FLUSH_DEADLINE_MS 10000
#define DELETE_WAIT_MS 1000 /* for storage to apply a delete; then it is written down instead */
#define BATCH 512           /* records per page of storage, and deletes per transaction */

bool cache_storage_up(struct aic_cache *cache)
{
    struct gate_stats stats;
    gate_stats(cache->gate, &stats);
    return stats.up;
}

/* ---- delete ---- */

aic_status cache_remove_both(struct aic_cache *cache, const aic_key *key, const struct moment *moment)
{
    aic_status status = AIC_OK;
    struct stripe *stripe = writer_begin(cache, key);
    /* writer_begin made it one more. */
    if (moment != NULL && atomic_load_explicit(&stripe->writes, memory_order_relaxed) != moment->writes + 1)
        status = AIC_STALE;
    if (status == AIC_OK && cache->gate != NULL) status = gate_delete(cache->gate, key);
    if (status == AIC_OK) drop_from_memory(cache, key);
    writer_end(stripe);
    return status;
}

aic_status aic_cache_delete(aic_cache *cache, aic_view ns, const aic_key *key)
{
    TRY(cache_check_bytes("namespace", ns, NULL));
    return cache_delete(cache, ns.size > 0 ? ns : AIC_LITERAL("default"), key);
}

aic_status cache_delete(struct aic_cache *cache, aic_view ns, const aic_key *key)
{
    aic_status status = cache_hide(cache, ns, key);
    if (status < 0) return status;
    aic_status lasting = cache_is_hidden(cache, key, status) ? cache_make_last(cache, key, 1) : AIC_OK;
    return lasting != AIC_OK ? lasting : status;
}

bool cache_is_hidden(struct aic_cache *cache, const aic_key *key, aic_status hidden)
{
    return hidden == AIC_OK || (hidden == AIC_MISS && cache->gate != NULL && gate_removes(cache->gate, key));
}

aic_status cache_make_last(struct aic_cache *cache, const aic_key *keys, size_t count)
{
    if (cache->gate == NULL || count == 0 || gate_flush(cache->gate, false, DELETE_WAIT_MS) == AIC_OK) return AIC_OK;
    return owed_deletes(cache, keys, count);
}

struct wish {
    bool (*wanted)(void *context, const struct record *record);
    void *context;
};

/* Is there in storage what an invalidation hides that is not carried out yet? `ns`: as for a look. */
static bool is_owed(struct aic_cache *cache, aic_view ns, const aic_key *key)
{
    struct buf bytes;
    struct record record;
    if (cache->gate == NULL || filter_list_owed_count(&cache->filters) == 0) return false;
    buf_init(&bytes, &cache->mem, MEM_CACHE);
    bool owed = gate_get(cache->gate, key, cache->deadline_ms, &bytes) == AIC_OK &&
                record_take(key, buf_view(&bytes), &record) == AIC_OK && filter_list_hides(&cache->filters, &record) &&
                (ns.size == 0 || (ns.size == record.ns.size && memcmp(ns.data, record.ns.data, ns.size) == 0));
    buf_fini(&bytes);
    return owed;
}

/* *again: somebody wrote between the look and the delete, and nothing was removed. */
static aic_status try_to_hide(struct aic_cache *cache, aic_view ns, const aic_key *key, const struct wish *wish,
                              bool *again)
{
    struct moment moment = moment_sample(cache, key);
    struct cache_hit hit;
    *again = false;
    aic_status status = cache_look(cache, ns, key, &hit);
    if (status == AIC_DAMAGED || status == AIC_NEWER) {
        status = cache_remove_both(cache, key, &moment); /* what somebody put meanwhile is another matter */
        *again = status == AIC_STALE;
        if (status != AIC_OK) return status;
        FIGURE_COUNT_LANE(&cache->counts, damaged, 1);
        return AIC_MISS;
    }
    if (status == AIC_MISS && wish == NULL && is_owed(cache, ns, key)) return cache_remove_both(cache, key, NULL);
    if (status != AIC_OK) return status;
    bool wanted = wish == NULL || wish->wanted(wish->context, &hit.record);
    cache_hit_release(&hit);
    if (!wanted) return AIC_STALE;
    status = cache_remove_both(cache, key, wish != NULL ? &moment : NULL);
    *again = status == AIC_STALE;
    return status;
}

static aic_status hide(struct aic_cache *cache, aic_view ns, const aic_key *key, const struct wish *wish)
{
    uint64_t started = clock_mono_ns(&cache->clock), before = cache_observe_begin(cache);
    aic_status status;
    bool again;
    do status = try_to_hide(cache, ns, key, wish, &again);
    while (again);
    bool found = status == AIC_OK;
    /* Operations are counted, also those that found nothing to delete; of the entries those that were deleted. */
    if (found) FIGURE_COUNT_LANE(&cache->counts, deletes, 1);
    if (cache_is_told(cache) && (found || status == AIC_MISS))
        cache_observe_end(
            cache, (struct cache_event){.kind = CACHE_DELETE,
                                        .key = key,
                                        .unlogged = !found,
                                        .started_ns = started,
                                        .ended_ns = clock_mono_ns(&cache->clock),
                                        .data = found ? (aic_view){0} : AIC_LITERAL("{\"reason\":\"not_found\"}"),
                                        .memory_before = before});
    return status;
}

aic_status cache_hide(struct aic_cache *cache, aic_view ns, const aic_key *key)
{
    return hide(cache, ns, key, NULL);
}

aic_status cache_hide_if(struct aic_cache *cache, aic_view ns, const aic_key *key,
                         bool (*wanted)(void *context, const struct record *record), void *context)
{
    const struct wish wish = {wanted, context};
    return hide(cache, ns, key, &wish);
}

/* ---- invalidation in storage ---- */

struct tier_filter filter_of_storage(const struct filter *filter, struct tier_label labels[4])
{
    struct tier_filter out = {.labels = labels, .until_seq = filter->until_seq};
    size_t *count = &out.label_count;
    if (!filter->any_namespace) labels[(*count)++] = (struct tier_label){LABEL_NAMESPACE, filter->ns};
    if (filter->has_operation) labels[(*count)++] = (struct tier_label){LABEL_OPERATION, filter->operation};
    if (filter->has_model) labels[(*count)++] = (struct tier_label){LABEL_MODEL, filter->model};
    if (filter->has_tag) labels[(*count)++] = (struct tier_label){LABEL_TAG, filter->tag};
    if (filter->until_given) {
        out.created_until_ms = filter->until_ms > 0 ? filter->until_ms : 1; /* 0: any */
        out.created_from_ms = filter->taken_ms;
    }
    return out;
}

aic_status cache_take_filter(struct aic_cache *cache, const aic_filter *from, struct filter *out, aic_error *error)
{
    /* The number first: what has it was dated before, and no later than now. */
    uint64_t last_seq = atomic_load_explicit(&cache->last_seq, memory_order_seq_cst);
    return filter_take(out, from, last_seq, clock_wall_ms(&cache->clock), error);
}

struct pass {
    struct aic_cache *cache;
    const struct filter *filter;
    struct tier_write writes[BATCH];
    uint64_t bytes[BATCH];
    size_t count;
    bool written_down; /* what storage owes outlives the process */
    aic_invalidated sums;
};

static bool collect(void *context, const aic_key *key, aic_view bytes)
{
    struct pass *pass = context;
    struct record record;
    if (filter_is_stopped(pass->filter)) return false;
    pass->writes[pass->count].key = *key;
    /* A record that cannot be read is no entry for anybody; it goes when it is met by name. */
    if (record_take(key, bytes, &record) != AIC_OK || !filter_matches(pass->filter, &record)) return true;
    pass->writes[pass->count].record = (aic_view){NULL, 0};
    /* A put in the meantime is another matter; one that the filter matches has left a delete of its own. */
    pass->writes[pass->count].seq = record.seq;
    pass->bytes[pass->count++] = bytes.size;
    return pass->count < BATCH;
}

static bool goes_on(void *context)
{
    const struct pass *pass = context;
    return pass->count == 0 && !filter_is_stopped(pass->filter); /* a page is a batch */
}

/* Does memory hold a matching entry under this key? Then the pass over memory counts it. */
static bool counted_in_memory(struct pass *pass, const aic_key *key)
{
    struct aic_cache *cache = pass->cache;
    if ((pass->filter->tiers & AIC_IN_MEMORY) == 0) return false;
    struct cache_hit hit;
    bool found = hit_peek(cache, key, &hit) == AIC_OK && filter_matches(pass->filter, &hit.record);
    cache_hit_release(&hit);
    return found;
}

static void sum_batch(struct pass *pass, bool removed)
{
    for (size_t i = 0; i < pass->count; i++) {
        pass->sums.bytes_freed += pass->bytes[i];
        if (counted_in_memory(pass, &pass->writes[i].key)) continue;
        pass->sums.matched++;
        pass->sums.removed += removed;
    }
}

/* Storage's part, batch by batch, each removed in one transaction. */
static aic_status clean_storage(struct pass *pass, bool dry_run)
{
    struct gate *gate = pass->cache->gate;
    struct tier_label labels[4];
    struct tier_filter filter = filter_of_storage(pass->filter, labels);
    struct tier_place at = {0};
    while (!at.ended) {
        pass->count = 0;
        TRY(gate_walk(
            gate,
            &(struct tier_walk){
                .filter = &filter, .at = &at, .most = BATCH, .visit = collect, .goes_on = goes_on, .context = pass}));
        if (filter_is_stopped(pass->filter)) return AIC_CLOSED;
        if (!dry_run && pass->count > 0) TRY(gate_remove(gate, pass->writes, pass->count));
        sum_batch(pass, !dry_run);
    }
    return AIC_OK;
}

static aic_status storage_part(struct pass *pass, bool dry_run)
{
    if (!cache_storage_up(pass->cache)) return AIC_UNAVAILABLE;
    TRY(gate_flush(pass->cache->gate, false, FLUSH_DEADLINE_MS));
    return clean_storage(pass, dry_run);
}

aic_status cache_settle(struct aic_cache *cache)
{
    struct pass *pass = mem_zalloc(&cache->mem, MEM_CACHE, sizeof *pass);
    if (pass == NULL) return AIC_NO_MEMORY;
    pass->cache = cache;
    aic_status status = AIC_OK;
    for (struct filter_node *node; status == AIC_OK && (node = filter_list_owed(&cache->filters)) != NULL;) {
        pass->filter = &node->filter;
        status = storage_part(pass, false);
        if (status != AIC_OK) break;
        /* Before the filter leaves the list: whoever read a record before it was removed sees one of the two. */
        atomic_fetch_add_explicit(&cache->settled, 1, memory_order_seq_cst);
        filter_list_remove(&cache->filters, &node);
    }
    if (pass->sums.removed > 0) {
        FIGURE_COUNT_LANE(&cache->counts, invalidated_entries, pass->sums.removed);
        cache_log(cache, AIC_LOG_INFO, "removed %llu %s from storage that an earlier removal had hidden",
                  (unsigned long long)pass->sums.removed, plural(pass->sums.removed, "entry", "entries"));
    }
    mem_free(&cache->mem, MEM_CACHE, pass, sizeof *pass);
    return status;
}

/* ---- invalidation in memory ---- */

static bool count_entry(void *context, struct cache_hit *hit)
{
    struct pass *pass = context;
    if (filter_is_stopped(pass->filter)) return false;
    if (hit_read_pin(hit) != AIC_OK || !filter_matches(pass->filter, &hit->record)) return true;
    pass->sums.matched++;
    pass->sums.bytes_freed += store_pinned_bytes(pass->cache->store, &hit->pin);
    return true;
}

static bool clean_entry(void *context, struct cache_hit *hit)
{
    struct pass *pass = context;
    if (filter_is_stopped(pass->filter)) return false;
    aic_status status = hit_read_pin(hit);
    /* What cannot be read, for want of memory or because it is damaged, is removed with the rest: a cache may forget.
     */
    bool matches = status != AIC_OK || filter_matches(pass->filter, &hit->record);
    uint64_t freed = 0;
    if (matches && store_remove_pinned(pass->cache->store, &hit->pin, &freed) == AIC_OK) {
        pass->sums.matched++;
        pass->sums.removed++;
        pass->sums.bytes_freed += freed;
    }
    return true;
}

aic_status cache_clock_went_back(struct aic_cache *cache, uint64_t from_seq)
{
    struct pass *pass = mem_zalloc(&cache->mem, MEM_CACHE, sizeof *pass);
    struct filter_node *node;
    if (pass == NULL || filter_list_make(&cache->filters, &node) != AIC_OK) {
        mem_free(&cache->mem, MEM_CACHE, pass, sizeof *pass);
        return AIC_NO_MEMORY;
    }
    node->filter.any_namespace = true;
    node->filter.from_ms = clock_wall_ms(&cache->clock) + CLOCK_SLACK_MS;
    node->filter.from_seq = from_seq;
    node->filter.tiers = AIC_IN_MEMORY | AIC_IN_STORAGE;
    filter_list_add(&cache->filters, node, &cache->last_seq);
    filter_list_bound(&cache->filters, node);
    pass->cache = cache;
    pass->filter = &node->filter;
    cache_walk_memory(cache, clean_entry, pass);
    cache_log(cache, AIC_LOG_WARNING,
              "the clock went back: entries that expire and were put while it was ahead are dropped, %llu of them in "
              "memory",
              (unsigned long long)pass->sums.removed);
    if (cache->gate != NULL) filter_list_owe(&cache->filters, &node);
    else filter_list_remove(&cache->filters, &node);
    mem_free(&cache->mem, MEM_CACHE, pass, sizeof *pass);
    return AIC_OK;
}

/* No writer that was at work when this began still is when it ends. */
static void pass_writers(struct aic_cache *cache)
{
    for (size_t i = 0; i < STRIPES; i++) {
        pthread_mutex_lock(&cache->stripes[i].lock);
        pthread_mutex_unlock(&cache->stripes[i].lock);
    }
}

/* ---- both ---- */

static bool names_something(const aic_filter *filter)
{
    return filter->all || filter->ns.size > 0 || filter->operation.size > 0 || filter->model.size > 0 ||
           filter->tag.size > 0 || filter->pattern.size > 0 || filter->age_given;
}

static aic_status run_dry(struct pass *pass)
{
    aic_status status = AIC_OK;
    if (pass->cache->gate != NULL && (pass->filter->tiers & AIC_IN_STORAGE) != 0) status = storage_part(pass, true);
    if ((pass->filter->tiers & AIC_IN_MEMORY) != 0) cache_walk_memory(pass->cache, count_entry, pass);
    return status == AIC_OK && filter_is_stopped(pass->filter) ? AIC_CLOSED : status;
}

/* The epoch is odd while anybody cleans storage, and another one after each begin and end. */
static void count_cleaning(struct aic_cache *cache, int change)
{
    pthread_mutex_lock(&cache->invalidating);
    unsigned before = cache->cleaning;
    CHECK(atomic_load_explicit(&cache->epoch, memory_order_relaxed) % 2 == (before > 0));
    CHECK(change > 0 || before > 0);
    cache->cleaning += (unsigned)change;
    bool others = before > 0 && cache->cleaning > 0;
    atomic_fetch_add_explicit(&cache->epoch, others ? 2 : 1, memory_order_seq_cst);
    pthread_mutex_unlock(&cache->invalidating);
}

static aic_status run(struct pass *pass, struct filter_node **node)
{
    struct aic_cache *cache = pass->cache;
    bool cleans_storage = cache->gate != NULL && (pass->filter->tiers & AIC_IN_STORAGE) != 0;
    aic_status status = AIC_OK;
    filter_list_add(&cache->filters, *node, &cache->last_seq);
    count_cleaning(cache, 1);
    if (cleans_storage) status = storage_part(pass, false);
    count_cleaning(cache, -1);
    if ((pass->filter->tiers & AIC_IN_MEMORY) != 0) cache_walk_memory(cache, clean_entry, pass);
    pass_writers(cache);
    /* A put that met the filter has left a delete in the queue. */
    if (status == AIC_OK && cleans_storage) status = gate_flush(cache->gate, false, FLUSH_DEADLINE_MS);
    if (status == AIC_OK && filter_is_stopped(pass->filter)) status = AIC_CLOSED;
    if (status == AIC_OK || status == AIC_CLOSED) {
        filter_list_remove(&cache->filters, node);
        return status;
    }
    filter_list_bound(&cache->filters, *node);
    pass->written_down = owed_filter(cache, &(*node)->filter) == AIC_OK;
    filter_list_owe(&cache->filters, node);
    return status;
}

enum kind { MANUAL, BY_OPERATION, OF_MEMORY };

static enum kind kind_of(const aic_filter *filter)
{
    if (filter->tiers == AIC_IN_MEMORY) return OF_MEMORY;
    return filter->pattern.size == 0 && filter->operation.size > 0 ? BY_OPERATION : MANUAL;
}

static void count_invalidation(struct aic_cache *cache, enum kind kind, uint64_t removed)
{
    if (kind == MANUAL) FIGURE_COUNT_LANE(&cache->counts, invalidations_manual, 1);
    if (kind == BY_OPERATION) FIGURE_COUNT_LANE(&cache->counts, invalidations_by_operation, 1);
    if (kind == OF_MEMORY) FIGURE_COUNT_LANE(&cache->counts, invalidations_of_memory, 1);
    FIGURE_COUNT_LANE(&cache->counts, invalidated_entries, removed);
}

/* The monitor's event: what was asked for in one word, and of which kind it was. */
static void record_event(struct aic_cache *cache, const aic_filter *filter, double seconds, aic_status status,
                         const aic_invalidated *sums)
{
    if (cache->monitor == NULL) return;
    char pattern[8 + AIC_MAX_NAME_BYTES] = "", context[32 + AIC_MAX_NAME_BYTES] = "", data[128];
    static const char *const types[] = {
        [MANUAL] = "manual", [BY_OPERATION] = "operation_specific", [OF_MEMORY] = "memory"};
    aic_view word = filter->pattern, note = filter->context, type = aic_view_of(types[kind_of(filter)]);
    bool by_operation = word.size == 0 && filter->operation.size > 0;
    if (by_operation) {
        snprintf(pattern, sizeof pattern, "op:%.*s", (int)filter->operation.size, filter->operation.data);
        snprintf(context, sizeof context, "operation_specific_%.*s", (int)filter->operation.size,
                 filter->operation.data);
        word = aic_view_of(pattern);
        if (note.size == 0) note = aic_view_of(context);
    } else if (word.size == 0 && filter->tag.size > 0) {
        snprintf(pattern, sizeof pattern, "tag:%.*s", (int)filter->tag.size, filter->tag.data);
        word = aic_view_of(pattern);
    }
    if (status == AIC_OK) snprintf(data, sizeof data, "{\"status\":\"success\"}");
    else if (status == AIC_CLOSED) snprintf(data, sizeof data, "{\"status\":\"failed\",\"reason\":\"given_up\"}");
    else
        snprintf(data, sizeof data, "{\"status\":\"failed\",\"reason\":\"%s_error\",\"error\":\"%s\"}",
                 cache->gate != NULL ? gate_kind(cache->gate) : "memory", aic_status_text(status));
    cache->meter->invalidation(cache->monitor, word, sums->removed, seconds, type, note, aic_view_of(data));
}

static aic_status invalidate(struct aic_cache *cache, const aic_filter *from, bool dry_run, stop_flag *stop,
                             struct pass *pass, aic_error *error)
{
    struct filter_node *node;
    TRY(filter_list_make(&cache->filters, &node));
    aic_status status = cache_take_filter(cache, from, &node->filter, error);
    if (status != AIC_OK) {
        filter_list_remove(&cache->filters, &node);
        return status;
    }
    node->filter.stop = stop;
    pass->cache = cache;
    pass->filter = &node->filter;
    if (!dry_run) {
        status = run(pass, &node);
    } else {
        status = run_dry(pass);
        filter_list_remove(&cache->filters, &node);
    }
    /* Whatever is the matter with storage, it will be back. */
    return status == AIC_OK || status == AIC_NO_MEMORY || status == AIC_CLOSED ? status : AIC_UNAVAILABLE;
}

aic_status cache_invalidate(struct aic_cache *cache, const aic_filter *filter, bool dry_run, stop_flag *stop,
                            aic_invalidated *out, aic_error *error)
{
    if (error != NULL) *error = (aic_error){0};
    if (!names_something(filter))
        return error_set(error, AIC_INVALID, NULL,
                         "nothing is named: give a namespace, operation, model, tag, pattern or age, or say 'all'");
    uint64_t started = clock_mono_ns(&cache->clock), before = cache_observe_begin(cache);
    struct pass *pass = mem_zalloc(&cache->mem, MEM_CACHE, sizeof *pass);
    aic_status status = pass != NULL ? invalidate(cache, filter, dry_run, stop, pass, error) : AIC_NO_MEMORY;
    bool ran = pass != NULL && pass->cache != NULL;
    if (ran && !dry_run) {
        count_invalidation(cache, kind_of(filter), pass->sums.removed);
        uint64_t ended = clock_mono_ns(&cache->clock);
        record_event(cache, filter, (double)(ended - started) / 1e9, status, &pass->sums);
        cache_observe_end(cache, (struct cache_event){.kind = CACHE_INVALIDATE,
                                                      .operation = filter->operation,
                                                      .started_ns = started,
                                                      .ended_ns = ended,
                                                      .memory_before = before});
    }
    if (ran && out != NULL) *out = pass->sums;
    if (ran && status == AIC_CLOSED)
        (void)error_set(error, status, NULL, "it was given up; what it had removed stays removed");
    else if (ran && status != AIC_OK)
        (void)error_set(error, status, NULL, "storage could not be reached: %s%s",
                        dry_run ? "its entries are not counted"
                                : "memory is clean, what storage still holds is hidden and will be removed when it is "
                                  "back",
                        dry_run || pass->written_down ? "" : "; if this process ends before, repeat it");
    else if (!ran && status == AIC_NO_MEMORY) (void)error_set(error, status, NULL, "%s", aic_status_text(status));
    if (pass != NULL) mem_free(&cache->mem, MEM_CACHE, pass, sizeof *pass);
    return status;
}

aic_status aic_cache_invalidate(aic_cache *cache, const aic_filter *filter, bool dry_run, aic_invalidated *out,
                                aic_error *error)
{
    return cache_invalidate(cache, filter, dry_run, NULL, out, error);
}
