/*
 * prom.h - Prometheus text, written right: one HELP and TYPE per family, all samples of a family together, labels
 * escaped.
 *
 * The caller brings a table of families and writes each at most once; a sample outside a family is a broken invariant.
 * The same calls write the classic text format (version 0.0.4) and OpenMetrics 1.0, which differ in the names of
 * counters' families and in the closing line. Appends to a buf, whose failure sticks. One thread at a time.
 */
#ifndef BASE_PROM_H
#define BASE_PROM_H

#include "base/buf.h"
#include "base/hist.h"

enum prom_type { PROM_COUNTER, PROM_GAUGE, PROM_HISTOGRAM };

/* One family. A counter's name ends in _total. */
struct prom_family {
    const char *name;
    enum prom_type type;
    const char *help; /* one sentence, any text */
};

struct prom_label {
    const char *name; /* [a-z_]+ */
    aic_view value;   /* any UTF-8; escaped when written */
};

struct prom {
    struct buf *out;
    bool open_metrics;
    const struct prom_family *family; /* the one under way; borrowed */
};

void prom_init(struct prom *prom, struct buf *out, bool open_metrics);
/* Begins a family: what follows belongs to it. */
void prom_begin(struct prom *prom, const struct prom_family *family);
/* One sample of a counter or gauge. Label sets within a family must differ: the caller's duty, tested on the whole
 * page. */
void prom_sample(struct prom *prom, const struct prom_label *labels, size_t label_count, double value);
void prom_sample_u64(struct prom *prom, const struct prom_label *labels, size_t label_count, uint64_t value);
/*
 * A histogram's samples. `unit` is the size of one recorded number in the family's unit (1e-9 for nanoseconds in a
 * family of seconds); bounds are unit x 2^first_bits, 2^(first_bits + step_bits) ... 2^last_bits, then +Inf.
 */
struct prom_buckets {
    double unit;
    unsigned first_bits, step_bits, last_bits;
};
void prom_histogram(struct prom *prom, const struct prom_label *labels, size_t label_count,
                    const struct hist_total *total, const struct prom_buckets *buckets);
/* Ends the page. */
void prom_end(struct prom *prom);

/* The media type of the page. Static. */
const char *prom_content_type(bool open_metrics);

#endif
