/*
 * held.c - lookups that wait for somebody else's answer (`wait`), and leases that end without one.
 *
 * A miss that may wait asks the cache's leases (cache/lease.h). Whoever is granted one is answered at once, with the
 * lease; whoever waits is deferred, and told by the thread that brought the news through its own front thread's
 * mailbox. It then looks the key up again, or gets the lease, or a plain miss. A client that hangs up while it waits is
 * taken out; one that has hung up before it learns of its lease gives it up for the next.
 *
 * Each front thread has a timer for the next moment at which a lease or a wait that it knows of may end. Ticking is for
 * all of them, so it does not matter whose timer goes off.
 */
#include "base/check.h"
#include "base/status.h"
#include "cache/cache.h"
#include "serve/routes/call.h"
#include "serve/routes/handlers.h"
#include "serve/routes/lookup.h"
#include "serve/routes/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <uv.h>

#define NS_PER_MS UINT64_C(1000000)
#define REPLY_ROOM_MS 60000 /* beyond the wait, for the lookup after it */

struct held {
    struct lease_waiter waiter;
    struct message post;
    struct http_exchange *exchange;
    struct front *front;
    struct mem *mem; /* of this struct, which outlives the exchange */
    enum lease_news news;
};
static_assert(offsetof(struct held, waiter) == 0, "who is told finds its lookup where its waiter lies");

static struct leases *leases_of(const struct front *front)
{
    return cache_leases(front->routes->overview.options.cache);
}

static uint64_t now_ns(const struct front *front)
{
    return clock_mono_ns(front->routes->overview.options.clock);
}

/* ------------------------------------------------------------------------------------------------------- timer -- */

static void on_timer(uv_timer_t *timer);

/* At `at_ns`, unless it goes off before anyway. */
static void wake_at(struct front *front, uint64_t at_ns)
{
    uint64_t now = now_ns(front);
    if (at_ns == UINT64_MAX) return;
    uint64_t wait_ms = at_ns > now ? (at_ns - now) / NS_PER_MS + 1 : 1;
    if (uv_is_active((uv_handle_t *)front->lease_timer) && uv_timer_get_due_in(front->lease_timer) <= wait_ms) return;
    CHECK(uv_timer_start(front->lease_timer, on_timer, wait_ms, 0) == 0);
}

static void on_timer(uv_timer_t *timer)
{
    struct front *front = timer->data;
    wake_at(front, leases_tick(leases_of(front)));
}

/* ----------------------------------------------------------------------------------------------------- answers -- */

static void answer_miss(struct http_exchange *exchange)
{
    call_of(exchange)->wait_ms = 0;
    lookup_answer_miss(exchange, AIC_MISS);
}

/* The lease is this client's. A put that ended between the miss and the lease is not computed again. */
static void answer_granted(struct http_exchange *exchange, const struct lease_waiter *waiter)
{
    struct front *front = front_of(exchange);
    struct cache_hit hit;
    if (http_is_gone(exchange)) {
        aic_status ended = leases_give_up(leases_of(front), waiter->ns, aic_view_of(waiter->id));
        CHECK(ended == AIC_OK || ended == AIC_NOT_FOUND); /* a put was faster */
        answer_miss(exchange);
        return;
    }
    if (cache_lookup_memory(front->routes->overview.options.cache, (aic_view){NULL, 0}, &waiter->key, &hit) == AIC_OK) {
        leases_answer(leases_of(front), &waiter->key);
        lookup_finish(exchange, AIC_OK, &hit);
        return;
    }
    wake_at(front, now_ns(front) + waiter->lease_ms * NS_PER_MS);
    char key[AIC_KEY_HEX_SIZE], body[192];
    aic_key_format(&waiter->key, key);
    int size = snprintf(body, sizeof body,
                        "{\"hit\":false,\"key\":\"%s\",\"lease\":\"%s\",\"lease_seconds\":%" PRIu64 "}\n", key,
                        waiter->id, waiter->lease_ms / 1000);
    CHECK(size > 0 && (size_t)size < sizeof body);
    lookup_count(exchange, AIC_MISS, NULL, 0);
    http_reply_bytes(exchange, 200, HTTP_JSON, (aic_view){body, (size_t)size});
}

/* On the exchange's front thread. */
static void on_news(struct message *post)
{
    struct held *held = (struct held *)(void *)((char *)post - offsetof(struct held, post));
    struct http_exchange *exchange = held->exchange;
    uint64_t now = now_ns(held->front);
    CHECK(held->news != LEASE_WAITS && held->waiter.lease == NULL);
    http_on_gone(exchange, NULL, NULL);
    call_of(exchange)->resumed_ns = now;
    if (held->news == LEASE_GRANTED) {
        answer_granted(exchange, &held->waiter);
    } else if (held->news == LEASE_ANSWERED) {
        uint64_t left_ms = held->waiter.until_ns > now ? (held->waiter.until_ns - now) / NS_PER_MS : 0;
        call_of(exchange)->wait_ms = (uint32_t)left_ms;
        lookup_again(exchange);
    } else {
        answer_miss(exchange);
    }
    mem_free(held->mem, MEM_CONNECTIONS, held, sizeof *held);
}

/* Any thread. */
static void on_told(struct lease_waiter *waiter, enum lease_news news)
{
    struct held *held = (struct held *)waiter;
    held->news = news;
    http_post(held->front->thread, &held->post);
}

static void on_gone(struct http_exchange *exchange, void *context)
{
    struct held *held = context;
    (void)exchange;
    if (leases_withdraw(leases_of(held->front), &held->waiter)) on_told(&held->waiter, LEASE_OVER);
}

bool held_start(struct http_exchange *exchange)
{
    struct front *front = front_of(exchange);
    struct call *call = call_of(exchange);
    struct held *held = mem_zalloc(http_mem(exchange), MEM_CONNECTIONS, sizeof *held);
    if (held == NULL) return false;
    held->waiter = (struct lease_waiter){.key = call->key,
                                         .ns = call_ns(call),
                                         .wait_ms = call->wait_ms,
                                         .most_waiters = http_most_connections(exchange) / 2 +
                                                         1, /* the holder's put may need a connection */
                                         .told = on_told};
    held->mem = http_mem(exchange);
    held->post.run = on_news;
    held->exchange = exchange;
    held->front = front;
    enum lease_news news = leases_ask(leases_of(front), &held->waiter);
    if (news == LEASE_WAITS) { /* what it is told comes through this thread's mailbox */
        http_defer(exchange, call->wait_ms + REPLY_ROOM_MS);
        http_on_hangup(exchange, on_gone,
                       held); /* who closes its side has gone, most likely: others are not to wait for it */
        wake_at(front, held->waiter.until_ns);
        return true;
    }
    bool granted = news == LEASE_GRANTED;
    if (granted) answer_granted(exchange, &held->waiter);
    mem_free(held->mem, MEM_CONNECTIONS, held, sizeof *held);
    return granted;
}

aic_status held_init(struct front *front)
{
    return front_timer_open(front, &front->lease_timer);
}

void held_fini(struct front *front)
{
    front_timer_close(front, &front->lease_timer);
}

/* --------------------------------------------------------------------------------------------- DELETE of a lease -- */

void handle_lease_end(struct http_exchange *exchange)
{
    aic_status status = leases_give_up(leases_of(front_of(exchange)), call_ns(call_of(exchange)),
                                       http_parameter(exchange, 0));
    if (status == AIC_OK) http_reply_empty(exchange, 204);
    else
        http_reply_problem(
            exchange, 404, "not_found", "lease",
            "no lease has this name; one ends with a put, when it is given up, or when its time is over");
}
