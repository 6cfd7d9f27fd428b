/*
 * numbers.h - mean, median and extremes of a handful of doubles.
 */
#ifndef OBSERVE_NUMBERS_H
#define OBSERVE_NUMBERS_H

#include "base/mem.h"

struct numbers {
    struct mem *mem;
    double *values; /* owned */
    size_t count;
    size_t capacity;
};

/* Room for `capacity` values; AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status numbers_init(struct numbers *numbers, struct mem *mem, size_t capacity);
void numbers_fini(struct numbers *numbers);
/* count < capacity. */
void numbers_add(struct numbers *numbers, double value);

/* Each 0 without values. Sorting is the caller's: numbers_median() and numbers_mean_of_first() want sorted values. */
double numbers_mean(const struct numbers *numbers);
double numbers_max(const struct numbers *numbers);
double numbers_min(const struct numbers *numbers);
void numbers_sort(struct numbers *numbers);
/* The middle value, or the mean of the two middle ones. */
double numbers_median(const struct numbers *numbers);
/* Mean of the `count` smallest. */
double numbers_mean_of_first(const struct numbers *numbers, size_t count);

#endif
