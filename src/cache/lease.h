/*
 * lease.h - who computes a missing answer, and who waits for it: what makes a herd pay once.
 *
 * The idea: the first who asks for a missing key is granted a lease, and is to compute the answer and put it. Whoever
 * asks for the same key meanwhile waits. A put of the key answers all of them; when the lease ends without one, because
 * it was given up or its time is over, exactly one waiter, the one that waits longest, becomes the next holder. Nobody
 * waits longer than it said.
 *
 * A waiter is part of its owner's struct and is told once, by whatever thread brought the news, with no lock held. It
 * may be withdrawn before (its client has gone). The table is bounded: beyond LEASE_MOST nobody gets a lease, beyond
 * LEASE_MOST_OF_ONE nobody of the same namespace, so that none of them takes all, and beyond what they say themselves
 * (`most_waiters`) nobody waits; a miss is just a miss then.
 *
 * A lease is known by 32 hex digits, half of them random: nobody can give up another's by a guess, and a namespace
 * cannot give up another namespace's at all.
 *
 * Any thread; one mutex, the innermost lock of its callers. Without a lease in the table a put costs one load.
 */
#ifndef CACHE_LEASE_H
#define CACHE_LEASE_H

#include "base/clock.h"
#include "base/figures.h"
#include "base/mem.h"

#define LEASE_ID_BYTES 33    /* 32 digits and a NUL */
#define LEASE_LEAST_MS 30000 /* what a holder has at the least; more, if it would have waited longer itself */
#define LEASE_MOST_WAIT_S 120
#define LEASE_MOST 65536
#define LEASE_MOST_OF_ONE 16384 /* namespaces are told apart by a hash of 8 bits */

enum lease_news {
    LEASE_GRANTED,  /* compute and put: `id` and `lease_ms` are set */
    LEASE_WAITS,    /* news comes later; from leases_ask() alone */
    LEASE_ANSWERED, /* a put of the key has ended: it can be looked up */
    LEASE_OVER,     /* waited long enough; or leases_ask(): there is no lease, or no place to wait, for it */
};

struct lease;
struct leases;

struct lease_waiter {
    /* In; borrowed while it waits. */
    aic_key key;
    aic_view ns;           /* who may give the lease up: 1 to AIC_MAX_NAME_BYTES bytes */
    uint64_t wait_ms;      /* from leases_ask() on */
    uint64_t most_waiters; /* beyond so many in the table it does not wait; 0: no bound */
    void (*told)(struct lease_waiter *waiter, enum lease_news news);
    /* Out, with LEASE_GRANTED. */
    char id[LEASE_ID_BYTES];
    uint64_t lease_ms;
    /* The table's. */
    struct lease *lease; /* NULL: not waiting */
    struct lease_waiter *next, **link;
    uint64_t until_ns;
};

AIC_MUST_CHECK aic_status leases_create(struct mem *mem, const aic_clock *clock, struct leases **out);
/* Nobody waits any more. Accepts a pointer to NULL. */
void leases_destroy(struct leases **leases);

/* After a miss. LEASE_GRANTED, LEASE_WAITS (told() follows), LEASE_OVER. */
enum lease_news leases_ask(struct leases *leases, struct lease_waiter *waiter);
/* The waiter is told nothing any more. False: told() has been called or is about to be. */
bool leases_withdraw(struct leases *leases, struct lease_waiter *waiter);
/* A put of this key has ended, whoever sent it: its lease ends, and all who wait are told. */
void leases_answer(struct leases *leases, const aic_key *key);
/* The lease ends without an answer: the next who waits is granted one. AIC_NOT_FOUND: there is none of this name in
 * this namespace. */
AIC_MUST_CHECK aic_status leases_give_up(struct leases *leases, aic_view ns, aic_view id);
/* Is this a lease of that key? AIC_OK also for one that has ended; AIC_INVALID: it is no name of a lease, or one of
 * another key. */
AIC_MUST_CHECK aic_status leases_check(aic_view id, const aic_key *key);
/* Everybody who waits is told LEASE_OVER, and nobody waits any more: the daemon stops. */
void leases_end(struct leases *leases);
/* Ends what is over. Returns when the next is at the soonest, on the monotonic clock; UINT64_MAX: nothing is. To be
 * called then, and after a leases_ask() that waits for less. Costs a look at each bucket and a walk of those that are
 * due, some microseconds. */
uint64_t leases_tick(struct leases *leases);

/* Adds to `out`, zeroed before, how many there are now, and how they began and ended. Any thread. */
void leases_figures(struct leases *leases, struct figures *out);
/* Recounts everything. AIC_INTERNAL. */
AIC_MUST_CHECK aic_status leases_verify(struct leases *leases);

#endif
