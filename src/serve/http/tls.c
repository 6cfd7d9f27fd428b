/*
 * tls.c - see tls.h. `struct tls_session` is never defined: it is OpenSSL's SSL under another name, which keeps its
 * headers in this file.
 */
#include "serve/http/tls.h"

#include "base/check.h"
#include "base/status.h"
#include "serve/http/head.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct tls {
    struct mem *mem;
    pthread_mutex_t lock; /* protects `context`; no other lock is taken under it */
    SSL_CTX *context;
};

static SSL *ssl_of(const struct tls_session *session)
{
    return (SSL *)(uintptr_t)session;
}

/* The reason of the last failure, for a message. */
static const char *reason(void)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = ERR_reason_error_string(code);
    return text != NULL ? text : "unknown";
}

/* HTTP/1.1 is all that is spoken here; a client that offers ALPN without it goes on without ALPN. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size, const unsigned char *offered,
                           unsigned offered_size, void *context)
{
    static const unsigned char spoken[] = "\x08http/1.1";
    (void)ssl;
    (void)context;
    unsigned char *chosen = NULL;
    if (SSL_select_next_proto(&chosen, out_size, spoken, sizeof spoken - 1, offered, offered_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Loading a key compares it with the certificate; of another kind of key it is only noticed afterwards. */
static bool is_mismatch(void)
{
    unsigned long code = ERR_peek_last_error();
    int why = ERR_GET_REASON(code);
    return ERR_GET_LIB(code) == ERR_LIB_X509 && (why == X509_R_KEY_VALUES_MISMATCH || why == X509_R_KEY_TYPE_MISMATCH);
}

static aic_status refuse_pair(const char *certificate, const char *key, aic_error *error)
{
    return error_set(error, AIC_INVALID, "tls.key",
                     "The private key in %.140s does not belong to the certificate in %.140s.", key, certificate);
}

/* Nobody is asked for a pass phrase: not on a terminal, not by a daemon. */
static int refuse_phrase(char *room, int size, int writing, void *context)
{
    (void)room, (void)size, (void)writing;
    *(bool *)context = true;
    return -1;
}

static aic_status refuse_key(const char *key, bool encrypted, aic_error *error)
{
    if (encrypted)
        return error_set(error, AIC_INVALID, "tls.key",
                         "The private key in %.140s is encrypted; a key without a pass phrase is accepted.", key);
    return error_set(error, AIC_INVALID, "tls.key", "Cannot load the private key from %.160s: %s.", key, reason());
}

static aic_status load(const char *certificate, const char *key, SSL_CTX **out, aic_error *error)
{
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL) return error_set(error, AIC_NO_MEMORY, "tls.certificate", "No memory for TLS.");
    bool encrypted = false;
    SSL_CTX_set_default_passwd_cb(context, refuse_phrase);
    SSL_CTX_set_default_passwd_cb_userdata(context, &encrypted);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    CHECK(SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1); /* of TLS 1.2: what authenticates */
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                     SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, NULL);
    aic_status status = AIC_OK;
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
        status = error_set(error, AIC_INVALID, "tls.certificate", "Cannot load the certificate chain from %.160s: %s.",
                           certificate, reason());
    else if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        status = is_mismatch() ? refuse_pair(certificate, key, error) : refuse_key(key, encrypted, error);
    else if (SSL_CTX_check_private_key(context) != 1) status = refuse_pair(certificate, key, error);
    ERR_clear_error();
    SSL_CTX_set_default_passwd_cb_userdata(context, NULL); /* it is asked for nothing later */
    if (status == AIC_OK) *out = context;
    else SSL_CTX_free(context);
    return status;
}

aic_status tls_create(struct mem *mem, const char *certificate, const char *key, struct tls **out, aic_error *error)
{
    if (certificate == NULL || key == NULL)
        return error_set(error, AIC_INVALID, certificate == NULL ? "tls.certificate" : "tls.key",
                         "TLS needs both, a certificate and a key.");
    struct tls *tls = mem_zalloc(mem, MEM_CONNECTIONS, sizeof *tls);
    if (tls == NULL) return error_set(error, AIC_NO_MEMORY, "tls.certificate", "No memory for TLS.");
    tls->mem = mem;
    aic_status status = load(certificate, key, &tls->context, error);
    if (status != AIC_OK) {
        mem_free(mem, MEM_CONNECTIONS, tls, sizeof *tls);
        return status;
    }
    pthread_mutex_init(&tls->lock, NULL);
    *out = tls;
    return AIC_OK;
}

void tls_destroy(struct tls **tls)
{
    if (*tls == NULL) return;
    SSL_CTX_free((*tls)->context);
    pthread_mutex_destroy(&(*tls)->lock);
    mem_free((*tls)->mem, MEM_CONNECTIONS, *tls, sizeof **tls);
    *tls = NULL;
}

aic_status tls_reload(struct tls *tls, const char *certificate, const char *key, aic_error *error)
{
    SSL_CTX *fresh = NULL;
    const char *const files[] = {certificate, key};
    for (size_t i = 0; i < COUNT_OF(files); i++) { /* a pipe would be waited for by the thread that takes signals */
        struct stat facts;
        if (stat(files[i], &facts) == 0 && !S_ISREG(facts.st_mode))
            return error_set(error, AIC_INVALID, i == 0 ? "tls.certificate" : "tls.key",
                             "%.160s is no regular file, which a reload alone reads.", files[i]);
    }
    TRY(load(certificate, key, &fresh, error));
    pthread_mutex_lock(&tls->lock);
    SSL_CTX *old = tls->context;
    tls->context = fresh;
    pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(old); /* sessions hold references of their own */
    return AIC_OK;
}

struct tls_session *tls_accept(struct tls *tls, int fd)
{
    pthread_mutex_lock(&tls->lock);
    SSL *ssl = SSL_new(tls->context);
    pthread_mutex_unlock(&tls->lock);
    if (ssl != NULL && SSL_set_fd(ssl, fd) != 1) {
        SSL_free(ssl);
        ssl = NULL;
    }
    ERR_clear_error();
    if (ssl != NULL) SSL_set_accept_state(ssl);
    return (struct tls_session *)(void *)ssl;
}

void tls_session_destroy(struct tls_session **session)
{
    SSL_free(ssl_of(*session));
    *session = NULL;
}

/* What OpenSSL says, in the words of read(2). */
static ssize_t translate(SSL *ssl, int result, bool *other_direction, int expected)
{
    if (result > 0) return result;
    int number = errno, code = SSL_get_error(ssl, result);
    ERR_clear_error();
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE) {
        *other_direction = code != expected;
        errno = EAGAIN;
        return -1;
    }
    if (code == SSL_ERROR_ZERO_RETURN) return 0;
    errno = code == SSL_ERROR_SYSCALL && number != 0 ? number : EPROTO;
    return -1;
}

/*
 * Before the handshake. TLS begins with the byte 22 or, long ago, with one above 127; the name of a method, of whatever
 * kind, begins with neither. OpenSSL knows four methods and would take the bytes from who is to answer; a look costs
 * one call per connection. 1, or what read() says.
 */
static ssize_t look_for_tls(SSL *ssl)
{
    char first;
    ssize_t got = recv(SSL_get_fd(ssl), &first, 1, MSG_PEEK);
    if (got <= 0 || !head_is_token((aic_view){&first, 1})) return got;
    errno = EPROTONOSUPPORT;
    return -1;
}

ssize_t tls_read(struct tls_session *session, void *out, size_t size, bool *wants_write)
{
    *wants_write = false;
    if (SSL_in_before(ssl_of(session))) {
        ssize_t first = look_for_tls(ssl_of(session));
        if (first <= 0) return first;
    }
    errno = 0;
    int result = SSL_read(ssl_of(session), out, size > INT32_MAX ? INT32_MAX : (int)size);
    return translate(ssl_of(session), result, wants_write, SSL_ERROR_WANT_READ);
}

ssize_t tls_write(struct tls_session *session, const struct iovec *pieces, unsigned count, char *record,
                  bool *wants_read)
{
    size_t size = 0;
    for (unsigned i = 0; i < count && size < TLS_RECORD_BYTES; i++) {
        size_t take = pieces[i].iov_len < TLS_RECORD_BYTES - size ? pieces[i].iov_len : TLS_RECORD_BYTES - size;
        memcpy(record + size, pieces[i].iov_base, take);
        size += take;
    }
    *wants_read = false;
    errno = 0;
    int result = SSL_write(ssl_of(session), record, (int)size);
    return translate(ssl_of(session), result, wants_read, SSL_ERROR_WANT_WRITE);
}

void tls_close_notify(struct tls_session *session)
{
    if (!SSL_is_init_finished(ssl_of(session))) return;
    SSL_shutdown(ssl_of(session));
    ERR_clear_error();
}

bool tls_is_ready(const struct tls_session *session)
{
    return SSL_is_init_finished(ssl_of(session)) == 1;
}
