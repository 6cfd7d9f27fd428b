/*
 * assets.h - the files of the web page, embedded at build time by tools/embed.py; static and read-only.
 */
#ifndef SERVE_ASSETS_H
#define SERVE_ASSETS_H

#include <aicache/aicache.h>

struct asset {
    const char *url;  /* "/" or "/ui/app.js" */
    const char *type; /* Content-Type */
    const char *tag;  /* ETag, with its quotes */
    aic_view plain;
    aic_view packed; /* gzip */
};

extern const struct asset assets[];
extern const size_t asset_count;

#endif
