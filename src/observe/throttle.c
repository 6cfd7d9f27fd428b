#include "observe/throttle.h"

bool throttle_pass(struct throttle *throttle, uint64_t now_ns, uint64_t interval_ns, uint64_t *held)
{
    uint64_t last = atomic_load_explicit(&throttle->last_ns, memory_order_relaxed);
    bool due = last == 0 || now_ns + 1 - last >= interval_ns;
    if (due && atomic_compare_exchange_strong_explicit(&throttle->last_ns, &last, now_ns + 1, memory_order_relaxed,
                                                       memory_order_relaxed)) {
        *held = atomic_exchange_explicit(&throttle->held, 0, memory_order_relaxed);
        return true;
    }
    atomic_fetch_add_explicit(&throttle->held, 1, memory_order_relaxed);
    return false;
}

bool throttle_pass_state(struct throttle *throttle, int state, uint64_t now_ns, uint64_t interval_ns, uint64_t *held)
{
    if (atomic_exchange_explicit(&throttle->state, state, memory_order_relaxed) != state)
        atomic_store_explicit(&throttle->last_ns, 0, memory_order_relaxed);
    return throttle_pass(throttle, now_ns, interval_ns, held);
}
