/*
 * fuzz_record.c - any bytes as a record. They are read within their bounds; and since each record has one spelling,
 * what is read and written again are the same bytes. The checksum is set right first, so that the fuzzer comes behind
 * it.
 */
#include "base/check.h"
#include "cache/record.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { AT_CHECKSUM = 8, CHECKED_FROM = 16 };

static const aic_key own = {{1, 2, 3}};
static volatile char sink;

static void touch(aic_view view)
{
    for (size_t i = 0; i < view.size; i++) sink = (char)(sink ^ view.data[i]);
}

static void check_whole(aic_view bytes, const struct record *record)
{
    struct mem mem;
    struct buf head;
    mem_init(&mem, NULL);
    buf_init(&head, &mem, MEM_OTHER);
    CHECK(record_write_head(record, &own, &head) == AIC_OK);
    CHECK(head.size + record->payload.size == bytes.size && memcmp(head.data, bytes.data, head.size) == 0);
    struct tier_description description;
    CHECK(record_describe(NULL, bytes, &description) == AIC_OK);
    CHECK(description.label_count >= 2 && description.label_count <= TIER_MAX_LABELS);
    for (size_t i = 0; i < description.label_count; i++) touch(description.labels[i].value);
    buf_fini(&head);
    mem_fini(&mem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    aic_view bytes = {copy, size};
    struct record record;
    (void)!record_check(&own, bytes);
    if (size >= RECORD_FIXED_BYTES) {
        uint64_t seed = XXH3_64bits(own.bytes, sizeof own.bytes);
        XXH64_hash_t checksum = XXH3_64bits_withSeed(copy + CHECKED_FROM, size - CHECKED_FROM, seed);
        for (int i = 0; i < 8; i++) copy[AT_CHECKSUM + i] = (char)(uint8_t)(checksum >> 8 * i);
    }
    size_t head_size = record_head_size(bytes);
    CHECK(head_size <= RECORD_MAX_HEAD_BYTES);
    aic_status status = record_read(bytes, &record);
    CHECK(status == AIC_OK || status == AIC_DAMAGED || status == AIC_NEWER);
    if (status == AIC_OK) {
        touch(record.ns);
        touch(record.operation);
        touch(record.model);
        touch(record.shape);
        for (size_t i = 0; i < record.tag_count; i++) touch(record.tags[i]);
        CHECK((record.payload.data != NULL) == (head_size + record.payload.size == size));
        CHECK((record_check(&own, bytes) == AIC_OK) == (record.payload.data != NULL));
        if (record.payload.data != NULL) check_whole(bytes, &record);
    }
    free(copy);
    return 0;
}
