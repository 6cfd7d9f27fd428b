/*
 * main.c - the `aicache` client.
 */
#include "cli/commands.h"

#include <curl/curl.h>
#include <fcntl.h>
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

/* A file or socket never takes the place of a standard stream that the caller has closed, or it would get what is
 * printed. The other way round: writing to it is an error, reading from it as well. */
static void hold_streams(void)
{
    for (int descriptor = 0; descriptor <= 2; descriptor++) {
        if (fcntl(descriptor, F_GETFD) < 0) (void)open("/dev/null", descriptor == 0 ? O_WRONLY : O_RDONLY);
    }
}

int main(int argc, char **argv)
{
    struct cli cli;
    hold_streams();
    signal(SIGPIPE, SIG_IGN); /* as any other fault of standard output: told, status 2 */
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int result = cli_parse(&cli, argc, argv);
    if (result == CLI_OK) result = run(&cli);
    cli_fini(&cli);
    curl_global_cleanup();
    return output_end(result);
}
