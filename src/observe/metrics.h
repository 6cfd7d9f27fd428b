/*
 * metrics.h - the page of GET /metrics, from one table (base/figures.def).
 */
#ifndef OBSERVE_METRICS_H
#define OBSERVE_METRICS_H

#include "base/buf.h"

struct overview;

/*
 * Appends the whole page. `ns` (absent: all) leaves only that namespace's lookups in it: what another namespace is
 * called and does is nobody's business. Any thread; takes the overview's mutex for as long as adding the threads'
 * figures takes. AIC_NO_MEMORY.
 */
AIC_MUST_CHECK aic_status metrics_write(struct overview *overview, aic_view ns, bool open_metrics, struct buf *out);

#endif
