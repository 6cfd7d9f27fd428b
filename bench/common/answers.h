/*
 * answers.h - answers that look as a language model writes them, made up from word lists, the same on every machine.
 *
 * A benchmark of compression and memory is only as good as its text: random bytes do not compress, one repeated
 * sentence compresses to nothing. These answers have a topic and words of their own that come back, headings, lists,
 * numbered steps, tables and code, over a vocabulary of 40 000 words. Measured over 4000 of them: zstd level 3 makes
 * them x2.34 smaller one by one and x2.75 with a trained dictionary of 110 KB; answers of real models of the same sizes
 * (0.5 to 50 KB, log-normal, median 3 KB) x2.33 and x2.67.
 *
 * One thread per `struct answers`; it is large, so keep it static or on the heap.
 */
#ifndef BENCH_COMMON_ANSWERS_H
#define BENCH_COMMON_ANSWERS_H

#include <stddef.h>
#include <stdint.h>

#define ANSWERS_MAX_BYTES 50000
#define ANSWERS_MIN_BYTES 500
#define ANSWERS_WORDS 40000
#define ANSWERS_LOCAL 36
#define ANSWERS_LOCAL_PERCENT 64
#define ANSWERS_WORD_BYTES 24

struct answers {
    char words[ANSWERS_WORDS][ANSWERS_WORD_BYTES];
    double cumulative[ANSWERS_WORDS]; /* Zipf */
    size_t word_count;
    uint64_t state; /* of the generator */
    const char *topic[16];
    size_t topic_count;
    const char *local[ANSWERS_LOCAL]; /* words that this answer keeps using */
    char *out;
    size_t size, limit;
};

void answers_init(struct answers *answers);

/* The size of answer `index` in the log-normal mix. */
size_t answers_size(uint64_t index);

/* Writes answer `index` with exactly `bytes` bytes of plain UTF-8 text (Markdown with newlines) into `out`. */
void answers_write(struct answers *answers, uint64_t index, size_t bytes, char *out);

/* The question that answer `index` answers, NUL-terminated; no two are the same. */
void answers_question(struct answers *answers, uint64_t index, char *out, size_t capacity);

/* Writes `text` as a JSON string with quotes; returns the size. `out` needs 2 * size + 2 bytes. */
size_t answers_json_string(const char *text, size_t size, char *out);

#endif
