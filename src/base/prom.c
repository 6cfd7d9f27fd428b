#include "base/prom.h"

#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const type_names[] = {
    [PROM_COUNTER] = "counter", [PROM_GAUGE] = "gauge", [PROM_HISTOGRAM] = "histogram"};
static_assert(COUNT_OF(type_names) == PROM_HISTOGRAM + 1, "a histogram is the last type");

void prom_init(struct prom *prom, struct buf *out, bool open_metrics)
{
    *prom = (struct prom){.out = out, .open_metrics = open_metrics};
}

/* HELP escapes the backslash and the line feed, label values the quote as well. */
static void append_escaped(struct buf *out, aic_view text, bool quote)
{
    size_t clean = 0;
    for (size_t at = 0; at < text.size; at++) {
        const char *escape = NULL;
        if (text.data[at] == '\\') escape = "\\\\";
        else if (text.data[at] == '\n') escape = "\\n";
        else if (text.data[at] == '"' && quote) escape = "\\\"";
        if (escape == NULL) continue;
        buf_append(out, text.data + clean, at - clean);
        buf_append_text(out, escape);
        clean = at + 1;
    }
    buf_append(out, text.data + clean, text.size - clean);
}

/* OpenMetrics names a counter's family without the suffix that its samples carry. */
static size_t family_name_size(const struct prom *prom, const struct prom_family *family)
{
    size_t size = strlen(family->name);
    bool cut = prom->open_metrics && family->type == PROM_COUNTER && size > 6;
    return cut && strcmp(family->name + size - 6, "_total") == 0 ? size - 6 : size;
}

void prom_begin(struct prom *prom, const struct prom_family *family)
{
    CHECK(prom->family != family);
    prom->family = family;
    size_t name_size = family_name_size(prom, family);
    buf_append_text(prom->out, "# HELP ");
    buf_append(prom->out, family->name, name_size);
    buf_append_byte(prom->out, ' ');
    append_escaped(prom->out, aic_view_of(family->help), prom->open_metrics);
    buf_append_text(prom->out, "\n# TYPE ");
    buf_append(prom->out, family->name, name_size);
    buf_append_byte(prom->out, ' ');
    buf_append_text(prom->out, type_names[family->type]);
    buf_append_byte(prom->out, '\n');
}

static void append_labels(struct buf *out, const struct prom_label *labels, size_t count, const char *bound)
{
    if (count == 0 && bound == NULL) return;
    char separator = '{';
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(out, separator);
        buf_append_text(out, labels[i].name);
        buf_append_text(out, "=\"");
        append_escaped(out, labels[i].value, true);
        buf_append_byte(out, '"');
        separator = ',';
    }
    if (bound != NULL) buf_printf(out, "%cle=\"%s\"", separator, bound);
    buf_append_byte(out, '}');
}

static void begin_sample(struct prom *prom, const char *suffix, const struct prom_label *labels, size_t count,
                         const char *bound)
{
    CHECK(prom->family != NULL);
    buf_append_text(prom->out, prom->family->name);
    buf_append_text(prom->out, suffix);
    append_labels(prom->out, labels, count, bound);
    buf_append_byte(prom->out, ' ');
}

/* Whole and small enough that the conversion is exact. */
static bool is_whole(double value)
{
    return value > -1e15 && value < 1e15 && (double)(int64_t)value == value;
}

static void append_double(struct buf *out, double value)
{
    if (isnan(value)) buf_append_text(out, "NaN");
    else if (isinf(value)) buf_append_text(out, value > 0 ? "+Inf" : "-Inf");
    else if (is_whole(value)) buf_printf(out, "%.0f", value);
    else buf_printf(out, "%.15g", value);
}

void prom_sample(struct prom *prom, const struct prom_label *labels, size_t label_count, double value)
{
    begin_sample(prom, "", labels, label_count, NULL);
    append_double(prom->out, value);
    buf_append_byte(prom->out, '\n');
}

void prom_sample_u64(struct prom *prom, const struct prom_label *labels, size_t label_count, uint64_t value)
{
    begin_sample(prom, "", labels, label_count, NULL);
    buf_append_u64(prom->out, value);
    buf_append_byte(prom->out, '\n');
}

void prom_histogram(struct prom *prom, const struct prom_label *labels, size_t label_count,
                    const struct hist_total *total, const struct prom_buckets *buckets)
{
    CHECK(prom->family != NULL && prom->family->type == PROM_HISTOGRAM && buckets->step_bits > 0);
    for (unsigned bits = buckets->first_bits; bits <= buckets->last_bits; bits += buckets->step_bits) {
        char bound[40];
        double le = buckets->unit * (double)(UINT64_C(1) << bits);
        /* OpenMetrics wants floats spelled as floats. */
        snprintf(bound, sizeof bound, is_whole(le) ? "%.1f" : "%.10g", le);
        begin_sample(prom, "_bucket", labels, label_count, bound);
        buf_append_u64(prom->out, hist_count_until(total, bits));
        buf_append_byte(prom->out, '\n');
    }
    begin_sample(prom, "_bucket", labels, label_count, "+Inf");
    buf_append_u64(prom->out, total->count);
    buf_append_byte(prom->out, '\n');
    begin_sample(prom, "_sum", labels, label_count, NULL);
    append_double(prom->out, (double)total->sum * buckets->unit);
    buf_append_byte(prom->out, '\n');
    begin_sample(prom, "_count", labels, label_count, NULL);
    buf_append_u64(prom->out, total->count);
    buf_append_byte(prom->out, '\n');
}

void prom_end(struct prom *prom)
{
    prom->family = NULL;
    if (prom->open_metrics) buf_append_text(prom->out, "# EOF\n");
}

const char *prom_content_type(bool open_metrics)
{
    return open_metrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                        : "text/plain; version=0.0.4; charset=utf-8";
}
