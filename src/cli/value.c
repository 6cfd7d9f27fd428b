/*
 * value.c - what a user says: an argument as it is, "@FILE" for a file's contents, "-" for standard input.
 */
#include "cli/cli.h"

#include "base/check.h"
#include "base/utf8.h"
#include "base/view.h"

#include <errno.h>
#include <string.h>

#define VALUE_MAX_BYTES (1u << 30)

static int read_stream(FILE *file, const char *name, struct buf *out)
{
    for (;;) {
        char *room = buf_reserve(out, 64 << 10);
        if (room == NULL || out->size > VALUE_MAX_BYTES) return cli_fail("%s: too large to be held in memory", name);
        size_t got = fread(room, 1, 64 << 10, file);
        if (ferror(file)) return cli_fail("%s: %s", name, strerror(errno));
        buf_commit(out, got);
        if (got == 0) return CLI_OK;
    }
}

int cli_read_value(struct cli *cli, const char *argument, struct buf *out)
{
    (void)cli;
    if (strcmp(argument, "-") == 0) return read_stream(stdin, "standard input", out);
    if (argument[0] != '@') {
        buf_append_text(out, argument);
        return buf_status(out) == AIC_OK ? CLI_OK : cli_fail("no memory");
    }
    FILE *file = fopen(argument + 1, "rb");
    if (file == NULL)
        return cli_fail("%s: %s (an argument that begins with @ names a file)", argument + 1, strerror(errno));
    int result = read_stream(file, argument + 1, out);
    fclose(file);
    return result;
}

static int write_string(const char *what, aic_view text, struct json_writer *out)
{
    if (!utf8_is_valid(text))
        return cli_fail("%s: it is no UTF-8 from byte %zu on; accepted: UTF-8", what, utf8_valid_bytes(text));
    json_put_view(out, text);
    return CLI_OK;
}

static int write_json(struct cli *cli, const char *what, aic_view text, enum cli_kind kind, struct json_writer *out)
{
    struct json json;
    aic_error error = {0};
    aic_view value = view_trim(text, " \t\r\n"); /* the bytes of a stored value would keep the white space around it */
    json_init(&json, &cli->mem, MEM_OTHER);
    bool good = json_scan(&json, value, &error) == AIC_OK;
    bool object = good && json.tokens[0].type == JSON_OBJECT, number = good && json.tokens[0].type == JSON_NUMBER;
    int result = CLI_OK;
    if (kind == CLI_NUMBER && !number)
        result = cli_fail("%s: that is no number; accepted: a number, such as 0.0125", what);
    else if (kind == CLI_OBJECT && !object)
        result = cli_fail("%s: %s; accepted: a JSON object", what, good ? "it is no object" : error.message);
    else if (good) json_put_raw(out, value);
    else if (value.size > 0 && memchr("{[\"", value.data[0], 3) != NULL)
        result = cli_fail("%s: it begins like JSON and is none: %s; --string stores it as text", what, error.message);
    else result = write_string(what, text, out);
    json_fini(&json);
    return result;
}

int cli_write_value(struct cli *cli, const char *what, const char *argument, enum cli_kind kind,
                    struct json_writer *out)
{
    struct buf text;
    CHECK(kind == CLI_TEXT || kind == CLI_NUMBER || kind == CLI_OBJECT || kind == CLI_JSON);
    buf_init(&text, &cli->mem, MEM_OTHER);
    int result = cli_read_value(cli, argument, &text);
    aic_view view = text.size > 0 ? buf_view(&text) : AIC_LITERAL("");
    if (result == CLI_OK)
        result = kind == CLI_TEXT ? write_string(what, view, out) : write_json(cli, what, view, kind, out);
    buf_fini(&text);
    return result;
}
