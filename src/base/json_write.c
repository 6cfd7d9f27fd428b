#include "base/json.h"

#include "base/utf8.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_escape(struct buf *out, uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    static const char shorts[] = "\"\\\b\f\n\r\t";
    static const char letters[] = "\"\\bfnrt";
    const char *found = byte != 0 ? strchr(shorts, byte) : NULL;
    if (found != NULL) {
        buf_append(out, (char[]){'\\', letters[found - shorts]}, 2);
        return;
    }
    buf_append(out, (char[]){'\\', 'u', '0', '0', digits[byte >> 4], digits[byte & 15]}, 6);
}

void json_write_string(struct buf *out, aic_view text)
{
    static const uint8_t nothing[1];
    const uint8_t *at = text.size > 0 ? (const uint8_t *)text.data : nothing;
    const uint8_t *end = at + text.size;
    buf_append_byte(out, '"');
    while (at < end) {
        const uint8_t *stop = utf8_plain_end(at, end);
        size_t length = 0;
        while (stop < end && *stop >= 0x80 && (length = utf8_sequence(stop, end)) > 0) stop += length;
        buf_append(out, at, (size_t)(stop - at));
        at = stop;
        if (at == end) break;
        if (*at >= 0x80) {
            buf_append_text(out, "\xef\xbf\xbd");
            at++;
        } else if (*at < 0x20 || *at == '"' || *at == '\\') {
            write_escape(out, *at++);
        }
    }
    buf_append_byte(out, '"');
}

/*
 * A decimal of at most 15 digits survives the way into a normal double and back, so that the shortest spelling is found
 * with 15 digits if there is one of that length (%g drops the zeros); else it has 16 or 17. Subnormal numbers carry
 * fewer digits and are tried from one.
 */
void json_write_double(struct buf *out, double number)
{
    if (!isfinite(number)) {
        buf_append_text(out, "null");
        return;
    }
    char text[32];
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* static in the C library: nothing to release */
    locale_t before = uselocale(plain);
    int digits = isnormal(number) ? 15 : 1;
    do {
        snprintf(text, sizeof text, "%.*g", digits, number);
    } while (strtod(text, NULL) != number && ++digits <= 17);
    uselocale(before);
    buf_append_text(out, text);
}

void json_writer_init(struct json_writer *writer, struct buf *out)
{
    *writer = (struct json_writer){.out = out};
}

static void separate(struct json_writer *writer)
{
    if (writer->comma) buf_append_byte(writer->out, ',');
    writer->comma = true;
}

void json_open(struct json_writer *writer, char bracket)
{
    separate(writer);
    buf_append_byte(writer->out, bracket);
    writer->comma = false;
}

void json_close(struct json_writer *writer, char bracket)
{
    buf_append_byte(writer->out, bracket == '{' ? '}' : bracket == '[' ? ']' : bracket);
    writer->comma = true;
}

void json_key(struct json_writer *writer, const char *name)
{
    separate(writer);
    buf_append_byte(writer->out, '"');
    buf_append_text(writer->out, name);
    buf_append(writer->out, "\":", 2);
    writer->comma = false;
}

void json_key_view(struct json_writer *writer, aic_view name)
{
    separate(writer);
    json_write_string(writer->out, name);
    buf_append_byte(writer->out, ':');
    writer->comma = false;
}

void json_put_view(struct json_writer *writer, aic_view text)
{
    separate(writer);
    json_write_string(writer->out, text);
}

void json_put_text(struct json_writer *writer, const char *text)
{
    if (text == NULL) json_put_null(writer);
    else json_put_view(writer, aic_view_of(text));
}

void json_put_u64(struct json_writer *writer, uint64_t number)
{
    separate(writer);
    buf_append_u64(writer->out, number);
}

void json_put_i64(struct json_writer *writer, int64_t number)
{
    separate(writer);
    if (number < 0) buf_append_byte(writer->out, '-');
    buf_append_u64(writer->out, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

void json_put_double(struct json_writer *writer, double number)
{
    separate(writer);
    json_write_double(writer->out, number);
}

void json_put_bool(struct json_writer *writer, bool truth)
{
    separate(writer);
    buf_append_text(writer->out, truth ? "true" : "false");
}

void json_put_null(struct json_writer *writer)
{
    separate(writer);
    buf_append_text(writer->out, "null");
}

void json_put_raw(struct json_writer *writer, aic_view json_text)
{
    separate(writer);
    buf_append_view(writer->out, json_text);
}
