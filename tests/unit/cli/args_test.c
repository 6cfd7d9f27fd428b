/*
 * args_test.c - the client's command line, its pages, and what it prints for people.
 */
#include "base/check.h"
#include "cli/cli.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PARSE(cli, result, ...)                                                                                        \
    char *words[] = {"aicache", __VA_ARGS__};                                                                          \
    int result = cli_parse(&cli, (int)COUNT_OF(words), words)

static void options_stand_anywhere(void **state)
{
    (void)state;
    struct cli cli;
    PARSE(cli, result, "--url", "http://x", "lookup", "--json", "summarize", "--question=why?", "a text", "--namespace",
          "n");
    assert_int_equal(result, CLI_OK);
    assert_string_equal(cli.command->name, "lookup");
    assert_int_equal(cli.argument_count, 2);
    assert_string_equal(cli.arguments[1], "a text");
    assert_string_equal(cli_value(&cli, "url"), "http://x");
    assert_string_equal(cli_value(&cli, "question"), "why?");
    assert_string_equal(cli_value(&cli, "namespace"), "n");
    assert_null(cli_value(&cli, "options"));
    assert_true(cli.json);
    cli_fini(&cli);
}

static void repeated_options_are_told_apart(void **state)
{
    (void)state;
    struct cli cli;
    PARSE(cli, result, "put", "op", "t", "r", "--tag", "a", "--tag=b", "--tag", "--odd--");
    assert_int_equal(result, CLI_OK);
    assert_string_equal(cli_each(&cli, "tag", 0), "a");
    assert_string_equal(cli_each(&cli, "tag", 1), "b");
    assert_string_equal(cli_each(&cli, "tag", 2), "--odd--");
    assert_null(cli_each(&cli, "tag", 3));
    assert_string_equal(cli_value(&cli, "tag"), "--odd--");
    cli_fini(&cli);
}

static void commands_of_two_words(void **state)
{
    (void)state;
    struct cli cli;
    PARSE(cli, result, "key", "--namespace", "new", "new", "--admin");
    assert_int_equal(result, CLI_OK);
    assert_string_equal(cli.command->name, "key new");
    assert_int_equal(cli.argument_count, 0);
    assert_string_equal(cli_value(&cli, "namespace"), "new");
    assert_true(cli_has(&cli, "admin"));
    cli_fini(&cli);
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    struct cli cli;
    PARSE(cli, result, "lookup", "op", "--", "--json");
    assert_int_equal(result, CLI_OK);
    assert_string_equal(cli.arguments[1], "--json");
    assert_false(cli.json);
    cli_fini(&cli);
}

static void a_dash_alone_is_an_argument(void **state)
{
    (void)state;
    struct cli cli;
    PARSE(cli, result, "replay", "-");
    assert_int_equal(result, CLI_OK);
    assert_string_equal(cli.arguments[0], "-");
    cli_fini(&cli);
}

static void refusals(void **state)
{
    (void)state;
    static char *cases[][4] = {{"nonsense"},
                               {"lookup", "a"},
                               {"get", "a", "b"},
                               {"stats", "--limit", "3"},
                               {"lookup", "a", "b", "--question"},
                               {"stats", "--json=yes"},
                               {"key"},
                               {"stats", "-x"}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct cli cli;
        char *words[] = {"aicache", cases[i][0], cases[i][1], cases[i][2], cases[i][3]};
        int count = 1;
        while (count < 5 && words[count] != NULL) count++;
        assert_int_equal(cli_parse(&cli, count, words), CLI_ERROR);
        cli_fini(&cli);
    }
}

/* Every command, option and summary is on the pages that are made from them. */
static void pages_are_complete(void **state)
{
    (void)state;
    void (*const pages[])(struct buf *) = {pages_help, pages_manual};
    struct mem mem;
    mem_init(&mem, NULL);
    for (size_t page = 0; page < COUNT_OF(pages); page++) {
        struct buf text;
        buf_init(&text, &mem, MEM_OTHER);
        pages[page](&text);
        buf_append_byte(&text, '\0');
        assert_int_equal(buf_status(&text), AIC_OK);
        for (size_t i = 0; i < cli_command_count; i++) {
            const char *name = cli_commands[i].name;
            if (strstr(text.data, name) == NULL) fail_msg("page %zu lacks %s", page, name);
        }
        buf_fini(&text);
    }
    mem_fini(&mem);
}

static void no_option_means_two_things(void **state)
{
    (void)state;
    for (size_t i = 0; i < cli_command_count; i++) {
        for (const struct cli_option *own = cli_commands[i].options; own != NULL && own->name != NULL; own++) {
            for (const struct cli_option *common = cli_common_options; common->name != NULL; common++) {
                if (strcmp(own->name, common->name) == 0)
                    fail_msg("%s of %s is a common option", own->name, cli_commands[i].name);
            }
            for (size_t j = 0; j < cli_command_count;
                 j++) { /* before the command is known, options with and without a value must differ in name */
                for (const struct cli_option *other = cli_commands[j].options; other != NULL && other->name != NULL;
                     other++) {
                    bool same = strcmp(own->name, other->name) == 0;
                    if (same && (own->value == NULL) != (other->value == NULL))
                        fail_msg("--%s takes a value here and none there", own->name);
                }
            }
        }
    }
}

static void numbers_for_people(void **state)
{
    (void)state;
    char out[PRINT_BYTES];
    assert_string_equal(print_size(out, 0), "0 B");
    assert_string_equal(print_size(out, 1023), "1023 B");
    assert_string_equal(print_size(out, 1536), "1.5 KiB");
    assert_string_equal(print_size(out, UINT64_C(3) << 40), "3.0 TiB");
    assert_string_equal(print_duration(out, 0.25), "250ms");
    assert_string_equal(print_duration(out, 59.2), "59s");
    assert_string_equal(print_duration(out, 83), "1m 23s");
    assert_string_equal(print_duration(out, 7260), "2h 1m");
    assert_string_equal(print_duration(out, 90000), "1d 1h");
    assert_string_equal(print_age(out, "nonsense"), "-");
}

static void cells_cannot_command_a_terminal(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    print_cell(out, "a\x1b[2Jb\n", 20, false);
    fputc('|', out);
    print_cell(out, "äöü", 5, true);
    fputc('|', out);
    print_cell(out, "a longer text", 5, true);
    fputc('|', out);
    print_cell(out, "\xc2\x9b\xff", 9, false);
    fclose(out);
    assert_string_equal(text, "a?[2Jb?|äöü  |a lo…|??");
    free(text);
}

static void queries_are_encoded(void **state)
{
    (void)state;
    struct mem mem;
    struct buf path;
    mem_init(&mem, NULL);
    buf_init(&path, &mem, MEM_OTHER);
    buf_append_text(&path, "/x");
    query_add(&path, "a", "b c&=#ä");
    query_add(&path, "none", NULL);
    query_add(&path, "d", "");
    buf_append_byte(&path, '\0');
    assert_string_equal(path.data, "/x?a=b%20c%26%3D%23%C3%A4&d=");
    buf_fini(&path);
    mem_fini(&mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),      cmocka_unit_test(repeated_options_are_told_apart),
        cmocka_unit_test(commands_of_two_words),       cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(a_dash_alone_is_an_argument), cmocka_unit_test(refusals),
        cmocka_unit_test(pages_are_complete),          cmocka_unit_test(no_option_means_two_things),
        cmocka_unit_test(numbers_for_people),          cmocka_unit_test(cells_cannot_command_a_terminal),
        cmocka_unit_test(queries_are_encoded),
    };
    return cmocka_run_group_tests_name("args", tests, NULL, NULL);
}
