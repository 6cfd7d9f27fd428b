/*
 * stream.c - GET /monitoring/stream: one snapshot a second to everybody who looks, as server-sent events. A key without
 * the admin flag is sent what there is of its namespace.
 *
 * The tick makes a snapshot only while somebody looks, and posts it to each front thread with subscribers; there it is
 * written to each of them without a copy. A subscriber that does not read gets no more until what is queued for it has
 * left, so a page left open on a sleeping laptop costs nothing.
 */
#include "serve/routes/stream.h"

#include "base/check.h"
#include "serve/routes/call.h"
#include "serve/routes/handlers.h"

#include <string.h>

struct subscriber {
    struct http_exchange *exchange;
    struct subscriber *next;
    bool gone;    /* the client hung up: completed at the next delivery */
    bool waiting; /* has not read what it was sent */
    bool whole;   /* an administrator; else only of the namespace: */
    size_t ns_size;
    char ns[AIC_MAX_NAME_BYTES];
    struct snapshot_own last;
};

/* A snapshot, or the end, on its way to a front thread. */
struct delivery {
    struct message post;
    struct front *front;
    struct snapshot *snapshot; /* pinned; NULL: the streams end */
};
static_assert(offsetof(struct delivery, post) == 0, "the message is found again as its delivery");

static void subscriber_free(struct front *front, struct subscriber *subscriber)
{
    mem_free(front->routes->overview.options.mem, MEM_CONNECTIONS, subscriber, sizeof *subscriber);
    /* Relaxed: the tick only needs to see the figure at some time. */
    CHECK(atomic_fetch_sub_explicit(&front->subscriber_count, 1, memory_order_relaxed) > 0);
}

static void on_drained(struct http_exchange *exchange, void *context)
{
    (void)exchange;
    ((struct subscriber *)context)->waiting = false;
}

static void on_gone(struct http_exchange *exchange, void *context)
{
    (void)exchange;
    ((struct subscriber *)context)->gone = true;
}

static void write_own(struct subscriber *subscriber, const struct snapshot *snapshot)
{
    struct buf event;
    buf_init(&event, http_mem(subscriber->exchange), MEM_MONITOR);
    snapshot_write_own(snapshot, (aic_view){subscriber->ns, subscriber->ns_size}, &subscriber->last, &event);
    if (buf_status(&event) == AIC_OK) http_stream_write(subscriber->exchange, buf_view(&event));
    buf_fini(&event);
}

static void send_snapshot(struct subscriber *subscriber, struct snapshot *snapshot)
{
    if (subscriber->waiting) return;
    subscriber->waiting = true;
    if (subscriber->whole)
        http_stream_write_borrowed(subscriber->exchange, snapshot_text(snapshot), snapshot_release,
                                   snapshot_pin(snapshot));
    else write_own(subscriber, snapshot);
    http_stream_drain(subscriber->exchange, on_drained, subscriber);
}

static void deliver(struct message *post)
{
    struct delivery *delivery = (struct delivery *)post;
    struct front *front = delivery->front;
    for (struct subscriber **link = &front->subscribers; *link != NULL;) {
        struct subscriber *subscriber = *link;
        if (delivery->snapshot != NULL && !subscriber->gone) {
            send_snapshot(subscriber, delivery->snapshot);
            link = &subscriber->next;
            continue;
        }
        *link = subscriber->next;
        http_stream_close(subscriber->exchange);
        subscriber_free(front, subscriber);
    }
    if (delivery->snapshot != NULL) snapshot_release(delivery->snapshot);
    mem_free(front->routes->overview.options.mem, MEM_CONNECTIONS, delivery, sizeof *delivery);
}

/* Posts a snapshot to every front thread that has subscribers, the end to every one: its count may be behind. Called by
 * the thread that also stops the server, so that no thread ends meanwhile. */
static void post_to_all(struct routes *routes, struct snapshot *snapshot)
{
    pthread_mutex_lock(&routes->mutex);
    for (struct front *front = routes->fronts; front != NULL; front = front->next) {
        bool nobody = atomic_load_explicit(&front->subscriber_count, memory_order_relaxed) == 0;
        if (nobody && snapshot != NULL) continue;
        struct delivery *delivery = mem_zalloc(routes->overview.options.mem, MEM_CONNECTIONS, sizeof *delivery);
        if (delivery == NULL) continue; /* this second is left out there */
        delivery->post.run = deliver;
        delivery->front = front;
        delivery->snapshot = snapshot != NULL ? snapshot_pin(snapshot) : NULL;
        http_post(front->thread, &delivery->post);
    }
    pthread_mutex_unlock(&routes->mutex);
}

static unsigned subscribers_of(struct routes *routes)
{
    unsigned count = 0;
    pthread_mutex_lock(&routes->mutex);
    for (const struct front *front = routes->fronts; front != NULL; front = front->next)
        count += atomic_load_explicit(&front->subscriber_count, memory_order_relaxed);
    pthread_mutex_unlock(&routes->mutex);
    return count;
}

void stream_tick(struct routes *routes)
{
    struct snapshot *snapshot = NULL;
    if (subscribers_of(routes) == 0) return;
    if (snapshot_make(&routes->overview, &routes->last_snapshot, &snapshot) != AIC_OK) return;
    post_to_all(routes, snapshot);
    snapshot_release(snapshot);
}

void stream_end(struct routes *routes)
{
    post_to_all(routes, NULL);
}

void handle_stream(struct http_exchange *exchange)
{
    struct front *front = front_of(exchange);
    /* Relaxed: who does not see it yet is in the list before the end arrives, which is posted after it was set; the
     * mailbox orders the two. */
    if (atomic_load_explicit(&front->routes->draining, memory_order_relaxed)) {
        http_reply_problem(exchange, 503, "unavailable", NULL, "the daemon is stopping; no stream begins any more");
        return;
    }
    struct subscriber *subscriber = mem_zalloc(front->routes->overview.options.mem, MEM_CONNECTIONS,
                                               sizeof *subscriber);
    if (subscriber == NULL) {
        http_reply_error(exchange, AIC_NO_MEMORY, NULL);
        return;
    }
    http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-store"));
    http_reply_header(exchange, "X-Accel-Buffering", AIC_LITERAL("no"));
    if (!http_stream_open(exchange, 200, "text/event-stream") ||
        http_verb(exchange) == HTTP_VERB_HEAD) { /* without a body nothing would ever end it */
        http_stream_close(exchange);
        mem_free(front->routes->overview.options.mem, MEM_CONNECTIONS, subscriber, sizeof *subscriber);
        return;
    }
    aic_view ns = call_ns(call_of(exchange));
    CHECK(ns.size <= sizeof subscriber->ns);
    subscriber->exchange = exchange;
    subscriber->whole = call_of(exchange)->admin;
    subscriber->ns_size = ns.size;
    memcpy(subscriber->ns, ns.data, ns.size);
    subscriber->next = front->subscribers;
    front->subscribers = subscriber;
    atomic_fetch_add_explicit(&front->subscriber_count, 1, memory_order_relaxed);
    http_on_gone(exchange, on_gone, subscriber);
    http_stream_write(exchange, AIC_LITERAL("retry: 2000\n\n"));
}
