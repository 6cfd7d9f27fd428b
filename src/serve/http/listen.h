/*
 * listen.h - addresses to listen on: reading them, binding them, one socket for each front thread.
 *
 * TCP: each thread has a socket of its own on the same port (SO_REUSEPORT), so that the kernel spreads connections.
 * Because that flag would let a second daemon of the same user share the port unseen, the address is first tried
 * without it. Unix: one socket, a duplicate for each thread; a file left by a dead process is removed, one that answers
 * or is no socket is not touched. One thread, at setup and teardown.
 */
#ifndef SERVE_LISTEN_H
#define SERVE_LISTEN_H

#include "serve/http/http.h"

#include <sys/types.h>

#define LISTEN_ADDRESS_BYTES 160

struct listener {
    bool local;                         /* a unix socket */
    char address[LISTEN_ADDRESS_BYTES]; /* as bound: "127.0.0.1:40123", "[::1]:80", "unix:/run/x.sock" */
    dev_t device;                       /* of the unix socket's file, so that only the own file is removed */
    ino_t inode;
};

/*
 * What `text` stands for, each to be opened by itself: all addresses of a host name that this machine has ("localhost"
 * may be 127.0.0.1 and ::1), otherwise the one that it is. AIC_INVALID: nobody knows the name; `error` has the field
 * "listen". May wait for the resolver.
 */
#define LISTEN_NAME_ADDRESSES 8
AIC_MUST_CHECK aic_status listener_addresses(const char *text, char out[LISTEN_NAME_ADDRESSES][LISTEN_ADDRESS_BYTES],
                                             unsigned *count, aic_error *error);
/*
 * Binds `text`, one address, and listens; sockets[0..count) get one non-blocking descriptor each, owned by the caller.
 * AIC_INVALID (no such address), AIC_LOCKED (in use), AIC_IO; `error` has the field "listen".
 */
AIC_MUST_CHECK aic_status listener_open(struct listener *listener, const char *text, int *sockets, unsigned count,
                                        aic_error *error);
/* Removes the file of a unix socket, unless somebody listens on it. The descriptors are the caller's, closed before. */
void listener_close(struct listener *listener);

#endif
