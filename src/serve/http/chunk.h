/*
 * chunk.h - the chunked transfer coding of a request body, decoded byte by byte by the grammar of RFC 9112, 7.1.
 *
 * Nothing beyond the grammar is accepted: sizes are hexadecimal digits, every line ends with CRLF, extensions and
 * trailers are checked and dropped. Trailers never change anything. One thread at a time.
 */
#ifndef SERVE_CHUNK_H
#define SERVE_CHUNK_H

#include "serve/http/head.h"

#define CHUNK_MAX_EXTENSION_BYTES 4096 /* of all extensions of a body together */
#define CHUNK_MAX_TRAILER_BYTES 8192

struct chunk {
    uint64_t left;      /* bytes of the current chunk that are still to come */
    uint32_t extension; /* bytes of extensions seen */
    uint32_t trailer;   /* bytes of trailers seen */
    uint8_t state;
    uint8_t digits;
};

/* Zeroes are the beginning. */

enum chunk_event { CHUNK_MORE, CHUNK_DATA, CHUNK_END, CHUNK_REFUSED };

/*
 * Reads from data[0..size), sets *used. CHUNK_DATA: *piece lies in data; call again with the rest. CHUNK_MORE:
 * everything was used and more is needed. CHUNK_END: the body is complete, what follows belongs to the next request.
 * CHUNK_REFUSED: *why says it.
 */
enum chunk_event chunk_read(struct chunk *chunk, const char *data, size_t size, size_t *used, aic_view *piece,
                            struct head_refusal *why);

#endif
