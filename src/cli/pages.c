/*
 * pages.c - help, aicache(1) and completions, made from the table of commands.
 */
#include "cli/cli.h"

#include "serve/settings/settings.h"

#include <string.h>

#define PAGE_COLUMNS 80

/* Words from column `column` on, where the page is; further lines begin at `from`. */
static void write_wrapped(const char *text, size_t column, size_t from, struct buf *out)
{
    bool first = true;
    for (const char *at = text; *at != '\0'; at += strspn(at, " "), first = false) {
        size_t word = strcspn(at, " ");
        if (!first && column + 1 + word > PAGE_COLUMNS) {
            buf_printf(out, "\n%*s", (int)from, "");
            column = from;
        } else if (!first) {
            buf_append_byte(out, ' ');
            column++;
        }
        buf_append(out, at, word);
        column += word;
        at += word;
    }
    buf_append_byte(out, '\n');
}

/* A name of `width` columns, and what it means beside it. */
static void write_entry(const char *name, int width, const char *text, struct buf *out)
{
    size_t size = strlen(name), column = 3 + (size > (size_t)width ? size : (size_t)width);
    buf_printf(out, "  %-*s ", width, name);
    write_wrapped(text, column, 3 + (size_t)width, out);
}

static void write_options(const struct cli_option *options, struct buf *out)
{
    for (; options != NULL && options->name != NULL; options++) {
        char left[64];
        snprintf(left, sizeof left, "--%s%s%s", options->name, options->value != NULL ? " " : "",
                 options->value != NULL ? options->value : "");
        write_entry(left, 28, options->help, out);
    }
}

void pages_help(struct buf *out)
{
    buf_append_text(out, "Usage: aicache COMMAND [ARGUMENT...] [--OPTION...]\n\nCommands:\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        char left[64];
        snprintf(left, sizeof left, "%s %s", cli_commands[i].name, cli_commands[i].arguments);
        write_entry(left, 30, cli_commands[i].summary, out);
    }
    buf_append_text(out, "\nOptions of every command:\n");
    write_options(cli_common_options, out);
    buf_append_byte(out, '\n');
    write_wrapped("An argument @FILE stands for the contents of a file, - for standard input. "
                  "Exit status: 0 fine, 1 a miss or a no, 2 an error.",
                  0, 0, out);
    buf_append_text(out, "aicache help COMMAND tells more.\n");
}

void pages_command(const struct cli_command *command, struct buf *out)
{
    bool spaced = command->arguments[0] != '\0';
    buf_printf(out, "Usage: aicache %s%s%s [--OPTION...]\n\n", command->name, spaced ? " " : "", command->arguments);
    write_wrapped(command->summary, 0, 0, out);
    if (command->detail != NULL) write_wrapped(command->detail, 0, 0, out);
    if (command->options != NULL) {
        buf_append_text(out, "\nOptions:\n");
        write_options(command->options, out);
    }
    buf_append_text(out, "\nOptions of every command:\n");
    write_options(cli_common_options, out);
}

/* ------------------------------------------------------------------------------------------------------ manual -- */

static void write_roff(const char *text, struct buf *out)
{
    bool bold = false;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '`') buf_append_text(out, (bold = !bold) ? "\\fB" : "\\fR");
        else if (*at == '-') buf_append_text(out, "\\-");
        else if (*at == '\\') buf_append_text(out, "\\e");
        else if ((*at == '.' || *at == '\'') && at == text) buf_printf(out, "\\&%c", *at);
        else buf_append_byte(out, *at);
    }
}

static void write_roff_options(const struct cli_option *options, struct buf *out)
{
    for (; options != NULL && options->name != NULL; options++) {
        buf_append_text(out, ".TP\n\\fB\\-\\-");
        write_roff(options->name, out);
        buf_append_text(out, "\\fR");
        if (options->value != NULL) buf_printf(out, " \\fI%s\\fR", options->value);
        buf_append_byte(out, '\n');
        write_roff(options->help, out);
        buf_append_byte(out, '\n');
    }
}

static void write_roff_command(const struct cli_command *command, struct buf *out)
{
    buf_printf(out, ".SS \"%s", command->name);
    if (command->arguments[0] != '\0') buf_printf(out, " %s", command->arguments);
    buf_append_text(out, "\"\n");
    write_roff(command->summary, out);
    if (command->detail != NULL) {
        buf_append_byte(out, ' ');
        write_roff(command->detail, out);
    }
    buf_append_byte(out, '\n');
    write_roff_options(command->options, out);
}

void pages_manual(struct buf *out)
{
    buf_append_text(
        out,
        ".\\\" Made by `aicache manual` from the table of commands.\n"
        ".TH AICACHE 1 \"\" \"aicache " AIC_VERSION "\" \"aicache\"\n"
        ".SH NAME\naicache \\- client of the response cache daemon aicached\n"
        ".SH SYNOPSIS\n.B aicache\n\\fICOMMAND\\fR [\\fIARGUMENT\\fR...] [\\fB\\-\\-\\fIOPTION\\fR...]\n"
        ".SH DESCRIPTION\nAsks a running \\fBaicached\\fR(8). An argument \\fB@\\fIFILE\\fR stands for the contents of a file, \\fB\\-\\fR for standard input.\n"
        ".SH OPTIONS OF EVERY COMMAND\n");
    write_roff_options(cli_common_options, out);
    buf_append_text(out, ".SH COMMANDS\n");
    for (size_t i = 0; i < cli_command_count; i++) write_roff_command(&cli_commands[i], out);
    buf_append_text(
        out,
        ".SH EXIT STATUS\n.TP\n.B 0\nfine\n.TP\n.B 1\na miss, or an answer that is no\n.TP\n.B 2\nan error\n"
        ".SH ENVIRONMENT\n.TP\n.B AICACHE_URL\nwhere the daemon listens\n.TP\n.B AICACHE_UNIX\nits unix socket\n.TP\n.B AICACHE_API_KEY\nthe API key\n"
        ".SH SEE ALSO\n.BR aicached (8)\n");
}

/* ------------------------------------------------------------------------------------------------- completions -- */

static void write_words(const struct cli_option *options, struct buf *out)
{
    for (; options != NULL && options->name != NULL; options++) buf_printf(out, " --%s", options->name);
}

/* The values of an option that are known by name, a space between two; nothing where there is no fixed set. */
static void write_choices(const struct cli_option *option, struct buf *out)
{
    const struct option_table *table = settings_table();
    bool preset = strcmp(option->value, "PRESET") == 0;
    for (size_t i = 0; preset && i < table->preset_count; i++)
        buf_printf(out, "%s%s", i > 0 ? " " : "", table->presets[i].name);
    for (const char *at = option->choices; at != NULL && *at != '\0'; at++)
        buf_append_byte(out, *at == '|' ? ' ' : *at);
}

static bool takes_file(const char *value)
{
    return strstr(value, "FILE") != NULL || strcmp(value, "PATH") == 0;
}

/* Is it the first option of that name? Commands may share one, then it means the same in each. */
static bool is_new_option(size_t command, const struct cli_option *option)
{
    for (size_t i = 0; i < command; i++) {
        const struct cli_option *other = cli_commands[i].options;
        for (; other != NULL && other->name != NULL; other++) {
            if (strcmp(other->name, option->name) == 0) return false;
        }
    }
    return true;
}

/* One line for each option with a value: what may follow it. */
static void write_bash_values(size_t command, const struct cli_option *options, struct buf *out)
{
    for (; options != NULL && options->name != NULL; options++) {
        if (options->value == NULL || !is_new_option(command, options)) continue;
        buf_printf(out, "    --%s) value=1", options->name);
        if (takes_file(options->value)) buf_append_text(out, " files=-f");
        if (strcmp(options->value, "DIRECTORY") == 0) buf_append_text(out, " files=-d");
        size_t before = out->size;
        buf_append_text(out, " words='");
        size_t begin = out->size;
        write_choices(options, out);
        if (out->size == begin) out->size = before; /* none is known */
        else buf_append_byte(out, '\'');
        buf_append_text(out, " ;;\n");
    }
}

/* The first words of all commands, each once (those of two words stand together in the table). */
static bool is_new_word(size_t index)
{
    size_t size = strcspn(cli_commands[index].name, " ");
    return index == 0 || strncmp(cli_commands[index - 1].name, cli_commands[index].name, size) != 0 ||
           (cli_commands[index - 1].name[size] != '\0' && cli_commands[index - 1].name[size] != ' ');
}

static void write_first_words(struct buf *out)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        if (is_new_word(i))
            buf_printf(out, "%s%.*s", i > 0 ? " " : "", (int)strcspn(cli_commands[i].name, " "), cli_commands[i].name);
    }
}

/* The second words of all commands that begin with the first word of this one. */
static void write_second_words(const char *name, struct buf *out)
{
    size_t size = strcspn(name, " ");
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *other = cli_commands[i].name;
        if (strncmp(other, name, size) == 0 && other[size] == ' ') buf_printf(out, "%s ", other + size + 1);
    }
}

void pages_bash(struct buf *out)
{
    buf_append_text(
        out,
        "# bash completion of aicache; made by `aicache completion bash`\n"
        "_aicache() {\n"
        "    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]:-} words='' options='' files='' value=''\n"
        "    COMPREPLY=()\n"
        "    case ${COMP_WORDS[COMP_CWORD - 1]} in\n");
    write_bash_values(0, cli_common_options, out);
    for (size_t i = 0; i < cli_command_count; i++) write_bash_values(i, cli_commands[i].options, out);
    buf_append_text(out, "    esac\n    if [ -z \"$value\" ] && [ \"$COMP_CWORD\" -eq 1 ]; then\n        words='");
    write_first_words(out);
    buf_append_text(out, "'\n    elif [ -z \"$value\" ]; then\n        case $command in\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        if (!is_new_word(i)) continue;
        size_t size = strcspn(name, " ");
        buf_append_text(out, "        ");
        buf_append(out, name, size);
        buf_append_text(out, ") words='");
        bool files = false;
        if (name[size] == ' ') write_second_words(name, out);
        if (strcmp(name, "completion") == 0) buf_append_text(out, "bash zsh");
        if (strcmp(name, "help") == 0) write_first_words(out);
        buf_append_text(out, "' options='");
        for (size_t j = i; j < cli_command_count && strncmp(cli_commands[j].name, name, size) == 0 &&
                           (cli_commands[j].name[size] == ' ' || j == i);
             j++) {
            write_words(cli_commands[j].options, out);
            files = files || takes_file(cli_commands[j].arguments);
        }
        buf_printf(out, "'%s ;;\n", files ? " files=-f" : "");
    }
    buf_append_text(out, "        esac\n    fi\n    [ -n \"$value\" ] || options+='");
    write_words(cli_common_options, out);
    buf_append_text(
        out,
        "'\n    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
        "    case $word in\n"
        "    -*) mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\") ;;\n"
        "    @*) mapfile -t COMPREPLY < <(compgen -f -P @ -- \"${word#@}\") ;;\n"
        "    *) [ -z \"$files\" ] || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen \"$files\" -- \"$word\") ;;\n"
        "    esac\n}\ncomplete -F _aicache aicache\n");
}

/* Text between single quotes of zsh, where brackets and colons have a meaning of their own. */
static void write_zsh_text(const char *text, struct buf *out)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\'') buf_append_text(out, "'\\''");
        else if (strchr("[]:\\", *at) != NULL) buf_printf(out, "\\%c", *at);
        else buf_append_byte(out, *at);
    }
}

static void write_zsh_options(const struct cli_option *options, struct buf *out)
{
    for (; options != NULL && options->name != NULL; options++) {
        buf_printf(out, " \\\n            '--%s[", options->name);
        write_zsh_text(options->help, out);
        buf_append_byte(out, ']');
        if (options->value != NULL) {
            buf_printf(out, ":%s:", options->value);
            if (takes_file(options->value)) buf_append_text(out, "_files");
            else if (strcmp(options->value, "DIRECTORY") == 0) buf_append_text(out, "_files -/");
            else {
                size_t before = out->size;
                buf_append_byte(out, '(');
                write_choices(options, out);
                buf_append_byte(out, ')');
                if (out->size == before + 2) out->size = before; /* none is known */
            }
        }
        buf_append_byte(out, '\'');
    }
}

void pages_zsh(struct buf *out)
{
    buf_append_text(out, "#compdef aicache\n# zsh completion of aicache; made by `aicache completion zsh`\n"
                         "_aicache() {\n    local -a commands\n    commands=(\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        if (!is_new_word(i)) continue;
        buf_printf(out, "        '%.*s:", (int)strcspn(cli_commands[i].name, " "), cli_commands[i].name);
        write_zsh_text(cli_commands[i].summary, out);
        buf_append_text(out, "'\n");
    }
    buf_append_text(
        out,
        "    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n    case $words[2] in\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        if (!is_new_word(i)) continue;
        size_t size = strcspn(name, " ");
        buf_append_text(out, "    ");
        buf_append(out, name, size);
        buf_append_text(out, ")\n        _arguments");
        if (name[size] == ' ') {
            buf_append_text(out, " \\\n            '2:what:(");
            write_second_words(name, out);
            buf_append_text(out, ")'");
        }
        if (strcmp(name, "completion") == 0) buf_append_text(out, " \\\n            '2:shell:(bash zsh)'");
        bool files = false;
        for (size_t j = i; j < cli_command_count && strncmp(cli_commands[j].name, name, size) == 0 &&
                           (cli_commands[j].name[size] == ' ' || j == i);
             j++) {
            write_zsh_options(cli_commands[j].options, out);
            files = files || takes_file(cli_commands[j].arguments);
        }
        write_zsh_options(cli_common_options, out);
        buf_printf(out, " \\\n            '*:argument:%s' ;;\n", files ? "_files" : "");
    }
    buf_append_text(out, "    esac\n}\n_aicache \"$@\"\n");
}
