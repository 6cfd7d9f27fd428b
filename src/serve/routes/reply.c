#include "serve/routes/reply.h"

void reply_json(struct http_exchange *exchange, int status, struct buf *body)
{
    buf_append_byte(body, '\n'); /* for whoever reads it on a terminal */
    http_reply_header(exchange, "Cache-Control", AIC_LITERAL("no-store"));
    http_reply_buf(exchange, status, HTTP_JSON, body);
}

void reply_condition_failed(struct http_exchange *exchange)
{
    http_reply_problem(exchange, 412, "condition_failed", NULL,
                       "what is there now has another ETag than If-Match or If-None-Match asks for");
}

void reply_no_entry(struct http_exchange *exchange)
{
    http_reply_problem(exchange, 404, "not_found", "key", "no entry has this key");
}
