/*
 * pending.c - lookups that wait for storage: at most for the deadline, then they are misses.
 *
 * Two sides race for each lookup: the storage reader that brings a result, and the front thread's timer. `phase`
 * decides: whoever moves it away from WAITING owns what follows. A result in time is posted to the front thread, which
 * answers and frees. After a deadline the front thread answers a miss and forgets the struct; the reader, when it comes
 * at last, releases the hit and frees it, touching nothing but the cache and its memory.
 *
 * All lookups of a thread have the same deadline, so the list is in order of time and one timer, set to the first, is
 * enough.
 */
#include "base/check.h"
#include "serve/routes/lookup.h"

#include <uv.h>

enum phase { WAITING, ARRIVED, ABANDONED };

struct pending {
    struct message post;
    _Atomic int phase; /* exchanged with acq_rel by both sides: what the loser wrote is seen by the winner */
    struct mem *mem;
    struct front *front;
    pending_fn *done;
    void *context;
    struct pending *next, *previous; /* in the front's list */
    bool linked;
    uint64_t deadline_ms; /* by the loop's clock */
    aic_status status;
    struct cache_hit hit;
};
static_assert(offsetof(struct pending, post) == 0, "the message is found again as its lookup");

static void link_last(struct front *front, struct pending *pending)
{
    CHECK(!pending->linked && (front->first == NULL) == (front->last == NULL));
    pending->previous = front->last;
    if (front->last != NULL) front->last->next = pending;
    else front->first = pending;
    front->last = pending;
    pending->linked = true;
    FIGURE_COUNT_OWN(&front->tally.counts, waiting, 1);
}

static void take_out(struct front *front, struct pending *pending)
{
    if (!pending->linked) return;
    CHECK(pending->previous != NULL || front->first == pending);
    CHECK(pending->next != NULL || front->last == pending);
    pending->linked = false;
    FIGURE_COUNT_OWN(&front->tally.counts, waiting, -UINT64_C(1));
    if (pending->previous != NULL) pending->previous->next = pending->next;
    else front->first = pending->next;
    if (pending->next != NULL) pending->next->previous = pending->previous;
    else front->last = pending->previous;
}

static void free_pending(struct pending *pending)
{
    CHECK(!pending->linked);
    cache_hit_release(&pending->hit);
    mem_free(pending->mem, MEM_CONNECTIONS, pending, sizeof *pending);
}

static void on_deadline(uv_timer_t *timer);

static void set_timer(struct front *front)
{
    if (front->first == NULL) {
        uv_timer_stop(front->timer);
        return;
    }
    uint64_t now = uv_now(front->timer->loop);
    uint64_t wait = front->first->deadline_ms > now ? front->first->deadline_ms - now : 0;
    CHECK(uv_timer_start(front->timer, on_deadline, wait, 0) == 0);
}

/* On the front thread: the result came in time. */
static void on_arrival(struct message *post)
{
    struct pending *pending = (struct pending *)post;
    take_out(pending->front, pending);
    set_timer(pending->front);
    pending->done(pending->context, pending->status, &pending->hit);
    free_pending(pending);
}

/* On a storage reader, or on the front thread within cache_lookup_storage(). */
static void on_result(void *context, aic_status status, struct cache_hit *hit)
{
    struct pending *pending = context;
    pending->status = status;
    if (status == AIC_OK) cache_hit_move(&pending->hit, hit);
    if (atomic_exchange_explicit(&pending->phase, ARRIVED, memory_order_acq_rel) == WAITING)
        http_post(pending->front->thread, &pending->post);
    else free_pending(pending);
}

static void on_deadline(uv_timer_t *timer)
{
    struct front *front = timer->data;
    uint64_t now = uv_now(timer->loop);
    while (front->first != NULL && front->first->deadline_ms <= now) {
        struct pending *pending = front->first;
        take_out(front, pending);
        pending_fn *done = pending->done;
        void *context = pending->context;
        int expected = WAITING;
        /* When the reader was faster, its message is in the mailbox and on_arrival() answers. */
        if (atomic_compare_exchange_strong_explicit(&pending->phase, &expected, ABANDONED, memory_order_acq_rel,
                                                    memory_order_acquire))
            done(context, AIC_TIMEOUT, NULL);
    }
    set_timer(front);
}

aic_status pending_start(struct front *front, aic_view ns, const aic_key *key, pending_fn *done, void *context)
{
    struct mem *mem = front->routes->overview.options.mem;
    struct pending *pending = mem_zalloc(mem, MEM_CONNECTIONS, sizeof *pending);
    if (pending == NULL) return AIC_NO_MEMORY;
    pending->post.run = on_arrival;
    pending->mem = mem;
    pending->front = front;
    pending->done = done;
    pending->context = context;
    pending->deadline_ms = uv_now(front->timer->loop) + front->routes->overview.options.storage_deadline_ms;
    link_last(front, pending);
    if (front->first == pending) set_timer(front);
    cache_lookup_storage(front->routes->overview.options.cache, ns, key, on_result, pending);
    return AIC_OK;
}

static void on_closed(uv_handle_t *handle)
{
    struct mem *mem = handle->data;
    mem_free(mem, MEM_CONNECTIONS, handle, sizeof(uv_timer_t));
}

aic_status front_timer_open(struct front *front, struct uv_timer_s **timer)
{
    *timer = mem_zalloc(front->routes->overview.options.mem, MEM_CONNECTIONS, sizeof **timer);
    if (*timer == NULL) return AIC_NO_MEMORY;
    CHECK(uv_timer_init(http_thread_loop(front->thread), *timer) == 0);
    (*timer)->data = front;
    uv_unref((uv_handle_t *)*timer);
    return AIC_OK;
}

void front_timer_close(struct front *front, struct uv_timer_s **timer)
{
    if (*timer == NULL) return;
    (*timer)->data = front->routes->overview.options.mem;
    uv_close((uv_handle_t *)*timer, on_closed);
    *timer = NULL;
}

aic_status pending_init(struct front *front)
{
    return front_timer_open(front, &front->timer);
}

void pending_fini(struct front *front)
{
    CHECK(front->first == NULL);
    front_timer_close(front, &front->timer);
}
