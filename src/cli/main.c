/*
 * main.c - the `aicache` client.
 */
#include "cli/commands.h"

#include "base/streams.h"

#include <curl/curl.h>
#include <signal.h>

static int run(struct cli *cli)
{
    if (cli_has(cli, "version")) return puts("aicache " AIC_VERSION) >= 0 ? CLI_OK : CLI_ERROR;
    bool named = cli->command != NULL && cli->argument_count > 0 && cli->command->run == command_help;
    if (cli->command != NULL && cli_has(cli, "help") && !named) return cli_explain(cli, cli->command);
    if (cli->command != NULL) return cli->command->run(cli);
    bool asked = cli_has(cli, "help");
    int result = cli_print_page(cli, pages_help);
    return asked ? result : CLI_ERROR;
}

int main(int argc, char **argv)
{
    struct cli cli;
    streams_hold();
    signal(SIGPIPE, SIG_IGN); /* as any other fault of standard output: told, status 2 */
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int result = cli_parse(&cli, argc, argv);
    if (result == CLI_OK) result = run(&cli);
    cli_fini(&cli);
    curl_global_cleanup();
    return output_end(result);
}
