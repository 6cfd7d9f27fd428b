/*
 * render.h - how keys, times and the metadata of entries are spelled in JSON.
 */
#ifndef SERVE_RENDER_H
#define SERVE_RENDER_H

#include "base/json.h"

#define RENDER_TIME_BYTES 25
/* "2026-11-22T15:49:12.123Z" */
void render_time(uint64_t wall_ms, char out[RENDER_TIME_BYTES]);
/* A time or null for 0. */
void render_time_or_null(struct json_writer *writer, uint64_t wall_ms);
/* The metadata object of an entry as of `now_ms`; and all of its members but the time that is left, without brackets.
 */
void render_metadata(struct json_writer *writer, const aic_metadata *metadata, uint64_t now_ms);
void render_metadata_rest(struct json_writer *writer, const aic_metadata *metadata);
/* Seconds that are left, as a number, or null when it never expires. */
void render_ttl(struct json_writer *writer, uint64_t expires_ms, uint64_t now_ms);
void render_tiers(struct json_writer *writer, unsigned tiers);
void render_key(struct json_writer *writer, const aic_key *key);

#endif
