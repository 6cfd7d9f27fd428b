/*
 * pages.c - help and aicache(1), made from the table of commands.
 */
#include "cli/commands.h"

#include <string.h>

#define PAGE_COLUMNS 80

/* A name of `width` columns, and what it means beside it. */
static void write_entry(const char *name, int width, const char *text, struct buf *out)
{
    size_t size = strlen(name), column = 3 + (size > (size_t)width ? size : (size_t)width);
    buf_printf(out, "  %-*s ", width, name);
    option_write_wrapped(text, column, 3 + (size_t)width, PAGE_COLUMNS, out);
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
    option_write_wrapped("An argument @FILE stands for the contents of a file, - for standard input. "
                         "Exit status: 0 fine, 1 a miss or a no, 2 an error.",
                         0, 0, PAGE_COLUMNS, out);
    buf_append_text(out, "aicache help COMMAND tells more.\n");
}

void pages_command(const struct cli_command *command, struct buf *out)
{
    bool spaced = command->arguments[0] != '\0';
    buf_printf(out, "Usage: aicache %s%s%s [--OPTION...]\n\n", command->name, spaced ? " " : "", command->arguments);
    option_write_wrapped(command->summary, 0, 0, PAGE_COLUMNS, out);
    if (command->detail != NULL) option_write_wrapped(command->detail, 0, 0, PAGE_COLUMNS, out);
    if (command->options != NULL) {
        buf_append_text(out, "\nOptions:\n");
        write_options(command->options, out);
    }
    buf_append_text(out, "\nOptions of every command:\n");
    write_options(cli_common_options, out);
}

/* ------------------------------------------------------------------------------------------------------ manual -- */

static void write_roff_options(const struct cli_option *options, struct buf *out)
{
    for (; options != NULL && options->name != NULL; options++) {
        buf_append_text(out, ".TP\n\\fB\\-\\-");
        option_write_roff_text(options->name, out);
        buf_append_text(out, "\\fR");
        if (options->value != NULL) buf_printf(out, " \\fI%s\\fR", options->value);
        buf_append_byte(out, '\n');
        option_write_roff_text(options->help, out);
        buf_append_byte(out, '\n');
    }
}

static void write_roff_command(const struct cli_command *command, struct buf *out)
{
    buf_printf(out, ".SS \"%s", command->name);
    if (command->arguments[0] != '\0') buf_printf(out, " %s", command->arguments);
    buf_append_text(out, "\"\n");
    option_write_roff_text(command->summary, out);
    if (command->detail != NULL) {
        buf_append_byte(out, ' ');
        option_write_roff_text(command->detail, out);
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

/* ----------------------------------------------------------------------------------------------------- commands -- */

int cli_print_page(struct cli *cli, void (*write)(struct buf *out))
{
    struct buf page;
    buf_init(&page, &cli->mem, MEM_OTHER);
    write(&page);
    int result = buf_status(&page) == AIC_OK ? CLI_OK : cli_fail("no memory");
    if (result == CLI_OK) print_view(buf_view(&page));
    buf_fini(&page);
    return result;
}

int cli_explain(struct cli *cli, const struct cli_command *command)
{
    struct buf page;
    buf_init(&page, &cli->mem, MEM_OTHER);
    pages_command(command, &page);
    print_view(buf_view(&page));
    buf_fini(&page);
    return CLI_OK;
}

int command_help(struct cli *cli)
{
    if (cli->argument_count == 0) return cli_print_page(cli, pages_help);
    const char *first = cli->arguments[0], *second = cli->argument_count > 1 ? cli->arguments[1] : NULL;
    size_t size = strlen(first), found = 0;
    for (size_t i = 0; i < cli_command_count; i++) {
        const char *name = cli_commands[i].name;
        if (strncmp(name, first, size) != 0 || (name[size] != '\0' && name[size] != ' ')) continue;
        if (second != NULL && (name[size] == '\0' || strcmp(name + size + 1, second) != 0)) continue;
        if (found++ > 0) putchar('\n');
        cli_explain(cli, &cli_commands[i]);
    }
    char quoted[OPTION_QUOTE_SIZE];
    return found > 0 ? CLI_OK
                     : cli_fail("there is no command %s; aicache help lists all of them", option_quote(quoted, first));
}

int command_manual(struct cli *cli)
{
    return cli_print_page(cli, pages_manual);
}
