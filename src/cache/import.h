/*
 * import.h - an import under way, shared by the one that cuts lines (import.c) and the one that reads them
 * (import_line.c). Internal to the import. One thread at a time.
 */
#ifndef CACHE_IMPORT_H
#define CACHE_IMPORT_H

#include "cache/inner.h"

struct rejection {
    uint64_t line;
    aic_error error;
};

struct aic_import {
    struct aic_cache *cache;
    stop_flag *stop;             /* NULL: nobody stops it */
    bool only_ns, refuse_keys;   /* only_ns: a line that names another namespace is rejected */
    char ns[AIC_MAX_NAME_BYTES]; /* of lines that name none */
    size_t ns_size;
    size_t max_line_bytes, max_rejections;
    struct buf partial; /* the unfinished line */
    bool skipping;      /* the rest of a line that is too long */
    uint64_t line;
    aic_import_counts counts;
    struct rejection *rejections; /* owned; grows by doubling */
    size_t rejection_count, rejection_capacity;
    struct json json;
    struct buf names; /* unescaped namespace, operation, model, tags */
};

/* Stores what one line says. AIC_STALE: it is fine, but its time is over. Anything below 0: it is refused, with the
 * reason in `error` (AIC_NO_MEMORY may come without). */
AIC_MUST_CHECK aic_status import_line(struct aic_import *importer, aic_view line, aic_error *error);

#endif
