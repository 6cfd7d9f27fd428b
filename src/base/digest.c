#include "base/digest.h"

#include "base/check.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

/*
 * HMAC is SHA-256 twice, each time after one block made from the secret. Both states behind that block are made once
 * per secret; a message copies them. The contexts of ended messages wait in a short list, because making one costs as
 * much as hashing 500 bytes. Small pieces gather in the message before they reach OpenSSL, whose per-call cost is that
 * of hashing 30 bytes.
 */

enum { BLOCK_BYTES = 64, IDLE_MAX = 32, GATHER_BYTES = 512, SECRET_MIN = 16 };

struct digest_message {
    struct digest *digest;
    struct digest_message *next; /* while idle */
    EVP_MD_CTX *inner;
    EVP_MD_CTX *outer;
    size_t gathered;
    uint8_t gather[GATHER_BYTES];
};

struct digest {
    struct mem *mem;
    EVP_MD *algorithm;
    EVP_MD_CTX *inner;    /* fed with secret ^ ipad */
    EVP_MD_CTX *outer;    /* fed with secret ^ opad */
    pthread_mutex_t lock; /* protects idle and idle_count; taken alone */
    struct digest_message *idle;
    unsigned idle_count;
};

static aic_status sha256_once(EVP_MD *algorithm, const void *bytes, size_t size, uint8_t out[32])
{
    return EVP_Digest(bytes, size, out, NULL, algorithm, NULL) == 1 ? AIC_OK : AIC_NO_MEMORY;
}

static EVP_MD_CTX *pad_context(EVP_MD *algorithm, const uint8_t key[BLOCK_BYTES], uint8_t pad)
{
    uint8_t block[BLOCK_BYTES];
    for (size_t i = 0; i < BLOCK_BYTES; i++) block[i] = (uint8_t)(key[i] ^ pad);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context != NULL &&
        (EVP_DigestInit_ex2(context, algorithm, NULL) != 1 || EVP_DigestUpdate(context, block, sizeof block) != 1)) {
        EVP_MD_CTX_free(context);
        context = NULL;
    }
    OPENSSL_cleanse(block, sizeof block);
    return context;
}

aic_status digest_create(struct mem *mem, const void *secret, size_t secret_size, struct digest **out)
{
    if (secret_size < SECRET_MIN) return AIC_INVALID;
    struct digest *digest = mem_zalloc(mem, MEM_CACHE, sizeof *digest);
    if (digest == NULL) return AIC_NO_MEMORY;
    uint8_t key[BLOCK_BYTES] = {0};
    aic_status status = AIC_NO_MEMORY;
    digest->mem = mem;
    pthread_mutex_init(&digest->lock, NULL);
    digest->algorithm = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (digest->algorithm == NULL) goto fail;
    if (secret_size > BLOCK_BYTES) TRY_OR_FAIL(sha256_once(digest->algorithm, secret, secret_size, key));
    else memcpy(key, secret, secret_size);
    status = AIC_NO_MEMORY;
    digest->inner = pad_context(digest->algorithm, key, 0x36);
    digest->outer = pad_context(digest->algorithm, key, 0x5c);
    if (digest->inner == NULL || digest->outer == NULL) goto fail;
    OPENSSL_cleanse(key, sizeof key);
    *out = digest;
    return AIC_OK;
fail:
    OPENSSL_cleanse(key, sizeof key);
    digest_destroy(&digest);
    return status;
}

/* OpenSSL cleanses the states of its contexts when it frees them. */
static void message_free(struct digest_message *message)
{
    EVP_MD_CTX_free(message->inner);
    EVP_MD_CTX_free(message->outer);
    OPENSSL_cleanse(message->gather, sizeof message->gather);
    mem_free(message->digest->mem, MEM_CACHE, message, sizeof *message);
}

void digest_destroy(struct digest **digest)
{
    struct digest *gone = *digest;
    if (gone == NULL) return;
    *digest = NULL;
    while (gone->idle != NULL) {
        struct digest_message *message = gone->idle;
        gone->idle = message->next;
        message_free(message);
    }
    EVP_MD_CTX_free(gone->inner);
    EVP_MD_CTX_free(gone->outer);
    EVP_MD_free(gone->algorithm);
    pthread_mutex_destroy(&gone->lock);
    mem_free(gone->mem, MEM_CACHE, gone, sizeof *gone);
}

static struct digest_message *take_message(struct digest *digest)
{
    pthread_mutex_lock(&digest->lock);
    struct digest_message *message = digest->idle;
    if (message != NULL) {
        digest->idle = message->next;
        digest->idle_count--;
    }
    pthread_mutex_unlock(&digest->lock);
    if (message != NULL) return message;
    message = mem_zalloc(digest->mem, MEM_CACHE, sizeof *message);
    if (message == NULL) return NULL;
    message->digest = digest;
    message->inner = EVP_MD_CTX_new();
    message->outer = EVP_MD_CTX_new();
    if (message->inner != NULL && message->outer != NULL) return message;
    message_free(message);
    return NULL;
}

aic_status digest_begin(struct digest *digest, struct digest_message **out)
{
    struct digest_message *message = take_message(digest);
    if (message == NULL) return AIC_NO_MEMORY;
    if (EVP_MD_CTX_copy_ex(message->inner, digest->inner) != 1 ||
        EVP_MD_CTX_copy_ex(message->outer, digest->outer) != 1) {
        message_free(message);
        return AIC_NO_MEMORY;
    }
    message->gathered = 0;
    *out = message;
    return AIC_OK;
}

static void flush(struct digest_message *message)
{
    if (message->gathered == 0) return;
    CHECK(EVP_DigestUpdate(message->inner, message->gather, message->gathered) == 1);
    message->gathered = 0;
}

void digest_add(struct digest_message *message, const void *bytes, size_t size)
{
    if (size == 0) return;
    if (size > GATHER_BYTES - message->gathered) flush(message);
    if (size > GATHER_BYTES / 2) {
        flush(message);
        CHECK(EVP_DigestUpdate(message->inner, bytes, size) == 1);
        return;
    }
    memcpy(message->gather + message->gathered, bytes, size);
    message->gathered += size;
}

static void give_message(struct digest_message *message)
{
    struct digest *digest = message->digest;
    pthread_mutex_lock(&digest->lock);
    bool kept = digest->idle_count < IDLE_MAX;
    if (kept) {
        message->next = digest->idle;
        digest->idle = message;
        digest->idle_count++;
    }
    pthread_mutex_unlock(&digest->lock);
    if (!kept) message_free(message);
}

void digest_end(struct digest_message **message, aic_key *out)
{
    struct digest_message *done = *message;
    uint8_t inner[32];
    flush(done);
    CHECK(EVP_DigestFinal_ex(done->inner, inner, NULL) == 1);
    CHECK(EVP_DigestUpdate(done->outer, inner, sizeof inner) == 1);
    CHECK(EVP_DigestFinal_ex(done->outer, out->bytes, NULL) == 1);
    *message = NULL;
    give_message(done);
}

void digest_cancel(struct digest_message **message)
{
    if (*message == NULL) return;
    give_message(*message);
    *message = NULL;
}

aic_status digest_sha256(const void *bytes, size_t size, uint8_t out[32])
{
    return EVP_Q_digest(NULL, "SHA256", NULL, size > 0 ? bytes : "", size, out, NULL) == 1 ? AIC_OK : AIC_NO_MEMORY;
}

bool digest_equal(const void *a, const void *b, size_t size)
{
    return CRYPTO_memcmp(a, b, size) == 0;
}

aic_status digest_random(void *out, size_t size)
{
    uint8_t *at = out;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return AIC_IO;
        at += got;
        size -= (size_t)got;
    }
    return AIC_OK;
}
