/*
 * lanes.h - the threads for what a front thread must not do itself, in lanes, so that nothing waits behind what may
 * take long.
 *
 * The idea: who shares a queue shares its worst case. What tells of the daemon (figures, reports) and what costs a
 * front thread too much time, but waits for nobody, has the first lane; removals and puts with a durability, which wait
 * for storage within a deadline, the second; walks through all that is stored, which may take minutes and stay in
 * storage that hangs, the third. The last two give way to the front threads by their priority, and of the walks one for
 * every two cores runs at once: whoever has walked for LANE_TURN_MS is not counted any more, so that one long walk, or
 * one that hangs, keeps nobody from the turn for longer.
 *
 * All threads are made when the lanes are. Any thread may add a job; lanes.c has the locks, which are leaves.
 */
#ifndef SERVE_LANES_H
#define SERVE_LANES_H

#include "base/clock.h"
#include "base/mem.h"

/* Name, threads, and how much their priority is lowered (nice). A hang of storage may keep seven walks (those that
 * began before it was known); the eighth shows what memory holds. */
#define LANE_MAP(X)                                                                                                    \
    X(QUICK, 4, 0)                                                                                                     \
    X(REMOVALS, 8, 5)                                                                                                  \
    X(WALKS, 8, 10)
enum lane {
#define LANE_ENUM(name, threads, nice) LANE_##name,
    LANE_MAP(LANE_ENUM)
#undef LANE_ENUM
        LANE_COUNT
};
#define LANE_TURN_MS 1000

/* Part of the caller's struct, which stays until `run` is called, once, on a thread of the lane; `run` may free it. */
struct lane_job {
    struct lane_job *next;
    void (*run)(struct lane_job *job);
};

struct lanes;
/* `cores`: how many walks run at once is half of it, one at least. AIC_NO_MEMORY, also when there are not enough
 * threads to be had. */
AIC_MUST_CHECK aic_status lanes_create(struct mem *mem, unsigned cores, struct lanes **out);
/* Ends the threads once their queues are empty, and nulls. Accepts a pointer to NULL. */
void lanes_destroy(struct lanes **lanes);
/* Never blocks, never fails. Jobs of a lane begin in the order in which they were added. */
void lanes_add(struct lanes *lanes, enum lane lane, struct lane_job *job);

#endif
