/*
 * view.h - comparing what an aic_view shows.
 */
#ifndef BASE_VIEW_H
#define BASE_VIEW_H

#include <aicache/aicache.h>
#include <string.h>

/* Byte by byte; two empty views are equal whatever they point to. */
static inline bool view_equal(aic_view a, aic_view b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

#endif
