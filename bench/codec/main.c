/*
 * main.c - what the codec saves and costs on made-up answers in the log-normal mix of bench/common, per level, with and
 * without a trained dictionary.
 *
 * usage: bench_codec [COUNT [SAMPLES]]
 */
#include "base/check.h"
#include "store/codec.h"

#include <answers.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct answers answers;

struct corpus {
    aic_view *values;
    size_t count;
    size_t bytes;
};

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static struct corpus make_corpus(uint64_t from, size_t count, size_t fixed_bytes)
{
    struct corpus corpus = {calloc(count, sizeof *corpus.values), count, 0};
    CHECK(corpus.values != NULL);
    for (size_t i = 0; i < count; i++) {
        size_t size = fixed_bytes > 0 ? fixed_bytes : answers_size(from + i);
        char *text = malloc(size);
        CHECK(text != NULL);
        answers_write(&answers, from + i, size, text);
        corpus.values[i] = (aic_view){text, size};
        corpus.bytes += size;
    }
    return corpus;
}

static void free_corpus(struct corpus *corpus)
{
    for (size_t i = 0; i < corpus->count; i++) free((char *)(uintptr_t)corpus->values[i].data);
    free(corpus->values);
}

static void train(struct codec *codec, const struct corpus *teaching, struct mem *mem)
{
    struct buf stored;
    struct codec_form form;
    unsigned trained = 0;
    buf_init(&stored, mem, MEM_OTHER);
    for (size_t i = 0; i < teaching->count; i++) {
        buf_clear(&stored);
        CHECK(codec_encode(codec, AIC_LITERAL("default"), teaching->values[i], &stored, &form) == AIC_OK);
    }
    double start = now();
    CHECK(codec_train(codec, NULL, NULL, &trained) == AIC_OK);
    struct figures stats = {0};
    codec_figures(codec, &stats);
    printf("  trained %u dictionary in %.0f ms, %.0f KB in memory\n", trained, (now() - start) * 1e3,
           (double)stats.dictionary_bytes / 1e3);
    buf_fini(&stored);
}

static void measure(const char *name, struct mem *mem, int level, const struct corpus *teaching,
                    const struct corpus *corpus)
{
    struct codec *codec;
    struct codec_options options = {.mem = mem,
                                    .threshold_bytes = 1000,
                                    .level = level,
                                    .dictionary_off = teaching == NULL,
                                    .max_plain_bytes = 64 << 20};
    CHECK(codec_create(&options, &codec) == AIC_OK);
    if (teaching != NULL) train(codec, teaching, mem);
    struct buf *stored = calloc(corpus->count, sizeof *stored);
    struct codec_form *forms = calloc(corpus->count, sizeof *forms);
    CHECK(stored != NULL && forms != NULL);
    double start = now();
    size_t kept = 0;
    for (size_t i = 0; i < corpus->count; i++) {
        buf_init(&stored[i], mem, MEM_OTHER);
        CHECK(codec_encode(codec, AIC_LITERAL("default"), corpus->values[i], &stored[i], &forms[i]) == AIC_OK);
        kept += forms[i].compressed ? stored[i].size : corpus->values[i].size;
    }
    double encode = (now() - start) / (double)corpus->count;
    struct buf plain;
    buf_init(&plain, mem, MEM_OTHER);
    double decode = 1;
    for (int round = 0; round < 5; round++) {
        start = now();
        for (size_t i = 0; i < corpus->count; i++) {
            aic_view bytes = forms[i].compressed ? buf_view(&stored[i]) : corpus->values[i];
            buf_clear(&plain);
            CHECK(codec_decode(codec, forms[i], bytes, corpus->values[i].size, &plain) == AIC_OK);
        }
        double each = (now() - start) / (double)corpus->count;
        if (each < decode) decode = each;
    }
    printf("%-24s level %2d %-10s x%.2f  encode %6.1f us  decode %5.2f us\n", name, level,
           teaching != NULL ? "dictionary" : "", (double)corpus->bytes / (double)kept, encode * 1e6, decode * 1e6);
    for (size_t i = 0; i < corpus->count; i++) buf_fini(&stored[i]);
    buf_fini(&plain);
    free(stored);
    free(forms);
    codec_destroy(&codec);
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 2000;
    size_t samples = argc > 2 ? strtoul(argv[2], NULL, 10) : 2000;
    struct mem mem;
    mem_init(&mem, NULL);
    answers_init(&answers);
    struct corpus teaching = make_corpus(1000000, samples, 0);
    struct corpus mixed = make_corpus(0, count, 0);
    struct corpus small = make_corpus(500000, count, 2048);
    static const int levels[] = {1, 3, 6, 9};
    for (size_t i = 0; i < COUNT_OF(levels); i++) {
        measure("0.5-50 KB, median 3 KB", &mem, levels[i], NULL, &mixed);
        measure("0.5-50 KB, median 3 KB", &mem, levels[i], &teaching, &mixed);
    }
    measure("2 KB", &mem, 3, NULL, &small);
    measure("2 KB", &mem, 3, &teaching, &small);
    free_corpus(&teaching);
    free_corpus(&mixed);
    free_corpus(&small);
    mem_fini(&mem);
    return 0;
}
