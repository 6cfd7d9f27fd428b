/*
 * lookup_many.c - POST /cache/lookup-many: up to 256 lookups in one request, each answered in its place.
 *
 * A worker reads all requests and asks memory; what memory has not is asked of storage side by side, under one deadline
 * (pending.c); then a worker writes the answer, and the front thread counts each lookup as one of its own. What is
 * wrong with one request is an error in its place, what is wrong with the body refuses the whole. A lookup of a batch
 * does not wait for another's answer: the slowest would hold up the rest.
 */
#include "base/check.h"
#include "base/status.h"
#include "serve/routes/fields.h"
#include "serve/routes/handlers.h"
#include "serve/routes/lookup.h"
#include "serve/routes/reply.h"
#include "serve/routes/work.h"

#include <stdio.h>

#define MAX_REQUESTS 256
#define ACCEPTED "an array of 1 to 256 lookups"

/* One lookup, where it has got to. */
struct sought {
    struct many_job *job;
    struct lookup_request request;
    aic_error error;   /* status AIC_OK: the request is sound */
    aic_status status; /* of a sound one: AIC_OK with a hit, AIC_MISS, or why storage could not tell */
    struct cache_hit hit;
    uint64_t age_ms;
};

struct many_job {
    struct work work;
    struct sought *all; /* owned */
    size_t count;
    size_t waiting; /* for storage; the front thread's */
    uint64_t held;  /* bytes of answers that lie in copies */
};

static void free_job(struct many_job *job)
{
    for (size_t i = 0; i < job->count; i++) cache_hit_release(&job->all[i].hit);
    http_answer_let_go(job->work.front->thread, job->held);
    mem_free(job->work.mem, MEM_CONNECTIONS, job->all, job->count * sizeof *job->all);
    work_free(&job->work);
}

/* ------------------------------------------------------------------------------------------- requests and memory -- */

/* On a worker. An error of the request itself is the result. AIC_NO_MEMORY is the batch's. */
static aic_status seek(struct many_job *job, struct sought *sought, uint32_t object)
{
    struct work *work = &job->work;
    aic_error inner = {0};
    char place[24];
    aic_status status = lookup_key(work->front, work->call, &work->json, object, &work->scratch, &sought->request,
                                   &inner);
    if (status == AIC_OK && sought->request.wait_ms > 0)
        status = error_set(&inner, AIC_INVALID, "wait",
                           "a lookup among many does not wait; POST /cache/lookup takes one that does");
    if (status == AIC_NO_MEMORY) return status;
    if (status != AIC_OK) {
        snprintf(place, sizeof place, "requests[%zu]", (size_t)(sought - job->all));
        (void)error_within(&sought->error, status, place, &inner);
        return AIC_OK;
    }
    sought->status = cache_lookup_memory(work->front->routes->overview.options.cache, sought->request.request.key.ns,
                                         &sought->request.key, &sought->hit);
    return sought->status == AIC_NO_MEMORY ? sought->status : AIC_OK;
}

static aic_status seek_all(struct many_job *job)
{
    static const struct field_rule rules[] = {{"requests", FIELD_ARRAY, true, true, ACCEPTED}};
    struct work *work = &job->work;
    struct json *json = &work->json;
    uint32_t array;
    TRY(fields_read(json, work->text, rules, COUNT_OF(rules), &array, &work->error));
    size_t count = json->tokens[array].members;
    if (count == 0 || count > MAX_REQUESTS)
        return error_set(&work->error, AIC_INVALID, "requests", "%zu came; " ACCEPTED " is accepted", count);
    job->all = mem_zalloc(work->mem, MEM_CONNECTIONS, count * sizeof *job->all);
    if (job->all == NULL) return AIC_NO_MEMORY;
    job->count = count;
    work->call->memory_before = cache_observe_begin(work->front->routes->overview.options.cache);
    struct sought *sought = job->all;
    for (uint32_t at = array + 1; at < json->tokens[array].next; at = json->tokens[at].next) {
        sought->job = job;
        TRY(seek(job, sought++, at));
    }
    CHECK(sought == job->all + count);
    return AIC_OK;
}

static void run_seek(struct work *work)
{
    work->status = seek_all((struct many_job *)work);
}

/* ------------------------------------------------------------------------------------------------------- answers -- */

static aic_status write_one(struct many_job *job, struct sought *sought, struct buf *scratch)
{
    struct buf *out = &job->work.body;
    size_t begin = out->size;
    if (sought->error.status != AIC_OK) {
        http_write_error(out, &sought->error);
        return buf_status(out);
    }
    if (sought->status == AIC_OK) {
        aic_status status = lookup_write_hit(job->work.front, &sought->hit, scratch, out, &sought->age_ms);
        if (status != AIC_DAMAGED) return status;
        out->size = begin;
        cache_hit_release(&sought->hit);
        sought->status = status;
    }
    char miss[LOOKUP_MISS_BYTES];
    buf_append(out, miss, lookup_write_miss(&sought->request.key, miss));
    return buf_status(out);
}

static aic_status write_all(struct many_job *job)
{
    struct buf scratch, *out = &job->work.body;
    aic_status status = AIC_OK;
    buf_init(&scratch, out->mem, MEM_ANSWERS);
    buf_append_view(out, AIC_LITERAL("{\"results\":["));
    for (size_t i = 0; i < job->count && status == AIC_OK; i++) {
        if (i > 0) buf_append_byte(out, ',');
        status = atomic_load_explicit(&job->work.gone, memory_order_relaxed) ? AIC_CLOSED
                                                                             : write_one(job, &job->all[i], &scratch);
    }
    buf_append_view(out, AIC_LITERAL("]}"));
    buf_fini(&scratch);
    return status != AIC_OK ? status : buf_status(out);
}

static void run_write(struct work *work)
{
    work->status = write_all((struct many_job *)work);
}

/* On the front thread, as for single lookups: before the reply. */
static void finish_write(struct work *work)
{
    struct many_job *job = (struct many_job *)work;
    for (size_t i = 0; i < job->count && work->status == AIC_OK; i++) {
        struct sought *sought = &job->all[i];
        if (sought->error.status != AIC_OK) continue;
        bool hit = sought->status == AIC_OK;
        lookup_place(work->front, work->call, &sought->request);
        lookup_count(work->exchange, sought->status, hit ? &sought->hit : NULL, sought->age_ms);
    }
    if (work->status == AIC_OK) reply_json(work->exchange, 200, &work->body);
    else work_refuse(work);
    free_job(job);
}

/* ------------------------------------------------------------------------------------------------------- storage -- */

static void go_on(struct many_job *job)
{
    if (job->work.status != AIC_OK) {
        work_refuse(&job->work);
        free_job(job);
        return;
    }
    job->work.run = run_write;
    job->work.finish = finish_write;
    work_again(&job->work);
}

/* On the front thread, after finish_seek(): storage has answered, or was too slow. */
static void on_stored(void *context, aic_status status, struct cache_hit *hit)
{
    struct sought *sought = context;
    struct many_job *job = sought->job;
    uint64_t bytes = status == AIC_OK ? hit->copy.capacity : 0; /* 0 where it lies in memory now */
    sought->status = status;
    if (bytes > 0 && !http_answer_hold(job->work.exchange, bytes)) {
        job->work.status = AIC_NO_MEMORY;
        job->work.full = http_answer_mem(job->work.exchange);
    } else if (status == AIC_OK) {
        job->held += bytes;
        cache_hit_move(&sought->hit, hit);
    }
    if (--job->waiting == 0) go_on(job);
}

static void finish_seek(struct work *work)
{
    struct many_job *job = (struct many_job *)work;
    bool has_storage = cache_has_storage(work->front->routes->overview.options.cache);
    for (size_t i = 0; i < job->count && has_storage && work->status == AIC_OK; i++) {
        struct sought *sought = &job->all[i];
        if (sought->error.status != AIC_OK || sought->status != AIC_MISS) continue;
        work->status = pending_start(work->front, sought->request.request.key.ns, &sought->request.key, on_stored,
                                     sought);
        job->waiting += work->status == AIC_OK;
    }
    if (job->waiting == 0) go_on(job);
}

void handle_lookup_many(struct http_exchange *exchange)
{
    struct many_job *job = work_create(exchange, LANE_QUICK, sizeof *job);
    if (job == NULL) return;
    job->work.run = run_seek;
    job->work.finish = finish_seek;
    work_start(&job->work);
}
