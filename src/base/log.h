/*
 * log.h - one line per event on a file descriptor, as text or as JSON.
 *
 *   text   2026-11-22T15:49:12.123Z info server: listening port=8080
 *   json   {"time":"2026-11-22T15:49:12.123Z","level":"info","part":"server","message":"listening","port":8080}
 *
 * A line is composed on the caller's stack and written by one write(2), so that lines of threads never mix. Bytes that
 * could end a line, move a terminal's cursor or forge a field are escaped: what is logged cannot look like another
 * event. Lines are cut at LOG_LINE_BYTES. Users' text (texts, questions, responses, tags) is never passed at info or
 * above; keys, counts, statuses and durations are.
 *
 * Any thread may call any function. The mutex protects the descriptor and the held lines; nothing else is taken under
 * it.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "base/clock.h"
#include "base/mem.h"

#define LOG_LINE_BYTES 4096

enum log_format { LOG_TEXT, LOG_JSON };

struct log;

struct log_options {
    struct mem *mem;
    const aic_clock *clock; /* NULL: the system's */
    int fd;                 /* borrowed; usually 2 */
    aic_log_level level;    /* the least that is written */
    enum log_format format;
    bool hold; /* keep lines until log_unhold(): the daemon's first line is the one that says where it listens */
};

AIC_MUST_CHECK aic_status log_create(const struct log_options *options, struct log **out);
/* Writes what is held. Accepts a pointer to NULL; nulls. */
void log_destroy(struct log **log);

/* Lock-free: may a line of this level be written? */
bool log_enabled(const struct log *log, aic_log_level level);
void log_set(struct log *log, aic_log_level level, enum log_format format);
/* Writes `first` (a whole line without its newline, may be NULL) as it is, then the lines held so far, and holds no
 * more. */
void log_unhold(struct log *log, const char *first);

/* One event. `part` is a short fixed name ("server", "storage"). `log` may be NULL: nothing happens. */
__attribute__((format(printf, 4, 5))) void log_line(struct log *log, aic_log_level level, const char *part,
                                                    const char *format, ...);

/* One event with fields that a program can read. `message` is fixed text. */
enum log_field_type { LOG_FIELD_TEXT, LOG_FIELD_U64, LOG_FIELD_DOUBLE };
struct log_field {
    const char *name; /* plain ASCII */
    enum log_field_type type;
    aic_view text;
    uint64_t number;
    double real;
};
#define LOG_F_TEXT(key, value) ((struct log_field){.name = (key), .type = LOG_FIELD_TEXT, .text = aic_view_of(value)})
#define LOG_F_VIEW(key, value) ((struct log_field){.name = (key), .type = LOG_FIELD_TEXT, .text = (value)})
#define LOG_F_U64(key, value) ((struct log_field){.name = (key), .type = LOG_FIELD_U64, .number = (value)})
#define LOG_F_DOUBLE(key, value) ((struct log_field){.name = (key), .type = LOG_FIELD_DOUBLE, .real = (value)})
void log_event(struct log *log, aic_log_level level, const char *part, const char *message,
               const struct log_field *fields, size_t count);
/* log_fields(log, AIC_LOG_INFO, "cache", "hit", LOG_F_TEXT("key", hex), LOG_F_U64("bytes", n)); */
#define log_fields(log, level, part, message, ...)                                                                     \
    log_event(log, level, part, message, (const struct log_field[]){__VA_ARGS__},                                      \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))

/* An aic_options.log function: context is the struct log. */
void log_from_cache(void *context, aic_log_level level, const char *line);

/* Lines that could not be written (a pipe that nobody reads, a closed terminal); a line tells of them once there is a
 * reader again. */
uint64_t log_lost(const struct log *log);

#endif
