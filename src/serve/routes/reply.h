/*
 * reply.h - replies that several routes give.
 */
#ifndef SERVE_REPLY_H
#define SERVE_REPLY_H

#include "serve/http/http.h"

/* A finished JSON text, not to be kept by caches between; *body is empty afterwards. */
void reply_json(struct http_exchange *exchange, int status, struct buf *body);
/* 412: what is there is not what the client means (negotiate_condition()). */
void reply_condition_failed(struct http_exchange *exchange);
/* 404: the key of the path is no entry's. */
void reply_no_entry(struct http_exchange *exchange);

#endif
