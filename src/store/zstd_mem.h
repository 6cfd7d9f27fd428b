/*
 * zstd_mem.h - zstd's contexts and digested dictionaries on accounted memory. zstd releases without a size, so each
 * block carries its own in front.
 */
#ifndef STORE_ZSTD_MEM_H
#define STORE_ZSTD_MEM_H

#include "base/mem.h"

#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

/* For the `_advanced` constructors of zstd. Counts under MEM_CODEC. */
ZSTD_customMem zstd_mem(struct mem *mem);

#endif
