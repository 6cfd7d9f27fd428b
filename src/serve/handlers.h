/*
 * handlers.h - what the handlers share: the thread they run on, the state of one request, and helpers to answer.
 *
 * Everything here runs on a front thread and takes no lock, unless a function says otherwise.
 */
#ifndef SERVE_HANDLERS_H
#define SERVE_HANDLERS_H

#include "base/object_pool.h"
#include "cache/cache.h"
#include "serve/memo.h"
#include "serve/parts.h"
#include "serve/routes.h"
#include "serve/snapshot.h"
#include "serve/tails.h"
#include "serve/tally.h"
#include "serve/watch.h"

#include <uv.h>

struct front;

struct routes {
    struct routes_options options;
    struct labels labels; /* of what is counted by namespace and operation */
    struct parts *parts;
    struct watch *watch;
    struct object_pools pools;          /* of all front threads */
    struct snapshot_last last_snapshot; /* the ticking thread's */
    uint64_t seed;
    uint64_t started_ns; /* monotonic */
    uint64_t started_ms; /* wall */

    pthread_mutex_t mutex; /* auth, fronts, server, past; above the labels' alone */
    struct auth *auth;
    struct front *fronts; /* of all threads that run now */
    const struct http_server *server;
    _Atomic unsigned auth_generation; /* release after a change of `auth` under the mutex, acquire by the fronts */
    _Atomic uint64_t warning_bytes, critical_bytes; /* relaxed: each stands for itself */
    _Atomic bool draining;                          /* relaxed: a flag that is only ever set */

    /* Tallies of threads that ended, kept so that counters never fall; under the mutex. */
    struct tally_sum *past;
};

#define FRONT_SPARE_ANSWERS 64 /* kept for reuse by each thread */

/* One front thread. */
struct front {
    struct routes *routes;
    struct http_thread *thread;
    struct front *next; /* in routes->fronts */
    struct auth *auth;  /* pinned */
    unsigned auth_generation;
    struct tally tally;
    struct memo memo;
    struct tails tails;
    struct json json;   /* for what is parsed on this thread; between uses only its memory counts */
    struct buf scratch; /* the same */
    struct object_pool answers;
    struct pending *first, *last;      /* lookups that wait for storage, oldest first */
    _Atomic unsigned waiting;          /* how many; relaxed: /metrics reads it at some time */
    uv_timer_t *timer;                 /* goes off at the first one's deadline; owned, closed with the thread */
    struct subscriber *subscribers;    /* of /monitoring/stream */
    _Atomic unsigned subscriber_count; /* relaxed: the tick reads how many there are */
};

/* What a request needs to be known of: lies in http_state(). */
struct call {
    char ns[AIC_MAX_NAME_BYTES]; /* the caller's own namespace */
    uint8_t ns_size;
    bool admin;
    bool by_key; /* a GET by key rather than a lookup */
    bool metadata_only;
    aic_key key;
    uint64_t text_length;
    uint64_t memory_before;    /* bytes of the memory tier, when operations are logged */
    struct labels_place place; /* where the lookup is counted */
};
_Static_assert(sizeof(struct call) <= HTTP_STATE_BYTES, "a call fits into the exchange");

static inline struct call *call_of(struct http_exchange *exchange)
{
    return http_state(exchange);
}
static inline aic_view call_ns(const struct call *call)
{
    return (aic_view){call->ns, call->ns_size};
}
static inline struct front *front_of(const struct http_exchange *exchange)
{
    return http_thread_data(http_thread(exchange));
}

/* The namespace of a request of this caller, checked: `wanted` or the caller's own. AIC_FORBIDDEN, AIC_INVALID. */
AIC_MUST_CHECK aic_status call_namespace(const struct call *call, aic_view wanted, aic_view *out, aic_error *error);
/* The `{key}` of the path and the namespace in which to look: that of `?namespace=`, else the caller's own, else (for
 * who may see all) any: empty. */
AIC_MUST_CHECK aic_status call_key(struct http_exchange *exchange, aic_key *key, aic_view *ns, aic_error *error);
/* A query parameter by name, absent when it was not given; AIC_INVALID for a query that cannot be read. */
AIC_MUST_CHECK aic_status call_query(struct http_exchange *exchange, const char *name, aic_view *out, aic_error *error);
/* Refuses query parameters that the route does not know. */
AIC_MUST_CHECK aic_status call_check_query(struct http_exchange *exchange, const struct http_route *route,
                                           aic_error *error);
/* Refuses a body that says anything: empty and `{}` are the same. On the front thread. */
AIC_MUST_CHECK aic_status call_check_no_body(struct http_exchange *exchange, aic_error *error);
/* What all front threads counted since the start; settles the labels. Any thread; takes the routes' mutex. */
void routes_sum(struct routes *routes, struct tally_sum *out);
/* A snapshot to everybody who looks, once a second; the end of the streams. By the thread that ticks and stops the
 * server. */
void stream_tick(struct routes *routes);
void stream_end(struct routes *routes);

/* ---- answers ---- */

/* A hit on its way out: the pinned entry and the bytes around it. From a front's pool. */
struct answer {
    struct front *front;
    struct cache_hit hit;
    struct tail *tail; /* pinned: the end of the body; NULL: `text` has it */
    struct buf text;   /* head of the body, and what stands behind the response */
    struct buf plain;  /* a response that had to be decoded or gathered */
    bool decoded;      /* `plain` has it already: a worker did it */
};
/* NULL when there is no memory. */
struct answer *answer_take(struct front *front);
/* An http_release_fn: releases the hit and gives the answer back. */
void answer_give(void *answer);
void answers_init(struct front *front);
void answers_fini(struct front *front);

/* ---- spelling (render.c) ---- */

/* Answers a finished JSON text. */
void reply_json(struct http_exchange *exchange, int status, struct buf *body);

#define RENDER_TIME_BYTES 25
/* "2026-11-22T15:49:12.123Z" */
void render_time(uint64_t wall_ms, char out[RENDER_TIME_BYTES]);
/* A time or null for 0. */
void render_time_or_null(struct json_writer *writer, uint64_t wall_ms);
/* The metadata object of an entry as of `now_ms`; and all of its members but the time that is left, without brackets.
 */
void render_metadata(struct json_writer *writer, const aic_metadata *metadata, uint64_t now_ms);
void render_metadata_rest(struct json_writer *writer, const aic_metadata *metadata);
/* Seconds that are left, as a number, or null when it never expires. */
void render_ttl(struct json_writer *writer, uint64_t expires_ms, uint64_t now_ms);
/* "disabled", "up", "down"; "degraded" while reads work and writes fail. */
const char *render_storage_status(const aic_stats *stats);
void render_tiers(struct json_writer *writer, unsigned tiers);
void render_key(struct json_writer *writer, const aic_key *key);
/* hits / (hits + misses) as "XX.X%"; "0.0%" without lookups. */
#define RENDER_RATE_BYTES 16
double render_rate(const aic_stats *stats, char out[RENDER_RATE_BYTES]);
uint64_t stats_hits(const aic_stats *stats);
/* Entries that the cache holds, in whatever tier: the larger of the two, since a tier's entries are mostly the other's.
 */
uint64_t stats_entries(const aic_stats *stats);
/* Is the memory tier at its warning threshold (0: 80 % of its limit)? */
bool stats_pressure(const aic_stats *stats, uint64_t warning_bytes);

/* ---- work that may take long (work.c) ---- */

/*
 * A job for libuv's worker threads, at the beginning of the job's own struct. `run` is called on a worker thread, then
 * `finish` on the exchange's front thread, which replies and frees the job, or starts it again. The request's views
 * stay valid until the reply.
 */
struct work {
    uv_work_t uv;
    struct http_exchange *exchange;
    struct front *front;
    struct call *call;
    size_t size;
    uint64_t deadline_ms; /* of the reply; 0: the server's */
    void (*run)(struct work *work);
    void (*finish)(struct work *work);
    aic_status status; /* for the job's use */
    aic_error error;
    struct buf body;
};
/* A zeroed struct of `size` bytes that begins with a struct work; NULL when there is no memory (503 was answered then).
 */
void *work_create(struct http_exchange *exchange, size_t size);
/* Defers the exchange and starts. */
void work_start(struct work *work);
/* Starts a job of a deferred exchange, for the second and later runs. */
void work_again(struct work *work);
void work_free(struct work *work);
/* Starts a job that only writes `body` and sets the status. */
void work_answer(struct http_exchange *exchange, void (*run)(struct work *work));
/* The usual `finish`: replies with `body` as JSON and 200 when status is AIC_OK, else with the error; frees. */
void work_reply(struct work *work);
/* warnings.c: the list of warnings, of the monitor (if there is one), of storage and of memory pressure. May be called
 * by any thread. */
AIC_MUST_CHECK aic_status warnings_all(const struct routes *routes, struct json_writer *out);
/* handlers_status.c: false when measurements are off; that was answered then. */
bool reply_has_monitor(struct http_exchange *exchange);
/* handlers_entries.c, on a worker: from here on no kill brings back what cache_hide() removed. AIC_UNAVAILABLE
 * explains. */
AIC_MUST_CHECK aic_status deletes_make_last(struct work *work, const aic_key *keys, size_t count);

/* For what walks the whole cache. */
#define HANDLERS_LONG_MS 600000

/* Bodies larger than this are parsed, hashed and compressed on a worker thread. */
#define HANDLERS_INLINE_BODY 65536
/*
 * Responses larger than this are decompressed on a worker thread. Measured: decoding text costs 49 us for 64 KiB, 95 us
 * for 128, 222 us for 256, 841 us for 1 MiB; the way to a worker and back 15 us of CPU time. So a front thread holds
 * its other connections up for a fifth of a millisecond at most, and the way costs less than a tenth of what it spares.
 */
#define HANDLERS_INLINE_DECODE 262144

/* ---- storage lookups (pending.c) ---- */

/* Asks storage, with the deadline, and then calls lookup_finish(). Defers the exchange. */
void pending_start(struct http_exchange *exchange, aic_view ns, const aic_key *key);
/* Answers a lookup: `hit` is moved from when status is AIC_OK. */
void lookup_finish(struct http_exchange *exchange, aic_status status, struct cache_hit *hit);
/* Answers with the answer's hit, and takes the answer over (a hit whose bytes turn out to be damaged is a miss), or
 * with a miss for the reason `status` (AIC_MISS, AIC_TIMEOUT, ...), and counts it. */
void lookup_answer_hit(struct http_exchange *exchange, struct answer *answer);
void lookup_answer_miss(struct http_exchange *exchange, aic_status status);
/* Counts a lookup that is answered now, everywhere: `hit` (of status AIC_OK) and its age, or NULL and 0. Before the
 * reply, which ends both. */
void lookup_count(struct http_exchange *exchange, aic_status status, const struct cache_hit *hit, uint64_t age_ms);
AIC_MUST_CHECK aic_status pending_init(struct front *front);
void pending_fini(struct front *front);

/* ---- requests in bodies (request.c) ---- */

/* A parsed {operation, text, options?, question?, namespace?, ...}. Views and tokens into `json` and `scratch`. */
struct request {
    struct json *json;
    struct buf *scratch;
    struct key_request key;
    aic_view operation;
};
/* Reads the common members of the tokens in the order of REQUEST_RULES. */
AIC_MUST_CHECK aic_status request_read(struct json *json, struct buf *scratch, const struct call *call,
                                       const uint32_t *tokens, struct request *out, aic_error *error);
#define REQUEST_RULES                                                                                                  \
    {"operation", FIELD_STRING, true, true, "a string of 1 to 128 bytes"},                                             \
        {"text", FIELD_STRING, true, true, "a string"}, {"options", FIELD_OBJECT, false, false, "an object"},          \
        {"question", FIELD_STRING, false, false, "a string"},                                                          \
    {                                                                                                                  \
        "namespace", FIELD_STRING, false, false, "a string of 1 to 128 bytes"                                          \
    }
enum { REQUEST_OPERATION, REQUEST_TEXT, REQUEST_OPTIONS, REQUEST_QUESTION, REQUEST_NAMESPACE, REQUEST_FIELDS };

/* ---- every handler of routes.def ---- */

#define ROUTE(verb, path, handler, body, access, query, help) void handler(struct http_exchange *exchange);
#include "serve/routes.def"
#undef ROUTE

#endif
