#include "net/breaker.h"

#include "base/check.h"

#define FAILURES_TO_OPEN 5
#define FIRST_PAUSE_NS ((uint64_t)500 * 1000 * 1000)
#define LAST_PAUSE_NS ((uint64_t)30 * 1000 * 1000 * 1000)

void breaker_init(struct breaker *breaker, uint64_t seed)
{
    *breaker = (struct breaker){.state = BREAKER_CLOSED, .pause_ns = FIRST_PAUSE_NS, .random = seed | 1};
}

/* xorshift64 (G. Marsaglia, 2003): good enough to be out of step. */
static uint64_t next_random(struct breaker *breaker)
{
    breaker->random ^= breaker->random << 13;
    breaker->random ^= breaker->random >> 7;
    breaker->random ^= breaker->random << 17;
    return breaker->random;
}

static void open_for_a_pause(struct breaker *breaker, uint64_t now_ns)
{
    uint64_t jitter = next_random(breaker) % (breaker->pause_ns / 4);
    breaker->state = BREAKER_OPEN;
    breaker->failures = 0;
    breaker->retry_ns = now_ns + breaker->pause_ns - jitter;
    breaker->pause_ns = breaker->pause_ns * 2 < LAST_PAUSE_NS ? breaker->pause_ns * 2 : LAST_PAUSE_NS;
}

enum breaker_pass breaker_admit(struct breaker *breaker, uint64_t now_ns)
{
    if (breaker->state == BREAKER_CLOSED) return BREAKER_ADMITTED;
    if (breaker->state == BREAKER_PROBING || now_ns < breaker->retry_ns) return BREAKER_REFUSED;
    breaker->state = BREAKER_PROBING;
    return BREAKER_PROBE;
}

bool breaker_success(struct breaker *breaker, bool probe)
{
    CHECK(!probe || breaker->state == BREAKER_PROBING);
    if (breaker->state == BREAKER_CLOSED) breaker->failures = 0;
    if (!probe) return false;
    breaker->state = BREAKER_CLOSED;
    breaker->failures = 0;
    breaker->pause_ns = FIRST_PAUSE_NS;
    return true;
}

bool breaker_trip(struct breaker *breaker, uint64_t now_ns)
{
    if (breaker->state != BREAKER_CLOSED) return false;
    breaker->opened++;
    open_for_a_pause(breaker, now_ns);
    return true;
}

bool breaker_failure(struct breaker *breaker, bool probe, uint64_t now_ns)
{
    CHECK(!probe || breaker->state == BREAKER_PROBING);
    if (probe) open_for_a_pause(breaker, now_ns);
    if (breaker->state != BREAKER_CLOSED || ++breaker->failures < FAILURES_TO_OPEN) return false;
    return breaker_trip(breaker, now_ns);
}

void breaker_cancel(struct breaker *breaker, uint64_t now_ns)
{
    CHECK(breaker->state == BREAKER_PROBING);
    breaker->state = BREAKER_OPEN;
    breaker->retry_ns = now_ns;
}

uint64_t breaker_wait_ns(const struct breaker *breaker, uint64_t now_ns)
{
    if (breaker->state == BREAKER_PROBING) return UINT64_MAX;
    if (breaker->state == BREAKER_CLOSED || now_ns >= breaker->retry_ns) return 0;
    return breaker->retry_ns - now_ns;
}
