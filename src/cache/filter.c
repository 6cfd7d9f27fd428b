#include "cache/filter.h"

#include "base/check.h"
#include "base/status.h"
#include "base/view.h"
#include "cache/cache.h"

#include <string.h>

static aic_status take_name(const char *field, aic_view from, char *text, aic_view *out, bool *has, aic_error *error)
{
    if (from.size == 0) return AIC_OK;
    TRY(cache_check_name(field, from, error));
    memcpy(text, from.data, from.size);
    *out = (aic_view){text, from.size};
    *has = true;
    return AIC_OK;
}

aic_status filter_take(struct filter *filter, const aic_filter *from, uint64_t last_seq, uint64_t now_ms,
                       aic_error *error)
{
    memset(filter, 0, sizeof *filter);
    bool has_ns = false;
    filter->any_namespace = from->all_namespaces;
    TRY(cache_check_bytes("context", from->context, error));
    TRY(take_name("namespace", from->ns, filter->texts[0], &filter->ns, &has_ns, error));
    TRY(take_name("operation", from->operation, filter->texts[1], &filter->operation, &filter->has_operation, error));
    TRY(take_name("model", from->model, filter->texts[2], &filter->model, &filter->has_model, error));
    TRY(take_name("tag", from->tag, filter->texts[3], &filter->tag, &filter->has_tag, error));
    if (has_ns && from->all_namespaces)
        return error_set(error, AIC_INVALID, "namespace", "either a namespace or all_namespaces is accepted, not both");
    if (!has_ns) filter->ns = AIC_LITERAL("default");
    if (from->pattern.size > 0) {
        TRY(cache_check_pattern(from->pattern, error));
        memcpy(filter->pattern_text, from->pattern.data, from->pattern.size);
        filter->pattern = (aic_view){filter->pattern_text, from->pattern.size};
        filter->has_pattern = true;
        CHECK(glob_compile(&filter->glob, filter->pattern) == AIC_OK);
    }
    if (from->age_given) {
        filter->until_given = true;
        uint64_t age_ms = from->older_than_seconds > UINT64_MAX / 1000 ? UINT64_MAX : from->older_than_seconds * 1000;
        filter->until_ms = age_ms < now_ms ? now_ms - age_ms : 0;
        filter->taken_ms = now_ms;
        filter->taken_seq = last_seq;
    }
    if ((from->tiers & ~(unsigned)(AIC_IN_MEMORY | AIC_IN_STORAGE)) != 0)
        return error_set(error, AIC_INVALID, "tier", "a tier is one of memory and storage");
    filter->tiers = from->tiers != 0 ? from->tiers : AIC_IN_MEMORY | AIC_IN_STORAGE;
    return AIC_OK;
}

static bool some_tag(const struct filter *filter, const struct record *record)
{
    for (size_t i = 0; i < record->tag_count; i++) {
        if (view_equal(record->tags[i], filter->tag)) return true;
    }
    return false;
}

static bool some_glob(const struct filter *filter, const struct record *record)
{
    if (glob_matches(&filter->glob, record->operation)) return true;
    for (size_t i = 0; i < record->tag_count; i++) {
        if (glob_matches(&filter->glob, record->tags[i])) return true;
    }
    return false;
}

static bool is_old(const struct filter *filter, const struct record *record)
{
    bool ahead = record->created_ms > filter->taken_ms && record->seq <= filter->taken_seq;
    return ahead || record->created_ms <= filter->until_ms;
}

static bool was_put_ahead(const struct filter *filter, const struct record *record)
{
    if (record->expires_ms == 0) return false;
    return record->created_ms > filter->from_ms || record->seq > filter->from_seq;
}

bool filter_matches(const struct filter *filter, const struct record *record)
{
    if (!filter->any_namespace && !view_equal(filter->ns, record->ns)) return false;
    if (filter->until_given && !is_old(filter, record)) return false;
    if (filter->from_ms != 0 && !was_put_ahead(filter, record)) return false;
    if (filter->until_seq != 0 && record->seq > filter->until_seq) return false;
    if (filter->has_operation && !view_equal(filter->operation, record->operation)) return false;
    if (filter->has_model && !view_equal(filter->model, record->model)) return false;
    if (filter->has_tag && !some_tag(filter, record)) return false;
    return !filter->has_pattern || some_glob(filter, record);
}

void filter_list_init(struct filter_list *list, struct mem *mem)
{
    *list = (struct filter_list){.mem = mem};
    pthread_mutex_init(&list->lock, NULL);
}

void filter_list_fini(struct filter_list *list)
{
    while (list->first != NULL) {
        struct filter_node *node = list->first;
        list->first = node->next;
        mem_free(list->mem, MEM_CACHE, node, sizeof *node);
    }
    pthread_mutex_destroy(&list->lock);
}

aic_status filter_list_make(struct filter_list *list, struct filter_node **out)
{
    *out = mem_zalloc(list->mem, MEM_CACHE, sizeof **out);
    return *out != NULL ? AIC_OK : AIC_NO_MEMORY;
}

void filter_list_add(struct filter_list *list, struct filter_node *node, const _Atomic uint64_t *last_seq)
{
    CHECK(!node->running && node->next == NULL); /* it is in no list */
    node->running = true;
    pthread_mutex_lock(&list->lock);
    node->next = list->first;
    list->first = node;
    atomic_fetch_add_explicit(&list->count, 1, memory_order_seq_cst);
    node->since_seq = atomic_load_explicit(last_seq, memory_order_seq_cst);
    pthread_mutex_unlock(&list->lock);
}

/* With the lock held. False when it is not in the list. */
static bool unlink_node(struct filter_list *list, struct filter_node *node)
{
    for (struct filter_node **at = &list->first; *at != NULL; at = &(*at)->next) {
        if (*at != node) continue;
        *at = node->next;
        CHECK(atomic_fetch_sub_explicit(&list->count, 1, memory_order_seq_cst) > 0);
        if (node->running) return true;
        CHECK(list->owed > 0);
        list->owed--;
        return true;
    }
    return false;
}

void filter_list_remove(struct filter_list *list, struct filter_node **node)
{
    if (*node == NULL) return;
    pthread_mutex_lock(&list->lock);
    (void)unlink_node(list, *node);
    pthread_mutex_unlock(&list->lock);
    mem_free(list->mem, MEM_CACHE, *node, sizeof **node);
    *node = NULL;
}

/* With the lock held: everything owed becomes one that forgets all that was stored so far. */
static void join_owed(struct filter_list *list, struct filter_node *keep)
{
    struct filter *all = &keep->filter;
    uint64_t until = keep->since_seq;
    for (struct filter_node **at = &list->first; *at != NULL;) {
        struct filter_node *node = *at;
        if (node == keep || node->running || node->in_hands) {
            at = &node->next;
            continue;
        }
        if (node->since_seq > until) until = node->since_seq;
        (void)unlink_node(list, node);
        mem_free(list->mem, MEM_CACHE, node, sizeof *node);
    }
    CHECK(!keep->running && list->owed > 0);
    memset(all, 0, sizeof *all);
    all->any_namespace = true;
    all->until_seq = keep->since_seq = until; /* the next join goes by the latter */
    all->tiers = AIC_IN_MEMORY | AIC_IN_STORAGE;
}

/* With the lock held. What is stored after the node was added is another matter. */
static void bound(struct filter_node *node)
{
    struct filter *filter = &node->filter;
    if (filter->until_seq == 0 || filter->until_seq > node->since_seq) filter->until_seq = node->since_seq;
}

void filter_list_bound(struct filter_list *list, struct filter_node *node)
{
    pthread_mutex_lock(&list->lock);
    bound(node);
    pthread_mutex_unlock(&list->lock);
}

void filter_list_owe(struct filter_list *list, struct filter_node **node)
{
    pthread_mutex_lock(&list->lock);
    CHECK((*node)->running);
    bound(*node);
    (*node)->running = false;
    (*node)->filter.stop = NULL; /* its owner does not wait for it any more */
    if (++list->owed > FILTERS_MAX) join_owed(list, *node);
    pthread_mutex_unlock(&list->lock);
    *node = NULL;
}

struct filter_node *filter_list_owed(struct filter_list *list)
{
    pthread_mutex_lock(&list->lock);
    struct filter_node *found = NULL;
    for (struct filter_node *node = list->first; node != NULL; node = node->next) {
        node->in_hands = false;
        if (found == NULL && !node->running) found = node;
    }
    if (found != NULL) found->in_hands = true;
    pthread_mutex_unlock(&list->lock);
    return found;
}

unsigned filter_list_owed_count(struct filter_list *list)
{
    pthread_mutex_lock(&list->lock);
    unsigned owed = list->owed;
    pthread_mutex_unlock(&list->lock);
    return owed;
}

static bool list_matches(struct filter_list *list, const struct record *record, unsigned needed)
{
    /* Sequentially consistent with filter_list_add: a put either sees the filter here, or its writes are seen by the
     * invalidation. */
    if (atomic_load_explicit(&list->count, memory_order_seq_cst) == 0) return false;
    pthread_mutex_lock(&list->lock);
    bool found = false;
    for (const struct filter_node *node = list->first; node != NULL && !found; node = node->next) {
        found = (node->filter.tiers & needed) == needed && filter_matches(&node->filter, record);
    }
    pthread_mutex_unlock(&list->lock);
    return found;
}

bool filter_list_hides(struct filter_list *list, const struct record *record)
{
    return list_matches(list, record, AIC_IN_STORAGE);
}

bool filter_list_strikes(struct filter_list *list, const struct record *record)
{
    return list_matches(list, record, AIC_IN_MEMORY | AIC_IN_STORAGE);
}
