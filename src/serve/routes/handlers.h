/*
 * handlers.h - every handler of routes.def. Each is where its name says: put.c, lookup.c, list.c, remove.c, transfer.c,
 * explain.c, verify.c, status.c, monitoring.c, stream.c, health.c, page.c.
 */
#ifndef SERVE_HANDLERS_H
#define SERVE_HANDLERS_H

#include "serve/http/http.h"

#define ROUTE(verb, path, handler, body, access, query, help) void handler(struct http_exchange *exchange);
#include "serve/routes/routes.def"
#undef ROUTE

#endif
