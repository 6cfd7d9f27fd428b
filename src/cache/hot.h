/*
 * hot.h - keeps plain in memory what is hit often, so that a hot hit costs no decompression. Storage keeps the
 * compressed form.
 *
 * A sketch of recently decoded keys (sets of four, a fingerprint and a count per slot) says what is hot: the second
 * decode of a key that was not pushed out in between. The plain form then takes the compressed one's place, guarded
 * like every other move. All plain forms together stay within a share of the memory budget (an eighth, of a budget that
 * was changed too; what is plain when it is cut is compressed again by the ticks that follow): a ledger, a ring in
 * order of arrival, knows how many bytes were moved in; when it is full nothing more becomes plain until the tick has
 * made room: what has left memory by itself is crossed off, then the oldest that were not hit since are compressed
 * again. No hit pays for that.
 *
 * Why an eighth, and what it is worth: docs/decisions/009-hot-plain.md. hot.lock protects the ledger and is a leaf; the
 * sketch is relaxed atomics (a lost count delays a move by one hit).
 */
#ifndef CACHE_HOT_H
#define CACHE_HOT_H

#include "base/figures.h"

#include "base/mem.h"

struct aic_cache;
struct cache_hit;
struct hot;

#define HOT_SHARE 8 /* an eighth of the memory budget */

AIC_MUST_CHECK aic_status hot_create(struct mem *mem, uint64_t memory_max_bytes, struct hot **out);
void hot_destroy(struct hot **hot);

/* A hit whose response was decoded just now: moves its plain form in when the key is hot and the share has room. Never
 * blocks on storage. */
void hot_decoded(struct cache_hit *hit, aic_view plain);
/* A hit that was kept plain, for the second chance of the ledger's turn. */
void hot_touch(struct hot *hot, const aic_key *key);
/* Crosses off what left and, when room was missing, compresses the oldest again; a bounded amount of work. */
void hot_tick(struct aic_cache *cache);

/* Sets hot_entries and hot_bytes. Any thread. */
void hot_figures(struct hot *hot, struct figures *out);

#endif
