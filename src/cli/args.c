/*
 * args.c - the client's command line: common options anywhere, a command of one or two words, its options and arguments
 * in any order.
 */
#include "cli/cli.h"

#include "base/check.h"
#include "base/plural.h"

#include <limits.h>
#include <string.h>

static const struct cli_option *find_option(const struct cli_option *options, const char *name, size_t size)
{
    for (; options != NULL && options->name != NULL; options++) {
        if (strlen(options->name) == size && memcmp(options->name, name, size) == 0) return options;
    }
    return NULL;
}

/* The option of any command: one that several have takes a value in all of them or in none. */
static const struct cli_option *any_option(const char *name, size_t size)
{
    const struct cli_option *option = find_option(cli_common_options, name, size);
    for (size_t i = 0; option == NULL && i < cli_command_count; i++)
        option = find_option(cli_commands[i].options, name, size);
    return option;
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

/* The name that is nearest to a word; "" where none is near. */
struct guess {
    const char *word, *best;
    unsigned distance;
};

static void consider(struct guess *guess, const char *name)
{
    unsigned distance = option_distance(guess->word, name);
    if (distance >= guess->distance) return;
    guess->distance = distance;
    guess->best = name;
}

/* The first word of several commands, with --help, is `aicache help WORD`; everything else here is an error. */
static int refuse_command(struct cli *cli)
{
    const char *first = cli->arguments[0];
    struct guess guess = {first, "", 3};
    char quoted[OPTION_QUOTE_SIZE];
    size_t size = strlen(first);
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        consider(&guess, name);
        if (strncmp(name, first, size) != 0 || name[size] != ' ') continue;
        if (cli->argument_count > 1 || !cli_has(cli, "help"))
            return cli_fail("%s needs to know what: aicache %s ... (aicache help %s tells more)", first, name, first);
        cli->command = command_named("help", NULL);
        return CLI_OK;
    }
    bool near = guess.best[0] != '\0';
    return cli_fail("there is no command %s%s%s%s; aicache help lists all of them", option_quote(quoted, first),
                    near ? ", did you mean " : "", guess.best, near ? "?" : "");
}

static int refuse_option(const struct cli *cli, const char *word)
{
    char quoted[OPTION_QUOTE_SIZE];
    struct guess guess = {word + strspn(word, "-"), "", 3};
    const struct cli_option *lists[] = {cli_common_options, cli->command != NULL ? cli->command->options : NULL};
    for (size_t list = 0; list < COUNT_OF(lists); list++) {
        for (const struct cli_option *option = lists[list]; option != NULL && option->name != NULL; option++)
            consider(&guess, option->name);
    }
    bool near = guess.best[0] != '\0';
    return cli_fail("%s is no option of this command%s%s%s; aicache help %s lists them", option_quote(quoted, word),
                    near ? ", did you mean --" : "", guess.best, near ? "?" : "",
                    cli->command != NULL ? cli->command->name : "");
}

/* Options and words, each in their order. *names: how many of the words may name a command. */
static void split(struct cli *cli, int argc, char **argv, size_t *names)
{
    bool has_options = true;
    for (int at = 1; at < argc; at++) {
        const char *word = strcmp(argv[at], "-h") == 0 ? "--help" : argv[at];
        if (has_options && strcmp(word, "--") == 0) {
            has_options = false;
        } else if (!has_options || word[0] != '-' || word[1] == '\0') {
            cli->arguments[cli->argument_count++] = argv[at];
            *names += has_options;
        } else {
            struct cli_given *given = &cli->given[cli->given_count++];
            const char *equals = strchr(word, '=');
            size_t size = equals != NULL ? (size_t)(equals - word) : strlen(word);
            bool named = size > 2 && word[1] == '-';
            given->word = word;
            given->option = named ? any_option(word + 2, size - 2) : NULL;
            given->value = equals != NULL ? equals + 1 : "";
            bool separate = equals == NULL && given->option != NULL && given->option->value != NULL;
            if (separate) given->value = ++at < argc ? argv[at] : NULL;
        }
    }
    CHECK(cli->argument_count + cli->given_count <= (size_t)argc); /* the room of either */
}

static int check_option(const struct cli *cli, const struct cli_given *given)
{
    const struct cli_option *option = given->option;
    const struct cli_option *own = cli->command != NULL ? cli->command->options : NULL;
    size_t size = option != NULL ? strlen(option->name) : 0;
    bool known = option != NULL && (find_option(cli_common_options, option->name, size) != NULL ||
                                    find_option(own, option->name, size) != NULL);
    if (!known) return refuse_option(cli, given->word);
    if (option->value == NULL && strchr(given->word, '=') != NULL) return cli_fail("--%s takes no value", option->name);
    return given->value != NULL ? CLI_OK : cli_fail("--%s needs a value: %s", option->name, option->value);
}

int cli_split(struct cli *cli, int argc, char **argv)
{
    size_t names = 0;
    *cli = (struct cli){.argc = argc};
    mem_init(&cli->mem, NULL);
    cli->arguments = mem_alloc(&cli->mem, MEM_OTHER, ((size_t)argc + 1) * sizeof *cli->arguments);
    cli->given = mem_alloc(&cli->mem, MEM_OTHER, ((size_t)argc + 1) * sizeof *cli->given);
    if (cli->arguments == NULL || cli->given == NULL) return cli_fail("no memory");
    split(cli, argc, argv, &names);
    if (names > 0) cli->command = command_named(cli->arguments[0], names > 1 ? cli->arguments[1] : NULL);
    if (cli->command == NULL) return CLI_OK;
    unsigned taken = strchr(cli->command->name, ' ') != NULL ? 2 : 1;
    CHECK(taken <= cli->argument_count);
    cli->argument_count -= taken;
    memmove(cli->arguments, cli->arguments + taken, cli->argument_count * sizeof *cli->arguments);
    return CLI_OK;
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
    int failed = cli_split(cli, argc, argv);
    if (failed == CLI_OK && cli->command == NULL && cli->argument_count > 0) failed = refuse_command(cli);
    for (size_t i = 0; i < cli->given_count && failed == CLI_OK; i++) failed = check_option(cli, &cli->given[i]);
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
    mem_free(&cli->mem, MEM_OTHER, cli->given, ((size_t)cli->argc + 1) * sizeof *cli->given);
    mem_fini(&cli->mem);
}

const char *cli_each(const struct cli *cli, const char *option, size_t index)
{
    CHECK(any_option(option, strlen(option)) != NULL);
    for (size_t i = 0; i < cli->given_count; i++) {
        const struct cli_given *given = &cli->given[i];
        if (given->option != NULL && strcmp(given->option->name, option) == 0 && index-- == 0) return given->value;
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
