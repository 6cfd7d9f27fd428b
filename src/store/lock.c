#include "store/lock.h"

#include "base/check.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static_assert(sizeof(struct lock) == 4, "the kernel waits on words of four bytes");

static void futex(struct lock *lock, int operation, uint32_t value)
{
    /* Whatever it answers, the caller looks at the state again; an early return is as good as a wake-up. */
    (void)syscall(SYS_futex, &lock->state, operation | FUTEX_PRIVATE_FLAG, value, NULL, NULL, 0);
}

void lock_take_slow(struct lock *lock)
{
    enum { LOOKS = 200 }; /* of some 15 ns */
    for (unsigned look = 0; look < LOOKS; look++) {
        uint32_t found = LOCK_FREE;
        if (atomic_load_explicit(&lock->state, memory_order_relaxed) == LOCK_FREE &&
            atomic_compare_exchange_strong_explicit(&lock->state, &found, LOCK_TAKEN, memory_order_acquire,
                                                    memory_order_relaxed))
            return;
        pause_briefly();
    }
    /* Taken as slept on, for others may sleep still; a wake-up for nobody is the price. */
    while (atomic_exchange_explicit(&lock->state, LOCK_SLEPT_ON, memory_order_acquire) != LOCK_FREE)
        futex(lock, FUTEX_WAIT, LOCK_SLEPT_ON);
}

void lock_wake(struct lock *lock, uint32_t found)
{
    CHECK(found == LOCK_SLEPT_ON); /* who gives a lock has taken it */
    futex(lock, FUTEX_WAKE, 1);
}
