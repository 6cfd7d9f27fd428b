/*
 * throttle.h - a log line at most once in a while, with a count of what was held back; at once when the state changes.
 */
#ifndef OBSERVE_THROTTLE_H
#define OBSERVE_THROTTLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct throttle {
    /* When the last line was said, plus one; 0: never. Relaxed: only this word decides who speaks. */
    _Atomic uint64_t last_ns;
    _Atomic uint64_t held; /* lines held back since; relaxed: a count */
    _Atomic int state;     /* of the last call; relaxed: a change is told once more or once less at worst */
};

/* May a line be said now? true at most once per interval; *held gets what was held back since. Any thread. */
bool throttle_pass(struct throttle *throttle, uint64_t now_ns, uint64_t interval_ns, uint64_t *held);
/* The same, and also true when `state` differs from the state of the last call. */
bool throttle_pass_state(struct throttle *throttle, int state, uint64_t now_ns, uint64_t interval_ns, uint64_t *held);

#endif
