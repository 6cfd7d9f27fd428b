/*
 * complete.c - completion: what may stand where the cursor is.
 *
 * The scripts for the shells know nothing: with each press of the key they ask this program, which reads the words up
 * to the cursor as it would read a command line.
 */
#include "cli/commands.h"

#include "serve/settings/settings.h"

#include <string.h>

/* ":files" and ":folders" stand for what the shell knows; all other lines are a word, a tab and what it means. */
static const char bash_script[] = "# bash completion of aicache; made by `aicache completion bash`\n"
                                  "_aicache() {\n"
                                  "    local word=${COMP_WORDS[COMP_CWORD]} line more\n"
                                  "    COMPREPLY=()\n"
                                  "    while IFS= read -r line; do\n"
                                  "        more=(\"${line%%$'\\t'*}\")\n"
                                  "        case $line in\n"
                                  "        :files) mapfile -t more < <(compgen -f -- \"$word\") ;;\n"
                                  "        :folders) mapfile -t more < <(compgen -d -- \"$word\") ;;\n"
                                  "        :values) mapfile -t more < <(compgen -f -P @ -- \"${word#@}\") ;;\n"
                                  "        esac\n"
                                  "        COMPREPLY+=(\"${more[@]}\")\n"
                                  "    done < <(\"${COMP_WORDS[0]}\" completion words -- "
                                  "\"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
                                  "}\n"
                                  "complete -F _aicache aicache\n";

static const char zsh_script[] = "#compdef aicache\n"
                                 "# zsh completion of aicache; made by `aicache completion zsh`\n"
                                 "_aicache() {\n"
                                 "    local line tab=$'\\t'\n"
                                 "    local -a offered\n"
                                 "    for line in ${(f)\"$($words[1] completion words -- "
                                 "\"${(@)words[2,CURRENT]}\" 2>/dev/null)\"}; do\n"
                                 "        case $line in\n"
                                 "        :files) _files ;;\n"
                                 "        :folders) _files -/ ;;\n"
                                 "        :values) compset -P @ && _files ;;\n"
                                 "        *) offered+=(\"${line%%$tab*}:${line#*$tab}\") ;;\n"
                                 "        esac\n"
                                 "    done\n"
                                 "    (( $#offered )) && _describe aicache offered\n"
                                 "}\n"
                                 "_aicache \"$@\"\n";

/* The word under the cursor is the beginning of what is offered. */
static void offer(const char *begun, const char *dashes, const char *word, size_t size, const char *help)
{
    char whole[80];
    snprintf(whole, sizeof whole, "%s%.*s", dashes, (int)size, word);
    if (strncmp(whole, begun, strlen(begun)) == 0) printf("%s\t%s\n", whole, help);
}

static void offer_files(const char *kind)
{
    if (strstr(kind, "FILE") != NULL || strcmp(kind, "PATH") == 0) puts(":files");
    if (strcmp(kind, "DIRECTORY") == 0) puts(":folders");
}

static void offer_values(const struct cli_option *option, const char *begun)
{
    const struct option_table *table = settings_table();
    for (const char *at = option->choices; at != NULL && *at != '\0'; at += at[strcspn(at, "|")] == '|') {
        size_t size = strcspn(at, "|");
        offer(begun, "", at, size, option->value);
        at += size;
    }
    for (size_t i = 0; i < table->preset_count && strcmp(option->value, "PRESET") == 0; i++)
        offer(begun, "", table->presets[i].name, strlen(table->presets[i].name), table->presets[i].help);
    offer_files(option->value);
}

static void offer_options(const struct cli_option *options, const char *begun)
{
    for (; options != NULL && options->name != NULL; options++)
        offer(begun, "--", options->name, strlen(options->name), options->help);
}

/* The first words of all commands, each once (those of two words stand together in the table); behind `first`, the
 * second words that it has. */
static void offer_commands(const char *first, const char *begun)
{
    size_t before = 0, known = first != NULL ? strlen(first) : 0;
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        size_t size = strcspn(name, " ");
        bool again = size == before && memcmp(cli_commands[i - 1].name, name, size) == 0;
        if (first == NULL && !again) offer(begun, "", name, size, cli_commands[i].summary);
        if (first != NULL && size == known && memcmp(name, first, size) == 0 && name[size] == ' ')
            offer(begun, "", name + size + 1, strlen(name + size + 1), cli_commands[i].summary);
        before = size;
    }
}

/* What stands before the cursor is in `line`, but for the word under it. */
static void offer_next(const struct cli *line, const char *begun)
{
    const struct cli_given *last = line->given_count > 0 ? &line->given[line->given_count - 1] : NULL;
    const struct cli_command *command = line->command;
    if (last != NULL && last->value == NULL) {
        offer_values(last->option, begun);
    } else if (begun[0] == '-') {
        if (command != NULL) offer_options(command->options, begun);
        offer_options(cli_common_options, begun);
    } else if (begun[0] == '@') {
        puts(":values");
    } else if (command == NULL) {
        offer_commands(line->argument_count > 0 ? line->arguments[0] : NULL, begun);
    } else {
        if (command->run == command_help) offer_commands(NULL, begun);
        if (command->run == command_completion) {
            offer(begun, "", "bash", 4, "for bash");
            offer(begun, "", "zsh", 3, "for zsh");
        }
        offer_files(command->arguments);
    }
}

int command_completion(struct cli *cli)
{
    char quoted[OPTION_QUOTE_SIZE];
    const char *shell = cli->arguments[0];
    if (strcmp(shell, "words") == 0) {
        struct cli line;
        const char *begun = cli->argument_count > 1 ? cli->arguments[cli->argument_count - 1] : "";
        int count = (int)cli->argument_count - (cli->argument_count > 1);
        int result = cli_split(&line, count, cli->arguments); /* `words` stands where a program's name does */
        if (result == CLI_OK) offer_next(&line, begun);
        cli_fini(&line);
        return result;
    }
    bool bash = strcmp(shell, "bash") == 0;
    if ((!bash && strcmp(shell, "zsh") != 0) || cli->argument_count > 1)
        return cli_fail("no completion for %s; accepted: bash, zsh", option_quote(quoted, shell));
    fputs(bash ? bash_script : zsh_script, stdout);
    return CLI_OK;
}
