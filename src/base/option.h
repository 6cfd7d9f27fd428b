/*
 * option.h - one table from which configuration file, environment, flags, --help, the manual and the reference page
 * come.
 *
 * A program describes its options as an array of `struct option_row`, made by an X-macro beside the struct that they
 * fill. The loader applies, each over the one before: the table's defaults, a preset, a YAML file (read by libyaml
 * events), the environment, flags. Everything that is wrong is reported, not only the first: with file, line, key, what
 * came and what is accepted. Nothing is printed: reports and pages go into buffers.
 *
 * The name "memory.max_bytes" is `memory: {max_bytes: 256M}` in the file (or `memory.max_bytes: 256M`),
 * AICACHE_MEMORY_MAX_BYTES in the environment and
 * --memory-max-bytes on the command line. One thread at a time.
 */
#ifndef BASE_OPTION_H
#define BASE_OPTION_H

#include "base/buf.h"

/* What a value is, how a user writes it, and the C type that it fills. */
enum option_type {
    OPTION_BOOL,      /* true false yes no on off -> bool */
    OPTION_U64,       /* 1000 -> uint64_t */
    OPTION_SIZE,      /* 1500, 64K, 1.5G (powers of 1024) -> uint64_t, bytes */
    OPTION_MS,        /* 20ms 10s 5m 2h 7d, a number alone is seconds -> uint64_t, milliseconds */
    OPTION_SECONDS,   /* the same, whole seconds -> uint64_t, seconds */
    OPTION_HOURS,     /* 1, 0.5: hours as a plain number -> uint64_t, milliseconds */
    OPTION_TEXT,      /* -> char *, owned, NULL when empty */
    OPTION_URL,       /* the same; it may hold a secret, so that only scheme, host and port are shown */
    OPTION_ENUM,      /* one of `choices` -> unsigned, its index */
    OPTION_TEXT_LIST, /* a list, or one text; commas in the environment; a repeated flag -> struct option_texts */
    OPTION_TABLE,     /* a map or list of its own shape, read by `shape`; YAML text in environment and flags */
};

#define OPTION_C_BOOL bool
#define OPTION_C_U64 uint64_t
#define OPTION_C_SIZE uint64_t
#define OPTION_C_MS uint64_t
#define OPTION_C_SECONDS uint64_t
#define OPTION_C_HOURS uint64_t
#define OPTION_C_TEXT char *
#define OPTION_C_URL char *
#define OPTION_C_ENUM unsigned
#define OPTION_C_TEXT_LIST struct option_texts

struct option_texts {
    char **items; /* owned */
    size_t count;
};

/* Where a value came from, or where something is wrong. */
enum option_place { OPTION_DEFAULT, OPTION_PRESET, OPTION_FILE, OPTION_ENVIRONMENT, OPTION_FLAG };

struct option_origin {
    enum option_place place;
    const char *name; /* of the preset, file, variable (its value may follow behind a `=`) or flag; borrowed from the
                         input or the table */
    unsigned line;    /* of a file; 0: none */
};

/* What was wrong: one line per finding. */
struct option_report {
    struct buf text;
    size_t errors;
    size_t warnings;
};

/* One value of a YAML file, for tables that read a shape of their own. */
enum option_node_kind { OPTION_SCALAR, OPTION_MAP, OPTION_LIST };
struct option_node {
    enum option_node_kind kind;
    unsigned line;             /* from 1 */
    bool quoted;               /* a scalar in quotes */
    char *name;                /* owned; the member's name within a map, otherwise NULL */
    char *text;                /* owned; of a scalar, without NUL bytes inside */
    struct option_node *first; /* owned; of a map or list, in the file's order */
    struct option_node *next;
};

/* How a table of its own shape is read, shown and released. `field` is the option's place in the target, zeroed before
 * `read`. */
struct option_shape {
    /* Fills *field. Finds what is wrong with option_refuse(). AIC_OK also then; AIC_NO_MEMORY (what was filled is
     * released by `release`). */
    aic_status (*read)(struct mem *mem, const struct option_node *node, struct option_origin origin, const char *key,
                       void *field, struct option_report *report);
    /* Appends the value in one line, as a user would write it in the environment. Equal values give equal text. */
    void (*write)(const void *field, struct buf *out);
    void (*release)(struct mem *mem, void *field);
    const char *accepts; /* "a map of operation: duration" */
};

struct option_row {
    const char *name; /* "memory.max_bytes" */
    enum option_type type;
    size_t offset;                    /* into the target struct */
    size_t bytes;                     /* of the field */
    const char *fallback;             /* the default, as a user would write it; "" for an empty text, list or table */
    uint64_t min, max;                /* of numbers; max 0: no limit */
    const char *choices;              /* of OPTION_ENUM: "s3fifo|lru|fifo|sieve" */
    const struct option_shape *shape; /* of OPTION_TABLE */
    bool live;                        /* SIGHUP can change it */
    const char *help;                 /* one sentence */
    const char *detail;               /* a paragraph for manual and reference; NULL: none */
};

/* What a program takes beside options: --config FILE, --help. */
struct option_action {
    const char *name;  /* without dashes */
    const char *value; /* "FILE"; NULL: takes none */
    const char *help;
};

/* Values that come as a set, by name. */
struct option_preset {
    const char *name;
    const char *help;
    const struct option_setting {
        const char *name, *value;
    } * settings; /* ended by a NULL name */
};

struct option_table {
    const struct option_row *rows;
    size_t row_count;
    const struct option_action *actions;
    size_t action_count;
    /* Chosen by the OPTION_ENUM row "preset", whose choices are "none" and these, in order. */
    const struct option_preset *presets;
    size_t preset_count;
    size_t target_bytes;
    const char *prefix;               /* "AICACHE_" */
    const char *const *known_foreign; /* variables with this prefix that are somebody else's; ended by NULL */
    const char *program;              /* "aicached" */
};

#define OPTION_ACTION SIZE_MAX

/* One flag as it was given. */
struct option_flag {
    size_t row;        /* index, or OPTION_ACTION */
    size_t action;     /* index */
    const char *given; /* "--memory-max-bytes", borrowed from argv */
    const char *value; /* borrowed; NULL for an action without one */
};

/* Where values come from. Every part may be absent. All borrowed for the call, and as long as origins are used. */
struct option_input {
    const char *file;         /* a path, also the name in messages */
    bool regular_only;        /* it is refused unless it is a regular file: for who may not wait, as a pipe makes one */
    aic_view text;            /* data != NULL: the contents of `file`, which is then only a name */
    char *const *environment; /* as environ */
    const struct option_flag *flags;
    size_t flag_count;
};

void option_report_init(struct option_report *report, struct mem *mem);
void option_report_fini(struct option_report *report);
/* Adds "PLACE: key: message", without the user info of URLs. What the user wrote belongs into the message through
 * option_quote(). */
__attribute__((format(printf, 4, 5))) void option_refuse(struct option_report *report, struct option_origin origin,
                                                         const char *key, const char *format, ...);
/* Notes what is odd but acceptable: no error. */
__attribute__((format(printf, 4, 5))) void option_warn(struct option_report *report, struct option_origin origin,
                                                       const char *key, const char *format, ...);
/* Writes `text` in quotes, cut at some 60 bytes, without user info, control bytes escaped, and returns `out`. */
#define OPTION_QUOTE_SIZE 96
const char *option_quote(char out[OPTION_QUOTE_SIZE], const char *text);

/* Splits the command line. `flags` has room for argc. AIC_OK; AIC_INVALID with the report filled. */
AIC_MUST_CHECK aic_status option_parse_flags(const struct option_table *table, int argc, char **argv,
                                             struct option_flag *flags, size_t *count, struct option_report *report);

/*
 * Fills `target` (target_bytes of it, whatever it held) from all sources. `origins`, one per row, may be NULL. AIC_OK,
 * perhaps with findings: where report->errors grew, what was refused was left as it was before, so that rules across
 * options are heard as well, and nothing may be done by it. AIC_INVALID when a source cannot be read at all,
 * AIC_NO_MEMORY; the target is zero and owns nothing then.
 */
AIC_MUST_CHECK aic_status option_gather(const struct option_table *table, struct mem *mem,
                                        const struct option_input *input, void *target, struct option_origin *origins,
                                        struct option_report *report);
/* Releases what the target owns and zeroes it. */
void option_release(const struct option_table *table, struct mem *mem, void *target);

/* Exchanges one option's values between two targets. */
void option_swap(const struct option_row *row, void *a, void *b);

/* The row of this name, or NULL. */
const struct option_row *option_find(const struct option_table *table, const char *name);
/* Appends the value as a user would write it; equal values give equal text. */
void option_write(const struct option_row *row, const void *target, struct buf *out);
/* The same as it may be shown: of a URL only scheme, host and port, so that two may look the same. */
void option_write_shown(const struct option_row *row, const void *target, struct buf *out);
/* Appends what a row accepts, as the end of a sentence: "a number of bytes, alone or with K, M or G, from 1K to 1G". */
void option_write_accepted(const struct option_row *row, struct buf *out);
/* The index of a choice, in any case: false where it is none of them. */
bool option_choice(const char *choices, const char *text, unsigned *index);
/* Appends a number in the largest unit of its type that divides it. */
void option_write_number(enum option_type type, uint64_t number, struct buf *out);
/* The table's name nearest to `name`, or NULL when none is near. */
const char *option_nearest(const struct option_table *table, const char *name);
/* Edit distance of two texts with a cap: for suggestions elsewhere. */
unsigned option_distance(const char *a, const char *b);

/* Reads a number with the rules of `type` (OPTION_U64, _SIZE, _MS, _SECONDS, _HOURS): AIC_OK or AIC_INVALID. */
AIC_MUST_CHECK aic_status option_number(enum option_type type, const char *text, uint64_t *out);

/* A YAML text as a tree, bounded in size (1 MiB), depth and without aliases. AIC_INVALID with the report filled. *out
 * may be NULL: an empty file. */
AIC_MUST_CHECK aic_status option_yaml_read(struct mem *mem, const char *name, aic_view text, struct option_node **out,
                                           struct option_report *report);
void option_node_release(struct mem *mem, struct option_node **node);

/* Pages made from the table, appended to `out`: what --help prints, the manual page's OPTIONS in roff, the reference
 * page in Markdown. */
void option_write_help(const struct option_table *table, struct buf *out);
void option_write_roff(const struct option_table *table, struct buf *out);
void option_write_markdown(const struct option_table *table, struct buf *out);
/* Text of such pages: in words, of which those that would pass `columns` begin a new line in column `from`, and a line
 * end; the page is in column `column`. As roff: `code` is bold, and nothing is a command. */
void option_write_wrapped(const char *text, size_t column, size_t from, size_t columns, struct buf *out);
void option_write_roff_text(const char *text, struct buf *out);
/* Every value with where it came from, as a YAML file that gives the same settings. */
void option_write_settings(const struct option_table *table, const void *target, const struct option_origin *origins,
                           struct buf *out);
/* A text as a YAML scalar in double quotes, in one line, that reads back the same (of UTF-8). */
void option_write_quoted(const char *text, struct buf *out);
/* "file.yaml:12", "the environment variable X", ... */
void option_write_origin(struct option_origin origin, struct buf *out);
/* The variable's and the flag's name of an option ("--" included), appended. */
void option_write_variable(const struct option_table *table, const struct option_row *row, struct buf *out);
void option_write_flag(const struct option_row *row, struct buf *out);

#endif
