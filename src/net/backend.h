/*
 * backend.h - a remote place that is asked over HTTP: connections, TLS, deadline, retry, breaker, health, figures.
 *
 * The idea: every dependency that can be slow, hang, lie or die is asked in one way. A call goes to the backend's loop
 * as a message and comes back as one call of `done`, exactly once, whatever happens. libcurl's multi interface does
 * sockets, TLS and HTTP on the loop; nothing blocks it.
 *
 * Slots: at most `slots` calls are under way at once, further ones wait in order. A call that is to be tried again
 * keeps its slot during the pause, so that a backend with one slot keeps the order of its calls.
 *
 * Retry: what was not answered (no connection, broken off) and what was answered with 429, 502, 503 or 504 is tried
 * again as often as the options say, after a pause that doubles from RETRY_FIRST_MS, drawn at random between half of it
 * and all of it (so that clients do not come back in step), or the time that Retry-After asks for where that is longer.
 * Only calls that say so are repeatable. All tries and pauses lie within the call's deadline.
 *
 * Breaker (net/breaker.h): calls fail at once while it is open, unless the pause ends within their deadline: then they
 * wait for it. What the backend answers itself, other than 5xx, is a success for the breaker: it is there.
 *
 * Secrets: log lines and `why` name the backend and its place (scheme, host, port), never the rest of its URL.
 */
#ifndef NET_BACKEND_H
#define NET_BACKEND_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/url.h"

struct backend;

struct backend_options {
    struct mem *mem;
    const aic_clock *clock; /* NULL: the system's */
    struct log *log;        /* NULL: nothing is logged */
    struct loop *loop;      /* has a thread; outlives the backend */
    const char *name;       /* "webhook": in log lines; static */
    const char *url;        /* http:// or https://; a call's path is put behind it; copied */
    unsigned slots;         /* 0: 4 */
    unsigned tries;         /* of a repeatable call; 0: 3 */
    uint64_t connect_ms;    /* 0: 5000 */
    size_t answer_bytes;    /* the largest answer that is kept; what is beyond ends the call; 0: none is kept */
};

struct backend_call {
    struct message message; /* the backend's */
    /* In; borrowed until done. */
    const char *verb;                        /* "POST" */
    const char *path;                        /* behind the URL; NULL: nothing */
    aic_view body;                           /* data NULL: none */
    const char *content_type;                /* NULL: application/json */
    uint64_t deadline_ms;                    /* for all of it, from backend_call() on */
    bool repeatable;                         /* asking twice does no harm */
    void (*done)(struct backend_call *call); /* on the loop's thread; may free the call */
    /*
     * Out. AIC_OK: it was answered, with `code`. AIC_UNAVAILABLE: no connection, broken off, or the breaker is open;
     * AIC_TIMEOUT; AIC_FULL: the answer is larger than answer_bytes; AIC_NO_MEMORY; AIC_CLOSED: the backend is being
     * destroyed. `why` says it in words.
     */
    aic_status status;
    long code;
    struct buf answer; /* released by the backend after done() */
    char why[URL_PLACE_BYTES + 100];
    /* The backend's own. */
    struct backend *backend;
    struct backend_call *next;
    uint64_t deadline_ns;
    unsigned tried;
    bool probe; /* of the breaker */
};

/* AIC_INVALID (the URL), AIC_NO_MEMORY. Not on the loop's thread. */
AIC_MUST_CHECK aic_status backend_create(const struct backend_options *options, struct backend **out, aic_error *error);
/* Ends every call with AIC_CLOSED first; nobody calls any more. Accepts a pointer to NULL. Not on the loop's thread. */
void backend_destroy(struct backend **backend);

/* Any thread; never blocks. The call stays in place until its done(). */
void backend_call(struct backend *backend, struct backend_call *call);

/* Single figures are exact; together they are no snapshot. */
struct backend_figures {
    uint64_t answered; /* calls that ended with an answer, whatever its code */
    uint64_t failed;   /* calls that ended without one */
    uint64_t refused;  /* of them, by the breaker alone */
    uint64_t retried;  /* tries beyond the first */
    uint64_t opened;   /* times the breaker opened */
    uint64_t waiting;  /* calls that are not yet done */
    bool up;           /* the breaker is closed */
};
void backend_figures(const struct backend *backend, struct backend_figures *out);

#endif
