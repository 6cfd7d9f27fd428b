/*
 * commands.c - the table of commands and their options.
 */
#include "cli/commands.h"

#include "base/check.h"

#include <limits.h>

#define NAMESPACE_OPTION                                                                                               \
    {                                                                                                                  \
        "namespace", "NAME", "the namespace; without it the one of the API key, or `default`", .sent = CLI_TEXT        \
    }
#define FILL_OPTION                                                                                                    \
    {                                                                                                                  \
        "namespace", "NAME",                                                                                           \
            "the namespace to fill: lines without one take it, lines of another are rejected; without it the API "     \
            "key's own (admin: each line's, or `default`)",                                                            \
            .sent = CLI_TEXT                                                                                           \
    }
#define REQUEST_OPTIONS                                                                                                \
    NAMESPACE_OPTION, {"options", "JSON", "the request's options, a JSON object", .sent = CLI_OBJECT},                 \
        {"model", "NAME", "the model that is asked: the same as the member `model` of --options", .sent = CLI_TEXT},   \
    {                                                                                                                  \
        "question", "TEXT", "the request's question", .sent = CLI_TEXT                                                 \
    }
#define LABEL_OPTIONS                                                                                                  \
    NAMESPACE_OPTION, {"all-namespaces", NULL, "entries of every namespace (admin)", .sent = CLI_TRUE},                \
        {"operation", "NAME", "of this operation", .sent = CLI_TEXT},                                                  \
        {"model", "NAME", "of this model", .sent = CLI_TEXT},                                                          \
    {                                                                                                                  \
        "tag", "NAME", "with this tag", .sent = CLI_TEXT                                                               \
    }

const struct cli_option cli_common_options[] = {
    {"url", "URL",
     "where the daemon listens; AICACHE_URL, or http://127.0.0.1:8080. No proxy of the environment is asked for this machine"},
    {"unix", "PATH", "its unix socket instead; AICACHE_UNIX"},
    {"api-key", "KEY", "the API key, or @FILE that holds it; AICACHE_API_KEY"},
    {"ca", "FILE", "the authority that signed the daemon's certificate (PEM)"},
    {"timeout", "DURATION",
     "how long to wait for an answer, or in a stream without any progress; 30s, 0 waits for ever"},
    {"json", NULL, "print what the daemon answers, as JSON"},
    {"help", NULL, "explain the command"},
    {"version", NULL, "print the version"},
    {0},
};

static const struct cli_option namespace_options[] = {NAMESPACE_OPTION, {0}};
static const struct cli_option get_options[] = {
    NAMESPACE_OPTION, {"metadata", NULL, "what is known of the entry, instead of the response", .sent = CLI_TRUE}, {0}};
static const struct cli_option request_options[] = {REQUEST_OPTIONS, {0}};
static const struct cli_option put_options[] = {
    REQUEST_OPTIONS,
    {"string", NULL, "RESPONSE is text, also when it happens to be JSON"},
    {"ttl", "DURATION", "time to live, 0 never expires; without it the operation's default", .sent = CLI_SECONDS},
    {"tag", "NAME", "a tag; may be repeated", .sent = CLI_TEXTS, .member = "tags"},
    {"prompt-tokens", "NUMBER", "tokens of the prompt", .sent = CLI_WHOLE, .member = "tokens.prompt_tokens"},
    {"completion-tokens", "NUMBER", "tokens of the answer", .sent = CLI_WHOLE, .member = "tokens.completion_tokens"},
    {"cost-usd", "NUMBER", "what the answer cost", .sent = CLI_NUMBER},
    {"durability", "LEVEL", "wait until it is applied (storage) or synced (disk)", "memory|storage|disk", CLI_TEXT},
    {0},
};
static const struct cli_option list_options[] = {
    LABEL_OPTIONS,
    {"limit", "NUMBER", "entries of a page, 1 to 1000; 50", .sent = CLI_TEXT},
    {"cursor", "TEXT", "go on where a page ended"},
    {"all", NULL, "all pages"},
    {0},
};
static const struct cli_option invalidate_options[] = {
    LABEL_OPTIONS,
    {"pattern", "GLOB", "whose operation or one of whose tags matches", .sent = CLI_TEXT},
    {"older-than", "DURATION", "stored at least so long ago", .sent = CLI_SECONDS, .member = "older_than_seconds"},
    {"tier", "NAME", "memory or storage; without it both", "memory|storage", CLI_TEXT},
    {"context", "TEXT", "a note that is recorded", .sent = CLI_TEXT},
    {"dry-run", NULL, "count only", .sent = CLI_TRUE},
    {"all", NULL, "everything of the namespace", .sent = CLI_TRUE},
    {0},
};
static const struct cli_option slow_options[] = {
    {"multiplier", "NUMBER", "times slower than the usual; 2", .sent = CLI_TEXT}, {0}};
static const struct cli_option stats_options[] = {{"all", NULL, "every figure"}, {0}};
static const struct cli_option top_options[] = {{"once", NULL, "one snapshot, without drawing"}, {0}};
static const struct cli_option export_options[] = {LABEL_OPTIONS, {0}};
static const struct cli_option import_options[] = {
    {"warm", NULL, "lines are requests with their responses"}, FILL_OPTION, {0}};
static const struct cli_option warm_options[] = {FILL_OPTION, {0}};
static const struct cli_option verify_options[] = {
    {"data-dir", "DIRECTORY", "open this store, without a daemon"},
    {"secret-file", "FILE", "its secret, where the daemon has it by `secret_file`"},
    {0},
};
static const struct cli_option replay_options[] = {
    NAMESPACE_OPTION,
    {"answer-bytes", "SIZE", "put a generated text of this size where a line has no response"},
    {"ttl", "DURATION", "time to live of what is put"},
    {"limit", "NUMBER", "lines to send at most"},
    {0},
};
static const struct cli_option bench_options[] = {
    NAMESPACE_OPTION,
    {"mode", "NAME", "lookup, get, put or mixed (9 lookups to 1 put); lookup", "lookup|get|put|mixed"},
    {"duration", "DURATION", "how long; 5s"},
    {"connections", "NUMBER", "in all; 16"},
    {"threads", "NUMBER", "of this client; 1"},
    {"keys", "NUMBER", "entries; 1000"},
    {"bytes", "SIZE", "of each response; 2K"},
    {0},
};
static const struct cli_option key_options[] = {
    {"namespace", "NAME", "what the key sees and touches; without it `default`"},
    {"admin", NULL, "the key may do everything, in every namespace"},
    {"id", "NAME", "the key's name in logs; without it the namespace and a few digits"},
    {0},
};
static const struct cli_option check_options[] = {
    {"preset", "PRESET", "check this preset"},
    {"override", "JSON", "with these values in place of its own"},
    {0},
};

const struct cli_command cli_commands[] = {
#define COMMAND(function, name, arguments, min, max, options, summary, detail)                                         \
    {name, arguments, min, max, summary, detail, options, function, NULL, NULL, NULL, NULL},
#define REQUEST(function, verb, route, print, judge, name, arguments, min, max, options, summary, detail)              \
    {name, arguments, min, max, summary, detail, options, function, verb, route, print, judge},
#include "cli/commands.def"
#undef REQUEST
#undef COMMAND
};
const size_t cli_command_count = COUNT_OF(cli_commands);
