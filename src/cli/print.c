/*
 * print.c - output for people: sizes, durations, tables, progress.
 *
 * What comes from the daemon may hold other people's text; on its way to a terminal control characters are replaced, so
 * that nobody's tag can move a cursor.
 */
#include "cli/cli.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/url.h"
#include "base/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* What became of standard output: the first errno, and whether it was told. */
static int output_why;
static bool output_told;

bool output_works(void)
{
    if (fflush(stdout) != 0 && output_why == 0) output_why = errno;
    return output_why == 0 && ferror(stdout) == 0;
}

int output_lost(int why)
{
    if (output_why == 0) output_why = why;
    if (output_told) return CLI_ERROR;
    output_told = true;
    return cli_fail("standard output: %s", output_why != 0 ? strerror(output_why) : "not all of it could be written");
}

int output_end(int result)
{
    return output_works() ? result : output_lost(0);
}

int cli_fail(const char *format, ...)
{
    char message[8192];
    va_list arguments;
    (void)output_works(); /* in order where both go to one terminal */
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    url_hide(message);
    fprintf(stderr, "aicache: %s\n", message);
    return CLI_ERROR;
}

/* JSON on its way to a terminal: what would not be shown there, or would command it, is spelled as an escape, which
 * stands for the same text where it can occur at all: within strings. Line breaks and tabs pass. */
static void print_shown(aic_view text)
{
    const uint8_t *at = (const uint8_t *)text.data, *end = at + text.size;
    while (at < end) {
        char escape[UTF8_ESCAPE_BYTES];
        size_t size = *at == '\n' || *at == '\t' ? 1 : utf8_shown(at, end);
        if (size > 0) fwrite(at, 1, size, stdout);
        else {
            size = utf8_escape(at, end, escape);
            fputs(escape, stdout);
        }
        at += size;
    }
}

void print_view(aic_view text)
{
    if (text.size > 0 && isatty(STDOUT_FILENO)) print_shown(text);
    else if (text.size > 0 && fwrite(text.data, 1, text.size, stdout) < text.size && output_why == 0)
        output_why = errno;
    if (text.size == 0 || text.data[text.size - 1] != '\n') putchar('\n');
}

void print_json(const struct reply *reply)
{
    if (reply->json != NULL && isatty(STDOUT_FILENO)) {
        print_view(aic_view_of(json_object_to_json_string_ext(
            reply->json, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)));
    } else {
        print_view(buf_view(&reply->body));
    }
}

const char *print_size(char out[PRINT_BYTES], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit < 4; unit++) value /= 1024;
    snprintf(out, PRINT_BYTES, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

const char *print_duration(char out[PRINT_BYTES], double seconds)
{
    uint64_t whole = seconds > 0 ? (uint64_t)seconds : 0;
    if (seconds < 1) snprintf(out, PRINT_BYTES, "%.0fms", seconds * 1000);
    else if (seconds < 60) snprintf(out, PRINT_BYTES, "%.0fs", seconds);
    else if (whole < 3600) snprintf(out, PRINT_BYTES, "%" PRIu64 "m %" PRIu64 "s", whole / 60, whole % 60);
    else if (whole < 86400) snprintf(out, PRINT_BYTES, "%" PRIu64 "h %" PRIu64 "m", whole / 3600, whole / 60 % 60);
    else snprintf(out, PRINT_BYTES, "%" PRIu64 "d %" PRIu64 "h", whole / 86400, whole / 3600 % 24);
    return out;
}

const char *print_trend(char out[PRINT_TREND_BYTES], json_object *trend, const double *hourly)
{
    char size[PRINT_BYTES], span[PRINT_BYTES], left[PRINT_BYTES], end[PRINT_BYTES + 16] = "", evicts[48] = "";
    json_object *limit = json_at(trend, "projected_seconds_to_limit");
    double evictions = json_double_at(trend, "evictions_per_minute");
    if (evictions > 0) snprintf(evicts, sizeof evicts, "; evicts %.0f a minute", evictions);
    if (limit != NULL) snprintf(end, sizeof end, "; full in %s", print_duration(left, json_object_get_double(limit)));
    print_duration(span, json_double_at(trend, "growth_span_seconds"));
    if (json_bool_at(trend, "at_limit")) snprintf(out, PRINT_TREND_BYTES, "full: the least useful leaves%s", evicts);
    else if (hourly == NULL) snprintf(out, PRINT_TREND_BYTES, "growth not known yet%s", evicts);
    else if (*hourly == 0) snprintf(out, PRINT_TREND_BYTES, "steady over %s%s", span, evicts);
    else
        snprintf(out, PRINT_TREND_BYTES, "%s %s an hour, over %s%s%s", *hourly < 0 ? "shrinks" : "grows",
                 print_size(size, (uint64_t)fabs(*hourly)), span, end, evicts);
    return out;
}

/* How far a time lies from now: "5m 3s", "-2h 0m" in the past for a date to come. */
const char *print_age(char out[PRINT_BYTES], const char *iso_time)
{
    struct tm parts = {0};
    if (iso_time == NULL || strptime(iso_time, "%Y-%m-%dT%H:%M:%S", &parts) == NULL) {
        snprintf(out, PRINT_BYTES, "-");
        return out;
    }
    double seconds = difftime(time(NULL), timegm(&parts));
    return print_duration(out, seconds < 0 ? -seconds : seconds);
}

const char *print_moment(char out[PRINT_BYTES], const char *iso_time)
{
    struct tm parts = {0}, local;
    time_t moment;
    bool told = iso_time != NULL && strptime(iso_time, "%Y-%m-%dT%H:%M:%S", &parts) != NULL;
    if (told) moment = timegm(&parts);
    if (!told || localtime_r(&moment, &local) == NULL || strftime(out, PRINT_BYTES, "%F %T", &local) == 0)
        snprintf(out, PRINT_BYTES, "-");
    return out;
}

json_object *json_at(json_object *root, const char *path)
{
    char name[128];
    while (root != NULL && *path != '\0') {
        size_t size = strcspn(path, ".");
        if (size >= sizeof name || !json_object_is_type(root, json_type_object)) return NULL;
        memcpy(name, path, size);
        name[size] = '\0';
        json_object *next = NULL;
        if (!json_object_object_get_ex(root, name, &next)) return NULL;
        root = next;
        path += size + (path[size] == '.');
    }
    return root;
}

const char *json_text_at(json_object *root, const char *path, const char *otherwise)
{
    json_object *found = json_at(root, path);
    return found != NULL ? json_object_get_string(found) : otherwise;
}

uint64_t json_u64_at(json_object *root, const char *path)
{
    json_object *found = json_at(root, path);
    return found != NULL ? json_object_get_uint64(found) : 0;
}

double json_double_at(json_object *root, const char *path)
{
    json_object *found = json_at(root, path);
    return found != NULL ? json_object_get_double(found) : 0;
}

void json_sort_by(json_object *list, const char *name)
{
    size_t count = list != NULL ? json_object_array_length(list) : 0;
    for (size_t i = 1; i < count; i++) { /* by insertion: lists are short, and what is equal stays in order */
        json_object *one = json_object_get(json_object_array_get_idx(list, i));
        double value = json_double_at(one, name);
        size_t at = i;
        for (; at > 0 && json_double_at(json_object_array_get_idx(list, at - 1), name) < value; at--)
            json_object_array_put_idx(list, at, json_object_get(json_object_array_get_idx(list, at - 1)));
        json_object_array_put_idx(list, at, one);
    }
}

bool json_bool_at(json_object *root, const char *path)
{
    json_object *found = json_at(root, path);
    return found != NULL && json_object_get_boolean(found);
}

/* At most `width` columns of it. Returns how many it took. */
static int print_clean(FILE *out, aic_view text, int width)
{
    const uint8_t *at = (const uint8_t *)text.data, *end = at + text.size;
    int column = 0;
    for (; at < end && column < width; column++) {
        size_t size = utf8_shown(at, end), hidden = utf8_sequence(at, end);
        if (size > 0) fwrite(at, 1, size, out);
        else fputc('?', out);
        at += hidden > 0 ? hidden : 1;
    }
    return column;
}

int print_columns(int otherwise)
{
    struct winsize size;
    bool known = isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : otherwise;
}

void print_text(FILE *out, const char *text, int from, int columns)
{
    int column = from;
    if (columns - from < PRINT_NARROW) columns = INT_MAX;
    for (const char *at = text + strspn(text, " "); *at != '\0'; at += strspn(at, " ")) {
        aic_view word = {at, strcspn(at, " ")};
        bool first = column == from;
        if (!first && column + 1 + (int)utf8_count(word.data, word.size) > columns) {
            fprintf(out, "\n%*s", from, "");
            column = from;
        } else if (!first) {
            fputc(' ', out);
            column++;
        }
        column += print_clean(out, word, INT_MAX);
        at += word.size;
    }
}

void print_cell(FILE *out, const char *text, int width, bool pad)
{
    aic_view rest = aic_view_of(text != NULL ? text : "-");
    bool cut = (int)utf8_count(rest.data, rest.size) > width;
    int column = print_clean(out, rest, width - (cut ? 1 : 0));
    if (cut) fputs("…", out);
    for (column += cut ? 1 : 0; pad && column < width; column++) fputc(' ', out);
}

void print_times_head(void)
{
    printf("%-9s %10s %10s %10s %10s %10s\n", "in µs", "p50", "p90", "p99", "p99.9", "max"); /* µ is two bytes */
}

void print_times_of(const char *name, const struct hist_total *total)
{
    static const double fractions[] = {0.5, 0.9, 0.99, 0.999};
    if (total->count == 0) return;
    printf("%-8s", name);
    for (size_t i = 0; i < COUNT_OF(fractions); i++)
        printf(" %10.1f", (double)hist_percentile(total, fractions[i]) / 1000);
    printf(" %10.1f\n", (double)total->max / 1000);
}

void print_times(const char *name, const struct hist *hist)
{
    struct hist_total total = {0};
    hist_add(&total, hist);
    print_times_of(name, &total);
}

void print_param(FILE *out, const char *param)
{
    if (param == NULL || param[0] == '\0') return;
    print_cell(out, param, 200, false); /* it may be a name that the user wrote */
    fputs(": ", out);
}

bool print_obeys(int descriptor)
{
    const char *kind = getenv("TERM");
    return kind != NULL && strcmp(kind, "dumb") != 0 && isatty(descriptor) != 0;
}

void progress_begin(struct progress *progress, const char *what, uint64_t total)
{
    *progress = (struct progress){.what = what, .total = total, .on = print_obeys(STDERR_FILENO)};
}

void progress_show(struct progress *progress, uint64_t done, const char *note)
{
    if (!progress->on) return;
    uint64_t now = clock_mono_ns(clock_system());
    if (now - progress->shown_ns < 100000000) return;
    progress->shown_ns = now;
    if (progress->total == 0) {
        fprintf(stderr, "\r%s  %s\033[K", progress->what, note);
        return;
    }
    enum { CELLS = 30 };
    unsigned filled = (unsigned)((double)(done < progress->total ? done : progress->total) * CELLS /
                                 (double)progress->total);
    fprintf(stderr, "\r%s [", progress->what);
    for (unsigned i = 0; i < CELLS; i++) fputc(i < filled ? '#' : '.', stderr);
    fprintf(stderr, "] %3.0f %%  %s\033[K", 100.0 * (double)done / (double)progress->total, note);
}

void progress_end(struct progress *progress)
{
    if (progress->on && progress->shown_ns != 0) fputs("\r\033[K", stderr);
}
