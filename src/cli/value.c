/*
 * value.c - what a user says: an argument as it is, "@FILE" for a file's contents, "-" for standard input.
 */
#include "cli/cli.h"

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
        buf_commit(out, got);
        if (got > 0) continue;
        return ferror(file) ? cli_fail("%s: %s", name, strerror(errno)) : CLI_OK;
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

int cli_write_text(struct cli *cli, const char *what, const char *argument, struct json_writer *out)
{
    struct buf text;
    buf_init(&text, &cli->mem, MEM_OTHER);
    int result = cli_read_value(cli, argument, &text);
    if (result == CLI_OK) result = write_string(what, text.size > 0 ? buf_view(&text) : AIC_LITERAL(""), out);
    buf_fini(&text);
    return result;
}

static int write_value(struct cli *cli, const char *what, const struct buf *text, bool string, bool object,
                       struct json_writer *out)
{
    struct json json;
    aic_error error = {0};
    /* The bytes of a stored value would keep the white space around it. */
    aic_view value = text->size > 0 ? view_trim(buf_view(text), " \t\r\n") : AIC_LITERAL("");
    json_init(&json, &cli->mem, MEM_OTHER);
    aic_status status = string ? AIC_INVALID : json_scan(&json, value, &error);
    int result = CLI_OK;
    if (status == AIC_OK && (!object || json.tokens[0].type == JSON_OBJECT)) json_put_raw(out, value);
    else if (!string && !object && value.size > 0 && memchr("{[\"", value.data[0], 3) != NULL)
        result = cli_fail("%s: it begins like JSON and is none: %s; --string stores it as text", what, error.message);
    else if (object)
        result = cli_fail("%s: %s; accepted: a JSON object", what,
                          status == AIC_OK ? "it is no object" : error.message);
    else result = write_string(what, text->size > 0 ? buf_view(text) : AIC_LITERAL(""), out);
    json_fini(&json);
    return result;
}

int cli_write_json(struct cli *cli, const char *what, const char *argument, bool string, struct json_writer *out)
{
    struct buf text;
    buf_init(&text, &cli->mem, MEM_OTHER);
    int result = cli_read_value(cli, argument, &text);
    if (result == CLI_OK) result = write_value(cli, what, &text, string, false, out);
    buf_fini(&text);
    return result;
}

int cli_write_object(struct cli *cli, const char *what, const char *argument, struct json_writer *out)
{
    struct buf text;
    buf_init(&text, &cli->mem, MEM_OTHER);
    int result = cli_read_value(cli, argument, &text);
    if (result == CLI_OK) result = write_value(cli, what, &text, false, true, out);
    buf_fini(&text);
    return result;
}
