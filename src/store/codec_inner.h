/*
 * codec_inner.h - what the codec's two halves share: coding (codec.c) and groups with their training (codec_group.c).
 */
#ifndef STORE_CODEC_INNER_H
#define STORE_CODEC_INNER_H

#include "store/codec.h"
#include "store/samples.h"

#include <pthread.h>
#include <zstd_errors.h>

enum {
    CODEC_LEVEL_MIN = 1,
    CODEC_LEVEL_MAX = 19,
    CODEC_GROUP_CHAINS = 1024,
    CODEC_GROUPS_MAX = 8192, /* further groups are compressed without a dictionary */
    CODEC_IDLE_MAX = 16,
    CODEC_IDLE_BYTES = 8 * 1024 * 1024,              /* a context that grew beyond this is not kept */
    CODEC_DICTIONARY_MAX_VALUE = 128 * 1024,         /* the text of larger values soon outweighs a dictionary */
    CODEC_GATHERING_MAX = 8,                         /* groups that gather samples at a time: 16 MB together */
    CODEC_GATHERING_IDLE = 4096,                     /* values of other groups after which a silent one gives way */
    CODEC_DICTIONARIES_MAX_BYTES = 64 * 1024 * 1024, /* beyond this no further group is trained */
    CODEC_WINDOW_VALUES = 256,                       /* over which a ratio is taken */
};

/* Bytes before and after, of the last values that went through the current dictionary. */
struct codec_window {
    uint64_t values, bytes_in, bytes_out;
};

struct codec_group {
    struct codec_group *next;
    struct dictionary *current; /* encodes; one reference; NULL: none yet */
    struct samples samples;
    bool gathers;              /* is among codec->gathering */
    uint64_t last_value;       /* codec->values when its last value came */
    uint64_t seen_bytes;       /* of all values that came */
    uint64_t trained_at_bytes; /* seen_bytes when the current dictionary was trained */
    uint64_t retry_at_bytes;   /* no training before that much was seen */
    struct codec_window window;
    double first_ratio; /* of the first window after the training; 0: not yet known */
    bool worsened;
    size_t name_size;
    char name[];
};

struct codec {
    struct codec_options options;
    /* Protects everything down to the counters. Taken alone: nothing else is locked under it. */
    pthread_mutex_t lock;
    struct codec_group *groups[CODEC_GROUP_CHAINS];
    size_t group_count;
    struct dictionary_set dictionaries;
    bool training;
    struct codec_group *gathering[CODEC_GATHERING_MAX]; /* NULL: a free place */
    uint64_t sample_bytes;
    uint64_t values; /* that came with a group */
    ZSTD_CCtx *compressors[CODEC_IDLE_MAX];
    unsigned compressor_count;
    ZSTD_DCtx *decompressors[CODEC_IDLE_MAX];
    unsigned decompressor_count;
    struct figure_counts counts;
};

/* The group of this name, made when it is new; NULL when there are too many or memory is short. Groups stay until the
 * codec goes. */
struct codec_group *codec_group_locked(struct codec *codec, aic_view name);
/* Counts a value of the group; is it to become a sample? */
bool codec_wants_sample_locked(struct codec *codec, struct codec_group *group, size_t value_bytes);
/* Takes the sample over: AIC_OK, or AIC_STALE when the group gave its place away meanwhile; the sample stays the
 * caller's. */
AIC_MUST_CHECK aic_status codec_add_sample_locked(struct codec *codec, struct codec_group *group,
                                                  struct sample *sample);
/* Takes a value's sizes into the window of the dictionary that compressed it. */
void codec_watch_ratio_locked(struct codec_group *group, const struct dictionary *dictionary, size_t bytes_in,
                              size_t bytes_out);

#endif
