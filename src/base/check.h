/*
 * check.h - invariants that stay compiled in, and the error forwarding of the whole tree.
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <aicache/aicache.h>

#include <assert.h>

/* Reports a broken invariant on standard error and aborts. Never reached by input, only by a bug. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

/* Forwards any status but AIC_OK to the caller. */
#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        aic_status try_status_ = (expression);                                                                         \
        if (try_status_ != AIC_OK) return try_status_;                                                                 \
    } while (0)

/* Forwards any status but AIC_OK to the label `fail`, which cleans up in reverse and returns `status`. */
#define TRY_OR_FAIL(expression)                                                                                        \
    do {                                                                                                               \
        status = (expression);                                                                                         \
        if (status != AIC_OK) goto fail;                                                                               \
    } while (0)

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
