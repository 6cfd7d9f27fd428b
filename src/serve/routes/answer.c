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
    answer->decoded = false;
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

void answer_give(void *context)
{
    struct answer *answer = context;
    cache_hit_release(&answer->hit);
    tails_release(&answer->front->tails, &answer->tail);
    CHECK(object_pool_give(&answer->front->answers, &context));
}

void answers_fini(struct front *front)
{
    object_pools_remove(&front->routes->overview.pools, &front->answers);
    object_pool_fini(&front->answers);
}
