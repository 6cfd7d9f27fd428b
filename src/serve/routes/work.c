#include "serve/routes/work.h"

#include "base/check.h"
#include "serve/routes/reply.h"

void *work_create(struct http_exchange *exchange, size_t size)
{
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
    work->uv.data = work;
    work->text = http_body(exchange);
    json_init(&work->json, http_body_mem(exchange), MEM_CACHE);
    buf_init(&work->scratch, http_body_mem(exchange), MEM_CACHE);
    buf_init(&work->body, mem, MEM_CONNECTIONS);
    return work;
}

void work_free(struct work *work)
{
    json_fini(&work->json);
    buf_fini(&work->scratch);
    buf_fini(&work->body);
    mem_free(work->mem, MEM_CONNECTIONS, work, work->size);
}

static void run_job(uv_work_t *uv)
{
    struct work *work = uv->data;
    work->run(work);
}

/* On the front thread again. */
static void after(uv_work_t *uv, int status)
{
    struct work *work = uv->data;
    (void)status; /* Jobs are never cancelled. */
    work->finish(work);
}

void work_again(struct work *work)
{
    CHECK(uv_queue_work(http_thread_loop(work->front->thread), &work->uv, run_job, after) == 0);
}

void work_start(struct work *work)
{
    http_defer(work->exchange, work->deadline_ms);
    work_again(work);
}

void work_reply(struct work *work)
{
    if (work->status == AIC_OK) reply_json(work->exchange, 200, &work->body);
    else http_reply_error(work->exchange, work->status, &work->error);
    work_free(work);
}

void work_answer(struct http_exchange *exchange, void (*run)(struct work *work), uint64_t deadline_ms)
{
    struct work *work = work_create(exchange, sizeof *work);
    if (work == NULL) return;
    work->run = run;
    work->finish = work_reply;
    work->deadline_ms = deadline_ms;
    work_start(work);
}
