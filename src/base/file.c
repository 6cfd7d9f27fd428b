#include "base/file.h"

#include "base/check.h"

#include <errno.h>
#include <unistd.h>

int file_write(int fd, const void *bytes, size_t size, uint64_t offset)
{
    CHECK(fd >= 0 && (bytes != NULL || size == 0));
    for (size_t at = 0; at < size;) {
        ssize_t put = pwrite(fd, (const char *)bytes + at, size - at, (off_t)(offset + at));
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return errno;
        if (put == 0) return ENOSPC; /* a device that takes nothing and says nothing */
        at += (size_t)put;
    }
    return 0;
}

int file_read(int fd, void *out, size_t size, uint64_t offset, size_t *got)
{
    CHECK(fd >= 0 && (out != NULL || size == 0));
    for (*got = 0; *got < size;) {
        ssize_t piece = pread(fd, (char *)out + *got, size - *got, (off_t)(offset + *got));
        if (piece < 0 && errno == EINTR) continue;
        if (piece < 0) return errno;
        if (piece == 0) return 0;
        *got += (size_t)piece;
    }
    return 0;
}
