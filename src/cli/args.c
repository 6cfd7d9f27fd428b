/*
 * args.c - the client's command line: common options anywhere, a command of one or two words, its options and arguments
 * in any order.
 */
#include "cli/cli.h"

#include "base/check.h"
#include "base/plural.h"

#include <limits.h>
#include <string.h>

/* The words of argv that belong to a command's name are marked by nulling them; what is left is read in order. */
static const struct cli_option *find_option(const struct cli_option *options, const char *name, size_t size)
{
    for (; options != NULL && options->name != NULL; options++) {
        if (strlen(options->name) == size && memcmp(options->name, name, size) == 0) return options;
    }
    return NULL;
}

static const struct cli_option *known_option(const struct cli_command *command, const char *name, size_t size)
{
    const struct cli_option *option = find_option(cli_common_options, name, size);
    if (option == NULL && command != NULL) option = find_option(command->options, name, size);
    return option;
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

/* Before the command is known, an option takes the next word when a command of any name has such an option with a
 * value. */
static bool takes_value(const char *word)
{
    size_t size = strlen(word);
    if (size < 3 || strchr(word, '=') != NULL) return false;
    const struct cli_option *option = find_option(cli_common_options, word + 2, size - 2);
    for (size_t i = 0; option == NULL && i < cli_command_count; i++) {
        option = find_option(cli_commands[i].options, word + 2, size - 2);
    }
    return option != NULL && option->value != NULL;
}

static const struct cli_command *command_named(const char *first, const char *second)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        const char *space = strchr(name, ' ');
        size_t size = space != NULL ? (size_t)(space - name) : strlen(name);
        if (strlen(first) != size || memcmp(name, first, size) != 0) continue;
        if (space == NULL || (second != NULL && strcmp(space + 1, second) == 0)) return &cli_commands[i];
    }
    return NULL;
}

static bool asks_for_help(const struct cli *cli)
{
    for (int i = 1; i < cli->argc && strcmp(cli->argv[i], "--") != 0; i++) {
        if (strcmp(cli->argv[i], "--help") == 0 || strcmp(cli->argv[i], "-h") == 0) return true;
    }
    return false;
}

/* The first word of several commands, with --help, is `aicache help WORD`; everything else here is an error. */
static int refuse_command(struct cli *cli, const char *first, const char *second)
{
    const char *best = NULL;
    unsigned distance = 3;
    size_t size = strlen(first);
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        if (strncmp(name, first, size) == 0 && name[size] == ' ') {
            if (second == NULL && asks_for_help(cli)) {
                cli->command = command_named("help", NULL);
                return CLI_OK;
            }
            return cli_fail("%s needs to know what: aicache %s ... (aicache help %s tells more)", first, name, first);
        }
        unsigned to = option_distance(first, name);
        if (to < distance) {
            distance = to;
            best = name;
        }
    }
    char quoted[OPTION_QUOTE_SIZE];
    return cli_fail("there is no command %s%s%s%s; aicache help lists all of them", option_quote(quoted, first),
                    best != NULL ? ", did you mean " : "", best != NULL ? best : "", best != NULL ? "?" : "");
}

/* Finds the command's words, nulls them in argv. */
static int find_command(struct cli *cli)
{
    int words[2] = {0, 0};
    size_t found = 0;
    for (int i = 1; i < cli->argc && found < 2; i++) {
        if (strcmp(cli->argv[i], "--") == 0) break;
        if (!is_option(cli->argv[i])) words[found++] = i;
        else if (takes_value(cli->argv[i])) i++;
    }
    if (found == 0) return CLI_OK;
    const char *first = cli->argv[words[0]], *second = found == 2 ? cli->argv[words[1]] : NULL;
    cli->command = command_named(first, second);
    if (cli->command == NULL) return refuse_command(cli, first, second);
    cli->argv[words[0]] = NULL;
    if (strchr(cli->command->name, ' ') != NULL) cli->argv[words[1]] = NULL;
    return CLI_OK;
}

static int refuse_option(const struct cli *cli, const char *word)
{
    char quoted[OPTION_QUOTE_SIZE];
    const char *best = NULL;
    unsigned distance = 3;
    const struct cli_option *lists[] = {cli_common_options, cli->command != NULL ? cli->command->options : NULL};
    for (size_t list = 0; list < 2; list++) {
        for (const struct cli_option *option = lists[list]; option != NULL && option->name != NULL; option++) {
            unsigned to = option_distance(word + 1 + (word[1] == '-'), option->name);
            if (to >= distance) continue;
            distance = to;
            best = option->name;
        }
    }
    return cli_fail("%s is no option of this command%s%s%s; aicache help %s lists them", option_quote(quoted, word),
                    best != NULL ? ", did you mean --" : "", best != NULL ? best : "", best != NULL ? "?" : "",
                    cli->command != NULL ? cli->command->name : "");
}

/* One option word at *at; values are left in argv, where cli_value() finds them. */
static int check_option(struct cli *cli, int *at)
{
    const char *word = cli->argv[*at];
    if (strcmp(word, "-h") == 0) cli->argv[*at] = "--help";
    word = cli->argv[*at];
    const char *equals = strchr(word, '=');
    size_t size = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct cli_option *option = size > 2 && word[1] == '-' ? known_option(cli->command, word + 2, size - 2)
                                                                 : NULL;
    if (option == NULL) return refuse_option(cli, word);
    if (option->value == NULL) return equals == NULL ? CLI_OK : cli_fail("--%s takes no value", option->name);
    if (equals != NULL) return CLI_OK;
    if (*at + 1 >= cli->argc || cli->argv[*at + 1] == NULL)
        return cli_fail("--%s needs a value: %s", option->name, option->value);
    ++*at;
    return CLI_OK;
}

static int split(struct cli *cli)
{
    bool only_arguments = false;
    for (int at = 1; at < cli->argc; at++) {
        char *word = cli->argv[at];
        if (word == NULL) continue;
        if (!only_arguments && strcmp(word, "--") == 0) {
            only_arguments = true;
        } else if (only_arguments || !is_option(word)) {
            cli->arguments[cli->argument_count++] = word;
        } else {
            int failed = check_option(cli, &at);
            if (failed != CLI_OK) return failed;
        }
    }
    return CLI_OK;
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
    *cli = (struct cli){.argc = argc, .argv = argv};
    mem_init(&cli->mem, NULL);
    cli->arguments = mem_alloc(&cli->mem, MEM_OTHER, ((size_t)argc + 1) * sizeof *cli->arguments);
    if (cli->arguments == NULL) return cli_fail("no memory");
    int failed = find_command(cli);
    if (failed == CLI_OK) failed = split(cli);
    if (failed != CLI_OK) return failed;
    cli->json = cli_has(cli, "json");
    if (cli->command == NULL || cli_has(cli, "help")) return CLI_OK;
    if (cli->argument_count < cli->command->min || cli->argument_count > cli->command->max) {
        return cli_fail("%u %s came; usage: aicache %s%s%s", cli->argument_count,
                        plural(cli->argument_count, "argument", "arguments"), cli->command->name,
                        cli->command->arguments[0] != '\0' ? " " : "", cli->command->arguments);
    }
    return CLI_OK;
}

void cli_fini(struct cli *cli)
{
    session_close(&cli->session);
    mem_free(&cli->mem, MEM_OTHER, cli->arguments, ((size_t)cli->argc + 1) * sizeof *cli->arguments);
    mem_fini(&cli->mem);
}

const char *cli_each(const struct cli *cli, const char *option, size_t index)
{
    size_t size = strlen(option);
    for (int at = 1; at < cli->argc; at++) {
        const char *word = cli->argv[at];
        if (word == NULL || !is_option(word)) continue;
        if (strcmp(word, "--") == 0) break;
        const char *equals = strchr(word, '=');
        size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
        const struct cli_option *known = length > 2 ? known_option(cli->command, word + 2, length - 2) : NULL;
        if (known == NULL) continue;
        bool separate = known->value != NULL && equals == NULL;
        bool match = length == size + 2 && memcmp(word + 2, option, size) == 0;
        if (match && index-- == 0) return equals != NULL ? equals + 1 : separate ? cli->argv[at + 1] : "";
        if (separate) at++;
    }
    return NULL;
}

const char *cli_value(const struct cli *cli, const char *option)
{
    const char *value = NULL, *next;
    for (size_t i = 0; (next = cli_each(cli, option, i)) != NULL; i++) value = next;
    return value;
}

bool cli_has(const struct cli *cli, const char *option)
{
    return cli_each(cli, option, 0) != NULL;
}

int cli_number(const struct cli *cli, const char *option, enum option_type type, uint64_t *out)
{
    const char *text = cli_value(cli, option);
    char quoted[OPTION_QUOTE_SIZE];
    if (text == NULL || option_number(type, text, out) == AIC_OK) return CLI_OK;
    return cli_fail("--%s: %s is not accepted; accepted: %s", option, option_quote(quoted, text),
                    type == OPTION_SIZE ? "a number of bytes, alone or with K, M or G"
                    : type == OPTION_SECONDS
                        ? "a duration in whole seconds, with s, m, h or d (a number alone is seconds)"
                    : type == OPTION_MS ? "a duration with ms, s, m, h or d (a number alone is seconds)"
                                        : "a whole number");
}
