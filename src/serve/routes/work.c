#include "serve/routes/work.h"

#include "base/check.h"
#include "serve/routes/reply.h"

#include <stddef.h>

/* From the begin of a run until its end is known here: the job may be gone before the exchange is. */
static void on_gone(struct http_exchange *exchange, void *context)
{
    (void)exchange;
    atomic_store_explicit(&((struct work *)context)->gone, true, memory_order_relaxed);
}

void *work_create(struct http_exchange *exchange, enum lane lane, size_t size)
{
    CHECK(size >= sizeof(struct work)); /* it lies at the front of what the caller wants */
    struct mem *mem = http_mem(exchange);
    struct work *work = mem_zalloc(mem, MEM_CONNECTIONS, size);
    if (work == NULL) {
        http_reply_error(exchange, AIC_NO_MEMORY, NULL);
        return NULL;
    }
    work->exchange = exchange;
    work->front = front_of(exchange);
    work->call = call_of(exchange);
    work->mem = mem;
    work->size = size;
    work->lane = lane;
    work->text = http_body(exchange);
    json_init(&work->json, http_body_mem(exchange), MEM_CACHE);
    buf_init(&work->scratch, http_body_mem(exchange), MEM_CACHE);
    buf_init(&work->body, http_answer_mem(exchange), MEM_ANSWERS);
    return work;
}

void work_free(struct work *work)
{
    json_fini(&work->json);
    buf_fini(&work->scratch);
    buf_fini(&work->body);
    mem_free(work->mem, MEM_CONNECTIONS, work, work->size);
}

/* On the front thread again. */
static void after(struct message *post)
{
    struct work *work = (struct work *)(void *)((char *)post - offsetof(struct work, post));
    http_on_gone(work->exchange, NULL, NULL);
    work->finish(work);
}

static_assert(offsetof(struct work, job) == 0, "the job is found again as its work");

static void run_job(struct lane_job *job)
{
    struct work *work = (struct work *)job;
    if (atomic_load_explicit(&work->gone, memory_order_relaxed)) {
        work->status = AIC_CLOSED;
    } else {
        mem_refuse(NULL); /* what refused something to another job of this thread is no cause */
        work->run(work);
    }
    work->full = work->status == AIC_NO_MEMORY ? mem_refused_by() : NULL;
    work->post.run = after;
    http_post(work->front->thread, &work->post);
}

void work_again(struct work *work)
{
    CHECK(work->run != NULL && work->finish != NULL);
    work->job.run = run_job;
    if (work->ends_at_hangup) http_on_hangup(work->exchange, on_gone, work);
    else http_on_gone(work->exchange, on_gone, work);
    lanes_add(work->front->routes->lanes, work->lane, &work->job);
}

void work_start(struct work *work)
{
    http_defer(work->exchange, work->deadline_ms);
    work_again(work);
}

void work_refuse(struct work *work)
{
    if (work->full != NULL) http_reply_refused(work->exchange, work->full);
    else http_reply_error(work->exchange, work->status, &work->error);
}

void work_reply(struct work *work)
{
    if (work->status == AIC_OK) reply_json(work->exchange, 200, &work->body);
    else work_refuse(work);
    work_free(work);
}

void work_answer(struct http_exchange *exchange, enum lane lane, void (*run)(struct work *work), uint64_t deadline_ms)
{
    struct work *work = work_create(exchange, lane, sizeof *work);
    if (work == NULL) return;
    work->run = run;
    work->finish = work_reply;
    work->deadline_ms = deadline_ms;
    work->ends_at_hangup = lane == LANE_WALKS;
    work_start(work);
}
