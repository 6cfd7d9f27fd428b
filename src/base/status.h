/*
 * status.h - what the tree adds to the public status table: the HTTP status of each, and filling an aic_error.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <aicache/aicache.h>

/* The HTTP status that the daemon answers with; 500 for an unknown number. */
int status_http(aic_status status);

/*
 * Fills *error (which may be NULL) and returns `status`, so that `return error_set(...)` is the whole refusal.
 * `field` (NULL: none) is the field as the user wrote it; the message says what came and what is accepted.
 */
__attribute__((format(printf, 4, 5))) aic_status error_set(aic_error *error, aic_status status, const char *field,
                                                           const char *format, ...);

/* No error yet. Cheaper than `= {0}`, which writes all of its half kilobyte. */
static inline void error_clear(aic_error *error)
{
    error->status = AIC_OK;
    error->field[0] = error->message[0] = '\0';
}

/*
 * The same for a part of what the user gave that was judged by itself: `inner` says what is wrong with it, its field
 * counts from `field`, as in "options" and "temperature" for "options.temperature".
 */
aic_status error_within(aic_error *error, aic_status status, const char *field, const aic_error *inner);

#endif
