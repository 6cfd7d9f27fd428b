/*
 * import.c - lines of JSON on their way in: cut from pieces of any size, of which only an unfinished line is kept, and
 * counted; what was wrong is kept by the line's number.
 */
#include "cache/import.h"

#include "base/view.h"

#include <string.h>

#define DEFAULT_LINE_BYTES ((size_t)64 << 20)
#define DEFAULT_REJECTIONS 1000

aic_status import_create(struct aic_cache *cache, struct mem *lines, const aic_import_options *options, stop_flag *stop,
                         aic_import **out, aic_error *error)
{
    static const aic_import_options defaults;
    if (error != NULL) *error = (aic_error){0};
    if (options == NULL) options = &defaults;
    bool only = options->only_ns.size > 0;
    aic_view ns = only ? options->only_ns : options->default_ns.size > 0 ? options->default_ns : AIC_LITERAL("default");
    TRY(cache_check_name("namespace", ns, error));
    struct aic_import *importer = mem_zalloc(&cache->mem, MEM_CACHE, sizeof *importer);
    if (importer == NULL) return error_set(error, AIC_NO_MEMORY, NULL, "%s", aic_status_text(AIC_NO_MEMORY));
    importer->cache = cache;
    importer->stop = stop;
    importer->only_ns = only;
    importer->ns_size = ns.size;
    memcpy(importer->ns, ns.data, ns.size);
    importer->refuse_keys = options->refuse_keys;
    importer->max_line_bytes = options->max_line_bytes > 0 ? options->max_line_bytes : DEFAULT_LINE_BYTES;
    importer->max_rejections = options->max_rejections > 0 ? options->max_rejections : DEFAULT_REJECTIONS;
    buf_init(&importer->partial, lines, MEM_CACHE);
    buf_init(&importer->names, lines, MEM_CACHE);
    json_init(&importer->json, lines, MEM_CACHE);
    *out = importer;
    return AIC_OK;
}

aic_status aic_import_create(aic_cache *cache, const aic_import_options *options, aic_import **out, aic_error *error)
{
    return import_create(cache, &cache->mem, options, NULL, out, error);
}

void aic_import_destroy(aic_import **importer)
{
    if (importer == NULL || *importer == NULL) return;
    struct aic_import *old = *importer;
    struct mem *mem = &old->cache->mem;
    json_fini(&old->json);
    buf_fini(&old->names);
    buf_fini(&old->partial);
    mem_free(mem, MEM_CACHE, old->rejections, old->rejection_capacity * sizeof *old->rejections);
    mem_free(mem, MEM_CACHE, old, sizeof *old);
    *importer = NULL;
}

void aic_import_count(const aic_import *importer, aic_import_counts *out)
{
    *out = importer->counts;
}

aic_status aic_import_rejection(const aic_import *importer, size_t index, uint64_t *line, aic_error *error)
{
    if (index >= importer->rejection_count) return AIC_MISS;
    if (line != NULL) *line = importer->rejections[index].line;
    if (error != NULL) *error = importer->rejections[index].error;
    return AIC_OK;
}

/* Counts it, and keeps it when there is room; without memory it is counted only. */
static void reject(struct aic_import *importer, const aic_error *error)
{
    importer->counts.rejected++;
    if (importer->rejection_count >= importer->max_rejections) return;
    if (importer->rejection_count == importer->rejection_capacity) {
        size_t capacity = importer->rejection_capacity > 0 ? 2 * importer->rejection_capacity : 8;
        struct rejection *grown = mem_realloc(&importer->cache->mem, MEM_CACHE, importer->rejections,
                                              importer->rejection_capacity * sizeof *grown, capacity * sizeof *grown);
        if (grown == NULL) return;
        importer->rejections = grown;
        importer->rejection_capacity = capacity;
    }
    importer->rejections[importer->rejection_count++] = (struct rejection){importer->line, *error};
}

static bool is_blank(aic_view line)
{
    for (size_t i = 0; i < line.size; i++) {
        if (strchr(" \t\r", line.data[i]) == NULL || line.data[i] == '\0') return false;
    }
    return true;
}

static aic_status take_line(struct aic_import *importer, aic_view line)
{
    importer->line++;
    if (importer->line == 1) line = view_skip_bom(line);
    if (is_blank(line)) return AIC_OK;
    importer->counts.lines++;
    aic_error error = {0};
    aic_status status = import_line(importer, line, &error);
    if (status == AIC_STALE) {
        importer->counts.expired++;
    } else if (status == AIC_OK) {
        importer->counts.accepted++;
    } else {
        if (error.status == AIC_OK) (void)error_set(&error, status, NULL, "%s", aic_status_text(status));
        reject(importer, &error);
    }
    return status == AIC_NO_MEMORY ? status : AIC_OK;
}

static void reject_long(struct aic_import *importer)
{
    importer->line++;
    importer->counts.lines++;
    aic_error error;
    (void)error_set(&error, AIC_TOO_LARGE, NULL, "the line is longer than %zu bytes", importer->max_line_bytes);
    reject(importer, &error);
}

/* One line's end was found: `tail` is what came of it in this piece. */
static aic_status end_line(struct aic_import *importer, aic_view tail)
{
    if (importer->skipping) {
        importer->skipping = false;
        return AIC_OK;
    }
    if (importer->partial.size + tail.size > importer->max_line_bytes) {
        buf_clear(&importer->partial);
        reject_long(importer);
        return AIC_OK;
    }
    if (importer->partial.size == 0) return take_line(importer, tail);
    buf_append_view(&importer->partial, tail);
    aic_status status = buf_status(&importer->partial);
    if (status == AIC_OK) status = take_line(importer, buf_view(&importer->partial));
    buf_clear(&importer->partial);
    return status;
}

static aic_status keep_partial(struct aic_import *importer, aic_view rest)
{
    if (importer->skipping || rest.size == 0) return AIC_OK;
    if (importer->partial.size + rest.size > importer->max_line_bytes) {
        buf_clear(&importer->partial);
        importer->skipping = true;
        reject_long(importer);
        return AIC_OK;
    }
    buf_append_view(&importer->partial, rest);
    aic_status status = buf_status(&importer->partial);
    if (status != AIC_OK) { /* the line is lost, the next one is not */
        buf_clear(&importer->partial);
        importer->skipping = true;
        importer->line++;
        importer->counts.lines++;
        aic_error error;
        (void)error_set(&error, status, NULL, "%s", aic_status_text(status));
        reject(importer, &error);
    }
    return status;
}

aic_status aic_import_add(aic_import *importer, aic_view bytes)
{
    TRY(cache_check_bytes("bytes", bytes, NULL));
    aic_status worst = AIC_OK;
    while (bytes.size > 0) {
        if (stop_is_set(importer->stop)) return AIC_CLOSED;
        const char *end = memchr(bytes.data, '\n', bytes.size);
        aic_status status;
        if (end == NULL) {
            status = keep_partial(importer, bytes);
            return worst != AIC_OK ? worst : status;
        }
        size_t size = (size_t)(end - bytes.data);
        status = end_line(importer, (aic_view){bytes.data, size});
        if (status != AIC_OK) worst = status;
        bytes = (aic_view){end + 1, bytes.size - size - 1};
    }
    return worst;
}

aic_status aic_import_finish(aic_import *importer)
{
    bool open = importer->partial.size > 0;
    importer->skipping = importer->skipping && open;
    return open ? end_line(importer, (aic_view){"", 0}) : AIC_OK;
}
