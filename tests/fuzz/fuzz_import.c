/*
 * fuzz_import - lines from a stranger into a cache: whatever comes, each line is accepted, expired or rejected with a
 * reason, and what was accepted comes out of an export as lines that are accepted again under the same keys. The first
 * byte chooses the size of the pieces and who may name keys.
 */
#include "base/check.h"
#include "cache/cache.h"

#include <string.h>

static uint64_t still_wall(void *context)
{
    (void)context;
    return 1700000000000;
}

static uint64_t still_mono(void *context)
{
    (void)context;
    return 1000000000;
}

static aic_import_counts take_in(aic_cache *cache, aic_view text, size_t piece, const aic_import_options *options)
{
    aic_import *importer;
    CHECK(aic_import_create(cache, options, &importer, NULL) == AIC_OK);
    for (size_t at = 0; at < text.size; at += piece) {
        size_t size = text.size - at < piece ? text.size - at : piece;
        CHECK(aic_import_add(importer, (aic_view){text.data + at, size}) == AIC_OK);
    }
    CHECK(aic_import_finish(importer) == AIC_OK);
    aic_import_counts counts;
    aic_import_count(importer, &counts);
    CHECK(counts.lines == counts.accepted + counts.expired + counts.rejected);
    uint64_t line, last = 0;
    aic_error error;
    for (size_t i = 0; aic_import_rejection(importer, i, &line, &error) == AIC_OK; i++) {
        CHECK(line > last && error.status < 0 && error.message[0] != '\0');
        last = line;
    }
    aic_import_destroy(&importer);
    return counts;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static aic_cache *cache; /* opening one per input would be most of the work */
    static const aic_clock clock = {still_wall, still_mono, NULL};
    if (cache == NULL) {
        aic_options options = {.clock = &clock, .memory_max_bytes = 64 << 20, .dictionary_off = true};
        CHECK(aic_cache_open(&options, &cache, NULL) == AIC_OK);
    }
    if (size == 0) return 0;
    size_t piece = 1 + (data[0] & 0x3F);
    aic_import_options limits = {.refuse_keys = (data[0] & 0x40) != 0, .max_line_bytes = 4096};
    if ((data[0] & 0x80) != 0) limits.only_ns = AIC_LITERAL("mine");
    aic_import_counts counts = take_in(cache, (aic_view){(const char *)data + 1, size - 1}, piece, &limits);

    aic_filter all = {.all_namespaces = true, .all = true};
    aic_export *exporter;
    CHECK(aic_export_create(cache, &all, &exporter, NULL) == AIC_OK);
    struct mem mem;
    struct buf text;
    mem_init(&mem, NULL);
    buf_init(&text, &mem, MEM_OTHER);
    aic_view lines;
    while (aic_export_next(exporter, 0, &lines) == AIC_OK) buf_append_view(&text, lines);
    uint64_t exported = aic_export_lines(exporter);
    aic_export_destroy(&exporter);
    CHECK(exported <= counts.accepted);
    aic_import_counts again = take_in(cache, buf_view(&text), 1 << 16, NULL);
    CHECK(again.lines == exported && again.accepted == exported);
    aic_invalidated sums;
    CHECK(aic_cache_invalidate(cache, &all, false, &sums, NULL) == AIC_OK);
    CHECK(sums.removed == exported);
    buf_fini(&text);
    mem_fini(&mem);
    return 0;
}
