/*
 * many.c - `aicache lookup-many`: a file of lookups, sent so many at a time as one request takes, and printed one a
 * line.
 */
#include "cli/commands.h"

#include "base/check.h"
#include "base/status.h"
#include "base/view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_LOOKUPS = 256, BATCH_BYTES = 4 << 20 };

struct many {
    struct cli *cli;
    FILE *file;
    const char *name;
    uint64_t line, first_line; /* that was read last; of the first lookup in `body` */
    struct json json;          /* of a line, then of an answer */
    struct buf body;           /* {"requests":[... as far as it is */
    unsigned count;            /* of the lookups in it */
    bool all_hit;
};

static int print_results(struct many *many, const struct reply *reply)
{
    struct json *json = &many->json;
    uint32_t results = UINT32_MAX;
    if (json_scan(json, buf_view(&reply->body), NULL) == AIC_OK && json->tokens[0].type == JSON_OBJECT)
        results = json_member(json, 0, "results");
    if (results == UINT32_MAX || json->tokens[results].type != JSON_ARRAY ||
        json->tokens[results].members != many->count)
        return cli_fail("the daemon's answer makes no sense");
    for (uint32_t at = results + 1; at < json->tokens[results].next; at = json->tokens[at].next) {
        uint32_t hit = json->tokens[at].type == JSON_OBJECT ? json_member(json, at, "hit") : UINT32_MAX;
        aic_view text = json_text(json, at);
        many->all_hit = many->all_hit && hit != UINT32_MAX && json->tokens[hit].type == JSON_TRUE;
        if (fwrite(text.data, 1, text.size, stdout) != text.size || putchar('\n') == EOF)
            return cli_fail("cannot write: %s", strerror(errno));
    }
    return CLI_OK;
}

static int send_batch(struct many *many)
{
    struct reply reply = {0};
    if (many->count == 0) return CLI_OK;
    CHECK(many->count <= MOST_LOOKUPS);
    buf_append_view(&many->body, AIC_LITERAL("]}"));
    if (buf_status(&many->body) != AIC_OK) return cli_fail("%s", aic_status_text(AIC_NO_MEMORY));
    int result = session_ask(many->cli, "POST", "/cache/lookup-many", buf_view(&many->body), &reply);
    if (result == CLI_NO) result = session_complain(many->cli, &reply); /* 404: a daemon that has no such route */
    if (result != CLI_OK)
        fprintf(stderr, "aicache: it was asked for the lookups of lines %" PRIu64 " to %" PRIu64 " of %s\n",
                many->first_line, many->line, many->name);
    if (result == CLI_OK) result = print_results(many, &reply);
    reply_fini(&reply);
    buf_clear(&many->body);
    many->count = 0;
    return result;
}

/* A line that is no JSON would have the daemon refuse those around it. */
static int add_line(struct many *many, aic_view text)
{
    aic_error error = {0};
    if (json_scan(&many->json, text, &error) != AIC_OK)
        return cli_fail("%s:%" PRIu64 ": %s", many->name, many->line, error.message);
    if (many->count == 0) many->first_line = many->line;
    buf_append_view(&many->body, many->count == 0 ? AIC_LITERAL("{\"requests\":[") : AIC_LITERAL(","));
    buf_append_view(&many->body, text);
    many->count++;
    return many->count == MOST_LOOKUPS || many->body.size > BATCH_BYTES ? send_batch(many) : CLI_OK;
}

static int send_file(struct many *many)
{
    char *line = NULL;
    size_t room = 0;
    int result = CLI_OK;
    ssize_t size = 0;
    while (result == CLI_OK && (size = getline(&line, &room, many->file)) >= 0) {
        aic_view text = view_trim_end((aic_view){line, (size_t)size}, "\r\n \t");
        if (++many->line == 1) text = view_skip_bom(text);
        if (text.size > 0) result = add_line(many, text);
    }
    if (size < 0 && !feof(many->file)) result = cli_fail("%s: %s", many->name, strerror(errno));
    free(line);
    return result == CLI_OK ? send_batch(many) : result;
}

int command_lookup_many(struct cli *cli)
{
    const char *name = cli->arguments[0];
    bool standard = strcmp(name, "-") == 0;
    struct many many = {.cli = cli, .name = standard ? "standard input" : name, .all_hit = true};
    many.file = standard ? stdin : fopen(name, "rb");
    if (many.file == NULL) return cli_fail("%s: %s", name, strerror(errno));
    json_init(&many.json, &cli->mem, MEM_OTHER);
    buf_init(&many.body, &cli->mem, MEM_OTHER);
    int result = send_file(&many);
    buf_fini(&many.body);
    json_fini(&many.json);
    if (!standard) fclose(many.file);
    return result == CLI_OK && !many.all_hit ? CLI_NO : result;
}
