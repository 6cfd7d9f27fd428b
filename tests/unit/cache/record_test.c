/*
 * record_test.c - records come back as they were written; anything else is damaged or newer. The golden file is what
 * version 2 wrote.
 *
 * usage: record_test GOLDEN_FILE [--write]
 */
#include "base/check.h"
#include "cache/record.h"

#include "../../support/test_mem.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const aic_key own = {{1, 2, 3, 4, 5, 6, 7, 8, [31] = 32}};
static const char *golden_path;
static struct test_mem test;
static struct buf bytes;

static int setup(void **state)
{
    (void)state;
    test_mem_init(&test, TEST_MEM_NEVER);
    buf_init(&bytes, &test.mem, MEM_CACHE);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    buf_fini(&bytes);
    test_mem_fini(&test);
    return 0;
}

static struct record sample(void)
{
    return (struct record){
        .ns = AIC_LITERAL("default"),
        .operation = AIC_LITERAL("summarize"),
        .model = AIC_LITERAL("model-1"),
        .tags = {AIC_LITERAL("prompt:7"), AIC_LITERAL("gr\xc3\xbc\xc3\x9f")},
        .tag_count = 2,
        .seq = 0x1122334455667788,
        .created_ms = 1700000000123,
        .expires_ms = 1700007200123,
        .plain_bytes = 5000,
        .text_length = 4321,
        .prompt_tokens = 1000,
        .completion_tokens = 250,
        .cost_usd = 0.0125,
        .form = {.compressed = true, .dictionary_id = 7},
        .shape = AIC_LITERAL("\x04text\x01\x02\x03\x04"),
        .payload = AIC_LITERAL("these bytes stand for a zstd frame"),
    };
}

static aic_view write_whole(const struct record *record)
{
    buf_clear(&bytes);
    assert_int_equal(record_write_head(record, &own, &bytes), AIC_OK);
    buf_append_view(&bytes, record->payload);
    return buf_view(&bytes);
}

static void expect_view(aic_view is, aic_view expected)
{
    assert_int_equal(is.size, expected.size);
    if (expected.size > 0) assert_memory_equal(is.data, expected.data, expected.size);
}

static void expect_record(const struct record *is, const struct record *expected)
{
    expect_view(is->ns, expected->ns);
    expect_view(is->operation, expected->operation);
    expect_view(is->model, expected->model);
    assert_int_equal(is->tag_count, expected->tag_count);
    for (size_t i = 0; i < is->tag_count; i++) expect_view(is->tags[i], expected->tags[i]);
    assert_int_equal(is->seq, expected->seq);
    assert_int_equal(is->created_ms, expected->created_ms);
    assert_int_equal(is->expires_ms, expected->expires_ms);
    assert_int_equal(is->plain_bytes, expected->plain_bytes);
    assert_int_equal(is->text_length, expected->text_length);
    assert_int_equal(is->prompt_tokens, expected->prompt_tokens);
    assert_int_equal(is->completion_tokens, expected->completion_tokens);
    assert_true(is->cost_usd == expected->cost_usd);
    assert_int_equal(is->form.compressed, expected->form.compressed);
    assert_int_equal(is->form.dictionary_id, expected->form.dictionary_id);
    expect_view(is->shape, expected->shape);
    expect_view(is->payload, expected->payload);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct record record = sample();
    struct record read;
    aic_view whole = write_whole(&record);
    assert_int_equal(record_check(&own, whole), AIC_OK);
    assert_int_equal(record_read(whole, &read), AIC_OK);
    expect_record(&read, &record);
    size_t head_size = record_head_size(whole);
    assert_int_equal(head_size + record.payload.size, whole.size);
    assert_int_equal(record_head_size((aic_view){whole.data, RECORD_FIXED_BYTES}), head_size);
    assert_int_equal(record_head_size((aic_view){whole.data, RECORD_FIXED_BYTES - 1}), 0);
    /* The head alone tells everything but the payload's bytes. */
    assert_int_equal(record_read((aic_view){whole.data, head_size}, &read), AIC_OK);
    assert_null(read.payload.data);
    assert_int_equal(read.payload.size, record.payload.size);
}

static void test_smallest_and_largest(void **state)
{
    (void)state;
    struct record small = {.payload = AIC_LITERAL("1"), .plain_bytes = 1};
    struct record read;
    aic_view whole = write_whole(&small);
    assert_int_equal(whole.size, RECORD_FIXED_BYTES + 1);
    assert_int_equal(record_check(&own, whole), AIC_OK);
    assert_int_equal(record_read(whole, &read), AIC_OK);
    expect_record(&read, &small);

    char name[AIC_MAX_NAME_BYTES];
    char shape[RECORD_MAX_SHAPE_BYTES];
    memset(name, 'n', sizeof name);
    memset(shape, 's', sizeof shape);
    struct record large = {.payload = AIC_LITERAL("1"), .plain_bytes = 1, .tag_count = AIC_MAX_TAGS};
    large.ns = large.operation = large.model = (aic_view){name, sizeof name};
    for (size_t i = 0; i < AIC_MAX_TAGS; i++) large.tags[i] = large.ns;
    large.shape = (aic_view){shape, sizeof shape};
    whole = write_whole(&large);
    assert_int_equal(record_head_size(whole), RECORD_MAX_HEAD_BYTES);
    assert_int_equal(record_read(whole, &read), AIC_OK);
    expect_record(&read, &large);
}

static void expect_unwritable(const struct record *record)
{
    assert_int_equal(record_write_head(record, &own, &bytes), AIC_INVALID);
    assert_int_equal(bytes.size, 0);
}

static void test_unwritable(void **state)
{
    (void)state;
    char name[AIC_MAX_NAME_BYTES + 1];
    char shape[RECORD_MAX_SHAPE_BYTES + 1];
    memset(name, 'n', sizeof name);
    memset(shape, 's', sizeof shape);
    aic_view too_long = {name, sizeof name};
    struct record record = sample();
    record.ns = too_long;
    expect_unwritable(&record);
    record = sample();
    record.operation = too_long;
    expect_unwritable(&record);
    record = sample();
    record.model = too_long;
    expect_unwritable(&record);
    record = sample();
    record.tags[1] = too_long;
    expect_unwritable(&record);
    record = sample();
    record.tag_count = AIC_MAX_TAGS + 1;
    expect_unwritable(&record);
    record = sample();
    record.shape = (aic_view){shape, sizeof shape};
    expect_unwritable(&record);
    record = sample();
    record.cost_usd = NAN;
    expect_unwritable(&record);
    record = sample();
    record.form = (struct codec_form){0};
    expect_unwritable(&record); /* plain, but of another size than its payload */
}

/* Whatever single bit flips, the checksum tells; reading never goes astray. */
static void test_every_bit(void **state)
{
    (void)state;
    struct record record = sample();
    aic_view whole = write_whole(&record);
    for (size_t bit = 0; bit < whole.size * 8; bit++) {
        struct record read;
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ (1 << bit % 8));
        assert_int_equal(record_check(&own, whole), AIC_DAMAGED);
        aic_status status = record_read(whole, &read);
        assert_true(status == AIC_OK || status == AIC_DAMAGED || status == AIC_NEWER);
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ (1 << bit % 8));
    }
    assert_int_equal(record_check(&own, whole), AIC_OK);
}

/* Whatever single bit of the key is another, the record is not its. */
static void test_every_other_key(void **state)
{
    (void)state;
    struct record record = sample();
    struct record read;
    aic_view whole = write_whole(&record);
    for (size_t bit = 0; bit < AIC_KEY_BYTES * 8; bit++) {
        aic_key other = own;
        other.bytes[bit / 8] = (uint8_t)(other.bytes[bit / 8] ^ 1u << bit % 8);
        assert_int_equal(record_check(&other, whole), AIC_DAMAGED);
        assert_int_equal(record_take(&other, whole, &read), AIC_DAMAGED);
    }
    assert_int_equal(record_take(&own, whole, &read), AIC_OK);
    expect_record(&read, &record);
    assert_int_equal(record_take(&own, (aic_view){whole.data, whole.size - 1}, &read), AIC_DAMAGED);
}

static void test_every_cut(void **state)
{
    (void)state;
    struct record record = sample();
    aic_view whole = write_whole(&record);
    size_t head_size = record_head_size(whole);
    for (size_t size = 0; size < whole.size; size++) {
        struct record read;
        char *copy = malloc(size + 1);
        assert_non_null(copy);
        memcpy(copy + 1, whole.data, size);
        aic_view cut = {copy + 1, size};
        assert_int_equal(record_check(&own, cut), AIC_DAMAGED);
        assert_int_equal(record_read(cut, &read), size < head_size ? AIC_DAMAGED : AIC_OK);
        free(copy);
    }
    buf_append_byte(&bytes, 0);
    struct record read;
    assert_int_equal(record_check(&own, buf_view(&bytes)), AIC_DAMAGED);
    assert_int_equal(record_read(buf_view(&bytes), &read), AIC_DAMAGED);
}

static void test_newer(void **state)
{
    (void)state;
    struct record record = sample();
    aic_view whole = write_whole(&record);
    struct record read = {.created_ms = 42};
    for (int version = 0; version < 256; version++) {
        bytes.data[3] = (char)version;
        aic_status expected = version < 2 ? AIC_DAMAGED : version == 2 ? AIC_OK : AIC_NEWER;
        assert_int_equal(record_read(whole, &read), expected);
        assert_true(expected == AIC_OK || record_head_size(whole) == 0);
        read.created_ms = 42;
        if (expected != AIC_OK) assert_int_equal(read.created_ms, 42);
    }
}

static void test_describe(void **state)
{
    (void)state;
    struct record record = sample();
    struct tier_description description;
    assert_int_equal(record_describe(NULL, write_whole(&record), &description), AIC_OK);
    assert_int_equal(description.seq, record.seq);
    assert_int_equal(description.created_ms, record.created_ms);
    assert_int_equal(description.expires_ms, record.expires_ms);
    assert_int_equal(description.label_count, 5);
    static const uint8_t kinds[] = {LABEL_NAMESPACE, LABEL_OPERATION, LABEL_MODEL, LABEL_TAG, LABEL_TAG};
    const aic_view values[] = {record.ns, record.operation, record.model, record.tags[0], record.tags[1]};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        assert_int_equal(description.labels[i].kind, kinds[i]);
        expect_view(description.labels[i].value, values[i]);
    }
    record.model = (aic_view){NULL, 0};
    assert_int_equal(record_describe(NULL, write_whole(&record), &description), AIC_OK);
    assert_int_equal(description.label_count, 4);
    assert_int_equal(record_describe(NULL, AIC_LITERAL("no record"), &description), AIC_DAMAGED);
}

/* What version 2 wrote is read, and is what version 2 still writes. */
static void test_golden(void **state)
{
    (void)state;
    static char golden[4096];
    FILE *file = fopen(golden_path, "rb");
    assert_non_null(file);
    size_t size = fread(golden, 1, sizeof golden, file);
    fclose(file);
    struct record record = sample();
    struct record read;
    assert_int_equal(record_check(&own, (aic_view){golden, size}), AIC_OK);
    assert_int_equal(record_read((aic_view){golden, size}, &read), AIC_OK);
    expect_record(&read, &record);
    expect_view(write_whole(&record), (aic_view){golden, size});
}

static int write_golden(void)
{
    setup(NULL);
    struct record record = sample();
    aic_view whole = write_whole(&record);
    FILE *file = fopen(golden_path, "wb");
    if (file == NULL) return 1;
    size_t written = fwrite(whole.data, 1, whole.size, file);
    int closed = fclose(file);
    int status = written == whole.size && closed == 0 ? 0 : 1;
    teardown(NULL);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    TEST_MEM_SWEEP(sweep, {
        struct buf out;
        struct record record = sample();
        buf_init(&out, &sweep.mem, MEM_CACHE);
        aic_status status = record_write_head(&record, &own, &out);
        assert_int_equal(status, test_mem_refused(&sweep) ? AIC_NO_MEMORY : AIC_OK);
        buf_fini(&out);
    });
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    golden_path = argv[1];
    if (argc > 2) return write_golden();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_smallest_and_largest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_other_key, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_describe, setup, teardown),
        cmocka_unit_test_setup_teardown(test_golden, setup, teardown),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
