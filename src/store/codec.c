#include "store/codec.h"

#include "base/check.h"
#include "store/codec_inner.h"

#include <string.h>

aic_status codec_create(const struct codec_options *options, struct codec **out)
{
    if (options->level < CODEC_LEVEL_MIN || options->level > CODEC_LEVEL_MAX) return AIC_INVALID;
    struct codec *codec = mem_zalloc(options->mem, MEM_CODEC, sizeof *codec);
    if (codec == NULL) return AIC_NO_MEMORY;
    codec->options = *options;
    pthread_mutex_init(&codec->lock, NULL);
    *out = codec;
    return AIC_OK;
}

void codec_destroy(struct codec **codec)
{
    struct codec *gone = *codec;
    if (gone == NULL) return;
    *codec = NULL;
    CHECK(!gone->training);
    for (size_t i = 0; i < CODEC_GROUP_CHAINS; i++) {
        while (gone->groups[i] != NULL) {
            struct codec_group *group = gone->groups[i];
            gone->groups[i] = group->next;
            samples_clear(&group->samples, gone->options.mem);
            dictionary_release(&group->current);
            mem_free(gone->options.mem, MEM_CODEC, group, sizeof *group + group->name_size);
        }
    }
    for (size_t i = 0; i < DICTIONARY_CHAINS; i++) {
        while (gone->dictionaries.chains[i] != NULL) {
            struct dictionary *last = dictionary_set_remove(&gone->dictionaries, gone->dictionaries.chains[i]->id);
            dictionary_release(&last);
        }
    }
    CHECK(gone->dictionaries.count == 0 && gone->dictionaries.bytes == 0);
    for (unsigned i = 0; i < gone->compressor_count; i++) ZSTD_freeCCtx(gone->compressors[i]);
    for (unsigned i = 0; i < gone->decompressor_count; i++) ZSTD_freeDCtx(gone->decompressors[i]);
    pthread_mutex_destroy(&gone->lock);
    mem_free(gone->options.mem, MEM_CODEC, gone, sizeof *gone);
}

/* ---- encoding ---- */

struct encoding {
    struct codec_group *group;     /* NULL: no dictionary and no samples */
    struct dictionary *dictionary; /* one reference */
    ZSTD_CCtx *context;
    bool sampled;
};

static aic_status begin_encoding(struct codec *codec, aic_view group, aic_view plain, struct encoding *encoding)
{
    *encoding = (struct encoding){0};
    pthread_mutex_lock(&codec->lock);
    if (codec->compressor_count > 0) encoding->context = codec->compressors[--codec->compressor_count];
    if (!codec->options.dictionary_off && plain.size <= CODEC_DICTIONARY_MAX_VALUE)
        encoding->group = codec_group_locked(codec, group);
    if (encoding->group != NULL) {
        encoding->dictionary = encoding->group->current;
        if (encoding->dictionary != NULL) dictionary_take(encoding->dictionary);
        encoding->sampled = codec_wants_sample_locked(codec, encoding->group, plain.size);
    }
    pthread_mutex_unlock(&codec->lock);
    if (encoding->context == NULL) encoding->context = ZSTD_createCCtx_advanced(zstd_mem(codec->options.mem));
    if (encoding->context != NULL) return AIC_OK;
    dictionary_release(&encoding->dictionary);
    return AIC_NO_MEMORY;
}

static void end_encoding(struct codec *codec, struct encoding *encoding, aic_view plain, size_t stored)
{
    /* A sample that finds no memory is one sample less, no failure. */
    struct sample *sample = encoding->sampled ? sample_create(codec->options.mem, plain) : NULL;
    size_t bytes = ZSTD_sizeof_CCtx(encoding->context);
    pthread_mutex_lock(&codec->lock);
    if (sample != NULL && codec_add_sample_locked(codec, encoding->group, sample) == AIC_OK) sample = NULL;
    if (encoding->dictionary != NULL)
        codec_watch_ratio_locked(encoding->group, encoding->dictionary, plain.size, stored);
    /* One that is not worth keeping is freed without the lock. */
    ZSTD_CCtx *surplus = encoding->context;
    if (codec->compressor_count < CODEC_IDLE_MAX && bytes <= CODEC_IDLE_BYTES) {
        codec->compressors[codec->compressor_count++] = surplus;
        surplus = NULL;
    }
    pthread_mutex_unlock(&codec->lock);
    ZSTD_freeCCtx(surplus);
    sample_destroy(codec->options.mem, &sample);
    dictionary_release(&encoding->dictionary);
}

/* The compressed size, or 0 when it would not be smaller or memory ran out (*no_memory). */
static size_t compress(const struct codec *codec, const struct encoding *encoding, aic_view plain, char *room,
                       bool *no_memory)
{
    size_t capacity = plain.size - 1;
    size_t size = encoding->dictionary != NULL ? ZSTD_compress_usingCDict(encoding->context, room, capacity, plain.data,
                                                                          plain.size, encoding->dictionary->compress)
                                               : ZSTD_compressCCtx(encoding->context, room, capacity, plain.data,
                                                                   plain.size, codec->options.level);
    *no_memory = ZSTD_isError(size) && ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation;
    return ZSTD_isError(size) ? 0 : size;
}

/* Room in `out`, whose failure does not stick when it did not before: the caller learns it from the status. */
static char *reserve(struct buf *out, size_t bytes)
{
    bool failed = out->failed;
    char *room = buf_reserve(out, bytes);
    out->failed = failed;
    return room;
}

aic_status codec_encode(struct codec *codec, aic_view group, aic_view plain, struct buf *out, struct codec_form *form)
{
    if (plain.size <= codec->options.threshold_bytes || plain.size < 2) {
        FIGURE_COUNT(&codec->counts, kept_plain, 1);
        *form = (struct codec_form){0};
        return AIC_OK;
    }
    char *room = reserve(out, plain.size - 1);
    if (room == NULL) return AIC_NO_MEMORY;
    struct encoding encoding;
    TRY(begin_encoding(codec, group, plain, &encoding));
    uint32_t id = encoding.dictionary != NULL ? encoding.dictionary->id : 0;
    bool no_memory = false;
    size_t size = compress(codec, &encoding, plain, room, &no_memory);
    end_encoding(codec, &encoding, plain, size > 0 ? size : plain.size);
    if (no_memory) return AIC_NO_MEMORY;
    if (size > 0) {
        FIGURE_COUNT(&codec->counts, compressed_entries, 1);
        FIGURE_COUNT(&codec->counts, compression_bytes_in, plain.size);
        FIGURE_COUNT(&codec->counts, compression_bytes_out, size);
        buf_commit(out, size);
    } else {
        FIGURE_COUNT(&codec->counts, kept_plain, 1);
    }
    *form = (struct codec_form){.compressed = size > 0, .dictionary_id = size > 0 ? id : 0};
    return AIC_OK;
}

/* ---- decoding ---- */

static aic_status begin_decoding(struct codec *codec, uint32_t id, ZSTD_DCtx **context, struct dictionary **dictionary)
{
    *dictionary = NULL;
    pthread_mutex_lock(&codec->lock);
    struct dictionary *found = id != 0 ? dictionary_set_find(&codec->dictionaries, id) : NULL;
    if (found != NULL) dictionary_take(found);
    bool unknown = id != 0 && found == NULL;
    bool has_idle = !unknown && codec->decompressor_count > 0;
    *context = has_idle ? codec->decompressors[--codec->decompressor_count] : NULL;
    pthread_mutex_unlock(&codec->lock);
    if (unknown) return AIC_NOT_FOUND;
    if (*context == NULL) *context = ZSTD_createDCtx_advanced(zstd_mem(codec->options.mem));
    if (*context == NULL) {
        dictionary_release(&found);
        return AIC_NO_MEMORY;
    }
    *dictionary = found;
    return AIC_OK;
}

static void end_decoding(struct codec *codec, ZSTD_DCtx *context, struct dictionary *dictionary)
{
    pthread_mutex_lock(&codec->lock);
    bool is_kept = codec->decompressor_count < CODEC_IDLE_MAX;
    if (is_kept) codec->decompressors[codec->decompressor_count++] = context;
    pthread_mutex_unlock(&codec->lock);
    if (!is_kept) ZSTD_freeDCtx(context);
    dictionary_release(&dictionary);
}

static aic_status unpack(struct codec *codec, uint32_t id, aic_view stored, size_t plain_size, struct buf *out)
{
    /* The frame says its content size itself; a wrong claim is refused before memory is asked for. */
    if (ZSTD_getFrameContentSize(stored.data, stored.size) != plain_size) return AIC_DAMAGED;
    char *room = reserve(out, plain_size);
    if (room == NULL) return AIC_NO_MEMORY;
    ZSTD_DCtx *context;
    struct dictionary *dictionary;
    TRY(begin_decoding(codec, id, &context, &dictionary));
    size_t size = ZSTD_decompress_usingDDict(context, room, plain_size, stored.data, stored.size,
                                             dictionary != NULL ? dictionary->decompress : NULL);
    end_decoding(codec, context, dictionary);
    if (ZSTD_isError(size) || size != plain_size) return AIC_DAMAGED;
    buf_commit(out, size);
    return AIC_OK;
}

static aic_status copy_plain(aic_view stored, size_t plain_size, struct buf *out)
{
    if (stored.size != plain_size) return AIC_DAMAGED;
    char *room = reserve(out, plain_size);
    if (room == NULL) return AIC_NO_MEMORY;
    if (plain_size > 0) memcpy(room, stored.data, plain_size);
    buf_commit(out, plain_size);
    return AIC_OK;
}

aic_status codec_decode(struct codec *codec, struct codec_form form, aic_view stored, size_t plain_size,
                        struct buf *out)
{
    aic_status status = AIC_DAMAGED;
    if (plain_size <= codec->options.max_plain_bytes)
        status = form.compressed ? unpack(codec, form.dictionary_id, stored, plain_size, out)
                                 : copy_plain(stored, plain_size, out);
    if (status == AIC_OK) FIGURE_COUNT(&codec->counts, decoded, 1);
    if (status == AIC_DAMAGED) FIGURE_COUNT(&codec->counts, undecodable, 1);
    return status;
}

void codec_figures(struct codec *codec, struct figures *out)
{
    figures_add(out, &codec->counts);
    out->compression_ratio = out->compression_bytes_in > 0
                                 ? (double)out->compression_bytes_out / (double)out->compression_bytes_in
                                 : 1.0;
    pthread_mutex_lock(&codec->lock);
    out->dictionaries = codec->dictionaries.count;
    out->dictionary_bytes = codec->dictionaries.bytes;
    out->sample_bytes = codec->sample_bytes;
    pthread_mutex_unlock(&codec->lock);
}
