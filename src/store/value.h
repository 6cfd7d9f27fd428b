/*
 * value.h - where the bytes of a value lie: the runs of an entry, one after the other, and a cursor that writes them.
 *
 * Reading is for whoever holds a pin, writing for whoever made the entry and has not shown it yet; neither takes a
 * lock, for runs of an entry do not change while it is there.
 */
#ifndef STORE_VALUE_H
#define STORE_VALUE_H

#include "store/shard.h"

/* One run of value bytes, and the piece that follows. */
struct run {
    char *data;
    size_t size;
    handle next; /* 0: the last one */
};

struct run run_first(const struct entry *entry);
/* The run that begins at `at`, the `next` of the one before. */
struct run run_next(const struct store *store, handle at);

/* Where the next value byte of an entry that nobody sees yet goes. */
struct value_cursor {
    char *data;
    size_t left;
    handle next;
};
struct value_cursor value_begin(struct entry *entry);
/* Copies the parts behind what was written before; the entry must have room for them. */
void value_write(struct store *store, struct value_cursor *to, const struct iovec *parts, size_t part_count);

#endif
