/*
 * main.c - the JSON scanner beside json-c on requests as chat clients send them, and what a key costs. One line per
 * case; ratios on one machine are what counts.
 *
 * usage: bench_json [SECONDS_PER_CASE]
 */
#include "base/check.h"
#include "cache/key.h"

#include <answers.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ESCAPED_ROOM = 2 * ANSWERS_MAX_BYTES + 2 };

static struct answers answers;
static char text[ANSWERS_MAX_BYTES];
static char quoted[ESCAPED_ROOM];
static double seconds_per_case = 0.5;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void append_quoted(struct buf *out, uint64_t index, size_t bytes)
{
    answers_write(&answers, index, bytes, text);
    buf_append(out, quoted, answers_json_string(text, bytes, quoted));
}

/* A chat request of about `size` bytes: a conversation with turns of some kilobytes, and the usual parameters. */
static void write_chat(struct buf *out, size_t size, size_t turn)
{
    buf_append_text(
        out,
        "{\"model\":\"gpt-4o-mini\",\"temperature\":0.7,\"top_p\":1,\"max_tokens\":1024,\"stream\":true,\"messages\":[");
    for (uint64_t i = 0; out->size < size; i++) {
        buf_printf(out, "%s{\"role\":\"%s\",\"content\":", i > 0 ? "," : "", i % 2 == 0 ? "user" : "assistant");
        append_quoted(out, i, turn);
        buf_append_byte(out, '}');
    }
    buf_append_text(out, "],\"stop\":[\"\\n\\n\"],\"user\":\"user-1234\"}");
}

/* The same without ASCII: three bytes a letter. */
static void write_chinese(struct buf *out, size_t size)
{
    buf_append_text(out, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (size_t i = 0; out->size < size; i++) {
        unsigned point = 0x4e00 + (unsigned)(i * 7919 % 8000);
        buf_append_byte(out, (char)(uint8_t)(0xe0 | point >> 12));
        buf_append_byte(out, (char)(uint8_t)(0x80 | (point >> 6 & 63)));
        buf_append_byte(out, (char)(uint8_t)(0x80 | (point & 63)));
    }
    buf_append_text(out, "\"}]}");
}

static void write_numbers(struct buf *out, size_t size)
{
    buf_append_text(out, "{\"embedding\":[0.5");
    for (size_t i = 0; out->size < size; i++) buf_printf(out, ",-0.0%zu", 12345678 + i * 7919 % 1000000);
    buf_append_text(out, "]}");
}

static double ours(struct json *json, aic_view document)
{
    long rounds = 0;
    double start = now();
    do {
        for (int i = 0; i < 20; i++) CHECK(json_scan(json, document, NULL) == AIC_OK);
        rounds += 20;
    } while (now() - start < seconds_per_case);
    return (now() - start) / (double)rounds;
}

static double theirs(aic_view document)
{
    long rounds = 0;
    double start = now();
    json_tokener *tokener = json_tokener_new();
    do {
        json_tokener_reset(tokener);
        json_object *object = json_tokener_parse_ex(tokener, document.data, (int)document.size);
        CHECK(object != NULL);
        json_object_put(object);
        rounds++;
    } while (now() - start < seconds_per_case);
    json_tokener_free(tokener);
    return (now() - start) / (double)rounds;
}

static void compare(struct json *json, const char *name, struct buf *document)
{
    double mine = ours(json, buf_view(document));
    double other = theirs(buf_view(document));
    double size = (double)document->size;
    printf("%-34s %8zu B  ours %8.2f us %7.0f MB/s   json-c %8.2f us %6.0f MB/s   x%.1f\n", name, document->size,
           mine * 1e6, size / mine / 1e6, other * 1e6, size / other / 1e6, other / mine);
    buf_clear(document);
}

static void measure_key(struct json *json, struct digest *digest, const char *name, struct buf *document)
{
    CHECK(json_scan(json, buf_view(document), NULL) == AIC_OK);
    struct key_request request = {
        .ns = AIC_LITERAL("default"), .operation = AIC_LITERAL("qa"), .options = json, .options_token = 0};
    request.text.plain = AIC_LITERAL("What is a cache?");
    struct buf shape;
    aic_key key;
    long rounds = 0;
    buf_init(&shape, json->mem, MEM_CACHE);
    double start = now();
    do {
        for (int i = 0; i < 10; i++) CHECK(key_compute(digest, json->mem, &request, &key, NULL, NULL) == AIC_OK);
        rounds += 10;
    } while (now() - start < seconds_per_case);
    double per_key = (now() - start) / (double)rounds;
    rounds = 0;
    start = now();
    do {
        buf_clear(&shape);
        CHECK(key_shape(digest, json->mem, &request, &shape) == AIC_OK);
        rounds++;
    } while (now() - start < seconds_per_case);
    double per_shape = (now() - start) / (double)rounds;
    printf("%-34s %8zu B  key  %8.2f us %7.0f MB/s   shape  %8.2f us\n", name, document->size, per_key * 1e6,
           (double)document->size / per_key / 1e6, per_shape * 1e6);
    buf_fini(&shape);
    buf_clear(document);
}

int main(int argc, char **argv)
{
    if (argc > 1) seconds_per_case = strtod(argv[1], NULL);
    struct mem mem;
    struct json json;
    struct buf document;
    struct digest *digest;
    mem_init(&mem, NULL);
    json_init(&json, &mem, MEM_CACHE);
    buf_init(&document, &mem, MEM_OTHER);
    CHECK(digest_create(&mem, "0123456789abcdef", 16, &digest) == AIC_OK);
    answers_init(&answers);
    write_chat(&document, 1000, 500);
    compare(&json, "chat 1 KB", &document);
    write_chat(&document, 30000, 3000);
    compare(&json, "chat 30 KB", &document);
    write_chat(&document, 30000, 500);
    compare(&json, "chat 30 KB, short turns", &document);
    write_chat(&document, 10u << 20, 40000);
    compare(&json, "chat 10 MB", &document);
    write_chinese(&document, 30000);
    compare(&json, "no ASCII 30 KB", &document);
    write_numbers(&document, 30000);
    compare(&json, "numbers 30 KB", &document);
    buf_append_text(&document, "{\"temperature\":0.7,\"max_tokens\":100,\"stop\":[\"\\n\"]}");
    measure_key(&json, digest, "key of small options", &document);
    write_chat(&document, 30000, 3000);
    measure_key(&json, digest, "key of chat 30 KB", &document);
    digest_destroy(&digest);
    buf_fini(&document);
    json_fini(&json);
    mem_fini(&mem);
    return 0;
}
