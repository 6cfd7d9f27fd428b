/*
 * tag.h - the entity tag of a response.
 */
#ifndef SERVE_TAG_H
#define SERVE_TAG_H

#include "cache/record.h"

#define TAG_BYTES 18

/* 16 hex digits in quotes; a view of `out`. It comes from the put of the response and what it says, not from how it is
 * kept: two puts have two tags, even of the same response in one millisecond; and one put has one, compressed or not,
 * in either tier. */
aic_view tag_write(const struct record *record, char out[TAG_BYTES]);

#endif
