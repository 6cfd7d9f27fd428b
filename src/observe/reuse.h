/*
 * reuse.h - the miss-ratio curve: which hit rate half, twice or four times the memory would give.
 *
 * A key is followed when its hash falls below a threshold (spatial sampling: all references of a followed key are seen,
 * none of the others). For each of its references the bytes of the different keys referenced since its last one are
 * counted and scaled by the sampling rate: the reuse distance. An LRU cache of C bytes hits exactly the references with
 * a distance of at most C, so the histogram of distances is the curve. At most 8192 keys are followed; with more the
 * threshold is halved. (C. Waldspurger et al., "Efficient MRC Construction with SHARDS", FAST 2015, with its correction
 * for hot keys; distances in bytes by a Fenwick tree over the order of references, renumbered when it is full.) Figures
 * fade by half every 131 072 sampled references, so that the curve follows the load.
 *
 * The curve is that of LRU. The default policy does better than LRU at every size, so what is read off it is a lower
 * bound; ratios between sizes are what advice is made of.
 *
 * Any thread records. A reference that is not sampled costs one relaxed load and one relaxed add; a sampled one takes a
 * mutex, and is skipped and counted when that is taken, so that no request waits here. 660 KB.
 */
#ifndef OBSERVE_REUSE_H
#define OBSERVE_REUSE_H

#include "base/json.h"

#include <stdatomic.h>

struct reuse;

AIC_MUST_CHECK aic_status reuse_create(struct mem *mem, struct reuse **out);
void reuse_destroy(struct reuse **reuse);

/* One lookup of a key; `hash` is any 64 uniformly distributed bits of it. bytes: what the entry takes in the memory
 * tier, 0 when unknown (a miss). */
void reuse_reference(struct reuse *reuse, uint64_t hash, uint64_t bytes);
/* The entry was stored and takes so many bytes. */
void reuse_store(struct reuse *reuse, uint64_t hash, uint64_t bytes);
void reuse_clear(struct reuse *reuse);

/* The hit ratio (0..1) of an LRU cache of `capacity` bytes; 0 without references. */
double reuse_hit_ratio(struct reuse *reuse, uint64_t capacity);
/* Enough was seen for the curve to mean something: 64 keys followed, 1000 references. */
bool reuse_is_known(struct reuse *reuse);
/* {"known":…,"policy":"lru","sampling_rate":…,"sampled_keys":…,"references":…,"points":[{"bytes":…,"factor":…,"hit_rate":…},…]}
 * around `capacity`. */
void reuse_write(struct reuse *reuse, uint64_t capacity, struct json_writer *out);

#endif
