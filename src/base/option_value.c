/*
 * option_value.c - single values: reading what a user wrote, writing it back, and saying what is accepted.
 *
 * Numbers are read as digits with an optional fraction and a unit, in exact integer arithmetic, so that 1.5G is exact
 * and nothing is rounded: a value that is no whole number of the base unit is refused. Writing picks the largest unit
 * that divides the value, so that every value survives a round trip.
 */
#include "base/option_impl.h"

#include "base/check.h"
#include "base/url.h"
#include "base/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};

/* The first unit of a factor is the one that is written. The empty suffix is what a number alone means. */
static const struct unit size_units[] = {
    {"T", 1ull << 40},   {"TiB", 1ull << 40}, {"G", 1ull << 30},
    {"GiB", 1ull << 30}, {"M", 1ull << 20},   {"MiB", 1ull << 20},
    {"K", 1ull << 10},   {"KiB", 1ull << 10}, {"", 1},
};
static const struct unit ms_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {"", 1000},
};
static const struct unit second_units[] = {
    {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}, {"", 1},
};
static const struct unit hour_units[] = {{"", 3600000}};
static const struct unit plain_units[] = {{"", 1}};

static const struct unit *units_of(enum option_type type, size_t *count)
{
    switch (type) {
    case OPTION_SIZE: *count = COUNT_OF(size_units); return size_units;
    case OPTION_MS: *count = COUNT_OF(ms_units); return ms_units;
    case OPTION_SECONDS: *count = COUNT_OF(second_units); return second_units;
    case OPTION_HOURS: *count = COUNT_OF(hour_units); return hour_units;
    default: *count = COUNT_OF(plain_units); return plain_units;
    }
}

/* Reads digits[.digits]; *scale is 10^fraction digits. False when there is none, or too many. */
static bool read_decimal(const char **at, unsigned __int128 *number, uint64_t *scale)
{
    const char *start = *at;
    *number = 0;
    *scale = 1;
    bool fraction = false;
    size_t digits = 0;
    for (; **at != '\0'; (*at)++) {
        if (**at == '.' && !fraction && digits > 0) {
            fraction = true;
            continue;
        }
        if (**at < '0' || **at > '9') break;
        if (++digits > 20 || *scale > 100000000) return false;
        *number = *number * 10 + (unsigned)(**at - '0');
        if (fraction) *scale *= 10;
    }
    return digits > 0 && *at > start && (*at)[-1] != '.';
}

aic_status option_number(enum option_type type, const char *text, uint64_t *out)
{
    unsigned __int128 number;
    uint64_t scale;
    const char *at = text;
    if (!read_decimal(&at, &number, &scale)) return AIC_INVALID;
    if (*at == ' ') at++;
    size_t count;
    const struct unit *units = units_of(type, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(at, units[i].suffix) != 0) continue;
        unsigned __int128 value = number * units[i].factor;
        if (value % scale != 0 || value / scale > UINT64_MAX) return AIC_INVALID;
        *out = (uint64_t)(value / scale);
        return AIC_OK;
    }
    return AIC_INVALID;
}

void option_write_number(enum option_type type, uint64_t number, struct buf *out)
{
    if (type == OPTION_HOURS) {
        buf_printf(out, "%.9g", (double)number / 3600000.0);
        return;
    }
    size_t count;
    const struct unit *units = units_of(type, &count);
    for (size_t i = 0; i < count && number > 0; i++) {
        if (units[i].suffix[0] == '\0' || number % units[i].factor != 0) continue;
        buf_append_u64(out, number / units[i].factor);
        buf_append_text(out, units[i].suffix);
        return;
    }
    buf_append_u64(out, number);
}

bool option_bool(const char *text, bool *out)
{
    static const struct {
        const char *word;
        bool truth;
    } words[] = {{"true", true}, {"false", false}, {"yes", true}, {"no", false}, {"on", true}, {"off", false}};
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (strcasecmp(text, words[i].word) != 0) continue;
        *out = words[i].truth;
        return true;
    }
    return false;
}

bool option_choice(const char *choices, const char *text, unsigned *index)
{
    unsigned at = 0;
    size_t size = strlen(text);
    for (const char *choice = choices; choice != NULL; at++) {
        const char *end = strchr(choice, '|');
        size_t length = end != NULL ? (size_t)(end - choice) : strlen(choice);
        if (length == size && strncasecmp(choice, text, size) == 0) {
            *index = at;
            return true;
        }
        choice = end != NULL ? end + 1 : NULL;
    }
    return false;
}

aic_view option_choice_name(const char *choices, unsigned index)
{
    const char *choice = choices;
    for (; index > 0; index--) {
        choice = strchr(choice, '|');
        CHECK(choice != NULL);
        choice++;
    }
    const char *end = strchr(choice, '|');
    return (aic_view){choice, end != NULL ? (size_t)(end - choice) : strlen(choice)};
}

static void write_range(const struct option_row *row, struct buf *out)
{
    if (row->max == 0 && row->min == 0) return;
    buf_append_text(out, row->max == 0 ? ", at least " : ", from ");
    option_write_number(row->type, row->min, out);
    if (row->max == 0) return;
    buf_append_text(out, " to ");
    option_write_number(row->type, row->max, out);
}

void option_write_accepted(const struct option_row *row, struct buf *out)
{
    switch (row->type) {
    case OPTION_BOOL: buf_append_text(out, "true or false"); return;
    case OPTION_U64: buf_append_text(out, "a whole number"); break;
    case OPTION_SIZE: buf_append_text(out, "a number of bytes, alone or with K, M or G"); break;
    case OPTION_MS: buf_append_text(out, "a duration with ms, s, m, h or d (a number alone is seconds)"); break;
    case OPTION_SECONDS:
        buf_append_text(out, "a duration in whole seconds, with s, m, h or d (a number alone is seconds)");
        break;
    case OPTION_HOURS: buf_append_text(out, "a number of hours"); break;
    case OPTION_TEXT:
    case OPTION_URL: buf_append_text(out, "text"); return;
    case OPTION_TEXT_LIST: buf_append_text(out, "text, or a list of texts"); return;
    case OPTION_TABLE: buf_append_text(out, row->shape->accepts); return;
    case OPTION_ENUM:
        for (const char *at = row->choices; *at != '\0'; at++) {
            if (*at == '|') buf_append_text(out, ", ");
            else buf_append_byte(out, *at);
        }
        return;
    }
    write_range(row, out);
}

const char *option_quote(char out[OPTION_QUOTE_SIZE], const char *text)
{
    size_t at = 0;
    aic_view secret = url_user_info(aic_view_of(text));
    out[at++] = '\'';
    for (const unsigned char *byte = (const unsigned char *)text; *byte != '\0'; byte++) {
        if (secret.size > 0 && (const char *)byte == secret.data) {
            out[at++] = '*';
            byte += secret.size;
        }
        if (at > OPTION_QUOTE_SIZE - 12) {
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        if (*byte >= 0x20 && *byte != 0x7f && *byte < 0x80) out[at++] = (char)*byte;
        else at += (size_t)snprintf(out + at, 5, "\\x%02x", *byte);
    }
    out[at++] = '\'';
    out[at] = '\0';
    return out;
}

/* Dots, dashes and underscores are one and the same: a name is spelled with each of them somewhere. */
static bool is_same_letter(char a, char b)
{
    return a == b || (strchr(".-_", a) != NULL && strchr(".-_", b) != NULL);
}

unsigned option_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t a_size = strlen(a), b_size = strlen(b);
    if (a_size > LONGEST || b_size > LONGEST) return UINT32_MAX;
    unsigned row[LONGEST + 1];
    for (size_t j = 0; j <= b_size; j++) row[j] = (unsigned)j;
    for (size_t i = 1; i <= a_size; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_size; j++) {
            unsigned replaced = diagonal + !is_same_letter(a[i - 1], b[j - 1]);
            unsigned moved = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replaced < moved ? replaced : moved;
        }
    }
    return row[b_size];
}

/* The distance to a whole name, or one more than to its last part: `max_bytes` alone is near `memory.max_bytes`. */
static unsigned distance_to(const char *name, const char *candidate)
{
    unsigned whole = option_distance(name, candidate);
    const char *dot = strrchr(candidate, '.');
    const char *own = strrchr(name, '.');
    if (dot == NULL) return whole;
    unsigned part = option_distance(own != NULL ? own + 1 : name, dot + 1);
    if (part < UINT32_MAX) part++;
    return part < whole ? part : whole;
}

const char *option_nearest(const struct option_table *table, const char *name)
{
    const char *best = NULL;
    unsigned best_distance = UINT32_MAX;
    for (size_t i = 0; i < table->row_count; i++) {
        unsigned distance = distance_to(name, table->rows[i].name);
        if (distance >= best_distance) continue;
        best_distance = distance;
        best = table->rows[i].name;
    }
    return best_distance <= 1 + strlen(name) / 4 ? best : NULL;
}
