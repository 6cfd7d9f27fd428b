#include "observe/numbers.h"

#include "base/check.h"

#include <stdlib.h>

aic_status numbers_init(struct numbers *numbers, struct mem *mem, size_t capacity)
{
    *numbers = (struct numbers){.mem = mem, .capacity = capacity};
    if (capacity == 0) return AIC_OK;
    numbers->values = mem_alloc(mem, MEM_MONITOR, capacity * sizeof(double));
    return numbers->values != NULL ? AIC_OK : AIC_NO_MEMORY;
}

void numbers_fini(struct numbers *numbers)
{
    mem_free(numbers->mem, MEM_MONITOR, numbers->values, numbers->capacity * sizeof(double));
    numbers->values = NULL;
    numbers->count = 0;
}

void numbers_add(struct numbers *numbers, double value)
{
    CHECK(numbers->count < numbers->capacity);
    numbers->values[numbers->count++] = value;
}

double numbers_mean_of_first(const struct numbers *numbers, size_t count)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += numbers->values[i];
    return count > 0 ? sum / (double)count : 0;
}

double numbers_mean(const struct numbers *numbers)
{
    return numbers_mean_of_first(numbers, numbers->count);
}

double numbers_max(const struct numbers *numbers)
{
    double max = numbers->count > 0 ? numbers->values[0] : 0;
    for (size_t i = 1; i < numbers->count; i++)
        if (numbers->values[i] > max) max = numbers->values[i];
    return max;
}

double numbers_min(const struct numbers *numbers)
{
    double min = numbers->count > 0 ? numbers->values[0] : 0;
    for (size_t i = 1; i < numbers->count; i++)
        if (numbers->values[i] < min) min = numbers->values[i];
    return min;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void numbers_sort(struct numbers *numbers)
{
    if (numbers->count > 1) qsort(numbers->values, numbers->count, sizeof(double), compare);
}

double numbers_median(const struct numbers *numbers)
{
    size_t half = numbers->count / 2;
    if (numbers->count == 0) return 0;
    return numbers->count % 2 == 1 ? numbers->values[half] : (numbers->values[half - 1] + numbers->values[half]) / 2;
}
