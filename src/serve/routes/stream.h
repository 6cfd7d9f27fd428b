/*
 * stream.h - what the routes' tick and end do for GET /monitoring/stream.
 */
#ifndef SERVE_STREAM_H
#define SERVE_STREAM_H

#include "serve/routes/front.h"

/* A snapshot to everybody who looks, once a second; the end of the streams. By the thread that ticks and stops the
 * server. */
void stream_tick(struct routes *routes);
void stream_end(struct routes *routes);

#endif
