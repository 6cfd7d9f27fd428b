/*
 * cli.h - the parts of the `aicache` client: one table of commands, arguments, a session with the daemon, output.
 *
 * The table (commands.def) is the only source of what exists: parsing, help, the manual page and the completions come
 * from it. A command is one function that gets its parsed arguments and returns the exit status. One thread, except
 * where a command says otherwise.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/buf.h"
#include "base/hist.h"
#include "base/json.h"
#include "base/option.h"
#include "base/url.h"

#include <limits.h>
#include <stdio.h>

/* json-c and base/json.h both name a type json_type; in this folder json-c's is called json_c_type. */
#define json_type json_c_type
#include <json-c/json.h>
#undef json_type

/* 0 it is so; 1 a miss, or an answer that is "no"; 2 it could not be done. */
enum { CLI_OK = 0, CLI_NO = 1, CLI_ERROR = 2 };

/* ---- commands and their arguments (args.c, commands.c) ---- */

struct cli;
struct reply;

/* How what a user says becomes JSON. */
enum cli_kind {
    CLI_UNSENT, /* it is no part of the request */
    CLI_TEXT,
    CLI_TEXTS, /* a list, of an option that may be repeated */
    CLI_TRUE,  /* a switch */
    CLI_WHOLE,
    CLI_SECONDS,
    CLI_NUMBER,
    CLI_OBJECT,
    CLI_JSON /* any value; what begins like JSON (an object, a list, a quote) and is none is refused, the rest is text
              */
};

struct cli_option {
    const char *name;  /* without dashes */
    const char *value; /* "NAME"; NULL: a switch. Completion offers files for FILE and PATH, folders for DIRECTORY,
                          presets for PRESET */
    const char *help;
    const char *choices; /* "memory|storage": all that is accepted; NULL: not a fixed set */
    enum cli_kind sent;  /* as a member of the request's body, or in its query */
    const char *member;  /* "tokens.prompt_tokens"; NULL: its name, with '_' for '-' */
};

struct cli_command {
    const char *name;                 /* "get", "key new" */
    const char *arguments;            /* "OPERATION TEXT" */
    unsigned min, max;                /* how many arguments; max UINT_MAX: any number */
    const char *summary;              /* one line */
    const char *detail;               /* a paragraph or more */
    const struct cli_option *options; /* ended by a NULL name; NULL: none of its own */
    int (*run)(struct cli *cli);
    /* Of one request that command_request() sends: */
    const char *verb, *route;
    void (*print)(json_object *answer); /* for people; with --json the answer is printed as it is */
    int (*judge)(json_object *answer);  /* CLI_NO: it was not what was wanted; NULL: each is good */
};

extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;
/* Options that every command takes. */
extern const struct cli_option cli_common_options[];

struct cli {
    struct mem mem;
    const struct cli_command *command;
    int argc;
    char **arguments; /* of the command, in order; owned */
    unsigned argument_count;
    struct cli_given {
        const struct cli_option *option; /* NULL: no command has it */
        const char *word, *value;        /* "--name" or "--name=VALUE", "VALUE"; "" for a switch */
    } * given;                           /* options, in order; owned */
    size_t given_count;
    bool json;                   /* --json */
    struct session *session;     /* made by the first request */
    char place[URL_PLACE_BYTES]; /* what session_place() returned last */
};

/* Reads a line as far as it goes: options and arguments, and the command, which leaves the arguments, where they name
 * one. CLI_ERROR after a message: no memory. In any case cli_fini(). */
int cli_split(struct cli *cli, int argc, char **argv);
/* Reads the command line. CLI_OK with cli->command set (NULL: no command was given), or CLI_ERROR after a message. */
int cli_parse(struct cli *cli, int argc, char **argv);
void cli_fini(struct cli *cli);
/* The last value of an option, or NULL; "" for a switch that was given. */
const char *cli_value(const struct cli *cli, const char *option);
bool cli_has(const struct cli *cli, const char *option);
/* The index-th value of a repeated option, or NULL. */
const char *cli_each(const struct cli *cli, const char *option, size_t index);
/* A number or duration of an option. CLI_OK (also when it is absent: *out stays as it is), or CLI_ERROR after a
 * message. */
int cli_number(const struct cli *cli, const char *option, enum option_type type, uint64_t *out);

/* ---- what a user says (value.c) ---- */

/* The text of an argument: itself, the contents of a file for "@FILE", standard input for "-". Appended. CLI_ERROR
 * after a message. */
int cli_read_value(struct cli *cli, const char *argument, struct buf *out);
/* Appends it as JSON: as CLI_TEXT, CLI_NUMBER, CLI_OBJECT or CLI_JSON. `what` begins messages. CLI_ERROR after one. */
int cli_write_value(struct cli *cli, const char *what, const char *argument, enum cli_kind kind,
                    struct json_writer *out);

/* ---- what it becomes (request.c) ---- */

/* Appends `path`, and as its query those options of the command that are sent; ended by a NUL byte. CLI_ERROR after a
 * message: no memory. */
int request_path(struct cli *cli, const char *path, struct buf *out);
/* Sends the request of the command's row: with PUT and POST, arguments and options are its body. Of 400 and more
 * CLI_ERROR, told. Release the reply in any case. */
int request_ask(struct cli *cli, struct reply *reply);

/* ---- the daemon (session.c) ---- */

struct reply {
    long status; /* HTTP; 0: there was no answer */
    struct buf body;
    json_object *json; /* the body parsed, or NULL when it is no JSON; owned */
    char why[256];     /* of status 0 */
    bool absent;       /* of status 0: nobody listens there */
};

typedef bool session_take_fn(void *context, aic_view data);
typedef bool session_idle_fn(void *context);

/* What goes out and where the answer goes: into the reply, where nothing else is said or its status is 300 and more.
 * --timeout bounds the time in which nothing moves; the time that source and sink take is not counted. */
struct session_stream {
    aic_view body;         /* to send; data NULL: none */
    FILE *source;          /* the same from a file; NULL: none */
    FILE *sink;            /* NULL: none */
    const char *name;      /* of the source or sink, for messages */
    const char *what;      /* for the progress line; NULL: there is none */
    uint64_t total;        /* bytes of the source, 0: unknown */
    bool patient;          /* no limit on time unless --timeout was given: the answer comes in one piece, at the end */
    bool any_status;       /* the caller judges the answer: CLI_OK whatever its status, and nothing is parsed */
    uint64_t lines, bytes; /* out: what the sink got */
    /* Server-sent events: each event's data goes to `take`; `idle` is called ten times a second. Either ends the stream
     * by false, which is CLI_OK. There is no limit on time, and a failure is CLI_ERROR without a message:
     * session_complain() tells it once the terminal is as it was. */
    session_take_fn *take;
    session_idle_fn *idle;
    void *context;
};
/*
 * Sends a request. CLI_OK: the answer is good. A status of 400 and more is told on standard error (or with --json as it
 * came on standard output) and gives CLI_ERROR, 404 gives CLI_NO without a word; a
 * daemon that could not be reached is told, too, and CLI_ERROR. Release the reply in any case.
 */
int session_stream(struct cli *cli, const char *verb, const char *path, struct session_stream *stream,
                   struct reply *reply);
/* The same with nothing but a body; `data` NULL sends none. */
int session_ask(struct cli *cli, const char *verb, const char *path, aic_view body, struct reply *reply);
/* The same for any status. */
int session_send(struct cli *cli, const char *verb, const char *path, aic_view body, struct reply *reply);
void reply_parse(struct reply *reply);
void reply_fini(struct reply *reply);
void session_close(struct session **session);
/* Where requests go, as it may be shown: without user, password and path. Valid until the next call. */
const char *session_place(struct cli *cli);
/*
 * For who sends and reads bytes by itself, once something was asked: a connection of its own, as this session has one.
 * *out is a CURL handle for curl_easy_send(), curl_easy_recv() and, in any case, curl_easy_cleanup(); NULL: none was
 * made. CLI_ERROR after a message. The handle is good as long as the session, on any one thread.
 */
int session_connect(struct cli *cli, void **out, int *descriptor);
/* Appends the lines of a request's head that are the same in all of them: Host, Content-Type, Authorization. */
void session_write_head(struct cli *cli, struct buf *out);
/* Tells what an error reply says, or why there was none. Returns CLI_ERROR. */
int session_complain(struct cli *cli, const struct reply *reply);

/* Appends "?name=value" or "&name=value", percent-encoded; nothing for NULL. */
void query_add(struct buf *path, const char *name, const char *value);

/* ---- a file that a command writes (output.c) ---- */

struct output {
    FILE *file;          /* to write to */
    const char *name;    /* for messages; borrowed */
    char path[PATH_MAX]; /* the file that is replaced at the end; "": written directly */
};
/*
 * Opens `name`: standard output for NULL, "-" and /dev/stdout. A regular file, or a name that is free, is written
 * beside and replaced by output_close() alone, with the mode and, where that is allowed, the owner that it had;
 * anything else is written directly. CLI_ERROR after a message; nothing is to be closed then. One at a time.
 */
int output_open(struct output *output, const char *name);
/* Ends it. With `result` CLI_OK the new file is on disk and has the name; otherwise, or when that fails (CLI_ERROR
 * after a message), the old one stays and nothing else is left. Returns `result` or that. */
int output_close(struct output *output, int result);

/* ---- output (print.c) ---- */

__attribute__((format(printf, 1, 2))) int cli_fail(const char *format,
                                                   ...); /* "aicache: ..." on standard error; CLI_ERROR */
/* Standard output. Commands write and look at nothing; main() looks once, at the end, by output_end(). A command that
 * goes on for long asks in between, so that it ends with its reader. */
bool output_works(void);        /* brings what is buffered out; false: some of it could not be written */
int output_lost(int why);       /* tells so, once, with an errno; CLI_ERROR */
int output_end(int result);     /* `result`, or CLI_ERROR, which is told, where not all was written */
void print_view(aic_view text); /* JSON or a page, and a newline when there is none */
/* The reply's body on standard output, indented when that is a terminal. */
void print_json(const struct reply *reply);
/* Is it a terminal that obeys escape sequences? */
bool print_obeys(int descriptor);
/* 1536 -> "1.5 KiB"; 83.2 -> "1m 23s". */
#define PRINT_BYTES 32
const char *print_size(char out[PRINT_BYTES], uint64_t bytes);
const char *print_duration(char out[PRINT_BYTES], double seconds);
/* "grows 538.0 MiB an hour, over 1m 0s; full in 2m 0s", from what the daemon says of a trend: at_limit,
 * growth_span_seconds, projected_seconds_to_limit, evictions_per_minute. `hourly`: bytes; NULL: not known. */
#define PRINT_TREND_BYTES 160
const char *print_trend(char out[PRINT_TREND_BYTES], json_object *trend, const double *hourly);
const char *print_age(char out[PRINT_BYTES], const char *iso_time);
/* The same moment as date and time of day of this machine, "2026-11-22 15:49:12"; "-" where there is none. */
const char *print_moment(char out[PRINT_BYTES], const char *iso_time);
/* A member by a dotted path ("memory.bytes"), or NULL. */
json_object *json_at(json_object *root, const char *path);
const char *json_text_at(json_object *root, const char *path, const char *otherwise);
uint64_t json_u64_at(json_object *root, const char *path);
double json_double_at(json_object *root, const char *path);
/* Sorts a list of objects by a number in each, the largest first. NULL is an empty list. */
void json_sort_by(json_object *list, const char *name);
bool json_bool_at(json_object *root, const char *path);
/* Text of other people on a terminal: control characters are shown as '?'. At most `width` columns, padded when `pad`.
 */
void print_cell(FILE *out, const char *text, int width, bool pad);
/* Columns of the terminal that is standard output; `otherwise` when it is none. */
#define PRINT_COLUMNS 80 /* of tables that no terminal shows */
int print_columns(int otherwise);
/* Text as above in words: begins at column `from`, where the caller is, and goes on there on the next line before it
 * passes `columns`; where that leaves less than PRINT_NARROW, in one line. */
#define PRINT_NARROW 20
void print_text(FILE *out, const char *text, int from, int columns);
/* A table of times in microseconds, a row for each kind of request; none for a kind that there was not. */
void print_times_head(void);
void print_times(const char *name, const struct hist *hist);
void print_times_of(const char *name, const struct hist_total *total);
/* "name: " before the message about that field; nothing where `param` is NULL or empty. */
void print_param(FILE *out, const char *param);

struct progress {
    const char *what;
    uint64_t total; /* 0: unknown */
    uint64_t shown_ns;
    bool on; /* standard error is a terminal */
};
void progress_begin(struct progress *progress, const char *what, uint64_t total);
void progress_show(struct progress *progress, uint64_t done, const char *note);
void progress_end(struct progress *progress);

/* ---- pages (pages.c) ---- */

/* Prints a page; prints the page of one command. */
int cli_print_page(struct cli *cli, void (*write)(struct buf *out));
int cli_explain(struct cli *cli, const struct cli_command *command);

void pages_help(struct buf *out);
void pages_command(const struct cli_command *command, struct buf *out);
void pages_manual(struct buf *out);

#endif
