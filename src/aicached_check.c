/*
 * aicached_check.c - --check-config beyond the words of the settings: what a start would need is tried as far as that
 * leaves nothing behind. The certificate and its key are loaded, the secret is read; in directories a file is made and
 * removed, and so are the directories that a start would make; addresses are bound.
 *
 * What it cannot know: a port that somebody else has, a store that is in use, damaged, or of another secret, what
 * changes until the start.
 */
#include "aicached.h"

#include "base/check.h"
#include "observe/host.h"
#include "serve/http/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct trial {
    struct daemon *daemon;
    const struct settings_origins *origins;
    struct option_report *report;
};

static struct option_origin origin_of(const struct trial *trial, const char *name)
{
    const struct option_row *row = option_find(settings_table(), name);
    CHECK(row != NULL);
    return trial->origins->items[row - settings_table()->rows];
}

/* 0, or why this user cannot make files in the directory: one is made and removed. What rights say is not asked: root
 * has all of them, and there are file systems where nobody can make anything. */
static int directory_fault(const char *path)
{
    struct stat entry;
    char trial[4096];
    if (stat(path, &entry) != 0) return errno;
    if (!S_ISDIR(entry.st_mode)) return ENOTDIR;
    int size = snprintf(trial, sizeof trial, "%s/.aicached-check.%ld", path, (long)getpid());
    if (size >= (int)sizeof trial) return ENAMETOOLONG;
    int fd = open(trial, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return errno;
    close(fd);
    return unlink(trial) == 0 ? 0 : errno;
}

/* The directory that holds `path`; false when it does not fit. */
static bool parent_of(const char *path, char *out, size_t size)
{
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    while (end > 0 && path[end - 1] != '/') end--;
    while (end > 1 && path[end - 1] == '/') end--;
    if (end >= size) return false;
    memcpy(out, path, end);
    out[end] = '\0';
    if (end == 0) snprintf(out, size, ".");
    return true;
}

static void refuse_directory(const struct trial *trial, const char *option, const char *path, int fault)
{
    option_refuse(trial->report, origin_of(trial, option), option,
                  "%.200s: %s; accepted: a directory that this user may write in", path, strerror(fault));
}

static void try_directory(const struct trial *trial, const char *option, const char *path)
{
    int fault = directory_fault(path);
    if (fault != 0) refuse_directory(trial, option, path, fault);
}

/* Removes `path` and the directories above it, down to the one whose name ends at `first`. */
static void remove_made(char *path, size_t first)
{
    for (size_t end = strlen(path); end >= first; end--) {
        if (path[end] != '/' && path[end] != '\0') continue;
        path[end] = '\0';
        (void)rmdir(path); /* of "a//b" the same one twice */
    }
}

/* What a start does: the directories that are missing are made, and a file in the last one; then all that was made is
 * removed. 0, or why not; `path` is cut to the one that refused. */
static int making_fault(char *path)
{
    char made[4096];
    size_t length = strlen(path), first = 0, end = 1;
    int fault = 0;
    while (length > 1 && path[length - 1] == '/') path[--length] = '\0';
    for (; end <= length && fault == 0; end++) {
        if (path[end] != '/' && path[end] != '\0') continue;
        snprintf(made, sizeof made, "%.*s", (int)end, path);
        if (mkdir(made, 0700) == 0) first = first == 0 ? end : first;
        else if (errno != EEXIST) fault = errno;
        if (fault != 0 && access(made, F_OK) == 0) fault = 0; /* a file system that is read-only says so first */
        if (fault != 0) path[end] = '\0';
    }
    if (fault == 0) fault = directory_fault(path);
    snprintf(made, sizeof made, "%s", path);
    if (first > 0) remove_made(made, first);
    return fault;
}

static void try_data_dir(const struct trial *trial)
{
    const struct settings *settings = &trial->daemon->settings;
    char path[4096];
    if (settings->storage_kind == SETTINGS_STORAGE_NONE || settings->data_dir == NULL) return;
    if (snprintf(path, sizeof path, "%s", settings->data_dir) >= (int)sizeof path) return;
    int fault = making_fault(path);
    if (fault != 0) refuse_directory(trial, "data_dir", path, fault);
}

struct listener {
    const struct trial *trial;
    const char *option;
};

/* What the cache says of the secret: who can read it. */
static void warn(void *context, aic_log_level level, const char *line)
{
    const struct listener *listener = context;
    if (level < AIC_LOG_WARNING) return;
    option_warn(listener->trial->report, origin_of(listener->trial, listener->option), listener->option, "%s", line);
}

/* Read by a cache without storage, so that what is said of it is what a start says. */
static void try_secret(const struct trial *trial)
{
    aic_options wanted;
    char path[4096];
    settings_cache_options(&trial->daemon->settings, &wanted);
    bool given = wanted.secret_file != NULL;
    struct listener listener = {trial, given ? "secret_file" : "data_dir"};
    if (!given && wanted.data_dir == NULL) return; /* a secret of its own for each start */
    if (snprintf(path, sizeof path, "%s%s", given ? wanted.secret_file : wanted.data_dir, given ? "" : "/secret") >=
        (int)sizeof path)
        return;
    if (!given && access(path, F_OK) != 0 && errno == ENOENT) return; /* the start makes it */
    aic_cache *cache = NULL;
    aic_error error = {0};
    aic_options options = {.secret_file = path,
                           .storage = AIC_STORAGE_NONE,
                           .memory_max_bytes = AIC_ZERO,
                           .log = warn,
                           .log_context = &listener};
    aic_status status = aic_cache_open(&options, &cache, &error);
    if (status != AIC_OK)
        option_refuse(trial->report, origin_of(trial, listener.option), listener.option,
                      "%s; accepted: a file that this user may read, of at least 16 bytes",
                      error.message[0] != '\0' ? error.message : aic_status_text(status));
    aic_cache_close(&cache);
}

static void try_sockets(const struct trial *trial)
{
    const struct settings *settings = &trial->daemon->settings;
    for (size_t i = 0; i < settings->listen.count; i++) {
        struct settings_address address;
        aic_error error;
        char parent[4096];
        if (settings_address_parse(settings->listen.items[i], &address, &error) != AIC_OK || !address.is_unix) continue;
        if (parent_of(address.path, parent, sizeof parent)) try_directory(trial, "listen", parent);
    }
}

/* Would a start get this address? The socket is bound and not listened at. That somebody has the port is not told: it
 * may be the daemon that is to be started again. */
static int try_one(const struct addrinfo *address)
{
    int one = 1, fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (address->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    int why = bind(fd, address->ai_addr, address->ai_addrlen) != 0 && errno != EADDRINUSE ? errno : 0;
    close(fd);
    return why;
}

/* Of a name's addresses, those that this machine does not have are left out, if it has one. */
static void try_bind(const struct trial *trial, const char *text, const struct addrinfo *found)
{
    int why = 0;
    bool one = false;
    for (const struct addrinfo *at = found; at != NULL; at = at->ai_next) {
        int fault = try_one(at);
        if (fault == 0) one = true;
        else if (fault != EADDRNOTAVAIL && fault != EAFNOSUPPORT) why = fault;
        else if (why == 0 && !one && at->ai_next == NULL) why = fault;
    }
    if (why == 0) return;
    option_refuse(trial->report, origin_of(trial, "listen"), "listen",
                  "%.200s: %s; accepted: an address of this machine, and a port that this user may have", text,
                  strerror(why));
}

/* The same port of the same address, or of all addresses and one of them. */
static bool overlap_one(const struct addrinfo *a, const struct addrinfo *b)
{
    if (a->ai_family != b->ai_family) return false;
    if (a->ai_family == AF_INET) {
        const struct sockaddr_in *one = (const void *)a->ai_addr, *other = (const void *)b->ai_addr;
        bool any = one->sin_addr.s_addr == INADDR_ANY || other->sin_addr.s_addr == INADDR_ANY;
        return one->sin_port != 0 && one->sin_port == other->sin_port &&
               (any || one->sin_addr.s_addr == other->sin_addr.s_addr);
    }
    const struct sockaddr_in6 *one = (const void *)a->ai_addr, *other = (const void *)b->ai_addr;
    bool any = IN6_IS_ADDR_UNSPECIFIED(&one->sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&other->sin6_addr);
    return one->sin6_port != 0 && one->sin6_port == other->sin6_port &&
           (any || IN6_ARE_ADDR_EQUAL(&one->sin6_addr, &other->sin6_addr));
}

static bool overlap(const struct addrinfo *a, const struct addrinfo *b)
{
    for (; a != NULL; a = a->ai_next) {
        for (const struct addrinfo *other = b; other != NULL; other = other->ai_next) {
            if (overlap_one(a, other)) return true;
        }
    }
    return false;
}

/* As the server finds it; NULL, and told, when it cannot be found. */
static struct addrinfo *find_address(const struct trial *trial, const char *text,
                                     const struct settings_address *address)
{
    struct addrinfo *found = NULL;
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char port[8];
    snprintf(port, sizeof port, "%u", address->port);
    int result = getaddrinfo(address->host, port, &hints, &found);
    if (result == 0) return found;
    option_refuse(trial->report, origin_of(trial, "listen"), "listen",
                  "%.200s: %s; accepted: an address of this machine", text,
                  result == EAI_SYSTEM ? strerror(errno) : gai_strerror(result));
    return NULL;
}

static void try_addresses(const struct trial *trial)
{
    enum { MOST = 16 };
    const struct option_texts *listen = &trial->daemon->settings.listen;
    struct addrinfo *found[MOST] = {NULL};
    for (size_t i = 0; i < listen->count && i < MOST; i++) {
        struct settings_address address;
        aic_error error;
        if (settings_address_parse(listen->items[i], &address, &error) != AIC_OK || address.is_unix) continue;
        found[i] = find_address(trial, listen->items[i], &address);
        if (found[i] != NULL) try_bind(trial, listen->items[i], found[i]);
        for (size_t other = 0; other < i; other++) {
            if (!overlap(found[other], found[i])) continue;
            option_refuse(trial->report, origin_of(trial, "listen"), "listen",
                          "%.200s is listened at already as %.200s; accepted: each address once", listen->items[i],
                          listen->items[other]);
            break;
        }
    }
    for (size_t i = 0; i < MOST; i++) {
        if (found[i] != NULL) freeaddrinfo(found[i]);
    }
}

static void try_tls(const struct trial *trial)
{
    const struct settings *settings = &trial->daemon->settings;
    struct tls *tls = NULL;
    aic_error error = {0};
    if (settings->tls_certificate == NULL) return;
    aic_status status = tls_create(&trial->daemon->mem, settings->tls_certificate, settings->tls_key, &tls, &error);
    tls_destroy(&tls);
    if (status == AIC_OK) return;
    const char *option = strcmp(error.field, "tls.key") == 0 ? "tls.key" : "tls.certificate";
    option_refuse(trial->report, origin_of(trial, option), option,
                  "%s Accepted are files in PEM that this user may read, a certificate and its key.", error.message);
}

void daemon_try_memory(const struct settings *settings, const struct settings_origins *origins,
                       struct option_report *report)
{
    struct host_memory host;
    struct settings_need need;
    host_memory_read("", &host);
    bool grouped = host.cgroup_least_bytes > 0;
    uint64_t limit = grouped ? host.cgroup_least_bytes : host.total_bytes;
    settings_need(settings, limit, &need);
    if (limit == 0 || need.least <= limit) return;
    char advice[64] = "none would fit";
    if (need.fits > 0) snprintf(advice, sizeof advice, "%lluM would fit", (unsigned long long)need.fits >> 20);
    option_warn(report, origins->items[option_find(settings_table(), "memory.max_bytes") - settings_table()->rows],
                "memory.max_bytes",
                "a full tier and one large request take %lluM of memory, all that may wait makes it %lluM, and the %s "
                "has %lluM; %s",
                (unsigned long long)need.least >> 20, (unsigned long long)need.most >> 20,
                grouped ? "cgroup" : "machine", (unsigned long long)limit >> 20, advice);
}

aic_status daemon_try(struct daemon *daemon, const struct settings_origins *origins, struct option_report *report)
{
    struct trial trial = {daemon, origins, report};
    size_t errors = report->errors;
    try_data_dir(&trial);
    try_secret(&trial);
    try_sockets(&trial);
    try_addresses(&trial);
    try_tls(&trial);
    daemon_try_memory(&daemon->settings, origins, report);
    if (buf_status(&report->text) != AIC_OK) return AIC_NO_MEMORY;
    return report->errors > errors ? AIC_INVALID : AIC_OK;
}
