/*
 * hex.h - bytes as lower-case hex digits and back, eight digits at a time without a branch or a table: a hit by key
 * reads and writes 64 of them. The public aic_key_format() and aic_key_parse() stand here, too. Pure functions; any
 * thread.
 */
#ifndef BASE_HEX_H
#define BASE_HEX_H

#include "base/view.h"

/* Writes 2 * size digits, no NUL. */
void hex_write(const void *bytes, size_t size, char *out);
/* Reads 2 * size digits into `out`. False, with anything in `out`, when one of them is none of 0-9a-f. */
AIC_MUST_CHECK bool hex_read(const char *digits, size_t size, void *out);

#endif
