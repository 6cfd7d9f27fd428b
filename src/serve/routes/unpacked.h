/*
 * unpacked.h - large responses while they are sent: one unpacked copy for all who read the same one at the time.
 *
 * The idea: a response that is stored in a few hundred bytes may have megabytes, and a hundred slow readers of it need
 * one copy and not a hundred. A list holds those that are being made or sent; each is made by the first worker that
 * asks for it, while others who ask for the same wait for that one. An entry is known by its key and the checksum of
 * its record, as in tails.h. It counts against limits.answers_bytes once, and goes with its last reader.
 *
 * Any thread. The list's lock is a leaf and held for a walk over it; each copy's own is held while it is made.
 */
#ifndef SERVE_UNPACKED_H
#define SERVE_UNPACKED_H

#include "cache/cache.h"

#include <pthread.h>

struct unpacked;

struct unpacked_list {
    pthread_mutex_t lock; /* guards the list and its pins */
    struct unpacked *first;
};

void unpacked_init(struct unpacked_list *list);
void unpacked_fini(struct unpacked_list *list); /* every pin must have been released */

/*
 * Pins the response of a compressed hit in *out, unpacked into `mem` if nobody has it yet. `checksum` is of the hit's
 * record. May take milliseconds. AIC_DAMAGED (see cache_hit_pieces()), AIC_NO_MEMORY; then *out stays as it was.
 */
AIC_MUST_CHECK aic_status unpacked_pin(struct unpacked_list *list, struct mem *mem, struct cache_hit *hit,
                                       uint64_t checksum, struct unpacked **out);
/* Lives as long as the pin. */
aic_view unpacked_view(const struct unpacked *unpacked);
/* Accepts a pointer to NULL; nulls. */
void unpacked_release(struct unpacked_list *list, struct unpacked **unpacked);

#endif
