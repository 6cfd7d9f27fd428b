/*
 * filter.h - which entries: a checked copy of an aic_filter, and the list of those that are at work.
 *
 * The list holds the invalidations that run now and those that storage still owes because it was down. While a filter
 * stands in it, no record that it matches is taken from storage. It is bounded: when more than FILTERS_MAX are owed,
 * they are joined into one that matches everything stored until then (a cache may forget, it may not remember what was
 * removed). What was stored until then is told by the numbers of puts, never by the wall clock, which goes back.
 *
 * A look at an empty list is one atomic load. Any thread; filter_list.lock is a leaf.
 */
#ifndef CACHE_FILTER_H
#define CACHE_FILTER_H

#include "base/glob.h"
#include "base/mem.h"
#include "cache/record.h"
#include "cache/stop.h"

#include <pthread.h>

#define FILTERS_MAX 64
#define FILTER_MAX_PATTERN GLOB_MAX_PATTERN

struct filter {
    stop_flag *stop; /* of whoever works through entries with it; NULL: nobody stops him */
    bool any_namespace, has_operation, has_model, has_tag, has_pattern;
    bool until_given;
    uint64_t until_ms;                           /* created at or before: the age that was asked for */
    uint64_t taken_ms, taken_seq;                /* when it was asked for: what was put before and is dated later has */
                                                 /* no known age, and is old */
    uint64_t until_seq;                          /* the put's number at most; 0: any */
    uint64_t from_ms, from_seq;                  /* created after the one or put after the other, and expires; 0, 0: */
                                                 /* whatever */
    unsigned tiers;                              /* AIC_IN_MEMORY | AIC_IN_STORAGE */
    aic_view ns, operation, model, tag, pattern; /* into the texts below once filter_take() copied them */
    char texts[4][AIC_MAX_NAME_BYTES];
    char pattern_text[FILTER_MAX_PATTERN];
    struct glob glob; /* the pattern compiled, where there is one */
};
_Static_assert(AIC_MAX_NAME_BYTES <= GLOB_MAX_TEXT, "every name can be matched");

/* Checks and copies. `now_ms` turns an age into a date; `last_seq` is of a put that was dated until then. A filter
 * holds views into itself: it is not copied by value. AIC_INVALID. */
AIC_MUST_CHECK aic_status filter_take(struct filter *filter, const aic_filter *from, uint64_t last_seq, uint64_t now_ms,
                                      aic_error *error);
static inline bool filter_is_stopped(const struct filter *filter)
{
    return stop_is_set(filter->stop);
}
bool filter_matches(const struct filter *filter, const struct record *record);

struct filter_node {
    struct filter_node *next;
    bool running;  /* false: owed by storage */
    bool in_hands; /* of who carries it out: not joined with others */
    uint64_t since_seq;
    struct filter filter;
};

struct filter_list {
    struct mem *mem;
    pthread_mutex_t lock; /* protects what follows */
    struct filter_node *first;
    _Atomic unsigned count; /* also read without the lock, by list_matches(); sequentially consistent on both sides */
    unsigned owed;
};

void filter_list_init(struct filter_list *list, struct mem *mem);
void filter_list_fini(struct filter_list *list);
/* A node to be filled; AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status filter_list_make(struct filter_list *list, struct filter_node **out);
/* From here on matching records are hidden. `last_seq` is read once the node is in the list: whoever puts with a
 * greater one sees it there. */
void filter_list_add(struct filter_list *list, struct filter_node *node, const _Atomic uint64_t *last_seq);
/* Takes out and frees; nulls. A node that was never added is freed. */
void filter_list_remove(struct filter_list *list, struct filter_node **node);
/* The end of a filter that may be owed: what is stored after the node was added is another matter. The node is in the
 * list. */
void filter_list_bound(struct filter_list *list, struct filter_node *node);
/* Running no more, owed from now on, and bounded; the list owns the node. */
void filter_list_owe(struct filter_list *list, struct filter_node **node);
/* Neither running nor owed. */
static inline bool filter_list_is_empty(const struct filter_list *list)
{
    return atomic_load_explicit(&list->count, memory_order_seq_cst) == 0;
}
/* The first owed node, or NULL. It stays valid until the caller removes it, or asks again; one at a time. */
struct filter_node *filter_list_owed(struct filter_list *list);
unsigned filter_list_owed_count(struct filter_list *list);
/* May a record that storage holds not be served? */
bool filter_list_hides(struct filter_list *list, const struct record *record);
/* Does an invalidation of both tiers match this record, which is being put? */
bool filter_list_strikes(struct filter_list *list, const struct record *record);

#endif
