#include "serve/routes/answer.h"

#include "base/check.h"

/* What a spare answer may keep of its buffers. */
#define SPARE_BYTES 8192
#define SPARE_ANSWERS 64 /* kept for reuse by each thread */

static void recycle(struct buf *buf)
{
    if (buf->capacity > SPARE_BYTES) buf_fini(buf);
    else buf_clear(buf);
}

static void clear(void *object)
{
    struct answer *answer = object;
    recycle(&answer->text);
    recycle(&answer->plain);
}

static void fini(void *object)
{
    struct answer *answer = object;
    buf_fini(&answer->text);
    buf_fini(&answer->plain);
}

static const struct object_pool_hooks hooks = {.clear = clear, .fini = fini};

void answers_init(struct front *front)
{
    struct routes *routes = front->routes;
    object_pool_init(&front->answers, "answers", routes->overview.options.mem, MEM_POOLS, sizeof(struct answer),
                     SPARE_ANSWERS);
    object_pool_set_hooks(&front->answers, &hooks);
    object_pools_add(&routes->overview.pools, &front->answers);
}

struct answer *answer_take(struct front *front)
{
    struct answer *answer = object_pool_take(&front->answers);
    if (answer == NULL || answer->front != NULL) return answer;
    struct mem *mem = front->routes->overview.options.mem;
    answer->front = front;
    buf_init(&answer->text, mem, MEM_CACHE);
    buf_init(&answer->plain, mem, MEM_CACHE);
    return answer;
}

/* What is large is not kept (see recycle()): so nothing is counted of a spare answer. */
void answer_expect(struct answer *answer, struct http_exchange *exchange, uint64_t bytes)
{
    bool large = bytes > SPARE_BYTES;
    if (large && answer->plain.capacity > 0) buf_fini(&answer->plain);
    if (answer->plain.capacity == 0)
        buf_init(&answer->plain, large ? http_answer_mem(exchange) : http_mem(exchange), MEM_CACHE);
}

void answer_give(void *context)
{
    struct answer *answer = context;
    struct front *front = answer->front;
    if (answer->held > 0) http_answer_let_go(front->thread, answer->held);
    answer->held = 0;
    unpacked_release(&front->routes->unpacked, &answer->wait.unpacked);
    cache_hit_release(&answer->hit);
    tails_release(&answer->front->tails, &answer->tail);
    CHECK(object_pool_give(&answer->front->answers, &context));
}

void answers_fini(struct front *front)
{
    object_pools_remove(&front->routes->overview.pools, &front->answers);
    object_pool_fini(&front->answers);
}
