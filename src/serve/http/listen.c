#include "serve/http/listen.h"

#include "base/check.h"
#include "base/status.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* Connections that wait for an accept; the kernel caps it at net.core.somaxconn. */
#define BACKLOG 4096

static aic_status failed(aic_error *error, const char *text, const char *what)
{
    int number = errno;
    aic_status status = number == EADDRINUSE ? AIC_LOCKED : number == EADDRNOTAVAIL ? AIC_INVALID : AIC_IO;
    return error_set(error, status, "listen", "Cannot %s %.120s: %s.", what, text, strerror(number));
}

static void close_all(int *sockets, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (sockets[i] >= 0) close(sockets[i]);
        sockets[i] = -1;
    }
}

/* -------------------------------------------------------------------------------------------------------- TCP -- */

/* "host:port" or "[v6]:port"; the parts are copied. */
static bool split_address(const char *text, char *host, size_t host_bytes, char *port, size_t port_bytes)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) return false;
    const char *begin = text;
    const char *end = colon;
    if (*text == '[') {
        if (colon[-1] != ']') return false;
        begin++;
        end--;
    } else if (memchr(text, ':', (size_t)(colon - text)) != NULL) {
        return false; /* an IPv6 address without brackets */
    }
    size_t host_size = (size_t)(end - begin);
    size_t port_size = strlen(colon + 1);
    if (host_size == 0 || host_size >= host_bytes || port_size == 0 || port_size >= port_bytes) return false;
    if (strspn(colon + 1, "0123456789") != port_size || strtoul(colon + 1, NULL, 10) > 65535) return false;
    memcpy(host, begin, host_size);
    host[host_size] = '\0';
    memcpy(port, colon + 1, port_size + 1);
    return true;
}

/* All addresses of a host, to be released by freeaddrinfo(). */
static aic_status resolve(const char *text, struct addrinfo **out, aic_error *error)
{
    char host[128];
    char port[8];
    if (!split_address(text, host, sizeof host, port, sizeof port))
        return error_set(error, AIC_INVALID, "listen",
                         "%.120s is no address: accepted are host:port, [ipv6]:port and unix:PATH.", text);
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int result = getaddrinfo(host, port, &hints, out);
    if (result != 0)
        return error_set(error, AIC_INVALID, "listen", "Cannot resolve %.120s: %s.", text,
                         result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
    return AIC_OK;
}

/* What the kernel takes of an answer beyond what it can send now. Without this it takes up to 4 MiB (net.ipv4.tcp_wmem)
 * for each client that does not read, which no limit of ours sees and the group's limit does. */
#define UNSENT_BYTES 131072

/* A bound socket, or -1 with errno. Accepted sockets inherit the options, which saves calls for each. */
static int bind_tcp(const struct sockaddr_storage *address, socklen_t size, bool share)
{
    int one = 1, unsent = UNSENT_BYTES;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    bool fine = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0 &&
                setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent) == 0;
    if (fine && share) fine = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0;
    if (fine && address->ss_family == AF_INET6) fine = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) == 0;
    if (fine && bind(fd, (const struct sockaddr *)address, size) == 0) return fd;
    int number = errno;
    close(fd);
    errno = number;
    return -1;
}

static unsigned port_of(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6) return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

static void format_tcp(const struct sockaddr_storage *address, char out[LISTEN_ADDRESS_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "";
    bool six = address->ss_family == AF_INET6;
    const void *bytes = six ? (const void *)&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
    inet_ntop(address->ss_family, bytes, host, sizeof host);
    snprintf(out, LISTEN_ADDRESS_BYTES, six ? "[%s]:%u" : "%s:%u", host, port_of(address));
}

static aic_status open_tcp(struct listener *listener, const char *text, int *sockets, unsigned count, aic_error *error)
{
    struct sockaddr_storage address;
    struct addrinfo *found = NULL;
    TRY(resolve(text, &found, error));
    memcpy(&address, found->ai_addr, found->ai_addrlen);
    socklen_t size = found->ai_addrlen;
    freeaddrinfo(found);
    if (port_of(&address) != 0) { /* tried alone first: a port that somebody shares is a port in use */
        int probe = bind_tcp(&address, size, false);
        if (probe < 0) return failed(error, text, "bind");
        close(probe);
    }
    for (unsigned i = 0; i < count; i++) {
        sockets[i] = bind_tcp(&address, size, true);
        if (sockets[i] < 0) return failed(error, text, "bind");
        socklen_t bound = sizeof address; /* the first socket picks the port of all */
        if (getsockname(sockets[i], (struct sockaddr *)&address, &bound) != 0) return failed(error, text, "bind");
        if (listen(sockets[i], BACKLOG) != 0) return failed(error, text, "listen on");
    }
    format_tcp(&address, listener->address);
    return AIC_OK;
}

/* A machine without IPv6 has ::1 in its table of names all the same. */
static bool is_of_this_machine(const struct addrinfo *address)
{
    struct sockaddr_storage any;
    memcpy(&any, address->ai_addr, address->ai_addrlen);
    if (any.ss_family == AF_INET6) ((struct sockaddr_in6 *)(void *)&any)->sin6_port = 0;
    else ((struct sockaddr_in *)(void *)&any)->sin_port = 0;
    int fd = bind_tcp(&any, address->ai_addrlen, false);
    bool is = fd >= 0 || (errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT);
    if (fd >= 0) close(fd);
    return is;
}

static bool is_listed(char list[][LISTEN_ADDRESS_BYTES], unsigned count, const char *text)
{
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(list[i], text) == 0) return true;
    }
    return false;
}

aic_status listener_addresses(const char *text, char out[LISTEN_NAME_ADDRESSES][LISTEN_ADDRESS_BYTES], unsigned *count,
                              aic_error *error)
{
    struct addrinfo *found = NULL;
    *count = 1;
    snprintf(out[0], LISTEN_ADDRESS_BYTES, "%s", text);
    if (strncmp(text, "unix:", 5) == 0) return AIC_OK;
    TRY(resolve(text, &found, error));
    unsigned listed = 0;
    for (const struct addrinfo *at = found; at != NULL && listed < LISTEN_NAME_ADDRESSES; at = at->ai_next) {
        struct sockaddr_storage address;
        memcpy(&address, at->ai_addr, at->ai_addrlen);
        if (found->ai_next != NULL && !is_of_this_machine(at)) continue;
        format_tcp(&address, out[listed]);
        if (!is_listed(out, listed, out[listed])) listed++;
    }
    freeaddrinfo(found);
    if (listed > 0) *count = listed; /* else the name as it is: opening it says why not */
    else snprintf(out[0], LISTEN_ADDRESS_BYTES, "%s", text);
    return AIC_OK;
}

/* ----------------------------------------------------------------------------------------------- unix sockets -- */

/* Does a process answer at this path? Anything but a refusal counts as yes. */
static bool somebody_listens(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return true;
    int result = connect(fd, (const struct sockaddr *)address, sizeof *address);
    int number = errno;
    close(fd);
    return result == 0 || number != ECONNREFUSED;
}

/* Removes the file of a socket on which nobody listens any more. */
static aic_status remove_stale(const char *text, const struct sockaddr_un *address, aic_error *error)
{
    struct stat file;
    if (lstat(address->sun_path, &file) != 0) return errno == ENOENT ? AIC_OK : failed(error, text, "look at");
    if (!S_ISSOCK(file.st_mode))
        return error_set(error, AIC_INVALID, "listen", "%.120s is there and is no socket; it is not touched.", text);
    if (somebody_listens(address))
        return error_set(error, AIC_LOCKED, "listen", "Another process listens on %.120s.", text);
    if (unlink(address->sun_path) != 0 && errno != ENOENT) return failed(error, text, "remove the stale");
    return AIC_OK;
}

/* The file is never more open than 0660: its mode is set on the socket before the bind, and again after it, past the
 * umask. */
static aic_status bind_unix(struct listener *listener, const char *text, const struct sockaddr_un *address, int fd,
                            aic_error *error)
{
    if (fchmod(fd, 0660) != 0) return failed(error, text, "set the mode of");
    if (bind(fd, (const struct sockaddr *)address, sizeof *address) != 0) return failed(error, text, "bind");
    struct stat file;
    if (lstat(address->sun_path, &file) != 0) return failed(error, text, "look at");
    listener->device = file.st_dev;
    listener->inode = file.st_ino;
    snprintf(listener->address, sizeof listener->address, "unix:%s", address->sun_path);
    if (chmod(address->sun_path, 0660) != 0) return failed(error, text, "set the mode of");
    return listen(fd, BACKLOG) == 0 ? AIC_OK : failed(error, text, "listen on");
}

static aic_status open_unix(struct listener *listener, const char *text, int *sockets, unsigned count, aic_error *error)
{
    const char *path = text + strlen("unix:");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (*path == '\0' || strlen(path) >= sizeof address.sun_path)
        return error_set(error, AIC_INVALID, "listen", "The path of %.120s is empty or longer than %zu bytes.", text,
                         sizeof address.sun_path - 1);
    strcpy(address.sun_path, path);
    TRY(remove_stale(text, &address, error));
    sockets[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (sockets[0] < 0) return failed(error, text, "make a socket for");
    TRY(bind_unix(listener, text, &address, sockets[0], error));
    for (unsigned i = 1; i < count; i++) {
        sockets[i] = fcntl(sockets[0], F_DUPFD_CLOEXEC, 0);
        if (sockets[i] < 0) return failed(error, text, "duplicate the socket of");
    }
    return AIC_OK;
}

aic_status listener_open(struct listener *listener, const char *text, int *sockets, unsigned count, aic_error *error)
{
    memset(listener, 0, sizeof *listener);
    listener->local = strncmp(text, "unix:", 5) == 0;
    for (unsigned i = 0; i < count; i++) sockets[i] = -1;
    aic_status status = listener->local ? open_unix(listener, text, sockets, count, error)
                                        : open_tcp(listener, text, sockets, count, error);
    if (status == AIC_OK) return AIC_OK;
    close_all(sockets, count);
    listener_close(listener);
    return status;
}

/* The inode alone does not tell whose file it is: numbers are given out again. */
void listener_close(struct listener *listener)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat file;
    if (!listener->local || listener->inode == 0) return;
    const char *path = listener->address + strlen("unix:");
    memcpy(address.sun_path, path, strlen(path));
    if (lstat(path, &file) == 0 && file.st_dev == listener->device && file.st_ino == listener->inode &&
        !somebody_listens(&address))
        unlink(path);
    listener->inode = 0;
}
