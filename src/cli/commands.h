/*
 * commands.h - the functions of commands.def.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/cli.h"

#define COMMAND(function, ...) int function(struct cli *cli);
#define REQUEST COMMAND
#include "cli/commands.def"
#undef REQUEST
#undef COMMAND

void print_put(json_object *answer);
void print_explanation(json_object *answer);
void print_invalidation(json_object *answer);
void print_memory(json_object *answer);
void print_warnings(json_object *answer);
void print_slow(json_object *answer);
int judge_put(json_object *answer);
int judge_invalidation(json_object *answer);
int judge_warnings(json_object *answer);

#endif
