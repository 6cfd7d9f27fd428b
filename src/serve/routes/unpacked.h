/*
 * unpacked.h - large responses while they are sent: one unpacked copy for all who read the same one at the time.
 *
 * The idea: a response that is stored in a few hundred bytes may have megabytes, and a hundred slow readers of it need
 * one copy and not a hundred. A list holds those that are being made or sent. The first who asks for one has it made by
 * a thread of the quick lane; whoever asks for the same meanwhile is told with it, and keeps no thread waiting. An
 * entry is known by its key and the checksum of its record, as in tails.h. It counts against limits.answers_bytes once,
 * and goes with its last reader.
 *
 * Any thread. The list's lock is a leaf and held for a walk over it.
 */
#ifndef SERVE_UNPACKED_H
#define SERVE_UNPACKED_H

#include "cache/cache.h"
#include "serve/routes/lanes.h"

#include <pthread.h>

struct unpacked;

struct unpacked_list {
    struct lanes *lanes;
    pthread_mutex_t lock; /* guards the list, its pins and who waits */
    struct unpacked *first;
};

/* Part of the caller's struct, which stays until it is told. */
struct unpacked_wait {
    /* In: called once, by whatever thread made the copy, with no lock held. */
    void (*told)(struct unpacked_wait *wait);
    /* Out: AIC_OK, AIC_DAMAGED (see cache_hit_pieces()), AIC_NO_MEMORY. */
    aic_status status;
    const struct mem *full;    /* of AIC_NO_MEMORY: what had no room; NULL: memory was out */
    struct unpacked *unpacked; /* of AIC_OK: pinned; else NULL */
    bool first;                /* of AIC_OK: it was made for this one; the others found it, or waited with it */
    /* The list's. */
    struct unpacked_wait *next;
};

/* `lanes` are borrowed and end before unpacked_fini(). */
void unpacked_init(struct unpacked_list *list, struct lanes *lanes);
void unpacked_fini(struct unpacked_list *list); /* every pin must have been released */

/*
 * Asks for the response of a compressed hit, which is unpacked into `mem` if nobody has it yet. `checksum` is of the
 * hit's record; the hit stays as it is until the answer is there. True: it is there now. False: told() follows. Never
 * waits.
 */
AIC_MUST_CHECK bool unpacked_ask(struct unpacked_list *list, struct mem *mem, struct cache_hit *hit, uint64_t checksum,
                                 struct unpacked_wait *wait);
/* Lives as long as the pin. */
aic_view unpacked_view(const struct unpacked *unpacked);
/* Accepts a pointer to NULL; nulls. */
void unpacked_release(struct unpacked_list *list, struct unpacked **unpacked);

#endif
