/*
 * main.c - the `aicache` client.
 */
#include "cli/commands.h"

#include <curl/curl.h>
#include <signal.h>

static int run(struct cli *cli)
{
    if (cli_has(cli, "version")) return puts("aicache " AIC_VERSION) >= 0 ? CLI_OK : CLI_ERROR;
    if (cli->command != NULL && cli_has(cli, "help")) return cli_explain(cli, cli->command);
    if (cli->command != NULL) return cli->command->run(cli);
    bool asked = cli_has(cli, "help");
    int result = cli_print_page(cli, pages_help);
    return asked ? result : CLI_ERROR;
}

int main(int argc, char **argv)
{
    struct cli cli;
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int result = cli_parse(&cli, argc, argv);
    if (result == CLI_OK) result = run(&cli);
    cli_fini(&cli);
    curl_global_cleanup();
    if (fflush(stdout) != 0 || ferror(stdout)) result = CLI_ERROR;
    return result;
}
