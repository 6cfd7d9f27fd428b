#include "base/hex.h"

#include <endian.h>
#include <string.h>

enum { STEP = 4 /* bytes, eight digits: one word */ };
#define EACH_BYTE(value) (0x0101010101010101ULL * (value))
#define LOW_NIBBLES 0x000F000F000F000FULL

/* Four bytes as eight digits, both in memory order. */
static uint64_t digits_of(uint32_t bytes)
{
    uint64_t x = bytes;
    x = (x | x << 16) & 0x0000FFFF0000FFFFULL;
    x = (x | x << 8) & 0x00FF00FF00FF00FFULL; /* a byte in every 16 bits */
    uint64_t nibbles = (x >> 4 & LOW_NIBBLES) | (x & LOW_NIBBLES) << 8;
    uint64_t letters = (nibbles + EACH_BYTE(6)) >> 4 & EACH_BYTE(1); /* 1 where the nibble is 10 or more */
    return nibbles + EACH_BYTE('0') + letters * ('a' - '0' - 10);
}

/* The other way; for anything but digits the result is some number, which digits_of() turns into other text. */
static uint32_t bytes_of(uint64_t digits)
{
    uint64_t nibbles = ((digits & EACH_BYTE(0x0F)) + (digits >> 6 & EACH_BYTE(1)) * 9) & EACH_BYTE(0x0F);
    uint64_t x = (nibbles & LOW_NIBBLES) << 4 | (nibbles >> 8 & LOW_NIBBLES);
    x = (x | x >> 8) & 0x0000FFFF0000FFFFULL;
    return (uint32_t)(x | x >> 16);
}

/* At most STEP bytes at a time; a shorter end goes through words of its own. */
static inline void write_step(const uint8_t *bytes, size_t size, char *out)
{
    uint32_t word = 0;
    memcpy(&word, bytes, size);
    uint64_t digits = htole64(digits_of(le32toh(word)));
    memcpy(out, &digits, 2 * size);
}

static inline uint64_t read_step(const char *text, size_t size, uint8_t *out)
{
    uint64_t digits = EACH_BYTE('0');
    memcpy(&digits, text, 2 * size);
    digits = le64toh(digits);
    uint32_t bytes = bytes_of(digits);
    uint64_t different = digits ^ digits_of(bytes); /* what does not read back the same was no digit */
    bytes = htole32(bytes);
    memcpy(out, &bytes, size);
    return different;
}

static inline void write_all(const uint8_t *bytes, size_t size, char *out)
{
    size_t at = 0;
    for (; at + STEP <= size; at += STEP) write_step(bytes + at, STEP, out + 2 * at);
    if (at < size) write_step(bytes + at, size - at, out + 2 * at);
}

static inline bool read_all(const char *digits, size_t size, uint8_t *out)
{
    uint64_t different = 0;
    size_t at = 0;
    for (; at + STEP <= size; at += STEP) different |= read_step(digits + 2 * at, STEP, out + at);
    if (at < size) different |= read_step(digits + 2 * at, size - at, out + at);
    return different == 0;
}

void hex_write(const void *bytes, size_t size, char *out)
{
    write_all(bytes, size, out);
}

bool hex_read(const char *digits, size_t size, void *out)
{
    return read_all(digits, size, out);
}

void aic_key_format(const aic_key *key, char out[AIC_KEY_HEX_SIZE])
{
    write_all(key->bytes, AIC_KEY_BYTES, out);
    out[AIC_KEY_HEX_SIZE - 1] = '\0';
}

aic_status aic_key_parse(aic_view text, aic_key *out)
{
    aic_key key = {{0}};
    if (text.data == NULL || text.size != 2 * AIC_KEY_BYTES || !read_all(text.data, AIC_KEY_BYTES, key.bytes))
        return AIC_INVALID;
    *out = key;
    return AIC_OK;
}
