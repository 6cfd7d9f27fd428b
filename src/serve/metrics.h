/*
 * metrics.h - the page of GET /metrics, from one table (metrics.def).
 */
#ifndef SERVE_METRICS_H
#define SERVE_METRICS_H

#include "base/prom.h"
#include "serve/tally.h"

#include <aicache/aicache.h>

struct routes;

enum metric {
#define METRIC(name, text, type, labels, help) METRIC_##name,
#include "serve/metrics.def"
#undef METRIC
    METRIC_COUNT
};

/*
 * Appends the whole page. `ns` (absent: all) leaves only that namespace's lookups in it: what another namespace is
 * called and does is nobody's business. Any thread; takes the routes' mutex for as long as adding the threads' figures
 * takes. AIC_NO_MEMORY.
 */
AIC_MUST_CHECK aic_status metrics_write(struct routes *routes, aic_view ns, bool open_metrics, struct buf *out);

/* CPU time, memory and descriptors of this process; what cannot be read is 0. */
struct process_figures {
    double cpu_seconds, start_seconds;
    uint64_t rss_bytes, virtual_bytes, open_fds, max_fds;
};
void process_read(struct process_figures *out);

#endif
