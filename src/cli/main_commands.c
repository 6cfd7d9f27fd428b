/*
 * main_commands.c - help and manual: the pages made from the table.
 */
#include "cli/commands.h"

#include <string.h>

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
