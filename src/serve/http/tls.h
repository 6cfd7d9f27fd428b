/*
 * tls.h - TLS 1.2 and 1.3 for accepted sockets, by OpenSSL.
 *
 * The idea: a session reads and writes the non-blocking descriptor itself and says what it waits for, so the connection
 * layer is the same with and without TLS. Outgoing pieces are gathered into records of at most 16 KiB through a buffer
 * of the thread. The context (certificate, key) can be replaced while running: sessions keep the one they began with. A
 * context may be used by any thread, a session by one.
 */
#ifndef SERVE_TLS_H
#define SERVE_TLS_H

#include "serve/http/http.h"

#include <sys/types.h>
#include <sys/uio.h>

struct tls;         /* certificate and key */
struct tls_session; /* one connection (OpenSSL's SSL) */

#define TLS_RECORD_BYTES 16384

/* Loads PEM files. AIC_INVALID with field "tls.certificate" or "tls.key", AIC_NO_MEMORY. */
AIC_MUST_CHECK aic_status tls_create(struct mem *mem, const char *certificate, const char *key, struct tls **out,
                                     aic_error *error);
void tls_destroy(struct tls **tls);
/* Loads them again for new sessions; on failure the old ones stay. */
AIC_MUST_CHECK aic_status tls_reload(struct tls *tls, const char *certificate, const char *key, aic_error *error);

/* A session over a connected, non-blocking socket, which stays the caller's. NULL: no memory. */
struct tls_session *tls_accept(struct tls *tls, int fd);
void tls_session_destroy(struct tls_session **session);

/* Like read(2) and writev(2): the bytes moved, 0 for the end of the stream, -1 with errno (EAGAIN: wait; *wants_write
 * says for which direction; EPROTONOSUPPORT: the peer speaks no TLS but begins like plain HTTP; nothing was
 * sent to it, and all it sent can still be read from the socket). */
ssize_t tls_read(struct tls_session *session, void *out, size_t size, bool *wants_write);
/*
 * `record` is a buffer of TLS_RECORD_BYTES. After EAGAIN the next call must begin with the same bytes; the pieces may
 * have moved.
 */
ssize_t tls_write(struct tls_session *session, const struct iovec *pieces, unsigned count, char *record,
                  bool *wants_read);
/* Tells the peer that no more will be sent; best effort. */
void tls_close_notify(struct tls_session *session);
/* Is the handshake done? */
bool tls_is_ready(const struct tls_session *session);

#endif
