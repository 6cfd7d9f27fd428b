/*
 * entries.c - the commands of many entries: list, invalidate, export, import, verify.
 */
#include "cli/commands.h"

#include "base/check.h"
#include "base/plural.h"
#include "base/utf8.h"

#include <aicache/aicache.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* -------------------------------------------------------------------------------------------------------- list -- */

/* A row of a list: what is known of an entry in so many columns, its key of 64 behind it where a terminal has room. */
enum { LIST_FACTS = 66, LIST_KEY = 66, LIST_COLUMNS = LIST_FACTS + LIST_KEY + 18, LIST_LEAST_TAGS = 8 };

static const int list_widths[] = {10, 12, 12, 10, 8, 8}; /* the first three are texts */

struct list_row {
    bool narrow; /* the key has no room behind the rest */
    int columns, used;
};

static struct list_row list_row_begin(const char *key)
{
    struct list_row row = {print_columns(LIST_COLUMNS) < LIST_COLUMNS, print_columns(INT_MAX), 0};
    if (row.narrow) row.used = printf("%s\n  ", key) > 0 ? 2 : 0;
    return row;
}

/* What does not fit into the line any more begins another one, below. */
static void list_place(struct list_row *row, int width)
{
    if (row->used > 2 && row->narrow && row->used + 1 + width > row->columns) {
        fputs("\n  ", stdout);
        row->used = 2;
    } else if (row->used > 2) {
        putchar(' ');
        row->used++;
    }
    row->used += width;
}

static void list_cells(struct list_row *row, const char *const *texts)
{
    for (size_t i = 0; i < COUNT_OF(list_widths); i++) {
        list_place(row, list_widths[i]);
        if (i < 3) print_cell(stdout, texts[i], list_widths[i], true);
        else printf("%*s", list_widths[i], texts[i]);
    }
    list_place(row, LIST_LEAST_TAGS);
}

/* As far as there is room for them. */
static void print_tags(json_object *tags, int room)
{
    size_t count = tags != NULL ? json_object_array_length(tags) : 0, i = 0;
    if (count == 0) putchar('-');
    for (; i < count && room > 2; i++) {
        const char *tag = json_object_get_string(json_object_array_get_idx(tags, i));
        if (i > 0) putchar(',');
        room -= i > 0;
        int width = (int)utf8_count(tag, strlen(tag));
        if (width > 24) width = 24;
        if (width > room) width = room;
        print_cell(stdout, tag, width, false);
        room -= width;
    }
    if (i < count && room > 0) fputs("…", stdout);
}

/* The key is whole, so that it can be given to get and delete as it stands: last in its line, or in a line of its own
 * above the others on a terminal that is too narrow for both. */
static void print_entry(json_object *entry)
{
    char size[PRINT_BYTES], age[PRINT_BYTES], left[PRINT_BYTES];
    json_object *ttl = json_at(entry, "ttl_seconds");
    const char *key = json_text_at(entry, "key", "-");
    const char *const texts[] = {json_text_at(entry, "namespace", NULL),
                                 json_text_at(entry, "operation", NULL),
                                 json_text_at(entry, "model", NULL),
                                 print_size(size, json_u64_at(entry, "size_bytes")),
                                 print_age(age, json_text_at(entry, "created_at", NULL)),
                                 ttl != NULL ? print_duration(left, json_object_get_double(ttl)) : "never"};
    static_assert(COUNT_OF(texts) == COUNT_OF(list_widths), "each column has its text");
    struct list_row row = list_row_begin(key);
    list_cells(&row, texts);
    print_tags(json_at(entry, "tags"), row.columns - row.used + LIST_LEAST_TAGS - (row.narrow ? 0 : LIST_KEY));
    if (row.narrow) putchar('\n');
    else printf("  %s\n", key);
}

static void print_list_head(void)
{
    static const char *const names[] = {"namespace", "operation", "model", "size", "age", "expires"};
    static_assert(COUNT_OF(names) == COUNT_OF(list_widths), "each column has its name");
    struct list_row row = list_row_begin("key");
    list_cells(&row, names);
    puts(row.narrow ? "tags" : "tags  key");
}

static int list_page(struct cli *cli, const char *cursor, bool first, struct reply *reply)
{
    struct buf path;
    *reply = (struct reply){0};
    buf_init(&path, &cli->mem, MEM_OTHER);
    buf_append_text(&path, "/cache/entries");
    query_add(&path, "cursor", cursor);
    if (!cli_has(cli, "limit")) query_add(&path, "limit", cli_has(cli, "all") ? "1000" : "50");
    int result = request_path(cli, "", &path);
    if (result == CLI_OK) result = session_ask(cli, "GET", path.data, (aic_view){0}, reply);
    buf_fini(&path);
    if (result == CLI_NO) result = session_complain(cli, reply);
    if (result != CLI_OK) return result;
    if (cli->json) {
        print_json(reply);
        return CLI_OK;
    }
    json_object *entries = json_at(reply->json, "entries");
    size_t count = entries != NULL ? json_object_array_length(entries) : 0;
    if (first && count > 0) print_list_head();
    for (size_t i = 0; i < count; i++) print_entry(json_object_array_get_idx(entries, i));
    return CLI_OK;
}

int command_list(struct cli *cli)
{
    char cursor[1024];
    const char *from = cli_value(cli, "cursor");
    for (bool first = true;; first = false) {
        struct reply reply;
        int result = list_page(cli, from, first, &reply);
        const char *next = result == CLI_OK ? json_text_at(reply.json, "cursor", NULL) : NULL;
        bool more = next != NULL && next[0] != '\0' && strlen(next) < sizeof cursor;
        if (more) memcpy(cursor, next, strlen(next) + 1);
        reply_fini(&reply);
        if (result != CLI_OK || !more || !output_works()) return result;
        if (!cli_has(cli, "all")) {
            if (!cli->json) fprintf(stderr, "more: --cursor %s\n", cursor);
            return CLI_OK;
        }
        from = cursor;
    }
}

/* -------------------------------------------------------------------------------------------------- invalidate -- */

/* As the daemon judges it, in the words of this command line. */
static bool names_something(const struct cli *cli)
{
    static const char *const names[] = {"namespace", "operation", "model", "tag", "pattern", "older-than", "all"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (cli_has(cli, names[i])) return true;
    }
    return false;
}

int command_invalidate(struct cli *cli)
{
    if (!names_something(cli))
        return cli_fail("nothing is named: give --namespace, --operation, --model, --tag, --pattern or --older-than, "
                        "or --all for everything");
    return command_request(cli);
}

void print_invalidation(json_object *answer)
{
    char size[PRINT_BYTES];
    uint64_t matched = json_u64_at(answer, "matched");
    if (json_bool_at(answer, "dry_run"))
        printf("%llu %s; nothing was removed\n", (unsigned long long)matched,
               plural(matched, "entry matches", "entries match"));
    else
        printf("%llu %s matched, %llu removed, %s freed\n", (unsigned long long)matched,
               plural(matched, "entry", "entries"), (unsigned long long)json_u64_at(answer, "removed"),
               print_size(size, json_u64_at(answer, "bytes_freed")));
}

int judge_invalidation(json_object *answer)
{
    return json_u64_at(answer, "matched") > 0 ? CLI_OK : CLI_NO;
}

/* ---------------------------------------------------------------------------------------------- export, import -- */

int command_export(struct cli *cli)
{
    struct buf path;
    struct reply reply = {0};
    struct output output;
    if (output_open(&output, cli->argument_count > 0 ? cli->arguments[0] : NULL) != CLI_OK) return CLI_ERROR;
    buf_init(&path, &cli->mem, MEM_OTHER);
    struct session_stream stream = {.sink = output.file, .name = output.name, .what = "export"};
    int result = request_path(cli, "/cache/export", &path);
    if (result == CLI_OK) result = session_stream(cli, "GET", path.data, &stream, &reply);
    if (result == CLI_NO) result = session_complain(cli, &reply);
    result = output_close(&output, result);
    char size[PRINT_BYTES];
    if (result == CLI_OK)
        fprintf(stderr, "%llu %s, %s exported to %s\n", (unsigned long long)stream.lines,
                plural(stream.lines, "entry", "entries"), print_size(size, stream.bytes), output.name);
    reply_fini(&reply);
    buf_fini(&path);
    return result;
}

static bool same_text(const char *one, const char *other)
{
    return strcmp(one != NULL ? one : "", other != NULL ? other : "") == 0;
}

static bool same_error(json_object *one, json_object *other)
{
    return same_text(json_text_at(one, "param", NULL), json_text_at(other, "param", NULL)) &&
           same_text(json_text_at(one, "message", NULL), json_text_at(other, "message", NULL));
}

/* What several lines have in common is told once, with the first of them: their numbers, how many more, and what it is.
 */
static void print_rejection(json_object *errors, size_t first)
{
    enum { NAMED = 5 };
    json_object *error = json_object_array_get_idx(errors, first);
    size_t count = 0, same = 0;
    for (size_t i = 0; i < first; i++) {
        if (same_error(error, json_object_array_get_idx(errors, i))) return; /* told with that one */
    }
    for (size_t i = first; i < json_object_array_length(errors); i++)
        same += same_error(error, json_object_array_get_idx(errors, i));
    fprintf(stderr, "%s ", plural(same, "line", "lines"));
    for (size_t i = first; i < json_object_array_length(errors) && count < NAMED; i++) {
        json_object *other = json_object_array_get_idx(errors, i);
        if (!same_error(error, other)) continue;
        fprintf(stderr, "%s%llu", count++ > 0 ? ", " : "", (unsigned long long)json_u64_at(other, "line"));
    }
    if (same > NAMED) fprintf(stderr, " and %zu more", same - NAMED);
    fputs(": ", stderr);
    print_param(stderr, json_text_at(error, "param", NULL));
    print_cell(stderr, json_text_at(error, "message", ""), 400, false);
    fputc('\n', stderr);
}

static void print_import(struct cli *cli, const struct reply *reply)
{
    json_object *errors = json_at(reply->json, "errors");
    size_t told = errors != NULL ? json_object_array_length(errors) : 0;
    uint64_t accepted = json_u64_at(reply->json, "accepted"), rejected = json_u64_at(reply->json, "rejected");
    if (cli->json) {
        print_json(reply);
        return;
    }
    for (size_t i = 0; i < told; i++) print_rejection(errors, i);
    if (rejected > told)
        fprintf(stderr, "%llu more %s rejected; the daemon's answer names the first %zu\n",
                (unsigned long long)(rejected - told), plural(rejected - told, "line was", "lines were"), told);
    printf("%llu %s accepted, %llu rejected\n", (unsigned long long)accepted, plural(accepted, "line", "lines"),
           (unsigned long long)rejected);
}

static int import_lines(struct cli *cli, const char *route)
{
    const char *name = cli->arguments[0];
    bool standard = strcmp(name, "-") == 0;
    FILE *file = standard ? stdin : fopen(name, "rb");
    struct stat facts;
    struct reply reply = {0};
    struct buf path;
    if (file == NULL) return cli_fail("%s: %s", name, strerror(errno));
    struct session_stream stream = {.source = file,
                                    .name = standard ? "standard input" : name,
                                    .what = strcmp(route, "/cache/warm") == 0 ? "warm" : "import"};
    if (fstat(fileno(file), &facts) == 0 && S_ISREG(facts.st_mode)) stream.total = (uint64_t)facts.st_size;
    buf_init(&path, &cli->mem, MEM_OTHER);
    int result = request_path(cli, route, &path);
    if (result == CLI_OK) result = session_stream(cli, "POST", path.data, &stream, &reply);
    if (result == CLI_NO) result = session_complain(cli, &reply);
    if (result == CLI_OK) print_import(cli, &reply);
    if (result == CLI_OK && json_u64_at(reply.json, "rejected") > 0) result = CLI_NO;
    if (!standard) fclose(file);
    reply_fini(&reply);
    buf_fini(&path);
    return result;
}

int command_import(struct cli *cli)
{
    return import_lines(cli, cli_has(cli, "warm") ? "/cache/warm" : "/cache/import");
}

int command_warm(struct cli *cli)
{
    return import_lines(cli, "/cache/warm");
}

/* ------------------------------------------------------------------------------------------------------ verify -- */

static int print_verdict(bool sound, const char *message)
{
    printf(sound ? "everything adds up\n" : "DAMAGED: %s\n", message);
    return sound ? CLI_OK : CLI_NO;
}

/* In the words of the daemon, where none is asked. */
static int print_json_verdict(bool sound, uint64_t entries, const char *message)
{
    json_object *verdict = json_object_new_object(), *error = sound ? NULL : json_object_new_object();
    if (sound) {
        json_object_object_add(verdict, "status", json_object_new_string("ok"));
        json_object_object_add(verdict, "storage_entries", json_object_new_uint64(entries));
    } else {
        json_object_object_add(error, "code", json_object_new_string("damaged"));
        json_object_object_add(error, "message", json_object_new_string(message));
        json_object_object_add(verdict, "error", error);
    }
    puts(json_object_to_json_string_ext(verdict, JSON_C_TO_STRING_NOSLASHESCAPE));
    json_object_put(verdict);
    return sound ? CLI_OK : CLI_NO;
}

/* A store without its secret is one, too: that it is missing is told then, and nothing is made. */
static bool has_store(const char *directory)
{
    struct stat facts;
    char store[4096];
    return (size_t)snprintf(store, sizeof store, "%s/cache/cache.mdb", directory) < sizeof store &&
           stat(store, &facts) == 0;
}

/* Opens the store as the daemon would; it is refused while a daemon has it open. */
static int verify_directory(struct cli *cli, const char *directory)
{
    struct stat facts;
    aic_cache *cache = NULL;
    aic_error error = {0};
    if (stat(directory, &facts) != 0) return cli_fail("%s: %s", directory, strerror(errno));
    if (!has_store(directory)) return cli_fail("%s is no data directory of aicache: it holds no store", directory);
    aic_options options = {.data_dir = directory,
                           .secret_file = cli_value(cli, "secret-file"),
                           .storage = AIC_STORAGE_LMDB,
                           .memory_max_bytes = AIC_ZERO,
                           .storage_max_bytes = UINT64_C(1) << 40,
                           .dictionary_off = true};
    aic_status status = aic_cache_open(&options, &cache, &error);
    if (status != AIC_OK)
        return cli_fail("%s cannot be opened: %s", directory,
                        error.message[0] != '\0' ? error.message : aic_status_text(status));
    aic_stats stats;
    status = aic_cache_verify(cache, &error);
    aic_cache_stats(cache, &stats);
    aic_cache_close(&cache);
    if (status != AIC_OK && status != AIC_DAMAGED) return cli_fail("%s: %s", aic_status_text(status), error.message);
    return cli->json ? print_json_verdict(status == AIC_OK, stats.storage_entries, error.message)
                     : print_verdict(status == AIC_OK, error.message);
}

int command_verify(struct cli *cli)
{
    const char *directory = cli_value(cli, "data-dir");
    struct reply reply;
    if (directory != NULL) return verify_directory(cli, directory);
    struct session_stream stream = {.patient = true, .any_status = true};
    int result = session_stream(cli, "POST", "/cache/verify", &stream, &reply);
    if (result == CLI_OK) {
        reply_parse(&reply);
        bool sound = reply.status == 200;
        bool damaged = strcmp(json_text_at(reply.json, "error.code", ""), "damaged") == 0;
        if (!sound && !damaged) result = session_complain(cli, &reply);
        else if (!cli->json) result = print_verdict(sound, json_text_at(reply.json, "error.message", ""));
        else {
            print_json(&reply);
            result = sound ? CLI_OK : CLI_NO;
        }
    }
    reply_fini(&reply);
    return result;
}
