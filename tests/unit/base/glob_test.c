/* glob: every construct, what is malformed, and patterns that must not become expensive. A naive recursive matcher is
 * the oracle. */
#include "base/check.h"
#include "base/glob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool glob_match(aic_view pattern, aic_view text)
{
    struct glob glob;
    CHECK(glob_compile(&glob, pattern) == AIC_OK);
    return glob_matches(&glob, text);
}

static const struct {
    const char *pattern, *text;
    bool match;
} cases[] = {
    {"", "", true},
    {"", "a", false},
    {"a", "", false},
    {"*", "", true},
    {"**", "abc", true},
    {"abc", "abc", true},
    {"abc", "abcd", false},
    {"a*c", "abbbc", true},
    {"a*c", "abbbd", false},
    {"*b*", "aba", true},
    {"a*b*c", "axbxbxc", true},
    {"?", "a", true},
    {"?", "ü", true},
    {"?", "测", true},
    {"?", "🙂", true},
    {"??", "ü", false},
    {"测*式", "测试模式", true},
    {"[a-c]x", "bx", true},
    {"[a-c]x", "dx", false},
    {"[!a-c]x", "dx", true},
    {"[^a-c]x", "bx", false},
    {"[]]", "]", true},
    {"[!]]", "]", false},
    {"[!]]", "a", true},
    {"[a-]", "-", true},
    {"[-a]", "-", true},
    {"[ä-ü]", "ö", true},
    {"[ä-ü]", "a", false},
    {"[\\]]", "]", true},
    {"[\\a-\\c]", "b", true},
    {"[z-a]", "m", false},
    {"[abc", "[abc", true},
    {"[abc", "a", false},
    {"[", "[", true},
    {"[!", "[!", true},
    {"*[", "x[", true},
    {"[[a]", "[", true},
    {"\\*", "*", true},
    {"\\*", "a", false},
    {"\\?\\[", "?[", true},
    {"\\", "\\", true},
    {"a\\", "a\\", true},
    {"\\\\", "\\", true},
    {"@#$%^&*()", "@#$%^&anything()", true},
    {"a:b:c:d", "a:b:c:d", true},
    {"x:*:middle:*", "x:1:middle:2", true},
    {"x:*:middle:*", "x:1:end:2", false},
    {"qa", "qa_v2", false},
    {"qa*", "qa_v2", true},
    {"?", "\xFF", true},
    {"\xFF", "\xFF", true},
    {"\xFF", "\xFE", false},
    {"*\xC3", "a\xC3", true},
    {"[\xFF]", "\xFF", true},
    {"[!ä]*é", "öxé", true},
    {"[!ä]*é", "äxé", false},
    {"[^ä-ü]", "ö", false},
    {"[^ä-ü]", "測", true},
    {"[a-測]", "z", true},
    {"[a-測]", "A", false},
    {"[a-測]", "é", true},
    {"*[b-é]x*", "aaéx", true},
};

static void matches_what_it_says(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool got = glob_match(aic_view_of(cases[i].pattern), aic_view_of(cases[i].text));
        if (got != cases[i].match) fail_msg("'%s' against '%s': %d", cases[i].pattern, cases[i].text, got);
    }
    assert_true(glob_match((aic_view){NULL, 0}, (aic_view){NULL, 0}));
}

/* Stars and question marks by recursion: slow and plainly right. */
static bool naive(const char *p, const char *t)
{
    if (*p == '\0') return *t == '\0';
    if (*p == '*') return naive(p + 1, t) || (*t != '\0' && naive(p, t + 1));
    return *t != '\0' && (*p == '?' || *p == *t) && naive(p + 1, t + 1);
}

static void agrees_with_a_naive_matcher(void **state)
{
    (void)state;
    unsigned seed = 20240607;
    print_message("seed %u\n", seed);
    for (int round = 0; round < 200000; round++) {
        char pattern[9] = {0}, text[11] = {0};
        size_t p = (size_t)rand_r(&seed) % 9, t = (size_t)rand_r(&seed) % 11;
        for (size_t i = 0; i < p; i++) pattern[i] = "ab*?"[rand_r(&seed) % 4];
        for (size_t i = 0; i < t; i++) text[i] = "ab"[rand_r(&seed) % 2];
        if (glob_match(aic_view_of(pattern), aic_view_of(text)) != naive(pattern, text))
            fail_msg("'%s' against '%s'", pattern, text);
    }
}

/* Any pattern costs the same for a code point of the text: a million names end at once, or the test's time limit says
 * so. */
static void stays_cheap(void **state)
{
    (void)state;
    char stars[GLOB_MAX_PATTERN], set[GLOB_MAX_PATTERN], text[GLOB_MAX_TEXT];
    for (size_t i = 0; i < sizeof stars; i += 2) memcpy(stars + i, i < 200 ? "*a" : "**", 2);
    stars[sizeof stars - 1] = 'b';
    memset(set, 'a', sizeof set);
    memcpy(set, "*[", 2);
    memcpy(set + sizeof set - 2, "]x", 2);
    memset(text, 'a', sizeof text);
    struct glob globs[2];
    assert_int_equal(glob_compile(&globs[0], (aic_view){stars, sizeof stars}), AIC_OK);
    assert_int_equal(glob_compile(&globs[1], (aic_view){set, sizeof set}), AIC_OK);
    for (int i = 0; i < 1000000; i++) assert_false(glob_matches(&globs[i % 2], (aic_view){text, sizeof text}));
}

static void limits(void **state)
{
    (void)state;
    char pattern[GLOB_MAX_PATTERN + 1], text[GLOB_MAX_TEXT + 1];
    struct glob glob;
    memset(pattern, '?', sizeof pattern);
    memset(text, 'a', sizeof text);
    assert_int_equal(glob_compile(&glob, (aic_view){pattern, sizeof pattern}), AIC_INVALID);
    assert_true(glob_match((aic_view){pattern, 128}, (aic_view){text, 128}));
    assert_false(glob_match((aic_view){pattern, 127}, (aic_view){text, 128}));
    assert_false(glob_match((aic_view){pattern, 129}, (aic_view){text, 128}));
    assert_false(glob_match(AIC_LITERAL("*"), (aic_view){text, 129}));
    memset(pattern, '[', sizeof pattern);
    pattern[0] = '*';
    memset(text, '[', sizeof text);
    assert_true(glob_match((aic_view){pattern, 100}, (aic_view){text, 128}));
    memset(pattern, '\xFF', sizeof pattern); /* as many ranges as there can be */
    memcpy(pattern, "[!", 2);
    pattern[GLOB_MAX_PATTERN - 1] = ']';
    assert_false(glob_match((aic_view){pattern, GLOB_MAX_PATTERN}, AIC_LITERAL("\xFF")));
    assert_true(glob_match((aic_view){pattern, GLOB_MAX_PATTERN}, AIC_LITERAL("\xFE")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_what_it_says),
        cmocka_unit_test(agrees_with_a_naive_matcher),
        cmocka_unit_test(stays_cheap),
        cmocka_unit_test(limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
