/*
 * request.c - the commands of one request: get, put, lookup, explain, delete.
 */
#include "cli/commands.h"

#include "base/check.h"

#include <inttypes.h>
#include <string.h>

/* The text of an option, if it was given, as the member of its name. */
static int write_option(struct cli *cli, const char *name, struct json_writer *out)
{
    char option[32];
    if (!cli_has(cli, name)) return CLI_OK;
    snprintf(option, sizeof option, "--%s", name);
    json_key(out, name);
    return cli_write_text(cli, option, cli_value(cli, name), out);
}

/* The members that a request and a put share. */
static int write_request(struct cli *cli, struct json_writer *out)
{
    json_key(out, "operation");
    if (cli_write_text(cli, "OPERATION", cli->arguments[0], out) != CLI_OK) return CLI_ERROR;
    json_key(out, "text");
    if (cli_write_text(cli, "TEXT", cli->arguments[1], out) != CLI_OK) return CLI_ERROR;
    if (cli_has(cli, "options")) {
        json_key(out, "options");
        if (cli_write_object(cli, "--options", cli_value(cli, "options"), out) != CLI_OK) return CLI_ERROR;
    }
    if (write_option(cli, "question", out) != CLI_OK || write_option(cli, "model", out) != CLI_OK) return CLI_ERROR;
    return write_option(cli, "namespace", out);
}

static int write_number(struct cli *cli, const char *option, const char *member, enum option_type type,
                        struct json_writer *out)
{
    uint64_t number = 0;
    if (!cli_has(cli, option)) return CLI_OK;
    if (cli_number(cli, option, type, &number) != CLI_OK) return CLI_ERROR;
    json_key(out, member);
    json_put_u64(out, number);
    return CLI_OK;
}

static int write_tokens(struct cli *cli, struct json_writer *out)
{
    if (!cli_has(cli, "prompt-tokens") && !cli_has(cli, "completion-tokens")) return CLI_OK;
    json_key(out, "tokens");
    json_open(out, '{');
    if (write_number(cli, "prompt-tokens", "prompt_tokens", OPTION_U64, out) != CLI_OK) return CLI_ERROR;
    if (write_number(cli, "completion-tokens", "completion_tokens", OPTION_U64, out) != CLI_OK) return CLI_ERROR;
    json_close(out, '}');
    return CLI_OK;
}

static int write_cost(struct cli *cli, struct json_writer *out)
{
    const char *text = cli_value(cli, "cost-usd");
    struct json json;
    if (text == NULL) return CLI_OK;
    json_init(&json, &cli->mem, MEM_OTHER);
    bool number = json_scan(&json, aic_view_of(text), NULL) == AIC_OK && json.tokens[0].type == JSON_NUMBER;
    json_fini(&json);
    if (!number) return cli_fail("--cost-usd: that is no number; accepted: a number, such as 0.0125");
    json_key(out, "cost_usd");
    json_put_raw(out, aic_view_of(text));
    return CLI_OK;
}

static int write_tags(struct cli *cli, struct json_writer *out)
{
    const char *tag;
    if (!cli_has(cli, "tag")) return CLI_OK;
    json_key(out, "tags");
    json_open(out, '[');
    for (size_t i = 0; (tag = cli_each(cli, "tag", i)) != NULL; i++) {
        if (cli_write_text(cli, "--tag", tag, out) != CLI_OK) return CLI_ERROR;
    }
    json_close(out, ']');
    return CLI_OK;
}

static int write_put(struct cli *cli, struct json_writer *out)
{
    if (write_request(cli, out) != CLI_OK) return CLI_ERROR;
    if (write_number(cli, "ttl", "ttl", OPTION_SECONDS, out) != CLI_OK) return CLI_ERROR;
    if (write_tags(cli, out) != CLI_OK || write_tokens(cli, out) != CLI_OK || write_cost(cli, out) != CLI_OK)
        return CLI_ERROR;
    if (write_option(cli, "durability", out) != CLI_OK) return CLI_ERROR;
    json_key(out, "response");
    return cli_write_json(cli, "RESPONSE", cli->arguments[2], cli_has(cli, "string"), out);
}

/* Builds a body by `write` and sends it. The reply is to be released in any case. */
static int ask_with_body(struct cli *cli, const char *verb, const char *path,
                         int (*write)(struct cli *, struct json_writer *), struct reply *reply)
{
    struct buf body;
    struct json_writer writer;
    *reply = (struct reply){0};
    buf_init(&body, &cli->mem, MEM_OTHER);
    json_writer_init(&writer, &body);
    json_open(&writer, '{');
    int result = write(cli, &writer);
    json_close(&writer, '}');
    if (result == CLI_OK && buf_status(&body) != AIC_OK) result = cli_fail("no memory");
    if (result == CLI_OK) result = session_ask(cli, verb, path, buf_view(&body), reply);
    if (result == CLI_NO) result = session_complain(cli, reply);
    buf_fini(&body);
    return result;
}

int command_put(struct cli *cli)
{
    struct reply reply;
    int result = ask_with_body(cli, "PUT", "/cache/entries", write_put, &reply);
    if (result == CLI_OK && cli->json) print_json(&reply);
    else if (result == CLI_OK) puts(json_text_at(reply.json, "key", "-"));
    if (result == CLI_OK && json_object_array_length(json_at(reply.json, "tier")) == 0) {
        char size[PRINT_BYTES];
        fprintf(stderr, "aicache: not kept: no tier took its %s; each is off or its limits are too small for it\n",
                print_size(size, json_u64_at(reply.json, "stored_bytes")));
        result = CLI_NO;
    }
    reply_fini(&reply);
    return result;
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
    int result = ask_with_body(cli, "POST", "/cache/lookup", write_request, &reply);
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

static void print_nearest(json_object *root)
{
    char text[512], path[256];
    json_object *nearest = json_at(root, "nearest");
    const char *difference = json_text_at(nearest, "first_difference", NULL);
    snprintf(path, sizeof path, "%s%s", difference != NULL ? "it differs first in " : "nothing differs",
             difference != NULL ? difference : "");
    if (nearest == NULL || json_text_at(nearest, "key", NULL) == NULL)
        snprintf(text, sizeof text, "no entry of this namespace");
    else
        snprintf(text, sizeof text, "%s (%s); %s", json_text_at(nearest, "key", "-"),
                 json_text_at(nearest, "operation", "-"), path);
    print_row("nearest", text);
    snprintf(text, sizeof text, "%" PRIu64 " entries in memory, %" PRIu64 " in storage",
             json_u64_at(root, "searched.memory"), json_u64_at(root, "searched.storage"));
    print_row("searched", text);
}

static void print_explanation(json_object *root)
{
    char text[256], left[PRINT_BYTES], age[PRINT_BYTES];
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
    snprintf(text, sizeof text, "%s, kept for %s where a put says nothing else", json_text_at(root, "operation", "-"),
             print_duration(left, json_double_at(root, "default_ttl_seconds")));
    print_row("operation", text);
    snprintf(text, sizeof text, "%" PRIu64 " code points, %s", json_u64_at(root, "text_length"),
             json_text_at(root, "text_tier", "-"));
    print_row("text", text);
    print_row("canonical", json_text_at(root, "canonical", "-"));
    json_object *list = json_at(root, "left_out");
    for (size_t i = 0; list != NULL && i < json_object_array_length(list); i++) {
        json_object *one = json_object_array_get_idx(list, i);
        snprintf(text, sizeof text, "%s: %s", json_text_at(one, "field", "-"), json_text_at(one, "why", ""));
        print_row(i == 0 ? "not in it" : "", text);
    }
    if (!hit) print_nearest(root);
}

static void print_metadata(json_object *root)
{
    char text[256], moment[PRINT_BYTES], age[PRINT_BYTES], size[PRINT_BYTES], stored[PRINT_BYTES];
    static const char *const texts[] = {"key", "namespace", "operation", "model"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) print_row(texts[i], json_text_at(root, texts[i], "-"));
    json_object *tags = json_at(root, "tags"), *ttl = json_at(root, "ttl_seconds"), *tiers = json_at(root, "tier");
    size_t count = tags != NULL ? json_object_array_length(tags) : 0;
    for (size_t i = 0; i < count; i++)
        print_row(i == 0 ? "tags" : "", json_object_get_string(json_object_array_get_idx(tags, i)));
    if (count == 0) print_row("tags", "-");
    snprintf(text, sizeof text, "%s, %s ago", print_moment(moment, json_text_at(root, "created_at", NULL)),
             print_age(age, json_text_at(root, "created_at", NULL)));
    print_row("stored", text);
    snprintf(text, sizeof text, "%s, in %s", print_moment(moment, json_text_at(root, "expires_at", NULL)),
             print_duration(age, ttl != NULL ? json_object_get_double(ttl) : 0));
    print_row("expires", ttl != NULL ? text : "never");
    snprintf(text, sizeof text, "%s, %s %s", print_size(size, json_u64_at(root, "size_bytes")),
             json_bool_at(root, "compressed") ? "compressed to" : "kept as",
             print_size(stored, json_u64_at(root, "stored_bytes")));
    print_row("size", text);
    snprintf(text, sizeof text, "%" PRIu64 " of the prompt, %" PRIu64 " of the answer, %" PRIu64 " in all",
             json_u64_at(root, "prompt_tokens"), json_u64_at(root, "completion_tokens"), json_u64_at(root, "tokens"));
    print_row("tokens", text);
    snprintf(text, sizeof text, "%.6g USD", json_double_at(root, "cost_usd"));
    print_row("cost", text);
    for (size_t i = 0; tiers != NULL && i < json_object_array_length(tiers); i++)
        print_row(i == 0 ? "tier" : "", json_object_get_string(json_object_array_get_idx(tiers, i)));
}

int command_explain(struct cli *cli)
{
    struct reply reply;
    int result = ask_with_body(cli, "POST", "/cache/explain", write_request, &reply);
    if (result == CLI_OK && cli->json) print_json(&reply);
    else if (result == CLI_OK) print_explanation(reply.json);
    reply_fini(&reply);
    return result;
}

/* "/cache/entries/KEY?namespace=..." Keys are checked here, so that no argument becomes another path. */
static int entry_path(struct cli *cli, const char *key, struct buf *path)
{
    aic_key parsed;
    char quoted[OPTION_QUOTE_SIZE];
    if (aic_key_parse(aic_view_of(key), &parsed) != AIC_OK) {
        return cli_fail("%s is no key; accepted: 64 lower-case hex digits", option_quote(quoted, key));
    }
    buf_clear(path);
    buf_printf(path, "/cache/entries/%s", key);
    if (cli_has(cli, "metadata")) query_add(path, "metadata", "1");
    query_add(path, "namespace", cli_value(cli, "namespace"));
    buf_append_byte(path, '\0');
    return buf_status(path) == AIC_OK ? CLI_OK : cli_fail("no memory");
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
