#include "serve/handlers.h"

/* What a spare answer may keep of its buffers. */
#define SPARE_BYTES 8192

struct answer *answer_take(struct front *front)
{
    struct answer *answer = front->spare;
    if (answer != NULL) {
        front->spare = answer->next;
        front->spare_count--;
        return answer;
    }
    struct mem *mem = front->routes->options.mem;
    answer = mem_zalloc(mem, MEM_CACHE, sizeof *answer);
    if (answer == NULL) return NULL;
    answer->front = front;
    buf_init(&answer->text, mem, MEM_CACHE);
    buf_init(&answer->plain, mem, MEM_CACHE);
    return answer;
}

static void destroy(struct answer *answer)
{
    buf_fini(&answer->text);
    buf_fini(&answer->plain);
    mem_free(answer->front->routes->options.mem, MEM_CACHE, answer, sizeof *answer);
}

static void recycle(struct buf *buf)
{
    if (buf->capacity > SPARE_BYTES) buf_fini(buf);
    else buf_clear(buf);
}

void answer_give(void *context)
{
    struct answer *answer = context;
    struct front *front = answer->front;
    cache_hit_release(&answer->hit);
    if (front->spare_count >= FRONT_SPARE_ANSWERS) {
        destroy(answer);
        return;
    }
    recycle(&answer->text);
    recycle(&answer->plain);
    answer->next = front->spare;
    front->spare = answer;
    front->spare_count++;
}

void answers_fini(struct front *front)
{
    while (front->spare != NULL) {
        struct answer *answer = front->spare;
        front->spare = answer->next;
        destroy(answer);
    }
    front->spare_count = 0;
}

void reply_status(struct http_exchange *exchange, aic_status status, const aic_error *error)
{
    bool told = error != NULL && error->message[0] != '\0';
    http_reply_error(exchange, status, told ? error : NULL);
}

void reply_json(struct http_exchange *exchange, int status, struct buf *body)
{
    http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-store"));
    http_reply_buf(exchange, status, HTTP_JSON, body);
}
