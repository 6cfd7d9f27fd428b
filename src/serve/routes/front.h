/*
 * front.h - what lives as long as the routes, and what lives as long as one of their front threads.
 *
 * Everything of a front belongs to its thread and needs no lock, but for what says otherwise.
 */
#ifndef SERVE_FRONT_H
#define SERVE_FRONT_H

#include "base/json.h"
#include "observe/overview.h"
#include "observe/snapshot.h"
#include "serve/http/server.h"
#include "serve/routes/auth.h"
#include "serve/routes/lanes.h"
#include "serve/routes/memo.h"
#include "serve/routes/tails.h"
#include "serve/routes/unpacked.h"

struct front;

struct routes {
    struct overview overview;
    struct lanes *lanes;                /* owned */
    struct unpacked_list unpacked;      /* of all fronts */
    struct snapshot_last last_snapshot; /* the ticking thread's */
    uint64_t seed;                      /* of the fronts' memos */
    size_t keep_request_bytes;          /* the largest body that they remember */

    pthread_mutex_t mutex; /* auth, fronts; above the threads' mailboxes alone */
    struct auth *auth;
    struct front *fronts;             /* of all threads that run now */
    _Atomic unsigned auth_generation; /* release after a change of `auth` under the mutex, acquire by the fronts */
    _Atomic bool draining;            /* relaxed: a flag that is only ever set */
};

/* One front thread. */
struct front {
    struct routes *routes;
    struct http_thread *thread;
    struct front *next; /* in routes->fronts */
    struct auth *auth;  /* pinned */
    unsigned auth_generation;
    struct message changed; /* the set of keys did */
    bool changed_posted;    /* it is on its way; under the routes' mutex */
    struct tally tally;
    struct memo memo;
    struct tails tails;
    struct json json;   /* for what is parsed on this thread; between uses only its memory counts */
    struct buf scratch; /* the same */
    struct object_pool answers;
    struct pending *first, *last;      /* lookups that wait for storage, oldest first */
    struct uv_timer_s *timer;          /* goes off at the first one's deadline; owned, closed with the thread */
    struct uv_timer_s *lease_timer;    /* goes off when a wait or a lease may end; owned, closed with the thread */
    struct subscriber *subscribers;    /* of /monitoring/stream */
    _Atomic unsigned subscriber_count; /* relaxed: the tick reads how many there are */
};

static inline struct front *front_of(const struct http_exchange *exchange)
{
    return http_thread_data(http_thread(exchange));
}

#endif
