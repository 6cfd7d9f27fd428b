/*
 * breaker.h - when to stop asking somebody who does not answer, and when to ask again.
 *
 * CLOSED: everybody is let through; 5 failures in a row, or a trip, open it. OPEN: nobody is let through until the
 * pause is over; then one caller is, as the probe. PROBING: nobody but the probe. Its success closes the breaker; its
 * failure opens it again for twice the pause: 0.5 s doubling to 30 s, each shortened by up to a quarter at random, so
 * that many processes do not come back in step.
 *
 * Only a probe closes an open breaker: the late answer of a call from before says nothing of now. Time is passed in. No
 * lock of its own.
 */
#ifndef NET_BREAKER_H
#define NET_BREAKER_H

#include <aicache/aicache.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_PROBING };
enum breaker_pass { BREAKER_REFUSED, BREAKER_ADMITTED, BREAKER_PROBE };

struct breaker {
    enum breaker_state state;
    unsigned failures; /* in a row, while closed */
    uint64_t retry_ns; /* while open: when a probe may go */
    uint64_t pause_ns; /* of the next opening */
    uint64_t random;   /* state of the jitter */
    uint64_t opened;   /* times */
};

void breaker_init(struct breaker *breaker, uint64_t seed);
/* May this caller go? A PROBE must be answered by breaker_success/failure/cancel with probe = true. */
enum breaker_pass breaker_admit(struct breaker *breaker, uint64_t now_ns);
/* Each tells whether the breaker closed (success) or opened from closed (failure, trip): worth one line in the log. */
bool breaker_success(struct breaker *breaker, bool probe);
bool breaker_failure(struct breaker *breaker, bool probe, uint64_t now_ns);
/* Opens a closed breaker at once: a call hangs. */
bool breaker_trip(struct breaker *breaker, uint64_t now_ns);
/* The probe was not sent after all: the next caller may. */
void breaker_cancel(struct breaker *breaker, uint64_t now_ns);
/* Until a probe may go; 0 when closed or due, UINT64_MAX while one is out. */
uint64_t breaker_wait_ns(const struct breaker *breaker, uint64_t now_ns);

#endif
