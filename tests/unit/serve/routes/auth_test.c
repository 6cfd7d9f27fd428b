/* API keys: every cause of a refusal is named, nothing is repeated, and no allocation is missed. */
#include "base/check.h"
#include "base/digest.h"
#include "serve/routes/auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint8_t red_digest[32], root_digest[32];

static struct auth *make(struct mem *mem)
{
    struct auth_key keys[] = {{"red", red_digest, "red", false}, {"root", root_digest, NULL, true}};
    struct auth *auth = NULL;
    assert_int_equal(digest_sha256("red-key", 7, red_digest), AIC_OK);
    assert_int_equal(digest_sha256("root-key", 8, root_digest), AIC_OK);
    assert_int_equal(auth_create(mem, keys, 2, (struct auth_hosts){0}, &auth, NULL), AIC_OK);
    return auth;
}

static aic_view view(const char *text)
{
    return aic_view_of(text);
}

static void test_callers(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct auth *auth = make(&mem);
    struct auth_caller caller;
    assert_false(auth_is_open(auth));
    assert_int_equal(auth_check(auth, view("Bearer red-key"), view(NULL), &caller, NULL), AIC_OK);
    assert_memory_equal(caller.ns.data, "red", 3);
    assert_false(caller.admin);
    assert_int_equal(auth_check(auth, view("bEaReR   root-key "), view(NULL), &caller, NULL), AIC_OK);
    assert_true(caller.admin);
    assert_memory_equal(caller.ns.data, "default", 7);
    assert_int_equal(auth_check(auth, view(NULL), view("root-key"), &caller, NULL), AIC_OK);
    assert_int_equal(auth_check(auth, view("Bearer root-key"), view("root-key"), &caller, NULL), AIC_OK);
    auth_release(&auth);
    mem_fini(&mem);
}

static void test_refusals(void **state)
{
    (void)state;
    struct mem mem;
    mem_init(&mem, NULL);
    struct auth *auth = make(&mem);
    char lengthy[700];
    memset(lengthy, 'k', sizeof lengthy - 1);
    lengthy[sizeof lengthy - 1] = '\0';
    const struct {
        const char *authorization, *api_key, *cause;
    } cases[] = {
        {NULL, NULL, "missing"},
        {"", NULL, "empty"},
        {"Bearer", NULL, "empty"},
        {"Bearer  ", NULL, "empty"},
        {NULL, "", "empty"},
        {"Basic cmVk", NULL, "malformed"},
        {"Bearerred-key", NULL, "malformed"},
        {"Bearer red key", NULL, "malformed"},
        {NULL, "red\tkey", "malformed"},
        {NULL, lengthy, "malformed"},
        {"Bearer red-keyy", NULL, "invalid"},
        {NULL, "red-ke", "invalid"},
        {"Bearer red-key", "root-key", "different"},
        {"Bearer red-key", "wrong", "invalid"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct auth_caller caller = {.admin = true};
        aic_error error = {0};
        assert_int_equal(auth_check(auth, view(cases[i].authorization), view(cases[i].api_key), &caller, &error),
                         AIC_UNAUTHORIZED);
        assert_non_null(strstr(error.message, cases[i].cause));
        assert_null(strstr(error.message, "red-ke"));
        assert_null(strstr(error.message, "cmVk"));
        assert_string_equal(error.field, "authorization");
    }
    auth_release(&auth);
    mem_fini(&mem);
}

static void test_open_without_keys(void **state)
{
    (void)state;
    struct mem mem;
    struct auth *auth = NULL;
    struct auth_caller caller;
    mem_init(&mem, NULL);
    assert_int_equal(auth_create(&mem, NULL, 0, (struct auth_hosts){0}, &auth, NULL), AIC_OK);
    assert_true(auth_is_open(auth));
    assert_int_equal(auth_check(auth, view(NULL), view(NULL), &caller, NULL), AIC_OK);
    assert_true(caller.admin);
    auth_release(&auth);
    auth_release(&auth);
    mem_fini(&mem);
}

static void test_bad_sets(void **state)
{
    (void)state;
    struct mem mem;
    struct auth *auth = NULL;
    uint8_t one[32] = {1}, two[32] = {2};
    char name[200];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    mem_init(&mem, NULL);
    const struct {
        struct auth_key keys[2];
        const char *field;
    } cases[] = {
        {{{"a", one, NULL, false}, {"a", two, NULL, false}}, "api_keys[1].id"},
        {{{"a", one, NULL, false}, {"b", one, NULL, false}}, "api_keys[1].sha256"},
        {{{"", one, NULL, false}, {"b", two, NULL, false}}, "api_keys[0].id"},
        {{{"a", one, name, false}, {"b", two, NULL, false}}, "api_keys[0].namespace"},
        {{{"a", one, NULL, false}, {"b", two, "", false}}, "api_keys[1].namespace"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        aic_error error = {0};
        assert_int_equal(auth_create(&mem, cases[i].keys, 2, (struct auth_hosts){0}, &auth, &error), AIC_INVALID);
        assert_string_equal(error.field, cases[i].field);
        assert_null(auth);
    }
    mem_fini(&mem);
}

static void test_namespaces(void **state)
{
    (void)state;
    struct auth_caller red = {.ns = AIC_LITERAL("red")};
    struct auth_caller root = {.ns = AIC_LITERAL("default"), .admin = true};
    aic_view ns;
    aic_error error = {0};
    assert_int_equal(auth_namespace(&red, (aic_view){0}, &ns, &error), AIC_OK);
    assert_memory_equal(ns.data, "red", 3);
    assert_int_equal(auth_namespace(&red, AIC_LITERAL("red"), &ns, &error), AIC_OK);
    assert_int_equal(auth_namespace(&red, AIC_LITERAL("re"), &ns, &error), AIC_FORBIDDEN);
    assert_string_equal(error.field, "namespace");
    assert_int_equal(auth_namespace(&red, AIC_LITERAL("redd"), &ns, &error), AIC_FORBIDDEN);
    assert_int_equal(auth_namespace(&root, AIC_LITERAL("red"), &ns, &error), AIC_OK);
    assert_int_equal(ns.size, 3);
    assert_int_equal(auth_namespace(&root, (aic_view){0}, &ns, &error), AIC_OK);
    assert_int_equal(ns.size, 7);
}

/* ---- out of memory ---- */

struct countdown {
    size_t left;
};

static void *acquire(void *context, size_t bytes)
{
    struct countdown *countdown = context;
    return countdown->left-- > 0 ? malloc(bytes) : NULL;
}

static void give_back(void *context, void *block, size_t bytes)
{
    (void)context;
    (void)bytes;
    free(block);
}

static void test_no_allocation_is_missed(void **state)
{
    (void)state;
    bool done = false;
    for (size_t n = 0; !done; n++) {
        struct countdown countdown = {n};
        aic_allocator allocator = {.acquire = acquire, .release = give_back, .context = &countdown};
        struct mem mem;
        struct auth *auth = NULL;
        uint8_t one[32] = {1}, two[32] = {2};
        struct auth_key keys[] = {{"a", one, "x", false}, {"b", two, NULL, true}};
        mem_init(&mem, &allocator);
        aic_status status = auth_create(&mem, keys, 2, (struct auth_hosts){0}, &auth, NULL);
        if (status == AIC_OK) done = true;
        else assert_int_equal(status, AIC_NO_MEMORY);
        auth_release(&auth);
        mem_fini(&mem);
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_callers),           cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_open_without_keys), cmocka_unit_test(test_bad_sets),
        cmocka_unit_test(test_namespaces),        cmocka_unit_test(test_no_allocation_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
