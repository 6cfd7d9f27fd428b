/*
 * option_test.c - the option loader with a small table of its own: values, sources and their order, what is refused and
 * how it is told, failing memory.
 */
#include "base/check.h"
#include "base/option.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct target {
    unsigned preset;
    bool truth;
    uint64_t number, size, wait, life, hours;
    char *text;
    unsigned choice;
    struct option_texts list;
    struct option_texts table; /* of a shape of its own: a map of names to anything */
};

static aic_status read_names(struct mem *mem, const struct option_node *node, struct option_origin origin,
                             const char *key, void *field, struct option_report *report)
{
    struct option_texts *texts = field;
    if (node->kind != OPTION_MAP) {
        option_refuse(report, origin, key, "no map");
        return AIC_OK;
    }
    for (const struct option_node *item = node->first; item != NULL; item = item->next) {
        char **grown = mem_realloc(mem, MEM_CONFIG, texts->items, texts->count * sizeof *grown,
                                   (texts->count + 1) * sizeof *grown);
        if (grown == NULL) return AIC_NO_MEMORY;
        texts->items = grown;
        grown[texts->count] = mem_copy_string(mem, MEM_CONFIG, aic_view_of(item->name));
        if (grown[texts->count] == NULL) {
            grown[texts->count] = NULL;
            texts->count++;
            return AIC_NO_MEMORY;
        }
        texts->count++;
    }
    return AIC_OK;
}

static void write_names(const void *field, struct buf *out)
{
    const struct option_texts *texts = field;
    for (size_t i = 0; i < texts->count; i++) buf_printf(out, "%s;", texts->items[i]);
}

static void release_names(struct mem *mem, void *field)
{
    struct option_texts *texts = field;
    for (size_t i = 0; i < texts->count; i++) mem_free_string(mem, MEM_CONFIG, texts->items[i]);
    mem_free(mem, MEM_CONFIG, texts->items, texts->count * sizeof *texts->items);
    *texts = (struct option_texts){0};
}

static const struct option_shape names = {read_names, write_names, release_names, "a map of names"};

#define FIELD(member) .offset = offsetof(struct target, member), .bytes = sizeof(((struct target *)0)->member)
static const struct option_row rows[] = {
    {.name = "preset",
     .type = OPTION_ENUM,
     FIELD(preset),
     .fallback = "none",
     .choices = "none|small|large",
     .help = "A set."},
    {.name = "truth", .type = OPTION_BOOL, FIELD(truth), .fallback = "true", .help = "A truth."},
    {.name = "part.number",
     .type = OPTION_U64,
     FIELD(number),
     .fallback = "7",
     .min = 1,
     .max = 100,
     .live = true,
     .help = "A number."},
    {.name = "part.max_bytes", .type = OPTION_SIZE, FIELD(size), .fallback = "256M", .help = "A size."},
    {.name = "part.wait",
     .type = OPTION_MS,
     FIELD(wait),
     .fallback = "20ms",
     .min = 1,
     .help = "A wait.",
     .detail = "With a second sentence."},
    {.name = "life", .type = OPTION_SECONDS, FIELD(life), .fallback = "1h", .help = "A life."},
    {.name = "hours", .type = OPTION_HOURS, FIELD(hours), .fallback = "1", .min = 1, .help = "Hours."},
    {.name = "text", .type = OPTION_TEXT, FIELD(text), .fallback = "", .help = "A text."},
    {.name = "choice", .type = OPTION_ENUM, FIELD(choice), .fallback = "b", .choices = "a|b|c", .help = "A choice."},
    {.name = "list", .type = OPTION_TEXT_LIST, FIELD(list), .fallback = "one", .help = "A list."},
    {.name = "table", .type = OPTION_TABLE, FIELD(table), .fallback = "", .shape = &names, .help = "A table."},
};
static const struct option_action actions[] = {{"config", "FILE", "A file."}, {"help", NULL, "Help."}};
static const struct option_setting small[] = {{"part.number", "3"}, {"choice", "c"}, {NULL, NULL}};
static const struct option_setting large[] = {{"part.number", "99"}, {NULL, NULL}};
static const struct option_preset presets[] = {{"small", "", small}, {"large", "", large}};
static const char *const foreign[] = {"T_FOREIGN", NULL};
static const struct option_table table = {
    rows, COUNT_OF(rows), actions, COUNT_OF(actions), presets, COUNT_OF(presets), sizeof(struct target),
    "T_", foreign,        "testd"};

/* One load, with everything that there is to look at afterwards. */
struct load {
    struct mem mem;
    struct target target;
    struct option_origin origins[COUNT_OF(rows)];
    struct option_report report;
    struct option_flag flags[32];
    aic_status status;
    char findings[4096];
};

/* As a program that takes nothing where anything is wrong. */
static aic_status load_all(struct mem *mem, const struct option_input *input, struct target *target,
                           struct option_origin *origins, struct option_report *report)
{
    aic_status status = option_gather(&table, mem, input, target, origins, report);
    if (status != AIC_OK || report->errors == 0) return status;
    option_release(&table, mem, target);
    return AIC_INVALID;
}

static void load(struct load *self, const char *yaml, char *const *environment, int argc, char **argv)
{
    struct option_input input = {.file = yaml != NULL ? "t.yaml" : NULL,
                                 .text = {yaml, yaml != NULL ? strlen(yaml) : 0},
                                 .environment = environment,
                                 .flags = self->flags};
    memset(self, 0, sizeof *self);
    mem_init(&self->mem, NULL);
    option_report_init(&self->report, &self->mem);
    self->status = option_parse_flags(&table, argc, argv, self->flags, &input.flag_count, &self->report);
    if (self->status == AIC_OK)
        self->status = load_all(&self->mem, &input, &self->target, self->origins, &self->report);
    snprintf(self->findings, sizeof self->findings, "%.*s", (int)self->report.text.size,
             self->report.text.size > 0 ? self->report.text.data : "");
}

static void unload(struct load *self)
{
    option_release(&table, &self->mem, &self->target);
    option_report_fini(&self->report);
    mem_fini(&self->mem);
}

static void numbers_are_exact(void **state)
{
    (void)state;
    static const struct {
        enum option_type type;
        const char *text;
        uint64_t value;
    } good[] = {
        {OPTION_U64, "0", 0},
        {OPTION_U64, "18446744073709551615", UINT64_MAX},
        {OPTION_SIZE, "1500", 1500},
        {OPTION_SIZE, "64K", 65536},
        {OPTION_SIZE, "64 KiB", 65536},
        {OPTION_SIZE, "1.5G", UINT64_C(3) << 29},
        {OPTION_SIZE, "2T", UINT64_C(2) << 40},
        {OPTION_MS, "20ms", 20},
        {OPTION_MS, "1.5s", 1500},
        {OPTION_MS, "2", 2000},
        {OPTION_SECONDS, "2h", 7200},
        {OPTION_SECONDS, "0.5m", 30},
        {OPTION_SECONDS, "7d", 604800},
        {OPTION_HOURS, "0.001", 3600},
        {OPTION_HOURS, "24", 86400000},
    };
    static const struct {
        enum option_type type;
        const char *text;
    } bad[] = {
        {OPTION_U64, ""},           {OPTION_U64, "-1"},   {OPTION_U64, "1.5"},
        {OPTION_U64, "1K"},         {OPTION_U64, "0x10"}, {OPTION_U64, "18446744073709551616"},
        {OPTION_SIZE, "1KB"},       {OPTION_SIZE, "K"},   {OPTION_SIZE, "1.3"},
        {OPTION_SIZE, "1."},        {OPTION_SIZE, ".5K"}, {OPTION_SIZE, "99999999999999999999T"},
        {OPTION_MS, "1.5ms"},       {OPTION_MS, "1 min"}, {OPTION_SECONDS, "500ms"},
        {OPTION_SECONDS, "0.001s"}, {OPTION_HOURS, "1h"}, {OPTION_SIZE, "16777216T"},
    };
    for (size_t i = 0; i < COUNT_OF(good); i++) {
        uint64_t value = 42;
        assert_int_equal(option_number(good[i].type, good[i].text, &value), AIC_OK);
        assert_int_equal(value, good[i].value);
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint64_t value = 42;
        if (option_number(bad[i].type, bad[i].text, &value) != AIC_INVALID) fail_msg("%s was accepted", bad[i].text);
        assert_int_equal(value, 42);
    }
}

static void defaults_come_from_the_table(void **state)
{
    (void)state;
    struct load self;
    load(&self, NULL, NULL, 0, NULL);
    assert_int_equal(self.status, AIC_OK);
    assert_true(self.target.truth);
    assert_int_equal(self.target.number, 7);
    assert_int_equal(self.target.size, 256 << 20);
    assert_int_equal(self.target.wait, 20);
    assert_int_equal(self.target.life, 3600);
    assert_int_equal(self.target.hours, 3600000);
    assert_null(self.target.text);
    assert_int_equal(self.target.choice, 1);
    assert_int_equal(self.target.list.count, 1);
    assert_string_equal(self.target.list.items[0], "one");
    unload(&self);
}

static void later_sources_win(void **state)
{
    (void)state;
    struct load self;
    char *environment[] = {"T_PART_NUMBER=20", "T_LIST=x, y ,,z", "OTHER=1", "T_FOREIGN=1", NULL};
    char *argv[] = {"testd", "--part-number", "30", "--list", "l1", "--list=l2", "--no-truth"};
    load(&self, "part:\n  number: 10\n  max_bytes: 1K\nlist: [a, b]\ntext: hello\n", environment, 7, argv);
    assert_int_equal(self.status, AIC_OK);
    assert_string_equal(self.findings, "");
    assert_int_equal(self.target.number, 30);
    assert_int_equal(self.origins[2].place, OPTION_FLAG);
    assert_int_equal(self.target.size, 1024);
    assert_int_equal(self.origins[3].place, OPTION_FILE);
    assert_int_equal(self.origins[3].line, 3);
    assert_int_equal(self.target.list.count, 2);
    assert_string_equal(self.target.list.items[1], "l2");
    assert_false(self.target.truth);
    assert_string_equal(self.target.text, "hello");
    unload(&self);
    load(&self, "list: [a, b]\n", environment, 0, NULL);
    assert_int_equal(self.target.number, 20);
    assert_int_equal(self.target.list.count, 3);
    assert_string_equal(self.target.list.items[2], "z");
    unload(&self);
}

static void a_preset_lies_below_everything(void **state)
{
    (void)state;
    struct load self;
    load(&self, "part: {number: 10}\npreset: small\n", NULL, 0, NULL);
    assert_int_equal(self.target.number, 10);
    assert_int_equal(self.target.choice, 2);
    assert_int_equal(self.origins[8].place, OPTION_PRESET);
    unload(&self);
    char *argv[] = {"testd", "--preset=large"};
    load(&self, "preset: small\n", NULL, 2, argv);
    assert_int_equal(self.target.number, 99);
    assert_int_equal(self.target.choice, 1);
    unload(&self);
}

static void both_spellings_of_a_name(void **state)
{
    (void)state;
    struct load self;
    load(&self, "part.number: 11\ntable: {x: 1, y: [1, 2]}\n", NULL, 0, NULL);
    assert_int_equal(self.status, AIC_OK);
    assert_int_equal(self.target.number, 11);
    assert_int_equal(self.target.table.count, 2);
    unload(&self);
    char *argv[] = {"testd", "--table", "{p: 1}"};
    load(&self, "part:\n", NULL, 3, argv);
    assert_int_equal(self.status, AIC_OK);
    assert_string_equal(self.target.table.items[0], "p");
    unload(&self);
}

/* Each is refused, and its finding holds every part. */
static void refusals_name_place_and_remedy(void **state)
{
    (void)state;
    static const struct {
        const char *yaml, *first, *second;
    } cases[] = {
        {"part:\n  numbr: 1\n", "t.yaml:2: unknown option 'part.numbr'", "did you mean part.number?"},
        {"max_bytes: 1\n", "unknown option 'max_bytes'", "did you mean part.max_bytes?"},
        {"part:\n  number: 101\n", "t.yaml:2: part.number: '101' is not accepted",
         "accepted: a whole number, from 1 to 100"},
        {"part: {number: many}\n", "'many'", "a whole number"},
        {"truth: 2\n", "truth: '2'", "true or false"},
        {"choice: d\n", "choice: 'd'", "accepted: a, b, c"},
        {"preset: huge\n", "preset: 'huge'", "accepted: none, small, large"},
        {"part: [5]\n", "t.yaml:1: part: a list where a map belongs", "number, max_bytes, wait"},
        {"list: [a, {b: c}]\n", "list: a map within the list", "accepted"},
        {"part: 5\n", "t.yaml:1: part: a single value where a map belongs", "number, max_bytes, wait"},
        {"part.number: [1]\n", "part.number: a list is not accepted", "whole number"},
        {"text: {a: 1}\n", "text: a map is not accepted", "accepted: text"},
        {"part:\n  number:\n", "part.number: no value is not accepted", "from 1 to 100"},
        {"truth: true\ntruth: false\n", "t.yaml:2: 'truth' stands twice, first in line 1", "accepted: once"},
        {"- a\n- b\n", "t.yaml:1: no map", "name: value"},
        {"text: &x a\n", "anchors and tags", "t.yaml:1"},
        {"text: *x\n", "aliases", "t.yaml:1"},
        {"text: !!str a\n", "tags", "t.yaml:1"},
        {"truth: true\n---\ntruth: true\n", "second document", "t.yaml"},
        {"text: \"a\\0b\"\n", "NUL", "t.yaml:1"},
        {"a: [1,2\n", "not YAML", "t.yaml:1:"},
        {"\n\na: 'open\n", "not YAML", "t.yaml:3:"},
        {"\na: [\n\n", "not YAML", "t.yaml:2:"},
        {"a:\n  - [1, {\n\n", "not YAML", "t.yaml:2:"},
        {"# \xc3\xa4\xc3\xb6\na: {b: 1\n", "not YAML", "t.yaml:2:"},
        {"a: 1\nb: [1,\n2\nc: d\n", "t.yaml:4: not YAML", "a flow sequence that begins in line 2"},
        {"b: 1\na: \x01\n", "not YAML", "t.yaml:2:"},
        {"a: {b: {c: {d: {e: {f: {g: {h: {i: {j: {k: {l: {m: {n: {o: {p: {q: {r: 1}}}}}}}}}}}}}}}}}}",
         "nested too deeply", "16"},
        {"list: [a, [b]]\n", "list: a list within the list", "accepted"},
        {"text: \"\x1b[31mred\"\n\x01: 1\n", "t.yaml", ""},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct load self;
        load(&self, cases[i].yaml, NULL, 0, NULL);
        if (self.status != AIC_INVALID) fail_msg("accepted: %s", cases[i].yaml);
        if (strstr(self.findings, cases[i].first) == NULL || strstr(self.findings, cases[i].second) == NULL) {
            fail_msg("%s\nlacks %s or %s", self.findings, cases[i].first, cases[i].second);
        }
        for (const char *at = self.findings; *at != '\0'; at++) assert_true(*at == '\n' || (unsigned char)*at >= 0x20);
        assert_memory_equal(&self.target, &(struct target){0}, sizeof(struct target));
        unload(&self);
    }
}

static void all_findings_are_told(void **state)
{
    (void)state;
    struct load self;
    char *environment[] = {"T_CHOICE=zzz", "T_UNKNOWN=1", NULL};
    load(&self, "truth: 3\npart: {number: 0}\nnothing: 1\n", environment, 0, NULL);
    assert_int_equal(self.status, AIC_INVALID);
    assert_int_equal(self.report.errors, 4);
    assert_int_equal(self.report.warnings, 1);
    assert_non_null(strstr(self.findings, "the environment variable T_CHOICE: choice: 'zzz'"));
    assert_non_null(strstr(self.findings, "T_UNKNOWN"));
    unload(&self);
}

/* A table as one line in the environment or a flag: the same rules as in a file, and the reason with them. */
static void tables_in_one_line_are_checked(void **state)
{
    (void)state;
    static const struct {
        char *variable;
        const char *says;
    } cases[] = {
        {"T_TABLE={z: 1, z: 2}", "T_TABLE: table: '{z: 1, z: 2}' is not accepted, 'z' stands twice, first in line 1; "
                                 "accepted: a map of names\n"},
        {"T_TABLE={a: {b: 1, b: 1}, a: 2}", "is not accepted, 'b' stands twice, first in line 1; accepted: a map"},
        {"T_TABLE={z: 1", "is not accepted, not YAML"},
        {"T_TABLE={z: *x}", "is not accepted, "},
        {"T_TABLE=[z]", "T_TABLE: table: no map"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct load self;
        char *environment[] = {cases[i].variable, NULL};
        load(&self, "table: {a: 1}\n", environment, 0, NULL);
        assert_int_equal(self.status, AIC_INVALID);
        assert_int_equal(self.report.errors, 1);
        if (strstr(self.findings, cases[i].says) == NULL) fail_msg("%s\nlacks %s", self.findings, cases[i].says);
        assert_memory_equal(&self.target, &(struct target){0}, sizeof(struct target));
        unload(&self);
    }
    struct load self;
    char *flag[] = {"testd", "--table", "{z: 1, y: 2, z: 3}"};
    load(&self, NULL, NULL, 3, flag);
    assert_int_equal(self.status, AIC_INVALID);
    assert_non_null(
        strstr(self.findings, "the flag --table: table: '{z: 1, y: 2, z: 3}' is not accepted, 'z' stands twice"));
    unload(&self);
}

static void flags_are_checked(void **state)
{
    (void)state;
    static char *cases[][3] = {
        {"testd", "--part-numbr", "1"}, {"testd", "plain", NULL}, {"testd", "--part-number", NULL},
        {"testd", "--help=1", NULL},    {"testd", "--", NULL},    {"testd", "--no-text", NULL}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct load self;
        int argc = cases[i][2] != NULL ? 3 : 2;
        load(&self, NULL, NULL, argc, cases[i]);
        assert_int_equal(self.status, AIC_INVALID);
        assert_true(self.report.errors >= 1);
        if (i == 0) assert_non_null(strstr(self.findings, "did you mean --part-number?"));
        unload(&self);
    }
    struct load self;
    char *fine[] = {"testd", "--truth", "--config", "f", "--help", "--truth", "off"};
    load(&self, NULL, NULL, 7, fine);
    assert_int_equal(self.status, AIC_OK);
    assert_false(self.target.truth);
    assert_int_equal(self.flags[1].row, OPTION_ACTION);
    assert_string_equal(self.flags[1].value, "f");
    unload(&self);
}

static void written_settings_read_back(void **state)
{
    (void)state;
    struct load self, again;
    load(
        &self,
        "text: \"a \\\"b\\\\ #c\\N\\L\\e\"\nlist: [\"x, y\", z]\npart: {wait: 1500ms, max_bytes: 1536}\nlife: 90s\nhours: 0.5\n",
        NULL, 0, NULL);
    struct buf text;
    buf_init(&text, &self.mem, MEM_CONFIG);
    option_write_settings(&table, &self.target, self.origins, &text);
    buf_append_byte(&text, '\0');
    char *table_line = strstr(text.data, "table:"); /* its text form is no YAML in this test */
    *table_line = '\0';
    load(&again, text.data, NULL, 0, NULL);
    assert_string_equal(again.findings, "");
    assert_string_equal(again.target.text, "a \"b\\ #c\xc2\x85\xe2\x80\xa8\x1b");
    assert_int_equal(again.target.list.count, 2);
    assert_string_equal(again.target.list.items[0], "x, y");
    assert_int_equal(again.target.wait, 1500);
    assert_int_equal(again.target.size, 1536);
    assert_int_equal(again.target.life, 90);
    assert_int_equal(again.target.hours, 1800000);
    unload(&again);
    buf_fini(&text);
    unload(&self);
}

static void pages_name_every_option(void **state)
{
    (void)state;
    void (*const pages[])(const struct option_table *, struct buf *) = {option_write_help, option_write_roff,
                                                                        option_write_markdown};
    struct mem mem;
    mem_init(&mem, NULL);
    for (size_t page = 0; page < COUNT_OF(pages); page++) {
        struct buf text;
        buf_init(&text, &mem, MEM_CONFIG);
        pages[page](&table, &text);
        buf_append_byte(&text, '\0');
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            if (strstr(text.data, rows[i].help) == NULL) fail_msg("page %zu lacks %s", page, rows[i].name);
        }
        buf_fini(&text);
    }
    mem_fini(&mem);
}

/* ---- failing memory ---- */

struct failing {
    size_t left;
    size_t live;
};

static void *failing_acquire(void *context, size_t bytes)
{
    struct failing *failing = context;
    if (failing->left == 0) return NULL;
    failing->left--;
    failing->live++;
    return malloc(bytes);
}

static void failing_release(void *context, void *block, size_t bytes)
{
    (void)bytes;
    ((struct failing *)context)->live--;
    free(block);
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    static const char yaml[] =
        "part: {number: 10, wait: 3s}\nlist: [a, b, c]\ntext: hello\ntable: {x: 1, y: 2}\nbad: 1\nchoice: q\n";
    static const char fine[] = "part: {number: 10}\nlist: [a, b]\ntext: hello\ntable: {x: 1}\npreset: small\n";
    char *good[] = {"T_TEXT=other", "T_TABLE={z: 1}", "T_LIST=q,r", NULL};
    char *doubled[] = {"T_TABLE={z: 1, z: 2}", NULL};
    const char *const texts[] = {yaml, fine, fine};
    for (size_t text = 0; text < 3; text++) {
        char **environment = text == 2 ? doubled : good;
        aic_status status = AIC_NO_MEMORY;
        for (size_t n = 0; status == AIC_NO_MEMORY; n++) {
            struct failing failing = {n, 0};
            aic_allocator allocator = {failing_acquire, failing_release, NULL, &failing};
            struct option_input input = {
                .file = "t.yaml", .text = aic_view_of(texts[text]), .environment = environment};
            struct option_report report;
            struct target target;
            struct mem mem;
            mem_init(&mem, &allocator);
            option_report_init(&report, &mem);
            status = load_all(&mem, &input, &target, NULL, &report);
            if (status == AIC_OK) option_release(&table, &mem, &target);
            option_report_fini(&report);
            assert_int_equal(failing.live, 0);
            mem_fini(&mem);
            assert_true(n < 1000);
        }
        assert_int_equal(status, text == 1 ? AIC_OK : AIC_INVALID);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_exact),        cmocka_unit_test(defaults_come_from_the_table),
        cmocka_unit_test(later_sources_win),        cmocka_unit_test(a_preset_lies_below_everything),
        cmocka_unit_test(both_spellings_of_a_name), cmocka_unit_test(refusals_name_place_and_remedy),
        cmocka_unit_test(all_findings_are_told),    cmocka_unit_test(tables_in_one_line_are_checked),
        cmocka_unit_test(flags_are_checked),        cmocka_unit_test(written_settings_read_back),
        cmocka_unit_test(pages_name_every_option),  cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("option", tests, NULL, NULL);
}
