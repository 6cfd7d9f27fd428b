/*
 * file.h - pieces of a file by descriptor: all of them, or the reason why not.
 *
 * read(2) and write(2) may move less than they were asked for, and say why only when they are asked again: a short
 * write leaves errno as another call left it. These two ask again. They change no offset, so they are for what can be
 * sought in: no pipes, sockets or terminals. Any thread.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <aicache/aicache.h>

#include <stddef.h>
#include <stdint.h>

/* Writes all of it at `offset`, in bytes. 0, or the number of the error. */
AIC_MUST_CHECK int file_write(int fd, const void *bytes, size_t size, uint64_t offset);
/* Reads `size` bytes from `offset` on, fewer only where the file ends. *got is how many there were, after an error too.
 * 0, or the number of the error. */
AIC_MUST_CHECK int file_read(int fd, void *out, size_t size, uint64_t offset, size_t *got);

#endif
