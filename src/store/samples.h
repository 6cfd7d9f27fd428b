/*
 * samples.h - what a group's dictionary is trained from: the fronts of some of its values, and the training itself.
 * Internal to the codec.
 *
 * Every `stride`-th value is taken. When the bound is reached, every other sample goes and the stride doubles, so that
 * what remains is spread evenly over everything that came, in bounded memory. The set is protected by the codec's lock;
 * training works on a set of its own.
 */
#ifndef STORE_SAMPLES_H
#define STORE_SAMPLES_H

#include "store/dictionary.h"

/*
 * A dictionary helps the first kilobytes of a value, so its front is enough. Measured with made-up answers
 * (bench/codec): 300 samples give x2.69, 1000 and 16 000 give x2.70.
 */
enum {
    SAMPLE_MAX_BYTES = 4 * 1024,
    SAMPLES_MAX_BYTES = 2 * 1024 * 1024,
    SAMPLES_MIN_BYTES = 256 * 1024,
    SAMPLES_MIN_COUNT = 256,
};

struct sample {
    struct sample *next;
    size_t size;
    char bytes[];
};

struct samples {
    struct sample *first; /* owned; newest first */
    size_t count;
    size_t bytes;
    uint64_t stride; /* 0 counts as 1 */
    uint64_t offered;
};

/* Is it this value's turn? Counts it. */
bool samples_want(struct samples *samples);
/* A copy of the value's front, or NULL when the allocation fails. Needs no lock. */
struct sample *sample_create(struct mem *mem, aic_view value);
void sample_destroy(struct mem *mem, struct sample **sample);
/* Takes the sample over; thins the set when it is full. */
void samples_add(struct samples *samples, struct mem *mem, struct sample *sample);
bool samples_are_enough(const struct samples *samples);
/* Frees all; the set is empty and begins anew. */
void samples_clear(struct samples *samples, struct mem *mem);

/*
 * Trains a dictionary of a group from a set that nobody else uses; *out gets one reference. Its id says what it is:
 * from bit 24 on how many came before it in its group (at least 1, at most 127; zstd keeps the last bit free), below
 * that a hash of the group's name and of its bytes. So no two that differ pass for each other, whoever made them.
 * AIC_MISS when it is not worth having: nothing in common, or less than 3 % better than `current` (NULL: than none) on
 * samples that were held back. AIC_NO_MEMORY. Takes up to a second.
 */
AIC_MUST_CHECK aic_status samples_train(const struct samples *samples, struct mem *mem, int level, aic_view group,
                                        const struct dictionary *current, struct dictionary **out);

#endif
