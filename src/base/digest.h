/*
 * digest.h - HMAC-SHA-256 fed in pieces, SHA-256 at once, and comparison in constant time, over OpenSSL 3.
 *
 * The algorithm is fetched once per `struct digest` (fetching per call costs more than hashing a short request). A
 * keyed context is made once per secret and copied per message.
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include "base/mem.h"

struct digest;         /* one secret; any thread may call any function with it */
struct digest_message; /* one message under way; one thread at a time */

/* secret_size >= 16, or AIC_INVALID. Only states derived from the secret are kept, and cleansed on destroy.
 * AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status digest_create(struct mem *mem, const void *secret, size_t secret_size, struct digest **out);
void digest_destroy(struct digest **digest);

/* begin, add any number of times, end (which gives the message back). AIC_NO_MEMORY from begin only. */
AIC_MUST_CHECK aic_status digest_begin(struct digest *digest, struct digest_message **out);
void digest_add(struct digest_message *message, const void *bytes, size_t size);
void digest_end(struct digest_message **message, aic_key *out);
/* Gives a message back without its digest (a caller that fails half-way). Accepts a pointer to NULL. */
void digest_cancel(struct digest_message **message);

/* SHA-256 of one block of bytes. AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status digest_sha256(const void *bytes, size_t size, uint8_t out[32]);
/* Compares in a time that depends only on size. */
bool digest_equal(const void *a, const void *b, size_t size);
/* Bytes from the kernel's generator. AIC_IO when it cannot be read. */
AIC_MUST_CHECK aic_status digest_random(void *out, size_t size);

#endif
