/*
 * load.h - many requests over kept-alive connections: the engine of `aicache bench`.
 *
 * libcurl would cost more CPU than the daemon that is measured. So this is a small HTTP/1.1 client of its own: each
 * thread has an epoll and some connections, each connection one request under way; requests are bytes made beforehand,
 * answers are read as far as status and length tell.
 */
#ifndef CLI_LOAD_H
#define CLI_LOAD_H

#include "base/hist.h"
#include "base/mem.h"

#include <sys/socket.h>

struct load_options {
    struct mem *mem;
    struct sockaddr_storage address;
    socklen_t address_size;
    const aic_view *requests; /* sent in turn, each thread from a place of its own */
    size_t request_count;
    unsigned threads, connections; /* connections in all */
    uint64_t duration_ns;
};

struct load_result {
    uint64_t requests, failed /* status 400 and more */, broken /* connections that ended early */;
    uint64_t bytes_in, bytes_out;
    double seconds;
    struct hist_total latency_ns;
};

/* AIC_OK, AIC_UNAVAILABLE (cannot connect), AIC_NO_MEMORY, AIC_INVALID (an answer that is no HTTP with a length). */
AIC_MUST_CHECK aic_status load_run(const struct load_options *options, struct load_result *out);

#endif
