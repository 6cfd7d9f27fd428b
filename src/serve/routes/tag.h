/*
 * tag.h - the entity tag of a response.
 */
#ifndef SERVE_TAG_H
#define SERVE_TAG_H

#include "cache/record.h"

#define TAG_BYTES 18

/* 16 hex digits in quotes; a view of `out`. It comes from when the response was stored and what it says, not from how
 * it is kept: the same response, compressed or not, in either tier, has the same tag. */
aic_view tag_write(const struct record *record, char out[TAG_BYTES]);

#endif
