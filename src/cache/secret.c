/*
 * secret.c - the secret that makes keys unguessable. It lies beside the data, so that keys stay the same after a
 * restart; losing it loses the entries' keys, not their privacy.
 *
 * The file holds 64 hex digits (32 bytes), or any other text of at least 16 bytes that several daemons share; white
 * space at the end does not count.
 *
 * Under another secret no entry of a store can be found, and nothing else would tell. So the store keeps a fingerprint
 * of its secret, in the blob "secret/fingerprint": the first 8 bytes, as 16 hex digits, of the HMAC-SHA-256 of a fixed
 * text, which no request has as its canonical form. It tells secrets apart and tells nothing of them. A store of before
 * has none and gets that of the secret it is opened with; a new secret is not made for a store that holds entries.
 */
#include "cache/inner.h"

#include "base/file.h"
#include "base/hex.h"
#include "base/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_BYTES 32
#define SECRET_MIN_BYTES 16
#define SECRET_MAX_FILE 4096
#define SECRET_PATH_SIZE 4096
#define FINGERPRINT_BLOB AIC_LITERAL("secret/fingerprint")

static aic_status refuse(aic_error *error, const char *path, const char *what, int fault)
{
    return error_set(error, AIC_IO, "secret_file", "%s '%.200s': %s", what, path, strerror(fault));
}

/* Writes it aside and links it in place, so that a crash leaves a whole secret or none; whoever is second reads the
 * first one's. */
static aic_status secret_make(const char *path, aic_error *error)
{
    uint8_t raw[SECRET_BYTES];
    TRY(digest_random(raw, sizeof raw));
    char text[2 * SECRET_BYTES + 2];
    hex_write(raw, sizeof raw, text);
    text[2 * SECRET_BYTES] = '\n';
    char aside[4096];
    if ((size_t)snprintf(aside, sizeof aside, "%s.%ld", path, (long)getpid()) >= sizeof aside)
        return error_set(error, AIC_INVALID, "data_dir", "the path is too long");
    (void)unlink(aside);
    int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return refuse(error, path, "cannot make the secret", errno);
    int fault = file_write(fd, text, 2 * SECRET_BYTES + 1, 0);
    if (fault == 0 && fsync(fd) != 0) fault = errno;
    if (fault == 0 && link(aside, path) != 0 && errno != EEXIST) fault = errno;
    close(fd);
    (void)unlink(aside);
    explicit_bzero(raw, sizeof raw);
    explicit_bzero(text, sizeof text);
    return fault == 0 ? AIC_OK : refuse(error, path, "cannot write the secret", fault);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* 64 hex digits become 32 bytes in place. False: it is some other text. */
static bool from_hex(char *text, size_t size)
{
    if (size != 2 * SECRET_BYTES) return false;
    for (size_t i = 0; i < size; i++) {
        if (hex_digit(text[i]) < 0) return false;
    }
    for (size_t i = 0; i < SECRET_BYTES; i++)
        text[i] = (char)(hex_digit(text[2 * i]) << 4 | hex_digit(text[2 * i + 1]));
    return true;
}

static aic_status secret_use(struct aic_cache *cache, char *text, size_t size, const char *path, struct digest **out,
                             aic_error *error)
{
    size = view_trim_end((aic_view){text, size}, " \t\r\n").size;
    if (from_hex(text, size)) return digest_create(&cache->mem, text, SECRET_BYTES, out);
    if (size < SECRET_MIN_BYTES)
        return error_set(error, AIC_INVALID, "secret_file", "'%.200s' holds %zu bytes: at least %d are needed", path,
                         size, SECRET_MIN_BYTES);
    return digest_create(&cache->mem, text, size, out);
}

static aic_status secret_read(struct aic_cache *cache, int fd, const char *path, struct digest **out, aic_error *error)
{
    struct stat entry;
    if (fstat(fd, &entry) != 0) return refuse(error, path, "cannot look at the secret", errno);
    if (!S_ISREG(entry.st_mode))
        return error_set(error, AIC_INVALID, "secret_file", "'%.200s' is no regular file", path);
    if ((entry.st_mode & 077) != 0)
        cache_log(cache, AIC_LOG_WARNING, "the secret '%.200s' can be read by others (mode %o); chmod 600 it", path,
                  (unsigned)(entry.st_mode & 0777));
    char text[SECRET_MAX_FILE];
    size_t size;
    int fault = file_read(fd, text, sizeof text, 0, &size);
    if (fault != 0) return refuse(error, path, "cannot read the secret", fault);
    aic_status status = size < sizeof text
                            ? secret_use(cache, text, size, path, out, error)
                            : error_set(error, AIC_INVALID, "secret_file", "'%.200s' is too long for a secret", path);
    explicit_bzero(text, sizeof text);
    return status;
}

static aic_status secret_open(struct aic_cache *cache, const char *path, struct digest **out, aic_error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe without a writer would wait for ever */
    if (fd < 0) return refuse(error, path, "cannot read the secret", errno);
    aic_status status = secret_read(cache, fd, path, out, error);
    close(fd);
    return status;
}

static aic_status secret_path(const aic_options *options, char path[SECRET_PATH_SIZE], aic_error *error)
{
    bool given = options->secret_file != NULL;
    int size = snprintf(path, SECRET_PATH_SIZE, "%s%s", given ? options->secret_file : options->data_dir,
                        given ? "" : "/secret");
    if (size >= 0 && size < SECRET_PATH_SIZE) return AIC_OK;
    return error_set(error, AIC_INVALID, given ? "secret_file" : "data_dir", "the path is too long");
}

/* ---- the store's fingerprint of it ---- */

static aic_status fingerprint_make(struct aic_cache *cache)
{
    struct digest_message *message;
    aic_view text = AIC_LITERAL("aicache-secret-fingerprint");
    aic_key key;
    TRY(digest_begin(cache->digest, &message));
    digest_add(message, text.data, text.size);
    digest_end(&message, &key);
    hex_write(key.bytes, FINGERPRINT_DIGITS / 2, cache->fingerprint);
    cache->fingerprint[FINGERPRINT_DIGITS] = '\0';
    return AIC_OK;
}

static aic_status refuse_store(const aic_options *options, const char *path, bool made, aic_error *error)
{
    return error_set(error, AIC_INVALID, "secret_file",
                     "the store in '%.100s' was written under another secret than %s in '%.100s' %s: none of its "
                     "entries could be found; put the old secret file back, or start with an empty data_dir",
                     options->data_dir, made ? "a new one" : "the one", path, made ? "would be" : "is");
}

/* Before a secret is made: there must be nothing that was written under the one that is missing. */
static aic_status refuse_to_replace(struct aic_cache *cache, const aic_options *options, const char *path,
                                    aic_error *error)
{
    if (cache->gate == NULL) return AIC_OK;
    struct buf kept;
    struct tier_stats stats;
    buf_init(&kept, &cache->mem, MEM_CACHE);
    aic_status status = gate_blob_get(cache->gate, FINGERPRINT_BLOB, &kept);
    buf_fini(&kept);
    gate_tier_stats(cache->gate, &stats);
    if (status == AIC_NO_MEMORY) return status;
    return status == AIC_OK || stats.entries > 0 ? refuse_store(options, path, true, error) : AIC_OK;
}

/* Storage that is down now is no reason not to start: the next open compares. */
static aic_status fingerprint_compare(struct aic_cache *cache, const aic_options *options, aic_error *error)
{
    struct buf kept;
    buf_init(&kept, &cache->mem, MEM_CACHE);
    aic_status status = gate_blob_get(cache->gate, FINGERPRINT_BLOB, &kept);
    bool same = status == AIC_OK && kept.size == FINGERPRINT_DIGITS &&
                memcmp(kept.data, cache->fingerprint, FINGERPRINT_DIGITS) == 0;
    buf_fini(&kept);
    if (same) return AIC_OK;
    if (status == AIC_OK) {
        char path[SECRET_PATH_SIZE];
        TRY(secret_path(options, path, error));
        return refuse_store(options, path, false, error);
    }
    bool missing = status == AIC_MISS;
    if (missing) /* the gate's first sync brings it to disk */
        status = gate_blob_put(cache->gate, FINGERPRINT_BLOB, (aic_view){cache->fingerprint, FINGERPRINT_DIGITS});
    if (status == AIC_OK || status == AIC_NO_MEMORY) return status;
    cache_log(cache, AIC_LOG_WARNING, "the store's fingerprint of its secret cannot be %s: %s",
              missing ? "written" : "read", missing ? gate_why(cache->gate, status) : aic_status_text(status));
    return AIC_OK;
}

/* ---- all of it ---- */

static aic_status secret_random(struct aic_cache *cache)
{
    uint8_t raw[SECRET_BYTES];
    TRY(digest_random(raw, sizeof raw));
    aic_status status = digest_create(&cache->mem, raw, sizeof raw, &cache->digest);
    explicit_bzero(raw, sizeof raw);
    return status;
}

static aic_status secret_find(struct aic_cache *cache, const aic_options *options, aic_error *error)
{
    if (options->secret_file == NULL && options->data_dir == NULL) return secret_random(cache);
    char path[SECRET_PATH_SIZE];
    TRY(secret_path(options, path, error));
    if (options->secret_file == NULL && access(path, F_OK) != 0 && errno == ENOENT) {
        TRY(refuse_to_replace(cache, options, path, error));
        TRY(secret_make(path, error));
    }
    return secret_open(cache, path, &cache->digest, error);
}

aic_status secret_load(struct aic_cache *cache, const aic_options *options, aic_error *error)
{
    TRY(secret_find(cache, options, error));
    TRY(fingerprint_make(cache));
    if (cache->gate == NULL || options->data_dir == NULL) return AIC_OK; /* nothing that outlives the secret */
    return fingerprint_compare(cache, options, error);
}
