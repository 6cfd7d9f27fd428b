/* glob: every construct, what is malformed, and patterns that must not become expensive. A naive recursive matcher is
 * the oracle. */
#include "base/glob.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

/* Patterns that take exponential time elsewhere; here they end at once, or the test's time limit says so. */
static void stays_cheap(void **state)
{
    (void)state;
    static char pattern[4096], text[16384];
    for (size_t i = 0; i + 1 < sizeof pattern; i += 2) memcpy(pattern + i, "*a", 2);
    pattern[sizeof pattern - 1] = 'b';
    memset(text, 'a', sizeof text);
    assert_false(glob_match((aic_view){pattern, sizeof pattern}, (aic_view){text, sizeof text}));
    memset(pattern, '[', sizeof pattern);
    pattern[0] = '*';
    memset(text, '[', sizeof text);
    assert_true(glob_match((aic_view){pattern, sizeof pattern}, (aic_view){text, sizeof text}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matches_what_it_says),
        cmocka_unit_test(agrees_with_a_naive_matcher),
        cmocka_unit_test(stays_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
