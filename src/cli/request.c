/*
 * request.c - the commands of one request: get, put, lookup, explain, delete.
 */
#include "cli/commands.h"

#include "base/check.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* The member of the body, or the parameter of the query, that an option becomes. */
static const char *member_of(const struct cli_option *option, char out[40])
{
    snprintf(out, 40, "%s", option->member != NULL ? option->member : option->name);
    for (char *at = out; *at != '\0'; at++) {
        if (*at == '-') *at = '_';
    }
    return out;
}

int request_path(struct cli *cli, const char *path, struct buf *out)
{
    char member[40];
    buf_append_text(out, path);
    for (const struct cli_option *option = cli->command->options; option != NULL && option->name != NULL; option++) {
        CHECK(option->sent == CLI_UNSENT || option->sent == CLI_TEXT || option->sent == CLI_TRUE);
        if (option->sent == CLI_TEXT) query_add(out, member_of(option, member), cli_value(cli, option->name));
        else if (option->sent == CLI_TRUE && cli_has(cli, option->name))
            query_add(out, member_of(option, member), "true");
    }
    buf_append_byte(out, '\0');
    return buf_status(out) == AIC_OK ? CLI_OK : cli_fail("no memory");
}

static int write_option(struct cli *cli, const struct cli_option *option, struct json_writer *out)
{
    char what[40];
    const char *text;
    uint64_t number = 0;
    snprintf(what, sizeof what, "--%s", option->name);
    switch (option->sent) {
    case CLI_TRUE: json_put_bool(out, true); return CLI_OK;
    case CLI_WHOLE:
    case CLI_SECONDS:
        if (cli_number(cli, option->name, option->sent == CLI_WHOLE ? OPTION_U64 : OPTION_SECONDS, &number) != CLI_OK)
            return CLI_ERROR;
        json_put_u64(out, number);
        return CLI_OK;
    case CLI_TEXTS:
        json_open(out, '[');
        for (size_t i = 0; (text = cli_each(cli, option->name, i)) != NULL; i++) {
            if (cli_write_value(cli, what, text, CLI_TEXT, out) != CLI_OK) return CLI_ERROR;
        }
        json_close(out, ']');
        return CLI_OK;
    default: return cli_write_value(cli, what, cli_value(cli, option->name), option->sent, out);
    }
}

/* "tokens.prompt_tokens" is a member of the object `tokens`, which is `open` while its members follow one another. */
static void write_member(const char *member, char open[40], struct json_writer *out)
{
    const char *dot = strchr(member, '.');
    size_t size = dot != NULL ? (size_t)(dot - member) : 0;
    bool same = strlen(open) == size && memcmp(open, member, size) == 0;
    if (!same && open[0] != '\0') json_close(out, '}');
    snprintf(open, 40, "%.*s", (int)size, member);
    if (!same && size > 0) {
        json_key(out, open);
        json_open(out, '{');
    }
    if (member[0] != '\0') json_key(out, dot != NULL ? dot + 1 : member);
}

static int write_body(struct cli *cli, struct json_writer *out)
{
    static const struct {
        const char *member, *what;
        enum cli_kind kind;
    } arguments[] = {
        {"operation", "OPERATION", CLI_TEXT}, {"text", "TEXT", CLI_TEXT}, {"response", "RESPONSE", CLI_JSON}};
    char member[40], open[40] = "";
    CHECK(cli->argument_count <= COUNT_OF(arguments));
    for (size_t i = 0; i < cli->argument_count; i++) {
        enum cli_kind kind = cli_has(cli, "string") ? CLI_TEXT : arguments[i].kind;
        json_key(out, arguments[i].member);
        if (cli_write_value(cli, arguments[i].what, cli->arguments[i], kind, out) != CLI_OK) return CLI_ERROR;
    }
    for (const struct cli_option *option = cli->command->options; option != NULL && option->name != NULL; option++) {
        if (option->sent == CLI_UNSENT || !cli_has(cli, option->name)) continue;
        write_member(member_of(option, member), open, out);
        if (write_option(cli, option, out) != CLI_OK) return CLI_ERROR;
    }
    write_member("", open, out);
    return CLI_OK;
}

int request_ask(struct cli *cli, struct reply *reply)
{
    struct buf path, body;
    struct json_writer writer;
    const struct cli_command *command = cli->command;
    CHECK(command->verb != NULL && command->route != NULL);
    bool has_body = strcmp(command->verb, "GET") != 0;
    int result = CLI_OK;
    *reply = (struct reply){0};
    buf_init(&path, &cli->mem, MEM_OTHER);
    buf_init(&body, &cli->mem, MEM_OTHER);
    if (has_body) {
        json_writer_init(&writer, &body);
        json_open(&writer, '{');
        result = write_body(cli, &writer);
        json_close(&writer, '}');
        if (result == CLI_OK && buf_status(&body) != AIC_OK) result = cli_fail("no memory");
    } else {
        result = request_path(cli, command->route, &path);
    }
    if (result == CLI_OK)
        result = session_ask(cli, command->verb, has_body ? command->route : path.data,
                             has_body ? buf_view(&body) : (aic_view){0}, reply);
    if (result == CLI_NO) result = session_complain(cli, reply);
    buf_fini(&body);
    buf_fini(&path);
    return result;
}

int command_request(struct cli *cli)
{
    struct reply reply;
    CHECK(cli->command->print != NULL);
    int result = request_ask(cli, &reply);
    if (result == CLI_OK && cli->json) print_json(&reply);
    else if (result == CLI_OK) cli->command->print(reply.json);
    if (result == CLI_OK && cli->command->judge != NULL) result = cli->command->judge(reply.json);
    reply_fini(&reply);
    return result;
}

void print_put(json_object *answer)
{
    puts(json_text_at(answer, "key", "-"));
}

int judge_put(json_object *answer)
{
    char size[PRINT_BYTES];
    if (json_object_array_length(json_at(answer, "tier")) > 0) return CLI_OK;
    fprintf(stderr, "aicache: not kept: no tier took its %s; each is off or its limits are too small for it\n",
            print_size(size, json_u64_at(answer, "stored_bytes")));
    return CLI_NO;
}

/* The response's own bytes, not as json-c would print them. */
static int print_member(struct cli *cli, const struct reply *reply, const char *member)
{
    struct json json;
    json_init(&json, &cli->mem, MEM_OTHER);
    aic_status status = json_scan(&json, buf_view(&reply->body), NULL);
    uint32_t token = status == AIC_OK ? json_member(&json, 0, member) : UINT32_MAX;
    if (token != UINT32_MAX) print_view(json_text(&json, token));
    json_fini(&json);
    return token != UINT32_MAX ? CLI_OK : cli_fail("the daemon's answer holds no %s", member);
}

int command_lookup(struct cli *cli)
{
    struct reply reply;
    int result = request_ask(cli, &reply);
    bool hit = result == CLI_OK && json_bool_at(reply.json, "hit");
    if (result == CLI_OK && cli->json) print_json(&reply);
    else if (hit) result = print_member(cli, &reply, "response");
    else if (result == CLI_OK) fprintf(stderr, "miss %s\n", json_text_at(reply.json, "key", ""));
    if (result == CLI_OK && !hit) result = CLI_NO;
    reply_fini(&reply);
    return result;
}

/* "name        text", the text in words within the terminal. */
static void print_row(const char *name, const char *text)
{
    enum { FROM = 14 };
    printf("%-*s", FROM, name);
    print_text(stdout, text, FROM, print_columns(PRINT_COLUMNS));
    putchar('\n');
}

/* Of what is made of short pieces. */
__attribute__((format(printf, 2, 3))) static void print_made_row(const char *name, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    print_row(name, text);
}

/* A row for each text of a list, with the name in the first. */
static void print_list(const char *name, json_object *list)
{
    for (size_t i = 0; list != NULL && i < json_object_array_length(list); i++)
        print_row(i == 0 ? name : "", json_object_get_string(json_object_array_get_idx(list, i)));
}

static void print_nearest(json_object *root)
{
    json_object *nearest = json_at(root, "nearest");
    const char *key = json_text_at(nearest, "key", NULL);
    const char *difference = json_text_at(nearest, "first_difference", NULL);
    if (key == NULL) print_row("nearest", "no entry of this namespace");
    else
        print_made_row("nearest", "%s (%s); %s%s", key, json_text_at(nearest, "operation", "-"),
                       difference != NULL ? "it differs first in " : "nothing differs",
                       difference != NULL ? difference : "");
    print_made_row("searched", "%" PRIu64 " entries in memory, %" PRIu64 " in storage",
                   json_u64_at(root, "searched.memory"), json_u64_at(root, "searched.storage"));
}

void print_explanation(json_object *root)
{
    char left[PRINT_BYTES], age[PRINT_BYTES];
    json_object *ttl = json_at(root, "ttl_seconds");
    bool hit = json_bool_at(root, "hit");
    if (hit)
        printf("hit in %s, stored %s ago, %s%s\n", json_text_at(root, "tier", "-"),
               print_duration(age, json_double_at(root, "age_seconds")), ttl != NULL ? "expires in " : "never expires",
               ttl != NULL ? print_duration(left, json_object_get_double(ttl)) : "");
    else {
        const char *storage = json_text_at(root, "storage", "-");
        if (strcmp(storage, "miss") == 0) puts("miss in memory and in storage");
        else printf("miss in memory; storage: %s\n", storage);
    }
    print_row("key", json_text_at(root, "key", "-"));
    print_row("namespace", json_text_at(root, "partition", "-"));
    print_made_row("operation", "%s, kept for %s where a put says nothing else", json_text_at(root, "operation", "-"),
                   print_duration(left, json_double_at(root, "default_ttl_seconds")));
    print_made_row("text", "%" PRIu64 " code points, %s", json_u64_at(root, "text_length"),
                   json_text_at(root, "text_tier", "-"));
    print_row("canonical", json_text_at(root, "canonical", "-"));
    json_object *list = json_at(root, "left_out");
    for (size_t i = 0; list != NULL && i < json_object_array_length(list); i++) {
        json_object *one = json_object_array_get_idx(list, i);
        print_made_row(i == 0 ? "not in it" : "", "%s: %s", json_text_at(one, "field", "-"),
                       json_text_at(one, "why", ""));
    }
    if (!hit) print_nearest(root);
}

static void print_metadata(json_object *root)
{
    char moment[PRINT_BYTES], age[PRINT_BYTES], size[PRINT_BYTES], stored[PRINT_BYTES];
    static const char *const texts[] = {"key", "namespace", "operation", "model"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) print_row(texts[i], json_text_at(root, texts[i], "-"));
    json_object *tags = json_at(root, "tags"), *ttl = json_at(root, "ttl_seconds");
    if (tags == NULL || json_object_array_length(tags) == 0) print_row("tags", "-");
    print_list("tags", tags);
    print_made_row("stored", "%s, %s ago", print_moment(moment, json_text_at(root, "created_at", NULL)),
                   print_age(age, json_text_at(root, "created_at", NULL)));
    if (ttl == NULL) print_row("expires", "never");
    else
        print_made_row("expires", "%s, in %s", print_moment(moment, json_text_at(root, "expires_at", NULL)),
                       print_duration(age, json_object_get_double(ttl)));
    print_made_row("size", "%s, %s %s", print_size(size, json_u64_at(root, "size_bytes")),
                   json_bool_at(root, "compressed") ? "compressed to" : "kept as",
                   print_size(stored, json_u64_at(root, "stored_bytes")));
    print_made_row("tokens", "%" PRIu64 " of the prompt, %" PRIu64 " of the answer, %" PRIu64 " in all",
                   json_u64_at(root, "prompt_tokens"), json_u64_at(root, "completion_tokens"),
                   json_u64_at(root, "tokens"));
    print_made_row("cost", "%.6g USD", json_double_at(root, "cost_usd"));
    print_list("tier", json_at(root, "tier"));
}

/* "/cache/entries/KEY?namespace=..." Keys are checked here, so that no argument becomes another path. */
static int entry_path(struct cli *cli, const char *key, struct buf *path)
{
    aic_key parsed;
    char quoted[OPTION_QUOTE_SIZE], route[128];
    if (aic_key_parse(aic_view_of(key), &parsed) != AIC_OK) {
        return cli_fail("%s is no key; accepted: 64 lower-case hex digits", option_quote(quoted, key));
    }
    buf_clear(path);
    snprintf(route, sizeof route, "/cache/entries/%s", key);
    return request_path(cli, route, path);
}

int command_get(struct cli *cli)
{
    struct buf path;
    struct reply reply = {0};
    buf_init(&path, &cli->mem, MEM_OTHER);
    int result = entry_path(cli, cli->arguments[0], &path);
    if (result == CLI_OK) result = session_ask(cli, "GET", path.data, (aic_view){0}, &reply);
    if (result == CLI_OK && cli_has(cli, "metadata") && cli->json) print_json(&reply);
    else if (result == CLI_OK && cli_has(cli, "metadata")) print_metadata(reply.json);
    else if (result == CLI_OK) print_view(buf_view(&reply.body));
    else if (result == CLI_NO && cli->json) print_json(&reply);
    else if (result == CLI_NO) fprintf(stderr, "miss\n");
    reply_fini(&reply);
    buf_fini(&path);
    return result;
}

int command_delete(struct cli *cli)
{
    struct buf path;
    int worst = CLI_OK;
    buf_init(&path, &cli->mem, MEM_OTHER);
    for (unsigned i = 0; i < cli->argument_count && worst != CLI_ERROR; i++) {
        struct reply reply = {0};
        int result = entry_path(cli, cli->arguments[i], &path);
        if (result == CLI_OK) result = session_ask(cli, "DELETE", path.data, (aic_view){0}, &reply);
        if (result != CLI_ERROR)
            printf(cli->json ? "{\"key\":\"%s\",\"deleted\":%s}\n" : "%s %s\n", cli->arguments[i],
                   cli->json          ? (result == CLI_OK ? "true" : "false")
                   : result == CLI_OK ? "deleted"
                                      : "not there");
        if (result > worst) worst = result;
        reply_fini(&reply);
    }
    buf_fini(&path);
    return worst;
}
