/*
 * commands.h - the functions of commands.def.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/cli.h"

#define COMMAND(function, ...) int function(struct cli *cli);
#include "cli/commands.def"
#undef COMMAND

#endif
