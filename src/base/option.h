/*
 * option.h - one table from which configuration file, environment, flags, --help, the manual and the reference page come.
 *
 * A program describes its options as an array of `struct option_row` (made by an X-macro beside the struct that they fill). The loader reads a YAML file by
 * libyaml events, then the environment, then flags; each refusal names file, line, key and what is accepted. One thread.
 */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include "base/buf.h"

enum option_type { OPTION_BOOL, OPTION_U64, OPTION_SIZE /* K M G */, OPTION_MS /* ms s m h d */, OPTION_SECONDS, OPTION_TEXT, OPTION_ENUM, OPTION_TEXT_LIST,
    OPTION_TABLE /* a list or map of its own shape, read by `read_table` */ };

struct option_row {
    const char *name;        /* "memory.max_bytes": YAML path, AICACHE_MEMORY_MAX_BYTES, --memory-max-bytes */
    enum option_type type;
    size_t offset;           /* into the target struct */
    const char *fallback;    /* the default, as a user would write it */
    uint64_t min, max;       /* of numbers */
    const char *choices;     /* of OPTION_ENUM: "s3fifo|lru|fifo|sieve", stored as the index (unsigned) */
    bool live;               /* SIGHUP can change it */
    const char *help;        /* one sentence */
    const char *detail;      /* a paragraph for manual and reference; NULL: none */
};

#endif
