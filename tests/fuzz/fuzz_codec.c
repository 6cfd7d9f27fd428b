/*
 * fuzz_codec.c - any bytes as a stored value, with and without a dictionary; any bytes as a value, which come back as
 * they were; any bytes as a dictionary.
 *
 * The first byte chooses, two more say the plain size; the rest are the bytes.
 */
#include "base/check.h"
#include "store/codec.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mem mem;
static struct codec *codec; /* with a dictionary, id 1, for the group "g" */

static void set_up(void)
{
    struct buf value;
    struct buf stored;
    struct codec_form form;
    mem_init(&mem, NULL);
    struct codec_options options = {.mem = &mem, .threshold_bytes = 0, .level = 3, .max_plain_bytes = 1 << 20};
    CHECK(codec_create(&options, &codec) == AIC_OK);
    buf_init(&value, &mem, MEM_OTHER);
    buf_init(&stored, &mem, MEM_OTHER);
    uint32_t seed = 1;
    for (int i = 0; i < 300; i++) {
        buf_clear(&value);
        buf_clear(&stored);
        while (value.size < 1000) {
            seed = seed * 1664525 + 1013904223;
            buf_printf(&value, "{\"member %u\":\"value %u\"},", seed >> 26, seed >> 22);
        }
        CHECK(codec_encode(codec, AIC_LITERAL("g"), buf_view(&value), &stored, &form) == AIC_OK);
    }
    unsigned trained = 0;
    CHECK(codec_train(codec, NULL, NULL, &trained) == AIC_OK && trained == 1);
    buf_fini(&value);
    buf_fini(&stored);
}

static void try_decode(struct codec_form form, aic_view stored, size_t plain_size)
{
    struct buf out;
    buf_init(&out, &mem, MEM_OTHER);
    aic_status status = codec_decode(codec, form, stored, plain_size, &out);
    CHECK(status == AIC_OK ? out.size == plain_size
                           : (status == AIC_DAMAGED || status == AIC_NOT_FOUND) && out.size == 0);
    buf_fini(&out);
}

static void try_round_trip(aic_view plain, aic_view group)
{
    struct buf stored;
    struct buf out;
    struct codec_form form;
    buf_init(&stored, &mem, MEM_OTHER);
    buf_init(&out, &mem, MEM_OTHER);
    CHECK(codec_encode(codec, group, plain, &stored, &form) == AIC_OK);
    CHECK(form.compressed ? stored.size < plain.size : stored.size == 0);
    CHECK(codec_decode(codec, form, form.compressed ? buf_view(&stored) : plain, plain.size, &out) == AIC_OK);
    CHECK(out.size == plain.size && (plain.size == 0 || memcmp(out.data, plain.data, plain.size) == 0));
    buf_fini(&out);
    buf_fini(&stored);
}

static void try_dictionary(aic_view bytes)
{
    struct codec *own;
    uint32_t id = 0;
    struct codec_options options = {.mem = &mem, .threshold_bytes = 0, .level = 1, .max_plain_bytes = 1 << 20};
    if (bytes.size >= 8) memcpy(&id, bytes.data + 4, sizeof id);
    CHECK(codec_create(&options, &own) == AIC_OK);
    aic_status status = codec_add_dictionary(own, AIC_LITERAL("g"), id, bytes);
    CHECK(status == AIC_OK || status == AIC_DAMAGED);
    codec_destroy(&own);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (codec == NULL) set_up();
    if (size < 3) return 0;
    size_t plain_size = (size_t)data[1] | (size_t)data[2] << 8;
    aic_view bytes = {(const char *)data + 3, size - 3};
    switch (data[0] % 5) {
    case 0: try_decode((struct codec_form){.compressed = true}, bytes, plain_size); break;
    case 1: try_decode((struct codec_form){.compressed = true, .dictionary_id = 1}, bytes, plain_size); break;
    case 2: try_decode((struct codec_form){.compressed = data[0] & 0x80, .dictionary_id = 2}, bytes, plain_size); break;
    case 3: try_round_trip(bytes, plain_size % 2 == 0 ? AIC_LITERAL("g") : AIC_LITERAL("h")); break;
    default: try_dictionary(bytes);
    }
    return 0;
}
