/*
 * log_test.c - lines as they arrive: formats, levels, escaping, cutting, holding, several threads at once.
 */
#include "base/check.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t fixed_ms(void *context)
{
    (void)context;
    return 1795362552123;
}

static const aic_clock fixed = {fixed_ms, fixed_ms, NULL};

struct sink {
    struct mem mem;
    struct log *log;
    int fd;
    char *text; /* what was written */
};

static void open_sink(struct sink *sink, enum log_format format, bool hold)
{
    memset(sink, 0, sizeof *sink);
    mem_init(&sink->mem, NULL);
    sink->fd = memfd_create("log", MFD_CLOEXEC);
    struct log_options options = {
        .mem = &sink->mem, .clock = &fixed, .fd = sink->fd, .level = AIC_LOG_INFO, .format = format, .hold = hold};
    assert_int_equal(log_create(&options, &sink->log), AIC_OK);
}

static const char *written(struct sink *sink)
{
    off_t size = lseek(sink->fd, 0, SEEK_END);
    free(sink->text);
    sink->text = calloc(1, (size_t)size + 1);
    assert_int_equal(pread(sink->fd, sink->text, (size_t)size, 0), size);
    return sink->text;
}

static void close_sink(struct sink *sink)
{
    log_destroy(&sink->log);
    assert_null(sink->log);
    close(sink->fd);
    free(sink->text);
    mem_fini(&sink->mem);
}

static void text_lines(void **state)
{
    (void)state;
    struct sink sink;
    open_sink(&sink, LOG_TEXT, false);
    log_line(sink.log, AIC_LOG_WARNING, "storage", "down after %d tries", 3);
    log_line(sink.log, AIC_LOG_DEBUG, "storage", "not seen");
    log_fields(sink.log, AIC_LOG_INFO, "cache", "hit", LOG_F_TEXT("key", "abc"), LOG_F_U64("bytes", 12),
               LOG_F_TEXT("note", "two words"), LOG_F_DOUBLE("ratio", 0.5));
    assert_string_equal(written(&sink),
                        "2026-11-22T15:49:12.123Z warning storage: down after 3 tries\n"
                        "2026-11-22T15:49:12.123Z info cache: hit key=abc bytes=12 note=\"two words\" ratio=0.5\n");
    assert_false(log_enabled(sink.log, AIC_LOG_DEBUG));
    log_set(sink.log, AIC_LOG_DEBUG, LOG_TEXT);
    assert_true(log_enabled(sink.log, AIC_LOG_DEBUG));
    log_line(NULL, AIC_LOG_ERROR, "nobody", "listens");
    close_sink(&sink);
}

static void json_lines(void **state)
{
    (void)state;
    struct sink sink;
    open_sink(&sink, LOG_JSON, false);
    log_fields(sink.log, AIC_LOG_ERROR, "cache", "it \"broke\"\n", LOG_F_TEXT("why", "a\\b\x01"),
               LOG_F_DOUBLE("nan", __builtin_nan("")));
    assert_string_equal(
        written(&sink),
        "{\"time\":\"2026-11-22T15:49:12.123Z\",\"level\":\"error\",\"part\":\"cache\",\"message\":\"it \\\"broke\\\"\\n\","
        "\"why\":\"a\\\\b\\u0001\",\"nan\":null}\n");
    close_sink(&sink);
}

/* What is escaped stands there as the code point that it is, so that a reader of the JSON gets the very text; what is
 * no UTF-8 as the replacement character. */
static void hidden_code_points(void **state)
{
    (void)state;
    struct sink sink;
    for (int json = 0; json < 2; json++) {
        open_sink(&sink, json ? LOG_JSON : LOG_TEXT, false);
        log_fields(sink.log, AIC_LOG_INFO, "x", "m",
                   LOG_F_TEXT("a", "\xe2\x80\xae \xe2\x80\xa8 \xc2\x9b \xf3\xa0\x81\x81 \xff \xe4\xb8\xad"));
        if (strstr(written(&sink), "\"\\u202e \\u2028 \\u009b \\udb40\\udc41 \\ufffd \xe4\xb8\xad\"") == NULL)
            fail_msg("%s", written(&sink));
        close_sink(&sink);
    }
}

/* Whatever is logged, it stays one line, holds no control bytes, and JSON stays JSON. */
static void nothing_forges_a_line(void **state)
{
    (void)state;
    unsigned seed = 20260722;
    for (int round = 0; round < 3000; round++) {
        struct sink sink;
        char noise[9000];
        size_t size = (size_t)(rand_r(&seed) % (round % 10 == 0 ? 8999 : 200));
        static const char nasty[] = "\n\r\x1b\x7f\"\\\x80\xc2\x85\xe2\x80\xa8\xff\t,}{=";
        for (size_t i = 0; i < size; i++) {
            int any = rand_r(&seed) % 2 != 0 ? nasty[(size_t)rand_r(&seed) % (sizeof nasty - 1)]
                                             : 1 + rand_r(&seed) % 255;
            noise[i] = (char)any;
        }
        noise[size] = '\0';
        open_sink(&sink, round % 2 ? LOG_JSON : LOG_TEXT, false);
        if (round % 3 == 0) log_line(sink.log, AIC_LOG_INFO, "x", "%s", noise);
        else
            log_fields(sink.log, AIC_LOG_INFO, "x", round % 3 == 1 ? noise : "m", LOG_F_TEXT("a", noise),
                       LOG_F_U64("b", 1));
        const char *line = written(&sink);
        size_t length = strlen(line);
        assert_true(length > 0 && length <= LOG_LINE_BYTES);
        assert_ptr_equal(strchr(line, '\n'), line + length - 1);
        for (size_t i = 0; i + 1 < length; i++) {
            if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f) fail_msg("a control byte, round %d", round);
        }
        if (round % 2) {
            struct json json;
            json_init(&json, &sink.mem, MEM_OTHER);
            aic_error error = {0};
            if (json_scan(&json, (aic_view){line, length - 1}, &error) != AIC_OK)
                fail_msg("round %d: %s: %s", round, error.message, line);
            json_fini(&json);
        }
        close_sink(&sink);
    }
}

static void held_lines_follow_the_first(void **state)
{
    (void)state;
    struct sink sink;
    open_sink(&sink, LOG_TEXT, true);
    log_line(sink.log, AIC_LOG_INFO, "a", "early");
    assert_string_equal(written(&sink), "");
    log_unhold(sink.log, "listening");
    log_line(sink.log, AIC_LOG_INFO, "a", "late");
    assert_string_equal(written(&sink),
                        "listening\n2026-11-22T15:49:12.123Z info a: early\n2026-11-22T15:49:12.123Z info a: late\n");
    close_sink(&sink);
}

/* A reader that stops must not stop the program, whether the descriptor blocks or not; what was lost is told. */
static void a_full_pipe_loses_lines_only(void **state)
{
    (void)state;
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        struct mem mem;
        int ends[2];
        char *read_back = malloc(1 << 20);
        assert_int_equal(pipe2(ends, O_CLOEXEC | flags), 0);
        mem_init(&mem, NULL);
        struct log *log;
        struct log_options options = {.mem = &mem, .fd = ends[1], .level = AIC_LOG_INFO};
        assert_int_equal(log_create(&options, &log), AIC_OK);
        for (int i = 0; i < 5000; i++) {
            errno = EINTR; /* of some other call: a line that was not written has none */
            log_line(log, AIC_LOG_INFO, "a", "a line that is to fill the pipe, number %d", i);
        }
        uint64_t lost = log_lost(log);
        assert_true(lost > 0);
        assert_true(read(ends[0], read_back, 1 << 20) > 0);
        log_line(log, AIC_LOG_INFO, "a", "after the gap");
        ssize_t size = read(ends[0], read_back, (1 << 20) - 1);
        assert_true(size > 0);
        read_back[size] = '\0';
        char told[64];
        snprintf(told, sizeof told, "lines were lost: nobody read them lines=%llu\n", (unsigned long long)lost);
        assert_non_null(strstr(read_back, told));
        assert_non_null(strstr(read_back, "after the gap"));
        assert_int_equal(log_lost(log), lost);
        log_destroy(&log);
        close(ends[0]);
        close(ends[1]);
        mem_fini(&mem);
        free(read_back);
    }
}

static void *chatter(void *context)
{
    struct sink *sink = context;
    for (int i = 0; i < 500; i++) {
        log_fields(sink->log, AIC_LOG_INFO, "thread", "a line of some length so that lines could mix",
                   LOG_F_U64("i", (uint64_t)i));
        if (i == 250) log_set(sink->log, AIC_LOG_INFO, LOG_TEXT);
    }
    return NULL;
}

static void threads_do_not_mix_lines(void **state)
{
    (void)state;
    struct sink sink;
    pthread_t threads[4];
    size_t lines = 0;
    open_sink(&sink, LOG_TEXT, false);
    for (size_t i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, chatter, &sink), 0);
    for (size_t i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    char *save = NULL;
    for (char *line = strtok_r((char *)(uintptr_t)written(&sink), "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save), lines++) {
        assert_int_equal(
            strncmp(line, "2026-11-22T15:49:12.123Z info thread: a line of some length so that lines could mix i=", 85),
            0);
    }
    assert_int_equal(lines, 2000);
    close_sink(&sink);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_lines),
        cmocka_unit_test(hidden_code_points),
        cmocka_unit_test(json_lines),
        cmocka_unit_test(nothing_forges_a_line),
        cmocka_unit_test(held_lines_follow_the_first),
        cmocka_unit_test(a_full_pipe_loses_lines_only),
        cmocka_unit_test(threads_do_not_mix_lines),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
