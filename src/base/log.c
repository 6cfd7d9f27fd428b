#include "base/log.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/utf8.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HELD_BYTES (256u << 10)
#define PATIENCE_MS 100

struct log {
    struct mem *mem;
    const aic_clock *clock;
    int fd;
    /* Written by log_set() on the main thread, read by every thread; relaxed: a line more or less around the change
     * does no harm. */
    _Atomic int level;
    _Atomic int format;
    _Atomic uint64_t lost; /* relaxed: a count */
    pthread_mutex_t mutex; /* protects what follows and the order of writes; innermost lock */
    bool hold;
    bool stalled;  /* the last line found no reader: the next ones wait for none */
    uint64_t told; /* how many of `lost` a line has told of */
    struct buf held;
};

/* A line under construction; what does not fit is cut, with room kept for the ending. */
struct line {
    char bytes[LOG_LINE_BYTES];
    size_t size;
    bool full;
};
#define LINE_ROOM (LOG_LINE_BYTES - 16)

static void line_add(struct line *line, const char *text, size_t size)
{
    if (line->full || size > LINE_ROOM - line->size) {
        line->full = true;
        return;
    }
    memcpy(line->bytes + line->size, text, size);
    line->size += size;
}

static void line_text(struct line *line, const char *text)
{
    line_add(line, text, strlen(text));
}

/* Appends bytes such that they cannot end the line, close a quote or command a terminal. */
static void line_escaped(struct line *line, const char *text, size_t size)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + size;
    while (at < end && !line->full) {
        char escape[UTF8_ESCAPE_BYTES];
        size_t wide = utf8_shown(at, end);
        if (*at == '"' || *at == '\\') snprintf(escape, sizeof escape, "\\%c", *at);
        else if (*at == '\n') snprintf(escape, sizeof escape, "\\n");
        else if (wide == 0) wide = utf8_escape(at, end, escape);
        else escape[0] = '\0';
        if (escape[0] != '\0') line_text(line, escape);
        else line_add(line, (const char *)at, wide);
        at += wide > 0 ? wide : 1;
    }
}

static void line_quoted(struct line *line, const char *text, size_t size)
{
    line_text(line, "\"");
    line_escaped(line, text, size);
    line_text(line, "\"");
}

/* "debug", "info", "warning", "error" */
static const char *log_level_name(aic_log_level level)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    static_assert(COUNT_OF(names) == AIC_LOG_ERROR + 1, "each level has its name");
    return (unsigned)level < COUNT_OF(names) ? names[level] : "error";
}

static void line_time(struct line *line, const aic_clock *clock)
{
    uint64_t now = clock_wall_ms(clock);
    time_t seconds = (time_t)(now / 1000);
    struct tm parts;
    char text[40];
    gmtime_r(&seconds, &parts);
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + size, sizeof text - size, ".%03uZ", (unsigned)(now % 1000));
    line_text(line, text);
}

static void line_begin(struct line *line, const struct log *log, bool json, aic_log_level level, const char *part)
{
    line->size = 0;
    line->full = false;
    if (json) line_text(line, "{\"time\":\"");
    line_time(line, log->clock);
    line_text(line, json ? "\",\"level\":\"" : " ");
    line_text(line, log_level_name(level));
    line_text(line, json ? "\",\"part\":\"" : " ");
    line_text(line, part);
    line_text(line, json ? "\",\"message\":" : ": ");
}

static void line_message(struct line *line, bool json, const char *message, size_t size)
{
    if (json) line_text(line, "\"");
    line_escaped(line, message, size);
    if (json) line->bytes[line->size++] = '"'; /* also when the message was cut: there is room beyond LINE_ROOM */
}

/* A cut JSON line stays JSON: fields are added whole or not at all, and only a message can be cut within its quotes. */
static void line_end(struct line *line, bool json)
{
    if (json) line->bytes[line->size++] = '}';
    line->bytes[line->size++] = '\n';
}

static bool is_plain(aic_view text)
{
    for (size_t i = 0; i < text.size; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte <= 0x20 || byte >= 0x7f || byte == '"' || byte == '\\' || byte == '=') return false;
    }
    return text.size > 0;
}

static void line_field(struct line *line, bool json, const struct log_field *field)
{
    char number[32];
    size_t before = line->size;
    line_text(line, json ? ",\"" : " ");
    line_text(line, field->name);
    line_text(line, json ? "\":" : "=");
    switch (field->type) {
    case LOG_FIELD_TEXT:
        if (!json && is_plain(field->text)) line_add(line, field->text.data, field->text.size);
        else line_quoted(line, field->text.data, field->text.size);
        break;
    case LOG_FIELD_U64:
        snprintf(number, sizeof number, "%llu", (unsigned long long)field->number);
        line_text(line, number);
        break;
    case LOG_FIELD_DOUBLE:
        if (field->real == field->real && field->real - field->real == 0)
            snprintf(number, sizeof number, "%.6g", field->real);
        else snprintf(number, sizeof number, "null");
        line_text(line, number);
        break;
    }
    if (line->full) line->size = before;
}

/*
 * Does the descriptor take LOG_LINE_BYTES without waiting? A pipe that is ready has room for a page. A reader that is
 * only slow gets a moment; once a line was lost the next ones do not wait, so that logging never stops the program.
 */
static bool is_ready(const struct log *log)
{
    struct pollfd descriptor = {.fd = log->fd, .events = POLLOUT};
    int ready;
    do ready = poll(&descriptor, 1, log->stalled ? 0 : PATIENCE_MS);
    while (ready < 0 && errno == EINTR);
    return ready == 1;
}

/* Under the mutex. What the descriptor does not take is lost. */
static void write_all(struct log *log, const char *bytes, size_t size)
{
    while (size > 0) {
        bool ready = is_ready(log); /* without it nothing was written, and errno is of another call */
        ssize_t put = ready ? write(log->fd, bytes, size < LOG_LINE_BYTES ? size : LOG_LINE_BYTES) : -1;
        if (ready && put < 0 && errno == EINTR) continue;
        log->stalled = put <= 0;
        if (log->stalled) {
            atomic_fetch_add_explicit(&log->lost, 1, memory_order_relaxed);
            return;
        }
        bytes += put;
        size -= (size_t)put;
    }
}

/* Under the mutex: once lines are taken again, says how many were not. */
static void tell_lost(struct log *log)
{
    uint64_t lost = atomic_load_explicit(&log->lost, memory_order_relaxed);
    if (lost == log->told || !is_ready(log)) return;
    struct line line;
    struct log_field field = LOG_F_U64("lines", lost - log->told);
    bool json = atomic_load_explicit(&log->format, memory_order_relaxed) == LOG_JSON;
    line_begin(&line, log, json, AIC_LOG_WARNING, "log");
    line_message(&line, json, "lines were lost: nobody read them", sizeof "lines were lost: nobody read them" - 1);
    line_field(&line, json, &field);
    line_end(&line, json);
    log->told = lost;
    write_all(log, line.bytes, line.size);
}

static void emit(struct log *log, const char *bytes, size_t size)
{
    pthread_mutex_lock(&log->mutex);
    if (!log->hold) {
        tell_lost(log);
        write_all(log, bytes, size);
    } else if (log->held.size + size <= HELD_BYTES && buf_reserve(&log->held, size) != NULL) {
        buf_append(&log->held, bytes, size);
    } else {
        atomic_fetch_add_explicit(&log->lost, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&log->mutex);
}

aic_status log_create(const struct log_options *options, struct log **out)
{
    struct log *log = mem_zalloc(options->mem, MEM_CONFIG, sizeof *log);
    if (log == NULL) return AIC_NO_MEMORY;
    if (pthread_mutex_init(&log->mutex, NULL) != 0) {
        mem_free(options->mem, MEM_CONFIG, log, sizeof *log);
        return AIC_NO_MEMORY;
    }
    log->mem = options->mem;
    log->clock = options->clock != NULL ? options->clock : clock_system();
    log->fd = options->fd;
    log->hold = options->hold;
    buf_init(&log->held, options->mem, MEM_CONFIG);
    log_set(log, options->level, options->format);
    *out = log;
    return AIC_OK;
}

void log_destroy(struct log **log)
{
    if (*log == NULL) return;
    log_unhold(*log, NULL);
    pthread_mutex_destroy(&(*log)->mutex);
    buf_fini(&(*log)->held);
    mem_free((*log)->mem, MEM_CONFIG, *log, sizeof **log);
    *log = NULL;
}

bool log_enabled(const struct log *log, aic_log_level level)
{
    return log != NULL && (int)level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

void log_set(struct log *log, aic_log_level level, enum log_format format)
{
    atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
    atomic_store_explicit(&log->format, (int)format, memory_order_relaxed);
}

void log_unhold(struct log *log, const char *first)
{
    pthread_mutex_lock(&log->mutex);
    if (first != NULL) {
        char line[LOG_LINE_BYTES];
        int size = snprintf(line, sizeof line, "%s\n", first);
        write_all(log, line, size < LOG_LINE_BYTES ? (size_t)size : LOG_LINE_BYTES - 1);
    }
    if (log->held.size > 0) write_all(log, log->held.data, log->held.size);
    buf_fini(&log->held);
    log->hold = false;
    pthread_mutex_unlock(&log->mutex);
}

void log_event(struct log *log, aic_log_level level, const char *part, const char *message,
               const struct log_field *fields, size_t count)
{
    if (!log_enabled(log, level)) return;
    struct line line;
    bool json = atomic_load_explicit(&log->format, memory_order_relaxed) == LOG_JSON;
    line_begin(&line, log, json, level, part);
    line_message(&line, json, message, strlen(message));
    for (size_t i = 0; i < count; i++) line_field(&line, json, &fields[i]);
    line_end(&line, json);
    emit(log, line.bytes, line.size);
}

void log_line(struct log *log, aic_log_level level, const char *part, const char *format, ...)
{
    if (!log_enabled(log, level)) return;
    char message[LOG_LINE_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    log_event(log, level, part, message, NULL, 0);
}

void log_from_cache(void *context, aic_log_level level, const char *line)
{
    log_line(context, level, "cache", "%s", line);
}

uint64_t log_lost(const struct log *log)
{
    return atomic_load_explicit(&log->lost, memory_order_relaxed);
}
