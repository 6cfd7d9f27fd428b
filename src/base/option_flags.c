/*
 * option_flags.c - the command line: --name VALUE, --name=VALUE, --no-name for a bool, and actions without a place in
 * the target.
 */
#include "base/option_impl.h"

#include "base/check.h"

#include <stdio.h>
#include <string.h>

/* "--memory-max-bytes" for "memory.max_bytes". */
void option_write_flag(const struct option_row *row, struct buf *out)
{
    buf_append_text(out, "--");
    for (const char *at = row->name; *at != '\0'; at++) buf_append_byte(out, *at == '.' || *at == '_' ? '-' : *at);
}

/* Is `given`, `size` bytes without its dashes, the flag of this name? */
static bool flag_matches(const char *name, const char *given, size_t size)
{
    if (strlen(name) != size) return false;
    for (size_t i = 0; i < size; i++) {
        char want = name[i] == '.' || name[i] == '_' ? '-' : name[i];
        if (given[i] != want) return false;
    }
    return true;
}

static bool find_flag(const struct option_table *table, const char *given, size_t size, struct option_flag *out)
{
    for (size_t i = 0; i < table->action_count; i++) {
        if (!flag_matches(table->actions[i].name, given, size)) continue;
        out->row = OPTION_ACTION;
        out->action = i;
        return true;
    }
    for (size_t i = 0; i < table->row_count; i++) {
        if (!flag_matches(table->rows[i].name, given, size)) continue;
        out->row = i;
        return true;
    }
    return false;
}

static void refuse_flag(const struct option_table *table, const char *given, struct option_report *report)
{
    char quoted[OPTION_QUOTE_SIZE], name[128];
    given += strspn(given, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(given, "="), given);
    const char *near = option_nearest(table, name);
    struct option_origin origin = {OPTION_FLAG, option_quote(quoted, name), 0};
    snprintf(name, sizeof name, "%s", near != NULL ? near : "");
    for (char *at = name; *at != '\0'; at++) {
        if (*at == '.' || *at == '_') *at = '-';
    }
    option_refuse(report, origin, NULL, "there is no such flag%s%s%s; %s --help lists all of them",
                  near != NULL ? ", did you mean --" : "", name, near != NULL ? "?" : "", table->program);
}

/* A bool's flag may stand alone; it takes the next word only when that is a truth. */
static const char *bool_value(int argc, char **argv, int *at)
{
    bool truth;
    if (*at + 1 < argc && option_bool(argv[*at + 1], &truth)) return argv[++*at];
    return "true";
}

static aic_status parse_one(const struct option_table *table, int argc, char **argv, int *at, struct option_flag *out,
                            struct option_report *report)
{
    const char *given = argv[*at];
    struct option_origin origin = {OPTION_FLAG, given, 0};
    *out = (struct option_flag){.given = given};
    if (strcmp(given, "-h") == 0) given = "--help";
    if (strncmp(given, "--", 2) != 0 || given[2] == '\0') {
        char quoted[OPTION_QUOTE_SIZE];
        origin.name = option_quote(quoted, given);
        option_refuse(report, origin, NULL, "there is no such flag; flags begin with --");
        return AIC_INVALID;
    }
    const char *name = given + 2;
    const char *equals = strchr(name, '=');
    size_t size = equals != NULL ? (size_t)(equals - name) : strlen(name);
    bool known = find_flag(table, name, size, out);
    if (!known && equals == NULL && strncmp(name, "no-", 3) == 0 && find_flag(table, name + 3, size - 3, out) &&
        out->row != OPTION_ACTION && table->rows[out->row].type == OPTION_BOOL) {
        out->value = "false";
        return AIC_OK;
    }
    if (!known) {
        refuse_flag(table, given, report);
        return AIC_INVALID;
    }
    bool wants_value = out->row != OPTION_ACTION || table->actions[out->action].value != NULL;
    if (equals != NULL) out->value = equals + 1;
    else if (out->row != OPTION_ACTION && table->rows[out->row].type == OPTION_BOOL)
        out->value = bool_value(argc, argv, at);
    else if (wants_value && *at + 1 < argc) out->value = argv[++*at];
    if ((out->value != NULL) == wants_value) return AIC_OK;
    option_refuse(report, origin, NULL, wants_value ? "it needs a value" : "it takes no value");
    return AIC_INVALID;
}

aic_status option_parse_flags(const struct option_table *table, int argc, char **argv, struct option_flag *flags,
                              size_t *count, struct option_report *report)
{
    size_t found = 0;
    aic_status status = AIC_OK;
    for (int at = 1; at < argc; at++) {
        if (parse_one(table, argc, argv, &at, &flags[found], report) == AIC_OK) found++;
        else status = AIC_INVALID;
    }
    *count = found;
    return buf_status(&report->text) != AIC_OK ? AIC_NO_MEMORY : status;
}
