/*
 * decimal.h - a number's decimal digits, for texts that are put together by hand because printf costs more than the
 * rest of them.
 */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include <aicache/aicache.h>

#define DECIMAL_BYTES 20 /* of UINT64_MAX */

/* Writes the digits so that the last one lies before `end`, which has DECIMAL_BYTES of room before it; where they
 * begin. No NUL. */
static inline char *decimal_before(char *end, uint64_t number)
{
    do {
        *--end = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return end;
}

/* The digits of a number, in `room`. */
static inline aic_view decimal(uint64_t number, char room[DECIMAL_BYTES])
{
    char *end = room + DECIMAL_BYTES, *first = decimal_before(end, number);
    return (aic_view){first, (size_t)(end - first)};
}

#endif
